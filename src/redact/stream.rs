//! Redaction of a stream that comes in pieces: a secret is found wherever the pieces are cut.
//!
//! What has been passed on stays in view as context, up to the beginning of its line. What can still become a secret is
//! held back until it is decided, or until [`Stream::expire`] is called: then what is recognisable is taken out, with
//! whatever follows of it.

use std::ops::Range;

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::{Anchored, Input};

use super::rules::{self, TOKENS};
use super::{Caches, Open, REDACTED, RULES, Redactor, Secret};

/// How much of a line is kept in view behind what has been passed on, in bytes.
const CONTEXT_MAX: usize = 512;

/// How much of an unfinished line can be held back, in bytes: longer than any secret but a private key.
const HELD_MAX: usize = 4096;

/// The longest token whose end its rule decides, in bytes; of a longer one the rest of the word is swallowed.
const TOKEN_MAX: usize = 4096;

/// How much of a secret without an end is swallowed, in bytes.
const SWALLOW_MAX: usize = 64 * 1024;

/// The longest line of a private key, in bytes; RFC 7468 has 64, OpenPGP and wrapped ones a few more.
const PEM_LINE_MAX: usize = 256;

/// One stream's state.
#[derive(Default)]
pub struct Stream {
    /// Context, then what is held back.
    buffer: Vec<u8>,
    /// Where in `buffer` what is held back begins.
    passed: usize,
    swallowing: Swallowing,
    /// The token that is being swallowed, as far as it has come.
    token: Vec<u8>,
    /// Nothing more comes.
    is_ended: bool,
    caches: Caches,
}

/// What of the coming bytes belongs to a secret that has been replaced already.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Swallowing {
    #[default]
    Nothing,
    /// Up to the secret's end, so many bytes at most.
    Until(Open, usize),
    /// Lines of a private key; a short one has come, so that the next must be its last.
    Pem { short: bool, first: bool },
}

impl Stream {
    /// Whether something is held back.
    pub fn is_holding(&self) -> bool {
        self.passed < self.buffer.len()
    }

    /// Takes `data`, and adds to `out` what of it can be passed on.
    pub fn push(&mut self, redactor: &Redactor, data: &[u8], out: &mut Vec<u8>) {
        self.buffer.extend_from_slice(data);
        while self.step(redactor, out) {}
        self.trim();
    }

    /// As [`Stream::push`], of what is stored: all passes where that keeps its secrets.
    pub fn push_stored(&mut self, redactor: &Redactor, data: &[u8], out: &mut Vec<u8>) {
        match redactor.stores_secrets {
            true => out.extend_from_slice(data),
            false => self.push(redactor, data, out),
        }
    }

    /// The time is up: what is recognisable of what is held back is replaced, the rest passed on.
    pub fn expire(&mut self, redactor: &Redactor, out: &mut Vec<u8>) {
        if !self.is_holding() {
            return;
        }
        if let Swallowing::Pem { .. } = self.swallowing {
            // Nothing of a key is passed on in any case.
            return;
        }
        let mut caches = std::mem::take(&mut self.caches);
        let from = self.line_start();
        match redactor.recognise(&self.buffer, from, &mut caches) {
            Some(secret) => self.replace(redactor, &secret, out),
            None => {
                out.extend_from_slice(&self.buffer[self.passed..]);
                self.passed = self.buffer.len();
            }
        }
        // A stream that pauses keeps no automaton.
        self.trim();
    }

    /// The end of the stream: nothing more comes that could decide anything. Only a token that is cut off is taken out.
    pub fn finish(&mut self, redactor: &Redactor, out: &mut Vec<u8>) {
        self.is_ended = true;
        while self.step(redactor, out) {}
        if let Swallowing::Pem { .. } = self.swallowing {
            self.drop_held();
        }
        out.extend_from_slice(&self.buffer[self.passed..]);
        *self = Self::default();
    }

    /// Handles a part of what is held; `true` if there may be more to do.
    fn step(&mut self, redactor: &Redactor, out: &mut Vec<u8>) -> bool {
        match self.swallowing {
            Swallowing::Until(open, left) => self.swallow(open, left),
            Swallowing::Pem { short, first } => self.swallow_pem_line(short, first),
            Swallowing::Nothing => self.pass(redactor, out),
        }
    }

