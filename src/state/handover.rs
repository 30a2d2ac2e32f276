//! Hands the live sessions over to the next program, or takes them up from the previous one.
//!
//! Runs on the state thread, while the sessions are at rest. It knows neither the program nor the descriptors beside the
//! sessions' own.

use std::io;
use std::mem;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::State;
use super::late::LateSession;
use super::session::Session;
use super::stdin::Stdin;
use crate::api::SessionId;
use crate::harness::{Gate, Harness, PumpHandover};
use crate::redact::Redactor;
use crate::store::SessionNum;

/// All sessions.
#[derive(Serialize, Deserialize)]
pub struct StateHandover {
    sessions: Vec<Session>,
    late: Vec<LateSession>,
}

/// Sessions of the previous program, whose threads wait for the beginning.
pub struct TakenUp {
    handover: StateHandover,
    begin: Gate,
}

impl StateHandover {
    /// Number of live sessions.
    pub fn live(&self) -> usize {
        self.sessions.len()
    }

    /// The rows that have a running harness.
    pub fn nums(&self) -> Vec<SessionNum> {
        let nums = self.sessions.iter().filter_map(|session| session.num);
        nums.collect()
    }
}

impl State {
    /// Takes the sessions out, for the next program. They come back if it cannot be executed: [`State::give_back`].
    ///
    /// # Errors
    /// A session is not at rest. Nothing is changed then.
    pub fn handover(&mut self) -> io::Result<StateHandover> {
        let Self {
            sessions,
            late,
            // The system.
            kernel: _,
            // The threads and channels of this process.
            inbox: _,
            events: _,
            queue: _,
            pipes: _,
            publisher: _,
            // From the settings.
            limits: _,
            redactor: _,
            // On disk.
            idempotency: _,
            // A start sets it.
            rest_at: _,
            // No stop is under way: a stop ends the handover.
            stopping: _,
            stop_replies: _,
            handing_over: _,
            // Its client is answered before a handover begins.
            upgrade_check: _,
        } = self;
        let are_live_at_rest = sessions.values().all(Session::is_at_rest);
        if !are_live_at_rest || late.iter().any(|entry| entry.pump.is_none()) {
            return Err(io::Error::other("a session is not at rest"));
        }
        Ok(StateHandover {
            sessions: mem::take(sessions).into_values().collect(),
            late: late.take_all(),
        })
    }

    /// Gives back what [`State::handover`] has taken.
    pub fn give_back(&mut self, handover: StateHandover) {
        let live = handover.sessions.into_iter();
        self.sessions
            .extend(live.map(|session| (session.id, session)));
        self.late.put_back(handover.late);
    }

    /// Starts a thread for each session of the previous program. The threads wait until [`State::begin`].
    ///
    /// # Errors
    /// No thread or descriptor is available. Nothing is changed then.
    pub fn take_up(&self, mut handover: StateHandover) -> io::Result<TakenUp> {
        let begin = Gate::default();
        for session in &mut handover.sessions {
            let pump = session.pump.take().ok_or_else(no_pump)?;
            let redactor = pump.redactor(&self.redactor);
            session.redactor = Some(Arc::clone(&redactor));
            session.harness = Some(self.start(session.id, pump, redactor, &begin)?);
        }
        for entry in &mut handover.late {
            let pump = entry.pump.take().ok_or_else(no_pump)?;
            let redactor = pump.redactor(&self.redactor);
            entry.harness = Some(self.start(entry.id, pump, redactor, &begin)?);
        }
        Ok(TakenUp { handover, begin })
    }

    /// Goes on with the sessions of the previous program. Their threads go on once the returned gate is open: clients are
    /// answered before hundreds of threads are woken.
    #[must_use]
    pub fn begin(&mut self, taken_up: TakenUp) -> Gate {
        self.give_back(taken_up.handover);
        self.sessions.values().for_each(Session::repeat_orders);
        self.late.iter().for_each(LateSession::repeat_order);
        self.publish_live();
        taken_up.begin
    }

    /// Starts the thread that goes on with `pump`, once `begin` is open.
    pub(super) fn start(
        &self,
        id: SessionId,
        pump: Box<PumpHandover>,
        redactor: Arc<Redactor>,
        begin: &Gate,
    ) -> io::Result<Harness> {
        let (shared, events) = (self.shared(redactor), self.events.clone());
        let begin = begin.waiter();
        self.kernel.take_up(id, *pump, shared, events, begin)
    }
}

fn no_pump() -> io::Error {
    io::Error::other("a session has no pump")
}

impl Session {
    /// True if the next program can go on with it.
    fn is_at_rest(&self) -> bool {
        let can_be = self.phase.can_be_handed_over() && self.num.is_some();
        can_be && self.pid.is_some() && self.pump.is_some()
    }

    /// Another thread has gone on with its harness.
    pub(super) fn resume(&mut self, harness: Harness) {
        self.harness = Some(harness);
        self.repeat_orders();
    }

    /// Repeats the orders that its last thread may not have received.
    fn repeat_orders(&self) {
        let Some(harness) = &self.harness else { return };
        let has_exited = self.phase.has_exited();
        if has_exited && self.stdin != Stdin::None {
            harness.end_input();
        }
        if self.ending.is_some() || has_exited && self.sweep.is_some() {
            harness.hurry();
        }
    }
}
