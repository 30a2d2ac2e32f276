//! One of a harness's two streams: from the bytes that its pipe gives to events, secrets taken out on the way.
//!
//! Runs on the harness thread. Holds back what cannot be decided yet: the beginning of what may be a secret, for a
//! short time, and the beginning of a character, until its rest comes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use super::decode::{Piece, split};
use super::pipes::{Lease, SMALL};
use super::start::OutputPipe;
use crate::api::{EventKind, Origin, Payload, Stream, Timestamp};
use crate::redact::{self, Redactor};
use crate::settings::durations;
use crate::store::{NewEvent, SessionNum};
use crate::sys;

/// A stream that is being read.
pub(super) struct Source {
    pub(super) pipe: Arc<File>,
    lease: Option<Lease>,
    pub(super) origin: Origin,
    redaction: redact::Stream,
    /// Since when the redaction holds something back.
    held_since: Option<Instant>,
    /// Redacted bytes; between two reads, the beginning of a character.
    clean: Vec<u8>,
    /// What the pipe held when the harness exited, and has not been read yet, in bytes.
    pub(super) owed: usize,
}

impl Source {
    pub(super) fn new(output: OutputPipe, stream: Stream) -> Self {
        Self {
            pipe: output.pipe,
            lease: output.lease,
            origin: Origin {
                stream,
                is_late: false,
            },
            redaction: redact::Stream::default(),
            held_since: None,
            clean: Vec::new(),
            owed: 0,
        }
    }

    /// From here on what comes is late. Gives what comes of the beginning of a character if the pipe `is_quiet`: nobody is
    /// about to complete it. What a secret needs to be told as one is kept.
    pub(super) fn become_late(&mut self, is_quiet: bool) -> Vec<NewEvent> {
        let events = match is_quiet {
            true => self.events(true),
            false => Vec::new(),
        };
        self.origin.is_late = true;
        if self.lease.take().is_some() {
            // One that holds more stays large: it is read on at once.
            let _ = sys::set_pipe_size(&self.pipe, SMALL);
        }
        self.clean.shrink_to_fit();
        events
    }

    /// Its session runs, under this number.
    pub(super) fn start(&self, num: SessionNum) {
        if let Some(lease) = &self.lease {
            lease.start(num);
        }
    }

    /// Reads into `buffer` what fits and is there; the number of bytes, 0 at the end.
    ///
    /// # Errors
    /// What read(2) reports.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(lease) = &self.lease {
            lease.was_read();
        }
        (&*self.pipe).read(buffer)
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
            .map(|piece| output_event(piece, self.origin, at))
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

fn output_event(piece: &Piece<'_>, origin: Origin, at: Timestamp) -> NewEvent {
    let payload_json = match piece {
        Piece::Text(data) => Payload::text_to_json(data, origin),
        Piece::Bytes(bytes) => Payload::bytes_to_json(bytes, origin),
    };
    NewEvent {
        kind: EventKind::Output,
        payload_json,
        at,
    }
}
