//! A client's input: recorded without secrets, then written to the harness's stdin. It waits within a bound, so a
//! harness that never reads does no harm.
//!
//! Runs on the harness thread, except the counter of waiting bytes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::decode::{Piece, Then};
use super::message::ClientInput;
use super::redacted::{Redacted, RedactedHandover};
use crate::api::{BODY_MAX, Payload, Timestamp};
use crate::redact::Redactor;
use crate::store::NewEvent;
use crate::sys::passed::{Bytes, Passed};

/// Most bytes that may wait for a harness, besides its pipe: as much as one request can carry.
const LIMIT: usize = BODY_MAX;

/// Number of waiting bytes: the state thread adds, the harness thread subtracts.
#[derive(Debug, Clone, Default)]
pub struct WaitingInput(Arc<AtomicUsize>);

impl WaitingInput {
    /// Adds `bytes`. Only the state thread adds, so the check and the addition need not be atomic.
    ///
    /// # Errors
    /// The limit in bytes, if it would be exceeded.
    pub(super) fn add(&self, bytes: usize) -> Result<(), usize> {
        if self.0.load(Ordering::Relaxed) + bytes > LIMIT {
            return Err(LIMIT);
        }
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn remove(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The writing side of a harness's stdin, with its waiting input.
pub(super) struct StdinPipe {
    pipe: File,
    waiting: VecDeque<Vec<u8>>,
    /// Bytes of the first of `waiting` that the pipe has taken.
    written: usize,
    backlog: WaitingInput,
    end: InputEnd,
}

/// State of the input behind the waiting one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum InputEnd {
    Open,
    /// The prompt was all; the harness need not read it.
    AfterPrompt,
    /// A client has ended the input.
    AfterInput,
}

/// The writing side of a harness's stdin, for the next program.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct InputHandover {
    pipe: Passed,
    waiting: Vec<Bytes>,
    written: usize,
    end: InputEnd,
}

impl StdinPipe {
    pub(super) fn hand_over(self) -> InputHandover {
        let Self {
            pipe,
            waiting,
            written,
            // Counts `waiting`.
            backlog: _,
            end,
        } = self;
        InputHandover {
            pipe: Passed::new(pipe),
            waiting: waiting.into_iter().map(Bytes).collect(),
            written,
            end,
        }
    }

    pub(super) fn take_up(handover: InputHandover, backlog: &WaitingInput) -> Self {
        let InputHandover {
            pipe,
            waiting,
            written,
            end,
        } = handover;
        let waiting: VecDeque<Vec<u8>> = waiting.into_iter().map(|Bytes(data)| data).collect();
        let bytes: usize = waiting.iter().map(Vec::len).sum();
        backlog
            .0
            .fetch_add(bytes.saturating_sub(written), Ordering::Relaxed);
        Self {
            pipe: pipe.into_file(),
            waiting,
            written,
            backlog: backlog.clone(),
            end,
        }
    }

    /// `first` is written first, and counts as waiting.
    pub(super) fn new(
        pipe: File,
        backlog: WaitingInput,
        first: Option<String>,
        end: InputEnd,
    ) -> Self {
        let waiting: VecDeque<Vec<u8>> = first.into_iter().map(String::into_bytes).collect();
        let bytes = waiting.iter().map(Vec::len).sum();
        backlog.0.fetch_add(bytes, Ordering::Relaxed);
        Self {
            pipe,
            waiting,
            written: 0,
            backlog,
            end,
        }
    }

    /// The state after which the pipe is closed, once nothing waits.
    pub(super) fn end(&self) -> InputEnd {
        self.end
    }

    pub(super) fn pipe(&self) -> &File {
        &self.pipe
    }

    /// The text to write first: the prompt, if the harness reads it from stdin.
    pub(super) fn prompt(&self) -> &[u8] {
        self.waiting.front().map_or(&[], Vec::as_slice)
    }

