//! Simulated clients: their requests, and what the answers must say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError, bounded};

use super::World;
use super::harness::SimulatedThread;
use super::writer::record;
use crate::adapters::{Environment, Program, SessionLimits, StdinMode};
use crate::api::{ApiError, EndCause, KillSignal, SessionId, SessionStatus, StopReport, Usage};
use crate::redact::Redactor;
use crate::state::{self, Acceptance, Command, Killed, Launch, Launched, Running, StateEvent};
use crate::store::{Committed, NewSession, StoreRequest};

type Answer<T> = Receiver<Result<T, ApiError>>;

/// A launch's `Idempotency-Key` with the fingerprint of its body.
type Key = (String, String);

/// An input, as sent.
struct SentInput {
    id: SessionId,
    data: String,
    eof: bool,
    answer: Option<Answer<Acceptance>>,
    is_accepted: bool,
    /// The client has seen that the session runs.
    is_behind_start: bool,
}

#[derive(Default)]
pub(super) struct Clients {
    /// Sessions whose launch was sent, with their keys.
    launched: Vec<(SessionId, Option<Key>)>,
    /// Number of accepted launches, and of those whose row could not be written.
    pub(super) accepted: usize,
    pub(super) not_created: usize,
    /// The sessions that hold a key.
    keys: BTreeMap<String, SessionId>,
    /// The session for which a client's signal is under way.
    pub(super) signalled: Option<SessionId>,
    launches: Vec<(SessionId, Answer<Launched>)>,
    /// Launches that have had their answer.
    answered: Vec<Answer<Launched>>,
    kills: Vec<(SessionId, Answer<Killed>)>,
    inputs: Vec<SentInput>,
    signals: Vec<Answer<Acceptance>>,
    lists: Vec<Answer<Vec<Running>>>,
    redactors: Vec<Answer<Option<Arc<Redactor>>>>,
    changes: Vec<Answer<Committed>>,
    stops: Vec<Answer<StopReport>>,
}

/// The state thread as its clients can see it.
pub(super) struct Seen {
    pub(super) live: usize,
    pub(super) limits: state::Limits,
    pub(super) sessions: BTreeSet<SessionId>,
}

impl Clients {
    /// Checks that the accepted launch of `id` repeats no other.
    pub(super) fn check_key(&mut self, id: SessionId) {
        let key = self.key(id).map(|(key, _)| key.clone());
        if let Some(key) = key {
            let holder = self.keys.insert(key, id);
            assert!(holder.is_none(), "a key has launched two sessions");
        }
    }

    fn key(&self, id: SessionId) -> Option<&Key> {
        let launch = self.launched.iter().find(|(launched, _)| *launched == id);
        launch.and_then(|(_, key)| key.as_ref())
    }

    pub(super) fn forget_key(&mut self, id: SessionId) {
        self.keys.retain(|_, holder| *holder != id);
    }
}

/// The answer, if it has come.
fn take<T>(answer: &Answer<T>) -> Option<Result<T, ApiError>> {
    match answer.try_recv() {
        Ok(answer) => Some(answer),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::Disconnected) => panic!("a request has lost its answer"),
    }
}

/// The data and ends that `inputs`, those of one session, have delivered.
fn delivered<'a>(inputs: impl Iterator<Item = &'a SentInput>) -> Vec<(String, bool)> {
    let mut delivered = Vec::new();
    let mut has_ended = false;
    for input in inputs.filter(|input| input.is_accepted) {
        assert!(
            !has_ended || input.data.is_empty(),
            "input is accepted behind its end"
        );
        // A repeated end is accepted, and changes nothing.
        if !input.data.is_empty() || input.eof && !has_ended {
            delivered.push((input.data.clone(), input.eof));
        }
        has_ended |= input.eof;
    }
    delivered
}

impl World {
    fn send(&self, command: Command) {
        self.events.send(StateEvent::Command(command)).unwrap();
    }

