//! Table of headers with secret values, and the structure of each value.
//!
//! Pure. [`super::rules`] finds the names.

use super::extent;
use super::value;
use super::view::{More, Quote, View, is_blank, is_quote};
use super::{Looked, Open, Secret, Undecided};

/// Structure of a header's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    /// A scheme and credentials (RFC 9110, 11.6.2).
    Credentials,
    /// Names and values until the end of the line (RFC 6265).
    Pairs,
    /// A single value.
    Opaque,
}

#[rustfmt::skip]
table! {
    HEADERS, SAMPLES: (&str, Header) =
    ("authorization", Header::Credentials; "Authorization: «Bearer abc.def-ghi»", "Authorization: Bearer <token>"),
    ("proxy-authorization", Header::Credentials; "Proxy-Authorization: «Basic dXNlcjpwYXNz»", "proxy-authorization: none"),
    ("x-authorization", Header::Credentials; "x-authorization: «8f14e45fceea167a5a36»", "X-Authorization: the token"),
    ("cookie", Header::Pairs; "Cookie: «session=abc123; theme=dark»", "Cookie: see below."),
    ("set-cookie", Header::Pairs; "Set-Cookie: «sid=\"a b1c2\"; Path=/»", "set-cookie: the session"),
    ("x-api-key", Header::Opaque; "X-Api-Key: «q7Hs2kLm9Zx4»", "x-api-key: required"),
    ("api-key", Header::Opaque; "curl -H 'api-key: «q7Hs2kLm9Zx4»' x", "api-key: ${KEY}"),
    ("apikey", Header::Opaque; "apikey: «q7Hs2kLm9Zx4»", "apikey: missing"),
    ("x-auth-token", Header::Opaque; "X-Auth-Token: «8f14e45fceea167a»", "X-Auth-Token: $TOKEN"),
    ("x-access-token", Header::Opaque; "x-access-token: «8f14e45fceea167a»", "x-access-token: <token>"),
    ("private-token", Header::Opaque; "PRIVATE-TOKEN: «q7Hs2kLm9Zx4»", "private-token: yours"),
    ("x-vault-token", Header::Opaque; "X-Vault-Token: «q7Hs2kLm9Zx4»", "X-Vault-Token: root"),
    ("x-goog-api-key", Header::Opaque; "x-goog-api-key: «q7Hs2kLm9Zx4»", "x-goog-api-key: {key}"),
    ("x-amz-security-token", Header::Opaque; "X-Amz-Security-Token: «IQoJb3JpZ2luX2VjEJ7»", "x-amz-security-token: none"),
    ("ocp-apim-subscription-key", Header::Opaque; "Ocp-Apim-Subscription-Key: «cd99c09d6d055fd8»", "ocp-apim-subscription-key: key"),
    ("x-functions-key", Header::Opaque; "x-functions-key: «q7Hs2kLm9Zx4»", "x-functions-key: null"),
    ("x-auth-key", Header::Opaque; "X-Auth-Key: «8f14e45fceea167a»", "X-Auth-Key: secret"),
    ("x-rapidapi-key", Header::Opaque; "X-RapidAPI-Key: «8f14e45fceea167a»", "X-RapidAPI-Key: %s"),
    ("dd-api-key", Header::Opaque; "DD-API-KEY: «8f14e45fceea167a»", "DD-API-KEY: hidden"),
    ("circle-token", Header::Opaque; "Circle-Token: «8f14e45fceea167a»", "Circle-Token: token"),
    ("job-token", Header::Opaque; "JOB-TOKEN: «q7Hs2kLm9Zx4»", "JOB-TOKEN: $CI_JOB_TOKEN"),
    ("x-shopify-access-token", Header::Opaque; "X-Shopify-Access-Token: «8f14e45fceea167a»", "X-Shopify-Access-Token: ****"),
}

/// The header with that name; ignores case.
pub(super) fn named(name: &[u8]) -> Option<Header> {
    HEADERS
        .iter()
        .find(|(header, _)| {
            header.len() == name.len() && name.eq_ignore_ascii_case(header.as_bytes())
        })
        .map(|(_, header)| *header)
}

/// Part of a mark in redacted text, after its `[`, which is skipped.
const MARK: &[u8] = b"REDACTED:";

/// Beginning of a header's value, and its quote. After a quoted name, an unquoted value is a number or code.
fn value_at(
    view: View<'_>,
    name_end: usize,
    header: Header,
) -> Result<Option<(usize, Option<Quote>)>, More> {
    let at = view.skip(name_end, |byte| is_quote(byte) || is_blank(byte))?;
    let colon = view.glyph(at)?;
    if !matches!(colon.byte, b':' | b'=') || header == Header::Pairs && colon.byte == b'=' {
        return Ok(None);
    }
    let at = view.skip(colon.end, |byte| is_blank(byte) || byte == b'[')?;
    let glyph = view.glyph(at)?;
    if let Some(quote) = glyph.quote() {
        return Ok(Some((glyph.end, Some(quote))));
    }
    Ok((!is_quote(view.glyph(name_end)?.byte)).then_some((at, None)))
}

