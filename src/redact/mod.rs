//! Redaction: secrets out of events, the log and diagnostics, before they are stored or shown.
//!
//! Runs on whatever thread has the bytes; it holds no state but its rules. A line is looked at closely only if it holds
//! one of the rules' words, which a vectorised search finds: ordinary text passes at memory speed.

mod rules;
mod stream;
mod value;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use aho_corasick::Span;
use aho_corasick::packed::{Config, MatchKind, Searcher};
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, PatternID};

use rules::{CONTEXTS, PEM_ANCHOR, PEM_BEGIN, PEM_KIND, TOKENS};
pub use stream::Stream;
use value::Assignment;

use crate::api::Timestamp;

/// What begins the mark that stands in a secret's place, before its kind and `]`.
pub const REDACTED: &str = "[REDACTED:";

/// The words of one vectorised search (aho-corasick's Teddy takes 64). The more share its buckets, the more often it stops
/// for nothing; the fewer, the more searches there are. `cargo bench -- redaction` tells.
const SEARCHER_MAX: usize = 54;

/// The largest automaton of patterns, the user's together, in bytes.
const COMPILED_MAX: usize = 8 * 1024 * 1024;

/// The rules in force, compiled.
pub struct Redactor {
    /// Finds the words without which a line holds no secret. `None` where the processor cannot: every line is then
    /// looked at.
    words: Option<Vec<WordSearch>>,
    /// The user's own patterns, which have no words to search for first.
    own: RwLock<Option<Arc<Regex>>>,
    /// When they were read last, in milliseconds since the epoch.
    own_read_at: AtomicI64,
    kinds: Vec<&'static str>,
    counts: Vec<AtomicU64>,
    own_count: AtomicU64,
    /// What is stored keeps its secrets; the log never does.
    stores_secrets: bool,
}

/// The built-in rules, compiled on their first use: a megabyte, and four milliseconds, which a daemon without output and a
/// command of a moment do without.
static RULES: LazyLock<Rules> = LazyLock::new(Rules::compile);

struct Rules {
    /// All rules, each a pattern; group 1 is the secret.
    secrets: Regex,
    /// The rules for tokens, anchored: whether what is there can still become one.
    tokens: DFA,
    /// The same of the rules for values.
    contexts: DFA,
    /// What makes a token recognisable before it is complete.
    prefixes: Regex,
    /// What stands before a value.
    leads: Regex,
}

impl Rules {
    fn compile() -> Self {
        // These cannot fail: the patterns are constants, and the tests compile them.
        let regex = |patterns: &[String]| {
            compile(patterns).expect("the built-in rules are regular expressions")
        };
        let automaton = |patterns: &[String]| {
            let built = DFA::builder().syntax(syntax_config()).build_many(patterns);
            built.expect("the built-in rules are regular expressions")
        };
        let patterns = patterns();
        let tokens = TOKENS
            .iter()
            .map(|rule| format!("{}{}", rule.prefix, rule.body));
        let tokens: Vec<String> = std::iter::once(PEM_BEGIN.to_owned())
            .chain(tokens)
            .collect();
        let (prefixes, leads) = beginnings();
        Self {
            secrets: regex(&patterns),
            tokens: automaton(&tokens),
            contexts: automaton(&patterns[TOKENS.len() + 1..]),
            prefixes: regex(&prefixes),
            leads: regex(&leads),
        }
    }
}

/// A secret that has been found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Secret {
    /// Where, in what was searched.
    range: Range<usize>,
    kind: &'static str,
    /// It reaches to the end of what is known, and can go on.
    open: Open,
}

/// Whether, and until what, a secret goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    No,
    /// As long as it can be the token.
    Token,
    /// To the end of the word.
    Word,
    /// To the end of the password in a URL.
    Url,
    /// To a quote, or the end of the line.
    Header,
    /// To this quote, or the end of the line.
    Quote(u8),
    /// To the end of the line.
    Line,
    /// To the end of the block.
    Pem,
}

