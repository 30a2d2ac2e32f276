//! The daemon from outside: its socket, its life, its contract and version, and its event writer.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;

use super::probe::Probe;
use crate::api::{CONTRACT, Check, Code, Health, VERSION, WriterState};
use crate::cli::daemon::uptime;
use crate::cli::output::quoted;
use crate::daemon::Home;
use crate::daemon::control::{Status, held_next};
use crate::sys;

pub(super) const SOCKET: &str = "socket";
pub(super) const DAEMON: &str = "daemon";
const CONTRACT_ID: &str = "contract";
const VERSION_ID: &str = "version";
const WRITER: &str = "writer";

pub(super) fn checks(home: &Home, probe: &Probe, checks: &mut Vec<Check>) {
    checks.push(socket(home, probe));
    checks.push(daemon(home, probe));
    if let Status::Unsupported { found } = &probe.status {
        checks.push(contract(found, probe));
    }
    if let Some(health) = probe.health() {
        checks.push(contract(&health.api_version, probe));
        checks.push(version(health, probe));
        checks.push(writer(health));
    }
}

/// The checks where the home is the end of a connection to another machine's daemon: nothing that could be advised here
/// would be done on that machine.
pub(super) fn forwarded_checks(home: &Home, probe: &Probe, checks: &mut Vec<Check>) {
    let socket = home.socket();
    let shown = socket.display();
    if let Status::Unsupported { found } = &probe.status {
        let message =
            format!("the daemon of another machine speaks {found}, this coven speaks {CONTRACT}");
        let hint = "use the coven of that machine's release here";
        return checks.push(Check::fail(CONTRACT_ID, message, hint));
    }
    let Some(health) = probe.health() else {
        let hint = Code::HomeForwarded.next().unwrap_or_default();
        let message = format!("nobody answers on {shown}, which leads to another machine");
        return checks.push(Check::fail(SOCKET, message, hint));
    };
    checks.push(Check::pass(
        SOCKET,
        format!("{shown} leads to another machine: coven doctor there says more"),
    ));
    checks.push(daemon(home, probe));
    checks.push(Check::pass(
        VERSION_ID,
        format!(
            "the daemon is coven {}, this is coven {VERSION}",
            health.coven_version
        ),
    ));
}

fn socket(home: &Home, probe: &Probe) -> Check {
    let path = home.socket();
    let shown = path.display();
    let length = path.as_os_str().as_bytes().len();
    let restart = restart(probe);
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        Err(err) if err.kind() == io::ErrorKind::NotFound && probe.is_stopped() => {
            let max = sys::SUN_PATH_MAX;
            let message =
                format!("{shown} is not there, as no daemon runs ({length} bytes of {max})");
            return Check::pass(SOCKET, message);
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            let hint = held_next(home, probe.pid());
            return Check::fail(SOCKET, format!("{shown} is gone"), hint);
        }
        Err(err) => return Check::fail(SOCKET, format!("{shown}: {err}"), restart),
    };
    if !meta.file_type().is_socket() {
        let hint = format!("mv {0} {0}.old; {restart}", quoted(&path));
        return Check::fail(SOCKET, format!("{shown} is not a socket"), hint);
    }
    if let Status::Stopped { is_awaited: true } = probe.status {
        let message =
            format!("systemd listens on {shown}, and starts the daemon with its first client");
        return Check::pass(SOCKET, message);
    }
    let Some(listener) = probe.listener else {
        let message = match probe.is_deaf {
            true => format!("who listens on {shown} takes no more connections"),
            false => format!("nobody listens on {shown}"),
        };
        return Check::fail(SOCKET, message, restart);
    };
    if let (true, Some(pid)) = (probe.is_handed_over, probe.recorded) {
        let message = format!("systemd listens on {shown}, and has handed it to pid {pid}");
        return Check::pass(SOCKET, message);
    }
    if listener.uid != probe.owner {
        let message = format!(
            "a process of another user (uid {}) listens on {shown}",
            listener.uid
        );
        let hint = format!("rm {}; {restart}", quoted(&path));
        return Check::fail(SOCKET, message, hint);
    }
    let recorded = probe.file.as_ref().map(|file| file.pid);
    match (listener.pid, recorded) {
        (Some(pid), Some(recorded)) if pid != recorded => {
            let message = format!(
                "pid {pid} listens on {shown}, but daemon.json names pid {recorded}: another container's daemon, or not one at all"
            );
            let hint = format!("ps -fp {pid},{recorded}, to see which they are");
            Check::fail(SOCKET, message, hint)
        }
        (Some(pid), None) => {
            let message = format!(
                "pid {pid} listens on {shown}, but daemon.json is not there or not readable"
            );
            Check::warn(
                SOCKET,
                message,
                format!("kill -HUP {pid}, which has the daemon write it again"),
            )
        }
        (Some(pid), Some(_)) => Check::pass(SOCKET, format!("pid {pid} listens on {shown}")),
        (None, _) => Check::pass(SOCKET, format!("{shown} takes connections")),
    }
}

