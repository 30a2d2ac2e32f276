//! Brings the sessions to rest for the program that takes over, or goes on with them in this one.
//!
//! Runs on the state thread. It knows neither the program nor what the sessions hand over.

use std::collections::BTreeSet;
use std::time::Instant;

use crossbeam_channel::Sender;

use super::life::{Input, Phase};
use super::session::Session;
use super::{Reply, State, StateEvent};
use crate::api::{ApiError, Failure, SessionId, UpgradeRefusal};
use crate::harness::{Gate, PumpHandover, Report};
use crate::settings::durations;

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

/// A handover that waits for the harness threads, or is ready: no thread reads the sessions' pipes any more.
pub struct HandingOver {
    pub upgrade: Upgrade,
    /// The sessions whose threads have their order, and have not ended.
    ending: BTreeSet<SessionId>,
    /// The threads that have read the pipes end behind it, if this program goes on.
    end: Gate,
    pub(super) give_up_at: Instant,
}

impl Phase {
    /// A session in one of the other phases is handed over when it has left that phase, within moments.
    pub(super) fn can_be_handed_over(self) -> bool {
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
        let live = self.sessions.values();
        let live = live
            .filter(|session| session.phase.can_be_handed_over())
            .map(|session| (session.id, &session.harness, &session.pump));
        let late = self.late.iter();
        let late = late.map(|entry| (entry.id, &entry.harness, &entry.pump));
        for (id, harness, pump) in live.chain(late) {
            if let (Some(harness), None) = (harness, pump)
                && handing_over.ending.insert(id)
            {
                harness.hand_over(handing_over.end.waiter());
            }
        }
    }

    /// A harness thread has ended, and left `pump`. Without a handover, another thread goes on with it at once.
    pub(super) fn take_pump(&mut self, id: SessionId, pump: Box<PumpHandover>) {
        let Some(handing_over) = &mut self.handing_over else {
            return self.go_on_with(id, pump);
        };
        handing_over.ending.remove(&id);
        match self.sessions.get_mut(&id) {
            Some(session) if session.phase.can_be_handed_over() => session.pump = Some(pump),
            _ => {
                if let Some(entry) = self.late.find(id) {
                    entry.pump = Some(pump);
                }
            }
        }
    }

    /// The handover, once the last harness thread has ended. Gives up at the deadline, or for a stop.
    pub(super) fn handed_over(&mut self) -> Option<HandingOver> {
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
        match refusal {
            None => Some(handing_over),
            Some(refusal) => {
                self.go_on(handing_over, refusal);
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
    pub fn go_on(&mut self, handing_over: HandingOver, reason: ApiError) {
        let live = self.sessions.values_mut();
        let live = live.filter_map(|session| Some((session.id, session.pump.take()?)));
        let late = self.late.iter_mut();
        let late = late.filter_map(|entry| Some((entry.id, entry.pump.take()?)));
        for (id, pump) in live.chain(late).collect::<Vec<_>>() {
            self.go_on_with(id, pump);
        }
        let _ = handing_over.upgrade.failed.send(reason);
    }

    fn go_on_with(&mut self, id: SessionId, pump: Box<PumpHandover>) {
        let session = self.sessions.get(&id);
        let redactor = session.and_then(|session| session.redactor.clone());
        let redactor = redactor.unwrap_or_else(|| pump.redactor(&self.redactor));
        let begin = Gate::default();
        let harness = match self.start(id, pump, redactor, &begin) {
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
            _ => {
                if let Some(entry) = self.late.find(id) {
                    entry.resume(harness);
                }
            }
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

    /// Stops as at a signal.
    pub fn stop_by_signal(&mut self) {
        self.handle(StateEvent::Stop);
    }
}
