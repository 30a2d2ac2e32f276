//! A stream's bytes on their way into events: secrets are taken out, and what cannot be decided yet is held back: the
//! beginning of what may be a secret, for a short time, and the beginning of a character, until its rest comes.
//!
//! Runs on the harness thread. It knows neither where the bytes come from nor what the events say around them.

use std::time::Instant;

use super::decode::{Piece, split};
use crate::redact::{self, Redactor};
use crate::settings::durations;

/// What has been taken of a stream, and is in no event yet.
#[derive(Default)]
pub(super) struct Redacted {
    stream: redact::Stream,
    /// Since when the redaction holds something back.
    held_since: Option<Instant>,
    /// Redacted bytes; between two writes, the beginning of a character.
    clean: Vec<u8>,
}

impl Redacted {
    /// What goes on behind `before`, which is in events already.
    pub(super) fn behind(before: &[u8], redactor: &Redactor) -> Self {
        let (mut stream, mut shown) = (redact::Stream::default(), Vec::new());
        stream.push_stored(redactor, before, &mut shown);
        stream.expire(redactor, &mut shown);
        Self {
            stream,
            ..Self::default()
        }
    }

    pub(super) fn take(&mut self, data: &[u8], redactor: &Redactor) {
        self.stream.push_stored(redactor, data, &mut self.clean);
        let since = self.held_since.unwrap_or_else(Instant::now);
        self.held_since = self.stream.is_holding().then_some(since);
    }

    /// When what is held back has been held for long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.held_since.map(|since| since + durations::SECRET_HOLD)
    }

    /// Lets go of what has been held back for long enough.
    pub(super) fn expire(&mut self, redactor: &Redactor) {
        if self.deadline().is_some_and(|at| at <= Instant::now()) {
            self.stream.expire(redactor, &mut self.clean);
            self.held_since = None;
        }
    }

    /// Decides all that is held back: nothing more will come of the stream, or what comes has nothing to do with it.
    pub(super) fn finish(&mut self, redactor: &Redactor) {
        self.stream.finish(redactor, &mut self.clean);
        self.held_since = None;
    }

    /// What `of` makes of each piece that is decided; where they are the `last`, no character is completed any more.
    pub(super) fn pieces<T>(&mut self, last: bool, of: &dyn Fn(&Piece<'_>) -> T) -> Vec<T> {
        let (pieces, held) = split(&self.clean, last);
        let made = pieces.iter().map(of).collect();
        self.clean.drain(..self.clean.len() - held);
        made
    }

    /// Gives back the memory that a flood has needed.
    pub(super) fn shrink(&mut self) {
        self.clean.shrink_to_fit();
    }
}
