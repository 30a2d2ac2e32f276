//! `coven kill`: end sessions.

use argh::{ArgsInfo, FromArgs};

use super::output::Out;
use super::session::{SessionRef, connect_to_all};
use super::{CliError, Outcome};
use crate::api::routes::{self, Endpoint};
use crate::http::client::Client;

/// End sessions: SIGTERM, and SIGKILL after the grace.
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
    client.call(routes::Kill.of(id))?;
    let record = client.call(routes::ShowSession.of(id))?;
    Ok(match record.status.is_final() {
        true => record.status.to_string(),
        false => "asked to end; it takes its time".into(),
    })
}
