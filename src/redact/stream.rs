//! Redacts a stream that arrives in pieces. The stored text does not depend on where the pieces are cut.
//!
//! Between two writes its state is plain data: text as context, held text, and the secret that is being swallowed.

use serde::{Deserialize, Serialize};

use super::extent;
use super::issuers;
use super::known;
use super::layer::Layer;
use super::own::Line;
use super::rules::{Ending, Found};
use super::view::{Glyph, View};
use super::{Open, REDACTED, Redactor, Secret};
use crate::sys::passed;

/// Maximum part of a write that is examined at once, in bytes; with the held text it bounds a stream's memory.
pub(super) const PIECE_MAX: usize = 16 * 1024;

/// Passed text that is kept as context, in bytes: the maximum distance that the rules look back.
pub(super) const CONTEXT_MAX: usize = 256;

/// Maximum length of a secret without an end, in bytes.
const SWALLOW_MAX: usize = 64 * 1024;

/// Maximum held part of a private key's line, in bytes. Half of it holds the end of a block that is in one line, also in the
/// deepest layer (35 characters of 36 bytes).
const KEY_HELD_MAX: usize = 2560;

/// Minimum length of a private key's line between two others, in bytes.
const KEY_WORD_MIN: usize = 32;

/// State of one stream. Between two writes it holds less than 3 KiB of any text: context, and the text that a rule reads, or
/// a line of a key; `known` bounds the held text of a session's own values. The text bounds its escape sequences: 384 KiB
/// with the longest ones at each byte.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// Context, then held text.
    layer: Layer,
    /// Beginning of the held text.
    passed: usize,
    /// Position at which the search continues.
    at: usize,
    /// No rule uses the text before it.
    #[serde(default, skip_serializing_if = "passed::is_default")]
    floor: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    swallowing: Option<Swallowing>,
    #[serde(default, skip_serializing_if = "passed::is_default")]
    line: Line,
}

/// A secret that has been replaced, and whose further bytes are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Swallowing {
    open: Open,
    /// Maximum number of bytes still to drop.
    left: usize,
    /// The last line of the private key was short: the next must be its end.
    is_short: bool,
}

impl Stream {
    /// True if the stream holds text.
    pub fn is_holding(&self) -> bool {
        self.passed < self.layer.text.len() || self.layer.has_tail() || self.line.is_holding()
    }

    /// The continuation of the secret that is being dropped.
    pub(super) fn swallowed(&self) -> Option<Open> {
        self.swallowing.map(|swallowing| swallowing.open)
    }

    /// Replaces the continuation of the secret that is being dropped.
    pub(super) fn go_on_with(&mut self, open: Open) {
        if let Some(swallowing) = &mut self.swallowing {
            swallowing.open = open;
        }
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.layer.held_bytes() + self.line.held_bytes()
    }

    /// Takes `data`; appends decided text to `out`.
    pub fn push(&mut self, redactor: &Redactor, data: &[u8], out: &mut Vec<u8>) {
        for piece in data.chunks(PIECE_MAX) {
            self.layer.push(piece, false);
            self.go_on(redactor, false, out);
        }
    }

    /// Like [`Stream::push`], for stored text: appends all of it if stored text keeps its secrets.
    pub fn push_stored(&mut self, redactor: &Redactor, data: &[u8], out: &mut Vec<u8>) {
        match redactor.stores_secrets {
            true => out.extend_from_slice(data),
            false => self.push(redactor, data, out),
        }
    }

    /// A stream that continues `before`, which is stored already.
    pub fn behind(redactor: &Redactor, before: &[u8]) -> Self {
        let (mut stream, mut stored) = (Self::default(), Vec::new());
        stream.push_stored(redactor, before, &mut stored);
        stream.expire(redactor, &mut stored);
        stream.layer.push(b"", true);
        stream.pass(stream.layer.text.len(), &mut stored);
        stream
    }

    /// After a pause: replaces what is recognisably a secret, and passes on the rest. Only the beginning of a possible
    /// value or of an escape sequence stays held, since nobody waits for half a word.
    pub fn expire(&mut self, redactor: &Redactor, out: &mut Vec<u8>) {
        let mut passed = Vec::new();
        while self.swallowing.is_none() {
            match self.find(redactor, Ending::Pause) {
                Found::Secret(secret) => self.replace(redactor, &secret, &mut passed),
                Found::Wait {
                    begun: Some(secret),
                    ..
                } if secret.range.end > self.passed => {
                    self.replace(redactor, &secret, &mut passed);
                }
                Found::Wait { at, hold, .. } => {
                    self.at = at;
                    self.pass(hold, &mut passed);
                    break;
                }
            }
        }
        redactor.own_pass(&mut self.line, &passed, out);
        redactor.own_write(&mut self.line, out);
        self.trim();
        self.layer.shrink();
    }

