//! The outermost layer: removes terminal escape sequences from a stream, and reinserts them at their places.
//!
//! Runs on the stream's thread. Only plain data between two writes; must not know what secrets look like.

use memchr::memchr;
use serde::{Deserialize, Serialize};

use crate::sys::passed;

/// Maximum length of an escape sequence, in bytes: longer ones are text.
const SEQUENCE_MAX: usize = 128;

/// Maximum backslashes of a sequence with a written-out escape character: JSON nested five deep.
const BACKSLASHES_MAX: usize = 16;

/// Memory for a sequence that is set aside, in addition to its bytes.
const MARK_BYTES: usize = size_of::<Mark>();

/// Bytes of sequences that each byte of text allows to set aside, and the maximum of saved allowance: two 24-bit
/// colours per character. This bounds the sequences by the held text.
const ASIDE_EACH: usize = 64;
const ASIDE_MAX: usize = 4096;

const ESCAPE: u8 = 0x1b;

/// Spellings of an escape character in strings.
const WRITTEN: [&[u8]; 5] = [b"u001b", b"u001B", b"x1b", b"033", b"e"];

/// Text without its escape sequences, beside the bytes as they arrived.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Layer {
    #[serde(with = "passed::bytes")]
    pub(super) text: Vec<u8>,
    /// The sequences before each position of `text`.
    #[serde(default, skip_serializing_if = "passed::is_default")]
    marks: Vec<Mark>,
    /// The text with its sequences, from the first byte that has not been written or dropped.
    #[serde(
        with = "passed::bytes",
        default,
        skip_serializing_if = "passed::is_default"
    )]
    raw: Vec<u8>,
    /// Number of bytes of `raw` that have been written or dropped since the last [`Self::forget`].
    #[serde(default, skip_serializing_if = "passed::is_default")]
    written: usize,
    /// Beginning of an incomplete sequence.
    #[serde(
        with = "passed::bytes",
        default,
        skip_serializing_if = "passed::is_default"
    )]
    tail: Vec<u8>,
    /// Bytes set aside beyond the allowance that the text has earned.
    #[serde(default, skip_serializing_if = "passed::is_default")]
    aside: usize,
}

/// An escape sequence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Mark {
    /// Its position in the text.
    at: usize,
    /// Its end in the bytes as they arrived.
    end: usize,
}

/// Classification of a possible escape sequence.
enum Sequence {
    /// Complete, with this length.
    Whole(usize),
    /// Incomplete.
    Partial,
    None,
}

impl Layer {
    /// True if the beginning of a sequence is held that is in neither `text` nor the marks.
    pub(super) fn has_tail(&self) -> bool {
        !self.tail.is_empty()
    }

    /// Positions of the sequences from `at` on.
    pub(super) fn marks_from(&self, at: usize) -> impl Iterator<Item = usize> {
        let next = self.marks.partition_point(|mark| mark.at < at);
        self.marks[next..].iter().map(|mark| mark.at)
    }

    /// True if a sequence stood before the byte at `at`.
    pub(super) fn is_marked(&self, at: usize) -> bool {
        !self.marks.is_empty() && self.marks_from(at).next() == Some(at)
    }

    /// Separates text and sequences of `data`; `is_last` if nothing follows soon.
    pub(super) fn push(&mut self, data: &[u8], is_last: bool) {
        if self.tail.is_empty() {
            return self.split(data, is_last);
        }
        let mut joined = std::mem::take(&mut self.tail);
        joined.extend_from_slice(data);
        self.split(&joined, is_last);
    }

