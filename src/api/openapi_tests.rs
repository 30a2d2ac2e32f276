use serde_json::{Value, json};

use super::super::{LaunchPolicy, Permission, REFRESH, TITLE_MAX, rules};
use super::*;

/// Fields that are read, and never written by this program: other clients' names, and what is rejected.
const ONLY_READ: [&str; 4] = ["executionBinding", "input", "requestAdoption", "text"];

/// A value with every field that `shape` describes.
fn sample(shape: &Shape, role: Role) -> Value {
    match shape {
        Shape::Nothing | Shape::Plain => Value::Null,
        Shape::Any => json!({ "any": 1 }),
        Shape::Boolean => true.into(),
        Shape::Integer { .. } => 1.into(),
        Shape::Number => 0.5.into(),
        Shape::Text => "a".into(),
        Shape::Time => "1970-01-01T00:00:00.001Z".into(),
        Shape::Words(words) => words.split_whitespace().last().into(),
        Shape::Open(shape) | Shape::Optional(shape) => sample(shape, role),
        Shape::List(items) => json!([sample(items, role)]),
        Shape::Map(values) => json!({ "name": sample(values, role) }),
        Shape::Object(structure) => Value::Object(sample_object(structure, role)),
    }
}

fn sample_object(structure: &Object, role: Role) -> Map<String, Value> {
    let mut all = Map::new();
    for (name, _, field) in structure.fields() {
        let rule = field.rule.map(|rule| KEYWORDS[usize::from(rule)].0);
        match (field.shape, rule) {
            _ if field.traits.is_hidden => {}
            (Shape::Object(inner), _) if field.traits.is_flat => {
                all.extend(sample_object(inner, role));
            }
            (_, Some(r#""rules::directories""#)) if role == Role::Body => {
                all.insert(name, json!(["/a"]));
            }
            (_, Some(r#""rules::absolute""#)) => {
                all.insert(name, "/a".into());
            }
            (shape, _) => {
                all.insert(name, sample(shape, role));
            }
        }
    }
    all
}

#[test]
fn an_answer_has_the_fields_that_its_shape_describes_and_no_other() {
    for &route in Route::ALL {
        let json = sample(route.facts().answer, Role::Answer);
        assert_eq!(route.answer_again(json.clone()), json, "{}", route.name());
    }
    let json = sample(ErrorBody::SHAPE, Role::Answer);
    let read: ErrorBody = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), json);
}

#[test]
fn a_request_has_the_fields_that_its_shape_describes_and_no_other() {
    for &route in Route::ALL {
        let facts = route.facts();
        let mut described = Vec::new();
        for shape in [facts.query, facts.body] {
            if let Shape::Object(structure) = shape {
                described.extend(structure.fields().map(|(name, ..)| name));
            }
        }
        assert_eq!(route.fields(), described, "{}", route.name());
        if !matches!(facts.body, Shape::Nothing) {
            let mut json = sample(facts.body, Role::Body);
            let fields = json.as_object_mut().unwrap();
            fields.retain(|_, value| !value.is_null());
            let mut back = route.body_again(&json);
            back.as_object_mut()
                .unwrap()
                .retain(|_, value| !value.is_null());
            let fields = json.as_object_mut().unwrap();
            fields.retain(|name, _| !ONLY_READ.contains(&name.as_str()));
            assert_eq!(back, json, "{}", route.name());
        }
    }
    let Shape::Object(policy) = LaunchPolicy::SHAPE else {
        panic!("a policy is an object");
    };
    let names: Vec<String> = policy.fields().map(|(name, ..)| name).collect();
    assert_eq!(names, ["approval", "sandbox", "addDirs"]);
}

#[test]
fn the_keywords_of_a_rule_have_the_bounds_of_the_rule() {
    let keywords = |rule: &str| -> Value {
        let name = format!("\"rules::{rule}\"");
        let found = KEYWORDS.iter().find(|(rule, _)| *rule == name);
        serde_json::from_str(found.unwrap().1).unwrap()
    };
    for (rule, text) in KEYWORDS {
        assert!(
            serde_json::from_str::<Value>(text).unwrap().is_object(),
            "{rule}"
        );
    }
    for &route in Route::ALL {
        if let Shape::Object(body) = route.facts().body {
            let keywords = from_json::<Value>(body.keywords);
            assert!(
                body.keywords.is_empty() || keywords.is_ok(),
                "{}",
                body.name
            );
        }
    }
    assert_eq!(keywords("action")["enum"], json!([REFRESH]));
    assert_eq!(keywords("page_limit")["maximum"], rules::PAGE_MAX);
    assert_eq!(keywords("labels")["maxItems"], rules::LABELS_MAX);
    assert_eq!(keywords("filled_labels")["maxItems"], rules::LABELS_MAX);
    assert_eq!(keywords("labels")["items"]["maxLength"], rules::LABEL_MAX);
    assert_eq!(keywords("directories")["maxItems"], rules::DIRECTORIES_MAX);
    assert_eq!(keywords("text::<TITLE_MAX, _>")["maxLength"], TITLE_MAX);
    let paths = &keywords("text::<{ PATH_MAX - 1 }, _>")["maxLength"];
    assert_eq!(paths, super::super::PATH_MAX - 1);
    let set = Permission::SET.map(Permission::as_str);
    assert_eq!(keywords("policy_permission")["enum"], json!(set));
}

#[test]
fn descriptions_have_no_links() {
    let mut schema = json!({});
    describe(
        &mut schema,
        " An [`EventId`](super::EventId), see [`super::ID`]; a [] b.",
    );
    assert_eq!(schema["description"], "An `EventId`, see `ID`; a [] b.");
    let text = document().to_string();
    assert!(!text.contains("[`"), "{text}");
}

#[test]
fn every_reference_leads_to_a_schema() {
    let document = document();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    for &route in Route::ALL {
        let path = route.pattern().replace(":id", "{id}");
        let method = route.method().to_ascii_lowercase();
        assert_eq!(
            document["paths"][&path][&method]["operationId"],
            route.facts().id
        );
    }
}
