//! A tool of the system's, as systemctl, that is run for a bounded time.
//!
//! Runs in the CLI's process, on the thread that asks. It does not know what the tool is for.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::sys::{self, Interest, Within};

/// What a tool may say, in bytes.
const TOOL_OUTPUT_MAX: u64 = 1 << 20;

/// What `program` prints, if it is there, and succeeds before `deadline`; else it is ended.
pub fn tool_output(program: &str, args: &[&str], deadline: Instant) -> Option<String> {
    let (succeeded, text) = run_tool(program, args, Say::Stdout, deadline)?;
    succeeded.then_some(text)
}

/// Which of a tool's streams is read.
pub(super) enum Say {
    Stdout,
    Stderr,
}

/// Whether `program` has succeeded, and what it has said, if it is there, and ends before `deadline`; else it is ended.
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
    // cron, su and the like do not set it: pam_systemd(8) does, always to this.
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        command.env("XDG_RUNTIME_DIR", format!("/run/user/{}", sys::euid()));
    }
    command.args(args).stdin(Stdio::null());
    let spawned = command.stdout(stdout).stderr(stderr).spawn();
    // It holds the pipe's other end.
    drop(command);
    let mut child = spawned.ok()?;
    let text = read_until(&File::from(reader), deadline);
    let has_ended = || {
        let watch = sys::exit_watch(i32::try_from(child.id()).ok()?).ok()?;
        sys::poll(&mut [Interest::readable(&watch)], Some(deadline)).ok()
    };
    if text.is_none() || has_ended() != Some(true) {
        // A kill that fails finds it gone.
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
