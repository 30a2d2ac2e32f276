//! The prompt of a launch as events: `input` of origin `prompt`, directly after the first status.
//!
//! Pure. The store distinguishes prompts from clients' input by [`PROMPT_HEAD`]; retention is the store's own decision.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::event::is_false;
use super::{EventKind, OUTPUT_PAYLOAD_MAX, escaped_prefix, words};

/// Most bytes of a prompt that are stored.
pub const PROMPT_KEPT_MAX: usize = 64 * 1024;

/// Start of a prompt's payload, and of no other input's: in JSON, data contains no unescaped quote.
pub const PROMPT_HEAD: &str = r#"{"origin":"prompt""#;

/// Most JSON bytes of a payload's data; the rest is for the names around it.
const ROOM: usize = OUTPUT_PAYLOAD_MAX - 100;

words! {
    /// Origin of input that no client sent to the running session.
    pub enum InputOrigin {
        /// The launch.
        Prompt = "prompt",
    }
}

/// A part of a prompt: the payload of one `input`.
#[derive(Debug, Serialize, Deserialize)]
pub struct PromptPayload<'a> {
    /// First field: see [`PROMPT_HEAD`].
    pub origin: InputOrigin,
    /// The text, redacted.
    pub data: Cow<'a, str>,
    /// The prompt was longer; this is its last stored part.
    #[serde(default, skip_serializing_if = "is_false")]
    pub truncated: bool,
    /// Size of the whole prompt in bytes, if it was longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl<'a> PromptPayload<'a> {
    /// The payloads of a prompt: its `redacted` text, and its original size in bytes.
    pub fn all(redacted: &'a str, bytes: usize) -> Vec<Self> {
        let mut rest = &redacted[..redacted.floor_char_boundary(PROMPT_KEPT_MAX)];
        let truncated = rest.len() < redacted.len();
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let fitting = rest.floor_char_boundary(escaped_prefix(rest.as_bytes(), ROOM));
            let (data, behind) = rest.split_at(fitting);
            rest = behind;
            let truncated = truncated && rest.is_empty();
            parts.push(Self {
                origin: InputOrigin::Prompt,
                data: data.into(),
                truncated,
                bytes: truncated.then_some(bytes as u64),
            });
        }
        parts
    }
}

/// True if an event is a part of a prompt.
pub fn is_prompt(kind: &str, payload_json: &str) -> bool {
    kind == EventKind::Input.as_str() && payload_json.starts_with(PROMPT_HEAD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Payload;

    fn payloads(prompt: &str) -> Vec<String> {
        let parts = PromptPayload::all(prompt, prompt.len()).into_iter();
        parts.map(|part| Payload::Prompt(&part).to_json()).collect()
    }

    #[test]
    fn a_prompt_is_kept_up_to_its_bound_in_payloads_within_theirs() {
        for piece in ["x", "\n", "\"", "\0", "é", "🦀", "a\u{1b}[31m€\\"] {
            for length in [1, 59_000, PROMPT_KEPT_MAX, PROMPT_KEPT_MAX + 1, 200_000] {
                let prompt = piece.repeat(length.div_ceil(piece.len()));
                let payloads = payloads(&prompt);
                let part = |json: &String| serde_json::from_str(json).unwrap();
                let parts: Vec<PromptPayload<'_>> = payloads.iter().map(part).collect();
                let kept: String = parts.iter().map(|part| &*part.data).collect();
                assert!(prompt.starts_with(&kept));
                assert!(payloads.iter().all(|json| json.len() <= OUTPUT_PAYLOAD_MAX));
                let (last, others) = parts.split_last().unwrap();
                assert!(
                    others
                        .iter()
                        .all(|part| !part.truncated && part.bytes.is_none())
                );
                let is_cut = prompt.len() > PROMPT_KEPT_MAX;
                assert_eq!(last.truncated, is_cut, "{piece:?} {length}");
                assert_eq!(last.bytes, is_cut.then_some(prompt.len() as u64));
                let least = if is_cut {
                    PROMPT_KEPT_MAX - 3
                } else {
                    prompt.len()
                };
                assert!((least..=PROMPT_KEPT_MAX).contains(&kept.len()));
                // All payloads but the last are full: there are no more than necessary.
                let small = payloads[..others.len()]
                    .iter()
                    .find(|json| json.len() < ROOM);
                assert_eq!(small, None);
            }
        }
        assert!(payloads("").is_empty());
    }

    #[test]
    fn the_input_of_a_client_is_no_prompt() {
        for data in [PROMPT_HEAD, r#"","origin":"prompt"#] {
            let payload = Payload::Input { data, eof: false };
            assert!(!is_prompt("input", &payload.to_json()));
        }
        for (kind, is_one) in [("input", true), ("output", false)] {
            assert_eq!(is_prompt(kind, &payloads("x")[0]), is_one);
        }
    }
}
