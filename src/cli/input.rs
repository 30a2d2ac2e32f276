//! `coven input`: writes to a session's stdin; also used by other verbs.

use std::io::{self, Write};

use argh::{ArgsInfo, FromArgs};

use super::session::SessionRef;
use super::text::stdin_text;
use super::{CliError, ExitResult, Target};
use crate::api::routes::{self, Endpoint};
use crate::api::{Code, InputRequest};
use crate::http::client::ClientError;

/// Write a line to a session's stdin, or end it.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "input", help_triggers("-h", "--help"))]
#[argh(
    note = "The text `-` is read from stdin, byte for byte; any other gets a newline at its end.\n\
            --eof can also be the last word: coven input ID --eof. There is no --json: it prints nothing."
)]
pub(super) struct Args {
    /// without the newline at the end
    #[argh(switch, short = 'n')]
    no_newline: bool,
    /// close the harness's stdin, after the text if there is one: a filter reads end of file
    #[argh(switch)]
    eof: bool,
    /// the session: its id, a unique beginning of it, its whole title, or --last for the newest; and the text
    #[argh(positional, greedy, arg_name = "id text")]
    command: Vec<String>,
}

pub(super) fn run(args: &Args) -> ExitResult {
    let Some((given, text)) = args.command.split_first() else {
        return Err(CliError::usage("input: to which session?"));
    };
    // argh takes all words after the id as text, including a final `--eof`.
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

/// Starts a thread that runs `send`, and prints its error. The thread ends with the process.
pub(super) fn send_beside(
    send: impl FnOnce() -> Result<(), CliError> + Send + 'static,
) -> io::Result<()> {
    let send = move || {
        if let Err(err) = send() {
            err.print();
            let _ = io::stderr().flush();
        }
    };
    std::thread::Builder::new()
        .name("input".into())
        .spawn(send)
        .map(drop)
}

/// Sends `input` to a session, unless it has ended.
pub(super) fn send_if_live(
    target: &Target,
    id: &str,
    input: &InputRequest,
) -> Result<(), CliError> {
    match target.connect()?.call(routes::Input.of(id).body(input)) {
        Err(ClientError::Api { error, .. }) if error.code == Code::SessionNotLive => Ok(()),
        sent => Ok(sent.map(drop)?),
    }
}

/// Ends a session's stdin, unless it has ended.
pub(super) fn end_input(target: &Target, id: &str) -> Result<(), CliError> {
    let end = InputRequest {
        eof: true,
        ..InputRequest::default()
    };
    send_if_live(target, id, &end)
}
