//! The daemon from outside: its socket, its life, its contract and version, and its event writer.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::check::Check;
use super::probe::Probe;
use crate::api::{CONTRACT, Code, Health, VERSION, WriterState};
use crate::cli::status::uptime;
use crate::daemon::Home;
use crate::daemon::control::{Status, held_next};
use crate::observe::field::is_version;
use crate::observe::{Message, message};
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
    let path = home.socket();
    if let Status::Unsupported { found } = &probe.status {
        let message = message!(
            "the daemon of another machine speaks {}, this coven speaks {}",
            Message::word(found, is_version),
            CONTRACT
        );
        let hint = "use the coven of that machine's release here";
        return checks.push(Check::fail(CONTRACT_ID, message, hint));
    }
    let Some(health) = probe.health() else {
        let hint = Code::HomeForwarded.next().unwrap_or_default();
        let message = message!(
            "nobody answers on {}, which leads to another machine",
            &path
        );
        return checks.push(Check::fail(SOCKET, message, hint));
    };
    checks.push(Check::pass(
        SOCKET,
        message!(
            "{} leads to another machine: coven doctor there says more",
            &path
        ),
    ));
    checks.push(daemon(home, probe));
    checks.push(Check::pass(
        VERSION_ID,
        message!(
            "the daemon is coven {}, this is coven {}",
            Message::word(&health.coven_version, is_version),
            VERSION
        ),
    ));
}

fn socket(home: &Home, probe: &Probe) -> Check {
    let path = home.socket();
    let length = path.as_os_str().as_bytes().len();
    let restart = restart(probe);
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        Err(err) if err.kind() == io::ErrorKind::NotFound && probe.is_stopped() => {
            let max = sys::SUN_PATH_MAX;
            let message = message!(
                "{} is not there, as no daemon runs ({} bytes of {})",
                &path,
                length,
                max
            );
            return Check::pass(SOCKET, message);
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            let hint = held_next(home, probe.pid());
            return Check::fail(SOCKET, message!("{} is gone", &path), hint);
        }
        Err(err) => return Check::fail(SOCKET, message!("{}: {}", &path, &err), restart),
    };
    if !meta.file_type().is_socket() {
        let hint = message!(
            "mv {} {}.old; {}",
            Message::quoted(&path),
            Message::quoted(&path),
            restart
        );
        return Check::fail(SOCKET, message!("{} is not a socket", &path), hint);
    }
    if let Status::Stopped { is_awaited: true } = probe.status {
        let message = message!(
            "systemd listens on {}, and starts the daemon with its first client",
            &path
        );
        return Check::pass(SOCKET, message);
    }
    let Some(listener) = probe.listener else {
        let message = match probe.is_deaf {
            true => message!("who listens on {} takes no more connections", &path),
            false => message!("nobody listens on {}", &path),
        };
        return Check::fail(SOCKET, message, restart);
    };
    if let (true, Some(pid)) = (probe.is_handed_over, probe.recorded) {
        let message = message!(
            "systemd listens on {}, and has handed it to pid {}",
            &path,
            pid
        );
        return Check::pass(SOCKET, message);
    }
    if listener.uid != probe.owner {
        let message = message!(
            "a process of another user (uid {}) listens on {}",
            listener.uid,
            &path
        );
        let hint = message!("rm {}; {}", Message::quoted(&path), restart);
        return Check::fail(SOCKET, message, hint);
    }
    let recorded = probe.file.as_ref().map(|file| file.pid);
    match (listener.pid, recorded) {
        (Some(pid), Some(recorded)) if pid != recorded => {
            let message = message!(
                "pid {} listens on {}, but daemon.json names pid {}: another container's daemon, or not one at all",
                pid,
                &path,
                recorded
            );
            let hint = message!("ps -fp {},{}, to see which they are", pid, recorded);
            Check::fail(SOCKET, message, hint)
        }
        (Some(pid), None) => {
            let message = message!(
                "pid {} listens on {}, but daemon.json is not there or not readable",
                pid,
                &path
            );
            Check::warn(
                SOCKET,
                message,
                message!("kill -HUP {}, which has the daemon write it again", pid),
            )
        }
        (Some(pid), Some(_)) => Check::pass(SOCKET, message!("pid {} listens on {}", pid, &path)),
        (None, _) => Check::pass(SOCKET, message!("{} takes connections", &path)),
    }
}

