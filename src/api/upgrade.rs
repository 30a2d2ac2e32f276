//! Request, answer and refusals of an upgrade in place.
//!
//! Pure. It knows neither the program nor the handover.

use serde::{Deserialize, Serialize};

use super::wire::wire;
use super::words;

wire! {
    /// The optional body of `POST /daemon/upgrade`.
    #[derive(Debug, Clone, Default, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    pub struct UpgradeRequest {
        /// Absolute path of the new program; without it, the path from which the running program was started.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub binary: Option<String>,
        /// Only prove that the new program can take over.
        pub check: bool,
    }

    /// The answer to `POST /daemon/upgrade`, sent by the new program; with `check`, by the old one.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct Upgraded {
        /// Always true.
        pub ok: bool,
        /// Pid of the daemon, which an upgrade does not change.
        pub pid: u32,
        /// Version of the old program.
        pub from: String,
        /// Version of the new program.
        pub to: String,
        /// Live sessions carried over.
        pub sessions: u64,
        /// Milliseconds during which no output was read and no request was answered; 0 with `check`.
        pub took_ms: u64,
    }
}

words! {
    /// Why an upgrade is refused; nothing has changed then.
    pub enum UpgradeRefusal {
        /// The daemon is stopping.
        Stopping = "stopping",
        /// The event store cannot be written, or its copy before a migration cannot be made.
        StoreUnavailable = "store_unavailable",
        /// A prune, vacuum, backup or restore is running.
        Maintenance = "maintenance",
        /// The file is no program that can take over, or other users can change it.
        BinaryUnusable = "binary_unusable",
        /// The new program knows only older schemas of the database.
        NewerSchema = "newer_schema",
        /// The new program migrates the schema by steps that take too long while sessions run.
        MigrationNeedsRestart = "migration_needs_restart",
        /// Another upgrade runs, or work that cannot be handed over does not end.
        Busy = "busy",
    }
}

impl UpgradeRefusal {
    /// The next command.
    pub const fn next(self) -> &'static str {
        match self {
            Self::Stopping => "coven daemon start, once it has stopped",
            Self::StoreUnavailable => "coven daemon status, and df on COVEN_HOME",
            Self::Maintenance | Self::Busy => "the same again in a moment",
            Self::BinaryUnusable => {
                "coven daemon upgrade --binary FILE, with a coven that only you or root can change"
            }
            Self::NewerSchema => {
                "coven daemon upgrade --binary FILE, with a coven that knows the database's schema"
            }
            Self::MigrationNeedsRestart => "coven daemon restart (ends live sessions)",
        }
    }
}
