//! Finds the values of a session's environment in its texts, plain or in base64.
//!
//! Built on the thread that launches, used on those that redact. It knows names and values, not their source.

use std::ops::Range;

use aho_corasick::packed::{Config, Searcher};
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD as STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

use super::layer::Layer;
use super::rules::{self, Ending, Found};
use super::value;
use super::view::{self, More, View};
use super::{Open, Secret};
use crate::sys::passed;

/// Kind of these secrets.
pub(super) const KIND: &str = "environment";

/// Maximum sum of one session's values, in bytes; it bounds their memory.
const VALUES_MAX: usize = 32 * 1024;

/// Maximum length of a piece, in bytes. Longer lines are cut into pieces, because a begun piece is held.
const PIECE_MAX: usize = 256;

/// Overlap of two pieces, in bytes: a base64 character that spans their border belongs to one of them.
const OVERLAP: usize = 3;

/// Minimum length of a begun value that a pause removes, in characters: shorter ones also begin other text.
const BEGUN_MIN: usize = 8;

/// Bounds of the part of a value that the vectorised search looks for, in bytes.
const ANCHOR_MIN: usize = 4;
const ANCHOR_MAX: usize = 8;

/// Maximum number of parts of one search.
const GROUP_MAX: usize = 64;

/// Maximum length of a value in its layers, in bytes: so many for each character, and so many more.
const LAYER_MAX: usize = 8;
const LAYERS_MAX: usize = 64;

/// Length in bytes from which overlapping values are no longer joined to one secret. Otherwise text that repeats a value
/// which overlaps itself would be held without a bound.
const HOLD_MAX: usize = 4 * 1024;

/// Maximum length of an escape, in bytes.
const ESCAPE_MAX: usize = 40;

/// The values of one session.
pub(super) struct Known {
    /// The values, line by line.
    lines: Vec<String>,
    /// Sorted by their first character.
    needles: Vec<Needle>,
    /// Index in `needles` of the first one with this first character or a later one.
    begins: Box<[u16; 257]>,
    groups: Vec<Group>,
    /// Length of the longest needle, in characters.
    longest: usize,
}

/// A value, or a piece of one, in one form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Needle {
    #[serde(with = "passed::bytes")]
    text: Vec<u8>,
    is_base64: bool,
}

/// Parts of needles that no layer changes, and that one search finds.
struct Group {
    searcher: Option<Searcher>,
    parts: Vec<Part>,
}

#[derive(Clone)]
struct Part {
    text: Vec<u8>,
    /// Index of its needle, and position in the needle.
    needle: usize,
    offset: usize,
}

/// Result of comparing a text with a needle.
enum Walk {
    /// The needle is complete, and ends here.
    Whole(usize),
    /// The text ends first; the last of the `matched` characters ends at `end`.
    Begun { end: usize, matched: usize },
    /// The text differs; the last equal character ends here.
    Differs(usize),
}

/// Like [`rules::find`], and finds the session's values.
pub(super) fn find(
    known: Option<&Known>,
    layer: &Layer,
    floor: usize,
    from: usize,
    ending: Ending,
) -> Found {
    let found = rules::find(layer, floor, from, ending);
    let until = match &found {
        Found::Secret(secret) => secret.range.end,
        Found::Wait { .. } => usize::MAX,
    };
    match known.and_then(|known| known.find(layer, floor, from..until, ending)) {
        None => found,
        Some(hit) => with(found, hit, from, ending),
    }
}

/// The first of `found`, by the rules, and `hit`; joined to one secret if they overlap.
fn with(found: Found, mut hit: Secret, from: usize, ending: Ending) -> Found {
    let (start, end) = (hit.range.start, hit.range.end);
    let (at, hold, secret) = match &found {
        Found::Secret(secret) => (from, secret.range.start, Some(secret)),
        Found::Wait { at, hold, begun } => (
            *at,
            *hold,
            begun.as_ref().filter(|_| ending != Ending::Open),
        ),
    };
    let is_held = ending == Ending::Pause && secret.is_none() && hold < start;
    if is_held || secret.is_some_and(|secret| secret.range.end <= start) {
        return found;
    }
    let is_found = matches!(found, Found::Secret(_));
    if ending == Ending::Open && (hit.open != Open::No || !is_found && at < end) {
        return Found::Wait {
            at: at.min(start),
            hold: hold.min(start),
            begun: None,
        };
    }
    let mut goes_on = hit.open != Open::No;
    if let Some(secret) = secret.filter(|secret| secret.range.start < end) {
        if secret.range.start <= start {
            (hit.kind, hit.range.start) = (secret.kind, secret.range.start);
        }
        // A private key is swallowed line by line from its first line on.
        if secret.range.end > end || secret.open == Open::Key {
            (hit.open, hit.range.end) = (secret.open, secret.range.end);
            goes_on = !is_found;
        }
    }
    match goes_on {
        true => Found::Wait {
            at: from,
            hold: start,
            begun: Some(hit),
        },
        false => Found::Secret(hit),
    }
}

