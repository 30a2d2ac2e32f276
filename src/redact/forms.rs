//! The forms in which a value is assigned to a name, in the languages and files that have such.
//!
//! Pure. What follows a name is read here, to where its value ends; whether that is a secret is [`super::value`]'s to say.

use super::names;
use super::value::{self, Name, Value};
use super::view::{Glyph, More, View, is_behind_escape};
use super::{Open, Secret};

/// What stands between a name and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    /// `=` and its like.
    Equals,
    Colon,
    /// An argument behind the name's: `setProperty("name", "value")`.
    Comma,
    /// `<name>value</name>`
    Element,
    /// `name: NAME`, then `value: …`
    Pair,
    /// `--name value`
    Space,
}

/// The operators, as written.
#[rustfmt::skip]
const OPERATORS: &[(&str, Operator)] = &[
    ("=", Operator::Equals), (":", Operator::Colon), (":=", Operator::Equals), ("::=", Operator::Equals),
    (":::=", Operator::Equals), ("?=", Operator::Equals), ("+=", Operator::Equals), (".=", Operator::Equals),
    ("=>", Operator::Equals), ("==", Operator::Equals), ("===", Operator::Equals), ("?:", Operator::Colon),
    ("||=", Operator::Equals), ("??=", Operator::Equals),
];

/// Functions and types that hand their one argument on.
#[rustfmt::skip]
const WRAPPERS: &[&str] = &[
    "some", "secretstr", "from", "new", "secret", "string", "str", "securestring", "secretstring", "secretvalue",
    "just", "ok", "bytes", "of", "raw", "b64decode", "box", "password", "token", "text", "literal",
    "convert_to_secure", "secretbytes", "value",
];

/// How the beginning of `<` can be written.
const OPENING: &[&str] = &["<", "&lt;", "%3C", "%3c", "\\u003c", "\\u003C"];

/// The longest type that stands between a name and its value, in glyphs.
const TYPE_MAX: usize = 48;

/// Where the name around `at` stands in `text`, which is known from `from` on.
pub(super) fn name_around(view: View<'_>, from: usize, at: usize) -> Result<(usize, usize), More> {
    let text = view.text;
    let from = from.max(at.saturating_sub(names::NAME_MAX));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let mut start = at;
    while start > from && is_name(text[start - 1]) {
        start -= 1;
    }
    // What is left of an escape in front of it is no part of it.
    start = [5, 3, 2, 1]
        .into_iter()
        .map(|length| start + length)
        .find(|&begin| begin <= at && is_behind_escape(text, begin))
        .unwrap_or(start);
    let mut end = at;
    loop {
        match text.get(end) {
            Some(byte) if is_name(*byte) && end - at < names::NAME_MAX => end += 1,
            // `API\_KEY`
            Some(b'\\') if text.get(end + 1) == Some(&b'_') => end += 2,
            None if !view.is_last => return Err(More),
            _ => break,
        }
    }
    while end > at && matches!(text[end - 1], b'.' | b'-') {
        end -= 1;
    }
    Ok((start, end))
}

/// A value as a form has it.
struct Found {
    start: usize,
    end: usize,
    quote: Option<Glyph>,
    next: u8,
}

/// A name and what is to be read behind it.
pub(super) struct Form<'a> {
    view: View<'a>,
    /// Where the name stands.
    start: usize,
    end: usize,
    /// Where the value begins, once that is known.
    value_at: Option<usize>,
}

impl<'a> Form<'a> {
    pub(super) fn new(view: View<'a>, start: usize, end: usize) -> Self {
        Self {
            view,
            start,
            end,
            value_at: None,
        }
    }

