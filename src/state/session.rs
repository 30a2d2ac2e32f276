//! A live session, and its reaction to each input: [`Session::step`], which has no side effect.
//!
//! Runs on the state thread. Signals are sent only while the harness's zombie cannot have been reaped. Its thread reaps
//! only when ordered to, and no signal follows that order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::effect::{Effect, LogLine};
use super::life::{Input, InputTime, Phase};
use super::stdin::Stdin;
use super::{Acceptance, Killed, Launched, Reply, Running};
use crate::adapters::SessionLimits;
use crate::api::{
    ApiError, Code, EndCause, Failure, KillSignal, LeftBehind, Payload, SessionCost, SessionId,
    SessionStatus,
};
use crate::harness::{Drained, Harness, HarnessExit, PumpHandover, Report};
use crate::observe::field::KillCause;
use crate::redact::Redactor;
use crate::store::{Fact, NewEvent, SessionNum};
use crate::sys::{Exit, passed};

/// A session from its launch until its closing facts are on disk. The next program goes on with it as it is: what is
/// skipped is either made anew there, or not set in the phases in which a session can be handed over.
#[derive(Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) phase: Phase,
    /// Number of its row, once that is on disk.
    pub(super) num: Option<SessionNum>,
    /// Pid of the harness once it runs; also the number of its process group.
    pub(super) pid: Option<i32>,
    /// Handle of its thread, until the thread is ordered to reap; `None` without a thread.
    #[serde(skip)]
    pub(super) harness: Option<Harness>,
    pub(super) harness_id: String,
    pub(super) stdin: Stdin,
    /// Its stdin takes stream-json messages, one per line, instead of raw bytes.
    #[serde(default, skip_serializing_if = "passed::is_default")]
    pub(super) is_stream: bool,
    /// The session belongs to a conversation: exit 0 leaves it `idle`.
    #[serde(default, skip_serializing_if = "passed::is_default")]
    pub(super) has_conversation: bool,
    /// Takes secrets out of what it stores. `None` in a next program that has not started its thread yet.
    #[serde(skip)]
    pub(super) redactor: Option<Arc<Redactor>>,
    #[serde(default, skip_serializing_if = "passed::is_default")]
    pub(super) limits: SessionLimits,
    #[serde(
        with = "passed::optional_instant",
        default,
        skip_serializing_if = "passed::is_default"
    )]
    pub(super) timeout_at: Option<Instant>,
    /// Time between SIGTERM and SIGKILL.
    pub(super) grace: Duration,
    /// Set once its end has been requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ending: Option<RequestedEnd>,
    /// Grace period after which all processes of the session are ended with it, in its process group or not. `None`:
    /// processes that the harness leaves behind live on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sweep: Option<Duration>,
    /// The sweep that the launch requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) launch_sweep: Option<Duration>,
    /// Number of processes that the sweep ended.
    #[serde(skip)]
    pub(super) swept: usize,
    /// Processes that live on, once it has ended.
    #[serde(skip)]
    pub(super) left: LeftBehind,
    /// Set once the harness thread has seen the exit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exit: Option<HarnessExit>,
    /// What its thread has left to the thread that goes on.
    pub(super) pump: Option<Box<PumpHandover>>,
    /// The reason why it cannot be started.
    #[serde(skip)]
    pub(super) failure: Option<Failure>,
    /// Closing facts, stored once all processes left behind are ended.
    #[serde(skip)]
    pub(super) closing: Option<Fact>,
    /// The launch that waits for its answer, and repeats of it. A handover waits for the answers to all clients.
    #[serde(skip)]
    pub(super) launch: Option<Reply<Launched>>,
    #[serde(skip)]
    pub(super) repeats: Vec<Reply<Launched>>,
    #[serde(skip)]
    pub(super) kills: Vec<Reply<Killed>>,
    /// Input that arrived while the start was unconfirmed: data, end of file, and the waiting client.
    #[serde(skip)]
    pub(super) early_input: Vec<(String, bool, Reply<Acceptance>)>,
}

/// A requested end.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct RequestedEnd {
    /// The first cause of all.
    pub(super) cause: EndCause,
    /// The requested signal: SIGTERM or SIGKILL.
    pub(super) signal: i32,
    /// Time of SIGKILL; `None` once it has been sent.
    #[serde(with = "passed::optional_instant")]
    pub(super) kill_at: Option<Instant>,
}

