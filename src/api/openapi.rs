//! The API as an OpenAPI 3.1 document, from the routes and the shapes of their structures.
//!
//! Pure. It knows no route and no structure by name.

use serde_json::{Map, Value, json};

use super::routes::{Facts, Route, SESSION_PARAMETER};
use super::rules::KEYWORDS;
use super::wire::{Object, Shape, Wire};
use super::{BASE_PATH, BODY_MAX, Code, ErrorBody, VERSION, from_json, object};

const JSON: &str = "application/json";

/// The document.
pub fn document() -> Value {
    let mut schemas = Schemas::default();
    let mut paths = Map::new();
    for &route in Route::ALL {
        let path = route.pattern().replace(":id", "{id}");
        let operations = paths.entry(path).or_insert_with(|| json!({}));
        operations[route.method().to_ascii_lowercase()] = schemas.operation(route);
    }
    let error = schemas.of(ErrorBody::SHAPE, Role::Answer);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "coven",
            "version": VERSION,
            "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
            "description": format!(
                "{} The daemon answers on the Unix socket `coven.sock` in its home. A body has at most {BODY_MAX} bytes.",
                env!("CARGO_PKG_DESCRIPTION")
            ),
        },
        "servers": [{ "url": BASE_PATH }],
        "security": [],
        "paths": paths,
        "components": {
            "schemas": schemas.found,
            "responses": { "Error": answer("An error.", JSON, error) },
        },
    })
}

/// Occurrences of a structure.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// As a query: text.
    Query,
    /// In the body of a request: a null field counts as absent.
    Body,
    Answer,
}

/// The schemas of the structures found so far, by name.
#[derive(Default)]
struct Schemas {
    found: Map<String, Value>,
}

impl Schemas {
    fn operation(&mut self, route: Route) -> Value {
        let facts = route.facts();
        let mut operation = json!({
            "operationId": facts.id,
            "summary": route.summary(),
            "parameters": self.parameters(route, facts),
            "responses": self.responses(route, facts),
        });
        if !matches!(facts.body, Shape::Nothing) {
            let body = self.of(facts.body, Role::Body);
            let schema = match facts.is_body_optional {
                true => nullable(body),
                false => body,
            };
            operation["requestBody"] = json!({
                "required": !facts.is_body_optional,
                "content": { JSON: { "schema": schema } },
            });
        }
        operation
    }

    fn parameters(&mut self, route: Route, facts: &Facts) -> Vec<Value> {
        let parameter = |place: &str, name: &str, is_required: bool, schema: Value| json!({ "in": place, "name": name, "required": is_required, "schema": schema });
        let mut parameters = Vec::new();
        if route.has_session() {
            parameters.push(parameter("path", "id", true, filled()));
        }
        if let Some(name) = facts.header {
            let schema = json!({ "type": "string", "minLength": 1, "maxLength": 255 });
            parameters.push(parameter("header", name, false, schema));
        }
        if let Shape::Object(query) = facts.query {
            for (name, schema, is_required) in self.fields(query, Role::Query) {
                let of_session = (name == SESSION_PARAMETER).then(|| route.has_session());
                parameters.push(match of_session {
                    Some(true) => continue,
                    Some(false) => parameter("query", &name, true, filled()),
                    None => parameter("query", &name, is_required, schema),
                });
            }
        }
        parameters
    }

    fn responses(&mut self, route: Route, facts: &Facts) -> Value {
        let mut responses = Map::new();
        let mut codes: Vec<Code> = route.refusals().collect();
        codes.sort_by_key(|code| code.status());
        for group in codes.chunk_by(|a, b| a.status() == b.status()) {
            let status = group[0].status().unwrap_or_default().to_string();
            let words: Vec<&str> = group.iter().map(|code| code.as_str()).collect();
            let response = json!({
                "$ref": "#/components/responses/Error", "description": words.join(", ")
            });
            responses.insert(status, response);
        }
        let shapes = std::iter::once(facts.answer).chain(facts.other);
        let forms: Vec<Value> = shapes.map(|shape| self.of(shape, Role::Answer)).collect();
        let media = match facts.answer {
            Shape::Plain => "text/plain",
            _ => JSON,
        };
        for status in facts.statuses {
            let mut forms = forms.clone();
            if responses.contains_key(&status.to_string()) {
                forms.push(self.of(ErrorBody::SHAPE, Role::Answer));
            }
            let mut response = answer("The answer.", media, any_of(forms));
            if *status == 201 {
                response["links"] = links();
            }
            responses.insert(status.to_string(), response);
        }
        Value::Object(responses)
    }

