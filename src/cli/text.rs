//! Reads texts from files and stdin for a command line. They are sent to the daemon as JSON, so they must be UTF-8.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use super::CliError;
use crate::api::Code;
use crate::sys;

/// Reads stdin to its end.
pub(super) fn stdin_text() -> Result<String, CliError> {
    read_text("stdin", io::stdin())
}

/// Reads the file `path`.
pub(super) fn file_text(path: &Path) -> Result<String, CliError> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|err| failed(format!("{name}: {err}")))?;
    read_text(&name, file)
}

fn read_text(name: &str, mut source: impl Read) -> Result<String, CliError> {
    let mut bytes = Vec::new();
    let read = source.read_to_end(&mut bytes);
    read.map_err(|err| failed(format!("{name}: {err}")))?;
    String::from_utf8(bytes).map_err(|err| {
        let at = err.utf8_error().valid_up_to() + 1;
        failed(format!("{name} is not UTF-8: its byte {at} cannot be read"))
    })
}

fn failed(message: String) -> CliError {
    CliError::new(Code::IoError, message)
}

/// Creates the new output file `path` with mode 0600.
pub(super) fn create_new(path: &Path) -> Result<File, CliError> {
    sys::create_own(path).map_err(|err| not_created(path, &err))
}

/// Error: the file `path` could not be created.
pub(super) fn not_created(path: &Path, err: &io::Error) -> CliError {
    let shown = path.display();
    match err.kind() {
        io::ErrorKind::AlreadyExists => {
            CliError::new(Code::OutputExists, format!("{shown} is there already"))
        }
        _ => failed(format!("{shown}: {err}")),
    }
}

/// True if stdin is a pipe, socket or file with data to read. Neither reads nor waits.
pub(super) fn has_unread_input() -> bool {
    !io::stdin().is_terminal() && sys::bytes_waiting(&io::stdin()) > 0
}
