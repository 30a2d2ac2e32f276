//! The error codes, each declared once: its word, its HTTP status, and the command that the CLI names next.
//!
//! Pure. What an error says for a person, and its details, stand with the error ([`super::ApiError`]).

use super::words;

/// A row each: the variant, the word, the status of an answer with this code, and what to try next.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $status:expr, $next:expr;)+) => {
        words! {
            /// A structured error code: of an answer, of the CLI, or of a record in the log.
            pub enum Code {
                $($(#[$doc])* $variant = $word,)+
            }
        }

        impl Code {
            /// The HTTP status of an answer with this code; `None` for the codes that only events or the CLI have.
            pub const fn status(self) -> Option<u16> {
                match self {
                    $(Self::$variant => $status,)+
                }
            }

            /// What to try next, or to look at first; `None` where each error says it for itself. A name in braces
            /// stands for the text of that name in the error's details.
            pub const fn next(self) -> Option<&'static str> {
                match self {
                    $(Self::$variant => $next,)+
                }
            }
        }
    };
}

/// For a code about which there is nothing better to say.
pub const LOOK_AT_DAEMON: &str = "coven daemon status";

/// What stands in a hint behind a command that stops or restarts the daemon.
pub const ENDS_SESSIONS: &str = " (ends live sessions)";

