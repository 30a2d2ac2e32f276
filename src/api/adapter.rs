//! Harnesses as the daemon knows them: the program's place, and the adapter's abilities.

use serde::{Deserialize, Serialize};

use super::wire::wire;
use super::{LaunchMode, Permission, Variables, Word, words};

words! {
    /// Source of an adapter that no manifest declares.
    pub enum AdapterSource {
        /// The program itself.
        Bundled = "bundled",
    }
}

wire! {
    /// A known harness.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct AdapterStatus {
        pub id: String,
        /// Name for people.
        pub label: String,
        /// Program name that is looked up.
        pub executable: String,
        /// The program is found now, and nothing prevents its start.
        pub available: bool,
        /// The program's path on the daemon's `PATH` now.
        pub path: Option<String>,
        /// Why the program on the daemon's `PATH` cannot be started.
        pub problem: Option<String>,
        /// `bundled`, or the manifest's path.
        pub source: Word<AdapterSource>,
        /// How to install it.
        pub install_hint: String,
        /// How to log in.
        #[serde(default)]
        pub login_hint: String,
        /// Variables that `coven run` takes from its shell and sends with the launch.
        #[serde(default)]
        pub pass_env: Vec<String>,
        /// Modes in which this daemon can run it.
        #[serde(default)]
        pub modes: Vec<Word<LaunchMode>>,
        /// Permissions that a launch can set, besides the harness's own default.
        #[serde(default)]
        pub permissions: Vec<Word<Permission>>,
        /// Permission of a launch without one.
        #[serde(default)]
        pub default_permission: Word<Permission>,
        /// Additional abilities.
        #[serde(default)]
        pub capabilities: AdapterAbilities,
        /// Format in which it reports its session id and its usage.
        pub telemetry: Option<Word<TelemetryFormat>>,
        /// True if it can continue a conversation with another prompt.
        #[serde(default)]
        pub resumes: bool,
        /// The command line for each mode and permission.
        #[serde(default)]
        pub commands: Vec<AdapterCommand>,
    }

    /// Abilities of a harness, as its adapter declares them.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    pub struct AdapterAbilities {
        /// Exchanges stream-json in both directions.
        pub stream: bool,
        /// Starts a conversation under a given id.
        #[serde(alias = "preassigned_session_id")]
        pub preassigned_session_id: bool,
        /// Shows its reasoning.
        pub think: bool,
        /// Can work faster, or more thoroughly.
        pub speed: bool,
    }

    /// A command line of a harness, with `<prompt>` for the prompt.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct AdapterCommand {
        pub mode: Word<LaunchMode>,
        pub permission: Word<Permission>,
        /// True if the harness can then write files; null if unknown.
        pub can_write: Option<bool>,
        /// The arguments, starting with the program's name.
        pub argv: Vec<String>,
        /// True if it reads its prompt from stdin.
        pub reads_prompt: bool,
        /// Variables that it needs besides the arguments.
        #[serde(default)]
        pub env: Variables,
    }

    /// A rejected manifest.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct RefusedManifest {
        pub source: String,
        /// The reason.
        pub reason: String,
    }
}

words! {
    /// Format in which a harness reports its session id and its usage.
    pub enum TelemetryFormat {
        /// `claude --output-format json` and `stream-json`.
        Claude = "claude",
        /// `codex exec --json`; without `--json` a header on stderr has the id.
        Codex = "codex",
        /// `opencode run --format json`; without it the harness reports nothing.
        Opencode = "opencode",
    }
}

impl TelemetryFormat {
    /// The arguments that make such a harness print JSON lines.
    pub fn json_args(self) -> &'static [&'static str] {
        match self {
            Self::Claude => &["--output-format", "stream-json", "--verbose"],
            Self::Codex => &["--json"],
            Self::Opencode => &["--format", "json"],
        }
    }

    /// True if only the JSON format includes the harness's own session id, which a continuation needs.
    pub fn has_id_in_json_only(self) -> bool {
        self == Self::Opencode
    }

    /// True if the reported usage is the sum of the conversation, including earlier sessions.
    pub fn has_sums(self) -> bool {
        self == Self::Codex
    }
}
