//! The `hello` harness: this binary, behaving like an agent, so that every machine has one harness.
//!
//! Runs in a process of its own, under a daemon like any other harness; it knows nothing of one.

use std::io::{self, Write};

/// Works on `prompt`; returns the exit code. The prompt `fail` is one that it cannot do.
///
/// # Errors
/// Its output cannot be written.
pub fn run(prompt: &str) -> io::Result<i32> {
    let mut out = io::stdout().lock();
    let mut say = |line: &str| {
        writeln!(out, "{line}")?;
        // Each step is a write of its own, as an agent's are.
        out.flush()
    };
    say("hello: reading the prompt")?;
    writeln!(
        io::stderr(),
        "hello: a note on stderr, {} bytes of prompt",
        prompt.len()
    )?;
    say("hello: thinking")?;
    if prompt == "fail" {
        writeln!(io::stderr(), "hello: failing, as asked")?;
        return Ok(3);
    }
    say(&format!("hello: you said: {prompt}"))?;
    say("hello: done")?;
    Ok(0)
}
