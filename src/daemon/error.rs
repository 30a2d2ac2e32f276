//! Why a daemon does not serve, or why its end is not clean; with error code, exit code, and the next command.
//!
//! Created on the daemon's main thread, and printed by the CLI. It changes nothing.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::home::Home;
use super::service;
use crate::api::{Code, Fault, StopReport};
use crate::http::client::ClientError;
use crate::observe::field::Cause;
use crate::observe::{Message, message};
use crate::settings::BadSetting;
use crate::store::StoreError;
use crate::sys;

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

impl Cause for ServeError {
    fn fault(&self) -> Option<Fault> {
        match self {
            Self::Store { err, .. } => err.fault(),
            Self::Io { err, .. } => Fault::of(err),
            _ => None,
        }
    }
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
                "stopped, but the database's files were gone, and the open database could not be saved: {reason}"
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

/// Why a home cannot be used, and the command that repairs it.
#[derive(Debug)]
pub enum HomeError {
    /// Neither `COVEN_HOME` nor a home directory is known.
    Unknown,
    /// Type, owner or mode of the home or of a file in it is wrong.
    Refused { what: Message, mend: Message },
    /// The variable contains a relative path, which depends on the working directory.
    Relative { name: &'static str, path: PathBuf },
    /// The home contains only a socket that forwards to another machine, where no daemon answers.
    Forwarded { path: PathBuf },
    /// The socket's path does not fit into `sun_path`.
    SocketTooLong { socket: PathBuf, length: usize },
    /// A system call has failed.
    Io { path: PathBuf, err: io::Error },
}

impl HomeError {
    /// The error code.
    pub fn code(&self) -> Code {
        match self {
            Self::SocketTooLong { .. } => Code::SocketPathTooLong,
            Self::Forwarded { .. } => Code::HomeForwarded,
            _ => Code::HomeRefused,
        }
    }

    /// Advice for the user.
    pub fn mend(&self) -> Message {
        match self {
            Self::Unknown => "set COVEN_HOME to a directory of your own".into(),
            Self::Refused { mend, .. } => mend.clone(),
            Self::Relative { name, path } => {
                let path = std::path::absolute(path).unwrap_or(path.clone());
                message!("set {} to an absolute path, as {}", *name, &path)
            }
            Self::Forwarded { .. } | Self::SocketTooLong { .. } => {
                self.code().next().unwrap_or_default().into()
            }
            Self::Io { path, err } => match err.kind() {
                io::ErrorKind::StorageFull => message!("make room on the disk of {}", path),
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                    message!("make {} writable, or set COVEN_HOME", path)
                }
                _ => message!("look at {}, or set COVEN_HOME", path),
            },
        }
    }

    pub fn message(&self) -> Message {
        match self {
            Self::Unknown => "neither COVEN_HOME nor HOME is set".into(),
            Self::Refused { what, .. } => what.clone(),
            Self::Relative { name, path } => {
                message!("{} is not an absolute path: {}", *name, path)
            }
            Self::Forwarded { path } => message!(
                "{} holds a socket, but neither a lock nor a database: it forwards to another machine, \
                 where no daemon answers",
                path
            ),
            Self::SocketTooLong { socket, length } => message!(
                "the socket's path is {} bytes long, and a Unix socket's can have {}: {}",
                *length,
                sys::SUN_PATH_MAX,
                socket
            ),
            Self::Io { path, err } => message!("{}: {}", path, err),
        }
    }
}

impl fmt::Display for HomeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message().fmt(f)
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
