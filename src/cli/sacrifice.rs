//! `coven sacrifice`: delete a session for good.

use argh::FromArgs;

use super::follow::{connect, full_id};
use super::output::Out;
use super::{CliError, Outcome};
use crate::api::Deleted;

/// Delete a session that has ended, with all of its events, for good.
#[derive(FromArgs)]
#[argh(subcommand, name = "sacrifice", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// yes, for good
    #[argh(switch)]
    yes: bool,
    /// the session's id, or a unique beginning of it
    #[argh(positional)]
    id: String,
}

pub(super) fn run(args: &Args) -> Outcome {
    if !args.yes {
        let message = format!(
            "this deletes {} and all of its events for good: say --yes",
            args.id
        );
        return Err(CliError::usage(&message));
    }
    let home = super::home()?;
    let mut client = connect(&home)?;
    let id = full_id(&mut client, &args.id)?;
    client.delete::<Deleted>(&format!("/sessions/{id}"))?;
    Out::new().line(&format!("{id} deleted"))?;
    Ok(0)
}
