//! Collects everything that the next program goes on with, and executes that program.
//!
//! Runs on the main thread, once all sessions and connections are at rest. Whatever fails here leaves this program as it
//! is.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use super::take_up;
use super::{FORMAT, Handover};
use crate::api::{ApiError, UpgradeRefusal, version};
use crate::daemon::guard::Guard;
use crate::daemon::serve::Shared;
use crate::daemon::service::notify::Notifier;
use crate::http;
use crate::observe::log::Log;
use crate::observe::{field, metrics, say};
use crate::settings::durations;
use crate::state::{HandingOver, State, StateHandover, Upgrade};
use crate::sys::passed::{self, Bytes, Moment, Passed};
use crate::sys::{self, Execution, OomWatch};

/// The rooms that hand over, besides the state.
pub(in crate::daemon) struct Rooms<'a> {
    pub(in crate::daemon) server: &'a http::Server,
    pub(in crate::daemon) notifier: &'a Notifier,
    pub(in crate::daemon) log: &'a Log,
    pub(in crate::daemon) shared: &'a Shared,
}

impl Rooms<'_> {
    /// Executes the next program, which goes on with everything. Returns only if this program goes on, and then all its
    /// sessions do.
    pub(in crate::daemon) fn hand_over(&self, handing_over: HandingOver, state: &mut State) {
        // Signals that arrive from here on wait for the next program.
        let gate = self.shared.lookout.close_gate();
        let is_stopping = state.is_stop_waiting();
        let failed = self.try_to_hand_over(&handing_over.upgrade, state, is_stopping);
        drop(gate);
        state.go_on(handing_over, failed);
        if is_stopping {
            state.stop_by_signal();
        }
    }

    fn try_to_hand_over(
        &self,
        upgrade: &Upgrade,
        state: &mut State,
        is_stopping: bool,
    ) -> ApiError {
        if is_stopping {
            return ApiError::refused_by_stop();
        }
        let Some(_paused) = self.shared.queue.pause(durations::SETTLE_STORE) else {
            let why = "the store does not commit what is queued";
            return ApiError::refused(UpgradeRefusal::StoreUnavailable, why);
        };
        let failed = |err: io::Error| ApiError::UpgradeFailed {
            reason: err.to_string(),
        };
        let Some(clients) = self.server.hand_over() else {
            return failed(io::Error::other("no client waits for the upgrade"));
        };
        let Some(guard) = self.shared.lookout.guard() else {
            return failed(io::Error::other("the home is not guarded"));
        };
        let sessions = match state.handover() {
            Ok(sessions) => sessions,
            Err(err) => return failed(err),
        };
        let document = self.document(upgrade, sessions, clients, &guard);
        let sessions = document.state.live();
        let to = field::Version(&upgrade.successor.version);
        say!(UpgradeBegun, from: field::Version(version()), to, sessions);
        self.log.flush();
        let now = sys::monotonic_micros();
        // The next program has the whole period for its take-up, or the way back.
        self.notifier.send(format_args!(
            "RELOADING=1\nMONOTONIC_USEC={now}\nWATCHDOG=1"
        ));
        let err = execute(&document, &upgrade.successor.program);
        self.notifier.send(format_args!("READY=1"));
        state.give_back(document.state);
        sys::keep_inherited_descriptors();
        failed(err)
    }

    fn document(
        &self,
        upgrade: &Upgrade,
        state: StateHandover,
        clients: http::HttpHandover,
        guard: &Guard,
    ) -> Handover {
        let (shared, origin) = (self.shared, &self.shared.origin);
        let redactions = shared.redactor.counts().into_iter();
        Handover {
            format: FORMAT,
            from: version().to_owned(),
            begun: Moment::from(upgrade.begun),
            home: Bytes::from(guard.home().path()),
            lock: guard.lock(),
            listener: self.server.listener(),
            names: shared.lookout.names(),
            is_socket_own: guard.is_socket_own(),
            started: Moment::from(origin.started),
            started_at: origin.started_at,
            upgraded_at: origin.upgraded_at,
            installed: Bytes::from(origin.installed.as_path()),
            program: Bytes::from(upgrade.successor.path.as_path()),
            open_files_before: sys::open_files_before(),
            oom_claimed: OomWatch::claimed(),
            redactions: passed::table(redactions),
            metrics: metrics::hand_over(),
            store: shared.status.hand_over(),
            state,
            clients,
        }
    }
}

/// Executes `program` with the document. No thread can start another program now: only from here on are descriptors
/// inherited. Returns only the error.
fn execute(document: &Handover, program: &OwnedFd) -> io::Error {
    let prepared = || {
        let mut file = sys::memory_file()?;
        serde_json::to_writer(io::BufWriter::new(&file), document)?;
        file.flush()?;
        #[cfg(debug_assertions)]
        take_up::fail_as_told("collect")?;
        let own = sys::own_program()?;
        for fd in [Passed::borrowed(&file), Passed::borrowed(&own)] {
            serde_json::to_value(fd)?;
        }
        Ok((file, own))
    };
    match prepared() {
        Ok((file, own)) => {
            let arguments = take_up::arguments(file.as_raw_fd(), own.as_raw_fd());
            Execution::new(program.as_raw_fd(), arguments).execute()
        }
        Err(err) => err,
    }
}
