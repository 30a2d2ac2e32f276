//! What a verb fails with, as it is printed: `coven: <message> (<code>)`, then the next command to try.

use std::io::{self, Write};

use crate::api::ErrorDetail;
use crate::daemon::HomeError;
use crate::daemon::control::ControlError;
use crate::http::client::ClientError;

/// Why a verb failed.
#[derive(Debug)]
pub(super) enum CliError {
    /// The command line is wrong: exit 2.
    Usage {
        message: String,
        /// The verb whose help says more; empty for the program's own.
        verb: String,
    },
    /// No daemon runs: exit 3.
    NotRunning(String),
    /// Anything else: exit 1.
    Failed {
        code: String,
        message: String,
        next: Option<String>,
    },
    /// Who read the output has gone, as `head` does: no failure.
    OutputClosed,
}

impl CliError {
    pub(super) fn usage(message: &str) -> Self {
        // argh spreads what is missing over lines, and counts the word for help as a verb.
        let lines = message
            .lines()
            .map(str::trim)
            .filter(|&line| line != "help");
        Self::Usage {
            message: lines.collect::<Vec<_>>().join(" "),
            verb: String::new(),
        }
    }

    pub(super) fn failed(code: &str, message: impl Into<String>, next: Option<&str>) -> Self {
        Self::Failed {
            code: code.into(),
            message: message.into(),
            next: next.map(str::to_owned),
        }
    }

    /// The same, for a command line that began with `verb`.
    pub(super) fn of_verb(mut self, of: &str) -> Self {
        if let Self::Usage { verb, .. } = &mut self {
            *verb = of.to_owned();
        }
        self
    }

    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Failed { .. } => 1,
            Self::Usage { .. } => 2,
            Self::NotRunning(_) => 3,
        }
    }

    /// The structured code; none where nothing failed.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::OutputClosed => None,
            Self::Usage { .. } => Some("usage"),
            Self::NotRunning(_) => Some("daemon_not_running"),
            Self::Failed { code, .. } => Some(code),
        }
    }

    pub(super) fn print(&self) {
        let Some(code) = self.code() else { return };
        let help = match self {
            Self::Usage { verb, .. } if !verb.is_empty() => format!("coven {verb} --help"),
            _ => "coven --help".into(),
        };
        let (message, next) = match self {
            Self::OutputClosed => return,
            Self::Usage { message, .. } => (message, Some(help.as_str())),
            Self::NotRunning(message) => (message, Some("coven daemon start")),
            Self::Failed { message, next, .. } => (message, next.as_deref()),
        };
        let mut err = io::stderr().lock();
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(
            err,
            "coven: {} ({code})",
            super::output::visible_text(message)
        );
        if let Some(next) = next {
            let _ = writeln!(err, "  try: {}", super::output::visible(next));
        }
    }
}

impl From<io::Error> for CliError {
    fn from(err: io::Error) -> Self {
        match err.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::failed("io_error", err.to_string(), None),
        }
    }
}

impl From<HomeError> for CliError {
    fn from(err: HomeError) -> Self {
        Self::failed(err.code(), err.to_string(), Some(&err.mend()))
    }
}

impl From<ControlError> for CliError {
    fn from(err: ControlError) -> Self {
        Self::failed(&err.code, err.message, Some(&err.next))
    }
}

impl From<ClientError> for CliError {
    fn from(err: ClientError) -> Self {
        let message = err.to_string();
        match err {
            ClientError::NotRunning { .. } => Self::NotRunning(format!(
                "{message}; is it started, and is COVEN_HOME, where the socket is, the right one?"
            )),
            ClientError::UnsupportedVersion { .. } => Self::failed(
                "unsupported_api_version",
                format!("{message}; are both from compatible releases?"),
                Some("coven daemon restart, with the coven that is to be used"),
            ),
            ClientError::Api { error, .. } => {
                let message = message + how_it_ended(&error);
                Self::failed(&error.code, message, Some(&next_for(&error)))
            }
            ClientError::Io(_) | ClientError::Protocol(_) => {
                Self::failed("daemon_unreachable", message, Some("coven daemon status"))
            }
        }
    }
}

/// A text in the error's details.
fn detail<'a>(error: &'a ErrorDetail, name: &str) -> Option<&'a str> {
    error.details.as_ref()?.get(name)?.as_str()
}

/// What the status of a session that is not live says about its process.
fn how_it_ended(error: &ErrorDetail) -> &'static str {
    if error.code != "session_not_live" {
        return "";
    }
    match detail(error, "status") {
        Some("completed" | "idle") => ": its process has exited with code 0",
        Some("failed") => {
            ": its process has exited with another code than 0, crashed, or never started"
        }
        Some("killed") => ": it was killed, by a client, its time limit or the daemon's stop",
        Some("orphaned") => ": the daemon that ran it died without it",
        _ => "",
    }
}

/// The first thing to look at.
fn next_for(error: &ErrorDetail) -> String {
    let id = detail(error, "sessionId").unwrap_or("<id>");
    let next = match error.code.as_str() {
        "invalid_request" if detail(error, "field") == Some("harness") => "coven adapters",
        "harness_not_found" => return harness_missing(error),
        "invalid_request" => "coven --help",
        "project_root_violation" => {
            "coven run --root <dir> --cwd <dir that lies inside it once links are resolved> …"
        }
        "session_not_found" => "coven sessions --all",
        "session_not_live" => {
            return format!("coven show {id}, and coven log {id}, to see how it ended");
        }
        "session_live" => return format!("coven kill {id}"),
        "launch_failed" => return format!("coven log {id}"),
        "store_unavailable" => "coven daemon status, and df on COVEN_HOME",
        "too_many_sessions" => "coven sessions, and coven kill <id>",
        "input_backlog_full" => {
            return format!("coven attach {id}, to see what it waits for");
        }
        "shutting_down" => "coven daemon start",
        "input_not_accepted" => "coven adapters, for one whose manifest has \"stdin\": \"open\"",
        "send_input_failed" | "kill_failed" | "external_session_not_killable" => {
            return format!("coven show {id}");
        }
        "internal_error" => "coven logs --code internal_error --since 15m",
        _ => "coven daemon status",
    };
    next.to_owned()
}

/// The daemon's `PATH` is what counts, and often not the shell's.
fn harness_missing(error: &ErrorDetail) -> String {
    let program = detail(error, "executable").unwrap_or("the harness");
    let path = detail(error, "daemonPath").unwrap_or("");
    format!(
        "coven daemon restart from a shell that finds {program}, or of a unit, with its PATH in COVEN_HOME/env; \
         the daemon's PATH is {path}"
    )
}
