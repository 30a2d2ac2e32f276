//! What the environment sets, and how much the kernel lets a daemon use.

use super::super::grammar::nearest;
use super::check::Check;
use super::probe::Probe;
use crate::adapters::SESSION_VARIABLE;
use crate::api::{DaemonProcess, ResourceLimit};
use crate::daemon::{Settings, service};
use crate::observe::{Message, message};
use crate::settings::{ALL, BadSetting};

const SETTINGS: &str = "settings";
const FILES: &str = "limits.files";
const PROCESSES: &str = "limits.processes";
const NICENESS: &str = "limits.niceness";

/// Descriptors that a session costs the daemon: its three pipes, a pidfd, an eventfd, and the client that follows it.
const FILES_A_SESSION: u64 = 6;

/// Descriptors that a daemon has anyway: database, log, socket, and some room.
const FILES_AT_ALL: u64 = 64;

/// Processes and threads that a session costs its user: an agent has a dozen threads, and starts tools.
const PROCESSES_A_SESSION: u64 = 16;

/// What the environment sets, and what the kernel allows: the daemon's, or with none the shell's, that would start it.
pub(super) fn checks(probe: Option<&Probe>, checks: &mut Vec<Check>) {
    let running = probe.and_then(Probe::process);
    let here = Settings::from_env();
    checks.push(settings(here.as_ref().err(), running.is_some()));
    let here = here.ok().map(|settings| settings.process());
    if let Some(process) = running.or(here.as_ref()) {
        let whose = if running.is_some() {
            "the daemon"
        } else {
            "this shell"
        };
        checks.push(open_files(process, whose, probe));
        checks.push(processes(process, whose, probe));
    }
    if let Some(niceness) = running.and_then(|process| process.niceness) {
        checks.push(check_niceness(niceness, probe));
    }
}

fn settings(bad: Option<&BadSetting>, is_running: bool) -> Check {
    if let Some(bad) = bad {
        let message = message!(
            "{}={} {}: no daemon starts from this shell",
            bad.name,
            Message::foreign(format!("{:?}", bad.value)),
            Message::name(bad.rule())
        );
        let hint = Message::name(bad.mend());
        return match is_running {
            true => Check::warn(SETTINGS, message, hint),
            false => Check::fail(SETTINGS, message, hint),
        };
    }
    match misspelt() {
        Some((name, meant)) => Check::warn(
            SETTINGS,
            message!(
                "{} is no setting; did you mean {}?",
                name.clone(),
                meant.clone()
            ),
            message!("unset {}, and set {}", name, meant),
        ),
        None => Check::pass(
            SETTINGS,
            "every COVEN_ variable of this shell has a value that it can have",
        ),
    }
}

/// A variable of the environment that sets nothing, and the setting whose name is near to its own.
fn misspelt() -> Option<(Message, Message)> {
    const PREFIX: &str = "COVEN_";
    let names = || ALL.iter().map(|setting| setting.name());
    let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut unknown = set.filter(|set| set != SESSION_VARIABLE && !names().any(|name| name == set));
    unknown.find_map(|set| {
        // What all have in common would make all near to each other.
        let names = names().map(|name| name.trim_start_matches(PREFIX).to_owned());
        let meant = nearest(set.strip_prefix(PREFIX)?, names)?;
        Some((
            Message::name(set),
            Message::name(format!("{PREFIX}{meant}")),
        ))
    })
}

fn open_files(process: &DaemonProcess, whose: &'static str, probe: Option<&Probe>) -> Check {
    let needed = process.max_sessions * FILES_A_SESSION + FILES_AT_ALL;
    let ResourceLimit { soft, hard } = process.open_files;
    let message = message!(
        "{} can have {} open files (at most {})",
        whose,
        shown(soft),
        shown(hard)
    );
    // A daemon raises its own at its start; one that runs has.
    let Some(most) = hard.filter(|&most| most < needed) else {
        return Check::pass(FILES, message);
    };
    let room = most.saturating_sub(FILES_AT_ALL) / FILES_A_SESSION;
    let sessions = process.max_sessions;
    let message = message!(
        "{}: enough for some {} sessions; COVEN_MAX_SESSIONS is {}",
        message,
        room,
        sessions
    );
    let by_hand = message!(
        "ulimit -n {}, then coven daemon restart (ends live sessions); or set COVEN_MAX_SESSIONS={}",
        needed,
        room
    );
    Check::warn(
        FILES,
        message,
        restart_with(probe, message!("LimitNOFILE={}", needed), by_hand),
    )
}

fn processes(process: &DaemonProcess, whose: &'static str, probe: Option<&Probe>) -> Check {
    let needed = process.max_sessions * PROCESSES_A_SESSION;
    let soft = process.processes.soft;
    // A unit's own bound (TasksMax=) counts what is in it; the user's counts all that is the user's.
    let group = probe.and_then(Probe::pid).and_then(service::tasks_max);
    let message = match group {
        Some(group) => message!(
            "{}'s user can have {} processes, its control group {}",
            whose,
            shown(soft),
            group
        ),
        None => message!("{}'s user can have {} processes", whose, shown(soft)),
    };
    let limit = soft.into_iter().chain(group).min();
    let Some(limit) = limit.filter(|&limit| limit < needed) else {
        return Check::pass(PROCESSES, message);
    };
    let room = limit / PROCESSES_A_SESSION;
    let sessions = process.max_sessions;
    let message = message!(
        "{}: enough for some {} agents; COVEN_MAX_SESSIONS is {}",
        message,
        room,
        sessions
    );
    let change = match group {
        Some(group) if group == limit => message!("TasksMax={}", needed),
        _ => message!("LimitNPROC={}", needed),
    };
    let by_hand = message!(
        "ulimit -u {}, then coven daemon restart (ends live sessions); or set COVEN_MAX_SESSIONS={}",
        needed,
        room
    );
    Check::warn(PROCESSES, message, restart_with(probe, change, by_hand))
}

/// Whoever sets one in a unit has meant it.
fn check_niceness(niceness: i32, probe: Option<&Probe>) -> Check {
    let is_by_hand = probe.is_some_and(|probe| probe.service.is_by_hand());
    let message = message!(
        "the daemon, and so each session, runs with niceness {}",
        niceness
    );
    match niceness > 0 && is_by_hand {
        true => {
            let message = message!(
                "{}: it was started with it, and RLIMIT_NICE does not let it go back to 0",
                message
            );
            Check::warn(
                NICENESS,
                message,
                "coven daemon restart (ends live sessions), from a shell that was not started with nice",
            )
        }
        false => Check::pass(NICENESS, message),
    }
}

fn restart_with(probe: Option<&Probe>, change: Message, by_hand: Message) -> Message {
    match probe {
        Some(probe) => probe.service.restart_with(change, by_hand),
        None => by_hand,
    }
}

fn shown(limit: Option<u64>) -> Message {
    limit.map_or("any number of".into(), Message::from)
}
