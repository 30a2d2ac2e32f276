//! How the daemon stops: no new launches, every harness gets SIGTERM and then SIGKILL, and their last output
//! and closing facts go to disk, for which there is a bound.

use std::time::Instant;

use super::life::Input;
use super::{Reply, State};
use crate::api::{EndCause, SessionId, StopReport};
use crate::observe::field::CloseCause;
use crate::observe::field::StopCause;
use crate::observe::say;
use crate::settings::durations;
use crate::store::SessionNum;

/// A stop that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopping {
    pub(super) give_up_at: Instant,
    all_exited: bool,
    /// A signal has asked for it, and not only clients.
    is_signalled: bool,
}

/// How it ended.
#[derive(Debug)]
pub struct Stopped {
    /// The sessions whose closing facts are not on disk: their harness did not die, or the store did not take them.
    pub unfinished: Vec<Unfinished>,
    /// Those who wait to be told.
    pub replies: Vec<Reply<StopReport>>,
}

/// A session that was given up.
#[derive(Debug)]
pub struct Unfinished {
    /// Its id.
    pub id: SessionId,
    /// Its number, if it has a row.
    pub num: Option<SessionNum>,
    /// Its process has ended.
    pub exited: bool,
    /// What its pipes may still hold, in bytes: a harness that is held back leaves that much behind.
    pub unread: u64,
    /// Its closing facts are with the writer.
    pub closed: bool,
}

impl State {
    /// Begins to stop. Clients that ask, and a signal, belong to one stop: a service manager signals while its client
    /// waits for the answer. Only who signals a second time does not want to wait for the grace.
    pub(super) fn stop(&mut self, is_signal: bool) {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        if let Some(stopping) = &mut self.stopping {
            if !is_signal || !std::mem::replace(&mut stopping.is_signalled, true) {
                return;
            }
            say!(DaemonStopping, sessions: ids.len(), why: Some(StopCause::AskedAgain));
            ids.into_iter()
                .for_each(|id| self.happen(id, Input::EndGrace));
            return;
        }
        say!(DaemonStopping, sessions: ids.len(), why: None);
        // Even SIGKILL does not end a process that waits for a dead disk (signal(7): uninterruptible).
        self.queue.end_chores();
        let give_up_at = Instant::now() + self.limits.kill_grace + durations::STOP_STORE;
        let within = durations::stop_within(self.limits.kill_grace);
        (self.published.tell)(super::Change::Stopping { within });
        self.stopping = Some(Stopping {
            give_up_at,
            all_exited: false,
            is_signalled: is_signal,
        });
        self.late.leave_below(1, CloseCause::Stop);
        for id in ids {
            self.happen(id, Input::End(EndCause::DaemonStop));
        }
    }

    /// Whether the stop is over.
    pub(super) fn stopped(&mut self) -> Option<Stopped> {
        let stopping = self.stopping.as_mut()?;
        let now = Instant::now();
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
        let unfinished = |(id, session): (&SessionId, &super::Session)| Unfinished {
            id: *id,
            num: session.num,
            exited: session.phase.has_exited(),
            unread: session.unread() as u64,
            closed: session.has_ended(),
        };
        (is_over || now >= stopping.give_up_at).then(|| Stopped {
            unfinished: self.sessions.iter().map(unfinished).collect(),
            replies: std::mem::take(&mut self.stop_replies),
        })
    }
}
