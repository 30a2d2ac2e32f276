//! Replaces the program of a running daemon by execve(2): pid, children, socket and sessions stay.
//!
//! [`binary`] opens the new program once; the check and the exec use that descriptor. [`check`] runs in a process of
//! the new program, before anything has changed. `collect` gathers the parts of all rooms into one document, and
//! [`take_up`] hands them to the same rooms of the next program. The previous program stays open, and is executed again
//! if the next one fails. Each room gives and takes its own part: none of it is known here.

pub mod binary;
pub mod check;
pub(super) mod collect;
pub(super) mod successor;
pub mod take_up;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::Timestamp;
use crate::http::HttpHandover;
use crate::observe::metrics::MetricsHandover;
use crate::state::StateHandover;
use crate::store::StatusHandover;
use crate::sys::passed::{Bytes, Moment, Passed};

/// Newest format of a handover that this program writes and reads. A field that is added later has a default. Format 1 had
/// all fields of each session; since 2, those with their default are left out.
pub const FORMAT: u32 = 2;

/// Everything that the next program goes on with. The rest is on disk, in the settings, or in the kernel.
#[derive(Serialize, Deserialize)]
pub(super) struct Handover {
    pub(super) format: u32,
    /// Version of the program that hands over.
    pub(super) from: String,
    /// When the first client began to wait.
    pub(super) begun: Moment,
    /// Path of the home, which may have been moved since the start.
    pub(super) home: Bytes,
    pub(super) lock: Passed,
    pub(super) listener: Passed,
    /// Reports changes of names in the home.
    #[serde(default)]
    pub(super) names: Option<Passed>,
    /// The daemon, not a service manager, created the socket's file.
    pub(super) is_socket_own: bool,
    /// The start of the first program, by both clocks.
    pub(super) started: Moment,
    pub(super) started_at: Timestamp,
    pub(super) upgraded_at: Option<Timestamp>,
    /// Path of the program that an upgrade takes by default, and of the one that takes over.
    pub(super) installed: Bytes,
    pub(super) program: Bytes,
    /// The inherited soft limit on open files, if it was raised.
    pub(super) open_files_before: Option<u64>,
    /// Kills by the OOM killer that sessions have claimed.
    pub(super) oom_claimed: u64,
    /// Removed secrets, by kind.
    pub(super) redactions: BTreeMap<String, u64>,
    pub(super) metrics: MetricsHandover,
    pub(super) store: StatusHandover,
    pub(super) state: StateHandover,
    pub(super) clients: HttpHandover,
}