    /// Sends a random request.
    pub(super) fn request(&mut self) {
        let ended = self.writer.ended();
        let choice = self.random.below(10);
        let Some((id, _)) = self.clients.launched.last() else {
            return self.launch();
        };
        let id = match self.random.one_in(2) {
            true => *id,
            false => self.random.pick(&self.clients.launched).0,
        };
        match choice {
            0..4 => self.launch(),
            4 | 5 => {
                let (reply, answer) = bounded(1);
                self.clients.kills.push((id, answer));
                let signal =
                    *self
                        .random
                        .pick(&[KillSignal::Term, KillSignal::Term, KillSignal::Kill]);
                self.send(Command::Kill { id, signal, reply });
            }
            6 | 7 => self.input(id),
            8 => {
                let (reply, answer) = bounded(1);
                self.clients.signals.push(answer);
                let signal = libc::SIGUSR1;
                self.send(Command::Signal { id, signal, reply });
                let (reply, answer) = bounded(1);
                self.clients.lists.push(answer);
                self.send(Command::ListRunning(reply));
                let (reply, answer) = bounded(1);
                self.clients.redactors.push(answer);
                self.send(Command::Redactor { id, reply });
            }
            _ if self.random.one_in(6) => {
                let (reply, answer) = bounded(1);
                self.clients.stops.push(answer);
                self.send(Command::Stop(reply));
            }
            _ if !ended.is_empty() => {
                let id = *self.random.pick(&ended);
                let (reply, answer) = bounded(1);
                self.clients.changes.push(answer);
                let request = match self.random.one_in(2) {
                    true => StoreRequest::Delete { id },
                    false => StoreRequest::Archive { id, archived: true },
                };
                self.send(Command::Store(request, reply));
            }
            _ => {}
        }
    }

    fn launch(&mut self) {
        let number = self.random.next() >> 16;
        let id = format!("00000000-0000-4000-8000-{number:012x}");
        let id: SessionId = id.parse().unwrap();
        let key = self.random.one_in(3).then(|| {
            let key = format!("key {}", self.random.below(3));
            let body = if self.random.one_in(8) {
                "another"
            } else {
                "body"
            };
            (key, body.to_owned())
        });
        let limits = SessionLimits {
            time: self.random.one_in(3).then(|| Duration::from_secs(2)),
            ..SessionLimits::default()
        };
        let program = Program {
            path: "/bin/hello".into(),
            argv: Vec::new(),
            env: Environment::default(),
            cwd: "/".into(),
            stdin: *self.random.pick(&[StdinMode::Open, StdinMode::Closed]),
            prompt: None,
            telemetry: None,
            harness: "hello".into(),
            harness_session_id: None,
            told_before: Usage::default(),
            limits,
        };
        let session = NewSession {
            record: record(id),
            prompt: Vec::new(),
            idempotency: key.clone(),
        };
        let launch = Launch {
            session,
            program,
            redactor: Arc::new(Redactor::new("").0),
            sweep: self.random.one_in(4),
        };
        let (reply, answer) = bounded(2);
        self.clients.launched.push((id, key));
        self.clients.launches.push((id, answer));
        self.send(Command::Launch(Box::new(launch), reply));
    }

    fn input(&mut self, id: SessionId) {
        let data = match self.random.one_in(5) {
            true => String::new(),
            false => format!("{}\n", self.clients.inputs.len()),
        };
        let eof = self.random.one_in(4);
        let (reply, answer) = bounded(1);
        self.clients.inputs.push(SentInput {
            id,
            data: data.clone(),
            eof,
            answer: Some(answer),
            is_accepted: false,
            is_behind_start: self.writer.row_of(id).is_some_and(|row| row.is_started),
        });
        self.send(Command::Input {
            id,
            data,
            eof,
            reply,
        });
    }

    /// Notes what `command` asks for.
    pub(super) fn foresee_command(&mut self, command: &Command) {
        match command {
            Command::Kill { id, .. } => {
                let now = self.now;
                let row = self.writer.row_of(*id);
                let has_ended = row.is_some_and(|row| row.end.is_some());
                if let Some(thread) = self.threads.get_mut(id).filter(|_| !has_ended) {
                    thread.ask(EndCause::Kill, now);
                }
            }
            Command::Signal { id, .. } => self.clients.signalled = Some(*id),
            Command::Stop(_) => self.foresee_stop(),
            _ => {}
        }
    }

