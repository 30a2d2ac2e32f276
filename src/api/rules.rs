//! Rules for request fields beyond their type, for `#[serde(deserialize_with)]`.
//!
//! Pure. An error follows the field's name, which the deserializer adds: `is empty`. [`KEYWORDS`] says the same to
//! clients.

use serde::de::{Deserialize, Deserializer, Error};

use super::wire::contains;
use super::{
    Labels, PATH_MAX, Permission, VARIABLES_MAX, Variables, Word, is_conversation_id,
    is_session_id_prefix, must_be,
};

/// Most labels of a session, and the longest label in bytes.
pub(crate) const LABELS_MAX: usize = 32;
pub(crate) const LABEL_MAX: usize = 128;
/// Most directories besides the working directory.
pub(crate) const DIRECTORIES_MAX: usize = 64;

/// Most sessions of a page.
pub(crate) const PAGE_MAX: u64 = 1000;

/// Defines [`KEYWORDS`]; a rule is named there as attributes name it.
macro_rules! keywords {
    ($($rule:literal: $keywords:literal,)*) => {
        /// For each rule, the JSON Schema keywords that describe it, as far as keywords can. Lengths are in characters
        /// there, and in bytes here.
        pub const KEYWORDS: &[(&str, &str)] =
            &[$((concat!("\"rules::", $rule, "\""), $keywords)),*];
    };
}

keywords! {
    "filled": r#"{"minLength":1}"#,
    "argument": r#"{"pattern":"^[^\\u0000]+$"}"#,
    "absolute": r#"{"pattern":"^/[^\\u0000]*$"}"#,
    "action": r#"{"enum":["coven.capabilities.refresh"]}"#,
    "prompt": r#"{"pattern":"^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$"}"#,
    "optional_prompt": r#"{"pattern":"^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$"}"#,
    "text::<{ usize::MAX }, _>": r#"{"pattern":"^[^\\u0000]*$"}"#,
    "text::<{ PATH_MAX - 1 }, _>": r#"{"pattern":"^[^\\u0000]*$","maxLength":4095}"#,
    "text::<TITLE_MAX, _>": r#"{"pattern":"^[^\\u0000]*$","maxLength":1024}"#,
    "conversation_id": r#"{"pattern":"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$","examples":["c-1"]}"#,
    "optional_conversation_id": r#"{"pattern":"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"}"#,
    "id_prefix": r#"{"pattern":"^[0-9a-f-]{1,36}$"}"#,
    "given_id": r#"{"pattern":"^(?!\\s)[^\\u0000-\\u001f\\u007f-\\u009f/?#]{1,200}(?<!\\s)$"}"#,
    "labels": r#"{"maxItems":32,"items":{"type":"string","maxLength":128,"description":"at most 128 bytes in UTF-8"}}"#,
    "filled_labels": r#"{"maxItems":32,"items":{"type":"string","maxLength":128,"pattern":"\\S"}}"#,
    "variables": r#"{"propertyNames":{"pattern":"^(?!COVEN_)[A-Za-z_][A-Za-z0-9_]*$"},"additionalProperties":{"type":"string","pattern":"^[^\\u0000]*$"}}"#,
    "arguments": r#"{"items":{"type":"string","pattern":"^[^\\u0000]*$"}}"#,
    "directories": r#"{"maxItems":64,"items":{"type":"string","maxLength":4095,"pattern":"^/[^\\u0000]*$"}}"#,
    "policy_permission": r#"{"enum":["read-only","workspace-write","full"]}"#,
    "at_least_one": r#"{"minimum":1}"#,
    "page_limit": r#"{"minimum":1,"maximum":1000}"#,
}

/// Number of the rule that a field's attributes name, in [`KEYWORDS`].
pub(super) const fn number(attributes: &str) -> Option<u8> {
    let mut number = 0;
    while number < KEYWORDS.len() {
        if contains(attributes, KEYWORDS[number].0) {
            return Some(number as u8);
        }
        number += 1;
    }
    None
}

/// Text that is not empty.
pub(super) fn filled<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let text = String::deserialize(input)?;
    match text.is_empty() {
        true => Err(D::Error::custom("is empty")),
        false => Ok(text),
    }
}

/// Text that is not empty and has no NUL, as arguments and paths require.
pub(super) fn argument<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    without_nul(filled(input)?)
}

/// An absolute path.
pub(super) fn absolute<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let path = argument(input)?;
    match path.starts_with('/') {
        true => Ok(path),
        false => Err(D::Error::custom("must be an absolute path")),
    }
}

/// The name of an action. One that does not exist gets an answer of its own.
pub(super) fn action<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    filled(input)
}

/// A prompt: an [`argument`] that is not blank.
pub(super) fn prompt<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let text = argument(input)?;
    match text.trim().is_empty() {
        true => Err(D::Error::custom("is blank")),
        false => Ok(text),
    }
}

/// As [`prompt`], for an optional field.
pub(super) fn optional_prompt<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<String>, D::Error> {
    prompt(input).map(Some)
}

