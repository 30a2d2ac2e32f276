//! A live session: its phases, and how it is brought to its end.
//!
//! Signals are sent only while the harness's zombie cannot have been reaped: its thread reaps when it is told to,
//! and it is told when the session has ended.

use std::time::Instant;

use super::{Acceptance, Event, Launched, Reply, State};
use crate::api::{ApiError, EndCause, Payload, SessionCost, SessionId, SessionStatus, Timestamp};
use crate::harness::{Harness, Report};
use crate::observe::field::{self, KillCause};
use crate::observe::say;
use crate::store::{Fact, NewEvent, SessionNum};
use crate::sys::{self, Exit};

/// The most of a client's input that one event shows, in bytes: escaping can make six of one.
const INPUT_EVENT_MAX: usize = 64 * 1024;

/// A session from its launch until its closing facts are on disk.
pub(super) struct Session {
    pub(super) phase: Phase,
    /// Once its row is on disk.
    pub(super) num: Option<SessionNum>,
    /// What its pipes held when it exited, in bytes.
    pub(super) unread: usize,
    pub(super) harness_id: String,
    pub(super) input: InputState,
    /// Exit 0 then leaves it `idle`.
    pub(super) has_conversation: bool,
    pub(super) timeout: Option<std::time::Duration>,
    pub(super) timeout_at: Option<Instant>,
    /// Set once its end has been asked for.
    pub(super) ending: Option<Ending>,
    /// Whether its end is that of everything that it has started, in its process group or not. What a harness that
    /// ends by itself leaves in the background lives on.
    pub(super) is_swept: bool,
    /// The launch that still waits for its answer, and repeats of it.
    pub(super) launch: Option<Reply<Launched>>,
    pub(super) repeats: Vec<Reply<Launched>>,
    pub(super) kills: Vec<Reply<Acceptance>>,
}

/// Where a live session is.
pub(super) enum Phase {
    /// The writer has its row, and the harness thread waits for that to be on disk; or why there is no such thread.
    Creating(Result<Harness, String>),
    /// The harness thread spawns it.
    Starting { num: SessionNum, harness: Harness },
    /// It runs.
    Running {
        num: SessionNum,
        harness: Harness,
        pid: i32,
    },
    /// It has exited; its thread reads what the pipes still hold.
    Exited {
        num: SessionNum,
        harness: Harness,
        pid: i32,
        exit: Exit,
        at: Timestamp,
    },
    /// It has exited, its output is read, and its thread ends what it has left behind.
    Sweeping {
        harness: Harness,
        status: SessionStatus,
        /// For the writer, once that is done.
        closing: Fact,
    },
    /// The writer has its closing facts. Such a session is no longer live: whoever reads it as ended can
    /// archive it at once.
    Ended(SessionStatus),
}

/// What the harness's stdin takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InputState {
    /// It was given none.
    None,
    /// What clients send.
    Open,
    /// The harness has closed it.
    Closed,
}

/// An end that has been asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    /// When SIGKILL follows; `None` once it has been sent.
    kill_at: Option<Instant>,
}

impl Session {
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// Whether its process, as far as there was one, has exited.
    pub(super) fn has_exited(&self) -> bool {
        matches!(
            self.phase,
            Phase::Exited { .. } | Phase::Sweeping { .. } | Phase::Ended(_)
        )
    }

    /// Whether all that it wrote has been read.
    pub(super) fn is_drained(&self) -> bool {
        matches!(self.phase, Phase::Sweeping { .. } | Phase::Ended(_))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match (&self.phase, &self.ending) {
            // The harness may be gone, and others of its group not: its zombie still keeps the group's number.
            (Phase::Running { .. } | Phase::Exited { .. }, Some(ending)) => ending.kill_at,
            (Phase::Running { .. }, None) => self.timeout_at,
            _ => None,
        }
    }