    fn pass(&mut self, redactor: &Redactor, out: &mut Vec<u8>) -> bool {
        let mut done = 0;
        let mut caches = std::mem::take(&mut self.caches);
        for secret in redactor.find_all(&self.buffer) {
            if secret.range.end <= self.passed {
                continue;
            }
            // Whether a value is a secret depends on what stands behind it.
            let is_undecided = secret.kind == "assignment" && secret.open != Open::No;
            if is_undecided && !self.is_ended && secret.range.len() < HELD_MAX {
                break;
            }
            self.replace(redactor, &secret, out);
            done = secret.range.end;
            if self.swallowing != Swallowing::Nothing {
                break;
            }
        }
        // What comes after a secret is not judged by what was before it.
        self.buffer.drain(..done);
        self.passed -= done.min(self.passed);
        if self.swallowing == Swallowing::Nothing && !self.is_ended {
            let from = self
                .line_start()
                .max(self.buffer.len().saturating_sub(HELD_MAX));
            // Where a match of the user's patterns begins cannot be told: the unfinished line waits.
            let undecided = match redactor.own() {
                Some(_) => Some(from),
                None => redactor.undecided_from(&self.buffer, from, &mut caches),
            };
            let until = undecided.unwrap_or(self.buffer.len()).max(self.passed);
            out.extend_from_slice(&self.buffer[self.passed..until]);
            self.passed = until;
        }
        self.caches = caches;
        self.swallowing != Swallowing::Nothing && self.is_holding()
    }

    /// Passes on what is before `secret`, and its replacement.
    fn replace(&mut self, redactor: &Redactor, secret: &Secret, out: &mut Vec<u8>) {
        let Range { start, end } = secret.range;
        if start > self.passed {
            out.extend_from_slice(&self.buffer[self.passed..start]);
        }
        out.extend_from_slice(format!("{REDACTED}{}]", secret.kind).as_bytes());
        redactor.count(secret.kind);
        self.passed = end;
        self.token.clear();
        if secret.open == Open::Token {
            self.token.extend_from_slice(&self.buffer[start..end]);
        }
        self.swallowing = match secret.open {
            Open::No => Swallowing::Nothing,
            Open::Pem => Swallowing::Pem {
                short: false,
                first: true,
            },
            open => Swallowing::Until(open, SWALLOW_MAX),
        };
    }

    /// Drops what belongs to the secret; `true` when its end has been found and more is there.
    fn swallow(&mut self, open: Open, left: usize) -> bool {
        let held = &self.buffer[self.passed..];
        let length = match open {
            Open::Token if self.token.len() < TOKEN_MAX => {
                let room = held.len().min(TOKEN_MAX - self.token.len());
                let cache = self.caches.tokens();
                let length = rest_of_token(&RULES.tokens, cache, &self.token, &held[..room]);
                self.token.extend_from_slice(&held[..length]);
                match length == room {
                    true => length + rest_of_word(open, &held[length..]),
                    false => length,
                }
            }
            _ => rest_of_word(open, held),
        };
        let length = length.min(left);
        let ended = length < held.len();
        self.buffer.drain(..self.passed + length);
        self.passed = 0;
        self.swallowing = match ended {
            true => Swallowing::Nothing,
            false => Swallowing::Until(open, left - length),
        };
        ended
    }

    /// Drops a line of a private key; `true` if the block has ended, or another line is there.
    fn swallow_pem_line(&mut self, short: bool, first: bool) -> bool {
        let held = &self.buffer[self.passed..];
        let newline = held.iter().position(|&b| b == b'\n');
        let line = &held[..newline.unwrap_or(held.len())];
        // In JSON or an environment the whole block can stand in one line, its newlines escaped.
        if let Some(end) = pem_end(line) {
            return self.end_pem(end);
        }
        if !can_be_pem(line) || (short && newline.is_some() && !line.is_empty()) {
            return self.end_pem(0);
        }
        let Some(newline) = newline else {
            // A block in one line is as long as it likes: only its end is of use.
            if line.len() > 2 * PEM_LINE_MAX {
                let drop = self.passed + line.len() - PEM_LINE_MAX;
                self.buffer.drain(..drop);
                self.passed = 0;
            }
            return false;
        };
        let trimmed = line.trim_ascii();
        let is_data = !first && !trimmed.is_empty() && !trimmed.contains(&b':');
        let short = is_data && trimmed.len() < 60;
        self.buffer.drain(..=self.passed + newline);
        self.passed = 0;
        self.swallowing = Swallowing::Pem {
            short,
            first: false,
        };
        true
    }

