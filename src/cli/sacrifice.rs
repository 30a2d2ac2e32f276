//! `coven sacrifice`: deletes sessions permanently.

use argh::{ArgsInfo, FromArgs};
use serde_json::json;

use super::output::Out;
use super::session::{SessionRef, connect_with_care, for_each};
use super::{CliError, ExitResult, consent};
use crate::api::SessionRecord;
use crate::api::routes::{self, Endpoint};
use crate::http::client::Client;

/// Delete sessions that have ended, with all of their events, for good.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "sacrifice", help_triggers("-h", "--help"))]
#[argh(
    note = "It asks at a terminal, and needs --yes elsewhere. Titles and --last are taken only where it can ask.\n\
            coven prune deletes all sessions that have ended so long ago; coven logs prune takes output only."
)]
pub(super) struct Args {
    /// do not ask
    #[argh(switch, short = 'y')]
    yes: bool,
    /// as JSON, one object per line: its id, and deleted
    #[argh(switch)]
    json: bool,
    /// the sessions: ids, unique beginnings of them, whole titles, or --last for the newest
    #[argh(positional)]
    ids: Vec<SessionRef>,
}

pub(super) fn run(args: &Args) -> ExitResult {
    let (mut client, ids, is_loose) = connect_with_care(&args.ids, "sacrifice: which session?")?;
    if !args.yes || is_loose {
        let sessions = records(&mut client, &ids)?;
        let what = format!("deletes {} for good", consent::counted(sessions.len()));
        if !consent::ask_about(&what, &sessions)? {
            return Ok(1);
        }
    }
    delete(&mut client, ids, args.json)
}

/// The record of each session.
pub(super) fn records(client: &mut Client, ids: &[String]) -> Result<Vec<SessionRecord>, CliError> {
    let records = ids.iter().map(|id| client.call(routes::ShowSession.of(id)));
    Ok(records.collect::<Result<_, _>>()?)
}

/// Deletes each session, and prints the result.
fn delete(client: &mut Client, ids: Vec<String>, json: bool) -> ExitResult {
    for_each(ids, |id| {
        client.call(routes::DeleteSession.of(id))?;
        say_deleted(id, json)
    })
}

pub(super) fn say_deleted(id: &str, json: bool) -> Result<(), CliError> {
    let done = json!({ "id": id, "deleted": true });
    Ok(Out::new().line_or_json(json, &format!("{id} deleted"), &done)?)
}
