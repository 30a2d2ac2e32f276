//! Declares each error code once: its word, its HTTP status, and the CLI's next command.
//!
//! Pure. The error itself ([`super::ApiError`]) has the message and the details.

use super::words;

/// One row each: meaning, variant, word, HTTP status, next command.
macro_rules! codes {
    ($($(#[doc = $about:literal])+ $variant:ident = $word:literal, $status:expr, $next:expr;)+) => {
        words! {
            /// A structured error code: of an answer, of the CLI, or of a log record.
            pub enum Code {
                $($(#[doc = $about])+ $variant = $word,)+
            }
        }

        impl Code {
            /// Its meaning, in a sentence or two.
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($about),+),)+
                }
            }

            /// The HTTP status of an answer with this code; `None` for codes that only events or the CLI use.
            pub const fn status(self) -> Option<u16> {
                match self {
                    $(Self::$variant => $status,)+
                }
            }

            /// The next command to try; `None` if each error provides its own. A name in braces is replaced by that
            /// entry of the error's details.
            pub const fn next(self) -> Option<&'static str> {
                match self {
                    $(Self::$variant => $next,)+
                }
            }
        }
    };
}

/// Next command for codes without a better one.
pub const LOOK_AT_DAEMON: &str = "coven daemon status";

/// Suffix of a command that stops or restarts the daemon.
pub const ENDS_SESSIONS: &str = " (ends live sessions)";

