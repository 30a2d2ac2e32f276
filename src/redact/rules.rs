//! Surroundings of secrets: words that a vectorised search finds, and the rule of each.
//!
//! Pure. A word only marks a candidate; the candidate is read through its layers.

use std::sync::LazyLock;

use aho_corasick::Span;
use aho_corasick::packed::{Config, MatchKind, Searcher};

use super::begins::{self, Begin};
use super::commands::{self, COMMANDS, Command};
use super::forms;
use super::headers;
use super::layer::Layer;
use super::names;
use super::stream::CONTEXT_MAX;
use super::tokens;
use super::urls;
use super::view::{More, View, is_blank};
use super::{Looked, Open, POSSIBLE_MAX, REACH, REDACTED, Secret, Undecided};

/// Kind of secret that a word can indicate.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// A name that indicates a secret.
    Name,
    /// A URL with user and password, with an escaped mark: [`begins`] finds the others.
    Url,
    /// A private key.
    Key,
    /// `Bearer` and a token, in text.
    Bearer,
    /// A signature in a URL's query.
    Signature,
    /// A webhook URL: its path alone permits posting.
    Webhook,
    /// A token with a mark inside.
    Marked,
    /// A command with a password argument, and the length of its name before the searched part.
    Command(&'static Command, usize),
}

#[rustfmt::skip]
table! {
    /// The rules and their words. No word contains another: that would be searched for twice. The searcher puts the words
    /// into 16 sets, in turn, and looks for the first three characters of a set in any combination. This order, with that
    /// of [`COMMANDS`] behind it, keeps words apart whose combinations are frequent: of ordinary text, hardly any other text
    /// is compared with a word than one that begins like it.
    RULES, SAMPLES: (Rule, &[&str]) =
    (Rule::Name, &[
        "uth", "key", "Key", "ecret", "UTH", "cred", "oken", "Cred", "pass", "OKEN", "Pwd", "ookie", "CRED", "pwd", "Pass", "KEY",
        "PASS", "PWD", "ECRET", "OOKIE",
    ]; "DB_PASS=«hunter2horse»", "PWD=/home/u/work"),
    (Rule::Url, &["%3a//", "%3A%2F%2F", "%3A//", "%3a%2f%2f", ":\\/\\/"];
        "postgres://user:«hunter2»@db:5432/x", "see https://example.com:8080/@user/path"),
    (Rule::Webhook, &["/api/webhooks/", "IncomingWebhook", "hooks.slack.com"];
        "https://hooks.slack.com/«services/T0123ABCD/B0123ABCD/q7Hs2kLm9Zx4vBn1»", "https://hooks.slack.com/docs"),
    (Rule::Signature, &["sig%3D", "ature=", "sig=", "ature%3D"]; "GET /b?se=1&sig=«q7Hs2kLm9Zx4vBn1q7Hs2kLm»&x=1", "sig=SIGTERM"),
    (Rule::Marked, &["%3AAA", ":AA", ".atlasv1."];
        "bot 123456789:AA«F0123456789abcdefghijklmnopqrstuv» polls", "a:AAAA"),
    (Rule::Bearer, &["earer"]; "sends Bearer «q7Hs2kLm9Zx4vBn1q7Hs2kLm» now", "a bearer of good news, and of bad ones, too"),
    (Rule::Key, &["-----BEGIN"];
        "«-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEF\n-----END PRIVATE KEY-----»\n", "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIU"),
}