/// A pattern of the user's that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPattern {
    /// Its line in the file, from 1.
    pub line: usize,
    /// Why.
    pub reason: String,
}

impl Redactor {
    /// The built-in rules, and the user's patterns, one a line; those that do not compile are given back.
    pub fn new(own_patterns: &str) -> (Self, Vec<BadPattern>) {
        let (own, bad) = compile_own(own_patterns);
        (Self::with_own(own), bad)
    }

    /// As [`Redactor::new`], with the patterns of a file; a missing file is one without patterns.
    pub fn load(file: &Path) -> (Self, Vec<BadPattern>) {
        let begun = Timestamp::now();
        let (text, unread) = read_own(file);
        let (mut redactor, bad) = Self::new(&text.unwrap_or_default());
        *redactor.own_read_at.get_mut() = begun.as_millis();
        (redactor, unread.into_iter().chain(bad).collect())
    }

    /// Puts the patterns that `file` has by now into force, for all that is looked at from now on, also of streams that
    /// have begun; gives back those that do not compile. Where it cannot be read, those from before stay.
    pub fn reload(&self, file: &Path) -> Vec<BadPattern> {
        let begun = Timestamp::now();
        let (text, unread) = read_own(file);
        let Some(text) = text else {
            return unread.into_iter().collect();
        };
        let (own, bad) = compile_own(&text);
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = own.map(Arc::new);
        self.own_read_at.store(begun.as_millis(), Ordering::Relaxed);
        bad
    }

    /// When the user's patterns in force were read: a file that is newer than that is not in force.
    pub fn own_read_at(&self) -> Timestamp {
        Timestamp::from_millis(self.own_read_at.load(Ordering::Relaxed))
    }

