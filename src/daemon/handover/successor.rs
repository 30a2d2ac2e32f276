//! Finds and checks the program of an upgrade, and prepares on disk what a way back from it needs.
//!
//! Runs on the connection thread of the upgrade, while sessions run. It changes no session.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::binary::{self, Program};
use super::check::Refusal;
use crate::api::{ApiError, UpgradeRefusal};
use crate::daemon::home::Home;
use crate::http;
use crate::settings::durations;
use crate::state::Successor;
use crate::store::{Reader, Refused, WriteQueue};
use crate::sys;

/// The programs that can follow this one.
pub(in crate::daemon) struct Successors {
    /// Path of the program that an upgrade takes by default.
    pub(in crate::daemon) installed: PathBuf,
    pub(in crate::daemon) reader: Reader,
    pub(in crate::daemon) queue: WriteQueue,
}

impl http::Successors for Successors {
    fn find(&self, path: Option<&Path>) -> Result<Successor, ApiError> {
        let refuse = |refusal: Refusal| ApiError::refused(refusal.reason, refusal.message);
        let program = Program::open(path.unwrap_or(&self.installed)).map_err(refuse)?;
        let fitness = program.check(durations::CHECK_PROGRAM).map_err(refuse)?;
        if fitness.migrates_to.is_some() {
            self.reader.check_room_before().map_err(not_copied)?;
        }
        check_room().map_err(not_kept)?;
        Ok(program.into_successor(fitness))
    }

    fn prepare(&self, successor: &Successor) -> Result<(), ApiError> {
        if let Some(version) = successor.migrates_to {
            self.reader.copy_before(version).map_err(not_copied)?;
        }
        keep_program().map_err(|err| {
            // A part of it would hold the room that sessions need.
            remove_draft();
            not_kept(err)
        })?;
        // The next program reads the whole log before it can serve, and sessions wait for that.
        self.queue.shorten_log(durations::SHORTEN_LOG);
        Ok(())
    }
}

fn not_copied(refused: Refused) -> ApiError {
    let why = ApiError::from(refused).message();
    ApiError::refused(UpgradeRefusal::StoreUnavailable, why)
}

fn not_kept(err: io::Error) -> ApiError {
    let why = format!("the running program cannot be kept: {err}");
    ApiError::refused(UpgradeRefusal::StoreUnavailable, why)
}

fn running_program() -> io::Result<File> {
    let own = sys::own_program()?;
    // The file of that name can be the new program already.
    match sys::descriptor_path(&own) {
        Some(path) => File::open(path),
        None => File::open(binary::own_path()?),
    }
}

/// Checks that the running program's copy leaves room for what sessions write meanwhile.
fn check_room() -> io::Result<()> {
    let length = running_program()?.metadata()?.len();
    let free = sys::free_bytes(&Home::entered().database())?;
    if free < 2 * length {
        let why = format!("it takes {length} bytes, and as many must stay free; {free} are free");
        return Err(io::Error::new(io::ErrorKind::StorageFull, why));
    }
    Ok(())
}

/// Copies the running program into the home, as a draft until the upgrade has succeeded.
fn keep_program() -> io::Result<()> {
    remove_draft();
    let mut copy = sys::create_own(&draft())?;
    io::copy(&mut running_program()?, &mut copy)?;
    copy.set_permissions(Permissions::from_mode(0o700))?;
    copy.sync_all()
}

/// The upgrade has failed, or is to begin.
pub(super) fn remove_draft() {
    // Best effort: the next upgrade tries again.
    let _ = std::fs::remove_file(draft());
}

/// The running program's copy while it is no program to go back to.
fn draft() -> PathBuf {
    Home::draft(&Home::entered().previous_program())
}

/// The upgrade has succeeded: the program that was replaced gets its name. Returns the file that had this name: the
/// filesystem frees it at the close, which takes milliseconds.
pub(super) fn put_previous_in_place() -> Option<File> {
    let previous = Home::entered().previous_program();
    let replaced = File::open(&previous).ok();
    // Best effort: without it only `upgrade --back` has nothing to go back to.
    let _ = std::fs::rename(draft(), previous);
    replaced
}

/// The program that an upgrade takes by default behind one to `program`. A way back does not change it: the file
/// `previous` gets other content with each upgrade.
pub(super) fn installed(program: PathBuf, installed: PathBuf, home: &Path) -> PathBuf {
    let previous = home.join(Home::entered().previous_program());
    if program == previous {
        installed
    } else {
        program
    }
}
