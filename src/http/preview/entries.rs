//! Converts events to preview lines: output is joined to lines, other events become sentences.
//!
//! Runs on the connection thread. It knows the contract's payloads; an unreadable payload is shown as it is.

use serde_json::Value;

use super::Tail;
use super::plain::{PlainText, lines};
use crate::api::{Event, EventKind, OutputPayload, PreviewLevel, SessionStatus, Stream, Timestamp};

/// The lines so far.
pub(super) struct Entries {
    tail: Tail,
    stdout: PlainText,
    stderr: PlainText,
    /// Time of the last event: lines are sorted by time.
    now: Timestamp,
}

impl Entries {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            tail: Tail::new(bytes_max),
            stdout: PlainText::default(),
            stderr: PlainText::default(),
            now: Timestamp::from_millis(0),
        }
    }

    pub(super) fn add(&mut self, event: &Event) {
        // The `output_truncated` event is younger than the events after it.
        if event.kind != EventKind::OutputTruncated {
            self.now = self.now.max(event.created_at);
        }
        if event.kind == EventKind::Output
            && let Ok(output) = crate::api::from_json::<OutputPayload>(&event.payload_json)
        {
            return self.output(&output);
        }
        if event.kind == EventKind::Exit {
            self.end_lines();
        }
        let payload = crate::api::from_json(&event.payload_json).unwrap_or_default();
        let (level, message) = sentence(event, &payload);
        lines(&message, |line| self.tail.push(self.now, level, line));
    }

    /// Appends incomplete lines at the end.
    pub(super) fn finish(mut self) -> Tail {
        self.end_lines();
        self.tail
    }

    fn output(&mut self, output: &OutputPayload) {
        let (text, level) = match output.stream {
            Stream::Stdout => (&mut self.stdout, PreviewLevel::Info),
            Stream::Stderr => (&mut self.stderr, PreviewLevel::Warn),
        };
        text.feed(&output.data, |line| self.tail.push(self.now, level, line));
    }

    fn end_lines(&mut self) {
        let (tail, now) = (&mut self.tail, self.now);
        self.stdout
            .finish(|line| tail.push(now, PreviewLevel::Info, line));
        self.stderr
            .finish(|line| tail.push(now, PreviewLevel::Warn, line));
    }
}

/// The sentence for an event other than output.
fn sentence(event: &Event, payload: &Value) -> (PreviewLevel, String) {
    let word = |name: &str| payload[name].as_str().unwrap_or("?");
    match event.kind.known() {
        Some(EventKind::Status) => status(payload, word("status")),
        Some(EventKind::Input) => (PreviewLevel::Info, input(payload, word("data"))),
        Some(EventKind::Kill) => {
            let signal = &payload["signal"];
            let cause = match payload["cause"].as_str() {
                Some(cause) => format!(" ({cause})"),
                None => String::new(),
            };
            (
                PreviewLevel::Warn,
                format!("asked to end: signal {signal}{cause}"),
            )
        }
        Some(EventKind::Exit) => exit(payload),
        Some(EventKind::Error) => {
            let message = format!("{}: {}", word("code"), word("message"));
            (PreviewLevel::Error, message)
        }
        Some(EventKind::OutputTruncated) => {
            let (events, bytes) = (&payload["droppedEvents"], &payload["droppedBytes"]);
            let message = format!("output is gone after its time: {events} events, {bytes} bytes");
            (PreviewLevel::Warn, message)
        }
        // Also an output whose payload is unreadable.
        Some(EventKind::Output) | None => {
            let message = format!("{}: {}", event.kind, event.payload_json);
            (PreviewLevel::Info, message)
        }
    }
}

/// A client's input, or the launch's prompt.
fn input(payload: &Value, data: &str) -> String {
    let what = payload["origin"].as_str().unwrap_or("input");
    let end = match (payload["eof"] == true, payload["bytes"].as_u64()) {
        (true, _) => " (end of file)",
        (false, Some(bytes)) => &format!("… ({bytes} bytes)"),
        (false, None) => "",
    };
    format!("{what}: {data}{end}")
}

fn status(payload: &Value, word: &str) -> (PreviewLevel, String) {
    use SessionStatus::{Completed, Created, Failed, Idle, Killed, Orphaned, Running};
    let level = match SessionStatus::parse(word) {
        Some(Failed) => PreviewLevel::Error,
        Some(Killed | Orphaned) => PreviewLevel::Warn,
        Some(Created | Running | Idle | Completed) | None => PreviewLevel::Info,
    };
    let pid = match payload["pid"].as_i64() {
        Some(pid) => format!(" (pid {pid})"),
        None => String::new(),
    };
    (level, format!("status: {word}{pid}"))
}

fn exit(payload: &Value) -> (PreviewLevel, String) {
    match (payload["exitCode"].as_i64(), payload["signal"].as_i64()) {
        (Some(0), _) => (PreviewLevel::Info, "exited with code 0".into()),
        (Some(code), _) => (PreviewLevel::Error, format!("exited with code {code}")),
        (None, Some(signal)) => (PreviewLevel::Warn, format!("ended by signal {signal}")),
        (None, None) => (PreviewLevel::Warn, "ended".into()),
    }
}
