//! The daemon's health, and the answers that identify it.

use serde::{Deserialize, Serialize};

use super::wire::wire;
use super::{Timestamp, UnconfirmedClock, Word, words};

wire! {
    /// The answer to `GET /health`.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct Health {
        /// True: the daemon answers.
        pub ok: bool,
        /// [`super::CONTRACT`].
        pub api_version: String,
        pub coven_version: String,
        /// Supported features.
        pub capabilities: CapabilityFlags,
        pub daemon: DaemonInfo,
        pub sessions: SessionCounts,
        pub event_writer: EventWriterHealth,
        pub storage: StorageHealth,
    }

    /// A feature that is false today becomes true only when it exists.
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
        #[serde(default)]
        pub upgrade_in_place: bool,
    }
}

impl Default for CapabilityFlags {
    /// The features of this build.
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
            upgrade_in_place: true,
        }
    }
}

wire! {
    /// The answering daemon.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct DaemonInfo {
        pub pid: u32,
        /// Time of its start.
        pub started_at: Timestamp,
        /// Whole seconds since its start, by the monotonic clock.
        pub uptime_seconds: u64,
        /// Time of the last upgrade in place; null before the first, missing for older daemons.
        pub upgraded_at: Option<Timestamp>,
        pub socket: String,
        /// Its supervisor, as far as it knows; missing for older daemons.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub supervisor: Option<SupervisorInfo>,
        /// Longest duration of its stop, in milliseconds; missing for older daemons.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub stop_within_ms: Option<u64>,
    }
}

words! {
    /// Kind of a daemon's supervisor.
    pub enum Manager {
        /// A systemd unit.
        Systemd = "systemd",
        /// A launchd job.
        Launchd = "launchd",
        /// None: it was started by hand.
        Nobody = "none",
    }

    /// Which manager runs a systemd unit.
    pub enum ManagerScope {
        /// The user's manager.
        User = "user",
        /// The system manager.
        System = "system",
    }
}

wire! {
    /// Supervisor of a daemon.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct SupervisorInfo {
        pub kind: Word<Manager>,
        /// Name of the systemd unit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub unit: Option<String>,
        /// Manager of the unit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub scope: Option<Word<ManagerScope>>,
        /// Label of the launchd job.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub label: Option<String>,
    }

    /// Number of sessions.
    #[derive(Debug, Clone, Copy, Serialize, Deserialize)]
    pub struct SessionCounts {
        /// Sessions that have not ended.
        pub live: u64,
        /// Sessions with a record.
        pub total: u64,
    }
}

words! {
    /// State of the event writer.
    pub enum WriterState {
        /// No harness waits.
        Healthy = "healthy",
        /// Harnesses are blocked until the writer catches up.
        Pressured = "pressured",
        /// The last write failed; it is retried.
        Failed = "failed",
    }
}

wire! {
    /// Figures of the event writer.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct EventWriterHealth {
        pub state: WriterState,
        /// Events read from harnesses but not committed yet.
        pub queued_events: u64,
        /// Their size in bytes.
        pub queued_bytes: u64,
        /// Size of the queue from which harnesses are blocked, in bytes.
        pub capacity_bytes: u64,
        /// Always 0: harnesses are blocked instead.
        pub dropped_output_events: u64,
        /// Always 0.
        pub dropped_output_bytes: u64,
        /// Number of transactions committed since the daemon started.
        pub transactions: u64,
        /// Number of events committed since the daemon started.
        pub committed_events: u64,
        /// Error of the last write, while the state is `failed`; the process that blocks the write-ahead log's reset, while
        /// it is `pressured` for that reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub last_error: Option<String>,
        /// The system's error number, if it gave one for that error.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub last_errno: Option<i32>,
        /// SQLite's extended result code, if it gave one for that error.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub last_sqlite_code: Option<i32>,
    }

    /// Damage of the database that SQLite found.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct StoreDamage {
        /// When it was found.
        pub at: Timestamp,
        /// SQLite's message.
        pub what: String,
    }
}

words! {
    /// State of the store.
    pub enum StorageStatus {
        /// The last write succeeded.
        Ok = "ok",
        /// The last write succeeded, but the database is damaged.
        Damaged = "damaged",
    }
}

wire! {
    /// The store's figures, as of `measured_at`.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct StorageHealth {
        /// `ok`, `damaged`, or the error of the last write.
        pub status: Word<StorageStatus>,
        /// Size of the database file, in bytes.
        pub database_bytes: u64,
        /// Size of its write-ahead log, in bytes.
        pub wal_bytes: u64,
        /// Free bytes on its file system for this user.
        pub free_disk_bytes: u64,
        /// Time of the oldest stored event.
        pub oldest_retained_event_at: Option<Timestamp>,
        /// When these figures were measured.
        pub measured_at: Timestamp,
        /// Used bytes of the database file; the others are returned to the file system, or reused.
        #[serde(default)]
        pub used_bytes: u64,
        /// Used bytes from which output of ended sessions is deleted, oldest first; null: no limit.
        pub limit_bytes: Option<u64>,
        /// Bytes of one session's output from which its oldest is deleted; null: no limit.
        pub session_limit_bytes: Option<u64>,
        /// Days for which an ended session's output is kept; null: for ever.
        pub retention_days: Option<u32>,
        /// Output events that retention deleted since the daemon started.
        #[serde(default)]
        pub truncated_output_events: u64,
        /// Bytes of output in those events.
        #[serde(default)]
        pub truncated_output_bytes: u64,
        /// When retention last deleted output.
        pub last_truncated_at: Option<Timestamp>,
        /// Damage of the database, until a vacuum or a start's check finds it intact.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub damage: Option<StoreDamage>,
        /// Why old output is kept: the clock's jump is not confirmed yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub unconfirmed_clock: Option<UnconfirmedClock>,
        /// Milliseconds by which the wall clock was last set since the daemon started, or earlier in the same boot. Ages do
        /// not follow it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub clock_set_by_ms: Option<i64>,
    }

    /// The answer to `GET /api-version`.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct ApiVersion {
        /// The version in the path.
        pub api_version: String,
        /// All versions that this daemon speaks.
        pub supported_api_versions: Vec<String>,
    }

    /// The answer to `GET /`.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct Index {
        /// [`super::CONTRACT`].
        pub api_version: String,
        /// Path of the health route.
        pub health: String,
    }
}

/// An answer of plain text instead of JSON.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(test, derive(Serialize, Deserialize))]
pub struct Text;
