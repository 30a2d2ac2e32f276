//! `coven wait`: until sessions have ended.

use argh::FromArgs;

use super::follow::{Show, connect, follow, full_id};
use super::{CliError, Outcome};
use crate::api::SessionRecord;

/// Wait until sessions have ended; exits with the first code, in their order, that is not 0.
#[derive(FromArgs)]
#[argh(subcommand, name = "wait", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// the sessions' ids, or unique beginnings of them
    #[argh(positional)]
    ids: Vec<String>,
}

pub(super) fn run(args: &Args) -> Outcome {
    if args.ids.is_empty() {
        return Err(CliError::usage("wait: for which session?"));
    }
    let home = super::home()?;
    let mut client = connect(&home)?;
    // All of them first: a wrong one must not be found out hours later.
    let ids = args
        .ids
        .iter()
        .map(|id| full_id(&mut client, id))
        .collect::<Result<Vec<_>, _>>()?;
    let mut code = 0;
    for id in ids {
        // Output is not asked for again: what has been printed is behind the newest event.
        let record: SessionRecord = client.get(&format!("/sessions/{id}"))?;
        let ended = follow(&mut client, &id, record.last_seq, Show::Nothing)?;
        if code == 0 {
            code = ended;
        }
    }
    Ok(code)
}
