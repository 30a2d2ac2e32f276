//! A log record as time, level and fields: made of an event, or parsed from a line of either format.
//!
//! Lines are parsed in the CLI's process. The files may be truncated or of another version: an invalid line is `None`.

use std::fmt::{self, Write as _};

use log::kv::{self, Key, Source, VisitSource, VisitValue};
use log::{Level, Record};
use serde_json::{Map, Value};

use super::event::LogEvent;
use super::visible::Quoted;
use crate::api::{self, Fault, Timestamp};

/// A parsed log line.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRecord {
    pub at: Timestamp,
    pub level: Level,
    /// The fields, in the line's order for the text format.
    pub fields: Vec<(String, Value)>,
}

impl LogRecord {
    /// The record of `event` at this moment.
    pub(super) fn of(event: &LogEvent<'_>) -> Self {
        Self::now(event.level(), event)
    }

    /// The record of a call of the log crate, at this moment.
    pub(super) fn of_log(record: &Record<'_>) -> Self {
        let mut this = Self::now(record.level(), record.key_values());
        let text = record.args().to_string();
        if !text.is_empty() {
            this.fields.push(("msg".into(), text.into()));
        }
        this
    }

    fn now(level: Level, source: &dyn Source) -> Self {
        let at = Timestamp::now();
        let mut fields = Fields(Vec::new());
        // Neither the source nor the Vec can fail.
        let _ = source.visit(&mut fields);
        let fields = fields.0;
        Self { at, level, fields }
    }

    /// Parses a line without its newline.
    pub fn parse(line: &str) -> Option<Self> {
        if line.starts_with('{') {
            Self::from_json(line)
        } else {
            Self::from_text(line)
        }
    }

    /// Parses a line whose time and level come from elsewhere, such as the journal. Text of any other form becomes
    /// `msg`.
    pub(super) fn of_entry(at: Timestamp, level: Level, line: &str) -> Self {
        let stamped = match line.strip_prefix('{') {
            Some(rest) => format!(r#"{{"ts":"{at}",{rest}"#),
            None => format!("{at} {line}"),
        };
        let parsed = Self::parse(line).or_else(|| Self::parse(&stamped));
        parsed.unwrap_or_else(|| Self {
            at,
            level,
            fields: vec![("msg".into(), line.into())],
        })
    }

    /// A field's value as text; empty if the field is absent.
    pub fn text(&self, name: &str) -> String {
        match self.fields.iter().find(|(key, _)| key == name) {
            None => String::new(),
            Some((_, value)) => plain(value),
        }
    }

    /// The code of the failure that the record tells of.
    pub fn fault(&self) -> Option<Fault> {
        let mut codes = self.fields.iter();
        let code = codes.find_map(|(name, value)| Fault::of_field(name, value.as_i64()?));
        code.or_else(|| Fault::in_older(&self.text("reason")))
    }

    /// The record in the JSON format.
    pub fn to_json(&self) -> Value {
        let ends = [
            ("ts".to_owned(), Value::from(self.at.to_string())),
            ("level".to_owned(), Value::from(self.level.as_str())),
        ];
        api::object(self.fields.iter().cloned().chain(ends))
    }

    fn from_json(line: &str) -> Option<Self> {
        let mut object: Map<String, Value> = api::from_json(line).ok()?;
        let at = object.remove("ts")?.as_str()?.parse().ok()?;
        let level = object.remove("level")?.as_str()?.parse().ok()?;
        let mut fields: Vec<(String, Value)> = object.into_iter().collect();
        // `event` first, for people.
        fields.sort_by_key(|(key, _)| key != "event");
        Some(Self { at, level, fields })
    }

    fn from_text(line: &str) -> Option<Self> {
        let (at, rest) = line.split_once(' ')?;
        let (level, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let (at, level) = (at.parse().ok()?, level.parse().ok()?);
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let (key, value) = rest.split_once('=')?;
            let (value, after) = match value.strip_prefix('"') {
                Some(quoted) => unquote(quoted).map(|(text, after)| (Value::from(text), after))?,
                None => bare(value),
            };
            fields.push((key.to_owned(), value));
            rest = match after {
                "" => "",
                after => after.strip_prefix(' ')?,
            };
        }
        Some(Self { at, level, fields })
    }
}

struct Fields(Vec<(String, Value)>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        value.visit(Field {
            fields: &mut self.0,
            key: key.as_str(),
        })
    }
}

/// Adds one value to the fields, by its type.
struct Field<'a> {
    fields: &'a mut Vec<(String, Value)>,
    key: &'a str,
}

impl Field<'_> {
    fn add(&mut self, value: impl Into<Value>) -> Result<(), kv::Error> {
        self.fields.push((self.key.to_owned(), value.into()));
        Ok(())
    }
}

impl<'v> VisitValue<'v> for Field<'_> {
    fn visit_any(&mut self, value: kv::Value<'_>) -> Result<(), kv::Error> {
        self.add(value.to_string())
    }

    /// An absent value has no field.
    fn visit_null(&mut self) -> Result<(), kv::Error> {
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.add(value)
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.add(value)
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.add(value)
    }
}

impl fmt::Display for LogRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at, self.level)?;
        for (key, value) in &self.fields {
            write!(f, " {key}={}", Quoted(&plain(value)))?;
        }
        Ok(())
    }
}

