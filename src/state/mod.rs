//! The state thread: it owns every live session, and nobody else does.
//!
//! It runs on the process's main thread. Everything that can happen to it is an [`Event`]; it never waits for
//! the writer, the disk or a harness, but only for the next event or the next deadline. It never sees HTTP.

mod command;
mod effect;
mod late;
mod launch;
mod life;
mod perform;
mod session;
#[cfg(test)]
mod simulation;
mod stop;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

pub use command::{Acceptance, Command, Killed, Launch, Launched, Reply, Running};
use late::Late;
use life::Input;
use session::Session;
pub use stop::{Stopped, Unfinished};

use crate::api::{ApiError, SessionId, StopReport};
use crate::harness::{self, Pipes, Report};
use crate::observe::field::{CloseCause, StateInput};
use crate::observe::say;
use crate::redact::Redactor;
use crate::settings::durations;
use crate::store::{IdempotencyKey, SessionNum, WriteQueue};
use crate::sys;

/// Everything that can happen to the state thread.
#[derive(Debug)]
pub enum Event {
    /// A client asks for something.
    Command(Command),
    /// A launch's row is on disk, or cannot be.
    Created {
        id: SessionId,
        result: Result<SessionNum, ApiError>,
    },
    /// A harness thread has something to tell.
    Harness {
        id: SessionId,
        report: harness::Report,
    },
    /// A session's closing facts are on disk.
    Ended { id: SessionId },
    /// A session's record is gone.
    Deleted { id: SessionId },
    /// A child of this process has ended, perhaps one that it has adopted.
    ChildEnded,
    /// Answer, to show that this thread goes on.
    Ping(Sender<()>),
    /// The daemon is to stop: end all sessions, then this thread. A second one does not wait for the grace.
    Stop,
}

/// What the state thread is started with.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Sessions that can be live at once.
    pub sessions: usize,
    /// Between SIGTERM and SIGKILL.
    pub kill_grace: Duration,
    /// The longest that a drain takes while a process of the session holds a stream.
    pub drain_max: Duration,
}

/// What others learn of this thread.
pub struct Published {
    /// Sessions that are live, for health.
    pub live: Arc<AtomicU64>,
    /// For whoever supervises the daemon. Must not block.
    pub tell: Box<dyn Fn(Change) + Send>,
}

/// What a supervisor is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// So many sessions are live.
    Live(u64),
    /// The sessions are being ended, which takes so long at most.
    Stopping { within: Duration },
}

impl Published {
    fn set_live(&self, live: u64) {
        if self.live.swap(live, Ordering::Relaxed) != live {
            (self.tell)(Change::Live(live));
        }
    }
}

/// The live sessions, and all that is decided about them.
pub struct State {
    inbox: Receiver<Event>,
    /// For those who report back: harness threads, and the writer's answers.
    events: Sender<Event>,
    queue: WriteQueue,
    /// For the harness threads.
    redactor: Arc<Redactor>,
    pipes: Arc<Pipes>,
    limits: Limits,
    sessions: HashMap<SessionId, Session>,
    late: Late,
    idempotency: HashMap<String, IdempotencyKey>,
    published: Published,
    /// When memory is released: once after the start, and after each end of the last live session.
    rest_at: Option<Instant>,
    stopping: Option<stop::Stopping>,
    /// Those who wait for the end of the stop.
    stop_replies: Vec<Reply<StopReport>>,
}

impl State {
    /// The state before the first session.
    pub fn new(
        inbox: Receiver<Event>,
        events: Sender<Event>,
        queue: WriteQueue,
        redactor: Arc<Redactor>,
        limits: Limits,
        idempotency: Vec<IdempotencyKey>,
        published: Published,
    ) -> Self {
        let idempotency = idempotency
            .into_iter()
            .map(|key| (key.key.clone(), key))
            .collect();
        Self {
            inbox,
            events,
            queue,
            redactor,
            pipes: Pipes::new(),
            limits,
            sessions: HashMap::new(),
            late: Late::default(),
            idempotency,
            published,
            rest_at: Some(Instant::now() + durations::REST),
            stopping: None,
            stop_replies: Vec::new(),
        }
    }

    /// Handles events until the daemon is to stop and every session has ended.
    pub fn run(mut self) -> Stopped {
        loop {
            let event = match self.next_deadline() {
                Some(at) => self.inbox.recv_deadline(at),
                None => self.inbox.recv().map_err(RecvTimeoutError::from),
            };
            let begun = Instant::now();
            let what = match event {
                Ok(event) => {
                    let what = event.name();
                    self.handle(event);
                    what
                }
                Err(_) => StateInput::Deadline,
            };
            self.act_on_deadlines();
            self.published.set_live(self.live_sessions() as u64);
            if begun.elapsed() > durations::SLOW_EVENT {
                let took_ms = begun.elapsed().as_millis() as u64;
                say!(StateSlow, what, took_ms);
            }
            if let Some(stopped) = self.stopped() {
                return stopped;
            }
        }
    }

    /// Sessions that count towards the limit, and that health shows as live.
    fn live_sessions(&self) -> usize {
        let sessions = self.sessions.values();
        sessions.filter(|session| !session.has_ended()).count()
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Command(command) => self.command(command),
            Event::Created { id, result } => self.created(id, result),
            Event::Harness {
                id,
                report: Report::LateEnded,
            } => self.late.forget(id),
            Event::Harness { id, report } => self.happen(id, Input::Report(report)),
            Event::Ended { id } => self.happen(id, Input::Closed),
            Event::Deleted { id } => {
                self.idempotency.retain(|_, key| key.session != id);
                self.late.close(id, CloseCause::Deleted);
            }
            Event::ChildEnded => sys::reap_adopted(),
            Event::Ping(reply) => {
                let _ = reply.send(());
            }
            Event::Stop => self.stop(true),
        }
    }

    /// The next moment at which something is to be done without anybody asking.
    fn next_deadline(&self) -> Option<Instant> {
        let sessions = self.sessions.values().filter_map(Session::deadline);
        sessions
            .chain(self.stopping.as_ref().map(|stopping| stopping.give_up_at))
            .chain(self.rest_at)
            .min()
    }

    fn act_on_deadlines(&mut self) {
        let now = Instant::now();
        let due: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.deadline().is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.happen(id, Input::Deadline);
        }
        if self.rest_at.take_if(|at| *at <= now).is_some() && self.sessions.is_empty() {
            sys::release_idle_memory();
        }
    }
}

impl Event {
    fn name(&self) -> StateInput {
        match self {
            Self::Command(_) => StateInput::Command,
            Self::Created { .. } => StateInput::Created,
            Self::Harness { .. } => StateInput::Harness,
            Self::Ended { .. } => StateInput::Ended,
            Self::Deleted { .. } => StateInput::Deleted,
            Self::ChildEnded => StateInput::ChildEnded,
            Self::Ping(_) => StateInput::Ping,
            Self::Stop => StateInput::Stop,
        }
    }
}
