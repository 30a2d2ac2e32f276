//! A launch: the body that asks for one, and what of it stays with the session as its options.
//!
//! Plain data, for every thread. It knows the fields' types and bounds; what an adapter can honour, the adapters know.

use serde::{Deserialize, Serialize};

use super::{Conversation, Variables, Word, rules, words};

/// The longest title, and the longest of the client's own words about a session, in bytes.
pub const TITLE_MAX: usize = 1024;

/// The longest path that the system takes, in bytes, with its NUL (PATH_MAX).
pub const PATH_MAX: usize = 4096;

words! {
    /// Who may see a session. The daemon keeps it for its clients and acts on none of it.
    #[derive(Default)]
    pub enum Visibility {
        /// The default.
        #[default]
        Private = "private",
        /// Those of the workspace.
        Workspace = "workspace",
        /// Everybody.
        Shared = "shared",
    }
}

words! {
    /// How a harness is run.
    #[derive(Default)]
    pub enum LaunchMode {
        /// With pipes: it gets its prompt once, works, and exits.
        #[default]
        NonInteractive = "nonInteractive",
        /// On a terminal.
        Interactive = "interactive",
        /// With pipes: a conversation in stream-json both ways.
        Stream = "stream",
    }
}

impl LaunchMode {
    /// The modes that this daemon runs.
    pub const SUPPORTED: &[Self] = &[Self::NonInteractive, Self::Stream];
}

words! {
    /// What a harness may do.
    #[derive(Default)]
    pub enum Permission {
        /// What its own configuration says.
        #[default]
        Default = "default",
        /// Read, and change nothing.
        ReadOnly = "read-only",
        /// Change what lies in its working directory, and in the directories that are added.
        WorkspaceWrite = "workspace-write",
        /// Everything that the daemon's user may do.
        Full = "full",
    }
}

impl Permission {
    /// Those that a policy can set.
    pub const SET: [Self; 3] = [Self::ReadOnly, Self::WorkspaceWrite, Self::Full];
}

words! {
    /// When a harness asks before it does something.
    pub enum Approval {
        /// Never: there is nobody to ask.
        Never = "never",
    }
}

words! {
    /// What becomes of a session's record once it has ended `completed` or `idle`, and its followers have read that.
    pub enum OnEnd {
        /// It leaves the list.
        Archive = "archive",
        /// It is deleted, with its events.
        Delete = "delete",
    }
}

/// What a launch lets its harness do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaunchPolicy {
    /// When it asks.
    pub approval: Approval,
    /// What it may do.
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

/// Words of a client's for a session, in the client's order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(pub Vec<String>);

/// Declares the options of a launch: each is a field of the request, of the record and of what the store keeps.
///
/// The string is the function that reads the field of a request and checks it.
macro_rules! options {
    ($($(#[doc = $doc:literal])+ $option:ident: $type:ty = $rule:literal,)+) => {
        /// What a client has said about a session when it launched or registered it, as a record shows it.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct LaunchOptions {
            $($(#[doc = $doc])+ pub $option: $type,)+
            /// The names of the variables that its launch has given it: their values are kept nowhere.
            pub env_names: Vec<String>,
            /// What its harness may do; null for an external one, and where an older version launched it.
            pub permission: Option<Word<Permission>>,
            /// Whether its harness can write files; null where that is not known.
            pub can_write: Option<bool>,
            /// The command line that it was started with, redacted, with `<prompt>` for the prompt; null for an external one.
            pub argv: Option<Vec<String>>,
        }

        /// The body of `POST /sessions`.
        #[derive(Debug, Clone, Default, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct LaunchRequest {
            /// The adapter's id.
            #[serde(deserialize_with = "rules::filled")]
            pub harness: String,
            /// What the harness is asked to do.
            #[serde(deserialize_with = "rules::prompt")]
            pub prompt: String,
            /// Absolute, an existing directory.
            #[serde(deserialize_with = "rules::argument")]
            pub project_root: String,
            /// Relative to the root, or absolute inside it; the root if it is left out or empty.
            #[serde(default, deserialize_with = "rules::text::<{ usize::MAX }, _>")]
            pub cwd: Option<String>,
            /// Default: the prompt's first line. Cut to [`TITLE_MAX`] where it is stored.
            #[serde(default, deserialize_with = "rules::text::<{ usize::MAX }, _>")]
            pub title: Option<String>,
            /// Variables for this session alone.
            #[serde(default, deserialize_with = "rules::variables", skip_serializing_if = "Variables::is_empty")]
            pub env: Variables,
            /// What its harness may do; the adapter's default, or the harness's own, if it is left out.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub launch_policy: Option<LaunchPolicy>,
            /// The harness's own conversation, to be begun or gone on with.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub conversation: Option<Conversation>,
            /// Of other systems: refused.
            #[serde(default, deserialize_with = "rules::unsupported", skip_serializing)]
            pub execution_binding: (),
            /// Of other systems: refused.
            #[serde(default, deserialize_with = "rules::unsupported", skip_serializing)]
            pub request_adoption: (),
            $($(#[doc = $doc])+ #[serde(default, deserialize_with = $rule)] pub $option: $type,)+
        }

        impl LaunchOptions {
            /// A launch with the same options, but for what the record only tells of them.
            pub fn into_request(self) -> LaunchRequest {
                LaunchRequest {
                    $($option: self.$option,)+
                    ..LaunchRequest::default()
                }
            }
        }

        impl LaunchRequest {
            /// Takes the options out of it.
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
    /// Metadata of the client's.
    conversation_id: Option<String> = "rules::text::<TITLE_MAX, _>",
    /// Metadata of the client's; redacted in a record.
    familiar_id: Option<String> = "rules::text::<TITLE_MAX, _>",
    /// Words of the client's.
    labels: Labels = "rules::labels",
    /// Who may see it.
    visibility: Word<Visibility> = "rules::word",
    /// How its harness is run; null for an external one.
    launch_mode: Option<Word<LaunchMode>> = "rules::optional_word",
    /// The model that was asked for; redacted in a record.
    model: Option<String> = "rules::text::<TITLE_MAX, _>",
    /// Absolute, existing directories besides the working directory, those of `launchPolicy` included.
    add_dirs: Vec<String> = "rules::directories",
    /// Further arguments for the harness, before the prompt; redacted in a record.
    args: Vec<String> = "rules::arguments",
    /// What becomes of the record after a `completed` or `idle` end; null: it stays.
    on_end: Option<Word<OnEnd>> = "rules::optional_word",
    /// Killed when it has run for that long, in milliseconds; at least 1.
    timeout_ms: Option<u64> = "Option::deserialize",
    /// Killed when it has written nothing for that long, in milliseconds; at least 1.
    idle_timeout_ms: Option<u64> = "Option::deserialize",
    /// Killed when it has used so many tokens, input and output; at least 1.
    max_tokens: Option<u64> = "Option::deserialize",
    /// Whether what the harness leaves running is ended with it.
    sweep: bool = "bool::deserialize",
}
