//! Session ids: UUIDs in lower case, random, so that a few characters name one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of a session. Parsing takes exactly the form that it is printed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(Uuid);

impl SessionId {
    /// A new random id (UUID version 4, RFC 9562).
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// Its last 62 bits, all of them random.
    pub fn random_bits(&self) -> u64 {
        self.0.as_u64_pair().1 & (u64::MAX >> 2)
    }
}

impl FromStr for SessionId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Uuid::try_parse(text)
            .ok()
            .map(Self)
            // Uuid also takes upper case, braces and URNs; as a key of a path, an id has one form.
            .filter(|id| id.to_string() == text)
            .ok_or_else(|| "a session id is a UUID in lower case".to_owned())
    }
}

impl TryFrom<String> for SessionId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// Whether `text` can be the beginning of a session id.
pub fn is_session_id_prefix(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 36
        && text
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_is_printed() {
        let id = SessionId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn only_the_printed_form_is_an_id() {
        let id = SessionId::random().to_string();
        for other in [
            id.to_uppercase().replace(|c: char| c.is_ascii_digit(), "A"),
            format!("{{{id}}}"),
            format!("urn:uuid:{id}"),
            id.replace('-', ""),
            id[..35].to_owned(),
            String::new(),
            "../../etc/passwd".to_owned(),
        ] {
            assert!(other.parse::<SessionId>().is_err(), "{other}");
        }
    }
}
