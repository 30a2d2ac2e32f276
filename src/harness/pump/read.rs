//! Reads the streams of a harness into the writer's queue.
//!
//! Runs on the harness thread. It reads only what the queue has room for.

use std::io;
use std::time::Instant;

use super::{Pump, Stage, ThreadState};
use crate::observe::metrics;
use crate::settings::durations;
use crate::store::Fact;

/// Sizes of a read, in bytes: enough for a quiet harness, and the capacity of a pipe (pipe(7)).
pub(super) const READ_FIRST: usize = 4 * 1024;
const READ_MAX: usize = 64 * 1024;

/// Size in bytes from which a read belongs to a flood, which would fill its pipe during a rest.
const MUCH: usize = 16 * 1024;

/// Most JSON bytes of one output byte: `\u0000`.
const ESCAPED_MAX: usize = 6;

impl Pump {
    pub(super) fn read_sources(&mut self, ready: &[bool], context: &ThreadState) -> io::Result<()> {
        let mut at = 0;
        for &ready in ready {
            if ready && self.held_since.is_none() && !self.read(at, context)? {
                self.sources.remove(at);
            } else {
                at += 1;
            }
        }
        Ok(())
    }

    /// Reads a source once, into the store; false at its end.
    fn read(&mut self, at: usize, context: &ThreadState) -> io::Result<bool> {
        let most = self.buffer.len() * ESCAPED_MAX;
        let Some(reservation) = context.share.reserve_or_wake(most) else {
            self.held_since = Some(Instant::now());
            return Ok(true);
        };
        let source = &mut self.sources[at];
        let room = self.buffer.len().min(reservation.bytes() / ESCAPED_MAX);
        let n = match source.read(&mut self.buffer[..room]) {
            Ok(n) => n,
            Err(err)
                if matches!(
                    err.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                return Ok(true);
            }
            Err(err) => return Err(err),
        };
        let redactor = &context.shared.redactor;
        let data = &self.buffer[..n];
        let note = match &mut self.telemetry {
            Some(reader) => reader.read(source.origin.stream, data, redactor),
            None => None,
        };
        let events = match n {
            0 => source.finish(redactor),
            n => {
                if let (Some(oom), None) = (&mut self.oom, self.read_at) {
                    oom.follow(self.pid);
                }
                metrics::OUTPUT_BYTES[source.origin.stream as usize].add(n as u64);
                context.tally.add(source.origin.stream, data);
                source.take(data, redactor)
            }
        };
        if let Some(note) = note {
            let (num, note) = (context.num, Box::new(note));
            context.shared.queue.fact(Fact::Noted { num, note }, None);
        }
        if !events.is_empty() {
            context
                .shared
                .queue
                .output(context.num, events, reservation);
        }
        if let Stage::Draining(drain) = &mut self.stage {
            drain.was_read(Instant::now());
        }
        if n == self.buffer.len() && n < READ_MAX {
            self.buffer.resize(n * 2, 0);
        }
        self.rest_after(n);
        Ok(n > 0)
    }

    /// Rests the pipes of a busy harness after a read of `n` bytes. After its exit no more output is worth waiting for.
    fn rest_after(&mut self, n: usize) {
        let now = Instant::now();
        let is_busy = self
            .read_at
            .is_some_and(|at| now < at + durations::HARNESS_BUSY);
        if is_busy && n < MUCH && !matches!(self.stage, Stage::Draining(_)) {
            self.rest_until = Some(now + durations::HARNESS_REST);
        }
        self.read_at = Some(now);
        self.limits.was_active(now);
    }
}
