//! What stands around secrets: words that a vectorised search finds, and what each of them can begin.
//!
//! Pure. A word is a reason to look; what is looked at is read through its layers.

use std::sync::LazyLock;

use aho_corasick::Span;
use aho_corasick::packed::{Config, MatchKind, Searcher};

use super::forms::{self, Form, is_blank, is_quote};
use super::issuers::{self, is_word};
use super::layer::Layer;
use super::names::{self, Header};
use super::value::{self, Name};
use super::view::{More, View};
use super::{Begun, Open, Secret};

/// What a word is a reason to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// A name that says secret.
    Name,
    /// The user and password in a URL.
    Url,
    /// A private key.
    Key,
    /// `Bearer` and a token, in text.
    Bearer,
    /// A signature in a URL's query.
    Signature,
    /// The path of a URL that whoever knows it can post to.
    Webhook,
    /// A token with a mark inside.
    Marked,
    /// A command that takes a password.
    Command,
}

/// The words, none of which holds another: that would be searched for twice.
#[rustfmt::skip]
const WORDS: &[(&str, Rule)] = &[
    ("pass", Rule::Name), ("Pass", Rule::Name), ("PASS", Rule::Name), ("pwd", Rule::Name), ("PWD", Rule::Name), ("Pwd", Rule::Name),
    ("ecret", Rule::Name), ("ECRET", Rule::Name), ("oken", Rule::Name), ("OKEN", Rule::Name), ("key", Rule::Name), ("Key", Rule::Name),
    ("KEY", Rule::Name), ("cred", Rule::Name), ("Cred", Rule::Name), ("CRED", Rule::Name), ("uth", Rule::Name), ("UTH", Rule::Name),
    ("ookie", Rule::Name), ("OOKIE", Rule::Name),
    ("://", Rule::Url), (":\\/\\/", Rule::Url), ("%3A%2F%2F", Rule::Url), ("%3a%2f%2f", Rule::Url),
    ("-----BEGIN", Rule::Key), ("earer ", Rule::Bearer), ("sig=", Rule::Signature), ("ature=", Rule::Signature),
    ("hooks.slack.com/", Rule::Webhook), ("/api/webhooks/", Rule::Webhook), ("/IncomingWebhook/", Rule::Webhook), (":AA", Rule::Marked), ("%3AAA", Rule::Marked),
    (".atlasv1.", Rule::Marked), ("0Q~", Rule::Marked), ("1Q~", Rule::Marked), ("2Q~", Rule::Marked), ("3Q~", Rule::Marked), ("4Q~", Rule::Marked),
    ("5Q~", Rule::Marked), ("6Q~", Rule::Marked), ("7Q~", Rule::Marked), ("8Q~", Rule::Marked), ("9Q~", Rule::Marked),
    ("curl ", Rule::Command), ("wget ", Rule::Command), ("http ", Rule::Command), ("docker login", Rule::Command), ("mysql", Rule::Command),
];

/// A command, its option, whether a user stands in front of the password, and whether space may.
#[rustfmt::skip]
const COMMANDS: &[(&str, &str, bool, bool)] = &[
    ("curl ", "-u", true, true), ("curl ", "--user", true, true), ("curl ", "--proxy-user", true, true), ("wget ", "--user", true, true),
    ("http ", "-a", true, true), ("http ", "--auth", true, true), ("docker login", "-p", false, true), ("mysql", "-p", false, false),
];

static SEARCHER: LazyLock<Option<Searcher>> = LazyLock::new(|| {
    let words = WORDS.iter().map(|(word, _)| word);
    Config::new()
        .match_kind(MatchKind::LeftmostFirst)
        .builder()
        .extend(words)
        .build()
});

/// The longest word, in bytes.
pub(super) const WORD_MAX: usize = 17;

/// How far behind the reason to look a secret is read, in bytes: what goes on there is swallowed as it comes.
pub(super) const REACH: usize = 2048;

/// What follows a text that is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// More, at once.
    Open,
    /// More, in a while: what is recognisable is found.
    Pause,
    /// Nothing.
    Last,
}

/// What a search has found.
pub(super) enum Found {
    Secret(Secret),
    /// What follows decides. To be searched again from `at` on; from `hold` on, text may be a secret's.
    Wait {
        at: usize,
        hold: usize,
        begun: Begun,
    },
}

