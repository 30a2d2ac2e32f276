//! Session records, and the bodies of the requests about them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{SessionCost, SessionId, Timestamp, Word, words};

words! {
    /// Where a session is in its life.
    pub enum SessionStatus {
        /// The row is on disk, the harness is not started yet.
        Created = "created",
        /// The harness runs.
        Running = "running",
        /// Exit 0, with a conversation to come back to.
        Idle = "idle",
        /// Exit 0.
        Completed = "completed",
        /// Another exit code, a signal that nobody asked for, or a failed launch.
        Failed = "failed",
        /// A requested kill, a timeout, or the daemon's stop ended it.
        Killed = "killed",
        /// The daemon that ran it died.
        Orphaned = "orphaned",
    }
}

impl SessionStatus {
    /// Whether no more will happen in this session by itself.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Created | Self::Running)
    }
}

words! {
    /// Why a session is ended that has not ended by itself.
    pub enum EndCause {
        /// A client asked for it.
        Kill = "kill",
        /// Its time limit, `timeoutMs`, has passed.
        Timeout = "timeout",
        /// The daemon stops.
        DaemonStop = "stop",
    }
}

words! {
    /// Who may see a session. The daemon keeps it for its clients and acts on none of it.
    #[derive(Default)]
    pub enum Visibility {
        /// The default.
        #[default]
        Private = "private",
        /// Those of the workspace.
        Workspace = "workspace",
        /// Everybody.
        Shared = "shared",
    }
}

words! {
    /// How a harness is run.
    #[derive(Default)]
    pub enum LaunchMode {
        /// With pipes: it gets its prompt once, works, and exits.
        #[default]
        NonInteractive = "nonInteractive",
    }
}

/// A session, as every route shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// The canonical project root.
    pub project_root: String,
    /// The adapter's id.
    pub harness: String,
    /// A line for people.
    pub title: String,
    /// Where it is in its life.
    pub status: SessionStatus,
    /// The exit code; null while it runs, and when a signal ended it.
    pub exit_code: Option<i32>,
    /// When it was archived.
    pub archived_at: Option<Timestamp>,
    /// When it was launched or registered.
    pub created_at: Timestamp,
    /// When its status last changed.
    pub updated_at: Timestamp,
    /// Metadata of the client's.
    pub conversation_id: Option<String>,
    /// Metadata of the client's.
    pub familiar_id: Option<String>,
    /// Always null in this contract.
    pub execution_binding: Option<Value>,
    /// Words of the client's.
    pub labels: Labels,
    /// Who may see it.
    pub visibility: Visibility,
    /// Whether somebody else runs it.
    pub external: bool,
    /// Where an external session keeps its transcript.
    pub transcript_path: Option<String>,
    /// The canonical working directory; null for an external one.
    pub cwd: Option<String>,
    /// The harness's process, which is also its process group; null before the spawn.
    pub pid: Option<i32>,
    /// How its harness is run; null for an external one.
    pub launch_mode: Option<Word<LaunchMode>>,
    /// The model that was asked for.
    pub model: Option<String>,
    /// The seq of its newest event.
    pub last_seq: u64,
    /// The signal that ended the harness.
    #[serde(default)]
    pub signal: Option<i32>,
    /// What it cost.
    #[serde(flatten)]
    pub cost: SessionCost,
}

impl SessionRecord {
    /// A session to be, as of now: what is not given here is unknown, or the default.
    pub fn new(id: SessionId, project_root: String, harness: String, title: String) -> Self {
        let now = Timestamp::now();
        Self {
            id,
            project_root,
            harness,
            title,
            status: SessionStatus::Created,
            exit_code: None,
            archived_at: None,
            created_at: now,
            updated_at: now,
            conversation_id: None,
            familiar_id: None,
            execution_binding: None,
            labels: Labels::default(),
            visibility: Visibility::default(),
            external: false,
            transcript_path: None,
            cwd: None,
            pid: None,
            launch_mode: None,
            model: None,
            last_seq: 0,
            signal: None,
            cost: SessionCost::default(),
        }
    }
}

/// Words of a client's for a session, in the client's order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(pub Vec<String>);

/// A page of sessions, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionPage {
    /// The page.
    pub sessions: Vec<SessionRecord>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// The body of a launch, as the CLI sends it. The daemon reads it field by field, so that an error names
/// the field.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LaunchRequest {
    /// Absolute, an existing directory.
    pub project_root: String,
    /// Relative to the root, or absolute inside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The adapter's id.
    pub harness: String,
    /// What the harness is asked to do.
    pub prompt: String,
    /// Default: the prompt's first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// For harnesses that have a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Killed when it has run for that long, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// The body of `POST /sessions/:id/input`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InputRequest {
    /// What the harness reads from its stdin, byte for byte.
    pub data: String,
}

/// The answer to input and kill.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Accepted {
    /// True.
    pub ok: bool,
    /// True.
    pub accepted: bool,
}

/// The answer to a delete.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Deleted {
    /// True.
    pub ok: bool,
}
