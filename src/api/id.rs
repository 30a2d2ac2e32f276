//! Session ids: random UUIDs in lower case; an external session's id is the text that its client chose.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A session's id: a UUID, or the text that a client chose for an external session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(Id);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Id {
    Own(Uuid),
    Given(&'static str),
}

/// Chosen ids that this process has seen. They are never freed, so that an id can be copied like a number; their number
/// is bounded by the database and later registrations.
static GIVEN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// Longest chosen id, in characters.
const GIVEN_MAX: usize = 200;

impl SessionId {
    /// A new random id (UUID version 4, RFC 9562).
    pub fn random() -> Self {
        Self(Id::Own(Uuid::new_v4()))
    }

    /// The last 62 bits of a UUID, all of them random.
    pub fn random_bits(&self) -> u64 {
        match self.0 {
            Id::Own(id) => id.as_u64_pair().1 & (u64::MAX >> 2),
            Id::Given(_) => 0,
        }
    }

    /// The id `text`, from a registration or from the database.
    ///
    /// # Errors
    /// `text` is invalid.
    pub fn given(text: &str) -> Result<Self, String> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let is_apart = |c: char| c.is_control() || matches!(c, '/' | '?' | '#');
        if !(1..=GIVEN_MAX).contains(&text.chars().count())
            || text.contains(is_apart)
            || text.trim() != text
        {
            return Err(format!(
                "must have 1 to {GIVEN_MAX} characters, without control characters, /, ?, # and white space at its ends"
            ));
        }
        let name: &'static str = String::leak(text.to_owned());
        GIVEN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name);
        Ok(Self(Id::Given(name)))
    }

    /// The short form for tables: the first eight characters of a UUID, which are nearly always unique; a chosen id as
    /// it is.
    pub fn short(&self) -> String {
        let mut id = self.to_string();
        if self.is_uuid() {
            id.truncate(8);
        }
        id
    }

    /// True if it is a UUID, as all ids of the daemon's own sessions are.
    pub fn is_uuid(&self) -> bool {
        matches!(self.0, Id::Own(_))
    }
}

/// Parses a UUID in its printed form, or a chosen id that this process has seen: a client's request allocates no
/// memory.
impl FromStr for SessionId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uuid = Uuid::try_parse(text).ok().map(|id| Self(Id::Own(id)));
        // Uuid also accepts upper case, braces and URNs; an id in a path has one form.
        let id = uuid.filter(|id| id.to_string() == text).or_else(|| {
            let given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
            given.get(text).map(|name| Self(Id::Given(name)))
        });
        id.ok_or_else(|| "a session id is a UUID in lower case".to_owned())
    }
}

impl TryFrom<String> for SessionId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::given(&text)
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Id::Own(id) => id.as_hyphenated().fmt(f),
            Id::Given(name) => f.pad(name),
        }
    }
}

/// True if `text` can be the start of a session id.
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
    fn a_registrars_name_is_an_id_once_it_has_been_met() {
        for name in ["run 7", "é.1", &"x".repeat(200), "ABCD"] {
            assert!(name.parse::<SessionId>().is_err());
            let id = SessionId::given(name).unwrap();
            assert_eq!((name.parse(), id.to_string()), (Ok(id), name.to_owned()));
        }
        for name in [
            "",
            " x",
            "x ",
            "a/b",
            "a?",
            "#1",
            "a\nb",
            "\u{85}",
            &"x".repeat(201),
        ] {
            assert!(SessionId::given(name).is_err(), "{name}");
        }
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