codes! {
    /// Malformed JSON, or a missing or wrong field, which `details.field` names. 404 where the path names a version
    /// that the daemon does not speak.
    InvalidRequest = "invalid_request", Some(400), Some("coven --help");
    /// `cwd` does not canonicalize inside the project root.
    ProjectRootViolation = "project_root_violation", Some(400),
        Some("coven run --root <dir> --cwd <dir that lies inside it once links are resolved> …");
    /// There is no such route.
    NotFound = "not_found", Some(404), Some(LOOK_AT_DAEMON);
    /// No session has this id.
    SessionNotFound = "session_not_found", Some(404), Some("coven sessions --all");
    /// The route exists, for other methods.
    MethodNotAllowed = "method_not_allowed", Some(405), Some(LOOK_AT_DAEMON);
    /// Input or kill for a session that is not running.
    SessionNotLive = "session_not_live", Some(409),
        Some("coven show {sessionId}, and coven log {sessionId}, to see how it ended");
    /// Archive or delete of a running session.
    SessionLive = "session_live", Some(409), Some("coven kill {sessionId}");
    /// An external registration over a session that the daemon manages.
    SessionIdConflict = "session_id_conflict", Some(409), Some(LOOK_AT_DAEMON);
    /// An `Idempotency-Key` again, with another body.
    IdempotencyConflict = "idempotency_conflict", Some(409), Some(LOOK_AT_DAEMON);
    /// The body is too large.
    PayloadTooLarge = "payload_too_large", Some(413), Some(LOOK_AT_DAEMON);
    /// The harness is known, its executable is not on the daemon's `PATH`: that is what counts, and often not the shell's.
    HarnessNotFound = "harness_not_found", Some(422),
        Some("coven daemon restart (ends live sessions) from a shell that finds {executable}, or of a unit, with its PATH in COVEN_HOME/env; \
            the daemon's PATH is {daemonPath}");
    /// The harness was given no stdin.
    InputNotAccepted = "input_not_accepted", Some(422),
        Some("coven adapters, for one whose manifest has \"stdin\": \"open\"");
    /// `complete` for a session that the daemon manages.
    NotExternalSession = "not_external_session", Some(422), Some(LOOK_AT_DAEMON);
    /// Kill for a session that somebody else runs.
    ExternalSessionNotKillable = "external_session_not_killable", Some(422), Some("coven show {sessionId}");
    /// The limit on live sessions is reached.
    TooManySessions = "too_many_sessions", Some(429), Some("coven sessions, and coven kill <id>");
    /// What waits for the harness's stdin has reached its bound.
    InputBacklogFull = "input_backlog_full", Some(429), Some("coven attach {sessionId}, to see what it waits for");
    /// The request's head is too large, or has too many headers.
    RequestTooLarge = "request_too_large", Some(431), Some(LOOK_AT_DAEMON);
    /// The harness could not be started. The session's row exists, `failed`.
    LaunchFailed = "launch_failed", Some(500), Some("coven log {sessionId}");
    /// The harness has closed its stdin.
    SendInputFailed = "send_input_failed", Some(500), Some("coven show {sessionId}");
    /// The kernel refused the signal.
    KillFailed = "kill_failed", Some(500), Some("coven show {sessionId}");
    /// A bug.
    InternalError = "internal_error", Some(500), Some("coven daemon logs --code internal_error --since 15m");
    /// The event store cannot be written, or read, now.
    StoreUnavailable = "store_unavailable", Some(503), Some("coven daemon status, and df on COVEN_HOME");
    /// The daemon is stopping.
    ShuttingDown = "shutting_down", Some(503), Some("coven daemon start");
    /// The limit on connections is reached.
    TooManyConnections = "too_many_connections", Some(503), Some(LOOK_AT_DAEMON);
    /// What all clients share has no room now: the answer has `Retry-After`.
    Busy = "busy", Some(503), Some("try again; other clients do not read what they asked for");

    /// A stream was closed behind the session's end while something that the harness has left behind held it.
    LateStreamClosed = "late_stream_closed", None, None;
    /// A stream was still written when it was closed behind the harness's exit.
    OutputDropped = "output_dropped", None, None;

    /// The command line is wrong.
    Usage = "usage", None, Some("coven --help");
    /// No daemon runs.
    DaemonNotRunning = "daemon_not_running", None, Some("coven daemon start");
    /// Daemon and CLI do not speak the same contract.
    UnsupportedApiVersion = "unsupported_api_version", None,
        Some("coven daemon restart (ends live sessions), with the coven that is to be used");
    /// The connection to the daemon broke, or what came over it cannot be read.
    DaemonUnreachable = "daemon_unreachable", None, Some(LOOK_AT_DAEMON);
    /// The daemon does not come up.
    DaemonStartFailed = "daemon_start_failed", None, Some("coven daemon serve, which says on stderr what is wrong");
    /// The daemon does not go.
    DaemonStopFailed = "daemon_stop_failed", None, Some(LOOK_AT_DAEMON);
    /// A service manager runs the daemon, and has to do it.
    DaemonSupervised = "daemon_supervised", None, None;
    /// Another daemon serves this home.
    DaemonAlreadyRunning = "daemon_already_running", None, Some(LOOK_AT_DAEMON);
    /// Another process holds the lock of this home, and does not answer.
    DaemonLocked = "daemon_locked", None, Some("coven daemon stop (ends live sessions), then coven daemon start");
    /// The home is not what a home must be.
    HomeRefused = "home_refused", None, None;
    /// The home holds only the end of a connection to another machine's daemon, and nobody answers there.
    HomeForwarded = "home_forwarded", None,
        Some("restore the connection, as ssh -L makes one; or coven daemon start --here, for a daemon of this machine");
    /// The home was deleted while its daemon ran.
    HomeDeleted = "home_deleted", None, Some("coven daemon start, which makes a new home");
    /// There is no log to read.
    LogNotFound = "log_not_found", None, Some("coven daemon start");
    /// There is no store to work on.
    StoreNotFound = "store_not_found", None, Some("coven daemon start, which makes one");
    /// The socket's path does not fit an address.
    SocketPathTooLong = "socket_path_too_long", None, Some("set COVEN_HOME to a shorter path");
    /// The socket that a service manager hands over cannot be served.
    SocketRefused = "socket_refused", None, Some("look at the socket unit: systemctl cat coven.socket");
    /// An environment variable has a value that it cannot have.
    InvalidSetting = "invalid_setting", None, None;
    /// Several ids begin with these characters.
    AmbiguousId = "ambiguous_id", None, Some("more characters of the id");
    /// The file for the output is there already.
    OutputExists = "output_exists", None, Some("--output, with another name");
    /// Reading or writing failed.
    IoError = "io_error", None, None;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The text in backticks that is a word, not a field.
    fn words_in(text: &str) -> impl Iterator<Item = &str> {
        let quoted = text.split('`').skip(1).step_by(2);
        quoted.filter(|word| !word.contains('.'))
    }

    #[test]
    fn the_readme_has_each_code_with_its_status_and_no_other() {
        let readme = include_str!("../../README.md");
        let (_, own) = readme.split_once("and the CLI's own: ").unwrap();
        let (own, _) = own.split_once(".\n").unwrap();
        let (_, table) = readme.split_once("| status | codes |\n").unwrap();
        let (table, _) = table.split_once("\n\n").unwrap();
        let mut documented: BTreeSet<(Option<u16>, &str)> =
            words_in(own).map(|word| (None, word)).collect();
        for row in table.lines().skip(1) {
            let (status, codes) = row[1..].split_once('|').unwrap();
            let status = Some(status.trim().parse().unwrap());
            documented.extend(words_in(codes).map(|word| (status, word)));
        }
        let mut declared: BTreeSet<_> = Code::ALL
            .map(|code| (code.status(), code.as_str()))
            .into_iter()
            .collect();
        declared.insert((Some(404), Code::InvalidRequest.as_str()));
        let differ: Vec<_> = documented.symmetric_difference(&declared).collect();
        assert!(differ.is_empty(), "in one of both only: {differ:?}");
    }
}