    /// Flushes the held text at the end of the stream: no further text can decide anything.
    pub fn finish(&mut self, redactor: &Redactor, out: &mut Vec<u8>) {
        self.layer.push(b"", true);
        self.go_on(redactor, true, out);
        redactor.own_write(&mut self.line, out);
        *self = Self::default();
    }

    fn go_on(&mut self, redactor: &Redactor, is_last: bool, out: &mut Vec<u8>) {
        let has_own = redactor.has_own() || self.line.is_begun();
        let mut passed = Vec::new();
        let target = if has_own { &mut passed } else { &mut *out };
        while self.step(redactor, is_last, target) {}
        self.trim();
        if has_own {
            redactor.own_pass(&mut self.line, &passed, out);
        }
    }

    /// Handles a part of the held text; true if there may be more to do.
    fn step(&mut self, redactor: &Redactor, is_last: bool, out: &mut Vec<u8>) -> bool {
        if let Some(swallowing) = self.swallowing {
            return self.swallow(redactor, swallowing, is_last, out);
        }
        let ending = if is_last { Ending::Last } else { Ending::Open };
        match self.find(redactor, ending) {
            Found::Secret(secret) => {
                self.replace(redactor, &secret, out);
                true
            }
            Found::Wait { at, hold, .. } => {
                self.at = at;
                let until = if is_last { self.layer.text.len() } else { hold };
                self.pass(until, out);
                false
            }
        }
    }

    fn find(&self, redactor: &Redactor, ending: Ending) -> Found {
        let known = redactor.known.as_ref();
        known::find(known, &self.layer, self.floor, self.at, ending)
    }

    /// Passes on the text before `until`.
    fn pass(&mut self, until: usize, out: &mut Vec<u8>) {
        if until >= self.passed {
            self.layer.write(self.passed, until, false, out);
            self.passed = until;
        }
    }

    /// Passes on the text before `secret`, and its replacement. Swallows the following text if the secret is open.
    fn replace(&mut self, redactor: &Redactor, secret: &Secret, out: &mut Vec<u8>) {
        self.pass(secret.range.start, out);
        out.extend_from_slice(format!("{REDACTED}{}]", secret.kind).as_bytes());
        redactor.count(secret.kind, 1);
        self.swallowing = (secret.open != Open::No).then_some(Swallowing {
            open: secret.open,
            left: SWALLOW_MAX,
            is_short: false,
        });
        self.drop_until(secret.range.end, out);
    }

    /// Drops the text before `until`, except its escape sequences.
    fn drop_until(&mut self, until: usize, out: &mut Vec<u8>) {
        let from = self.passed.min(until);
        self.layer.write(from, until, true, out);
        self.passed = self.passed.max(until);
        (self.at, self.floor) = (self.passed, self.passed);
    }

    /// Drops text of the secret; true if its end has been found and more text is held.
    fn swallow(
        &mut self,
        redactor: &Redactor,
        swallowing: Swallowing,
        is_last: bool,
        out: &mut Vec<u8>,
    ) -> bool {
        if swallowing.open == Open::Key {
            return self.swallow_key(swallowing, is_last, out);
        }
        let view = View::new(&self.layer.text, is_last);
        let Swallowing { mut open, left, .. } = swallowing;
        let (mut at, from) = (self.passed, self.passed);
        let is_over;
        if let (Open::Known { .. }, Some(known)) = (open, &redactor.known) {
            (at, open) = known.go_on(view, at, open);
            is_over = open == Open::No;
        } else {
            let ends = |glyph: Glyph| glyph.end - from > left || !open.goes_on(glyph);
            let (end, last) = view.until(at, ends);
            (at, is_over) = (end, last.is_ok());
        }
        self.swallowing = (!is_over).then_some(Swallowing {
            open,
            left: left.saturating_sub(at - from),
            ..swallowing
        });
        self.drop_until(at, out);
        is_over && self.is_holding_text()
    }

    fn is_holding_text(&self) -> bool {
        self.passed < self.layer.text.len()
    }

