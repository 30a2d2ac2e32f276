//! The `hello` harness: this binary, behaving like an agent, so that every machine has one harness.
//!
//! Runs in a process of its own, under a daemon like any other harness; it knows nothing of one.

use std::io::{self, Write};

use crate::api::Stream;

/// Works on `prompt`; returns the exit code. The prompt `fail` is one that it cannot do.
///
/// # Errors
/// Its output cannot be written.
pub fn run(prompt: &str) -> io::Result<i32> {
    let mut out = io::stdout().lock();
    let (lines, code) = script(prompt);
    for (stream, line) in lines {
        match stream {
            // Each step is a write of its own, as an agent's are.
            Stream::Stdout => {
                writeln!(out, "{line}")?;
                out.flush()?;
            }
            Stream::Stderr => writeln!(io::stderr(), "{line}")?,
        }
    }
    Ok(code)
}

/// The lines that it says about `prompt`, and what it exits with.
pub fn script(prompt: &str) -> (Vec<(Stream, String)>, i32) {
    let length = prompt.len();
    let mut lines = vec![
        (Stream::Stdout, "hello: reading the prompt".to_owned()),
        (
            Stream::Stderr,
            format!("hello: a note on stderr, {length} bytes of prompt"),
        ),
        (Stream::Stdout, "hello: thinking".to_owned()),
    ];
    if prompt == "fail" {
        lines.push((Stream::Stderr, "hello: failing, as asked".to_owned()));
        return (lines, 3);
    }
    lines.extend([
        (Stream::Stdout, format!("hello: you said: {prompt}")),
        (Stream::Stdout, "hello: done".to_owned()),
    ]);
    (lines, 0)
}
