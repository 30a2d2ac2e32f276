//! What the daemon says of itself: health, capabilities, actions.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LaunchMode, Permission, Timestamp, UnconfirmedClock, Variables, Word, rules, words};

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
    /// Whose way a harness has of telling its session id and its use of a model.
    pub enum TelemetryFormat {
        /// `claude --output-format json` and `stream-json`.
        Claude = "claude",
        /// `codex exec --json`; without that a header on stderr has the id.
        Codex = "codex",
        /// `opencode run --format json`; without that it tells nothing.
        Opencode = "opencode",
    }
}

impl TelemetryFormat {
    /// The arguments by which such a harness is asked for lines of JSON.
    pub fn json_args(self) -> &'static [&'static str] {
        match self {
            Self::Claude => &["--output-format", "stream-json", "--verbose"],
            Self::Codex => &["--json"],
            Self::Opencode => &["--format", "json"],
        }
    }

    /// Whether the harness's own id, by which a session is gone on with, is told in the JSON form alone.
    pub fn has_id_in_json_only(self) -> bool {
        self == Self::Opencode
    }

    /// Whether what it tells is the sum of a conversation, with what earlier sessions have used of it.
    pub fn has_sums(self) -> bool {
        self == Self::Codex
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

/// The body of `POST /actions`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionRequest {
    /// What to do: one of the actions of a [`Capability`].
    #[serde(deserialize_with = "rules::filled")]
    pub action: String,
    /// Anything of the client's: it comes back in the event.
    pub origin: Option<Value>,
    /// As `origin`.
    pub intent_id: Option<Value>,
}

/// The action that has the daemon read its manifests again.
pub const REFRESH: &str = "coven.capabilities.refresh";

impl ActionRequest {
    /// Has the daemon read its manifests again.
    pub fn refresh() -> Self {
        Self {
            action: REFRESH.into(),
            origin: None,
            intent_id: None,
        }
    }
}

words! {
    /// How an action went.
    pub enum ActionStatus {
        /// It is done.
        Completed = "completed",
        /// There is no such action.
        Rejected = "rejected",
    }
}

/// The answer to `POST /actions`; with status 400 if the action is rejected.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ActionResult {
    /// Whether it is done.
    pub ok: bool,
    /// The same.
    pub accepted: bool,
    /// What was asked for.
    pub action: String,
    /// How it went.
    pub status: Word<ActionStatus>,
    /// Why it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<ActionEvent>,
}

/// What came of an action.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionEvent {
    /// `capabilities.refreshed`
    pub kind: String,
    /// What was asked for.
    pub action: String,
    /// As the request has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Value>,
    /// As the request has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent_id: Option<Value>,
    /// The figures.
    pub payload: RefreshedCapabilities,
}

/// How many capabilities there are after a refresh.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct RefreshedCapabilities {
    /// The number of them.
    pub capabilities: usize,
}

/// The answer to `GET /capabilities`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// What clients can ask for.
    pub capabilities: Vec<Capability>,
    /// The harnesses that this daemon knows.
    pub adapters: Vec<AdapterStatus>,
    /// Manifests that were not taken, and why.
    #[serde(default)]
    pub refused_manifests: Vec<RefusedManifest>,
    /// What the daemon's process has to work with; an older daemon does not say.
    #[serde(default)]
    pub process: Option<DaemonProcess>,
}

/// What the daemon's process has to work with: its environment and limits, not those of whoever asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DaemonProcess {
    /// The `PATH` on which it looks harnesses up; null if it has none.
    pub path: Option<String>,
    /// The names of the variables that it was started with, and that its sessions do not inherit.
    #[serde(default)]
    pub filtered: Vec<String>,
    /// When the file `env` of the home was read last; an older daemon does not say.
    #[serde(default)]
    pub env_read_at: Option<Timestamp>,
    /// Its niceness (setpriority(2)); an older daemon does not say.
    #[serde(default)]
    pub niceness: Option<i32>,
    /// Secrets are taken out of what is stored.
    pub redact: bool,
    /// When the user's own patterns were read last; an older daemon does not say.
    #[serde(default)]
    pub patterns_read_at: Option<Timestamp>,
    /// Sessions that can be live at once.
    pub max_sessions: u64,
    /// Connections that can be open at once.
    pub max_connections: u64,
    /// Descriptors that it can have open (getrlimit(2), `RLIMIT_NOFILE`).
    pub open_files: ResourceLimit,
    /// Processes and threads that its user can have (`RLIMIT_NPROC`).
    pub processes: ResourceLimit,
}