    /// The secret that is assigned to the name, which says as much as `strength` if that is given. Where it may go on
    /// beyond the text, `begun` says what of it is known.
    ///
    /// # Errors
    /// [`More`] if what follows decides.
    pub(super) fn secret(
        mut self,
        weakest: Option<Name>,
        begun: &mut Option<Secret>,
    ) -> Result<Option<Secret>, More> {
        let name = names::strength(&self.view.text[self.start..self.end]).or(weakest);
        let Some(name) = name else { return Ok(None) };
        let read = self.read();
        let (operator, is_spaced, found) = match read {
            Ok(Some(read)) => read,
            Ok(None) => return Ok(None),
            Err(more) => {
                if name > Name::Weak {
                    *begun = self.value_at.and_then(|at| self.begun(at));
                }
                return Err(more);
            }
        };
        let is_setting =
            operator == Operator::Equals && !is_spaced || operator == Operator::Element;
        let text = seen(self.view, found.start, found.end);
        let value = Value {
            // Among arguments stand names, too.
            name: if operator == Operator::Comma {
                name.min(Name::Secret)
            } else {
                name
            },
            text: &text,
            is_quoted: found.quote.is_some(),
            is_spaced,
            is_setting,
            next: found.next,
        };
        let is_number = self.is_quoted()
            && found.quote.is_none()
            && text
                .iter()
                .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte));
        let is_basic = is_basic(&self.view.text[self.start..self.end], &text);
        let is_secret = value::is_secret(&value) || operator != Operator::Comma && is_basic;
        if is_number || !is_secret {
            return Ok(None);
        }
        let kind = if is_basic { "basic-auth" } else { "assignment" };
        Ok(Some(Secret {
            kind,
            range: found.start..found.end,
            open: open(found.quote),
        }))
    }

    /// The operator, whether space stands in front of the value, and the value.
    fn read(&mut self) -> Result<Option<(Operator, bool, Found)>, More> {
        let Some((mut operator, mut at)) = self.operator()? else {
            return Ok(None);
        };
        self.value_at = Some(at);
        let behind = at;
        at = match operator {
            Operator::Element => self.view.skip(at, |byte| byte.is_ascii_whitespace())?,
            _ => self.view.skip(at, is_blank)?,
        };
        let mut is_spaced = at > behind
            || self
                .view
                .text
                .get(behind.wrapping_sub(2))
                .is_some_and(|byte| is_blank(*byte));
        self.value_at = Some(at);
        if operator == Operator::Colon {
            if let Some(behind) = self.type_end(at)? {
                (operator, is_spaced) = (Operator::Equals, true);
                at = self.view.skip(behind, is_blank)?;
            }
            at = self.block_scalar(at)?;
        }
        at = self.wrapper_end(at)?;
        self.value_at = Some(at);
        let found = self.value(operator, at)?;
        let is_read = found.quote.is_some() || operator != Operator::Comma;
        Ok(is_read.then_some((operator, is_spaced, found)))
    }

    /// Whether the name stands in quotes.
    fn is_quoted(&self) -> bool {
        matches!(
            self.view.text.get(self.start.wrapping_sub(1)),
            Some(b'"' | b'\'' | b';')
        )
    }

    /// What follows the name, and where the value may begin.
    fn operator(&self) -> Result<Option<(Operator, usize)>, More> {
        let view = self.view;
        let mut glyph = view.glyph(self.end)?;
        let mut at = self.end;
        let is_quoted = is_quote(glyph.byte) && glyph.end > at;
        if is_quoted {
            at = glyph.end;
            glyph = view.glyph(at)?;
        }
        // `os.environ["NAME"] =`, `defaults('name')`
        if matches!(glyph.byte, b']') {
            at = glyph.end;
        }
        let behind = at;
        at = view.skip(at, is_blank)?;
        glyph = view.glyph(at)?;
        match glyph.byte {
            b'=' | b':' | b'?' | b'+' | b'.' | b'|' => self.written_operator(at),
            b',' if is_quoted => Ok(Some((Operator::Comma, glyph.end))),
            b'>' if at == behind && (is_quoted || self.is_element()) => {
                Ok(Some((Operator::Element, glyph.end)))
            }
            _ if self.is_named() => self.pair_end(behind),
            _ if at > behind && self.is_option() => Ok(Some((Operator::Space, at))),
            _ if at > behind && !is_quoted => {
                Ok(self.go_type(at)?.map(|at| (Operator::Equals, at)))
            }
            _ => Ok(None),
        }
    }

    fn written_operator(&self, from: usize) -> Result<Option<(Operator, usize)>, More> {
        let (mut at, mut written) = (from, [0; 4]);
        let mut length = 0;
        while length < 4 {
            let glyph = self.view.glyph(at)?;
            let goes_on = b"=:?+.|".contains(&glyph.byte)
                || glyph.byte == b'>' && length == 1 && written[0] == b'=';
            if !goes_on || glyph.end == at {
                break;
            }
            written[length] = glyph.byte;
            (at, length) = (glyph.end, length + 1);
        }
        let found = OPERATORS
            .iter()
            .find(|(operator, _)| operator.as_bytes() == &written[..length]);
        Ok(found.map(|(_, operator)| (*operator, at)))
    }

    /// Whether the name is a tag's: `<name>`.
    fn is_element(&self) -> bool {
        let before = &self.view.text[..self.start];
        OPENING
            .iter()
            .any(|opening| before.ends_with(opening.as_bytes()))
    }

    /// Whether the name is itself the value of a name: `name: NAME`, `key="NAME"`.
    fn is_named(&self) -> bool {
        let before = &self.view.text[self.start.saturating_sub(24)..self.start];
        let before = before.trim_ascii_end();
        let Some(last) = before
            .iter()
            .rposition(|byte| !b"\"'\\ \t&quot;".contains(byte))
        else {
            return false;
        };
        let Some(name) = before[..=last]
            .strip_suffix(b":")
            .or(before[..=last].strip_suffix(b"="))
        else {
            return false;
        };
        let end = name
            .iter()
            .rposition(u8::is_ascii_alphabetic)
            .map_or(0, |at| at + 1);
        let name = name[..end].to_ascii_lowercase();
        [b"name".as_slice(), b"key", b"variable"]
            .iter()
            .any(|word| name.ends_with(word))
    }

    /// Behind `name: NAME`: where the value of `value:` begins.
    fn pair_end(&self, from: usize) -> Result<Option<(Operator, usize)>, More> {
        let mut at = self.view.skip(from, |byte| {
            byte.is_ascii_whitespace() || byte == b',' || is_quote(byte)
        })?;
        let glyph = self.view.glyph(at)?;
        if !matches!(glyph.byte, b'v' | b'V') {
            return Ok(None);
        }
        let Some(end) = self.view.expect(at, "value")? else {
            return Ok(None);
        };
        at = self
            .view
            .skip(end, |byte| is_quote(byte) || is_blank(byte))?;
        let glyph = self.view.glyph(at)?;
        Ok(matches!(glyph.byte, b':' | b'=').then_some((Operator::Pair, glyph.end)))
    }

    /// Whether the value follows behind a space: an option's, or an instruction's that takes a name and a value.
    fn is_option(&self) -> bool {
        let text = self.view.text;
        let before = text[self.start.saturating_sub(48)..self.start].trim_ascii_end();
        let mut words = before.rsplit(|byte| byte.is_ascii_whitespace());
        let last = words.next().unwrap_or_default();
        text[self.start] == b'-'
            || matches!(
                last,
                b"ENV" | b"setx" | b"ARG" | b"SetEnv" | b"-gx" | b"putenv" | b"setenv"
            )
            || words.next() == Some(b"login")
    }

    /// Where the `=` ends behind a type: `name: &str = …`.
    fn type_end(&self, from: usize) -> Result<Option<usize>, More> {
        let (mut at, mut was_blank) = (from, false);
        for _ in 0..TYPE_MAX {
            let glyph = self.view.glyph(at)?;
            let is_type =
                glyph.byte.is_ascii_alphanumeric() || b"_&'<>[]|?.:* ".contains(&glyph.byte);
            if glyph.byte == b'=' && was_blank {
                let next = self.view.glyph(glyph.end)?;
                return Ok((!matches!(next.byte, b'=' | b'>')).then_some(glyph.end));
            }
            if !is_type || glyph.end == at || glyph.depth > 0 {
                return Ok(None);
            }
            (at, was_blank) = (glyph.end, glyph.byte == b' ');
        }
        Ok(None)
    }

    /// As [`Self::type_end`], where nothing stands between name and type: a string must follow.
    fn go_type(&self, from: usize) -> Result<Option<usize>, More> {
        if !self
            .view
            .text
            .get(from)
            .is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'[' | b'*'))
        {
            return Ok(None);
        }
        let name = self.view.skip(from, |byte| {
            byte.is_ascii_alphanumeric() || b"_[]*.".contains(&byte)
        })?;
        let Some(end) = self.type_end(name)? else {
            return Ok(None);
        };
        let at = self.view.skip(end, is_blank)?;
        Ok(is_quote(self.view.glyph(at)?.byte).then_some(end))
    }

    /// Behind `name: |` the value is the next line.
    fn block_scalar(&self, from: usize) -> Result<usize, More> {
        if !matches!(self.view.text.get(from), Some(b'|' | b'>')) {
            return Ok(from);
        }
        let at = self.view.skip(from, |byte| {
            matches!(byte, b'|' | b'>' | b'-' | b'+') || is_blank(byte)
        })?;
        let glyph = self.view.glyph(at)?;
        match glyph.byte {
            b'\n' | b'\r' => self.view.skip(at, |byte| byte.is_ascii_whitespace()),
            _ => Ok(from),
        }
    }

    /// Where the string begins in what wraps it: `Some("…")`, `b"…"`.
    fn wrapper_end(&self, from: usize) -> Result<usize, More> {
        let is_path = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'.' | b'$' | b'@' | b' ')
        };
        if !self
            .view
            .text
            .get(from)
            .is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'$' | b'@'))
        {
            return Ok(from);
        }
        let (mut at, mut count) = (from, 0);
        while count < TYPE_MAX {
            let glyph = self.view.glyph(at)?;
            if !is_path(glyph.byte) || glyph.end == at {
                break;
            }
            (at, count) = (glyph.end, count + 1);
        }
        let glyph = self.view.glyph(at)?;
        let path = &self.view.text[from..at];
        if is_quote(glyph.byte) && path.len() <= 2 && !path.contains(&b' ') {
            return Ok(at);
        }
        let last = path
            .rsplit(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        if glyph.byte != b'(' || !WRAPPERS.iter().any(|wrapper| wrapper.as_bytes() == last) {
            return Ok(from);
        }
        let inside = self
            .view
            .skip(glyph.end, |byte| byte.is_ascii_whitespace())?;
        let inside = self.wrapper_end(inside)?;
        Ok(if is_quote(self.view.glyph(inside)?.byte) {
            inside
        } else {
            from
        })
    }

    fn value(&self, operator: Operator, at: usize) -> Result<Found, More> {
        let quote = self.view.glyph(at)?;
        if operator == Operator::Element {
            return element(self.view, at);
        }
        if is_quote(quote.byte) {
            return quoted(self.view, quote);
        }
        let before = self
            .view
            .text
            .get(self.start.wrapping_sub(1))
            .copied()
            .unwrap_or(b'\n');
        let is_alone = before.is_ascii_whitespace()
            || is_quote(before)
            || before == b'n'
            || operator == Operator::Space;
        bare(self.view, at, is_alone)
    }

    /// What a pause takes out of a value that begins at `at` and has not ended.
    fn begun(&self, at: usize) -> Option<Secret> {
        let view = View {
            is_last: true,
            ..self.view
        };
        let (mut start, mut quote) = (at, None);
        if let Ok(glyph) = view.glyph(at)
            && is_quote(glyph.byte)
        {
            (start, quote) = (glyph.end, Some(glyph));
        }
        let known_end = self.view.known_end(start);
        let end = match quote {
            Some(quote) => self
                .view
                .skip_glyphs(start, |glyph| !closes((quote.byte, quote.depth), glyph)),
            None => self.view.skip_glyphs(start, |glyph| is_bare(glyph, false)),
        };
        let known = &view.text[start.min(end)..end];
        let is_telling = known.iter().any(u8::is_ascii_alphanumeric)
            && !known.starts_with(b"[REDACTED")
            && !matches!(known[0], b'$' | b'<' | b'{' | b'[' | b'%' | b'(');
        is_telling.then(|| Secret {
            kind: "assignment",
            range: start..end,
            open: if end < known_end {
                Open::No
            } else {
                open(quote)
            },
        })
    }
}

