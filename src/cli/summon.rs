//! `coven summon`: an archived session back into the list.

use argh::{ArgsInfo, FromArgs};

use super::Outcome;
use super::archive::ask;
use super::session::SessionRef;
use crate::api::routes;

/// Bring an archived session back into the list.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "summon", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// the session's id, or a unique beginning of it
    #[argh(positional, arg_name = "archived-id")]
    id: SessionRef,
}

pub(super) fn run(args: &Args) -> Outcome {
    ask(&args.id, routes::Summon, "summoned")
}