/// Searches `layer`'s text from `from` on; nothing in front of `floor` is of use.
pub(super) fn find(layer: &Layer, floor: usize, from: usize, ending: Ending) -> Found {
    let text = &layer.text[..];
    let is_last = ending == Ending::Last;
    let mut waiting = None;
    let mut word = next_word(text, from);
    let mut begin = issuers::next_begin(text, from, layer);
    loop {
        let word_at = word.map_or(text.len(), |(at, _)| at);
        let begin_at = begin.unwrap_or(text.len());
        let at = word_at.min(begin_at);
        if at >= text.len() {
            let at = text
                .len()
                .saturating_sub(WORD_MAX - 1)
                .max(from.min(text.len()))
                .max(floor);
            return wait(layer, waiting.unwrap_or(at), text.len(), None, is_last);
        }
        let end = text.len().min(at + REACH);
        let view = View {
            text: &text[..end],
            is_last: is_last || end < text.len(),
        };
        let mut begun = None;
        let found = match word {
            Some((at, index)) if word_at <= begin_at => {
                look(view, floor, at, index, layer, &mut begun)
            }
            _ => token(view, floor, at, layer, &mut begun),
        };
        match found {
            Ok(Some(secret)) if !secret.range.is_empty() && secret.range.end > floor => {
                return Found::Secret(secret);
            }
            Ok(_) => {}
            Err(More) => {
                if begun.is_some() || ending != Ending::Pause {
                    let hold = begun
                        .as_ref()
                        .map_or(at, |begun: &Secret| begun.range.start);
                    return wait(layer, waiting.unwrap_or(at), hold, begun, is_last);
                }
                waiting = waiting.or(Some(at));
            }
        }
        if word_at <= begin_at {
            word = next_word(text, at + 1);
        } else {
            begin = issuers::next_begin(text, at + 1, layer);
        }
    }
}

/// What follows decides, from `hold` on; also of a word at the end of the text that a token can begin with.
fn wait(layer: &Layer, at: usize, hold: usize, begun: Begun, is_last: bool) -> Found {
    let text = &layer.text[..];
    let view = View { text, is_last };
    let mut word = None;
    let mut can_begin = |at: usize| {
        issuers::is_begin(text, at, layer)
            && (issuers::token(view, at, layer, &mut word).is_err()
                || issuers::marked(view, at, layer, &mut word).is_err()
                || b"-----BEGIN".starts_with(&text[at..]))
    };
    // A word that begins between is not passed on, either.
    let last = text.len().saturating_sub(WORD_MAX - 1).min(at);
    let begins = (!is_last)
        .then(|| (last..text.len()).find(|&at| can_begin(at)))
        .flatten();
    let begin = begins.unwrap_or(text.len());
    Found::Wait {
        at: at.min(begin),
        hold: hold.min(begin),
        begun: begun.or(word),
    }
}

fn next_word(text: &[u8], from: usize) -> Option<(usize, usize)> {
    let span = Span {
        start: from.min(text.len()),
        end: text.len(),
    };
    match &*SEARCHER {
        Some(searcher) => searcher
            .find_in(text, span)
            .map(|found| (found.start(), found.pattern().as_usize())),
        // Where the processor cannot, each word is looked for.
        None => WORDS
            .iter()
            .enumerate()
            .filter_map(|(index, (word, _))| {
                Some((
                    from + memchr::memmem::find(&text[span.start..], word.as_bytes())?,
                    index,
                ))
            })
            .min(),
    }
}

type Looked = Result<Option<Secret>, More>;

/// A word of at least [`issuers::BEGIN_MIN`] bytes: a token, or the value of a service's name.
fn token(view: View<'_>, floor: usize, at: usize, layer: &Layer, begun: &mut Begun) -> Looked {
    if let Some(secret) = issuers::token(view, at, layer, begun)? {
        return Ok(Some(secret));
    }
    if issuers::may_be_marked(view.text, at)
        && let Some(secret) = issuers::marked(view, at, layer, begun)?
    {
        return Ok(Some(secret));
    }
    let Some((start, end)) = service_before(view, floor, at) else {
        return Ok(None);
    };
    Form::new(view, start, end).secret(Some(Name::Weak), begun)
}

