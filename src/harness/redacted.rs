//! Redacts a stream's bytes on the way to events. Undecided bytes are held: a possible start of a secret for a short
//! time, and an incomplete character until its rest arrives.
//!
//! Runs on the harness thread. It knows neither the source of the bytes nor the events around them.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::decode::{Piece, Then, split};
use crate::redact::{self, Redactor};
use crate::settings::durations;
use crate::sys::passed::{self, Bytes};

/// The bytes of a stream that are in no event yet, for the next program.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RedactedHandover {
    stream: redact::StreamHandover,
    #[serde(
        with = "passed::optional_instant",
        default,
        skip_serializing_if = "passed::is_default"
    )]
    held_since: Option<Instant>,
    #[serde(default, skip_serializing_if = "passed::is_default")]
    clean: Bytes,
}

/// Bytes of a stream that are in no event yet.
#[derive(Default)]
pub(super) struct Redacted {
    stream: redact::Stream,
    /// Time since which the redaction holds bytes.
    held_since: Option<Instant>,
    /// Redacted bytes; between two writes, an incomplete character.
    clean: Vec<u8>,
}

impl Redacted {
    /// The stream after `before`, which is in events already.
    pub(super) fn behind(before: &[u8], redactor: &Redactor) -> Self {
        Self {
            stream: redact::Stream::behind(redactor, before),
            ..Self::default()
        }
    }

    pub(super) fn hand_over(self, redactor: &Redactor) -> RedactedHandover {
        let Self {
            stream,
            held_since,
            clean,
        } = self;
        RedactedHandover {
            stream: stream.hand_over(redactor),
            held_since,
            clean: Bytes(clean),
        }
    }

    pub(super) fn take_up(handover: RedactedHandover, redactor: &Redactor) -> Self {
        let RedactedHandover {
            stream,
            held_since,
            clean: Bytes(clean),
        } = handover;
        Self {
            stream: redact::Stream::take_up(stream, redactor),
            held_since,
            clean,
        }
    }

    pub(super) fn take(&mut self, data: &[u8], redactor: &Redactor) {
        self.stream.push_stored(redactor, data, &mut self.clean);
        let since = self.held_since.unwrap_or_else(Instant::now);
        self.held_since = self.stream.is_holding().then_some(since);
    }

    /// Time at which held bytes are released.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.held_since.map(|since| since + durations::SECRET_HOLD)
    }

    /// Flushes bytes whose redaction hold ([`durations::SECRET_HOLD`]) has expired.
    pub(super) fn expire(&mut self, redactor: &Redactor) {
        if self.deadline().is_some_and(|at| at <= Instant::now()) {
            self.stream.expire(redactor, &mut self.clean);
            self.held_since = None;
        }
    }

    /// Decides all held bytes: the stream ends here, or its continuation is unrelated.
    pub(super) fn finish(&mut self, redactor: &Redactor) {
        self.stream.finish(redactor, &mut self.clean);
        self.held_since = None;
    }

    /// Applies `of` to each decided piece; also to an incomplete character, if nothing follows.
    pub(super) fn pieces<T>(&mut self, then: Then, of: &dyn Fn(&Piece<'_>) -> T) -> Vec<T> {
        let (pieces, held) = split(&self.clean, then);
        let made = pieces.iter().map(of).collect();
        self.clean.drain(..self.clean.len() - held);
        made
    }

    /// Frees memory that a flood needed.
    pub(super) fn shrink(&mut self) {
        self.clean.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_held_at_a_handover_are_released_without_any_more() {
        let redactor = Redactor::new("").0;
        let mut redacted = Redacted::default();
        redacted.take(b"see ghp_0123", &redactor);
        let whole = |piece: &Piece<'_>| match piece {
            Piece::Text(text) => text.as_bytes().to_vec(),
            Piece::Bytes(bytes) => bytes.to_vec(),
        };
        assert_eq!(redacted.pieces(Then::More, &whole), [b"see "]);
        let handover = serde_json::to_string(&redacted.hand_over(&redactor)).unwrap();
        let handover = serde_json::from_str(&handover).unwrap();
        let mut redacted = Redacted::take_up(handover, &redactor);
        assert!(redacted.deadline().is_some());
        redacted.finish(&redactor);
        let rest = redacted.pieces(Then::End, &whole).concat();
        assert_eq!(rest, b"ghp_0123");
    }
}
