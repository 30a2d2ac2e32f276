//! The user's own patterns: regular expressions, matched against whole lines of the rules' output.
//!
//! Runs on the stream's thread; the patterns can be reloaded while streams are open.

use std::error::Error;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use regex_automata::Input;
use regex_automata::hybrid::dfa;
use regex_automata::hybrid::regex::{Cache, Regex};
use regex_automata::nfa::thompson;
use regex_automata::util::{pool::Pool, syntax};
use serde::{Deserialize, Serialize};

use super::Redactor;
use crate::api::Timestamp;
use crate::sys::passed;

/// Maximum size of the patterns' automaton, in bytes.
const COMPILED_MAX: usize = 8 * 1024 * 1024;

/// Maximum held part of an incomplete line, in bytes.
const LINE_MAX: usize = 4096;

/// The user's patterns as one regex; each searching thread builds its own cache.
pub(super) struct Patterns {
    regex: Arc<Regex>,
    caches: Pool<Cache, Box<dyn Fn() -> Cache + Send + Sync>>,
}

/// A rejected pattern of the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPattern {
    /// Its line number in the file, from 1.
    pub line: usize,
    /// Reason for the rejection.
    pub reason: String,
}

/// The incomplete line.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    #[serde(with = "passed::bytes")]
    text: Vec<u8>,
    /// Number of its bytes that were passed on.
    passed: usize,
    /// A match reached the end of the line so far, and continues to the end of the word.
    is_swallowing: bool,
}

impl Line {
    pub(super) fn is_holding(&self) -> bool {
        self.passed < self.text.len()
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.text.len()
    }

    pub(super) fn is_begun(&self) -> bool {
        !self.text.is_empty() || self.is_swallowing
    }
}

impl Redactor {
    /// Creates the rules with the user's patterns, one per line; returns those that do not compile.
    pub fn new(own_patterns: &str) -> (Self, Vec<BadPattern>) {
        let (own, bad) = compile_own(own_patterns);
        (Self::with_own(own), bad)
    }

    /// Like [`Redactor::new`], with the patterns of a file; a missing file contains none.
    pub fn load(file: &Path) -> (Self, Vec<BadPattern>) {
        let begun = Timestamp::now();
        let (text, unread) = read_own(file);
        let (redactor, bad) = Self::new(&text.unwrap_or_default());
        redactor.set_read_at(begun);
        (redactor, unread.into_iter().chain(bad).collect())
    }

    /// Activates the current patterns of `file`, also for open streams; returns those that do not compile. If it cannot
    /// be read, the earlier patterns remain active.
    pub fn reload(&self, file: &Path) -> Vec<BadPattern> {
        let begun = Timestamp::now();
        let (text, unread) = read_own(file);
        let Some(text) = text else {
            return unread.into_iter().collect();
        };
        let (own, bad) = compile_own(&text);
        *self
            .shared
            .own
            .write()
            .unwrap_or_else(PoisonError::into_inner) = own.map(Arc::new);
        self.set_read_at(begun);
        bad
    }

    fn set_read_at(&self, at: Timestamp) {
        self.shared
            .own_read_at
            .store(at.as_millis(), Ordering::Relaxed);
    }

    /// Time at which the active patterns were read: a newer file is not active.
    pub fn own_read_at(&self) -> Timestamp {
        Timestamp::from_millis(self.shared.own_read_at.load(Ordering::Relaxed))
    }

