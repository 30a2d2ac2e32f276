//! Fills the tables of the pages in, each from the declarations that the code uses: `{{name}}` in a page's text stands
//! for the table or the duration of that name.
//!
//! Pure.

use std::time::Duration;

use argh::{ArgsInfo, CommandInfoWithArgs};

use super::super::grammar::{Flag, is_group, options, verbs};
use super::super::table::duration as rounded;
use super::super::{Cli, aliases, doctor};
use super::verb::{ManualPart, option, parts, usage};
use super::wire_tables;
use crate::adapters;
use crate::api::Code;
use crate::observe::{LogEvent, metrics};
use crate::settings;
use crate::settings::durations::{self, Named};

/// The function that writes a table.
type Write = fn() -> String;

/// The tables, by name.
const TABLES: &[(&str, Write)] = &[
    ("checks", checks),
    ("codes", codes),
    ("events", events),
    ("exit codes", exit_codes),
    ("harnesses", harnesses),
    ("metrics", metrics),
    ("other hosts", other_hosts),
    ("other names", other_names),
    ("record", wire_tables::record),
    ("routes", wire_tables::routes),
    ("settings", settings),
    ("shows", shows),
    ("timeouts", timeouts),
    ("verbs", self::verbs_and_options),
];

/// `source` with its tables and durations.
pub(super) fn filled(source: &str) -> String {
    let mut parts = source.split("{{");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap_or((part, ""));
        let table = TABLES.iter().find(|(known, _)| *known == name);
        let mut named = durations::SESSION.iter().chain(durations::API);
        let duration = named.find(|duration| duration.name == name);
        match (table, duration) {
            (Some((_, table)), _) => out += table().trim_end(),
            (None, Some(duration)) => out += &exact(duration.value),
            (None, None) => out += &format!("{{{{{name}}}}}"),
        }
        out += rest;
    }
    out
}

/// A table of two columns, each row a name and its meaning.
pub(super) fn table(rows: impl Iterator<Item = (String, String)>) -> String {
    let rows = rows.map(|(name, text)| {
        format!(
            "| {} | {} |\n",
            name.replace('|', "\\|"),
            text.replace('|', "\\|")
        )
    });
    format!(
        "| name | meaning |\n| --- | --- |\n{}",
        rows.collect::<String>()
    )
}

/// A phrase as a sentence.
pub(super) fn sentence(phrase: &str) -> String {
    let (first, rest) = phrase.split_at(phrase.chars().next().map_or(0, char::len_utf8));
    if phrase.is_empty() {
        return String::new();
    }
    format!("{}{}.", first.to_uppercase(), rest.trim_end_matches('.'))
}

pub(super) fn code(words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let words = words.into_iter().map(|word| format!("`{}`", word.as_ref()));
    words.collect::<Vec<_>>().join(", ")
}

/// A duration without rounding.
fn exact(time: Duration) -> String {
    match time.subsec_millis() {
        0 => rounded(time),
        _ => format!("{} ms", time.as_millis()),
    }
}

fn timeouts() -> String {
    let row = |named: &Named| (exact(named.value), sentence(named.about.trim()));
    table(durations::API.iter().map(row))
}

fn settings() -> String {
    table(settings::ALL.iter().map(|setting| {
        let default = match setting.kind.default_text() {
            none if none.is_empty() => none,
            default => format!(" Default: {default}."),
        };
        let doc = sentence(setting.doc);
        let text = format!("{doc} Values: {}.{default}", setting.kind.values());
        (code([setting.name]), text)
    }))
}

fn codes() -> String {
    table(Code::ALL.into_iter().map(|word| {
        let status = word
            .status()
            .map(|status| format!("Status {status}. "))
            .unwrap_or_default();
        let next = word
            .next()
            .map(|next| format!(" Next: {next}"))
            .unwrap_or_default();
        (
            code([word.as_str()]),
            format!("{status}{}{next}", word.about().trim()),
        )
    }))
}

/// The built-in harnesses, with their hints.
fn harnesses() -> String {
    table(adapters::built_in().into_iter().map(|adapter| {
        let text = format!(
            "{} {}",
            sentence(&adapter.install_hint),
            sentence(&adapter.login_hint)
        );
        (code([&adapter.id]), text.trim_end().to_owned())
    }))
}

fn events() -> String {
    table(LogEvent::ALL.iter().map(|event| {
        let levels = event
            .levels
            .iter()
            .map(|level| level.as_str().to_lowercase());
        let fields = event.fields.iter().map(|(name, _)| name);
        let levels = levels.collect::<Vec<_>>().join(" or ");
        let text = format!("{} Level {levels}; {}.", event.answers.trim(), code(fields));
        (code([event.name]), text)
    }))
}