/// A limit of the kernel's; null is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimit {
    /// What holds.
    pub soft: Option<u64>,
    /// How far it can be raised.
    pub hard: Option<u64>,
}

words! {
    /// Whether a capability is there.
    pub enum CapabilityStatus {
        /// It can be used.
        Available = "available",
        /// A later release will have it.
        Planned = "planned",
    }
}

words! {
    /// Whether a client may use a capability unasked.
    pub enum CapabilityPolicy {
        /// It may.
        Allow = "allow",
        /// A person has to agree.
        RequiresApproval = "requiresApproval",
    }
}

/// One thing that clients can ask for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Capability {
    /// Its id.
    pub id: String,
    /// For people.
    pub label: String,
    /// What serves it.
    pub adapter: String,
    /// Whether it is there.
    pub status: Word<CapabilityStatus>,
    /// Whether a client may use it unasked.
    pub policy: Word<CapabilityPolicy>,
    /// The actions that it takes.
    pub actions: Vec<String>,
}

words! {
    /// Where an adapter is declared that no manifest declares.
    pub enum AdapterSource {
        /// In the program.
        Bundled = "bundled",
    }
}

/// A harness that the daemon knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdapterStatus {
    /// Its id.
    pub id: String,
    /// For people.
    pub label: String,
    /// The bare name that is looked up.
    pub executable: String,
    /// Whether the look-up finds it now, and nothing speaks against a start.
    pub available: bool,
    /// What the daemon's `PATH` resolves it to now.
    pub path: Option<String>,
    /// Why what has its name on the daemon's `PATH` cannot be started.
    #[serde(default)]
    pub problem: Option<String>,
    /// Where it is declared: `bundled`, or the manifest's path.
    pub source: Word<AdapterSource>,
    /// How to get it.
    pub install_hint: String,
    /// How to log in to it.
    #[serde(default)]
    pub login_hint: String,
    /// Names of variables that `coven run` takes from the shell in which it is typed, and sends with the launch.
    #[serde(default)]
    pub pass_env: Vec<String>,
    /// How this daemon can run it.
    #[serde(default)]
    pub modes: Vec<Word<LaunchMode>>,
    /// What a launch can let it do, besides its own default.
    #[serde(default)]
    pub permissions: Vec<Word<Permission>>,
    /// What it may do where a launch says nothing.
    #[serde(default)]
    pub default_permission: Word<Permission>,
    /// What it can do besides.
    #[serde(default)]
    pub capabilities: AdapterAbilities,
    /// Whose way it has of telling its session id and its use of a model.
    #[serde(default)]
    pub telemetry: Option<Word<TelemetryFormat>>,
    /// Whether it can go on with a conversation, a prompt at a time.
    #[serde(default)]
    pub resumes: bool,
    /// Its command line for each mode and permission.
    #[serde(default)]
    pub commands: Vec<AdapterCommand>,
}

/// What an adapter says that its harness can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AdapterAbilities {
    /// Talk in stream-json both ways.
    pub stream: bool,
    /// Begin a conversation under an id that it is given.
    #[serde(alias = "preassigned_session_id")]
    pub preassigned_session_id: bool,
    /// Show how it thinks.
    pub think: bool,
    /// Work faster, or more thoroughly.
    pub speed: bool,
}

/// A command line of a harness, with `<prompt>` for the prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdapterCommand {
    /// How it is run.
    pub mode: Word<LaunchMode>,
    /// What it may do.
    pub permission: Word<Permission>,
    /// Whether it can write files then; null where that is not known.
    pub can_write: Option<bool>,
    /// The arguments, the name of the program first.
    pub argv: Vec<String>,
    /// Whether it reads its prompt from stdin.
    pub reads_prompt: bool,
    /// Variables that it needs besides.
    #[serde(default)]
    pub env: Variables,
}

/// A manifest that was not taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RefusedManifest {
    /// Its path.
    pub source: String,
    /// Why.
    pub reason: String,
}
