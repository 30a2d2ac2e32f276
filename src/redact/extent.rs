//! Finds the beginning of a wrapped value, and the end of each: its quote, a separator, or the end of the surrounding
//! string.
//!
//! Pure. Must not know what secrets look like.

use super::view::{Glyph, More, Quote, View, is_quote};
use super::{Open, POSSIBLE_MAX, Secret};

#[rustfmt::skip]
table! {
    /// Functions and types that return or wrap their one argument, each with a text with a secret and one without.
    WRAPPERS, SAMPLES: &str =
    ("some"; "api_key: Some(\"«q7Hs2kLm9Zx4vBn1»\"),", "api_key: Some(api_key),"),
    ("secretstr"; "password=SecretStr(\"«q7Hs2kLm9Zx4vBn1»\")", "password=SecretStr(value)"),
    ("from"; "let token = String::from(\"«q7Hs2kLm9Zx4vBn1»\");", "let token = Token::from(kind);"),
    ("new"; "let password = SecretString::new(\"«q7Hs2kLm9Zx4vBn1»\".into());", "let password = Password::new(&input);"),
    ("secret"; "api_key = Secret(\"«q7Hs2kLm9Zx4vBn1»\")", "api_key = Secret(name)"),
    ("string"; "let apiKey = String(\"«q7Hs2kLm9Zx4vBn1»\")", "let apiKey = String(describing: key)"),
    ("str"; "password = str('«q7Hs2kLm9Zx4vBn1»')", "password = str(next_value)"),
    ("securestring"; "$password = ConvertTo-SecureString \"«q7Hs2kLm9Zx4vBn1»\" -AsPlainText", "$password = Read-Host -AsSecureString"),
    ("secretstring"; "password = SecretString(\"«q7Hs2kLm9Zx4vBn1»\")", "password = SecretString(input)"),
    ("secretvalue"; "apiKey = SecretValue(\"«q7Hs2kLm9Zx4vBn1»\")", "apiKey = SecretValue.unsafePlainText(key)"),
    ("just"; "apiKey = Just \"«q7Hs2kLm9Zx4vBn1»\"", "token = Just defaultToken"),
    ("ok"; "let token = Ok(\"«q7Hs2kLm9Zx4vBn1»\");", "let token = Ok(next);"),
    ("bytes"; "secret = bytes(\"«q7Hs2kLm9Zx4vBn1»\", \"utf8\")", "secret = bytes(length)"),
    ("of"; "password = Optional.of(\"«q7Hs2kLm9Zx4vBn1»\");", "password = Optional.of(value);"),
    ("raw"; "api_token = Raw(\"«q7Hs2kLm9Zx4vBn1»\")", "api_token = Raw(text)"),
    ("b64decode"; "secret_key = base64.b64decode(\"«q7Hs2kLm9Zx4vBn1»\")", "secret_key = base64.b64decode(data)"),
    ("box"; "password = Box(\"«q7Hs2kLm9Zx4vBn1»\")", "password = Box(value)"),
    ("password"; "secret = Password(\"«q7Hs2kLm9Zx4vBn1»\")", "secret = Password(text)"),
    ("token"; "auth_token = Token(\"«q7Hs2kLm9Zx4vBn1»\")", "auth_token = Token(kind)"),
    ("text"; "password = text(\"«q7Hs2kLm9Zx4vBn1»\")", "password = text(name)"),
    ("literal"; "password = Literal(\"«q7Hs2kLm9Zx4vBn1»\")", "password = Literal(node)"),
    ("convert_to_secure"; "password = convert_to_secure(\"«q7Hs2kLm9Zx4vBn1»\")", "password = convert_to_secure(plain)"),
    ("secretbytes"; "password=SecretBytes(b\"«q7Hs2kLm9Zx4vBn1»\")", "password=SecretBytes(data)"),
    ("value"; "apiKey = Value(\"«q7Hs2kLm9Zx4vBn1»\")", "apiKey = Value(next)"),
}

/// Maximum length of a type between a name and its value, in glyphs.
pub(super) const TYPE_MAX: usize = 48;

/// Range of a value.
pub(super) struct Extent {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) is_quoted: bool,
    /// Its continuation.
    pub(super) open: Open,
    /// The byte after it.
    pub(super) next: u8,
}

impl Extent {
    /// Reads the quoted or unquoted value that begins at `at`. A value that is `alone` can contain separators.
    pub(super) fn read(view: View<'_>, at: usize, is_alone: bool) -> Result<Self, More> {
        let first = view.glyph(at)?;
        match first.quote() {
            Some(quote) => quoted(view, quote, first.end),
            None => bare(view, at, is_alone),
        }
    }

    /// An unquoted value.
    fn bare(start: usize, end: usize, is_alone: bool, next: u8) -> Self {
        Self {
            start,
            end,
            is_quoted: false,
            open: Open::Bare { is_alone },
            next,
        }
    }

    pub(super) fn secret(&self, kind: &'static str) -> Secret {
        Secret::new(kind, self.start..self.end, self.open)
    }
}

/// The known part of an incomplete value that begins at `at`, if it can be secret.
pub(super) fn begun(view: View<'_>, at: usize, is_alone: bool) -> Option<Extent> {
    let first = view.glyph(at).ok();
    let quote = first.and_then(Glyph::quote);
    let start = first
        .filter(|_| quote.is_some())
        .map_or(at, |first| first.end);
    let (end, last) = view.until(start, |glyph| match quote {
        Some(quote) => quote.closes(glyph),
        None => !is_bare(glyph, is_alone),
    });
    let known = &view.text[start.min(end)..end];
    let is_telling = known.iter().any(u8::is_ascii_alphanumeric)
        && !known.starts_with(b"[REDACTED")
        && !is_one_of!(known[0], b"$<{[%(");
    is_telling.then(|| Extent {
        is_quoted: quote.is_some(),
        open: match quote {
            _ if last.is_ok() => Open::No,
            Some(quote) => Open::Quote(quote),
            None => Open::Bare { is_alone },
        },
        ..Extent::bare(start, end, is_alone, b'\n')
    })
}

