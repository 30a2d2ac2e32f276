//! The reason of the last failed start: one record in `logs/last-failure`, and the status text for the service manager.
//!
//! Written on the daemon's main thread before it exits; read in the CLI's process. It knows no particular cause: the
//! error provides the text.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::error::ServeError;
use super::home::Home;
use super::service::notify::Notifier;
use super::service::{self, Unit, UnitState};
use crate::api::{Code, Timestamp, Word};
use crate::redact::Redactor;
use crate::sys;

/// Smallest allocation unit of a file system, in bytes.
const BLOCK_BYTES: usize = 4096;

/// Prefix of the reason in the service manager's status text.
const FAILED: &str = "failed: ";

/// A failed start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartFailure {
    /// Time of the failure; `None` if only the service manager reported it.
    pub at: Option<Timestamp>,
    /// Pid of the failed daemon.
    pub pid: Option<u32>,
    pub code: Word<Code>,
    /// The error's message.
    pub reason: String,
    /// The next command to try.
    pub next: String,
}

impl StartFailure {
    /// Reads the record in `home`; `None` if there is none, or if it is unreadable. The next start that serves removes
    /// it.
    pub fn recorded(home: &Home) -> Option<Self> {
        home.read_json(&home.last_failure_file())
    }

    /// Failure of a systemd unit that serves `home`, and has failed or waits for its restart.
    pub fn of_home(home: &Home) -> Option<Self> {
        let (unit, state) = service::unit_of_home(home.path())?;
        if !state.has_failed() {
            return None;
        }
        Some(Self::of_unit(&unit, &state).unwrap_or_else(|| {
            let reason = format!("{unit} is {} ({})", state.active, state.result);
            Self::without_record(&unit, reason)
        }))
    }

    /// The reason in the status text of `unit`'s daemon; `None` if there is none.
    pub(super) fn of_unit(unit: &Unit, state: &UnitState) -> Option<Self> {
        let reason = state.status.strip_prefix(FAILED)?;
        Some(Self::without_record(unit, reason.to_owned()))
    }

    fn without_record(unit: &Unit, reason: String) -> Self {
        Self {
            at: None,
            pid: None,
            code: Code::DaemonStartFailed.into(),
            reason,
            next: unit.journal(),
        }
    }
}

/// Reports why the daemon ends: to the service manager, and for the next `daemon status` if it never served.
pub(super) fn tell(home: &Home, err: &ServeError, has_served: bool) {
    let redactor = Redactor::load(&home.redact_file()).0;
    let reason = redactor.redact(&err.to_string()).into_owned();
    tell_manager(&reason);
    // Another daemon serves the home, or may: this start's failure says nothing about that daemon.
    let is_anothers = matches!(
        err,
        ServeError::AlreadyRunning { .. } | ServeError::Locked { .. }
    );
    if has_served || is_anothers {
        return;
    }
    let failure = StartFailure {
        at: Some(Timestamp::now()),
        pid: Some(std::process::id()),
        code: err.code().into(),
        reason,
        next: err.next(),
    };
    // An older reason would be mistaken for this start's, and on a full disk the new record needs its block.
    let _ = std::fs::remove_file(home.last_failure_file());
    let _ = record(home, &failure);
}

/// Sends the reason to the service manager, if there is one, as status text.
pub fn tell_manager(reason: &str) {
    // sd_notify(3): one assignment per line.
    let line: String = reason
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    Notifier::from_env().send(format_args!("STATUS={FAILED}{line}"));
}

/// Removes the record once a daemon serves or has stopped cleanly. Keeps the draft's file, whose block the next record
/// can use on a full disk.
pub(super) fn forget(home: &Home) {
    let _ = std::fs::remove_file(home.last_failure_file());
    let draft = Home::draft(&home.last_failure_file());
    let _ = sys::create_own(&draft).and_then(|mut file| file.write_all(&[b' '; BLOCK_BYTES]));
}

/// Writes the record, if the home belongs to this user and is private.
fn record(home: &Home, failure: &StartFailure) -> io::Result<()> {
    let is_own = home.check_own().and_then(|()| home.check());
    is_own
        .and_then(|()| home.create_logs())
        .map_err(|err| io::Error::other(err.to_string()))?;
    home.write_json(&home.last_failure_file(), failure)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{DirBuilderExt, symlink};

    use super::*;

    #[test]
    fn a_record_reads_back_and_what_is_none_is_not_there() {
        let dir = std::env::temp_dir().join(format!("coven-failure-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
        let home = Home::of_socket(&dir.join("coven.sock"));
        assert_eq!(StartFailure::recorded(&home), None);
        let failure = StartFailure {
            at: Some(Timestamp::from_millis(1)),
            pid: Some(7),
            code: Code::StoreUnavailable.into(),
            reason: "two\nlines \u{9b}".into(),
            next: String::new(),
        };
        record(&home, &failure).unwrap();
        assert_eq!(StartFailure::recorded(&home), Some(failure.clone()));
        let file = home.last_failure_file();
        for text in ["", "{", "{}", "null", "\u{0}"] {
            fs::write(&file, text).unwrap();
            assert_eq!(StartFailure::recorded(&home), None, "{text:?}");
        }
        fs::remove_file(&file).unwrap();
        symlink("/dev/zero", &file).unwrap();
        assert_eq!(StartFailure::recorded(&home), None);
        // A symbolic link is replaced, not followed.
        record(&home, &failure).unwrap();
        assert_eq!(StartFailure::recorded(&home), Some(failure));
        forget(&home);
        assert!(!file.exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
