//! What the store's own routes answer.

use serde::{Deserialize, Serialize};

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

/// The answer to `POST /store/backup`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct BackedUp {
    /// True.
    pub ok: bool,
    /// The size of the copy.
    pub bytes: u64,
}
