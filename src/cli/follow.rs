//! Follows a session's output until its end: the common part of `run`, `attach` and `wait`.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::api::routes::{self, Endpoint};
use crate::api::{
    Code, Event, EventKind, EventsQuery, OutputPayload, StatusPayload, Stream, Truncation,
};
use crate::http::client::Client;
use crate::settings::durations;

use super::CliError;
use super::daemon::remark;
use super::ending::{EndFacts, FAILED};
use super::hint::Hint;
use super::output::Out;
use super::pages::paged;

/// Form of shown events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    /// The harness's stdout on stdout, its stderr on stderr, byte for byte.
    Output,
    /// Every event as a line of JSON.
    Json,
}

/// End of following a session, and the reaction to its silence.
pub(super) enum Wait {
    ToTheEnd,
    Until(Instant),
    /// Until its end, with a hint while it is silent.
    WithHint(Hint),
}

impl Wait {
    /// For a terminal, with a hint that names `way_out`, the way to leave the session.
    pub(super) fn on_terminal(way_out: &'static str) -> Self {
        Hint::new(way_out).map_or(Self::ToTheEnd, Self::WithHint)
    }

    /// Time of the next action if no event arrives.
    fn due(&self) -> Option<Instant> {
        match self {
            Self::ToTheEnd => None,
            Self::Until(deadline) => Some(*deadline),
            Self::WithHint(hint) => Some(hint.due()),
        }
    }
}

/// Shows the session's events after event `after` until its end; returns the exit code ([`EndFacts::code`]).
pub(super) fn follow(
    client: &mut Client,
    id: &str,
    after: u64,
    show: Show,
    wait: Wait,
) -> Result<u8, CliError> {
    let mut out = Out::new();
    let ending = follow_events(client, id, after, wait, &mut |event| {
        show_event(&mut out, show, event)?;
        Ok(ControlFlow::Continue(()))
    })?;
    // Without a deadline the result is always an ending.
    Ok(ending.map_or(FAILED, |ending| match show {
        Show::Json => ending.code(),
        Show::Output => conclude(&ending, id),
    }))
}

/// Passes each event after event `after` to `take` until the session's end. `None` if it still runs at `deadline`, or
/// if `take` breaks.
pub(super) fn follow_events(
    client: &mut Client,
    id: &str,
    mut after: u64,
    mut wait: Wait,
    take: &mut dyn FnMut(&Event) -> Result<ControlFlow<()>, CliError>,
) -> Result<Option<EndFacts>, CliError> {
    client.allow_wait(durations::FOLLOW_WAIT)?;
    let (mut kill, mut exit) = (None, None);
    loop {
        let due = wait.due();
        let left = due.map(|at| at.saturating_duration_since(Instant::now()));
        let at_most = left.map_or(durations::FOLLOW_WAIT, |left| {
            left.min(durations::FOLLOW_WAIT)
        });
        let query = EventsQuery {
            after_seq: Some(after),
            wait_ms: Some(at_most.as_millis() as u64),
            ..EventsQuery::default()
        };
        let page = client.call(routes::SessionEvents.of(id).query(&query))?;
        if let (Wait::WithHint(hint), false) = (&mut wait, page.events.is_empty()) {
            hint.restart();
        }
        // Output after the end is late.
        let end = page.events.iter().position(is_final_status);
        let (ended, through) = (end.is_some(), end.unwrap_or(page.events.len()));
        for event in page.events.iter().take(through + 1) {
            if take(event)?.is_break() {
                return Ok(None);
            }
            after = event.seq;
            kill = payload(event, EventKind::Kill).or(kill);
            exit = payload(event, EventKind::Exit).or(exit);
        }
        if ended && let Some(exit) = exit {
            // No further request: the daemon's stop may have ended the session; then the daemon is gone.
            return Ok(Some(EndFacts::of_events(&exit, kill.as_ref())));
        }
        if ended || page.events.is_empty() {
            let record = client.call(routes::ShowSession.of(id))?;
            // An empty page: the wait is over, or the session had ended before.
            if record.status.is_final() && (ended || record.last_seq <= after) {
                return Ok(Some(EndFacts::of_record(&record)));
            }
            if let (Wait::WithHint(hint), false) = (&mut wait, ended) {
                hint.look(&record);
            }
        }
        if let (Wait::Until(_), Some(Duration::ZERO)) = (&wait, left) {
            return Ok(None);
        }
    }
}

