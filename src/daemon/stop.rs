//! Stops the daemon from outside. Runs in the CLI's process.
//!
//! systemd stops the daemon of its unit, so that it stays down. The daemon is asked as well: only its answer tells what
//! is not on disk.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use super::control::{ControlError, DaemonStart, Remark, start, start_unit};
use super::home::Home;
use super::service::{self, Supervisor, Unit};
use super::status::{Status, daemon_pid, listener_pid};
use crate::api::routes::{self, Endpoint};
use crate::api::{Code, ENDS_SESSIONS, StopReport};
use crate::http::client::{Client, ClientError};
use crate::settings::durations;
use crate::sys::{self, Interest};

/// Result of a stop.
#[derive(Debug)]
pub enum StopOutcome {
    /// The daemon ran, and has ended.
    Ended {
        pid: i32,
        /// The daemon answered that everything is on disk. One that accepts no connection is stopped by a signal, and
        /// does not answer.
        told: bool,
        /// The copy that holds everything, if the database's files were gone.
        recovered: Option<String>,
    },
    /// The daemon ran and has ended, but not everything is on disk.
    Unclean {
        pid: i32,
        /// The data that is not on disk.
        report: StopReport,
    },
    /// The daemon did not run.
    NotRunning,
}

/// Stops the daemon of `home`, if it runs; returns when its process has ended. systemd stops a daemon that it runs, if
/// possible.
///
/// # Errors
/// [`ControlError`]; [`StopOutcome::Unclean`] is not an error.
pub fn stop(home: &Home, remark: Remark<'_>) -> Result<StopOutcome, ControlError> {
    let (outcome, unit) = end(home, "stop", remark)?;
    let Some(unit) = unit else { return Ok(outcome) };
    // Joins the running stop job, and waits until systemd has seen the end.
    let deadline = Instant::now() + durations::STOP;
    match service::systemctl(&unit, &["stop"], deadline) {
        Ok(said) if said.is_empty() => {}
        Ok(said) | Err(said) => remark(&said),
    }
    let StopOutcome::Ended {
        pid, told: false, ..
    } = outcome
    else {
        return Ok(outcome);
    };
    let deadline = Instant::now() + durations::SERVICE_TOOL;
    match service::unit_state(&unit, deadline) {
        // The daemon exits with 0 if everything is on disk.
        Some(state) if state.result == "success" => Ok(StopOutcome::Ended {
            pid,
            told: true,
            recovered: None,
        }),
        Some(state) if !state.result.is_empty() => Err(ControlError::stop(format!(
            "the daemon (pid {pid}) has ended, but not well: {unit} is {} ({})",
            state.active, state.result
        ))
        .try_next(unit.journal())),
        _ => Ok(outcome),
    }
}

/// Stops the daemon of `home`, if it runs, and starts it again, by systemd if that runs it or has a unit for it.
/// Returns both results.
///
/// # Errors
/// [`ControlError`]: it has not been stopped.
pub fn restart(
    home: &Home,
    remark: Remark<'_>,
) -> Result<(StopOutcome, Result<DaemonStart, ControlError>), ControlError> {
    let (outcome, unit) = end(home, "restart", remark)?;
    let started = match unit {
        // Joins the running restart job.
        Some(unit) => start_unit(home, &unit, remark),
        None => Ok(None),
    };
    let started = started.and_then(|started| match started {
        Some(started) => Ok(started),
        None => start(home, remark),
    });
    Ok((outcome, started))
}

