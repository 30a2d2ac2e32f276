//! Starts the daemon from outside. Runs in the CLI's process.
//!
//! If systemd has a unit for it, systemd starts it: no supervisor would restart a daemon that was started by hand.

use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::error::HomeError;
use super::failure::StartFailure;
use super::home::Home;
use super::service::{self, Unit};
use super::settings::misspelt;
use super::status::{daemon_pid, is_locked};
use crate::adapters::environment;
use crate::api::{Code, Word};
use crate::http::client::{Client, ClientError};
use crate::settings::{self, durations};
use crate::sys::{self, Within};

/// Result of a start.
#[derive(Debug)]
pub enum DaemonStart {
    /// A new daemon with this pid.
    New(u32),
    /// systemd has started its unit; with the daemon's pid, if known.
    ByUnit(Option<u32>, Unit),
    /// The daemon was running already; with its pid, if known.
    Already(Option<u32>),
}

/// Receives remarks about steps that went differently than expected.
pub type Remark<'a> = &'a dyn Fn(&str);

/// Why a start or stop failed, with the error code and the next command to try.
#[derive(Debug, Serialize, Deserialize)]
pub struct ControlError {
    /// The error code; one that a daemon reported may be unknown to this build.
    pub code: Word<Code>,
    pub message: String,
    /// The next command to try.
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
            next: err.mend().to_string(),
        }
    }
}

impl ControlError {
    fn new(code: Code, message: impl fmt::Display) -> Self {
        Self {
            code: code.into(),
            message: message.to_string(),
            next: code.next().unwrap_or_default().into(),
        }
    }

    fn start(message: impl fmt::Display) -> Self {
        Self::new(Code::DaemonStartFailed, message)
    }

    /// `unit` has not started: with its daemon's failure, or else systemctl's message.
    fn failed_unit(unit: &Unit, failure: Option<StartFailure>, said: &str) -> Self {
        let (code, reason, next) = match failure {
            Some(failure) => (failure.code, failure.reason, failure.next),
            None => {
                let code = Code::DaemonStartFailed.into();
                (code, said.to_owned(), unit.journal())
            }
        };
        Self {
            code,
            message: format!("{unit} has not started: {reason}"),
            next,
        }
    }

    pub(super) fn stop(message: impl fmt::Display) -> Self {
        Self::new(Code::DaemonStopFailed, message)
    }

    /// Sets another command to try.
    pub(super) fn try_next(self, next: impl Into<String>) -> Self {
        let next = next.into();
        Self { next, ..self }
    }
}

/// The one line that a background daemon reports to the process that started it.
#[derive(Debug, Serialize, Deserialize)]
pub struct StartReport {
    /// Pid of the daemon that serves: this one, or one that ran before.
    pub pid: Option<u32>,
    /// Why this one does not serve.
    pub error: Option<ControlError>,
}

/// If a daemon holds the lock but its socket is gone, sends SIGHUP so that it binds the socket again, and waits for
/// that; reports it by `remark`. A process that is not certainly a daemon is left alone.
pub fn revive(home: &Home, remark: Remark<'_>) {
    let has_socket = || home.socket().symlink_metadata().is_ok();
    if has_socket() || !is_locked(home) {
        return;
    }
    let (Some(pid), Ok(watch)) = (daemon_pid(home), sys::LogWatch::new(home.path())) else {
        return;
    };
    if sys::send_signal(pid, sys::RELOAD_SIGNAL).is_err() {
        return;
    }
    let deadline = Instant::now() + durations::SOCKET_BACK;
    while !has_socket() {
        match sys::poll(&mut [sys::Interest::readable(&watch)], Some(deadline)) {
            Ok(true) => watch.clear(),
            Ok(false) | Err(_) => return,
        }
    }
    remark(&format!(
        "the socket was missing; the daemon (pid {pid}) has bound it again"
    ));
}

/// Starts the daemon of `home` in the background, unless it runs; returns once it serves. systemd starts it, if it has
/// a unit for it.
pub fn start(home: &Home, remark: Remark<'_>) -> Result<DaemonStart, ControlError> {
    if let Some(already) = running(home)? {
        return Ok(already);
    }
    home.check_own()?;
    let unit = service::unit_of_home(home.path()).map(|(unit, _)| unit);
    // A unit's home belongs to the unit's user, perhaps another than this one.
    if unit.is_none() {
        home.prepare()?;
    }
    // Concurrent starters lock the home's directory in turn: all but the first find a running daemon.
    let turn = match File::open(home.path()) {
        Err(err) if unit.is_none() => return Err(ControlError::start(err)),
        turn => turn.ok(),
    };
    if let Some(turn) = &turn {
        turn.lock().map_err(ControlError::start)?;
    }
    if let Some(already) = running(home)? {
        return Ok(already);
    }
    if let Some(unit) = unit {
        if let Some(started) = start_unit(home, &unit, remark)? {
            return Ok(started);
        }
        home.prepare()?;
    }
    for (name, meant) in misspelt(&environment::read_own(&home.env_file()).0) {
        remark(&format!("{name} is no setting; did you mean {meant}?"));
    }
    let log = home.log_file();
    // If the daemon aborts, the runtime writes its last message here.
    let stderr = sys::append_own(&log, 0).map_err(|err| home.io(&log, err))?;
    let report = spawn_daemon(home, &stderr).and_then(read_report);
    match report.map_err(ControlError::start)? {
        StartReport {
            pid: Some(pid),
            error: None,
        } => Ok(DaemonStart::New(pid)),
        StartReport {
            pid,
            error: Some(error),
        } if error.code == Code::DaemonAlreadyRunning => Ok(DaemonStart::Already(pid)),
        StartReport { error, .. } => {
            Err(error.unwrap_or_else(|| ControlError::start("the daemon does not say why")))
        }
    }
}