/// The events of `query`. With `wait_ms`, until the session's end.
pub(super) fn each_event<'a>(
    client: &'a mut Client,
    id: &'a str,
    mut query: EventsQuery,
) -> impl Iterator<Item = Result<Event, CliError>> {
    let mut has_ended = query.wait_ms.is_none();
    paged(move || {
        let page = client.call(routes::SessionEvents.of(id).query(&query))?;
        has_ended |= page.events.iter().any(is_final_status);
        match page.events.last() {
            Some(last) => query.after_seq = Some(last.seq),
            None if has_ended => {}
            // The wait is over, or the session had ended before.
            None => {
                let record = client.call(routes::ShowSession.of(id))?;
                has_ended = record.status.is_final() && query.after_seq >= Some(record.last_seq);
            }
        }
        Ok((page.events, has_ended && !page.has_more))
    })
}

/// The payload of `event`, if it is of `kind`.
pub(super) fn payload<T: DeserializeOwned>(event: &Event, kind: EventKind) -> Option<T> {
    (event.kind == kind)
        .then(|| crate::api::from_json(&event.payload_json).ok())
        .flatten()
}

/// True if the event is a final status.
pub(super) fn is_final_status(event: &Event) -> bool {
    payload::<StatusPayload>(event, EventKind::Status)
        .is_some_and(|payload| payload.status.is_final())
}

fn show_event(out: &mut Out, show: Show, event: &Event) -> Result<(), CliError> {
    match (show, event.kind.known()) {
        (Show::Json, _) => Ok(out.json(event)?),
        (Show::Output, Some(EventKind::Output)) => {
            let Output { stream, bytes, .. } = output_of(event)?;
            Ok(out.of_harness(stream, &bytes)?)
        }
        (Show::Output, Some(EventKind::OutputTruncated)) => show_truncation(event),
        (Show::Output, _) => Ok(()),
    }
}

/// Output of an `output` event.
pub(super) struct Output {
    pub stream: Stream,
    pub bytes: Vec<u8>,
    /// Written after the session's end.
    pub is_late: bool,
}

/// Parses the output of an `output` event.
pub(super) fn output_of(event: &Event) -> Result<Output, CliError> {
    let wrong = |err: String| {
        let message = format!("event {}: {err}", event.seq);
        CliError::failed(Code::DaemonUnreachable, message, None)
    };
    let payload: OutputPayload =
        crate::api::from_json(&event.payload_json).map_err(|err| wrong(err.to_string()))?;
    let bytes = payload.bytes().map_err(|err| wrong(err.to_string()))?;
    Ok(Output {
        stream: payload.stream,
        bytes,
        is_late: payload.late,
    })
}

/// Reports deleted output: a gap must not look like silence of the harness.
pub(super) fn show_truncation(event: &Event) -> Result<(), CliError> {
    if let Ok(gone) = crate::api::from_json::<Truncation>(&event.payload_json) {
        let (events, bytes) = (gone.dropped_events, gone.dropped_bytes);
        let line = format!("coven: {events} events ({bytes} bytes) are gone here");
        writeln!(io::stderr().lock(), "{line}")?;
    }
    Ok(())
}

/// Prints how a session ended, unless its harness exited by itself; returns the exit code.
pub(super) fn conclude(ending: &EndFacts, id: &str) -> u8 {
    if let Some(sentence) = ending.sentence(id) {
        remark(&sentence);
    }
    ending.code()
}
