//! The report: its parts in order, and how they are written, for people and for programs. Both are written from the same
//! data, and know nothing of what it means.

use serde::Serialize;
use serde_json::{Map, Value};

use super::anonymise::Anonymiser;
use crate::api::Timestamp;
use crate::cli::output::{visible, visible_text};
use crate::observe::{LogRecord, visible_json};

/// What a part says.
pub(super) enum Block {
    /// Names and values.
    Facts(Vec<(&'static str, Value)>),
    /// Rows, a value for each column.
    Table(&'static [&'static str], Vec<Vec<Value>>),
    /// JSON, for people too.
    Json(Value),
    /// Lines of a log.
    Records(Vec<LogRecord>),
    /// JSON, and the lines that another verb prints of the same.
    Printed(Value, Vec<String>),
    /// Several, each with its name.
    Group(Vec<(&'static str, Block)>),
    /// It is not there; why.
    Missing(String),
}

/// A part of the report.
pub(super) struct Part {
    /// What programs call it.
    pub key: &'static str,
    /// What people do.
    pub title: &'static str,
    pub block: Block,
}

/// All of it.
pub(super) struct Report {
    pub made_at: Timestamp,
    pub parts: Vec<Part>,
}

impl Report {
    /// Anonymises every text in it, whatever was done to it before.
    pub(super) fn anonymise(&mut self, anonymiser: &Anonymiser) {
        for part in &mut self.parts {
            part.block
                .each_text(&mut |text| *text = anonymiser.any(text));
        }
    }

    /// For programs: JSON, the parts in their order.
    pub(super) fn json(&self) -> String {
        let mut out = format!("{{\n  \"madeAt\": \"{}\"", self.made_at);
        for part in &self.parts {
            // No text of JSON's holds a newline as it is.
            let value = format!("{:#}", part.block.json()).replace('\n', "\n  ");
            out.push_str(&format!(",\n  \"{}\": {value}", part.key));
        }
        visible_json(out + "\n}\n")
    }

    /// For people: Markdown, in which nothing of what it shows is markup.
    pub(super) fn markdown(&self) -> String {
        let mut out = format!(
            "# coven diagnostics\n\nMade at {}. Prompts, titles, session output and environment values are not in it; secrets, \
             names and private\npaths have been taken out, as the list at its end says. Please read it all the same before you \
             share it.\n",
            self.made_at
        );
        for part in &self.parts {
            out.push_str(&format!("\n## {}\n", part.title));
            part.block.markdown(&mut out);
        }
        out
    }
}

impl Block {
    pub(super) fn json(&self) -> Value {
        match self {
            Self::Facts(facts) => object(facts.iter().map(|(name, value)| (*name, value.clone()))),
            Self::Table(columns, rows) => {
                let row =
                    |row: &Vec<Value>| object(columns.iter().copied().zip(row.iter().cloned()));
                Value::Array(rows.iter().map(row).collect())
            }
            Self::Json(value) | Self::Printed(value, _) => value.clone(),
            Self::Records(records) => records.iter().map(LogRecord::to_json).collect(),
            Self::Group(blocks) => object(blocks.iter().map(|(name, block)| (*name, block.json()))),
            Self::Missing(why) => object([("unavailable", Value::from(why.as_str()))]),
        }
    }

    fn markdown(&self, out: &mut String) {
        match self {
            Self::Facts(facts) => {
                let facts: Vec<(String, String)> = facts
                    .iter()
                    .map(|(name, value)| (words(name), plain(value)))
                    .collect();
                fence(out, "text", &aligned(&facts).join("\n"));
            }
            Self::Table(_, rows) if rows.is_empty() => out.push_str("\nNone.\n"),
            Self::Table(columns, rows) => fence(out, "text", &table(columns, rows)),
            Self::Json(value) => {
                fence(out, "json", &visible_text(&format!("{value:#}")));
            }
            Self::Records(records) if records.is_empty() => out.push_str("\nNone.\n"),
            Self::Records(records) => {
                let lines: Vec<String> = records.iter().map(LogRecord::to_string).collect();
                fence(out, "text", &lines.join("\n"));
            }
            Self::Printed(_, lines) => {
                let lines: Vec<String> = lines.iter().map(|line| visible(line)).collect();
                fence(out, "text", &lines.join("\n"));
            }
            Self::Group(blocks) => {
                for (name, block) in blocks {
                    out.push_str(&format!("\n### {}\n", capitalised(&words(name))));
                    block.markdown(out);
                }
            }
            Self::Missing(why) => out.push_str(&format!("\nNot available: `{}`\n", code(why))),
        }
    }

    fn each_text(&mut self, change: &mut dyn FnMut(&mut String)) {
        match self {
            Self::Facts(facts) => facts
                .iter_mut()
                .for_each(|(_, value)| texts_in(value, change)),
            Self::Table(_, rows) => {
                let cells = rows.iter_mut().flatten();
                cells.for_each(|value| texts_in(value, change));
            }
            Self::Json(value) => texts_in(value, change),
            Self::Records(records) => {
                let fields = records.iter_mut().flat_map(|record| &mut record.fields);
                fields.for_each(|(_, value)| texts_in(value, change));
            }
            Self::Printed(value, lines) => {
                texts_in(value, change);
                lines.iter_mut().for_each(change);
            }
            Self::Group(blocks) => blocks
                .iter_mut()
                .for_each(|(_, block)| block.each_text(change)),
            Self::Missing(why) => change(why),
        }
    }
}

/// What is written elsewhere, as JSON.
pub(super) fn as_json(value: &impl Serialize) -> Value {
    // By way of its text: what writes that is there anyway, and a second serializer would be code for all it holds.
    let text = serde_json::to_vec(value).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Gives every text in `value` to `change`; the names in objects are ours.
pub(super) fn texts_in(value: &mut Value, change: &mut dyn FnMut(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(values) => values.iter_mut().for_each(|value| texts_in(value, change)),
        Value::Object(object) => object
            .values_mut()
            .for_each(|value| texts_in(value, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn object<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let entries = entries.into_iter();
    Value::Object(
        entries
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<Map<_, _>>(),
    )
}

/// A value as a word or two.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::String(text) => visible(text),
        other => visible(&other.to_string()),
    }
}

fn table(columns: &[&str], rows: &[Vec<Value>]) -> String {
    let head = columns.iter().map(|column| words(column).to_uppercase());
    let rows = rows.iter().map(|row| row.iter().map(plain).collect());
    let rows: Vec<Vec<String>> = std::iter::once(head.collect()).chain(rows).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| {
            rows.iter()
                .map(|row| row[at].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Names and values, a line each.
pub(super) fn aligned(facts: &[(String, String)]) -> Vec<String> {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = facts
        .iter()
        .map(|(name, value)| format!("{name:width$}  {value}"));
    lines.collect()
}

/// `text` as a block of code, between more backticks than it has in a row.
fn fence(out: &mut String, language: &str, text: &str) {
    let mut longest = 0;
    let mut row = 0;
    for c in text.chars() {
        row = if c == '`' { row + 1 } else { 0 };
        longest = longest.max(row);
    }
    let fence = "`".repeat(3.max(longest + 1));
    out.push_str(&format!("\n{fence}{language}\n{text}\n{fence}\n"));
}

/// `text` as it can stand between two backticks.
fn code(text: &str) -> String {
    visible(text).replace('`', "'")
}

/// `camelCase` as people write it.
fn words(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() && !name.starts_with("COVEN") {
            out.push(' ');
            out.push(c.to_ascii_lowercase());
        } else {
            out.push(c);
        }
    }
    out
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_ends_its_block() {
        let mut out = String::new();
        Block::Facts(vec![("oneName", "a\n```\n# b".into())]).markdown(&mut out);
        assert_eq!(out, "\n````text\none name  a\\n```\\n# b\n````\n");
        let mut out = String::new();
        Block::Missing("a `b`\n# c".into()).markdown(&mut out);
        assert_eq!(out, "\nNot available: `a 'b'\\n# c`\n");
    }

    #[test]
    fn no_form_holds_what_moves_a_cursor() {
        let said = "a\u{1b}b\u{7f}c\u{9b}d\u{202e}";
        let report = Report {
            made_at: Timestamp::from_millis(0),
            parts: vec![Part {
                key: "one",
                title: "One",
                block: Block::Facts(vec![("oneName", said.into())]),
            }],
        };
        let json = report.json();
        for text in [&json, &report.markdown()] {
            let is_bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!text.contains(is_bad), "{text:?}");
        }
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["one"]["oneName"], said);
    }

    #[test]
    fn both_forms_have_every_value() {
        let block = Block::Group(vec![
            (
                "one",
                Block::Table(&["name", "count"], vec![vec!["x".into(), 7.into()]]),
            ),
            ("two", Block::Facts(vec![("isOk", true.into())])),
            ("three", Block::Missing("why".into())),
        ]);
        let mut out = String::new();
        block.markdown(&mut out);
        assert_eq!(
            out,
            "\n### One\n\n```text\nNAME  COUNT\nx     7\n```\n\n### Two\n\n```text\nis ok  yes\n```\n\
             \n### Three\n\nNot available: `why`\n"
        );
        let json = serde_json::json!({
            "one": [{ "name": "x", "count": 7 }], "two": { "isOk": true }, "three": { "unavailable": "why" },
        });
        assert_eq!(block.json(), json);
    }
}
