//! What clients can ask of the state thread: one enum, each with a channel for its answer.

use std::time::Duration;

use crossbeam_channel::Sender;

use super::{Event, State};
use crate::api::{ApiError, SessionId, SessionRecord, StopReport};
use crate::harness;
use crate::store::{Answer, Chore, Done, NewExternal, NewSession, Pruned, Request};

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
        /// As it is put on record.
        shown: String,
        reply: Reply<Acceptance>,
    },
    /// End a running harness. Answered when its exit is on disk.
    Kill {
        id: SessionId,
        reply: Reply<Acceptance>,
    },
    /// Set or clear `archived_at` of a session that has ended.
    Archive {
        id: SessionId,
        archived: bool,
        reply: Reply<SessionRecord>,
    },
    /// Take a session that has ended out of the store, with its events.
    Delete { id: SessionId, reply: Reply<()> },
    /// Put a session on record that somebody else runs.
    RegisterExternal(Box<NewExternal>, Reply<Registered>),
    /// Take away the output that retention does not keep.
    Prune(Reply<Pruned>),
    /// Write the database anew, without gaps. Answered with the bytes that this has given back.
    Vacuum(Reply<u64>),
    /// End the daemon, as a signal does. Answered by whoever ends it, when everything is over.
    Stop(Reply<StopReport>),
    /// End such a session.
    Complete {
        id: SessionId,
        exit_code: Option<i32>,
        reply: Reply<SessionRecord>,
    },
}

/// A launch, validated.
#[derive(Debug)]
pub struct Launch {
    /// The row.
    pub session: NewSession,
    /// The process.
    pub program: harness::Program,
    /// Killed when it has run for that long.
    pub timeout: Option<Duration>,
}

/// What came of a launch.
#[derive(Debug)]
pub enum Launched {
    /// A new session, running.
    New(Box<SessionRecord>),
    /// The same `Idempotency-Key` and body have launched this one before.
    Repeat(SessionId),
}

/// What came of a registration.
#[derive(Debug)]
pub enum Registered {
    /// A new record.
    New(Box<SessionRecord>),
    /// It was there.
    Existing(Box<SessionRecord>),
}

/// What came of input or kill.
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
                shown,
                reply,
            } => {
                let answer = self.input(id, data, &shown);
                let _ = reply.send(answer);
            }
            Command::Kill { id, reply } => self.kill(id, reply),
            Command::Archive {
                id,
                archived,
                reply,
            } => {
                self.ask_store(Request::Archive { id, archived }, reply, record);
            }
            Command::Delete { id, reply } => self.delete(id, reply),
            Command::RegisterExternal(session, reply) => {
                self.ask_store(
                    Request::RegisterExternal(session),
                    reply,
                    |answer| match answer {
                        Answer::Record(record) => Ok(Registered::New(record)),
                        Answer::Existing(record) => Ok(Registered::Existing(record)),
                        other => Err(unexpected(&other)),
                    },
                );
            }
            Command::Prune(reply) => self.ask_chore(Chore::Prune, reply, |answer| match answer {
                Answer::Pruned(pruned) => Ok(pruned),
                other => Err(unexpected(&other)),
            }),
            Command::Vacuum(reply) => {
                self.ask_chore(Chore::Vacuum, reply, |answer| match answer {
                    Answer::Vacuumed(bytes) => Ok(bytes),
                    other => Err(unexpected(&other)),
                });
            }
            Command::Stop(reply) => {
                self.stop_replies.push(reply);
                self.stop(false);
            }
            Command::Complete {
                id,
                exit_code,
                reply,
            } => {
                self.ask_store(Request::Complete { id, exit_code }, reply, record);
            }
        }
    }

    fn delete(&mut self, id: SessionId, reply: Reply<()>) {
        let events = self.events.clone();
        self.ask_store(Request::Delete { id }, reply, move |answer| match answer {
            Answer::Deleted => {
                let _ = events.send(Event::Deleted { id });
                Ok(())
            }
            other => Err(unexpected(&other)),
        });
    }

    /// Hands a request on to the writer, which alone sees the records of sessions that are not live.
    fn ask_store<T: Send + 'static>(
        &self,
        request: Request,
        reply: Reply<T>,
        convert: impl FnOnce(Answer) -> Result<T, ApiError> + Send + 'static,
    ) {
        if let Some(done) = self.done(reply, convert) {
            self.queue.request(request, done);
        }
    }

    /// Hands a chore on to the writer, which does it between other things.
    fn ask_chore<T: Send + 'static>(
        &self,
        chore: Chore,
        reply: Reply<T>,
        convert: impl FnOnce(Answer) -> Result<T, ApiError> + Send + 'static,
    ) {
        if let Some(done) = self.done(reply, convert) {
            self.queue.chore(chore, done);
        }
    }

    /// What answers `reply`; `None` if it is answered: while it cannot write, the writer may also be unable to say so.
    fn done<T: Send + 'static>(
        &self,
        reply: Reply<T>,
        convert: impl FnOnce(Answer) -> Result<T, ApiError> + Send + 'static,
    ) -> Option<Done> {
        if let Err(err) = self.queue.check_available() {
            let _ = reply.send(Err(err));
            return None;
        }
        Some(Box::new(move |answer| {
            let _ = reply.send(answer.and_then(convert));
        }))
    }
}

fn record(answer: Answer) -> Result<SessionRecord, ApiError> {
    match answer {
        Answer::Record(record) => Ok(*record),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn unexpected(answer: &Answer) -> ApiError {
    ApiError::Internal {
        reason: format!("the store answered {answer:?}"),
    }
}
