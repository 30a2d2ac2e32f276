//! The outermost layer: removes terminal escape sequences from a stream, and reinserts them at their places.
//!
//! Runs on the stream's thread. Only plain data between two writes; must not know what secrets look like.

use memchr::{memchr, memrchr};

/// Maximum length of an escape sequence, in bytes: longer ones are text.
const SEQUENCE_MAX: usize = 128;

/// Maximum backslashes of a sequence with a written-out escape character: JSON nested five deep.
const BACKSLASHES_MAX: usize = 16;

/// Memory for a sequence that is set aside, in addition to its bytes.
const MARK_BYTES: usize = size_of::<(usize, usize)>();

/// Bytes of sequences that each byte of text allows to set aside, and the maximum of saved allowance: two 24-bit
/// colours per character. This bounds the sequences by the held text.
const ASIDE_EACH: usize = 64;
const ASIDE_MAX: usize = 4096;

const ESCAPE: u8 = 0x1b;

/// Spellings of an escape character in strings.
const WRITTEN: [&[u8]; 5] = [b"u001b", b"u001B", b"x1b", b"033", b"e"];

/// Text without its escape sequences, which are kept separately.
#[derive(Debug, Default, Clone)]
pub(super) struct Layer {
    pub(super) text: Vec<u8>,
    /// Position of each sequence in `text`, and its end in `sequences`.
    marks: Vec<(usize, usize)>,
    sequences: Vec<u8>,
    /// Number of `marks` that have been written.
    written: usize,
    /// Beginning of an incomplete sequence.
    tail: Vec<u8>,
    /// Bytes set aside beyond the allowance that the text has earned.
    aside: usize,
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

    /// Position of the next sequence from `at` on.
    pub(super) fn next_mark(&self, at: usize) -> usize {
        let next = self.marks.partition_point(|mark| mark.0 < at);
        self.marks.get(next).map_or(usize::MAX, |mark| mark.0)
    }

    /// True if a sequence stood before the byte at `at`.
    pub(super) fn is_marked(&self, at: usize) -> bool {
        !self.marks.is_empty() && self.marks.binary_search_by_key(&at, |mark| mark.0).is_ok()
    }

    /// At a pause: an incomplete written-out sequence becomes text. A bare escape character stays held.
    pub(super) fn expire(&mut self) {
        if self.tail.first() == Some(&b'\\') {
            self.push(b"", true);
        }
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
        let is_written_somewhere = has_written(data);
        let mut from = 0;
        let mut search = 0;
        while let Some(at) = next_start(data, search, is_written_somewhere) {
            match sequence(&data[at..]) {
                Sequence::Whole(length) => {
                    self.add_text(&data[from..at]);
                    from = at;
                    search = at + length;
                    let aside = self.aside + length + MARK_BYTES;
                    self.aside = aside.min(ASIDE_MAX);
                    let is_too_much = aside > ASIDE_MAX;
                    if data[at] == ESCAPE {
                        let moves = matches!(
                            data[at + length - 1],
                            b'A'..=b'H' | b'd' | b'f' | b'\\' | b']'
                        );
                        // Text elsewhere on the screen is another word; so is text after a sequence beyond the limit.
                        if moves || is_too_much {
                            self.add_text(&[ESCAPE]);
                            from += 1;
                        }
                    } else if is_too_much {
                        continue;
                    }
                    self.sequences.extend_from_slice(&data[from..search]);
                    self.marks.push((self.text.len(), self.sequences.len()));
                    from = search;
                }
                Sequence::Partial if !is_last => {
                    self.add_text(&data[from..at]);
                    self.tail.extend_from_slice(&data[at..]);
                    return;
                }
                Sequence::Partial | Sequence::None => search = at + 1,
            }
        }
        self.add_text(&data[from..]);
    }

    fn add_text(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
        self.aside = self.aside.saturating_sub(text.len() * ASIDE_EACH);
    }

    /// Appends a range of the text with its sequences to `out`; only the sequences if the text is `dropped`.
    pub(super) fn write(&mut self, from: usize, until: usize, dropped: bool, out: &mut Vec<u8>) {
        let mut at = from;
        // A sequence before a secret stays before its mark.
        let reach = until + usize::from(!dropped);
        while let Some(&(mark, end)) = self.marks.get(self.written).filter(|mark| mark.0 < reach) {
            if !dropped {
                out.extend_from_slice(&self.text[at..mark.max(at)]);
            }
            let begin = self
                .written
                .checked_sub(1)
                .map_or(0, |before| self.marks[before].1);
            out.extend_from_slice(&self.sequences[begin..end]);
            self.written += 1;
            at = mark.max(at);
        }
        if !dropped {
            out.extend_from_slice(&self.text[at..until]);
        }
    }

    /// Discards the text before `until`, which has been written.
    pub(super) fn forget(&mut self, until: usize) {
        self.text.drain(..until);
        let gone = self
            .marks
            .partition_point(|mark| mark.0 < until)
            .min(self.written);
        let cut = gone.checked_sub(1).map_or(0, |last| self.marks[last].1);
        self.marks.drain(..gone);
        self.sequences.drain(..cut);
        for (at, end) in &mut self.marks {
            *at = at.saturating_sub(until);
            *end -= cut;
        }
        self.written -= gone;
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.text.len() + self.sequences.len() + self.tail.len() + self.marks.len() * MARK_BYTES
    }

    /// Frees the memory that a burst needed.
    pub(super) fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.marks.shrink_to_fit();
        self.sequences.shrink_to_fit();
        self.tail.shrink_to_fit();
    }
}

/// True if `data` can contain a written-out sequence, including one that is cut off.
fn has_written(data: &[u8]) -> bool {
    let end = &data[data.len().saturating_sub(SEQUENCE_MAX)..];
    memrchr(b'\\', end).is_some()
        || memchr::memchr_iter(b'[', data).any(|at| {
            matches!(
                &data[..at],
                [.., b'1', b'b' | b'B'] | [.., b'3', b'3'] | [.., b'\\', b'e']
            )
        })
}

/// Next possible beginning of a sequence.
fn next_start(data: &[u8], from: usize, is_written_somewhere: bool) -> Option<usize> {
    let rest = data.get(from..)?;
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
        .position(|byte| !(0x20..=0x3f).contains(byte))
    {
        Some(length) if (0x40..=0x7e).contains(&known[at + length]) => {
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
        if rest[..known] != name[..known] {
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
