//! Redaction of a stream that comes in pieces: what is stored is the same wherever the pieces are cut.
//!
//! Between two writes it is plain data: some text as context and what is held back, and which secret is being swallowed.

use super::extent;
use super::issuers;
use super::layer::Layer;
use super::own::Line;
use super::rules::{self, Ending, Found};
use super::view::View;
use super::{Open, REDACTED, Redactor, Secret};

/// How much of a write is looked at at once, in bytes: the most that a stream's memory grows to, with what is held back.
pub(super) const PIECE_MAX: usize = 16 * 1024;

/// How much text is kept as context behind what has been passed on, in bytes: as far as the rules look back at
/// most.
pub(super) const CONTEXT_MAX: usize = 256;

/// How much of a secret without an end is swallowed, in bytes.
const SWALLOW_MAX: usize = 64 * 1024;

/// The longest line of a private key, in bytes; RFC 7468 has 64, OpenPGP and wrapped ones a few more.
const KEY_LINE_MAX: usize = 256;

/// One stream's state.
#[derive(Debug, Default, Clone)]
pub struct Stream {
    /// Context, then what is held back.
    layer: Layer,
    /// Where in the text what is held back begins.
    passed: usize,
    /// Where in the text the search goes on.
    at: usize,
    /// What is in front of it is of no use to any rule.
    floor: usize,
    swallowing: Option<Swallowing>,
    line: Line,
}

/// What of the coming bytes belongs to a secret that has been replaced already.
#[derive(Debug, Clone, Copy)]
struct Swallowing {
    open: Open,
    /// Up to so many bytes.
    left: usize,
    /// A short line of a private key has come: the next must be its last.
    is_short: bool,
}

impl Stream {
    /// Whether something is held back.
    pub fn is_holding(&self) -> bool {
        self.passed < self.layer.text.len() || self.layer.has_tail() || self.line.is_holding()
    }

    /// Takes `data`, and adds to `out` what of it can be passed on.
    pub fn push(&mut self, redactor: &Redactor, data: &[u8], out: &mut Vec<u8>) {
        for piece in data.chunks(PIECE_MAX) {
            self.layer.push(piece, false);
            self.go_on(redactor, false, out);
        }
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
        let mut passed = Vec::new();
        self.layer.expire();
        while self.swallowing.is_none() {
            match rules::find(&self.layer, self.floor, self.at, Ending::Pause) {
                Found::Secret(secret) => {
                    self.replace(redactor, &secret, secret.open == Open::Key, &mut passed)
                }
                Found::Wait {
                    begun: Some(secret),
                    ..
                } if secret.range.end > self.passed => {
                    self.replace(redactor, &secret, true, &mut passed);
                }
                Found::Wait { at, .. } => {
                    self.at = at;
                    self.pass(self.layer.text.len(), &mut passed);
                    break;
                }
            }
        }
        redactor.own_pass(&mut self.line, &passed, out);
        redactor.own_end(&mut self.line, out);
        self.trim();
        self.layer.shrink();
    }

