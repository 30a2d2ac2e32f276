//! The daemon from outside: is it running, start it, stop it. Runs in the CLI's process.

use std::ffi::CString;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::home::{Home, HomeError};
use crate::api::{Health, StopReport};
use crate::client::{Client, ClientError};
use crate::harness::SESSION_VARIABLE;
use crate::sys::{self, Interest, Peer};

/// How long health may take before the daemon counts as one that does not answer.
const HEALTH_PATIENCE: Duration = Duration::from_secs(2);

/// How long a start may take: opening a large store after a crash replays its log.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// How long a stop may take: the grace of the harnesses, and the daemon's own patience with its store.
const STOP_PATIENCE: Duration = Duration::from_secs(90);

/// What is to be seen of a daemon.
#[derive(Debug)]
pub enum Status {
    /// It answers.
    Running(Box<Health>),
    /// It answers, but not to us: it has all the connections that it takes.
    Busy {
        /// What it said.
        reason: String,
        /// Its process, as it has put itself on record.
        pid: Option<i32>,
    },
    /// Nothing is there.
    Stopped,
    /// Something is there that does not answer, or was left behind.
    Stale {
        /// What was found.
        reason: String,
        /// The process that `daemon.json` names, if it is still that process.
        pid: Option<i32>,
        /// Whether a process holds the lock.
        locked: bool,
    },
    /// Something answers that speaks another contract.
    Unsupported {
        /// What it speaks.
        found: String,
    },
}

/// What came of a start.
#[derive(Debug)]
pub enum Started {
    /// A new daemon, with this pid.
    New(u32),
    /// It was running, with this pid, if that could be learned.
    Already(Option<u32>),
}

/// What came of a stop.
#[derive(Debug)]
pub enum StopOutcome {
    /// It ran, and has ended.
    Ended {
        /// Its process.
        pid: i32,
        /// It has said that everything is on disk. One that takes no connection is ended by a signal, and says nothing.
        told: bool,
    },
    /// It ran, and has ended, but not everything is on disk.
    Unclean {
        /// Its process.
        pid: i32,
        /// What is not.
        report: StopReport,
    },
    /// It did not run.
    NotRunning,
}

/// Why a start or stop failed, with the code and the next command that the CLI prints.
#[derive(Debug)]
pub struct ControlError {
    /// The CLI's code.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to try next.
    pub next: String,
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)
    }
}

impl From<HomeError> for ControlError {
    fn from(err: HomeError) -> Self {
        Self {
            code: err.code().into(),
            message: err.to_string(),
            next: err.mend(),
        }
    }
}

impl ControlError {
    fn start(message: impl fmt::Display) -> Self {
        Self {
            code: "daemon_start_failed".into(),
            message: message.to_string(),
            next: "coven daemon serve, which says on stderr what is wrong".into(),
        }
    }

    fn stop(message: impl fmt::Display) -> Self {
        Self {
            code: "daemon_stop_failed".into(),
            message: message.to_string(),
            next: "coven daemon status".into(),
        }
    }
}

/// How long a stop waits for a daemon that has begun to start to answer.
const SETTLE_PATIENCE: Duration = Duration::from_secs(2);

/// The one line that a daemon in the background says to who started it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartReport {
    /// It serves.
    pub ok: bool,
    /// Which process does: this one, or the one that was there before.
    #[serde(default)]
    pub pid: Option<u32>,
    /// Why not.
    #[serde(default)]
    pub code: String,
    /// Why not, for a person.
    #[serde(default)]
    pub message: String,
    /// What to try next.
    #[serde(default)]
    pub next: String,
}

/// Looks at the daemon of `home`, changing nothing.
pub fn status(home: &Home) -> Status {
    let unanswered = match Client::connect_within(&home.socket(), HEALTH_PATIENCE) {
        Ok((_, health)) => return Status::Running(Box::new(health)),
        Err(ClientError::UnsupportedVersion { found }) => return Status::Unsupported { found },
        Err(ClientError::Api { error, .. }) => {
            let (reason, pid) = (error.message, daemon_pid(home));
            return Status::Busy { reason, pid };
        }
        Err(err) => err,
    };
    let left = [home.socket(), home.daemon_file()]
        .iter()
        .any(|file| file.symlink_metadata().is_ok());
    // Looking at the lock takes it for an instant, which a starting daemon could meet: only if there is a reason.
    let locked = is_locked(home);
    let pid = daemon_pid(home);
    if locked {
        let reason = format!("a process holds the lock, but {unanswered}");
        Status::Stale {
            reason,
            pid,
            locked,
        }
    } else if left {
        Status::Stale {
            reason: "files are left over from a daemon that died".into(),
            pid: None,
            locked,
        }
    } else {
        Status::Stopped
    }
}

