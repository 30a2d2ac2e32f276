//! Following a session: its output as it comes, to its end. What `run`, `attach` and `wait` have in common.

use std::io::{self, Write};

use crate::api::routes::{self, Endpoint};
use crate::api::{
    Code, EndedBy, Event, EventKind, EventsQuery, ExitPayload, OutputPayload, SessionStatus,
    StatusPayload, Stream, Truncation,
};
use crate::daemon::control;
use crate::http::client::Client;
use crate::settings::durations;

use super::daemon::remark;
use super::output::Out;
use super::{CliError, Home};

/// How output is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    /// The harness's stdout on stdout, its stderr on stderr, byte for byte.
    Output,
    /// Every event, a line of JSON each.
    Json,
    /// Nothing.
    Nothing,
}

/// A connection to the daemon of `home`.
pub(super) fn connect(home: &Home) -> Result<Client, CliError> {
    control::revive(home, &remark);
    Ok(Client::connect(&home.socket())?)
}

/// Shows what the session does after event `after`, until it has ended; returns the exit code that a shell would
/// give a command that ended like this.
pub(super) fn follow(
    client: &mut Client,
    id: &str,
    mut after: u64,
    show: Show,
) -> Result<u8, CliError> {
    client.allow_wait(durations::FOLLOW_WAIT)?;
    let mut screen = Screen::new(show);
    let mut exit = None;
    loop {
        let query = EventsQuery {
            after_seq: Some(after),
            wait_ms: Some(durations::FOLLOW_WAIT.as_millis() as u64),
            ..EventsQuery::default()
        };
        let page = client.call(routes::SessionEvents.of(id).query(&query))?;
        // What follows on the end is late.
        let end = page.events.iter().position(is_final_status);
        let (ended, through) = (end.is_some(), end.unwrap_or(page.events.len()));
        for event in page.events.iter().take(through + 1) {
            screen.show(event)?;
            after = event.seq;
            exit = exit_in(event).or(exit);
        }
        if ended && let Some(exit) = exit {
            // Nothing more is asked: the daemon's own stop may have ended the session, and then it is gone.
            say_signal(show, id, exit.signal);
            return Ok(exit_code(exit.ended_by, exit.exit_code, exit.signal, false));
        }
        if ended || page.events.is_empty() {
            let record = client.call(routes::ShowSession.of(id))?;
            // An empty page is the end of a wait, or of a session that had ended before.
            if record.status.is_final() && (ended || record.last_seq <= after) {
                let is_success = matches!(
                    record.status,
                    SessionStatus::Completed | SessionStatus::Idle
                );
                say_signal(show, id, record.signal);
                let ended_by = match record.status {
                    // As an older version has recorded it.
                    SessionStatus::Orphaned => Some(EndedBy::Lost),
                    _ => record.ended_by,
                };
                return Ok(exit_code(
                    ended_by,
                    record.exit_code,
                    record.signal,
                    is_success,
                ));
            }
        }
    }
}

fn exit_in(event: &Event) -> Option<ExitPayload> {
    (event.kind == EventKind::Exit)
        .then(|| serde_json::from_str(&event.payload_json).ok())
        .flatten()
}

/// Whether a session has ended with this.
pub(super) fn is_final_status(event: &Event) -> bool {
    event.kind == EventKind::Status
        && serde_json::from_str::<StatusPayload>(&event.payload_json)
            .is_ok_and(|payload| payload.status.is_final())
}

/// Where events are shown.
struct Screen {
    show: Show,
    out: Out,
}

impl Screen {
    fn new(show: Show) -> Self {
        Self {
            show,
            out: Out::new(),
        }
    }

    fn show(&mut self, event: &Event) -> Result<(), CliError> {
        match self.show {
            Show::Nothing => Ok(()),
            Show::Json => Ok(self.out.json(event)?),
            Show::Output if event.kind == EventKind::Output => self.show_output(event),
            Show::Output if event.kind == EventKind::OutputTruncated => show_truncation(event),
            Show::Output => Ok(()),
        }
    }

    fn show_output(&mut self, event: &Event) -> Result<(), CliError> {
        let wrong = |err: String| {
            CliError::failed(
                Code::DaemonUnreachable,
                format!("event {}: {err}", event.seq),
                None,
            )
        };
        let payload: OutputPayload =
            serde_json::from_str(&event.payload_json).map_err(|err| wrong(err.to_string()))?;
        let bytes = payload.bytes().map_err(|err| wrong(err.to_string()))?;
        match payload.stream {
            Stream::Stdout => Ok(self.out.bytes(&bytes)?),
            Stream::Stderr => {
                let mut err = io::stderr().lock();
                err.write_all(&bytes)?;
                Ok(err.flush()?)
            }
        }
    }
}

/// A gap in what is shown must not look like the harness's own silence.
fn show_truncation(event: &Event) -> Result<(), CliError> {
    if let Ok(gone) = serde_json::from_str::<Truncation>(&event.payload_json) {
        let Truncation {
            dropped_events,
            dropped_bytes,
            ..
        } = gone;
        let line = format!("coven: {dropped_events} events ({dropped_bytes} bytes) are gone here");
        writeln!(io::stderr().lock(), "{line}")?;
    }
    Ok(())
}

/// What a shell says, too: a harness that the kernel has killed for its memory has said nothing itself.
fn say_signal(show: Show, id: &str, signal: Option<i32>) {
    if let (Show::Output, Some(signal)) = (show, signal) {
        let _ = writeln!(
            io::stderr(),
            "coven: session {id} was ended by signal {signal}"
        );
    }
}

/// The exit codes of `run`, `attach` and `wait`. A harness that was made to end can exit with 0.
fn exit_code(
    ended_by: Option<EndedBy>,
    code: Option<i32>,
    signal: Option<i32>,
    is_success: bool,
) -> u8 {
    match (ended_by, code, signal) {
        (Some(EndedBy::Timeout), ..) => 124,
        (Some(EndedBy::Lost), ..) => 125,
        (Some(EndedBy::Kill), _, Some(libc::SIGKILL)) => 137,
        (Some(EndedBy::Kill | EndedBy::DaemonStop), ..) => 143,
        (Some(EndedBy::Exit | EndedBy::Signal) | None, Some(code), _) => {
            u8::try_from(code).unwrap_or(1)
        }
        (Some(EndedBy::Exit | EndedBy::Signal) | None, None, Some(signal)) => {
            u8::try_from(128 + signal).unwrap_or(1)
        }
        (Some(EndedBy::Exit | EndedBy::Signal) | None, None, None) => u8::from(!is_success),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_ended_a_session_decides_its_exit_code_before_the_harness_does() {
        use EndedBy::*;
        for (ended_by, code, signal, expected) in [
            (Some(Exit), Some(7), None, 7),
            (Some(Signal), None, Some(libc::SIGSEGV), 139),
            (Some(Kill), Some(0), None, 143),
            (Some(Kill), None, Some(libc::SIGTERM), 143),
            (Some(Kill), None, Some(libc::SIGKILL), 137),
            (Some(DaemonStop), Some(0), None, 143),
            (Some(Timeout), Some(0), None, 124),
            (Some(Timeout), None, Some(libc::SIGKILL), 124),
            (Some(Lost), None, None, 125),
            (None, Some(3), None, 3),
            (None, None, None, 1),
        ] {
            assert_eq!(
                exit_code(ended_by, code, signal, false),
                expected,
                "{ended_by:?}"
            );
        }
    }
}