/// A registry's user and password in base64, under a name that is no more than `auth`.
fn is_basic(name: &[u8], text: &[u8]) -> bool {
    use base64::Engine;
    let name = name
        .rsplit(|byte| !byte.is_ascii_alphanumeric())
        .next()
        .unwrap_or_default();
    name.eq_ignore_ascii_case(b"auth")
        && text.len() >= 12
        && base64::prelude::BASE64_STANDARD
            .decode(text)
            .is_ok_and(|plain| plain.is_ascii() && plain.contains(&b':'))
}

fn open(quote: Option<Glyph>) -> Open {
    quote.map_or(Open::Bare, |quote| Open::Quote {
        byte: quote.byte,
        depth: quote.depth,
    })
}

pub(super) fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The glyphs of a range.
pub(super) fn seen(view: View<'_>, start: usize, end: usize) -> Vec<u8> {
    let view = View {
        is_last: true,
        ..view
    };
    let (mut at, mut seen) = (start, Vec::with_capacity(end - start));
    while at < end
        && let Ok(glyph) = view.glyph(at)
    {
        seen.push(glyph.byte);
        at = glyph.end;
    }
    seen
}

/// Whether a string that `quote` began ends with `glyph`.
pub(super) fn closes(quote: (u8, u8), glyph: Glyph) -> bool {
    let (byte, depth) = quote;
    let is_outer = matches!(glyph.byte, b'"' | b'\'') && glyph.depth < depth;
    let is_line_end =
        matches!(glyph.byte, b'\n' | b'\r') && (glyph.depth == 0 || glyph.depth < depth);
    glyph.byte == byte && glyph.depth == depth || is_outer || is_line_end
}

