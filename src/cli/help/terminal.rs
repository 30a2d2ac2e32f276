//! Lays a page out in lines of a terminal: wrapped, with bold headings and code where `is_styled`.
//!
//! Pure. It does not know which page it lays out.

use super::markdown::{Block, plain, styled};
use crate::cli::table::{width, wrapped};

/// Indent of the text under a heading.
const INDENT: usize = 4;

/// Longest name with its text on the same line.
const NAME_MAX: usize = 26;

/// Least width of a column; a table with narrower ones is shown row by row.
const COLUMN_MIN: usize = 8;

/// The text of a page, or of a help.
pub(super) struct Layout {
    out: String,
    columns: usize,
    is_styled: bool,
    /// True if the last line is a heading.
    is_below_heading: bool,
}

impl Layout {
    pub(super) fn new(columns: usize, is_styled: bool) -> Self {
        Self {
            out: String::new(),
            columns,
            is_styled,
            is_below_heading: false,
        }
    }

    /// The finished text, without an empty line at its end.
    pub(super) fn finish(self) -> String {
        self.out.trim_end().to_owned()
    }

    /// Appends `blocks`, with an empty line between them.
    pub(super) fn blocks(&mut self, blocks: &[Block]) {
        for block in blocks {
            self.gap();
            match block {
                Block::Heading(level, title) => self.heading(*level, title),
                Block::Paragraph(text) => self.hanging(INDENT, "", text),
                Block::List(items) => {
                    for item in items {
                        self.hanging(INDENT, "* ", item);
                    }
                }
                Block::Code(lines) => {
                    for line in lines {
                        let line = format!("{:1$}{line}", "", INDENT + 2);
                        self.line(line.trim_end());
                    }
                }
                Block::Table(head, rows) => self.table(head, rows),
            }
        }
    }

    fn heading(&mut self, level: usize, title: &str) {
        let title = plain(title);
        match level {
            1 => self.hanging(0, "", &format!("**{}**", title.to_uppercase())),
            _ => self.hanging(2, "", &format!("**{title}**")),
        }
        self.is_below_heading = true;
    }

    /// Writes a table of two columns as names and their texts, without its head.
    fn table(&mut self, head: &[String], rows: &[Vec<String>]) {
        if head.len() == 2 {
            let rows = rows
                .iter()
                .filter_map(|row| <[String; 2]>::try_from(row.clone()).ok());
            let rows: Vec<_> = rows.map(|[name, text]| (name, text)).collect();
            return self.rows(INDENT, &rows);
        }
        match widths(head, rows, self.columns.saturating_sub(INDENT)) {
            Some(widths) => {
                let bold: Vec<String> = head
                    .iter()
                    .map(|cell| format!("**{}**", plain(cell)))
                    .collect();
                for row in std::iter::once(&bold).chain(rows) {
                    self.row(row, &widths);
                }
            }
            None => self.records(head, rows),
        }
    }

    /// Writes a row of cells, each wrapped in its column.
    fn row(&mut self, row: &[String], widths: &[usize]) {
        let cells = row.iter().zip(widths);
        let cells = cells.map(|(cell, &wide)| folded(&self.styled(cell), wide));
        let cells: Vec<Vec<String>> = cells.collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        for at in 0..height {
            let mut line = " ".repeat(INDENT);
            for (cell, wide) in cells.iter().zip(widths) {
                let part = cell.get(at).map_or("", String::as_str);
                line += part;
                line.extend(std::iter::repeat_n(
                    ' ',
                    (wide + 2).saturating_sub(width(part)),
                ));
            }
            self.line(line.trim_end());
        }
    }

    /// Writes each row as its first cell, and below it the other cells with their heads.
    fn records(&mut self, head: &[String], rows: &[Vec<String>]) {
        for row in rows {
            let mut cells = head.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
            if let Some((_, name)) = cells.next() {
                self.hanging(INDENT, "", &format!("**{}**", plain(name)));
            }
            for (head, cell) in cells {
                self.hanging(INDENT + 2, &format!("{}: ", plain(head)), cell);
            }
        }
    }

    /// Writes names and texts in two columns, `indent` columns from the left.
    pub(super) fn rows(&mut self, indent: usize, rows: &[(String, String)]) {
        let names = rows.iter().map(|(name, _)| width(&plain(name)));
        let short: Vec<usize> = names.filter(|&wide| wide <= NAME_MAX).collect();
        // Where most names are long, each stands above its text.
        let wide = match short.len() * 2 >= rows.len() {
            true => short.into_iter().max().unwrap_or(0),
            false => 0,
        };
        let column = wide + indent + 2;
        for (name, text) in rows {
            let wide = indent + width(&plain(name));
            if wide + 2 > column {
                self.hanging(indent, "", name);
                self.hanging(column, "", text);
            } else {
                let name = format!(
                    "{:indent$}{}{:3$}",
                    "",
                    self.styled(name),
                    "",
                    column - wide
                );
                let text = self.styled(text);
                self.line(&wrapped(name, &text, self.columns));
            }
        }
    }

