//! The values that a session was given in its environment: they are taken out wherever they stand in it, plain or in base64.
//!
//! Built by the thread that launches, used by those that redact. It knows names and values, not where they come from.

use std::ops::Range;

use aho_corasick::packed::{Config, Searcher};

use super::layer::Layer;
use super::names;
use super::rules::{self, Ending, Found};
use super::value::{is_digest, is_place, is_random};
use super::view::{self, More, View};
use super::{Open, Secret};

/// The kind of these secrets.
pub(super) const KIND: &str = "environment";

/// The shortest value that is taken out, in characters: a shorter one stands in other words by chance.
const VALUE_MIN: usize = 12;

/// How many bytes of one session's values are known at most: it bounds their memory.
const VALUES_MAX: usize = 32 * 1024;

/// A longer line of a value is cut into pieces of so many bytes: no more than one is held back.
const PIECE_MAX: usize = 256;

/// How far pieces overlap, in bytes: the character of base64 that stands between two belongs to one of them.
const OVERLAP: usize = 3;

/// How many characters of a begun value are taken out when nothing follows: fewer are the beginning of other text, too.
const BEGUN_MIN: usize = 8;

/// The longest value that is a word, in bytes: `development-eu` is one, a passphrase of letters is longer.
const WORD_MAX: usize = 15;

/// How long the part of a value is that a vectorised search looks for, in bytes.
const ANCHOR_MIN: usize = 4;
const ANCHOR_MAX: usize = 8;

/// How many parts one such search takes.
const GROUP_MAX: usize = 64;

/// In its layers a value has at most so many bytes for each of its characters, and so many more.
const LAYER_MAX: usize = 8;
const LAYERS_MAX: usize = 64;

/// How many bytes of values that overlap are one secret: what repeats itself would overlap itself without an end, and all
/// of it be held back.
const HOLD_MAX: usize = 4 * 1024;

/// The longest escape, in bytes.
const ESCAPE_MAX: usize = 40;

/// The values of one session.
pub(super) struct Known {
    texts: Vec<Box<[u8]>>,
    /// Sorted by their first character.
    needles: Vec<Needle>,
    /// Where in `needles` those begin that have this first character or a later one.
    begins: Box<[u16; 257]>,
    groups: Vec<Group>,
    /// How many characters the longest has.
    longest: usize,
}

/// A value in the form in which it is looked for.
#[derive(Debug, Clone, Copy)]
struct Needle {
    /// Which text.
    text: usize,
    form: Form,
    /// In characters of the form.
    length: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    /// Base64 (RFC 4648), from the text's first bit that begins a character: which one does depends on what precedes.
    Base64 {
        bit: usize,
        is_url: bool,
    },
}

/// Parts of needles that stand in every layer as they are, and are searched for at once.
struct Group {
    searcher: Option<Searcher>,
    parts: Vec<Part>,
}

#[derive(Clone)]
struct Part {
    text: Vec<u8>,
    /// Which needle's, and where in it.
    needle: usize,
    offset: usize,
}

/// Where known values stand, one or several that overlap.
struct Hit {
    range: Range<usize>,
    /// How the last of them goes on.
    open: Open,
}

/// How far a text goes along a needle.
enum Walk {
    /// To its end, which is here.
    Whole(usize),
    /// The text ends before: so many characters of the needle, the last of which ends here.
    Begun { end: usize, matched: usize },
    /// To here.
    Differs(usize),
}

/// As [`rules::find`], with the values of the session.
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

/// What comes first of what the rules have `found` and `hit`; both as one, where they overlap.
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
    if secret.is_some_and(|secret| secret.range.end <= start) {
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
        // A key's block is swallowed line by line, from its first one on.
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

/// Whether `line` of the value of `name` can be a secret. What stays is what ordinary output is full of: paths, URLs,
/// numbers, a word, and what a name says to be a setting.
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
    // What draws a line under something.
    let is_rule = || text.iter().all(|byte| *byte == text[0]);
    let is_word = || {
        let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || b"-_.".contains(byte);
        text.len() <= WORD_MAX && text.iter().all(is_letter)
    };
    let is_setting = || names::is_setting(name.as_bytes()) && (is_digest(text) || !is_random(text));
    line.chars().count() >= VALUE_MIN
        // A line around a key, which is no secret.
        && !line.starts_with("-----")
        && !is_place()
        && !is_number()
        && !is_rule()
        && !is_word()
        // A URL with a login is one in whatever setting.
        && (!is_setting() || line.contains("://"))
}

