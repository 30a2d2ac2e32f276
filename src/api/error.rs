//! Every way in which a request can fail, each with its status, code and details.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{SessionId, SessionStatus};

/// What a request failed with. Clients branch on [`ApiError::code`].
#[derive(Debug, Clone, PartialEq)]
pub enum ApiError {
    /// 400: malformed JSON, or a missing or wrong field, named where there is one.
    InvalidRequest {
        message: String,
        field: Option<String>,
        extra: Option<(&'static str, Value)>,
    },
    /// 404 with the code `invalid_request`: the path names a version that this daemon does not speak.
    UnsupportedVersion { requested: String },
    /// 404: no such route.
    RouteNotFound,
    /// 405: the route exists, for these methods.
    MethodNotAllowed { allow: String },
    /// 413: the body passes `max` bytes.
    PayloadTooLarge { max: usize },
    /// 431: the request head passes `max` bytes, or has too many headers.
    RequestTooLarge { max: usize },
    /// 503: the limit on connections is reached.
    TooManyConnections { limit: usize },
    /// 404: no session has this id. Raw, since it came from a path.
    SessionNotFound { id: String },
    /// 409: input or kill for a session that is not running.
    SessionNotLive {
        id: SessionId,
        status: SessionStatus,
    },
    /// 409: archive or delete of a running session.
    SessionLive { id: SessionId },
    /// 422: the harness was given no stdin.
    InputNotAccepted { id: SessionId },
    /// 400: `cwd` does not canonicalize inside the project root.
    ProjectRootViolation { project_root: String, cwd: String },
    /// 422: the harness is known, its executable is not on the daemon's `PATH`.
    HarnessNotFound {
        harness: String,
        executable: String,
        install_hint: String,
        /// That `PATH`.
        daemon_path: String,
    },
    /// 500: the spawn itself failed. The session's row exists, `failed`.
    LaunchFailed { id: SessionId, reason: String },
    /// 500: the harness has closed its stdin.
    SendInputFailed { id: SessionId, reason: String },
    /// 500: the kernel refused the signal.
    KillFailed { id: SessionId, reason: String },
    /// 409: an external registration over a session that the daemon manages.
    SessionIdConflict { id: SessionId },
    /// 409: an `Idempotency-Key` again, with another body.
    IdempotencyConflict,
    /// 422: `complete` for a session that the daemon manages.
    NotExternalSession { id: SessionId },
    /// 422: kill for a session that somebody else runs.
    ExternalSessionNotKillable { id: SessionId },
    /// 429: what waits for the harness's stdin has reached the bound, in bytes.
    InputBacklogFull { id: SessionId, limit: usize },
    /// 429: the limit on live sessions is reached.
    TooManySessions { limit: usize },
    /// 503: the event store cannot be written, or read, now.
    StoreUnavailable { reason: String },
    /// 503: the daemon is stopping.
    ShuttingDown,
    /// 500: a bug.
    Internal { reason: String },
}

impl ApiError {
    /// An `invalid_request` about `field` of the body or query.
    pub fn invalid_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InvalidRequest {
            message: message.into(),
            field: Some(field.into()),
            extra: None,
        }
    }