    fn end_pem(&mut self, length: usize) -> bool {
        self.buffer.drain(..self.passed + length);
        self.passed = 0;
        self.swallowing = Swallowing::Nothing;
        true
    }

    fn drop_held(&mut self) {
        self.buffer.clear();
        self.passed = 0;
    }

    fn line_start(&self) -> usize {
        self.buffer
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |newline| newline + 1)
    }

    /// Forgets what is no longer of use as context.
    fn trim(&mut self) {
        let keep_from = self
            .line_start()
            .min(self.passed)
            .max(self.passed.saturating_sub(CONTEXT_MAX));
        // Only lines before the last are done with; within it, context is kept.
        if keep_from > 0 {
            self.buffer.drain(..keep_from);
            self.passed -= keep_from;
        }
    }
}

impl Redactor {
    /// The secret that begins in the last line of `hay`, which is from `from` on, although it is not complete.
    fn recognise(&self, hay: &[u8], from: usize, caches: &mut Caches) -> Option<Secret> {
        let token = self.open_token(hay, from, caches).and_then(|start| {
            let kind = self.token_kind(hay, &(start..hay.len()))?;
            Some(Secret {
                range: start..hay.len(),
                kind,
                open: Open::Token,
            })
        });
        let value = self
            .open_lead(hay, from, caches)
            .and_then(|(index, start)| self.unfinished_value(hay, index, start));
        // What is assigned goes on in other characters than a token in it.
        value
            .into_iter()
            .chain(token)
            .min_by_key(|secret| secret.range.start)
    }

    fn unfinished_value(&self, hay: &[u8], index: usize, start: usize) -> Option<Secret> {
        let kind = self.kinds[1 + TOKENS.len() + index];
        let value = &hay[start..];
        let is_nothing_yet = match kind {
            // A name.
            "cookie" => !value.contains(&b'='),
            "authorization" => rules::is_scheme(value),
            // A port.
            "url-password" => value.len() <= 5 && value.iter().all(u8::is_ascii_digit),
            _ => false,
        };
        if is_nothing_yet || value == b"\\" {
            return None;
        }
        let quote = value.iter().position(|b| *b != b'\\');
        let (inside, open) = match (quote, quote.map(|at| value[at])) {
            (Some(at), Some(quote @ (b'"' | b'\''))) => (start + at + 1, Open::Quote(quote)),
            _ => (start, self.open_value(kind, value)),
        };
        let range = inside..hay.len();
        (!range.is_empty()).then(|| Secret {
            kind: self.token_kind(hay, &range).unwrap_or(kind),
            range,
            open,
        })
    }
}

/// How many bytes of `held` belong to the token that `token` is the beginning of.
///
/// A state of a lazy automaton is followed within this call only, and not used again after `next_eoi_state`: both
/// `next_state` and `next_eoi_state` can clear a full cache, which makes every state but the returned one invalid.
fn rest_of_token(automaton: &DFA, cache: &mut Cache, token: &[u8], held: &[u8]) -> usize {
    let input = Input::new("").anchored(Anchored::Yes);
    let Ok(mut state) = automaton.start_state_forward(cache, &input) else {
        return 0;
    };
    // The automaton tells one byte late whether what it has read is a match.
    let mut was_match = false;
    for (at, &byte) in token.iter().chain(held).enumerate() {
        let in_held = at.saturating_sub(token.len());
        let next = automaton.next_state(cache, state, byte).ok();
        let next = next.filter(|next| !next.is_dead() && !next.is_quit());
        let is_match = next.is_some_and(|next| next.is_match());
        if in_held > 0 && was_match && !is_match {
            return in_held - 1;
        }
        let Some(next) = next else { return in_held };
        (state, was_match) = (next, is_match);
    }
    let end = automaton.next_eoi_state(cache, state);
    let has_ended = was_match && end.is_ok_and(|end| !end.is_match());
    held.len() - usize::from(has_ended && !held.is_empty())
}

