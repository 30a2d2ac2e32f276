//! Finds issuers' tokens in a text: their possible beginnings, by a search at memory speed, and their ends.
//!
//! Pure. [`super::issuers`] has their formats.

use super::issuers::{
    Alphabet, DIGIT, DOTTED, ENDLESS, ISSUERS, Issuer, Looks, MARKED, Marked, TILDE, TOKEN, is_in,
    is_word, rows_at,
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
            if let Some(secret) = issuer.body(view, at, at + prefix.len(), layer)? {
                return Ok(Some(secret));
            }
        }
    }
    Ok(None)
}

impl Issuer {
    fn body(&self, view: View<'_>, at: usize, from: usize, layer: &Layer) -> Looked {
        let secret = |end| Secret {
            kind: self.kind,
            range: at..end,
            open: Open::Word(self.alphabet),
        };
        let run = Run::read(view, from, self.alphabet, self.min, self.max, layer);
        let body = &view.text[from..run.end];
        if run.is_cut {
            let prefix = &view.text[at..from];
            let is_named = prefix.len() >= 4
                || prefix
                    .last()
                    .is_some_and(|byte| !byte.is_ascii_alphanumeric());
            let is_telling = match self.looks {
                Looks::Any => is_named || run.length >= 6,
                Looks::Random => false,
                Looks::Jwt => view.text[at..].starts_with(b"eyJ") && run.length >= 4,
            };
            return match run.length <= self.max {
                true if is_telling || value::is_random(body) => {
                    Err(Undecided::Begun(secret(run.end)))
                }
                // Words of letters can begin like it.
                true if prefix.len() >= 4 || body.iter().any(u8::is_ascii_digit) => {
                    Err(Undecided::Possible(at))
                }
                true => Err(Undecided::Unknown),
                false => Ok(None),
            };
        }
        let looks = match self.looks {
            Looks::Any => true,
            // Longer base64 continues.
            Looks::Random => value::is_random(body) && !b"+=".contains(&view.glyph(run.end)?.byte),
            Looks::Jwt => is_jwt(&view.text[at..run.end]),
        };
        Ok((run.fits(self.min, self.max) && looks).then(|| secret(run.end)))
    }
}

/// Kind of the token if `text` is one.
pub(super) fn kind(text: &[u8]) -> Option<&'static str> {
    let view = View {
        text,
        is_last: true,
    };
    let token = token(view, 0, &Layer::default()).ok().flatten()?;
    (token.range.end == text.len()).then_some(token.kind)
}

/// True if `text` contains an issuer's token.
pub(super) fn is_token_in(text: &str) -> bool {
    let mut layer = Layer::default();
    layer.push(text.as_bytes(), true);
    let view = View {
        text: &layer.text,
        is_last: true,
    };
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
        if let Some(secret) = row.secret(view, at, layer)? {
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
            && let Some(secret) = row.secret(view, at, layer)?
        {
            return Ok(Some(secret));
        }
    }
    Ok(None)
}

impl Marked {
    fn secret(&self, view: View<'_>, at: usize, layer: &Layer) -> Looked {
        let mark = at + self.before;
        let first = view.text.get(mark);
        if first != self.mark.as_bytes().first() && first != Some(&b'%') {
            return Ok(None);
        }
        let before = view.text.get(at..mark).unwrap_or_default();
        let lead = if self.mark.starts_with([':', '|']) {
            DIGIT
        } else {
            DOTTED | TILDE
        };
        let is_lead = before.len() == self.before
            && before.iter().all(|byte| is_in(*byte, lead))
            && (self.kind != "azure" || before[3].is_ascii_digit());
        if !is_lead {
            return Ok(None);
        }
        let Some(from) = view.expect(mark, self.mark)? else {
            return Ok(None);
        };
        let run = Run::read(view, from, self.alphabet, self.min, self.max, layer);
        let secret = Secret {
            kind: self.kind,
            range: from..run.end,
            open: Open::Word(self.alphabet),
        };
        if run.is_cut && run.length <= self.max {
            let is_telling = self.tail.is_empty() && run.length > 0
                || run.length >= 12 && value::is_random(&view.text[from..run.end]);
            return Err(match is_telling {
                true => Undecided::Begun(secret),
                false => Undecided::Possible(from),
            });
        }
        let fits = run.fits(self.min, self.max)
            && view.text[from..run.end].ends_with(self.tail.as_bytes());
        Ok(fits.then_some(secret))
    }
}

/// A run of glyphs in one alphabet.
struct Run {
    end: usize,
    length: usize,
    /// True if the text ends before the run does.
    is_cut: bool,
}

impl Run {
    /// Reads a run from `from` on. An escape sequence ends a run of valid length if the token has a maximum.
    fn read(
        view: View<'_>,
        from: usize,
        alphabet: Alphabet,
        min: usize,
        max: usize,
        layer: &Layer,
    ) -> Self {
        let mut run = Self {
            end: from,
            length: 0,
            is_cut: false,
        };
        loop {
            let Ok(glyph) = view.glyph(run.end) else {
                run.is_cut = true;
                return run;
            };
            let ends = max != ENDLESS
                && run.length >= min
                && run.length <= max
                && layer.is_marked(run.end);
            if glyph.end == run.end || !is_in(glyph.byte, alphabet) || ends {
                break;
            }
            (run.end, run.length) = (glyph.end, run.length + 1);
        }
        // Excludes the full stop of a sentence.
        while run.length > min && view.text[run.end - 1] == b'.' {
            (run.end, run.length) = (run.end - 1, run.length - 1);
        }
        run
    }

