//! The messages to the writer thread and its answers. Plain data, for every thread.
//!
//! A [`StoreRequest`] is a client's wish: it is refused at once while the store cannot be written. A [`Fact`] has already
//! happened: it is kept, in order, until it is on disk.

use std::ops::AddAssign;

use super::columns::columns;
use super::rows::SessionNum;
use crate::api::{
    self, Code, EndedBy, EventKind, Failure, LeftBehind, Payload, PromptPayload, SessionCost,
    SessionId, SessionRecord, SessionStatus, Timestamp, UnconfirmedClock, Usage,
};
use crate::settings::durations;

pub(super) const IDEMPOTENCY_MILLIS: i64 = durations::IDEMPOTENCY.as_millis() as i64;

/// An event without a seq: the writer assigns it when it stores the event.
#[derive(Debug)]
pub struct NewEvent {
    pub kind: EventKind,
    /// The payload, as JSON.
    pub payload_json: String,
    /// When the daemon observed the event.
    pub at: Timestamp,
}

impl NewEvent {
    /// An event of this moment.
    pub fn now(payload: Payload<'_>) -> Self {
        Self::at(Timestamp::now(), payload)
    }

    /// An `error` event of this moment.
    pub fn error(code: Code, message: &str) -> Self {
        Self::now(Payload::Error { code, message })
    }

    /// The events of a prompt: its text, already `redacted`, and its original size in bytes.
    pub fn of_prompt(at: Timestamp, redacted: &str, bytes: usize) -> Vec<Self> {
        let parts = PromptPayload::all(redacted, bytes);
        let events = parts.iter().map(|part| Self::at(at, Payload::Prompt(part)));
        events.collect()
    }

    /// An event of the time `at`.
    pub fn at(at: Timestamp, payload: Payload<'_>) -> Self {
        Self {
            kind: payload.kind(),
            payload_json: payload.to_json(),
            at,
        }
    }
}

/// A validated launch.
#[derive(Debug)]
pub struct NewSession {
    /// The record that is inserted.
    pub record: SessionRecord,
    /// The events of the prompt.
    pub prompt: Vec<NewEvent>,
    /// The client's `Idempotency-Key`, and the fingerprint of the launch's body.
    pub idempotency: Option<(String, String)>,
}

/// A client's wish: refused with `store_unavailable` while the store cannot be written.
#[derive(Debug)]
pub enum StoreRequest {
    /// Inserts the row and the first events of a launch. Answered with [`Committed::Created`].
    Create(Box<NewSession>),
    /// Registers an external session. Answered with [`Committed::Record`], or [`Committed::Existing`] if the id is registered
    /// already.
    RegisterExternal(Box<SessionRecord>),
    /// Ends an external session. Answered with [`Committed::Record`].
    Complete {
        id: SessionId,
        exit_code: Option<i32>,
    },
    /// Sets or clears `archived_at`. Answered with [`Committed::Record`].
    Archive { id: SessionId, archived: bool },
    /// Changes the title or the labels. Answered with [`Committed::Record`].
    Edit { id: SessionId, edit: Edit },
    /// Deletes the record and its events. Answered with [`Committed::Deleted`].
    Delete { id: SessionId },
    /// Carries out the session's `onEnd`. Answered with [`Committed::Done`] if it has been cancelled.
    OnEnd { id: SessionId },
}

/// A client's change of a record, redacted.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// The new title.
    pub title: Option<String>,
    /// Labels to add.
    pub add_labels: Vec<String>,
    /// Labels to remove.
    pub remove_labels: Vec<String>,
}

/// Something that has happened to a session that this daemon manages.
#[derive(Debug)]
pub enum Fact {
    /// Events that leave the record unchanged.
    Events {
        num: SessionNum,
        events: Vec<NewEvent>,
    },
    /// The harness has been spawned. Answered with [`Committed::Record`].
    Started {
        num: SessionNum,
        pid: i32,
        process_mark: Option<String>,
        /// Capacity of stdout's pipe in bytes, if it could be read.
        stdout_pipe_bytes: Option<u64>,
        /// Time of the spawn.
        at: Timestamp,
    },
    /// New or changed fields of the record.
    Noted { num: SessionNum, note: Box<Note> },
    /// The session has ended: the final status, the cost and the last events, in one transaction.
    Ended {
        num: SessionNum,
        end: Box<End>,
        /// The known part of the cost; `started_at` is on record already.
        cost: SessionCost,
        usage: Option<Box<Usage>>,
        events: Vec<NewEvent>,
    },
}

/// End of a session.
#[derive(Debug, Clone)]
pub struct End {
    pub status: SessionStatus,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub ended_by: Option<EndedBy>,
    pub oom_killed: bool,
    pub left_behind: LeftBehind,
}

