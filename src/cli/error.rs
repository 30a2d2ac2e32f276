//! The error of a verb, printed as `coven: <message> (<code>)`, followed by the next command to try.

use std::fmt;
use std::io::{self, Write};

use log::Level;

use super::ending::FAILED;
use super::output::{visible, visible_text};
use super::{dial_stdio, hint, target};
use crate::api::{Code, ErrorDetail, LOOK_AT_DAEMON, SessionStatus, UpgradeRefusal, Word};
use crate::daemon::control::ControlError;
use crate::daemon::failure::StartFailure;
use crate::daemon::{Home, HomeError};
use crate::http::client::ClientError;
use crate::http::dial::{GatewayEnd, NOT_FOUND};
use crate::observe::journal;
use crate::settings::BadSetting;

/// Messages of std's integer parser for invalid and for too large numbers.
const NO_NUMBER: [&str; 2] = [
    "invalid digit found in string",
    "cannot parse integer from empty string",
];
const TOO_LARGE: &str = "number too large to fit in target type";

/// Beginnings of argh's messages, and the words for them here.
#[rustfmt::skip]
const REWORDED: [(&str, &str); 6] = [
    ("Error parsing option ", "option "),
    ("Error parsing positional argument ", "argument "),
    ("No value provided for option ", "no value for option "),
    ("One of the following subcommands must be present: ", "a command is missing, one of: "),
    ("Required positional arguments not provided: ", "missing: "),
    ("Unrecognized argument: ", "unexpected argument: "),
];

#[derive(Debug)]
pub(super) enum CliError {
    Failed {
        code: Word<Code>,
        message: String,
        /// The next command to try.
        next: Option<String>,
    },
    /// The output's reader has closed it, as `head` does: no failure.
    OutputClosed,
}

impl CliError {
    /// A failure with the next command of its code.
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self::failed(code, message, code.next())
    }

    /// A failure with another next command, or none.
    pub(super) fn failed(
        code: impl Into<Word<Code>>,
        message: impl Into<String>,
        next: Option<&str>,
    ) -> Self {
        Self::Failed {
            code: code.into(),
            message: message.into(),
            next: next.map(str::to_owned),
        }
    }

    pub(super) fn usage(message: &str) -> Self {
        // argh lists missing arguments on several lines, and counts the help word as a verb.
        let lines = message
            .lines()
            .map(str::trim)
            .filter(|&line| line != "help");
        let message = lines.collect::<Vec<_>>().join(" ");
        // The number parser reports what it found, not what it expects.
        let message = match message.split_once(": ") {
            Some((which, why)) if NO_NUMBER.contains(&why) => {
                format!("{which}: it must be a number, 0 or more")
            }
            Some((which, TOO_LARGE)) => format!("{which}: it is too large"),
            _ => message,
        };
        let reworded = REWORDED.iter().find_map(|(theirs, ours)| {
            let rest = message.strip_prefix(theirs)?;
            Some(format!("{ours}{}", rest.trim_end_matches('.')))
        });
        Self::new(Code::Usage, reworded.unwrap_or(message))
    }

    /// Adds the help of `verb` as next command, if the command line started with a verb.
    pub(super) fn of_verb(mut self, verb: &str) -> Self {
        if let Self::Failed { next, .. } = &mut self
            && next.as_deref() == Code::Usage.next()
            && !verb.is_empty()
        {
            *next = Some(format!("coven {verb} --help"));
        }
        self
    }

    /// Exit code of `verb`. Verbs that return a session's exit code use one that no harness uses.
    pub(super) fn exit_code(&self, verb: &str) -> u8 {
        match self.code().map(Word::known) {
            None => 0,
            Some(Some(Code::Usage)) => 2,
            Some(_) if ["run", "rerun", "chat", "attach", "wait"].contains(&verb) => FAILED,
            Some(Some(Code::DaemonNotRunning)) => 3,
            Some(_) => 1,
        }
    }

    /// The error code; `None` if nothing failed.
    pub(super) fn code(&self) -> Option<&Word<Code>> {
        match self {
            Self::OutputClosed => None,
            Self::Failed { code, .. } => Some(code),
        }
    }

    pub(super) fn print(&self) {
        let Self::Failed {
            code,
            message,
            next,
        } = self
        else {
            return;
        };
        // With the journal's priority, like the daemon's log: a unit can run other verbs, too.
        let priority = match journal::is_stderr() {
            true => journal::prefix(Level::Error),
            false => "",
        };
        hint::erase();
        let mut err = io::stderr().lock();
        // A closed stderr has no reader.
        let _ = writeln!(err, "{priority}coven: {} ({code})", visible_text(message));
        if let Some(next) = next {
            let _ = writeln!(err, "  try: {}", visible(&target::for_host(next)));
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { message, .. } => f.write_str(message),
            Self::OutputClosed => f.write_str("the output's reader has closed it"),
        }
    }
}

impl From<io::Error> for CliError {
    fn from(err: io::Error) -> Self {
        match err.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::new(Code::IoError, err.to_string()),
        }
    }
}

impl From<HomeError> for CliError {
    fn from(err: HomeError) -> Self {
        Self::failed(err.code(), err.to_string(), Some(&err.mend().to_string()))
    }
}

impl From<BadSetting> for CliError {
    fn from(bad: BadSetting) -> Self {
        Self::failed(Code::InvalidSetting, bad.to_string(), Some(&bad.mend()))
    }
}

