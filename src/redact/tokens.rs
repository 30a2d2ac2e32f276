//! Finds issuers' tokens in a text: their possible beginnings, by a search at memory speed, and their ends.
//!
//! Pure. [`super::issuers`] has their formats.

use super::issuers::{
    DIGIT, DOTTED, ENDLESS, ISSUERS, Issuer, Looks, MARKED, TILDE, TOKEN, is_in, is_word,
    may_begin, rows_at,
};
use super::layer::Layer;
use super::view::{View, is_behind_escape};
use super::{Looked, Open, Secret, Undecided, value};

/// Minimum length of a token, in bytes: shorter words are not examined.
pub(super) const BEGIN_MIN: usize = 15;

/// The issuer's token that begins at `at`.
///
/// # Errors
///
/// [`Undecided`] if later text decides.
pub(super) fn token(view: View<'_>, at: usize, layer: &Layer) -> Looked {
    let mut rows = rows_at(view.text, at);
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
        let secret = Secret {
            kind: self.kind,
            range: start..end,
            open: Open::Word(self.alphabet),
        };
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
pub(super) fn marked(view: View<'_>, at: usize, layer: &Layer) -> Looked {
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

/// One byte of eight that are computed at once.
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x80 * ONES;

/// Beginning of the next word in `text` from `from` on that has at least [`BEGIN_MIN`] token characters and can be a
/// token or a service's value.
pub(super) fn next_begin(text: &[u8], from: usize, layer: &Layer) -> Option<usize> {
    let from = from.min(text.len());
    let (blocks, _) = text[from..].as_chunks::<8>();
    let (mut block, mut before) = (0, 0);
    // Each word of that length contains one complete block of eight bytes, at any alignment.
    while let Some(bytes) = blocks.get(block) {
        let tokens = tokens_of(bytes);
        let at = from + 8 * block - (!before & HIGH).leading_zeros() as usize / 8;
        (block, before) = (block + 1, tokens);
        if tokens == HIGH
            && let Some(rest) = text.get(at + BEGIN_MIN - 8..).and_then(<[u8]>::first_chunk)
            && tokens_of(rest) == HIGH
        {
            match begin_in(text, from, at, layer) {
                Ok(begin) => return Some(begin),
                Err(end) => block = block.max((end - from) / 8),
            }
            before = blocks.get(block - 1).map_or(0, tokens_of);
        }
    }
    None
}

/// The first wanted beginning in the long word at `start`, or an end of the part without one. Nothing before `from` has
/// been examined.
fn begin_in(text: &[u8], from: usize, start: usize, layer: &Layer) -> Result<usize, usize> {
    let mut classes = Classes::before(text, from, start);
    let (mut at, mut mark) = (start, start);
    while let Some(bytes) = text[at..].first_chunk::<24>() {
        let ([first, second, third], _) = bytes.as_chunks() else {
            break;
        };
        if mark >= at + 8 && classes.is_within_word(first) {
            at += 8;
            continue;
        }
        let tokens =
            bits(tokens_of(first)) | bits(tokens_of(second)) << 8 | bits(tokens_of(third)) << 16;
        let two = tokens & tokens >> 1;
        let four = two & two >> 2;
        let eight = four & four >> 4;
        let long = eight & eight >> (BEGIN_MIN - 8) & 0xff;
        if long == 0 {
            return Err(at + 8);
        }
        let mut begins = classes.begins(first);
        if mark < at {
            mark = layer.next_mark(at);
        }
        // Another word can begin after a sequence.
        while mark < at + 8 {
            begins |= 1 << (mark - at);
            mark = layer.next_mark(mark + 1);
        }
        begins &= long;
        while begins != 0 {
            let begin = at + begins.trailing_zeros() as usize;
            begins &= begins - 1;
            if is_wanted(text, begin, layer) {
                return Ok(begin);
            }
        }
        at += 8;
    }
    let mut rest = at..text.len();
    rest.find(|at| is_wanted(text, *at, layer))
        .ok_or(text.len())
}

/// Classes of the eight bytes before a block, one bit each.
struct Classes {
    words: u32,
    joints: u32,
    /// Beginnings of escapes.
    escapes: u32,
}

impl Classes {
    fn before(text: &[u8], from: usize, start: usize) -> Self {
        let (words, joints, escapes) = match text[..start].last() {
            Some(b'%') => (0, 0, 0x80 << 56),
            Some(_) if start == from => {
                let before = text[..start].last_chunk().unwrap_or(&[b'\\'; 8]);
                let escapes = within(before, b'\\', b'\\') | within(before, b'%', b'%');
                (words_of(before), joints_of(before), escapes)
            }
            // The bytes of a word do not precede it.
            _ => (0, 0, 0),
        };
        Self {
            words: bits(words),
            joints: bits(joints),
            escapes: bits(escapes),
        }
    }

    /// True if the word before `block` contains it.
    #[inline(always)]
    fn is_within_word(&mut self, block: &[u8; 8]) -> bool {
        self.words & 0x80 != 0 && self.escapes == 0 && words_of(block) == HIGH && {
            (self.words, self.joints) = (0xff, 0);
            true
        }
    }

    /// The positions in `block` at which a word can begin.
    #[inline(always)]
    fn begins(&mut self, block: &[u8; 8]) -> u32 {
        self.words |= bits(words_of(block)) << 8;
        self.joints |= bits(joints_of(block)) << 8;
        self.escapes |= bits(within(block, b'\\', b'\\')) << 8;
        let escapes = self.escapes;
        let behind_escape = escapes << 2 | escapes << 3 | escapes << 4 | escapes << 6;
        let begins = !(self.words << 1) & (self.words | !(self.joints << 1)) | behind_escape;
        self.words >>= 8;
        self.joints >>= 8;
        self.escapes >>= 8;
        begins >> 8
    }
}

/// The high bits of the bytes, of eight, that join words to one: only another word can begin behind them.
#[inline(always)]
fn joints_of(block: &[u8; 8]) -> u64 {
    within(block, b'-', b'/')
}

/// One bit for each high bit of eight bytes.
#[inline(always)]
fn bits(high: u64) -> u32 {
    ((high >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
}

/// True if a token or a service's value can begin at `at`, by the bytes around it.
#[inline(always)]
fn is_wanted(text: &[u8], at: usize, layer: &Layer) -> bool {
    may_be_wanted(text, at) && is_long_begin(text, at, layer)
}

/// False for nearly all words, by a few bytes.
#[inline(always)]
fn may_be_wanted(text: &[u8], at: usize) -> bool {
    let Some(word) = text[at..].first_chunk::<17>() else {
        return true;
    };
    let is_mark = |byte: u8| matches!(byte, b'|' | b'%');
    may_begin([word[0], word[1]])
        || word[5] == b'~'
        || word[6] == b'_'
        || word[0].is_ascii_digit() && (is_mark(word[15]) || is_mark(word[16]))
        || has_operator(text, at)
}

/// True if an operator that may follow a service's name is before `at`.
#[inline(always)]
fn has_operator(text: &[u8], at: usize) -> bool {
    let Some(operator) = operator_before(&text[..at]) else {
        return false;
    };
    let before = if operator > 0 {
        text[operator - 1]
    } else {
        b'\n'
    };
    match text[operator] {
        b':' => before != b':' && text[at] != b'/',
        b'>' => before != b'-',
        _ => true,
    }
}

fn is_long_begin(text: &[u8], at: usize, layer: &Layer) -> bool {
    let is_token = |byte: &u8| is_in(*byte, TOKEN);
    (rows_at(text, at) != 0 || has_operator(text, at) || may_be_marked(text, at))
        && is_begin(text, at, layer)
        && text
            .get(at..at + BEGIN_MIN)
            .is_some_and(|word| word.iter().all(is_token))
}

/// The high bits of the bytes, of eight, that can belong to a token. Some others are among them, but no blanks, quotes,
/// brackets, and no percent sign.
#[inline(always)]
fn tokens_of(block: &[u8; 8]) -> u64 {
    let block = u64::from_le_bytes(*block);
    ((block | HIGH) - ONES * 0x2b) & !block & HIGH
}

/// The high bits of the bytes, of eight, that belong to a word.
#[inline(always)]
fn words_of(block: &[u8; 8]) -> u64 {
    let lower = (u64::from_le_bytes(*block) | (ONES * 0x20)).to_le_bytes();
    within(&lower, b'a', b'z') | within(block, b'0', b'9') | within(block, b'_', b'_')
}

/// The high bits of the bytes, of eight, from `first` to `last`, which are ASCII; computed for all bytes at once.
#[inline(always)]
fn within(block: &[u8; 8], first: u8, last: u8) -> u64 {
    let block = u64::from_le_bytes(*block);
    let low = block & !HIGH;
    (low + ONES * u64::from(0x80 - first)) & !(low + ONES * u64::from(0x7f - last)) & !block & HIGH
}

/// True if the token at `at` can be one with a mark inside: the mark, or an escape in its place, is at a possible
/// position.
#[inline(always)]
pub(super) fn may_be_marked(text: &[u8], at: usize) -> bool {
    let Some(word) = text[at..].first_chunk::<17>() else {
        return true;
    };
    word[0].is_ascii_digit() && matches!((word[15], word[16]), (b'|' | b'%', _) | (_, b'|' | b'%'))
        || word[5] == b'~' && word[4] == b'Q'
        || word[6] == b'_' && word.iter().filter(|byte| is_word(**byte)).count() == word.len()
}

/// Position of the operator at the end of `before`, or of the last byte of an escape that can be one; quotes and blanks
/// may follow it.
#[inline(always)]
pub(super) fn operator_before(before: &[u8]) -> Option<usize> {
    let mut end = before.len();
    while end > 0 && is_between(before[end - 1]) {
        end -= 1;
    }
    let last = end.checked_sub(1)?;
    is_operator(before[last]).then_some(last)
}

#[inline(always)]
fn is_between(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'"' | b'\'' | b'`' | b'\\' | b'(')
}

#[inline(always)]
fn is_operator(byte: u8) -> bool {
    matches!(byte, b'=' | b':' | b'>' | b',' | b';' | b'D' | b'A' | b'|')
}

/// True if a word begins at `at`: after a non-word character, an escape, or an escape sequence.
pub(super) fn is_begin(text: &[u8], at: usize, layer: &Layer) -> bool {
    let Some(before) = at.checked_sub(1).map(|at| text[at]) else {
        return true;
    };
    !is_word(before) || layer.is_marked(at) || is_behind_escape(text, at)
}
