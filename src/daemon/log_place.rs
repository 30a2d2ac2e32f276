//! Records where the newest daemon of a home writes its log (`logs/place`), so that the log can be found after the
//! daemon's end.
//!
//! Written on the daemon's main thread at its start, read in the CLI's process. It does not know how a log is read.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Home;
use super::service::{self, Unit};
use crate::observe::journal;
use crate::observe::log::Destination;
use crate::sys;

/// Location of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogPlace {
    /// A file; rotated files are beside it.
    File(PathBuf),
    /// systemd's journal, as messages of `unit`.
    Journal {
        unit: Unit,
        /// The journal's namespace, if the unit has one (systemd.exec(5), `LogNamespace=`).
        namespace: Option<String>,
    },
    /// A place that cannot be read. The text names the daemon's stderr, and the process that started it.
    Stderr(String),
}

impl LogPlace {
    /// Location of the log of `home`'s newest daemon, as far as it is recorded.
    pub fn of(home: &Home) -> Self {
        let file = home.log_file();
        if let Some(place) = home.read_json(&home.log_place_file()) {
            return place;
        }
        // A unit whose daemon failed before it opened the log file has written to the journal.
        let unit = (!file.exists())
            .then(|| service::unit_of_home(home.path()))
            .flatten();
        unit.map_or(Self::File(file), |(unit, _)| Self::Journal {
            unit,
            namespace: None,
        })
    }

    /// Location of this process's stderr log.
    pub(super) fn of_stderr() -> Self {
        if journal::is_stderr() {
            let namespace = journal::namespace_of_stderr();
            return match service::own_unit() {
                Some(unit) => Self::Journal { unit, namespace },
                // In a scope without a known name, such as a desktop's.
                None => {
                    let pid = std::process::id();
                    Self::Stderr(format!("the journal (journalctl _PID={pid})"))
                }
            };
        }
        let path = sys::path_of(&io::stderr());
        let meta = sys::metadata_of(&io::stderr());
        let kind = meta.as_ref().map(std::fs::Metadata::file_type);
        let id = meta.as_ref().ok().map(sys::file_id);
        let what = match (kind, path) {
            (Ok(kind), Some(path)) if kind.is_file() && sys::named_file_id(&path) == id => {
                return Self::File(path);
            }
            (Ok(kind), _) if kind.is_fifo() => "a pipe".into(),
            (Ok(kind), _) if kind.is_socket() => "a socket".into(),
            (_, Some(path)) => path.display().to_string(),
            (_, None) => "which leads nowhere".into(),
        };
        let parent = std::os::unix::process::parent_id().cast_signed();
        let parent = sys::command_name(parent);
        let parent = parent.map(|name| format!(" (started by {name})"));
        Self::Stderr(format!("its stderr, {what}{}", parent.unwrap_or_default()))
    }
}

/// Records `place` in `home`, whose lock this process holds; `None` is the home's own log file, which moves with the
/// home.
///
/// # Errors
/// The error of open(2), write(2) or rename(2). Then no record is left: an older daemon's would be misleading.
pub(super) fn record(home: &Home, place: Option<&LogPlace>) -> io::Result<()> {
    let record = home.log_place_file();
    let _ = std::fs::remove_file(&record);
    place.map_or(Ok(()), |place| home.write_json(&record, place))
}

/// The destination of this process's log records for `place`.
pub(super) fn destination(place: Option<&LogPlace>) -> Destination {
    match place {
        None => Destination::File(Home::entered().log_file()),
        Some(_) if journal::is_stderr() => Destination::Journal,
        Some(_) => Destination::Stderr,
    }
}
