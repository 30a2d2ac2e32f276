//! A harness as the daemon knows it: where its program is, and what its adapter can do.

use serde::{Deserialize, Serialize};

use super::{LaunchMode, Permission, Variables, Word, words};

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
