//! `coven restore`: replaces the database by a copy.

use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

use super::output::visible;
use super::store::lock;
use super::{CliError, ExitResult, say_answer};
use crate::api::Code;
use crate::http::client::{Client, ClientError};
use crate::store::{self, StoreError};

/// Replace the database by a copy; the replaced one is kept as .replaced-TIME. No daemon may run.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "restore", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// as one JSON document
    #[argh(switch)]
    json: bool,
    /// the copy, as coven backup makes it; it stays where it is
    #[argh(positional)]
    copy: PathBuf,
}

pub(super) fn run(args: &Args) -> ExitResult {
    let file = std::path::absolute(&args.copy)?;
    let home = super::home()?;
    match Client::connect(&home.socket()) {
        Err(ClientError::NotRunning { .. }) => {}
        Err(err) => return Err(err.into()),
        Ok(_) => {
            return Err(CliError::failed(
                Code::DaemonAlreadyRunning,
                "a daemon runs, and has the database open",
                Some("coven daemon stop (ends live sessions), then coven restore again"),
            ));
        }
    }
    home.check_own()?;
    home.prepare()?;
    let _lock = lock(&home)?;
    let path = home.database();
    let restored = store::restore(&file, &path).map_err(|err| {
        let next = match &err {
            StoreError::Owned { .. } => err.advice(&path),
            _ => "another copy, or df on COVEN_HOME".into(),
        };
        let what = format!("{} is not restored: {err}", file.display());
        CliError::failed(err.code(), what, Some(&next))
    })?;
    let mut line = format!("restored {} ({} bytes)", path.display(), restored.bytes);
    if let Some(replaced) = &restored.replaced {
        line = format!("{line}; the one before is {replaced}");
    }
    say_answer(args.json, &restored, &visible(&line))
}
