//! What a harness tells of its conversation and of its use of a model, read from whole lines of its output.
//!
//! Runs on the harness thread. It changes no byte of the output.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::lines::Lines;
use crate::adapters::Telemetry;
use crate::api::{Stream, Usage, is_conversation_id};
use crate::observe::metrics;
use crate::redact::Redactor;
use crate::store::Note;

/// How much of stderr can be a header, in bytes.
const HEADER_MAX: usize = 64 * 1024;

/// The longest name of a model, in bytes.
const MODEL_MAX: usize = 256;

/// Reads the output of one harness.
pub(super) struct Reader {
    telemetry: Telemetry,
    /// The adapter, for the metrics.
    harness: String,
    redactor: Arc<Redactor>,
    lines: Lines,
    session_id: Option<String>,
    /// What a thread's sum holds of sessions before this one.
    before: Tokens,
    /// What the turns came to that are over.
    over: Tokens,
    /// Of the turn that is under way: its last message, and what those before it came to.
    message_id: String,
    message: Tokens,
    turn: Tokens,
    /// What is told besides tokens.
    told: Usage,
    /// What the metrics have counted.
    counted: Tokens,
    /// How much of a header's stream has been read.
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

impl Reader {
    /// `session_id` is on record already, `before` what was used of the conversation before.
    pub(super) fn new(
        telemetry: Telemetry,
        harness: String,
        session_id: Option<String>,
        before: &Usage,
        redactor: Arc<Redactor>,
    ) -> Self {
        let before = [
            before.input_tokens,
            before.output_tokens,
            before.cached_tokens,
        ];
        let first = match telemetry {
            Telemetry::ClaudeJson | Telemetry::CodexJson => b'{',
            Telemetry::CodexHeader => HEADER_ID.as_bytes()[0],
        };
        Self {
            telemetry,
            harness,
            redactor,
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

    /// Reads `data` of `stream`, or with none its end; gives what is new in it for the record.
    pub(super) fn read(&mut self, stream: Stream, data: &[u8]) -> Option<Note> {
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
            Telemetry::ClaudeJson => self.claude(line, &mut note),
            Telemetry::CodexJson => self.codex(line, &mut note),
            Telemetry::CodexHeader => self.header(line, &mut note),
        });
        self.lines = lines;
        (note != Note::default()).then_some(note)
    }

    /// What has been told so far, and is counted now.
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

    /// What counts towards the limit.
    pub(super) fn limited_tokens(&self) -> u64 {
        let [input, output, _] = self.tokens();
        input.saturating_add(output)
    }

    fn tokens(&self) -> Tokens {
        plus(plus(self.over, self.turn), self.message)
    }

    fn claude(&mut self, line: &[u8], note: &mut Note) {
        match kind(line).as_deref() {
            Some("system") => {
                let Some(init) = parse::<ClaudeInit>(line) else {
                    return;
                };
                self.note_session_id(init.session_id, note);
                self.note_model(init.model);
            }
            Some("assistant") => {
                let Some(ClaudeAssistant { message }) = parse(line) else {
                    return;
                };
                // A message comes in several lines, each of which tells its tokens so far.
                if message.id != self.message_id {
                    self.turn = plus(self.turn, self.message);
                    self.message_id = message.id.into_owned();
                }
                self.message = message.usage.tokens();
            }
            Some("result") => {
                let Some(result) = parse::<ClaudeResult>(line) else {
                    return;
                };
                self.note_session_id(result.session_id, note);
                self.end_turn(
                    result.usage.map(|usage| usage.tokens()),
                    result.num_turns.unwrap_or(1),
                );
                // It is the sum of the process's turns.
                self.told.cost_usd = result.total_cost_usd.or(self.told.cost_usd);
                if self.told.model.is_none() {
                    let models = result.models.into_iter();
                    let most = models.max_by_key(|(_, usage)| usage.output_tokens);
                    self.note_model(most.map(|(model, _)| Cow::Owned(model)));
                }
                note.usage = self.usage();
            }
            _ => {}
        }
    }

    fn codex(&mut self, line: &[u8], note: &mut Note) {
        match kind(line).as_deref() {
            Some("thread.started") => {
                let Some(CodexThread { thread_id }) = parse(line) else {
                    return;
                };
                self.note_session_id(thread_id, note);
            }
            Some("turn.completed") => {
                let Some(CodexTurn { usage }) = parse(line) else {
                    return;
                };
                // It is the sum of the thread's turns, those of earlier sessions included.
                let own = usage.map(|usage| minus(usage.tokens(), self.before));
                self.over = own.map_or(self.over, |_| Tokens::default());
                self.end_turn(own, 1);
                note.usage = self.usage();
            }
            _ => {}
        }
    }

    /// The first line that has an id: what follows can be a prompt's text.
    fn header(&mut self, line: &[u8], note: &mut Note) {
        let id = line.strip_prefix(HEADER_ID.as_bytes());
        let id = id.and_then(|id| str::from_utf8(id.trim_ascii()).ok());
        if let Some(id) = id.filter(|_| self.read != usize::MAX) {
            self.note_session_id(Some(id.into()), note);
            self.read = usize::MAX;
        }
    }