fn is_locked(home: &Home) -> bool {
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

/// Starts the daemon of `home` in the background, unless it runs; returns when health has answered.
///
/// # Errors
/// [`ControlError`]
pub fn start(home: &Home) -> Result<Started, ControlError> {
    if let Some(already) = running(home)? {
        return Ok(already);
    }
    home.prepare()?;
    // Starters take their turn on the home itself: all but the first find a daemon that answers.
    let turn = File::open(home.path()).map_err(ControlError::start)?;
    turn.lock().map_err(ControlError::start)?;
    if let Some(already) = running(home)? {
        return Ok(already);
    }
    let log = home.log_file();
    // Where the runtime's last words go, should the daemon abort.
    let stderr = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&log)
        .map_err(|err| home.io(&log, err))?;
    let report = spawn_daemon(home, &stderr).map_err(ControlError::start)?;
    let report = read_report(report).map_err(ControlError::start)?;
    match report {
        StartReport {
            ok: true,
            pid: Some(pid),
            ..
        } => Ok(Started::New(pid)),
        StartReport { pid, code, .. } if code == "daemon_already_running" => {
            Ok(Started::Already(pid))
        }
        StartReport {
            code,
            message,
            next,
            ..
        } => Err(ControlError {
            code,
            message,
            next,
        }),
    }
}

/// Whether a daemon answers; one that speaks another contract is an error, since it holds the socket.
fn running(home: &Home) -> Result<Option<Started>, ControlError> {
    match Client::connect_within(&home.socket(), HEALTH_PATIENCE) {
        Ok((_, health)) => Ok(Some(Started::Already(Some(health.daemon.pid)))),
        Err(ClientError::Api { .. }) => Ok(Some(Started::Already(None))),
        Err(err @ ClientError::UnsupportedVersion { .. }) => Err(ControlError {
            code: "unsupported_api_version".into(),
            message: err.to_string(),
            next: "coven daemon stop, with the coven that started it".into(),
        }),
        Err(_) => Ok(None),
    }
}

/// Starts this binary as the daemon, in a session of its own; returns what it reports on.
fn spawn_daemon(home: &Home, stderr: &File) -> io::Result<OwnedFd> {
    sys::keep_inherited_descriptors();
    // A daemon that is started inside a session is no part of it.
    sys::leave_family();
    let executable = std::env::current_exe()?;
    let (report, child_stdout) = sys::pipe()?;
    let null = File::open("/dev/null")?;
    let argument = |text: &str| CString::new(text).map_err(io::Error::other);
    let env = std::env::vars_os()
        // Nor is one that is started inside a service.
        .filter(|(name, _)| !sys::is_service_variable(name))
        .filter(|(name, _)| name != SESSION_VARIABLE && name != "COVEN_HOME")
        .map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='))
        .chain([[
            b"COVEN_HOME=".to_vec(),
            home.path().as_os_str().to_owned().into_vec(),
        ]
        .concat()])
        .map(|variable| CString::new(variable).map_err(io::Error::other))
        .collect::<io::Result<_>>()?;
    sys::spawn(
        &sys::Program {
            path: &executable,
            argv: ["coven", "daemon", "serve", "--background"]
                .map(argument)
                .into_iter()
                .collect::<Result<_, _>>()?,
            env,
            cwd: home.path(),
            family: None,
        },
        &sys::Stdio {
            stdin: null.as_fd(),
            stdout: child_stdout.as_fd(),
            stderr: stderr.as_fd(),
        },
    )?;
    Ok(report)
}

fn read_report(pipe: OwnedFd) -> io::Result<StartReport> {
    let deadline = Instant::now() + START_PATIENCE;
    let mut pipe = File::from(pipe);
    let mut line = Vec::new();
    let mut chunk = [0; 4096];
    while !line.contains(&b'\n') {
        if !sys::poll(&mut [Interest::readable(&pipe)], Some(deadline))? {
            let seconds = START_PATIENCE.as_secs();
            return Err(io::Error::other(format!(
                "the daemon has not begun to serve within {seconds} s"
            )));
        }
        match pipe.read(&mut chunk)? {
            0 => return Err(io::Error::other("the daemon ended before it served")),
            n => line.extend_from_slice(&chunk[..n]),
        }
    }
    serde_json::from_slice(&line).map_err(io::Error::other)
}