    /// The user's patterns in force.
    fn own(&self) -> Option<Arc<Regex>> {
        self.own
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn with_own(own: Option<Regex>) -> Self {
        let kinds = kinds();
        Self {
            words: searches(),
            own: RwLock::new(own.map(Arc::new)),
            own_read_at: AtomicI64::new(0),
            counts: kinds.iter().map(|_| AtomicU64::new(0)).collect(),
            kinds,
            own_count: AtomicU64::new(0),
            stores_secrets: false,
        }
    }

    /// The same, with secrets in what is stored if `stores_secrets`.
    pub fn storing_secrets(self, stores_secrets: bool) -> Self {
        Self {
            stores_secrets,
            ..self
        }
    }

    /// `text` as it is stored.
    pub fn redact_stored(&self, text: String) -> String {
        if self.stores_secrets {
            return text;
        }
        match self.redact(&text) {
            Cow::Owned(redacted) => redacted,
            Cow::Borrowed(_) => text,
        }
    }

    /// `text` with every secret in it replaced by `[REDACTED:<kind>]`.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.find_all(text.as_bytes()).is_empty() {
            return Cow::Borrowed(text);
        }
        let mut stream = Stream::default();
        let mut out = Vec::with_capacity(text.len());
        stream.push(self, text.as_bytes(), &mut out);
        stream.finish(self, &mut out);
        // Secrets begin and end at ASCII characters, but a user's pattern can cut one in two.
        Cow::Owned(String::from_utf8_lossy(&out).into_owned())
    }

    /// How many secrets of each kind have been taken out.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for (kind, count) in self.kinds.iter().zip(&self.counts) {
            *counts.entry(*kind).or_default() += count.load(Ordering::Relaxed);
        }
        counts.insert("custom", self.own_count.load(Ordering::Relaxed));
        counts.retain(|_, count| *count > 0);
        counts
    }

    fn count(&self, kind: &str) {
        let at = self.kinds.iter().position(|known| *known == kind);
        at.map_or(&self.own_count, |at| &self.counts[at])
            .fetch_add(1, Ordering::Relaxed);
    }

    /// Every secret in `hay`, in order, none overlapping another.
    fn find_all(&self, hay: &[u8]) -> Vec<Secret> {
        let mut found = Vec::new();
        let mut position = 0;
        let mut words = Words::new(self.words.as_deref(), hay);
        while let Some(at) = words.next_from(position) {
            let line = line_around(hay, at);
            self.find_in(hay, line.start.max(position)..line.end, &mut found);
            position = line.end;
        }
        if let Some(own) = self.own() {
            for line in hay.split_inclusive(|&b| b == b'\n') {
                let start = line.as_ptr() as usize - hay.as_ptr() as usize;
                let range = start..start + line.len();
                found.extend(
                    own.find_iter(Input::new(hay).range(range))
                        .filter(|m| !m.is_empty())
                        .map(|m| Secret {
                            range: m.range(),
                            kind: "custom",
                            // It can go on in what comes.
                            open: if m.end() < hay.len() {
                                Open::No
                            } else {
                                Open::Word
                            },
                        }),
                );
            }
            found.sort_by_key(|secret| secret.range.start);
            let mut end = 0;
            found.retain(|secret| {
                let apart = secret.range.start >= end;
                end = end.max(secret.range.end);
                apart
            });
        }
        found
    }

    fn find_in(&self, hay: &[u8], line: Range<usize>, found: &mut Vec<Secret>) {
        let mut position = line.start;
        // Where a secret is costs more to find out than whether there is one.
        while let Some(whole) = RULES
            .secrets
            .find(Input::new(hay).range(position..line.end))
        {
            let mut captures = RULES.secrets.create_captures();
            RULES.secrets.search_captures(
                &Input::new(hay).range(whole.start()..line.end),
                &mut captures,
            );
            let (Some(whole), Some(pattern)) = (captures.get_match(), captures.pattern()) else {
                return;
            };
            let value = captures
                .get_group(1)
                .map_or(whole.range(), |group| group.range());
            if self.is_assignment(pattern) && !is_secret_assignment(hay, whole.start(), &value) {
                position = value.start.max(whole.start() + 1);
                continue;
            }
            let open = self.open(hay, pattern, &value, whole.end());
            // The quotes stay: JSON is still JSON afterwards.
            let value = if self.is_assignment(pattern) {
                inside_quotes(hay, value)
            } else {
                value
            };
            position = whole.end().max(value.start + 1);
            let kind = match self.is_assignment(pattern) {
                true => self.token_kind(hay, &value),
                false => None,
            };
            found.push(Secret {
                kind: kind.unwrap_or(self.kinds[pattern.as_usize()]),
                range: value,
                open,
            });
        }
    }

    /// The kind of the token that a value begins with: it says more than that something is assigned.
    fn token_kind(&self, hay: &[u8], value: &Range<usize>) -> Option<&'static str> {
        let input = Input::new(hay).range(value.clone()).anchored(Anchored::Yes);
        let prefix = RULES.prefixes.find(input)?;
        Some(self.kinds[prefix.pattern().as_usize() + 1])
    }

    fn is_assignment(&self, pattern: PatternID) -> bool {
        pattern.as_usize() == TOKENS.len() + CONTEXTS.len()
    }

    fn open(&self, hay: &[u8], pattern: PatternID, value: &Range<usize>, end: usize) -> Open {
        let index = pattern.as_usize();
        if index == 0 {
            return Open::Pem;
        }
        // What is found with what stands behind it is complete.
        let has_tail = index > TOKENS.len() && !CONTEXTS[index - TOKENS.len() - 1].tail.is_empty();
        if end < hay.len() || has_tail {
            return Open::No;
        }
        let value = &hay[value.clone()];
        let quoted = value.strip_prefix(b"\\").unwrap_or(value);
        match quoted.first() {
            _ if index <= TOKENS.len() => Open::Token,
            Some(quote @ (b'"' | b'\'')) if self.is_assignment(pattern) => {
                let closed = quoted.len() > 1 && quoted.ends_with(&[*quote]);
                if closed {
                    Open::No
                } else {
                    Open::Quote(*quote)
                }
            }
            _ => self.open_value(self.kinds[index], value),
        }
    }

    /// Until what an unquoted value of that kind goes on.
    fn open_value(&self, kind: &str, value: &[u8]) -> Open {
        match kind {
            "cookie" => Open::Header,
            "authorization" if rules::is_list(value) => Open::Line,
            "url-password" => Open::Url,
            _ => Open::Word,
        }
    }

    /// The first position in `hay`'s last line, from `from` on, that may have to be taken out, depending on what comes:
    /// where a token may begin, or the value of a name that has been read. A name by itself is no secret.
    fn undecided_from(&self, hay: &[u8], from: usize, caches: &mut Caches) -> Option<usize> {
        let token = self.open_token(hay, from, caches);
        let value = self.open_lead(hay, from, caches).map(|(_, at)| at);
        token
            .into_iter()
            .chain(value)
            .min()
            .filter(|&at| at < hay.len())
    }

    /// Where a token may have begun that goes on.
    fn open_token(&self, hay: &[u8], from: usize, caches: &mut Caches) -> Option<usize> {
        // No token has other characters; the beginning of a private key has spaces.
        let begin = hay[from..]
            .iter()
            .rposition(|&b| !is_word(b) && !b"-+/=.~ ".contains(&b))
            .map_or(from, |at| from + at + 1);
        (begin..hay.len()).find(|&start| {
            begins_token(hay, start)
                && run(&RULES.tokens, caches.tokens(), hay, start)
                    .is_some_and(|state| !has_ended(&RULES.tokens, caches.tokens(), state))
        })
    }

    /// Which rule's value may have begun and goes on, and where.
    fn open_lead(&self, hay: &[u8], from: usize, caches: &mut Caches) -> Option<(usize, usize)> {
        let leads = RULES.leads.find_iter(Input::new(hay).range(from..));
        leads
            .filter(|lead| lead.end() < hay.len())
            .find(|lead| is_viable(&RULES.contexts, caches.contexts(), hay, lead.start()))
            .map(|lead| (lead.pattern().as_usize(), lead.end()))
    }
}