/// A value as the text format writes it, before it is quoted.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Splits a word without quotes from the rest. The text format does not mark types: whole numbers are read as numbers.
fn bare(text: &str) -> (Value, &str) {
    let (word, rest) = text.split_at(text.find(' ').unwrap_or(text.len()));
    let value = match word {
        "true" => Value::from(true),
        "false" => Value::from(false),
        // `+1` and `007` also parse as numbers.
        word => match word.parse::<i64>() {
            Ok(number) if number.to_string() == word => Value::from(number),
            _ => Value::from(word),
        },
    };
    (value, rest)
}

/// Parses a value written by [`Quoted`], starting after the opening quote; returns it and the rest.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut rest = text.chars();
    loop {
        match rest.next()? {
            '"' => return Some((out, rest.as_str())),
            '\\' => out.push(match rest.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => {
                    let (digits, after) = rest.as_str().strip_prefix('{')?.split_once('}')?;
                    rest = after.chars();
                    char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
                }
                same => same,
            }),
            c => out.write_char(c).ok()?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Random, rounds};

    #[test]
    fn both_formats_say_the_same() {
        let text = "2026-05-09T06:43:00.007Z ERROR event=x clean=true pid=7 reason=\"a b\"";
        let json = r#"{"ts":"2026-05-09T06:43:00.007Z","level":"ERROR","clean":true,"event":"x","pid":7,"reason":"a b"}"#;
        let (text, json) = (LogRecord::parse(text), LogRecord::parse(json));
        assert_eq!(text, json);
        assert_eq!(text.map(|r| r.to_json()["pid"].clone()), Some(7.into()));
    }

    #[test]
    fn a_line_that_is_no_record_is_none() {
        for line in [
            "",
            "{",
            "{}",
            "thread 'main' panicked",
            "2026-05-09T06:43:00.007Z",
            "2026-05-09T06:43:00.007Z LOUD event=x",
            "2026-05-09T06:43:00.007Z INFO event",
            "2026-05-09T06:43:00.007Z INFO event=\"cut of",
            "2026-05-09T06:43:00.007Z INFO event=\"\\u{d800}\"",
            "2026-05-09T06:43:00.007Z INFO event=\"x\"y=z",
        ] {
            assert_eq!(LogRecord::parse(line), None, "{line}");
        }
    }

    #[test]
    fn only_what_prints_back_the_same_is_a_number() {
        for (word, is_number) in [
            ("7", true),
            ("-7", true),
            ("+7", false),
            ("007", false),
            ("1a-2", false),
        ] {
            let (value, _) = bare(word);
            assert_eq!(value.is_number(), is_number, "{word}");
        }
    }

    #[test]
    fn every_field_value_reads_back_and_stays_on_its_line() {
        let hostile = "x\n2026 INFO event=forged \"q\" \\ \u{1b}[2J\u{9b}\u{202e}\u{2028}\t\r'é🦀";
        let known = ["", "plain", "two words", "a=b", "\\n", "\"", hostile].map(str::to_owned);
        let mut random = Random::new(1);
        let mut any = || {
            let length = random.below(20);
            random.text(length)
        };
        let others = (0..rounds(5000)).map(|round| (0..round % 5).map(|_| any()).collect());
        for texts in std::iter::once(known.to_vec()).chain(others) {
            let mut line = "2026-05-09T06:43:00.007Z WARN event=x".to_owned();
            for (number, text) in texts.iter().enumerate() {
                line.push_str(&format!(" f{number}={}", Quoted(text)));
            }
            assert!(!line.contains(char::is_control), "{line:?}");
            let record = LogRecord::parse(&line).unwrap_or_else(|| panic!("{line:?}"));
            for (number, text) in texts.iter().enumerate() {
                assert_eq!(&record.text(&format!("f{number}")), text);
            }
            assert_eq!(record.to_string(), line);
            let json = LogRecord::parse(&record.to_json().to_string()).unwrap();
            for name in ["event", "f0", "f1", "f2", "f3", "f4"] {
                assert_eq!(json.text(name), record.text(name));
            }
        }
    }

    #[test]
    fn any_line_is_a_record_that_prints_as_one_or_none() {
        let mut random = Random::new(2);
        let lines = [
            "2026-05-09T06:43:00.007Z WARN event=x a=\"b \\n \\u{1b}\" n=-7 t=true",
            r#"{"ts":"2026-05-09T06:43:00.007Z","level":"ERROR","event":"x","n":1.5,"o":{"a":[1]}}"#,
            "9999-12-30T22:00:00.999999999Z INFO event=x",
            "-009999-01-02T01:59:59Z INFO event=x",
        ];
        for round in 0..rounds(20_000) {
            let mut chars: Vec<char> = random.pick(&lines).chars().collect();
            // Characters without escapes, too.
            for _ in 0..random.below(5).min(round) {
                let at = random.below(chars.len());
                match random.below(3) {
                    0 => chars[at] = random.text(1).chars().next().unwrap_or(' '),
                    1 => chars.insert(at, *random.pick(&['"', '\\', '=', ' ', '{', '}', '9'])),
                    _ => chars.truncate(at + 1),
                }
            }
            let line: String = chars.into_iter().collect();
            let Some(record) = LogRecord::parse(&line) else {
                continue;
            };
            let json = record.to_json().to_string();
            assert!(LogRecord::parse(&json).is_some(), "{json}");
            if !line.starts_with('{') {
                let printed = record.to_string();
                let again = LogRecord::parse(&printed).unwrap_or_else(|| panic!("{line:?}"));
                assert_eq!(again.to_string(), printed, "{line:?}");
            }
        }
    }
}
