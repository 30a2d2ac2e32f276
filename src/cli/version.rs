//! `coven version`: what this binary is, and what it was built from.

use argh::{ArgsInfo, FromArgs};

use super::{ExitResult, say_answer};
use crate::api::{BUILD, CONTRACT, VERSION};

/// Print the version, the contract that it speaks, and what it was built from.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "version", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// as one JSON document
    #[argh(switch)]
    pub(super) json: bool,
}

pub(super) fn run(args: &Args) -> ExitResult {
    let answer = serde_json::json!({
        "version": VERSION, "apiVersion": CONTRACT, "commit": BUILD.commit, "buildDate": BUILD.date,
    });
    say_answer(
        args.json,
        &answer,
        &format!("coven {VERSION} ({CONTRACT}), {BUILD}"),
    )
}