/// Whether a URL has neither login nor query, nor in its path what only those know who may use it.
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
    /// The values of `given`, which are names and values, that can be secret; `None` if there is none.
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
        // What is behind the value decides whether these begin an escape.
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
            // As `\u` and character references show it.
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

    /// Sorts the needles, and gathers what of them is searched for.
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
            // A line of base64 can end within a part, but not in both.
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

    /// Where in `needle`, from `from` on, a part is that stands in every layer as it is; its beginning, if none is.
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
        // A command in front of what has passed can still have an argument; a value cannot.
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

    /// The first value that stands in the text, from `from` on, with those that begin before it ends.
    fn whole(&self, view: View<'_>, floor: usize, from: usize) -> Option<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        // What stands farther on than this is no part of what begins with the first one.
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

    /// The value whose `part` stands at `at`.
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

    /// The first value, from `from` on, that goes on where the text ends.
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

    /// Where in `text` the longest value begins, at the earliest, that goes on behind it: characters take one byte each,
    /// but for escapes, and base64 can have white space between them.
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

    /// How a begun value goes on at `at`: where that ends, and how it goes on then.
    pub(super) fn go_on(&self, view: View<'_>, at: usize, open: Open) -> (usize, Open) {
        let Open::Known { needle, matched } = open else {
            return (at, Open::No);
        };
        match self.walk(view, &self.needles[needle], at, matched) {
            Walk::Begun { end, matched } if !view.is_last => (end, Open::Known { needle, matched }),
            Walk::Begun { end, .. } | Walk::Whole(end) | Walk::Differs(end) => (end, Open::No),
        }
    }

    /// How many bytes a value takes at most, whatever its layers.
    fn span_max(&self) -> usize {
        LAYER_MAX * self.longest + LAYERS_MAX
    }

    /// Goes along `needle` at `start`, of which so many characters have `matched`.
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

/// Where the glyph begins that the byte at `at` belongs to.
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
mod tests {
    use std::sync::Arc;

    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::super::matrix::{Wrap, html, json, percent};
    use super::super::tests::{in_two_writes, redactor};
    use super::super::{REDACTED, Redactor, Stream};
    use super::HOLD_MAX;

    const VALUES: &[&str] = &[
        "tuliptractor42",
        "correct horse battery staple",
        "zwölf Boxkämpfer jagen",
        "p4ss/word+with=sign",
        "it's \"quoted\" & <odd>",
        "back\\slash-in-value",
        "100%-sure-of-it",
        "~?>~?>~?>tail",
        "short\nand a second line\n",
    ];

    /// A redactor for a session with `values`.
    fn knowing(values: &[&str]) -> Arc<Redactor> {
        Arc::new(redactor()).for_session(values.iter().map(|value| ("GIVEN", *value)))
    }

    fn redacted(redactor: &Redactor, text: &str) -> String {
        redactor.redact(text).into_owned()
    }

    #[test]
    fn a_given_value_is_taken_out_of_every_layer_wherever_a_write_ends() {
        const MARK: &str = "zqMARKqz";
        const LAYERS: &[(&str, Wrap)] = &[
            ("", |text| text.to_owned()),
            ("\x1b[1;31m", |text| format!("{text}\x1b[0m")),
            ("", |text| json(1, text)),
            ("", |text| json(2, text)),
            ("", |text| json(3, text)),
            ("", |text| format!("GET /?q={}&n=1", percent(text))),
            ("", |text| format!("<b>{}</b>", html(text))),
            ("", |text| format!("echo '{}'", text.replace('\'', "'\\''"))),
        ];
        let redactor = knowing(VALUES);
        let mut wrong = Vec::new();
        for value in VALUES.iter().map(|value| value.lines().last().unwrap()) {
            for (colour, wrap) in LAYERS {
                let (left, right) = value.split_at(value.floor_char_boundary(value.len() / 2));
                let text = wrap(&format!("a\nb {left}{colour}{right} c")) + "\n";
                let expected = wrap(&format!("a\nb {MARK}{colour} c")) + "\n";
                let expected = expected.replace(MARK, "[REDACTED:environment]");
                let cuts = (0..=text.len()).filter(|at| text.is_char_boundary(*at));
                let outs = cuts.map(|at| in_two_writes(&redactor, &text, at, false));
                wrong.extend(
                    outs.filter(|out| *out != expected)
                        .map(|out| (expected.clone(), out)),
                );
                let again = redactor.redact(&expected).into_owned();
                wrong.extend((again != expected).then_some((expected, again)));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn a_given_value_is_taken_out_of_base64_whatever_precedes_it_and_wherever_a_line_ends() {
        let redactor = knowing(VALUES);
        let mut wrong = Vec::new();
        for value in VALUES.iter().map(|value| value.lines().last().unwrap()) {
            for before in 0..80 {
                let text = format!("{}{value}.", "x".repeat(before));
                let standard = STANDARD.encode(&text);
                let lines: Vec<&str> = (0..standard.len())
                    .step_by(76)
                    .map(|at| &standard[at..standard.len().min(at + 76)])
                    .collect();
                for text in [lines.join("\n") + "\n", URL_SAFE_NO_PAD.encode(&text)] {
                    let out = redacted(&redactor, &text);
                    // Of the characters at its ends, each shares one with what stands beside it.
                    let rest = out.len() - "[REDACTED:environment]".len();
                    let most = before * 4 / 3 + before / 57 + 8;
                    if !out.contains(REDACTED) || rest > most {
                        wrong.push(format!("{value:?} behind {before}: {text} -> {out}"));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn a_pause_takes_out_at_least_as_much_and_what_follows_is_swallowed() {
        let value = "correct horse battery staple";
        let redactor = knowing(&[value]);
        let base64 = STANDARD.encode(format!("a {value} b"));
        for text in [format!("say {value} now\n"), format!("{base64}\n")] {
            let whole = redacted(&redactor, &text);
            for at in 0..=text.len() {
                let out = in_two_writes(&redactor, &text, at, true);
                // Fewer than eight characters are not enough to tell.
                assert!(out.contains(REDACTED), "{out:?}");
                assert!(out.len() <= whole.len() + 7, "at {at}: {out:?}");
            }
        }
    }

    #[test]
    fn values_longer_than_what_is_held_back_are_taken_out_whole() {
        const MARK: &str = "[REDACTED:environment]";
        let value = |count: u64| -> String {
            let words = (0..count).map(|at| format!("{:x} ", at * at * 7919));
            words.collect::<String>().trim().to_owned()
        };
        for count in [200, 2000] {
            let value = value(count);
            let redactor = knowing(&[&value]);
            let text = format!("<{value}>\n");
            for at in (0..text.len()).step_by(text.len() / 9) {
                let out = in_two_writes(&redactor, &text, at, false);
                assert_eq!(out.replace(MARK, ""), "<>\n");
                assert_eq!(
                    out.matches(MARK).count(),
                    1 + value.len() / HOLD_MAX,
                    "{out}"
                );
            }
            let out = redacted(&redactor, &STANDARD.encode(&text));
            assert_eq!(
                out.replace(MARK, ""),
                STANDARD.encode(&text)[..2].to_owned() + &out[out.len() - 6..]
            );
        }
    }

    #[test]
    fn what_is_held_back_of_values_is_bounded_whatever_comes() {
        let value = "a1b2a1b2a1b2a1b2";
        let redactor = knowing(&[value]);
        let (mut stream, mut out) = (Stream::default(), Vec::new());
        for piece in value.repeat(2000).as_bytes().chunks(5000) {
            stream.push(&redactor, piece, &mut out);
            let held = stream.held_bytes();
            assert!(held < 3 * HOLD_MAX, "{held}");
        }
        stream.finish(&redactor, &mut out);
        let left = String::from_utf8(out).unwrap();
        assert_eq!(left.replace("[REDACTED:environment]", ""), "");
    }

    #[test]
    fn a_value_within_a_secret_or_around_one_leaves_nothing_of_either() {
        let value = "left ghp_0123456789abcdefghijABCDEFGHIJ012345 right";
        let redactor = knowing(&[value, "plainer-than-plain"]);
        for (text, expected) in [
            (format!("a {value} b\n"), "a [REDACTED:environment] b\n"),
            (
                "export API_KEY=plainer-than-plain-8f14e45f x\n".into(),
                "export API_KEY=[REDACTED:assignment] x\n",
            ),
            (
                "Authorization: Basic plainer-than-plain\n".into(),
                "Authorization: [REDACTED:authorization]\n",
            ),
            (
                "password=plainer-than-plain\n".into(),
                "password=[REDACTED:assignment]\n",
            ),
        ] {
            for at in 0..=text.len() {
                assert_eq!(in_two_writes(&redactor, &text, at, false), expected);
                let paused = in_two_writes(&redactor, &text, at, true);
                let seen = ["0123456789", "plainer-than", "right"];
                assert!(!seen.iter().any(|seen| paused.contains(seen)), "{paused:?}");
            }
        }
    }

    #[test]
    fn values_that_are_no_secret_stay() {
        for (name, value) in [
            ("EDITOR", "/usr/bin/vim --clean"),
            ("NODE_ENV", "development-eu"),
            ("ANTHROPIC_MODEL", "claude-sonnet-4-5-20250929"),
            ("TERM", "xterm-256color"),
            ("AWS_REGION", "ap-southeast-2"),
            ("SERVER", "https://example.com:8443/api"),
            ("NUMBER", "-123456789.123"),
            ("KEY_FILE", "/home/user/.ssh/id_ed25519"),
            ("COMMIT_ID", "8f14e45fceea167a5a36dedd4bea25438f14e45f"),
            ("WORD", "international"),
            ("RULE", "===================="),
            ("SHORT", "elevenchars"),
            ("KEY", "-----BEGIN CERTIFICATE-----"),
        ] {
            assert!(!super::is_secret(name, value), "{name}={value}");
            let redactor = Arc::new(redactor()).for_session([(name, value)].into_iter());
            assert_eq!(redactor.redact(value), value);
        }
        for (name, value) in [
            ("DATABASE_URL", "postgres://user:hunter2@db/x"),
            ("CHAT_URL", "https://chat.example.com/hook/a8F3kQ9zL2mX7pR4"),
            (
                "CONFIG",
                "{\"url\":\"https://example.com\",\"pin\":\"abcd\"}",
            ),
            ("GREETING", "the eagle has landed"),
            ("ANYTHING", "swordfishandchips"),
            ("NODE_ENV", "developing-on-mars"),
            ("BUILD_NAME", "a8F3kQ9zL2mX7pR4"),
        ] {
            assert!(super::is_secret(name, value), "{name}={value}");
        }
    }
}
