//! A launch, from the command to the running harness: row first, then thread, then process.

use log::info;

use super::command::unexpected;
use super::session::{InputState, Phase, Session, kill_event};
use super::{Event, Launch, Launched, Reply, State};
use crate::adapters::StdinMode;
use crate::api::{ApiError, Payload, SessionCost, SessionId, SessionStatus, Timestamp};
use crate::harness::{Harness, Program};
use crate::store::{Answer, Done, Fact, IdempotencyKey, NewEvent, Request, SessionNum};
use crate::sys;

impl State {
    pub(super) fn launch(&mut self, launch: Launch, reply: Reply<Launched>) {
        if let Err(refusal) = self.check_launch(&launch, &reply) {
            if let Some(error) = refusal {
                let _ = reply.send(Err(error));
            }
            return;
        }
        let Launch {
            session,
            program,
            timeout,
        } = launch;
        let id = session.id;
        if let Some((key, fingerprint)) = &session.idempotency {
            let entry = IdempotencyKey::new(key.clone(), fingerprint.clone(), id);
            self.idempotency.insert(key.clone(), entry);
        }
        self.sessions.insert(
            id,
            Session {
                harness_id: session.harness.clone(),
                input: match program.stdin {
                    StdinMode::Open => InputState::Open,
                    StdinMode::Closed => InputState::None,
                },
                phase: Phase::Creating(program),
                num: None,
                unread: 0,
                has_conversation: session.conversation_id.is_some(),
                timeout,
                timeout_at: None,
                ending: None,
                is_swept: false,
                launch: Some(reply),
                repeats: Vec::new(),
                kills: Vec::new(),
            },
        );
        let done = self.when_written(move |answer| {
            let result = answer.and_then(|answer| match answer {
                Answer::Created(num) => Ok(num),
                other => Err(unexpected(&other)),
            });
            Event::Created { id, result }
        });
        self.queue.request(Request::Create(Box::new(session)), done);
    }

    /// Whether there is to be a new session. `Err(None)` is a repeat, which is answered otherwise.
    fn check_launch(
        &mut self,
        launch: &Launch,
        reply: &Reply<Launched>,
    ) -> Result<(), Option<ApiError>> {
        if self.stopping.is_some() {
            return Err(Some(ApiError::ShuttingDown));
        }
        if let Some((key, fingerprint)) = &launch.session.idempotency
            && let Some(first) = self.find_repeat(key, fingerprint).map_err(Some)?
        {
            self.answer_repeat(first, reply);
            return Err(None);
        }
        if self.live_sessions() >= self.limits.sessions {
            return Err(Some(ApiError::TooManySessions {
                limit: self.limits.sessions,
            }));
        }
        self.queue.check_available().map_err(Some)
    }

    /// The session that this key has launched; an error if that was with another body.
    pub(super) fn find_repeat(
        &mut self,
        key: &str,
        fingerprint: &str,
    ) -> Result<Option<SessionId>, ApiError> {
        let now = Timestamp::now();
        self.idempotency.retain(|_, entry| entry.expires_at > now);
        match self.idempotency.get(key) {
            None => Ok(None),
            Some(entry) if entry.fingerprint == fingerprint => Ok(Some(entry.session)),
            Some(_) => Err(ApiError::IdempotencyConflict),
        }
    }

    /// A repeat gets the first session: once it runs, if it does not yet.
    fn answer_repeat(&mut self, first: SessionId, reply: &Reply<Launched>) {
        match self.sessions.get_mut(&first) {
            Some(session) if session.launch.is_some() => session.repeats.push(reply.clone()),
            _ => {
                let _ = reply.send(Ok(Launched::Repeat(first)));
            }
        }
    }

