//! `coven archive`: a session out of the list. [`super::summon`] brings it back.

use argh::{ArgsInfo, FromArgs};

use super::Outcome;
use super::output::Out;
use super::session::SessionRef;
use crate::api::SessionRecord;

/// Take a session that has ended out of the list; nothing of it is lost.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "archive", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// the session's id, or a unique beginning of it
    #[argh(positional)]
    id: SessionRef,
}

pub(super) fn run(args: &Args) -> Outcome {
    ask(&args.id, "archive", "archived")
}

/// Asks the daemon for what the route below the session's is named, and prints that it is done.
pub(super) fn ask(session: &SessionRef, route: &str, done: &str) -> Outcome {
    let (mut client, id) = session.connect()?;
    let record: SessionRecord = client.post(&format!("/sessions/{id}/{route}"), &())?;
    Out::new().line(&format!("{} {done}", record.id))?;
    Ok(0)
}
