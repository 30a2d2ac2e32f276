//! Steps a session and executes the resulting effects: signals, orders to the harness thread, facts, answers, log
//! lines.
//!
//! Runs on the state thread; no other file of this room sends a signal to end a session. [`Session::step`] decides,
//! this file does not.

use crossbeam_channel::Sender;

use super::effect::{Effect, LogLine};
use super::kernel::Kernel;
use super::late::Late;
use super::life::{Input, Phase};
use super::session::Session;
use super::{State, StateEvent};
use crate::api::{Failure, SessionId, SessionStatus};
use crate::observe::{field, say};
use crate::settings::durations;
use crate::store::WriteQueue;

/// Targets of the effects, besides the session.
pub(super) struct Means<'a> {
    pub(super) kernel: &'a dyn Kernel,
    pub(super) queue: &'a WriteQueue,
    /// For inputs that follow a commit.
    pub(super) events: &'a Sender<StateEvent>,
    pub(super) late: &'a mut Late,
}

impl State {
    /// Passes `input` to the session `id`, and executes the effects.
    pub(super) fn apply(&mut self, id: SessionId, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let Some(session) = self.sessions.get_mut(&id) else {
                return log_unexpected(id, input.name(), Phase::Gone);
            };
            for effect in session.step(input, self.kernel.now()) {
                let means = Means {
                    kernel: &*self.kernel,
                    queue: &self.queue,
                    events: &self.events,
                    late: &mut self.late,
                };
                next = effect.execute(session, means).or(next);
            }
            let is_gone = session.phase == Phase::Gone;
            let early_input = match session.phase {
                Phase::Starting => Vec::new(),
                _ => std::mem::take(&mut session.early_input),
            };
            for (data, eof, reply) in early_input {
                let _ = reply.send(self.input(id, data, eof));
            }
            if is_gone {
                self.sessions.remove(&id);
                self.rest_at = Some(self.kernel.now().instant + durations::REST);
            }
        }
    }
}

impl Effect {
    /// Executes the effect; returns the input that results from it, if any.
    pub(super) fn execute(self, session: &mut Session, means: Means<'_>) -> Option<Input> {
        let Means {
            kernel,
            queue,
            events,
            late,
        } = means;
        match self {
            Self::Terminate(pid, signal) => {
                return Some(Input::Terminated(terminate(kernel, pid, signal)));
            }
            Self::Kill(pid) => match kernel.signal(pid, libc::SIGKILL) {
                Err(err) if !session.phase.has_exited() => {
                    LogLine::KillFailed(Failure::from(&err)).log(session);
                }
                // After the harness's exit its group may be empty.
                _ => {}
            },
            Self::EndInput => {
                if let Some(harness) = &session.harness {
                    harness.end_input();
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
                    harness.reap(None);
                    late.add(session.id, harness);
                }
            }
            Self::Record(fact) => queue.fact(fact, None),
            Self::Close(fact) => {
                let (id, events) = (session.id, events.clone());
                let done = move |_| {
                    // The send fails only after the state thread has ended, which outlives every session that it waits
                    // for.
                    let _ = events.send(StateEvent::Ended { id });
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

/// Sends `signal` to the process group of `pid`.
fn terminate(kernel: &dyn Kernel, pid: i32, signal: i32) -> Result<(), Failure> {
    kernel
        .signal(pid, signal)
        .map_err(|err| Failure::from(&err))?;
    // SIGCONT wakes a stopped process, so that it can handle the signal.
    let _ = kernel.signal(pid, libc::SIGCONT);
    Ok(())
}

impl LogLine {
    fn log(self, session: &Session) {
        let (id, pid) = (session.id, session.pid);
        match self {
            Self::Started(pid) => {
                say!(SessionStarted, session: id, pid, harness: field::Harness(&session.harness_id));
            }
            Self::Ended {
                status,
                exit,
                oom_killed,
            } => {
                say!(SessionEnded, session: id, pid, status, exit: Some(exit), oom_killed: oom_killed.then_some(true),
                    code: None, reason: None);
            }
            Self::NotStarted(error) => {
                let (status, code) = (SessionStatus::Failed, error.code());
                say!(SessionEnded, session: id, pid, status, exit: None, oom_killed: None, code: Some(code),
                    reason: Some(&error.failure()));
            }
            Self::LeftBehind(left, processes) => {
                let names = left.to_string();
                say!(SessionLeftBehind, session: id, processes, names: field::Text(&names));
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
