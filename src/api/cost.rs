//! What a session cost: part of its record and of its `exit` event, which write the same names in two ways.
//!
//! Plain data, for every thread; it knows nothing of how the figures are taken.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// What a session cost. A figure is null where nobody has taken it: while the session runs, for one that never
/// ran or that the daemon lost, and for one that somebody else runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionCost {
    /// When its harness was started.
    pub started_at: Option<Timestamp>,
    /// When its harness exited.
    pub ended_at: Option<Timestamp>,
    /// CPU time of the harness and the children that it has waited for, user and system, in milliseconds.
    pub cpu_ms: Option<u64>,
    /// The most memory that one of those processes had resident, in bytes.
    pub peak_rss_bytes: Option<u64>,
    /// Bytes of stdout, as the harness wrote them.
    pub stdout_bytes: Option<u64>,
    /// Lines of stdout; a last one without a newline counts.
    pub stdout_lines: Option<u64>,
    /// Bytes of stderr.
    pub stderr_bytes: Option<u64>,
    /// Lines of stderr.
    pub stderr_lines: Option<u64>,
}

/// A [`SessionCost`] as event payloads write it.
#[derive(Serialize)]
#[serde(remote = "SessionCost", rename_all = "camelCase")]
pub(super) struct PayloadCost {
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    cpu_ms: Option<u64>,
    peak_rss_bytes: Option<u64>,
    stdout_bytes: Option<u64>,
    stdout_lines: Option<u64>,
    stderr_bytes: Option<u64>,
    stderr_lines: Option<u64>,
}
