//! Headers whose value is secret, by their names: one table, and how each value is made up.
//!
//! Pure. What finds the name is [`super::rules`].

use super::forms::{self, is_blank, is_quote};
use super::rules::Looked;
use super::value;
use super::view::{More, View};
use super::{Begun, Open, Secret};

/// How a header's value is made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    /// A scheme and credentials (RFC 9110, 11.6.2).
    Credentials,
    /// Names and values, to the end of the line (RFC 6265).
    Pairs,
    /// One value.
    Opaque,
}

#[rustfmt::skip]
const HEADERS: &[(&str, Header)] = &[
    ("authorization", Header::Credentials), ("proxy-authorization", Header::Credentials), ("x-authorization", Header::Credentials),
    ("cookie", Header::Pairs), ("set-cookie", Header::Pairs),
    ("x-api-key", Header::Opaque), ("api-key", Header::Opaque), ("apikey", Header::Opaque), ("x-auth-token", Header::Opaque),
    ("x-access-token", Header::Opaque), ("private-token", Header::Opaque), ("x-vault-token", Header::Opaque),
    ("x-goog-api-key", Header::Opaque), ("x-amz-security-token", Header::Opaque), ("ocp-apim-subscription-key", Header::Opaque),
    ("x-functions-key", Header::Opaque), ("x-auth-key", Header::Opaque), ("x-rapidapi-key", Header::Opaque),
    ("dd-api-key", Header::Opaque), ("circle-token", Header::Opaque), ("job-token", Header::Opaque), ("x-shopify-access-token", Header::Opaque),
];

/// The header of that name, in any case.
pub(super) fn named(name: &[u8]) -> Option<Header> {
    HEADERS
        .iter()
        .find(|(header, _)| name.eq_ignore_ascii_case(header.as_bytes()))
        .map(|(_, header)| *header)
}

/// The value of a header.
pub(super) fn secret(view: View<'_>, name_end: usize, header: Header, begun: &mut Begun) -> Looked {
    let mut at = view.skip(name_end, |byte| is_quote(byte) || is_blank(byte))?;
    let colon = view.glyph(at)?;
    if !matches!(colon.byte, b':' | b'=') || header == Header::Pairs && colon.byte == b'=' {
        return Ok(None);
    }
    at = view.skip(colon.end, |byte| is_blank(byte) || byte == b'[')?;
    let mut quote = None;
    let glyph = view.glyph(at)?;
    if is_quote(glyph.byte) {
        (quote, at) = (Some((glyph.byte, glyph.depth)), glyph.end);
    }
    let kind = if header == Header::Pairs {
        "cookie"
    } else {
        "authorization"
    };
    let (end, is_cut) = line(view, at, quote);
    let text = forms::seen(view, at, end);
    let credentials = credentials_length(&text, header);
    let open = match (quote, header) {
        (Some((byte, depth)), _) => Open::Quote { byte, depth },
        (None, Header::Pairs) => Open::Line,
        (None, _)
            if LISTS.iter().any(|list| {
                text.len() > list.len() && text[..list.len()].eq_ignore_ascii_case(list.as_bytes())
            }) =>
        {
            Open::Rest
        }
        (None, _) => Open::Bare,
    };
    let mut length = at;
    for _ in 0..credentials.unwrap_or_default() {
        length = View {
            is_last: true,
            ..view
        }
        .glyph(length)?
        .end;
    }
    let open = if length < end && open != Open::Rest {
        Open::No
    } else {
        open
    };
    let secret = credentials.map(|_| Secret {
        kind,
        range: at..length,
        open,
    });
    if is_cut {
        // A word alone may be a scheme.
        *begun = secret.filter(|_| header != Header::Credentials || text.contains(&b' '));
        return Err(More);
    }
    Ok(secret)
}

/// Where the line, or the string that began with `quote`, ends; and whether the text ends before.
fn line(view: View<'_>, from: usize, quote: Option<(u8, u8)>) -> (usize, bool) {
    let mut at = from;
    loop {
        let Ok(glyph) = view.glyph(at) else {
            return (at, true);
        };
        let ends = match quote {
            Some(quote) => forms::closes(quote, glyph),
            None => matches!(glyph.byte, b'\n' | b'\r' | b'<'),
        };
        if ends || glyph.end == at {
            return (at, false);
        }
        at = glyph.end;
    }
}

/// Schemes whose credentials are a list (RFC 7616, RFC 5849, Signature Version 4).
const LISTS: &[&str] = &["digest", "aws4-hmac-sha256", "oauth", "hawk", "signature"];

/// How many glyphs of a header's value are secret.
fn credentials_length(text: &[u8], header: Header) -> Option<usize> {
    /// Schemes with one token.
        #[rustfmt::skip]
        const SCHEMES: &[&str] = &[
            "bearer", "basic", "token", "negotiate", "apikey", "api-key", "key", "ntlm", "dpop", "sso-key", "splunk",
            "genie-key", "gssapi", "jwt", "vapid", "hawk", "hoba", "mutual", "scram-sha-256", "sharedkey",
            "sharedkeylite", "sharedaccesssignature",
        ];
    let first = text
        .iter()
        .position(|byte| byte.is_ascii_whitespace() || is_quote(*byte))
        .unwrap_or(text.len());
    let word = text[..first].to_ascii_lowercase();
    match header {
        Header::Pairs => {
            let length = text
                .iter()
                .position(|byte| is_quote(*byte))
                .unwrap_or(text.len());
            let is_pair = text[..first]
                .iter()
                .position(|byte| *byte == b'=')
                .is_some_and(|at| {
                    at > 0 && !text[..at].iter().any(|byte| b";:(){}".contains(byte))
                });
            (is_pair && length >= 4 && !text.starts_with(b"$")).then_some(length)
        }
        Header::Opaque => is_credential(&text[..first]).then_some(first),
        Header::Credentials if LISTS.iter().any(|list| list.as_bytes() == word) => {
            (text.len() >= first + 8).then_some(text.trim_ascii_end().len())
        }
        Header::Credentials if SCHEMES.iter().any(|scheme| scheme.as_bytes() == word) => {
            let from = text[first..]
                .iter()
                .position(|byte| *byte != b' ')
                .map(|at| first + at)?;
            let length = text[from..]
                .iter()
                .position(|byte| byte.is_ascii_whitespace() || is_quote(*byte))
                .unwrap_or(text.len() - from);
            is_credential(&text[from..from + length]).then_some(from + length)
        }
        // Of a scheme that is not known.
        Header::Credentials => {
            let rest = text[first..].trim_ascii_start();
            let last = rest
                .iter()
                .position(|byte| byte.is_ascii_whitespace() || is_quote(*byte))
                .unwrap_or(rest.len());
            let is_one = is_credential(&text[..first]) && value::is_random(&text[..first]);
            let is_two = is_credential(&rest[..last]) && value::is_random(&rest[..last]);
            is_one
                .then_some(first)
                .or(is_two.then_some(text.len() - rest.len() + last))
        }
    }
}

/// Whether a word in a header is no placeholder.
pub(super) fn is_credential(word: &[u8]) -> bool {
    let has = |is: fn(&u8) -> bool| word.iter().any(is);
    let is_odd = word
        .iter()
        .any(|byte| byte.is_ascii_digit() || b".-_+/=~!#^*".contains(byte))
        || has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase)
        || word.len() >= 20;
    word.len() >= 4 && is_odd && !value::is_placeholder(word) && !value::is_place(word)
}
