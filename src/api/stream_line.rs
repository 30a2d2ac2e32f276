//! The lines of stream-json: output of `run --stream-json`, and messages to a harness in stream mode.
//!
//! Plain data. Lines that harnesses write themselves are passed through, and not declared here.

use serde::Serialize;

/// A line without newline. Its members are written in this order.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamLine<'a> {
    /// The session starts.
    System {
        subtype: &'static str,
        cwd: Option<&'a str>,
        session_id: &'a str,
        /// None are known.
        tools: [&'static str; 0],
        agent_mode: Option<&'a str>,
        model: Option<&'a str>,
    },
    /// A message of the user's.
    User {
        message: StreamMessage<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        session_id: Option<&'a str>,
    },
    /// A message of the agent's.
    Assistant {
        message: StreamMessage<'a>,
        session_id: &'a str,
        stop_reason: &'static str,
    },
    /// Output of a harness that writes no messages.
    Output { text: &'a str, session_id: &'a str },
    /// The session has ended.
    Result {
        subtype: &'static str,
        duration_ms: Option<i64>,
        is_error: bool,
        num_turns: u64,
        session_id: &'a str,
        harness_session_id: Option<&'a str>,
        error: Option<&'a str>,
    },
}

/// A message of a conversation.
#[derive(Debug, Serialize)]
pub struct StreamMessage<'a> {
    role: &'static str,
    content: [TextPart<'a>; 1],
}

#[derive(Debug, Serialize)]
struct TextPart<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    text: &'a str,
}

impl<'a> StreamMessage<'a> {
    /// A text message of `role`.
    pub fn new(role: &'static str, text: &'a str) -> Self {
        let kind = "text";
        Self {
            role,
            content: [TextPart { kind, text }],
        }
    }
}

impl StreamLine<'_> {
    /// The line that a harness in stream mode reads for `text`, with newline.
    pub fn user(text: &str) -> String {
        let line = StreamLine::User {
            message: StreamMessage::new("user", text),
            session_id: None,
        };
        // Cannot fail: a line holds strings and numbers.
        serde_json::to_string(&line).expect("a line is plain data") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_contracts_line() {
        assert_eq!(
            StreamLine::user("a\n\"b\""),
            "{\"type\":\"user\",\"message\":{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\\n\\\"b\\\"\"}]}}\n"
        );
    }
}