    fn closing_status(&self, exit: Exit) -> SessionStatus {
        match exit {
            _ if self.ending.is_some() => SessionStatus::Killed,
            Exit::Code(0) if self.has_conversation => SessionStatus::Idle,
            Exit::Code(0) => SessionStatus::Completed,
            Exit::Code(_) | Exit::Signal(_) => SessionStatus::Failed,
        }
    }

    /// What a client is told that asks something of it which only a running session can do.
    fn not_live(&self, id: SessionId) -> ApiError {
        let status = match &self.phase {
            Phase::Creating(_) | Phase::Starting { .. } => SessionStatus::Created,
            Phase::Running { .. } => SessionStatus::Running,
            Phase::Exited { exit, .. } => self.closing_status(*exit),
            Phase::Sweeping { status, .. } | Phase::Ended(status) => *status,
        };
        ApiError::SessionNotLive { id, status }
    }
}

impl State {
    pub(super) fn input(
        &mut self,
        id: SessionId,
        data: String,
        shown: &str,
    ) -> Result<Acceptance, ApiError> {
        let Some(session) = self.sessions.get_mut(&id) else {
            return Ok(Acceptance::NotLive);
        };
        // Whoever launched it may have been told that it runs before this thread has been.
        let (Phase::Starting { num, harness } | Phase::Running { num, harness, .. }) =
            &session.phase
        else {
            return Err(session.not_live(id));
        };
        match session.input {
            InputState::None => return Err(ApiError::InputNotAccepted { id }),
            InputState::Closed => {
                let reason = "the harness has closed its stdin".into();
                return Err(ApiError::SendInputFailed { id, reason });
            }
            InputState::Open => {}
        }
        if data.is_empty() {
            // Nothing would count towards the bound on what waits.
            return Ok(Acceptance::Accepted);
        }
        self.queue.check_available()?;
        let backlog_full = |limit| ApiError::InputBacklogFull { id, limit };
        harness.check_input(data.len()).map_err(backlog_full)?;
        // On record first, so that no answer of the harness's can stand before it.
        let events = input_events(shown);
        self.queue.fact(Fact::Events { num: *num, events }, None);
        harness.input(data.into_bytes()).map_err(backlog_full)?;
        Ok(Acceptance::Accepted)
    }

