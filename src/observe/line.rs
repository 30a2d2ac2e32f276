//! Formats a log record as one line: `key=value` text, or a JSON object.
//!
//! Runs on the thread that logs. Secrets are redacted in each value before it is quoted: quotes cannot hide a secret,
//! and redaction cannot break quotes.

use std::fmt::{Display, Write as _};

use log::Record;
use log::kv::{self, Key, Value, VisitSource, VisitValue};

use super::event::LogEvent;
use super::journal;
use super::visible::{Quoted, visible_json};
use crate::api::Timestamp;
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
    pub(super) fn line(self, stamp: Stamp, record: &Record<'_>, redactor: &Redactor) -> String {
        let mut line = Line::begin(self, stamp, record.level(), redactor);
        // Neither the source nor the String can fail.
        let _ = record.key_values().visit(&mut line);
        let text = record.args().to_string();
        if !text.is_empty() {
            line.text("msg", &text);
        }
        line.end()
    }

    /// The line that counts the lines that were dropped.
    pub(super) fn lost(self, stamp: Stamp, lines: u64, redactor: &Redactor) -> String {
        let event = LogEvent::LogLinesLost { lines };
        let mut record = Record::builder();
        record.level(event.level()).key_values(&event);
        self.line(stamp, &record.build(), redactor)
    }
}

/// A line under construction.
struct Line<'a> {
    format: LogFormat,
    redactor: &'a Redactor,
    line: String,
}

impl<'a> Line<'a> {
    fn begin(format: LogFormat, stamp: Stamp, level: log::Level, redactor: &'a Redactor) -> Self {
        let (now, priority) = (Timestamp::now(), journal::prefix(level));
        let line = match (format, stamp) {
            (LogFormat::Text, Stamp::Time) => format!("{now} {level}"),
            (LogFormat::Text, Stamp::Priority) => format!("{priority}{level}"),
            (LogFormat::Json, Stamp::Time) => format!(r#"{{"ts":"{now}","level":"{level}""#),
            (LogFormat::Json, Stamp::Priority) => format!(r#"{priority}{{"level":"{level}""#),
        };
        Self {
            format,
            redactor,
            line,
        }
    }

    fn end(mut self) -> String {
        if self.format == LogFormat::Json {
            self.line.push('}');
        }
        self.line
    }

    fn text(&mut self, key: &str, value: &str) {
        let value = self.redactor.redact(value);
        match self.format {
            LogFormat::Text => self.bare(key, Quoted(&value)),
            LogFormat::Json => self.bare(key, json_string(&value)),
        }
    }

    /// Adds a value that both formats write without quotes.
    fn bare(&mut self, key: &str, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = match self.format {
            LogFormat::Text => write!(self.line, " {key}={value}"),
            LogFormat::Json => write!(self.line, ",{}:{value}", json_string(key)),
        };
    }
}

impl<'kvs> VisitSource<'kvs> for Line<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        value.visit(Field {
            line: self,
            key: key.as_str(),
        })
    }
}

/// Adds one value to the line, by its type.
struct Field<'l, 'a, 'k> {
    line: &'l mut Line<'a>,
    key: &'k str,
}

impl<'v> VisitValue<'v> for Field<'_, '_, '_> {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), kv::Error> {
        self.line.text(self.key, &value.to_string());
        Ok(())
    }

    /// An absent value has no field.
    fn visit_null(&mut self) -> Result<(), kv::Error> {
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.line.bare(self.key, value);
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.line.bare(self.key, value);
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.line.bare(self.key, value);
        Ok(())
    }
}

/// `text` as a JSON string without characters that control a terminal, as in [`Quoted`]: JSON itself permits those
/// above U+001F.
fn json_string(text: &str) -> String {
    visible_json(serde_json::Value::from(text).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::visible::is_invisible;

    fn line(format: LogFormat, stamp: Stamp, message: &str) -> String {
        let redactor = Redactor::load(std::path::Path::new("/nonexistent")).0;
        let fields = [
            ("event", Value::from("tried")),
            ("pid", Value::from(42)),
            ("clean", Value::from(true)),
            ("session", Value::null()),
            ("reason", Value::from(message)),
        ];
        let fields = fields.as_slice();
        let mut record = Record::builder();
        record.level(log::Level::Warn).key_values(&fields);
        format.line(stamp, &record.build(), &redactor)
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
