//! `coven summon`: restores archived sessions to the list.

use argh::{ArgsInfo, FromArgs};

use super::ExitResult;
use super::archive::ask;
use super::session::SessionRef;
use crate::api::routes;

/// Bring archived sessions back into the list.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "summon", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// as JSON, one object per line: the record of each
    #[argh(switch)]
    json: bool,
    /// the sessions: ids, unique beginnings of them, whole titles, or --last for the newest
    #[argh(positional)]
    ids: Vec<SessionRef>,
}

pub(super) fn run(args: &Args) -> ExitResult {
    ask(&args.ids, || routes::Summon, "summoned", args.json)
}
