//! Hands the live sessions over to the next program, or takes them up from the previous one.
//!
//! Runs on the state thread. It knows neither the program nor the descriptors beside the sessions' own.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use serde::{Deserialize, Serialize};

use super::life::{Input, Phase};
use super::session::{RequestedEnd, Session};
use super::stdin::Stdin;
use super::{Reply, State, StateEvent};
use crate::adapters::SessionLimits;
use crate::api::{ApiError, Failure, LeftBehind, SessionId, UpgradeRefusal};
use crate::harness::{Gate, Harness, HarnessExit, PumpHandover, Report, Waiter};
use crate::observe::field::CloseCause;
use crate::redact::Redactor;
use crate::settings::durations;
use crate::store::SessionNum;
use crate::sys::passed;

/// A request to hand everything over.
#[derive(Debug)]
pub struct Upgrade {
    /// The program that takes over.
    pub successor: Successor,
    /// When the first client began to wait.
    pub begun: Instant,
    /// Gets the reason, if this program goes on.
    pub failed: Sender<ApiError>,
}

/// A checked program.
#[derive(Debug)]
pub struct Successor {
    /// The open executable.
    pub program: std::os::fd::OwnedFd,
    pub path: std::path::PathBuf,
    pub version: String,
    /// Schema version to which it migrates the database, if it does.
    pub migrates_to: Option<usize>,
}

/// The sessions, once no thread reads their pipes any more.
pub struct HandedOver {
    pub upgrade: Upgrade,
    pumps: HashMap<SessionId, PumpHandover>,
    /// The threads that have read them end behind it, if this program goes on.
    _end: Gate,
}

/// A handover that waits for the harness threads.
pub(super) struct HandingOver {
    upgrade: Upgrade,
    pumps: HashMap<SessionId, PumpHandover>,
    /// The sessions whose threads have their order, and have not ended.
    ending: BTreeSet<SessionId>,
    end: Gate,
    pub(super) give_up_at: Instant,
}

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

impl Phase {
    /// A session in one of the other phases is handed over when it has left that phase, within moments.
    fn can_be_handed_over(self) -> bool {
        matches!(self, Self::Running | Self::Exited)
    }
}

impl State {
    /// Answers `reply` once the sessions could be handed over, or with the reason why not.
    pub(super) fn await_upgrade(&mut self, reply: Reply<()>) {
        let give_up_at = self.kernel.now().instant + durations::SWEEP_END;
        self.upgrade_check = Some((reply, give_up_at));
    }

    /// Answers the client that waits until the sessions can be handed over, if they can, or if it has waited enough.
    pub(super) fn answer_upgrade_check(&mut self) {
        let Some((reply, give_up_at)) = self.upgrade_check.take() else {
            return;
        };
        let is_over = self.kernel.now().instant >= give_up_at;
        let is_sweeping = |session: &Session| session.phase == Phase::Sweeping;
        let checked = match self.sessions.values().any(is_sweeping) {
            true if self.stopping.is_none() && !is_over => {
                self.upgrade_check = Some((reply, give_up_at));
                return;
            }
            true => Err(ApiError::refused(
                UpgradeRefusal::Busy,
                "the processes of a session do not end",
            )),
            false => self.check_upgrade(),
        };
        let _ = reply.send(checked);
    }

    /// Checks whether the sessions may be handed over.
    ///
    /// # Errors
    /// The reason against it.
    fn check_upgrade(&self) -> Result<(), ApiError> {
        if self.stopping.is_some() {
            return Err(ApiError::refused_by_stop());
        }
        if let Err(err) = self.queue.check_available() {
            let reason = ApiError::from(err).message();
            return Err(ApiError::refused(UpgradeRefusal::StoreUnavailable, reason));
        }
        Ok(())
    }

    /// Starts to hand over: orders all harness threads to end.
    pub(super) fn hand_over(&mut self, upgrade: Upgrade) {
        if let Err(refusal) = self.check_upgrade() {
            let _ = upgrade.failed.send(refusal);
            return;
        }
        self.handing_over = Some(HandingOver {
            upgrade,
            pumps: HashMap::new(),
            ending: BTreeSet::new(),
            end: Gate::default(),
            give_up_at: self.kernel.now().instant + durations::HAND_OVER,
        });
        self.order_handover();
    }

