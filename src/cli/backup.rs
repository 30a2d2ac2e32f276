//! `coven backup`: copies the database.

use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

use super::output::visible;
use super::progress::Progress;
use super::store::{Access, access, failed};
use super::table::amount;
use super::{CliError, ExitResult, Target, say_answer};
use crate::api::routes::{self, Endpoint};
use crate::api::{BackedUp, BackupRequest};
use crate::store::partial_name;

/// Write a copy of the database, consistent also while sessions run.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "backup", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// as one JSON document
    #[argh(switch)]
    json: bool,
    /// the new file; it must not be there
    #[argh(positional)]
    file: PathBuf,
}

pub(super) fn run(args: &Args) -> ExitResult {
    let file = std::path::absolute(&args.file)?;
    let path = file
        .to_str()
        .ok_or_else(|| CliError::usage("the file's path is not UTF-8"))?;
    let partial = partial_name(&file);
    let progress = Progress::begin("backup", move || {
        Some(amount(partial.metadata().ok()?.len()))
    });
    let backed_up: BackedUp = match access(Target::Here(super::home()?))? {
        Access::Daemon(mut client) => {
            let path = path.to_owned();
            client.call(routes::Backup.request().body(&BackupRequest { path }))?
        }
        Access::Own(store, _lock) => BackedUp {
            ok: true,
            bytes: store.backup(&file).map_err(failed)?,
        },
    };
    drop(progress);
    let line = format!("{} ({})", visible(path), amount(backed_up.bytes));
    say_answer(args.json, &backed_up, &line)
}
