//! `coven wait`: until sessions have ended.

use std::time::{Duration, Instant};

use argh::{ArgsInfo, FromArgs};

use super::Outcome;
use super::daemon::remark;
use super::ending::TIMED_OUT;
use super::follow::{Show, follow_until};
use super::session::{SessionRef, connect_to_all};
use super::time::parse_duration;
use crate::api::routes::{self, Endpoint};

/// Wait until sessions have ended; exits with the first code, in their order, that is not 0, as run does.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "wait", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// give up after so long, with exit code 124: seconds, or 90s, 15m, 2h
    #[argh(option, from_str_fn(parse_duration))]
    timeout: Option<Duration>,
    /// the sessions: ids, unique beginnings of them, whole titles, or --last for the newest
    #[argh(positional)]
    ids: Vec<SessionRef>,
}

pub(super) fn run(args: &Args) -> Outcome {
    let (mut client, ids) = connect_to_all(&args.ids, "wait: for which session?")?;
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let mut code = 0;
    for id in ids {
        // Output is not asked for again: what has been printed is behind the newest event.
        let record = client.call(routes::ShowSession.of(&id))?;
        let ended = follow_until(&mut client, &id, record.last_seq, Show::Nothing, deadline)?;
        let Some(ended) = ended else {
            remark(&format!("session {id} is still running"));
            return Ok(TIMED_OUT);
        };
        if code == 0 {
            code = ended;
        }
    }
    Ok(code)
}
