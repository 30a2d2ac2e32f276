//! The end of the daemon's process: stops the threads after the last session, and reports what is not on disk.
//!
//! Runs on the main thread, once the state thread's loop has ended. It decides nothing about sessions.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::ServeError;
use super::signals::Lookout;
use crate::api::{StopReport, UnwrittenSession};
use crate::http;
use crate::observe::say;
use crate::settings::durations;
use crate::state::{Abandoned, Stopped};
use crate::store::{Unwritten, Writer};

/// Stops the remaining threads after the last session, and reports the result to the clients that asked for the stop.
pub(super) fn conclude(
    stopped: Stopped,
    server: &http::Server,
    writer: Writer,
    lookout: &Lookout,
) -> Result<(), ServeError> {
    if let Some(mut guard) = lookout.guard() {
        guard.end();
    }
    server.finish(durations::STOP_ANSWERS);
    // If sessions are unfinished, the state thread has already waited for the store.
    let patience = match stopped.abandoned.is_empty() {
        true => durations::STOP_WRITER,
        false => Duration::ZERO,
    };
    let written = writer.stop(patience);
    let mut report = report_unwritten(&stopped.abandoned, written.err());
    let mut guard = lookout.guard();
    let rescued = guard.as_mut().and_then(|guard| guard.rescue());
    match &rescued {
        None => {}
        Some(Ok(copy)) => report.recovered = Some(copy.display().to_string()),
        Some(Err(reason)) => report.lose_store(reason),
    }
    say!(DaemonStopped, clean: report.clean);
    for reply in &stopped.replies {
        let _ = reply.send(Ok(report.clone()));
    }
    server.finish_all(durations::STOP_ANSWERS);
    let deleted = guard.and_then(|guard| {
        guard.leave();
        guard.deleted_home().map(Path::to_owned)
    });
    ended(report, deleted, rescued)
}

/// The result as exit code and error message.
fn ended(
    report: StopReport,
    deleted: Option<PathBuf>,
    rescued: Option<Result<PathBuf, String>>,
) -> Result<(), ServeError> {
    match (deleted, rescued) {
        (Some(home), Some(saved)) => Err(ServeError::HomeDeleted { home, saved }),
        (None, Some(Err(reason))) => Err(ServeError::Unsaved { reason }),
        _ if report.clean => Ok(()),
        _ => Err(ServeError::Unwritten(report)),
    }
}

/// Reports the data that is not on disk; each affected session gets a log line.
fn report_unwritten(given_up: &[Abandoned], unwritten: Option<Unwritten>) -> StopReport {
    let (waiting, reason) = match unwritten {
        Some(Unwritten { sessions, reason }) => (sessions, reason),
        None => Default::default(),
    };
    let lost = given_up.iter().filter_map(|session| {
        let waiting = session.num.and_then(|num| waiting.get(&num));
        // The store may have committed it at the last moment.
        (!session.closed || waiting.is_some()).then(|| UnwrittenSession {
            session_id: session.id,
            events: waiting.map_or(0, |waiting| waiting.events),
            bytes: waiting.map_or(0, |waiting| waiting.bytes),
            exited: session.exited,
            unread_bytes: session.unread,
        })
    });
    let lost: Vec<UnwrittenSession> = lost.collect();
    for session in &lost {
        say!(SessionUnwritten, session: session.session_id, events: session.events, bytes: session.bytes,
            unread_bytes: session.unread_bytes, exited: session.exited);
    }
    if lost.is_empty() {
        return StopReport::clean();
    }
    let reason = reason.map(|failure| failure.to_string());
    let reason = reason.unwrap_or_else(|| match lost.iter().all(|session| session.exited) {
        true => "the store does not answer".into(),
        false => "a process cannot be ended".into(),
    });
    StopReport::unclean(reason, lost)
}
