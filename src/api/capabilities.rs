//! What clients can ask of the daemon: capabilities, and the actions among them; and what its process has to work with.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AdapterStatus, RefusedManifest, Timestamp, Word, rules, words};

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
