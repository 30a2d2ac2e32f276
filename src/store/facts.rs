//! What is told to the writer and asked of it, and what it answers. Plain data, for every thread.
//!
//! A [`Request`] is somebody's wish: while the store cannot be written it is refused at once. A [`Fact`] has
//! happened already: it is kept, in order, until it is on disk.

use std::ops::AddAssign;

use super::columns::columns;
use super::rows::SessionNum;
use crate::api::{
    self, Code, EndedBy, EventKind, LeftBehind, Payload, PromptPayload, SessionCost, SessionId,
    SessionRecord, SessionStatus, Timestamp, UnconfirmedClock, Usage,
};
use crate::settings::durations;

pub(super) const IDEMPOTENCY_MILLIS: i64 = durations::IDEMPOTENCY.as_millis() as i64;

/// An event that has no seq yet: the writer gives it one when it stores it.
#[derive(Debug)]
pub struct NewEvent {
    /// Its kind.
    pub kind: EventKind,
    /// Its payload, as JSON.
    pub payload_json: String,
    /// When the daemon saw it happen.
    pub at: Timestamp,
}

impl NewEvent {
    /// An event that happens now.
    pub fn now(payload: Payload<'_>) -> Self {
        Self::at(Timestamp::now(), payload)
    }

    /// An `error` that happens now.
    pub fn error(code: Code, message: &str) -> Self {
        Self::now(Payload::Error { code, message })
    }

    /// The events of a prompt of `bytes` bytes that is `redacted` without its secrets.
    pub fn of_prompt(at: Timestamp, redacted: &str, bytes: usize) -> Vec<Self> {
        let parts = PromptPayload::all(redacted, bytes);
        let events = parts.iter().map(|part| Self::at(at, Payload::Prompt(part)));
        events.collect()
    }

    /// An event that happened at `at`.
    pub fn at(at: Timestamp, payload: Payload<'_>) -> Self {
        Self {
            kind: payload.kind(),
            payload_json: payload.to_json(),
            at,
        }
    }
}

/// A session to be launched, validated.
#[derive(Debug)]
pub struct NewSession {
    /// Its record at first.
    pub record: SessionRecord,
    /// The events of its prompt.
    pub prompt: Vec<NewEvent>,
    /// The client's `Idempotency-Key`, and the fingerprint of the body that it came with.
    pub idempotency: Option<(String, String)>,
}

/// A wish: refused with `store_unavailable` while the store cannot be written.
#[derive(Debug)]
pub enum Request {
    /// The row of a launch, with its first events. Answered with [`Answer::Created`].
    Create(Box<NewSession>),
    /// Answered with [`Answer::Record`], or [`Answer::Existing`] if it was there.
    RegisterExternal(Box<SessionRecord>),
    /// Ends an external session. Answered with [`Answer::Record`].
    Complete {
        id: SessionId,
        exit_code: Option<i32>,
    },
    /// Sets or clears `archived_at`. Answered with [`Answer::Record`].
    Archive { id: SessionId, archived: bool },
    /// Changes what its record says. Answered with [`Answer::Record`].
    Edit { id: SessionId, edit: Edit },
    /// Takes the record and its events away for good. Answered with [`Answer::Deleted`].
    Delete { id: SessionId },
    /// Does what its launch has asked to be done at its end; [`Answer::Done`] if that has been called off.
    OnEnd { id: SessionId },
}

/// What a client changes in a record, redacted.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// Its title from now on.
    pub title: Option<String>,
    /// Labels that it gets.
    pub add_labels: Vec<String>,
    /// Labels that it has no longer.
    pub remove_labels: Vec<String>,
}

/// Something that has happened to a session of the daemon's own.
#[derive(Debug)]
pub enum Fact {
    /// Events that change nothing in the record.
    Events {
        num: SessionNum,
        events: Vec<NewEvent>,
    },
    /// The harness runs. Answered with [`Answer::Record`].
    Started {
        num: SessionNum,
        pid: i32,
        process_mark: Option<String>,
        /// What the pipe of its stdout holds, if that is told.
        stdout_pipe_bytes: Option<u64>,
        /// When it was started.
        at: Timestamp,
    },
    /// Something of its record is known, or has changed.
    Noted { num: SessionNum, note: Box<Note> },
    /// The session has ended: its closing facts and events, all in one transaction.
    Ended {
        num: SessionNum,
        end: Box<End>,
        /// As far as it is known; when it was started is on record already.
        cost: SessionCost,
        usage: Option<Box<Usage>>,
        events: Vec<NewEvent>,
    },
}

/// How a session ended.
#[derive(Debug, Clone)]
pub struct End {
    pub status: SessionStatus,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub ended_by: Option<EndedBy>,
    pub oom_killed: bool,
    pub left_behind: LeftBehind,
}