    fn split(&mut self, data: &[u8], is_last: bool) {
        let base = self.raw.len();
        let (mut from, mut until) = (0, data.len());
        // Most text has neither.
        let mut search = memchr::memchr2(ESCAPE, b'\\', data).unwrap_or(data.len());
        let is_written_somewhere = search < data.len() && has_written(&data[search..]);
        while let Some(at) = next_start(data, search, is_written_somewhere) {
            match sequence(&data[at..]) {
                Sequence::Whole(length) => {
                    search = at + length;
                    let earned = (at - from) * ASIDE_EACH;
                    let aside = self.aside.saturating_sub(earned) + length + MARK_BYTES;
                    let is_too_much = aside > ASIDE_MAX;
                    let is_escape = data[at] == ESCAPE;
                    // Text elsewhere on the screen is another word; so is text after a sequence beyond the limit.
                    let is_word_end = is_escape && (is_too_much || moves(data[search - 1]));
                    let shown = at + usize::from(is_word_end);
                    self.text.extend_from_slice(&data[from..shown]);
                    self.aside = aside.min(ASIDE_MAX);
                    from = shown;
                    if is_word_end {
                        self.aside = self.aside.saturating_sub(ASIDE_EACH);
                    } else if is_too_much {
                        continue;
                    }
                    self.marks.push(Mark {
                        at: self.text.len(),
                        end: base + search,
                    });
                    from = search;
                }
                Sequence::Partial if !is_last => {
                    self.tail.extend_from_slice(&data[at..]);
                    until = at;
                    break;
                }
                Sequence::Partial | Sequence::None => search = at + 1,
            }
        }
        self.text.extend_from_slice(&data[from..until]);
        self.aside = self.aside.saturating_sub((until - from) * ASIDE_EACH);
        self.raw.extend_from_slice(&data[..until]);
    }

    /// Appends the text from `from`, the first byte that has not been written, until `until` with its sequences to
    /// `out`; only the sequences if the text is `dropped`.
    pub(super) fn write(&mut self, from: usize, until: usize, dropped: bool, out: &mut Vec<u8>) {
        let begin = self.marks.partition_point(|mark| mark.end <= self.written);
        // A sequence before a secret stays before its mark.
        let reach = until + usize::from(!dropped);
        let marks = &self.marks[begin..];
        let marks = &marks[..marks.partition_point(|mark| mark.at < reach)];
        let (mut at, mut raw) = (from, self.written);
        if dropped {
            for mark in marks {
                out.extend_from_slice(&self.raw[raw + mark.at - at..mark.end]);
                (at, raw) = (mark.at, mark.end);
            }
        } else if let Some(mark) = marks.last() {
            (at, raw) = (mark.at, mark.end);
        }
        let end = raw + until - at;
        if !dropped {
            out.extend_from_slice(&self.raw[self.written..end]);
        }
        self.written = end;
    }

    /// Discards the text before `until`, and all that has been written.
    pub(super) fn forget(&mut self, until: usize) {
        self.text.drain(..until);
        self.raw.drain(..self.written);
        let gone = self.marks.partition_point(|mark| mark.at < until);
        self.marks.drain(..gone);
        for mark in &mut self.marks {
            mark.at -= until;
            mark.end = mark.end.saturating_sub(self.written);
        }
        self.written = 0;
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.text.len() + self.raw.len() + self.tail.len() + self.marks.len() * MARK_BYTES
    }

    /// Frees the memory that a burst needed.
    pub(super) fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.marks.shrink_to_fit();
        self.raw.shrink_to_fit();
        self.tail.shrink_to_fit();
    }
}

/// True if a sequence with that last byte moves the cursor, or begins or ends a title or a link.
fn moves(last: u8) -> bool {
    matches!(last, b'A'..=b'H' | b'd' | b'f' | b'\\' | b']')
}

/// True if `data` can contain a written-out sequence, including one that is cut off.
fn has_written(data: &[u8]) -> bool {
    let end = &data[data.len().saturating_sub(SEQUENCE_MAX)..];
    memchr(b'\\', data).is_some()
        && (memchr(b'\\', end).is_some()
            || memchr::memchr_iter(b'[', data).any(|at| {
                matches!(
                    &data[..at],
                    [.., b'1', b'b' | b'B'] | [.., b'3', b'3'] | [.., b'\\', b'e']
                )
            }))
}

/// Next possible beginning of a sequence.
fn next_start(data: &[u8], from: usize, is_written_somewhere: bool) -> Option<usize> {
    let rest = data.get(from..).filter(|rest| !rest.is_empty())?;
    let found = match is_written_somewhere {
        true => memchr::memchr2(ESCAPE, b'\\', rest),
        false => memchr(ESCAPE, rest),
    };
    found.map(|at| from + at)
}

