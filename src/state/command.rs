//! What clients can ask of the state thread: one enum, each with a channel for its answer.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::life::{Input, Phase};
use super::session::{Session, Stdin};
use super::{Event, State};
use crate::adapters::Program;
use crate::api::{ApiError, SessionId, SessionRecord, StopReport, StreamLine};
use crate::harness::{ClientInput, Tally};
use crate::observe::say;
use crate::store::{Answer, Chore, Done, NewSession, Request};
use crate::sys;

/// Where a command's answer goes. One that nobody waits for any more is dropped.
pub type Reply<T> = Sender<Result<T, ApiError>>;

/// Everything that a client can ask for that changes something. Validated: what only the live sessions or the
/// store can know is all that can still be refused.
#[derive(Debug)]
pub enum Command {
    /// Start a harness. Answered when it is on disk that it runs, or why it does not.
    Launch(Box<Launch>, Reply<Launched>),
    /// The session that an `Idempotency-Key` and body have launched before, if they have. Asked before a launch is
    /// validated: a repeat gets its session whatever has become of the project since.
    FindRepeat {
        key: String,
        fingerprint: String,
        reply: Reply<Option<SessionId>>,
    },
    /// Write to a running harness's stdin.
    Input {
        id: SessionId,
        data: String,
        /// Whether stdin is closed after the data.
        eof: bool,
        reply: Reply<Acceptance>,
    },
    /// End a running harness, at once or with a grace period. Answered when its exit is on disk.
    Kill {
        id: SessionId,
        at_once: bool,
        reply: Reply<Killed>,
    },
    /// Deliver a signal that is not to end it.
    Signal {
        id: SessionId,
        signal: i32,
        reply: Reply<Acceptance>,
    },
    /// List the running sessions.
    ListRunning(Reply<Vec<Running>>),
    /// What concerns no live session, and is the store's alone to refuse.
    Store(Request, Reply<Answer>),
    /// What the store does between other things.
    Chore(Chore, Reply<Answer>),
    /// End the daemon, as a signal does. Answered by whoever ends it, when everything is over.
    Stop(Reply<StopReport>),
}

/// A launch, validated.
#[derive(Debug)]
pub struct Launch {
    /// The row.
    pub session: NewSession,
    /// The process.
    pub program: Program,
    /// Whether what the harness leaves behind is ended with it.
    pub sweep: bool,
}

/// What came of a launch.
#[derive(Debug)]
pub enum Launched {
    /// A new session, running.
    New(Box<SessionRecord>),
    /// The same `Idempotency-Key` and body have launched this one before.
    Repeat(SessionId),
}

/// A session whose harness runs.
#[derive(Debug)]
pub struct Running {
    /// The session.
    pub id: SessionId,
    /// The process of the harness.
    pub pid: i32,
    /// The adapter's id.
    pub harness: String,
    /// Counts its output.
    pub tally: Arc<Tally>,
}

/// What came of a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Killed {
    /// The session has ended, and with it so many processes that outlived the harness.
    Ended { swept: usize },
    /// No live session has this id: what it is, the store knows.
    NotLive,
}

/// What came of input, or of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// It is done.
    Accepted,
    /// No live session has this id: what it is, the store knows.
    NotLive,
}

impl State {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Launch(launch, reply) => self.launch(*launch, reply),
            Command::FindRepeat {
                key,
                fingerprint,
                reply,
            } => {
                let _ = reply.send(self.find_repeat(&key, &fingerprint));
            }
            Command::Input {
                id,
                data,
                eof,
                reply,
            } => match self.sessions.get_mut(&id) {
                // Whoever launched it may have been told that it runs before this thread has been.
                Some(session) if session.phase == Phase::Starting => {
                    session.early_input.push((data, eof, reply));
                }
                _ => {
                    let _ = reply.send(self.input(id, data, eof));
                }
            },
            Command::Kill { id, at_once, reply } if self.sessions.contains_key(&id) => {
                self.happen(id, Input::Kill(reply, at_once));
            }
            Command::Kill { reply, .. } => {
                let _ = reply.send(Ok(Killed::NotLive));
            }
            Command::Signal { id, signal, reply } => {
                let _ = reply.send(self.deliver(id, signal));
            }
            Command::ListRunning(reply) => {
                let running = self.sessions.values().filter_map(Session::running);
                let _ = reply.send(Ok(running.collect()));
            }
            Command::Store(request, reply) => {
                if let Some(done) = self.done(reply) {
                    self.queue.request(request, done);
                }
            }
            Command::Chore(chore, reply) => {
                if let Some(done) = self.done(reply) {
                    self.queue.chore(chore, done);
                }
            }
            Command::Stop(reply) => {
                self.stop_replies.push(reply);
                self.stop(false);
            }
        }
    }

    /// Hands a client's `data` to the harness; with `eof` nothing follows it.
    pub(super) fn input(
        &mut self,
        id: SessionId,
        data: String,
        eof: bool,
    ) -> Result<Acceptance, ApiError> {
        let Some(session) = self.sessions.get_mut(&id) else {
            return Ok(Acceptance::NotLive);
        };
        if data.is_empty() && session.is_at_eof() {
            // A repeat.
            return Ok(Acceptance::Accepted);
        }
        session.check_reads()?;
        if data.is_empty() && !eof {
            // Nothing would count towards the bound on what waits.
            return Ok(Acceptance::Accepted);
        }
        // Also where the database's files have gone: the session goes on, and what it does is saved.
        self.queue.check_writable()?;
        let (data, message) = match session.is_stream && !data.is_empty() {
            true => (StreamLine::user(&data), Some(data)),
            false => (data, None),
        };
        if let Some(harness) = &session.harness {
            let backlog_full = |limit| ApiError::InputBacklogFull { id, limit };
            harness.reserve_input(data.len()).map_err(backlog_full)?;
            harness.input(ClientInput { data, message, eof });
        }
        if eof {
            session.stdin = Stdin::Ended;
        }
        Ok(Acceptance::Accepted)
    }

    /// Delivers a signal that is not to end the session.
    fn deliver(&self, id: SessionId, signal: i32) -> Result<Acceptance, ApiError> {
        let Some(session) = self.sessions.get(&id) else {
            return Ok(Acceptance::NotLive);
        };
        let (Phase::Running, Some(pid)) = (session.phase, session.pid) else {
            return Err(session.not_live());
        };
        sys::kill_group(pid, signal).map_err(|err| ApiError::KillFailed {
            id,
            reason: err.to_string(),
        })?;
        say!(SessionSignalled, session: id, pid, signal);
        Ok(Acceptance::Accepted)
    }

    /// What answers `reply`; `None` if it is answered: while it cannot write, the writer may also be unable to say so.
    fn done(&self, reply: Reply<Answer>) -> Option<Done> {
        if let Err(err) = self.queue.check_available() {
            let _ = reply.send(Err(err.into()));
            return None;
        }
        let events = self.events.clone();
        Some(Box::new(move |answer| {
            if let Ok(Answer::Deleted(id)) = answer {
                let _ = events.send(Event::Deleted { id });
            }
            let _ = reply.send(answer.map_err(ApiError::from));
        }))
    }
}
