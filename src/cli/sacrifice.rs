//! `coven sacrifice`: delete a session for good.

use argh::{ArgsInfo, FromArgs};

use super::session::SessionRef;
use super::{CliError, Outcome, say};
use crate::api::routes::{self, Endpoint};

/// Delete a session that has ended, with all of its events, for good.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "sacrifice", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// yes, for good
    #[argh(switch)]
    yes: bool,
    /// the session's id, or a unique beginning of it
    #[argh(positional)]
    id: SessionRef,
}

pub(super) fn run(args: &Args) -> Outcome {
    if !args.yes {
        let message = format!(
            "this deletes {} and all of its events for good: say --yes",
            args.id
        );
        return Err(CliError::usage(&message));
    }
    let (mut client, id) = args.id.connect()?;
    client.call(routes::DeleteSession.of(&id))?;
    say(&format!("{id} deleted"))
}