    /// The end of the stream: nothing more comes that could decide anything.
    pub fn finish(&mut self, redactor: &Redactor, out: &mut Vec<u8>) {
        self.layer.push(b"", true);
        self.go_on(redactor, true, out);
        redactor.own_end(&mut self.line, out);
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

    /// Handles a part of what is held; `true` if there may be more to do.
    fn step(&mut self, redactor: &Redactor, is_last: bool, out: &mut Vec<u8>) -> bool {
        if let Some(swallowing) = self.swallowing {
            return self.swallow(swallowing, is_last, out);
        }
        match rules::find(
            &self.layer,
            self.floor,
            self.at,
            if is_last { Ending::Last } else { Ending::Open },
        ) {
            Found::Secret(secret) => {
                let goes_on = secret.open == Open::Key
                    || secret.range.end - self.at.min(secret.range.end) >= rules::REACH;
                self.replace(redactor, &secret, goes_on, out);
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

    /// Passes on the text before `until`.
    fn pass(&mut self, until: usize, out: &mut Vec<u8>) {
        if until >= self.passed {
            self.layer.write(self.passed, until, false, out);
            self.passed = until;
        }
    }

    /// Passes on what is before `secret`, and its replacement; what follows is swallowed if the secret `goes_on`.
    fn replace(&mut self, redactor: &Redactor, secret: &Secret, goes_on: bool, out: &mut Vec<u8>) {
        self.pass(secret.range.start, out);
        out.extend_from_slice(format!("{REDACTED}{}]", secret.kind).as_bytes());
        redactor.count(secret.kind);
        self.swallowing = goes_on.then_some(Swallowing {
            open: secret.open,
            left: SWALLOW_MAX,
            is_short: false,
        });
        self.drop_until(secret.range.end, out);
    }

    /// Drops the text before `until`; the escape sequences in it stay.
    fn drop_until(&mut self, until: usize, out: &mut Vec<u8>) {
        let from = self.passed.min(until);
        self.layer.write(from, until, true, out);
        self.passed = self.passed.max(until);
        (self.at, self.floor) = (self.passed, self.passed);
    }

    /// Drops what belongs to the secret; `true` when its end has been found.
    fn swallow(&mut self, swallowing: Swallowing, is_last: bool, out: &mut Vec<u8>) -> bool {
        if swallowing.open == Open::Key {
            return self.swallow_key(swallowing, is_last, out);
        }
        let view = View {
            text: &self.layer.text,
            is_last,
        };
        let (mut at, mut left, mut is_over) =
            (self.passed, swallowing.left, swallowing.open == Open::No);
        while !is_over {
            let Ok(glyph) = view.glyph(at) else { break };
            is_over = glyph.end == at || left == 0 || !swallowing.open.goes_on(glyph);
            if !is_over {
                left -= 1;
                at = glyph.end;
            }
        }
        self.swallowing = (!is_over).then_some(Swallowing { left, ..swallowing });
        self.drop_until(at, out);
        is_over && self.is_holding_text()
    }

    fn is_holding_text(&self) -> bool {
        self.passed < self.layer.text.len()
    }

    /// Drops a line of a private key; `true` if the block has ended, or another line is there.
    fn swallow_key(&mut self, swallowing: Swallowing, is_last: bool, out: &mut Vec<u8>) -> bool {
        let view = View {
            text: &self.layer.text,
            is_last,
        };
        let (line, at, end) = key_line(view, self.passed);
        let text = line.trim_ascii();
        // A mention of a key's first line is followed by the end of a string.
        let is_mention = swallowing.left == SWALLOW_MAX
            && text.first().is_some_and(|byte| b"\"'`,)".contains(byte));
        let may_be_last =
            text.is_empty() || text.starts_with(b"=") || text.starts_with(b"-----END");
        let is_over = swallowing.is_short && (end.is_some() || is_last) && !may_be_last;
        if end == Some(KeyLine::Last) {
            return self.end_key(at, out);
        }
        if !is_key_line(text) || is_mention || is_over || swallowing.left == 0 {
            return self.end_key(self.passed, out);
        }
        if end == Some(KeyLine::Closed) || end.is_none() && is_last {
            return self.end_key(at, out);
        }
        let left = swallowing.left.saturating_sub(at - self.passed);
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
            // A block in one line is as long as it likes: only its end is of use.
            false if line.len() > 2 * KEY_LINE_MAX => at - KEY_LINE_MAX,
            false => return false,
        };
        self.swallowing = Some(Swallowing {
            left,
            is_short,
            ..swallowing
        });
        self.drop_until(until, out);
        is_ended
    }

    fn end_key(&mut self, until: usize, out: &mut Vec<u8>) -> bool {
        self.swallowing = None;
        self.drop_until(until, out);
        self.is_holding_text()
    }

    /// Forgets what is no longer of use as context.
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
    /// Whether a secret goes on with `glyph`.
    fn goes_on(self, glyph: super::view::Glyph) -> bool {
        match self {
            Self::No | Self::Key => false,
            Self::Word(alphabet) => issuers::is_in(glyph.byte, alphabet),
            Self::Bare => extent::is_bare(glyph, false),
            Self::Quote { byte, depth } => !extent::closes((byte, depth), glyph),
            Self::Rest => !matches!(glyph.byte, b'\n' | b'\r'),
            Self::Line => !matches!(glyph.byte, b'\n' | b'\r' | b'"' | b'\''),
            Self::Url => {
                let ends = glyph.depth == 0 && b"/@\"'<>;?#".contains(&glyph.byte);
                !ends && !glyph.byte.is_ascii_whitespace()
            }
        }
    }
}

/// How a line of a private key ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyLine {
    Newline,
    /// With the string in which it stands.
    Closed,
    /// With the block.
    Last,
}

/// The line at `from`, where it ends, a newline included, and how, if that is known.
fn key_line(view: View<'_>, from: usize) -> (Vec<u8>, usize, Option<KeyLine>) {
    let (mut at, mut line) = (from, Vec::new());
    while let Ok(glyph) = view.glyph(at)
        && glyph.end > at
    {
        let next = view.text.get(glyph.end);
        if glyph.byte == b'\n' {
            return (line, glyph.end, Some(KeyLine::Newline));
        }
        if glyph.byte == b'"' && glyph.depth == 0 && next.is_some_and(|byte| b",}]".contains(byte))
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

/// Whether `line`, perhaps incomplete, can be a part of a block.
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
        .rposition(|byte| !b"\"'+,\\; ".contains(byte))
        .map_or(0, |last| last + 1);
    // The rest of the first line, behind a pause.
    let is_label = line
        .iter()
        .all(|byte| byte.is_ascii_uppercase() || matches!(byte, b' ' | b'-'));
    is_header
        || is_label
        || line[..data]
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-'))
}
