//! The `hello` harness: this binary, behaving like an agent, so that every machine has one harness.
//!
//! Runs in a process of its own, under a daemon like any other harness; it knows nothing of one.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use crate::api::Stream;

/// Works on `prompt`; returns the exit code. The prompt `fail` is one that it cannot do, and `stderr` one that it also
/// says something about on stderr.
///
/// # Errors
/// Its output cannot be written.
pub fn run(prompt: &str) -> io::Result<i32> {
    let (lines, code) = script(prompt);
    for (stream, line) in lines {
        // One write a line, without a buffer: output arrives in the steps of an agent's work.
        let line = format!("{line}\n");
        let descriptor = match stream {
            Stream::Stdout => io::stdout().as_fd().try_clone_to_owned()?,
            Stream::Stderr => io::stderr().as_fd().try_clone_to_owned()?,
        };
        File::from(descriptor).write_all(line.as_bytes())?;
    }
    Ok(code)
}

/// The lines that it says about `prompt`, and what it exits with. All are for stdout, but for the note that the prompt
/// `stderr` asks for: nothing orders what comes over two pipes.
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