    pub(super) fn created(&mut self, id: SessionId, result: Result<SessionNum, ApiError>) {
        let Some(mut session) = self.sessions.remove(&id) else {
            return;
        };
        let num = match result {
            Ok(num) => num,
            Err(err) => return self.not_created(id, session, &err),
        };
        let Phase::Creating(program) = session.phase else {
            return;
        };
        session.num = Some(num);
        if session.ending.is_some() {
            session.phase = Phase::Ended(SessionStatus::Killed);
            let reason = if self.stopping.is_some() {
                ApiError::ShuttingDown
            } else {
                ApiError::LaunchFailed {
                    id,
                    reason: "killed before it was started".into(),
                }
            };
            self.sessions.insert(id, session);
            return self.close_unstarted(id, num, SessionStatus::Killed, kill_event(), reason);
        }
        match self.start_harness(id, num, program, session.launch.clone()) {
            Ok(harness) => {
                session.phase = Phase::Starting { num, harness };
                self.sessions.insert(id, session);
            }
            Err(err) => {
                session.phase = Phase::Ended(SessionStatus::Failed);
                self.sessions.insert(id, session);
                self.launch_failed(id, num, sys::explain(&err));
            }
        }
    }

    fn not_created(&mut self, id: SessionId, session: Session, err: &ApiError) {
        self.idempotency.retain(|_, key| key.session != id);
        for reply in session.launch.iter().chain(&session.repeats) {
            let _ = reply.send(Err(err.clone()));
        }
        for reply in session.kills {
            let _ = reply.send(Err(ApiError::SessionNotFound { id: id.to_string() }));
        }
    }

    fn start_harness(
        &self,
        id: SessionId,
        num: SessionNum,
        program: Program,
        reply: Option<Reply<Launched>>,
    ) -> std::io::Result<Harness> {
        let events = self.events.clone();
        let report = move |report| {
            // Nobody listens only when the daemon has given up waiting for this harness.
            let _ = events.send(Event::Harness { id, report });
        };
        let started: Done = Box::new(move |answer| {
            let answer = answer.and_then(|answer| match answer {
                Answer::Record(record) => Ok(Launched::New(record)),
                other => Err(unexpected(&other)),
            });
            if let Some(reply) = reply {
                let _ = reply.send(answer);
            }
        });
        Harness::start(
            id,
            num,
            program,
            self.queue.clone(),
            self.redactor.clone(),
            report,
            started,
        )
    }

    pub(super) fn spawn_failed(&mut self, id: SessionId, reason: String) {
        let Some(mut session) = self.sessions.remove(&id) else {
            return;
        };
        if let Phase::Starting { num, .. } = session.phase {
            session.phase = Phase::Ended(SessionStatus::Failed);
            self.sessions.insert(id, session);
            self.launch_failed(id, num, reason);
        }
    }

    fn launch_failed(&mut self, id: SessionId, num: SessionNum, reason: String) {
        let event = NewEvent::now(Payload::Error {
            code: "launch_failed",
            message: &reason,
        });
        let error = ApiError::LaunchFailed { id, reason };
        self.close_unstarted(id, num, SessionStatus::Failed, event, error);
    }

    /// Closes a session that never had a process, and tells its launcher once that is on disk.
    fn close_unstarted(
        &mut self,
        id: SessionId,
        num: SessionNum,
        status: SessionStatus,
        event: NewEvent,
        error: ApiError,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let launch = session.launch.take();
        let repeats = std::mem::take(&mut session.repeats);
        let events = vec![event];
        // The launcher's own answer is logged with its request; this line is there also if nobody waits for it.
        let reason = error.message();
        info!(event = "session_ended", session:% = id, status:% = status, code = error.code(),
            reason = reason.as_str(); "");
        let fact = Fact::Ended {
            num,
            status,
            exit_code: None,
            signal: None,
            cost: SessionCost::default(),
            events,
        };
        let tell_state = self.when_written(move |_| Event::Ended { id });
        let done: Done = Box::new(move |answer| {
            if let Some(reply) = launch {
                let _ = reply.send(Err(error));
            }
            for reply in repeats {
                let _ = reply.send(Ok(Launched::Repeat(id)));
            }
            tell_state(answer);
        });
        self.queue.fact(fact, Some(done));
    }
}
