//! Runs another program, such as systemctl, within a deadline.
//!
//! Runs on the caller's thread, in the CLI's process or in the daemon. It does not know the program's purpose.

use std::fs::File;
use std::io::{self, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use crate::sys::{self, Interest, Within};

/// Most bytes read of a tool's output.
const TOOL_OUTPUT_MAX: u64 = 1 << 20;

/// Output of `program`, if it exists and succeeds before `deadline`; otherwise it is killed.
pub fn tool_output(program: &str, args: &[&str], deadline: Instant) -> Option<String> {
    let (succeeded, text) = run_tool(program, args, Say::Stdout, deadline)?;
    succeeded.then_some(text)
}

/// The stream of a program that is read.
pub(super) enum Say {
    Stdout,
    Stderr,
    Both,
}

/// Output of a program that has ended, or was killed at its deadline.
pub(super) struct ToolOutput {
    pub status: ExitStatus,
    /// `None` if it did not end in time, or its output is no UTF-8 or too long.
    pub text: Option<String>,
}

/// Success and output of `program`, if it exists and ends before `deadline`; otherwise it is killed.
pub(super) fn run_tool(
    program: &str,
    args: &[&str],
    what: Say,
    deadline: Instant,
) -> Option<(bool, String)> {
    let mut command = Command::new(program);
    // cron, su and others do not set it; pam_systemd(8) always sets it to this path.
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        command.env("XDG_RUNTIME_DIR", format!("/run/user/{}", sys::euid()));
    }
    command.args(args);
    let said = run(command, what, deadline).ok()?;
    Some((said.status.success(), said.text?))
}

/// Runs `command` without stdin, and kills it at `deadline`.
///
/// # Errors
/// The tool cannot be started, or waited for.
pub(super) fn run(mut command: Command, what: Say, deadline: Instant) -> io::Result<ToolOutput> {
    let (reader, writer) = sys::pipe()?;
    match what {
        Say::Stdout => command.stdout(writer).stderr(Stdio::null()),
        Say::Stderr => command.stdout(Stdio::null()).stderr(writer),
        Say::Both => command.stdout(writer.try_clone()?).stderr(writer),
    };
    let spawned = command.stdin(Stdio::null()).spawn();
    // `command` holds the pipe's write end.
    drop(command);
    let mut child = spawned?;
    let text = read_until(&File::from(reader), deadline);
    let has_ended = || {
        let watch = sys::exit_watch(i32::try_from(child.id()).ok()?).ok()?;
        sys::poll(&mut [Interest::readable(&watch)], Some(deadline)).ok()
    };
    let has_ended = text.is_some() && has_ended() == Some(true);
    if !has_ended {
        // The kill fails only if the process has ended.
        let _ = child.kill();
    }
    let status = child.wait()?;
    Ok(ToolOutput { status, text })
}

fn read_until(pipe: &File, deadline: Instant) -> Option<String> {
    sys::set_nonblocking(pipe).ok()?;
    let mut text = String::new();
    let mut bounded = Within::new(pipe, deadline).take(TOOL_OUTPUT_MAX + 1);
    let length = bounded.read_to_string(&mut text).ok()?;
    (length as u64 <= TOOL_OUTPUT_MAX).then_some(text)
}
