//! Reads conversation id and model usage from whole lines of a harness's output.
//!
//! Runs on the harness thread. It does not change the output.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lines::Lines;
use crate::adapters::Telemetry;
use crate::api::{Stream, Usage, is_conversation_id};
use crate::observe::metrics;
use crate::redact::Redactor;
use crate::store::Note;

/// Most bytes of stderr that are searched for a header.
const HEADER_MAX: usize = 64 * 1024;

/// Longest model name, in bytes.
const MODEL_MAX: usize = 256;

/// State of reading one harness's output: plain data, which the next program goes on with as it is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TelemetryReader {
    telemetry: Telemetry,
    /// Id of the adapter, for the metrics.
    harness: String,
    lines: Lines,
    session_id: Option<String>,
    /// Tokens of earlier sessions that a reported sum includes.
    before: Tokens,
    /// Tokens of completed turns.
    over: Tokens,
    /// The current turn: its last message, and the tokens of the messages before.
    message_id: String,
    message: Tokens,
    turn: Tokens,
    /// Reported figures other than tokens.
    told: Usage,
    /// Tokens that the metrics have counted.
    counted: Tokens,
    /// Bytes of the header's stream that have been read.
    read: usize,
}

/// Input, output, cached.
type Tokens = [u64; 3];

fn minus(a: Tokens, b: Tokens) -> Tokens {
    std::array::from_fn(|kind| a[kind].saturating_sub(b[kind]))
}

fn plus(a: Tokens, b: Tokens) -> Tokens {
    std::array::from_fn(|kind| a[kind].saturating_add(b[kind]))
}

impl TelemetryReader {
    /// `session_id` is recorded already; `before` is the earlier usage of the conversation.
    pub(super) fn new(
        telemetry: Telemetry,
        harness: String,
        session_id: Option<String>,
        before: &Usage,
    ) -> Self {
        let before = [
            before.input_tokens,
            before.output_tokens,
            before.cached_tokens,
        ];
        let first = match telemetry {
            Telemetry::ClaudeJson | Telemetry::CodexJson | Telemetry::OpencodeJson => b'{',
            Telemetry::CodexHeader => HEADER_ID.as_bytes()[0],
        };
        Self {
            telemetry,
            harness,
            lines: Lines::new(first),
            session_id,
            before: before.map(Option::unwrap_or_default),
            over: Tokens::default(),
            message_id: String::new(),
            message: Tokens::default(),
            turn: Tokens::default(),
            told: Usage::default(),
            counted: Tokens::default(),
            read: 0,
        }
    }

    /// Reads `data` of `stream`, or its end if empty; returns new figures for the record, without secrets.
    pub(super) fn read(
        &mut self,
        stream: Stream,
        data: &[u8],
        redactor: &Redactor,
    ) -> Option<Note> {
        let is_header = self.telemetry == Telemetry::CodexHeader;
        let told_on = if is_header {
            Stream::Stderr
        } else {
            Stream::Stdout
        };
        if stream != told_on || is_header && self.read > HEADER_MAX {
            return None;
        }
        self.read = self.read.saturating_add(data.len());
        let mut note = Note::default();
        let mut lines = std::mem::take(&mut self.lines);
        lines.push(data, |line| match self.telemetry {
            Telemetry::ClaudeJson => self.claude(line, redactor, &mut note),
            Telemetry::CodexJson => self.codex(line, redactor, &mut note),
            Telemetry::CodexHeader => self.header(line, redactor, &mut note),
            Telemetry::OpencodeJson => self.opencode(line, redactor, &mut note),
        });
        self.lines = lines;
        (note != Note::default()).then_some(note)
    }

    /// The usage so far; the metrics count it.
    pub(super) fn usage(&mut self) -> Option<Usage> {
        let tokens = self.tokens();
        let new = minus(tokens, self.counted);
        if new != Tokens::default() {
            metrics::used(&self.harness, new);
        }
        self.counted = plus(self.counted, new);
        let is_told = tokens != Tokens::default() || self.told.num_turns.is_some();
        let [input_tokens, output_tokens, cached_tokens] = tokens.map(Some);
        is_told.then(|| Usage {
            input_tokens,
            output_tokens,
            cached_tokens,
            ..self.told.clone()
        })
    }

    /// Tokens that count for the limit.
    pub(super) fn limited_tokens(&self) -> u64 {
        let [input, output, _] = self.tokens();
        input.saturating_add(output)
    }

    fn tokens(&self) -> Tokens {
        plus(plus(self.over, self.turn), self.message)
    }

