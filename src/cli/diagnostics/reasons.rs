//! What a report shows of the text of a failure: known phrases. The rest can be anybody's. Pure.

use std::io;

use crate::api::ApiError;

/// What SQLite and the parsers say.
#[rustfmt::skip]
const LIBRARIES: &[&str] = &[
    "database disk image is malformed", "database is locked", "database or disk is full", "disk I/O error",
    "attempt to write a readonly database", "unable to open database file", "file is not a database", "out of memory",
    "no such table", "no such column", "regex parse error",
];

/// What the program says besides [`ApiError::MESSAGES`].
#[rustfmt::skip]
const OURS: &[&str] = &[
    "has schema version", "is a SQLite database, but not coven's",
    "the database is damaged", "cannot be bound", "cannot be opened", "cannot be read",
    "does not answer its own health request", "another process holds", "is already running", "the handler panicked",
    "not a manifest", "stands in it twice", "is already there", "it is a symbolic link", "it is not a regular file",
    "it belongs to another user", "others can write it", "must be a bare name", "is bundled", "holds a NUL byte",
    "it is larger than", "is longer than", "is empty", "it matches nothing at all", "must be",
    "is a symbolic link", "is not a directory", "is open to others", "belongs to another user",
    "a process of the session does not end", "a process of an orphaned session does not end",
];

/// The shortest part of an API error's message that says something.
const PART_MIN: usize = 12;

/// What is known of a failure's text: the phrases in it that are ours or a library's, and what the numbers of the
/// system's errors mean.
pub(super) fn known_reason(text: &str) -> Option<String> {
    // What stands in braces is a value.
    let parts = ApiError::MESSAGES
        .iter()
        .flat_map(|message| message.split(['{', '}']).step_by(2))
        .map(|part| part.trim_matches([' ', ':', '.']))
        .filter(|part| part.len() >= PART_MIN);
    let phrases = LIBRARIES.iter().chain(OURS).copied().chain(parts);
    let mut known: Vec<String> = phrases
        .filter(|phrase| text.contains(phrase))
        .map(str::to_owned)
        .collect();
    known.extend(text.split("(os error ").skip(1).filter_map(|rest| {
        let number = rest.split_once(')')?.0.parse().ok()?;
        Some(io::Error::from_raw_os_error(number).to_string())
    }));
    known.dedup();
    (!known.is_empty()).then(|| known.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{SessionId, SessionStatus};
    use crate::checkout::{checkout, each_file};

    #[test]
    fn only_what_is_known_is_kept_of_a_reason() {
        for (text, known) in [
            (
                "my secret plan: /srv/x: No such file or directory (os error 2)",
                Some("No such file or directory (os error 2)"),
            ),
            (
                "the plan \"x\": database is locked",
                Some("database is locked"),
            ),
            ("prompt is my secret plan", None),
            ("(os error x) (os error", None),
            ("harness cwd", None),
        ] {
            assert_eq!(known_reason(text).as_deref(), known);
        }
    }

    #[test]
    fn a_message_of_the_api_is_known_and_its_values_are_not() {
        let error = ApiError::SessionNotLive {
            id: SessionId::random(),
            status: SessionStatus::Killed,
            left_behind: None,
        };
        let known = known_reason(&error.message());
        assert_eq!(known.as_deref(), Some("the session is not running"));
        let error = ApiError::ProjectRootViolation {
            project_root: "/srv/secret".into(),
            cwd: "/srv/plan".into(),
        };
        let known = known_reason(&error.message());
        assert_eq!(known.as_deref(), Some("is not inside the project root"));
    }

    #[test]
    fn every_phrase_of_ours_is_said_somewhere() {
        let mut source = String::new();
        each_file(&checkout("src"), &mut |path, text| {
            if !path.ends_with(file!()) {
                source.extend(
                    text.lines()
                        .map(|line| line.trim_start().trim_end_matches('\\')),
                );
            }
        });
        for phrase in OURS {
            assert!(source.contains(phrase), "{phrase:?}");
        }
    }
}
