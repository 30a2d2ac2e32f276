//! The state thread: the only owner of the live sessions.
//!
//! Runs on the process's main thread. All its input is one enum, [`StateEvent`]. It waits only for the next event or
//! deadline, and never for the writer, the disk or a harness. It knows no HTTP.

mod closing;
mod command;
mod effect;
mod handover;
mod kernel;
mod late;
mod launch;
mod life;
mod perform;
mod session;
#[cfg(test)]
mod simulation;
mod stdin;
mod stop;
#[cfg(test)]
mod tests;
mod upgrade;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

pub use command::{Acceptance, Command, Killed, Launch, Launched, Reply, Running};
pub use handover::{StateHandover, TakenUp};
use kernel::{Kernel, RealKernel};
use late::Late;
use life::Input;
use session::Session;
use stop::StopSource;
pub use stop::{Abandoned, Stopped};
pub use upgrade::{HandingOver, Successor, Upgrade};

use crate::api::{ApiError, SessionId, StopReport};
use crate::harness::{self, Pipes, Report};
use crate::observe::field::{CloseCause, StateInput};
use crate::observe::say;
use crate::redact::Redactor;
use crate::settings::durations;
use crate::store::{IdempotencyKey, SessionNum, WriteQueue};

/// An input of the state thread.
#[derive(Debug)]
pub enum StateEvent {
    /// A client's command.
    Command(Command),
    /// A launch's row is on disk, or could not be written.
    Created {
        id: SessionId,
        result: Result<SessionNum, ApiError>,
    },
    /// A report of a harness thread.
    Harness {
        id: SessionId,
        report: harness::Report,
    },
    /// A session's closing facts are on disk.
    Ended { id: SessionId },
    /// A session's record has been deleted.
    Deleted { id: SessionId },
    /// A child of this process has exited: a harness, or an adopted orphan.
    ChildEnded,
    /// Hands everything over to another program.
    HandOver(Upgrade),
    /// Answers, to prove that the state thread makes progress.
    Ping(Sender<()>),
    /// A connection that has used much memory has ended.
    MemoryFree,
    /// A stop signal: ends all sessions, then the state thread. A second one ends the grace period.
    Stop,
}

/// Limits that the state thread enforces.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most live sessions.
    pub sessions: usize,
    /// Time between SIGTERM and SIGKILL.
    pub kill_grace: Duration,
    /// Longest drain while a process of the session holds a stream.
    pub drain_max: Duration,
}

/// Why the state thread handles no more events.
pub enum Outcome {
    /// Every session has ended.
    Stopped(Stopped),
    /// Every session is at rest.
    HandOver(HandingOver),
}

/// Figures and notices that the state thread publishes.
pub struct Publisher {
    /// Number of live sessions, for health and metrics.
    pub live: Arc<AtomicU64>,
    /// Called for each [`Notice`], for the service manager. Must not block.
    pub tell: Box<dyn Fn(Notice) + Send>,
}

/// A change that the service manager is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The number of live sessions.
    Live(u64),
    /// The sessions are being ended; this takes at most `within`.
    Stopping { within: Duration },
}

impl Publisher {
    fn set_live(&self, live: u64) {
        if self.live.swap(live, Ordering::Relaxed) != live {
            (self.tell)(Notice::Live(live));
        }
    }
}

/// The live sessions, and all decisions about them.
pub struct State {
    kernel: Box<dyn Kernel>,
    inbox: Receiver<StateEvent>,
    /// Cloned for harness threads and the writer's callbacks.
    events: Sender<StateEvent>,
    queue: WriteQueue,
    pipes: Arc<Pipes>,
    limits: Limits,
    /// The rules without any session's values.
    redactor: Arc<Redactor>,
    /// In a fixed order, so that a simulation can be repeated.
    sessions: BTreeMap<SessionId, Session>,
    late: Late,
    idempotency: HashMap<String, IdempotencyKey>,
    publisher: Publisher,
    /// Time at which memory is released: once after the start, and after each end of the last live session.
    rest_at: Option<Instant>,
    stopping: Option<stop::Stopping>,
    handing_over: Option<HandingOver>,
    /// The client that waits until the sessions can be handed over, and how long.
    upgrade_check: Option<(Reply<()>, Instant)>,
    /// Clients that wait for the end of the stop.
    stop_replies: Vec<Reply<StopReport>>,
}

impl State {
    /// A state without sessions.
    pub fn new(
        inbox: Receiver<StateEvent>,
        events: Sender<StateEvent>,
        queue: WriteQueue,
        limits: Limits,
        redactor: Arc<Redactor>,
        idempotency: Vec<IdempotencyKey>,
        publisher: Publisher,
    ) -> Self {
        let idempotency = idempotency
            .into_iter()
            .map(|key| (key.key.clone(), key))
            .collect();
        let kernel = Box::new(RealKernel);
        Self {
            rest_at: Some(kernel.now().instant + durations::REST),
            kernel,
            inbox,
            events,
            queue,
            pipes: Pipes::new(),
            limits,
            redactor,
            sessions: BTreeMap::new(),
            late: Late::default(),
            idempotency,
            publisher,
            stopping: None,
            handing_over: None,
            upgrade_check: None,
            stop_replies: Vec::new(),
        }
    }

