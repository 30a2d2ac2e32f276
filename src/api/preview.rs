//! A session's preview: its events as lines of text, for people.

use serde::{Deserialize, Serialize};

use super::wire::wire;
use super::{Timestamp, words};

wire! {
    /// One line of `GET /sessions/:id/log`.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct PreviewLine {
        /// When the line was complete.
        pub ts: Timestamp,
        pub level: PreviewLevel,
        /// The text, without control characters.
        pub message: String,
    }
}

words! {
    /// Severity of a line.
    pub enum PreviewLevel {
        /// Stdout, and normal events.
        Info = "info",
        /// Stderr, and requested ends.
        Warn = "warn",
        /// Failures.
        Error = "error",
    }
}