    fn fits(&self, min: usize, max: usize) -> bool {
        (min..=max).contains(&self.length)
    }
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

/// Maximum length of an escape without its backslash or percent sign, in bytes.
const ESCAPE_MAX: usize = 5;

/// Beginning of the next word in `text` from `from` on that has at least [`BEGIN_MIN`] token characters and can be a
/// token or a service's value.
pub(super) fn next_begin(text: &[u8], from: usize, layer: &Layer) -> Option<usize> {
    let is_token = |at: usize| text.get(at).is_some_and(|byte| is_in(*byte, TOKEN));
    let is_wanted = |at: usize| {
        is_token(at + BEGIN_MIN - 1)
            && (rows_at(text, at) != 0
                || operator_before(&text[..at]).is_some()
                || may_be_marked(text, at))
            && is_begin(text, at, layer)
            && (at..at + BEGIN_MIN).all(is_token)
    };
    let from = from.min(text.len());
    let (blocks, _) = text[from..].as_chunks::<8>();
    let mut block = 0;
    // Each word of that length contains one complete block of eight bytes, at any alignment.
    while let Some(bytes) = blocks.get(block) {
        block += 1;
        if !may_be_token(bytes) {
            continue;
        }
        let mut at = from + 8 * (block - 1);
        while at > from && is_token(at - 1) {
            at -= 1;
        }
        let Some(rest) = text.get(at + BEGIN_MIN - 8..).and_then(<[u8]>::first_chunk) else {
            continue;
        };
        if !may_be_token(rest) {
            continue;
        }
        // Within a word, another one can begin after an escape, which looks like the word's beginning, or after a
        // sequence.
        let is_escaped = text[at.saturating_sub(ESCAPE_MAX)..at]
            .iter()
            .any(|byte| matches!(byte, b'\\' | b'%'));
        let every = at + if is_escaped { ESCAPE_MAX } else { 0 };
        let mut mark = at;
        while is_token(at) {
            if is_wanted(at) {
                return Some(at);
            }
            at += 1;
            if at > every && is_word(text[at - 1]) {
                if mark < at {
                    mark = layer.next_mark(at).min(text.len());
                }
                at = next_joint(text, at, mark);
                at += usize::from(at < mark && is_token(at));
            }
        }
        block = block.max((at + 1 - from).div_ceil(8));
    }
    None
}

/// True if all eight bytes can belong to a token. Searches for one that cannot, in three operations.
#[inline(always)]
fn may_be_token(block: &[u8; 8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let block = u64::from_ne_bytes(*block);
    let below_plus = block.wrapping_sub(ONES * 0x2b) & !block;
    (below_plus | block) & HIGH == 0
}

/// End of the word that continues at `at`, at most `limit`.
fn next_joint(text: &[u8], mut at: usize, limit: usize) -> usize {
    while at + 8 <= limit
        && let Some(block) = text[at..].first_chunk::<8>()
    {
        let length = words_of(block);
        at += length;
        if length < 8 {
            return at;
        }
    }
    while at < limit && is_word(text[at]) {
        at += 1;
    }
    at
}

/// Number of leading bytes, of eight, that belong to a word; computed for all bytes at once.
fn words_of(block: &[u8; 8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let block = u64::from_le_bytes(*block);
    // The high bit of each byte shows whether the byte is in the range; non-ASCII bytes are in none.
    let is_in = |block: u64, first: u8, last: u8| {
        block.wrapping_add(ONES * u64::from(0x80 - first))
            & !block.wrapping_add(ONES * u64::from(0x7f - last))
    };
    let letters = is_in(block | (ONES * 0x20), b'a', b'z');
    let words = (letters | is_in(block, b'0', b'9') | is_in(block, b'_', b'_')) & !block;
    (!words & (ONES * 0x80)).trailing_zeros() as usize / 8
}

/// True if the token at `at` can be one with a mark inside: the mark, or an escape in its place, is at a possible
/// position.
#[inline(always)]
pub(super) fn may_be_marked(text: &[u8], at: usize) -> bool {
    let Some(word) = text[at..].first_chunk::<17>() else {
        return true;
    };
    matches!((word[15], word[16]), (b'|' | b'%', _) | (_, b'|' | b'%'))
        || word[4..6] == *b"Q~"
        || word[6] == b'_' && word.iter().filter(|byte| is_word(**byte)).count() == word.len()
}

/// Position of the operator at the end of `before`, or of the last byte of an escape that can be one; quotes and blanks
/// may follow it.
#[inline(always)]
pub(super) fn operator_before(before: &[u8]) -> Option<usize> {
    let is_between = |byte: &u8| matches!(byte, b' ' | b'\t' | b'"' | b'\'' | b'`' | b'\\' | b'(');
    let last = before.iter().rposition(|byte| !is_between(byte))?;
    matches!(
        before[last],
        b'=' | b':' | b'>' | b',' | b';' | b'D' | b'A' | b'|'
    )
    .then_some(last)
}

/// True if a word begins at `at`: after a non-word character, an escape, or an escape sequence.
pub(super) fn is_begin(text: &[u8], at: usize, layer: &Layer) -> bool {
    let Some(before) = at.checked_sub(1).map(|at| text[at]) else {
        return true;
    };
    !is_word(before) || layer.is_marked(at) || is_behind_escape(text, at)
}
