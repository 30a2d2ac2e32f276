//! What the system gives the daemon: who starts it, and how much it may use.

use std::time::Instant;

use super::daemon::Probe;
use crate::api::Check;
use crate::cli::output::quoted;
use crate::daemon::Home;
use crate::daemon::supervisor::{self, Supervisor, TOOL_PATIENCE, UNIT, Unit, UnitState};
use crate::sys;

const SERVICE: &str = "service";

/// Who starts the daemon, and whether they start this one.
pub(super) fn service(home: &Home, probe: &Probe) -> Check {
    let runs = probe.pid().and_then(supervisor::of_process);
    if let Some(Supervisor::Launchd { .. }) = &runs {
        return Check::pass(SERVICE, described(runs.as_ref()));
    }
    let found = find_unit(runs.as_ref(), probe.pid());
    match found {
        None => Check::pass(
            SERVICE,
            format!("no unit {UNIT}; {}", described(runs.as_ref())),
        ),
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
    let (systemctl, journalctl) = match unit.is_user {
        true => ("systemctl --user", "journalctl --user"),
        false => ("sudo systemctl", "sudo journalctl"),
    };
    let name = &unit.name;
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