/// Text without NUL, of at most `MAX` bytes.
pub(super) fn text<'de, const MAX: usize, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(input)?;
    if text.len() > MAX {
        return Err(D::Error::custom(format!("is longer than {MAX} bytes")));
    }
    without_nul(text).map(Some)
}

fn without_nul<E: Error>(text: String) -> Result<String, E> {
    match text.contains('\0') {
        true => Err(E::custom("holds a NUL byte")),
        false => Ok(text),
    }
}

pub(super) fn conversation_id<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let text = String::deserialize(input)?;
    match is_conversation_id(&text) {
        true => Ok(text),
        false => Err(D::Error::custom(
            "must be 1 to 128 letters, digits, '-', '_' and '.', the first of them a letter or digit",
        )),
    }
}

/// As [`conversation_id`], for an optional field.
pub(super) fn optional_conversation_id<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<String>, D::Error> {
    conversation_id(input).map(Some)
}

/// The beginning of a session's id.
pub(super) fn id_prefix<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(input)?;
    match is_session_id_prefix(&text) {
        true => Ok(Some(text)),
        false => Err(D::Error::custom("is not the beginning of a session id")),
    }
}

/// The id of an external session. It is checked where it is kept.
pub(super) fn given_id<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    filled(input)
}

pub(super) fn labels<'de, D: Deserializer<'de>>(input: D) -> Result<Labels, D::Error> {
    Labels::deserialize(input)
        .ok()
        .filter(|Labels(labels)| {
            labels.len() <= LABELS_MAX && labels.iter().all(|label| label.len() <= LABEL_MAX)
        })
        .ok_or_else(|| {
            D::Error::custom(format!(
                "must be at most {LABELS_MAX} strings of at most {LABEL_MAX} bytes"
            ))
        })
}

/// Labels that are not blank.
pub(super) fn filled_labels<'de, D: Deserializer<'de>>(input: D) -> Result<Labels, D::Error> {
    let given = labels(input)?;
    match given.0.iter().any(|label| label.trim().is_empty()) {
        true => Err(D::Error::custom("has a blank label")),
        false => Ok(given),
    }
}

/// A session's variables. The error names the whole field, and no value.
pub(super) fn variables<'de, D: Deserializer<'de>>(input: D) -> Result<Variables, D::Error> {
    let variables = Variables::deserialize(input)
        .map_err(|_| D::Error::custom("must be an object whose values are strings"))?;
    variables.check().map_err(D::Error::custom)?;
    Ok(variables)
}

/// A field that this daemon does not support, whatever its value.
pub(super) fn unsupported<'de, D: Deserializer<'de>>(_: D) -> Result<(), D::Error> {
    Err(D::Error::custom("is not supported"))
}

/// Arguments for a harness: their size counts like that of variables.
pub(super) fn arguments<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    let args = strings(input)?;
    match args.iter().map(|arg| arg.len() + 1).sum::<usize>() > VARIABLES_MAX {
        true => Err(D::Error::custom(format!(
            "has more than {VARIABLES_MAX} bytes in all"
        ))),
        false => Ok(args),
    }
}

/// Directories besides the working directory. Their existence is checked elsewhere.
pub(super) fn directories<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    let dirs = strings(input)?;
    if dirs.len() > DIRECTORIES_MAX {
        return Err(D::Error::custom(format!(
            "has more than {DIRECTORIES_MAX} directories"
        )));
    }
    match dirs
        .iter()
        .all(|dir| dir.starts_with('/') && dir.len() < PATH_MAX)
    {
        true => Ok(dirs),
        false => Err(D::Error::custom("must be a list of absolute paths")),
    }
}

fn strings<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    let strings = Vec::<String>::deserialize(input)
        .map_err(|_| D::Error::custom("must be a list of strings"))?;
    strings.into_iter().map(without_nul).collect()
}

/// A permission that a policy can set.
pub(super) fn policy_permission<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Permission, D::Error> {
    let word = String::deserialize(input)?;
    let mut words = Permission::SET.into_iter();
    words
        .find(|permission| permission.as_str() == word)
        .ok_or_else(|| D::Error::custom(must_be(&Permission::SET.map(Permission::as_str))))
}

/// A word that this build knows.
pub(super) fn word<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    input: D,
) -> Result<Word<T>, D::Error> {
    T::deserialize(input).map(Word::Known)
}

/// A number that is at least 1.
pub(super) fn at_least_one<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u64>, D::Error> {
    match u64::deserialize(input)? {
        0 => Err(D::Error::custom("must be at least 1")),
        number => Ok(Some(number)),
    }
}

/// The number of sessions of a page. Another number is an error by the contract, and is not clamped.
pub(super) fn page_limit<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u64>, D::Error> {
    match u64::deserialize(input)? {
        limit @ 1..=PAGE_MAX => Ok(Some(limit)),
        _ => Err(D::Error::custom(format!("must be from 1 to {PAGE_MAX}"))),
    }
}

/// As [`word`], for an optional field.
pub(super) fn optional_word<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<Word<T>>, D::Error> {
    word(input).map(Some)
}
