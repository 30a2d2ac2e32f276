//! The view: the text without its escapes, as one [`Glyph`] per visible byte with the source bytes that it represents.
//!
//! Pure. Decodes escapes and quotes; must not know what secrets look like.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// One byte of the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Glyph {
    pub(super) byte: u8,
    /// End of its source bytes.
    pub(super) end: usize,
    /// Number of escape layers around it: 0 for a plain character, 1 for `\"`, 2 for `\\\"`, larger constants for other
    /// layers. A quote of a lower depth ends a string that a deeper one began.
    pub(super) depth: u8,
}

impl Glyph {
    /// This quote, if it is one.
    pub(super) fn quote(self) -> Option<Quote> {
        let Self { byte, depth, .. } = self;
        is_quote(byte).then_some(Quote { byte, depth })
    }
}

/// The quote that begins a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Quote {
    pub(super) byte: u8,
    pub(super) depth: u8,
}

impl Quote {
    /// True if `glyph` is the same quote.
    pub(super) fn is(self, glyph: Glyph) -> bool {
        glyph.byte == self.byte && glyph.depth == self.depth
    }

    /// True if `glyph` ends the string.
    pub(super) fn closes(self, glyph: Glyph) -> bool {
        let is_in_outer = glyph.depth < self.depth;
        let is_outer = matches!(glyph.byte, b'"' | b'\'') && is_in_outer;
        let is_line_end = matches!(glyph.byte, b'\n' | b'\r') && (glyph.depth == 0 || is_in_outer);
        self.is(glyph) || is_outer || is_line_end
    }
}

/// The text ends before the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct More;

/// Depths of quotes that are escaped by shell quoting, HTML or percent encoding.
const SHELL: u8 = 24;
const HTML: u8 = 40;
const PERCENT: u8 = 56;

/// Maximum run of backslashes that is one escape: JSON nested five deep.
const BACKSLASHES_MAX: usize = 31;

/// Byte that represents a code unit; all units outside ASCII need only compare equal to themselves.
pub(super) fn shown(unit: u16) -> u8 {
    match u8::try_from(unit) {
        Ok(byte @ 0..0x80) => byte,
        _ => 0x80 | unit as u8,
    }
}

/// Text that is read through its escapes.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) text: &'a [u8],
    /// Nothing follows the text. Its end reads as a newline of length zero.
    pub(super) is_last: bool,
}

impl<'a> View<'a> {
    pub(super) fn new(text: &'a [u8], is_last: bool) -> Self {
        Self { text, is_last }
    }

    /// The glyph that begins at `at`.
    ///
    /// # Errors
    ///
    /// [`More`] if the text ends before the glyph does.
    #[inline]
    pub(super) fn glyph(&self, at: usize) -> Result<Glyph, More> {
        match self.text.get(at) {
            Some(&byte) if !matches!(byte, b'\\' | b'%' | b'&' | b'\'') => {
                Ok(glyph(byte, at + 1, 0))
            }
            _ => self.escaped(at),
        }
    }

    fn escaped(&self, at: usize) -> Result<Glyph, More> {
        let Some(byte) = self.byte(at)? else {
            return Ok(glyph(b'\n', at, 0));
        };
        let escaped = match byte {
            b'\\' => return self.backslashes(at),
            b'%' => self.percent(at)?,
            b'&' => self.entity(at)?,
            b'\'' => self.shell_quote(at)?,
            _ => None,
        };
        Ok(escaped.unwrap_or(glyph(byte, at + 1, 0)))
    }

    /// The byte at `at`; `None` at the end of a complete text.
    fn byte(&self, at: usize) -> Result<Option<u8>, More> {
        match self.text.get(at) {
            Some(byte) => Ok(Some(*byte)),
            None if self.is_last => Ok(None),
            None => Err(More),
        }
    }

    /// A run of backslashes and the escaped character, in nested strings: each layer doubles them.
    fn backslashes(&self, at: usize) -> Result<Glyph, More> {
        let mut run = 1;
        while run < BACKSLASHES_MAX && self.byte(at + run)? == Some(b'\\') {
            run += 1;
        }
        let behind = at + run + 1;
        let depth = run.ilog2() as u8 + 1;
        Ok(match self.byte(at + run)? {
            // Only the last backslashes escape the quote: in `\\"` the string ends after a backslash.
            Some(quote @ (b'"' | b'\'' | b'`')) => {
                let layers = run.trailing_ones();
                let escaping = (1 << layers) - 1;
                match run - escaping {
                    0 => glyph(quote, behind, layers as u8),
                    literal => glyph(b'\\', at + literal, 0),
                }
            }
            Some(b'n') => glyph(b'\n', behind, depth),
            Some(b'r') => glyph(b'\r', behind, depth),
            Some(b't') => glyph(b'\t', behind, depth),
            Some(b'u') => self
                .hex(behind, 4, depth)?
                .unwrap_or(glyph(b'\\', at + run, 0)),
            Some(b'x') => self
                .hex(behind, 2, depth)?
                .unwrap_or(glyph(b'\\', at + run, 0)),
            // A continued line.
            Some(b'\n') => glyph(b' ', behind, depth),
            Some(other) if other.is_ascii_punctuation() && other != b'\\' => {
                glyph(other, behind, depth)
            }
            _ => glyph(b'\\', at + run, 0),
        })
    }

