//! The daemon's lock: one daemon serves a home.
//!
//! Runs on the main thread while the daemon starts. It knows nothing of what the daemon serves.

use std::fs::File;
use std::thread;

use crossbeam_channel::{RecvTimeoutError, bounded};

use super::error::{ServeError, io_error};
use super::home::Home;
use crate::http::client::{Client, ClientError};
use crate::settings::durations;

/// Takes the lock of `home`, or waits for it: another daemon may be stopping.
///
/// # Errors
/// [`ServeError::AlreadyRunning`], [`ServeError::Locked`], or the system's error.
pub(super) fn take_lock(home: &Home) -> Result<File, ServeError> {
    let lock = home.open_lock()?;
    if lock.try_lock().is_ok() {
        return Ok(lock);
    }
    already_running(home)?;
    // flock(2) has no timeout: a thread blocks in it, and this one waits for the thread.
    let (taken, result) = bounded(1);
    let spawned = thread::Builder::new().name("lock".into()).spawn(move || {
        if lock.lock().is_ok() {
            let _ = taken.send(lock);
        }
    });
    spawned.map_err(io_error("no thread to wait for the lock"))?;
    match result.recv_timeout(durations::LOCK) {
        Ok(lock) => Ok(lock),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            already_running(home)?;
            Err(ServeError::Locked {
                lock: home.lock_file(),
            })
        }
    }
}

/// The lock alone proves nothing: a daemon counts as running if it answers.
fn already_running(home: &Home) -> Result<(), ServeError> {
    match Client::connect_within(&home.socket(), durations::OWN_HEALTH) {
        Ok((_, health)) => {
            let pid = Some(health.daemon.pid);
            Err(ServeError::AlreadyRunning { pid })
        }
        // A daemon whose connections are all in use runs.
        Err(ClientError::Api { .. }) => Err(ServeError::AlreadyRunning { pid: None }),
        Err(_) => Ok(()),
    }
}