/// Fields that become known while a session runs; `None` leaves the stored value unchanged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Note {
    /// Capacity of stdout's pipe, in bytes.
    pub stdout_pipe_bytes: Option<u64>,
    /// The harness's own id of the conversation.
    pub harness_session_id: Option<String>,
    /// Tokens and cost used so far.
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
    pub(crate) fn num(&self) -> SessionNum {
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

    /// Size of the events' payloads, in bytes.
    pub(super) fn payload_bytes(&self) -> usize {
        match self {
            Self::Started { .. } | Self::Noted { .. } => 0,
            Self::Events { events, .. } | Self::Ended { events, .. } => {
                events.iter().map(|event| event.payload_json.len()).sum()
            }
        }
    }

    /// Size that the queue charges for it, in bytes.
    pub(super) fn bytes(&self) -> usize {
        const ROW: usize = 64;
        self.payload_bytes() + self.events() * ROW
    }
}

/// Long work that a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chore {
    /// A complete retention sweep that keeps at most `days` days. Answered with [`Committed::Pruned`].
    Prune { days: Option<u32> },
    /// Rewrites the database without free pages. Answered with [`Committed::Vacuumed`].
    Vacuum,
}

/// Output that retention deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Number of output and prompt events.
    pub events: u64,
    /// Bytes of output that these events showed.
    pub bytes: u64,
}

impl AddAssign for Dropped {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.bytes += other.bytes;
    }
}

/// Result of a retention sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepResult {
    /// Number of sessions that lost output.
    pub sessions: u64,
    /// The deleted output.
    pub dropped: Dropped,
    /// Why old output is kept: the clock's jump is not confirmed yet.
    pub unconfirmed: Option<UnconfirmedClock>,
}

impl From<SweepResult> for api::Pruned {
    fn from(pruned: SweepResult) -> Self {
        Self {
            ok: true,
            events: pruned.dropped.events,
            bytes: pruned.dropped.bytes,
            sessions: pruned.sessions,
            unconfirmed_clock: pruned.unconfirmed,
        }
    }
}

/// The writer's answer after a commit.
#[derive(Debug)]
pub enum Committed {
    /// The session's row is on disk under this number.
    Created(SessionNum),
    /// The session's record after the commit.
    Record(Box<SessionRecord>),
    /// The external session was registered before and is unchanged.
    Existing(Box<SessionRecord>),
    /// The session with this id is deleted.
    Deleted(SessionId),
    /// The sweep is complete.
    Pruned(SweepResult),
    /// The database has been rewritten; this many bytes were freed.
    Vacuumed(u64),
    /// The fact is on disk; it has no other answer.
    Done,
}

impl Committed {
    /// The record in the answer.
    ///
    /// # Errors
    /// [`Refused::Bug`] if the answer belongs to another request.
    pub fn record(self) -> Result<SessionRecord, Refused> {
        match self {
            Self::Record(record) => Ok(*record),
            other => Err(other.unexpected()),
        }
    }

    /// The error for an answer that does not fit its request.
    pub fn unexpected(&self) -> Refused {
        Refused::Bug {
            reason: format!("the store answered {self:?}"),
        }
    }
}

/// Why the store refuses a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// No session has this id; empty where the request named none.
    NotFound { id: String },
    /// The id belongs to a session that the daemon manages.
    IdTaken { id: SessionId },
    /// The session is not external.
    NotExternal { id: SessionId },
    /// The session is live.
    Live { id: SessionId },
    /// The session would have too many labels.
    TooManyLabels,
    /// The database cannot be written or read now.
    Unavailable { reason: Failure },
    /// The code has a bug.
    Bug { reason: String },
}

/// Callback that gets the answer after the commit, or the refusal. It runs on the writer thread, so it only sends on a
/// channel.
pub type Done = Box<dyn FnOnce(Result<Committed, Refused>) + Send>;

/// A launch's `Idempotency-Key` that has not expired.
#[derive(Debug)]
pub struct IdempotencyKey {
    /// The client's key.
    pub key: String,
    /// Fingerprint of the launch's body.
    pub fingerprint: String,
    /// The session that the launch created.
    pub session: SessionId,
    /// Time at which it expires.
    pub expires_at: Timestamp,
}

impl IdempotencyKey {
    /// A key whose lifetime starts at `used_at`.
    pub fn new(key: String, fingerprint: String, session: SessionId, used_at: Timestamp) -> Self {
        let expires_at = Timestamp::from_millis(used_at.as_millis() + IDEMPOTENCY_MILLIS);
        Self {
            key,
            fingerprint,
            session,
            expires_at,
        }
    }
}
