//! Finds issuers' tokens in a text, and values after a service's name: their possible beginnings, by a search at memory
//! speed, and their ends.
//!
//! Pure. [`super::issuers`] has their formats.

use super::issuers::{
    DIGIT, DOTTED, ENDLESS, ISSUERS, Issuer, Looks, MARKED, PREFIXES, TILDE, TOKEN, is_in, is_word,
};
use super::layer::Layer;
use super::value::{self, Name};
use super::view::{View, is_behind_escape};
use super::{Looked, Open, Secret, Undecided, forms, headers, names};
use crate::sys::lanes::{self, LANES, Lanes, Search};

/// Minimum length of a token, in bytes: shorter words are not examined.
pub(super) const BEGIN_MIN: usize = 15;

/// Maximum distance of a service's name from its value, in bytes.
const SERVICE_MAX: usize = 96;

/// The secret that begins at `at`: a token, or the value after a service's name.
///
/// # Errors
///
/// [`Undecided`] if later text decides.
pub(super) fn secret(view: View<'_>, floor: usize, at: usize, layer: &Layer) -> Looked {
    if let Some(secret) = token(view, at, layer)? {
        return Ok(Some(secret));
    }
    if may_be_marked(view.text, at)
        && let Some(secret) = marked(view, at, layer)?
    {
        return Ok(Some(secret));
    }
    let Some(span) = service_before(view, floor, at) else {
        return Ok(None);
    };
    forms::secret(view, floor, span, Some(Name::Weak))
}

/// The name before the value at `at`, if it is a service's.
fn service_before(view: View<'_>, floor: usize, at: usize) -> Option<(usize, usize)> {
    let text = view.text;
    let from = floor.max(at.saturating_sub(SERVICE_MAX));
    let (_, mut end) = operator_before(text, at)?;
    let last = loop {
        match character_before(text, end)? {
            (byte, start) if is_one_of!(byte, b" \t\"'`\\=:>?|+.]") => end = start,
            (byte, _) => break byte,
        }
    };
    let is_name = |byte: &u8| is_word(*byte) || matches!(byte, b'-' | b'.');
    let name = text.get(from..end)?;
    let start = name.iter().rposition(|byte| !is_name(byte));
    let name = &name[start.map_or(0, |last| last + 1)..];
    (is_word(last)
        && names::names_service(name)
        && !text[..end - name.len()].ends_with(b"::")
        && headers::named(name).is_none())
    .then_some((end - name.len(), end))
}

/// The issuer's token that begins at `at`.
///
/// # Errors
///
/// [`Undecided`] if later text decides.
fn token(view: View<'_>, at: usize, layer: &Layer) -> Looked {
    let mut rows = PREFIXES.rows(&view.text[at..]);
    while rows != 0 {
        let issuer = &ISSUERS[rows.trailing_zeros() as usize];
        rows &= rows - 1;
        for prefix in issuer.prefixes {
            if prefix.as_bytes()[0] != view.text[at] || !view.has(at, prefix.as_bytes())? {
                continue;
            }
            if let Some(secret) = issuer.token(view, at, at + prefix.len(), layer)? {
                return Ok(Some(secret));
            }
        }
    }
    Ok(None)
}

impl Issuer {
    /// The token at `at` whose characters after the prefix begin at `from`.
    fn token(&self, view: View<'_>, at: usize, from: usize, layer: &Layer) -> Looked {
        let start = if self.before > 0 { from } else { at };
        let (end, length, is_cut) = self.run(view, from, layer);
        let secret = Secret::new(self.kind, start..end, Open::Word(self.alphabet));
        let (prefix, body) = (&view.text[at..from], &view.text[from..end]);
        if is_cut {
            let last = prefix.last();
            let is_named =
                prefix.len() >= 4 || last.is_some_and(|byte| !byte.is_ascii_alphanumeric());
            let is_telling = match self.looks {
                Looks::Any => is_named || length >= 6,
                Looks::Random | Looks::Ending(_) => false,
                Looks::Jwt => view.text[at..].starts_with(b"eyJ") && length >= 4,
            };
            return match length <= self.max {
                true if start < end && is_telling || value::is_random(body) => {
                    Err(Undecided::Begun(secret))
                }
                // Words of letters can begin like it.
                true if prefix.len() >= 4 || body.iter().any(u8::is_ascii_digit) => {
                    Err(Undecided::Possible(start))
                }
                true => Err(Undecided::Unknown),
                false => Ok(None),
            };
        }
        let looks = match self.looks {
            Looks::Any => true,
            // Longer base64 continues.
            Looks::Random => value::is_random(body) && !b"+=".contains(&view.glyph(end)?.byte),
            Looks::Jwt => is_jwt(&view.text[at..end]),
            Looks::Ending(ending) => body.ends_with(ending.as_bytes()),
        };
        Ok(((self.min..=self.max).contains(&length) && looks).then_some(secret))
    }