    /// The schema of `shape`; a reference to that of a structure.
    fn of(&mut self, shape: &Shape, role: Role) -> Value {
        match shape {
            Shape::Nothing => json!({ "type": "null" }),
            Shape::Any => json!({}),
            // A query also accepts digits.
            Shape::Boolean if role == Role::Query => json!({ "enum": [true, false, 1, 0] }),
            Shape::Boolean => json!({ "type": "boolean" }),
            // A number of a query is clamped.
            Shape::Integer { .. } if role == Role::Query => json!({ "type": "integer" }),
            Shape::Integer { min, max } => {
                json!({ "type": "integer", "minimum": min, "maximum": max })
            }
            Shape::Number => json!({ "type": "number" }),
            Shape::Text | Shape::Plain => json!({ "type": "string" }),
            Shape::Time => json!({ "type": "string", "format": "date-time" }),
            Shape::Words(words) => {
                let words: Vec<&str> = words.split_whitespace().collect();
                json!({ "type": "string", "enum": words })
            }
            Shape::Open(words) => match role {
                Role::Answer => any_of(vec![self.of(words, role), json!({ "type": "string" })]),
                _ => self.of(words, role),
            },
            Shape::Optional(value) if role == Role::Query => self.of(value, role),
            Shape::Optional(value) => nullable(self.of(value, role)),
            Shape::List(items) => json!({ "type": "array", "items": self.of(items, role) }),
            Shape::Map(values) => {
                json!({ "type": "object", "additionalProperties": self.of(values, role) })
            }
            Shape::Object(object) => {
                if !self.found.contains_key(object.name) {
                    let schema = self.object(object, role);
                    self.found.insert(object.name.to_owned(), schema);
                }
                json!({ "$ref": format!("#/components/schemas/{}", object.name) })
            }
        }
    }

    fn object(&mut self, structure: &Object, role: Role) -> Value {
        let fields = self.fields(structure, role);
        let required: Vec<&str> = fields
            .iter()
            .filter(|(.., is_required)| *is_required)
            .map(|(name, ..)| name.as_str())
            .collect();
        let mut schema = json!({ "type": "object", "required": required });
        let properties = fields.iter();
        let properties = properties.map(|(name, schema, _)| (name.clone(), schema.clone()));
        schema["properties"] = object(properties);
        describe(&mut schema, structure.doc);
        add_keywords(&mut schema, structure.keywords);
        schema
    }

    /// Name and schema of each field, and whether it is required.
    fn fields(&mut self, object: &Object, role: Role) -> Vec<(String, Value, bool)> {
        let mut fields = Vec::new();
        for (name, doc, field) in object.fields() {
            let traits = field.traits;
            match field.shape {
                _ if traits.is_hidden => continue,
                Shape::Object(inner) if traits.is_flat => {
                    fields.extend(self.fields(inner, role));
                    continue;
                }
                _ => {}
            }
            let is_optional = matches!(field.shape, Shape::Optional(_));
            let has_default = traits.has_default || object.traits.has_default || is_optional;
            let mut schema = self.of(field.shape, role);
            let rule = field.rule.and_then(|rule| KEYWORDS.get(usize::from(rule)));
            if let Some((_, keywords)) = rule.filter(|_| role != Role::Answer) {
                add_keywords(&mut schema, keywords);
            }
            if role == Role::Body && has_default && !is_optional {
                schema = nullable(schema);
            }
            describe(&mut schema, doc);
            let is_required = match role {
                Role::Answer => !traits.can_be_left_out,
                _ => !has_default,
            };
            fields.push((name, schema, is_required));
        }
        fields
    }
}

/// The routes that an answer with a new session leads to.
fn links() -> Value {
    let routes = Route::ALL.iter().filter(|route| route.has_session());
    object(routes.map(|route| {
        let id = route.facts().id;
        let link = json!({ "operationId": id, "parameters": { "id": "$response.body#/id" } });
        (id.to_owned(), link)
    }))
}

/// Adds keywords, a JSON object.
fn add_keywords(schema: &mut Value, keywords: &str) {
    // A test parses all keywords; there are none in an empty text.
    let keywords: Map<String, Value> = from_json(keywords).unwrap_or_default();
    if let Some(schema) = schema.as_object_mut() {
        schema.extend(keywords);
    }
}

/// A schema that also accepts null.
fn nullable(mut schema: Value) -> Value {
    let is_plain = schema.get("enum").is_none();
    match schema.get_mut("type") {
        Some(kind) if kind == "null" => schema,
        Some(kind @ Value::String(_)) if is_plain => {
            *kind = json!([kind, "null"]);
            schema
        }
        _ => any_of(vec![schema, json!({ "type": "null" })]),
    }
}

/// Text that is not empty.
fn filled() -> Value {
    json!({ "type": "string", "minLength": 1 })
}

fn any_of(mut forms: Vec<Value>) -> Value {
    match forms.len() {
        1 => forms.remove(0),
        _ => json!({ "anyOf": forms }),
    }
}

fn answer(description: &str, media: &str, schema: Value) -> Value {
    let header = json!({ "description": "The request's id in the log.", "required": true, "schema": { "type": "string" } });
    json!({
        "description": description,
        "headers": { "X-Request-Id": header },
        "content": { media: { "schema": schema } },
    })
}

/// Adds a documentation comment as the description, without its links.
fn describe(schema: &mut Value, doc: &str) {
    let mut text = String::with_capacity(doc.len());
    let mut rest = doc.trim();
    while let Some((before, link)) = rest.split_once("[`") {
        let (name, after) = link.split_once("`]").unwrap_or((link, ""));
        text += before;
        text += &format!("`{}`", name.trim_start_matches("super::"));
        rest = match after.strip_prefix('(') {
            Some(target) => target.split_once(')').map_or("", |(_, after)| after),
            None => after,
        };
    }
    text += rest;
    if !text.is_empty() {
        schema["description"] = text.into();
    }
}

#[cfg(test)]
#[path = "openapi_tests.rs"]
mod tests;
