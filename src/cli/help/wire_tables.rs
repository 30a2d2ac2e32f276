//! The tables of coven-api(7): each route with the fields of its requests, and the record of a session, from the
//! structures on the wire.
//!
//! Pure.

use super::tables::{code, sentence, table};
use crate::api::SessionRecord;
use crate::api::routes::{Facts, Route};
use crate::api::wire::{Object, Shape, Wire, WireField};

/// Each route under its name: summary, fields, and what it answers with other statuses than 200.
pub(super) fn routes() -> String {
    Route::ALL.iter().map(|route| routed(*route)).collect()
}

/// The fields of a session's record.
pub(super) fn record() -> String {
    match SessionRecord::SHAPE {
        Shape::Object(object) => table(rows(object).into_iter()),
        _ => String::new(),
    }
}

fn routed(route: Route) -> String {
    let facts = route.facts();
    let mut out = format!(
        "## {}\n\n{}{}\n\n",
        route.name(),
        sentence(route.summary()),
        notes(facts)
    );
    // A route that is like another one has its fields, too.
    let own = [facts.query, facts.body]
        .into_iter()
        .filter(|_| !route.summary().starts_with("as `"));
    for shape in own {
        if let Shape::Object(object) = shape {
            out += &format!("{}\n", table(rows(object).into_iter()));
        }
    }
    out
}

/// Statuses and errors of a route, beyond those of every route.
fn notes(facts: &Facts) -> String {
    let statuses = match facts.statuses {
        [200] => String::new(),
        statuses => {
            let statuses: Vec<String> = statuses.iter().map(u16::to_string).collect();
            format!(" Status {}.", statuses.join(" or "))
        }
    };
    match facts.refusals {
        [] => statuses,
        refusals => format!(
            "{statuses} Errors: {}.",
            code(refusals.iter().map(|code| code.as_str()))
        ),
    }
}

/// A row for each field, those of flattened structures included.
fn rows(object: &Object) -> Vec<(String, String)> {
    let fields = object
        .fields()
        .filter(|(_, _, field)| !field.traits.is_hidden);
    let rows = fields.flat_map(|(name, doc, field)| match inner(field) {
        Some(flat) if field.traits.is_flat => rows(flat),
        _ => vec![(code([&name]), described(doc, field.shape))],
    });
    rows.collect()
}

fn inner(field: &WireField) -> Option<&'static Object> {
    match field.shape {
        Shape::Object(object) => Some(object),
        _ => None,
    }
}

/// The meaning of a field, and its values.
fn described(doc: &str, shape: &Shape) -> String {
    let (values, null) = match shape {
        Shape::Optional(inner) => (values(inner), ", or null"),
        shape => (values(shape), ""),
    };
    let doc = doc.trim();
    match doc.is_empty() {
        true => sentence(&format!("{values}{null}")),
        false => format!("{doc} ({values}{null})"),
    }
}

/// The values of a shape, in words.
fn values(shape: &Shape) -> String {
    match shape {
        Shape::Nothing | Shape::Any => "any JSON".into(),
        Shape::Boolean => "true or false".into(),
        Shape::Integer { .. } => "integer".into(),
        Shape::Number => "number".into(),
        Shape::Text | Shape::Plain => "text".into(),
        Shape::Time => "RFC 3339 time".into(),
        Shape::Words(words) => code(words.split_whitespace()),
        Shape::Open(shape) | Shape::Optional(shape) => values(shape),
        Shape::List(shape) => format!("list: {}", values(shape)),
        Shape::Map(shape) => format!("object: {}", values(shape)),
        Shape::Object(object) => {
            let names = object.fields().map(|(name, ..)| name);
            format!("object: {}", code(names))
        }
    }
}