    pub(super) fn kill(&mut self, id: SessionId, reply: Reply<Acceptance>) {
        let Some(session) = self.sessions.get(&id) else {
            let _ = reply.send(Ok(Acceptance::NotLive));
            return;
        };
        // A repeat while it dies is no failure, however near the end is.
        if session.has_ended() && session.ending.is_none() {
            let _ = reply.send(Err(session.not_live(id)));
            return;
        }
        match self.request_end(id, EndCause::Kill) {
            Ok(()) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.kills.push(reply);
                }
            }
            Err(reason) => {
                let _ = reply.send(Err(ApiError::KillFailed { id, reason }));
            }
        }
    }

    /// Asks for a session's end, once: a repeat changes and records nothing.
    pub(super) fn request_end(&mut self, id: SessionId, why: EndCause) -> Result<(), String> {
        let kill_at = Instant::now() + self.limits.kill_grace;
        let Some(session) = self.sessions.get_mut(&id) else {
            return Ok(());
        };
        if session.ending.is_some() {
            return Ok(());
        }
        match &session.phase {
            // Signalled when it is reported as started: its thread may be at it already.
            Phase::Creating(_) | Phase::Starting { .. } => {}
            Phase::Running { num, pid, .. } => {
                terminate(*pid).map_err(|err| err.to_string())?;
                say!(SessionKill, session: id, pid: *pid, why: KillCause::Asked(why));
                self.queue.fact(
                    Fact::Events {
                        num: *num,
                        events: vec![kill_event()],
                    },
                    None,
                );
            }
            // It has ended by itself; what it has left behind is ended, too, and the answer comes with its closing
            // facts.
            Phase::Exited { pid, .. } => {
                let _ = sys::kill_group(*pid, libc::SIGKILL);
                session.is_swept = true;
                return Ok(());
            }
            Phase::Sweeping { .. } | Phase::Ended(_) => return Ok(()),
        }
        session.is_swept = true;
        session.ending = Some(Ending {
            kill_at: Some(kill_at),
        });
        Ok(())
    }

    /// A timeout, or the end of the grace.
    pub(super) fn session_deadline(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.ending.is_some() {
            self.kill_now(id);
        } else {
            session.timeout_at = None;
            if let Err(reason) = self.request_end(id, EndCause::Timeout) {
                say!(KillFailed, session: Some(id), reason: &reason);
            }
        }
    }

    /// SIGKILL to a session whose end has been asked for.
    pub(super) fn kill_now(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let (Phase::Running { pid, .. } | Phase::Exited { pid, .. }, Some(ending)) =
            (&session.phase, &mut session.ending)
        else {
            return;
        };
        ending.kill_at = None;
        say!(SessionKill, session: id, pid: *pid, why: KillCause::GraceOver);
        if let Err(err) = sys::kill_group(*pid, libc::SIGKILL) {
            say!(KillFailed, session: Some(id), reason: &err);
        }
    }

    pub(super) fn harness_report(&mut self, id: SessionId, report: Report) {
        match report {
            Report::Started { pid } => self.harness_started(id, pid),
            Report::SpawnFailed { reason } => self.spawn_failed(id, reason),
            Report::InputClosed => self.input_closed(id),
            Report::Exited { exit, at, unread } => self.harness_exited(id, exit, at, unread),
            Report::Drained { cost } => self.harness_drained(id, cost),
            Report::Lost { reason } => self.harness_lost(id, &reason),
            Report::Swept => self.harness_swept(id),
        }
    }

    fn harness_started(&mut self, id: SessionId, pid: i32) {
        let Some(mut session) = self.sessions.remove(&id) else {
            return;
        };
        if let Phase::Starting { num, harness } = session.phase {
            say!(SessionStarted, session: id, pid, harness: field::Harness(&session.harness_id));
            session.phase = Phase::Running { num, harness, pid };
            session.timeout_at = session.timeout.map(|timeout| Instant::now() + timeout);
        }
        session.launch = None;
        for reply in session.repeats.drain(..) {
            let _ = reply.send(Ok(Launched::Repeat(id)));
        }
        let ending = session.ending.take();
        self.sessions.insert(id, session);
        let Some(ending) = ending else { return };
        if let Err(reason) = self.request_end(id, EndCause::Kill) {
            say!(KillFailed, session: Some(id), reason: &reason);
        }
        // The grace began when the end was asked for.
        if let Some(session) = self.sessions.get_mut(&id) {
            session.ending = session.ending.map(|_| ending);
        }
    }

    fn input_closed(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.input = InputState::Closed;
        if let Phase::Running { num, .. } = &session.phase {
            let message =
                "the harness has closed its stdin; input that waited for it was not delivered";
            let payload = Payload::Error {
                code: "send_input_failed",
                message,
            };
            self.queue.fact(
                Fact::Events {
                    num: *num,
                    events: vec![NewEvent::now(payload)],
                },
                None,
            );
        }
    }

    fn harness_exited(&mut self, id: SessionId, exit: Exit, at: Timestamp, unread: usize) {
        let Some(mut session) = self.sessions.remove(&id) else {
            return;
        };
        session.unread = unread;
        if let Phase::Running { num, harness, pid } = session.phase {
            session.phase = Phase::Exited {
                num,
                harness,
                pid,
                exit,
                at,
            };
        }
        self.sessions.insert(id, session);
    }

    fn harness_drained(&mut self, id: SessionId, cost: SessionCost) {
        let Some(mut session) = self.sessions.remove(&id) else {
            return;
        };
        let status = match &session.phase {
            Phase::Exited { exit, .. } => session.closing_status(*exit),
            _ => SessionStatus::Failed,
        };
        match session.phase {
            Phase::Exited {
                num,
                harness,
                pid,
                exit,
                at,
            } => {
                say!(SessionEnded, session: id, pid: Some(pid), status, exit: Some(exit), code: None, reason: None);
                let closing = closing_fact(num, status, exit, at, cost);
                let is_swept = session.is_swept;
                session.phase = self.finish(id, harness, pid, status, closing, is_swept);
            }
            _ => session.phase = Phase::Ended(status),
        }
        self.sessions.insert(id, session);
    }

    /// The thread that read the harness has failed: nobody can follow the process any more, so it is ended.
    fn harness_lost(&mut self, id: SessionId, reason: &str) {
        let Some(mut session) = self.sessions.remove(&id) else {
            return;
        };
        say!(HarnessLost, session: id, reason: &reason);
        let status = SessionStatus::Failed;
        session.phase = match session.phase {
            Phase::Running { num, harness, pid }
            | Phase::Exited {
                num, harness, pid, ..
            } => {
                let error = Payload::Error {
                    code: "internal_error",
                    message: reason,
                };
                let closing = Fact::Ended {
                    num,
                    status,
                    exit_code: None,
                    signal: None,
                    cost: SessionCost::default(),
                    events: vec![NewEvent::now(error)],
                };
                self.finish(id, harness, pid, status, closing, true)
            }
            _ => Phase::Ended(status),
        };
        self.sessions.insert(id, session);
    }

    /// The end of a session whose output is read: at once, or after what it has left behind is ended, for which its
    /// thread has to look.
    fn finish(
        &self,
        id: SessionId,
        harness: Harness,
        pid: i32,
        status: SessionStatus,
        closing: Fact,
        is_swept: bool,
    ) -> Phase {
        if is_swept {
            // Those of the group who have outlived both SIGTERM and the harness have nobody to end for.
            let _ = sys::kill_group(pid, libc::SIGKILL);
            harness.sweep();
            return Phase::Sweeping {
                harness,
                status,
                closing,
            };
        }
        harness.reap();
        self.close(id, closing);
        Phase::Ended(status)
    }

    fn harness_swept(&mut self, id: SessionId) {
        let Some(mut session) = self.sessions.remove(&id) else {
            return;
        };
        if let Phase::Sweeping {
            harness,
            status,
            closing,
        } = session.phase
        {
            harness.reap();
            self.close(id, closing);
            session.phase = Phase::Ended(status);
        }
        self.sessions.insert(id, session);
    }

    /// Hands the closing facts of a session to the writer.
    pub(super) fn close(&self, id: SessionId, fact: Fact) {
        self.queue
            .fact(fact, Some(self.when_written(move |_| Event::Ended { id })));
    }

    pub(super) fn ended(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        for reply in session.kills {
            let _ = reply.send(Ok(Acceptance::Accepted));
        }
    }
}