/// What becomes known of a session that runs; the rest stays as it is on record.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Note {
    /// What the pipe of its stdout holds, in bytes.
    pub stdout_pipe_bytes: Option<u64>,
    /// The harness's own id of its conversation.
    pub harness_session_id: Option<String>,
    /// What it has used so far.
    pub usage: Option<Usage>,
}

columns!(Note {
    stdout_pipe_bytes,
    harness_session_id,
    usage
});

columns!(End {
    status,
    exit_code,
    signal,
    ended_by,
    oom_killed,
    left_behind
});

impl Fact {
    pub(super) fn num(&self) -> SessionNum {
        match self {
            Self::Events { num, .. }
            | Self::Started { num, .. }
            | Self::Noted { num, .. }
            | Self::Ended { num, .. } => *num,
        }
    }

    pub(super) fn events(&self) -> usize {
        match self {
            Self::Events { events, .. } => events.len(),
            Self::Started { .. } => 1,
            Self::Noted { .. } => 0,
            Self::Ended { events, .. } => events.len() + 1,
        }
    }

    /// Its events' payloads, in bytes.
    pub(super) fn payload_bytes(&self) -> usize {
        match self {
            Self::Started { .. } | Self::Noted { .. } => 0,
            Self::Events { events, .. } | Self::Ended { events, .. } => {
                events.iter().map(|event| event.payload_json.len()).sum()
            }
        }
    }

    /// What the queue counts it as, in bytes.
    pub(super) fn bytes(&self) -> usize {
        const ROW: usize = 64;
        self.payload_bytes() + self.events() * ROW
    }
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chore {
    /// A whole sweep, which keeps so many days at most. Answered with [`Answer::Pruned`].
    Prune { days: Option<u32> },
    /// The whole database written anew, without a gap. Answered with [`Answer::Vacuumed`].
    Vacuum,
}

/// What has been taken away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Events of output and of prompts.
    pub events: u64,
    /// What these showed, in bytes.
    pub bytes: u64,
}

impl AddAssign for Dropped {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.bytes += other.bytes;
    }
}

/// What a sweep took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Sessions that have lost output.
    pub sessions: u64,
    /// The output.
    pub dropped: Dropped,
    /// Why output that looks old enough is kept, if some is.
    pub unconfirmed: Option<UnconfirmedClock>,
}

impl From<Pruned> for api::Pruned {
    fn from(pruned: Pruned) -> Self {
        Self {
            ok: true,
            events: pruned.dropped.events,
            bytes: pruned.dropped.bytes,
            sessions: pruned.sessions,
            unconfirmed_clock: pruned.unconfirmed,
        }
    }
}

/// What was committed.
#[derive(Debug)]
pub enum Answer {
    /// The session's row is on disk, under this number.
    Created(SessionNum),
    /// The session, as it is now on disk.
    Record(Box<SessionRecord>),
    /// The external session was there before, and is unchanged.
    Existing(Box<SessionRecord>),
    /// This session is gone.
    Deleted(SessionId),
    /// A sweep is over, and this is what it took.
    Pruned(Pruned),
    /// The database is written anew, so many bytes shorter.
    Vacuumed(u64),
    /// It is on disk.
    Done,
}

impl Answer {
    /// The session that it holds.
    ///
    /// # Errors
    /// It is the answer to another request.
    pub fn record(self) -> Result<SessionRecord, Refused> {
        match self {
            Self::Record(record) => Ok(*record),
            other => Err(other.unexpected()),
        }
    }

    /// What to answer where this answers another request than the one that was made.
    pub fn unexpected(&self) -> Refused {
        Refused::Bug {
            reason: format!("the store answered {self:?}"),
        }
    }
}

/// Why the store does not do what it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// No session has this id; empty where nobody named one.
    NotFound { id: String },
    /// The id is that of a session which the daemon manages.
    IdTaken { id: SessionId },
    /// The session is not an external one.
    NotExternal { id: SessionId },
    /// The session has not ended.
    Live { id: SessionId },
    /// The session would have more labels than one can have.
    TooManyLabels,
    /// The database cannot be written, or read, now.
    Unavailable { reason: String },
    /// A bug.
    Bug { reason: String },
}

/// What is told to whom once the commit is on disk, or once it is clear that there will be none. Runs on the
/// writer's thread, so that it only sends on a channel.
pub type Done = Box<dyn FnOnce(Result<Answer, Refused>) + Send>;

/// A launch's `Idempotency-Key` that still holds.
#[derive(Debug)]
pub struct IdempotencyKey {
    /// The client's key.
    pub key: String,
    /// Of the body that it came with.
    pub fingerprint: String,
    /// The session that came of it.
    pub session: SessionId,
    /// Until when it holds.
    pub expires_at: Timestamp,
}

impl IdempotencyKey {
    /// A key that begins to hold now.
    pub fn new(key: String, fingerprint: String, session: SessionId) -> Self {
        let expires_at = Timestamp::from_millis(Timestamp::now().as_millis() + IDEMPOTENCY_MILLIS);
        Self {
            key,
            fingerprint,
            session,
            expires_at,
        }
    }
}