    /// Checks the answers that have come.
    pub(super) fn check_answers(&mut self, seen: &Seen) {
        self.clients.signalled = None;
        for (id, launch) in std::mem::take(&mut self.clients.launches) {
            if let Some(answer) = take(&launch) {
                self.check_launch(id, answer, seen);
                self.clients.answered.push(launch);
            } else {
                self.clients.launches.push((id, launch));
            }
        }
        let (threads, writer) = (&self.threads, &self.writer);
        self.clients.kills.retain(|(id, kill)| {
            let (id, row) = (*id, writer.row_of(*id));
            let Some(answer) = take(kill) else {
                return true;
            };
            match answer {
                Ok(Killed::Ended { swept }) => {
                    assert!(row.is_some_and(|row| row.has_ended));
                    let thread = threads.get(&id);
                    assert_eq!(swept, thread.map_or(0, |thread| thread.swept));
                    assert!(thread.is_none_or(|thread| thread.is_end_wanted));
                }
                Ok(Killed::NotLive) => {
                    assert!(row.is_none_or(|row| row.has_ended));
                    assert!(!seen.sessions.contains(&id));
                }
                Err(ApiError::KillFailed { .. }) => assert!(threads[&id].is_refused),
                Err(ApiError::SessionNotFound { .. }) => assert!(row.is_none()),
                Err(ApiError::SessionNotLive { .. }) => {
                    assert!(row.is_some_and(|row| row.end.is_some()));
                }
                Err(other) => panic!("{other:?}"),
            }
            false
        });
        for input in &mut self.clients.inputs {
            if let Some(answer) = input.answer.as_ref().and_then(take) {
                let is_refused = matches!(answer, Err(ApiError::SessionNotLive { .. }));
                let thread = threads.get(&input.id);
                let is_running =
                    input.is_behind_start && thread.is_some_and(SimulatedThread::is_alive);
                assert!(
                    !(is_refused && is_running),
                    "a session that runs takes no input"
                );
                input.is_accepted = matches!(answer, Ok(Acceptance::Accepted));
                input.answer = None;
            }
        }
        self.clients.signals.retain(|answer| take(answer).is_none());
        self.clients.changes.retain(|answer| take(answer).is_none());
        self.clients.redactors.retain(|one| take(one).is_none());
        self.clients.lists.retain(|list| {
            let running = take(list);
            if let Some(running) = &running {
                let running = running.as_ref().unwrap();
                assert!(running.len() <= seen.live);
                for thread in threads
                    .values()
                    .filter(|thread| thread.started_at.is_some())
                {
                    let is_listed = running.iter().any(|running| running.id == thread.id);
                    assert_eq!(is_listed, !thread.known_end().0, "the list of running ones");
                }
            }
            running.is_none()
        });
    }

    fn check_launch(&mut self, id: SessionId, answer: Result<Launched, ApiError>, seen: &Seen) {
        let row = self.writer.row_of(id);
        match answer {
            Ok(Launched::New(record)) => {
                assert!(record.id == id && row.is_some_and(|row| row.is_started));
            }
            Ok(Launched::Repeat(first)) => {
                let [key, first_key] = [id, first].map(|id| self.clients.key(id));
                let (key, body) = key.expect("a key");
                assert_eq!(first_key.map(|(_, body)| body), Some(body));
                assert_eq!(self.clients.keys.get(key), Some(&first));
                assert!(row.is_none());
            }
            Err(ApiError::LaunchFailed { .. }) => {
                let row = row.expect("a failed launch has a row");
                assert!(row.has_ended && row.status == SessionStatus::Failed);
            }
            Err(ApiError::TooManySessions { limit }) => {
                assert!(row.is_none() && limit == seen.limits.sessions && seen.live == limit);
            }
            Err(ApiError::ShuttingDown) => assert!(row.is_none() && self.stopped_at.is_some()),
            Err(ApiError::IdempotencyConflict) => assert!(row.is_none()),
            Err(ApiError::StoreUnavailable { .. }) => assert!(row.is_none()),
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Checks that only requests about sessions that were given up, or that have come too late, have no answer. Checks
    /// that accepted input has been delivered in order.
    pub(super) fn check_waiting(&self, lost: &[SessionId], unhandled: &[SessionId]) {
        let clients = &self.clients;
        assert!(
            clients.answered.iter().all(Receiver::is_empty),
            "an answer comes twice"
        );
        if lost.is_empty() {
            let launches = clients.launches.iter().map(|(id, _)| id);
            let kills = clients.kills.iter().map(|(id, _)| id);
            let waiting = launches.chain(kills).filter(|id| !unhandled.contains(id));
            assert_eq!(waiting.count(), 0, "a request has no answer");
        }
        for (id, thread) in &self.threads {
            let inputs = clients.inputs.iter().filter(|input| input.id == *id);
            assert_eq!(thread.taken, delivered(inputs));
        }
    }
}
