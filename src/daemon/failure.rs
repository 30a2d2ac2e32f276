//! Why the last start of a daemon failed: `logs/last-failure`, one record, and the status text of the service manager.
//!
//! Written on the daemon's main thread before it exits, and read in the CLI's process. It knows no cause in particular: a
//! reason is a text, which the error gives.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::error::ServeError;
use super::home::Home;
use super::service::notify::Notifier;
use super::service::{self, Unit, UnitState};
use crate::api::{Code, Timestamp, Word};
use crate::redact::Redactor;
use crate::sys;

/// What a file system gives to a file at least, in bytes.
const BLOCK_BYTES: usize = 4096;

/// Before the reason, in the status text of the service manager.
const FAILED: &str = "failed: ";

/// Why a start failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// When; not known of what only the service manager says.
    pub at: Option<Timestamp>,
    /// The process that failed.
    pub pid: Option<u32>,
    /// The code of the error.
    pub code: Word<Code>,
    /// The error, for a person.
    pub reason: String,
    /// What to try next.
    pub next: String,
}

impl Failure {
    /// The record in `home`, which the next start that serves removes; `None` where there is none that can be read.
    pub fn recorded(home: &Home) -> Option<Self> {
        home.read_json(&home.last_failure_file())
    }

    /// What systemd says of a unit that serves `home` and has failed, or waits to be started again.
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

    /// The reason that the daemon of `unit` has left in its status text; `None` where there is none.
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

/// Tells why the daemon ends: the service manager, and the next `daemon status` if it has not served.
pub(super) fn tell(home: &Home, err: &ServeError, has_served: bool) {
    let redactor = Redactor::load(&home.redact_file()).0;
    let reason = redactor.redact(&err.to_string()).into_owned();
    tell_manager(&reason);
    // Another daemon serves the home, or may: this start says nothing of that one.
    let is_anothers = matches!(
        err,
        ServeError::AlreadyRunning { .. } | ServeError::Locked { .. }
    );
    if has_served || is_anothers {
        return;
    }
    let failure = Failure {
        at: Some(Timestamp::now()),
        pid: Some(std::process::id()),
        code: err.code().into(),
        reason,
        next: err.next(),
    };
    // An older reason would be taken for this start's, and on a full disk this one needs its block.
    let _ = std::fs::remove_file(home.last_failure_file());
    let _ = record(home, &failure);
}

/// Gives the service manager, if there is one, the reason in its status text.
pub fn tell_manager(reason: &str) {
    // Assignments are a line each.
    let line: String = reason
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    Notifier::from_env().send(format_args!("STATUS={FAILED}{line}"));
}

/// Removes the record: a daemon serves, or has ended as it should. Its draft keeps a block for the next one, which a full
/// disk would not have.
pub(super) fn forget(home: &Home) {
    let _ = std::fs::remove_file(home.last_failure_file());
    let draft = Home::draft(&home.last_failure_file());
    let _ = sys::create_own(&draft).and_then(|mut file| file.write_all(&[b' '; BLOCK_BYTES]));
}

/// Writes the record into a home that this user may use as such; into another, nothing is written.
fn record(home: &Home, failure: &Failure) -> io::Result<()> {
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
        assert_eq!(Failure::recorded(&home), None);
        let failure = Failure {
            at: Some(Timestamp::from_millis(1)),
            pid: Some(7),
            code: Code::StoreUnavailable.into(),
            reason: "two\nlines \u{9b}".into(),
            next: String::new(),
        };
        record(&home, &failure).unwrap();
        assert_eq!(Failure::recorded(&home), Some(failure.clone()));
        let file = home.last_failure_file();
        for text in ["", "{", "{}", "null", "\u{0}"] {
            fs::write(&file, text).unwrap();
            assert_eq!(Failure::recorded(&home), None, "{text:?}");
        }
        fs::remove_file(&file).unwrap();
        symlink("/dev/zero", &file).unwrap();
        assert_eq!(Failure::recorded(&home), None);
        // A link is replaced, not followed.
        record(&home, &failure).unwrap();
        assert_eq!(Failure::recorded(&home), Some(failure));
        forget(&home);
        assert!(!file.exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
