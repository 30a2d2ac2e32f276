//! Finds the values of a session's environment in its texts, plain or in base64.
//!
//! Built on the thread that launches, used on those that redact. It knows names and values, not their source.

use std::ops::Range;

use aho_corasick::packed::{Config, Searcher};

use super::layer::Layer;
use super::names;
use super::rules::{self, Ending, Found};
use super::value::{is_digest, is_place, is_random};
use super::view::{self, More, View};
use super::{Open, Secret};

/// Kind of these secrets.
pub(super) const KIND: &str = "environment";

/// Minimum length of a removed value, in characters: shorter ones occur in other words by chance.
const VALUE_MIN: usize = 12;

/// Maximum sum of one session's values, in bytes; it bounds their memory.
const VALUES_MAX: usize = 32 * 1024;

/// Maximum length of a piece, in bytes. Longer lines are cut into pieces, because a begun piece is held.
const PIECE_MAX: usize = 256;

/// Overlap of two pieces, in bytes: a base64 character that spans their border belongs to one of them.
const OVERLAP: usize = 3;

/// Minimum length of a begun value that a pause removes, in characters: shorter ones also begin other text.
const BEGUN_MIN: usize = 8;

/// Maximum length of a word, in bytes: `development-eu` is one; a passphrase of letters is longer.
const WORD_MAX: usize = 15;

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
    texts: Vec<Box<[u8]>>,
    /// Sorted by their first character.
    needles: Vec<Needle>,
    /// Index in `needles` of the first one with this first character or a later one.
    begins: Box<[u16; 257]>,
    groups: Vec<Group>,
    /// Length of the longest needle, in characters.
    longest: usize,
}

/// A value, or a piece of one, in one form.
#[derive(Debug, Clone, Copy)]
struct Needle {
    /// Index in `texts`.
    text: usize,
    form: Form,
    /// Length in characters of the form.
    length: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    /// Base64 (RFC 4648), from the text's first bit that begins a character. That bit depends on the preceding bytes.
    Base64 {
        bit: usize,
        is_url: bool,
    },
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

/// A value in the text, or several that overlap.
struct Hit {
    range: Range<usize>,
    /// Continuation of the last value.
    open: Open,
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
    match known.and_then(|known| known.find(layer, floor, from, ending)) {
        None => found,
        Some(hit) => with(found, hit, from, ending),
    }
}

/// The first of `found`, by the rules, and `hit`; joined to one secret if they overlap.
fn with(found: Found, hit: Hit, from: usize, ending: Ending) -> Found {
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
    let mut joined = Secret {
        kind: KIND,
        range: hit.range,
        open: hit.open,
    };
    let mut goes_on = hit.open != Open::No;
    if let Some(secret) = secret.filter(|secret| secret.range.start < end) {
        if secret.range.start <= start {
            (joined.kind, joined.range.start) = (secret.kind, secret.range.start);
        }
        // A private key is swallowed line by line from its first line on.
        if secret.range.end > end || secret.open == Open::Key {
            (joined.open, joined.range.end) = (secret.open, secret.range.end);
            goes_on = !is_found;
        }
    }
    match goes_on {
        true => Found::Wait {
            at: from,
            hold: start,
            begun: Some(joined),
        },
        false => Found::Secret(joined),
    }
}

/// True if `line` of the value of `name` can be a secret. Paths, URLs, numbers, words, and values of settings are none:
/// ordinary output is full of them.
fn is_secret(name: &str, line: &str) -> bool {
    let text = line.as_bytes();
    let is_place = || match line.split_once("://") {
        Some((scheme, rest)) => is_plain_url(scheme, rest),
        None => is_place(text),
    };
    let is_number = || {
        text.iter()
            .all(|byte| byte.is_ascii_digit() || b".-".contains(byte))
    };
    // A line of one repeated character, which underlines a heading.
    let is_rule = || text.iter().all(|byte| *byte == text[0]);
    let is_word = || {
        let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || b"-_.".contains(byte);
        text.len() <= WORD_MAX && text.iter().all(is_letter)
    };
    let is_setting = || names::is_setting(name.as_bytes()) && (is_digest(text) || !is_random(text));
    line.chars().count() >= VALUE_MIN
        // The first or last line of a private key.
        && !line.starts_with("-----")
        && !is_place()
        && !is_number()
        && !is_rule()
        && !is_word()
        // A URL with a login is a secret also as a setting.
        && (!is_setting() || line.contains("://"))
}

/// True if a URL has no login, no query, and no random part in its path.
fn is_plain_url(scheme: &str, rest: &str) -> bool {
    scheme
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        && !rest.contains(['@', '?', '"', ' '])
        && !rest
            .split('/')
            .any(|part| part.len() >= VALUE_MIN && is_random(part.as_bytes()))
}

impl Known {
    /// The values among `given`, pairs of name and value, that can be secret; `None` without such values.
    pub(super) fn new<'a>(given: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let mut lines: Vec<&str> = Vec::new();
        let mut left = VALUES_MAX;
        for (name, value) in given {
            for line in value.lines().map(str::trim) {
                if line.len() <= left && is_secret(name, line) && !lines.contains(&line) {
                    left -= line.len();
                    lines.push(line);
                }
            }
        }
        let mut known = Self {
            texts: Vec::new(),
            needles: Vec::new(),
            begins: Box::new([0; 257]),
            groups: Vec::new(),
            longest: 0,
        };
        for line in lines {
            known.add(line);
        }
        (!known.needles.is_empty()).then(|| known.searched_for())
    }

