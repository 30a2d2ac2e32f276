//! What the system gives the daemon: who starts it, and how much it may use.

use std::time::Instant;

use super::daemon::Probe;
use crate::api::{Check, DaemonProcess, ResourceLimit};
use crate::cli::output::quoted;
use crate::daemon::supervisor::{self, Supervisor, TOOL_PATIENCE, UNIT, Unit, UnitState};
use crate::daemon::{BadSetting, Home, Settings};
use crate::sys;

const SERVICE: &str = "service";
const SETTINGS: &str = "settings";
const FILES: &str = "limits.files";
const PROCESSES: &str = "limits.processes";

/// Who starts the daemon, and whether they start this one.
pub(super) fn service(home: &Home, probe: &Probe) -> Check {
    let runs = probe.supervisor.as_ref();
    if let Some(Supervisor::Launchd { .. }) = runs {
        return Check::pass(SERVICE, described(runs));
    }
    let found = find_unit(runs, probe.pid());
    match found {
        None => Check::pass(SERVICE, format!("no unit {UNIT}; {}", described(runs))),
        Some((unit, state)) => unit_check(home, probe, &unit, &state),
    }
}

/// The unit that runs the daemon, if one does; else one by our name.
fn find_unit(runs: Option<&Supervisor>, pid: Option<i32>) -> Option<(Unit, UnitState)> {
    let deadline = Instant::now() + TOOL_PATIENCE;
    if let Some(Supervisor::Systemd(unit)) = runs
        && let Some(state) = supervisor::unit_state(unit, deadline)
        // What a job of cron's has started is in its unit, and not run by it.
        && (state.main_pid == pid || unit.name == UNIT)
    {
        return Some((unit.clone(), state));
    }
    let units = [true, false].map(|is_user| Unit {
        name: UNIT.into(),
        is_user,
    });
    units.into_iter().find_map(|unit| {
        let state = supervisor::unit_state(&unit, deadline)?;
        Some((unit, state))
    })
}

fn described(runs: Option<&Supervisor>) -> String {
    match runs {
        None => "no daemon runs".into(),
        Some(Supervisor::Nobody) => "the daemon was started by hand".into(),
        Some(supervisor) => format!("the daemon is run by {supervisor}"),
    }
}

fn unit_check(home: &Home, probe: &Probe, unit: &Unit, state: &UnitState) -> Check {
    let (systemctl, name) = (unit.systemctl(), &unit.name);
    let journalctl = systemctl.replace("systemctl", "journalctl");
    let is_running = state.active == "active";
    if state.active == "failed" || state.sub == "auto-restart" {
        let message = format!("{unit} is {} ({})", state.active, state.sub);
        let hint =
            format!("{journalctl} -u {name} -n 50 says why; then {systemctl} restart {name}");
        return Check::fail(SERVICE, message, hint);
    }
    if !is_running {
        return match probe.pid() {
            Some(pid) => Check::warn(
                SERVICE,
                format!(
                    "{unit} is {}, while a daemon that was started by hand runs (pid {pid}): nobody starts it again",
                    state.active
                ),
                format!("coven daemon stop && {systemctl} start {name}"),
            ),
            None => Check::warn(
                SERVICE,
                format!("{unit} is {}", state.active),
                format!("{systemctl} start {name}"),
            ),
        };
    }
    if state.main_pid.is_some() && state.main_pid != probe.pid() {
        let other = state.home.as_deref().unwrap_or("its default home");
        let pid = state.main_pid.unwrap_or_default();
        let message = format!(
            "{unit} runs another daemon (pid {pid}, {other}) than that of {}",
            home.path().display()
        );
        let hint = "set COVEN_HOME to that home, if it is the one that you mean";
        return Check::warn(SERVICE, message, hint);
    }
    let own = std::env::current_exe().unwrap_or_default();
    let executable = std::path::Path::new(&state.executable);
    if !state.executable.is_empty() && !sys::is_same_file(executable, &own) {
        let message = format!(
            "{unit} runs {}, this is {}",
            state.executable,
            own.display()
        );
        let hint = format!(
            "{systemctl} edit {name}, with ExecStart= and ExecStart={} daemon serve; or use the other one",
            quoted(&own)
        );
        return Check::warn(SERVICE, message, hint);
    }
    if state.enabled == "disabled" {
        let when = if unit.is_user { "login" } else { "boot" };
        let message = format!("{unit} runs the daemon, but is not started at {when}");
        return Check::warn(SERVICE, message, format!("{systemctl} enable {name}"));
    }
    Check::pass(SERVICE, format!("{unit} runs the daemon"))
}

