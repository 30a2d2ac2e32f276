//! Runs a system tool such as systemctl within a deadline.
//!
//! Runs in the CLI's process, on the caller's thread. It does not know the tool's purpose.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::sys::{self, Interest, Within};

/// Most bytes read of a tool's output.
const TOOL_OUTPUT_MAX: u64 = 1 << 20;

/// Output of `program`, if it exists and succeeds before `deadline`; otherwise it is killed.
pub fn tool_output(program: &str, args: &[&str], deadline: Instant) -> Option<String> {
    let (succeeded, text) = run_tool(program, args, Say::Stdout, deadline)?;
    succeeded.then_some(text)
}

/// The stream of a tool that is read.
pub(super) enum Say {
    Stdout,
    Stderr,
}

/// Success and output of `program`, if it exists and ends before `deadline`; otherwise it is killed.
pub(super) fn run_tool(
    program: &str,
    args: &[&str],
    what: Say,
    deadline: Instant,
) -> Option<(bool, String)> {
    let (reader, writer) = sys::pipe().ok()?;
    let (stdout, stderr) = match what {
        Say::Stdout => (writer.into(), Stdio::null()),
        Say::Stderr => (Stdio::null(), writer.into()),
    };
    let mut command = Command::new(program);
    // cron, su and others do not set it; pam_systemd(8) always sets it to this path.
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        command.env("XDG_RUNTIME_DIR", format!("/run/user/{}", sys::euid()));
    }
    command.args(args).stdin(Stdio::null());
    let spawned = command.stdout(stdout).stderr(stderr).spawn();
    // `command` holds the pipe's write end.
    drop(command);
    let mut child = spawned.ok()?;
    let text = read_until(&File::from(reader), deadline);
    let has_ended = || {
        let watch = sys::exit_watch(i32::try_from(child.id()).ok()?).ok()?;
        sys::poll(&mut [Interest::readable(&watch)], Some(deadline)).ok()
    };
    if text.is_none() || has_ended() != Some(true) {
        // The kill fails only if the process has ended.
        let _ = child.kill();
    }
    let succeeded = child.wait().is_ok_and(|status| status.success());
    Some((succeeded, text?))
}

fn read_until(pipe: &File, deadline: Instant) -> Option<String> {
    sys::set_nonblocking(pipe).ok()?;
    let mut text = String::new();
    let mut bounded = Within::new(pipe, deadline).take(TOOL_OUTPUT_MAX + 1);
    let length = bounded.read_to_string(&mut text).ok()?;
    (length as u64 <= TOOL_OUTPUT_MAX).then_some(text)
}
