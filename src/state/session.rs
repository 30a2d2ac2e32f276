//! A live session, and what follows from all that can happen to it: [`Session::step`], which reads and changes nothing else.
//!
//! Runs on the state thread. Signals are sent only while the harness's zombie cannot have been reaped: its thread reaps
//! when it is told to, and after that order no signal follows.

use std::time::{Duration, Instant};

use super::effect::{Effect, Line};
use super::life::{Input, Now, Phase};
use super::{Acceptance, Killed, Launched, Reply, Running};
use crate::adapters::Limits;
use crate::api::{
    ApiError, Code, EndCause, EndedBy, LeftBehind, Payload, SessionCost, SessionId, SessionStatus,
    Usage,
};
use crate::harness::{Harness, HarnessExit, Report};
use crate::observe::field::KillCause;
use crate::store::{End, Fact, NewEvent, SessionNum};
use crate::sys::{Exit, Process};

/// A session from its launch until its closing facts are on disk.
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) phase: Phase,
    /// Once its row is on disk.
    pub(super) num: Option<SessionNum>,
    /// Once it runs: the number of its process group, too.
    pub(super) pid: Option<i32>,
    /// The hold on its thread, until that is told to reap; `None` if there is no thread.
    pub(super) harness: Option<Harness>,
    pub(super) harness_id: String,
    pub(super) stdin: Stdin,
    /// It reads messages, a line each, in place of bytes.
    pub(super) is_stream: bool,
    /// Exit 0 then leaves it `idle`.
    pub(super) has_conversation: bool,
    pub(super) limits: Limits,
    pub(super) timeout_at: Option<Instant>,
    /// Between SIGTERM and SIGKILL.
    pub(super) grace: Duration,
    /// Set once its end has been asked for.
    pub(super) ending: Option<Ending>,
    /// Whether its end is that of everything that it has started, in its process group or not, and after which grace. What
    /// a harness that ends by itself leaves behind lives on, unless its launch has asked for the sweep.
    pub(super) sweep: Option<Duration>,
    /// What its launch has asked for.
    pub(super) launch_sweep: Option<Duration>,
    /// How many processes that sweep has ended.
    pub(super) swept: usize,
    /// What lives on.
    pub(super) left: LeftBehind,
    /// Once its harness has exited, and its thread has seen it.
    pub(super) exit: Option<HarnessExit>,
    /// Why it cannot be started.
    pub(super) failure: Option<String>,
    /// For the writer, once all that the harness has left behind is ended.
    pub(super) closing: Option<Fact>,
    /// The launch that still waits for its answer, and repeats of it.
    pub(super) launch: Option<Reply<Launched>>,
    pub(super) repeats: Vec<Reply<Launched>>,
    pub(super) kills: Vec<Reply<Killed>>,
    /// What clients have sent while nobody knew whether it runs, and whether stdin is closed after that.
    pub(super) early_input: Vec<(String, bool, Reply<Acceptance>)>,
}

/// What the harness's stdin takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stdin {
    /// It was given none.
    None,
    /// What clients send.
    Open,
    /// The harness has closed it.
    Closed,
    /// A client has ended it.
    Ended,
}

/// An end that has been asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    /// Of all causes the first.
    pub(super) cause: EndCause,
    /// What was asked to be sent.
    pub(super) signal: i32,
    /// When SIGKILL follows; `None` once it has been sent.
    pub(super) kill_at: Option<Instant>,
}