/// Classifies the sequence at the beginning of `data` (ECMA-48, 5.3 to 5.6).
fn sequence(data: &[u8]) -> Sequence {
    if data[0] == b'\\' {
        return written_sequence(data);
    }
    match data.get(1) {
        None => Sequence::Partial,
        Some(b'[') => control_sequence(data, 2),
        // The text of an operating system command, a link or a title, is read as text.
        Some(b']') => Sequence::Whole(2),
        Some(0x20..=0x2f) => match data.get(2) {
            None => Sequence::Partial,
            Some(0x30..=0x7e) => Sequence::Whole(3),
            Some(_) => Sequence::None,
        },
        Some(0x30..=0x7e) => Sequence::Whole(2),
        Some(_) => Sequence::None,
    }
}

/// From the parameters on, which begin at `at`.
fn control_sequence(data: &[u8], at: usize) -> Sequence {
    let known = &data[..data.len().min(SEQUENCE_MAX)];
    match known[at..]
        .iter()
        .position(|byte| !matches!(byte, 0x20..=0x3f))
    {
        Some(length) if matches!(known[at + length], 0x40..=0x7e) => {
            Sequence::Whole(at + length + 1)
        }
        None if known.len() < SEQUENCE_MAX => Sequence::Partial,
        _ => Sequence::None,
    }
}

/// A colour whose escape character is written out, as in JSON.
fn written_sequence(data: &[u8]) -> Sequence {
    let known = &data[..data.len().min(BACKSLASHES_MAX + 1)];
    let Some(run) = known.iter().position(|byte| *byte != b'\\') else {
        return match known.len() <= BACKSLASHES_MAX {
            true => Sequence::Partial,
            false => Sequence::None,
        };
    };
    let rest = &data[run..];
    for name in WRITTEN {
        let known = rest.len().min(name.len());
        if rest[0] != name[0] || rest[..known] != name[..known] {
            continue;
        }
        match rest.get(name.len()) {
            None => return Sequence::Partial,
            Some(b'[') => return control_sequence(data, run + name.len() + 1),
            Some(_) => {}
        }
    }
    Sequence::None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Random, rounds};

    /// The text, and what is written out, of `text` in two writes.
    fn in_two_writes(text: &str, cut: usize) -> (Vec<u8>, Vec<u8>) {
        let mut layer = Layer::default();
        layer.push(&text.as_bytes()[..cut], false);
        layer.push(&text.as_bytes()[cut..], false);
        layer.push(b"", true);
        let mut out = Vec::new();
        layer.write(0, layer.text.len(), false, &mut out);
        (layer.text, out)
    }

    #[test]
    fn too_many_sequences_in_a_row_are_words_of_their_own_wherever_a_write_ends() {
        let rows = [
            "\x1b[0m".repeat(300),
            "\\".repeat(50) + "u001b[0m",
            "\\u001b[0m".repeat(300),
        ];
        let text = rows.join("text");
        let whole = in_two_writes(&text, 0);
        assert_eq!(whole.1, text.as_bytes());
        let escapes = whole.0.iter().filter(|byte| **byte == ESCAPE).count();
        assert!((1..300).contains(&escapes), "{escapes}");
        for cut in 0..=text.len() {
            assert_eq!(in_two_writes(&text, cut), whole, "at {cut}");
        }
    }

    #[test]
    fn sequences_come_back_where_they_stood_wherever_a_write_ends() {
        #[rustfmt::skip]
        const PIECES: [&str; 12] = [
            "\x1b[1;31m", "\x1b[0m", "\\u001b[1m", "\\\\x1b[32m", "\\033[m", "\x1b]8;;", "\x1b\\", "\\n", "\\",
            "text", "\x1b", "[",
        ];
        let mut random = Random::new(5);
        for _ in 0..rounds(2000) {
            let text: String = (0..random.below(9))
                .map(|_| *random.pick(&PIECES))
                .collect();
            let whole = in_two_writes(&text, 0);
            assert_eq!(whole.1, text.as_bytes(), "{text:?}");
            for cut in 0..=text.len() {
                assert_eq!(in_two_writes(&text, cut), whole, "{text:?} at {cut}");
            }
        }
    }
}