/// The name in front of the value at `at`, if it is a service's.
fn service_before(view: View<'_>, floor: usize, at: usize) -> Option<(usize, usize)> {
    let lead = &view.text[floor.max(at.saturating_sub(96))..at];
    let lead = ["&quot;", "&#x27;", "&#39;", "&#34;"]
        .iter()
        .find_map(|quote| lead.strip_suffix(quote.as_bytes()))
        .unwrap_or(lead);
    let operator = issuers::operator_before(lead)?;
    // Between, an operator, quotes, and escapes of them: `%3D`, `&quot;`.
    let is_joint = |byte: &u8| b" \t\"'`\\=:>?|+.]%DA3&quot;".contains(byte);
    let last = lead[..operator].iter().rposition(|byte| !is_joint(byte))?;
    if !is_word(lead[last]) {
        return None;
    }
    let end = last
        + lead[last..]
            .iter()
            .take_while(|byte| is_word(**byte))
            .count();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let start = lead[..end]
        .iter()
        .rposition(|byte| !is_name(byte))
        .map_or(0, |last| last + 1);
    let offset = lead.as_ptr() as usize - view.text.as_ptr() as usize;
    (start < end
        && !lead[..start].ends_with(b"::")
        && names::names_service(&lead[start..end])
        && names::header(&lead[start..end]).is_none())
    .then_some((offset + start, offset + end))
}

fn look(
    view: View<'_>,
    floor: usize,
    at: usize,
    index: usize,
    layer: &Layer,
    begun: &mut Begun,
) -> Looked {
    let (word, rule) = WORDS[index];
    let end = at + word.len();
    match rule {
        Rule::Name => name(view, floor, at, begun),
        Rule::Url => url(view, floor, at, end, begun),
        Rule::Key => key(view, at, begun),
        Rule::Bearer => bearer(view, end, begun),
        Rule::Signature => signature(view, floor, at, end, begun),
        Rule::Webhook => webhook(view, end, begun),
        Rule::Marked => {
            issuers::around_mark(view, at + usize::from(word.ends_with('~')), layer, begun)
        }
        Rule::Command => command(view, floor, at, word, begun),
    }
}

fn name(view: View<'_>, floor: usize, at: usize, begun: &mut Begun) -> Looked {
    let (start, end) = forms::name_around(view, floor, at)?;
    // `AWS::Config::AggregationAuthorization` is a type's name.
    if view.text[..start].ends_with(b"::") {
        return Ok(None);
    }
    if let Some(header) = names::header(&view.text[start..end])
        && let Some(found) = self::header(view, end, header, begun)?
    {
        return Ok(Some(found));
    }
    Form::new(view, start, end).secret(None, begun)
}

/// The value of a header.
fn header(view: View<'_>, name_end: usize, header: Header, begun: &mut Begun) -> Looked {
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
fn is_credential(word: &[u8]) -> bool {
    let has = |is: fn(&u8) -> bool| word.iter().any(is);
    let is_odd = word
        .iter()
        .any(|byte| byte.is_ascii_digit() || b".-_+/=~!#^*".contains(byte))
        || has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase)
        || word.len() >= 20;
    word.len() >= 4 && is_odd && !value::is_placeholder(word) && !value::is_place(word)
}

