//! Counts the bytes and lines that a harness writes, before redaction.
//!
//! The harness thread counts; any thread reads. It knows nothing of sessions.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use crate::api::{SessionCost, Stream, Timestamp};
use crate::sys::ResourceUsage;

/// The exit of a harness, kept until its pipes are drained.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Exited {
    pub(super) at: Timestamp,
    pub(super) usage: Option<ResourceUsage>,
}

/// Bytes and lines of one stream.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Written {
    bytes: AtomicU64,
    newlines: AtomicU64,
    /// The last line has no newline.
    is_inside_line: AtomicBool,
}

impl Written {
    fn add(&self, data: &[u8]) {
        self.bytes.fetch_add(data.len() as u64, Relaxed);
        let newlines = memchr::memchr_iter(b'\n', data).count() as u64;
        self.newlines.fetch_add(newlines, Relaxed);
        if let Some(last) = data.last() {
            self.is_inside_line.store(*last != b'\n', Relaxed);
        }
    }

    fn copy(&self) -> Self {
        let Self {
            bytes,
            newlines,
            is_inside_line,
        } = self;
        Self {
            bytes: bytes.load(Relaxed).into(),
            newlines: newlines.load(Relaxed).into(),
            is_inside_line: is_inside_line.load(Relaxed).into(),
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    fn lines(&self) -> u64 {
        self.newlines.load(Relaxed) + u64::from(self.is_inside_line.load(Relaxed))
    }
}

/// Counters of a harness. Each is read on its own: two of them can be from different moments.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    stdout: Written,
    stderr: Written,
    /// Milliseconds since the Unix epoch.
    started_at: AtomicI64,
    /// Milliseconds since the Unix epoch; 0 without output.
    last_output_at: AtomicI64,
}

impl Tally {
    /// Records the start of the harness.
    pub(super) fn start(&self) {
        let now = Timestamp::now().as_millis();
        self.started_at.store(now, Relaxed);
    }

    pub(super) fn started_at(&self) -> Timestamp {
        Timestamp::from_millis(self.started_at.load(Relaxed))
    }

    pub(super) fn add(&self, stream: Stream, data: &[u8]) {
        match stream {
            Stream::Stdout => self.stdout.add(data),
            Stream::Stderr => self.stderr.add(data),
        }
        let now = Timestamp::now().as_millis();
        self.last_output_at.store(now, Relaxed);
    }

    /// The same figures in counters of their own.
    pub(super) fn copy(&self) -> Self {
        let Self {
            stdout,
            stderr,
            started_at,
            last_output_at,
        } = self;
        Self {
            stdout: stdout.copy(),
            stderr: stderr.copy(),
            started_at: started_at.load(Relaxed).into(),
            last_output_at: last_output_at.load(Relaxed).into(),
        }
    }

    /// The time of the last output; `None` without output.
    pub fn last_output_at(&self) -> Option<Timestamp> {
        let at = self.last_output_at.load(Relaxed);
        (at > 0).then(|| Timestamp::from_millis(at))
    }

    /// The time of the last output; without output, of the start.
    pub fn silent_since(&self) -> Timestamp {
        self.last_output_at().unwrap_or(self.started_at())
    }

    /// Bytes and lines so far; the other figures are `None`.
    pub fn written(&self) -> SessionCost {
        SessionCost {
            stdout_bytes: Some(self.stdout.bytes()),
            stdout_lines: Some(self.stdout.lines()),
            stderr_bytes: Some(self.stderr.bytes()),
            stderr_lines: Some(self.stderr.lines()),
            ..SessionCost::default()
        }
    }

    /// All figures of a harness that has exited.
    pub(super) fn cost(&self, exited: Exited) -> SessionCost {
        SessionCost {
            started_at: Some(self.started_at()),
            ended_at: Some(exited.at),
            cpu_ms: exited.usage.map(|usage| usage.cpu.as_millis() as u64),
            peak_rss_bytes: exited.usage.map(|usage| usage.peak_rss),
            ..self.written()
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
                let written = Written::default();
                written.add(&text.as_bytes()[..at]);
                written.add(&text.as_bytes()[at..]);
                assert_eq!(written.lines(), lines, "{text:?} split at {at}");
                assert_eq!(written.bytes(), text.len() as u64);
            }
        }
    }
}
