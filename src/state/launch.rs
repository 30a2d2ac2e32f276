//! A launch, from the command to the running harness: first the row, then the process. The harness thread prepares the
//! start meanwhile.
//!
//! Runs on the state thread.

use std::sync::Arc;

use super::life::{Input, Phase};
use super::session::Session;
use super::stdin::Stdin;
use super::{Launch, Launched, Reply, State, StateEvent};
use crate::adapters::{Program, StdinMode};
use crate::api::{ApiError, Failure, LaunchMode, LeftBehind, SessionId};
use crate::harness::{Go, Harness, HarnessShared};
use crate::redact::Redactor;
use crate::settings::durations;
use crate::store::{Committed, Done, IdempotencyKey, NewSession, SessionNum, StoreRequest};

impl State {
    pub(super) fn launch(&mut self, launch: Launch, reply: Reply<Launched>) {
        if let Err(refusal) = self.check_launch(&launch, &reply) {
            return drop(refusal.map(|error| reply.send(Err(error))));
        }
        let Launch {
            session,
            program,
            redactor,
            sweep,
        } = launch;
        let NewSession { record, .. } = &session;
        let id = record.id;
        self.remember_key(&session);
        let harness_id = record.harness.clone();
        let has_conversation = record.options.conversation_id.is_some();
        let is_stream = record.options.launch_mode == Some(LaunchMode::Stream.into());
        let stdin = match program.stdin {
            StdinMode::Open => Stdin::Open,
            StdinMode::Closed => Stdin::None,
        };
        let limits = program.limits;
        // Started first, so that another core prepares the spawn while the writer commits.
        let prepared = self.prepare_harness(id, program, Arc::clone(&redactor), reply.clone());
        let (harness, go, failure) = match prepared {
            Ok((harness, go)) => (Some(harness), Some(go), None),
            Err(err) => (None, None, Some(Failure::explained(&err))),
        };
        self.create(session, go);
        let launch_sweep = sweep.then(|| durations::sweep_grace(self.limits.kill_grace));
        let session = Session {
            id,
            phase: Phase::Creating,
            num: None,
            pid: None,
            harness,
            harness_id,
            stdin,
            is_stream,
            has_conversation,
            redactor: Some(redactor),
            limits,
            timeout_at: None,
            grace: self.limits.kill_grace,
            ending: None,
            launch_sweep,
            sweep: launch_sweep,
            swept: 0,
            left: LeftBehind::default(),
            exit: None,
            pump: None,
            failure,
            closing: None,
            launch: Some(reply),
            repeats: Vec::new(),
            kills: Vec::new(),
            early_input: Vec::new(),
        };
        self.sessions.insert(id, session);
    }

    /// Stores the launch's `Idempotency-Key`, so that a repetition gets the same session.
    fn remember_key(&mut self, session: &NewSession) {
        if let Some((key, fingerprint)) = &session.idempotency {
            let entry = IdempotencyKey::new(
                key.clone(),
                fingerprint.clone(),
                session.record.id,
                self.kernel.now().at,
            );
            self.idempotency.insert(key.clone(), entry);
        }
    }

    /// Stores the session's row. After the commit the harness starts without waiting for the state thread, which gets
    /// `Created` before any report of the harness.
    fn create(&self, session: NewSession, go: Option<Go>) {
        let id = session.record.id;
        let events = self.events.clone();
        let done: Done = Box::new(move |answer| {
            let result = answer.and_then(|answer| match answer {
                Committed::Created(num) => Ok(num),
                other => Err(other.unexpected()),
            });
            let result = result.map_err(ApiError::from);
            let num = result.as_ref().ok().copied();
            // The send fails only after the state thread has ended, which outlives every session that it waits for.
            let _ = events.send(StateEvent::Created { id, result });
            if let (Some(num), Some(go)) = (num, go) {
                let _ = go.send(num);
            }
        });
        self.queue
            .request(StoreRequest::Create(Box::new(session)), done);
    }

    /// Checks whether a new session may start. `Err(None)` is a repeat, which has been answered.
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
        self.queue
            .check_available()
            .map_err(|err| Some(err.into()))?;
        // Late sessions use threads and descriptors of the limit; they make room for live ones.
        let room = self.limits.sessions - self.live_sessions();
        self.late.make_room(room);
        Ok(())
    }

    /// The session that this key has launched; an error if the body was another one.
    pub(super) fn find_repeat(
        &mut self,
        key: &str,
        fingerprint: &str,
    ) -> Result<Option<SessionId>, ApiError> {
        let now = self.kernel.now().at;
        self.idempotency.retain(|_, entry| entry.expires_at > now);
        match self.idempotency.get(key) {
            None => Ok(None),
            Some(entry) if entry.fingerprint == fingerprint => Ok(Some(entry.session)),
            Some(_) => Err(ApiError::IdempotencyConflict),
        }
    }

    /// Answers a repeat with the first session, once that runs.
    fn answer_repeat(&mut self, first: SessionId, reply: &Reply<Launched>) {
        match self.sessions.get_mut(&first) {
            Some(session) if session.launch.is_some() => session.repeats.push(reply.clone()),
            _ => {
                let _ = reply.send(Ok(Launched::Repeat(first)));
            }
        }
    }

    pub(super) fn created(&mut self, id: SessionId, result: Result<SessionNum, ApiError>) {
        let input = match result {
            Ok(num) => Input::Created(num),
            Err(err) => {
                self.idempotency.retain(|_, key| key.session != id);
                Input::NotCreated(err)
            }
        };
        self.apply(id, input);
    }

    fn prepare_harness(
        &self,
        id: SessionId,
        program: Program,
        redactor: Arc<Redactor>,
        reply: Reply<Launched>,
    ) -> std::io::Result<(Harness, Go)> {
        let started: Done = Box::new(move |answer| {
            let answer = answer.and_then(|answer| match answer {
                Committed::Record(record) => Ok(Launched::New(record)),
                other => Err(other.unexpected()),
            });
            let _ = reply.send(answer.map_err(ApiError::from));
        });
        let (shared, events) = (self.shared(redactor), self.events.clone());
        self.kernel.prepare(id, program, shared, events, started)
    }

    /// What all harness threads share, with the session's `redactor`.
    pub(super) fn shared(&self, redactor: Arc<Redactor>) -> HarnessShared {
        HarnessShared {
            queue: self.queue.clone(),
            pipes: Arc::clone(&self.pipes),
            redactor,
            drain_max: self.limits.drain_max,
        }
    }
}
