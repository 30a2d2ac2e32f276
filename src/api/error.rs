//! Every way in which a request can fail, each declared once: its fields, code, message and details.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{API_VERSION, Code, LeftBehind, SessionId, SessionStatus, Word};

/// A row each: the variant with its fields, its code, its message for a person, and its details for a program.
macro_rules! errors {
    (@details) => { Value::Null };
    (@details $details:expr) => { $details };
    ($(
        $(#[$doc:meta])*
        $variant:ident $({ $($field:ident: $type:ty),+ })? => $code:ident, $message:literal $(, $details:expr)?;
    )+) => {
        /// What a request failed with. Clients branch on [`ApiError::code`].
        #[derive(Debug, Clone, PartialEq)]
        pub enum ApiError {
            $($(#[$doc])* $variant $({ $($field: $type),+ })?,)+
        }

        // An answer has a status.
        const _: () = { $(assert!(Code::$code.status().is_some());)+ };

        // Neither a message nor the details name every field.
        #[allow(unused_variables)]
        impl ApiError {
            /// The contract's code.
            pub fn code(&self) -> Code {
                match self {
                    $(Self::$variant { .. } => Code::$code,)+
                }
            }

            /// What happened, for a person.
            pub fn message(&self) -> String {
                match self {
                    $(Self::$variant $({ $($field),+ })? => format!($message),)+
                }
            }

            /// Facts for a program; null where there are none.
            fn details(&self) -> Value {
                match self {
                    $(Self::$variant $({ $($field),+ })? => errors!(@details $($details)?),)+
                }
            }
        }
    };
}

errors! {
    /// About a field where there is one; `extra` is one more fact.
    InvalidRequest { message: String, field: Option<String>, extra: Option<(&'static str, Value)> } => InvalidRequest,
        "{message}", of_field(field.as_deref(), extra.as_ref());
    UnsupportedVersion { requested: String } => InvalidRequest,
        "API version {requested:?} is not supported; this daemon speaks v1",
        json!({ "apiVersion": requested, "supportedApiVersions": [API_VERSION] });
    RouteNotFound => NotFound, "no such route";
    MethodNotAllowed { allow: String } => MethodNotAllowed, "method not allowed; this route takes {allow}";
    /// In bytes.
    PayloadTooLarge { max: usize } => PayloadTooLarge,
        "the request body passes {max} bytes", json!({ "maxBytes": max });
    /// In bytes.
    RequestTooLarge { max: usize } => RequestTooLarge,
        "the request head passes {max} bytes", json!({ "maxBytes": max });
    /// `what` has no room for more.
    Busy { what: &'static str } => Busy, "there is no room for more {what}: try again";
    TooManyConnections { limit: usize } => TooManyConnections,
        "no more connections can be taken now; the limit is {limit}", json!({ "limit": limit });
    /// The id is raw, since it came from a path.
    SessionNotFound { id: String } => SessionNotFound, "no session has this id", json!({ "sessionId": id });
    /// With what it has left running, where that was asked for.
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
    /// Something has its name on the daemon's `PATH`, and cannot be started.
    HarnessUnusable { harness: String, executable: String, problem: String } => HarnessNotFound,
        "harness {harness}: {problem}",
        json!({ "harness": harness, "executable": executable, "problem": problem });
    LaunchFailed { id: SessionId, reason: String } => LaunchFailed,
        "the harness could not be started: {reason}", json!({ "sessionId": id, "reason": reason });
    SendInputFailed { id: SessionId, reason: String } => SendInputFailed,
        "the input was not delivered: {reason}", json!({ "sessionId": id, "reason": reason });
    KillFailed { id: SessionId, reason: String } => KillFailed,
        "the harness could not be signalled: {reason}", json!({ "sessionId": id, "reason": reason });
    /// Of what an ended session had left running, this still runs.
    SweepFailed { id: SessionId, left_behind: LeftBehind } => KillFailed,
        "a process that the session has left behind does not end", json!({ "sessionId": id, "leftBehind": left_behind });
    SessionIdConflict { id: SessionId } => SessionIdConflict,
        "this id belongs to a session that the daemon manages", json!({ "sessionId": id });
    IdempotencyConflict => IdempotencyConflict, "this Idempotency-Key was used with another body";
    NotExternalSession { id: SessionId } => NotExternalSession,
        "the session is not an external one", json!({ "sessionId": id });
    ExternalSessionNotKillable { id: SessionId } => ExternalSessionNotKillable,
        "the session is run by somebody else; the daemon holds no process of it", json!({ "sessionId": id });
    /// The limit is in bytes.
    InputBacklogFull { id: SessionId, limit: usize } => InputBacklogFull,
        "the harness does not read its stdin: {limit} bytes can wait for it",
        json!({ "sessionId": id, "maxBytes": limit });
    TooManySessions { limit: usize } => TooManySessions,
        "{limit} sessions are live, the limit", json!({ "limit": limit });
    StoreUnavailable { reason: String } => StoreUnavailable,
        "the event store is not available: {reason}", json!({ "reason": reason });
    ShuttingDown => ShuttingDown, "the daemon is stopping";
    /// The reason is for the log only.
    Internal { reason: String } => InternalError,
        "internal error; the daemon's log has it under this request id";
}

/// The details of an `invalid_request`.
fn of_field(field: Option<&str>, extra: Option<&(&'static str, Value)>) -> Value {
    let field = field.map(|field| ("field".to_owned(), field.into()));
    let extra = extra.map(|(name, value)| ((*name).to_owned(), value.clone()));
    match field.is_none() && extra.is_none() {
        true => Value::Null,
        false => super::object(field.into_iter().chain(extra)),
    }
}

/// The details of a session that has ended.
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
            Self::UnsupportedVersion { .. } => 404,
            // Asserted above: there is one.
            _ => self.code().status().unwrap_or(500),
        }
    }

    /// The session that it is about, where that is known.
    pub fn session(&self) -> Option<String> {
        self.details()["sessionId"].as_str().map(str::to_owned)
    }

    /// The body of the answer.
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

/// An error's body, as a client reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The one member.
    pub error: ErrorDetail,
}

/// What an error's body holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// The code to branch on; a client can meet one that it does not know.
    pub code: Word<Code>,
    /// What happened, for a person.
    pub message: String,
    /// Facts, where they help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}