    /// Writes `text` wrapped, behind `mark`.
    pub(super) fn hanging(&mut self, indent: usize, mark: &str, text: &str) {
        let begin = format!("{:indent$}{mark}", "");
        let text = self.styled(text);
        self.line(&wrapped(begin, &text, self.columns));
    }

    /// `text` with its styles for the terminal. Each word has its own sequences: `less -R` keeps none over a line's end.
    fn styled(&self, text: &str) -> String {
        if !self.is_styled {
            return plain(text);
        }
        let bold = |word: &str| format!("\x1b[1m{word}\x1b[m");
        styled(text, str::to_owned, bold)
    }

    /// Writes an empty line, unless nothing or a heading is above.
    pub(super) fn gap(&mut self) {
        if !self.out.is_empty() && !self.is_below_heading {
            self.out.push('\n');
        }
    }

    pub(super) fn line(&mut self, line: &str) {
        self.out += line;
        self.out.push('\n');
        self.is_below_heading = false;
    }
}

/// The lines of `text` in a column.
fn folded(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(word) <= columns => *line += &format!(" {word}"),
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Widths of the columns within `columns`: what they need, or a share of it that leaves each its longest word. `None` if
/// there is no room for that.
fn widths(head: &[String], rows: &[Vec<String>], columns: usize) -> Option<Vec<usize>> {
    let cells = |at: usize| {
        let cells = rows.iter().filter_map(move |row| row.get(at));
        cells.chain(head.get(at)).map(|cell| plain(cell))
    };
    let word = |cell: String| cell.split_whitespace().map(width).max().unwrap_or(0);
    let least = |at| cells(at).map(word).max().unwrap_or(0).max(COLUMN_MIN);
    let needed = |at| cells(at).map(|cell| width(&cell)).max().unwrap_or(0);
    let count = head.len();
    let mut widths: Vec<usize> = (0..count).map(least).collect();
    let mut left = columns.checked_sub(widths.iter().sum::<usize>() + 2 * (count - 1))?;
    let mut wanted: Vec<usize> = (0..count)
        .map(|at| needed(at).saturating_sub(widths[at]))
        .collect();
    // A column at a time, so that no column gets more than it needs.
    while left > 0 && wanted.iter().any(|&more| more > 0) {
        for (wide, more) in widths.iter_mut().zip(&mut wanted) {
            if *more > 0 && left > 0 {
                (*wide, *more, left) = (*wide + 1, *more - 1, left - 1);
            }
        }
    }
    Some(widths)
}

#[cfg(test)]
mod tests {
    use super::super::markdown::parse;
    use super::*;

    fn shown(text: &str, columns: usize, is_styled: bool) -> String {
        let mut layout = Layout::new(columns, is_styled);
        layout.blocks(&parse(text));
        layout.finish()
    }

    #[test]
    fn a_page_is_wrapped_and_without_marks_in_a_pipe() {
        let text = "# Files and `env`\nEverything is in `COVEN_HOME`, a directory.\n\n* one **item** of a list that is longer\n\
            ```\n$ coven  x\n```\n| a | b |\n| --- | --- |\n| `coven.sock` | the API of the daemon |\n";
        let expected = "\
FILES AND ENV
    Everything is in COVEN_HOME, a
    directory.

    * one item of a list that is
      longer

      $ coven  x

    coven.sock  the API of the daemon";
        assert_eq!(shown(text, 37, false), expected);
    }

    #[test]
    fn a_terminal_shows_headings_and_code_bold_word_by_word() {
        let shown = shown("# Log\nsee `coven log`", 80, true);
        assert_eq!(
            shown,
            "\x1b[1mLOG\x1b[m\n    see \x1b[1mcoven\x1b[m \x1b[1mlog\x1b[m"
        );
    }

    #[test]
    fn long_names_stand_above_their_texts_where_most_are_long() {
        let (long, rest) = ("a name that is longer than most", "| x | one |\n");
        let head = "| a | b |\n| --- | --- |\n";
        let few = format!("{head}{rest}| {long} | two |\n");
        let column = format!("    x  one\n    {long}\n       two");
        assert_eq!(shown(&few, 80, false), column);
        let many = format!("{few}| {long} | three |\n");
        let above = format!("    x\n      one\n    {long}\n      two\n    {long}\n      three");
        assert_eq!(shown(&many, 80, false), above);
    }

    #[test]
    fn a_table_is_columns_where_there_is_room_and_records_elsewhere() {
        let text = "| harness | install | log in |\n| --- | --- | --- |\n| `hello` | built in | |\n| `codex` | with npm install | `codex login` |";
        let wide = "    harness   install           log in\n    hello     built in\n    codex     with npm install  codex login";
        assert_eq!(shown(text, 60, false), wide);
        let narrow = "    harness   install      log in\n    hello     built in\n    codex     with npm     codex\n              install      login";
        assert_eq!(shown(text, 37, false), narrow);
        let records = "    hello\n      install: built in\n    codex\n      install: with npm install\n      log in: codex login";
        assert_eq!(shown(text, 29, false), records);
    }
}
