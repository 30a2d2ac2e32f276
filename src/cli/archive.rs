//! `coven archive` and `coven summon`: out of the list, and back into it.

use argh::FromArgs;

use super::Outcome;
use super::follow::{connect, full_id};
use super::output::Out;
use crate::api::SessionRecord;

/// Take a session that has ended out of the list; nothing of it is lost.
#[derive(FromArgs)]
#[argh(subcommand, name = "archive", help_triggers("-h", "--help"))]
pub(super) struct ArchiveArgs {
    /// the session's id, or a unique beginning of it
    #[argh(positional)]
    id: String,
}

/// Bring an archived session back into the list.
#[derive(FromArgs)]
#[argh(subcommand, name = "summon", help_triggers("-h", "--help"))]
pub(super) struct SummonArgs {
    /// the session's id, or a unique beginning of it
    #[argh(positional)]
    id: String,
}

pub(super) fn archive(args: &ArchiveArgs) -> Outcome {
    ask(&args.id, "archive", "archived")
}

pub(super) fn summon(args: &SummonArgs) -> Outcome {
    ask(&args.id, "summon", "summoned")
}

fn ask(given: &str, verb: &str, done: &str) -> Outcome {
    let home = super::home()?;
    let mut client = connect(&home)?;
    let id = full_id(&mut client, given)?;
    let record: SessionRecord = client.post(&format!("/sessions/{id}/{verb}"), &())?;
    Out::new().line(&format!("{} {done}", record.id))?;
    Ok(0)
}