/// The secret value of a header.
pub(super) fn secret(view: View<'_>, name_end: usize, header: Header) -> Looked {
    let Some((at, quote)) = value_at(view, name_end, header)? else {
        return Ok(None);
    };
    let (end, last) = view.until(at, |glyph| match quote {
        Some(quote) => quote.closes(glyph),
        None => matches!(glyph.byte, b'\n' | b'\r' | b'<'),
    });
    let is_cut = last.is_err();
    if header == Header::Opaque && quote.is_none() && !is_cut && extent::unwrapped(view, at)? > at {
        // An assignment in code.
        return Ok(None);
    }
    let text = view.seen(at, end);
    let is_new = |length: &usize| memchr::memmem::find(&text[..*length], MARK).is_none();
    let Some(length) = credentials_length(&text, header).filter(is_new) else {
        return match is_cut && end > at {
            true => Err(Undecided::Possible(at)),
            false if is_cut => Err(Undecided::Unknown),
            false => Ok(None),
        };
    };
    let until = View::new(view.text, true).nth_end(at, length)?;
    let first = text.split(|byte| *byte == b' ').next().unwrap_or_default();
    let kind = match header {
        Header::Pairs => "cookie",
        _ => "authorization",
    };
    let open = match quote {
        None if header != Header::Pairs && is_one_of(LISTS, first) => Open::Rest,
        _ if until < end => Open::No,
        Some(quote) => Open::Quote(quote),
        None if header == Header::Pairs => Open::Line,
        None => Open::Bare { is_alone: true },
    };
    let secret = Secret::new(kind, at..until, open);
    if is_cut {
        // A single word may be a scheme.
        let is_known = match header {
            Header::Credentials => text.contains(&b' '),
            // A quoted value can follow.
            Header::Pairs => !text[..length].ends_with(b"="),
            Header::Opaque => quote.is_some() || !extent::may_be_wrapper(view, at),
        };
        return Err(Undecided::known(secret, is_known));
    }
    Ok(Some(secret))
}

fn is_one_of(schemes: &[&str], word: &[u8]) -> bool {
    let is = |scheme: &&str| scheme.as_bytes().eq_ignore_ascii_case(word);
    schemes.iter().any(is)
}

/// Schemes with a list of credentials (RFC 7616, RFC 5849, Signature Version 4).
const LISTS: &[&str] = &["digest", "aws4-hmac-sha256", "oauth", "hawk", "signature"];

/// Number of secret glyphs in a header's value.
fn credentials_length(text: &[u8], header: Header) -> Option<usize> {
    /// Schemes with a single token.
    #[rustfmt::skip]
    const SCHEMES: &[&str] = &[
        "bearer", "basic", "token", "negotiate", "apikey", "api-key", "key", "ntlm", "dpop", "sso-key", "splunk",
        "genie-key", "gssapi", "jwt", "vapid", "hawk", "hoba", "mutual", "scram-sha-256", "sharedkey",
        "sharedkeylite", "sharedaccesssignature",
    ];
    let word = |text: &[u8]| {
        let end = |byte: &u8| byte.is_ascii_whitespace() || is_quote(*byte);
        text.iter().position(end).unwrap_or(text.len())
    };
    let first = word(text);
    let rest = text[first..].trim_ascii_start();
    let (scheme, second) = (&text[..first], &rest[..word(rest)]);
    let both = text.len() - rest.len() + second.len();
    let is_code = scheme.iter().any(|byte| is_one_of!(*byte, b"([{"));
    match header {
        Header::Pairs => {
            let length = pairs_length(text);
            let name = scheme.iter().position(|byte| *byte == b'=');
            let is_pair = name.is_some_and(|at| {
                at > 0 && !text[..at].iter().any(|byte| is_one_of!(*byte, b";:(){}"))
            });
            (is_pair && length >= 4 && !text.starts_with(b"$")).then_some(length)
        }
        Header::Opaque => (is_credential(scheme) && !is_code).then_some(first),
        Header::Credentials if is_one_of(LISTS, scheme) => {
            (text.len() >= first + 8).then_some(text.trim_ascii_end().len())
        }
        Header::Credentials if is_one_of(SCHEMES, scheme) => is_credential(second).then_some(both),
        // An unknown scheme.
        Header::Credentials => {
            let is_secret = |word: &[u8]| is_credential(word) && value::is_random(word);
            let is_one = is_secret(scheme) && !is_code;
            is_one
                .then_some(first)
                .or(is_secret(second).then_some(both))
        }
    }
}

/// End of the names and values: a quote that does not begin a value (RFC 6265, 4.1.1).
fn pairs_length(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        if is_quote(byte) {
            let rest = &text[at + 1..];
            let close = rest.iter().position(|other| *other == byte);
            let close = close.filter(|end| matches!(rest.get(end + 1), None | Some(b';' | b' ')));
            match close.filter(|_| text[..at].ends_with(b"=")) {
                Some(length) => at += length + 1,
                None => return at,
            }
        }
        at += 1;
    }
    at
}

/// True unless a word in a header is a placeholder.
pub(super) fn is_credential(word: &[u8]) -> bool {
    let has = |is: fn(&u8) -> bool| word.iter().any(is);
    let is_odd = word
        .iter()
        .any(|byte| byte.is_ascii_digit() || is_one_of!(*byte, b".-_+/=~!#^*"))
        || has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase)
        || word.len() >= 20;
    word.len() >= 4 && is_odd && !value::is_placeholder(word) && !value::is_place(word)
}
