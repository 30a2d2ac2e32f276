//! The wire contract, `coven.daemon.v1`: every structure that crosses the socket, declared once.
//!
//! Shared by the daemon, the CLI and the tests; it has no thread. It knows JSON, and neither HTTP framing, SQLite nor
//! processes.

mod adapter;
mod build;
mod capabilities;
mod code;
mod conversation;
mod cost;
mod error;
mod escape;
mod event;
mod event_page;
mod failure;
pub mod fields;
mod health;
mod id;
mod launch;
pub mod openapi;
mod preview;
mod prompt;
pub mod routes;
mod rules;
mod session;
mod stop;
mod store;
mod stream_line;
mod time;
mod upgrade;
mod variables;
pub mod wire;
mod word;

pub use adapter::{
    AdapterAbilities, AdapterCommand, AdapterSource, AdapterStatus, RefusedManifest,
    TelemetryFormat,
};
pub use build::{BUILD, Build};
pub use capabilities::{
    ActionEvent, ActionRequest, ActionResult, ActionStatus, Capabilities, Capability,
    CapabilityPolicy, CapabilityStatus, DaemonProcess, REFRESH, RefreshedCapabilities,
    ResourceLimit,
};
pub use code::{Code, ENDS_SESSIONS, LOOK_AT_DAEMON};
pub use conversation::{Conversation, ConversationMode, is_conversation_id};
pub use cost::{SessionCost, Usage};
pub use error::{ApiError, ErrorBody, ErrorDetail};
pub use escape::{escaped_length, escaped_prefix};
pub use event::{
    Event, EventId, EventKind, ExitPayload, KillPayload, OUTPUT_PAYLOAD_MAX, Origin, OutputPayload,
    Payload, StatusPayload, Stream, Truncation, output_length,
};
pub use event_page::{EventCursor, EventPage, EventWriter, EventsQuery};
pub use failure::{Failure, Fault};
pub use fields::{from_json, object};
pub use health::{
    ApiVersion, CapabilityFlags, DaemonInfo, EventWriterHealth, Health, Index, Manager,
    ManagerScope, SessionCounts, StorageHealth, StorageStatus, StoreDamage, SupervisorInfo, Text,
    WriterState,
};
pub use id::{SessionId, is_session_id_prefix};
pub use launch::{
    Approval, Labels, LaunchMode, LaunchOptions, LaunchPolicy, LaunchRequest, OnEnd, PATH_MAX,
    Permission, TITLE_MAX, Visibility,
};
pub use preview::{PreviewLevel, PreviewLine};
pub use prompt::{InputOrigin, PROMPT_HEAD, PROMPT_KEPT_MAX, PromptPayload, is_prompt};
pub(crate) use rules::LABELS_MAX;
pub use session::{
    Accepted, CompleteRequest, Deleted, EditRequest, EndCause, EndedBy, ExternalRequest,
    InputRequest, KillRequest, KillSignal, LeftBehind, LeftProcess, STDOUT_PIPE_MAX, SessionPage,
    SessionRecord, SessionStatus, SessionsQuery,
};
pub use stop::{StopReport, UnwrittenSession};
pub use store::{
    BackedUp, BackupRequest, PruneRequest, Pruned, Restored, UnconfirmedClock, Vacuumed,
};
pub use stream_line::{StreamLine, StreamMessage};
pub use time::Timestamp;
pub use upgrade::{UpgradeRefusal, UpgradeRequest, Upgraded};
pub use variables::{SETTING_PREFIX, VARIABLES_MAX, Variables, check_name, is_variable_name};
pub use word::Word;
pub(crate) use word::{must_be, words};

/// Name of the contract of this build, as in health.
pub const CONTRACT: &str = "coven.daemon.v1";

/// Version segment of this contract's paths.
pub const API_VERSION: &str = "v1";

/// Prefix of the versioned routes.
pub const BASE_PATH: &str = "/api/v1";

/// Largest body of a list, in bytes: a known client rejects more than 1,000,000.
pub const LIST_BYTES_MAX: usize = 900_000;

/// Largest body of a request, in bytes.
pub const BODY_MAX: usize = 4 * 1024 * 1024;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Version of this program: [`VERSION`], but in a test's copy of a debug build.
pub fn version() -> &'static str {
    #[cfg(debug_assertions)]
    {
        use std::sync::LazyLock;
        static TOLD: LazyLock<Option<String>> = LazyLock::new(|| of_test("version"));
        if let Some(version) = TOLD.as_deref() {
            return version;
        }
    }
    VERSION
}

/// Content of the file beside this executable, with the suffix `name`, by which a test tells copies of a debug build apart.
#[cfg(debug_assertions)]
pub fn of_test(name: &str) -> Option<String> {
    let mut path = std::env::current_exe().ok()?.into_os_string();
    path.push(format!(".{name}"));
    let told = std::fs::read_to_string(path).ok()?;
    Some(told.trim().to_owned())
}
