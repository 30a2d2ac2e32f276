//! Formats a log record as one line: `key=value` text, or a JSON object.
//!
//! Runs on the thread that logs. Secrets are redacted in each value before it is quoted: quotes cannot hide a secret,
//! and redaction cannot break quotes.

use std::fmt::Write as _;

use serde_json::Value;

use super::event::LogEvent;
use super::journal;
use super::record::{LogRecord, plain};
use super::visible::{Quoted, visible_json};
use crate::redact::Redactor;
use crate::settings::LogFormat;

/// First part of a line, before level and fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamp {
    /// The time.
    Time,
    /// The syslog priority; the journal adds the time itself.
    Priority,
}

impl LogFormat {
    /// Formats `record` as a line without newline.
    pub(super) fn line(self, stamp: Stamp, record: &LogRecord, redactor: &Redactor) -> String {
        let LogRecord { at, level, fields } = record;
        let priority = journal::prefix(*level);
        let mut line = match (self, stamp) {
            (Self::Text, Stamp::Time) => format!("{at} {level}"),
            (Self::Text, Stamp::Priority) => format!("{priority}{level}"),
            (Self::Json, Stamp::Time) => format!(r#"{{"ts":"{at}","level":"{level}""#),
            (Self::Json, Stamp::Priority) => format!(r#"{priority}{{"level":"{level}""#),
        };
        for (key, value) in fields {
            let value = match value {
                Value::String(text) => redactor.redact(text).into(),
                other => other.clone(),
            };
            // Writing to a String cannot fail.
            let _ = match self {
                Self::Text => write!(line, " {key}={}", Quoted(&plain(&value))),
                Self::Json => write!(line, ",{}:{}", json(&key.as_str().into()), json(&value)),
            };
        }
        if self == Self::Json {
            line.push('}');
        }
        line
    }

    /// The line that counts the lines that were dropped.
    pub(super) fn lost(self, stamp: Stamp, lines: u64, redactor: &Redactor) -> String {
        let record = LogRecord::of(&LogEvent::LogLinesLost { lines });
        self.line(stamp, &record, redactor)
    }
}

/// `value` as JSON without characters that control a terminal, as in [`Quoted`]: JSON itself permits those above U+001F.
fn json(value: &Value) -> String {
    visible_json(value.to_string())
}

#[cfg(test)]
mod tests {
    use log::{Record, kv};

    use super::*;
    use crate::observe::visible::is_invisible;

    fn line(format: LogFormat, stamp: Stamp, message: &str) -> String {
        let redactor = Redactor::load(std::path::Path::new("/nonexistent")).0;
        let fields = [
            ("event", kv::Value::from("tried")),
            ("pid", kv::Value::from(42)),
            ("clean", kv::Value::from(true)),
            ("session", kv::Value::null()),
            ("reason", kv::Value::from(message)),
        ];
        let fields = fields.as_slice();
        let mut record = Record::builder();
        record.level(log::Level::Warn).key_values(&fields);
        format.line(stamp, &LogRecord::of_log(&record.build()), &redactor)
    }

    #[test]
    fn a_line_has_time_level_and_fields_in_both_formats() {
        let text = line(LogFormat::Text, Stamp::Time, "two words");
        let (_, rest) = text.split_once(' ').unwrap();
        assert_eq!(
            rest,
            "WARN event=tried pid=42 clean=true reason=\"two words\""
        );
        let json: serde_json::Value =
            serde_json::from_str(&line(LogFormat::Json, Stamp::Time, "two words")).unwrap();
        assert_eq!(json["level"], "WARN");
        assert_eq!(json["pid"], 42);
        assert_eq!(json["clean"], true);
        assert_eq!(json["reason"], "two words");
        assert_eq!(json.get("session"), None);
    }

    #[test]
    fn for_the_journal_a_line_has_its_priority_and_no_time() {
        let text = line(LogFormat::Text, Stamp::Priority, "x");
        assert_eq!(text, "<4>WARN event=tried pid=42 clean=true reason=x");
        let json = line(LogFormat::Json, Stamp::Priority, "x");
        let expected = r#"<4>{"level":"WARN","event":"tried","pid":42,"clean":true,"reason":"x"}"#;
        assert_eq!(json, expected);
    }

    #[test]
    fn no_value_begins_a_line_or_moves_the_cursor_in_either_format() {
        let hostile = "x\n2026 INFO event=forged\u{1b}[2J\u{9b}\u{7f}\u{202e}\"}";
        for format in [LogFormat::Text, LogFormat::Json] {
            let line = line(format, Stamp::Time, hostile);
            assert!(
                !line.chars().any(|c| c.is_control() || is_invisible(c)),
                "{line}"
            );
        }
        let json: serde_json::Value =
            serde_json::from_str(&line(LogFormat::Json, Stamp::Time, hostile)).unwrap();
        assert_eq!(json["reason"], hostile);
    }
}