    fn add(&mut self, line: &str) {
        let mut text = line.as_bytes();
        for piece in pieces(text) {
            for bit in [0, 4, 2] {
                let form = |is_url| Form::Base64 { bit, is_url };
                let length = (8 * piece.len() - bit) / 6;
                self.add_needle(piece, form(false), length);
                // The alphabets differ in two characters, which few values have.
                let last = self.needles[self.needles.len() - 1];
                if (0..length).any(|at| b"+/".contains(&self.character(&last, at))) {
                    self.add_needle(piece, form(true), length);
                }
            }
        }
        // The text after the value decides whether these bytes begin an escape.
        while let [rest @ .., b'\\' | b'%' | b'&' | b'\''] | [rest @ .., b'%', _] = text {
            text = rest;
        }
        let view = View {
            text,
            is_last: true,
        };
        let plain = view.seen(0, text.len());
        if plain.len() < BEGUN_MIN {
            return;
        }
        for piece in pieces(&plain) {
            self.add_needle(piece, Form::Plain, piece.len());
        }
        if !plain.is_ascii() {
            // The view of `\u` and of character references.
            let units = String::from_utf8_lossy(&plain).into_owned();
            let units: Vec<u8> = units.encode_utf16().map(view::shown).collect();
            for piece in pieces(&units) {
                self.add_needle(piece, Form::Plain, piece.len());
            }
        }
    }

    fn add_needle(&mut self, text: &[u8], form: Form, length: usize) {
        if self.texts.last().is_none_or(|last| **last != *text) {
            self.texts.push(text.into());
        }
        self.needles.push(Needle {
            text: self.texts.len() - 1,
            form,
            length,
        });
        self.longest = self.longest.max(length);
    }

    /// Sorts the needles, and builds the searches for their parts.
    fn searched_for(mut self) -> Self {
        let mut needles = std::mem::take(&mut self.needles);
        needles.sort_by_key(|needle| self.character(needle, 0));
        let firsts = needles.iter().map(|needle| self.character(needle, 0));
        let firsts: Vec<u8> = firsts.collect();
        for (byte, begin) in self.begins.iter_mut().enumerate() {
            *begin = firsts.partition_point(|first| usize::from(*first) < byte) as u16;
        }
        let mut parts = Vec::new();
        for (at, needle) in needles.iter().enumerate() {
            let first = self.anchor(needle, 0);
            // A line break of base64 can divide one part, but not both.
            let second = self.anchor(needle, first.end);
            let has_second = needle.form != Form::Plain && second.start > first.start;
            for range in [Some(first), has_second.then_some(second)]
                .into_iter()
                .flatten()
            {
                parts.push(Part {
                    offset: range.start,
                    text: range.map(|at| self.character(needle, at)).collect(),
                    needle: at,
                });
            }
        }
        self.needles = needles;
        let groups = parts.chunks(GROUP_MAX).map(|parts| Group {
            searcher: Config::new()
                .builder()
                .extend(parts.iter().map(|part| &part.text))
                .build(),
            parts: parts.to_vec(),
        });
        self.groups = groups.collect();
        self
    }

