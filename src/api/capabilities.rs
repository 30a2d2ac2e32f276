//! The daemon's capabilities and actions, and the environment and limits of its process.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::wire::wire;
use super::{AdapterStatus, RefusedManifest, Timestamp, Word, rules, words};

wire! {
    /// The body of `POST /actions`.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct ActionRequest {
        /// One of the actions that `GET /capabilities` lists.
        #[serde(deserialize_with = "rules::action")]
        pub action: String,
        /// Any value of the client's; the event returns it.
        pub origin: Option<Value>,
        /// Any value of the client's; the event returns it.
        pub intent_id: Option<Value>,
    }
}

/// The action that makes the daemon read its manifests again.
pub const REFRESH: &str = "coven.capabilities.refresh";

impl ActionRequest {
    pub fn refresh() -> Self {
        Self {
            action: REFRESH.into(),
            origin: None,
            intent_id: None,
        }
    }
}

words! {
    /// Result of an action.
    pub enum ActionStatus {
        Completed = "completed",
        /// The action does not exist.
        Rejected = "rejected",
    }
}

wire! {
    /// The answer to `POST /actions`; has status 400 if the action is rejected.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct ActionResult {
        /// The action is done.
        pub ok: bool,
        /// Same as `ok`.
        pub accepted: bool,
        /// The requested action.
        pub action: String,
        pub status: Word<ActionStatus>,
        /// Why it was rejected.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub reason: Option<String>,
        /// The result.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub event: Option<ActionEvent>,
    }

    /// The result of an action.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct ActionEvent {
        /// `capabilities.refreshed`
        pub kind: String,
        /// The requested action.
        pub action: String,
        /// The request's value.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub origin: Option<Value>,
        /// The request's value.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub intent_id: Option<Value>,
        pub payload: RefreshedCapabilities,
    }

    /// Number of capabilities after a refresh.
    #[derive(Debug, Clone, Copy, Serialize, Deserialize)]
    pub struct RefreshedCapabilities {
        pub capabilities: usize,
    }

    /// The answer to `GET /capabilities`.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct Capabilities {
        /// Everything that clients can request.
        pub capabilities: Vec<Capability>,
        pub adapters: Vec<AdapterStatus>,
        /// Rejected manifests.
        #[serde(default)]
        pub refused_manifests: Vec<RefusedManifest>,
        /// The daemon's process; missing for an older daemon.
        pub process: Option<DaemonProcess>,
    }

    /// The daemon's environment and limits, not those of the client.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct DaemonProcess {
        /// The `PATH` on which harnesses are looked up; null if not set.
        pub path: Option<String>,
        /// Home directory of its user; missing for an older daemon, and if unknown.
        pub home: Option<String>,
        /// Names of the variables in its environment that sessions do not inherit.
        #[serde(default)]
        pub filtered: Vec<String>,
        /// When the home's file `env` was last read; missing for an older daemon.
        pub env_read_at: Option<Timestamp>,
        /// Its nice value (setpriority(2)); missing for an older daemon.
        pub niceness: Option<i32>,
        /// Secrets are redacted in stored data.
        pub redact: bool,
        /// When the user's own redaction patterns were last read; missing for an older daemon.
        pub patterns_read_at: Option<Timestamp>,
        /// Most live sessions.
        pub max_sessions: u64,
        /// Most open connections.
        pub max_connections: u64,
        /// Most open descriptors (getrlimit(2), `RLIMIT_NOFILE`).
        pub open_files: ResourceLimit,
        /// Most processes and threads of its user (`RLIMIT_NPROC`).
        pub processes: ResourceLimit,
    }

    /// A kernel limit; null is unlimited.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ResourceLimit {
        /// The limit in force.
        pub soft: Option<u64>,
        /// The value up to which it can be raised.
        pub hard: Option<u64>,
    }
}

words! {
    /// Availability of a capability.
    pub enum CapabilityStatus {
        Available = "available",
        /// A later release will have it.
        Planned = "planned",
    }

    /// Whether a client may use a capability without asking.
    pub enum CapabilityPolicy {
        /// A client may.
        Allow = "allow",
        /// A person must approve.
        RequiresApproval = "requiresApproval",
    }
}

wire! {
    /// Something that clients can request.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct Capability {
        pub id: String,
        /// Name for people.
        pub label: String,
        /// The component that serves it.
        pub adapter: String,
        pub status: Word<CapabilityStatus>,
        pub policy: Word<CapabilityPolicy>,
        /// Its actions.
        pub actions: Vec<String>,
    }
}
