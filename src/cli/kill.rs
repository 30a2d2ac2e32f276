//! `coven kill`: end sessions.

use argh::{ArgsInfo, FromArgs};

use super::output::{Out, visible};
use super::session::{SessionRef, connect_to_all};
use super::{CliError, Outcome};
use crate::api::routes::{self, Endpoint};
use crate::api::{ErrorDetail, KillRequest, LeftBehind};
use crate::http::client::{Client, ClientError};

/// End sessions, and what an ended one has left running: SIGTERM, and SIGKILL after the grace.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "kill", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// the sessions' ids, or unique beginnings of them
    #[argh(positional)]
    ids: Vec<SessionRef>,
}

pub(super) fn run(args: &Args) -> Outcome {
    let (mut client, ids) = connect_to_all(&args.ids, "kill: which session?")?;
    let mut first = None;
    for id in ids {
        // One that cannot be killed must not save the others.
        match kill(&mut client, &id) {
            Ok(said) => Out::new().line(&format!("{id} {said}"))?,
            Err(err) => {
                if let Some(earlier) = first.replace(err) {
                    earlier.print();
                }
            }
        }
    }
    first.map_or(Ok(0), Err)
}

fn kill(client: &mut Client, id: &str) -> Result<String, CliError> {
    match client.call(routes::Kill.of(id)) {
        Ok(_) => {}
        Err(ClientError::Api { error, .. }) if let Some(left) = left_behind(&error) => {
            return sweep(client, id, &left);
        }
        Err(err) => return Err(err.into()),
    }
    let record = client.call(routes::ShowSession.of(id))?;
    Ok(match record.status.is_final() {
        true => record.status.to_string(),
        false => "asked to end; it takes its time".into(),
    })
}

/// What the session has left running that is not live any more; `None` for nothing.
fn left_behind(error: &ErrorDetail) -> Option<LeftBehind> {
    let left = error.details.as_ref()?.get("leftBehind")?;
    let left: LeftBehind = serde_json::from_value(left.clone()).ok()?;
    (!left.0.is_empty()).then_some(left)
}

fn sweep(client: &mut Client, id: &str, left: &LeftBehind) -> Result<String, CliError> {
    let left = visible(&left.to_string());
    Out::new().line(&format!("{id} has ended; it has left behind: {left}"))?;
    let request = KillRequest { sweep: true };
    let answer = client.call(routes::Kill.of(id).body(&request))?;
    Ok(format!("processes ended: {}", answer.swept.unwrap_or(0)))
}