codes! {
    /// Malformed JSON, or a missing or invalid field, which `details.field` names. Status 404 if the path names a
    /// version that the daemon does not speak.
    InvalidRequest = "invalid_request", Some(400), Some("coven --help");
    /// `cwd` does not canonicalize inside the project root.
    ProjectRootViolation = "project_root_violation", Some(400),
        Some("coven run --root <dir> --cwd <dir that lies inside it once links are resolved> …");
    /// The route does not exist.
    NotFound = "not_found", Some(404), Some(LOOK_AT_DAEMON);
    /// No session has this id.
    SessionNotFound = "session_not_found", Some(404), Some("coven sessions --all");
    /// The route exists with other methods.
    MethodNotAllowed = "method_not_allowed", Some(405), Some(LOOK_AT_DAEMON);
    /// Input or kill for a session that is not running.
    SessionNotLive = "session_not_live", Some(409),
        Some("coven show {sessionId}, and coven log {sessionId}, to see how it ended");
    /// Archive or delete of a running session.
    SessionLive = "session_live", Some(409), Some("coven kill {sessionId}");
    /// An external registration with the id of a session that the daemon manages.
    SessionIdConflict = "session_id_conflict", Some(409), Some(LOOK_AT_DAEMON);
    /// An `Idempotency-Key` is repeated with another body.
    IdempotencyConflict = "idempotency_conflict", Some(409), Some(LOOK_AT_DAEMON);
    /// The body is too large.
    PayloadTooLarge = "payload_too_large", Some(413), Some(LOOK_AT_DAEMON);
    /// The harness is known, but its executable is not on the daemon's `PATH`, which can differ from the shell's.
    HarnessNotFound = "harness_not_found", Some(422),
        Some("coven daemon restart (ends live sessions) from a shell that finds {executable}, or of a unit, with its PATH in COVEN_HOME/env; \
            the daemon's PATH is {daemonPath}");
    /// The harness has no stdin.
    InputNotAccepted = "input_not_accepted", Some(422),
        Some("coven adapters, for one whose manifest has \"stdin\": \"open\"");
    /// `complete` for a session that the daemon manages.
    NotExternalSession = "not_external_session", Some(422), Some(LOOK_AT_DAEMON);
    /// Kill for an external session.
    ExternalSessionNotKillable = "external_session_not_killable", Some(422), Some("coven show {sessionId}");
    /// The limit on live sessions is reached.
    TooManySessions = "too_many_sessions", Some(429), Some("coven sessions, and coven kill <id>");
    /// An upgrade in place is refused; nothing has changed. `details.reason` and `details.message` say why.
    UpgradeRefused = "upgrade_refused", Some(409), Some("coven daemon restart (ends live sessions)");
    /// An upgrade in place has failed, and the old program goes on. `details.reason` says why.
    UpgradeFailed = "upgrade_failed", Some(500), Some(LOOK_AT_DAEMON);
    /// The input that waits for the harness's stdin has reached its limit.
    InputBacklogFull = "input_backlog_full", Some(429), Some("coven attach {sessionId}, to see what it waits for");
    /// The request's head is too large, or has too many headers.
    RequestTooLarge = "request_too_large", Some(431), Some(LOOK_AT_DAEMON);
    /// The harness could not be started. The session's row exists, with status `failed`.
    LaunchFailed = "launch_failed", Some(500), Some("coven log {sessionId}");
    /// The harness has closed its stdin.
    SendInputFailed = "send_input_failed", Some(500), Some("coven show {sessionId}");
    /// The kernel refused the signal.
    KillFailed = "kill_failed", Some(500), Some("coven show {sessionId}");
    /// A bug.
    InternalError = "internal_error", Some(500), Some("coven daemon logs --code internal_error --since 15m");
    /// The event store cannot be written or read now.
    StoreUnavailable = "store_unavailable", Some(503), Some("coven daemon status, and df on COVEN_HOME");
    /// The daemon is stopping.
    ShuttingDown = "shutting_down", Some(503), Some("coven daemon start");
    /// The limit on connections is reached.
    TooManyConnections = "too_many_connections", Some(503), Some(LOOK_AT_DAEMON);
    /// A resource shared by all clients is exhausted: the answer has `Retry-After`.
    Busy = "busy", Some(503), Some("try again; other clients do not read what they asked for");

    /// A stream was closed after the session's end while a process that the harness left behind held it.
    LateStreamClosed = "late_stream_closed", None, None;
    /// A stream was closed after the harness's exit while it was still written.
    OutputDropped = "output_dropped", None, None;

    /// The command line is wrong.
    Usage = "usage", None, Some("coven --help");
    /// No daemon runs.
    DaemonNotRunning = "daemon_not_running", None, Some("coven daemon start");
    /// Daemon and CLI do not speak the same contract.
    UnsupportedApiVersion = "unsupported_api_version", None,
        Some("coven daemon restart (ends live sessions), with the coven that is to be used");
    /// The connection to the daemon broke, or its answer is unreadable.
    DaemonUnreachable = "daemon_unreachable", None, Some(LOOK_AT_DAEMON);
    /// The daemon does not start.
    DaemonStartFailed = "daemon_start_failed", None, Some("coven daemon serve, which says on stderr what is wrong");
    /// The daemon does not stop.
    DaemonStopFailed = "daemon_stop_failed", None, Some(LOOK_AT_DAEMON);
    /// A service manager runs the daemon, and must do it.
    DaemonSupervised = "daemon_supervised", None, None;
    /// Another daemon serves this home.
    DaemonAlreadyRunning = "daemon_already_running", None, Some(LOOK_AT_DAEMON);
    /// Another process holds the lock of this home without answering.
    DaemonLocked = "daemon_locked", None, Some("coven daemon stop (ends live sessions), then coven daemon start");
    /// The home's type, owner or mode is wrong.
    HomeRefused = "home_refused", None, None;
    /// The home's socket forwards to another machine, where no daemon answers.
    HomeForwarded = "home_forwarded", None,
        Some("restore the connection, as ssh -L makes one; or coven daemon start --here, for a daemon of this machine");
    /// The home was deleted while its daemon ran.
    HomeDeleted = "home_deleted", None, Some("coven daemon start, which makes a new home");
    /// ssh does not lead to a daemon on that host.
    HostUnreachable = "host_unreachable", None, None;
    /// There is no log.
    LogNotFound = "log_not_found", None, Some("coven daemon start");
    /// There is no store.
    StoreNotFound = "store_not_found", None, Some("coven daemon start, which makes one");
    /// The socket's path is too long for an address.
    SocketPathTooLong = "socket_path_too_long", None, Some("set COVEN_HOME to a shorter path");
    /// The socket passed by the service manager cannot be served.
    SocketRefused = "socket_refused", None, Some("look at the socket unit: systemctl cat coven.socket");
    /// An environment variable has an invalid value.
    InvalidSetting = "invalid_setting", None, None;
    /// Several ids start with these characters.
    AmbiguousId = "ambiguous_id", None, Some("more characters of the id");
    /// The output file exists already.
    OutputExists = "output_exists", None, Some("--output, with another name");
    /// Reading or writing failed.
    IoError = "io_error", None, None;
}
