//! Checks of settings and kernel limits.

use super::check::{Verdict, fail, pass, warn};
use crate::adapters::environment::read_own;
use crate::api::{DaemonProcess, ResourceLimit};
use crate::cli::observation::Observation;
use crate::daemon::{Settings, misspelt, service};
use crate::observe::{Message, message};

/// Descriptors of a session in the daemon: three pipes, a pidfd, an eventfd, and the client that follows it.
const FILES_A_SESSION: u64 = 6;

/// Descriptors that a daemon always needs: database, log, socket, and a reserve.
const FILES_AT_ALL: u64 = 64;

/// Processes and threads of a session: an agent has about a dozen threads, and starts tools.
const PROCESSES_A_SESSION: u64 = 16;

pub(super) fn settings(seen: Option<&Observation>) -> Option<Verdict> {
    if let Err(bad) = Settings::from_env() {
        let message = message!(
            "{}={} {}: no daemon starts from this shell",
            bad.name,
            Message::foreign(format!("{:?}", bad.value)),
            Message::name(bad.rule())
        );
        let hint = Message::name(bad.mend());
        return Some(match seen.and_then(Observation::process) {
            Some(_) => warn(message, hint),
            None => fail(message, hint),
        });
    }
    let file = seen.map(|seen| read_own(&seen.home.env_file()).0);
    let misspelt = misspelt(&file.unwrap_or_default()).into_iter();
    let misspelt = misspelt.map(|(name, meant)| (Message::name(name), Message::name(meant)));
    let (said, done): (Vec<_>, Vec<_>) = misspelt
        .map(|(name, meant)| {
            let said = message!(
                "{} is no setting; did you mean {}?",
                name.clone(),
                meant.clone()
            );
            (said, message!("unset {}, and set {}", name, meant))
        })
        .unzip();
    Some(match said.is_empty() {
        false => warn(Message::join(said, " "), Message::join(done, "; ")),
        true => pass("every COVEN_ variable of this shell has a value that it can have"),
    })
}

/// Limits of the daemon, or without one those of this shell; and whose they are.
fn process(seen: Option<&Observation>) -> Option<(DaemonProcess, &'static str)> {
    match seen.and_then(Observation::process) {
        Some(process) => Some((process.clone(), "the daemon")),
        None => Some((Settings::from_env().ok()?.process(), "this shell")),
    }
}

pub(super) fn files(seen: Option<&Observation>) -> Option<Verdict> {
    let (process, whose) = process(seen)?;
    let needed = process.max_sessions * FILES_A_SESSION + FILES_AT_ALL;
    let ResourceLimit { soft, hard } = process.open_files;
    let message = message!(
        "{} can have {} open files (at most {})",
        whose,
        shown(soft),
        shown(hard)
    );
    // A daemon raises its limit at its start.
    let Some(most) = hard.filter(|&most| most < needed) else {
        return Some(pass(message));
    };
    let room = most.saturating_sub(FILES_AT_ALL) / FILES_A_SESSION;
    let message = message!(
        "{}: enough for some {} sessions; COVEN_MAX_SESSIONS is {}",
        message,
        room,
        process.max_sessions
    );
    Some(warn(
        message,
        raise(seen, "n", needed, room, message!("LimitNOFILE={}", needed)),
    ))
}

pub(super) fn processes(seen: Option<&Observation>) -> Option<Verdict> {
    let (process, whose) = process(seen)?;
    let needed = process.max_sessions * PROCESSES_A_SESSION;
    let soft = process.processes.soft;
    // A unit's limit (TasksMax=) counts the unit's processes; the user's limit counts all of the user's.
    let group = seen.and_then(Observation::pid).and_then(service::tasks_max);
    let message = message!("{}'s user can have {} processes", whose, shown(soft));
    let message = match group {
        Some(group) => message!("{}, its control group {}", message, group),
        None => message,
    };
    let limit = soft.into_iter().chain(group).min();
    let Some(limit) = limit.filter(|&limit| limit < needed) else {
        return Some(pass(message));
    };
    let room = limit / PROCESSES_A_SESSION;
    let message = message!(
        "{}: enough for some {} agents; COVEN_MAX_SESSIONS is {}",
        message,
        room,
        process.max_sessions
    );
    let change = match group {
        Some(group) if group == limit => message!("TasksMax={}", needed),
        _ => message!("LimitNPROC={}", needed),
    };
    Some(warn(message, raise(seen, "u", needed, room, change)))
}

/// Warns about a daemon that was started by hand with a positive nice value; a unit sets one on purpose.
pub(super) fn niceness(seen: Option<&Observation>) -> Option<Verdict> {
    let niceness = seen?.process()?.niceness?;
    let message = message!(
        "the daemon, and so each session, runs with niceness {}",
        niceness
    );
    if niceness <= 0 || !seen?.service().is_by_hand() {
        return Some(pass(message));
    }
    Some(warn(
        message!(
            "{}: it was started with it, and RLIMIT_NICE does not let it go back to 0",
            message
        ),
        "coven daemon restart (ends live sessions), from a shell that was not started with nice",
    ))
}

/// Advice to raise the limit that ulimit calls `flag`, in a unit by `change`; or to work with `room`.
fn raise(
    seen: Option<&Observation>,
    flag: &'static str,
    needed: u64,
    room: u64,
    change: Message,
) -> Message {
    let by_hand = message!(
        "ulimit -{} {}, then coven daemon restart (ends live sessions); or set COVEN_MAX_SESSIONS={}",
        flag,
        needed,
        room
    );
    match seen {
        Some(seen) => seen.service().restart_with(change, by_hand),
        None => by_hand,
    }
}

fn shown(limit: Option<u64>) -> Message {
    limit.map_or("any number of".into(), Message::from)
}
