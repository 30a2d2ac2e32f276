//! Deserializes a request's body and query, or an adapter's declaration, with errors that name the invalid field.
//!
//! Pure. serde_json's errors do not name the field, so this is a deserializer of its own. A null field counts as
//! absent, an unknown field is ignored. In an object whose names the client chooses, each value counts.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{BorrowedStrDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::Value;

use super::{ApiError, must_be};

/// Parses `json`. All JSON is read as bytes: `serde_json::from_str` would compile each structure's reader again.
///
/// # Errors
/// `json` is not JSON, or not of this structure.
pub fn from_json<'a, T: Deserialize<'a>>(json: &'a str) -> serde_json::Result<T> {
    serde_json::from_slice(json.as_bytes())
}

/// An object of `entries`. `collect` would first sort them, with a copy of std's sort for each type of iterator.
pub fn object(entries: impl IntoIterator<Item = (String, Value)>) -> Value {
    let mut object = serde_json::Map::new();
    object.extend(entries);
    Value::Object(object)
}

/// Parses a body into its route's structure.
pub fn read_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let body = parse(bytes)?;
    match &body {
        Value::Object(_) => Ok(T::deserialize(Input::Json(&body))?),
        _ => Err(ApiError::invalid("the body is not a JSON object")),
    }
}

/// Deserializes `value`.
///
/// # Errors
/// The path of the invalid field, and the rule: `sandbox.full: must be a string`.
pub fn read_value<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    T::deserialize(Input::Json(value)).map_err(|wrong| {
        let (field, what) = (wrong.field.as_deref(), &wrong.what);
        format!("{}: {what}", field.unwrap_or("the entry"))
    })
}

/// Parses a body as JSON.
pub fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(bytes)
        .map_err(|err| ApiError::invalid(format!("the body is not JSON: {err}")))
}

/// Parses a query into its route's structure. The contract's values need no escaping, so nothing is decoded.
pub fn read_query<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
    Ok(T::deserialize(Input::Query(query))?)
}

/// The first value of a parameter.
pub fn query_value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut parameters = parameters(query);
    parameters
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// An error and its place.
#[derive(Debug)]
struct Wrong {
    /// Path of the field, if the error is within one.
    field: Option<String>,
    what: What,
}

#[derive(Debug)]
enum What {
    /// A sentence that starts with the field's name.
    Predicate(String),
    /// The field accepts only this word.
    OnlyWord(&'static str),
}

impl Wrong {
    fn new(what: impl Into<String>) -> Self {
        Self {
            field: None,
            what: What::Predicate(what.into()),
        }
    }

    fn must_be(expected: &dyn Expected) -> Self {
        // Replaces serde's type names by those of JSON.
        let expected = expected.to_string();
        Self::new(match expected.as_str() {
            "u32" | "u64" => "must be a whole number, and not negative".to_owned(),
            "i32" => "must be a whole number".to_owned(),
            "a boolean" => "must be true or false".to_owned(),
            what => format!("must be {what}"),
        })
    }

