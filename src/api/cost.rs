//! What a session cost: part of its record and of its `exit` event, which write the same names in two ways.
//!
//! Plain data, for every thread; it knows nothing of how the figures are taken.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// Declares the figures, for a record and for an event's payload.
macro_rules! figures {
    ($($(#[$doc:meta])+ $figure:ident: $type:ty,)+) => {
        /// What a session cost. A figure is null where nobody has taken it: while the session runs, for one that never
        /// ran or that the daemon lost, and for one that somebody else runs.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct SessionCost {
            $($(#[$doc])+ pub $figure: Option<$type>,)+
        }

        /// A [`SessionCost`] as event payloads write it.
        #[derive(Serialize)]
        #[serde(remote = "SessionCost", rename_all = "camelCase")]
        pub(super) struct PayloadCost {
            $($figure: Option<$type>,)+
        }
    };
}

figures! {
    /// When its harness was started.
    started_at: Timestamp,
    /// When its harness exited.
    ended_at: Timestamp,
    /// CPU time of the harness and the children that it has waited for, user and system, in milliseconds.
    cpu_ms: u64,
    /// The most memory that one of those processes had resident, in bytes.
    peak_rss_bytes: u64,
    /// Bytes of stdout, as the harness wrote them.
    stdout_bytes: u64,
    /// Lines of stdout; a last one without a newline counts.
    stdout_lines: u64,
    /// Bytes of stderr.
    stderr_bytes: u64,
    /// Lines of stderr.
    stderr_lines: u64,
}
