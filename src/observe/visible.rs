//! Escapes characters that control a terminal or start a line, for the log's formats and the CLI's output.
//!
//! Pure: text in, text out.

use std::fmt::{self, Write as _};

/// A value as one word: quoted if necessary, with control characters always escaped. It can neither start a line, nor
/// end its quotes, nor move a terminal's cursor.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| {
            !c.is_control()
                && !c.is_whitespace()
                && !is_invisible(c)
                && !matches!(c, '"' | '=' | '\\')
        };
        if !self.0.is_empty() && self.0.chars().all(plain) {
            return f.write_str(self.0);
        }
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                ' ' => f.write_char(c)?,
                c if c.is_control() || c.is_whitespace() || is_invisible(c) => {
                    write!(f, "{}", c.escape_default())?
                }
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// Escapes all characters in `json` that control a terminal: JSON permits those above U+001F, such as C1 controls. They
/// occur only within strings, except the newlines between lines.
pub fn visible_json(json: String) -> String {
    let is_unseen = |c: char| (c.is_control() && c != '\n') || is_invisible(c);
    if !json.chars().any(is_unseen) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_unseen(c) {
            // All of them need at most four hexadecimal digits.
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// True for characters that change how others are displayed: bidirectional controls, line separators (Unicode TR 36).
pub fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_word_whatever_it_holds() {
        let quoted = |text| Quoted(text).to_string();
        assert_eq!(quoted("plain-word/1.2:3"), "plain-word/1.2:3");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted("two words"), "\"two words\"");
        assert_eq!(quoted("a=b"), "\"a=b\"");
        assert_eq!(quoted("say \"hi\"\\"), r#""say \"hi\"\\""#);
        assert_eq!(
            quoted("x\n2026 INFO event=forged"),
            r#""x\n2026 INFO event=forged""#
        );
        assert_eq!(
            quoted("\u{1b}[2J\u{9b}\u{202e}"),
            "\"\\u{1b}[2J\\u{9b}\\u{202e}\""
        );
        assert_eq!(quoted("a\u{202e}b"), "\"a\\u{202e}b\"");
        assert_eq!(quoted("é"), "é");
    }
}
