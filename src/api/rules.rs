//! What a field of a request must be like beyond its type, for `#[serde(deserialize_with)]`.
//!
//! Pure. An error follows the field's name, which the reader of the request knows: `is empty`.

use serde::de::{Deserialize, Deserializer, Error};

use super::{
    Labels, PATH_MAX, Permission, VARIABLES_MAX, Variables, Word, is_conversation_id, must_be,
};

/// The most labels that a session has, and the longest of them, in bytes.
pub(crate) const LABELS_MAX: usize = 32;
const LABEL_MAX: usize = 128;
/// The most directories beside a working directory.
const DIRECTORIES_MAX: usize = 64;

/// Text that is not empty.
pub(super) fn filled<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let text = String::deserialize(input)?;
    match text.is_empty() {
        true => Err(D::Error::custom("is empty")),
        false => Ok(text),
    }
}

/// Text that is not empty, and can be an argument or a path: neither can hold a NUL.
pub(super) fn argument<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    without_nul(filled(input)?)
}

/// A prompt: an [`argument`] that says something.
pub(super) fn prompt<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let text = argument(input)?;
    match text.trim().is_empty() {
        true => Err(D::Error::custom("is blank")),
        false => Ok(text),
    }
}

/// The same, where it can be left out.
pub(super) fn optional_prompt<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<String>, D::Error> {
    prompt(input).map(Some)
}

/// Text without NUL, of `MAX` bytes at most.
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

/// The id of a conversation.
pub(super) fn conversation_id<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let text = String::deserialize(input)?;
    match is_conversation_id(&text) {
        true => Ok(text),
        false => Err(D::Error::custom(
            "must be 1 to 128 letters, digits, '-', '_' and '.', the first of them a letter or digit",
        )),
    }
}

/// The labels of a session.
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

/// Labels that say something.
pub(super) fn filled_labels<'de, D: Deserializer<'de>>(input: D) -> Result<Labels, D::Error> {
    let given = labels(input)?;
    match given.0.iter().any(|label| label.trim().is_empty()) {
        true => Err(D::Error::custom("has a blank label")),
        false => Ok(given),
    }
}

/// The variables of a session. The error is the whole field's, and has no value in it.
pub(super) fn variables<'de, D: Deserializer<'de>>(input: D) -> Result<Variables, D::Error> {
    let variables = Variables::deserialize(input)
        .map_err(|_| D::Error::custom("must be an object whose values are strings"))?;
    variables.check().map_err(D::Error::custom)?;
    Ok(variables)
}

/// What this daemon cannot honour, whatever its value is.
pub(super) fn unsupported<'de, D: Deserializer<'de>>(_: D) -> Result<(), D::Error> {
    Err(D::Error::custom("is not supported"))
}

/// Arguments for a harness: they count as its variables do.
pub(super) fn arguments<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    let args = strings(input)?;
    match args.iter().map(|arg| arg.len() + 1).sum::<usize>() > VARIABLES_MAX {
        true => Err(D::Error::custom(format!(
            "has more than {VARIABLES_MAX} bytes in all"
        ))),
        false => Ok(args),
    }
}

/// Directories beside a working directory. Whether they are there is for others to see.
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

/// As [`word`], for a field that can be absent.
pub(super) fn optional_word<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<Word<T>>, D::Error> {
    word(input).map(Some)
}
