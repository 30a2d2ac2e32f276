//! Writes a page in mdoc(7), for man(1).
//!
//! Pure. The form of the text follows `mandoc -T lint`: a sentence a line, and no long lines.

use super::markdown::{Block, plain, styled};
use crate::api::BUILD;

/// Width in bytes of text lines: `mandoc -T lint` requires less than 80.
const WIDTH: usize = 76;

/// Longest name that is not hyphenated.
const NAME_MAX: usize = 40;

const MONTHS: &str =
    "January February March April May June July August September October November December";

/// The manual page `name` of `section`, with `blocks` below its name.
pub(super) fn page(name: &str, section: u8, about: &str, blocks: &[Block]) -> String {
    let title = name.to_uppercase();
    let mut out = format!(
        ".Dd {}\n.Dt {title} {section}\n.Os\n.Sh NAME\n.Nm {name}\n.Nd {about}\n",
        day(BUILD.date)
    );
    // A compact list has no space above it. mandoc refuses a paragraph directly below a heading.
    let mut is_below_heading = false;
    for block in blocks {
        let has_space = matches!(block, Block::Heading(..) | Block::Code(_));
        if !has_space && !is_below_heading {
            out += ".Pp\n";
        }
        out += &written(block);
        is_below_heading = matches!(block, Block::Heading(..));
    }
    out
}

/// The day of the build, as `May 9, 2026`; a build that does not know it has none.
fn day(date: &str) -> String {
    let mut parts = date.splitn(3, '-').map(|part| part.parse::<usize>().ok());
    let [year, month, day] = std::array::from_fn(|_| parts.next().flatten());
    let month = month.and_then(|month| MONTHS.split(' ').nth(month.checked_sub(1)?));
    match (year, month, day) {
        (Some(year), Some(month), Some(day)) => format!("{month} {day}, {year}"),
        _ => "$Mdocdate$".into(),
    }
}

fn written(block: &Block) -> String {
    match block {
        Block::Heading(1, title) => format!(".Sh {}\n", word(&plain(title).to_uppercase())),
        // Punctuation at the end would be a delimiter of the macro (mdoc(7)).
        Block::Heading(_, title) => format!(".Ss {}\\&\n", head(title)),
        Block::Paragraph(paragraph) => text(paragraph),
        Block::List(items) => {
            let items: String = items
                .iter()
                .map(|item| format!(".It\n{}", text(item)))
                .collect();
            format!(".Bl -bullet -compact\n{items}.El\n")
        }
        Block::Code(lines) => {
            let lines: String = lines.iter().map(|line| word(line) + "\n").collect();
            format!(".Bd -literal -offset 2n\n{lines}.Ed\n")
        }
        Block::Table(names, rows) => {
            let rows: String = rows.iter().map(|row| entry(names, row)).collect();
            format!(".Bl -tag -width 4n -compact\n{rows}.El\n")
        }
    }
}

/// Entry of a table: its first cell, and the other ones below it, with their heads if there are several.
fn entry(names: &[String], row: &[String]) -> String {
    let mut cells = names.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
    let Some((_, first)) = cells.next() else {
        return String::new();
    };
    let has_heads = names.len() > 2;
    let mut out = format!(".It {}\n", head(first));
    for (name, cell) in cells {
        let name = if has_heads {
            format!("{name}: ")
        } else {
            String::new()
        };
        out += &text(&format!("{name}{cell}"));
        if has_heads {
            out += ".br\n";
        }
    }
    out.trim_end_matches(".br\n").to_owned()
}

/// `text` as the argument of a macro, which would take a word such as `No` for a macro.
fn head(text: &str) -> String {
    let words = with_fonts(text);
    let words = words.split_whitespace().map(|word| {
        let is_name = word.len() == 2 && word.chars().all(|c| c.is_ascii_alphabetic());
        let is_delimiter = word.len() == 1 && word.chars().all(|c| c.is_ascii_punctuation());
        if is_name || is_delimiter {
            format!("\\&{word}")
        } else {
            word.replace('"', "\\(dq")
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Puts each sentence of `text` on lines of its own, as roff requires.
fn text(text: &str) -> String {
    let (mut out, mut line) = (String::new(), String::new());
    for word in with_fonts(text).split_whitespace() {
        let ends = line.trim_end_matches([')', '"']).ends_with(['.', '?', '!']);
        if !line.is_empty() && (ends || line.len() + word.len() > WIDTH) {
            out += &format!("{line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        } else if word.starts_with(['.', '\'']) {
            // Otherwise roff takes the line as a request.
            line += "\\&";
        }
        line += word;
    }
    out + &line + "\n"
}

/// `text` with fonts: each word has its own, since a line of roff may end behind any.
fn with_fonts(text: &str) -> String {
    styled(text, escaped, |word| match word.len() > NAME_MAX {
        true => format!("\\fB{}\\fR", escaped(word)),
        // A name is not hyphenated, unless it could be longer than a line.
        false => format!("\\fB\\%{}\\fR", escaped(word)),
    })
}

/// A literal line, or a title.
fn word(line: &str) -> String {
    let line = escaped(line);
    if line.starts_with(['.', '\'']) {
        format!("\\&{line}")
    } else {
        line
    }
}

/// `text` without what roff reads as its own. A plain `-` would be a hyphen, which no shell takes for an option. The C
/// locale has no ellipsis: troff would warn, and leave it out.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('…', "...")
}