    /// The token with a mark inside whose first bytes begin at `at`.
    fn marked(&self, view: View<'_>, at: usize, layer: &Layer) -> Looked {
        let mark = at + self.before;
        let written = self.prefixes[0];
        let first = view.text.get(mark);
        if first != written.as_bytes().first() && first != Some(&b'%') {
            return Ok(None);
        }
        let before = view.text.get(at..mark).unwrap_or_default();
        let lead = match written {
            ":AA" | "|" => DIGIT,
            _ => DOTTED | TILDE,
        };
        let is_lead = before.len() == self.before
            && before.iter().all(|byte| is_in(*byte, lead))
            && (self.kind != "azure" || before[3].is_ascii_digit());
        match is_lead
            .then(|| view.expect(mark, written))
            .transpose()?
            .flatten()
        {
            Some(from) => self.token(view, at, from, layer),
            None => Ok(None),
        }
    }

    /// End and length of the characters from `from` on, and whether the text ends before they do. An escape sequence ends
    /// a run of valid length if the token has a maximum.
    fn run(&self, view: View<'_>, from: usize, layer: &Layer) -> (usize, usize, bool) {
        let (mut end, mut length) = (from, 0);
        loop {
            let Ok(glyph) = view.glyph(end) else {
                return (end, length, true);
            };
            let ends = self.max != ENDLESS
                && (self.min..=self.max).contains(&length)
                && layer.is_marked(end);
            if glyph.end == end || !is_in(glyph.byte, self.alphabet) || ends {
                break;
            }
            (end, length) = (glyph.end, length + 1);
        }
        // Excludes the full stop of a sentence.
        while length > self.min && view.text[end - 1] == b'.' {
            (end, length) = (end - 1, length - 1);
        }
        (end, length, false)
    }
}

/// Kind of the token if `text` is one.
pub(super) fn kind(text: &[u8]) -> Option<&'static str> {
    let view = View::new(text, true);
    let token = token(view, 0, &Layer::default()).ok().flatten()?;
    (token.range.end == text.len()).then_some(token.kind)
}

/// True if `text` contains an issuer's token.
pub(super) fn is_token_in(text: &str) -> bool {
    let mut layer = Layer::default();
    layer.push(text.as_bytes(), true);
    let view = View::new(&layer.text, true);
    (0..layer.text.len()).any(|at| {
        let found = |found| matches!(found, Ok(Some(_)));
        is_begin(view.text, at, &layer)
            && (found(token(view, at, &layer)) || found(marked(view, at, &layer)))
    })
}

/// The token with a mark inside whose first bytes begin at `at`.
///
/// # Errors
///
/// [`Undecided`] if later text decides.
fn marked(view: View<'_>, at: usize, layer: &Layer) -> Looked {
    for row in MARKED {
        if let Some(secret) = row.marked(view, at, layer)? {
            return Ok(Some(secret));
        }
    }
    Ok(None)
}

/// Like [`marked`], for a mark that was found at `mark`.
///
/// # Errors
///
/// [`Undecided`] if later text decides.
pub(super) fn around_mark(view: View<'_>, mark: usize, layer: &Layer) -> Looked {
    for row in MARKED {
        if let Some(at) = mark.checked_sub(row.before)
            && is_begin(view.text, at, layer)
            && let Some(secret) = row.marked(view, at, layer)?
        {
            return Ok(Some(secret));
        }
    }
    Ok(None)
}

/// Two JSON objects and a signature, in base64 (RFC 7519).
fn is_jwt(token: &[u8]) -> bool {
    let mut parts = token.split(|byte| *byte == b'.');
    let (header, claims) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    header.len() >= 10 && claims.len() >= 10 && claims.starts_with(b"ey") && parts.next().is_some()
}

/// Beginning of the next word in `text` from `from` on that has at least [`BEGIN_MIN`] token characters and can be a
/// token or a service's value.
pub(super) fn next_begin(text: &[u8], from: usize, layer: &Layer) -> Option<usize> {
    lanes::search(NextBegin { text, from, layer })
}

struct NextBegin<'a> {
    text: &'a [u8],
    from: usize,
    layer: &'a Layer,
}