/// The searched words, each with its rule, and a vectorised searcher if the processor supports one.
struct Words {
    all: Vec<(&'static str, Rule)>,
    searcher: Option<Searcher>,
}

static WORDS: LazyLock<Words> = LazyLock::new(|| {
    let rules = RULES
        .iter()
        .flat_map(|(rule, words)| words.iter().map(|word| (*word, *rule)));
    let commands = COMMANDS.iter().flat_map(|row| {
        row.0.iter().map(|name| {
            let searched = commands::searched(name);
            (searched, Rule::Command(row, name.len() - searched.len()))
        })
    });
    let all: Vec<_> = rules.chain(commands).collect();
    let searcher = Config::new()
        .match_kind(MatchKind::LeftmostFirst)
        .builder()
        .extend(all.iter().map(|word| word.0))
        .build();
    Words { all, searcher }
});

/// Length of the longest word, in bytes.
pub(super) const WORD_MAX: usize = 17;

/// Continuation of a searched text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// More follows immediately.
    Open,
    /// More follows later: what is recognisable counts as found.
    Pause,
    /// Nothing follows.
    Last,
}

/// Result of a search.
pub(super) enum Found {
    Secret(Secret),
    /// Later text decides. Search again from `at`; text from `hold` on may belong to a secret.
    Wait {
        at: usize,
        hold: usize,
        /// The part of the secret that a pause removes.
        begun: Option<Secret>,
    },
}

/// Results of a search so far. A command's argument can be far after its name, with another secret between them.
#[derive(Default)]
struct Met {
    /// The secret with the first beginning.
    first: Option<Secret>,
    /// The first undecided candidate: its position, the beginning of its secret, and the known part.
    open: Option<(usize, usize, Option<Secret>)>,
    /// At a pause: the first candidate whose text is passed on.
    waiting: Option<usize>,
}

impl Met {
    /// Records the result for the candidate at `at` in `text`.
    fn note(&mut self, text: &[u8], at: usize, floor: usize, found: Looked, ending: Ending) {
        let (hold, begun) = match found {
            Ok(Some(secret)) if !secret.range.is_empty() && secret.range.end > floor => {
                let is_first = |first: &Secret| secret.range.start < first.range.start;
                if self.first.as_ref().is_none_or(is_first) {
                    self.first = Some(secret);
                }
                return;
            }
            Ok(_) => return,
            Err(Undecided::Begun(secret)) => (secret.range.start, Some(secret)),
            Err(Undecided::Possible(hold)) if text.len() - hold <= POSSIBLE_MAX => (hold, None),
            Err(_) if ending == Ending::Pause => {
                self.waiting = self.waiting.or(Some(at));
                return;
            }
            Err(Undecided::Possible(hold)) => (hold, None),
            Err(Undecided::Unknown) => (at, None),
        };
        let later = self.open.take_if(|open| open.1 > hold);
        let reason = later.map_or(at, |open| open.0);
        self.open.get_or_insert((reason, hold, begun));
    }

    /// The result for the text before `at`, all of which has been searched.
    fn before(&mut self, layer: &Layer, floor: usize, at: usize, ending: Ending) -> Option<Found> {
        let open_at = self.open.as_ref().map_or(at, |open| open.1);
        let until = at.min(open_at);
        if let Some(secret) = self.first.take_if(|first| first.range.start <= until) {
            return Some(Found::Secret(secret));
        }
        let (reason, hold, begun) = self.open.take_if(|open| open.1 <= at)?;
        let reason = self.waiting.unwrap_or(reason).max(floor);
        Some(wait(layer, floor, reason, hold, begun, ending))
    }
}

