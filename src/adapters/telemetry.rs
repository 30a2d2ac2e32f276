//! What a harness tells in its output of its conversation and of its use of a model, and where its command line asks for it.
//!
//! Pure: a harness thread reads the output.

use super::Adapter;
use crate::api::words;

words! {
    /// Whose way of telling a harness has.
    pub enum TelemetryFormat {
        /// `claude --output-format json` and `stream-json`.
        Claude = "claude",
        /// `codex exec --json`; without that a header on stderr has the id.
        Codex = "codex",
    }
}

/// What is read of a harness's output, whole lines of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telemetry {
    /// JSON lines of claude's on stdout: `system`, `assistant`, `result`.
    ClaudeJson,
    /// JSON lines of codex's on stdout: `thread.started`, `turn.completed`.
    CodexJson,
    /// codex's header on stderr: `session id: …`.
    CodexHeader,
}

impl Adapter {
    /// What a program of its tells that is started with `argv`.
    pub(super) fn telemetry(&self, argv: &[String]) -> Option<Telemetry> {
        self.telemetry?.of(argv)
    }
}

impl TelemetryFormat {
    /// What a program tells that is started with these arguments.
    fn of(self, args: &[String]) -> Option<Telemetry> {
        let has = |word: &str| {
            let is_word = |arg: &str| {
                arg.strip_suffix(word)
                    .is_some_and(|before| matches!(before, "" | "--output-format="))
            };
            args.iter().any(|arg| is_word(arg))
        };
        match self {
            Self::Claude => (has("json") || has("stream-json")).then_some(Telemetry::ClaudeJson),
            Self::Codex if has("--json") => Some(Telemetry::CodexJson),
            Self::Codex => Some(Telemetry::CodexHeader),
        }
    }
}

impl Telemetry {
    /// Whether it tells what is used of a model.
    pub fn has_usage(self) -> bool {
        self != Self::CodexHeader
    }
}