    /// The character given by `digits` hexadecimal digits at `at`.
    fn hex(&self, at: usize, digits: usize, depth: u8) -> Result<Option<Glyph>, More> {
        let mut value = 0;
        for at in at..at + digits {
            let digit = self
                .byte(at)?
                .and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else { return Ok(None) };
            value = value * 16 + digit;
        }
        Ok(Some(glyph(shown(value as u16), at + digits, depth)))
    }

    /// A percent-encoded byte, encoded once or several times.
    fn percent(&self, at: usize) -> Result<Option<Glyph>, More> {
        let mut layers = 0;
        let mut digits = at + 1;
        loop {
            let Some(found) = self.hex(digits, 2, PERCENT + layers)? else {
                return Ok(None);
            };
            let is_text = !found.byte.is_ascii_control() || found.byte.is_ascii_whitespace();
            match found.byte {
                b'%' if layers < 4 && self.hex(found.end, 2, 0)?.is_some() => {
                    (layers, digits) = (layers + 1, found.end);
                }
                _ => return Ok(is_text.then_some(found)),
            }
        }
    }

    /// An HTML character reference.
    fn entity(&self, at: usize) -> Result<Option<Glyph>, More> {
        #[rustfmt::skip]
        const NAMES: [(&[u8], u8); 8] = [
            (b"quot;", b'"'), (b"apos;", b'\''), (b"amp;", b'&'), (b"lt;", b'<'), (b"gt;", b'>'), (b"nbsp;", b' '),
            (b"equals;", b'='), (b"colon;", b':'),
        ];
        if self.byte(at + 1)? == Some(b'#') {
            return self.numeric_entity(at + 2);
        }
        for (name, byte) in NAMES {
            if self.has(at + 1, name)? {
                return Ok(Some(glyph(byte, at + 1 + name.len(), HTML)));
            }
        }
        Ok(None)
    }

    fn numeric_entity(&self, at: usize) -> Result<Option<Glyph>, More> {
        let is_hex = matches!(self.byte(at)?, Some(b'x' | b'X'));
        let (digits, radix) = if is_hex { (at + 1, 16) } else { (at, 10) };
        let mut value = 0;
        for at in digits..digits + 6 {
            let byte = self.byte(at)?;
            match byte.and_then(|byte| char::from(byte).to_digit(radix)) {
                Some(digit) => value = value * radix + digit,
                None if byte == Some(b';') && at > digits => {
                    let unit = u16::try_from(value).unwrap_or(u16::MAX);
                    return Ok(Some(glyph(shown(unit), at + 1, HTML)));
                }
                None => break,
            }
        }
        Ok(None)
    }

    /// A quote inside a shell's single quotes: `'\''` or `'"'"'`, possibly within a string.
    fn shell_quote(&self, at: usize) -> Result<Option<Glyph>, More> {
        let skip = |mut at| -> Result<usize, More> {
            while self.byte(at)? == Some(b'\\') {
                at += 1;
            }
            Ok(at)
        };
        let first = skip(at + 1)?;
        if first > at + 1 && self.has(first, b"''")? {
            return Ok(Some(glyph(b'\'', first + 2, SHELL)));
        }
        if self.has(first, b"\"'")? {
            let second = skip(first + 2)?;
            if self.has(second, b"\"'")? {
                return Ok(Some(glyph(b'\'', second + 2, SHELL)));
            }
        }
        Ok(None)
    }

    /// True if the bytes at `at` are `wanted`.
    pub(super) fn has(&self, at: usize, wanted: &[u8]) -> Result<bool, More> {
        let there = self.text.get(at..).unwrap_or_default();
        let known = there.len().min(wanted.len());
        match there[..known] == wanted[..known] {
            true if known < wanted.len() && !self.is_last => Err(More),
            is_same => Ok(is_same && known == wanted.len()),
        }
    }