/// Stops the daemon of `home`, if it runs; returns when its process has ended.
///
/// # Errors
/// [`ControlError`]; [`StopOutcome::Unclean`] is none.
pub fn stop(home: &Home) -> Result<StopOutcome, ControlError> {
    // A start that is under way comes first: what it starts cannot be asked yet. Without a home there is none.
    if let Ok(turn) = File::open(home.path()) {
        turn.lock().map_err(ControlError::stop)?;
    }
    let Some(pid) = running_pid(home)? else {
        return Ok(StopOutcome::NotRunning);
    };
    // Before the signal: the descriptor names this process, whatever its pid becomes.
    let watch = match sys::exit_watch(pid) {
        Ok(watch) => watch,
        Err(err) if err.raw_os_error() == Some(libc::ESRCH) => return Ok(StopOutcome::NotRunning),
        Err(err) => return Err(ControlError::stop(err)),
    };
    let deadline = Instant::now() + STOP_PATIENCE;
    let asked = ask_to_stop(home);
    if let Asked::Unheard | Asked::CutOff = asked {
        match sys::signal_watched(&watch, pid, libc::SIGTERM) {
            Err(err) if err.raw_os_error() != Some(libc::ESRCH) => {
                return Err(ControlError::stop(err));
            }
            _ => {}
        }
    }
    if !sys::poll(&mut [Interest::readable(&watch)], Some(deadline)).map_err(ControlError::stop)? {
        let seconds = STOP_PATIENCE.as_secs();
        let mut error = ControlError::stop(format!(
            "the daemon (pid {pid}) has not ended within {seconds} s"
        ));
        error.next = format!("kill -9 {pid}");
        return Err(error);
    }
    match asked {
        Asked::Answered(report) if !report.clean => Ok(StopOutcome::Unclean { pid, report }),
        Asked::CutOff => {
            let mut error = ControlError::stop(format!(
                "the daemon (pid {pid}) has ended without a word on whether everything is on disk: \
                 was it killed?"
            ));
            error.next = "coven logs --lines 20".into();
            Err(error)
        }
        Asked::Answered(_) => Ok(StopOutcome::Ended { pid, told: true }),
        Asked::Unheard | Asked::TimedOut => Ok(StopOutcome::Ended { pid, told: false }),
    }
}

/// What came of asking the daemon to stop.
enum Asked {
    /// It has, and said how it went.
    Answered(StopReport),
    /// It has not been asked: it takes no connection, or does not know the route.
    Unheard,
    /// It has been asked, and the connection broke.
    CutOff,
    /// It has been asked, and is not done.
    TimedOut,
}

/// Asks the daemon to stop, over its socket: the answer, its last, says what is not on disk. A signal says nothing, and
/// an exit code is only for a parent to see (wait(2)).
fn ask_to_stop(home: &Home) -> Asked {
    let Ok((mut client, _)) = Client::connect_within(&home.socket(), HEALTH_PATIENCE) else {
        return Asked::Unheard;
    };
    if client.set_patience(STOP_PATIENCE).is_err() {
        return Asked::Unheard;
    }
    match client.post("/daemon/stop", &()) {
        Ok(report) => Asked::Answered(report),
        Err(err) if err.is_timeout() => Asked::TimedOut,
        Err(ClientError::Io(_)) => Asked::CutOff,
        Err(_) => Asked::Unheard,
    }
}

/// The status, once a daemon that holds the lock and does not answer yet has had the time to.
fn settled_status(home: &Home) -> Status {
    let deadline = Instant::now() + SETTLE_PATIENCE;
    let watch = sys::LogWatch::new(home.path());
    loop {
        let status = status(home);
        let is_starting = matches!(
            status,
            Status::Stale {
                locked: true,
                pid: None,
                ..
            }
        );
        // Its socket and daemon.json are new in the home.
        let Ok(watch) = &watch else { return status };
        if !is_starting || Instant::now() >= deadline {
            return status;
        }
        let _ = sys::poll(&mut [Interest::readable(watch)], Some(deadline));
        watch.clear();
    }
}

/// Who is to be stopped. A pid that a daemon gives is its own only in its own PID namespace: it is believed if the
/// kernel says the same, or if the process on record is still that process.
fn running_pid(home: &Home) -> Result<Option<i32>, ControlError> {
    let claimed = match settled_status(home) {
        Status::Running(health) => i32::try_from(health.daemon.pid).ok(),
        Status::Busy { pid, .. } => pid,
        Status::Stopped | Status::Stale { locked: false, .. } => return Ok(None),
        Status::Stale { pid: Some(pid), .. } => return Ok(Some(pid)),
        Status::Stale {
            reason, pid: None, ..
        } => {
            let mut error = ControlError::stop(reason);
            let lock = home.lock_file();
            error.next = format!("fuser -v {}, to see which process that is", lock.display());
            return Err(error);
        }
        Status::Unsupported { .. } => listener_pid(home),
    };
    match claimed {
        Some(pid) if daemon_pid(home) == Some(pid) || listener_pid(home) == Some(pid) => {
            Ok(Some(pid))
        }
        _ => {
            let mut error = ControlError::stop(
                "the daemon answers, but which process it is cannot be told from here",
            );
            error.next =
                "stop it where it was started: in its container, or by its supervisor".into();
            Err(error)
        }
    }
}

fn listener_pid(home: &Home) -> Option<i32> {
    listener(home)?.pid
}

/// The process that listens on the socket, as the kernel has it; `None` where nobody does.
pub fn listener(home: &Home) -> Option<Peer> {
    let stream = std::os::unix::net::UnixStream::connect(home.socket()).ok()?;
    sys::peer(&stream).ok()
}