    fn claude(&mut self, line: &[u8], redactor: &Redactor, note: &mut Note) {
        let Some(line) = parse(line, &["system", "assistant", "result"]) else {
            return;
        };
        self.note_session_id(line["session_id"].as_str(), redactor, note);
        match line["type"].as_str() {
            Some("system") => self.note_model(line["model"].as_str(), redactor),
            Some("assistant") => {
                let message = &line["message"];
                let id = message["id"].as_str().unwrap_or_default();
                // A message has several lines, each with its tokens so far.
                if id != self.message_id {
                    self.turn = plus(self.turn, self.message);
                    self.message_id = id.to_owned();
                }
                self.message = claude_tokens(&message["usage"]);
            }
            Some("result") => {
                let usage = Some(&line["usage"]).filter(|usage| usage.is_object());
                let turns = line["num_turns"].as_u64().unwrap_or(1);
                self.end_turn(usage.map(claude_tokens), turns);
                // The sum of the process's turns.
                self.told.cost_usd = line["total_cost_usd"].as_f64().or(self.told.cost_usd);
                if self.told.model.is_none() {
                    let models = line["modelUsage"].as_object().into_iter().flatten();
                    let most = models.max_by_key(|(_, usage)| usage["outputTokens"].as_u64());
                    self.note_model(most.map(|(model, _)| model.as_str()), redactor);
                }
                note.usage = self.usage();
            }
            _ => {}
        }
    }

    fn codex(&mut self, line: &[u8], redactor: &Redactor, note: &mut Note) {
        let Some(line) = parse(line, &["thread.started", "turn.completed"]) else {
            return;
        };
        self.note_session_id(line["thread_id"].as_str(), redactor, note);
        if line["type"] == "turn.completed" {
            // The sum of the conversation's turns, including earlier sessions.
            let usage = Some(&line["usage"]).filter(|usage| usage.is_object());
            let own = usage.map(|usage| {
                let names = ["input_tokens", "output_tokens", "cached_input_tokens"];
                minus(names.map(|name| count(usage, name)), self.before)
            });
            self.over = own.map_or(self.over, |_| Tokens::default());
            self.end_turn(own, 1);
            note.usage = self.usage();
        }
    }

    fn opencode(&mut self, line: &[u8], redactor: &Redactor, note: &mut Note) {
        let Some(line) = parse(line, &["step_", "error"]) else {
            return;
        };
        self.note_session_id(line["sessionID"].as_str(), redactor, note);
        if line["type"] == "step_finish" {
            let (step, cost) = (&line["part"], line["part"]["cost"].as_f64());
            let (tokens, cache) = (&step["tokens"], &step["tokens"]["cache"]);
            let sum = |of: [(&Value, &str); 2]| {
                let [one, other] = of.map(|(of, name)| count(of, name));
                one.saturating_add(other)
            };
            let input = sum([(tokens, "input"), (cache, "write")]);
            let output = sum([(tokens, "output"), (tokens, "reasoning")]);
            let turns = (step["reason"] != "tool-calls").into();
            self.end_turn(Some([input, output, count(cache, "read")]), turns);
            let before = self.told.cost_usd;
            self.told.cost_usd = cost
                .map(|cost| cost + before.unwrap_or_default())
                .or(before);
            note.usage = self.usage();
        }
    }

    /// Only the first line with an id counts: later ones can be a prompt's text.
    fn header(&mut self, line: &[u8], redactor: &Redactor, note: &mut Note) {
        let id = line.strip_prefix(HEADER_ID.as_bytes());
        let id = id.and_then(|id| str::from_utf8(id.trim_ascii()).ok());
        if let Some(id) = id.filter(|_| self.read != usize::MAX) {
            self.note_session_id(Some(id), redactor, note);
            self.read = usize::MAX;
        }
    }

    /// Ends a turn: its final figures replace those reported meanwhile.
    fn end_turn(&mut self, told: Option<Tokens>, turns: u64) {
        let turn = told.unwrap_or_else(|| plus(self.turn, self.message));
        self.over = plus(self.over, turn);
        (self.turn, self.message) = Default::default();
        let before = self.told.num_turns.unwrap_or_default();
        self.told.num_turns = Some(before.saturating_add(turns));
    }

