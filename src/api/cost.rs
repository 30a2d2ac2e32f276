//! What a session cost and used: parts of its record and of its `exit` event, which write the same names in two ways.
//!
//! Plain data, for every thread; it knows nothing of how the figures are taken.

use serde::{Deserialize, Serialize, Serializer};

use super::Timestamp;

/// Declares figures, for a record and for an event's payload.
macro_rules! figures {
    (
        $(#[$meta:meta])+
        pub struct $name:ident, in payloads $payload:ident, $remote:literal {
            $($(#[$doc:meta])+ $figure:ident: $type:ty,)+
        }
    ) => {
        $(#[$meta])+
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($(#[$doc])+ pub $figure: Option<$type>,)+
        }

        #[derive(Serialize)]
        #[serde(remote = $remote, rename_all = "camelCase")]
        pub(super) struct $payload {
            $($figure: Option<$type>,)+
        }
    };
}

figures! {
    /// What a session cost. A figure is null where nobody has taken it: while the session runs, for one that never
    /// ran or that the daemon lost, and for one that somebody else runs.
    #[derive(Copy, Eq)]
    pub struct SessionCost, in payloads PayloadCost, "SessionCost" {
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
}

figures! {
    /// What a session used of a model, as its harness has told it. A figure is null where the harness does not tell it.
    pub struct Usage, in payloads PayloadUsage, "Usage" {
        /// Tokens that the model read. codex counts those from its cache in; claude does not.
        input_tokens: u64,
        /// Tokens that the model wrote.
        output_tokens: u64,
        /// Tokens that the model read from its cache.
        cached_tokens: u64,
        /// The price, in US dollars.
        cost_usd: f64,
        /// Turns of the conversation.
        num_turns: u64,
        /// The model.
        model: String,
    }
}

impl Usage {
    /// Adds another's tokens.
    pub fn add_tokens(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.input_tokens, other.input_tokens),
            (&mut self.output_tokens, other.output_tokens),
            (&mut self.cached_tokens, other.cached_tokens),
        ] {
            *sum = Some(
                sum.unwrap_or_default()
                    .saturating_add(more.unwrap_or_default()),
            );
        }
    }
}

/// Writes a usage as event payloads do.
pub(super) fn usage_in_payload<S: Serializer>(
    usage: &Option<&Usage>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match usage {
        Some(usage) => PayloadUsage::serialize(usage, serializer),
        None => serializer.serialize_none(),
    }
}
