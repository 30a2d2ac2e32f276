//! Which words of a log or a daemon are our own, and go into a report: the rest can be anybody's. Pure.

use crate::api::{EventKind, SessionStatus};

/// The log's events.
#[rustfmt::skip]
const EVENTS: &[&str] = &[
    "accept_failed", "command_failed", "connection_refused", "contract_served", "daemon_failed", "daemon_stopped",
    "daemon_stopping", "harness_lost", "internal_error", "kill_failed", "launch_rejected", "log_lines_lost",
    "manifest_refused", "orphan_killed", "out_of_descriptors", "output_truncated", "panic", "peer_refused",
    "reap_failed", "redact_pattern_refused", "request", "request_failed", "retention_failed", "session_ended",
    "session_kill", "session_not_live", "session_orphaned", "session_output_capped", "session_started", "session_swept",
    "session_unwritten", "signal",
    "socket_bound", "spawn_failed", "state_slow", "store_failed", "store_opened", "store_over_limit",
    "store_recovered", "thread_failed",
];

/// Structured error codes: the API's, and the CLI's own.
#[rustfmt::skip]
const CODES: &[&str] = &[
    "ambiguous_id", "daemon_already_running", "daemon_locked", "daemon_not_running", "daemon_start_failed",
    "daemon_stop_failed", "daemon_supervised", "daemon_unreachable", "external_session_not_killable", "harness_not_found", "home_refused",
    "idempotency_conflict", "input_backlog_full", "input_not_accepted", "internal_error", "invalid_request",
    "invalid_setting", "io_error", "kill_failed", "launch_failed", "log_not_found", "method_not_allowed",
    "not_external_session", "not_found", "output_exists", "payload_too_large", "project_root_violation",
    "request_too_large", "send_input_failed", "session_id_conflict", "session_live", "session_not_found",
    "session_not_live", "shutting_down", "socket_path_too_long", "socket_refused", "store_not_found", "store_unavailable",
    "too_many_connections", "too_many_sessions", "unknown", "unsupported_api_version", "usage",
];

/// Why a session is ended, and what kept the state thread.
#[rustfmt::skip]
const REASONS: &[&str] = &[
    "asked_again", "command", "created", "deleted", "ended", "grace_over", "harness", "kill", "stop", "timeout",
];

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

pub(super) fn is_event(word: &str) -> bool {
    EVENTS.contains(&word)
}

pub(super) fn is_code(word: &str) -> bool {
    CODES.contains(&word)
}

pub(super) fn is_reason(word: &str) -> bool {
    REASONS.contains(&word)
}

pub(super) fn is_status(word: &str) -> bool {
    SessionStatus::parse(word).is_some()
}

pub(super) fn is_kind(word: &str) -> bool {
    EventKind::parse(word).is_some()
}

/// Whether `text` can be a version or a contract, as `0.1.0` or `coven.daemon.v1`.
pub(super) fn is_version(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
    let is_contract = text
        .strip_prefix("coven.daemon.v")
        .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    let is_number = text.starts_with(|c: char| c.is_ascii_digit());
    text.len() <= 40 && text.bytes().all(plain) && (is_contract || is_number)
}

/// Whether `text` is a request's id: two numbers in hexadecimal.
pub(super) fn is_request(text: &str) -> bool {
    let is_hex = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_hexdigit());
    text.len() <= 33
        && text
            .split_once('-')
            .is_some_and(|(a, b)| is_hex(a) && is_hex(b))
}

/// Whether `text` is a place in our source.
pub(super) fn is_source_place(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_/.:".contains(&b);
    text.len() <= 80 && text.starts_with("src/") && text.contains(".rs:") && text.bytes().all(plain)
}

/// How a harness ended, as the log writes it.
pub(super) fn is_exit(text: &str) -> bool {
    let number = text.strip_prefix("signal:").unwrap_or(text);
    number.len() <= 4 && number.bytes().all(|b| b.is_ascii_digit() || b == b'-')
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

    /// The words in backticks of the README's table under the line that begins with `head`, in its first column.
    fn documented(head: &str) -> Vec<String> {
        let readme = include_str!("../../../README.md");
        let lines = readme
            .lines()
            .skip_while(|line| !line.starts_with(head))
            .skip(2);
        let rows = lines.take_while(|line| line.starts_with('|'));
        let cells = rows.map(|row| row.split('|').nth(1).unwrap());
        cells
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn every_event_that_the_readme_has_is_known() {
        let events = documented("| event | level");
        assert!(events.len() > 25, "{events:?}");
        for event in events {
            assert!(is_event(&event), "{event}");
        }
    }

    #[test]
    fn every_code_that_the_readme_has_is_known() {
        let readme = include_str!("../../../README.md");
        let (_, list) = readme.split_once("and the CLI's own: ").unwrap();
        let (list, _) = list.split_once(".\n").unwrap();
        let (_, table) = readme.split_once("| status | codes |").unwrap();
        let (table, _) = table.split_once("\n\n").unwrap();
        let codes = list.split('`').chain(table.split('`')).skip(1).step_by(2);
        for code in codes.filter(|code| code.contains('_')) {
            assert!(is_code(code) || code.starts_with("details"), "{code}");
        }
    }

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

    #[test]
    fn versions_requests_and_places_have_their_form() {
        assert!(is_version("0.1.0-rc.1+x") && is_version("coven.daemon.v12"));
        assert!(!is_version("my plan") && !is_version("") && !is_version("coven.daemon.vplan"));
        assert!(is_request("1f-a") && !is_request("plan-b") && !is_request("1"));
        assert!(is_source_place("src/store/writer.rs:12:5") && !is_source_place("/src/x.rs:1"));
        assert!(is_exit("signal:9") && is_exit("3") && !is_exit("plan"));
    }
}
