//! Launch requests, and the options that stay with the session.
//!
//! Plain data, for every thread. It knows the fields' types and bounds; adapters know what they support.

use serde::{Deserialize, Serialize};

use super::wire::wire;
use super::{Conversation, Variables, Word, rules, words};

/// Longest title, and longest text of the client's about a session, in bytes.
pub const TITLE_MAX: usize = 1024;

/// Longest path of the system in bytes, with its NUL (PATH_MAX).
pub const PATH_MAX: usize = 4096;

words! {
    /// Who may see a session. The daemon stores it for its clients, and does not enforce it.
    #[derive(Default)]
    pub enum Visibility {
        #[default]
        Private = "private",
        /// Members of the workspace.
        Workspace = "workspace",
        /// Everybody.
        Shared = "shared",
    }

    /// Launch mode of a harness.
    #[derive(Default)]
    pub enum LaunchMode {
        /// With pipes: it gets its prompt once, works, and exits.
        #[default]
        NonInteractive = "nonInteractive",
        /// On a terminal.
        Interactive = "interactive",
        /// With pipes: a conversation in stream-json in both directions.
        Stream = "stream",
    }
}

impl LaunchMode {
    /// The modes that this daemon supports.
    pub const SUPPORTED: &[Self] = &[Self::NonInteractive, Self::Stream];
}

words! {
    /// Permission of a harness.
    #[derive(Default)]
    pub enum Permission {
        /// As its own configuration says.
        #[default]
        Default = "default",
        /// Reads, and changes nothing.
        ReadOnly = "read-only",
        /// Changes files in its working directory, and in the added directories.
        WorkspaceWrite = "workspace-write",
        /// Does everything that the daemon's user may do.
        Full = "full",
    }
}

impl Permission {
    /// The permissions that a policy can set.
    pub const SET: [Self; 3] = [Self::ReadOnly, Self::WorkspaceWrite, Self::Full];
}

words! {
    /// When a harness asks for approval.
    pub enum Approval {
        /// Never: no person is present.
        Never = "never",
    }

    /// Action on a session's record after a `completed` or `idle` end, once followers had time to read it.
    pub enum OnEnd {
        /// Archives it.
        Archive = "archive",
        /// Deletes it with its events.
        Delete = "delete",
    }
}

wire! {
    /// Permissions that a launch gives its harness.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct LaunchPolicy {
        pub approval: Approval,
        #[serde(deserialize_with = "rules::policy_permission")]
        pub sandbox: Permission,
        /// Absolute, existing directories besides the working directory.
        #[serde(
            default,
            deserialize_with = "rules::directories",
            skip_serializing_if = "Vec::is_empty"
        )]
        pub add_dirs: Vec<String>,
    }
}

/// A client's labels for a session, in the client's order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(pub Vec<String>);

/// Declares the options of a launch: each is a field of the request, of the record, and of the stored row.
///
/// The string names the function that parses and checks the request's field.
macro_rules! options {
    ($($(#[doc = $doc:literal])* $option:ident: $type:ty = $rule:literal,)+) => {
        wire! {
            /// A client's options of a session, as its record shows them.
            #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
            #[serde(default)]
            pub struct LaunchOptions {
                $($(#[doc = $doc])* pub $option: $type,)+
                /// Names of the launch's variables; their values are not stored.
                pub env_names: Vec<String>,
                /// Permission of the harness; null for an external session, and for one that an older version launched.
                pub permission: Option<Word<Permission>>,
                /// True if the harness can write files; null if unknown.
                pub can_write: Option<bool>,
                /// The harness's command line, redacted, with `<prompt>` for the prompt; null for an external session.
                pub argv: Option<Vec<String>>,
            }
        }

        wire! {
            /// The body of `POST /sessions`.
            #[derive(Debug, Clone, Default, Serialize, Deserialize)]
            #[serde(rename_all = "camelCase")]
            pub struct LaunchRequest {
                /// Id of a harness that the daemon knows.
                #[serde(deserialize_with = "rules::filled")]
                pub harness: String,
                /// The prompt, not blank.
                #[serde(deserialize_with = "rules::prompt")]
                pub prompt: String,
                /// An absolute path of an existing directory.
                #[serde(deserialize_with = "rules::absolute")]
                pub project_root: String,
                /// Relative to the root, or absolute within it; default: the root.
                #[serde(default, deserialize_with = "rules::text::<{ usize::MAX }, _>")]
                pub cwd: Option<String>,
                /// Default: the prompt's first line. Stored up to 1024 bytes.
                #[serde(default, deserialize_with = "rules::text::<{ usize::MAX }, _>")]
                pub title: Option<String>,
                /// Variables of this session only.
                #[serde(default, deserialize_with = "rules::variables", skip_serializing_if = "Variables::is_empty")]
                pub env: Variables,
                /// Permission of the harness; default: the adapter's, or the harness's own.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub launch_policy: Option<LaunchPolicy>,
                /// The harness's own conversation to start or continue.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub conversation: Option<Conversation>,
                /// Not supported: rejected.
                #[serde(default, deserialize_with = "rules::unsupported", skip_serializing)]
                pub execution_binding: (),
                /// Not supported: rejected.
                #[serde(default, deserialize_with = "rules::unsupported", skip_serializing)]
                pub request_adoption: (),
                $($(#[doc = $doc])* #[serde(default, deserialize_with = $rule)] pub $option: $type,)+
            }
        }

        impl LaunchOptions {
            /// A launch with the same options, except those that only a record has.
            pub fn into_request(self) -> LaunchRequest {
                LaunchRequest {
                    $($option: self.$option,)+
                    ..LaunchRequest::default()
                }
            }
        }

        impl LaunchRequest {
            /// Moves the options out of the request.
            pub fn take_options(&mut self) -> LaunchOptions {
                LaunchOptions {
                    env_names: self.env.names(),
                    permission: None,
                    can_write: None,
                    argv: None,
                    $($option: std::mem::take(&mut self.$option),)+
                }
            }
        }
    };
}

options! {
    /// The client's metadata.
    conversation_id: Option<String> = "rules::text::<TITLE_MAX, _>",
    /// The client's metadata; redacted in a record.
    familiar_id: Option<String> = "rules::text::<TITLE_MAX, _>",
    /// The client's labels.
    labels: Labels = "rules::labels",
    visibility: Word<Visibility> = "rules::word",
    /// Launch mode; null for an external session.
    launch_mode: Option<Word<LaunchMode>> = "rules::optional_word",
    /// The requested model; redacted in a record.
    model: Option<String> = "rules::text::<TITLE_MAX, _>",
    /// Absolute, existing directories besides the working directory, including those of `launchPolicy`.
    add_dirs: Vec<String> = "rules::directories",
    /// Additional arguments for the harness, before the prompt; redacted in a record.
    args: Vec<String> = "rules::arguments",
    /// Action on the record after a `completed` or `idle` end; null: none.
    on_end: Option<Word<OnEnd>> = "rules::optional_word",
    /// Longest run time in milliseconds, at least 1; then it is killed.
    timeout_ms: Option<u64> = "rules::at_least_one",
    /// Longest time without output in milliseconds, at least 1; then it is killed.
    idle_timeout_ms: Option<u64> = "rules::at_least_one",
    /// Most tokens, input and output together, at least 1; then it is killed.
    max_tokens: Option<u64> = "rules::at_least_one",
    /// Ends the processes that the harness leaves behind.
    sweep: bool = "bool::deserialize",
}