/// Where a stream's automata keep their states: tens of kilobytes, from their first use on.
#[derive(Default)]
struct Caches {
    tokens: Option<Cache>,
    contexts: Option<Cache>,
}

impl Caches {
    fn tokens(&mut self) -> &mut Cache {
        self.tokens
            .get_or_insert_with(|| RULES.tokens.create_cache())
    }

    fn contexts(&mut self) -> &mut Cache {
        self.contexts
            .get_or_insert_with(|| RULES.contexts.create_cache())
    }
}

/// Whether a token can begin at `start`: where a word does, or behind an escape that ends in a letter or a digit.
fn begins_token(hay: &[u8], start: usize) -> bool {
    if start == 0 || !is_word(hay[start - 1]) || !is_word(hay[start]) {
        return true;
    }
    let are_hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    match &hay[..start] {
        [.., b'\\', b'n' | b'r' | b't'] => true,
        [.., b'%', a, b] if are_hex(&[*a, *b]) => true,
        [codes @ .., b'm'] => {
            let is_code = |b: &u8| b.is_ascii_digit() || *b == b';';
            // A colour can be of many numbers.
            let behind = codes.iter().rposition(|b| !is_code(b));
            behind.is_some_and(|at| codes[at] == b'[')
        }
        [.., b'\\', b'u', a, b, c, d] => are_hex(&[*a, *b, *c, *d]),
        _ => false,
    }
}

/// Whether `hay` runs from `start` into its end while it can still match.
fn is_viable(automaton: &DFA, cache: &mut Cache, hay: &[u8], start: usize) -> bool {
    run(automaton, cache, hay, start).is_some()
}

/// The state at `hay`'s end, if it can still match from `start` on.
fn run(automaton: &DFA, cache: &mut Cache, hay: &[u8], start: usize) -> Option<LazyStateID> {
    let input = Input::new(hay).range(start..).anchored(Anchored::Yes);
    let mut state = automaton.start_state_forward(cache, &input).ok()?;
    for &byte in &hay[start..] {
        state = automaton
            .next_state(cache, state, byte)
            .ok()
            .filter(|next| !next.is_dead() && !next.is_quit())?;
    }
    Some(state)
}

