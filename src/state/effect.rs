//! What follows when something happens to a session: values, which the state thread carries out here and nowhere else.

use crossbeam_channel::Sender;

use super::late::Late;
use super::life::{Input, Now, Phase};
use super::session::Session;
use super::{Acceptance, Event, Launched, Reply, State};
use crate::api::{ApiError, SessionId, SessionStatus};
use crate::observe::field::{self, KillCause};
use crate::observe::say;
use crate::store::{Fact, WriteQueue};
use crate::sys::{self, Exit};

/// One thing that is to be done.
#[derive(Debug)]
pub(super) enum Effect {
    /// Send SIGTERM to the process group of this pid; [`Input::Terminated`] says what came of it.
    Terminate(i32),
    /// Send SIGKILL to it.
    Kill(i32),
    /// Have the harness thread write this to the harness's stdin.
    Input(Vec<u8>),
    /// Have it take the zombie away and end, after whatever the harness has started where `sweep` says so.
    Reap {
        sweep: bool,
    },
    /// Have it wait for nobody who still holds the harness's streams.
    Hurry,
    /// Have it take the zombie away, and read the late streams on.
    ReadOn,
    /// Have this written.
    Record(Fact),
    /// Have the closing facts written; [`Input::Closed`] follows.
    Close(Fact),
    AnswerLaunch(Reply<Launched>, Result<Launched, ApiError>),
    AnswerKill(Reply<Acceptance>, Result<Acceptance, ApiError>),
    Log(Line),
}

/// What an effect is carried out with, besides its session.
pub(super) struct Means<'a> {
    pub(super) queue: &'a WriteQueue,
    /// For what follows on a commit.
    pub(super) events: &'a Sender<Event>,
    pub(super) late: &'a mut Late,
}

/// A line of the log about a session.
#[derive(Debug)]
pub(super) enum Line {
    Started(i32),
    Ended(SessionStatus, Exit),
    /// Why it never had a process.
    NotStarted(ApiError),
    Signalled(i32, KillCause),
    KillFailed(String),
    HarnessLost(String),
    /// The name of an input that does not fit.
    Unexpected(&'static str),
}

impl State {
    /// Lets `input` happen to the session `id`, and carries out what follows.
    pub(super) fn happen(&mut self, id: SessionId, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let Some(session) = self.sessions.get_mut(&id) else {
                return log_unexpected(id, input.name(), Phase::Gone);
            };
            for effect in session.step(input, Now::read()) {
                let means = Means {
                    queue: &self.queue,
                    events: &self.events,
                    late: &mut self.late,
                };
                next = effect.execute(session, means).or(next);
            }
            if session.phase == Phase::Gone {
                self.sessions.remove(&id);
            }
        }
    }
}

impl Effect {
    /// Carries it out; gives what happens to the session by that.
    pub(super) fn execute(self, session: &mut Session, means: Means<'_>) -> Option<Input> {
        let Means {
            queue,
            events,
            late,
        } = means;
        match self {
            Self::Terminate(pid) => {
                let sent = sys::kill_group(pid, libc::SIGTERM);
                if sent.is_ok() {
                    // A stopped process is woken, so that it can act on it.
                    let _ = sys::kill_group(pid, libc::SIGCONT);
                }
                return Some(Input::Terminated(sent.map_err(|err| err.to_string())));
            }
            Self::Kill(pid) => match sys::kill_group(pid, libc::SIGKILL) {
                Err(err) if !session.phase.has_exited() => {
                    Line::KillFailed(err.to_string()).log(session);
                }
                // Once the harness has exited there may be nobody else in its group.
                _ => {}
            },
            Self::Input(data) => {
                if let Some(harness) = &session.harness {
                    harness.input(data);
                }
            }
            Self::Reap { sweep } => {
                if let Some(harness) = session.harness.take() {
                    harness.reap(sweep);
                }
            }
            Self::Hurry => {
                if let Some(harness) = &session.harness {
                    harness.hurry();
                }
            }
            Self::ReadOn => {
                if let Some(harness) = session.harness.take() {
                    harness.reap(false);
                    late.add(session.id, harness);
                }
            }
            Self::Record(fact) => queue.fact(fact, None),
            Self::Close(fact) => {
                let (id, events) = (session.id, events.clone());
                let done = move |_| {
                    // The state thread outlives every session that it waits for; after that nobody listens.
                    let _ = events.send(Event::Ended { id });
                };
                queue.fact(fact, Some(Box::new(done)));
            }
            Self::AnswerLaunch(reply, answer) => {
                let _ = reply.send(answer);
            }
            Self::AnswerKill(reply, answer) => {
                let _ = reply.send(answer);
            }
            Self::Log(line) => line.log(session),
        }
        None
    }
}

impl Line {
    fn log(self, session: &Session) {
        let (id, pid) = (session.id, session.pid);
        match self {
            Self::Started(pid) => {
                say!(SessionStarted, session: id, pid, harness: field::Harness(&session.harness_id));
            }
            Self::Ended(status, exit) => {
                say!(SessionEnded, session: id, pid, status, exit: Some(exit), code: None, reason: None);
            }
            Self::NotStarted(error) => {
                let (status, code) = (SessionStatus::Failed, error.code());
                say!(SessionEnded, session: id, pid, status, exit: None, code: Some(code),
                    reason: Some(&error.message()));
            }
            Self::Signalled(pid, why) => say!(SessionKill, session: id, pid, why),
            Self::KillFailed(reason) => say!(KillFailed, session: Some(id), reason: &reason),
            Self::HarnessLost(reason) => say!(HarnessLost, session: id, reason: &reason),
            Self::Unexpected(input) => log_unexpected(id, input, session.phase),
        }
    }
}

fn log_unexpected(session: SessionId, input: &str, phase: Phase) {
    let (input, phase) = (field::Text(input), format!("{phase:?}"));
    say!(SessionUnexpected, session, input, phase: field::Text(&phase));
}
