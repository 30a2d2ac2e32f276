//! `POST /daemon/upgrade`: replaces the daemon's program under its sessions.
//!
//! Runs on the connection thread: it checks the program, and brings the other connections to rest. The rest is the
//! state thread's; the next program answers.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crossbeam_channel::bounded;

use super::call::Call;
use super::parking::{Asker, Rest};
use super::response::Answer;
use crate::api::{ApiError, UpgradeRefusal, UpgradeRequest, Upgraded, routes, version};
use crate::state::{Command, StateEvent, Successor, Upgrade};
use crate::sys::passed::{Bytes, Passed};

/// The programs that can follow the running one.
pub trait Successors: Send + Sync {
    /// Finds and checks the program at `path`, or the installed one; changes nothing.
    ///
    /// # Errors
    /// The upgrade is refused.
    fn find(&self, path: Option<&Path>) -> Result<Successor, ApiError>;

    /// Prepares on disk what a way back from the program needs.
    ///
    /// # Errors
    /// The upgrade is refused.
    fn prepare(&self, successor: &Successor) -> Result<(), ApiError>;
}

/// `POST /daemon/upgrade`
pub(super) fn upgrade(call: &Call<'_, routes::UpgradeDaemon>) -> Result<Answer, ApiError> {
    let UpgradeRequest { binary, check } = call.body_or_default()?;
    let binary = binary.as_deref().map(Path::new);
    if binary.is_some_and(|path| !path.is_absolute()) {
        return Err(ApiError::invalid_field("binary", "binary must be absolute"));
    }
    let parking = call.server.parking();
    let Some(_turn) = parking.turn() else {
        return Err(ApiError::refused(
            UpgradeRefusal::Busy,
            "another upgrade is under way",
        ));
    };
    let successor = call.context.successors.find(binary)?;
    if parking.has_long_work() {
        let why = "the store is being pruned, vacuumed, checked or copied";
        return Err(ApiError::refused(UpgradeRefusal::Maintenance, why));
    }
    call.context.ask(Command::CheckUpgrade)?;
    if check {
        return call.ok(&Upgraded {
            ok: true,
            pid: call.context.daemon.pid,
            from: version().into(),
            to: successor.version,
            sessions: call.context.live.load(Ordering::Relaxed),
            took_ms: 0,
        });
    }
    call.context.successors.prepare(&successor)?;
    let refusal = hand_over(call, successor);
    call.server.go_on();
    Err(refusal)
}

/// Returns only if this program goes on.
fn hand_over(call: &Call<'_, routes::UpgradeDaemon>, successor: Successor) -> ApiError {
    let begun = Instant::now();
    if let Err(refusal) = call.server.come_to_rest() {
        return refusal;
    }
    let asker = Asker {
        stream: Passed::borrowed(call.stream),
        rest: Rest {
            unread: Bytes(call.unread.to_vec()),
            has_asked: true,
            closes: !call.request.keep_alive,
            ..Rest::default()
        },
        request_id: call.id.to_owned(),
        minor: call.request.minor,
    };
    call.server.parking().set_asker(asker);
    let (failed, answer) = bounded(1);
    let upgrade = Upgrade {
        successor,
        begun,
        failed,
    };
    let _ = call.context.state.send(StateEvent::HandOver(upgrade));
    answer.recv().unwrap_or(ApiError::ShuttingDown)
}
