//! `coven prune`: deletes ended sessions.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};
use serde_json::json;

use super::output::Out;
use super::progress::Progress;
use super::sacrifice::say_deleted;
use super::session::for_each;
use super::sessions::{self, each_session, or_error};
use super::table::amount;
use super::time::parse_duration;
use super::{CliError, ExitResult, consent, say};
use crate::api::routes::{self, Endpoint};
use crate::api::{SessionRecord, SessionStatus, Timestamp};
use crate::http::client::Client;

/// Delete sessions that have ended, also archived ones, with all of their events, for good.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "prune", help_triggers("-h", "--help"))]
#[argh(
    note = "It needs --older-than or --status. It says how many there are and what they have written, asks at a terminal, and needs --yes\n\
            elsewhere. coven logs prune takes output only, and keeps the records; coven sacrifice deletes single sessions."
)]
pub(super) struct Args {
    /// only sessions that ended at least this long ago: seconds, or 90s, 15m, 2h, 30d
    #[argh(option, from_str_fn(parse_duration), arg_name = "time")]
    older_than: Option<Duration>,
    /// only sessions with this status, such as failed; repeatable
    #[argh(option, arg_name = "status")]
    status: Vec<SessionStatus>,
    /// only report what would be deleted
    #[argh(switch)]
    dry_run: bool,
    /// do not ask
    #[argh(switch, short = 'y')]
    yes: bool,
    /// as JSON, one object per line: the id of each, and deleted, which is false with --dry-run
    #[argh(switch)]
    json: bool,
}

pub(super) fn run(args: &Args) -> ExitResult {
    if args.older_than.is_none() && args.status.is_empty() {
        return Err(CliError::usage(
            "prune: --older-than or --status is missing",
        ));
    }
    if let Some(live) = args.status.iter().find(|status| !status.is_final()) {
        let message = format!("prune: a session that is {live} has not ended");
        return Err(CliError::usage(&message));
    }
    let mut client = super::target()?.connect()?;
    let sessions = each_session(&mut client, sessions::all());
    let sessions = sessions.filter(or_error(|session| args.wants(session)));
    let sessions = sessions.collect::<Result<Vec<_>, _>>()?;
    let cost = sessions.iter().map(|session| &session.cost);
    let written = cost.filter_map(|cost| Some(cost.stdout_bytes? + cost.stderr_bytes?));
    let what = format!(
        "{}, with {} of output",
        consent::counted(sessions.len()),
        amount(written.sum())
    );
    let ids: Vec<String> = sessions
        .iter()
        .map(|session| session.id.to_string())
        .collect();
    if args.dry_run || sessions.is_empty() {
        if !args.json {
            return say(&format!("would delete: {what}"));
        }
        let mut out = Out::new();
        for id in ids {
            out.json(&json!({ "id": id, "deleted": false }))?;
        }
        return Ok(0);
    }
    if !args.yes && !consent::ask_about(&format!("deletes for good {what}"), &sessions)? {
        return Ok(1);
    }
    let code = delete(&mut client, ids, args)?;
    if !args.json {
        say(&format!("deleted: {what}"))?;
    }
    Ok(code)
}

/// Deletes the sessions, with their number at a terminal.
fn delete(client: &mut Client, ids: Vec<String>, args: &Args) -> ExitResult {
    let is_terminal = io::stdout().is_terminal();
    let (count, done) = (ids.len(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&done);
    // Where each deleted session is a line of the terminal, that is the progress.
    let progress = (!args.json || !is_terminal).then(|| {
        let how_far = move || Some(format!("{} of {count}", counted.load(Ordering::Relaxed)));
        Progress::begin("prune", how_far)
    });
    let deleted = for_each(ids, |id| {
        client.call(routes::DeleteSession.of(id))?;
        done.fetch_add(1, Ordering::Relaxed);
        match args.json || !is_terminal {
            true => say_deleted(id, args.json),
            false => Ok(()),
        }
    });
    drop(progress);
    deleted
}

impl Args {
    fn wants(&self, session: &SessionRecord) -> bool {
        let ended = session.cost.ended_at.unwrap_or(session.updated_at);
        let is_old = |time| ended.until(Timestamp::now()) >= time;
        session.status.is_final()
            && (self.status.is_empty() || self.status.contains(&session.status))
            && self.older_than.is_none_or(is_old)
    }
}