impl Known {
    /// The values among `given`, pairs of name and value, that can be secret; `None` without such values.
    pub(super) fn new<'a>(given: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let mut lines: Vec<String> = Vec::new();
        let mut left = VALUES_MAX;
        for (name, value) in given {
            for line in value.lines().map(str::trim) {
                let is_new = || !lines.iter().any(|known| known == line);
                if line.len() <= left && value::is_given(name, line) && is_new() {
                    left -= line.len();
                    lines.push(line.to_owned());
                }
            }
        }
        Self::of(lines)
    }

    /// The values with these `lines`, all of which are secret.
    pub(super) fn of(lines: Vec<String>) -> Option<Self> {
        let mut needles: Vec<Needle> = lines.iter().flat_map(|line| needles(line)).collect();
        needles.sort_by_key(|needle| needle.text[0]);
        let parts: Vec<Part> = needles.iter().enumerate().flat_map(parts).collect();
        let groups = parts.chunks(GROUP_MAX).map(|parts| Group {
            searcher: Config::new()
                .builder()
                .extend(parts.iter().map(|part| &part.text))
                .build(),
            parts: parts.to_vec(),
        });
        let mut begins = Box::new([0; 257]);
        for (byte, begin) in begins.iter_mut().enumerate() {
            *begin = needles.partition_point(|needle| usize::from(needle.text[0]) < byte) as u16;
        }
        let longest = needles.iter().map(|needle| needle.text.len()).max()?;
        Some(Self {
            groups: groups.collect(),
            lines,
            needles,
            begins,
            longest,
        })
    }

    /// The values, line by line.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.clone()
    }

    /// The value with this number.
    pub(super) fn value(&self, needle: usize) -> Option<Needle> {
        self.needles.get(needle).cloned()
    }

    /// The number of a value.
    pub(super) fn number_of(&self, value: &Needle) -> Option<usize> {
        self.needles.iter().position(|needle| needle == value)
    }

    /// The first value that begins within these positions, or one behind it.
    fn find(
        &self,
        layer: &Layer,
        floor: usize,
        within: Range<usize>,
        end: Ending,
    ) -> Option<Secret> {
        let view = View::new(&layer.text, end == Ending::Last);
        // A command in passed text can still have an argument; a value cannot begin there.
        let from = within.start.max(floor);
        let near = within.end.saturating_add(self.span_max());
        let whole = self
            .whole(view, floor, from, near)
            .and_then(|_| self.whole(view, floor, from, usize::MAX));
        let begun = self
            .begun(view, floor, from..within.end)
            .filter(|(_, open)| match open {
                Open::Known { matched, .. } => end == Ending::Open || *matched >= BEGUN_MIN,
                _ => false,
            });
        let whole_end = whole.as_ref().map_or(usize::MAX, |whole| whole.end);
        match begun {
            Some((start, open)) if start < whole_end => {
                let first = whole.map_or(start, |whole| whole.start.min(start));
                let open = if end == Ending::Last { Open::No } else { open };
                Some(Secret::new(KIND, first..view.text.len(), open))
            }
            _ => whole.map(|range| Secret::new(KIND, range, Open::No)),
        }
    }

    /// The first complete value between `from` and `last`, joined with the values that begin before its end.
    fn whole(
        &self,
        view: View<'_>,
        floor: usize,
        from: usize,
        mut last: usize,
    ) -> Option<Range<usize>> {
        let text = view.text;
        let mut found: Vec<Range<usize>> = Vec::new();
        for group in &self.groups {
            let mut next = from;
            while let Some((at, _)) = rules::next_of(
                group.searcher.as_ref(),
                group.parts.iter().map(|part| &part.text[..]),
                &text[..text.len().min(last)],
                next,
            ) {
                let parts = group.parts.iter();
                let parts = parts.filter(|part| text[at..].starts_with(&part.text));
                for range in parts.filter_map(|part| self.around(view, floor, from, at, part)) {
                    // Values after this position do not overlap the first one.
                    last = last.min(range.end + HOLD_MAX + self.span_max());
                    found.push(range);
                }
                next = at + 1;
            }
        }
        found.sort_unstable_by_key(|range| range.start);
        let mut found = found.into_iter();
        let mut first = found.next()?;
        for next in found {
            if next.start >= first.end {
                break;
            }
            if first.len() >= HOLD_MAX {
                first.end = next.start;
                break;
            }
            first.end = first.end.max(next.end);
        }
        Some(first)
    }

    /// The value whose `part` is at `at`.
    fn around(
        &self,
        view: View<'_>,
        floor: usize,
        from: usize,
        at: usize,
        part: &Part,
    ) -> Option<Range<usize>> {
        let last = at.checked_sub(part.offset)?;
        let first = at.saturating_sub(LAYER_MAX * part.offset).max(from);
        (first..=last).find_map(|start| {
            match self.walk(view, &self.needles[part.needle], start, 0) {
                Walk::Whole(end) if end > at => Some(glyph_start(view, floor, start)..end),
                _ => None,
            }
        })
    }

    /// The first value from `from` on that is incomplete at the text's end.
    fn begun(&self, view: View<'_>, floor: usize, within: Range<usize>) -> Option<(usize, Open)> {
        let first = within.start + self.first_begin(&view.text[within.start..]);
        (first..within.end.min(view.text.len())).find_map(|start| {
            let begin = |byte: usize| usize::from(self.begins[byte]);
            let needles = match view.glyph(start) {
                Ok(glyph) => begin(glyph.byte.into())..begin(usize::from(glyph.byte) + 1),
                Err(More) => 0..1,
            };
            let walk = |needle| match self.walk(view, &self.needles[needle], start, 0) {
                Walk::Begun { matched, .. } => Some(Open::Known { needle, matched }),
                Walk::Whole(_) | Walk::Differs(_) => None,
            };
            let open = needles.into_iter().find_map(walk)?;
            Some((glyph_start(view, floor, start), open))
        })
    }

    /// Earliest position in `text` of a value that is incomplete at its end. Each character takes at least one byte;
    /// escapes take more, and base64 can contain white space.
    fn first_begin(&self, text: &[u8]) -> usize {
        let mut left = self.longest;
        let mut at = text.len();
        while at > 0 && left > 0 {
            at -= 1;
            match text[at] {
                b'\\' | b'%' | b'&' | b'\'' => left += ESCAPE_MAX,
                byte if byte.is_ascii_whitespace() => {}
                _ => left -= 1,
            }
        }
        at
    }

    /// Continues a begun value at `at`; returns the end of that part, and the further continuation.
    pub(super) fn go_on(&self, view: View<'_>, at: usize, open: Open) -> (usize, Open) {
        let Open::Known { needle, matched } = open else {
            return (at, Open::No);
        };
        match self.walk(view, &self.needles[needle], at, matched) {
            Walk::Begun { end, matched } if !view.is_last => (end, Open::Known { needle, matched }),
            Walk::Begun { end, .. } | Walk::Whole(end) | Walk::Differs(end) => (end, Open::No),
        }
    }

    /// Maximum length of a value in any layers, in bytes.
    fn span_max(&self) -> usize {
        LAYER_MAX * self.longest + LAYERS_MAX
    }

    /// Compares the text at `start` with `needle`, of which the first `matched` characters precede.
    fn walk(&self, view: View<'_>, needle: &Needle, start: usize, mut matched: usize) -> Walk {
        let (mut at, mut end) = (start, start);
        while matched < needle.text.len() {
            let glyph = match view.glyph(at) {
                Ok(glyph) if glyph.end > at => glyph,
                Ok(_) | Err(More) => return Walk::Begun { end, matched },
            };
            at = glyph.end;
            let wanted = needle.text[matched];
            // A query writes a space as `+`.
            let is_same = glyph.byte == wanted || wanted == b' ' && glyph.byte == b'+';
            let is_wrap = needle.is_base64 && glyph.byte.is_ascii_whitespace();
            if at - start > self.span_max() || !is_same && (matched == 0 || !is_wrap) {
                return Walk::Differs(end);
            }
            if is_same {
                (matched, end) = (matched + 1, at);
            }
        }
        Walk::Whole(end)
    }
}