/// Ends the daemon of `home`, if it runs, and waits for its exit. Returns the unit with which systemd does `verb`
/// (`stop` or `restart`).
fn end(
    home: &Home,
    verb: &str,
    remark: Remark<'_>,
) -> Result<(StopOutcome, Option<Unit>), ControlError> {
    const NOT_RUNNING: (StopOutcome, Option<Unit>) = (StopOutcome::NotRunning, None);
    // Waits for a start in progress, whose daemon cannot be asked yet. Without a home there is none.
    if let Ok(turn) = File::open(home.path()) {
        turn.lock().map_err(ControlError::stop)?;
    }
    let Some(pid) = running_pid(home)? else {
        return Ok(NOT_RUNNING);
    };
    let Some(watch) = exit_watch(home, pid)? else {
        return Ok(NOT_RUNNING);
    };
    // Connects before the stop begins: later the daemon may not accept any more.
    let client = Client::connect_within(&home.socket(), durations::HEALTH);
    let told = match &client {
        Ok((_, health)) => health.daemon.stop_within_ms,
        Err(_) => home
            .read_daemon_file()
            .filter(|file| file.pid == pid)
            .and_then(|file| file.stop_within_ms),
    };
    let patience = patience(told);
    let deadline = Instant::now() + patience;
    let unit = hand_over(pid, verb, remark)?;
    let asked = match client {
        Ok((client, _)) => ask_to_stop(client, patience),
        Err(_) => Asked::Unheard,
    };
    if let (Asked::Unheard | Asked::CutOff, None) = (&asked, &unit) {
        match sys::signal_watched(&watch, pid, libc::SIGTERM) {
            Err(err) if err.raw_os_error() != Some(libc::ESRCH) => {
                return Err(ControlError::stop(err));
            }
            _ => {}
        }
    }
    if !sys::poll(&mut [Interest::readable(&watch)], Some(deadline)).map_err(ControlError::stop)? {
        let seconds = patience.as_secs();
        return Err(ControlError::stop(format!(
            "the daemon (pid {pid}) has not ended within {seconds} s"
        ))
        .try_next(format!("kill -9 {pid}{ENDS_SESSIONS}")));
    }
    outcome(pid, asked, unit.as_ref()).map(|outcome| (outcome, unit))
}

/// Result of stopping the daemon `pid`, which has ended.
fn outcome(pid: i32, asked: Asked, unit: Option<&Unit>) -> Result<StopOutcome, ControlError> {
    let (told, recovered) = match asked {
        Asked::Answered(report) if !report.clean => {
            return Ok(StopOutcome::Unclean { pid, report });
        }
        Asked::Answered(report) => (true, report.recovered),
        Asked::CutOff if unit.is_none() => {
            let message = format!(
                "the daemon (pid {pid}) has ended without a word on whether everything is on disk: was it killed?"
            );
            return Err(ControlError::stop(message).try_next("coven daemon logs --lines 20"));
        }
        _ => (false, None),
    };
    Ok(StopOutcome::Ended {
        pid,
        told,
        recovered,
    })
}

/// A descriptor that becomes readable when the process has ended, even if its pid is reused; `None` if it has ended
/// already.
fn exit_watch(home: &Home, pid: i32) -> Result<Option<OwnedFd>, ControlError> {
    match sys::exit_watch(pid) {
        Err(err) if err.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
        Err(err) if err.raw_os_error() == Some(libc::ENOSYS) => lock_watch(home),
        watch => watch,
    }
    .map(Some)
    .map_err(ControlError::stop)
}

/// Longest wait for a daemon that announced that its stop takes at most `told` milliseconds.
fn patience(told: Option<u64>) -> Duration {
    let told = told.map_or(Duration::ZERO, Duration::from_millis);
    durations::STOP.max(told.min(durations::STOP_MAX) + durations::STOP_SPARE)
}

/// A descriptor that becomes readable when the daemon's lock is free, which the kernel releases at exit (flock(2)). For
/// kernels without pidfds (before Linux 5.3).
fn lock_watch(home: &Home) -> io::Result<OwnedFd> {
    let lock = File::open(home.lock_file())?;
    let (reader, writer) = sys::pipe()?;
    let wait = move || {
        let _ = lock.lock_shared();
        drop(writer);
    };
    thread::Builder::new().name("lock".into()).spawn(wait)?;
    Ok(reader)
}

/// Makes systemd do `verb` with the unit of the process `pid`, without waiting for it; returns the unit. `None` if only
/// the daemon is to be asked.
///
/// # Errors
/// A restart that the supervisor cannot be asked for: no supervisor would run a daemon that is started by hand instead.
fn hand_over(pid: i32, verb: &str, remark: Remark<'_>) -> Result<Option<Unit>, ControlError> {
    let supervised = |by: Supervisor, why: &str| ControlError {
        code: Code::DaemonSupervised.into(),
        message: format!("the daemon is run by {by}{why}"),
        next: by.command(verb).unwrap_or_default().to_string(),
    };
    if verb == "restart"
        && let Some(by @ Supervisor::Launchd { .. }) = service::of_process(pid)
    {
        return Err(supervised(by, ""));
    }
    let Some(unit) = service::unit_of_process(pid) else {
        return Ok(None);
    };
    let deadline = Instant::now() + durations::HEALTH;
    match service::systemctl(&unit, &["--no-block", verb], deadline) {
        Ok(_) => Ok(Some(unit)),
        Err(reason) if verb == "restart" => {
            let why = format!(", and cannot be restarted from here: {reason}");
            Err(supervised(Supervisor::Systemd(unit), &why))
        }
        Err(reason) => {
            remark(&format!(
                "systemd does not stop {unit}: {reason}; asking the daemon itself"
            ));
            Ok(None)
        }
    }
}

