//! Reading a request's body and query field by field, so that what is wrong is named in the answer.

use serde_json::{Map, Value};

use crate::api::ApiError;

/// A JSON object that came as a body. A field that is null is one that is not there.
pub(super) struct Body(Map<String, Value>);

impl Body {
    /// The body, which must be an object.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(ApiError::invalid("the body is not a JSON object")),
            Err(err) => Err(ApiError::invalid(format!("the body is not JSON: {err}"))),
        }
    }

    /// As [`Body::parse`]; nothing at all is an empty object.
    pub(super) fn parse_or_empty(bytes: &[u8]) -> Result<Self, ApiError> {
        if bytes.is_empty() {
            Ok(Self(Map::new()))
        } else {
            Self::parse(bytes)
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A field of any type.
    pub(super) fn value(&self, name: &str) -> Option<Value> {
        self.get(name).cloned()
    }

    /// An optional string.
    pub(super) fn optional(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ApiError::invalid_field(
                name,
                format!("{name} must be a string"),
            )),
        }
    }

    /// An optional string without NUL, of `max` bytes at most.
    pub(super) fn optional_text(&self, name: &str, max: usize) -> Result<Option<String>, ApiError> {
        let Some(text) = self.optional(name)? else {
            return Ok(None);
        };
        if text.len() > max {
            return Err(ApiError::invalid_field(
                name,
                format!("{name} is longer than {max} bytes"),
            ));
        }
        no_nul(name, text)?;
        Ok(Some(text.to_owned()))
    }

    /// A string that must be there, and not be empty.
    pub(super) fn required(&self, name: &str) -> Result<&str, ApiError> {
        match self.optional(name)? {
            None => Err(ApiError::invalid_field(name, format!("{name} is missing"))),
            Some("") => Err(ApiError::invalid_field(name, format!("{name} is empty"))),
            Some(text) => Ok(text),
        }
    }

    /// An optional truth value.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.as_bool().map(Some).ok_or_else(|| {
                ApiError::invalid_field(name, format!("{name} must be true or false"))
            }),
        }
    }

    /// An optional whole number that is not negative.
    pub(super) fn optional_unsigned(&self, name: &str) -> Result<Option<u64>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or_else(|| {
                ApiError::invalid_field(
                    name,
                    format!("{name} must be a whole number, and not negative"),
                )
            }),
        }
    }

    /// An optional whole number of 32 bits.
    pub(super) fn optional_i32(&self, name: &str) -> Result<Option<i32>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value
                .as_i64()
                .and_then(|n| i32::try_from(n).ok())
                .map(Some)
                .ok_or_else(|| {
                    ApiError::invalid_field(name, format!("{name} must be a whole number"))
                }),
        }
    }

    /// The labels: at most 32 of at most 128 bytes.
    pub(super) fn labels(&self) -> Result<Vec<String>, ApiError> {
        let wrong = || {
            ApiError::invalid_field(
                "labels",
                "labels must be at most 32 strings of at most 128 bytes",
            )
        };
        let Some(value) = self.get("labels") else {
            return Ok(Vec::new());
        };
        let labels = value
            .as_array()
            .filter(|labels| labels.len() <= 32)
            .ok_or_else(wrong)?;
        labels
            .iter()
            .map(|label| {
                label
                    .as_str()
                    .filter(|label| label.len() <= 128)
                    .map(str::to_owned)
                    .ok_or_else(wrong)
            })
            .collect()
    }
}

/// Refuses a NUL, which neither an argument nor a path can hold.
pub(super) fn no_nul(name: &str, text: &str) -> Result<(), ApiError> {
    if text.contains('\0') {
        return Err(ApiError::invalid_field(
            name,
            format!("{name} holds a NUL byte"),
        ));
    }
    Ok(())
}