/// The value in a string that `quote` begins.
fn quoted(view: View<'_>, quote: Glyph) -> Result<Found, More> {
    let mut start = quote.end;
    let is_same = |glyph: Glyph| glyph.byte == quote.byte && glyph.depth == quote.depth;
    let second = view.glyph(start)?;
    if is_same(second) && second.end > start {
        let third = view.glyph(second.end)?;
        if !is_same(third) {
            return Ok(Found {
                start,
                end: start,
                quote: Some(quote),
                next: second.byte,
            });
        }
        // Three quotes.
        start = third.end;
    }
    let mut at = start;
    loop {
        let glyph = view.glyph(at)?;
        if glyph.end == at
            || closes((quote.byte, quote.depth), glyph)
            || quote.byte != b'"' && ends_json(view, glyph)?
        {
            return Ok(Found {
                start,
                end: at,
                quote: Some(quote),
                next: glyph.byte,
            });
        }
        at = glyph.end;
    }
}

/// Whether `glyph` is the end of a JSON string around what stands in other quotes: structure follows it.
fn ends_json(view: View<'_>, glyph: Glyph) -> Result<bool, More> {
    if glyph.byte != b'"' || glyph.depth > 0 {
        return Ok(false);
    }
    Ok(matches!(
        view.glyph(glyph.end)?.byte,
        b',' | b'}' | b']' | b':' | b'\n' | b'\r'
    ))
}

