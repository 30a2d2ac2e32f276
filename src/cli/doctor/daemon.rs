//! Checks of the daemon from outside: socket, state, contract, version, event writer.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::check::{Verdict, fail, pass, warn};
use crate::api::{CONTRACT, Code, VERSION, WriterState};
use crate::cli::observation::Observation;
use crate::cli::status::uptime;
use crate::daemon::status::{Status, held_next, is_forwarded};
use crate::observe::field::is_version;
use crate::observe::{Message, message};
use crate::sys::{self, Peer};

/// The verdict on a socket that forwards to another machine's daemon: no local command would help.
fn forwarded_socket(seen: &Observation) -> Option<Verdict> {
    let path = seen.home.socket();
    match &seen.status {
        Status::Unsupported { .. } => None,
        Status::Running(_) => Some(pass(message!(
            "{} leads to another machine: coven doctor there says more",
            &path
        ))),
        _ => Some(fail(
            message!(
                "no daemon answers on {}, which forwards to another machine",
                &path
            ),
            Code::HomeForwarded.next().unwrap_or_default(),
        )),
    }
}

pub(super) fn socket(seen: &Observation) -> Option<Verdict> {
    match is_forwarded(&seen.home) {
        true => forwarded_socket(seen),
        false => Some(own_socket(seen)),
    }
}

fn own_socket(seen: &Observation) -> Verdict {
    let path = seen.home.socket();
    let length = path.as_os_str().as_bytes().len();
    let restart = restart(seen);
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        Err(err) if err.kind() == io::ErrorKind::NotFound && seen.is_stopped() => {
            let max = sys::SUN_PATH_MAX;
            let message = message!(
                "{} does not exist, as no daemon runs ({} bytes of {})",
                &path,
                length,
                max
            );
            return pass(message);
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            let hint = held_next(&seen.home, seen.pid());
            return fail(message!("{} is gone", &path), hint);
        }
        Err(err) => return fail(message!("{}: {}", &path, &err), restart),
    };
    if !meta.file_type().is_socket() {
        let hint = message!(
            "mv {} {}.old; {}",
            Message::quoted(&path),
            Message::quoted(&path),
            restart
        );
        return fail(message!("{} is not a socket", &path), hint);
    }
    if let Status::Stopped { is_awaited: true } = seen.status {
        let message = message!(
            "systemd listens on {}, and starts the daemon with its first client",
            &path
        );
        return pass(message);
    }
    match (seen.listener, seen.is_deaf) {
        (Some(listener), _) => listening(seen, listener),
        (None, true) => fail(
            message!(
                "the process that listens on {} accepts no more connections",
                &path
            ),
            restart,
        ),
        (None, false) => fail(message!("no process listens on {}", &path), restart),
    }
}

/// The verdict on a socket that a process listens on.
fn listening(seen: &Observation, listener: Peer) -> Verdict {
    let path = seen.home.socket();
    if let (true, Some(pid)) = (seen.is_handed_over, seen.recorded) {
        let message = message!(
            "systemd listens on {}, and has handed it to pid {}",
            &path,
            pid
        );
        return pass(message);
    }
    if listener.uid != seen.home.owner() {
        let message = message!(
            "a process of another user (uid {}) listens on {}",
            listener.uid,
            &path
        );
        let hint = message!("rm {}; {}", Message::quoted(&path), restart(seen));
        return fail(message, hint);
    }
    let recorded = seen.file.as_ref().map(|file| file.pid);
    match (listener.pid, recorded) {
        (Some(pid), Some(recorded)) if pid != recorded => {
            let message = message!(
                "pid {} listens on {}, but daemon.json names pid {}: another container's daemon, or not one at all",
                pid,
                &path,
                recorded
            );
            let hint = message!("ps -fp {},{}, to see which they are", pid, recorded);
            fail(message, hint)
        }
        (Some(pid), None) => {
            let message = message!(
                "pid {} listens on {}, but daemon.json is missing or unreadable",
                pid,
                &path
            );
            warn(
                message,
                message!("kill -HUP {}, which makes the daemon write it again", pid),
            )
        }
        (Some(pid), Some(_)) => pass(message!("pid {} listens on {}", pid, &path)),
        (None, _) => pass(message!("{} accepts connections", &path)),
    }
}

/// The command that restarts a faulty daemon.
fn restart(seen: &Observation) -> Message {
    match &seen.status {
        Status::Stopped { .. } | Status::Failed(_) | Status::Stale { locked: false, .. } => {
            seen.service().start()
        }
        _ => seen.service().restart(),
    }
}

pub(super) fn daemon(seen: &Observation) -> Option<Verdict> {
    let is_heard = seen.health().is_some() || !is_forwarded(&seen.home);
    is_heard.then(|| life(seen))
}