/// A query string. What the contract puts into one needs no escaping, so that nothing is decoded.
pub(super) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    pub(super) fn new(query: &'a str) -> Self {
        Self(query)
    }

    /// The first value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// An integer, clamped to `min` and `max`.
    pub(super) fn clamped(&self, name: &str, min: u64, max: u64) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ApiError::invalid_field(
                name,
                format!("{name} must be an integer"),
            ));
        }
        if text.starts_with('-') {
            return Ok(Some(min));
        }
        // Digits that no number holds are more than any bound.
        Ok(Some(digits.parse().unwrap_or(u64::MAX).clamp(min, max)))
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(_) => Err(ApiError::invalid_field(
                name,
                format!("{name} must be true or false"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Random, rounds};

    #[test]
    fn integers_are_clamped_and_nothing_else_is_an_integer() {
        let get = |query| Query::new(query).clamped("limit", 1, 1000);
        assert_eq!(get(""), Ok(None));
        assert_eq!(get("limit=5"), Ok(Some(5)));
        assert_eq!(get("a=b&limit=0"), Ok(Some(1)));
        assert_eq!(get("limit=-7"), Ok(Some(1)));
        assert_eq!(get("limit=99999999999999999999999"), Ok(Some(1000)));
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
            assert!(get(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wrong_field_is_named() {
        let body =
            Body::parse(br#"{"a":1,"b":"","c":null,"d":"x\u0000","labels":["x",1]}"#).unwrap();
        let field = |result: Result<(), ApiError>| match result {
            Err(ApiError::InvalidRequest { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(field(body.required("a").map(drop)), Some("a".into()));
        assert_eq!(field(body.required("b").map(drop)), Some("b".into()));
        assert_eq!(field(body.required("c").map(drop)), Some("c".into()));
        assert_eq!(
            field(body.optional_text("d", 9).map(drop)),
            Some("d".into())
        );
        assert_eq!(field(body.labels().map(drop)), Some("labels".into()));
        assert_eq!(body.optional("c"), Ok(None));
    }

    #[test]
    fn a_body_is_an_object() {
        for bad in ["", "[]", "1", "{", "\"x\"", "{\"a\":1}x"] {
            assert!(Body::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Body::parse_or_empty(b"").is_ok());
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
                pairs.push(((*random.pick(&["limit", "after", "x"])).to_owned(), value));
            }
            let text: Vec<String> = pairs
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            let text = text.join("&");
            let query = Query::new(&text);
            for name in ["limit", "after", "x", "none"] {
                let first = pairs
                    .iter()
                    .find(|(key, _)| key == name)
                    .map(|(_, value)| value.as_str());
                assert_eq!(query.get(name), first, "{text:?}");
                let number = first.map(str::parse::<i128>);
                match query.clamped(name, 3, 1000) {
                    Ok(None) => assert_eq!(first, None),
                    Ok(Some(n)) => {
                        // A plus sign is no digit, and i128 takes one.
                        let exact = number.unwrap().unwrap().clamp(3, 1000);
                        assert_eq!(i128::from(n), exact, "{text:?}");
                    }
                    Err(_) => assert!(
                        number.unwrap().is_err() || first.unwrap().starts_with('+'),
                        "{text:?}"
                    ),
                }
            }
        }
    }

    #[test]
    fn no_body_makes_a_field_panic() {
        let mut random = Random::new(2);
        let whole = r#"{"a":"é","b":[1,"x",null],"labels":["l"],"n":-1,"t":true,"f":1e99}"#;
        for _ in 0..rounds(5000) {
            let mut bytes = whole.as_bytes().to_vec();
            for _ in 0..random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] = match random.one_in(2) {
                    true => *random.pick(b"\"{}[],:0-e.\\u"),
                    false => random.next() as u8,
                };
            }
            let Ok(body) = Body::parse(&bytes) else {
                continue;
            };
            for name in ["a", "b", "labels", "n", "t", "f"] {
                let text = body.optional_text(name, 3);
                assert!(
                    text.iter()
                        .flatten()
                        .all(|text| text.len() <= 3 && !text.contains('\0'))
                );
                let _ = (body.required(name), body.flag(name));
                let _ = (body.optional_unsigned(name), body.optional_i32(name));
            }
            let labels = body.labels().unwrap_or_default();
            assert!(labels.iter().all(|label| label.len() <= 128));
        }
    }
}