    /// Orders the threads of all sessions that can be handed over by now.
    fn order_handover(&mut self) {
        let Some(handing_over) = &mut self.handing_over else {
            return;
        };
        let live = self.sessions.values().filter_map(|session| {
            let harness = session.harness.as_ref()?;
            let can_be = session.phase.can_be_handed_over();
            can_be.then_some((session.id, harness))
        });
        for (id, harness) in live.chain(self.late.harnesses()) {
            if !handing_over.pumps.contains_key(&id) && handing_over.ending.insert(id) {
                harness.hand_over(handing_over.end.waiter());
            }
        }
    }

    /// A harness thread has ended, and left `pump`. Without a handover, another thread goes on with it at once.
    pub(super) fn take_pump(&mut self, id: SessionId, pump: PumpHandover) {
        match &mut self.handing_over {
            Some(handing_over) => {
                handing_over.ending.remove(&id);
                handing_over.pumps.insert(id, pump);
            }
            None => self.go_on_with(id, pump),
        }
    }

    /// Everything, once the last harness thread has ended. Gives up at the deadline, or for a stop.
    pub(super) fn handed_over(&mut self) -> Option<HandedOver> {
        let handing_over = self.handing_over.as_ref()?;
        let is_over = self.kernel.now().instant >= handing_over.give_up_at;
        let refusal = if self.stopping.is_some() {
            Some(ApiError::refused_by_stop())
        } else if self.is_at_rest() {
            None
        } else if is_over {
            Some(ApiError::refused(
                UpgradeRefusal::Busy,
                "a session is being started or ended, which takes too long",
            ))
        } else {
            return None;
        };
        let handing_over = self.handing_over.take()?;
        let handed_over = HandedOver {
            upgrade: handing_over.upgrade,
            pumps: handing_over.pumps,
            _end: handing_over.end,
        };
        match refusal {
            None => Some(handed_over),
            Some(refusal) => {
                self.go_on(handed_over, refusal);
                None
            }
        }
    }

    /// True once all harness threads have ended. Each event asks this while hundreds of threads end: it looks at all
    /// sessions only when no thread is known that has not ended.
    fn is_at_rest(&mut self) -> bool {
        while let Some(id) = self.handing_over.as_ref().and_then(|it| it.ending.first()) {
            if self.sessions.contains_key(id) || self.late.contains(id) {
                return false;
            }
            // The session has ended, and with it its thread.
            if let Some(handing_over) = &mut self.handing_over {
                handing_over.ending.pop_first();
            }
        }
        self.order_handover();
        let Some(handing_over) = &self.handing_over else {
            return false;
        };
        let mut phases = self.sessions.values().map(|session| session.phase);
        handing_over.ending.is_empty() && phases.all(Phase::can_be_handed_over)
    }

    /// Goes on with everything in this program, and tells the reason.
    pub fn go_on(&mut self, handed_over: HandedOver, reason: ApiError) {
        let HandedOver { upgrade, pumps, .. } = handed_over;
        for (id, pump) in pumps {
            self.go_on_with(id, pump);
        }
        let _ = upgrade.failed.send(reason);
    }

    fn go_on_with(&mut self, id: SessionId, pump: PumpHandover) {
        let session = self.sessions.get(&id);
        let redactor = session.map(|session| Arc::clone(&session.redactor));
        let redactor = redactor.unwrap_or_else(|| pump.redactor(&self.redactor));
        let begin = Gate::default();
        let harness = match self.start(id, pump, redactor, begin.waiter()) {
            Ok(harness) => harness,
            Err(err) => {
                let reason = Failure::explained(&err);
                match self.sessions.get_mut(&id) {
                    Some(session) if session.phase.can_be_handed_over() => {
                        // No thread is left that would sweep, and report that.
                        session.harness = None;
                        self.apply(id, Input::Report(Report::Lost { reason }));
                        self.apply(id, Input::Report(Report::Swept { ended: 0 }));
                    }
                    _ => self.late.forget(id),
                }
                return;
            }
        };
        begin.open();
        match self.sessions.get_mut(&id) {
            Some(session) if session.phase.can_be_handed_over() => session.resume(harness),
            _ => self.late.resume(id, harness),
        }
    }

    /// Takes a stop that has arrived since the sessions came to rest; true if there was one.
    pub fn is_stop_waiting(&mut self) -> bool {
        let mut is_stop = false;
        while let Ok(event) = self.inbox.try_recv() {
            match event {
                StateEvent::Stop => is_stop = true,
                event => self.handle(event),
            }
        }
        is_stop
    }

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

    /// Stops as at a signal.
    pub fn stop_by_signal(&mut self) {
        self.handle(StateEvent::Stop);
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
    fn start(
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
    fn resume(&mut self, harness: Harness) {
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