impl Search for NextBegin<'_> {
    type Found = Option<usize>;

    #[inline(always)]
    fn run<L: Lanes>(self) -> Option<usize> {
        let Self { text, from, layer } = self;
        let mut marks = layer.marks_from(from);
        let (mut at, mut mark) = (from, marks.next());
        let mut tokens = tokens_at::<L>(text, at) << STEP;
        while at < text.len() {
            tokens = tokens >> STEP | tokens_at::<L>(text, at + STEP) << STEP;
            let two = tokens & tokens >> 1;
            let four = two & two >> 2;
            let eight = four & four >> 4;
            let long = (eight & eight >> (BEGIN_MIN - 8)) as u64;
            if long != 0 {
                let (mut begins, is_near_escape) = begins_at::<L>(text, at);
                // Another word can begin after a sequence.
                while let Some(place) = mark.filter(|mark| *mark < at + STEP) {
                    begins |= place.checked_sub(at).map_or(0, |place| 1 << place);
                    mark = marks.next();
                }
                begins &= long;
                while begins != 0 {
                    let begin = at + begins.trailing_zeros() as usize;
                    begins &= begins - 1;
                    if may_be_wanted(text, begin, is_near_escape) && is_wanted(text, begin, layer) {
                        return Some(begin);
                    }
                }
            }
            at += STEP;
        }
        None
    }
}

/// Bytes that are examined in one step, one bit each.
const STEP: usize = 2 * LANES;

#[inline(always)]
fn join(first: impl Lanes, second: impl Lanes) -> u64 {
    u64::from(first.bits()) | u64::from(second.bits()) << LANES
}

/// The bytes of a step from `at` on that can belong to a token.
#[inline(always)]
fn tokens_at<L: Lanes>(text: &[u8], at: usize) -> u128 {
    let (first, second) = (L::at(text, at), L::at(text, at + LANES));
    join(tokens_in(first), tokens_in(second)).into()
}

/// The bytes of a `block` that can belong to a token. Some others are among them, but no blanks, quotes, brackets, colons
/// and no percent sign.
#[inline(always)]
fn tokens_in<L: Lanes>(block: L) -> L {
    block.within(b'+', 0x7f).but(block.is(b':'))
}

#[inline(always)]
fn words_in<L: Lanes>(block: L) -> L {
    let letters = block.within(b'a', b'z').or(block.within(b'A', b'Z'));
    letters.or(block.within(b'0', b'9')).or(block.is(b'_'))
}

/// The first bytes of an escape whose last characters could belong to a word.
#[inline(always)]
fn escapes_in<L: Lanes>(block: L) -> L {
    block.is(b'\\').or(block.is(b'%'))
}

/// The positions from `at` on at which a word can begin, and whether an escape is near them.
#[inline(always)]
fn begins_at<L: Lanes>(text: &[u8], at: usize) -> (u64, bool) {
    let Some(before) = at.checked_sub(LANES) else {
        return (u64::MAX, true);
    };
    let (first, second) = (L::at(text, at), L::at(text, at + LANES));
    let words = join(words_in(first), words_in(second));
    let joints = join(first.within(b'-', b'/'), second.within(b'-', b'/'));
    let last = text[at - 1];
    let behind_word = words << 1 | u64::from(is_word(last));
    let behind_joint = joints << 1 | u64::from(matches!(last, b'-'..=b'/'));
    // Only another word can begin behind a joint.
    let begins = !behind_word & (words | !behind_joint);
    let before = escapes_in(L::at(text, before));
    let (first, second) = (escapes_in(first), escapes_in(second));
    if before.or(first).or(second).bits() == 0 {
        return (begins, false);
    }
    let escapes = u128::from(before.bits()) | u128::from(join(first, second)) << LANES;
    let behind_escape = (escapes << 2 | escapes << 3 | escapes << 4 | escapes << 6) >> LANES;
    (begins | behind_escape as u64, true)
}

/// Characters of the text before a service's value: operators, what may stand behind one, and ends of escapes.
const OPERATOR: u8 = 1;
const BETWEEN: u8 = 2;
const ESCAPE_END: u8 = 4;

#[inline(always)]
fn class(byte: u8) -> u8 {
    const CLASS: [u8; 256] = {
        let mut class = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            class[byte] = match byte as u8 {
                b'=' | b':' | b'>' | b',' | b'|' => OPERATOR,
                b' ' | b'\t' | b'"' | b'\'' | b'`' | b'\\' | b'(' => BETWEEN,
                b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' => ESCAPE_END,
                b';' => OPERATOR | ESCAPE_END,
                _ => 0,
            };
            byte += 1;
        }
        class
    };
    CLASS[usize::from(byte)]
}