/// What brings a daemon back that is not as it should be.
fn restart(probe: &Probe) -> Message {
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
        .map(|pid| message!(" (pid {})", pid))
        .unwrap_or_default();
    match &probe.status {
        Status::Running(health) => {
            let (live, total) = (health.sessions.live, health.sessions.total);
            let up = uptime(health.daemon.uptime_seconds);
            Check::pass(
                DAEMON,
                message!(
                    "running (pid {}), up {}, {} live sessions of {}",
                    health.daemon.pid,
                    up,
                    live,
                    total
                ),
            )
        }
        Status::Busy { reason, .. } => Check::warn(
            DAEMON,
            message!("running{}, but it turns this away: {}", pid, reason.clone()),
            "wait, or close some of its connections: ss -xp | grep coven.sock shows whose they are",
        ),
        Status::Unsupported { .. } => Check::pass(DAEMON, message!("running{}", pid)),
        Status::Forwarded(err) => Check::fail(DAEMON, err.message(), err.mend()),
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
            let at = failure.at.map(|at| message!(" at {}", at));
            let message = message!(
                "stopped; its last start failed{}: {} ({})",
                at.unwrap_or_default(),
                Message::foreign(&failure.reason),
                &failure.code
            );
            Check::fail(DAEMON, message, Message::foreign(&failure.next))
        }
        Status::Stale { reason, locked, .. } => {
            let stopped = probe.pid().filter(|&pid| sys::is_stopped(pid));
            let (reason, hint) = match stopped {
                Some(pid) => (
                    message!("{}: its process is stopped by a signal", reason.clone()),
                    message!("kill -CONT {}", pid),
                ),
                None if *locked && home.socket().symlink_metadata().is_err() => {
                    (reason.clone(), held_next(home, probe.pid()))
                }
                None if *locked => (reason.clone(), restart(probe)),
                None => (
                    reason.clone(),
                    message!("{}, which cleans up", restart(probe)),
                ),
            };
            Check::fail(DAEMON, message!("stale{}: {}", pid, reason), hint)
        }
    }
}

fn contract(found: &str, probe: &Probe) -> Check {
    if found == CONTRACT {
        return Check::pass(CONTRACT_ID, message!("both speak {}", CONTRACT));
    }
    Check::fail(
        CONTRACT_ID,
        message!(
            "the daemon speaks {}, this coven speaks {}",
            Message::word(found, is_version),
            CONTRACT
        ),
        message!(
            "{}, with the coven that is to be used",
            probe.service.restart()
        ),
    )
}

fn version(health: &Health, probe: &Probe) -> Check {
    let found = &health.coven_version;
    if found != VERSION {
        let message = message!(
            "the daemon is coven {}, this is coven {}",
            Message::word(found, is_version),
            VERSION
        );
        return Check::warn(VERSION_ID, message, probe.service.restart());
    }
    // What Linux puts behind the name of a file that is no more (proc(5), /proc/pid/exe).
    let executable = probe.pid().and_then(sys::executable);
    let deleted = executable
        .as_deref()
        .and_then(|path| path.to_str()?.strip_suffix(" (deleted)"));
    if let Some(path) = deleted {
        let message = message!(
            "both are coven {}, but {} has been replaced since the daemon started",
            VERSION,
            Path::new(path)
        );
        return Check::warn(VERSION_ID, message, probe.service.restart());
    }
    Check::pass(VERSION_ID, message!("both are coven {}", VERSION))
}

fn writer(health: &Health) -> Check {
    let writer = &health.event_writer;
    match writer.state {
        WriterState::Healthy => Check::pass(WRITER, "events reach the disk"),
        WriterState::Pressured if let Some(reason) = &writer.last_error => Check::warn(
            WRITER,
            message!(
                "harnesses that print much are held back: {}",
                Message::foreign(reason)
            ),
            "end what holds it, or wait until it is done",
        ),
        WriterState::Pressured => Check::warn(
            WRITER,
            message!(
                "harnesses are held back: {} of {} bytes wait for the disk",
                writer.queued_bytes,
                writer.capacity_bytes
            ),
            "iostat -x 1, to see whether the disk is the slow one",
        ),
        WriterState::Failed => Check::fail(
            WRITER,
            message!(
                "events cannot be written: {}",
                match &writer.last_error {
                    Some(reason) => Message::foreign(reason),
                    None => "it does not say why".into(),
                }
            ),
            "df on COVEN_HOME, and coven logs --code store_unavailable; it goes on by itself once it can write",
        ),
    }
}