fn closing_fact(
    num: SessionNum,
    status: SessionStatus,
    exit: Exit,
    at: Timestamp,
    cost: SessionCost,
) -> Fact {
    let (exit_code, signal) = match exit {
        Exit::Code(code) => (Some(code), None),
        Exit::Signal(signal) => (None, Some(signal)),
    };
    let exit = Payload::Exit {
        status,
        exit_code,
        signal,
        cost,
    };
    Fact::Ended {
        num,
        status,
        exit_code,
        signal,
        cost,
        events: vec![NewEvent::at(at, exit)],
    }
}

/// SIGTERM to the process group; a stopped process is woken, so that it can act on it.
fn terminate(pid: i32) -> std::io::Result<()> {
    sys::kill_group(pid, libc::SIGTERM)?;
    let _ = sys::kill_group(pid, libc::SIGCONT);
    Ok(())
}

fn kill_event() -> NewEvent {
    NewEvent::now(Payload::Kill {
        status: SessionStatus::Killed,
        signal: libc::SIGTERM,
    })
}

/// `data` as consecutive events, cut between characters.
fn input_events(mut data: &str) -> Vec<NewEvent> {
    let mut events = Vec::new();
    while !data.is_empty() {
        let (part, rest) = data.split_at(data.floor_char_boundary(INPUT_EVENT_MAX));
        events.push(NewEvent::now(Payload::Input { data: part }));
        data = rest;
    }
    events
}
