//! `coven kill`: end sessions.

use argh::FromArgs;

use super::follow::{connect, full_id};
use super::output::Out;
use super::{CliError, Outcome};
use crate::api::{Accepted, SessionRecord};
use crate::client::Client;

/// End sessions: SIGTERM, and SIGKILL after the grace.
#[derive(FromArgs)]
#[argh(subcommand, name = "kill", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// the sessions' ids, or unique beginnings of them
    #[argh(positional)]
    ids: Vec<String>,
}

pub(super) fn run(args: &Args) -> Outcome {
    if args.ids.is_empty() {
        return Err(CliError::usage("kill: which session?"));
    }
    let home = super::home()?;
    let mut client = connect(&home)?;
    let ids = args
        .ids
        .iter()
        .map(|id| full_id(&mut client, id))
        .collect::<Result<Vec<_>, _>>()?;
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
    client.post::<Accepted>(&format!("/sessions/{id}/kill"), &())?;
    let record: SessionRecord = client.get(&format!("/sessions/{id}"))?;
    Ok(match record.status.is_final() {
        true => record.status.to_string(),
        false => "asked to end; it takes its time".into(),
    })
}
