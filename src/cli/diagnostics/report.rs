//! The report: its parts in order, written for people and for programs from the same values. It does not know their
//! meaning.

use serde_json::{Map, Value};

use super::shown::Shown;
use crate::api::Timestamp;
use crate::cli::output::visible;
use crate::cli::table::{aligned, table};
use crate::observe::{LogRecord, visible_json};

/// Columns that come first, in this order.
const COLUMNS: &[&str] = &[
    "what", "time", "seq", "id", "name", "kind", "status", "verb", "level", "event",
];

pub(super) struct Bundle {
    pub made_at: Timestamp,
    /// Key for programs, title for people, and value of each part.
    pub parts: Vec<(&'static str, &'static str, Shown)>,
}

impl Bundle {
    /// The report as JSON, with the parts in order.
    pub(super) fn json(&self) -> String {
        let mut out = format!("{{\n  \"madeAt\": \"{}\"", self.made_at);
        for (key, _, shown) in &self.parts {
            // JSON strings contain no literal newline.
            let value = format!("{:#}", shown.json()).replace('\n', "\n  ");
            out.push_str(&format!(",\n  \"{key}\": {value}"));
        }
        visible_json(out + "\n}\n")
    }

    /// The report as Markdown, in which no value is markup.
    pub(super) fn markdown(&self) -> String {
        let mut out = format!(
            "# coven diagnostics\n\nMade at {}. Prompts, titles, session output and environment values are not in it; secrets, \
             names and private\npaths have been taken out, as the list at its end says. Please read it all the same before you \
             share it.\n",
            self.made_at
        );
        for (_, title, shown) in &self.parts {
            out.push_str(&format!("\n## {title}\n"));
            write(&mut out, "", shown.json());
        }
        out
    }
}

/// Writes the value `name` of a part: names with values, rows, or several of these.
fn write(out: &mut String, name: &str, value: &Value) {
    let lines = match value {
        Value::Object(object) if object.contains_key("unavailable") => {
            let why = plain(&object["unavailable"]);
            return out.push_str(&format!("\nNot available: `{why}`\n"));
        }
        Value::Array(rows) => lines(rows),
        Value::Object(object) => {
            let facts = object.iter().filter(|(_, value)| !is_several(value));
            let facts = facts.map(|(name, value)| (words(name), plain(value)));
            aligned(&facts.collect::<Vec<_>>(), usize::MAX)
        }
        _ => vec![plain(value)],
    };
    if !lines.is_empty() {
        let lines = lines.join("\n").replace('`', "'");
        out.push_str(&format!("\n```text\n{lines}\n```\n"));
    }
    let parts = value.as_object().into_iter().flatten();
    for (key, value) in parts.filter(|(_, value)| is_several(value)) {
        let name = format!("{name} {}", words(key));
        out.push_str(&format!("\n###{name}\n"));
        write(out, &name, value);
    }
}

fn is_several(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

/// Log records become lines, other rows a table.
fn lines(rows: &[Value]) -> Vec<String> {
    let Some(Value::Object(first)) = rows.first() else {
        return vec!["none".into()];
    };
    if first.contains_key("ts") {
        let records = rows
            .iter()
            .filter_map(|row| LogRecord::parse(&row.to_string()));
        return records.map(|record| visible(&record.to_string())).collect();
    }
    let mut columns: Vec<&String> = first.keys().collect();
    let place = |name: &&String| COLUMNS.iter().position(|first| first == name);
    columns.sort_by_key(|name| place(name).unwrap_or(COLUMNS.len()));
    let cells = |row: &Map<String, Value>| columns.iter().map(|name| plain(&row[*name])).collect();
    let head = columns.iter().map(|name| words(name).to_uppercase());
    let rows = rows.iter().filter_map(Value::as_object).map(cells);
    table(head.collect(), &rows.collect::<Vec<_>>(), usize::MAX)
}

/// A value as plain text that cannot end a code block.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::String(text) => visible(text).replace('`', "'"),
        other => visible(&other.to_string()),
    }
}

/// Splits `camelCase` into words.
fn words(name: &str) -> String {
    let word = |c: char| match c.is_ascii_uppercase() {
        true => format!(" {}", c.to_ascii_lowercase()),
        false => c.into(),
    };
    name.chars().map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::super::shown::object;
    use super::*;

    #[test]
    fn both_forms_have_every_value_and_nothing_ends_its_block_or_moves_a_cursor() {
        let said = "a\n```\n# b\u{1b}c\u{7f}d\u{9b}e\u{202e}";
        let rows: Shown = [object! { "count": 7, "name": "x" }].into_iter().collect();
        let report = Bundle {
            made_at: Timestamp::from_millis(0),
            parts: vec![
                (
                    "one",
                    "One",
                    object! { "oneName": said, "isOk": true, "someRows": rows },
                ),
                ("two", "Two", object! { "unavailable": "a `b`\n# c" }),
            ],
        };
        let (json, text) = (report.json(), report.markdown());
        for text in [&json, &text] {
            let is_bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!text.contains(is_bad), "{text:?}");
        }
        for part in [
            "\n```text\nis ok     yes\none name  a\\n'''\\n# b",
            "\n### some rows\n\n```text\nNAME  COUNT\nx     7\n```\n",
            "\nNot available: `a 'b'\\n# c`\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["one"]["oneName"], said);
        assert_eq!(json["one"]["someRows"][0]["count"], 7);
    }
}
