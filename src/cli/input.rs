//! `coven input`: write to a session's stdin.

use std::io::{self, Read};

use argh::{ArgsInfo, FromArgs};

use super::session::SessionRef;
use super::{CliError, Outcome};
use crate::api::InputRequest;
use crate::api::routes::{self, Endpoint};

/// Write a line to a session's stdin.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "input",
    help_triggers("-h", "--help"),
    note = "The text `-` is read from stdin, byte for byte; any other gets a newline at its end."
)]
pub(super) struct Args {
    /// without the newline at the end
    #[argh(switch, short = 'n')]
    no_newline: bool,
    /// the session's id, or a unique beginning of it; and the text
    #[argh(positional, greedy, arg_name = "id text")]
    command: Vec<String>,
}

pub(super) fn run(args: &Args) -> Outcome {
    let Some((given, text)) = args.command.split_first() else {
        return Err(CliError::usage("input: to which session?"));
    };
    let data = match text {
        [] => return Err(CliError::usage("input: no text")),
        [dash] if dash == "-" => {
            let mut data = String::new();
            io::stdin().read_to_string(&mut data)?;
            data
        }
        words => words.join(" ") + if args.no_newline { "" } else { "\n" },
    };
    let Ok(session) = given.parse::<SessionRef>();
    let (mut client, id) = session.connect()?;
    client.call(routes::Input.of(&id).body(&InputRequest { data }))?;
    Ok(0)
}
