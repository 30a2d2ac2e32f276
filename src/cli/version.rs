//! `coven version`.

use argh::FromArgs;

use super::Outcome;
use super::output::Out;
use crate::api::{CONTRACT, VERSION};

/// Print the version, and the contract that it speaks.
#[derive(FromArgs)]
#[argh(subcommand, name = "version", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// as JSON
    #[argh(switch)]
    pub(super) json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let mut out = Out::new();
    if args.json {
        out.pretty_json(&serde_json::json!({ "version": VERSION, "apiVersion": CONTRACT }))?;
    } else {
        out.line(&format!("coven {VERSION} ({CONTRACT})"))?;
    }
    Ok(0)
}
