//! `coven vacuum`: rewrites the database without free pages.

use argh::{ArgsInfo, FromArgs};

use super::progress::Progress;
use super::store::{Access, access, failed};
use super::table::amount;
use super::{ExitResult, Target, say_answer};
use crate::api::Vacuumed;
use crate::api::routes::{self, Endpoint};

/// Rewrite the database without free pages, and return the space. It needs room for a second copy meanwhile.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "vacuum", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// as one JSON document
    #[argh(switch)]
    json: bool,
}

pub(super) fn run(args: &Args) -> ExitResult {
    let progress = Progress::begin("vacuum", || None);
    let vacuumed: Vacuumed = match access(Target::Here(super::home()?))? {
        Access::Daemon(mut client) => client.call(routes::Vacuum.request())?,
        Access::Own(store, _lock) => Vacuumed::undamaged(store.vacuum().map_err(failed)?),
    };
    drop(progress);
    let line = format!("undamaged; {} given back", amount(vacuumed.bytes_freed));
    say_answer(args.json, &vacuumed, &line)
}
