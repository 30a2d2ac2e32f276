//! `coven logs prune`: runs a retention sweep now.

use argh::{ArgsInfo, FromArgs};

use super::daemon::remark;
use super::progress::Progress;
use super::store::{Access, access, failed};
use super::table::amount;
use super::{ExitResult, say_answer};
use crate::api::routes::{self, Endpoint};
use crate::api::{PruneRequest, Pruned};

/// Delete output of ended sessions that retention does not keep, and print how much.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "prune", help_triggers("-h", "--help"))]
#[argh(
    note = "Kept are COVEN_LOG_RETENTION_DAYS days, and COVEN_STORE_MAX_BYTES in all, as the daemon is set; records and all other events stay: coven prune and coven sacrifice delete those. The daemon does the same by itself, every hour."
)]
pub(super) struct Args {
    /// only report what would be deleted
    #[argh(switch)]
    dry_run: bool,
    /// keep the output of this many days, at least 1, if that is less than COVEN_LOG_RETENTION_DAYS
    #[argh(option, arg_name = "n")]
    event_days: Option<u32>,
    /// taken for existing scripts: nothing is stored that has not been redacted
    #[argh(option, hidden_help, long = "raw-days", arg_name = "n")]
    _raw_days: Option<u32>,
    /// as one JSON document
    #[argh(switch)]
    json: bool,
}

pub(super) fn run(args: &Args) -> ExitResult {
    let (dry_run, days) = (args.dry_run, args.event_days);
    let progress = Progress::begin("prune", || None);
    let pruned: Pruned = match access(super::target()?)? {
        Access::Daemon(mut client) => client.call(
            routes::Prune
                .request()
                .body(&PruneRequest { dry_run, days }),
        )?,
        Access::Own(mut store, _lock) => {
            let pruned = match dry_run {
                true => store.preview_prune(days),
                false => store.prune(days),
            };
            let pruned = pruned.map_err(failed)?;
            pruned.into()
        }
    };
    drop(progress);
    let done = if args.dry_run {
        "would delete"
    } else {
        "deleted"
    };
    let line = format!(
        "{done}: {} output events ({}) of {} sessions",
        pruned.events,
        amount(pruned.bytes),
        pruned.sessions
    );
    if let Some(clock) = pruned.unconfirmed_clock {
        remark(&clock.to_string());
    }
    say_answer(args.json, &pruned, &line)
}
