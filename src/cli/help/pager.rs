//! Shows a long text through the user's pager, if stdout is a terminal. It does not know what the text says.

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::{Command, Stdio};

use super::super::{ExitResult, say};
use crate::sys;

/// Exit code of a shell that does not find the command (POSIX sh, 2.8.2).
const NOT_FOUND: i32 = 127;

/// Prints `text`, through a pager if it is longer than the screen.
pub(super) fn show(text: &str) -> ExitResult {
    let stdout = io::stdout();
    let rows = sys::terminal_size(&stdout).map_or(0, |(_, rows)| rows);
    let is_long = stdout.is_terminal() && rows > 0 && text.lines().count() >= rows;
    match is_long && is_shown(text)? {
        true => Ok(0),
        false => say(text),
    }
}

/// Hands `text` to the pager, and waits for its end; false if there is none.
fn is_shown(text: &str) -> io::Result<bool> {
    let is_set = |value: &OsString| !value.is_empty();
    let mut pager = match std::env::var_os("PAGER").filter(is_set) {
        Some(pager) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(pager);
            shell
        }
        None => Command::new("less"),
    };
    // What less shows of the text's bold words without -R is their escape sequences.
    let options = match std::env::var_os("LESS") {
        Some(options) => [OsString::from("-R "), options].into_iter().collect(),
        None => OsString::from("-FRX"),
    };
    // Ctrl-C is for the pager: without coven it would share the terminal with the shell. Rust's `Command` clears the
    // mask for the child.
    sys::block_signals(sys::STOP_SIGNALS);
    let started = pager.env("LESS", options).stdin(Stdio::piped()).spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(false),
        Err(err) => return Err(err),
    };
    if let Some(mut stdin) = child.stdin.take() {
        match stdin
            .write_all(text.as_bytes())
            .and_then(|()| stdin.write_all(b"\n"))
        {
            // Who leaves the pager has read enough.
            Err(err) if err.kind() != ErrorKind::BrokenPipe => return Err(err),
            _ => {}
        }
    }
    Ok(child.wait()?.code() != Some(NOT_FOUND))
}