    fn note_session_id(&mut self, id: Option<&str>, redactor: &Redactor, note: &mut Note) {
        // Ids are not redacted: one that contains a token is not recorded.
        let is_new = |id: &&str| {
            is_conversation_id(id)
                && self.session_id.as_deref() != Some(*id)
                && !redactor.holds_token(id)
        };
        if let Some(id) = id.filter(is_new) {
            self.session_id = Some(id.to_owned());
            note.harness_session_id.clone_from(&self.session_id);
        }
    }

    fn note_model(&mut self, model: Option<&str>, redactor: &Redactor) {
        if let Some(model) = model.filter(|model| model.len() <= MODEL_MAX) {
            let model = redactor.redact_stored(model.to_owned());
            self.told.model = Some(model);
        }
    }
}

/// Text before the id in codex's header.
const HEADER_ID: &str = "session id: ";

/// Parses a JSON line with one of `types`. Agents write the type first, so that a flood of other lines is not parsed.
fn parse(line: &[u8], types: &[&str]) -> Option<Value> {
    let begin = line.strip_prefix(br#"{"type":""#);
    let is_other = begin.is_some_and(|rest| {
        let is_begin = |name: &&str| rest.starts_with(name.as_bytes());
        !types.iter().any(is_begin)
    });
    match is_other {
        true => None,
        false => serde_json::from_slice(line).ok(),
    }
}

fn claude_tokens(usage: &Value) -> Tokens {
    let input = count(usage, "input_tokens");
    // Tokens that the model read and stored in its cache.
    let kept = count(usage, "cache_creation_input_tokens");
    let output = count(usage, "output_tokens");
    let cached = count(usage, "cache_read_input_tokens");
    [input.saturating_add(kept), output, cached]
}

fn count(usage: &Value, name: &str) -> u64 {
    usage[name].as_u64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::lines::LINE_MAX;
    use crate::random::{Random, rounds};

    const CLAUDE: &str = include_str!("../../tests/coven/recorded/claude-stream.jsonl");
    const CODEX: &str = include_str!("../../tests/coven/recorded/codex-exec.jsonl");
    const OPENCODE: &str = include_str!("../../tests/coven/recorded/opencode-run.jsonl");

    /// The final figures of a record, and the number of its changes.
    fn told(telemetry: Telemetry, parts: &[&[u8]]) -> (Option<String>, Option<Usage>, usize) {
        told_after(&Usage::default(), telemetry, parts)
    }

    fn told_after(
        before: &Usage,
        telemetry: Telemetry,
        parts: &[&[u8]],
    ) -> (Option<String>, Option<Usage>, usize) {
        let mut reader = TelemetryReader::new(telemetry, "test".into(), None, before);
        let (redactor, _) = Redactor::new("");
        let stream = match telemetry {
            Telemetry::CodexHeader => Stream::Stderr,
            _ => Stream::Stdout,
        };
        let notes: Vec<Note> = parts
            .iter()
            .filter_map(|part| reader.read(stream, part, &redactor))
            .collect();
        let id = notes
            .iter()
            .find_map(|note| note.harness_session_id.clone());
        (id, reader.usage(), notes.len())
    }

    fn usage(tokens: Tokens, cost_usd: Option<f64>, turns: u64, model: Option<&str>) -> Usage {
        let [input_tokens, output_tokens, cached_tokens] = tokens.map(Some);
        Usage {
            input_tokens,
            output_tokens,
            cached_tokens,
            cost_usd,
            num_turns: Some(turns),
            model: model.map(str::to_owned),
        }
    }

    #[test]
    fn the_turns_of_a_conversation_with_claude_add_up_wherever_the_reads_are() {
        let id = "11111111-2222-4333-8444-5555555555aa";
        let model = Some("claude-opus-4-8[1m]");
        let expected = usage([42, 21, 15], Some(0.0007537500000000001), 3, model);
        let expected = (Some(id.to_owned()), Some(expected), 4);
        let lines: Vec<&[u8]> = CLAUDE.as_bytes().split_inclusive(|&b| b == b'\n').collect();
        assert_eq!(told(Telemetry::ClaudeJson, &lines), expected);
        let mut random = Random::new(1);
        for _ in 0..rounds(200) {
            let mut rest = CLAUDE.as_bytes();
            let mut parts = Vec::new();
            while !rest.is_empty() {
                let (part, after) = rest.split_at(1 + random.below(rest.len()));
                parts.push(part);
                rest = after;
            }
            let (id, usage, _) = told(Telemetry::ClaudeJson, &parts);
            assert_eq!((id, usage), (expected.0.clone(), expected.1.clone()));
        }
    }

    #[test]
    fn the_one_json_document_of_claude_tells_the_same_as_its_lines() {
        let result = CLAUDE
            .lines()
            .rfind(|line| line.contains(r#""type":"result""#))
            .unwrap();
        let (id, told, _) = told(Telemetry::ClaudeJson, &[result.as_bytes(), b""]);
        assert_eq!(id.as_deref(), Some("11111111-2222-4333-8444-5555555555aa"));
        let model = Some("claude-opus-4-8[1m]");
        assert_eq!(
            told,
            Some(usage([14, 7, 5], Some(0.0007537500000000001), 1, model))
        );
    }

    #[test]
    fn a_turn_that_is_not_over_counts_with_what_its_messages_have_told() {
        let message = |id: &str, output: u64| {
            format!(
                r#"{{"type":"assistant","message":{{"id":"{id}","content":[],"usage":{{"input_tokens":10,"output_tokens":{output}}}}}}}"#
            ) + "\n"
        };
        let lines = [message("a", 1), message("a", 3), message("b", 2)].concat();
        let (_, told, notes) = told(Telemetry::ClaudeJson, &[lines.as_bytes()]);
        let told = told.unwrap();
        assert_eq!((told.input_tokens, told.output_tokens), (Some(20), Some(5)));
        assert_eq!((told.num_turns, notes), (None, 0));
    }

    #[test]
    fn codex_tells_its_thread_and_the_sum_of_its_turns() {
        let id = "01a218fb-c3bd-7bf1-9a26-544a9389d512";
        let expected = usage([20, 6, 4], None, 1, None);
        assert_eq!(
            told(Telemetry::CodexJson, &[CODEX.as_bytes()]),
            (Some(id.to_owned()), Some(expected), 1)
        );
        let before = Usage {
            input_tokens: Some(15),
            ..Usage::default()
        };
        let (_, own, _) = told_after(&before, Telemetry::CodexJson, &[CODEX.as_bytes()]);
        assert_eq!(own, Some(usage([5, 6, 4], None, 1, None)));
        let header = "OpenAI Codex v0.171.0\n--------\nmodel: gpt-5\nsession id: 01a218fb-c4cb\n--------\nuser\nsession id: no\n";
        let (id, usage, notes) = told(
            Telemetry::CodexHeader,
            &[header.as_bytes(), b"session id: no\n"],
        );
        assert_eq!(
            (id.as_deref(), usage, notes),
            (Some("01a218fb-c4cb"), None, 1)
        );
    }

    #[test]
    fn opencode_tells_its_session_and_the_tokens_of_each_step() {
        let (id, used, notes) = told(Telemetry::OpencodeJson, &[OPENCODE.as_bytes()]);
        assert_eq!(id.as_deref(), Some("ses_de60f10d8ffe4E6Le8yykXYpbE"));
        assert_eq!(used, Some(usage([20, 10, 0], Some(0.0), 1, None)));
        assert_eq!(notes, 1);
        let steps = r#"{"type":"step_finish","part":{"reason":"stop","cost":0.5,"tokens":{"input":1,"output":2,"reasoning":4,"cache":{"write":8,"read":16}}}}"#;
        let lines = format!("{steps}\n{steps}\n");
        let (_, used, _) = told(Telemetry::OpencodeJson, &[lines.as_bytes()]);
        assert_eq!(used, Some(usage([18, 12, 32], Some(1.0), 2, None)));
        // A failed session has an id, too.
        let error = r#"{"type":"error","sessionID":"ses_1","error":{"name":"APIError"}}"#;
        let (id, used, _) = told(Telemetry::OpencodeJson, &[error.as_bytes(), b""]);
        assert_eq!((id.as_deref(), used), (Some("ses_1"), None));
    }

    #[test]
    fn a_line_without_telemetry_reports_nothing() {
        let long = format!(r#"{{"type":"result","result":"{}"}}"#, "x".repeat(LINE_MAX));
        for line in [
            "",
            "{}",
            "{",
            "[]",
            r#" {"type":"result","num_turns":1}"#,
            r#"{"type":"result","num_turns":"#,
            r#"{"type":1}"#,
            r#"{"type":"system","session_id":"--help"}"#,
            r#"{"type":"system","session_id":7}"#,
            r#"{"type":"turn.completed","usage":{}}"#,
            &long,
        ] {
            let text = format!("{line}\nnext\n");
            assert_eq!(
                told(Telemetry::ClaudeJson, &[text.as_bytes()]),
                (None, None, 0),
                "{line:.40}"
            );
        }
    }
}