/// Whether what matches has ended before the byte that led to `state`: an automaton tells a match one byte late.
fn has_ended(automaton: &DFA, cache: &mut Cache, state: LazyStateID) -> bool {
    state.is_match()
        && automaton
            .next_eoi_state(cache, state)
            .is_ok_and(|end| !end.is_match())
}

/// Words that are searched for at once.
struct WordSearch {
    searcher: Searcher,
    /// Whether a token begins with the word of that number: where none can begin, it is passed over.
    begins: Vec<bool>,
}

impl WordSearch {
    /// Where the next of its words begins; the end where there is none.
    fn find(&self, hay: &[u8], from: usize) -> usize {
        let mut span = Span {
            start: from.min(hay.len()),
            end: hay.len(),
        };
        while let Some(found) = self.searcher.find_in(hay, span) {
            let at = found.start();
            if !self.begins[found.pattern().as_usize()] || begins_token(hay, at) {
                return at;
            }
            span.start = at + 1;
        }
        hay.len()
    }
}

/// Finds the places that are worth a closer look.
struct Words<'a> {
    searches: Option<&'a [WordSearch]>,
    hay: &'a [u8],
    /// Where each search has found its next word: none is sent twice over the same bytes.
    next: Vec<usize>,
}

impl<'a> Words<'a> {
    fn new(searches: Option<&'a [WordSearch]>, hay: &'a [u8]) -> Self {
        let all = searches.into_iter().flatten();
        let next = all.map(|search| search.find(hay, 0)).collect();
        Self {
            searches,
            hay,
            next,
        }
    }

    /// The first such place from `position` on.
    fn next_from(&mut self, position: usize) -> Option<usize> {
        let Some(searches) = self.searches else {
            return (position < self.hay.len()).then_some(position);
        };
        for (next, search) in self.next.iter_mut().zip(searches) {
            if *next < position {
                *next = search.find(self.hay, position);
            }
        }
        self.next
            .iter()
            .copied()
            .min()
            .filter(|&at| at < self.hay.len())
    }
}

fn inside_quotes(hay: &[u8], value: Range<usize>) -> Range<usize> {
    let (inside, _) = value::unquoted(&hay[value.clone()]);
    let start = inside.as_ptr() as usize - hay.as_ptr() as usize;
    start..start + inside.len()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_secret_assignment(hay: &[u8], start: usize, value: &Range<usize>) -> bool {
    value::is_secret(&Assignment {
        lead: &hay[start..value.start],
        value: &hay[value.clone()],
        next: hay.get(value.end).copied(),
    })
}

fn line_around(hay: &[u8], at: usize) -> Range<usize> {
    let start = hay[..at]
        .iter()
        .rposition(|&b| b == b'\n')
        .map_or(0, |newline| newline + 1);
    let end = hay[at..]
        .iter()
        .position(|&b| b == b'\n')
        .map_or(hay.len(), |newline| at + newline);
    start..end.max(at + 1)
}

/// Pattern 0 is the beginning of a private key, then come the tokens, then the contexts, assignments last.
fn patterns() -> Vec<String> {
    let tokens = TOKENS
        .iter()
        .map(|rule| format!("{}({}{})", rules::TOKEN_BEGIN, rule.prefix, rule.body));
    let contexts = CONTEXTS.iter().map(|rule| match rule.kind {
        "assignment" => format!("{}({})", rules::assignment_lead(), rule.value),
        _ => format!("{}({}){}", rule.lead, rule.value, rule.tail),
    });
    std::iter::once(format!("({PEM_BEGIN})"))
        .chain(tokens)
        .chain(contexts)
        .collect()
}

/// What tokens, and what values begin with.
fn beginnings() -> (Vec<String>, Vec<String>) {
    let tokens = TOKENS.iter().map(|rule| rule.prefix.to_owned());
    let contexts = CONTEXTS.iter().map(|rule| match rule.kind {
        "assignment" => rules::assignment_lead(),
        _ => rule.lead.to_owned(),
    });
    (tokens.collect(), contexts.collect())
}

fn kinds() -> Vec<&'static str> {
    let tokens = TOKENS.iter().map(|rule| rule.kind);
    std::iter::once(PEM_KIND)
        .chain(tokens)
        .chain(CONTEXTS.iter().map(|rule| rule.kind))
        .collect()
}

