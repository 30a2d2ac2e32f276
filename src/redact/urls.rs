//! Recognises a URL with a user and a password (RFC 3986, 3.2.1).
//!
//! Pure. [`super::begins`] and [`super::rules`] find the URL.

use super::issuers::{is_word, words_in};
use super::view::View;
use super::{Looked, Open, REACH, Secret, Undecided};
use crate::sys::lanes::{Common, Lanes};

/// The mark before a URL's authority.
pub(super) const MARK: &str = "://";

/// Kind of a URL's password.
const URL_PASSWORD: &str = "url-password";

/// The password of the URL whose mark begins at `at` and ends at `end`: `scheme://user:password@`.
///
/// # Errors
///
/// [`Undecided`] if later text decides.
pub(super) fn secret(view: View<'_>, floor: usize, at: usize, end: usize) -> Looked {
    let is_scheme = view.text[floor..at]
        .last()
        .is_some_and(u8::is_ascii_alphanumeric);
    if !is_scheme {
        return Ok(None);
    }
    let depth = view.glyph(at)?.depth;
    let (colon, last) = url_marks(view, end, depth)?;
    let (Some(from), Some(until)) = (colon, last.filter(|last| Some(*last) >= colon)) else {
        return Ok(None);
    };
    let password = &view.text[from..until];
    const PLACEHOLDERS: [&[u8]; 6] = [b"pass", b"password", b"passwd", b"secret", b"token", b"pw"];
    let is_placeholder = password.len() < 3
        || PLACEHOLDERS.contains(&password)
        || b"$*{<[%".contains(&password[0]) && !password[1..].iter().any(u8::is_ascii_digit);
    Ok((!is_placeholder).then(|| Secret::new(URL_PASSWORD, from..until, Open::No)))
}

/// False if a path, a blank or another separator follows the host of the URL whose mark is at `at`, as in most URLs.
#[inline(always)]
pub(super) fn may_have_password(text: &[u8], at: usize) -> bool {
    let authority = &text[at + MARK.len()..text.len().min(at + REACH)];
    let block = Common::at(authority, 0);
    let host = words_in(block).or(block.within(b'-', b'.')).bits();
    let behind = &authority[host.trailing_ones() as usize..];
    let behind_host = behind.iter().find(|byte| !is_host(**byte));
    behind_host.is_none_or(|byte| !is_one_of!(*byte, b"/ \n?#)>,;"))
}

fn is_host(byte: u8) -> bool {
    is_word(byte) || is_one_of!(byte, b".-")
}

/// Positions after the first colon and at the last `@` of the URL authority that begins at `from`.
fn url_marks(
    view: View<'_>,
    from: usize,
    depth: u8,
) -> Result<(Option<usize>, Option<usize>), Undecided> {
    let is_at_depth = |own: u8| own <= depth || own < 24;
    let (mut position, mut colon, mut last) = (from, None, None);
    loop {
        let Ok(glyph) = view.glyph(position) else {
            let Some(colon) = colon else {
                return Err(Undecided::Unknown);
            };
            let known = &view.text[colon..position];
            let is_port = known.len() <= 5 && known.iter().all(u8::is_ascii_digit);
            let (end, open) = last.map_or((position, Open::Url), |last| (last, Open::No));
            let secret = Secret::new(URL_PASSWORD, colon..end, open);
            return Err(Undecided::known(secret, !is_port));
        };
        let is_end = glyph.byte.is_ascii_whitespace()
            || glyph.byte < 0x20
            || is_one_of!(glyph.byte, b"/\"'`<>?#(){};,") && is_at_depth(glyph.depth);
        if is_end || glyph.end == position {
            return Ok((colon, last));
        }
        match glyph.byte {
            b':' if colon.is_none() && is_at_depth(glyph.depth) => colon = Some(glyph.end),
            b'@' if is_at_depth(glyph.depth) => last = Some(position),
            _ => {}
        }
        position = glyph.end;
    }
}