/// How many bytes of `held` belong to what goes on until `open`.
fn rest_of_word(open: Open, held: &[u8]) -> usize {
    held.iter().take_while(|byte| belongs(open, **byte)).count()
}

/// Whether `byte` can be a part of what goes on until `open`.
fn belongs(open: Open, byte: u8) -> bool {
    let is_space = byte.is_ascii_whitespace();
    match open {
        Open::Quote(quote) => byte != quote && byte != b'\n' && byte != b'\r' && byte != b'\\',
        Open::Line => byte != b'\n' && byte != b'\r',
        Open::Header => !matches!(byte, b'\n' | b'\r' | b'"' | b'\'' | b'\\'),
        Open::Url => !is_space && !b"/@\"'<>;?#".contains(&byte),
        Open::Word | Open::Token | Open::No | Open::Pem => {
            !is_space && !b"\"'<>,;&|(){}[]\\`".contains(&byte)
        }
    }
}

/// Where the last line of a block ends in `line`.
fn pem_end(line: &[u8]) -> Option<usize> {
    let begin = line.windows(9).position(|window| window == b"-----END ")?;
    let rest = &line[begin + 9..];
    let end = rest.windows(5).position(|window| window == b"-----")?;
    Some(begin + 9 + end + 5)
}

/// Whether `line`, perhaps incomplete, can be a part of a block.
fn can_be_pem(line: &[u8]) -> bool {
    let text = line.trim_ascii();
    if text.starts_with(b"-----E") {
        return text.len() <= PEM_LINE_MAX
            && text[6..]
                .iter()
                .all(|b| b.is_ascii_uppercase() || matches!(b, b' ' | b'-'));
    }
    // Escaped newlines join the lines of a block to one, of any length.
    let joined = text.windows(2).any(|window| window == b"\\n");
    let is_header = text.contains(&b':') && text.len() < PEM_LINE_MAX;
    let is_data = |b: &u8| {
        b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'+' | b'/' | b'=' | b'\\' | b'-' | b' ' | b'"' | b':' | b',' | b'.'
            )
    };
    if joined || text.starts_with(b"\\") {
        return text.iter().all(is_data);
    }
    let known_header = [
        "Proc-Type",
        "DEK-Info",
        "Version",
        "Comment",
        "Hash",
        "Charset",
        "MessageID",
    ]
    .iter()
    .any(|name| {
        name.as_bytes()
            .starts_with(&text[..text.len().min(name.len())])
    });
    (is_header && known_header)
        || (text.len() <= PEM_LINE_MAX
            && text
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Random, rounds};

    #[test]
    fn the_end_of_a_token_is_found_with_a_cache_that_is_always_full() {
        let tokens = TOKENS
            .iter()
            .map(|rule| format!("{}{}", rule.prefix, rule.body));
        let tokens: Vec<String> = tokens.collect();
        let smallest = DFA::config()
            .cache_capacity(0)
            .skip_cache_capacity_check(true);
        let full = DFA::builder()
            .configure(smallest)
            .syntax(super::super::syntax_config())
            .build_many(&tokens)
            .unwrap();
        let (mut full_cache, mut cache) = (full.create_cache(), RULES.tokens.create_cache());
        let samples: Vec<&str> = TOKENS
            .iter()
            .flat_map(|rule| rule.samples.iter().copied())
            .collect();
        let mut random = Random::new(7);
        for _ in 0..rounds(100) {
            let text = format!("{}{}", random.pick(&samples), random.text(4)).into_bytes();
            for at in 1..text.len() {
                let (token, held) = text.split_at(at);
                let expected = rest_of_token(&RULES.tokens, &mut cache, token, held);
                let found = rest_of_token(&full, &mut full_cache, token, held);
                assert_eq!(
                    found,
                    expected,
                    "{:?} split at {at}",
                    String::from_utf8_lossy(&text)
                );
            }
        }
    }
}