/// Starts `unit` by systemd; `None` if systemd cannot be asked.
pub(super) fn start_unit(
    home: &Home,
    unit: &Unit,
    remark: Remark<'_>,
) -> Result<Option<DaemonStart>, ControlError> {
    let systemctl = |verb| service::systemctl(unit, &[verb], Instant::now() + durations::START);
    let state = || {
        let deadline = Instant::now() + durations::SERVICE_TOOL;
        service::unit_state(unit, deadline).unwrap_or_default()
    };
    // systemd refuses frequent starts as a loop (systemd.unit(5), `StartLimitBurst=`). A user's explicit start resets
    // that.
    if state().active == "failed" {
        let _ = systemctl("reset-failed");
    }
    let failed_before = StartFailure::recorded(home);
    let mut started = systemctl("start");
    if started.is_err() && state().result == "start-limit-hit" && systemctl("reset-failed").is_ok()
    {
        started = systemctl("start");
    }
    let Err(reason) = started else {
        // A `Type=notify` unit has started once the daemon serves.
        return Ok(match running(home)? {
            Some(DaemonStart::Already(pid)) => Some(DaemonStart::ByUnit(pid, unit.clone())),
            // The unit does not notify, or serves another home.
            _ => None,
        });
    };
    // systemd has tried, or still tries: a daemon started by hand would get in its way.
    let now = state();
    if ["failed", "activating"].contains(&now.active.as_str()) {
        // A start that failed before it could record the reason leaves the older record.
        let recorded =
            StartFailure::recorded(home).filter(|now| failed_before.as_ref() != Some(now));
        let failure = recorded.or_else(|| StartFailure::of_unit(unit, &now));
        return Err(ControlError::failed_unit(unit, failure, &reason));
    }
    remark(&format!(
        "systemd does not start {unit}: {reason}; starting the daemon by hand"
    ));
    Ok(None)
}

/// Checks whether a daemon answers. One of another contract is an error, since it holds the socket.
fn running(home: &Home) -> Result<Option<DaemonStart>, ControlError> {
    match Client::connect_within(&home.socket(), durations::HEALTH) {
        Ok((_, health)) => Ok(Some(DaemonStart::Already(Some(health.daemon.pid)))),
        Err(ClientError::Api { .. }) => Ok(Some(DaemonStart::Already(None))),
        Err(err @ ClientError::UnsupportedVersion { .. }) => Err(ControlError {
            code: Code::UnsupportedApiVersion.into(),
            message: err.to_string(),
            next: "coven daemon stop (ends live sessions), with the coven that started it".into(),
        }),
        Err(_) => Ok(None),
    }
}

/// Starts this executable as the daemon, in its own session; returns the pipe of its report.
fn spawn_daemon(home: &Home, stderr: &File) -> io::Result<OwnedFd> {
    sys::keep_inherited_descriptors();
    // A daemon that is started from within a session does not belong to the session.
    sys::leave_family();
    let executable = std::env::current_exe()?;
    let (report, child_stdout) = sys::pipe()?;
    let null = File::open("/dev/null")?;
    let argument = |text: &str| CString::new(text).map_err(io::Error::other);
    let env = std::env::vars_os()
        .filter(|(name, _)| environment::is_started_with(name) && name != settings::HOME.name)
        .map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='))
        .chain([[
            settings::HOME.name.as_bytes().to_vec(),
            home.path().as_os_str().to_owned().into_vec(),
        ]
        .join(&b'=')])
        .map(|variable| CString::new(variable).map_err(io::Error::other))
        .collect::<io::Result<_>>()?;
    sys::spawn(
        &sys::Spawn {
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
    let pipe = File::from(pipe);
    sys::set_nonblocking(&pipe)?;
    let mut line = Vec::new();
    let mut report = BufReader::new(Within::new(&pipe, Instant::now() + durations::START));
    match report.read_until(b'\n', &mut line) {
        Ok(_) if line.ends_with(b"\n") => serde_json::from_slice(&line).map_err(io::Error::other),
        Ok(_) => Err(io::Error::other("the daemon ended before it served")),
        Err(err) if err.kind() == io::ErrorKind::TimedOut => {
            let seconds = durations::START.as_secs();
            Err(io::Error::other(format!(
                "the daemon has not begun to serve within {seconds} s"
            )))
        }
        Err(err) => Err(err),
    }
}
