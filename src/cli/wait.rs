//! `coven wait`: waits for the end of sessions.

use std::ops::ControlFlow;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use argh::{ArgsInfo, FromArgs};

use super::daemon::remark;
use super::ending::TIMED_OUT;
use super::follow::{Wait, conclude, follow_events};
use super::output::Out;
use super::session::{SessionRef, connect_to_all};
use super::time::parse_duration;
use super::{CliError, ExitResult};
use crate::api::routes::{self, Endpoint};
use crate::http::client::Client;

/// Wait until sessions have ended; exits with the first code, in their order, that is not 0, as run does.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "wait", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// give up after this time, with exit code 124: seconds, or 90s, 15m, 2h
    #[argh(option, from_str_fn(parse_duration), arg_name = "time")]
    timeout: Option<Duration>,
    /// only until the first of them ends: prints its id, and exits with its code
    #[argh(switch)]
    any: bool,
    /// as JSON, one object per line: the record of each
    #[argh(switch)]
    json: bool,
    /// the sessions: ids, unique beginnings of them, whole titles, or --last for the newest
    #[argh(positional)]
    ids: Vec<SessionRef>,
}

pub(super) fn run(args: &Args) -> ExitResult {
    let (mut client, ids) = connect_to_all(&args.ids, "wait: for which session?")?;
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    if args.any {
        return wait_for_any(&mut client, ids, deadline, args.json);
    }
    let (mut code, mut out) = (0, Out::new());
    for id in ids {
        let Some(ended) = wait_for(&mut client, &id, deadline)? else {
            remark(&format!("session {id} is still running"));
            return Ok(TIMED_OUT);
        };
        if args.json {
            out.json(&client.call(routes::ShowSession.of(&id))?)?;
        }
        if code == 0 {
            code = ended;
        }
    }
    Ok(code)
}

/// The exit code of the session; `None` if it still runs at `deadline`.
fn wait_for(
    client: &mut Client,
    id: &str,
    deadline: Option<Instant>,
) -> Result<Option<u8>, CliError> {
    // Earlier output is not read again: it starts after the newest event.
    let record = client.call(routes::ShowSession.of(id))?;
    let wait = deadline.map_or(Wait::ToTheEnd, Wait::Until);
    let ending = follow_events(client, id, record.last_seq, wait, &mut |_| {
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(ending.map(|ending| conclude(&ending, id)))
}

/// Waits for each session on its own connection. The other threads end with the process.
fn wait_for_any(
    client: &mut Client,
    ids: Vec<String>,
    deadline: Option<Instant>,
    json: bool,
) -> ExitResult {
    let target = super::target()?;
    let (sender, receiver) = mpsc::channel();
    for id in ids {
        let (target, sender) = (target.clone(), sender.clone());
        std::thread::spawn(move || {
            let ended = target
                .connect()
                .and_then(|mut client| wait_for(&mut client, &id, deadline));
            sender.send((id, ended))
        });
    }
    if let Ok((id, ended)) = receiver.recv()
        && let Some(code) = ended?
    {
        match json {
            true => Out::new().json(&client.call(routes::ShowSession.of(&id))?)?,
            false => Out::new().line(&id)?,
        }
        return Ok(code);
    }
    remark("all of the sessions are still running");
    Ok(TIMED_OUT)
}
