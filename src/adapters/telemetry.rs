//! What a harness reports about its conversation and its usage, depending on its command line.
//!
//! Pure: a harness thread reads the output.

use super::Adapter;
use serde::{Deserialize, Serialize};

use crate::api::TelemetryFormat;

/// Format of a harness's telemetry; each record is a complete line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Telemetry {
    /// JSON lines of claude's on stdout: `system`, `assistant`, `result`.
    ClaudeJson,
    /// JSON lines of codex's on stdout: `thread.started`, `turn.completed`.
    CodexJson,
    /// codex's header on stderr: `session id: …`.
    CodexHeader,
    /// JSON lines of opencode's on stdout: `step_start`, `step_finish`, `error`.
    OpencodeJson,
}

impl Adapter {
    /// Telemetry of a program that is started with `argv`.
    pub(super) fn telemetry(&self, argv: &[String]) -> Option<Telemetry> {
        let has = |word: &str| {
            let is_word = |arg: &str| {
                let before = arg.strip_suffix(word);
                before.is_some_and(|before| matches!(before, "" | "--output-format=" | "--format="))
            };
            argv.iter().any(|arg| is_word(arg))
        };
        match self.telemetry? {
            TelemetryFormat::Claude => {
                (has("json") || has("stream-json")).then_some(Telemetry::ClaudeJson)
            }
            TelemetryFormat::Codex if has("--json") => Some(Telemetry::CodexJson),
            TelemetryFormat::Codex => Some(Telemetry::CodexHeader),
            TelemetryFormat::Opencode => has("json").then_some(Telemetry::OpencodeJson),
        }
    }
}

impl Telemetry {
    /// True if it includes token usage.
    pub fn has_usage(self) -> bool {
        self != Self::CodexHeader
    }
}