/// The words without which a line holds no secret, as the rules have them.
fn words() -> Vec<&'static str> {
    let tokens = TOKENS.iter().flat_map(|rule| rule.anchors);
    let contexts = CONTEXTS.iter().flat_map(|rule| rule.anchors);
    let mut words: Vec<&str> = tokens
        .chain(contexts)
        .copied()
        .chain([PEM_ANCHOR])
        .collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// A word without its mark, and whether a token begins with it.
fn unmarked(word: &str) -> (&str, bool) {
    word.strip_prefix('^')
        .map_or((word, false), |word| (word, true))
}

fn searches() -> Option<Vec<WordSearch>> {
    words()
        .chunks(SEARCHER_MAX)
        .map(|chunk| {
            let (words, begins): (Vec<_>, _) = chunk.iter().map(|word| unmarked(word)).unzip();
            let searcher = Config::new()
                .match_kind(MatchKind::LeftmostFirst)
                .builder()
                .extend(words)
                .build()?;
            Some(WordSearch { searcher, begins })
        })
        .collect()
}

/// The user's patterns, one a line, as one; and those that do not compile.
fn compile_own(patterns: &str) -> (Option<Regex>, Vec<BadPattern>) {
    let mut bad = Vec::new();
    let (mut own, mut lines) = (Vec::new(), Vec::new());
    for (at, line) in patterns.lines().enumerate() {
        let pattern = line.trim();
        if pattern.is_empty() || pattern.starts_with('#') {
            continue;
        }
        let reason = match compile(&[pattern.to_owned()]) {
            Ok(regex) if regex.is_match("") => "it matches nothing at all, everywhere".into(),
            Ok(_) => {
                own.push(pattern.to_owned());
                lines.push(at + 1);
                continue;
            }
            Err(reason) => reason,
        };
        let line = at + 1;
        bad.push(BadPattern { line, reason });
    }
    // Each by itself can be small enough, and all together too large: the first ones hold.
    while let Some(line) = lines.pop() {
        match compile(&own) {
            Ok(regex) => return (Some(regex), bad),
            Err(reason) => bad.push(BadPattern {
                line,
                reason: format!("with those before it, {reason}"),
            }),
        }
        own.pop();
    }
    (None, bad)
}

/// The text of a file of patterns, empty where there is none; `None` where it cannot be read, and why.
fn read_own(file: &Path) -> (Option<String>, Option<BadPattern>) {
    match std::fs::read_to_string(file) {
        Ok(text) => (Some(text), None),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => (Some(String::new()), None),
        Err(err) => {
            let reason = format!("the file cannot be read: {err}");
            (None, Some(BadPattern { line: 0, reason }))
        }
    }
}

fn compile(patterns: &[String]) -> Result<Regex, String> {
    Regex::builder()
        .syntax(syntax_config())
        .configure(
            Regex::config()
                .utf8_empty(false)
                .nfa_size_limit(Some(COMPILED_MAX)),
        )
        .build_many(patterns)
        .map_err(|err| match err.syntax_error() {
            Some(syntax) => syntax.to_string(),
            None if err.size_limit().is_some() => {
                format!("it is too large: compiled it takes more than {COMPILED_MAX} bytes")
            }
            None => err.to_string(),
        })
}

fn syntax_config() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false)
}

#[cfg(test)]
mod benign;
#[cfg(test)]
mod tests;
