//! The commands that failed: a record each in `logs/cli.log`, in the log's own text format.
//!
//! Runs in the CLI's process, at its end. A record has the verb, the code and the exit code, and nothing of what was
//! typed or printed: a message can hold a path or a prompt.

use std::io::Write;
use std::path::Path;

use super::event::LogEvent;
use super::field::{UNKNOWN_CODE, Verb};
use super::record::LogRecord;
use super::rotate::RotatingFile;
use crate::api::{Code, Word};

/// A file is renamed when it would pass this many bytes: some two thousand records.
const SIZE_MAX: u64 = 256 * 1024;

/// A command that failed.
#[derive(Debug, Clone, Copy)]
pub struct FailedCommand<'a> {
    /// The verb, as `kill` or `daemon start`; empty for a command line without one.
    pub verb: &'a str,
    /// The structured error code.
    pub code: &'a Word<Code>,
    /// What the process exits with.
    pub exit: u8,
}

impl FailedCommand<'_> {
    /// Appends its record to the file at `path`, which is made (mode 0600) where its directory is. One write, so that
    /// commands that fail at the same time do not mix their lines.
    ///
    /// Best effort: a record that cannot be written has nobody to be told to.
    pub fn append_to(&self, path: &Path) {
        let line = format!("{}\n", self.record());
        if let Ok(mut file) = RotatingFile::open(path.to_owned(), SIZE_MAX) {
            let _ = file.write(line.as_bytes());
        }
    }

    fn record(&self) -> LogRecord {
        // A code can come from whoever listens on the socket.
        let is_word = |code: &str| {
            code.len() <= 64 && code.bytes().all(|b| b == b'_' || b.is_ascii_lowercase())
        };
        let code = match self.code {
            Word::Other(text) if !is_word(text) => Word::Other(UNKNOWN_CODE.to_owned()),
            code => code.clone(),
        };
        LogRecord::of(&LogEvent::CommandFailed {
            verb: Verb(self.verb),
            code,
            exit: self.exit,
            pid: std::process::id(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_word_whoever_sent_it() {
        let record = |code: &str| {
            let command = FailedCommand {
                verb: "daemon start",
                code: &Word::read(code.to_owned()),
                exit: 1,
            };
            command.record().to_string()
        };
        let pid = std::process::id();
        let expected = format!(
            " ERROR event=command_failed verb=\"daemon start\" code=io_error exit=1 pid={pid}"
        );
        assert!(record("io_error").ends_with(&expected));
        for hostile in ["a prompt", "x\nERROR", "s3cret", &"x".repeat(65)] {
            assert!(record(hostile).contains(" code=unknown "), "{hostile}");
        }
    }
}
