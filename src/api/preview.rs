//! A session's preview: what happened in it, line by line, for eyes.

use serde::{Deserialize, Serialize};

use super::{Timestamp, words};

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

words! {
    /// How much a line matters.
    pub enum PreviewLevel {
        /// Stdout, and what goes as it should.
        Info = "info",
        /// Stderr, and ends that somebody asked for.
        Warn = "warn",
        /// What failed.
        Error = "error",
    }
}