    /// The active patterns of the user.
    fn own(&self) -> Option<Arc<Patterns>> {
        self.shared
            .own
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn has_own(&self) -> bool {
        self.own().is_some()
    }

    /// Accepts output of the rules, and appends its complete lines to `out`.
    pub(super) fn own_pass(&self, line: &mut Line, passed: &[u8], out: &mut Vec<u8>) {
        for part in passed.split_inclusive(|byte| *byte == b'\n') {
            line.text.extend_from_slice(part);
            let is_whole = part.ends_with(b"\n");
            if is_whole || line.text.len() > LINE_MAX {
                self.own_write(line, out);
            }
            if is_whole || line.text.len() > LINE_MAX {
                line.text.clear();
                line.passed = 0;
                line.is_swallowing &= !is_whole;
            }
        }
    }

    /// Appends the rest of the line to `out`, without the matches of the patterns.
    pub(super) fn own_write(&self, line: &mut Line, out: &mut Vec<u8>) {
        if std::mem::take(&mut line.is_swallowing) {
            let is_end =
                |byte: &u8| byte.is_ascii_whitespace() || is_one_of!(*byte, b"\"'<>,;&|(){}[]\\`");
            let rest = &line.text[line.passed..];
            line.passed += rest.iter().position(is_end).unwrap_or(rest.len());
            line.is_swallowing = line.passed == line.text.len() && !rest.is_empty();
        }
        if let Some(own) = self.own() {
            let mut cache = own.caches.get();
            for found in own
                .regex
                .find_iter(&mut cache, Input::new(&line.text))
                .filter(|found| !found.is_empty())
            {
                if found.end() <= line.passed {
                    continue;
                }
                if found.start() > line.passed {
                    out.extend_from_slice(&line.text[line.passed..found.start()]);
                }
                out.extend_from_slice(b"[REDACTED:custom]");
                self.count("custom", 1);
                line.passed = found.end();
                line.is_swallowing = found.end() == line.text.len();
            }
        }
        out.extend_from_slice(&line.text[line.passed..]);
        line.passed = line.text.len();
    }
}

/// Compiles the user's patterns, one per line, into one regex; returns those that do not compile.
fn compile_own(patterns: &str) -> (Option<Patterns>, Vec<BadPattern>) {
    let (mut own, mut bad) = (Vec::new(), Vec::new());
    for (line, pattern) in (1..).zip(patterns.lines().map(str::trim)) {
        if pattern.is_empty() || pattern.starts_with('#') {
            continue;
        }
        let reason = match compile(&[(line, pattern)]) {
            Ok(regex) if regex.is_match(&mut regex.create_cache(), "") => {
                "it matches nothing at all, everywhere".into()
            }
            Ok(_) => {
                own.push((line, pattern));
                continue;
            }
            Err(reason) => reason,
        };
        bad.push(BadPattern { line, reason });
    }
    // Each may be small enough, but all together too large: the first ones are used.
    while let Some(&(line, _)) = own.last() {
        match compile(&own) {
            Ok(regex) => {
                let regex = Arc::new(regex);
                let searched = Arc::clone(&regex);
                let caches = Pool::new(Box::new(move || searched.create_cache()) as _);
                return (Some(Patterns { regex, caches }), bad);
            }
            Err(reason) => bad.push(BadPattern {
                line,
                reason: format!("with those before it, {reason}"),
            }),
        }
        own.pop();
    }
    (None, bad)
}

/// The text of a pattern file, empty if it is missing; `None` and the reason if it cannot be read.
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

/// Compiles `patterns`, with their lines, into one regex. Searches cannot fail: no byte stops them, and a full cache is cleared.
fn compile(patterns: &[(usize, &str)]) -> Result<Regex, String> {
    let syntax = syntax::Config::new().unicode(false).utf8(false);
    let limits = thompson::Config::new()
        .utf8(false)
        .nfa_size_limit(Some(COMPILED_MAX));
    let patterns: Vec<_> = patterns.iter().map(|(_, pattern)| *pattern).collect();
    for pattern in &patterns {
        syntax::parse_with(pattern, &syntax).map_err(|err| err.to_string())?;
    }
    Regex::builder()
        .syntax(syntax)
        .thompson(limits)
        .dfa(dfa::Config::new().skip_cache_capacity_check(true))
        .build_many(&patterns)
        .map_err(|err| {
            let reason = err
                .source()
                .and_then(|err| err.downcast_ref::<thompson::BuildError>());
            match reason.map(|reason| (reason.size_limit(), reason)) {
                Some((Some(_), _)) => {
                    format!("it is too large: compiled it takes more than {COMPILED_MAX} bytes")
                }
                Some((None, reason)) => reason.to_string(),
                None => err.to_string(),
            }
        })
}