    /// The view of a range, without a glyph that reaches beyond it.
    pub(super) fn seen(&self, start: usize, end: usize) -> Cow<'a, [u8]> {
        let written = &self.text[start..end];
        if memchr::memchr3(b'\\', b'%', b'&', written).is_none()
            && memchr::memchr(b'\'', written).is_none()
        {
            return written.into();
        }
        let view = View::new(&self.text[..end], true);
        let (mut at, mut seen) = (start, Vec::with_capacity(end - start));
        while at < end
            && let Ok(glyph) = view.glyph(at)
        {
            seen.push(glyph.byte);
            at = glyph.end;
        }
        seen.into()
    }

    /// End of the glyphs from `at` on before the first one that `ends` them, and that one if the text reaches so far.
    pub(super) fn until(
        &self,
        mut at: usize,
        ends: impl Fn(Glyph) -> bool,
    ) -> (usize, Result<Glyph, More>) {
        loop {
            match self.glyph(at) {
                Ok(glyph) if glyph.end > at && !ends(glyph) => at = glyph.end,
                last => return (at, last),
            }
        }
    }

    /// End of the first `count` glyphs from `at` on, all of which are there.
    pub(super) fn nth_end(&self, at: usize, count: usize) -> Result<usize, More> {
        (0..count).try_fold(at, |at, _| Ok(self.glyph(at)?.end))
    }

    /// End of the complete glyphs from `at` on.
    pub(super) fn known_end(&self, at: usize) -> usize {
        self.until(at, |_| false).0
    }

    /// End of the glyphs from `at` on that satisfy `belongs`.
    pub(super) fn skip(&self, at: usize, belongs: impl Fn(u8) -> bool) -> Result<usize, More> {
        let (end, last) = self.until(at, |glyph| !belongs(glyph.byte));
        last.map(|_| end)
    }

    /// End of `wanted` if the view has it at `at`; ignores case.
    pub(super) fn expect(&self, mut at: usize, wanted: &str) -> Result<Option<usize>, More> {
        for byte in wanted.bytes() {
            let glyph = self.glyph(at)?;
            if glyph.end == at || !glyph.byte.eq_ignore_ascii_case(&byte) {
                return Ok(None);
            }
            at = glyph.end;
        }
        Ok(Some(at))
    }
}

/// Characters as a bit set.
pub(super) const fn set(characters: &[u8]) -> [u64; 4] {
    let (mut set, mut at) = ([0; 4], 0);
    while at < characters.len() {
        set[characters[at] as usize / 64] |= 1 << (characters[at] % 64);
        at += 1;
    }
    set
}

pub(super) fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn glyph(byte: u8, end: usize, depth: u8) -> Glyph {
    Glyph { byte, end, depth }
}

/// True if the text before `at` ends with an escape whose last characters could belong to a word.
pub(super) fn is_behind_escape(text: &[u8], at: usize) -> bool {
    let hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    match &text[..at] {
        [.., b'\\', b'n' | b'r' | b't'] => true,
        [.., b'%', a, b] | [.., b'\\', b'x', a, b] => hex(&[*a, *b]),
        [.., b'\\', b'u', a, b, c, d] => hex(&[*a, *b, *c, *d]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let view = View::new(text.as_bytes(), true);
        let (mut at, mut out) = (0, String::new());
        while at < text.len() {
            let glyph = view.glyph(at).unwrap();
            out.push(char::from(glyph.byte));
            at = glyph.end;
        }
        out
    }

    #[test]
    fn escapes_of_every_layer_are_read() {
        for (text, seen) in [
            (r#"a=\"b\\n\\\"c\u0041\x42"#, "a=\"b\n\"cAB"),
            ("a%3Db%253Dc%0A%zz %s", "a=b=c\n%zz %s"),
            ("&quot;x&#39;&#x3d;&amp;&more&", "\"x'=&&more&"),
            (
                r#"'it'\''s' 'it'\\''s' 'it'\"'\"'s'"#,
                "'it's' 'it's' 'it's'",
            ),
            (r"C:\dir \d+ \\", r"C:\dir \d+ \"),
        ] {
            assert_eq!(read(text), seen, "{text}");
        }
    }

    #[test]
    fn a_string_ends_where_the_backslashes_say_so() {
        let depth = |text: &str| {
            let view = View::new(text.as_bytes(), true);
            let glyph = view.glyph(0).unwrap();
            (glyph.byte, glyph.end, glyph.depth)
        };
        assert_eq!(depth(r#"\""#), (b'"', 2, 1));
        assert_eq!(depth(r#"\\\""#), (b'"', 4, 2));
        assert_eq!(depth(r#"\\""#), (b'\\', 2, 0));
        assert_eq!(depth(r#"\\\\\""#), (b'\\', 4, 0));
    }

    #[test]
    fn what_could_go_on_is_not_decided() {
        for text in [
            "\\", "\\u004", "%", "%4", "&", "&quo", "&#3", "'", "'\\", "'\"'\"",
        ] {
            let view = View::new(text.as_bytes(), false);
            assert_eq!(view.glyph(0), Err(More), "{text}");
        }
    }
}
