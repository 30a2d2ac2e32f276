//! Records failed commands in `logs/cli.log`, in the log's text format.
//!
//! Runs in the CLI's process, at its end. A record has the verb, the error code and the exit code. It never contains
//! arguments or output, which may include a path or a prompt.

use std::io::Write;
use std::path::Path;

use super::event::LogEvent;
use super::field::{UNKNOWN_CODE, Verb};
use super::record::LogRecord;
use super::rotate::RotatingFile;
use crate::api::{Code, Word};

/// Size in bytes at which the file is rotated: some two thousand records.
const SIZE_MAX: u64 = 256 * 1024;

#[derive(Debug, Clone, Copy)]
pub struct FailedCommand<'a> {
    /// The verb, such as `kill` or `daemon start`; empty if the command line has none.
    pub verb: &'a str,
    pub code: &'a Word<Code>,
    /// The exit code of the process.
    pub exit: u8,
}

impl FailedCommand<'_> {
    /// Appends the record to the file at `path`; creates the file with mode 0600 if its directory exists. It is one
    /// write, so that concurrent commands do not mix their lines.
    ///
    /// Best effort: a failed write cannot be reported anywhere.
    pub fn append_to(&self, path: &Path) {
        let line = format!("{}\n", self.record());
        if let Ok(mut file) = RotatingFile::open(path.to_owned(), SIZE_MAX) {
            let _ = file.write(line.as_bytes());
        }
    }

    fn record(&self) -> LogRecord {
        // Any process that listens on the socket can send a code.
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
