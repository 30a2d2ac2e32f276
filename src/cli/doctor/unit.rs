//! The unit of the service manager: whether it starts this daemon, this binary, and again tomorrow.

use std::path::Path;
use std::time::Instant;

use super::probe::Probe;
use super::service::{Service, unit_home};
use crate::api::Check;
use crate::cli::output::quoted;
use crate::daemon::Home;
use crate::daemon::supervisor::{self, UNIT, Unit, UnitState};
use crate::settings::durations;
use crate::sys;

const SERVICE: &str = "service";

/// Who starts the daemon, and whether they start this one.
pub(super) fn check(home: &Home, probe: &Probe) -> Check {
    let service = &probe.service;
    let Some((unit, state)) = &service.unit else {
        return Check::pass(SERVICE, format!("no unit {UNIT}; {}", service.who()));
    };
    if !service.is_ours {
        return another_home(home, service, unit, state);
    }
    if state.active == "failed" || state.sub == "auto-restart" {
        let message = format!("{unit} is {} ({})", state.active, state.sub);
        let (journal, restart) = (unit.journal(), unit.command("restart"));
        let hint = format!("{journal} says why; then {restart}");
        return Check::fail(SERVICE, message, hint);
    }
    match (probe.pid(), state.main_pid) {
        (Some(pid), Some(main)) if pid == main => running(unit, state),
        (Some(pid), _) => Check::warn(
            SERVICE,
            format!(
                "{unit} is {}, but the daemon (pid {pid}) was started by hand: nobody starts that one again",
                state.active
            ),
            format!(
                "{}, then {}",
                supervisor::command_by_hand("stop"),
                unit.command("start")
            ),
        ),
        (None, _) if probe.is_awaited() => Check::pass(
            SERVICE,
            format!(
                "{unit} is {}, and {} starts it",
                state.active, state.triggered_by
            ),
        ),
        (None, _) => Check::warn(
            SERVICE,
            format!("{unit} is {} ({})", state.active, state.sub),
            unit.command("start"),
        ),
    }
}

fn another_home(home: &Home, service: &Service, unit: &Unit, state: &UnitState) -> Check {
    let other = unit_home(state).unwrap_or_default();
    let message = format!(
        "{unit} is for another home, {}; {}",
        other.display(),
        service.who()
    );
    if state.main_pid.is_none() {
        return Check::pass(SERVICE, message);
    }
    // The usual mistake: the shell's COVEN_HOME is not the service's.
    let hint = format!(
        "COVEN_HOME={} coven doctor, if that is the daemon that you mean, and not that of {}",
        quoted(&other),
        home.path().display()
    );
    Check::warn(SERVICE, message, hint)
}

/// The unit runs the daemon: whether it is this binary, and whether it will be there tomorrow.
fn running(unit: &Unit, state: &UnitState) -> Check {
    let own = std::env::current_exe().unwrap_or_default();
    let executable = Path::new(&state.executable);
    if !state.executable.is_empty() && !sys::is_same_file(executable, &own) {
        let message = format!(
            "{unit} runs {}, this is {}",
            state.executable,
            own.display()
        );
        let hint = format!(
            "{}, with ExecStart= and ExecStart={} daemon serve; or use the other one",
            unit.command("edit"),
            quoted(&own)
        );
        return Check::warn(SERVICE, message, hint);
    }
    if state.enabled == "disabled" && state.triggered_by.is_empty() {
        let when = if unit.is_user { "login" } else { "boot" };
        let message = format!("{unit} runs the daemon, but is not started at {when}");
        return Check::warn(SERVICE, message, unit.command("enable"));
    }
    let deadline = Instant::now() + durations::SERVICE_TOOL;
    if unit.is_user && supervisor::lingers(sys::euid(), deadline) == Some(false) {
        let message = format!("{unit} runs the daemon, which ends when you have logged out");
        return Check::warn(SERVICE, message, "loginctl enable-linger");
    }
    Check::pass(SERVICE, format!("{unit} runs the daemon"))
}
