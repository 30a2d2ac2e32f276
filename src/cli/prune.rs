//! `coven logs prune`: retention's sweep, now.

use argh::{ArgsInfo, FromArgs};

use super::store::{Access, access, failed};
use super::{Outcome, say_answer};
use crate::api::routes::{self, Endpoint};
use crate::api::{PruneRequest, Pruned};

/// Take away output that is older than it is to be kept, of ended sessions, and say how much.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "prune",
    help_triggers("-h", "--help"),
    note = "Kept are COVEN_LOG_RETENTION_DAYS days, and COVEN_STORE_MAX_BYTES in all, as the daemon is set; records and all other events stay. The daemon does the same by itself, every hour."
)]
pub(super) struct Args {
    /// only say what would go
    #[argh(switch)]
    dry_run: bool,
    /// as JSON
    #[argh(switch)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let pruned: Pruned = match access()? {
        Access::Daemon(mut client) => {
            let dry_run = args.dry_run;
            client.call(routes::Prune.request().body(&PruneRequest { dry_run }))?
        }
        Access::Own(mut store, _lock) => {
            let pruned = match args.dry_run {
                true => store.preview_prune(),
                false => store.prune(),
            };
            let pruned = pruned.map_err(failed)?;
            pruned.into()
        }
    };
    let done = if args.dry_run { "would go" } else { "gone" };
    let line = format!(
        "{done}: {} output events ({} bytes) of {} sessions",
        pruned.events, pruned.bytes, pruned.sessions
    );
    if let Some(clock) = pruned.unconfirmed_clock {
        eprintln!("coven: {clock}");
    }
    say_answer(args.json, &pruned, &line)
}
