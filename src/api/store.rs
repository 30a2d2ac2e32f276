//! What the store's own routes take and answer.

use serde::{Deserialize, Serialize};

use super::rules;

/// The body of `POST /store/prune`, which may be left out.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PruneRequest {
    /// Only say what would go.
    pub dry_run: bool,
}

/// The answer to `POST /store/prune`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Pruned {
    /// True.
    pub ok: bool,
    /// Output events that are gone, or would be.
    pub events: u64,
    /// What the harnesses had written in them, in bytes.
    pub bytes: u64,
    /// Sessions that have lost output.
    pub sessions: u64,
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
