//! Hands the live sessions over to the next program, or takes them up from the previous one.
//!
//! Runs on the state thread, while the sessions are at rest. It knows neither the program nor the descriptors beside the
//! sessions' own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::life::Phase;
use super::session::{RequestedEnd, Session};
use super::stdin::Stdin;
use super::{HandedOver, State};
use crate::adapters::SessionLimits;
use crate::api::{LeftBehind, SessionId};
use crate::harness::{Gate, Harness, HarnessExit, PumpHandover, Waiter};
use crate::observe::field::CloseCause;
use crate::redact::Redactor;
use crate::store::SessionNum;
use crate::sys::passed;

/// All sessions.
#[derive(Debug, Serialize, Deserialize)]
pub struct StateHandover {
    sessions: Vec<SessionHandover>,
    late: Vec<LateHandover>,
}

/// A live session.
#[derive(Debug, Serialize, Deserialize)]
struct SessionHandover {
    id: SessionId,
    phase: Phase,
    num: SessionNum,
    pid: i32,
    harness_id: String,
    stdin: Stdin,
    #[serde(default, skip_serializing_if = "passed::is_default")]
    is_stream: bool,
    #[serde(default, skip_serializing_if = "passed::is_default")]
    has_conversation: bool,
    #[serde(default, skip_serializing_if = "passed::is_default")]
    limits: SessionLimits,
    #[serde(
        with = "passed::optional_instant",
        default,
        skip_serializing_if = "passed::is_default"
    )]
    timeout_at: Option<Instant>,
    grace: Duration,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending: Option<RequestedEnd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sweep: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    launch_sweep: Option<Duration>,
    #[serde(default, skip_serializing_if = "passed::is_default")]
    swept: usize,
    #[serde(default, skip_serializing_if = "passed::is_default")]
    left: LeftBehind,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<HarnessExit>,
    pump: PumpHandover,
}

/// A session that has ended, and whose streams are read on.
#[derive(Debug, Serialize, Deserialize)]
struct LateHandover {
    id: SessionId,
    closing: Option<CloseCause>,
    pump: PumpHandover,
}

/// Sessions of the previous program, whose threads wait for the beginning.
pub struct TakenUp {
    sessions: Vec<Session>,
    late: Vec<(SessionId, Option<CloseCause>, Harness)>,
    begin: Gate,
}

impl StateHandover {
    /// Number of live sessions.
    pub fn live(&self) -> usize {
        self.sessions.len()
    }

    /// The rows that have a running harness.
    pub fn nums(&self) -> Vec<SessionNum> {
        self.sessions.iter().map(|session| session.num).collect()
    }
}

impl State {
    /// The sessions, for the next program. The sessions stay as they are: this program goes on if it cannot be executed.
    ///
    /// # Errors
    /// A session is not at rest.
    pub fn handover(&mut self, handed_over: &mut HandedOver) -> std::io::Result<StateHandover> {
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
        let pumps = &mut handed_over.pumps;
        let is_at_rest = |session: &Session| {
            let can_be = session.phase.can_be_handed_over() && session.num.is_some();
            can_be && session.pid.is_some() && pumps.contains_key(&session.id)
        };
        if !sessions.values().all(is_at_rest) {
            return Err(std::io::Error::other("a session is not at rest"));
        }
        let live = sessions.values().filter_map(|session| {
            let pump = pumps.remove(&session.id)?;
            session.handover(pump)
        });
        let live = live.collect();
        let late = late.entries().filter_map(|(id, closing)| {
            let pump = pumps.remove(&id)?;
            Some(LateHandover { id, closing, pump })
        });
        Ok(StateHandover {
            sessions: live,
            late: late.collect(),
        })
    }

    /// Gives back what [`State::handover`] has taken.
    pub fn give_back(&self, handed_over: &mut HandedOver, handover: StateHandover) {
        let StateHandover { sessions, late } = handover;
        let live = sessions
            .into_iter()
            .map(|session| (session.id, session.pump));
        let late = late.into_iter().map(|entry| (entry.id, entry.pump));
        handed_over.pumps.extend(live.chain(late));
    }