/// The text of an element.
fn element(view: View<'_>, start: usize) -> Result<Found, More> {
    let mut at = start;
    let mut end = start;
    loop {
        let glyph = view.glyph(at)?;
        if glyph.byte == b'<' || glyph.end == at || is_quote(glyph.byte) || glyph.byte == b'\n' {
            return Ok(Found {
                start,
                end,
                quote: None,
                next: b'\n',
            });
        }
        at = glyph.end;
        if !glyph.byte.is_ascii_whitespace() {
            end = at;
        }
    }
}

/// A value without quotes: a word, which if nothing else stands beside it can hold anything but space.
fn bare(view: View<'_>, start: usize, is_alone: bool) -> Result<Found, More> {
    let mut at = start;
    let next = loop {
        let glyph = view.glyph(at)?;
        if glyph.end == at || !is_bare(glyph, is_alone) {
            break glyph.byte;
        }
        at = glyph.end;
    };
    // What ends a statement or a list is no part of a value.
    let word = &view.text[start..at];
    let end = word
        .iter()
        .rposition(|byte| !b";,)}]|&:".contains(byte))
        .map_or(0, |last| last + 1);
    Ok(Found {
        start,
        end: start + end,
        quote: None,
        next: word.get(end).copied().unwrap_or(next),
    })
}

/// Whether a value without quotes goes on with `glyph`.
pub(super) fn is_bare(glyph: Glyph, is_alone: bool) -> bool {
    let ends = glyph.byte.is_ascii_whitespace()
        || matches!(
            glyph.byte,
            b'"' | b'\'' | b'`' | b'<' | b'>' | b'\\' | 0..=0x1f
        );
    !ends && (is_alone || !b",;&|(){}[]".contains(&glyph.byte))
}
