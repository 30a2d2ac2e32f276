//! The report: its parts in order, and how they are written, for people and for programs. Both are written from the same
//! data, and know nothing of what it means.

use serde_json::{Map, Value};

use super::shown::{Shown, ShownRecord};
use crate::api::Timestamp;
use crate::cli::output::{aligned, table, visible, visible_text};
use crate::observe::visible_json;

/// What a part says.
pub(super) enum Block {
    /// Names and values.
    Facts(Vec<(&'static str, Shown)>),
    /// Rows, a value for each column.
    Table(&'static [&'static str], Vec<Vec<Shown>>),
    /// JSON, for people too.
    Json(Shown),
    /// Lines of a log.
    Records(Vec<ShownRecord>),
    /// Lines as another verb prints them.
    Lines(Vec<Shown>),
    /// The same in two forms: JSON, and what people read.
    Both(Shown, Box<Block>),
    /// Several, each with its name.
    Group(Vec<(&'static str, Block)>),
    /// It is not there; why.
    Missing(Shown),
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
    fn json(&self) -> Value {
        let row = |columns: &[&'static str], row: &[Shown]| {
            object(columns.iter().copied().zip(row.iter().map(value)))
        };
        match self {
            Self::Facts(facts) => object(facts.iter().map(|(name, fact)| (*name, value(fact)))),
            Self::Table(columns, rows) => rows.iter().map(|cells| row(columns, cells)).collect(),
            Self::Json(json) | Self::Both(json, _) => value(json),
            Self::Lines(lines) => lines.iter().map(value).collect(),
            Self::Records(records) => records.iter().map(|one| one.record().to_json()).collect(),
            Self::Group(blocks) => object(blocks.iter().map(|(name, block)| (*name, block.json()))),
            Self::Missing(why) => object([("unavailable", value(why))]),
        }
    }

    fn markdown(&self, out: &mut String) {
        match self {
            Self::Facts(facts) => {
                let facts = facts.iter();
                let facts: Vec<_> = facts
                    .map(|(name, fact)| (words(name), plain(fact)))
                    .collect();
                fence(out, "text", &aligned(&facts).join("\n"));
            }
            Self::Table(_, rows) if rows.is_empty() => out.push_str("\nNone.\n"),
            Self::Table(columns, rows) => {
                let head = columns.iter().map(|column| words(column).to_uppercase());
                let rows = rows.iter().map(|row| row.iter().map(plain).collect());
                let rows: Vec<Vec<String>> = rows.collect();
                fence(out, "text", &table(head.collect(), &rows).join("\n"));
            }
            Self::Json(json) => {
                fence(out, "json", &visible_text(&format!("{:#}", json.json())));
            }
            Self::Records(records) if records.is_empty() => out.push_str("\nNone.\n"),
            Self::Records(records) => {
                let lines = records.iter().map(|one| one.record().to_string());
                fence(out, "text", &lines.collect::<Vec<_>>().join("\n"));
            }
            Self::Lines(lines) => {
                let lines = lines.iter().map(plain);
                fence(out, "text", &lines.collect::<Vec<_>>().join("\n"));
            }
            Self::Both(_, block) => block.markdown(out),
            Self::Group(blocks) => {
                for (name, block) in blocks {
                    out.push_str(&format!("\n### {}\n", capitalised(&words(name))));
                    block.markdown(out);
                }
            }
            Self::Missing(why) => {
                out.push_str(&format!("\nNot available: `{}`\n", code(&plain(why))))
            }
        }
    }
}

fn value(shown: &Shown) -> Value {
    shown.json().clone()
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
fn plain(shown: &Shown) -> String {
    match shown.json() {
        Value::Null => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::String(text) => visible(text),
        other => visible(&other.to_string()),
    }
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
    text.replace('`', "'")
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
