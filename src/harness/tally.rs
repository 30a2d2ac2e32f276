//! What a harness has written and used, counted on its thread while it is pumped: the raw bytes, before anything is
//! taken out of them or held back.

use crate::api::{SessionCost, Stream, Timestamp};
use crate::sys::Usage;

/// A harness's exit, as its thread keeps it until the pipes are drained.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exited {
    pub(super) at: Timestamp,
    pub(super) usage: Option<Usage>,
}

/// Bytes and lines of one stream.
#[derive(Debug, Clone, Copy, Default)]
struct Written {
    bytes: u64,
    newlines: u64,
    /// The last line has no newline yet.
    is_inside_line: bool,
}

impl Written {
    fn add(&mut self, data: &[u8]) {
        self.bytes += data.len() as u64;
        self.newlines += memchr::memchr_iter(b'\n', data).count() as u64;
        self.is_inside_line = data
            .last()
            .map_or(self.is_inside_line, |&byte| byte != b'\n');
    }

    fn lines(self) -> u64 {
        self.newlines + u64::from(self.is_inside_line)
    }
}

/// What a harness has written so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tally {
    started_at: Timestamp,
    stdout: Written,
    stderr: Written,
}

impl Tally {
    pub(super) fn new(started_at: Timestamp) -> Self {
        Self {
            started_at,
            stdout: Written::default(),
            stderr: Written::default(),
        }
    }

    pub(super) fn started_at(&self) -> Timestamp {
        self.started_at
    }

    pub(super) fn add(&mut self, stream: Stream, data: &[u8]) {
        match stream {
            Stream::Stdout => self.stdout.add(data),
            Stream::Stderr => self.stderr.add(data),
        }
    }

    /// The whole bill of a harness that has exited like this.
    pub(super) fn cost(&self, exited: Exited) -> SessionCost {
        SessionCost {
            started_at: Some(self.started_at),
            ended_at: Some(exited.at),
            cpu_ms: exited.usage.map(|usage| usage.cpu.as_millis() as u64),
            peak_rss_bytes: exited.usage.map(|usage| usage.peak_rss),
            stdout_bytes: Some(self.stdout.bytes),
            stdout_lines: Some(self.stdout.lines()),
            stderr_bytes: Some(self.stderr.bytes),
            stderr_lines: Some(self.stderr.lines()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_wherever_the_reads_are() {
        for (text, lines) in [("", 0), ("a", 1), ("a\n", 1), ("a\nb", 2), ("\n\n", 2)] {
            for at in 0..=text.len() {
                let mut written = Written::default();
                written.add(&text.as_bytes()[..at]);
                written.add(&text.as_bytes()[at..]);
                assert_eq!(written.lines(), lines, "{text:?} split at {at}");
                assert_eq!(written.bytes, text.len() as u64);
            }
        }
    }
}
