//! `coven wait`: until sessions have ended.

use argh::{ArgsInfo, FromArgs};

use super::Outcome;
use super::follow::{Show, follow};
use super::session::{SessionRef, connect_to_all};
use crate::api::routes::{self, Endpoint};

/// Wait until sessions have ended; exits with the first code, in their order, that is not 0.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "wait", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// the sessions' ids, or unique beginnings of them
    #[argh(positional)]
    ids: Vec<SessionRef>,
}

pub(super) fn run(args: &Args) -> Outcome {
    let (mut client, ids) = connect_to_all(&args.ids, "wait: for which session?")?;
    let mut code = 0;
    for id in ids {
        // Output is not asked for again: what has been printed is behind the newest event.
        let record = client.call(routes::ShowSession.of(&id))?;
        let ended = follow(&mut client, &id, record.last_seq, Show::Nothing)?;
        if code == 0 {
            code = ended;
        }
    }
    Ok(code)
}