    /// A turn is over: what it has told in the end holds, or else what it has told meanwhile.
    fn end_turn(&mut self, told: Option<Tokens>, turns: u64) {
        let turn = told.unwrap_or_else(|| plus(self.turn, self.message));
        self.over = plus(self.over, turn);
        (self.turn, self.message) = Default::default();
        let before = self.told.num_turns.unwrap_or_default();
        self.told.num_turns = Some(before.saturating_add(turns));
    }

    fn note_session_id(&mut self, id: Option<Cow<'_, str>>, note: &mut Note) {
        let is_new =
            |id: &Cow<'_, str>| is_conversation_id(id) && self.session_id.as_deref() != Some(id);
        if let Some(id) = id.filter(is_new) {
            self.session_id = Some(id.into_owned());
            note.harness_session_id.clone_from(&self.session_id);
        }
    }

    fn note_model(&mut self, model: Option<Cow<'_, str>>) {
        if let Some(model) = model.filter(|model| model.len() <= MODEL_MAX) {
            let model = self.redactor.redact_stored(model.into_owned());
            self.told.model = Some(model);
        }
    }
}

/// What stands before the id in codex's header.
const HEADER_ID: &str = "session id: ";

/// What a JSON line is about.
fn kind(line: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    // Both agents write it first: a flood of other lines is not parsed.
    let first = line.strip_prefix(br#"{"type":""#);
    let first = first.and_then(|rest| Some(&rest[..memchr::memchr2(b'"', b'\\', rest)?]));
    match first.and_then(|kind| str::from_utf8(kind).ok()) {
        Some(kind) => Some(kind.into()),
        None => parse::<Line<'_>>(line).map(|line| line.kind),
    }
}

fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Option<T> {
    serde_json::from_slice(line).ok()
}

#[derive(Deserialize)]
struct ClaudeInit<'a> {
    #[serde(borrow)]
    session_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct ClaudeAssistant<'a> {
    #[serde(borrow)]
    message: ClaudeMessage<'a>,
}

#[derive(Deserialize)]
struct ClaudeMessage<'a> {
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(default)]
    usage: ClaudeUsage,
}

#[derive(Deserialize)]
struct ClaudeResult<'a> {
    #[serde(borrow)]
    session_id: Option<Cow<'a, str>>,
    usage: Option<ClaudeUsage>,
    num_turns: Option<u64>,
    total_cost_usd: Option<f64>,
    #[serde(default, rename = "modelUsage")]
    models: BTreeMap<String, ModelUsage>,
}

#[derive(Deserialize)]
struct ModelUsage {
    #[serde(default, rename = "outputTokens")]
    output_tokens: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ClaudeUsage {
    input_tokens: u64,
    /// Read by the model, too, and kept in its cache for the next time.
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    output_tokens: u64,
}

impl ClaudeUsage {
    fn tokens(&self) -> Tokens {
        let input = self
            .input_tokens
            .saturating_add(self.cache_creation_input_tokens);
        [input, self.output_tokens, self.cache_read_input_tokens]
    }
}

#[derive(Deserialize)]
struct CodexThread<'a> {
    #[serde(borrow)]
    thread_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct CodexTurn {
    usage: Option<CodexUsage>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CodexUsage {
    input_tokens: u64,
    cached_input_tokens: u64,
    output_tokens: u64,
}

impl CodexUsage {
    fn tokens(&self) -> Tokens {
        [
            self.input_tokens,
            self.output_tokens,
            self.cached_input_tokens,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::lines::LINE_MAX;
    use crate::random::{Random, rounds};

    const CLAUDE: &str = include_str!("../../tests/coven/recorded/claude-stream.jsonl");
    const CODEX: &str = include_str!("../../tests/coven/recorded/codex-exec.jsonl");

    /// What a record would have in the end, and how often it has changed.
    fn told(telemetry: Telemetry, parts: &[&[u8]]) -> (Option<String>, Option<Usage>, usize) {
        told_after(&Usage::default(), telemetry, parts)
    }

    fn told_after(
        before: &Usage,
        telemetry: Telemetry,
        parts: &[&[u8]],
    ) -> (Option<String>, Option<Usage>, usize) {
        let mut reader = Reader::new(
            telemetry,
            "test".into(),
            None,
            before,
            Arc::new(Redactor::new("").0),
        );
        let stream = match telemetry {
            Telemetry::CodexHeader => Stream::Stderr,
            _ => Stream::Stdout,
        };
        let notes: Vec<Note> = parts
            .iter()
            .filter_map(|part| reader.read(stream, part))
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
    fn what_is_no_such_line_tells_nothing() {
        let long = format!(r#"{{"type":"result","result":"{}"}}"#, "x".repeat(LINE_MAX));
        for line in [
            "",
            "{}",
            "{",
            "[]",
            r#" {"type":"result","num_turns":1}"#,
            r#"{"type":1}"#,
            r#"{"type":"result","usage":{"input_tokens":-1}}"#,
            r#"{"type":"result","usage":"much"}"#,
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