    /// Appends a client's input; `eof` ends it.
    pub(super) fn push(&mut self, data: String, eof: bool) {
        if !data.is_empty() {
            self.waiting.push_back(data.into_bytes());
        }
        if eof {
            self.end = InputEnd::AfterInput;
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes what the pipe takes now. An error means that its reader has closed it.
    pub(super) fn write(&mut self) -> io::Result<()> {
        while let Some(data) = self.waiting.front() {
            match self.pipe.write(&data[self.written..]) {
                Ok(n) => {
                    self.written += n;
                    self.backlog.remove(n);
                    if self.written == data.len() {
                        self.waiting.pop_front();
                        self.written = 0;
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }
}

/// Turns clients' input into `input` events. It is one stream across requests: a secret can start in one and continue
/// in the next.
pub(super) struct InputRecord(Redacted);

impl InputRecord {
    /// The record of the input after `prompt`, which is recorded already.
    pub(super) fn behind(prompt: &[u8], redactor: &Redactor) -> Self {
        Self(Redacted::behind(prompt, redactor))
    }

    pub(super) fn hand_over(self, redactor: &Redactor) -> RedactedHandover {
        self.0.hand_over(redactor)
    }

    pub(super) fn take_up(handover: RedactedHandover, redactor: &Redactor) -> Self {
        Self(Redacted::take_up(handover, redactor))
    }

    /// The events of `input`; a message, or the end of input, leaves nothing held.
    pub(super) fn take(&mut self, input: &ClientInput, redactor: &Redactor) -> Vec<NewEvent> {
        let text = input.message.as_ref().unwrap_or(&input.data);
        self.0.take(text.as_bytes(), redactor);
        if !input.eof && input.message.is_none() {
            return self.events(Then::More, false);
        }
        self.0.finish(redactor);
        self.events(Then::End, input.eof)
    }

    /// Time at which held bytes are released.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
    }

    /// The events of bytes whose hold has expired.
    pub(super) fn expire(&mut self, redactor: &Redactor) -> Vec<NewEvent> {
        self.0.expire(redactor);
        self.events(Then::More, false)
    }

    /// The events of all held bytes: no input follows.
    pub(super) fn finish(mut self, redactor: &Redactor) -> Vec<NewEvent> {
        self.0.finish(redactor);
        self.events(Then::End, false)
    }

    /// One event for each piece, the last with `eof`; at least one if `eof`.
    fn events(&mut self, then: Then, eof: bool) -> Vec<NewEvent> {
        let text = |piece: &Piece<'_>| match piece {
            Piece::Text(text) => (*text).to_owned(),
            // A user's pattern has cut a character.
            Piece::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        };
        let mut texts = self.0.pieces(then, &text);
        self.0.shrink();
        if eof && texts.is_empty() {
            texts.push(String::new());
        }
        let (at, last) = (Timestamp::now(), texts.len().saturating_sub(1));
        let event = |(n, data): (usize, &String)| {
            let eof = eof && n == last;
            NewEvent::at(at, Payload::Input { data, eof })
        };
        texts.iter().enumerate().map(event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data of `events`, and whether it includes the end of file.
    fn shown(events: &[NewEvent]) -> Vec<(String, bool)> {
        let payload = |event: &NewEvent| serde_json::from_str(&event.payload_json).unwrap();
        let payloads = events.iter().map(payload);
        payloads
            .map(|payload: serde_json::Value| {
                let data = payload["data"].as_str().unwrap().to_owned();
                (data, payload["eof"] == true)
            })
            .collect()
    }

    fn input(data: &str, message: Option<&str>, eof: bool) -> ClientInput {
        ClientInput {
            data: data.into(),
            message: message.map(Into::into),
            eof,
        }
    }

    fn shown_one(data: &str, eof: bool) -> Vec<(String, bool)> {
        vec![(data.to_owned(), eof)]
    }

    #[test]
    fn a_large_input_is_cut_between_characters_and_the_end_of_file_stands_with_its_last_part() {
        let redactor = Redactor::new("").0;
        let mut record = InputRecord::behind(b"", &redactor);
        let data = "é\0".repeat(20_000);
        let events = record.take(&input(&data, None, true), &redactor);
        assert!(
            events
                .iter()
                .all(|event| event.payload_json.len() <= crate::api::OUTPUT_PAYLOAD_MAX)
        );
        let shown = shown(&events);
        let all: String = shown.iter().map(|(data, _)| data.as_str()).collect();
        assert!(all == data && shown.len() > 2);
        let ends = shown.iter().filter(|(_, eof)| *eof);
        assert!(ends.count() == 1 && shown.last().unwrap().1);
    }

    #[test]
    fn the_end_of_file_is_on_record_also_where_nothing_is_left_to_show() {
        let redactor = Redactor::new("").0;
        let mut record = InputRecord::behind(b"", &redactor);
        let events = record.take(&input("ghp_", None, false), &redactor);
        assert_eq!(shown(&events), []);
        let events = record.take(&input("", None, true), &redactor);
        assert_eq!(shown(&events), shown_one("ghp_", true));
        assert_eq!(shown(&record.finish(&redactor)), []);
    }

    #[test]
    fn a_message_is_shown_at_once_and_by_itself() {
        let redactor = Redactor::new("").0;
        let mut record = InputRecord::behind(b"{\"type\":\"user\"}\n", &redactor);
        for message in ["ghp_", "0123", "", "password:", "one two"] {
            let events = record.take(&input("a line\n", Some(message), false), &redactor);
            let expected: Vec<_> = match message {
                "" => Vec::new(),
                _ => shown_one(message, false),
            };
            assert_eq!(shown(&events), expected);
            assert_eq!(record.deadline(), None);
        }
    }

    #[test]
    fn a_key_that_the_prompt_has_begun_goes_on_in_the_input() {
        let redactor = Redactor::new("").0;
        let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
        let prompt = format!("use\n-----BEGIN PRIVATE KEY-----\n{line}\n");
        let mut record = InputRecord::behind(prompt.as_bytes(), &redactor);
        let rest = format!("{line}\n-----END PRIVATE KEY-----\nnow\n");
        let events = record.take(&input(&rest, None, true), &redactor);
        let shown = shown(&events);
        assert_eq!(shown[0].0.trim_start(), "now\n", "{shown:?}");
    }
}