impl Session {
    /// True if its closing facts are with the writer.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended | Phase::Gone)
    }

    /// Bytes that its pipes may still hold.
    pub(super) fn unread(&self) -> usize {
        match self.exit {
            Some(exited) if !self.phase.is_drained() => exited.unread,
            _ => 0,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match (self.phase, &self.ending) {
            // After the harness's exit others of its group may live: its zombie keeps the group's number reserved.
            (Phase::Running | Phase::Exited, Some(ending)) => ending.kill_at,
            (Phase::Running, None) => self.timeout_at,
            _ => None,
        }
    }

    /// The status that clients see.
    pub(super) fn status(&self) -> SessionStatus {
        match (self.phase, self.exit.map(|exited| exited.exit)) {
            (Phase::Creating | Phase::Starting, _) => SessionStatus::Created,
            (Phase::Running, _) => SessionStatus::Running,
            (_, Some(_)) if self.ending.is_some() => SessionStatus::Killed,
            (_, Some(Exit::Code(0))) if self.has_conversation => SessionStatus::Idle,
            (_, Some(Exit::Code(0))) => SessionStatus::Completed,
            _ => SessionStatus::Failed,
        }
    }

    /// The session for a list of running ones; `None` if its harness does not run, and is not being started.
    pub(super) fn running(&self) -> Option<Running> {
        let harness = self.harness.as_ref()?;
        matches!(self.phase, Phase::Starting | Phase::Running).then(|| Running {
            id: self.id,
            pid: self.pid,
            harness: self.harness_id.clone(),
            tally: harness.tally(),
        })
    }

    /// The error for a client whose request needs a running session.
    pub(super) fn not_live(&self) -> ApiError {
        ApiError::SessionNotLive {
            id: self.id,
            status: self.status(),
            left_behind: None,
        }
    }

    /// Applies `input`; returns the effects in order. An input that does not fit the phase changes nothing.
    pub(super) fn step(&mut self, input: Input, now: InputTime) -> Vec<Effect> {
        let (phase, name) = (self.phase, input.name());
        let allowed = phase.after(&input);
        if allowed.is_empty() {
            return vec![Effect::Log(LogLine::Unexpected(name))];
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

    fn take(&mut self, input: Input, now: InputTime, effects: &mut Vec<Effect>) {
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
            Input::Kill(reply, signal) => self.kill(reply, signal, now, effects),
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

    fn take_report(&mut self, report: Report, now: InputTime, effects: &mut Vec<Effect>) {
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
            Report::Drained(drained) => self.drained(drained, effects),
            Report::Lost { reason } => self.lost(reason, now, effects),
            Report::Swept { ended } => {
                self.swept = ended;
                self.swept(effects);
            }
            // Its session is no longer in the table.
            Report::LateEnded | Report::HandedOver(_) => {}
        }
    }

    fn not_created(&mut self, error: &ApiError, effects: &mut Vec<Effect>) {
        self.phase = Phase::Gone;
        let launches = self.launch.take().into_iter().chain(self.repeats.drain(..));
        effects.extend(launches.map(|reply| Effect::AnswerLaunch(reply, Err(error.clone()))));
        let id = self.id.to_string();
        self.answer_kills(Err(ApiError::SessionNotFound { id }), effects);
    }

    /// The harness never had a process. The launch is answered once that is on disk.
    fn not_started(&mut self, reason: Failure, now: InputTime, effects: &mut Vec<Effect>) {
        self.phase = Phase::Ended;
        // The request's own log line exists only if a client waits for the answer; this one always does.
        effects.push(Effect::Log(LogLine::NotStarted(
            self.launch_failed(&reason),
        )));
        let error = error_event(Code::LaunchFailed, reason.as_str(), now);
        let closing = self.closing(SessionCost::default(), None, error);
        effects.extend(closing.map(Effect::Close));
        self.failure = Some(reason);
    }

    fn launch_failed(&self, reason: &Failure) -> ApiError {
        ApiError::LaunchFailed {
            id: self.id,
            reason: reason.clone(),
        }
    }

    fn started(&mut self, pid: i32, now: InputTime, effects: &mut Vec<Effect>) {
        self.phase = Phase::Running;
        self.pid = Some(pid);
        self.timeout_at = self.limits.time.map(|limit| now.instant + limit);
        // The writer answers the launch with the record.
        self.launch = None;
        effects.push(Effect::Log(LogLine::Started(pid)));
        self.answer_repeats(effects);
        if let Some(ending) = self.ending {
            effects.push(Effect::Terminate(pid, ending.signal));
        }
    }

    fn kill(
        &mut self,
        reply: Reply<Killed>,
        signal: KillSignal,
        now: InputTime,
        effects: &mut Vec<Effect>,
    ) {
        // Killing a dying session again is no error, however close its end is.
        if self.phase == Phase::Ended && self.ending.is_none() {
            return effects.push(Effect::AnswerKill(reply, Err(self.not_live())));
        }
        self.kills.push(reply);
        match (signal == KillSignal::Kill, self.ending) {
            (false, _) => self.end(EndCause::Kill, libc::SIGTERM, now, effects),
            (true, None) => self.end(EndCause::Kill, libc::SIGKILL, now, effects),
            (true, Some(_)) => self.end_grace(now, effects),
        }
    }

    /// Requests its end. Only the first request counts: a repeat changes and records nothing.
    fn end(&mut self, cause: EndCause, signal: i32, now: InputTime, effects: &mut Vec<Effect>) {
        if self.ending.is_some() || self.phase.is_drained() {
            return;
        }
        self.sweep = Some(Duration::ZERO);
        if self.phase == Phase::Exited {
            // It has ended by itself; the processes that it left behind are ended, too.
            effects.push(Effect::Hurry);
            return effects.extend(self.pid.map(Effect::Kill));
        }
        let kill_at = Some(now.instant + self.grace);
        self.ending = Some(RequestedEnd {
            cause,
            signal,
            kill_at,
        });
        // Without a pid it is signalled when its start is reported: its thread may be spawning it already.
        effects.extend(self.pid.map(|pid| Effect::Terminate(pid, signal)));
    }

    fn terminated(&mut self, now: InputTime, effects: &mut Vec<Effect>) {
        effects.push(Effect::Hurry);
        // Both are set in this phase.
        let (Some(RequestedEnd { cause, signal, .. }), Some(pid)) = (self.ending, self.pid) else {
            return;
        };
        let line = LogLine::Signalled(pid, KillCause::Asked(cause));
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

    /// The kernel refused the signal: the session goes on as if its end had not been requested.
    fn not_terminated(&mut self, reason: Failure, effects: &mut Vec<Effect>) {
        self.ending = None;
        self.sweep = self.launch_sweep;
        effects.push(Effect::Log(LogLine::KillFailed(reason.clone())));
        let id = self.id;
        self.answer_kills(Err(ApiError::KillFailed { id, reason }), effects);
    }

    /// Sends SIGKILL if its end has been requested. A session whose start is not reported yet gets it right after
    /// SIGTERM.
    fn end_grace(&mut self, now: InputTime, effects: &mut Vec<Effect>) {
        let Some(ending) = &mut self.ending else {
            return;
        };
        ending.kill_at = Some(now.instant);
        if let (Phase::Running | Phase::Exited, Some(pid)) = (self.phase, self.pid) {
            ending.kill_at = None;
            let line = LogLine::Signalled(pid, KillCause::GraceOver);
            effects.extend([Effect::Log(line), Effect::Kill(pid)]);
        }
    }

    fn drained(&mut self, drained: Drained, effects: &mut Vec<Effect>) {
        // It is set in this phase.
        let Some(HarnessExit { exit, at, .. }) = self.exit else {
            return;
        };
        let processes = drained.left.len();
        if self.sweep.is_none() {
            self.left = LeftBehind::new(drained.left);
        }
        let end = self.end_record();
        let (status, oom_killed) = (end.status, end.oom_killed);
        effects.push(Effect::Log(LogLine::Ended {
            status,
            exit,
            oom_killed,
        }));
        if !self.left.0.is_empty() {
            let line = LogLine::LeftBehind(self.left.clone(), processes);
            effects.push(Effect::Log(line));
        }
        let event = Payload::Exit {
            status,
            exit_code: end.exit_code,
            signal: end.signal,
            ended_by: end.ended_by,
            oom_killed,
            cost: drained.cost,
            usage: drained.usage.as_deref(),
        };
        let event = NewEvent::at(at, event);
        let closing = self.closing(drained.cost, drained.usage, event);
        if drained.is_late && self.sweep.is_none() {
            self.closing = closing;
            self.swept(effects);
            // Late output follows the closing facts.
            return effects.push(Effect::ReadOn);
        }
        self.finish(closing, effects);
    }

    /// The harness thread has failed: no thread can follow the process any more, so it is ended.
    fn lost(&mut self, reason: Failure, now: InputTime, effects: &mut Vec<Effect>) {
        effects.push(Effect::Log(LogLine::HarnessLost(reason.clone())));
        match self.phase {
            Phase::Creating => self.failure = Some(reason),
            Phase::Starting => self.not_started(reason, now, effects),
            Phase::Running | Phase::Exited => {
                self.phase = Phase::Exited;
                self.exit = None;
                self.sweep = Some(Duration::ZERO);
                let error = error_event(Code::InternalError, reason.as_str(), now);
                let closing = self.closing(SessionCost::default(), None, error);
                self.finish(closing, effects);
            }
            Phase::Sweeping | Phase::Ended | Phase::Gone => self.swept(effects),
        }
    }

    /// All output is read. Ends the session, after its thread has ended the processes left behind if a sweep is due.
    fn finish(&mut self, closing: Option<Fact>, effects: &mut Vec<Effect>) {
        self.closing = closing;
        let sweep = self.sweep;
        if sweep.is_some() {
            self.phase = Phase::Sweeping;
        }
        if sweep.is_some_and(|grace| grace.is_zero()) {
            // Members of the group that survived SIGTERM and the harness get SIGKILL.
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

    fn record(&self, events: Vec<NewEvent>) -> Option<Effect> {
        let num = self.num?;
        Some(Effect::Record(Fact::Events { num, events }))
    }
}

fn error_event(code: Code, message: &str, now: InputTime) -> NewEvent {
    NewEvent::at(now.at, Payload::Error { code, message })
}
