//! Proves in a process of the new program that it can take over from the daemon that starts it.
//!
//! Runs on the main thread of `daemon serve --check-handover`, in the daemon's home and environment. It changes nothing.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::FORMAT;
use crate::api::{UpgradeRefusal, version};
use crate::daemon::home::Home;
use crate::store::{self, StoreError};

/// Answer of a new program about a takeover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fitness {
    /// Version of the new program.
    pub version: String,
    /// Why it cannot take over, if so.
    #[serde(default)]
    pub refusal: Option<Refusal>,
    /// Schema version to which it migrates the database, if that is a newer one.
    #[serde(default)]
    pub migrates_to: Option<usize>,
}

/// Why an upgrade is refused, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub reason: UpgradeRefusal,
    pub message: String,
}

impl Refusal {
    pub fn new(reason: UpgradeRefusal, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { reason, message }
    }
}

/// Judges whether this program can take over a handover of `format` in the home that is the working directory.
pub fn fitness(format: u32) -> Fitness {
    #[cfg(debug_assertions)]
    let _ = super::take_up::fail_as_told("check");
    let found = schema(format, &Home::entered().database());
    Fitness {
        version: version().to_owned(),
        refusal: found.as_ref().err().cloned(),
        migrates_to: found
            .ok()
            .filter(|from| *from < store::own_schema())
            .map(|_| store::own_schema()),
    }
}

/// Schema version of the database.
fn schema(format: u32, database: &Path) -> Result<usize, Refusal> {
    use UpgradeRefusal::{BinaryUnusable, MigrationNeedsRestart, NewerSchema, StoreUnavailable};
    if format > FORMAT {
        let message = format!(
            "it takes over from programs with handover format {FORMAT} and older, not {format}"
        );
        return Err(Refusal::new(BinaryUnusable, message));
    }
    let found = store::schema_version(database).map_err(|err| {
        let reason = match err {
            StoreError::Newer { .. } => NewerSchema,
            _ => StoreUnavailable,
        };
        Refusal::new(reason, err.to_string())
    })?;
    if store::needs_long_migration(found) {
        let message = format!(
            "the step from schema version {found} to {} reads every row: restart the daemon instead",
            store::own_schema()
        );
        return Err(Refusal::new(MigrationNeedsRestart, message));
    }
    Ok(found)
}
