//! Errors of bodies and queries, and random queries.

use serde::Deserialize;

use super::*;
use crate::api::{ActionRequest, CompleteRequest, EventsQuery, LaunchRequest, SessionsQuery};
use crate::random::{Random, rounds};

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    One,
    Two,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Inner {
    n: i32,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Outer {
    text: Option<String>,
    flag: bool,
    number: Option<u64>,
    word: Option<Word>,
    words: Vec<String>,
    inner: Option<Inner>,
    any: Option<Value>,
}

fn wrong<T: DeserializeOwned + fmt::Debug>(body: &str) -> (Option<String>, String) {
    match read_body::<T>(body.as_bytes()) {
        Err(ApiError::InvalidRequest { message, field, .. }) => (field, message),
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn a_wrong_field_is_named_with_what_it_must_be() {
    for (body, field, message) in [
        (r#"{"text":1}"#, "text", "text must be a string"),
        (r#"{"flag":"x"}"#, "flag", "flag must be true or false"),
        (
            r#"{"number":-1}"#,
            "number",
            "number must be a whole number, and not negative",
        ),
        (
            r#"{"number":1.5}"#,
            "number",
            "number must be a whole number, and not negative",
        ),
        (r#"{"word":"three"}"#, "word", "word must be one or two"),
        (r#"{"word":3}"#, "word", "word must be a string"),
        (r#"{"words":["x",1]}"#, "words", "words must be a string"),
        (r#"{"inner":{}}"#, "inner.n", "inner.n is missing"),
        (r#"{"inner":{"n":null}}"#, "inner.n", "inner.n is missing"),
        (
            r#"{"inner":{"n":4294967296}}"#,
            "inner.n",
            "inner.n must be a whole number",
        ),
    ] {
        assert_eq!(wrong::<Outer>(body), (Some(field.into()), message.into()));
    }
    let (field, message) = wrong::<LaunchRequest>(r#"{"harness":"h"}"#);
    assert_eq!(
        (field, message.as_str()),
        (Some("prompt".into()), "prompt is missing")
    );
}

#[test]
fn null_counts_as_absent_and_unknown_fields_are_ignored() {
    let body = br#"{"text":null,"flag":null,"number":null,"word":null,"words":null,"inner":null,"any":null,
        "unknown":{"a":[1]}}"#;
    assert_eq!(read_body::<Outer>(body), Ok(Outer::default()));
    let body = br#"{"any":{"a":[1,null]},"word":"two","inner":{"n":-7}}"#;
    let expected = Outer {
        any: Some(serde_json::json!({ "a": [1, null] })),
        word: Some(Word::Two),
        inner: Some(Inner { n: -7 }),
        ..Outer::default()
    };
    assert_eq!(read_body::<Outer>(body), Ok(expected));
}

#[test]
fn a_body_is_an_object() {
    for bad in ["", "[]", "1", "{", "\"x\"", "{\"a\":1}x"] {
        assert_eq!(wrong::<Outer>(bad).0, None, "{bad}");
    }
}

#[test]
fn integers_of_a_query_saturate_and_nothing_else_is_an_integer() {
    let get = |query| read_query::<EventsQuery>(query).map(|query| query.limit);
    assert_eq!(get(""), Ok(None));
    assert_eq!(get("limit=5&limit=x"), Ok(Some(5)));
    assert_eq!(get("a=b&limit=0"), Ok(Some(0)));
    assert_eq!(get("limit=-7"), Ok(Some(0)));
    assert_eq!(get("limit=99999999999999999999999"), Ok(Some(u64::MAX)));
    for bad in [
        "limit",
        "limit=",
        "limit=1.5",
        "limit=x",
        "limit=+1",
        "limit=1e3",
        "limit=--1",
        "limit=%31",
    ] {
        let wrong = ApiError::invalid_field("limit", "limit must be an integer");
        assert_eq!(get(bad), Err(wrong), "{bad}");
    }
}

#[test]
fn flags_of_a_query_are_true_or_false() {
    let get = |query: &str| read_query::<SessionsQuery>(query).map(|query| query.include_archived);
    for (text, flag) in [("true", true), ("1", true), ("false", false), ("0", false)] {
        assert_eq!(get(&format!("includeArchived={text}")), Ok(Some(flag)));
    }
    for bad in ["includeArchived", "includeArchived=yes"] {
        let message = "includeArchived must be true or false";
        let wrong = ApiError::invalid_field("includeArchived", message);
        assert_eq!(get(bad), Err(wrong), "{bad}");
    }
}

#[test]
fn any_query_gives_the_first_value_of_each_name_or_a_number_within_its_bounds() {
    let mut random = Random::new(1);
    for _ in 0..rounds(5000) {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for _ in 0..random.below(6) {
            let value = match random.below(3) {
                0 => random.next().to_string(),
                1 => (random.next() as i64).to_string(),
                _ => random.text(5).replace('&', ""),
            };
            pairs.push(((*random.pick(&["limit", "waitMs", "x"])).to_owned(), value));
        }
        let text: Vec<String> = pairs
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let text = text.join("&");
        let first = |name: &str| {
            let found = pairs.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str())
        };
        for name in ["limit", "waitMs", "x", "none"] {
            assert_eq!(query_value(&text, name), first(name), "{text:?}");
        }
        // i128 accepts a plus sign; a query does not.
        let number = |name: &str| match first(name).filter(|text| !text.starts_with('+')) {
            None => first(name).map_or(Ok(None), |_| Err(())),
            Some(text) => text.parse().map(Some).map_err(drop),
        };
        let saturated = |n: Option<i128>| n.map(|n| n.clamp(0, u64::MAX.into()) as u64);
        match (number("limit"), number("waitMs")) {
            (Ok(limit), Ok(wait)) => {
                let query = read_query::<EventsQuery>(&text).unwrap();
                assert_eq!(query.limit, saturated(limit), "{text:?}");
                assert_eq!(query.wait_ms, saturated(wait), "{text:?}");
            }
            _ => assert!(read_query::<EventsQuery>(&text).is_err(), "{text:?}"),
        }
    }
}

#[test]
fn no_body_makes_a_field_panic() {
    let mut random = Random::new(2);
    let whole = r#"{"harness":"h","prompt":"é","projectRoot":"/","cwd":null,"labels":["l",1],
        "title":"t","model":true,"timeoutMs":-1,"f":1e99}"#;
    for _ in 0..rounds(5000) {
        let mut bytes = whole.as_bytes().to_vec();
        for _ in 0..random.below(4) {
            let at = random.below(bytes.len());
            bytes[at] = match random.one_in(2) {
                true => *random.pick(b"\"{}[],:0-e.\\u"),
                false => random.next() as u8,
            };
        }
        if let Ok(launch) = read_body::<LaunchRequest>(&bytes) {
            assert!(!launch.prompt.is_empty() && !launch.prompt.contains('\0'));
            assert!(launch.labels.0.iter().all(|label| label.len() <= 128));
        }
    }
}

#[test]
fn a_whole_number_can_be_written_with_a_fraction_of_zero() {
    let exit_code = |number: &str| {
        let body = format!(r#"{{"exitCode":{number}}}"#);
        read_body::<CompleteRequest>(body.as_bytes()).map(|request| request.exit_code)
    };
    assert_eq!(exit_code("-1.0").unwrap(), Some(-1));
    assert_eq!(exit_code("2e1").unwrap(), Some(20));
    for wrong in ["1.5", "3e9", "1e300"] {
        let message = exit_code(wrong).unwrap_err().message();
        assert_eq!(message, "exitCode must be a whole number");
    }
    let body = br#"{"action":"a","origin":1.0}"#;
    let request: ActionRequest = read_body(body).unwrap();
    assert_eq!(request.origin.unwrap().to_string(), "1.0");
}
