//! What the store's own routes take and answer.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rules;

/// The body of `POST /store/prune`, which may be left out.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PruneRequest {
    /// Only say what would go.
    pub dry_run: bool,
    /// Keep the output of so many days, at least 1, where that is less than the daemon keeps.
    pub days: Option<u32>,
}

/// The answer to `POST /store/prune`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pruned {
    /// True.
    pub ok: bool,
    /// Output events that are gone, or would be.
    pub events: u64,
    /// What the harnesses had written in them, in bytes.
    pub bytes: u64,
    /// Sessions that have lost output.
    pub sessions: u64,
    /// Why output that looks old enough is kept, if some is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconfirmed_clock: Option<UnconfirmedClock>,
}

/// How much older than observed the wall clock makes the store's content, until that is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnconfirmedClock {
    /// By how much the wall clock has moved over times that no daemon has observed, in milliseconds: only what is longer
    /// than a day.
    pub difference_ms: i64,
    /// How much time has to be observed before it counts, in milliseconds.
    pub left_ms: i64,
}

impl fmt::Display for UnconfirmedClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days =
            Duration::from_millis(self.difference_ms.unsigned_abs()).as_secs() / (24 * 60 * 60);
        let left = Duration::from_millis(self.left_ms.max(0).unsigned_abs());
        let minutes = left.as_secs().div_ceil(60);
        write!(
            f,
            "output that looks too old is kept: the clock moved by {days} days while no daemon observed it, \
             and {} h {} min of observed time have to confirm that",
            minutes / 60,
            minutes % 60
        )
    }
}

/// The answer to `POST /store/vacuum`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vacuumed {
    /// True.
    pub ok: bool,
    /// `ok`: a database that is damaged is not written anew.
    pub integrity_check: String,
    /// By how much the database has become smaller.
    pub bytes_freed: u64,
}

impl Vacuumed {
    /// The answer of a vacuum that went well: one of a damaged database fails.
    pub fn undamaged(bytes_freed: u64) -> Self {
        Self {
            ok: true,
            integrity_check: "ok".into(),
            bytes_freed,
        }
    }
}

/// The body of `POST /store/backup`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BackupRequest {
    /// The copy: absolute, a new file in an existing directory.
    #[serde(deserialize_with = "rules::argument")]
    pub path: String,
}

/// The answer to `POST /store/backup`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct BackedUp {
    /// True.
    pub ok: bool,
    /// The size of the copy.
    pub bytes: u64,
}

/// What `coven restore --json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Restored {
    /// True.
    pub ok: bool,
    /// The size of the database, in bytes.
    pub bytes: u64,
    /// Where the database that was there is now.
    pub replaced: Option<String>,
}
