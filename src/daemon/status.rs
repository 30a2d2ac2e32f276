//! How the daemon of a home is, from outside: it answers, is stopped, has failed, was left behind. Runs in the CLI's process.
//!
//! Looking changes nothing, and starts nothing. It knows no check, and not how it is shown.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::net::UnixStream;

use super::failure::Failure;
use super::home::{Home, HomeError};
use super::service;
use crate::api::{Health, words};
use crate::http::client::{Client, ClientError};
use crate::observe::{Message, message};
use crate::settings::durations;
use crate::sys::{self, Peer};

words! {
    /// What is to be seen of a daemon, in a word.
    pub enum DaemonState {
        /// It answers.
        Running = "running",
        /// Nothing is there.
        Stopped = "stopped",
        /// Nothing is there, and the last start has failed.
        Failed = "failed",
        /// Something is there that does not answer, or was left behind.
        Stale = "stale",
        /// It cannot be told.
        Unknown = "unknown",
        /// It speaks another contract.
        Unsupported = "unsupported",
        /// The home is the end of a connection to another machine, on which nobody answers.
        Forwarded = "forwarded",
    }
}

/// What is to be seen of a daemon.
#[derive(Debug)]
pub enum Status {
    /// It answers.
    Running(Box<Health>),
    /// It answers, but not to us: it has all the connections that it takes.
    Busy {
        /// What it said.
        reason: Message,
        /// Its process, as it has put itself on record.
        pid: Option<i32>,
    },
    /// Nothing is there.
    Stopped {
        /// But a service manager listens on the socket, and starts it with the first client.
        is_awaited: bool,
    },
    /// Nothing is there, and the last start has failed.
    Failed(Failure),
    /// Something is there that does not answer, or was left behind.
    Stale {
        /// What was found.
        reason: Message,
        /// The process that `daemon.json` names, if it is still that process.
        pid: Option<i32>,
        /// Whether a process holds the lock.
        locked: bool,
    },
    /// It cannot be told: the socket is out of our reach, as in a home of another user.
    Unknown {
        /// Why.
        reason: Message,
    },
    /// Something answers that speaks another contract.
    Unsupported {
        /// What it speaks.
        found: String,
    },
    /// The home is the end of a connection to another machine, on which nobody answers.
    Forwarded(HomeError),
}

impl Status {
    /// Looks at the daemon of `home`, changing nothing.
    pub fn of(home: &Home) -> Self {
        if is_awaited(home) {
            return match Failure::recorded(home) {
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
            // The lock and the files are out of reach too, and a daemon may well run.
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
        // Looking at the lock takes it for an instant, which a starting daemon could meet: only if there is a reason.
        let locked = is_locked(home);
        let pid = daemon_pid(home);
        if locked {
            let reason = message!("a process holds the lock, but {}", unanswered.message());
            Self::Stale {
                reason,
                pid,
                locked,
            }
        } else if let Some(failure) = Failure::recorded(home) {
            Self::Failed(failure)
        } else if left {
            Self::Stale {
                reason: "files are left over from a daemon that died".into(),
                pid: None,
                locked,
            }
        } else {
            // In a home that the daemon may not use it leaves no record; systemd has what it has said.
            match Failure::of_home(home) {
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

    /// The same in a word.
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

/// Whether `home` is the end of a connection to another machine's daemon, and not the socket of a unit that waits for its
/// first client.
pub fn is_forwarded(home: &Home) -> bool {
    home.is_forwarded() && !is_awaited(home)
}

/// Whether systemd listens on the socket, and starts the daemon with the first client: to connect would be to start it.
pub fn is_awaited(home: &Home) -> bool {
    let socket = home.socket();
    // It is asked only where a socket is there, and no daemon.
    socket.exists() && daemon_pid(home).is_none() && !is_locked(home) && service::listens(&socket)
}

pub(super) fn is_locked(home: &Home) -> bool {
    // Opened without creating it: looking changes nothing.
    let Ok(file) = File::open(home.lock_file()) else {
        return false;
    };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// The daemon's process as it has put itself on record, if its pid has not gone to another process since.
pub fn daemon_pid(home: &Home) -> Option<i32> {
    let daemon = home.read_daemon_file()?;
    let mark = sys::process_mark(daemon.pid)?;
    (daemon.pid > 1 && daemon.process_mark.as_ref() == Some(&mark)).then_some(daemon.pid)
}

/// What to try where a process, `pid` if that is known, holds the lock and nobody answers. Where only the socket has gone,
/// the sessions go on: no restart is advised, which would end them.
pub fn held_next(home: &Home, pid: Option<i32>) -> Message {
    if home.socket().symlink_metadata().is_ok() {
        return service::command_by_hand("restart");
    }
    match pid {
        Some(pid) => message!(
            "kill -HUP {}, which has the daemon make its socket anew",
            pid
        ),
        None => message!(
            "fuser -v {}, to see which process holds it",
            &home.lock_file()
        ),
    }
}

/// The process that listens on the socket; the one on record where a service manager has handed the socket to it.
pub(super) fn listener_pid(home: &Home) -> Option<i32> {
    let pid = listener(home)?.pid?;
    if service::is_manager(pid) {
        daemon_pid(home)
    } else {
        Some(pid)
    }
}

/// The process that listens on the socket, as the kernel has it; `None` where nobody does.
pub fn listener(home: &Home) -> Option<Peer> {
    let stream = UnixStream::connect(home.socket()).ok()?;
    sys::peer(&stream).ok()
}
