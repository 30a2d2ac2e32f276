//! Recognises issuers' tokens in a text, and values after a service's name.
//!
//! Pure. [`super::issuers`] has their formats; [`super::begins`] finds where they can begin.

use super::begins::{character_before, is_begin, may_be_marked, operator_before};
use super::issuers::{
    DIGIT, DOTTED, ENDLESS, ISSUERS, Issuer, Looks, MARKED, PREFIXES, TILDE, is_in, is_word,
};
use super::layer::Layer;
use super::value::{self, Name};
use super::view::View;
use super::{Looked, Open, Secret, Undecided, forms, headers, names};

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
