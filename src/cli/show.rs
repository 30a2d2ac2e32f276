//! `coven show`: records, and the prompts.

use argh::{ArgsInfo, FromArgs};

use super::Outcome;
use super::ending::OOM_KILLED;
use super::output::{Out, command_text, visible};
use super::prompt;
use super::sacrifice::records;
use super::session::{SessionRef, connect_to_all};
use crate::api::{LaunchOptions, STDOUT_PIPE_MAX, SessionCost, SessionRecord, Usage};

/// Show sessions' records, and what they were asked.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "show", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// as one JSON document: the record; of several sessions an array
    #[argh(switch)]
    json: bool,
    /// the sessions: ids, unique beginnings of them, whole titles, or --last for the newest
    #[argh(positional)]
    ids: Vec<SessionRef>,
}

pub(super) fn run(args: &Args) -> Outcome {
    let (mut client, ids) = connect_to_all(&args.ids, "show: which session?")?;
    let records = records(&mut client, &ids)?;
    let mut out = Out::new();
    if args.json {
        match records.as_slice() {
            [record] => out.pretty_json(record)?,
            records => out.pretty_json(&records)?,
        }
        return Ok(0);
    }
    for (at, (record, id)) in records.iter().zip(&ids).enumerate() {
        if at > 0 {
            out.line("")?;
        }
        let prompt = prompt::of(&mut client, id)?;
        let prompt = prompt.map(|prompt| ("prompt", prompt.shown()));
        let mut facts = facts(record);
        facts.splice(2..2, prompt);
        out.facts(&facts)?
    }
    Ok(0)
}

fn facts(record: &SessionRecord) -> Vec<(&'static str, String)> {
    let text = |value: &Option<String>| value.as_deref().map(visible);
    let optional = [
        ("cwd", text(&record.cwd)),
        ("model", text(&record.options.model)),
        ("permission", permission(&record.options)),
        ("command", record.options.argv.as_deref().map(command_text)),
        ("pid", record.pid.map(|pid| pid.to_string())),
        ("stdout pipe", record.stdout_pipe_bytes.map(pipe)),
        ("exit code", record.exit_code.map(|code| code.to_string())),
        ("signal", record.signal.map(|signal| signal.to_string())),
        (
            "ended by",
            record.ended_by.as_ref().map(|by| by.to_string()),
        ),
        ("memory", record.oom_killed.then(|| OOM_KILLED.to_owned())),
        (
            "left behind",
            (!record.left_behind.0.is_empty()).then(|| visible(&record.left_behind.to_string())),
        ),
        ("archived", record.archived_at.map(|at| at.to_string())),
        (
            "on end",
            record.options.on_end.as_ref().map(|what| what.to_string()),
        ),
        ("conversation", text(&record.options.conversation_id)),
        ("harness session", text(&record.harness_session_id)),
        (
            "continued from",
            record.continued_from.map(|id| id.to_string()),
        ),
        ("familiar", text(&record.options.familiar_id)),
        ("transcript", text(&record.transcript_path)),
        (
            "labels",
            (!record.options.labels.0.is_empty())
                .then(|| visible(&record.options.labels.0.join(", "))),
        ),
        (
            "variables",
            (!record.options.env_names.is_empty())
                .then(|| visible(&record.options.env_names.join(", "))),
        ),
        ("external", record.external.then(|| "yes".to_owned())),
    ];
    let mut facts = vec![
        ("id", record.id.to_string()),
        ("title", visible(&record.title)),
        ("status", record.status.to_string()),
        ("harness", visible(&record.harness)),
        ("project root", visible(&record.project_root)),
    ];
    facts.extend(
        optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    facts.extend([
        ("created", record.created_at.to_string()),
        ("updated", record.updated_at.to_string()),
        ("events", record.last_seq.to_string()),
    ]);
    facts.extend(record.usage.iter().flat_map(usage_facts));
    facts.extend(cost_facts(&record.cost));
    facts
}

/// What its harness may do, and whether that includes to change files.
fn permission(options: &LaunchOptions) -> Option<String> {
    let permission = options.permission.as_ref()?;
    Some(match options.can_write {
        Some(true) => format!("{permission}: it can change files"),
        Some(false) => format!("{permission}: it changes no files"),
        None => permission.to_string(),
    })
}

/// What its stdout's pipe holds: one that is not large can be too small for a harness that exits as it writes.
fn pipe(bytes: u64) -> String {
    let only = match bytes < STDOUT_PIPE_MAX as u64 {
        true => " only",
        false => "",
    };
    format!("{bytes} bytes{only}")
}

/// What it used of a model, as far as that is told.
fn usage_facts(usage: &Usage) -> impl Iterator<Item = (&'static str, String)> + use<> {
    let tokens = [
        (usage.input_tokens, "input"),
        (usage.output_tokens, "output"),
        (usage.cached_tokens, "cached"),
    ];
    let tokens: Vec<_> = tokens
        .into_iter()
        .filter_map(|(count, kind)| Some(format!("{} {kind}", count?)))
        .collect();
    let facts = [
        ("tokens", (!tokens.is_empty()).then(|| tokens.join(", "))),
        ("turns", usage.num_turns.map(|turns| turns.to_string())),
        ("price", usage.cost_usd.map(|usd| format!("{usd} USD"))),
        ("model used", usage.model.as_deref().map(visible)),
    ];
    facts
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
}

/// What it cost, as far as that is known.
fn cost_facts(cost: &SessionCost) -> impl Iterator<Item = (&'static str, String)> {
    let written = |bytes: Option<u64>, lines: Option<u64>| {
        Some(format!("{} bytes, {} lines", bytes?, lines?))
    };
    let facts = [
        ("started", cost.started_at.map(|at| at.to_string())),
        ("ended", cost.ended_at.map(|at| at.to_string())),
        ("cpu time", cost.cpu_ms.map(|ms| format!("{ms} ms"))),
        (
            "peak memory",
            cost.peak_rss_bytes.map(|bytes| format!("{bytes} bytes")),
        ),
        ("stdout", written(cost.stdout_bytes, cost.stdout_lines)),
        ("stderr", written(cost.stderr_bytes, cost.stderr_lines)),
    ];
    facts
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
}