    /// Range in `needle`, from `from` on, of a part that no layer changes; without one, the needle's beginning.
    fn anchor(&self, needle: &Needle, from: usize) -> Range<usize> {
        let most = match needle.form {
            Form::Plain => ANCHOR_MAX,
            Form::Base64 { .. } => ANCHOR_MIN,
        };
        let is_kept = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let (mut best, mut begin) = (0..0, from);
        for at in from..needle.length {
            if !is_kept(self.character(needle, at)) {
                begin = at + 1;
            } else if best.len() < ANCHOR_MIN || best.start == begin && best.len() < most {
                best = match at + 1 - begin > best.len() {
                    true => begin..at + 1,
                    false => best,
                };
            }
        }
        match best.len() {
            0 | 1 => 0..ANCHOR_MIN,
            _ => best,
        }
    }

    /// The character of `needle` at `at`.
    fn character(&self, needle: &Needle, at: usize) -> u8 {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let text = &self.texts[needle.text];
        let Form::Base64 { bit, is_url } = needle.form else {
            return text[at];
        };
        let bit = bit + 6 * at;
        let next = text.get(bit / 8 + 1).copied().unwrap_or_default();
        let two = u16::from_be_bytes([text[bit / 8], next]);
        match DIGITS[usize::from(two >> (10 - bit % 8) & 63)] {
            b'+' if is_url => b'-',
            b'/' if is_url => b'_',
            digit => digit,
        }
    }

    fn find(&self, layer: &Layer, floor: usize, from: usize, ending: Ending) -> Option<Hit> {
        let view = View {
            text: &layer.text,
            is_last: ending == Ending::Last,
        };
        // A command in passed text can still have an argument; a value cannot begin there.
        let from = from.max(floor);
        let whole = self.whole(view, floor, from);
        let begun = self
            .begun(view, floor, from)
            .filter(|(_, open)| match open {
                Open::Known { matched, .. } => ending == Ending::Open || *matched >= BEGUN_MIN,
                _ => false,
            });
        let end = whole.as_ref().map_or(usize::MAX, |whole| whole.end);
        match begun {
            Some((start, open)) if start < end => Some(Hit {
                range: whole.map_or(start, |whole| whole.start.min(start))..view.text.len(),
                open: match ending {
                    Ending::Last => Open::No,
                    Ending::Open | Ending::Pause => open,
                },
            }),
            _ => whole.map(|range| Hit {
                range,
                open: Open::No,
            }),
        }
    }

    /// The first complete value from `from` on, joined with the values that begin before its end.
    fn whole(&self, view: View<'_>, floor: usize, from: usize) -> Option<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        // Values after this position do not overlap the first one.
        let mut last = usize::MAX;
        for group in &self.groups {
            let mut next = from;
            while let Some(at) = group.next(view.text, next).filter(|at| *at <= last) {
                let parts = group.parts.iter();
                let parts = parts.filter(|part| view.text[at..].starts_with(&part.text));
                for range in parts.filter_map(|part| self.around(view, floor, from, at, part)) {
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
    fn begun(&self, view: View<'_>, floor: usize, from: usize) -> Option<(usize, Open)> {
        let first = self.first_begin(&view.text[from..]);
        (from + first..view.text.len()).find_map(|start| {
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
        while matched < needle.length {
            let glyph = match view.glyph(at) {
                Ok(glyph) if glyph.end > at => glyph,
                Ok(_) | Err(More) => return Walk::Begun { end, matched },
            };
            at = glyph.end;
            let wanted = self.character(needle, matched);
            // A query writes a space as `+`.
            let is_same = glyph.byte == wanted || wanted == b' ' && glyph.byte == b'+';
            let is_wrap = needle.form != Form::Plain && glyph.byte.is_ascii_whitespace();
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

impl Group {
    fn next(&self, text: &[u8], from: usize) -> Option<usize> {
        let words = self.parts.iter().map(|part| &part.text[..]);
        rules::next_of(self.searcher.as_ref(), words, text, from).map(|(at, _)| at)
    }
}

/// `text` in pieces of a bounded length.
fn pieces(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let last = text.len().saturating_sub(PIECE_MAX);
    let starts = (0..text.len() - OVERLAP).step_by(PIECE_MAX - OVERLAP);
    let starts = starts.map(move |at| at.min(last));
    starts.map(move |at| &text[at..text.len().min(at + PIECE_MAX)])
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
