//! Why a daemon does not serve, or why its end is not clean; with error code, exit code, and the next command.
//!
//! Created on the daemon's main thread, and printed by the CLI. It changes nothing.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::home::{Home, HomeError};
use super::service;
use crate::api::{Code, StopReport};
use crate::http::client::ClientError;
use crate::settings::BadSetting;
use crate::store::StoreError;

#[derive(Debug)]
pub enum ServeError {
    Home(HomeError),
    AlreadyRunning {
        /// Pid of that daemon, if known.
        pid: Option<u32>,
    },
    /// Another process holds the lock and does not answer.
    Locked {
        lock: PathBuf,
    },
    Store {
        path: PathBuf,
        err: StoreError,
    },
    /// An environment variable has an invalid value.
    Setting(BadSetting),
    /// The daemon does not answer its own health request.
    NoHealth(ClientError),
    /// The socket that the service manager passed cannot be served.
    Activation(String),
    /// A system call has failed.
    Io {
        what: &'static str,
        err: io::Error,
    },
    /// The daemon has stopped, and some data is not on disk.
    Unwritten(StopReport),
    /// The database's files vanished while the daemon ran, and the open database could not be saved.
    Unsaved {
        reason: String,
    },
    HomeDeleted {
        home: PathBuf,
        /// Path of the database's copy, or why there is none.
        saved: Result<PathBuf, String>,
    },
}

impl ServeError {
    /// The error code.
    pub fn code(&self) -> Code {
        match self {
            Self::Home(err) => err.code(),
            Self::AlreadyRunning { .. } => Code::DaemonAlreadyRunning,
            Self::Locked { .. } => Code::DaemonLocked,
            Self::Store { err, .. } => err.code(),
            Self::Unwritten(_) | Self::Unsaved { .. } => Code::StoreUnavailable,
            Self::HomeDeleted { .. } => Code::HomeDeleted,
            Self::Setting(_) => Code::InvalidSetting,
            Self::Activation(_) => Code::SocketRefused,
            Self::NoHealth(_) | Self::Io { .. } => Code::DaemonStartFailed,
        }
    }

    /// Exit code of the daemon. If its home was deleted, a service manager must not restart it: the restart would
    /// create the home again.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::HomeDeleted { .. } if service::is_systemds() => service::STAY_DOWN,
            _ => 1,
        }
    }

    /// Pid of the daemon that ran before, if that is the reason.
    pub fn running_pid(&self) -> Option<u32> {
        match self {
            Self::AlreadyRunning { pid } => *pid,
            _ => None,
        }
    }

    /// The next command to try.
    pub fn next(&self) -> String {
        match self {
            Self::Home(err) => err.mend().to_string(),
            Self::AlreadyRunning { .. }
            | Self::Locked { .. }
            | Self::Activation(_)
            | Self::HomeDeleted { .. } => self.code().next().unwrap_or_default().into(),
            Self::Store { path, err } => err.advice(path),
            Self::Setting(bad) => bad.mend(),
            Self::NoHealth(_) | Self::Io { .. } | Self::Unwritten(_) | Self::Unsaved { .. } => {
                "coven daemon logs --lines 20".into()
            }
        }
    }
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Home(err) => write!(f, "{err}"),
            Self::AlreadyRunning { pid: Some(pid) } => {
                write!(f, "a daemon is already running (pid {pid})")
            }
            Self::AlreadyRunning { pid: None } => write!(f, "a daemon is already running"),
            Self::Locked { lock } => {
                write!(
                    f,
                    "another process holds {}, and does not answer",
                    lock.display()
                )
            }
            Self::Store { path, err } => {
                write!(f, "the store {} cannot be opened: {err}", path.display())
            }
            Self::Setting(bad) => write!(f, "{bad}"),
            Self::NoHealth(err) => write!(
                f,
                "the daemon does not answer its own health request: {err}"
            ),
            Self::Activation(what) => write!(f, "{what}"),
            Self::Io { what, err } => write!(f, "{what}: {err}"),
            Self::Unwritten(report) => write!(f, "stopped, but {report}"),
            Self::Unsaved { reason } => write!(
                f,
                "stopped, but the database's files had gone, and what was open could not be saved: {reason}"
            ),
            Self::HomeDeleted { home, saved } => {
                write!(f, "{} was deleted while the daemon ran; ", home.display())?;
                match saved {
                    Ok(copy) => write!(f, "its database is saved as {}", copy.display()),
                    Err(reason) => write!(f, "its database could not be saved: {reason}"),
                }
            }
        }
    }
}

impl From<BadSetting> for ServeError {
    fn from(bad: BadSetting) -> Self {
        Self::Setting(bad)
    }
}

impl From<HomeError> for ServeError {
    fn from(err: HomeError) -> Self {
        Self::Home(err)
    }
}

/// Error of the failed step `what`.
pub(super) fn io_error(what: &'static str) -> impl Fn(io::Error) -> ServeError {
    move |err| ServeError::Io { what, err }
}

/// Error of opening the store of `home`.
pub(super) fn store_error(home: &Home) -> impl Fn(StoreError) -> ServeError {
    let path = home.database();
    move |err| ServeError::Store {
        path: path.clone(),
        err,
    }
}
