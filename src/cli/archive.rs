//! `coven archive`: removes sessions from the list. [`super::summon`] restores them.

use argh::{ArgsInfo, FromArgs};

use super::ExitResult;
use super::output::Out;
use super::session::{SessionRef, connect_to_all, for_each};
use crate::api::SessionRecord;
use crate::api::routes::{self, Endpoint};

/// Remove ended sessions from the list; nothing of them is lost.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "archive", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// as JSON, one object per line: the record of each
    #[argh(switch)]
    json: bool,
    /// the sessions: ids, unique beginnings of them, whole titles, or --last for the newest
    #[argh(positional)]
    ids: Vec<SessionRef>,
}

pub(super) fn run(args: &Args) -> ExitResult {
    ask(&args.ids, || routes::Archive, "archived", args.json)
}

/// Calls a route for each session, and prints the result.
pub(super) fn ask<E: Endpoint<Answer = SessionRecord>>(
    sessions: &[SessionRef],
    route: impl Fn() -> E,
    done: &str,
    json: bool,
) -> ExitResult {
    let (mut client, ids) = connect_to_all(sessions, "which session?")?;
    let mut out = Out::new();
    for_each(ids, |id| {
        let record = client.call(route().of(id))?;
        Ok(out.line_or_json(json, &format!("{id} {done}"), &record)?)
    })
}
