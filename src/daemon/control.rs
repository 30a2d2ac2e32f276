//! Starts the daemon from outside. Runs in the CLI's process.
//!
//! Where systemd has a unit for it, systemd is asked to start it: a daemon that was started by hand is nobody's.

use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::home::{Home, HomeError};
use super::service::{self, Unit};
use super::status::{daemon_pid, is_locked};
use crate::adapters::environment;
use crate::api::{Code, Word};
use crate::http::client::{Client, ClientError};
use crate::settings::{self, durations};
use crate::sys::{self, Within};

/// What came of a start.
#[derive(Debug)]
pub enum Started {
    /// A new daemon, with this pid.
    New(u32),
    /// systemd has started its unit, whose daemon has this pid, if that could be learned.
    ByUnit(Option<u32>, Unit),
    /// It was running, with this pid, if that could be learned.
    Already(Option<u32>),
}

/// Who is told what went another way than it should have.
pub type Remark<'a> = &'a dyn Fn(&str);

/// Why a start or stop failed, with the code and the next command that the CLI prints.
#[derive(Debug, Serialize, Deserialize)]
pub struct ControlError {
    /// The CLI's code; one that the daemon has reported can be unknown.
    pub code: Word<Code>,
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

    /// That `unit` has not started: why its daemon has failed, or else what systemd says of it.
    fn failed_unit(unit: &Unit, failure: Option<Failure>, said: &str) -> Self {
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

    /// With another command to try.
    pub(super) fn try_next(self, next: impl Into<String>) -> Self {
        let next = next.into();
        Self { next, ..self }
    }
}

/// The one line that a daemon in the background says to who started it.
#[derive(Debug, Serialize, Deserialize)]
pub struct StartReport {
    /// Which process serves: this one, or the one that was there before.
    pub pid: Option<u32>,
    /// Why this one does not.
    pub error: Option<ControlError>,
}

/// Where a daemon holds the lock and its socket has gone, asks it by SIGHUP to make that anew, and waits until it has; says
/// so by `remark`. What is no daemon's, or a daemon's that cannot be told for certain, is left alone.
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
        "the socket had gone; the daemon (pid {pid}) was asked to make it anew, and has"
    ));
}

/// Starts the daemon of `home` in the background, unless it runs; returns when health has answered. systemd starts it if
/// it has a unit for it, and can.
///
/// # Errors
/// [`ControlError`]
pub fn start(home: &Home, remark: Remark<'_>) -> Result<Started, ControlError> {
    if let Some(already) = running(home)? {
        return Ok(already);
    }
    home.check_own()?;
    let unit = service::unit_of_home(home.path()).map(|(unit, _)| unit);
    // The home of a unit is its user's, who may be another than this one.
    if unit.is_none() {
        home.prepare()?;
    }
    // Starters take their turn on the home itself: all but the first find a daemon that answers.
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
    let log = home.log_file();
    // Where the runtime's last words go, should the daemon abort.
    let stderr = sys::append_own(&log, 0).map_err(|err| home.io(&log, err))?;
    let report = spawn_daemon(home, &stderr).and_then(read_report);
    match report.map_err(ControlError::start)? {
        StartReport {
            pid: Some(pid),
            error: None,
        } => Ok(Started::New(pid)),
        StartReport {
            pid,
            error: Some(error),
        } if error.code == Code::DaemonAlreadyRunning => Ok(Started::Already(pid)),
        StartReport { error, .. } => {
            Err(error.unwrap_or_else(|| ControlError::start("the daemon does not say why")))
        }
    }
}

/// Has systemd start `unit`; `None` if it cannot be asked to.
pub(super) fn start_unit(
    home: &Home,
    unit: &Unit,
    remark: Remark<'_>,
) -> Result<Option<Started>, ControlError> {
    let systemctl = |verb| service::systemctl(unit, &[verb], Instant::now() + durations::START);
    let state = || {
        let deadline = Instant::now() + durations::SERVICE_TOOL;
        service::unit_state(unit, deadline).unwrap_or_default()
    };
    // That many starts in a row are a loop if nobody asks for them, and are refused (systemd.unit(5),
    // `StartLimitBurst=`). Here somebody does.
    if state().active == "failed" {
        let _ = systemctl("reset-failed");
    }
    let failed_before = Failure::recorded(home);
    let mut started = systemctl("start");
    if started.is_err() && state().result == "start-limit-hit" && systemctl("reset-failed").is_ok()
    {
        started = systemctl("start");
    }
    let Err(reason) = started else {
        // A unit that tells when it is ready (`Type=notify`) has started when the daemon serves.
        return Ok(match running(home)? {
            Some(Started::Already(pid)) => Some(Started::ByUnit(pid, unit.clone())),
            // It does not tell, or serves another home.
            _ => None,
        });
    };
    // It has tried, or still does: one that is started by hand would get in its way.
    let now = state();
    if ["failed", "activating"].contains(&now.active.as_str()) {
        // A start that could not even say why leaves the record of one before.
        let recorded = Failure::recorded(home).filter(|now| failed_before.as_ref() != Some(now));
        let failure = recorded.or_else(|| Failure::of_unit(unit, &now));
        return Err(ControlError::failed_unit(unit, failure, &reason));
    }
    remark(&format!(
        "systemd does not start {unit}: {reason}; starting the daemon by hand"
    ));
    Ok(None)
}

/// Whether a daemon answers; one that speaks another contract is an error, since it holds the socket.
fn running(home: &Home) -> Result<Option<Started>, ControlError> {
    match Client::connect_within(&home.socket(), durations::HEALTH) {
        Ok((_, health)) => Ok(Some(Started::Already(Some(health.daemon.pid)))),
        Err(ClientError::Api { .. }) => Ok(Some(Started::Already(None))),
        Err(err @ ClientError::UnsupportedVersion { .. }) => Err(ControlError {
            code: Code::UnsupportedApiVersion.into(),
            message: err.to_string(),
            next: "coven daemon stop (ends live sessions), with the coven that started it".into(),
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
