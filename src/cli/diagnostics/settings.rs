//! What this command's environment sets. Values stay out, but for numbers and the few words that a setting can have.

use serde_json::Value;

use super::anonymise::Anonymiser;
use super::report::Block;
use crate::settings::ALL;

pub(super) fn block(a: &Anonymiser) -> Block {
    const COLUMNS: &[&str] = &["name", "value"];
    let mut shown = 0;
    let rows = ALL.iter().filter_map(|setting| {
        let value = std::env::var_os(setting.name())?;
        let value = value.to_str().filter(|value| setting.is_public(value));
        shown += u64::from(value.is_some());
        Some(vec![
            setting.name().into(),
            Value::from(value.unwrap_or("set; value left out")),
        ])
    });
    let rows = rows.collect();
    let all = std::env::vars_os().count() as u64;
    a.count("environment values", all - shown);
    Block::Table(COLUMNS, rows)
}
