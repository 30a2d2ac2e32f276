//! Declares every error of a request once: fields, code, message and details.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::wire::wire;
use super::{
    API_VERSION, Code, Failure, LeftBehind, SessionId, SessionStatus, UpgradeRefusal, Word,
};

/// One row each: the variant with its fields, its code, its message for people, and its details for programs.
macro_rules! errors {
    (@details) => { Value::Null };
    (@details $details:expr) => { $details };
    ($(
        $(#[$doc:meta])*
        $variant:ident $({ $($field:ident: $type:ty),+ })? => $code:ident, $message:literal $(, $details:expr)?;
    )+) => {
        /// Error of a request. Clients branch on [`ApiError::code`].
        #[derive(Debug, Clone, PartialEq)]
        pub enum ApiError {
            $($(#[$doc])* $variant $({ $($field: $type),+ })?,)+
        }

        // Every answer needs a status.
        const _: () = { $(assert!(Code::$code.status().is_some());)+ };

        // Some fields occur in neither the message nor the details.
        #[allow(unused_variables)]
        impl ApiError {
            pub fn code(&self) -> Code {
                match self {
                    $(Self::$variant { .. } => Code::$code,)+
                }
            }

            /// The message for people.
            pub fn message(&self) -> String {
                match self {
                    $(Self::$variant $({ $($field),+ })? => format!($message),)+
                }
            }

            /// Details for programs; null if there are none.
            fn details(&self) -> Value {
                match self {
                    $(Self::$variant $({ $($field),+ })? => errors!(@details $($details)?),)+
                }
            }
        }
    };
}

errors! {
    /// `field` is the invalid field, if any; `extra` is one more detail.
    InvalidRequest { message: String, field: Option<String>, extra: Option<(&'static str, Value)> } => InvalidRequest,
        "{message}", of_field(field.as_deref(), extra.as_ref());
    UnsupportedVersion { requested: String } => InvalidRequest,
        "API version {requested:?} is not supported; this daemon speaks v1",
        json!({ "apiVersion": requested, "supportedApiVersions": [API_VERSION] });
    RouteNotFound => NotFound, "no such route";
    MethodNotAllowed { allow: String } => MethodNotAllowed, "method not allowed; this route takes {allow}";
    /// `max` is in bytes.
    PayloadTooLarge { max: usize } => PayloadTooLarge,
        "the request body passes {max} bytes", json!({ "maxBytes": max });
    /// `max` is in bytes.
    RequestTooLarge { max: usize } => RequestTooLarge,
        "the request head passes {max} bytes", json!({ "maxBytes": max });
    /// No room is left for `what`.
    Busy { what: &'static str } => Busy, "there is no room for more {what}: try again";
    TooManyConnections { limit: usize } => TooManyConnections,
        "no more connections can be taken now; the limit is {limit}", json!({ "limit": limit });
    /// The id is unparsed text from a path.
    SessionNotFound { id: String } => SessionNotFound, "no session has this id", json!({ "sessionId": id });
    /// `left_behind`: the processes that still run, if requested.
    SessionNotLive { id: SessionId, status: SessionStatus, left_behind: Option<LeftBehind> } => SessionNotLive,
        "the session is not running: {status}", of_ended(id, *status, left_behind.as_ref());
    SessionLive { id: SessionId } => SessionLive,
        "the session is running; end it first", json!({ "sessionId": id });
    InputNotAccepted { id: SessionId } => InputNotAccepted,
        "the session's harness was given no stdin", json!({ "sessionId": id });
    ProjectRootViolation { project_root: String, cwd: String } => ProjectRootViolation,
        "cwd {cwd} is not inside the project root {project_root}",
        json!({ "projectRoot": project_root, "cwd": cwd });
    /// `daemon_path` is the daemon's `PATH`.
    HarnessNotFound { harness: String, executable: String, install_hint: String, login_hint: String, daemon_path: String } =>
        HarnessNotFound, "harness {harness}: {executable} is not on the daemon's PATH. {install_hint}",
        json!({
            "harness": harness, "executable": executable, "installHint": install_hint,
            "loginHint": login_hint, "daemonPath": daemon_path,
        });
    /// An executable of this name is on the daemon's `PATH`, but cannot be started.
    HarnessUnusable { harness: String, executable: String, problem: String } => HarnessNotFound,
        "harness {harness}: {problem}",
        json!({ "harness": harness, "executable": executable, "problem": problem });
    LaunchFailed { id: SessionId, reason: Failure } => LaunchFailed,
        "the harness could not be started: {reason}", json!({ "sessionId": id, "reason": reason });
    SendInputFailed { id: SessionId, reason: String } => SendInputFailed,
        "the input was not delivered: {reason}", json!({ "sessionId": id, "reason": reason });
    KillFailed { id: SessionId, reason: Failure } => KillFailed,
        "the harness could not be signalled: {reason}", json!({ "sessionId": id, "reason": reason });
    /// `left_behind`: processes of an ended session that still run.
    SweepFailed { id: SessionId, left_behind: LeftBehind } => KillFailed,
        "a process that the session has left behind does not end", json!({ "sessionId": id, "leftBehind": left_behind });
    SessionIdConflict { id: SessionId } => SessionIdConflict,
        "this id belongs to a session that the daemon manages", json!({ "sessionId": id });
    IdempotencyConflict => IdempotencyConflict, "this Idempotency-Key was used with another body";
    NotExternalSession { id: SessionId } => NotExternalSession,
        "the session is not an external one", json!({ "sessionId": id });
    ExternalSessionNotKillable { id: SessionId } => ExternalSessionNotKillable,
        "the session is external; the daemon has no process of it", json!({ "sessionId": id });
    /// `limit` is in bytes.
    InputBacklogFull { id: SessionId, limit: usize } => InputBacklogFull,
        "the harness does not read its stdin: {limit} bytes can wait for it",
        json!({ "sessionId": id, "maxBytes": limit });
    TooManySessions { limit: usize } => TooManySessions,
        "{limit} sessions are live, the limit", json!({ "limit": limit });
    StoreUnavailable { reason: Failure } => StoreUnavailable,
        "the event store is not available: {reason}", json!({ "reason": reason });
    ShuttingDown => ShuttingDown, "the daemon is stopping";
    UpgradeRefused { reason: UpgradeRefusal, message: String } => UpgradeRefused,
        "the daemon was not upgraded: {message}", json!({ "reason": reason, "message": message });
    UpgradeFailed { reason: String } => UpgradeFailed,
        "the upgrade failed, and the old program goes on: {reason}", json!({ "reason": reason });
    /// The reason appears only in the log.
    Internal { reason: String } => InternalError,
        "internal error; the daemon's log has it under this request id";
}

/// Details of an `invalid_request`.
fn of_field(field: Option<&str>, extra: Option<&(&'static str, Value)>) -> Value {
    let field = field.map(|field| ("field".to_owned(), field.into()));
    let extra = extra.map(|(name, value)| ((*name).to_owned(), value.clone()));
    match field.is_none() && extra.is_none() {
        true => Value::Null,
        false => super::object(field.into_iter().chain(extra)),
    }
}

/// Details of an ended session.
fn of_ended(id: &SessionId, status: SessionStatus, left_behind: Option<&LeftBehind>) -> Value {
    let mut details = json!({ "sessionId": id, "status": status });
    if let Some(left_behind) = left_behind {
        details["leftBehind"] = json!(left_behind);
    }
    details
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

    /// A refused upgrade.
    pub fn refused(reason: UpgradeRefusal, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::UpgradeRefused { reason, message }
    }

    /// An upgrade that a stop refuses.
    pub fn refused_by_stop() -> Self {
        Self::refused(UpgradeRefusal::Stopping, "the daemon is stopping")
    }

    /// An `invalid_request` about the request as a whole.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidRequest {
            message: message.into(),
            field: None,
            extra: None,
        }
    }

    pub fn status(&self) -> u16 {
        match self {
            Self::UnsupportedVersion { .. } => 404,
            // Cannot be absent: asserted above.
            _ => self.code().status().unwrap_or(500),
        }
    }

    /// The message, with the code of the reason.
    pub fn failure(&self) -> Failure {
        let fault = match self {
            Self::LaunchFailed { reason, .. }
            | Self::KillFailed { reason, .. }
            | Self::StoreUnavailable { reason } => reason.fault(),
            _ => None,
        };
        Failure::new(self.message(), fault)
    }

    /// The session in the details, if any.
    pub fn session(&self) -> Option<String> {
        self.details()["sessionId"].as_str().map(str::to_owned)
    }

    pub fn body(&self) -> ErrorBody {
        ErrorBody {
            error: ErrorDetail {
                code: self.code().into(),
                message: self.message(),
                details: Some(self.details()).filter(|details| !details.is_null()),
            },
        }
    }
}

wire! {
    /// Body of an error answer.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct ErrorBody {
        pub error: ErrorDetail,
    }

    /// Content of an error answer.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct ErrorDetail {
        /// The code to branch on; may be unknown to an older client.
        pub code: Word<Code>,
        /// The message for people.
        pub message: String,
        /// Details for programs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub details: Option<Value>,
    }
}