    fn within(self, outer: &str) -> Self {
        let field = Some(match self.field {
            Some(inner) => format!("{outer}.{inner}"),
            None => outer.to_owned(),
        });
        Self { field, ..self }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Predicate(what) => f.write_str(what),
            Self::OnlyWord(word) => write!(f, "must be {word}"),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field.as_deref().unwrap_or("the request");
        match &self.what {
            What::Predicate(what) => write!(f, "{field} {what}"),
            What::OnlyWord(word) => write!(f, "the only {field} supported is {word}"),
        }
    }
}

impl std::error::Error for Wrong {}

impl serde::de::Error for Wrong {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self::new(what.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::must_be(expected)
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::must_be(expected)
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        match expected {
            [only] => Self {
                field: None,
                what: What::OnlyWord(only),
            },
            words => Self::new(must_be(words)),
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new("is missing").within(field)
    }
}

impl From<Wrong> for ApiError {
    fn from(wrong: Wrong) -> Self {
        let message = wrong.to_string();
        match wrong.field {
            Some(field) => Self::invalid_field(field, message),
            None => Self::invalid(message),
        }
    }
}

/// A value of a request.
#[derive(Clone, Copy)]
enum Input<'a> {
    /// From a body.
    Json(&'a Value),
    /// A whole query.
    Query(&'a str),
    /// From a query: text.
    Text(&'a str),
}

impl<'de> Input<'de> {
    /// Visits a whole number. JSON has one type for numbers, and many clients write `1.0` for 1.
    fn visit_whole<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        // Up to here an f64 holds every whole number.
        const EXACT: f64 = (1_u64 << 53) as f64;
        match self {
            Self::Json(Value::Number(number)) if number.is_f64() => match number.as_f64() {
                Some(whole) if whole.fract() == 0.0 && whole.abs() <= EXACT => {
                    visitor.visit_i64(whole as i64)
                }
                _ => self.deserialize_any(visitor),
            },
            _ => self.deserialize_any(visitor),
        }
    }
}

impl<'de> IntoDeserializer<'de, Wrong> for Input<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Input<'de> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self {
            Self::Query(query) => {
                let mut pairs: Vec<(&str, Self)> = Vec::new();
                for (name, value) in parameters(query) {
                    if pairs.iter().all(|(earlier, _)| *earlier != name) {
                        pairs.push((name, Self::Text(value)));
                    }
                }
                visitor.visit_map(Fields::new(pairs))
            }
            Self::Text(text) => visitor.visit_borrowed_str(text),
            Self::Json(Value::Null) => visitor.visit_unit(),
            Self::Json(Value::Bool(flag)) => visitor.visit_bool(*flag),
            Self::Json(Value::String(text)) => visitor.visit_borrowed_str(text),
            Self::Json(Value::Array(items)) => {
                visitor.visit_seq(SeqDeserializer::new(items.iter().map(Self::Json)))
            }
            Self::Json(Value::Object(fields)) => {
                let pairs = fields.iter().filter(|(_, value)| !value.is_null());
                let pairs = pairs.map(|(name, value)| (name.as_str(), Self::Json(value)));
                visitor.visit_map(Fields::new(pairs.collect()))
            }
            Self::Json(Value::Number(number)) => {
                if let Some(number) = number.as_u64() {
                    visitor.visit_u64(number)
                } else if let Some(number) = number.as_i64() {
                    visitor.visit_i64(number)
                } else {
                    visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN))
                }
            }
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let Self::Text(text) = self else {
            return self.visit_whole(visitor);
        };
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Wrong::new("must be an integer"));
        }
        // Numbers are clamped: a negative one counts as 0, and one with too many digits as the maximum.
        visitor.visit_u64(match text.len() == digits.len() {
            true => digits.parse().unwrap_or(u64::MAX),
            false => 0,
        })
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.visit_whole(visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.visit_whole(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self {
            Self::Text("true" | "1") => visitor.visit_bool(true),
            Self::Text("false" | "0") => visitor.visit_bool(false),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self {
            Self::Json(Value::Null) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self {
            Self::Text(word) => visitor.visit_enum(BorrowedStrDeserializer::new(word)),
            Self::Json(Value::String(word)) => {
                visitor.visit_enum(BorrowedStrDeserializer::new(word))
            }
            _ => Err(Wrong::must_be(&"a string")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self {
            Self::Json(Value::Object(fields)) => {
                let pairs = fields.iter();
                let pairs = pairs.map(|(name, value)| (name.as_str(), Self::Json(value)));
                visitor.visit_map(Fields::new(pairs.collect()))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i64 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct struct identifier ignored_any
    }
}

/// The fields of an object or of a query. serde's `MapDeserializer` would not name the field of an error.
struct Fields<'a> {
    left: std::vec::IntoIter<(&'a str, Input<'a>)>,
    current: Option<(&'a str, Input<'a>)>,
}

impl<'a> Fields<'a> {
    fn new(pairs: Vec<(&'a str, Input<'a>)>) -> Self {
        Self {
            left: pairs.into_iter(),
            current: None,
        }
    }
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Wrong> {
        self.current = self.left.next();
        self.current
            .map(|(name, _)| seed.deserialize(BorrowedStrDeserializer::new(name)))
            .transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let (name, value) = self
            .current
            .take()
            .ok_or_else(|| Wrong::new("is missing"))?;
        seed.deserialize(value).map_err(|wrong| wrong.within(name))
    }
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