impl From<ControlError> for CliError {
    fn from(err: ControlError) -> Self {
        Self::failed(err.code, err.message, Some(&err.next))
    }
}

impl From<ClientError> for CliError {
    fn from(err: ClientError) -> Self {
        let message = err.to_string();
        match err {
            ClientError::NotRunning { socket, .. } => {
                let home = Home::of_socket(&socket);
                let is_forwarded = home.is_forwarded();
                if let Some(failure) = StartFailure::recorded(&home).filter(|_| !is_forwarded) {
                    let (reason, code) = (failure.reason, failure.code);
                    let message =
                        format!("no daemon runs: its last start failed: {reason} ({code})");
                    return Self::failed(Code::DaemonNotRunning, message, Some("coven doctor"));
                }
                let message = format!(
                    "{message}; is it started, and is COVEN_HOME, where the socket is, the right one?"
                );
                let code = match is_forwarded {
                    true => Code::HomeForwarded,
                    false => Code::DaemonNotRunning,
                };
                Self::failed(Code::DaemonNotRunning, message, code.next())
            }
            ClientError::Ended(ended) => of_program(&ended),
            ClientError::UnsupportedVersion { .. } => Self::new(
                Code::UnsupportedApiVersion,
                format!("{message}; are both from compatible releases?"),
            ),
            ClientError::Api { error, .. } => {
                let message = message + how_it_ended(&error);
                let next = next_for(&error);
                Self::failed(error.code, message, Some(&next))
            }
            ClientError::Io(_) | ClientError::Protocol(_) => {
                Self::new(Code::DaemonUnreachable, message)
            }
        }
    }
}

/// The error of a program that should lead to the daemon of another host: `coven dial-stdio` there has printed its own,
/// or ssh has failed.
fn of_program(ended: &GatewayEnd) -> CliError {
    let (name, command) = (&ended.name, &ended.command);
    let lines = ended.said.lines().map(str::trim);
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let is_own = |line: &&str| line.starts_with("coven: ") && line.ends_with(')');
    let own = lines.iter().position(is_own);
    if let Some((message, code)) = own.and_then(|at| {
        let line = lines[at].strip_prefix("coven: ")?;
        line.trim_end_matches(')').rsplit_once(" (")
    }) {
        let next = own.and_then(|at| lines.get(at + 1)?.strip_prefix("try: "));
        let next = next.map(|next| match next.strip_prefix("coven ") {
            Some(words) => format!("{command} {words}"),
            None => next.to_owned(),
        });
        if code == Code::Usage.as_str() {
            let message = format!(
                "{name}: the coven there is too old: it has no {}",
                dial_stdio::VERB
            );
            let next = format!("{command} version");
            return CliError::failed(Code::HostUnreachable, message, Some(&next));
        }
        let message = format!("{name}: {message}");
        return CliError::failed(Word::read(code.to_owned()), message, next.as_deref());
    }
    let (reason, next) = match (ended.code, lines.last()) {
        (Some(NOT_FOUND), _) => (
            "coven is not on the PATH that ssh gives to commands there, nor in ~/.local/bin or ~/.cargo/bin",
            format!(
                "{} 'echo $PATH'",
                command.trim_end_matches(|c: char| c != ' ').trim_end()
            ),
        ),
        (_, Some(last)) => (*last, format!("{command} version")),
        (_, None) => (
            "the connection through ssh has ended",
            format!("{command} version"),
        ),
    };
    CliError::failed(
        Code::HostUnreachable,
        format!("{name}: {reason}"),
        Some(&next),
    )
}

/// A text in the error's details.
fn detail<'a>(error: &'a ErrorDetail, name: &str) -> Option<&'a str> {
    error.details.as_ref()?.get(name)?.as_str()
}

/// The process's end, by the status in the error of a session that is not live.
fn how_it_ended(error: &ErrorDetail) -> &'static str {
    if error.code != Code::SessionNotLive {
        return "";
    }
    match detail(error, "status").and_then(SessionStatus::parse) {
        Some(SessionStatus::Completed | SessionStatus::Idle) => {
            ": its process has exited with code 0"
        }
        Some(SessionStatus::Failed) => {
            ": its process has exited with another code than 0, crashed, or never started"
        }
        Some(SessionStatus::Killed) => {
            ": it was killed, by a client, its time limit or the daemon's stop"
        }
        Some(SessionStatus::Orphaned) => ": the daemon that ran it died without it",
        Some(SessionStatus::Created | SessionStatus::Running) | None => "",
    }
}

/// The next command of the error's code, with the error's details inserted.
fn next_for(error: &ErrorDetail) -> String {
    let code = error.code.known();
    if code == Some(Code::InvalidRequest) && detail(error, "field") == Some("harness") {
        return "coven adapters".to_owned();
    }
    if code == Some(Code::UpgradeRefused)
        && let Some(reason) = detail(error, "reason").and_then(UpgradeRefusal::parse)
    {
        return reason.next().to_owned();
    }
    if code == Some(Code::HarnessNotFound) && detail(error, "problem").is_some() {
        return "coven doctor".to_owned();
    }
    let names = [
        ("sessionId", "<id>"),
        ("executable", "the harness"),
        ("daemonPath", ""),
    ];
    let next = code.and_then(Code::next).unwrap_or(LOOK_AT_DAEMON);
    names
        .into_iter()
        .fold(next.to_owned(), |next, (name, unknown)| {
            let value = detail(error, name).unwrap_or(unknown);
            next.replace(&format!("{{{name}}}"), value)
        })
}