    /// An `invalid_request` about the request as a whole.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidRequest {
            message: message.into(),
            field: None,
            extra: None,
        }
    }

    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::InvalidRequest { .. } | Self::ProjectRootViolation { .. } => 400,
            Self::UnsupportedVersion { .. }
            | Self::RouteNotFound
            | Self::SessionNotFound { .. } => 404,
            Self::MethodNotAllowed { .. } => 405,
            Self::SessionNotLive { .. }
            | Self::SessionLive { .. }
            | Self::SessionIdConflict { .. }
            | Self::IdempotencyConflict => 409,
            Self::PayloadTooLarge { .. } => 413,
            Self::InputNotAccepted { .. }
            | Self::HarnessNotFound { .. }
            | Self::NotExternalSession { .. }
            | Self::ExternalSessionNotKillable { .. } => 422,
            Self::InputBacklogFull { .. } | Self::TooManySessions { .. } => 429,
            Self::RequestTooLarge { .. } => 431,
            Self::LaunchFailed { .. }
            | Self::SendInputFailed { .. }
            | Self::KillFailed { .. }
            | Self::Internal { .. } => 500,
            Self::TooManyConnections { .. }
            | Self::StoreUnavailable { .. }
            | Self::ShuttingDown => 503,
        }
    }

    /// The contract's code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest { .. } | Self::UnsupportedVersion { .. } => "invalid_request",
            Self::RouteNotFound => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::PayloadTooLarge { .. } => "payload_too_large",
            Self::RequestTooLarge { .. } => "request_too_large",
            Self::TooManyConnections { .. } => "too_many_connections",
            Self::SessionNotFound { .. } => "session_not_found",
            Self::SessionNotLive { .. } => "session_not_live",
            Self::SessionLive { .. } => "session_live",
            Self::InputNotAccepted { .. } => "input_not_accepted",
            Self::ProjectRootViolation { .. } => "project_root_violation",
            Self::HarnessNotFound { .. } => "harness_not_found",
            Self::LaunchFailed { .. } => "launch_failed",
            Self::SendInputFailed { .. } => "send_input_failed",
            Self::KillFailed { .. } => "kill_failed",
            Self::SessionIdConflict { .. } => "session_id_conflict",
            Self::IdempotencyConflict => "idempotency_conflict",
            Self::NotExternalSession { .. } => "not_external_session",
            Self::ExternalSessionNotKillable { .. } => "external_session_not_killable",
            Self::InputBacklogFull { .. } => "input_backlog_full",
            Self::TooManySessions { .. } => "too_many_sessions",
            Self::StoreUnavailable { .. } => "store_unavailable",
            Self::ShuttingDown => "shutting_down",
            Self::Internal { .. } => "internal_error",
        }
    }

    /// What happened, for a person.
    pub fn message(&self) -> String {
        match self {
            Self::InvalidRequest { message, .. } => message.clone(),
            Self::UnsupportedVersion { requested } => {
                format!("API version {requested:?} is not supported; this daemon speaks v1")
            }
            Self::RouteNotFound => "no such route".into(),
            Self::MethodNotAllowed { allow } => {
                format!("method not allowed; this route takes {allow}")
            }
            Self::PayloadTooLarge { max } => format!("the request body passes {max} bytes"),
            Self::RequestTooLarge { max } => format!("the request head passes {max} bytes"),
            Self::TooManyConnections { limit } => {
                format!("no more connections can be taken now; the limit is {limit}")
            }
            Self::SessionNotFound { .. } => "no session has this id".into(),
            Self::SessionNotLive { status, .. } => format!("the session is not running: {status}"),
            Self::SessionLive { .. } => "the session is running; end it first".into(),
            Self::InputNotAccepted { .. } => "the session's harness was given no stdin".into(),
            Self::ProjectRootViolation { project_root, cwd } => {
                format!("cwd {cwd} is not inside the project root {project_root}")
            }
            Self::HarnessNotFound {
                harness,
                executable,
                install_hint,
                ..
            } => format!(
                "harness {harness}: {executable} is not on the daemon's PATH. {install_hint}"
            ),
            Self::LaunchFailed { reason, .. } => {
                format!("the harness could not be started: {reason}")
            }
            Self::SendInputFailed { reason, .. } => {
                format!("the input was not delivered: {reason}")
            }
            Self::KillFailed { reason, .. } => {
                format!("the harness could not be signalled: {reason}")
            }
            Self::SessionIdConflict { .. } => {
                "this id belongs to a session that the daemon manages".into()
            }
            Self::IdempotencyConflict => "this Idempotency-Key was used with another body".into(),
            Self::NotExternalSession { .. } => "the session is not an external one".into(),
            Self::ExternalSessionNotKillable { .. } => {
                "the session is run by somebody else; the daemon holds no process of it".into()
            }
            Self::InputBacklogFull { limit, .. } => {
                format!("the harness does not read its stdin: {limit} bytes can wait for it")
            }
            Self::TooManySessions { limit } => format!("{limit} sessions are live, the limit"),
            Self::StoreUnavailable { reason } => {
                format!("the event store is not available: {reason}")
            }
            Self::ShuttingDown => "the daemon is stopping".into(),
            Self::Internal { .. } => {
                "internal error; the daemon's log has it under this request id".into()
            }
        }
    }

    /// The session that it is about, where that is known.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::SessionNotLive { id, .. }
            | Self::SessionLive { id }
            | Self::InputNotAccepted { id }
            | Self::LaunchFailed { id, .. }
            | Self::SendInputFailed { id, .. }
            | Self::KillFailed { id, .. }
            | Self::SessionIdConflict { id }
            | Self::NotExternalSession { id }
            | Self::ExternalSessionNotKillable { id }
            | Self::InputBacklogFull { id, .. } => Some(*id),
            _ => None,
        }
    }

    fn details(&self) -> Option<Value> {
        Some(match self {
            Self::InvalidRequest { field, extra, .. } => {
                let mut details = serde_json::Map::new();
                if let Some(field) = field {
                    details.insert("field".into(), json!(field));
                }
                if let Some((name, value)) = extra {
                    details.insert((*name).into(), value.clone());
                }
                if details.is_empty() {
                    return None;
                }
                Value::Object(details)
            }
            Self::UnsupportedVersion { requested } => {
                json!({ "apiVersion": requested, "supportedApiVersions": [super::API_VERSION] })
            }
            Self::PayloadTooLarge { max } | Self::RequestTooLarge { max } => {
                json!({ "maxBytes": max })
            }
            Self::TooManyConnections { limit } | Self::TooManySessions { limit } => {
                json!({ "limit": limit })
            }
            Self::SessionNotFound { id } => json!({ "sessionId": id }),
            Self::SessionNotLive { id, status } => json!({ "sessionId": id, "status": status }),
            Self::SessionLive { id }
            | Self::InputNotAccepted { id }
            | Self::SessionIdConflict { id }
            | Self::NotExternalSession { id }
            | Self::ExternalSessionNotKillable { id } => json!({ "sessionId": id }),
            Self::LaunchFailed { id, reason }
            | Self::SendInputFailed { id, reason }
            | Self::KillFailed { id, reason } => json!({ "sessionId": id, "reason": reason }),
            Self::InputBacklogFull { id, limit } => json!({ "sessionId": id, "maxBytes": limit }),
            Self::ProjectRootViolation { project_root, cwd } => {
                json!({ "projectRoot": project_root, "cwd": cwd })
            }
            Self::HarnessNotFound {
                harness,
                executable,
                install_hint,
                daemon_path,
            } => {
                json!({ "harness": harness, "executable": executable, "installHint": install_hint,
                    "daemonPath": daemon_path })
            }
            Self::StoreUnavailable { reason } => json!({ "reason": reason }),
            Self::MethodNotAllowed { .. }
            | Self::RouteNotFound
            | Self::IdempotencyConflict
            | Self::ShuttingDown
            | Self::Internal { .. } => return None,
        })
    }

    /// The body of the answer.
    pub fn body(&self) -> ErrorBody {
        ErrorBody {
            error: ErrorDetail {
                code: self.code().into(),
                message: self.message(),
                details: self.details(),
            },
        }
    }
}

/// An error's body, as a client reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The one member.
    pub error: ErrorDetail,
}

/// What an error's body holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// The code to branch on.
    pub code: String,
    /// What happened, for a person.
    pub message: String,
    /// Facts, where they help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}
