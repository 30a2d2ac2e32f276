//! Requests and answers of the store's routes.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rules;
use super::wire::wire;

wire! {
    /// The optional body of `POST /store/prune`.
    #[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    pub struct PruneRequest {
        /// Only count what would be deleted.
        pub dry_run: bool,
        /// Keep output of this many days, at least 1, if that is less than the daemon's limit.
        pub days: Option<u32>,
    }

    /// The answer to `POST /store/prune`.
    #[derive(Debug, Clone, Copy, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct Pruned {
        /// Always true.
        pub ok: bool,
        /// Output events deleted, or to be deleted.
        pub events: u64,
        /// Bytes of output in those events.
        pub bytes: u64,
        /// Number of sessions that lost output.
        pub sessions: u64,
        /// Why old output is kept: the clock's jump is not confirmed yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub unconfirmed_clock: Option<UnconfirmedClock>,
    }

    /// An unconfirmed jump of the wall clock: by it the stored data looks older than observed.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct UnconfirmedClock {
        /// Milliseconds by which the wall clock jumped over times that no daemon observed, in jumps of more than a day.
        pub difference_ms: i64,
        /// Time to be observed before the jump counts, in milliseconds.
        pub left_ms: i64,
    }
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

wire! {
    /// The answer to `POST /store/vacuum`.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct Vacuumed {
        /// Always true.
        pub ok: bool,
        /// `ok`: a damaged database is not rewritten.
        pub integrity_check: String,
        /// Bytes by which the database has shrunk.
        pub bytes_freed: u64,
    }
}

impl Vacuumed {
    /// The answer of a successful vacuum; that of a damaged database fails.
    pub fn undamaged(bytes_freed: u64) -> Self {
        Self {
            ok: true,
            integrity_check: "ok".into(),
            bytes_freed,
        }
    }
}

wire! {
    /// The body of `POST /store/backup`.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct BackupRequest {
        /// Absolute path of the copy: a new file in an existing directory.
        #[serde(deserialize_with = "rules::absolute")]
        pub path: String,
    }

    /// The answer to `POST /store/backup`.
    #[derive(Debug, Clone, Copy, Serialize, Deserialize)]
    pub struct BackedUp {
        /// Always true.
        pub ok: bool,
        /// Size of the copy, in bytes.
        pub bytes: u64,
    }
}

/// Output of `coven restore --json`.
#[derive(Debug, Clone, Serialize)]
pub struct Restored {
    /// Always true.
    pub ok: bool,
    /// Size of the database, in bytes.
    pub bytes: u64,
    /// New path of the replaced database; its log has the same name and `-wal`.
    pub replaced: Option<String>,
}