    /// Drops a line of a private key; true if the block has ended or another line is held.
    fn swallow_key(&mut self, swallowing: Swallowing, is_last: bool, out: &mut Vec<u8>) -> bool {
        let view = View::new(&self.layer.text, is_last);
        let (line, at, end) = key_line(view, self.passed);
        let text = line.trim_ascii();
        // The end of a string follows the mere mention of a key's first line.
        let is_mention = swallowing.left == SWALLOW_MAX
            && text
                .first()
                .is_some_and(|byte| is_one_of!(*byte, b"\"'`,)"));
        let may_be_last =
            text.is_empty() || text.starts_with(b"=") || text.starts_with(b"-----END");
        let is_over = swallowing.is_short && (end.is_some() || is_last) && !may_be_last;
        if end == Some(KeyLine::Last) {
            return self.end_key(at, out);
        }
        let is_key = is_key_line(text);
        // The block can still end in this line.
        let is_open = end.is_none() && !is_last && at - self.passed <= KEY_HELD_MAX;
        if is_mention || is_over || !is_key && !is_open || swallowing.left == 0 {
            return self.end_key(self.passed, out);
        }
        if end == Some(KeyLine::Closed) || end.is_none() && is_last {
            return self.end_key(at, out);
        }
        let is_ended = end.is_some();
        let is_data = !text.is_empty()
            && !text.contains(&b':')
            && !text.ends_with(b"-")
            && !text.starts_with(b"\"");
        let is_short = match is_ended {
            true => is_data && text.len() < 60,
            false => swallowing.is_short,
        };
        let until = match is_ended {
            true => at,
            // A block in one line can have any length: only its end is needed.
            false if is_key && at - self.passed > KEY_HELD_MAX => {
                let most = self.passed + KEY_HELD_MAX / 2;
                view.until(self.passed, |glyph| glyph.end > most).0
            }
            false => return false,
        };
        self.swallowing = Some(Swallowing {
            left: swallowing.left.saturating_sub(until - self.passed),
            is_short,
            ..swallowing
        });
        self.drop_until(until, out);
        true
    }

    fn end_key(&mut self, until: usize, out: &mut Vec<u8>) -> bool {
        self.swallowing = None;
        self.drop_until(until, out);
        self.is_holding_text()
    }

    /// Discards text that is no longer context.
    fn trim(&mut self) {
        let gone = self.passed.min(self.at).saturating_sub(CONTEXT_MAX);
        if gone > 0 {
            self.layer.forget(gone);
            self.passed -= gone;
            self.at -= gone;
            self.floor = self.floor.saturating_sub(gone);
        }
    }
}

impl Open {
    /// True if a secret continues with `glyph`.
    fn goes_on(self, glyph: Glyph) -> bool {
        match self {
            Self::No | Self::Key | Self::Known { .. } => false,
            Self::Word(alphabet) => issuers::is_in(glyph.byte, alphabet),
            Self::Bare { is_alone } => extent::is_bare(glyph, is_alone),
            Self::Quote(quote) => !quote.closes(glyph),
            Self::Rest => !matches!(glyph.byte, b'\n' | b'\r'),
            Self::Line => !matches!(glyph.byte, b'\n' | b'\r' | b'"' | b'\''),
            Self::Url => {
                let ends = glyph.depth == 0 && is_one_of!(glyph.byte, b"/@\"'<>;?#");
                !ends && !glyph.byte.is_ascii_whitespace()
            }
        }
    }
}

/// End of a line of a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyLine {
    Newline,
    /// The string that contains the key ends.
    Closed,
    /// The block ends.
    Last,
}

/// The line at `from`, its end, including a newline, and the kind of end, if known.
fn key_line(view: View<'_>, from: usize) -> (Vec<u8>, usize, Option<KeyLine>) {
    let (mut at, mut line) = (from, Vec::new());
    while let Ok(glyph) = view.glyph(at)
        && glyph.end > at
    {
        let next = view.text.get(glyph.end);
        if glyph.byte == b'\n' {
            return (line, glyph.end, Some(KeyLine::Newline));
        }
        if glyph.byte == b'"'
            && glyph.depth == 0
            && next.is_some_and(|byte| is_one_of!(*byte, b",}]"))
        {
            return (line, at, Some(KeyLine::Closed));
        }
        line.push(glyph.byte);
        at = glyph.end;
        if line.ends_with(b"-----")
            && memchr::memmem::find(&line, b"-----END ").is_some_and(|at| line.len() > at + 14)
        {
            return (line, at, Some(KeyLine::Last));
        }
    }
    (line, at, None)
}