/// A URL's password: `scheme://user:password@`.
fn url(view: View<'_>, floor: usize, at: usize, end: usize, begun: &mut Begun) -> Looked {
    let depth = view.glyph(at)?.depth;
    if !view.text[floor..at]
        .last()
        .is_some_and(u8::is_ascii_alphanumeric)
    {
        return Ok(None);
    }
    let host = view.text[end..]
        .iter()
        .find(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'.' | b'-' | b'_'));
    if matches!(
        host,
        Some(b'/' | b' ' | b'\n' | b'?' | b'#' | b')' | b'>' | b',' | b';')
    ) {
        return Ok(None);
    }
    let is_at_depth = |own: u8| own <= depth || own < 24;
    let (mut position, mut colon, mut last) = (end, None, None);
    loop {
        let glyph = match view.glyph(position) {
            Ok(glyph) => glyph,
            Err(more) => {
                let port = |text: &[u8]| text.len() <= 5 && text.iter().all(u8::is_ascii_digit);
                if let Some(colon) = colon.filter(|&colon: &usize| !port(&view.text[colon..])) {
                    let open = if last.is_some() { Open::No } else { Open::Url };
                    *begun = Some(Secret {
                        kind: "url-password",
                        range: colon..last.unwrap_or(position),
                        open,
                    });
                }
                return Err(more);
            }
        };
        let is_end = glyph.byte.is_ascii_whitespace()
            || glyph.byte < 0x20
            || b"/\"'`<>?#(){};,".contains(&glyph.byte) && is_at_depth(glyph.depth);
        if is_end || glyph.end == position {
            break;
        }
        match glyph.byte {
            b':' if colon.is_none() && is_at_depth(glyph.depth) => colon = Some(glyph.end),
            b'@' if is_at_depth(glyph.depth) => last = Some(position),
            _ => {}
        }
        position = glyph.end;
    }
    let (Some(from), Some(until)) = (colon, last) else {
        return Ok(None);
    };
    let password = &view.text[from.min(until)..until];
    const PLACEHOLDERS: [&[u8]; 6] = [b"pass", b"password", b"passwd", b"secret", b"token", b"pw"];
    let is_placeholder = password.len() < 3
        || PLACEHOLDERS.contains(&password)
        || b"$*{<[%".contains(&password[0]) && !password[1..].iter().any(u8::is_ascii_digit);
    Ok((!is_placeholder).then_some(Secret {
        kind: "url-password",
        range: from..until,
        open: Open::No,
    }))
}

/// Where a private key begins (RFC 7468, 2, and OpenPGP's armor).
fn key(view: View<'_>, at: usize, begun: &mut Begun) -> Looked {
    let secret = |end| Secret {
        kind: "private-key",
        range: at..end,
        open: Open::Key,
    };
    // Nothing of it is passed on before that is decided.
    let read = || -> Result<Option<usize>, More> {
        let label = view.skip(at + 10, |byte| {
            byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' '
        })?;
        let is_private = memchr::memmem::find(&view.text[at..label], b"PRIVATE KEY").is_some();
        if !is_private || label - at > 100 {
            return Ok(None);
        }
        view.expect(label, "-----")
    };
    match read() {
        Ok(end) => Ok(end.map(secret)),
        Err(more) => {
            let known = &view.text[at..];
            *begun = memchr::memmem::find(known, b"PRIVATE").map(|_| secret(view.text.len()));
            Err(more)
        }
    }
}

fn bearer(view: View<'_>, from: usize, begun: &mut Begun) -> Looked {
    let from = view.skip(from, is_blank)?;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_.~-".contains(&byte);
    run(view, "authorization", from, 20, is_part, begun)
}

fn webhook(view: View<'_>, from: usize, begun: &mut Begun) -> Looked {
    run(
        view,
        "webhook",
        from,
        20,
        |byte| byte.is_ascii_alphanumeric() || b"+/_-".contains(&byte),
        begun,
    )
}

fn signature(view: View<'_>, floor: usize, at: usize, from: usize, begun: &mut Begun) -> Looked {
    let name = view.text[floor..at]
        .iter()
        .rposition(|byte| !byte.is_ascii_alphabetic() && *byte != b'-');
    if !name.is_some_and(|last| matches!(view.text[floor + last], b'?' | b'&' | b';')) {
        return Ok(None);
    }
    run(
        view,
        "url-signature",
        from,
        20,
        |byte| byte.is_ascii_alphanumeric() || b"%+/=_-".contains(&byte),
        begun,
    )
}

/// At least `min` glyphs that belong to a secret.
fn run(
    view: View<'_>,
    kind: &'static str,
    from: usize,
    min: usize,
    belongs: fn(u8) -> bool,
    begun: &mut Begun,
) -> Looked {
    let secret = |end| Secret {
        kind,
        range: from..end,
        open: Open::Bare,
    };
    match view.skip(from, belongs) {
        Ok(mut end) => {
            while end > from && view.text[end - 1] == b'.' {
                end -= 1;
            }
            let is_secret =
                end - from >= min && view.text[from..end].iter().any(u8::is_ascii_digit);
            Ok(is_secret.then(|| secret(end)))
        }
        Err(more) => {
            *begun = Some(secret(view.known_end(from)));
            Err(more)
        }
    }
}

/// A password on a command's line.
fn command(view: View<'_>, floor: usize, at: usize, word: &str, begun: &mut Begun) -> Looked {
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
