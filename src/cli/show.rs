//! `coven show`: records, and the prompts.

use argh::{ArgsInfo, FromArgs};

use super::ExitResult;
use super::columns::{silence, took};
use super::ending::OOM_KILLED;
use super::logs::last_lines;
use super::output::{Out, command_text, visible};
use super::prompt;
use super::sacrifice::records;
use super::session::{SessionRef, connect_to_all};
use super::table::{amount, duration, moment};
use crate::api::{LaunchOptions, STDOUT_PIPE_MAX, SessionRecord, Usage};

/// Number of shown lines of output.
const LINES: usize = 10;

/// Show sessions' records, what they were asked, and the last lines of their output.
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

pub(super) fn run(args: &Args) -> ExitResult {
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
        out.facts(&facts)?;
        let lines = last_lines(&mut client, id, LINES)?;
        if !lines.is_empty() {
            // Indented: the harness's output cannot forge a field of the record.
            out.line(&format!("\nlast lines\n  {}", lines.replace('\n', "\n  ")))?;
        }
    }
    Ok(0)
}

/// The facts of a record that are known.
fn facts(record: &SessionRecord) -> Vec<(&'static str, String)> {
    let text = |value: &Option<String>| value.as_deref().map(visible);
    let list = |list: String| (!list.is_empty()).then(|| visible(&list));
    let millis = |ms: Option<u64>| ms.map(|ms| format!("{ms} ms"));
    let written = |bytes: Option<u64>, lines: Option<u64>| {
        Some(format!("{}, {} lines", amount(bytes?), lines?))
    };
    let (options, cost) = (&record.options, &record.cost);
    let usage = record.usage.clone().unwrap_or_default();
    let facts = [
        ("id", Some(record.id.to_string())),
        ("title", Some(visible(&record.title))),
        ("status", Some(record.status.to_string())),
        ("harness", Some(visible(&record.harness))),
        ("project root", Some(visible(&record.project_root))),
        ("cwd", text(&record.cwd)),
        ("model", text(&options.model)),
        ("permission", permission(options)),
        ("command", options.argv.as_deref().map(command_text)),
        ("pid", shown(record.pid)),
        ("stdout pipe", record.stdout_pipe_bytes.map(pipe)),
        ("exit code", shown(record.exit_code)),
        ("signal", shown(record.signal)),
        ("ended by", shown(record.ended_by.as_ref())),
        ("memory", record.oom_killed.then(|| OOM_KILLED.to_owned())),
        ("left behind", list(record.left_behind.to_string())),
        ("archived", record.archived_at.map(moment)),
        ("on end", shown(options.on_end.as_ref())),
        ("conversation", text(&options.conversation_id)),
        ("harness session", text(&record.harness_session_id)),
        ("continued from", shown(record.continued_from)),
        ("familiar", text(&options.familiar_id)),
        ("transcript", text(&record.transcript_path)),
        ("labels", list(options.labels.0.join(", "))),
        ("variables", list(options.env_names.join(", "))),
        ("external", record.external.then(|| "yes".to_owned())),
        ("created", Some(moment(record.created_at))),
        ("updated", Some(moment(record.updated_at))),
        ("events", Some(record.last_seq.to_string())),
        ("tokens", list(tokens(&usage))),
        ("turns", shown(usage.num_turns)),
        ("price", usage.cost_usd.map(|usd| format!("{usd} USD"))),
        ("model used", text(&usage.model)),
        ("duration", took(record).map(duration)),
        ("started", cost.started_at.map(moment)),
        ("ended", cost.ended_at.map(moment)),
        ("cpu time", millis(cost.cpu_ms)),
        ("peak memory", cost.peak_rss_bytes.map(amount)),
        ("stdout", written(cost.stdout_bytes, cost.stdout_lines)),
        ("stderr", written(cost.stderr_bytes, cost.stderr_lines)),
        ("family cpu", millis(record.family_cpu_ms)),
        ("family memory", record.family_rss_bytes.map(amount)),
        ("silent for", silence(record).map(duration)),
    ];
    let known = facts
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    known.collect()
}

fn shown(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}

/// The harness's permission, and whether it allows changing files.
fn permission(options: &LaunchOptions) -> Option<String> {
    let permission = options.permission.as_ref()?;
    Some(match options.can_write {
        Some(true) => format!("{permission}: it can change files"),
        Some(false) => format!("{permission}: it changes no files"),
        None => permission.to_string(),
    })
}

/// Size of the stdout pipe. "only": a pipe below the maximum can lose output of a harness that exits while it writes.
fn pipe(bytes: u64) -> String {
    let only = match bytes < STDOUT_PIPE_MAX as u64 {
        true => " only",
        false => "",
    };
    format!("{}{only}", amount(bytes))
}

/// The known numbers of tokens.
fn tokens(usage: &Usage) -> String {
    let kinds = [
        (usage.input_tokens, "input"),
        (usage.output_tokens, "output"),
        (usage.cached_tokens, "cached"),
    ];
    let known = kinds
        .iter()
        .filter_map(|(count, kind)| Some(format!("{} {kind}", (*count)?)));
    known.collect::<Vec<_>>().join(", ")
}