/// Searches the text of `layer` from `from` on; text before `floor` is not used. After a secret that ends at `floor`,
/// also searches for an argument of a command before it.
pub(super) fn find(layer: &Layer, floor: usize, from: usize, ending: Ending) -> Found {
    let text = &layer.text[..];
    let is_last = ending == Ending::Last;
    let mut met = Met::default();
    let back = if from == floor { CONTEXT_MAX } else { 0 };
    let mut word = next_word(text, from.saturating_sub(back));
    let mut begin = begins::next(text, from, layer);
    loop {
        let word_at = word.map_or(text.len(), |(at, _)| at);
        let begin_at = begin.map_or(text.len(), |(at, _)| at);
        let at = word_at.min(begin_at);
        if let Some(found) = met.before(layer, floor, at, ending) {
            return found;
        }
        if at >= text.len() {
            let at = text.len().saturating_sub(WORD_MAX - 1);
            let at = at.max(from.min(text.len()));
            let at = met.waiting.unwrap_or(at).max(floor);
            return wait(layer, floor, at, text.len(), None, ending);
        }
        let end = text.len().min(at + REACH);
        let view = View::new(&text[..end], is_last || end < text.len());
        let mut found = match word {
            Some((at, index)) if word_at <= begin_at => {
                look(view, floor, at, WORDS.all[index], layer)
            }
            _ if begin == Some((at, Begin::Url)) => {
                urls::secret(view, floor, at, at + urls::MARK.len())
            }
            _ => tokens::secret(view, floor, at, layer),
        };
        if let Ok(Some(secret)) = &mut found
            && (secret.range.end < end || end == text.len())
            && secret.open != Open::Key
        {
            secret.open = Open::No;
        }
        met.note(text, at, floor, found, ending);
        if word_at <= begin_at {
            word = next_word(text, at + 1);
        } else {
            begin = begins::next(text, at + 1, layer);
        }
    }
}

/// Waits for later text, with bytes from `hold` on held; also holds a word at the end of the text that a token can
/// begin with. Only the known part of that word is of interest at a pause.
fn wait(
    layer: &Layer,
    floor: usize,
    mut at: usize,
    mut hold: usize,
    mut begun: Option<Secret>,
    ending: Ending,
) -> Found {
    let text = &layer.text[..];
    let view = View::new(text, ending == Ending::Last);
    // Also searches for a word that begins between them.
    let last = text.len().saturating_sub(WORD_MAX - 1).min(at);
    for begin in last.max(floor)..text.len() {
        let is_key = text[begin] == b'-' && b"-----BEGIN".starts_with(&text[begin..]);
        if ending == Ending::Last || !is_key && !begins::is_begin(text, begin, layer) {
            continue;
        }
        let found = tokens::secret(view, floor, begin, layer);
        if found.is_ok() && !is_key {
            continue;
        }
        at = at.min(begin);
        if ending == Ending::Pause && matches!(found, Ok(_) | Err(Undecided::Unknown)) {
            continue;
        }
        hold = hold.min(begin);
        if let Err(Undecided::Begun(secret)) = found {
            begun.get_or_insert(secret);
        }
        break;
    }
    Found::Wait { at, hold, begun }
}

/// The next word that marks a candidate: its position, and its index in [`WORDS`].
fn next_word(text: &[u8], mut from: usize) -> Option<(usize, usize)> {
    let Words { all, searcher } = &*WORDS;
    loop {
        let words = all.iter().map(|(word, _)| word.as_bytes());
        let (at, index) = next_of(searcher.as_ref(), words, text, from)?;
        // Most lines with a command's name have no password.
        match all[index].1 {
            Rule::Command(command, lead)
                if !commands::may_have_option(
                    &text[..text.len().min(at + REACH)],
                    at,
                    lead,
                    command,
                ) =>
            {
                from = at + 1;
            }
            _ => return Some((at, index)),
        }
    }
}

/// Position and index of the first of `words` in `text` from `from` on; `searcher` finds them if present.
pub(super) fn next_of<'w>(
    searcher: Option<&Searcher>,
    words: impl Iterator<Item = &'w [u8]>,
    text: &[u8],
    from: usize,
) -> Option<(usize, usize)> {
    let (start, end) = (from.min(text.len()), text.len());
    match searcher {
        Some(searcher) => searcher
            .find_in(text, Span { start, end })
            .map(|found| (found.start(), found.pattern().as_usize())),
        // Without the vectorised search, each word is searched for separately.
        None => words
            .enumerate()
            .filter_map(|(index, word)| {
                Some((start + memchr::memmem::find(&text[start..], word)?, index))
            })
            .min(),
    }
}