    /// Starts a thread for each session of the previous program. The threads wait until [`State::begin`].
    ///
    /// # Errors
    /// No thread or descriptor is available. Nothing is changed then.
    pub fn take_up(&self, handover: StateHandover) -> std::io::Result<TakenUp> {
        let StateHandover { sessions, late } = handover;
        let begin = Gate::default();
        let live = sessions.into_iter().map(|session| {
            let redactor = session.pump.redactor(&self.redactor);
            self.take_up_session(session, redactor, begin.waiter())
        });
        let late = late.into_iter().map(|LateHandover { id, closing, pump }| {
            let redactor = pump.redactor(&self.redactor);
            let harness = self.start(id, pump, redactor, begin.waiter())?;
            Ok((id, closing, harness))
        });
        Ok(TakenUp {
            sessions: live.collect::<std::io::Result<_>>()?,
            late: late.collect::<std::io::Result<_>>()?,
            begin,
        })
    }

    /// Goes on with the sessions of the previous program. Their threads go on once the returned gate is open: clients are
    /// answered before hundreds of threads are woken.
    #[must_use]
    pub fn begin(&mut self, taken_up: TakenUp) -> Gate {
        let TakenUp {
            sessions,
            late,
            begin,
        } = taken_up;
        for session in sessions {
            session.repeat_orders();
            self.sessions.insert(session.id, session);
        }
        for (id, closing, harness) in late {
            self.late.take_up(id, closing, harness);
        }
        self.publish_live();
        begin
    }

    /// Starts the thread that goes on with `pump`.
    pub(super) fn start(
        &self,
        id: SessionId,
        pump: PumpHandover,
        redactor: Arc<Redactor>,
        begin: Waiter,
    ) -> std::io::Result<Harness> {
        let (shared, events) = (self.shared(redactor), self.events.clone());
        self.kernel.take_up(id, pump, shared, events, begin)
    }

    fn take_up_session(
        &self,
        handover: SessionHandover,
        redactor: Arc<Redactor>,
        begin: Waiter,
    ) -> std::io::Result<Session> {
        let SessionHandover {
            id,
            phase,
            num,
            pid,
            harness_id,
            stdin,
            is_stream,
            has_conversation,
            limits,
            timeout_at,
            grace,
            ending,
            sweep,
            launch_sweep,
            swept,
            left,
            exit,
            pump,
        } = handover;
        let harness = self.start(id, pump, Arc::clone(&redactor), begin)?;
        Ok(Session {
            id,
            phase,
            num: Some(num),
            pid: Some(pid),
            harness: Some(harness),
            harness_id,
            stdin,
            is_stream,
            has_conversation,
            redactor,
            limits,
            timeout_at,
            grace,
            ending,
            sweep,
            launch_sweep,
            swept,
            left,
            exit,
            failure: None,
            closing: None,
            launch: None,
            repeats: Vec::new(),
            kills: Vec::new(),
            early_input: Vec::new(),
        })
    }
}

impl Session {
    /// The session with its `pump`, for the next program; `None` if it has no process.
    fn handover(&self, pump: PumpHandover) -> Option<SessionHandover> {
        let Self {
            id,
            phase,
            num,
            pid,
            // `pump` stands for its thread.
            harness: _,
            harness_id,
            stdin,
            is_stream,
            has_conversation,
            // `pump` has its values.
            redactor: _,
            limits,
            timeout_at,
            grace,
            ending,
            sweep,
            launch_sweep,
            swept,
            left,
            exit,
            // Only a session without a process has a failure.
            failure: _,
            // Only a session that is being swept or has ended has closing facts.
            closing: _,
            // All clients have their answers.
            launch: _,
            repeats: _,
            kills: _,
            early_input: _,
        } = self;
        Some(SessionHandover {
            id: *id,
            phase: *phase,
            num: (*num)?,
            pid: (*pid)?,
            harness_id: harness_id.clone(),
            stdin: *stdin,
            is_stream: *is_stream,
            has_conversation: *has_conversation,
            limits: *limits,
            timeout_at: *timeout_at,
            grace: *grace,
            ending: *ending,
            sweep: *sweep,
            launch_sweep: *launch_sweep,
            swept: *swept,
            left: left.clone(),
            exit: *exit,
            pump,
        })
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
