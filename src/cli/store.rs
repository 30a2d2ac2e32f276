//! The verbs that look after the store: `vacuum`, `backup`, and `logs prune`. The daemon does it while one runs; while
//! none does, this process holds its lock and does it itself.

use std::fs::File;
use std::path::PathBuf;

use argh::FromArgs;
use serde_json::json;

use super::output::{Out, visible};
use super::{CliError, Home, Outcome};
use crate::api::{BackedUp, Pruned, Vacuumed};
use crate::client::{Client, ClientError};
use crate::daemon;
use crate::settings::durations;
use crate::store::{Store, StoreError};

/// Write the database anew, without gaps, and give back the space. It needs room for a second one meanwhile.
#[derive(FromArgs)]
#[argh(subcommand, name = "vacuum", help_triggers("-h", "--help"))]
pub(super) struct VacuumArgs {
    /// as JSON
    #[argh(switch)]
    json: bool,
}

/// Write a copy of the database, consistent also while sessions run.
#[derive(FromArgs)]
#[argh(subcommand, name = "backup", help_triggers("-h", "--help"))]
pub(super) struct BackupArgs {
    /// as JSON
    #[argh(switch)]
    json: bool,
    /// the new file; it must not be there
    #[argh(positional)]
    file: PathBuf,
}

/// Take away output that is older than it is to be kept, of ended sessions, and say how much.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "prune",
    help_triggers("-h", "--help"),
    note = "Kept are COVEN_LOG_RETENTION_DAYS (30) days, and COVEN_STORE_MAX_BYTES (4 GiB) in all, as the daemon is
set; records and all other events stay. The daemon does the same by itself, every hour."
)]
pub(super) struct PruneArgs {
    /// only say what would go
    #[argh(switch)]
    dry_run: bool,
    /// as JSON
    #[argh(switch)]
    json: bool,
}

/// Who has the store.
enum Access {
    Daemon(Client),
    /// Nobody else, as long as the lock is held.
    Own(Box<Store>, File),
}

fn access(home: &Home) -> Result<Access, CliError> {
    match Client::connect(&home.socket()) {
        Ok(client) => {
            client.allow_wait(durations::CHORE)?;
            return Ok(Access::Daemon(client));
        }
        Err(ClientError::NotRunning { .. }) => {}
        Err(err) => return Err(err.into()),
    }
    home.check()?;
    if home.database().symlink_metadata().is_err() {
        return Err(CliError::failed(
            "store_not_found",
            format!("there is no store {}", home.database().display()),
            Some("coven daemon start, which makes one"),
        ));
    }
    let lock = home.open_lock()?;
    if lock.try_lock().is_err() {
        return Err(CliError::failed(
            "daemon_locked",
            "a daemon that does not answer holds the store",
            Some("coven daemon status"),
        ));
    }
    let retention = daemon::retention().map_err(|bad| {
        let next = format!("unset {}", bad.name);
        CliError::failed("invalid_setting", bad.to_string(), Some(&next))
    })?;
    let store = Store::open(&home.database(), retention).map_err(failed)?;
    Ok(Access::Own(Box::new(store), lock))
}

fn failed(err: StoreError) -> CliError {
    let next = "coven doctor, and df on COVEN_HOME";
    CliError::failed("store_unavailable", err.to_string(), Some(next))
}

pub(super) fn prune(args: &PruneArgs) -> Outcome {
    let home = super::home()?;
    let pruned: Pruned = match access(&home)? {
        Access::Daemon(mut client) => {
            client.post("/store/prune", &json!({ "dryRun": args.dry_run }))?
        }
        Access::Own(mut store, _lock) => {
            let pruned = match args.dry_run {
                true => store.preview_prune(),
                false => store.prune(),
            };
            let pruned = pruned.map_err(failed)?;
            Pruned {
                ok: true,
                events: pruned.dropped.events,
                bytes: pruned.dropped.bytes,
                sessions: pruned.sessions,
            }
        }
    };
    if args.json {
        return print_json(&pruned);
    }
    let Pruned {
        events,
        bytes,
        sessions,
        ..
    } = pruned;
    let done = if args.dry_run { "would go" } else { "gone" };
    Out::new().line(&format!(
        "{done}: {events} output events ({bytes} bytes) of {sessions} sessions"
    ))?;
    Ok(0)
}

pub(super) fn vacuum(args: &VacuumArgs) -> Outcome {
    let home = super::home()?;
    let vacuumed: Vacuumed = match access(&home)? {
        Access::Daemon(mut client) => client.post("/store/vacuum", &json!({}))?,
        Access::Own(store, _lock) => Vacuumed {
            ok: true,
            integrity_check: "ok".into(),
            bytes_freed: store.vacuum().map_err(failed)?,
        },
    };
    if args.json {
        return print_json(&vacuumed);
    }
    let freed = vacuumed.bytes_freed;
    Out::new().line(&format!("undamaged; {freed} bytes given back"))?;
    Ok(0)
}

pub(super) fn backup(args: &BackupArgs) -> Outcome {
    let home = super::home()?;
    let file = std::path::absolute(&args.file)?;
    let path = file
        .to_str()
        .ok_or_else(|| CliError::usage("the file's path is not UTF-8"))?;
    let backed_up: BackedUp = match access(&home)? {
        Access::Daemon(mut client) => client.post("/store/backup", &json!({ "path": path }))?,
        Access::Own(store, _lock) => BackedUp {
            ok: true,
            bytes: store.backup(&file).map_err(failed)?,
        },
    };
    if args.json {
        return print_json(&backed_up);
    }
    let bytes = backed_up.bytes;
    Out::new().line(&format!("{} ({bytes} bytes)", visible(path)))?;
    Ok(0)
}

fn print_json(answer: &impl serde::Serialize) -> Outcome {
    Out::new().pretty_json(answer)?;
    Ok(0)
}