fn life(seen: &Observation) -> Verdict {
    let pid = seen
        .pid()
        .map(|pid| message!(" (pid {})", pid))
        .unwrap_or_default();
    match &seen.status {
        Status::Running(health) => {
            let (live, total) = (health.sessions.live, health.sessions.total);
            let up = uptime(health.daemon.uptime_seconds);
            pass(message!(
                "running (pid {}), up {}, {} live sessions of {}",
                health.daemon.pid,
                up,
                live,
                total
            ))
        }
        Status::Busy { reason, .. } => warn(
            message!(
                "running{}, but it rejects this connection: {}",
                pid,
                reason.clone()
            ),
            "wait, or close some of its connections: ss -xp | grep coven.sock shows whose they are",
        ),
        Status::Unsupported { .. } => pass(message!("running{}", pid)),
        Status::Forwarded(err) => fail(err.message(), err.mend()),
        Status::Unknown { reason } => fail(reason.clone(), "run it as the user whose home it is"),
        Status::Stopped { is_awaited: true } => {
            pass("stopped; systemd starts it with its first client")
        }
        Status::Stopped { is_awaited: false } => warn("stopped", seen.service().start()),
        Status::Failed(failure) => {
            let at = failure.at.map(|at| message!(" at {}", at));
            let message = message!(
                "stopped; its last start failed{}: {} ({})",
                at.unwrap_or_default(),
                Message::foreign(&failure.reason),
                &failure.code
            );
            fail(message, Message::foreign(&failure.next))
        }
        Status::Stale { reason, locked, .. } => {
            let (reason, hint) = stale(seen, reason, *locked);
            fail(message!("stale{}: {}", pid, reason), hint)
        }
    }
}

/// Reason and remedy for a daemon that does not answer.
fn stale(seen: &Observation, reason: &Message, is_locked: bool) -> (Message, Message) {
    let stopped = seen.pid().filter(|&pid| sys::is_stopped(pid));
    match stopped {
        Some(pid) => (
            message!("{}: its process is stopped by a signal", reason.clone()),
            message!("kill -CONT {}", pid),
        ),
        None if is_locked && seen.home.socket().symlink_metadata().is_err() => {
            (reason.clone(), held_next(&seen.home, seen.pid()))
        }
        None if is_locked => (reason.clone(), restart(seen)),
        None => (
            reason.clone(),
            message!("{}, which cleans up", restart(seen)),
        ),
    }
}

pub(super) fn contract(seen: &Observation) -> Option<Verdict> {
    let is_forwarded = is_forwarded(&seen.home);
    let found = match &seen.status {
        Status::Unsupported { found } => found,
        _ if is_forwarded => return None,
        status => &status.health()?.api_version,
    };
    if found == CONTRACT {
        return Some(pass(message!("both speak {}", CONTRACT)));
    }
    let of = if is_forwarded {
        " of another machine"
    } else {
        ""
    };
    let message = message!(
        "the daemon{} speaks {}, this coven speaks {}",
        of,
        Message::word(found, is_version),
        CONTRACT
    );
    Some(match is_forwarded {
        true => fail(message, "use the coven of that machine's release here"),
        false => fail(
            message,
            message!(
                "{}, with the coven that is to be used",
                seen.service().restart()
            ),
        ),
    })
}

pub(super) fn version(seen: &Observation) -> Option<Verdict> {
    let found = &seen.health()?.coven_version;
    let is_forwarded = is_forwarded(&seen.home);
    if is_forwarded || found != VERSION {
        let message = message!(
            "the daemon is coven {}, this is coven {}",
            Message::word(found, is_version),
            VERSION
        );
        return Some(match is_forwarded {
            true => pass(message),
            false => warn(message, seen.service().restart()),
        });
    }
    // Suffix of a deleted executable on Linux (proc(5), /proc/pid/exe).
    let executable = seen.pid().and_then(sys::executable);
    let deleted = executable
        .as_deref()
        .and_then(|path| path.to_str()?.strip_suffix(" (deleted)"));
    if let Some(path) = deleted {
        let message = message!(
            "both are coven {}, but {} has been replaced since the daemon started",
            VERSION,
            Path::new(path)
        );
        return Some(warn(message, seen.service().restart()));
    }
    Some(pass(message!("both are coven {}", VERSION)))
}

pub(super) fn writer(seen: &Observation) -> Option<Verdict> {
    let writer = &seen.health()?.event_writer;
    Some(match writer.state {
        WriterState::Healthy => pass("events reach the disk"),
        WriterState::Pressured if let Some(reason) = &writer.last_error => warn(
            message!(
                "harnesses that print much are held back: {}",
                Message::foreign(reason)
            ),
            "end what holds it, or wait until it is done",
        ),
        WriterState::Pressured => warn(
            message!(
                "harnesses are held back: {} of {} bytes wait for the disk",
                writer.queued_bytes,
                writer.capacity_bytes
            ),
            "iostat -x 1, to see whether the disk is the slow one",
        ),
        WriterState::Failed => fail(
            message!(
                "events cannot be written: {}",
                match &writer.last_error {
                    Some(reason) => Message::foreign(reason),
                    None => "it does not say why".into(),
                }
            ),
            "df on COVEN_HOME, and coven daemon logs --code store_unavailable; it goes on by itself once it can write",
        ),
    })
}
