//! Commands of clients to the state thread: one enum, each variant with a channel for its answer.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::life::{Input, Phase};
use super::session::Session;
use super::stdin::Stdin;
use super::stop::StopSource;
use super::{State, StateEvent};
use crate::adapters::Program;
use crate::api::{ApiError, Failure, KillSignal, SessionId, SessionRecord, StopReport, StreamLine};
use crate::harness::{ClientInput, Tally};
use crate::observe::say;
use crate::redact::Redactor;
use crate::store::{Chore, Committed, Done, NewSession, StoreRequest};

/// Channel for a command's answer. An answer that no one receives any more is dropped.
pub type Reply<T> = Sender<Result<T, ApiError>>;

/// A validated command that changes something. It can still be refused for reasons that only the live sessions or the
/// store know.
#[derive(Debug)]
pub enum Command {
    /// Starts a harness. Answered when its start, or the reason why it failed, is on disk.
    Launch(Box<Launch>, Reply<Launched>),
    /// Finds the session that an `Idempotency-Key` and body have launched before. Sent before a launch is validated: a
    /// repeat gets its session even if the project has changed.
    FindRepeat {
        key: String,
        fingerprint: String,
        reply: Reply<Option<SessionId>>,
    },
    /// Writes to a running harness's stdin.
    Input {
        id: SessionId,
        data: String,
        /// Closes stdin after the data.
        eof: bool,
        reply: Reply<Acceptance>,
    },
    /// Ends a running harness, at once or with a grace period. Answered when its exit is on disk.
    Kill {
        id: SessionId,
        signal: KillSignal,
        reply: Reply<Killed>,
    },
    /// Sends a signal that does not end the session by itself.
    Signal {
        id: SessionId,
        signal: i32,
        reply: Reply<Acceptance>,
    },
    /// Lists the running sessions.
    ListRunning(Reply<Vec<Running>>),
    /// Finds the redactor of a live session; `None` if the session is not live.
    Redactor {
        id: SessionId,
        reply: Reply<Option<Arc<Redactor>>>,
    },
    /// A request that concerns no live session: only the store can refuse it.
    Store(StoreRequest, Reply<Committed>),
    /// Long work of the store.
    Chore(Chore, Reply<Committed>),
    /// Checks whether the sessions can be handed over. Answered once no session's processes are being ended.
    CheckUpgrade(Reply<()>),
    /// Stops the daemon, as a signal does. Answered when the stop is complete.
    Stop(Reply<StopReport>),
}

/// A validated launch.
#[derive(Debug)]
pub struct Launch {
    pub session: NewSession,
    /// The program that is spawned.
    pub program: Program,
    /// Takes secrets out of what the session stores.
    pub redactor: Arc<Redactor>,
    /// Ends the processes that the harness leaves behind.
    pub sweep: bool,
}

/// Result of a launch.
#[derive(Debug)]
pub enum Launched {
    /// A new session, which runs.
    New(Box<SessionRecord>),
    /// The session that the same `Idempotency-Key` and body have launched before.
    Repeat(SessionId),
}

/// A session whose harness runs, or is being started: its record says that it runs before the state thread knows.
#[derive(Debug)]
pub struct Running {
    pub id: SessionId,
    /// Pid of the harness, once it is known to run.
    pub pid: Option<i32>,
    /// Id of the adapter.
    pub harness: String,
    /// Counters of its output.
    pub tally: Arc<Tally>,
}

/// Result of a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Killed {
    /// The session has ended; `swept` processes that outlived the harness were ended as well.
    Ended { swept: usize },
    /// No live session has this id; the store may know it.
    NotLive,
}

/// Result of sending input or a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    Accepted,
    /// No live session has this id; the store may know it.
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
                // A client may know that the session runs before the state thread does.
                Some(session) if session.phase == Phase::Starting => {
                    session.early_input.push((data, eof, reply));
                }
                _ => {
                    let _ = reply.send(self.input(id, data, eof));
                }
            },
            Command::Kill { id, signal, reply } if self.sessions.contains_key(&id) => {
                self.apply(id, Input::Kill(reply, signal));
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
            Command::Redactor { id, reply } => {
                let session = self.sessions.get(&id);
                let _ = reply.send(Ok(session.and_then(|session| session.redactor.clone())));
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
            Command::CheckUpgrade(reply) => self.await_upgrade(reply),
            Command::Stop(reply) => {
                self.stop_replies.push(reply);
                self.stop(StopSource::Client);
            }
        }
    }

    /// Passes a client's `data` to the harness thread; `eof` ends the harness's stdin.
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
            // A repeated end of file.
            return Ok(Acceptance::Accepted);
        }
        session.check_reads()?;
        if data.is_empty() && !eof {
            // An empty input would not count towards the limit on waiting input.
            return Ok(Acceptance::Accepted);
        }
        // Also if the database's files are gone: the session goes on, and its events are saved.
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

    /// Sends a signal that does not end the session by itself.
    fn deliver(&self, id: SessionId, signal: i32) -> Result<Acceptance, ApiError> {
        let Some(session) = self.sessions.get(&id) else {
            return Ok(Acceptance::NotLive);
        };
        let (Phase::Running, Some(pid)) = (session.phase, session.pid) else {
            return Err(session.not_live());
        };
        let sent = self.kernel.signal(pid, signal);
        sent.map_err(|err| ApiError::KillFailed {
            id,
            reason: Failure::from(&err),
        })?;
        say!(SessionSignalled, session: id, pid, signal);
        Ok(Acceptance::Accepted)
    }

    /// The callback that answers `reply`; `None` if it is answered already. Checked here because a writer that hangs
    /// cannot refuse the request itself.
    fn done(&self, reply: Reply<Committed>) -> Option<Done> {
        if let Err(err) = self.queue.check_available() {
            let _ = reply.send(Err(err.into()));
            return None;
        }
        let events = self.events.clone();
        Some(Box::new(move |answer| {
            if let Ok(Committed::Deleted(id)) = answer {
                let _ = events.send(StateEvent::Deleted { id });
            }
            let _ = reply.send(answer.map_err(ApiError::from));
        }))
    }
}