/// The forms of a value, or of its pieces: plain, and in base64 (RFC 4648).
fn needles(line: &str) -> Vec<Needle> {
    let mut needles = Vec::new();
    let mut add = |text: &[u8], is_base64| {
        needles.push(Needle {
            text: text.into(),
            is_base64,
        });
    };
    for piece in pieces(line.as_bytes()) {
        // The preceding bytes decide which bits begin a character; the characters that they share are not the value's.
        for (before, shared) in [(0, 0), (1, 2), (2, 3)] {
            let all = STANDARD_NO_PAD.encode([&[0; 2][..before], piece].concat());
            let own = &all[shared..8 * (before + piece.len()) / 6];
            add(own.as_bytes(), true);
            // The alphabets differ in two characters, which few values have.
            if own.contains(['+', '/']) {
                add(own.replace('+', "-").replace('/', "_").as_bytes(), true);
            }
        }
    }
    let mut text = line.as_bytes();
    // The text after the value decides whether these bytes begin an escape.
    while let [rest @ .., b'\\' | b'%' | b'&' | b'\''] | [rest @ .., b'%', _] = text {
        text = rest;
    }
    let plain = View::new(text, true).seen(0, text.len());
    if plain.len() >= BEGUN_MIN {
        pieces(&plain).for_each(|piece| add(piece, false));
        if !plain.is_ascii() {
            // The view of `\u` and of character references.
            let units = String::from_utf8_lossy(&plain).into_owned();
            let units: Vec<u8> = units.encode_utf16().map(view::shown).collect();
            pieces(&units).for_each(|piece| add(piece, false));
        }
    }
    needles
}

