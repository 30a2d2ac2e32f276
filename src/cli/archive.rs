//! `coven archive`: a session out of the list. [`super::summon`] brings it back.

use argh::{ArgsInfo, FromArgs};

use super::session::SessionRef;
use super::{Outcome, say};
use crate::api::SessionRecord;
use crate::api::routes::{self, Endpoint};

/// Take a session that has ended out of the list; nothing of it is lost.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "archive", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// the session's id, or a unique beginning of it
    #[argh(positional)]
    id: SessionRef,
}

pub(super) fn run(args: &Args) -> Outcome {
    ask(&args.id, routes::Archive, "archived")
}

/// Calls a route of the session, and prints that it is done.
pub(super) fn ask(
    session: &SessionRef,
    route: impl Endpoint<Answer = SessionRecord>,
    done: &str,
) -> Outcome {
    let (mut client, id) = session.connect()?;
    let record = client.call(route.of(&id))?;
    say(&format!("{} {done}", record.id))
}
