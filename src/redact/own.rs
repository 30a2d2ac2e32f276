//! The user's own patterns: regular expressions, each looked for in whole lines of what the rules have passed on.
//!
//! Runs where the stream does; the patterns can be read again while streams go on.

use std::error::Error;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use regex_automata::Input;
use regex_automata::hybrid::dfa;
use regex_automata::hybrid::regex::{Cache, Regex};
use regex_automata::nfa::thompson;
use regex_automata::util::{pool::Pool, syntax};

use super::Redactor;
use crate::api::Timestamp;

/// The largest automaton of patterns, in bytes.
const COMPILED_MAX: usize = 8 * 1024 * 1024;

/// How much of an unfinished line is held back, in bytes.
const LINE_MAX: usize = 4096;

/// The user's patterns as one, and for each thread that searches what it has built of their automaton.
pub(super) struct Patterns {
    regex: Arc<Regex>,
    caches: Pool<Cache, Box<dyn Fn() -> Cache + Send + Sync>>,
}

/// A pattern of the user's that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPattern {
    /// Its line in the file, from 1.
    pub line: usize,
    /// Why.
    pub reason: String,
}

/// The line that has not ended.
#[derive(Debug, Default, Clone)]
pub(super) struct Line {
    text: Vec<u8>,
    /// So much of it has been passed on.
    passed: usize,
    /// A match reached to its end, and goes on to the end of the word.
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
    /// The rules, and the user's patterns, one a line; those that do not compile are given back.
    pub fn new(own_patterns: &str) -> (Self, Vec<BadPattern>) {
        let (own, bad) = compile_own(own_patterns);
        (Self::with_own(own), bad)
    }

    /// As [`Redactor::new`], with the patterns of a file; a missing file is one without patterns.
    pub fn load(file: &Path) -> (Self, Vec<BadPattern>) {
        let begun = Timestamp::now();
        let (text, unread) = read_own(file);
        let (redactor, bad) = Self::new(&text.unwrap_or_default());
        redactor.set_read_at(begun);
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

    /// When the user's patterns in force were read: a file that is newer than that is not in force.
    pub fn own_read_at(&self) -> Timestamp {
        Timestamp::from_millis(self.shared.own_read_at.load(Ordering::Relaxed))
    }

    /// The user's patterns in force.
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

    /// Takes what the rules have passed on, and adds to `out` the whole lines of it.
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

    /// Adds to `out` what is held of the line.
    pub(super) fn own_end(&self, line: &mut Line, out: &mut Vec<u8>) {
        self.own_write(line, out);
    }

    /// Adds to `out` what of the line has not been passed on, without what the patterns match.
    fn own_write(&self, line: &mut Line, out: &mut Vec<u8>) {
        if std::mem::take(&mut line.is_swallowing) {
            let is_end =
                |byte: &u8| byte.is_ascii_whitespace() || b"\"'<>,;&|(){}[]\\`".contains(byte);
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
                self.count("custom");
                line.passed = found.end();
                line.is_swallowing = found.end() == line.text.len();
            }
        }
        out.extend_from_slice(&line.text[line.passed..]);
        line.passed = line.text.len();
    }
}

/// The user's patterns, one a line, as one; and those that do not compile.
fn compile_own(patterns: &str) -> (Option<Patterns>, Vec<BadPattern>) {
    let mut bad = Vec::new();
    let (mut own, mut lines) = (Vec::new(), Vec::new());
    for (at, line) in patterns.lines().enumerate() {
        let pattern = line.trim();
        if pattern.is_empty() || pattern.starts_with('#') {
            continue;
        }
        let reason = match compile(&[pattern.to_owned()]) {
            Ok(regex) if regex.is_match(&mut regex.create_cache(), "") => {
                "it matches nothing at all, everywhere".into()
            }
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

/// Compiles `patterns` as one. Its searches cannot fail: no byte ends them, and a cache that is full begins anew.
fn compile(patterns: &[String]) -> Result<Regex, String> {
    let syntax = syntax::Config::new().unicode(false).utf8(false);
    let limits = thompson::Config::new()
        .utf8(false)
        .nfa_size_limit(Some(COMPILED_MAX));
    for pattern in patterns {
        syntax::parse_with(pattern, &syntax).map_err(|err| err.to_string())?;
    }
    Regex::builder()
        .syntax(syntax)
        .thompson(limits)
        .dfa(dfa::Config::new().skip_cache_capacity_check(true))
        .build_many(patterns)
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
