//! What is printed: for eyes a table, for programs JSON, and nothing in either that could move a terminal's cursor.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::time::Instant;

use serde::Serialize;

use super::table::{aligned, table};
use super::{CliError, Outcome};
use crate::adapters::PROMPT_SHOWN;
use crate::observe::{is_invisible, visible_json};
use crate::settings::durations;
use crate::sys::{self, Interest};

/// Standard output, buffered; what is left is written when it is dropped.
pub(super) struct Out(BufWriter<StdoutLock<'static>>);

impl Out {
    pub(super) fn new() -> Self {
        Self(BufWriter::new(io::stdout().lock()))
    }

    pub(super) fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.0, "{line}")?;
        self.0.flush()
    }

    /// `bytes` as they are, at once.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }

    /// `value` as JSON on one line.
    pub(super) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string(value)?;
        self.line(&visible_json(text))
    }

    /// `value` as JSON for people who pipe it nowhere.
    pub(super) fn pretty_json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        self.line(&visible_json(text))
    }

    /// Rows under a head, in columns as wide as their widest cell; the last is not padded.
    pub(super) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
        let head = head.iter().map(|&cell| cell.to_owned()).collect();
        self.line(&table(head, rows).join("\n"))
    }

    /// Names and values, a line each.
    pub(super) fn facts(&mut self, facts: &[(&str, String)]) -> io::Result<()> {
        self.line(&aligned(facts).join("\n"))
    }
}

/// The usage error of a `--watch` that cannot be.
pub(super) fn check_watch(is_watched: bool, is_json: bool) -> Result<(), CliError> {
    match is_watched && (is_json || !io::stdout().is_terminal()) {
        true => Err(CliError::usage(
            "--watch needs a terminal, and shows no JSON",
        )),
        false => Ok(()),
    }
}

/// Prints `lines`; with `is_watched` again and again, in place, until the terminal is closed.
pub(super) fn watch(
    is_watched: bool,
    out: &mut Out,
    lines: &mut dyn FnMut() -> Result<Vec<String>, CliError>,
) -> Outcome {
    loop {
        let mut lines = lines()?;
        if !is_watched {
            if !lines.is_empty() {
                out.line(&lines.join("\n"))?;
            }
            return Ok(0);
        }
        if let Some((_, rows @ 1..)) = sys::terminal_size(&io::stdout()) {
            lines.truncate(rows - 1);
        }
        // From the upper left corner on; clears the rest of each line, and what is below the last.
        let lines = lines.join("\x1b[K\n");
        out.bytes(format!("\x1b[H{lines}\x1b[K\n\x1b[J").as_bytes())?;
        let again = Instant::now() + durations::WATCH;
        if sys::poll(&mut [Interest::hangup(&io::stdout())], Some(again))? {
            return Ok(0);
        }
    }
}

/// `text` on one line, with control characters, and those that change the direction of others, made visible.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push_visible(&mut out, c);
    }
    out
}

fn push_visible(out: &mut String, c: char) {
    if c.is_control() || is_invisible(c) {
        out.extend(c.escape_default());
    } else {
        out.push(c);
    }
}

/// Output as a terminal may get it: colours (SGR sequences), tabs and the ends of lines stay, every other control character is
/// made visible. What could become a sequence with the bytes that follow is held back.
#[derive(Default)]
pub(super) struct TerminalText {
    held: String,
}

impl TerminalText {
    pub(super) fn take(&mut self, bytes: &[u8]) -> String {
        let text = std::mem::take(&mut self.held) + &String::from_utf8_lossy(bytes);
        let mut out = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(c) = rest.chars().next() {
            let mut length = c.len_utf8();
            match c {
                '\u{1b}' => match sgr_length(rest) {
                    None => {
                        self.held = rest.to_owned();
                        break;
                    }
                    Some(0) => push_visible(&mut out, c),
                    Some(whole) => {
                        out += &rest[..whole];
                        length = whole;
                    }
                },
                '\r' if rest.len() == 1 => {
                    self.held = rest.to_owned();
                    break;
                }
                '\r' if rest[1..].starts_with('\n') => {}
                '\n' | '\t' => out.push(c),
                _ => push_visible(&mut out, c),
            }
            rest = &rest[length..];
        }
        out
    }

    /// What is still held back.
    pub(super) fn rest(self) -> String {
        visible(&self.held)
    }
}

/// How long the SGR sequence is that `text` begins with: 0 if it is none, `None` if that depends on what follows.
pub(super) fn sgr_length(text: &str) -> Option<usize> {
    let Some(parameters) = text[1..].strip_prefix('[') else {
        return (text.len() > 1).then_some(0);
    };
    match parameters.find(|c: char| !c.is_ascii_digit() && c != ';' && c != ':') {
        Some(at) if parameters[at..].starts_with('m') => Some(at + 3),
        None if parameters.len() < 64 => None,
        _ => Some(0),
    }
}

/// A command line as a shell would take it, but for the mark that stands for the prompt.
pub(super) fn command_text(argv: &[String]) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=:,@+%".contains(c);
    let needs_none = |word: &str| word.replace(PROMPT_SHOWN, "").chars().all(is_plain);
    let quoted = |word: &String| match !word.is_empty() && needs_none(word) {
        true => word.clone(),
        false => format!("'{}'", visible(word).replace('\'', r"'\''")),
    };
    argv.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// As [`visible`], but lines stay lines: for texts of our own that quote others.
pub(super) fn visible_text(text: &str) -> String {
    text.lines().map(visible).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_the_cursor_gets_through() {
        assert_eq!(
            visible("a\u{1b}[2Jb\nc\u{9b}\u{202e}"),
            "a\\u{1b}[2Jb\\nc\\u{9b}\\u{202e}"
        );
        assert_eq!(visible("é🦀"), "é🦀");
        assert_eq!(visible_text("a\nb\u{7}"), "a\nb\\u{7}");
    }

    #[test]
    fn a_terminal_gets_colours_and_lines_and_no_other_control() {
        let shown = |pieces: &[&str]| {
            let mut terminal = TerminalText::default();
            let mut out = String::new();
            for piece in pieces {
                out += &terminal.take(piece.as_bytes());
            }
            out + &terminal.rest()
        };
        let colours = "\u{1b}[1;38:5:9mred\u{1b}[m\tok\n";
        assert_eq!(shown(&[colours]), colours);
        for at in 1..colours.len() {
            assert_eq!(shown(&[&colours[..at], &colours[at..]]), colours, "{at}");
        }
        assert_eq!(shown(&["a\r\nb\r", "\nc\rd\r"]), "a\nb\nc\\rd\\r");
        assert_eq!(
            shown(&["\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}1m\u{8}\u{1b}"]),
            "\\u{1b}[2J\\u{1b}]0;t\\u{7}\\u{9b}1m\\u{8}\\u{1b}"
        );
        // A sequence that never ends is not held for ever.
        let endless = format!("\u{1b}[{}", "1;".repeat(99));
        assert_eq!(shown(&[&endless, "x"]).len(), endless.len() + 6);
    }
}
