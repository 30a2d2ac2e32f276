//! One of a harness's two streams: from the bytes that its pipe gives to events, secrets taken out on the way.
//!
//! Runs on the harness thread.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use super::decode::Piece;
use super::pipes::{Lease, SMALL};
use super::redacted::Redacted;
use super::start::OutputPipe;
use crate::api::{Code, EventKind, Origin, Payload, Stream, Timestamp};
use crate::observe::field::CloseCause;
use crate::redact::Redactor;
use crate::store::{NewEvent, SessionNum};
use crate::sys;

/// A stream that is being read.
pub(super) struct Source {
    pub(super) pipe: Arc<File>,
    lease: Option<Lease>,
    pub(super) origin: Origin,
    redacted: Redacted,
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
            redacted: Redacted::default(),
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
        self.redacted.shrink();
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
        self.redacted.take(data, redactor);
        self.events(false)
    }

    /// When what is held back has been held for long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.redacted.deadline()
    }

    /// What comes of what has been held back for long enough.
    pub(super) fn expire(&mut self, redactor: &Redactor) -> Vec<NewEvent> {
        self.redacted.expire(redactor);
        self.events(false)
    }

    /// What comes of all that is still held back: nothing more will come.
    pub(super) fn finish(&mut self, redactor: &Redactor) -> Vec<NewEvent> {
        self.redacted.finish(redactor);
        self.events(true)
    }

    /// As [`Source::finish`], of a pipe that is closed: what it still holds is lost, and an event says so. Of a late one
    /// it says `why`, in any case.
    pub(super) fn close(mut self, why: Option<CloseCause>, redactor: &Redactor) -> Vec<NewEvent> {
        let mut events = self.finish(redactor);
        let (stream, unread) = (self.origin.stream, sys::bytes_waiting(&self.pipe));
        events.extend(match why {
            Some(why) => Some(late_stream_closed(stream, why, unread)),
            None if unread > 0 => Some(output_dropped(stream, unread)),
            None => None,
        });
        events
    }

    fn events(&mut self, last: bool) -> Vec<NewEvent> {
        let (at, origin) = (Timestamp::now(), self.origin);
        let event = |piece: &Piece<'_>| output_event(piece, origin, at);
        self.redacted.pieces(last, &event)
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

fn output_dropped(stream: Stream, unread: usize) -> NewEvent {
    let message = format!(
        "{stream} was still written when it was closed behind the harness's exit: {unread} bytes in it were not read"
    );
    NewEvent::error(Code::OutputDropped, &message)
}

fn late_stream_closed(stream: Stream, why: CloseCause, unread: usize) -> NewEvent {
    let why = match why {
        CloseCause::Room => "a new session takes its place",
        CloseCause::Stop => "the daemon stops",
        CloseCause::Deleted => "the session is deleted",
    };
    let message = format!(
        "{stream} was closed while something that the harness has left behind held it: {why}; {unread} bytes in it were not read"
    );
    NewEvent::error(Code::LateStreamClosed, &message)
}
