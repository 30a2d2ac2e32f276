//! The daemon's end from outside. Runs in the CLI's process.
//!
//! The daemon of a unit of systemd's is stopped by systemd, so that it knows that it is to stay down; the daemon is asked
//! as well, since only it can say what is not on disk.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use super::control::{ControlError, Remark, Started, start, start_unit};
use super::home::Home;
use super::service::{self, Supervisor, Unit};
use super::status::{Status, daemon_pid, listener_pid};
use crate::api::routes::{self, Endpoint};
use crate::api::{Code, ENDS_SESSIONS, StopReport};
use crate::http::client::{Client, ClientError};
use crate::settings::durations;
use crate::sys::{self, Interest};

/// What came of a stop.
#[derive(Debug)]
pub enum StopOutcome {
    /// It ran, and has ended.
    Ended {
        /// Its process.
        pid: i32,
        /// It has said that everything is on disk. One that takes no connection is ended by a signal, and says nothing.
        told: bool,
        /// The copy that everything is in, where the database's files had gone.
        recovered: Option<String>,
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

/// Stops the daemon of `home`, if it runs; returns when its process has ended. A daemon that systemd runs is stopped by
/// systemd, if it can.
///
/// # Errors
/// [`ControlError`]; [`StopOutcome::Unclean`] is none.
pub fn stop(home: &Home, remark: Remark<'_>) -> Result<StopOutcome, ControlError> {
    let (outcome, unit) = end(home, "stop", remark)?;
    let Some(unit) = unit else { return Ok(outcome) };
    // Joins what has been asked for, and waits for systemd to have seen the end.
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

/// Stops the daemon of `home`, if it runs, and starts it again, by systemd if that runs it or has a unit for it; what
/// came of both.
///
/// # Errors
/// [`ControlError`]: it has not been stopped.
pub fn restart(
    home: &Home,
    remark: Remark<'_>,
) -> Result<(StopOutcome, Result<Started, ControlError>), ControlError> {
    let (outcome, unit) = end(home, "restart", remark)?;
    let started = match unit {
        // Joins the restart that is under way.
        Some(unit) => start_unit(home, &unit, remark),
        None => Ok(None),
    };
    let started = started.and_then(|started| match started {
        Some(started) => Ok(started),
        None => start(home, remark),
    });
    Ok((outcome, started))
}

/// Ends the daemon of `home`, if it runs, and waits until its process has ended; gives the unit that systemd does `verb`
/// (`stop` or `restart`) with.
fn end(
    home: &Home,
    verb: &str,
    remark: Remark<'_>,
) -> Result<(StopOutcome, Option<Unit>), ControlError> {
    const NOT_RUNNING: (StopOutcome, Option<Unit>) = (StopOutcome::NotRunning, None);
    // A start that is under way comes first: what it starts cannot be asked yet. Without a home there is none.
    if let Ok(turn) = File::open(home.path()) {
        turn.lock().map_err(ControlError::stop)?;
    }
    let Some(pid) = running_pid(home)? else {
        return Ok(NOT_RUNNING);
    };
    let Some(watch) = exit_watch(home, pid)? else {
        return Ok(NOT_RUNNING);
    };
    // Before it begins to stop: who connects later may find nobody.
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

/// What came of stopping the daemon `pid`, which has ended.
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

/// A descriptor that becomes readable when the process has ended, whatever its pid becomes; `None` if it has.
fn exit_watch(home: &Home, pid: i32) -> Result<Option<OwnedFd>, ControlError> {
    match sys::exit_watch(pid) {
        Err(err) if err.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
        Err(err) if err.raw_os_error() == Some(libc::ENOSYS) => lock_watch(home),
        watch => watch,
    }
    .map(Some)
    .map_err(ControlError::stop)
}

/// How long to wait for the end of a daemon that has told that its stop takes so many milliseconds at most.
fn patience(told: Option<u64>) -> Duration {
    let told = told.map_or(Duration::ZERO, Duration::from_millis);
    durations::STOP.max(told.min(durations::STOP_MAX) + durations::STOP_SPARE)
}

/// A descriptor that becomes readable when nobody holds the daemon's lock any more, which the kernel takes away from a
/// process that ends (flock(2)): for kernels that have no descriptors for processes (before Linux 5.3).
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

/// Has systemd do `verb` with the unit that runs the process `pid`, without waiting for it, and gives the unit; `None`
/// where the daemon is to be asked alone.
///
/// # Errors
/// A restart that its supervisor cannot be asked for: a daemon that would be started by hand would be nobody's.
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

/// The status, once a daemon that holds the lock and does not answer yet has had the time to.
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
