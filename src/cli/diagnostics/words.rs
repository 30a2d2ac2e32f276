//! Which words of a log or a daemon are our own, and go into a report: the rest can be anybody's. Pure.

use crate::api::{EventKind, SessionStatus};

/// What SQLite and we say of a failure; what else stands in such a text can be anybody's.
#[rustfmt::skip]
const PHRASES: &[&str] = &[
    "database disk image is malformed", "database is locked", "database or disk is full", "disk I/O error",
    "attempt to write a readonly database", "unable to open database file", "file is not a database", "out of memory",
    "no such table", "no such column", "has schema version", "is a SQLite database, but not coven's",
    "the database is damaged", "cannot be bound", "cannot be opened", "cannot be read",
    "does not answer its own health request", "another process holds", "is already running", "the handler panicked",
    "not a manifest", "stands in it twice", "is already there", "it is a symbolic link", "it is not a regular file",
    "it belongs to another user", "others can write it", "is not a bare name", "holds a NUL byte",
    "it is larger than", "is longer than", "is empty", "is not on the daemon's PATH", "regex parse error",
    "it matches nothing at all", "is not valid JSON", "must be", "the session is not live",
    "the harness does not read its stdin", "are live, the limit", "no session has this id", "the process has gone",
    "is a symbolic link", "is not a directory", "is open to others", "belongs to another user",
];

pub(super) fn is_status(word: &str) -> bool {
    SessionStatus::parse(word).is_some()
}

pub(super) fn is_kind(word: &str) -> bool {
    EventKind::parse(word).is_some()
}

/// What is known of a failure's text: the phrases in it that are ours or SQLite's, and what the numbers of the
/// system's errors mean.
pub(super) fn known_reason(text: &str) -> Option<String> {
    let mut known: Vec<String> = PHRASES
        .iter()
        .filter(|phrase| text.contains(**phrase))
        .map(|phrase| (*phrase).to_owned())
        .collect();
    known.extend(text.split("(os error ").skip(1).filter_map(|rest| {
        let number = rest.split_once(')')?.0.parse().ok()?;
        Some(std::io::Error::from_raw_os_error(number).to_string())
    }));
    known.dedup();
    (!known.is_empty()).then(|| known.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_is_kept_of_a_reason() {
        let text = "my secret plan: /srv/x: No such file or directory (os error 2)";
        assert_eq!(
            known_reason(text).as_deref(),
            Some("No such file or directory (os error 2)")
        );
        assert_eq!(
            known_reason("the plan \"x\": database is locked").as_deref(),
            Some("database is locked")
        );
        assert_eq!(known_reason("prompt is my secret plan"), None);
        assert_eq!(known_reason("(os error x) (os error"), None);
    }
}