/// Answer of a daemon that was asked to stop.
enum Asked {
    /// The daemon has stopped, and reported the result.
    Answered(StopReport),
    /// The daemon was not asked: it accepts no connection, or does not know the route.
    Unheard,
    /// The daemon was asked, and the connection broke.
    CutOff,
    /// The daemon was asked, and did not finish in time.
    TimedOut,
}

/// Asks the daemon to stop, over its socket: its last answer tells what is not on disk. A signal has no answer, and
/// only a parent sees the exit code (wait(2)).
fn ask_to_stop(mut client: Client, patience: Duration) -> Asked {
    if client.set_patience(patience).is_err() {
        return Asked::Unheard;
    }
    match client.call(routes::StopDaemon.request()) {
        Ok(report) => Asked::Answered(report),
        Err(err) if err.is_timeout() => Asked::TimedOut,
        Err(ClientError::Io(_)) => Asked::CutOff,
        Err(_) => Asked::Unheard,
    }
}

/// The status, after a daemon that holds the lock without answering has had time to start.
fn settled_status(home: &Home) -> Status {
    let deadline = Instant::now() + durations::SETTLE;
    let watch = sys::LogWatch::new(home.path());
    loop {
        let status = Status::of(home);
        let is_starting = matches!(
            status,
            Status::Stale {
                locked: true,
                pid: None,
                ..
            }
        );
        // A starting daemon creates its socket and daemon.json in the home.
        let Ok(watch) = &watch else { return status };
        if !is_starting || Instant::now() >= deadline {
            return status;
        }
        let _ = sys::poll(&mut [Interest::readable(watch)], Some(deadline));
        watch.clear();
    }
}

/// Pid of the daemon to stop. A pid in a daemon's answer belongs to the daemon's PID namespace: it is used only if the
/// kernel confirms it, or if the recorded process is still that process.
fn running_pid(home: &Home) -> Result<Option<i32>, ControlError> {
    let claimed = match settled_status(home) {
        Status::Running(health) => i32::try_from(health.daemon.pid).ok(),
        Status::Busy { pid, .. } => pid,
        Status::Stopped { .. }
        | Status::Failed(_)
        | Status::Stale { locked: false, .. }
        | Status::Forwarded(_) => return Ok(None),
        Status::Stale { pid: Some(pid), .. } => return Ok(Some(pid)),
        Status::Stale {
            reason, pid: None, ..
        } => {
            let lock = home.lock_file();
            return Err(ControlError::stop(reason).try_next(format!(
                "fuser -v {}, to see which process that is",
                lock.display()
            )));
        }
        Status::Unknown { reason } => return Err(ControlError::stop(reason)),
        Status::Unsupported { .. } => listener_pid(home),
    };
    match claimed {
        Some(pid) if daemon_pid(home) == Some(pid) || listener_pid(home) == Some(pid) => {
            Ok(Some(pid))
        }
        _ => Err(ControlError::stop(
            "the daemon answers, but which process it is cannot be told from here",
        )
        .try_next(format!(
            "stop it where it was started, in its container, or by its supervisor{ENDS_SESSIONS}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_waits_longer_than_the_daemon_may_take_and_never_for_ever() {
        for grace in [0, 5, 49, 50, 120, 600] {
            let within = durations::stop_within(Duration::from_secs(grace));
            let waits = patience(Some(within.as_millis() as u64));
            assert!(waits > within && waits >= durations::STOP, "{grace}");
        }
        assert_eq!(patience(None), durations::STOP);
        assert!(patience(Some(u64::MAX)) < 2 * durations::STOP_MAX);
    }
}
