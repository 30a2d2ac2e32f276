//! Where the newest daemon of a home logs to: `logs/place`, so that it can be read when that daemon has ended, too.
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

/// Where a log is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogPlace {
    /// In a file, and older ones beside it.
    File(PathBuf),
    /// In systemd's journal, as what `unit` has said.
    Journal {
        /// The unit.
        unit: Unit,
        /// The journal's namespace, where the unit has one of its own (systemd.exec(5), `LogNamespace=`).
        namespace: Option<String>,
    },
    /// Nowhere that can be read. For a message: what the daemon's stderr is, and who has started it, and so may read it.
    Stderr(String),
}

impl LogPlace {
    /// Where the log of `home` is: the one of its newest daemon, as far as that has left word of it.
    pub fn of(home: &Home) -> Self {
        let file = home.log_file();
        if let Some(place) = home.read_json(&home.log_place_file()) {
            return place;
        }
        // A unit whose daemon has not come to that point has said why in the journal.
        let unit = (!file.exists())
            .then(|| service::unit_of_home(home.path()))
            .flatten();
        unit.map_or(Self::File(file), |(unit, _)| Self::Journal {
            unit,
            namespace: None,
        })
    }

    /// That of this process, which logs to its stderr.
    pub(super) fn of_stderr() -> Self {
        if journal::is_stderr() {
            let namespace = journal::namespace_of_stderr();
            return match service::own_unit() {
                Some(unit) => Self::Journal { unit, namespace },
                // In no unit that would be known by its name: a desktop's scope.
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

/// Leaves word in `home`, whose lock this process holds, that it logs to `place`; `None` is the home's own file, wherever that is
/// moved.
///
/// # Errors
/// What open(2), write(2) or rename(2) report. No word is left then: that of an older daemon would lead to its log.
pub(super) fn record(home: &Home, place: Option<&LogPlace>) -> io::Result<()> {
    let record = home.log_place_file();
    let _ = std::fs::remove_file(&record);
    place.map_or(Ok(()), |place| home.write_json(&record, place))
}

/// Where the records of this process go, which leaves word of `place`.
pub(super) fn destination(place: Option<&LogPlace>) -> Destination {
    match place {
        None => Destination::File(Home::entered().log_file()),
        Some(_) if journal::is_stderr() => Destination::Journal,
        Some(_) => Destination::Stderr,
    }
}