/// True if `line`, possibly incomplete, can be part of a block.
fn is_key_line(line: &[u8]) -> bool {
    #[rustfmt::skip]
    const HEADERS: &[&str] = &[
        "Proc-Type:", "DEK-Info:", "Version:", "Comment:", "Hash:", "Charset:", "MessageID:", "-----END ",
    ];
    let is_header = HEADERS.iter().any(|header| {
        let known = header.len().min(line.len());
        header.as_bytes()[..known] == line[..known]
    });
    let line = line
        .strip_prefix(b"\"")
        .or(line.strip_prefix(b"'"))
        .unwrap_or(line);
    let data = line
        .iter()
        .rposition(|byte| !is_one_of!(*byte, b"\"'+,\\; "))
        .map_or(0, |last| last + 1);
    // The rest of the first line, after a pause.
    let is_label = line
        .iter()
        .all(|byte| byte.is_ascii_uppercase() || matches!(byte, b' ' | b'-'));
    // Other programs join the lines of a block by spaces.
    let words: Vec<_> = line[..data].split(|byte| *byte == b' ').collect();
    let inner = words.get(1..words.len() - 1).unwrap_or_default();
    let is_long = |word: &&[u8]| word.len() >= KEY_WORD_MIN;
    let is_block = words.len() == 1 || words.iter().any(is_long) && inner.iter().all(is_long);
    let is_data = |byte: &u8| byte.is_ascii_alphanumeric() || is_one_of!(*byte, b"+/=-");
    is_header || is_label || is_block && words.iter().all(|word| word.iter().all(is_data))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{in_writes, redactor};
    use super::*;

    const TEXT_MAX: usize = 3 * 1024;
    const HELD_MAX: usize = 384 * 1024;

    /// Beginnings of secrets that wait for their end, one for each rule.
    #[rustfmt::skip]
    const BEGUN: &[&str] = &[
        "", "gh", "ghp_", "-----BEGIN PRIVATE KEY-----", "password=", "{\"password\":\"", "<password>", "Cookie: a=",
        "postgres://user:hun", "curl -u ", "https://hooks.slack.com/", "123456789:AA", "name: TOKEN\nvalue: ",
    ];

    /// Endless text in the layers of JSON, percent encoding, HTML and shells, and endless escape sequences.
    #[rustfmt::skip]
    const ENDLESS: &[&str] = &[
        "A", " ", "\n", "=", ".", "\\", "%", "&", "'", "\"", "A\n", "\\u0041", "\\\\\\\\u0041", "\\n", "\\\"", "%41", "%25252541",
        "&#65;", "&amp;quot;", "'\\''", "\u{1b}", "\u{1b}[0m", "A\u{1b}[0m", "\u{1b}[1;", "\\u001b[0m",
    ];

    #[test]
    fn what_is_held_between_two_writes_is_bounded_whatever_comes() {
        let redactor = Redactor::new("own-\\d+").0;
        let longest = format!("\u{1b}[{}m", "1".repeat(120));
        for begun in BEGUN {
            for endless in ENDLESS.iter().copied().chain([&*longest]) {
                let (mut stream, mut out) = (Stream::default(), Vec::new());
                stream.push(&redactor, begun.as_bytes(), &mut out);
                // More than the bound, if all of it were held: a sequence takes its place beside its bytes.
                let most = match endless.contains("[0m") {
                    true => HELD_MAX / 20,
                    false => TEXT_MAX,
                };
                let block = endless.repeat(most / endless.len());
                for _ in 0..5 {
                    stream.push(&redactor, block.as_bytes(), &mut out);
                    let (text, all) = (stream.layer.text.len(), stream.held_bytes());
                    assert!(text <= TEXT_MAX, "{text}: {begun:?} {endless:?}");
                    assert!(all <= HELD_MAX, "{all}: {begun:?} {endless:?}");
                }
            }
        }
    }

    #[test]
    fn a_key_in_one_line_is_swallowed_in_every_layer_and_with_any_joint_wherever_a_write_ends() {
        let redactor = redactor();
        #[rustfmt::skip]
        let letters = ["A", "\\u0041", "\\\\\\\\u0041", "%41", "%2541", "&#65;", "&#x41;"];
        let in_layers = letters.map(|letter| letter.repeat(9_000 / letter.len()));
        let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
        let joined = [(" ", 140), ("|", 30)].map(|(joint, lines)| {
            let lines = vec![line; lines].join(joint);
            format!("{joint}{lines}{joint}abc={joint}")
        });
        for body in in_layers.iter().chain(&joined) {
            let text =
                format!("KEY='-----BEGIN PRIVATE KEY-----{body}-----END PRIVATE KEY-----' z\n");
            for write in [7, 67, 700, text.len()] {
                let out = in_writes(&redactor, &text, (0..text.len()).step_by(write), false);
                assert_eq!(out, "KEY='[REDACTED:private-key]' z\n", "{write} {body}");
            }
        }
    }
}
