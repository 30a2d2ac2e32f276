//! The `hello` harness: this executable, acting as an agent, so that every machine has a harness.
//!
//! Runs in a process of its own, started by a daemon like any other harness.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use crate::api::Stream;

/// Answers `prompt`; returns the exit code. The prompt `fail` fails; `stderr` also writes to stderr.
///
/// # Errors
/// Its output cannot be written.
pub fn run(prompt: &str) -> io::Result<i32> {
    let (lines, code) = script(prompt);
    for (stream, line) in lines {
        // One write per line, without a buffer: output arrives step by step, as an agent's.
        let line = format!("{line}\n");
        let descriptor = match stream {
            Stream::Stdout => io::stdout().as_fd().try_clone_to_owned()?,
            Stream::Stderr => io::stderr().as_fd().try_clone_to_owned()?,
        };
        File::from(descriptor).write_all(line.as_bytes())?;
    }
    Ok(code)
}

/// The output lines for `prompt`, and the exit code. All lines go to stdout except the note of the prompt `stderr`:
/// output over two pipes has no order.
pub fn script(prompt: &str) -> (Vec<(Stream, String)>, i32) {
    let out = |text: &str| (Stream::Stdout, format!("hello: {text}"));
    let mut lines = vec![out("reading the prompt"), out("thinking")];
    match prompt {
        "fail" => {
            lines.push(out("failing, as asked"));
            return (lines, 3);
        }
        "stderr" => lines.push((Stream::Stderr, "hello: a note on stderr".to_owned())),
        _ => {}
    }
    lines.extend([out(&format!("you said: {prompt}")), out("done")]);
    (lines, 0)
}
