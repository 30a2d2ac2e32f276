//! A harness's own conversation, by its id: what a launch begins or goes on with.
//!
//! Plain data, for every thread. Which harness can do it, the adapters know.

use serde::{Deserialize, Serialize};

use super::{rules, words};

/// The longest id of a conversation, in bytes.
const ID_MAX: usize = 128;

/// The field `conversation` of a launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// Whether there is one yet.
    pub mode: ConversationMode,
    /// Its id, in the harness's own words.
    #[serde(deserialize_with = "rules::conversation_id")]
    pub id: String,
}

words! {
    /// What a launch does with a conversation.
    pub enum ConversationMode {
        /// Begins it under this id.
        Init = "init",
        /// Goes on with it.
        Resume = "resume",
    }
}

/// Whether `text` can be a conversation's id. One that begins with `-` would be an option of the harness.
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