/// False if no token and no service's value begins at `at`, by a few of the bytes around it: nearly all texts end here.
#[inline(always)]
fn may_be_wanted(text: &[u8], at: usize, is_near_escape: bool) -> bool {
    let around = text.get(at.wrapping_sub(3)..);
    let Some(&[third, second, last, ref word @ ..]) = around.and_then(<[u8]>::first_chunk::<20>)
    else {
        return true;
    };
    let ends = OPERATOR | if is_near_escape { ESCAPE_END } else { 0 };
    let is_path = last == b':' && (second == b':' || word[0] == b'/');
    let is_arrow = second == b'>' && third == b'-';
    let is_between = |byte| class(byte) & BETWEEN != 0;
    let goes_on = |byte| class(byte) & (ends | BETWEEN) != 0;
    PREFIXES.may_begin(word)
        || has_mark(word)
        || word[6] == b'_'
        || class(last) & ends != 0 && !is_path
        || is_between(last)
            && goes_on(second)
            && !is_arrow
            && (!is_between(second) || goes_on(third))
}

/// True if a token or a service's value can begin at `at`.
fn is_wanted(text: &[u8], at: usize, layer: &Layer) -> bool {
    (has_operator(text, at) || PREFIXES.rows(&text[at..]) != 0 || may_be_marked(text, at))
        && is_long_begin(text, at, layer)
}

fn is_long_begin(text: &[u8], at: usize, layer: &Layer) -> bool {
    let word = text.get(at..at + BEGIN_MIN);
    word.is_some_and(|word| word.iter().all(|byte| is_in(*byte, TOKEN)))
        && is_begin(text, at, layer)
}

/// True if an operator that may follow a service's name is before `at`.
#[inline(always)]
fn has_operator(text: &[u8], at: usize) -> bool {
    let Some((operator, start)) = operator_before(text, at) else {
        return false;
    };
    let before = character_before(text, start).map(|before| before.0);
    match operator {
        b':' => before != Some(b':') && text[at] != b'/',
        b'>' => before != Some(b'-'),
        _ => true,
    }
}

/// True if the token at `at` can be one with a mark inside: the mark, or an escape in its place, is at a possible
/// position.
fn may_be_marked(text: &[u8], at: usize) -> bool {
    let word = text.get(at..).and_then(<[u8]>::first_chunk);
    word.is_none_or(|word| {
        has_mark(word) || word[6] == b'_' && word.iter().all(|byte| is_word(*byte))
    })
}

#[inline(always)]
fn has_mark(word: &[u8; 17]) -> bool {
    let is_mark = |byte: u8| matches!(byte, b'|' | b'%');
    word[0].is_ascii_digit() && (is_mark(word[15]) || is_mark(word[16])) || word[4..6] == *b"Q~"
}

/// The operator before `at`, and its beginning; quotes and blanks may follow it.
#[inline(always)]
fn operator_before(text: &[u8], at: usize) -> Option<(u8, usize)> {
    let mut end = at;
    loop {
        let (byte, start) = character_before(text, end)?;
        match class(byte) {
            BETWEEN => end = start,
            class => return (class & OPERATOR != 0).then_some((byte, start)),
        }
    }
}

/// The character before `end`, and its beginning; an escape is one character.
#[inline(always)]
fn character_before(text: &[u8], end: usize) -> Option<(u8, usize)> {
    let last = end.checked_sub(1)?;
    match class(text[last]) & ESCAPE_END {
        0 => Some((text[last], last)),
        _ => Some(escape_before(text, end)),
    }
}

fn escape_before(text: &[u8], end: usize) -> (u8, usize) {
    /// Maximum length of an examined escape: `%252522`.
    const ESCAPE: usize = 8;
    let from = end.saturating_sub(ESCAPE);
    let begins = |byte: &u8| matches!(byte, b'%' | b'&' | b'\\');
    let start = text[from..end].iter().rposition(begins);
    let glyph = start.map(|start| View::new(&text[..end], true).glyph(from + start));
    match (start, glyph) {
        (Some(start), Some(Ok(glyph))) if glyph.end == end => (glyph.byte, from + start),
        _ => (text[end - 1], end - 1),
    }
}

/// True if a word begins at `at`: after a non-word character, an escape, or an escape sequence.
pub(super) fn is_begin(text: &[u8], at: usize, layer: &Layer) -> bool {
    let Some(before) = at.checked_sub(1).map(|at| text[at]) else {
        return true;
    };
    !is_word(before) || layer.is_marked(at) || is_behind_escape(text, at)
}
