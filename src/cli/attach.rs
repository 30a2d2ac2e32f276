//! `coven attach`: a session's output from its beginning, then as it comes; typed lines go to its stdin.

use std::io::{self, BufRead, IsTerminal, Write};

use argh::{ArgsInfo, FromArgs};

use super::follow::{Show, connect, follow};
use super::session::SessionRef;
use super::{CliError, Home, Outcome};
use crate::api::routes::{self, Endpoint};
use crate::api::{Code, InputRequest};
use crate::http::client::ClientError;

/// Show a session's output from the beginning, then follow it; what is typed goes to its stdin, Ctrl-D ends that. Ctrl-C detaches.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "attach",
    help_triggers("-h", "--help"),
    note = "Where stdin is no terminal, its end ends the session's after at least one line.\n\
            Exits as run does when the session ends. Exit codes: coven --help."
)]
pub(super) struct Args {
    /// only what comes after this event
    #[argh(option, default = "0")]
    after: u64,
    /// events as JSON, a line each
    #[argh(switch)]
    json: bool,
    /// the session's id, or a unique beginning of it
    #[argh(positional)]
    id: SessionRef,
}

pub(super) fn run(args: &Args) -> Outcome {
    let (mut client, id) = args.id.connect()?;
    send_typed_lines(super::home()?, id.clone())?;
    let show = if args.json { Show::Json } else { Show::Output };
    follow(&mut client, &id, args.after, show)
}

/// A thread that sends what is typed, until the session takes no more. It ends with the process: Ctrl-C, whose default it
/// is to end that, is what detaches.
fn send_typed_lines(home: Home, id: String) -> io::Result<()> {
    let send = move || {
        if let Err(err) = send_stdin(&home, &id) {
            err.print();
            let _ = io::stderr().flush();
        }
    };
    std::thread::Builder::new()
        .name("input".into())
        .spawn(send)
        .map(drop)
}

/// Sends each line of stdin, and its end: Ctrl-D of a terminal, or the end of what was piped in. Of a stdin that is empty
/// from the beginning, like /dev/null, nobody has meant the end.
fn send_stdin(home: &Home, id: &str) -> Result<(), CliError> {
    let mut is_meant = io::stdin().is_terminal();
    for line in io::stdin().lock().lines() {
        // What cannot be read or is no text ends nothing.
        let Ok(line) = line else { return Ok(()) };
        let request = InputRequest::data(line + "\n");
        connect(home)?.call(routes::Input.of(id).body(&request))?;
        is_meant = true;
    }
    if !is_meant {
        return Ok(());
    }
    let end = InputRequest {
        eof: true,
        ..InputRequest::default()
    };
    match connect(home)?.call(routes::Input.of(id).body(&end)) {
        // It has ended on one of the lines: its stdin has, too.
        Err(ClientError::Api { error, .. }) if error.code == Code::SessionNotLive => Ok(()),
        sent => Ok(sent.map(drop)?),
    }
}
