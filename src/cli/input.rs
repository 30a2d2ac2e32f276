//! `coven input`: write to a session's stdin.

use argh::{ArgsInfo, FromArgs};

use super::session::SessionRef;
use super::text::stdin_text;
use super::{CliError, Outcome};
use crate::api::InputRequest;
use crate::api::routes::{self, Endpoint};

/// Write a line to a session's stdin, or end it.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "input",
    help_triggers("-h", "--help"),
    note = "The text `-` is read from stdin, byte for byte; any other gets a newline at its end.\n\
            --eof can also be the last word: coven input ID --eof"
)]
pub(super) struct Args {
    /// without the newline at the end
    #[argh(switch, short = 'n')]
    no_newline: bool,
    /// close the harness's stdin, after the text if there is one: a filter reads end of file
    #[argh(switch)]
    eof: bool,
    /// the session's id, or a unique beginning of it; and the text
    #[argh(positional, greedy, arg_name = "id text")]
    command: Vec<String>,
}

pub(super) fn run(args: &Args) -> Outcome {
    let Some((given, text)) = args.command.split_first() else {
        return Err(CliError::usage("input: to which session?"));
    };
    // The parser takes every word behind the id for text, and it is there that people write the option.
    let (text, eof) = match text {
        [text @ .., last] if last == "--eof" => (text, true),
        text => (text, args.eof),
    };
    let data = match text {
        [] if eof => None,
        [] => return Err(CliError::usage("input: no text")),
        [dash] if dash == "-" => Some(stdin_text()?),
        words => Some(words.join(" ") + if args.no_newline { "" } else { "\n" }),
    };
    let Ok(session) = given.parse::<SessionRef>();
    let (mut client, id) = session.connect()?;
    let request = InputRequest {
        data,
        eof,
        ..InputRequest::default()
    };
    client.call(routes::Input.of(&id).body(&request))?;
    Ok(0)
}
