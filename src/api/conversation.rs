//! A harness's own conversation, by its id, which a launch starts or continues.
//!
//! Plain data, for every thread. The adapters know which harnesses support it.

use serde::{Deserialize, Serialize};

use super::wire::wire;
use super::{rules, words};

/// Longest conversation id, in bytes.
const ID_MAX: usize = 128;

wire! {
    /// The field `conversation` of a launch.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Conversation {
        pub mode: ConversationMode,
        /// The harness's own id of it.
        #[serde(deserialize_with = "rules::conversation_id")]
        pub id: String,
    }
}

words! {
    /// Use of a conversation by a launch.
    pub enum ConversationMode {
        /// Starts it under this id.
        Init = "init",
        /// Continues it.
        Resume = "resume",
    }
}

/// True if `text` is a valid conversation id. One that starts with `-` would be an option of the harness.
pub fn is_conversation_id(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    text.len() <= ID_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_letters_digits_and_three_marks_and_is_no_option() {
        for id in [
            "a",
            "0196f0aa-8e3f-7c1a-9d65-3e0f5f3a2b11",
            "ses_4f.2",
            &"x".repeat(128),
        ] {
            assert!(is_conversation_id(id), "{id}");
        }
        for id in [
            "",
            "--help",
            "-",
            ".",
            "../x",
            "a b",
            "a\n",
            "é",
            "a/b",
            &"x".repeat(129),
        ] {
            assert!(!is_conversation_id(id), "{id}");
        }
    }
}