/// The parts of the `index`th needle that are searched for.
fn parts((index, needle): (usize, &Needle)) -> Vec<Part> {
    let first = anchor(needle, 0);
    // A line break of base64 can divide one part, but not both.
    let second = anchor(needle, first.end);
    let has_second = needle.is_base64 && second.start > first.start;
    let ranges = [Some(first), has_second.then_some(second)];
    let part = |range: Range<usize>| Part {
        offset: range.start,
        text: needle.text[range].to_vec(),
        needle: index,
    };
    ranges.into_iter().flatten().map(part).collect()
}

/// Range in `needle`, from `from` on, of a part that no layer changes; without one, the needle's beginning.
fn anchor(needle: &Needle, from: usize) -> Range<usize> {
    let most = match needle.is_base64 {
        false => ANCHOR_MAX,
        true => ANCHOR_MIN,
    };
    let is_kept = |byte: u8| byte.is_ascii_alphanumeric() || is_one_of!(byte, b"_-.");
    let (mut best, mut begin) = (0..0, from);
    for at in from..needle.text.len() {
        if !is_kept(needle.text[at]) {
            begin = at + 1;
        } else if (best.len() < ANCHOR_MIN || best.start == begin && best.len() < most)
            && at + 1 - begin > best.len()
        {
            best = begin..at + 1;
        }
    }
    match best.len() {
        0 | 1 => 0..ANCHOR_MIN,
        _ => best,
    }
}

/// `text` in pieces of a bounded length.
fn pieces(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let last = text.len().saturating_sub(PIECE_MAX);
    let starts = (0..text.len() - OVERLAP).step_by(PIECE_MAX - OVERLAP);
    starts.map(move |at| &text[at.min(last)..text.len().min(at.min(last) + PIECE_MAX)])
}

/// Beginning of the glyph that contains the byte at `at`.
fn glyph_start(view: View<'_>, floor: usize, at: usize) -> usize {
    let reaches = |begin: &usize| {
        matches!(view.text[*begin], b'\\' | b'%' | b'&' | b'\'')
            && view.glyph(*begin).is_ok_and(|glyph| glyph.end > at)
    };
    (floor.max(at.saturating_sub(ESCAPE_MAX))..at)
        .find(reaches)
        .unwrap_or(at)
}

#[cfg(test)]
#[path = "known_tests.rs"]
mod tests;