/// Descriptors that a session costs the daemon: its three pipes, a pidfd, an eventfd, and the client that follows it.
const FILES_A_SESSION: u64 = 6;

/// Descriptors that a daemon has anyway: database, log, socket, and some room.
const FILES_AT_ALL: u64 = 64;

/// Processes and threads that a session costs its user: an agent has a dozen threads, and starts tools.
const PROCESSES_A_SESSION: u64 = 16;

/// What the environment sets, and what the kernel allows: the daemon's, or with none the shell's, that would start it.
pub(super) fn limits(probe: Option<&Probe>, checks: &mut Vec<Check>) {
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
}

fn settings(bad: Option<&BadSetting>, is_running: bool) -> Check {
    let Some(bad) = bad else {
        return Check::pass(
            SETTINGS,
            "every COVEN_ variable of this shell has a value that it can have",
        );
    };
    let message = format!("{bad}: no daemon starts from this shell");
    let hint = format!("unset {}", bad.name);
    match is_running {
        true => Check::warn(SETTINGS, message, hint),
        false => Check::fail(SETTINGS, message, hint),
    }
}

fn open_files(process: &DaemonProcess, whose: &str, probe: Option<&Probe>) -> Check {
    let needed = process.max_sessions * FILES_A_SESSION + FILES_AT_ALL;
    let ResourceLimit { soft, hard } = process.open_files;
    let message = format!(
        "{whose} can have {} open files (at most {})",
        shown(soft),
        shown(hard)
    );
    let Some(soft) = soft.filter(|&soft| soft < needed) else {
        return Check::pass(FILES, message);
    };
    let room = soft.saturating_sub(FILES_AT_ALL) / FILES_A_SESSION;
    let sessions = process.max_sessions;
    let message =
        format!("{message}: enough for some {room} sessions; COVEN_MAX_SESSIONS is {sessions}");
    let by_hand =
        format!("ulimit -n {needed}, then coven daemon restart; or set COVEN_MAX_SESSIONS={room}");
    Check::warn(
        FILES,
        message,
        restart_with(probe, &format!("LimitNOFILE={needed}"), by_hand),
    )
}

fn processes(process: &DaemonProcess, whose: &str, probe: Option<&Probe>) -> Check {
    let needed = process.max_sessions * PROCESSES_A_SESSION;
    let soft = process.processes.soft;
    // A unit's own bound (TasksMax=) counts what is in it; the user's counts all that is the user's.
    let group = probe.and_then(Probe::pid).and_then(supervisor::tasks_max);
    let message = match group {
        Some(group) => format!(
            "{whose}'s user can have {} processes, its control group {group}",
            shown(soft)
        ),
        None => format!("{whose}'s user can have {} processes", shown(soft)),
    };
    let limit = soft.into_iter().chain(group).min();
    let Some(limit) = limit.filter(|&limit| limit < needed) else {
        return Check::pass(PROCESSES, message);
    };
    let room = limit / PROCESSES_A_SESSION;
    let sessions = process.max_sessions;
    let message =
        format!("{message}: enough for some {room} agents; COVEN_MAX_SESSIONS is {sessions}");
    let change = match group {
        Some(group) if group == limit => format!("TasksMax={needed}"),
        _ => format!("LimitNPROC={needed}"),
    };
    let by_hand =
        format!("ulimit -u {needed}, then coven daemon restart; or set COVEN_MAX_SESSIONS={room}");
    Check::warn(PROCESSES, message, restart_with(probe, &change, by_hand))
}

fn restart_with(probe: Option<&Probe>, change: &str, by_hand: String) -> String {
    match probe {
        Some(probe) => probe.restart_with(change, &by_hand),
        None => by_hand,
    }
}

fn shown(limit: Option<u64>) -> String {
    limit.map_or("any number of".into(), |limit| limit.to_string())
}
