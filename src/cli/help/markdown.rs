//! Reads the pages: the part of Markdown that they use. Headings, paragraphs, lists, tables, and code between fences.
//!
//! Pure. Text within a block is kept as it is written: [`spans`] finds its code and its bold words.

/// A block of a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// A heading, with its level.
    Heading(usize, String),
    Paragraph(String),
    /// The items of a list.
    List(Vec<String>),
    /// The head and the rows of a table.
    Table(Vec<String>, Vec<Vec<String>>),
    /// Lines that are shown as they are.
    Code(Vec<String>),
}

/// Style of a part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Bold,
    Code,
}

/// The blocks of `text`.
pub(super) fn parse(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    // True after an empty line: the next line starts a new block.
    let mut begins = true;
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let code = lines.by_ref().take_while(|line| *line != "```");
            blocks.push(Block::Code(code.map(str::to_owned).collect()));
        } else if let Some((level, title)) = heading(line) {
            blocks.push(Block::Heading(level, title.to_owned()));
        } else if let Some(item) = line.strip_prefix("* ") {
            match blocks.last_mut() {
                Some(Block::List(items)) => items.push(item.to_owned()),
                _ => blocks.push(Block::List(vec![item.to_owned()])),
            }
        } else if let Some(row) = line.strip_prefix("| ") {
            match blocks.last_mut() {
                Some(Block::Table(_, rows)) if !begins => rows.extend(cells(row)),
                _ => blocks.push(Block::Table(cells(row).unwrap_or_default(), Vec::new())),
            }
        } else if !line.is_empty() {
            match blocks.last_mut() {
                Some(Block::Paragraph(text)) if !begins => *text += &format!(" {line}"),
                Some(Block::List(items)) if !begins => {
                    if let Some(item) = items.last_mut() {
                        *item += &format!(" {}", line.trim_start());
                    }
                }
                _ => blocks.push(Block::Paragraph(line.to_owned())),
            }
        }
        begins = line.is_empty();
    }
    blocks
}

fn heading(line: &str) -> Option<(usize, &str)> {
    let title = line.trim_start_matches('#');
    let level = line.len() - title.len();
    Some((level, title.strip_prefix(' ')?)).filter(|_| level > 0)
}

/// The cells of a row; `None` for the line between the head and the rows. `\|` is no end of a cell.
fn cells(row: &str) -> Option<Vec<String>> {
    let row = row.trim_end().trim_end_matches('|').replace("\\|", "\0");
    let cells = row.split('|').map(|cell| cell.trim().replace('\0', "|"));
    let cells: Vec<String> = cells.collect();
    (!cells.iter().all(|cell| cell == "---")).then_some(cells)
}

/// The parts of `text` with their styles, without their marks.
fn spans(text: &str) -> Vec<(Style, &str)> {
    let mut spans = Vec::new();
    for (at, part) in text.split('`').enumerate() {
        if at % 2 == 1 {
            spans.push((Style::Code, part));
            continue;
        }
        let styles = [Style::Plain, Style::Bold].into_iter().cycle();
        spans.extend(styles.zip(part.split("**")));
    }
    spans.retain(|(_, part)| !part.is_empty());
    spans
}

/// `text` with its plain parts and each of its bold words and words of code written as these say.
pub(super) fn styled(
    text: &str,
    plain: impl Fn(&str) -> String,
    word: impl Fn(&str) -> String,
) -> String {
    let words = |part: &str| {
        let words = part.split(' ').map(|text| match text {
            "" => String::new(),
            text => word(text),
        });
        words.collect::<Vec<_>>().join(" ")
    };
    let parts = spans(text).into_iter().map(|(style, part)| match style {
        Style::Plain => plain(part),
        Style::Bold | Style::Code => words(part),
    });
    parts.collect()
}

/// `text` without the marks of its styles.
pub(super) fn plain(text: &str) -> String {
    spans(text).into_iter().map(|(_, part)| part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_block_by_block() {
        let text = "Runs\nagents.\n\n## Files\n* one\n  more\n* two\n\n| a | b |\n| --- | --- |\n| `x \\| y` | z |\n\n\
            ```console\n$ coven\n\n# no heading\n```\nEnd";
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let expected = vec![
            Block::Paragraph("Runs agents.".into()),
            Block::Heading(2, "Files".into()),
            Block::List(owned(&["one more", "two"])),
            Block::Table(owned(&["a", "b"]), vec![owned(&["`x | y`", "z"])]),
            Block::Code(owned(&["$ coven", "", "# no heading"])),
            Block::Paragraph("End".into()),
        ];
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn code_and_bold_words_are_told_apart() {
        let expected = [
            (Style::Plain, "see "),
            (Style::Code, "a ** b"),
            (Style::Plain, ", "),
            (Style::Bold, "now"),
        ];
        assert_eq!(spans("see `a ** b`, **now**"), expected);
        assert_eq!(plain("see `a`, **now**"), "see a, now");
    }
}
