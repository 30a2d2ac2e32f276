//! Stops the daemon: no more launches, SIGTERM and later SIGKILL for every harness, and a bounded time to store the
//! last output and the closing facts.
//!
//! Runs on the state thread.

use std::time::Instant;

use super::life::Input;
use super::{Reply, State};
use crate::api::{EndCause, SessionId, StopReport};
use crate::observe::field::StopCause;
use crate::observe::say;
use crate::settings::durations;
use crate::store::SessionNum;

/// A stop in progress.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopping {
    pub(super) give_up_at: Instant,
    all_exited: bool,
    /// A signal has requested it, not only clients.
    is_signalled: bool,
}

/// Origin of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopSource {
    /// SIGTERM, SIGINT, or the deletion of the home.
    Signal,
    /// `POST /daemon/stop`.
    Client,
}

/// Result of a stop.
#[derive(Debug)]
pub struct Stopped {
    /// The sessions whose closing facts are not on disk: their harness did not die, or the store did not accept them.
    pub abandoned: Vec<Abandoned>,
    /// Clients that wait for the end of the stop.
    pub replies: Vec<Reply<StopReport>>,
}

/// A session that was given up at the end of a stop.
#[derive(Debug)]
pub struct Abandoned {
    pub id: SessionId,
    /// Its row's number, if it has a row.
    pub num: Option<SessionNum>,
    /// Its process has exited.
    pub exited: bool,
    /// Bytes that its pipes may still hold. A harness that was blocked by a full pipe leaves that many behind.
    pub unread: u64,
    /// Its closing facts are with the writer.
    pub closed: bool,
}

impl State {
    /// Starts the stop. Clients and one signal belong to the same stop: a service manager signals while its client
    /// waits for the answer. Only a second signal ends the grace period.
    pub(super) fn stop(&mut self, source: StopSource) {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        if let Some(stopping) = &mut self.stopping {
            if source == StopSource::Client || !std::mem::replace(&mut stopping.is_signalled, true)
            {
                return;
            }
            say!(DaemonStopping, sessions: ids.len(), why: Some(StopCause::AskedAgain));
            ids.into_iter()
                .for_each(|id| self.apply(id, Input::EndGrace));
            return;
        }
        say!(DaemonStopping, sessions: ids.len(), why: None);
        // Even SIGKILL does not end a process that waits for a dead disk (signal(7): uninterruptible).
        self.queue.end_chores();
        let give_up_at = self.kernel.now().instant + self.limits.kill_grace + durations::STOP_STORE;
        let within = durations::stop_within(self.limits.kill_grace);
        (self.publisher.tell)(super::Notice::Stopping { within });
        self.stopping = Some(Stopping {
            give_up_at,
            all_exited: false,
            is_signalled: source == StopSource::Signal,
        });
        self.late.stop();
        for id in ids {
            self.apply(id, Input::End(EndCause::DaemonStop));
        }
    }

    /// The result, once the stop is complete.
    pub(super) fn stopped(&mut self) -> Option<Stopped> {
        let now = self.kernel.now().instant;
        let stopping = self.stopping.as_mut()?;
        let is_over = self.sessions.is_empty() && self.late.is_empty();
        if !is_over
            && !stopping.all_exited
            && self
                .sessions
                .values()
                .all(|session| session.phase.has_exited())
        {
            stopping.all_exited = true;
            stopping.give_up_at = now + durations::STOP_STORE;
        }
        let abandoned = |(id, session): (&SessionId, &super::Session)| Abandoned {
            id: *id,
            num: session.num,
            exited: session.phase.has_exited(),
            unread: session.unread() as u64,
            closed: session.has_ended(),
        };
        (is_over || now >= stopping.give_up_at).then(|| Stopped {
            abandoned: self.sessions.iter().map(abandoned).collect(),
            replies: std::mem::take(&mut self.stop_replies),
        })
    }
}
