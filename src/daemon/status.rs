//! The state of a home's daemon, seen from outside: running, stopped, failed, stale. Runs in the CLI's process.
//!
//! Inspecting changes and starts nothing. It knows no doctor check, and not how it is printed.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::net::UnixStream;

use super::error::HomeError;
use super::failure::StartFailure;
use super::home::Home;
use super::service;
use crate::api::{Health, words};
use crate::http::client::{Client, ClientError};
use crate::observe::{Message, message};
use crate::settings::durations;
use crate::sys::{self, Peer};

words! {
    /// State of a daemon, as one word.
    pub enum DaemonState {
        /// The daemon answers.
        Running = "running",
        /// No daemon runs.
        Stopped = "stopped",
        /// No daemon runs, and the last start failed.
        Failed = "failed",
        /// A process or file of a daemon exists, but no daemon answers.
        Stale = "stale",
        /// Its state cannot be determined.
        Unknown = "unknown",
        /// The daemon answers with another contract.
        Unsupported = "unsupported",
        /// The home's socket forwards to another machine, where no daemon answers.
        Forwarded = "forwarded",
    }
}

/// State of a daemon, with details.
#[derive(Debug)]
pub enum Status {
    Running(Box<Health>),
    /// The daemon answers that all its connections are in use.
    Busy {
        /// Its answer.
        reason: Message,
        /// Its recorded pid.
        pid: Option<i32>,
    },
    /// No daemon runs.
    Stopped {
        /// A service manager listens on the socket, and starts the daemon at the first connection.
        is_awaited: bool,
    },
    /// No daemon runs, and the last start failed.
    Failed(StartFailure),
    /// A process or file of a daemon exists, but no daemon answers.
    Stale {
        /// The finding.
        reason: Message,
        /// Pid in `daemon.json`, if it is still that process.
        pid: Option<i32>,
        /// A process holds the lock.
        locked: bool,
    },
    /// Its state cannot be determined: the socket is inaccessible, as in another user's home.
    Unknown {
        reason: Message,
    },
    /// The daemon answers with another contract.
    Unsupported {
        /// The daemon's contract.
        found: String,
    },
    /// The home's socket forwards to another machine, where no daemon answers.
    Forwarded(HomeError),
}

impl Status {
    /// Inspects the daemon of `home` without changing anything.
    pub fn of(home: &Home) -> Self {
        if is_awaited(home) {
            return match StartFailure::recorded(home) {
                Some(failure) => Self::Failed(failure),
                None => Self::Stopped { is_awaited: true },
            };
        }
        let unanswered = match Client::connect_within(&home.socket(), durations::HEALTH) {
            Ok((_, health)) => return Self::Running(Box::new(health)),
            Err(ClientError::UnsupportedVersion { found }) => return Self::Unsupported { found },
            Err(ClientError::Api { error, .. }) => {
                let (reason, pid) = (Message::foreign(error.message), daemon_pid(home));
                return Self::Busy { reason, pid };
            }
            // Lock and files are inaccessible, too; a daemon may run.
            Err(ClientError::Io(err)) if err.kind() == io::ErrorKind::PermissionDenied => {
                let reason = message!("{} cannot be reached: {}", &home.socket(), &err);
                return Self::Unknown { reason };
            }
            Err(err) => err,
        };
        if let Err(forwarded) = home.check_own() {
            return Self::Forwarded(forwarded);
        }
        let left = [home.socket(), home.daemon_file()]
            .iter()
            .any(|file| file.symlink_metadata().is_ok());
        // Checking the lock takes it for an instant, which could disturb a starting daemon: only if there is a reason.
        let locked = is_locked(home);
        let pid = daemon_pid(home);
        if locked {
            let reason = message!("a process holds the lock, but {}", unanswered.message());
            Self::Stale {
                reason,
                pid,
                locked,
            }
        } else if let Some(failure) = StartFailure::recorded(home) {
            Self::Failed(failure)
        } else if left {
            Self::Stale {
                reason: "files are left over from a daemon that died".into(),
                pid: None,
                locked,
            }
        } else {
            // A daemon that may not use the home leaves no record in it; systemd has its status text.
            match StartFailure::of_home(home) {
                Some(failure) => Self::Failed(failure),
                None => Self::Stopped { is_awaited: false },
            }
        }
    }

    /// The daemon's health, if it answers.
    pub fn health(&self) -> Option<&Health> {
        match self {
            Self::Running(health) => Some(health),
            _ => None,
        }
    }

    /// The state as one word.
    pub fn state(&self) -> DaemonState {
        match self {
            Self::Running(_) | Self::Busy { .. } => DaemonState::Running,
            Self::Stopped { .. } => DaemonState::Stopped,
            Self::Failed(_) => DaemonState::Failed,
            Self::Stale { .. } => DaemonState::Stale,
            Self::Unknown { .. } => DaemonState::Unknown,
            Self::Unsupported { .. } => DaemonState::Unsupported,
            Self::Forwarded(_) => DaemonState::Forwarded,
        }
    }
}

/// True if the home's socket forwards to another machine's daemon. A unit's socket that waits for its first client is
/// none.
pub fn is_forwarded(home: &Home) -> bool {
    home.is_forwarded() && !is_awaited(home)
}

/// True if systemd listens on the socket: then a connection would start the daemon.
pub fn is_awaited(home: &Home) -> bool {
    let socket = home.socket();
    // systemctl is asked only if there is a socket and no daemon.
    socket.exists() && daemon_pid(home).is_none() && !is_locked(home) && service::listens(&socket)
}

pub(super) fn is_locked(home: &Home) -> bool {
    // Opened without creating the file: an inspection changes nothing.
    let Ok(file) = File::open(home.lock_file()) else {
        return false;
    };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Pid that the daemon recorded, if that process still runs.
pub fn daemon_pid(home: &Home) -> Option<i32> {
    let daemon = home.read_daemon_file()?;
    let mark = sys::process_mark(daemon.pid)?;
    (daemon.pid > 1 && daemon.process_mark.as_ref() == Some(&mark)).then_some(daemon.pid)
}

/// Next command when a process (`pid`, if known) holds the lock without answering. If only the socket is gone, the
/// sessions go on: it does not advise a restart, which would end them.
pub fn held_next(home: &Home, pid: Option<i32>) -> Message {
    if home.socket().symlink_metadata().is_ok() {
        return service::command_by_hand("restart");
    }
    match pid {
        Some(pid) => message!(
            "kill -HUP {}, which makes the daemon bind its socket again",
            pid
        ),
        None => message!(
            "fuser -v {}, to see which process holds it",
            &home.lock_file()
        ),
    }
}

/// Pid of the process that listens on the socket; the recorded pid if a service manager passed the socket to it.
pub(super) fn listener_pid(home: &Home) -> Option<i32> {
    let pid = listener(home)?.pid?;
    if service::is_manager(pid) {
        daemon_pid(home)
    } else {
        Some(pid)
    }
}

/// The process that listens on the socket, as the kernel reports it; `None` if no process does.
pub fn listener(home: &Home) -> Option<Peer> {
    let stream = UnixStream::connect(home.socket()).ok()?;
    sys::peer(&stream).ok()
}
