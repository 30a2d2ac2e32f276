//! What stands around secrets: words that a vectorised search finds, and what each of them can begin.
//!
//! Pure. A word is a reason to look; what is looked at is read through its layers.

use std::sync::LazyLock;

use aho_corasick::Span;
use aho_corasick::packed::{Config, MatchKind, Searcher};

use super::commands;
use super::forms::{self, Form, is_blank};
use super::headers;
use super::issuers::{self, is_word};
use super::layer::Layer;
use super::names;
use super::value::Name;
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

pub(super) type Looked = Result<Option<Secret>, More>;

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
    let quotes: &[&str] = match lead {
        [.., b';'] => &["&quot;", "&#x27;", "&#39;", "&#34;"],
        _ => &[],
    };
    let lead = quotes
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
        && headers::named(&lead[start..end]).is_none())
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
        Rule::Command => commands::secret(view, floor, at, word, begun),
    }
}

fn name(view: View<'_>, floor: usize, at: usize, begun: &mut Begun) -> Looked {
    let (start, end) = forms::name_around(view, floor, at)?;
    // `AWS::Config::AggregationAuthorization` is a type's name.
    if view.text[..start].ends_with(b"::") {
        return Ok(None);
    }
    if let Some(header) = headers::named(&view.text[start..end])
        && let Some(found) = headers::secret(view, end, header, begun)?
    {
        return Ok(Some(found));
    }
    Form::new(view, start, end).secret(None, begun)
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
