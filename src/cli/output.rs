//! Output of the CLI: tables for people, JSON for programs. Neither contains characters that control a terminal.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::time::Instant;

use serde::Serialize;

use super::table::{aligned, table, terminal_width};
use super::{CliError, ExitResult};
use crate::adapters::PROMPT_SHOWN;
use crate::api::Stream;
use crate::observe::{is_invisible, visible_json};
use crate::settings::durations;
use crate::sys::{self, Interest};

/// Buffered standard output; dropping it flushes.
pub(super) struct Out(BufWriter<StdoutLock<'static>>);

impl Out {
    pub(super) fn new() -> Self {
        Self(BufWriter::new(io::stdout().lock()))
    }

    pub(super) fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.0, "{line}")?;
        self.0.flush()
    }

    /// Writes `bytes` unchanged, and flushes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }

    /// Writes output of a harness to this process's stream of the same name, unchanged, and flushes.
    pub(super) fn of_harness(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        match stream {
            Stream::Stdout => self.bytes(bytes),
            Stream::Stderr => show_stderr(bytes),
        }
    }

    /// Writes `value` as one line of JSON.
    pub(super) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string(value)?;
        self.line(&visible_json(text))
    }

    /// Writes `value` as JSON on one line if `json`, else `line`.
    pub(super) fn line_or_json(
        &mut self,
        json: bool,
        line: &str,
        value: &impl Serialize,
    ) -> io::Result<()> {
        match json {
            true => self.json(value),
            false => self.line(line),
        }
    }

    /// Writes `value` as indented JSON.
    pub(super) fn pretty_json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        self.line(&visible_json(text))
    }

    /// Writes rows under a header, in columns as wide as their widest cell; the last column is wrapped at the terminal width.
    pub(super) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
        let head = head.iter().map(|&cell| cell.to_owned()).collect();
        self.line(&table(head, rows, columns()).join("\n"))
    }

    /// Writes names and values, one per line.
    pub(super) fn facts(&mut self, facts: &[(&str, String)]) -> io::Result<()> {
        self.line(&aligned(facts, columns()).join("\n"))
    }
}

/// Writes the harness's stderr to this process's.
pub(super) fn show_stderr(bytes: &[u8]) -> io::Result<()> {
    let mut err = io::stderr().lock();
    err.write_all(bytes)?;
    err.flush()
}

/// Checks that `--watch` has a terminal, and is not combined with JSON.
pub(super) fn check_watch(is_watched: bool, is_json: bool) -> Result<(), CliError> {
    match is_watched && (is_json || !io::stdout().is_terminal()) {
        true => Err(CliError::usage(
            "--watch needs a terminal, and shows no JSON",
        )),
        false => Ok(()),
    }
}

/// Prints `lines`; with `is_watched` repeatedly in place, until the terminal is closed.
pub(super) fn watch(
    is_watched: bool,
    out: &mut Out,
    lines: &mut dyn FnMut() -> Result<Vec<String>, CliError>,
) -> ExitResult {
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
        // Starts in the upper left corner; clears the rest of each line, and everything below the last.
        let lines = lines.join("\x1b[K\n");
        out.bytes(format!("\x1b[H{lines}\x1b[K\n\x1b[J").as_bytes())?;
        let again = Instant::now() + durations::WATCH;
        if sys::poll(&mut [Interest::hangup(&io::stdout())], Some(again))? {
            return Ok(0);
        }
    }
}

/// Maximum width of a line: that of the terminal, if there is one.
pub(super) fn columns() -> usize {
    terminal_width().unwrap_or(usize::MAX)
}

/// `text` as one line, with control characters and direction marks escaped.
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

/// Filters output for a terminal: keeps colours (SGR sequences), tabs and line ends, and escapes all other control
/// characters. Holds an incomplete sequence until its rest arrives.
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

    /// The text still held.
    pub(super) fn rest(self) -> String {
        visible(&self.held)
    }
}

/// Length of the SGR sequence at the start of `text`: 0 if it is none, `None` if the following text decides.
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

/// A command line quoted for a shell, except for the prompt's placeholder.
pub(super) fn command_text(argv: &[String]) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=:,@+%".contains(c);
    let needs_none = |word: &str| word.replace(PROMPT_SHOWN, "").chars().all(is_plain);
    let quoted = |word: &String| match !word.is_empty() && needs_none(word) {
        true => word.clone(),
        false => format!("'{}'", visible(word).replace('\'', r"'\''")),
    };
    argv.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// As [`visible`], but keeps line ends: for our own texts that quote others.
pub(super) fn visible_text(text: &str) -> String {
    text.lines().map(visible).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_that_moves_the_cursor_gets_through() {
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
        // An endless sequence is not held for ever.
        let endless = format!("\u{1b}[{}", "1;".repeat(99));
        assert_eq!(shown(&[&endless, "x"]).len(), endless.len() + 6);
    }
}
