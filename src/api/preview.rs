//! A session's preview: what happened in it, line by line, for eyes.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// One line of `GET /sessions/:id/log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewLine {
    /// When the line was complete.
    pub ts: Timestamp,
    /// How much it matters.
    pub level: PreviewLevel,
    /// What it says, without control characters.
    pub message: String,
}

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PreviewLevel {
    /// Stdout, and what goes as it should.
    Info,
    /// Stderr, and ends that somebody asked for.
    Warn,
    /// What failed.
    Error,
}

impl PreviewLevel {
    /// The contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}
