//! Converts terminal output to plain lines: removes escape sequences, control characters, and overwritten text.
//!
//! A state machine for text in pieces: a line or a sequence can be split over events (ECMA-48, 5.4, 5.6).

use crate::observe::is_invisible;

/// Length in bytes at which a line is split, so that each part fits into an answer: escaping at most doubles it.
const LINE_MAX: usize = 200_000;

/// State of the parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC [: parameters, up to a letter.
    Control,
    /// After ESC ] and similar: a string, up to BEL or ESC \.
    String,
    /// After ESC within such a string.
    StringEscape,
}

/// Conversion state of one stream.
#[derive(Debug, Default)]
pub(super) struct PlainText {
    state: State,
    line: String,
    /// After a carriage return that is not part of a line's end.
    is_returned: bool,
}

impl PlainText {
    /// Processes `text`, and passes each complete line to `line`.
    pub(super) fn feed(&mut self, text: &str, mut line: impl FnMut(&str)) {
        for c in text.chars() {
            if c == '\n' {
                // Also ends an incomplete sequence, which would swallow all further text.
                self.state = State::Text;
                self.end(&mut line);
            } else if let Some(c) = self.step(c) {
                self.put(c, &mut line);
            }
        }
    }

    /// Passes the rest of an incomplete line to `line`.
    pub(super) fn finish(&mut self, mut line: impl FnMut(&str)) {
        if !self.line.is_empty() {
            self.end(&mut line);
        }
        *self = Self::default();
    }

    fn end(&mut self, line: &mut impl FnMut(&str)) {
        line(self.line.trim_end());
        self.line.clear();
        self.is_returned = false;
    }

    /// Processes one character, and returns it if it is text.
    fn step(&mut self, c: char) -> Option<char> {
        let (state, text) = match (self.state, c) {
            (State::String, '\u{7}' | '\u{9c}') => (State::Text, None),
            (State::String, '\u{1b}') => (State::StringEscape, None),
            (State::String, _) => (State::String, None),
            // CAN and SUB end any sequence.
            (_, '\u{18}' | '\u{1a}') => (State::Text, None),
            (_, '\u{1b}') => (State::Escape, None),
            (State::StringEscape, '\\') => (State::Text, None),
            (State::Escape | State::StringEscape, '[') => (State::Control, None),
            (State::Escape | State::StringEscape, ']' | 'P' | 'X' | '^' | '_') => {
                (State::String, None)
            }
            (State::Escape | State::StringEscape, ' '..='/') => (State::Escape, None),
            (State::Escape | State::StringEscape, '0'..='~') => (State::Text, None),
            (State::Control, ' '..='?') => (State::Control, None),
            (State::Control, '@'..='~') => (State::Text, None),
            (_, '\u{9b}') => (State::Control, None),
            (_, '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}') => (State::String, None),
            (_, c) => (State::Text, Some(c)),
        };
        self.state = state;
        text
    }

    fn put(&mut self, c: char, line: &mut impl FnMut(&str)) {
        match c {
            '\r' => {
                self.is_returned = true;
                return;
            }
            '\u{8}' => {
                self.line.pop();
                return;
            }
            _ => {}
        }
        let mut buffer = [0; 4];
        let shown = match c {
            '\t' => "    ",
            c if c.is_control() || is_invisible(c) => return,
            c => c.encode_utf8(&mut buffer),
        };
        // A progress bar: the next text overwrites the line.
        if std::mem::take(&mut self.is_returned) {
            self.line.clear();
        }
        if self.line.len() + shown.len() > LINE_MAX {
            self.end(line);
        }
        self.line.push_str(shown);
    }
}

/// Passes the lines of a complete text to `line`.
pub(super) fn lines(text: &str, mut line: impl FnMut(&str)) {
    let mut plain = PlainText::default();
    plain.feed(text, &mut line);
    plain.finish(&mut line);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(pieces: &[&str]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut text = PlainText::default();
        for piece in pieces {
            text.feed(piece, |line| lines.push(line.to_owned()));
        }
        text.finish(|line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn escape_sequences_are_left_out_wherever_they_are_split() {
        let text = "a\u{1b}[1;31mred\u{1b}[0m\u{1b}]0;title\u{7}b\u{1b}]8;;http://x\u{1b}\\link\u{1b}(Bc\u{9b}2Jd\n\u{1b}7e";
        for at in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
            let (one, two) = text.split_at(at);
            assert_eq!(plain(&[one, two]), ["aredblinkcd", "e"], "{at}");
        }
    }

    #[test]
    fn a_line_is_what_a_terminal_would_show_in_the_end() {
        assert_eq!(plain(&["10%\r", "50%\r100%\r\nok\r\n"]), ["100%", "ok"]);
        assert_eq!(plain(&["abx\u{8}c\u{7}\u{0}\u{202e}\td"]), ["abc    d"]);
        assert_eq!(plain(&["a\n\nb"]), ["a", "", "b"]);
    }

    #[test]
    fn a_sequence_without_an_end_costs_no_more_than_its_line() {
        assert_eq!(plain(&["a\u{1b}]0;never\nb\u{1b}[3\nc"]), ["a", "b", "c"]);
        assert_eq!(plain(&["a\u{1b}[é"]), ["aé"]);
    }

    #[test]
    fn a_line_that_never_ends_is_taken_for_several() {
        let long = "é".repeat(LINE_MAX);
        let lines = plain(&[&long]);
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() <= LINE_MAX));
        assert_eq!(lines.concat(), long);
    }
}
