//! Texts and files that a command line names, this process's stdin among them: whatever goes to the daemon goes as JSON, and
//! must be UTF-8.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use super::CliError;
use crate::api::Code;
use crate::sys;

/// All of this process's stdin, read to its end.
pub(super) fn stdin_text() -> Result<String, CliError> {
    read_text("stdin", io::stdin())
}

/// All of the file `path`.
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

/// Makes the new file `path` for output, for its owner alone (mode 0600).
pub(super) fn create_new(path: &Path) -> Result<File, CliError> {
    sys::create_own(path).map_err(|err| not_created(path, &err))
}

/// Why there is no new file `path`.
pub(super) fn not_created(path: &Path, err: &io::Error) -> CliError {
    let shown = path.display();
    match err.kind() {
        io::ErrorKind::AlreadyExists => {
            CliError::new(Code::OutputExists, format!("{shown} is there already"))
        }
        _ => failed(format!("{shown}: {err}")),
    }
}

/// Whether stdin is a pipe, socket or file that has something to read right now. Nothing is read, and nothing waited for.
pub(super) fn has_unread_input() -> bool {
    !io::stdin().is_terminal() && sys::bytes_waiting(&io::stdin()) > 0
}
