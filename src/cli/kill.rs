//! `coven kill`: end sessions.

use argh::FromArgs;

use super::follow::{connect, full_id};
use super::output::Out;
use super::{CliError, Outcome};
use crate::api::{Accepted, SessionRecord};

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
    for id in ids {
        client.post::<Accepted>(&format!("/sessions/{id}/kill"), &())?;
        let record: SessionRecord = client.get(&format!("/sessions/{id}"))?;
        let said = match record.status.is_final() {
            true => record.status.to_string(),
            false => "asked to end; it takes its time".into(),
        };
        Out::new().line(&format!("{id} {said}"))?;
    }
    Ok(0)
}
