//! One of a harness's two streams: from the bytes that its pipe gives to events, secrets taken out on the way.
//!
//! Runs on the harness thread. Holds back what cannot be decided yet: the beginning of what may be a secret, for a
//! short time, and the beginning of a character, until its rest comes.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use super::decode::{Piece, split};
use crate::api::{EventKind, Payload, Stream, Timestamp};
use crate::redact::{self, Redactor};
use crate::settings::durations;
use crate::store::NewEvent;

/// A stream that is being read.
pub(super) struct Source {
    pub(super) pipe: File,
    pub(super) stream: Stream,
    redaction: redact::Stream,
    /// Since when the redaction holds something back.
    held_since: Option<Instant>,
    /// Redacted bytes; between two reads, the beginning of a character.
    clean: Vec<u8>,
    /// What the pipe held when the harness exited, and has not been read yet, in bytes.
    pub(super) owed: usize,
}

impl Source {
    pub(super) fn new(pipe: File, stream: Stream) -> Self {
        Self {
            pipe,
            stream,
            redaction: redact::Stream::default(),
            held_since: None,
            clean: Vec::new(),
            owed: 0,
        }
    }

    /// What comes of `data`, which the pipe gave.
    pub(super) fn take(&mut self, data: &[u8], redactor: &Redactor) -> Vec<NewEvent> {
        self.owed = self.owed.saturating_sub(data.len());
        self.redaction.push_stored(redactor, data, &mut self.clean);
        let since = self.held_since.unwrap_or_else(Instant::now);
        self.held_since = self.redaction.is_holding().then_some(since);
        self.events(false)
    }

    /// When what is held back has been held for long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.held_since.map(|since| since + durations::SECRET_HOLD)
    }

    /// What comes of what has been held back for long enough.
    pub(super) fn expire(&mut self, redactor: &Redactor) -> Vec<NewEvent> {
        if self.deadline().is_none_or(|at| at > Instant::now()) {
            return Vec::new();
        }
        self.redaction.expire(redactor, &mut self.clean);
        self.held_since = None;
        self.events(false)
    }

    /// What comes of all that is still held back: nothing more will come.
    pub(super) fn finish(&mut self, redactor: &Redactor) -> Vec<NewEvent> {
        self.redaction.finish(redactor, &mut self.clean);
        self.held_since = None;
        self.events(true)
    }

    fn events(&mut self, last: bool) -> Vec<NewEvent> {
        let at = Timestamp::now();
        let (pieces, held) = split(&self.clean, last);
        let events = pieces
            .iter()
            .map(|piece| output_event(piece, self.stream, at))
            .collect();
        self.clean.drain(..self.clean.len() - held);
        events
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

fn output_event(piece: &Piece<'_>, stream: Stream, at: Timestamp) -> NewEvent {
    let payload_json = match piece {
        Piece::Text(data) => Payload::text_to_json(data, stream),
        Piece::Bytes(bytes) => Payload::bytes_to_json(bytes, stream),
    };
    NewEvent {
        kind: EventKind::Output,
        payload_json,
        at,
    }
}
