//! Access to the store for `vacuum`, `backup` and `logs prune`: through a running daemon, or directly while this
//! process holds the daemon's lock.

use std::fs::File;

use super::daemon::remark;
use super::target::IfDown;
use super::{CliError, Target};
use crate::api::{Code, LOOK_AT_DAEMON};
use crate::daemon::{self, Home, control};
use crate::http::client::{Client, ClientError};
use crate::settings::durations;
use crate::store::{Store, StoreError};

pub(super) enum Access {
    Daemon(Client),
    /// Direct access; the lock keeps daemons away.
    Own(Box<Store>, File),
}

/// Opens the store of `target`. That of another host is reached through its daemon alone.
pub(super) fn access(target: Target) -> Result<Access, CliError> {
    let home = match target {
        Target::Here(home) => home,
        Target::There(remote) => {
            let client = remote.connect(IfDown::Fail)?;
            client.allow_wait(durations::CHORE)?;
            return Ok(Access::Daemon(client));
        }
    };
    control::revive(&home, &remark);
    match Client::connect(&home.socket()) {
        Ok(client) => {
            client.allow_wait(durations::CHORE)?;
            return Ok(Access::Daemon(client));
        }
        Err(ClientError::NotRunning { .. }) => {}
        Err(err) => return Err(err.into()),
    }
    home.check()?;
    home.check_own()?;
    if home.database().symlink_metadata().is_err() {
        return Err(CliError::new(
            Code::StoreNotFound,
            format!("there is no store {}", home.database().display()),
        ));
    }
    let lock = lock(&home)?;
    let retention = daemon::retention()?;
    let path = home.database();
    let store = Store::open(&path, retention).map_err(|err| match err {
        StoreError::Owned { .. } => {
            CliError::failed(err.code(), err.to_string(), Some(&err.advice(&path)))
        }
        err => failed(err),
    })?;
    if let Some(aside) = store.foreign_log() {
        remark(&format!(
            "the log beside the database belongs to another one: it is kept as {}",
            aside.display()
        ));
    }
    Ok(Access::Own(Box::new(store), lock))
}

/// Takes the daemon's lock, if no daemon answers.
pub(super) fn lock(home: &Home) -> Result<File, CliError> {
    let lock = home.open_lock()?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(_) => Err(CliError::failed(
            Code::DaemonLocked,
            "a daemon that does not answer holds the store",
            Some(LOOK_AT_DAEMON),
        )),
    }
}

pub(super) fn failed(err: StoreError) -> CliError {
    let next = "coven doctor, and df on COVEN_HOME";
    CliError::failed(Code::StoreUnavailable, err.to_string(), Some(next))
}
