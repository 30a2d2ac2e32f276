//! What the daemon says of itself: its health.

use serde::{Deserialize, Serialize};

use super::{Timestamp, UnconfirmedClock, Word, words};

/// The answer to `GET /health`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// The daemon answers.
    pub ok: bool,
    /// [`super::CONTRACT`].
    pub api_version: String,
    /// The daemon's version.
    pub coven_version: String,
    /// What it can do.
    pub capabilities: CapabilityFlags,
    /// Who it is.
    pub daemon: DaemonInfo,
    /// How much it has to do.
    pub sessions: SessionCounts,
    /// How the writing of events goes.
    pub event_writer: EventWriterHealth,
    /// How the store stands on its disk.
    pub storage: StorageHealth,
}

/// A capability that is false today turns true with the feature, and never before.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapabilityFlags {
    pub sessions: bool,
    pub events: bool,
    pub event_cursor: String,
    pub structured_errors: bool,
    pub travel: bool,
    pub scheduler: bool,
    pub hub: bool,
    pub executor_dispatch: bool,
    pub session_handoff: bool,
    pub session_launch_policy: bool,
    #[serde(default)]
    pub launch_args: bool,
    pub afs: bool,
    pub afs_mount: bool,
    pub afs_commit: bool,
    pub afs_commit_dry_run: bool,
    pub execution_binding_contracts: Vec<String>,
    pub request_adoption_contracts: Vec<String>,
    pub event_wait: bool,
    #[serde(default)]
    pub stream_sessions: bool,
    #[serde(default)]
    pub conversations: bool,
}

impl Default for CapabilityFlags {
    /// What this build can do.
    fn default() -> Self {
        Self {
            sessions: true,
            events: true,
            event_cursor: "sequence".into(),
            structured_errors: true,
            travel: false,
            scheduler: false,
            hub: false,
            executor_dispatch: false,
            session_handoff: false,
            session_launch_policy: true,
            launch_args: true,
            afs: false,
            afs_mount: false,
            afs_commit: false,
            afs_commit_dry_run: false,
            execution_binding_contracts: Vec::new(),
            request_adoption_contracts: Vec::new(),
            event_wait: true,
            stream_sessions: true,
            conversations: true,
        }
    }
}

/// Which daemon answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DaemonInfo {
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// Whole seconds since then, by the monotonic clock.
    pub uptime_seconds: u64,
    /// The path of its socket.
    pub socket: String,
    /// Who runs it, as it sees it; older daemons do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervisor: Option<SupervisorInfo>,
    /// The longest that its stop takes, in milliseconds; older daemons do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_within_ms: Option<u64>,
}

words! {
    /// What runs a daemon.
    pub enum Manager {
        /// A systemd unit.
        Systemd = "systemd",
        /// A launchd job.
        Launchd = "launchd",
        /// Nothing: it was started by hand.
        Nobody = "none",
    }
}

words! {
    /// Whose manager runs a systemd unit.
    pub enum ManagerScope {
        /// The user's.
        User = "user",
        /// The system's.
        System = "system",
    }
}

/// Who runs a daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorInfo {
    /// What runs it.
    pub kind: Word<Manager>,
    /// systemd's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Whose manager that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Word<ManagerScope>>,
    /// launchd's job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// How many sessions there are.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct SessionCounts {
    /// Those that a process backs.
    pub live: u64,
    /// All that have a record.
    pub total: u64,
}

words! {
    /// Whether events reach the disk.
    pub enum WriterState {
        /// Nothing waits.
        Healthy = "healthy",
        /// Harnesses are being held back.
        Pressured = "pressured",
        /// The last attempt to write failed; it is tried again.
        Failed = "failed",
    }
}

/// How the writing of events goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventWriterHealth {
    /// Whether events reach the disk.
    pub state: WriterState,
    /// What has been read from harnesses and is not committed yet.
    pub queued_events: u64,
    /// The same, in bytes.
    pub queued_bytes: u64,
    /// Where harnesses begin to be held back, in bytes.
    pub capacity_bytes: u64,
    /// Always 0: a harness is held back instead.
    pub dropped_output_events: u64,
    /// Always 0.
    pub dropped_output_bytes: u64,
    /// Transactions committed since the daemon started.
    pub transactions: u64,
    /// Events committed since the daemon started.
    pub committed_events: u64,
    /// What the last failed attempt to write failed with, while the state is `failed`; where it is `pressured` because the
    /// log cannot begin anew, who is in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// A page of the database that was not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreDamage {
    /// When it was met.
    pub at: Timestamp,
    /// What SQLite said.
    pub what: String,
}

words! {
    /// Whether the store can be written.
    pub enum StorageStatus {
        /// The last attempt to write went well.
        Ok = "ok",
        /// So did it, but a page of the database is not what it must be.
        Damaged = "damaged",
    }
}

/// How the store stands on its disk, as of `measured_at`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageHealth {
    /// `ok`, `damaged`, or what the last attempt to write failed with.
    pub status: Word<StorageStatus>,
    /// Size of the database file.
    pub database_bytes: u64,
    /// Size of its write-ahead log.
    pub wal_bytes: u64,
    /// What the file system still has for this user.
    pub free_disk_bytes: u64,
    /// The time of the oldest event that is kept.
    pub oldest_retained_event_at: Option<Timestamp>,
    /// When these figures were taken.
    pub measured_at: Timestamp,
    /// What of the database file is in use; the rest is given back, or used again.
    #[serde(default)]
    pub used_bytes: u64,
    /// What may be in use before the output of ended sessions goes, the oldest first; null for no limit.
    #[serde(default)]
    pub limit_bytes: Option<u64>,
    /// What one session's output may take before its oldest goes; null for no limit.
    #[serde(default)]
    pub session_limit_bytes: Option<u64>,
    /// For how many days an ended session's output is kept; null for ever.
    #[serde(default)]
    pub retention_days: Option<u32>,
    /// Output events that retention has taken since the daemon started.
    #[serde(default)]
    pub truncated_output_events: u64,
    /// What the harnesses had written in them, in bytes.
    #[serde(default)]
    pub truncated_output_bytes: u64,
    /// When that was done last.
    #[serde(default)]
    pub last_truncated_at: Option<Timestamp>,
    /// What of the database was met damaged, until a vacuum or the check after a start has found all of it whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<StoreDamage>,
    /// Why output that looks old enough is kept, if some is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconfirmed_clock: Option<UnconfirmedClock>,
    /// By how much the wall clock was set last since the daemon started, or before that in the same boot, in milliseconds:
    /// ages do not follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_set_by_ms: Option<i64>,
}

/// The answer to `GET /api-version`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiVersion {
    /// The version in the path.
    pub api_version: String,
    /// All that this daemon speaks.
    pub supported_api_versions: Vec<String>,
}

/// The answer to `GET /`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// [`super::CONTRACT`].
    pub api_version: String,
    /// The path of the daemon's health.
    pub health: String,
}

/// An answer that is no JSON, but text.
#[derive(Debug, Clone, Copy)]
pub struct Text;
