//! What this command's environment sets. Values stay out, but for numbers and the few words that a setting can have.

use serde_json::Value;

use super::anonymise::Anonymiser;
use super::report::Block;

/// Every setting, and the words besides numbers that it can have.
const SETTINGS: &[(&str, &[&str])] = &[
    ("COVEN_HOME", NOT_SHOWN),
    (
        "COVEN_LOG",
        &["off", "error", "warn", "info", "debug", "trace"],
    ),
    ("COVEN_LOG_FORMAT", &["text", "json"]),
    ("COVEN_KILL_GRACE_MS", &[]),
    ("COVEN_MAX_SESSIONS", &[]),
    ("COVEN_MAX_CONNECTIONS", &[]),
    ("COVEN_LOG_RETENTION_DAYS", &["off"]),
    ("COVEN_STORE_MAX_BYTES", &["off"]),
    ("COVEN_SESSION_MAX_BYTES", &["off"]),
    ("COVEN_REDACT", &["on", "off"]),
    ("COVEN_HARNESS_ADAPTER_MANIFEST", NOT_SHOWN),
    ("COVEN_HARNESS_ADAPTER_DIRS", NOT_SHOWN),
];

/// A setting whose value is a path.
const NOT_SHOWN: &[&str] = &["\0"];

pub(super) fn block(a: &Anonymiser) -> Block {
    const COLUMNS: &[&str] = &["name", "value"];
    let mut shown = 0;
    let rows = SETTINGS.iter().filter_map(|&(name, words)| {
        let value = std::env::var_os(name)?;
        let value = value.to_str().filter(|value| can_be_shown(value, words));
        shown += u64::from(value.is_some());
        Some(vec![
            name.into(),
            Value::from(value.unwrap_or("set; value left out")),
        ])
    });
    let rows = rows.collect();
    let all = std::env::vars_os().count() as u64;
    a.count("environment values", all - shown);
    Block::Table(COLUMNS, rows)
}

fn can_be_shown(value: &str, words: &[&str]) -> bool {
    let is_number = value.len() <= 20 && value.bytes().all(|b| b.is_ascii_digit());
    words != NOT_SHOWN && (is_number || words.contains(&value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_if_it_is_a_number_or_a_word_of_ours() {
        assert!(can_be_shown("100", &[]) && can_be_shown("off", &["off"]) && can_be_shown("", &[]));
        for value in ["plan", "1e9", "off ", "-1", "123456789012345678901"] {
            assert!(!can_be_shown(value, &["off"]), "{value}");
        }
        assert!(!can_be_shown("123", NOT_SHOWN));
    }
}
