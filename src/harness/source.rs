//! One output stream of a harness: from its pipe's bytes to redacted events.
//!
//! Runs on the harness thread.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::decode::{Piece, Then};
use super::pipes::{LargePipe, Pipes, SMALL};
use super::redacted::{Redacted, RedactedHandover};
use crate::api::{Code, EventKind, Origin, Payload, Stream, Timestamp};
use crate::observe::field::CloseCause;
use crate::redact::Redactor;
use crate::store::{NewEvent, SessionNum};
use crate::sys;
use crate::sys::passed::{self, Passed};

/// An open stream.
pub(super) struct Source {
    pub(super) pipe: Arc<File>,
    lease: Option<LargePipe>,
    pub(super) origin: Origin,
    redacted: Redacted,
    /// Bytes of the pipe's content at the exit that have not been read yet.
    pub(super) unread_at_exit: usize,
}

/// An open stream, for the next program.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SourceHandover {
    pipe: Passed,
    /// The pipe takes a place in the budget of large ones.
    #[serde(default, skip_serializing_if = "passed::is_default")]
    is_large: bool,
    origin: Origin,
    #[serde(default, skip_serializing_if = "passed::is_default")]
    redacted: RedactedHandover,
    #[serde(default, skip_serializing_if = "passed::is_default")]
    unread_at_exit: usize,
}

impl Source {
    /// # Errors
    /// No descriptor is left.
    pub(super) fn hand_over(self, redactor: &Redactor) -> io::Result<SourceHandover> {
        let Self {
            pipe,
            lease,
            origin,
            redacted,
            unread_at_exit,
        } = self;
        let is_large = lease.is_some_and(LargePipe::end);
        // The budget holds the file as well until its lease has ended.
        let pipe = match Arc::try_unwrap(pipe) {
            Ok(pipe) => pipe,
            Err(shared) => shared.try_clone()?,
        };
        Ok(SourceHandover {
            pipe: Passed::new(pipe),
            is_large,
            origin,
            redacted: redacted.hand_over(redactor),
            unread_at_exit,
        })
    }

    pub(super) fn take_up(
        handover: SourceHandover,
        num: SessionNum,
        pipes: &Arc<Pipes>,
        redactor: &Redactor,
    ) -> Self {
        let SourceHandover {
            pipe,
            is_large,
            origin,
            redacted,
            unread_at_exit,
        } = handover;
        let pipe = Arc::new(pipe.into_file());
        let lease = is_large.then(|| pipes.take_up(&pipe, origin.stream));
        let source = Self {
            pipe,
            lease,
            origin,
            redacted: Redacted::take_up(redacted, redactor),
            unread_at_exit,
        };
        source.start(num);
        source
    }

    /// The source of a non-blocking `pipe`, with a `lease` while that is large.
    pub(super) fn new(pipe: Arc<File>, lease: Option<LargePipe>, stream: Stream) -> Self {
        Self {
            pipe,
            lease,
            origin: Origin {
                stream,
                is_late: false,
            },
            redacted: Redacted::default(),
            unread_at_exit: 0,
        }
    }

    /// Marks all further output as late. If the pipe `is_quiet`, returns the event of an incomplete character, which no
    /// process is about to complete. Held bytes of a possible secret stay held.
    pub(super) fn become_late(&mut self, is_quiet: bool) -> Vec<NewEvent> {
        let events = match is_quiet {
            true => self.events(Then::End),
            false => Vec::new(),
        };
        self.origin.is_late = true;
        if self.lease.take().is_some() {
            // A pipe with more data stays large: it is read at once.
            let _ = sys::set_pipe_size(&self.pipe, SMALL);
        }
        self.redacted.shrink();
        events
    }

    /// The session runs under this number.
    pub(super) fn start(&self, num: SessionNum) {
        if let Some(lease) = &self.lease {
            lease.start(num);
        }
    }

    /// Reads available bytes into `buffer`; returns their number, 0 at the end.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(lease) = &self.lease {
            lease.was_read();
        }
        (&*self.pipe).read(buffer)
    }

    /// The events of `data`, read from the pipe.
    pub(super) fn take(&mut self, data: &[u8], redactor: &Redactor) -> Vec<NewEvent> {
        self.unread_at_exit = self.unread_at_exit.saturating_sub(data.len());
        self.redacted.take(data, redactor);
        self.events(Then::More)
    }

    /// Time at which held bytes are released.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.redacted.deadline()
    }

    /// The events of bytes whose hold has expired.
    pub(super) fn expire(&mut self, redactor: &Redactor) -> Vec<NewEvent> {
        self.redacted.expire(redactor);
        self.events(Then::More)
    }

    /// The events of all held bytes, at the end of the stream.
    pub(super) fn finish(&mut self, redactor: &Redactor) -> Vec<NewEvent> {
        self.redacted.finish(redactor);
        self.events(Then::End)
    }

    /// As [`Source::finish`] for a pipe that is closed: an event counts the unread content. For a late stream the event
    /// has the reason `why` in any case.
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

    fn events(&mut self, then: Then) -> Vec<NewEvent> {
        let (at, origin) = (Timestamp::now(), self.origin);
        let event = |piece: &Piece<'_>| output_event(piece, origin, at);
        self.redacted.pieces(then, &event)
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