fn look(
    view: View<'_>,
    floor: usize,
    at: usize,
    (word, rule): (&str, Rule),
    layer: &Layer,
) -> Looked {
    let end = at + word.len();
    match rule {
        Rule::Command(command, _) => commands::secret(view, floor, at, end, command),
        _ if at < floor => Ok(None),
        Rule::Name => name(view, floor, at),
        Rule::Url => urls::secret(view, floor, at, end),
        Rule::Key => key(view, at),
        Rule::Bearer => bearer(view, end),
        Rule::Signature => signature(view, floor, at, end),
        Rule::Webhook => webhook(view, end),
        Rule::Marked => tokens::around_mark(view, at, layer),
    }
}

fn name(view: View<'_>, floor: usize, at: usize) -> Looked {
    let (start, end) = names::around(view, floor, at)?;
    // `AWS::Config::AggregationAuthorization` is a type; the kind in a mark is no name.
    let before = &view.text[..start];
    if before.ends_with(b"::") || before.ends_with(REDACTED.as_bytes()) {
        return Ok(None);
    }
    if let Some(header) = headers::named(&view.text[start..end])
        && let Some(found) = headers::secret(view, end, header)?
    {
        return Ok(Some(found));
    }
    forms::secret(view, floor, (start, end), None)
}

/// The beginning of a private key (RFC 7468, 2, and OpenPGP's armor).
fn key(view: View<'_>, at: usize) -> Looked {
    let secret = |end| Secret::new("private-key", at..end, Open::Key);
    // Passes no byte of it on before this is decided.
    let read = || -> Result<Option<usize>, More> {
        let label = view.skip(at + 10, |byte| {
            byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' '
        })?;
        let text = view.seen(at, label);
        if memchr::memmem::find(&text, b"PRIVATE KEY").is_none() || text.len() > 100 {
            return Ok(None);
        }
        view.expect(label, "-----")
    };
    match read() {
        Ok(end) => Ok(end.map(secret)),
        Err(More) => {
            let known = &view.text[at..];
            let is_private = memchr::memmem::find(known, b"PRIVATE").is_some();
            Err(Undecided::known(secret(view.text.len()), is_private))
        }
    }
}

/// `Bearer`, which ends at `end`, and a token.
fn bearer(view: View<'_>, end: usize) -> Looked {
    let from = view.skip(end, |byte| is_blank(byte) || byte == b'+')?;
    if from == end {
        return Ok(None);
    }
    run(view, "authorization", from, b"+/=_.~-")
}

/// The path after a webhook's address, which ends at `end`, with or without a slash.
fn webhook(view: View<'_>, end: usize) -> Looked {
    let from = view.skip(end, |byte| byte == b'/')?;
    run(view, "webhook", from, b"+/_-")
}

/// The value of a URL query parameter whose name ends between `at` and `from`.
fn signature(view: View<'_>, floor: usize, at: usize, from: usize) -> Looked {
    let lead = view.seen(floor.max(at.saturating_sub(32)), at);
    let is_name = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'-';
    let before = lead.iter().rfind(|byte| !is_name(byte));
    if !before.is_some_and(|byte| is_one_of!(*byte, b"?&;")) {
        return Ok(None);
    }
    run(view, "url-signature", from, b"%+/=_-")
}

/// Minimum length of a token that is recognised by the text before it, in bytes.
const RUN_MIN: usize = 20;

/// A run of letters, at least one digit, and `others`.
fn run(view: View<'_>, kind: &'static str, from: usize, others: &[u8]) -> Looked {
    let secret = |end| Secret::new(kind, from..end, Open::Bare { is_alone: false });
    let belongs = |byte: u8| byte.is_ascii_alphanumeric() || others.contains(&byte);
    let Ok(mut end) = view.skip(from, belongs) else {
        let end = view.known_end(from);
        let is_telling = view.text[from..end].iter().any(u8::is_ascii_digit);
        return Err(Undecided::known(secret(end), is_telling));
    };
    while end > from && view.text[end - 1] == b'.' {
        end -= 1;
    }
    let is_secret = end - from >= RUN_MIN && view.text[from..end].iter().any(u8::is_ascii_digit);
    Ok(is_secret.then(|| secret(end)))
}
