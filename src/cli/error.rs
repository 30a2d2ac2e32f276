//! What a verb fails with, as it is printed: `coven: <message> (<code>)`, then the next command to try.

use std::io::{self, Write};

use crate::api::ErrorDetail;
use crate::client::ClientError;
use crate::daemon::HomeError;
use crate::daemon::control::ControlError;

/// Why a verb failed.
#[derive(Debug)]
pub(super) enum CliError {
    /// The command line is wrong: exit 2.
    Usage {
        message: String,
        /// The verb whose help says more.
        verb: Option<String>,
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
            verb: None,
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
    pub(super) fn of_verb(self, verb: Option<&String>) -> Self {
        match self {
            Self::Usage { message, .. } => Self::Usage {
                message,
                verb: verb.cloned(),
            },
            other => other,
        }
    }

    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Failed { .. } => 1,
            Self::Usage { .. } => 2,
            Self::NotRunning(_) => 3,
        }
    }

    pub(super) fn print(&self) {
        let help = match self {
            Self::Usage {
                verb: Some(verb), ..
            } => format!("coven {verb} --help"),
            _ => "coven --help".into(),
        };
        let (message, code, next) = match self {
            Self::OutputClosed => return,
            Self::Usage { message, .. } => (message, "usage", Some(help.as_str())),
            Self::NotRunning(message) => {
                (message, "daemon_not_running", Some("coven daemon start"))
            }
            Self::Failed {
                code,
                message,
                next,
            } => (message, code.as_str(), next.as_deref()),
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
            ClientError::NotRunning { .. } => Self::NotRunning(message),
            ClientError::UnsupportedVersion { .. } => Self::failed(
                "unsupported_api_version",
                message,
                Some("coven daemon restart"),
            ),
            ClientError::Api { error, .. } => Self::failed(
                &error.code,
                message,
                Some(&with_id(next_for(&error), &error)),
            ),
            ClientError::Io(_) | ClientError::Protocol(_) => {
                Self::failed("daemon_unreachable", message, Some("coven daemon status"))
            }
        }
    }
}

/// `next` with the session that the error is about in it: of several, only one may have failed.
fn with_id(next: &str, error: &ErrorDetail) -> String {
    let id = error
        .details
        .as_ref()
        .and_then(|details| details.get("sessionId")?.as_str());
    id.map_or_else(|| next.to_owned(), |id| next.replace("<id>", id))
}

/// The first thing to look at.
fn next_for(error: &ErrorDetail) -> &'static str {
    let field = error
        .details
        .as_ref()
        .and_then(|details| details.get("field"));
    match error.code.as_str() {
        "invalid_request" if field.is_some_and(|field| field == "harness") => "coven adapters",
        "harness_not_found" => "coven adapters, which shows what the daemon's PATH has",
        "invalid_request" => "coven --help",
        "project_root_violation" => "coven run --root <dir> --cwd <dir inside it> …",
        "session_not_found" => "coven sessions --all",
        "session_not_live" => "coven show <id>, to see how it ended",
        "session_live" => "coven kill <id>",
        "launch_failed" => "coven events <id>",
        "store_unavailable" => "coven daemon status, and df on COVEN_HOME",
        "too_many_sessions" => "coven sessions, and coven kill <id>",
        "input_backlog_full" => "coven attach <id>, to see what it waits for",
        "shutting_down" => "coven daemon start",
        "input_not_accepted" => "coven adapters, for one whose manifest has \"stdin\": \"open\"",
        "send_input_failed" | "kill_failed" | "external_session_not_killable" => "coven show <id>",
        "internal_error" => "look at the end of the daemon's log",
        _ => "coven daemon status",
    }
}
