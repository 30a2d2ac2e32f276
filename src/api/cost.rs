//! Cost and usage of a session, in its record and in its `exit` event, which write the same fields in different styles.
//!
//! Plain data, for every thread. It does not know how the figures are measured.

use serde::{Deserialize, Serialize, Serializer};

use super::Timestamp;
use super::wire::wire;

/// Declares figures for a record and for an event's payload.
macro_rules! figures {
    (
        $(#[doc = $doc:literal])+
        #[derive($($derive:ident),+)]
        pub struct $name:ident, in payloads $payload:ident, $remote:literal {
            $($(#[doc = $text:literal])+ $figure:ident: $type:ty,)+
        }
    ) => {
        wire! {
            $(#[doc = $doc])+
            #[derive($($derive),+)]
            #[serde(default)]
            pub struct $name {
                $($(#[doc = $text])+ pub $figure: Option<$type>,)+
            }
        }

        #[derive(Serialize)]
        #[serde(remote = $remote, rename_all = "camelCase")]
        pub(super) struct $payload {
            $($figure: Option<$type>,)+
        }
    };
}

figures! {
    /// Cost of a session. A figure is null if unknown: while the session runs, if it never ran, if the daemon lost it,
    /// or if it is external.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct SessionCost, in payloads PayloadCost, "SessionCost" {
        /// Start of the harness.
        started_at: Timestamp,
        /// Exit of the harness.
        ended_at: Timestamp,
        /// CPU time of the harness and the children that it has waited for, user and system, in milliseconds.
        cpu_ms: u64,
        /// Largest resident set of any one of those processes, in bytes.
        peak_rss_bytes: u64,
        /// Bytes that the harness wrote to stdout.
        stdout_bytes: u64,
        /// Lines of stdout; a last line without a newline counts.
        stdout_lines: u64,
        /// Bytes that the harness wrote to stderr.
        stderr_bytes: u64,
        /// Lines of stderr.
        stderr_lines: u64,
    }
}

figures! {
    /// Model usage of a session, as its harness reported it. A figure is null if the harness does not report it.
    #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
    pub struct Usage, in payloads PayloadUsage, "Usage" {
        /// Tokens that the model read. codex includes those read from its cache; claude does not.
        input_tokens: u64,
        /// Tokens that the model wrote.
        output_tokens: u64,
        /// Tokens read from the model's cache.
        cached_tokens: u64,
        /// Price in US dollars.
        cost_usd: f64,
        /// Turns of the conversation.
        num_turns: u64,
        /// Name of the model.
        model: String,
    }
}

impl Usage {
    /// Adds the tokens of another usage.
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

/// Serializes a usage for event payloads.
pub(super) fn usage_in_payload<S: Serializer>(
    usage: &Option<&Usage>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match usage {
        Some(usage) => PayloadUsage::serialize(usage, serializer),
        None => serializer.serialize_none(),
    }
}