fn metrics() -> String {
    table(metrics::ALL.iter().map(|metric| {
        let family = &metric.family;
        let labels = match family.labels {
            [] => String::new(),
            labels => format!(", by {}", code(labels)),
        };
        (
            code([family.name]),
            format!("{} ({}{labels})", family.help, family.metric_type),
        )
    }))
}

fn checks() -> String {
    table(doctor::declared().map(|(id, about)| (code([id]), about.to_owned())))
}

fn exit_codes() -> String {
    note(program_note("Exit codes"))
}

fn other_hosts() -> String {
    note(program_note("Another host"))
}

/// The names of a note with their texts.
fn shows() -> String {
    let parts = parts(program_note("What shows what")).into_iter();
    let rows = parts.flat_map(|part| match part {
        ManualPart::Rows(rows) => rows,
        ManualPart::Paragraph(_) => Vec::new(),
    });
    table(rows.map(|(name, text)| (code([name]), sentence(&text))))
}

/// The note of the program's help that begins with `begin`.
fn program_note(begin: &str) -> &'static str {
    let mut notes = Cli::get_args_info().notes.iter();
    notes.find(|note| note.starts_with(begin)).unwrap_or(&"")
}

fn other_names() -> String {
    let rows = aliases::table().into_iter();
    table(rows.map(|(names, verb)| (code(names.split(", ")), code([verb]))))
}

fn verbs_and_options() -> String {
    let verbs = verbs()
        .into_iter()
        .filter(|(_, command)| !is_group(command));
    verbs.map(|(path, command)| verb(&path, &command)).collect()
}

/// A verb: usage, meaning, options, notes.
fn verb(path: &str, command: &CommandInfoWithArgs) -> String {
    let flags: Vec<&Flag> = options(command)
        .filter(|flag| flag.long != "--help")
        .collect();
    let words: Vec<&str> = path.split(' ').collect();
    let mut out = format!(
        "## {}\n\n{}\n\n",
        usage(&words, command),
        command.description
    );
    if !flags.is_empty() {
        let row = |flag| (format!("`{}`", option(flag)), sentence(flag.description));
        out += &format!("{}\n", table(flags.into_iter().map(row)));
    }
    out + &command.notes.iter().copied().map(note).collect::<String>()
}

/// A note of the help.
fn note(text: &str) -> String {
    let part = |part| match part {
        ManualPart::Paragraph(text) => format!("{text}\n\n"),
        ManualPart::Rows(rows) => {
            let rows = rows.into_iter().map(|(name, text)| (code([name]), text));
            format!("{}\n", table(rows))
        }
    };
    parts(text).into_iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::super::TOPICS;
    use super::*;
    use crate::rows::rows;

    #[test]
    fn each_table_stands_in_one_page() {
        for (name, _) in TABLES {
            let place = format!("{{{{{name}}}}}");
            let places = TOPICS
                .iter()
                .map(|topic| topic.source().matches(&place).count());
            assert_eq!(places.sum::<usize>(), 1, "{name}");
        }
    }

    #[test]
    fn a_table_has_what_is_declared() {
        for (name, row) in rows(
            "settings   -> | `COVEN_KILL_GRACE_MS` | Milliseconds between SIGTERM and SIGKILL. Values: 0 to 600000. Default: 5000. |
             codes      -> | `session_live` | Status 409. Archive or delete of a running session. Next: coven kill {sessionId} |
             routes     -> ## DELETE /sessions/:id
             routes     -> Deletes the session's record and events permanently. Errors: `session_live`.
             events     -> | `signal` | Which signal did the daemon get? Level info; `signal`. |
             metrics    -> | `coven_launches_total` | Harnesses started. (counter) |
             other names -> | `rm`, `delete` | `sacrifice` |
             verbs      -> ## coven run [OPTIONS] <HARNESS> -- <PROMPT>...
             verbs      -> | `-n, --lines <N>` | Only the last lines, this many. |
             exit codes -> | `125` | the session was lost
             shows      -> | `events ID` | Everything that is on record",
        ) {
            let table = filled(&format!("{{{{{name}}}}}"));
            assert!(table.contains(row), "{row}\nis not in\n{table}");
        }
        assert!(filled("{{DRAIN_QUIET}}, {{nothing}}").starts_with("100 ms, {{nothing}}"));
    }
}
