//! Tables and their cells for people: terminal widths, ages, durations, sizes, colours.
//!
//! Pure except for the clock, the terminal and `NO_COLOR`; it does not know the content.

use std::io::{self, IsTerminal};
use std::time::Duration;

use super::output::{sgr_length, visible};
use crate::api::{Timestamp, words};
use crate::observe::Message;
use crate::sys;

words! {
    /// When colours are used.
    pub(super) enum Color {
        /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
        Auto = "auto",
        Always = "always",
        Never = "never",
    }
}

/// Terminal colours (SGR, ECMA-48) of failures, of what runs or passes, and of warnings.
pub(super) const RED: u8 = 31;
pub(super) const GREEN: u8 = 32;
pub(super) const YELLOW: u8 = 33;

impl Color {
    /// True if stdout gets colours.
    pub(super) fn is_on(self) -> bool {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match self {
            Self::Auto => io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb(),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// `text` in a colour, if `is_on`.
pub(super) fn painted(is_on: bool, color: u8, text: &str) -> String {
    match is_on {
        true => format!("\x1b[{color}m{text}\x1b[m"),
        false => text.to_owned(),
    }
}

/// Columns of stdout's terminal; `None` for a pipe or a file.
pub(super) fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    let is_terminal = stdout.is_terminal();
    is_terminal.then(|| sys::terminal_size(&stdout).map_or(80, |(columns, _)| columns))
}

/// The lines of a table, with columns as wide as their widest cell. Wraps the last column at `columns`.
pub(super) fn table(head: Vec<String>, rows: &[Vec<String>], columns: usize) -> Vec<String> {
    let widths = widths(&head, rows);
    let line = |row: &Vec<String>| {
        let Some((last, others)) = row.split_last() else {
            return String::new();
        };
        let mut line = String::new();
        for (cell, wide) in others.iter().zip(&widths) {
            line += cell;
            line.extend(std::iter::repeat_n(' ', wide + 2 - width(cell)));
        }
        wrapped(line, last, columns).trim_end().to_owned()
    };
    std::iter::once(&head).chain(rows).map(line).collect()
}

/// `line` followed by `text`, wrapped at `columns` with a hanging indent. At least 20 columns are left for the text.
pub(super) fn wrapped(mut line: String, text: &str, columns: usize) -> String {
    let indent = width(&line);
    let columns = columns.max(indent + 20);
    if indent + width(text) <= columns {
        return line + text;
    }
    let (mut lines, mut begins) = (String::new(), true);
    for word in text.split_whitespace() {
        if !begins && width(&line) + 1 + width(word) > columns {
            lines += &line;
            line = format!("\n{:indent$}", "");
            begins = true;
        }
        line += if begins { "" } else { " " };
        line += word;
        begins = false;
    }
    lines + &line
}

fn widths(head: &[String], rows: &[Vec<String>]) -> Vec<usize> {
    let mut widths: Vec<usize> = head.iter().map(|cell| width(cell)).collect();
    for row in rows {
        for (wide, cell) in widths.iter_mut().zip(row) {
            *wide = (*wide).max(width(cell));
        }
    }
    widths
}

/// As [`table`], but the last cell of each row is cut so that no row exceeds `columns`, if these are given; at least ten
/// columns are left for it.
pub(super) fn fitted(
    head: Vec<String>,
    mut rows: Vec<Vec<String>>,
    columns: Option<usize>,
) -> Vec<String> {
    let widths = widths(&head, &rows);
    let others: usize = widths.iter().rev().skip(1).map(|wide| wide + 2).sum();
    if let Some(columns) = columns {
        for cell in rows.iter_mut().filter_map(|row| row.last_mut()) {
            *cell = cut(cell, columns.saturating_sub(others).max(10));
        }
    }
    table(head, &rows, usize::MAX)
}

/// Names and values, one per line, wrapped at `columns`.
pub(super) fn aligned<N: AsRef<str>>(facts: &[(N, String)], columns: usize) -> Vec<String> {
    let lengths = facts.iter().map(|(name, _)| name.as_ref().len());
    let wide = lengths.max().unwrap_or(0);
    let line = |(name, value): &(N, String)| {
        let name = format!("{:wide$}  ", name.as_ref());
        wrapped(name, value, columns)
    };
    facts.iter().map(line).collect()
}

/// `text`, escaped, and cut to `columns`.
pub(super) fn shortened(text: &str, columns: usize) -> String {
    cut(&visible(text), columns)
}

fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut left = columns - 1;
    let fits = |c: &char| {
        let fits = char_width(*c) <= left;
        left = left.saturating_sub(char_width(*c));
        fits
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// Number of terminal columns of `text`, without colour sequences.
pub(super) fn width(text: &str) -> usize {
    let (mut columns, mut rest) = (0, text);
    while let Some(c) = rest.chars().next() {
        let colour = if c == '\u{1b}' {
            sgr_length(rest)
        } else {
            None
        };
        match colour {
            Some(length) if length > 0 => rest = &rest[length..],
            _ => {
                columns += char_width(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    columns
}

/// Columns of a character in a terminal: zero for combining characters, two for wide East Asian characters and emoji
/// (Unicode 16, UAX #11), one for all others.
fn char_width(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0x483..=0x489 | 0x591..=0x5bd | 0x610..=0x61a | 0x64b..=0x65f => 0,
        0x1ab0..=0x1aff | 0x1dc0..=0x1dff | 0x20d0..=0x20ff | 0xfe00..=0xfe0f => 0,
        0xfe20..=0xfe2f | 0xe0100..=0xe01ef => 0,
        0x1100..=0x115f | 0x231a..=0x231b | 0x23e9..=0x23ec | 0x25fd..=0x25fe => 2,
        0x2614..=0x2615 | 0x2648..=0x2653 | 0x26a1 | 0x26bd..=0x26be | 0x26d4 => 2,
        0x2705 | 0x270a..=0x270b | 0x2728 | 0x274c | 0x274e | 0x2753..=0x2755 => 2,
        0x2757 | 0x2795..=0x2797 | 0x2b1b..=0x2b1c | 0x2b50 | 0x2b55 => 2,
        0x2e80..=0x303e | 0x3041..=0x4dbf | 0x4e00..=0xa4cf | 0xa960..=0xa97c => 2,
        0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6b | 0xff01..=0xff60 => 2,
        0xffe0..=0xffe6 | 0x16fe0..=0x1b2fb | 0x1f004 | 0x1f0cf | 0x1f18e => 2,
        0x1f191..=0x1f19a | 0x1f200..=0x1f64f | 0x1f680..=0x1f6ff | 0x1f7e0..=0x1f7f0 => 2,
        0x1f900..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// The duration in its largest unit: `12 s`, `3 min`, `2 h`, `5 d`.
pub(super) fn rough(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A message as one line, with local times and their age.
pub(super) fn told(message: &Message) -> String {
    visible(&message.with_times(moment))
}

/// The time since then, as `3 min`.
pub(super) fn age(at: Timestamp) -> String {
    rough(at.until(Timestamp::now()))
}

/// A duration in its two largest units, as `1 min 40 s`.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let unit = match seconds {
        0..60 => return rough(time),
        60..3600 => 60,
        3600..86_400 => 3600,
        _ => 86_400,
    };
    match seconds % unit {
        0 => rough(time),
        rest => format!("{} {}", rough(time), rough(Duration::from_secs(rest))),
    }
}

/// A moment in local time, with its age.
pub(super) fn moment(at: Timestamp) -> String {
    format!("{} ({} ago)", local(at), age(at))
}

/// A moment in local time, to the second.
pub(super) fn local(at: Timestamp) -> String {
    match sys::local_time(at.as_millis().div_euclid(1000)) {
        Some([year, month, day, hour, minute, second]) => {
            format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
        }
        None => at.to_string(),
    }
}

/// A moment for a line of output: on a terminal in local time, to the millisecond; elsewhere as the contract writes it.
pub(super) fn stamp(at: Timestamp, is_terminal: bool) -> String {
    match is_terminal {
        true => format!("{}.{:03}", local(at), at.as_millis().rem_euclid(1000)),
        false => at.to_string(),
    }
}

/// A size in bytes with a short unit, as `1.5 MiB`.
pub(super) fn amount(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        let tenths = (u128::from(bytes) * 10) >> shift;
        match tenths {
            0..10 => {}
            // Ten and more need no fraction.
            _ if tenths >= 100 || tenths % 10 == 0 => return format!("{} {unit}", tenths / 10),
            _ => return format!("{}.{} {unit}", tenths / 10, tenths % 10),
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_shortened_to_columns() {
        assert_eq!(shortened("abc", 3), "abc");
        assert_eq!(shortened("abcd", 3), "ab…");
        assert_eq!(shortened("修复测试", 8), "修复测试");
        assert_eq!(shortened("修复测试", 7), "修复测…");
        assert_eq!(shortened("修复测试", 6), "修复…");
        assert_eq!(shortened("🦀🦀🦀", 5), "🦀🦀…");
    }

    #[test]
    fn columns_line_up_whatever_characters_stand_in_them() {
        let rows = [
            ["修复", "x"],
            ["e\u{301}🦀", "y"],
            ["\u{1b}[31mred\u{1b}[m", "z"],
        ];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        let lines = table(vec!["A".into(), "B".into()], &rows, 80);
        assert_eq!(
            lines,
            [
                "A     B",
                "修复  x",
                "e\u{301}🦀   y",
                "\u{1b}[31mred\u{1b}[m   z"
            ]
        );
        let mut rows = rows.to_vec();
        rows[0][1] = "修".repeat(20);
        let lines = fitted(vec!["A".into(), "B".into()], rows, Some(20));
        assert_eq!(width(&lines[1]), 19);
    }

    #[test]
    fn a_long_text_goes_on_below_its_beginning() {
        let line = || "name  ".to_owned();
        assert_eq!(
            wrapped(line(), "a  text that fits", 80),
            "name  a  text that fits"
        );
        let text = "修复 words that do not fit";
        assert_eq!(
            wrapped(line(), text, 28),
            "name  修复 words that do not\n      fit"
        );
        // A word is never cut, and a narrow terminal not obeyed.
        let long = "x".repeat(50);
        assert_eq!(wrapped(line(), &long, 30), format!("name  {long}"));
        assert_eq!(wrapped(line(), text, 0), wrapped(line(), text, 26));
        let facts = aligned(&[("a", "b".into()), ("long", text.into())], 28);
        assert_eq!(facts[1], wrapped("long  ".into(), text, 28));
        assert_eq!(facts[0], "a     b");
    }

    #[test]
    fn times_and_amounts_are_short() {
        let seconds = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!(seconds(0), "0 s");
        assert_eq!(seconds(100), "1 min 40 s");
        assert_eq!(seconds(3600), "1 h");
        assert_eq!(seconds(90_061), "1 d 1 h");
        assert_eq!(rough(Duration::from_secs(3599)), "59 min");
        for (bytes, shown) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1_572_864, "1.5 MiB"),
            (12 << 20, "12 MiB"),
            (u64::MAX, "17179869183 GiB"),
        ] {
            assert_eq!(amount(bytes), shown);
        }
    }
}