impl Session {
    /// Whether its closing facts are with the writer.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended | Phase::Gone)
    }

    /// What its pipes may still hold, in bytes.
    pub(super) fn unread(&self) -> usize {
        match self.exit {
            Some(exited) if !self.phase.is_drained() => exited.unread,
            _ => 0,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match (self.phase, &self.ending) {
            // The harness may be gone, and others of its group not: its zombie still keeps the group's number.
            (Phase::Running | Phase::Exited, Some(ending)) => ending.kill_at,
            (Phase::Running, None) => self.timeout_at,
            _ => None,
        }
    }

    /// Its status, as clients are told it.
    fn status(&self) -> SessionStatus {
        match (self.phase, self.exit.map(|exited| exited.exit)) {
            (Phase::Creating | Phase::Starting, _) => SessionStatus::Created,
            (Phase::Running, _) => SessionStatus::Running,
            (_, Some(_)) if self.ending.is_some() => SessionStatus::Killed,
            (_, Some(Exit::Code(0))) if self.has_conversation => SessionStatus::Idle,
            (_, Some(Exit::Code(0))) => SessionStatus::Completed,
            _ => SessionStatus::Failed,
        }
    }

    /// This session, if its harness runs.
    pub(super) fn running(&self) -> Option<Running> {
        let harness = self.harness.as_ref()?;
        (self.phase == Phase::Running).then_some(Running {
            id: self.id,
            pid: self.pid?,
            harness: self.harness_id.clone(),
            tally: harness.tally(),
        })
    }

    /// What a client is told that asks something of it which only a running session can do.
    pub(super) fn not_live(&self) -> ApiError {
        ApiError::SessionNotLive {
            id: self.id,
            status: self.status(),
            left_behind: None,
        }
    }

    /// Lets `input` happen to it; gives what is to be done then, in order. What does not fit the phase changes nothing.
    pub(super) fn step(&mut self, input: Input, now: Now) -> Vec<Effect> {
        let (phase, name) = (self.phase, input.name());
        let allowed = phase.after(&input);
        if allowed.is_empty() {
            return vec![Effect::Log(Line::Unexpected(name))];
        }
        let mut effects = Vec::new();
        self.take(input, now, &mut effects);
        debug_assert!(
            allowed.contains(&self.phase),
            "{name} has led from {phase:?} to {:?}",
            self.phase
        );
        effects
    }

    fn take(&mut self, input: Input, now: Now, effects: &mut Vec<Effect>) {
        match input {
            Input::Created(num) => {
                self.num = Some(num);
                self.phase = Phase::Starting;
                if let Some(reason) = self.failure.take() {
                    self.not_started(reason, now, effects);
                }
            }
            Input::NotCreated(error) => self.not_created(&error, effects),
            Input::Report(report) => self.take_report(report, now, effects),
            Input::Kill(reply, at_once) => self.kill(reply, at_once, now, effects),
            Input::End(cause) => self.end(cause, libc::SIGTERM, now, effects),
            Input::Terminated(Ok(())) => self.terminated(now, effects),
            Input::Terminated(Err(reason)) => self.not_terminated(reason, effects),
            Input::Deadline if self.ending.is_none() => {
                self.timeout_at = None;
                self.end(EndCause::Timeout, libc::SIGTERM, now, effects);
            }
            Input::Deadline | Input::EndGrace => self.end_grace(now, effects),
            Input::Closed => self.closed(effects),
        }
    }

    fn take_report(&mut self, report: Report, now: Now, effects: &mut Vec<Effect>) {
        match report {
            Report::Started { pid } => self.started(pid, now, effects),
            Report::SpawnFailed { reason } => self.not_started(reason, now, effects),
            Report::InputClosed => {
                self.stdin = Stdin::Closed;
                let message =
                    "the harness has closed its stdin; input that waited for it was not delivered";
                let error = error_event(Code::SendInputFailed, message, now);
                effects.extend(self.record(vec![error]));
            }
            Report::Exited(exited) => {
                self.phase = Phase::Exited;
                self.exit = Some(exited);
                if self.stdin != Stdin::None {
                    effects.push(Effect::EndInput);
                }
                if self.sweep.is_some() {
                    effects.push(Effect::Hurry);
                }
            }
            Report::LimitReached(cause) => self.end(cause, libc::SIGTERM, now, effects),
            Report::Drained {
                cost,
                usage,
                is_late,
                left,
            } => self.drained(cost, usage, is_late, left, effects),
            Report::Lost { reason } => self.lost(reason, now, effects),
            Report::Swept { ended } => {
                self.swept = ended;
                self.swept(effects);
            }
            // Its session is not kept any more.
            Report::LateEnded => {}
        }
    }

    fn not_created(&mut self, error: &ApiError, effects: &mut Vec<Effect>) {
        self.phase = Phase::Gone;
        let launches = self.launch.take().into_iter().chain(self.repeats.drain(..));
        effects.extend(launches.map(|reply| Effect::AnswerLaunch(reply, Err(error.clone()))));
        let id = self.id.to_string();
        self.answer_kills(Err(ApiError::SessionNotFound { id }), effects);
    }

    /// It never had a process. Its launcher is told once that is on disk.
    fn not_started(&mut self, reason: String, now: Now, effects: &mut Vec<Effect>) {
        self.phase = Phase::Ended;
        // The launcher's own answer is logged with its request; this line is there also if nobody waits for it.
        effects.push(Effect::Log(Line::NotStarted(self.launch_failed(&reason))));
        let error = error_event(Code::LaunchFailed, &reason, now);
        let closing = self.closing(SessionCost::default(), None, error);
        effects.extend(closing.map(Effect::Close));
        self.failure = Some(reason);
    }

    fn launch_failed(&self, reason: &str) -> ApiError {
        ApiError::LaunchFailed {
            id: self.id,
            reason: reason.into(),
        }
    }

    fn started(&mut self, pid: i32, now: Now, effects: &mut Vec<Effect>) {
        self.phase = Phase::Running;
        self.pid = Some(pid);
        self.timeout_at = self.limits.time.map(|limit| now.instant + limit);
        // The writer answers it, with the record.
        self.launch = None;
        effects.push(Effect::Log(Line::Started(pid)));
        self.answer_repeats(effects);
        if let Some(ending) = self.ending {
            effects.push(Effect::Terminate(pid, ending.signal));
        }
    }

    fn kill(&mut self, reply: Reply<Killed>, at_once: bool, now: Now, effects: &mut Vec<Effect>) {
        // A repeat while it dies is no failure, however near the end is.
        if self.phase == Phase::Ended && self.ending.is_none() {
            return effects.push(Effect::AnswerKill(reply, Err(self.not_live())));
        }
        self.kills.push(reply);
        match (at_once, self.ending) {
            (false, _) => self.end(EndCause::Kill, libc::SIGTERM, now, effects),
            (true, None) => self.end(EndCause::Kill, libc::SIGKILL, now, effects),
            (true, Some(_)) => self.end_grace(now, effects),
        }
    }

    /// Its end is asked for, once: a repeat changes and records nothing.
    fn end(&mut self, cause: EndCause, signal: i32, now: Now, effects: &mut Vec<Effect>) {
        if self.ending.is_some() || self.phase.is_drained() {
            return;
        }
        self.sweep = Some(Duration::ZERO);
        if self.phase == Phase::Exited {
            // It has ended by itself; what it has left behind is ended, too.
            effects.push(Effect::Hurry);
            return effects.extend(self.pid.map(Effect::Kill));
        }
        let kill_at = Some(now.instant + self.grace);
        self.ending = Some(Ending {
            cause,
            signal,
            kill_at,
        });
        // Without a pid, it is signalled when it is reported as started: its thread may be at it already.
        effects.extend(self.pid.map(|pid| Effect::Terminate(pid, signal)));
    }

    fn terminated(&mut self, now: Now, effects: &mut Vec<Effect>) {
        effects.push(Effect::Hurry);
        // There are both in this phase.
        let (Some(Ending { cause, signal, .. }), Some(pid)) = (self.ending, self.pid) else {
            return;
        };
        let line = Line::Signalled(pid, KillCause::Asked(cause));
        effects.push(Effect::Log(line));
        let limit = match cause {
            EndCause::Timeout => self.limits.time,
            EndCause::Idle => self.limits.idle,
            EndCause::Kill | EndCause::TokenLimit | EndCause::DaemonStop => None,
        };
        let limit_tokens = self.limits.tokens.filter(|_| cause == EndCause::TokenLimit);
        let asked = Payload::Kill {
            status: SessionStatus::Killed,
            signal,
            cause: cause.into(),
            limit_ms: limit.map(|limit| limit.as_millis() as u64),
            limit_tokens,
        };
        effects.extend(self.record(vec![NewEvent::at(now.at, asked)]));
    }

    /// The kernel refuses the signal: it lives on as if nobody had asked.
    fn not_terminated(&mut self, reason: String, effects: &mut Vec<Effect>) {
        self.ending = None;
        self.sweep = self.launch_sweep;
        effects.push(Effect::Log(Line::KillFailed(reason.clone())));
        let id = self.id;
        self.answer_kills(Err(ApiError::KillFailed { id, reason }), effects);
    }

    /// SIGKILL, if its end has been asked for. What is not reported as started yet gets it right after SIGTERM.
    fn end_grace(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some(ending) = &mut self.ending else {
            return;
        };
        ending.kill_at = Some(now.instant);
        if let (Phase::Running | Phase::Exited, Some(pid)) = (self.phase, self.pid) {
            ending.kill_at = None;
            let line = Line::Signalled(pid, KillCause::GraceOver);
            effects.extend([Effect::Log(line), Effect::Kill(pid)]);
        }
    }

    fn drained(
        &mut self,
        cost: SessionCost,
        usage: Option<Box<Usage>>,
        is_late: bool,
        left: Vec<Process>,
        effects: &mut Vec<Effect>,
    ) {
        // There is one in this phase.
        let Some(HarnessExit { exit, at, .. }) = self.exit else {
            return;
        };
        let processes = left.len();
        if self.sweep.is_none() {
            self.left = LeftBehind::new(left);
        }
        let end = self.how_it_ended();
        let (status, oom_killed) = (end.status, end.oom_killed);
        effects.push(Effect::Log(Line::Ended {
            status,
            exit,
            oom_killed,
        }));
        if !self.left.0.is_empty() {
            let line = Line::LeftBehind(self.left.clone(), processes);
            effects.push(Effect::Log(line));
        }
        let event = Payload::Exit {
            status,
            exit_code: end.exit_code,
            signal: end.signal,
            ended_by: end.ended_by,
            oom_killed,
            cost,
            usage: usage.as_deref(),
        };
        let event = NewEvent::at(at, event);
        let closing = self.closing(cost, usage, event);
        if is_late && self.sweep.is_none() {
            self.closing = closing;
            self.swept(effects);
            // Late output comes behind the closing facts.
            return effects.push(Effect::ReadOn);
        }
        self.finish(closing, effects);
    }

    /// The thread that read the harness has failed: nobody can follow the process any more, so it is ended.
    fn lost(&mut self, reason: String, now: Now, effects: &mut Vec<Effect>) {
        effects.push(Effect::Log(Line::HarnessLost(reason.clone())));
        match self.phase {
            Phase::Creating => self.failure = Some(reason),
            Phase::Starting => self.not_started(reason, now, effects),
            Phase::Running | Phase::Exited => {
                self.phase = Phase::Exited;
                self.exit = None;
                self.sweep = Some(Duration::ZERO);
                let error = error_event(Code::InternalError, &reason, now);
                let closing = self.closing(SessionCost::default(), None, error);
                self.finish(closing, effects);
            }
            Phase::Sweeping | Phase::Ended | Phase::Gone => self.swept(effects),
        }
    }

    /// Its output is read. It ends at once, or after what it has left behind is ended, for which its thread has to look.
    fn finish(&mut self, closing: Option<Fact>, effects: &mut Vec<Effect>) {
        self.closing = closing;
        let sweep = self.sweep;
        if sweep.is_some() {
            self.phase = Phase::Sweeping;
        }
        if sweep.is_some_and(|grace| grace.is_zero()) {
            // Those of the group who have outlived both SIGTERM and the harness have nobody to end for.
            effects.extend(self.pid.map(Effect::Kill));
        }
        effects.push(Effect::Reap { sweep });
        if sweep.is_none() {
            self.swept(effects);
        }
    }

    fn swept(&mut self, effects: &mut Vec<Effect>) {
        self.phase = Phase::Ended;
        effects.extend(self.closing.take().map(Effect::Close));
    }

    fn closed(&mut self, effects: &mut Vec<Effect>) {
        self.phase = Phase::Gone;
        if let (Some(reply), Some(reason)) = (self.launch.take(), self.failure.take()) {
            effects.push(Effect::AnswerLaunch(
                reply,
                Err(self.launch_failed(&reason)),
            ));
        }
        self.answer_repeats(effects);
        let swept = self.swept;
        self.answer_kills(Ok(Killed::Ended { swept }), effects);
    }

    fn answer_repeats(&mut self, effects: &mut Vec<Effect>) {
        let (id, repeats) = (self.id, self.repeats.drain(..));
        effects.extend(repeats.map(|reply| Effect::AnswerLaunch(reply, Ok(Launched::Repeat(id)))));
    }

    fn answer_kills(&mut self, answer: Result<Killed, ApiError>, effects: &mut Vec<Effect>) {
        let kills = self.kills.drain(..);
        effects.extend(kills.map(|reply| Effect::AnswerKill(reply, answer.clone())));
    }

    /// Whether its harness takes input now.
    ///
    /// # Errors
    /// Why it takes none.
    pub(super) fn check_reads(&self) -> Result<(), ApiError> {
        let id = self.id;
        if self.phase != Phase::Running {
            return Err(self.not_live());
        }
        match self.stdin {
            Stdin::Open => Ok(()),
            Stdin::None => Err(ApiError::InputNotAccepted { id }),
            Stdin::Closed => {
                let reason = "the harness has closed its stdin".into();
                Err(ApiError::SendInputFailed { id, reason })
            }
            Stdin::Ended => {
                let reason = "the end of its stdin has been sent already".into();
                Err(ApiError::SendInputFailed { id, reason })
            }
        }
    }

    /// Whether it runs, and a client has ended its stdin.
    pub(super) fn is_at_eof(&self) -> bool {
        self.phase == Phase::Running && self.stdin == Stdin::Ended
    }

    fn record(&self, events: Vec<NewEvent>) -> Option<Effect> {
        let num = self.num?;
        Some(Effect::Record(Fact::Events { num, events }))
    }

    /// Its closing facts, if it has a row.
    fn closing(
        &self,
        cost: SessionCost,
        usage: Option<Box<Usage>>,
        event: NewEvent,
    ) -> Option<Fact> {
        Some(Fact::Ended {
            num: self.num?,
            end: Box::new(self.how_it_ended()),
            cost,
            usage,
            events: vec![event],
        })
    }

    fn how_it_ended(&self) -> End {
        let exit = self.exit.map(|exited| exited.exit);
        let (exit_code, signal) = match exit {
            Some(Exit::Code(code)) => (Some(code), None),
            Some(Exit::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        let ended_by = match (exit, self.ending) {
            (Some(_), Some(ending)) => Some(ending.cause.into()),
            (Some(Exit::Code(_)), None) => Some(EndedBy::Exit),
            (Some(Exit::Signal(_)), None) => Some(EndedBy::Signal),
            // Without a pid it has never started.
            (None, _) => self.pid.map(|_| EndedBy::Lost),
        };
        End {
            status: self.status(),
            exit_code,
            signal,
            ended_by,
            oom_killed: self
                .exit
                .is_some_and(|exited| exited.oom_killed && self.ending.is_none()),
            left_behind: self.left.clone(),
        }
    }
}

fn error_event(code: Code, message: &str, now: Now) -> NewEvent {
    NewEvent::at(now.at, Payload::Error { code, message })
}
