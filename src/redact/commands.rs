//! Passwords among the arguments of commands: one table of commands and their options.
//!
//! Pure. What finds the command is [`super::rules`].

use super::forms::{self, is_blank, is_quote};
use super::headers::is_credential;
use super::rules::Looked;
use super::view::{More, View};
use super::{Begun, Open, Secret};

/// A command, its option, whether a user stands in front of the password, and whether space may.
#[rustfmt::skip]
const COMMANDS: &[(&str, &str, bool, bool)] = &[
    ("curl ", "-u", true, true), ("curl ", "--user", true, true), ("curl ", "--proxy-user", true, true), ("wget ", "--user", true, true),
    ("http ", "-a", true, true), ("http ", "--auth", true, true), ("docker login", "-p", false, true), ("mysql", "-p", false, false),
];

/// A password on a command's line.
pub(super) fn secret(
    view: View<'_>,
    floor: usize,
    at: usize,
    word: &str,
    begun: &mut Begun,
) -> Looked {
    if view.text[floor..at]
        .last()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        && word != "mysql"
    {
        return Ok(None);
    }
    let rest = &view.text[at..];
    if memchr::memchr(b'\n', rest)
        .is_some_and(|end| memchr::memmem::find(&rest[..end], b" -").is_none())
    {
        return Ok(None);
    }
    let mut position = at + word.len();
    if !word.ends_with(' ') {
        position = view.skip(position, |byte| !byte.is_ascii_whitespace())?;
    }
    for _ in 0..64 {
        position = view.skip(position, is_blank)?;
        let glyph = view.glyph(position)?;
        if glyph.end == position || matches!(glyph.byte, b'\n' | b'|' | b';') {
            return Ok(None);
        }
        for (_, option, has_user, may_be_apart) in COMMANDS.iter().filter(|row| row.0 == word) {
            let Some(end) = view.expect(position, option)? else {
                continue;
            };
            let behind = view.skip(end, |byte| byte == b'=' || *may_be_apart && is_blank(byte))?;
            let starts = behind > end || option.len() == 2;
            if starts && let Some(secret) = argument(view, behind, *has_user, begun)? {
                return Ok(Some(secret));
            }
        }
        position = view.skip(position, |byte| !byte.is_ascii_whitespace())?;
    }
    Ok(None)
}

/// The password in an argument at `at`, behind a user's name if that `has_user`.
fn argument(view: View<'_>, at: usize, has_user: bool, begun: &mut Begun) -> Looked {
    let glyph = view.glyph(at)?;
    let quote = is_quote(glyph.byte).then_some((glyph.byte, glyph.depth));
    let mut start = if quote.is_some() { glyph.end } else { at };
    if has_user {
        let user = view.skip(start, |byte| {
            !byte.is_ascii_whitespace() && !is_quote(byte) && byte != b':'
        })?;
        let colon = view.glyph(user)?;
        if colon.byte != b':' {
            return Ok(None);
        }
        start = colon.end;
    }
    let open = quote.map_or(Open::Bare, |(byte, depth)| Open::Quote { byte, depth });
    let mut end = start;
    loop {
        let Ok(glyph) = view.glyph(end) else {
            *begun = (end > start).then_some(Secret {
                kind: "basic-auth",
                range: start..end,
                open,
            });
            return Err(More);
        };
        let ends = quote.map_or(
            glyph.byte.is_ascii_whitespace() || is_quote(glyph.byte),
            |quote| forms::closes(quote, glyph),
        );
        if ends || glyph.end == end {
            break;
        }
        end = glyph.end;
    }
    let text = &view.text[start..end];
    let is_secret =
        text.len() >= 4 && !b"$<{%*".contains(&text[0]) && text.iter().any(u8::is_ascii_digit)
            || text.len() >= 6 && is_credential(text);
    Ok(is_secret.then_some(Secret {
        kind: "basic-auth",
        range: start..end,
        open,
    }))
}