/// Beginning of a wrapped string: `Some("…")`, `b"…"`.
pub(super) fn unwrapped(view: View<'_>, from: usize) -> Result<usize, More> {
    let is_path = |glyph: Glyph, count| {
        glyph.byte.is_ascii_alphanumeric()
            || is_one_of!(glyph.byte, b"_:.$@")
            || count > 0 && matches!(glyph.byte, b' ' | b'-')
    };
    let (mut at, mut count) = (from, 0);
    let mut glyph = view.glyph(at)?;
    while count < TYPE_MAX && is_path(glyph, count) && glyph.end > at {
        (at, count) = (glyph.end, count + 1);
        glyph = view.glyph(at)?;
    }
    if glyph.byte != b'(' && !is_quote(glyph.byte) {
        return Ok(from);
    }
    let path = view.seen(from, at);
    let is_spaced = path.ends_with(b" ");
    if is_quote(glyph.byte) && !is_spaced {
        return Ok(if path.len() <= 2 { at } else { from });
    }
    let last = path
        .trim_ascii_end()
        .rsplit(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
        .next()
        .unwrap_or_default();
    let is_wrapper = WRAPPERS
        .iter()
        .any(|wrapper| last.eq_ignore_ascii_case(wrapper.as_bytes()));
    let inside = match glyph.byte {
        _ if !is_wrapper => return Ok(from),
        b'(' => {
            let inside = view.skip(glyph.end, |byte| byte.is_ascii_whitespace())?;
            unwrapped(view, inside)?
        }
        _ => at,
    };
    Ok(if is_quote(view.glyph(inside)?.byte) {
        inside
    } else {
        from
    })
}

/// True if a wrapper, of which more may follow, can begin the incomplete text at `at`, and the text is short enough to wait
/// for its rest.
pub(super) fn may_be_wrapper(view: View<'_>, at: usize) -> bool {
    view.text.len() - at <= POSSIBLE_MAX && unwrapped(view, at) != Ok(at)
}

/// The value in a string that `quote` begins, which ends before `start`.
fn quoted(view: View<'_>, quote: Quote, mut start: usize) -> Result<Extent, More> {
    let second = view.glyph(start)?;
    if quote.is(second) && second.end > start {
        let third = view.glyph(second.end)?;
        // Three quotes, or an empty string.
        start = if quote.is(third) { third.end } else { start };
    }
    let mut at = start;
    loop {
        let glyph = view.glyph(at)?;
        if glyph.end == at || quote.closes(glyph) || quote.byte != b'"' && ends_json(view, glyph)? {
            return Ok(Extent {
                start,
                end: at,
                is_quoted: true,
                open: Open::Quote(quote),
                next: glyph.byte,
            });
        }
        at = glyph.end;
    }
}

/// True if `glyph` ends a JSON string around other quotes: JSON structure follows it.
fn ends_json(view: View<'_>, glyph: Glyph) -> Result<bool, More> {
    if glyph.byte != b'"' || glyph.depth > 0 {
        return Ok(false);
    }
    Ok(is_one_of!(view.glyph(glyph.end)?.byte, b",}]:\n\r"))
}

/// The text of an element.
pub(super) fn element(view: View<'_>, start: usize) -> Result<Extent, More> {
    let (mut at, mut end) = (start, start);
    loop {
        let glyph = view.glyph(at)?;
        if glyph.end == at || is_quote(glyph.byte) || matches!(glyph.byte, b'<' | b'\n') {
            return Ok(Extent::bare(start, end, true, b'\n'));
        }
        at = glyph.end;
        if !glyph.byte.is_ascii_whitespace() {
            end = at;
        }
    }
}

/// An unquoted value: one word, without the end of a statement or list, and without the next pair of a query.
fn bare(view: View<'_>, start: usize, is_alone: bool) -> Result<Extent, More> {
    let (mut at, mut end, mut next, mut ampersand) = (start, start, None, None);
    loop {
        let glyph = view.glyph(at)?;
        let is_next_pair = glyph.byte == b'=' && ampersand.is_some();
        if glyph.end == at || !is_bare(glyph, is_alone) || is_next_pair {
            // The end of an element, not a type argument.
            let is_tag = glyph.byte == b'<' && view.glyph(glyph.end)?.byte == b'/';
            let last = if is_tag { b'\n' } else { glyph.byte };
            let (end, next) = match ampersand.filter(|_| is_next_pair) {
                Some(end) => (end, b'&'),
                None => (end, next.unwrap_or(last)),
            };
            return Ok(Extent::bare(start, end, is_alone, next));
        }
        if glyph.byte == b'&' {
            ampersand = Some(end);
        }
        if is_one_of!(glyph.byte, b";,)}]|&:") {
            next = next.or(Some(glyph.byte));
        } else {
            (end, next) = (glyph.end, None);
        }
        at = glyph.end;
    }
}

/// True if an unquoted value continues with `glyph`.
pub(super) fn is_bare(glyph: Glyph, is_alone: bool) -> bool {
    let ends = glyph.byte.is_ascii_whitespace()
        || is_quote(glyph.byte)
        || matches!(glyph.byte, b'<' | b'>' | b'\\' | 0..=0x1f);
    !ends && (is_alone || !is_one_of!(glyph.byte, b",;&|(){}[]"))
}