/// What brings a daemon back that is not as it should be.
fn restart(probe: &Probe) -> String {
    match &probe.status {
        Status::Stopped { .. } | Status::Failed(_) | Status::Stale { locked: false, .. } => {
            probe.service.start()
        }
        _ => probe.service.restart(),
    }
}

fn daemon(home: &Home, probe: &Probe) -> Check {
    let pid = probe
        .pid()
        .map(|pid| format!(" (pid {pid})"))
        .unwrap_or_default();
    match &probe.status {
        Status::Running(health) => {
            let (live, total) = (health.sessions.live, health.sessions.total);
            let up = uptime(health.daemon.uptime_seconds);
            Check::pass(
                DAEMON,
                format!(
                    "running (pid {}), up {up}, {live} live sessions of {total}",
                    health.daemon.pid
                ),
            )
        }
        Status::Busy { reason, .. } => Check::warn(
            DAEMON,
            format!("running{pid}, but it turns this away: {reason}"),
            "wait, or close some of its connections: ss -xp | grep coven.sock shows whose they are",
        ),
        Status::Unsupported { .. } => Check::pass(DAEMON, format!("running{pid}")),
        Status::Forwarded(err) => Check::fail(DAEMON, err.to_string(), err.mend()),
        Status::Unknown { reason } => Check::fail(
            DAEMON,
            reason.clone(),
            "run it as the user whose home it is",
        ),
        Status::Stopped { is_awaited: true } => {
            Check::pass(DAEMON, "stopped; systemd starts it with its first client")
        }
        Status::Stopped { is_awaited: false } => {
            Check::warn(DAEMON, "stopped", probe.service.start())
        }
        Status::Failed(failure) => {
            let at = failure.at.map(|at| format!(" at {at}"));
            let message = format!(
                "stopped; its last start failed{}: {} ({})",
                at.unwrap_or_default(),
                failure.reason,
                failure.code
            );
            Check::fail(DAEMON, message, failure.next.clone())
        }
        Status::Stale { reason, locked, .. } => {
            let stopped = probe.pid().filter(|&pid| sys::is_stopped(pid));
            let (reason, hint) = match stopped {
                Some(pid) => (
                    format!("{reason}: its process is stopped by a signal"),
                    format!("kill -CONT {pid}"),
                ),
                None if *locked && home.socket().symlink_metadata().is_err() => {
                    (reason.clone(), held_next(home, probe.pid()))
                }
                None if *locked => (reason.clone(), restart(probe)),
                None => (
                    reason.clone(),
                    format!("{}, which cleans up", restart(probe)),
                ),
            };
            Check::fail(DAEMON, format!("stale{pid}: {reason}"), hint)
        }
    }
}

fn contract(found: &str, probe: &Probe) -> Check {
    if found == CONTRACT {
        return Check::pass(CONTRACT_ID, format!("both speak {CONTRACT}"));
    }
    Check::fail(
        CONTRACT_ID,
        format!("the daemon speaks {found}, this coven speaks {CONTRACT}"),
        format!(
            "{}, with the coven that is to be used",
            probe.service.restart()
        ),
    )
}

fn version(health: &Health, probe: &Probe) -> Check {
    let found = &health.coven_version;
    if found != VERSION {
        let message = format!("the daemon is coven {found}, this is coven {VERSION}");
        return Check::warn(VERSION_ID, message, probe.service.restart());
    }
    // What Linux puts behind the name of a file that is no more (proc(5), /proc/pid/exe).
    let executable = probe.pid().and_then(sys::executable);
    let deleted = executable
        .as_deref()
        .and_then(|path| path.to_str()?.strip_suffix(" (deleted)"));
    if let Some(path) = deleted {
        let message = format!(
            "both are coven {VERSION}, but {path} has been replaced since the daemon started"
        );
        return Check::warn(VERSION_ID, message, probe.service.restart());
    }
    Check::pass(VERSION_ID, format!("both are coven {VERSION}"))
}

fn writer(health: &Health) -> Check {
    let writer = &health.event_writer;
    match writer.state {
        WriterState::Healthy => Check::pass(WRITER, "events reach the disk"),
        WriterState::Pressured if let Some(reason) = &writer.last_error => Check::warn(
            WRITER,
            format!("harnesses that print much are held back: {reason}"),
            "end what holds it, or wait until it is done",
        ),
        WriterState::Pressured => Check::warn(
            WRITER,
            format!(
                "harnesses are held back: {} of {} bytes wait for the disk",
                writer.queued_bytes, writer.capacity_bytes
            ),
            "iostat -x 1, to see whether the disk is the slow one",
        ),
        WriterState::Failed => Check::fail(
            WRITER,
            format!(
                "events cannot be written: {}",
                writer
                    .last_error
                    .as_deref()
                    .unwrap_or("it does not say why")
            ),
            "df on COVEN_HOME, and coven logs --code store_unavailable; it goes on by itself once it can write",
        ),
    }
}
