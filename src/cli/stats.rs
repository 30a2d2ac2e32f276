//! `coven stats`: CPU, memory, output and silence of the live sessions.

use std::collections::HashMap;

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::columns::{Column, Look, Rates, Sample, silence, took};
use super::daemon::remark;
use super::hosts::{self, Hosts, Rows};
use super::output::{Out, check_watch, watch};
use super::sessions::live_sessions;
use super::table::{Color, fitted, terminal_width};
use super::{CliError, ExitResult};
use crate::api::routes::{self, Endpoint};
use crate::api::{SessionId, SessionRecord};
use crate::http::client::Client;

/// Show what the live sessions use: CPU, memory, output, and how long each has been silent.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "stats", help_triggers("-h", "--help"))]
#[argh(
    note = "CPU is in percent of one processor. CPU and memory are those of all processes of a session.\n\
            CPU and output are averages since the start of the session; with --watch, since the table before."
)]
pub(super) struct Args {
    /// refresh every two seconds, until Ctrl-C
    #[argh(switch)]
    watch: bool,
    /// as one JSON document
    #[argh(switch)]
    json: bool,
}

const COLUMNS: [Column; 8] = {
    use Column::*;
    [Id, Harness, Duration, Cpu, Memory, Output, Silent, Title]
};

pub(super) fn run(args: &Args) -> ExitResult {
    check_watch(args.watch, args.json)?;
    let mut out = Out::new();
    if let Some(mut hosts) = Hosts::several()? {
        return run_for(&mut hosts, args, &mut out);
    }
    let mut client = super::target()?.connect()?;
    if args.json {
        let sessions = stats(&mut client)?;
        out.pretty_json(&Document { sessions })?;
        return Ok(0);
    }
    let mut look = look();
    watch(args.watch, &mut out, &mut || lines(&mut client, &mut look))
}

/// The live sessions of several hosts.
fn run_for(hosts: &mut Hosts, args: &Args, out: &mut Out) -> ExitResult {
    if args.json {
        return hosts::print_document(hosts.ask(stats), "sessions");
    }
    let (mut look, mut code) = (look(), 0);
    let watched = watch(args.watch, out, &mut || {
        let answers = hosts.ask(live);
        code = hosts::code_of(&answers);
        let mut samples = HashMap::new();
        let mut rows_of = |sessions: Vec<SessionRecord>| {
            let (rows, seen) = rows(&sessions, &look);
            samples.extend(seen);
            rows
        };
        let answers = answers.into_iter();
        let answers = answers.map(|(host, answer)| (host, answer.map(&mut rows_of)));
        let all = Rows::of(answers.collect(), COLUMNS.len(), Color::Auto.is_on());
        look.before = samples;
        Ok(all.lines(&COLUMNS.map(Column::head), terminal_width()))
    });
    watched.map(|_| code)
}

fn look() -> Look {
    Look {
        has_whole_titles: terminal_width().is_some(),
        ..Look::default()
    }
}

fn stats(client: &mut Client) -> Result<Vec<Stats>, CliError> {
    Ok(live(client)?.iter().map(Stats::of).collect())
}

/// The rows of `sessions`, and their figures for the next table.
fn rows(sessions: &[SessionRecord], look: &Look) -> (Vec<Vec<String>>, HashMap<SessionId, Sample>) {
    let row = |session| COLUMNS.map(|column| look.cell(column, session)).to_vec();
    let samples = sessions.iter().map(|one| Some((one.id, Sample::of(one)?)));
    (
        sessions.iter().map(row).collect(),
        samples.flatten().collect(),
    )
}

fn live(client: &mut Client) -> Result<Vec<SessionRecord>, CliError> {
    let count = client.call(routes::Health.request())?.sessions.live;
    live_sessions(client, count)
}

fn lines(client: &mut Client, look: &mut Look) -> Result<Vec<String>, CliError> {
    let sessions = live(client)?;
    if sessions.is_empty() {
        remark("no session is live");
    }
    let (rows, samples) = rows(&sessions, look);
    look.before = samples;
    let head = COLUMNS.map(Column::head).to_vec();
    Ok(fitted(head, rows, terminal_width()))
}

/// The output of `--json`.
#[derive(Serialize)]
struct Document {
    sessions: Vec<Stats>,
}

/// A live session. Figures are null before its harness runs.
#[derive(Serialize)]
struct Stats {
    id: SessionId,
    harness: String,
    title: String,
    duration_ms: Option<u64>,
    family_cpu_ms: Option<u64>,
    cpu_percent: Option<u64>,
    family_rss_bytes: Option<u64>,
    stdout_bytes: Option<u64>,
    stderr_bytes: Option<u64>,
    output_bytes_per_second: Option<u64>,
    silent_ms: Option<u64>,
}

impl Stats {
    fn of(session: &SessionRecord) -> Self {
        let rates = Rates::of(session, None);
        let cost = &session.cost;
        Self {
            id: session.id,
            harness: session.harness.clone(),
            title: session.title.clone(),
            duration_ms: took(session).map(|time| time.as_millis() as u64),
            family_cpu_ms: session.family_cpu_ms,
            cpu_percent: rates.as_ref().and_then(|rates| rates.cpu_percent),
            family_rss_bytes: session.family_rss_bytes,
            stdout_bytes: cost.stdout_bytes,
            stderr_bytes: cost.stderr_bytes,
            output_bytes_per_second: rates.map(|rates| rates.output_bytes_per_second),
            silent_ms: silence(session).map(|time| time.as_millis() as u64),
        }
    }
}
