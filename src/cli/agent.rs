//! Shows an agent's JSON output to a person: claude's stream-json, codex's `--json`, opencode's `--format json`.
//!
//! It knows the session's output, and not how it was requested.

use std::ops::ControlFlow;

use serde_json::Value;

use super::CliError;
use super::daemon::remark;
use super::follow::{Output, Wait, conclude, follow_events, output_of};
use super::output::{Out, show_stderr};
use super::stream_json::Form;
use crate::api::{Event, EventKind, Stream};
use crate::http::client::Client;

/// Content of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AgentLine {
    /// A finished message of the agent.
    Message(String),
    /// A tool call, with its subject.
    Tool(String),
    /// The turn has ended; with its error, if any.
    TurnOver(Option<String>),
    /// No content for people.
    Nothing,
}

/// Joins output to lines.
#[derive(Debug, Default)]
pub(super) struct LineJoiner(Vec<u8>);

impl LineJoiner {
    /// Appends output; returns the complete lines without their ends.
    pub(super) fn push(&mut self, output: &[u8]) -> Vec<Vec<u8>> {
        self.0.extend_from_slice(output);
        let Some(end) = self.0.iter().rposition(|&b| b == b'\n') else {
            return Vec::new();
        };
        let rest = self.0.split_off(end + 1);
        let whole = std::mem::replace(&mut self.0, rest);
        let lines = whole[..end].split(|&b| b == b'\n');
        lines.map(<[u8]>::to_vec).collect()
    }
}

/// Parses a line of output; a line of no known agent has no content.
pub(super) fn said(line: &[u8]) -> AgentLine {
    let line: Value = serde_json::from_slice(line).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match line["type"].as_str() {
        Some("assistant") => {
            let parts = line["message"]["content"].as_array().into_iter().flatten();
            let texts = parts.filter_map(|part| part["text"].as_str());
            let text = texts.collect::<Vec<_>>().join("\n");
            match text.is_empty() {
                true => AgentLine::Nothing,
                false => AgentLine::Message(text),
            }
        }
        Some("item.completed") if line["item"]["type"] == "agent_message" => {
            text(&line["item"]["text"]).map_or(AgentLine::Nothing, AgentLine::Message)
        }
        Some("text") => text(&line["part"]["text"]).map_or(AgentLine::Nothing, AgentLine::Message),
        Some("tool_use") => {
            let state = &line["part"]["state"];
            let parts = [&line["part"]["tool"], &state["title"], &state["error"]];
            let parts = parts.into_iter().filter_map(Value::as_str);
            AgentLine::Tool(parts.collect::<Vec<_>>().join(" "))
        }
        Some("error") => {
            let error = &line["error"];
            AgentLine::TurnOver(text(&error["data"]["message"]).or(text(&error["name"])))
        }
        Some("result") if line["is_error"] == true => {
            AgentLine::TurnOver(text(&line["result"]).or(text(&line["subtype"])))
        }
        Some("turn.failed") => AgentLine::TurnOver(text(&line["error"]["message"])),
        Some("result" | "turn.completed") => AgentLine::TurnOver(None),
        _ => AgentLine::Nothing,
    }
}

/// Destination of the agent's messages.
pub(super) struct AgentScreen {
    form: Form,
    out: Out,
    lines: LineJoiner,
}

impl AgentScreen {
    pub(super) fn new(form: Form) -> Self {
        Self {
            form,
            out: Out::new(),
            lines: LineJoiner::default(),
        }
    }

    /// Shows an event; returns true if it ended a turn.
    pub(super) fn show(&mut self, event: &Event) -> Result<bool, CliError> {
        if event.kind != EventKind::Output {
            return Ok(false);
        }
        let Output { stream, bytes, .. } = output_of(event)?;
        match (stream, self.form) {
            (Stream::Stderr, _) => show_stderr(&bytes)?,
            (Stream::Stdout, Form::Pieces) => self.out.bytes(&bytes)?,
            (Stream::Stdout, Form::Stream | Form::Own | Form::Messages) => {
                let mut is_over = false;
                for line in self.lines.push(&bytes) {
                    match said(&line) {
                        AgentLine::Message(text) => self.out.line(&text)?,
                        AgentLine::Tool(text) => show_stderr(format!("{text}\n").as_bytes())?,
                        AgentLine::TurnOver(why) => {
                            why.iter().for_each(|why| remark(why));
                            is_over = true;
                        }
                        AgentLine::Nothing => {}
                    }
                }
                return Ok(is_over);
            }
        }
        Ok(false)
    }
}

/// Shows the agent's messages after event `after` until the session's end; returns the exit code.
pub(super) fn show(
    client: &mut Client,
    id: &str,
    after: u64,
    form: Form,
    wait: Wait,
) -> Result<u8, CliError> {
    let mut screen = AgentScreen::new(form);
    let ending = follow_events(client, id, after, wait, &mut |event| {
        screen.show(event)?;
        Ok(ControlFlow::Continue(()))
    })?;
    // Without a deadline the result is always an ending.
    Ok(conclude(&ending.unwrap_or_default(), id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::rows;

    fn all(text: &str) -> Vec<AgentLine> {
        let said = text.lines().map(|line| said(line.as_bytes()));
        said.filter(|said| *said != AgentLine::Nothing).collect()
    }

    fn message(text: &str) -> AgentLine {
        AgentLine::Message(text.into())
    }

    #[test]
    fn the_messages_and_turns_of_recorded_agents_are_read() {
        let claude = include_str!("../../tests/coven/recorded/claude-stream.jsonl");
        let said = all(claude);
        assert_eq!(said.len(), 6, "{said:?}");
        assert_eq!(
            said[2..4],
            [message("echo 2 users: two"), AgentLine::TurnOver(None)]
        );
        let codex = include_str!("../../tests/coven/recorded/codex-exec.jsonl");
        assert_eq!(
            all(codex),
            [message("echo 2 users"), AgentLine::TurnOver(None)]
        );
        let opencode = include_str!("../../tests/coven/recorded/opencode-run.jsonl");
        let answer = message("heard 1 turns, the last of 39 characters; cmd write");
        assert_eq!(
            all(opencode),
            [AgentLine::Tool("write repo/x.txt".into()), answer]
        );
    }

    #[test]
    fn a_failed_turn_says_why() {
        for (line, why) in rows(
            r#"{"type":"result","is_error":true,"subtype":"success","result":"no credit"} -> no credit
               {"type":"result","is_error":true,"subtype":"error_max_turns"} -> error_max_turns
               {"type":"turn.failed","error":{"message":"unreachable"}} -> unreachable
               {"type":"error","error":{"name":"APIError","data":{"message":"refused"}}} -> refused
               {"type":"error","error":{"name":"APIError"}} -> APIError"#,
        ) {
            assert_eq!(said(line.as_bytes()), AgentLine::TurnOver(Some(why.into())));
        }
        for line in [
            "",
            "text",
            "{}",
            r#"{"type":"assistant"}"#,
            r#"{"type":"assistant","message":{"content":[]}}"#,
        ] {
            assert_eq!(said(line.as_bytes()), AgentLine::Nothing);
        }
    }

    #[test]
    fn lines_are_whole_wherever_the_output_is_split() {
        let mut lines = LineJoiner::default();
        let parts = ["a", "b\n\nc", "\n", "d"].map(|part| lines.push(part.as_bytes()));
        assert_eq!(
            parts,
            [
                vec![],
                vec![b"ab".to_vec(), b"".to_vec()],
                vec![b"c".to_vec()],
                vec![]
            ]
        );
    }
}
