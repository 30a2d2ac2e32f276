//! The OpenAPI document, and whether the daemon answers as it says.

use serde_json::{Map, Value, json};

use crate::support::*;

/// The document, and what it says about each answer.
struct Document(Value);

impl Document {
    fn of(coven: &Coven) -> Self {
        Self(coven.get("/openapi.json").json())
    }

    /// Checks an answer to `METHOD /pattern` against its schema.
    fn check(&self, name: &str, answer: &Answer) {
        let (method, path) = name.split_once(' ').unwrap();
        let operation = &self.0["paths"][path][method.to_ascii_lowercase()];
        let response = &operation["responses"][answer.status.to_string()];
        let response = match response["$ref"].as_str() {
            Some(reference) => self.0.pointer(&reference[1..]).unwrap(),
            None => response,
        };
        let media = answer.header("content-type").unwrap();
        let schema = &response["content"][media]["schema"];
        assert!(schema.is_object(), "{name}: {} {media}", answer.status);
        if let Err(why) = self.matches(schema, &answer.json()) {
            panic!("{name} {}: {why}: {}", answer.status, answer.text());
        }
    }

    /// Whether `value` is as `schema` says, with no field beyond it.
    fn matches(&self, schema: &Value, value: &Value) -> Result<(), String> {
        if let Some(reference) = schema["$ref"].as_str() {
            return self.matches(self.0.pointer(&reference[1..]).unwrap(), value);
        }
        if let Some(forms) = schema["anyOf"].as_array() {
            let tried: Vec<_> = forms.iter().map(|form| self.matches(form, value)).collect();
            return match tried.iter().any(Result::is_ok) {
                true => Ok(()),
                false => Err(format!("{tried:?}")),
            };
        }
        let wrong = || Err(format!("{value} is not {schema}"));
        let types = match &schema["type"] {
            Value::Array(types) => types.clone(),
            one => vec![one.clone()],
        };
        let is_type = |name: &Value| match name.as_str() {
            None => true,
            Some("null") => value.is_null(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("number") => value.is_number(),
            Some("string") => value.is_string(),
            Some("array") => value.is_array(),
            Some("object") => value.is_object(),
            Some(other) => panic!("no type: {other}"),
        };
        let words = schema["enum"].as_array();
        if !types.iter().any(is_type) || words.is_some_and(|words| !words.contains(value)) {
            return wrong();
        }
        for item in value.as_array().into_iter().flatten() {
            self.matches(&schema["items"], item)?;
        }
        match value.as_object() {
            Some(fields) => self.matches_fields(schema, fields),
            None => Ok(()),
        }
    }

    fn matches_fields(&self, schema: &Value, fields: &Map<String, Value>) -> Result<(), String> {
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap();
            fields.get(name).ok_or(format!("{name} is missing"))?;
        }
        let Some(properties) = schema["properties"].as_object() else {
            return Ok(());
        };
        for (name, value) in fields {
            let schema = properties.get(name);
            let schema = schema.ok_or(format!("{name} is not described"))?;
            let matched = self.matches(schema, value);
            matched.map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(())
    }
}

#[test]
fn the_document_is_the_same_from_the_daemon_and_from_the_command_line() {
    let coven = Coven::start();
    let served = coven.get("/openapi.json");
    assert_eq!(served.header("content-type"), Some("application/json"));
    assert_eq!(coven.get("/api/v1/openapi.json").json(), served.json());
    for words in [&["help", "openapi", "--json"][..], &["help", "openapi"]] {
        assert_eq!(coven.cli(words).json(), served.json());
    }
    let ran = coven.cli(["help", "openapi", "--yaml"]);
    assert_eq!(ran.code, 2, "{ran:?}");
}

/// Posts to the routes without a session.
fn check_posts(coven: &Coven, document: &Document) {
    for (path, body) in [
        (
            "/actions",
            json!({ "action": "coven.capabilities.refresh", "origin": [1] }),
        ),
        ("/actions", json!({ "action": "none" })),
        (
            "/sessions",
            json!({ "harness": "none", "prompt": "x", "projectRoot": "/" }),
        ),
        (
            "/sessions/external",
            json!({ "id": "x", "harness": "h", "projectRoot": "/" }),
        ),
        ("/store/prune", json!({ "dryRun": true })),
        ("/store/vacuum", json!({})),
        (
            "/store/backup",
            json!({ "path": coven.work().join("copy") }),
        ),
    ] {
        document.check(&format!("POST {path}"), &coven.post(path, &body));
    }
}

#[test]
fn the_daemon_answers_as_the_document_says() {
    let coven = Coven::start();
    let document = Document::of(&coven);
    let launched = coven.try_launch("hello", "say hi", json!({ "labels": ["a"] }));
    document.check("POST /sessions", &launched);
    let id = launched.id();
    coven.ended(&id);
    for path in [
        "/",
        "/health",
        "/api-version",
        "/capabilities",
        "/sessions",
        "/openapi.json",
    ] {
        document.check(&format!("GET {path}"), &coven.get(path));
    }
    document.check("GET /sessions", &coven.get("/sessions?limit=1"));
    document.check("GET /sessions", &coven.get("/sessions?limit=0"));
    document.check(
        "GET /events",
        &coven.get(&format!("/events?sessionId={id}")),
    );
    for part in ["", "/events", "/log"] {
        let name = format!("GET /sessions/{{id}}{part}");
        document.check(&name, &coven.get(&format!("/sessions/{id}{part}")));
        document.check(&name, &coven.get(&format!("/sessions/none{part}")));
    }
    for verb in ["archive", "summon", "kill", "input", "complete"] {
        let answer = coven.post_to(&id, verb, &json!({ "data": "x" }));
        document.check(&format!("POST /sessions/{{id}}/{verb}"), &answer);
    }
    check_posts(&coven, &document);
    let edit = json!({ "title": "other" });
    let edited = coven.request(
        "PATCH",
        &format!("/sessions/{id}"),
        &[],
        edit.to_string().as_bytes(),
    );
    document.check("PATCH /sessions/{id}", &edited);
    document.check(
        "DELETE /sessions/{id}",
        &coven.delete(&format!("/sessions/{id}")),
    );
    document.check("POST /daemon/stop", &coven.post("/daemon/stop", &json!({})));
}
