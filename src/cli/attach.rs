//! `coven attach`: a session's output from its beginning, then as it comes; typed lines go to its stdin.

use std::io::{self, BufRead, Write};

use argh::{ArgsInfo, FromArgs};

use super::follow::{Show, connect, follow};
use super::session::SessionRef;
use super::{CliError, Home, Outcome};
use crate::api::InputRequest;
use crate::api::routes::{self, Endpoint};

/// Show a session's output from the beginning, then follow it; what is typed goes to its stdin. Ctrl-C detaches.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "attach",
    help_triggers("-h", "--help"),
    note = "Exits as run does when the session ends. Exit codes: coven --help."
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

/// A thread that sends each line of stdin, until the session takes no more. It ends with the process: Ctrl-C, whose
/// default it is to end that, is what detaches.
fn send_typed_lines(home: Home, id: String) -> io::Result<()> {
    let send = move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if let Err(err) = send_line(&home, &id, line) {
                err.print();
                let _ = io::stderr().flush();
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("input".into())
        .spawn(send)
        .map(drop)
}

fn send_line(home: &Home, id: &str, line: String) -> Result<(), CliError> {
    let request = InputRequest { data: line + "\n" };
    connect(home)?.call(routes::Input.of(id).body(&request))?;
    Ok(())
}
