//! Why a daemon does not serve, or how its end is not clean: with the code, the exit code, and what to try next.
//!
//! Made on the main thread of the daemon's process, and shown by the CLI. It changes nothing.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::home::{Home, HomeError};
use super::service;
use crate::api::{Code, StopReport};
use crate::http::client::ClientError;
use crate::settings::BadSetting;
use crate::store::StoreError;

/// Why a daemon does not serve.
#[derive(Debug)]
pub enum ServeError {
    /// The home cannot be used.
    Home(HomeError),
    /// Another daemon serves this home.
    AlreadyRunning {
        /// Its process, if that could be learned.
        pid: Option<u32>,
    },
    /// Another process holds the lock, and does not answer.
    Locked { lock: PathBuf },
    /// The store cannot be opened.
    Store { path: PathBuf, err: StoreError },
    /// An environment variable has a value that it cannot have.
    Setting(BadSetting),
    /// The daemon does not answer its own request.
    NoHealth(ClientError),
    /// The socket that the service manager has handed over cannot be served.
    Activation(String),
    /// What the system says.
    Io { what: &'static str, err: io::Error },
    /// The daemon has stopped, and this is not on disk.
    Unwritten(StopReport),
    /// The database's files had gone while the daemon ran, and what it had open could not be saved.
    Unsaved { reason: String },
    /// The home was deleted while the daemon ran.
    HomeDeleted {
        home: PathBuf,
        /// The copy of the database, or why there is none.
        saved: Result<PathBuf, String>,
    },
}

impl ServeError {
    /// The CLI's code for it.
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

    /// The exit code of a daemon that ends with it. A service manager does not start a daemon again whose home somebody has
    /// deleted: it would make the home anew.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::HomeDeleted { .. } if service::is_systemds() => service::STAY_DOWN,
            _ => 1,
        }
    }

    /// The daemon that was there before, where that is why.
    pub fn running_pid(&self) -> Option<u32> {
        match self {
            Self::AlreadyRunning { pid } => *pid,
            _ => None,
        }
    }

    /// What to try next.
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

/// That `what` has failed.
pub(super) fn io_error(what: &'static str) -> impl Fn(io::Error) -> ServeError {
    move |err| ServeError::Io { what, err }
}

/// That the store of `home` cannot be opened.
pub(super) fn store_error(home: &Home) -> impl Fn(StoreError) -> ServeError {
    let path = home.database();
    move |err| ServeError::Store {
        path: path.clone(),
        err,
    }
}