    /// Handles events until a stop was requested and every session has ended, or until all sessions can be handed over.
    pub fn run(&mut self) -> Outcome {
        loop {
            let event = match self.next_deadline() {
                Some(at) => self.inbox.recv_deadline(at),
                None => self.inbox.recv().map_err(RecvTimeoutError::from),
            };
            let begun = Instant::now();
            let what = event
                .as_ref()
                .map_or(StateInput::Deadline, StateEvent::name);
            let stopped = self.step(event.ok());
            if begun.elapsed() > durations::SLOW_EVENT {
                let took_ms = begun.elapsed().as_millis() as u64;
                say!(StateSlow, what, took_ms);
            }
            if let Some(stopped) = stopped {
                return Outcome::Stopped(stopped);
            }
            self.answer_upgrade_check();
            if let Some(handed_over) = self.handed_over() {
                return Outcome::HandOver(handed_over);
            }
        }
    }

    /// Handles `event`, if there is one, and the deadlines that have passed. Returns the result of a stop that is
    /// complete.
    fn step(&mut self, event: Option<StateEvent>) -> Option<Stopped> {
        if let Some(event) = event {
            self.handle(event);
        }
        self.act_on_deadlines();
        self.publish_live();
        self.stopped()
    }

    fn publish_live(&self) {
        self.publisher.set_live(self.live_sessions() as u64);
    }

    /// Number of sessions that count towards the limit and are shown as live.
    fn live_sessions(&self) -> usize {
        let sessions = self.sessions.values();
        sessions.filter(|session| !session.has_ended()).count()
    }

    fn handle(&mut self, event: StateEvent) {
        match event {
            StateEvent::Command(command) => self.command(command),
            StateEvent::Created { id, result } => self.created(id, result),
            StateEvent::Harness {
                id,
                report: Report::LateEnded,
            } => self.late.forget(id),
            StateEvent::Harness {
                id,
                report: Report::HandedOver(pump),
            } => self.take_pump(id, pump),
            StateEvent::Harness { id, report } => self.apply(id, Input::Report(report)),
            StateEvent::Ended { id } => self.apply(id, Input::Closed),
            StateEvent::Deleted { id } => {
                self.idempotency.retain(|_, key| key.session != id);
                self.late.close(id, CloseCause::Deleted);
            }
            StateEvent::ChildEnded => self.kernel.reap_adopted(),
            StateEvent::HandOver(upgrade) => self.hand_over(upgrade),
            StateEvent::MemoryFree => {
                self.rest_at = Some(self.kernel.now().instant + durations::REST);
            }
            StateEvent::Ping(reply) => {
                let _ = reply.send(());
            }
            StateEvent::Stop => self.stop(StopSource::Signal),
        }
    }

    /// The next moment at which something must be done without an event.
    fn next_deadline(&self) -> Option<Instant> {
        // While the threads end, no order would reach a harness thread: the next program acts, or this one goes on soon.
        if let Some(handing_over) = &self.handing_over {
            return Some(handing_over.give_up_at);
        }
        let sessions = self.sessions.values().filter_map(Session::deadline);
        sessions
            .chain(self.stopping.as_ref().map(|stopping| stopping.give_up_at))
            .chain(self.rest_at)
            .chain(
                self.upgrade_check
                    .as_ref()
                    .map(|(_, give_up_at)| *give_up_at),
            )
            .min()
    }

    fn act_on_deadlines(&mut self) {
        if self.handing_over.is_some() {
            return;
        }
        let now = self.kernel.now().instant;
        let due: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.deadline().is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.apply(id, Input::Deadline);
        }
        if self.rest_at.take_if(|at| *at <= now).is_some() && self.sessions.is_empty() {
            self.queue.rest();
        }
    }
}

impl StateEvent {
    fn name(&self) -> StateInput {
        match self {
            Self::Command(_) => StateInput::Command,
            Self::Created { .. } => StateInput::Created,
            Self::Harness { .. } => StateInput::Harness,
            Self::Ended { .. } => StateInput::Ended,
            Self::Deleted { .. } => StateInput::Deleted,
            Self::ChildEnded => StateInput::ChildEnded,
            Self::Ping(_) => StateInput::Ping,
            Self::MemoryFree => StateInput::MemoryFree,
            Self::HandOver(_) => StateInput::HandOver,
            Self::Stop => StateInput::Stop,
        }
    }
}
