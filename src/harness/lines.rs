//! Extracts whole lines from a stream's pieces: those of interest, up to a maximum length.
//!
//! Pure: bytes in, lines out. Other lines cost only a check of the first byte and the search for the end.

use serde::{Deserialize, Serialize};

use crate::sys::passed;

/// Longest line that is read, in bytes: an agent's last message is one line.
pub(super) const LINE_MAX: usize = 1024 * 1024;

/// Larger line buffers are freed after the line.
const LINE_KEPT: usize = 64 * 1024;

/// The lines of a stream that start with a given byte.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Lines {
    first: u8,
    /// The start of an incomplete line.
    #[serde(with = "passed::bytes")]
    held: Vec<u8>,
    /// The rest of the line is skipped.
    is_skipping: bool,
}

impl Lines {
    pub(super) fn new(first: u8) -> Self {
        Self {
            first,
            ..Self::default()
        }
    }

    /// Calls `take` for each line that ends in `data`; empty data ends the stream, and its last line.
    pub(super) fn push(&mut self, data: &[u8], mut take: impl FnMut(&[u8])) {
        let mut rest = if data.is_empty() { b"\n" } else { data };
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest);
            let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
            rest = after.get(1..).unwrap_or_default();
            let begin = self.held.first().or(part.first());
            let length = self.held.len() + part.len();
            if begin.is_some_and(|&byte| byte != self.first) || length > LINE_MAX {
                self.is_skipping = true;
                self.held = Vec::new();
            }
            match (end, self.is_skipping) {
                (None, true) => {}
                (None, false) => self.held.extend_from_slice(part),
                (Some(_), true) => self.is_skipping = false,
                (Some(_), false) if self.held.is_empty() => take(part),
                (Some(_), false) => {
                    self.held.extend_from_slice(part);
                    take(&self.held);
                    self.held.clear();
                    self.held.shrink_to(LINE_KEPT);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_whole_or_skipped_whatever_its_length() {
        let lines = |parts: &[&str]| {
            let mut lines = Lines::new(b'{');
            let mut taken = Vec::new();
            parts
                .iter()
                .for_each(|part| lines.push(part.as_bytes(), |line| taken.push(line.to_vec())));
            (taken, lines.held.len())
        };
        assert_eq!(
            lines(&["{a", "b}\nx{\n", "\n{c}\n", "{d"]),
            (vec![b"{ab}".to_vec(), b"".to_vec(), b"{c}".to_vec()], 2)
        );
        let long = "{".repeat(LINE_MAX);
        assert_eq!(
            lines(&[&long, "{", "{}\n{e}\n"]),
            (vec![b"{e}".to_vec()], 0)
        );
    }
}
