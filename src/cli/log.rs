//! `coven log`: a readable preview of one session.

use argh::{ArgsInfo, FromArgs};

use super::Outcome;
use super::output::{Out, visible};
use super::session::SessionRef;
use crate::api::routes::{self, Endpoint};

/// Show what happened in a session, line by line: its newest 900 kB.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "log", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// as JSON, a line each
    #[argh(switch)]
    json: bool,
    /// the session's id, or a unique beginning of it
    #[argh(positional)]
    id: SessionRef,
}

pub(super) fn run(args: &Args) -> Outcome {
    let (mut client, id) = args.id.connect()?;
    let lines = client.call(routes::PreviewLog.of(&id))?;
    let mut out = Out::new();
    for line in &lines {
        if args.json {
            out.json(line)?;
        } else {
            let (level, message) = (line.level.as_str(), visible(&line.message));
            out.line(format!("{}  {level:<5}  {message}", line.ts).trim_end())?;
        }
    }
    Ok(0)
}
