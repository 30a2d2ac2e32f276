//! Check of the service manager's unit: whether it starts this daemon with this executable, also after a reboot.

use std::path::Path;
use std::time::Instant;

use super::check::{Verdict, fail, pass, warn};
use crate::cli::observation::Observation;
use crate::daemon::Home;
use crate::daemon::service::{Service, UNIT, Unit, UnitState, command_by_hand, lingers, unit_home};
use crate::daemon::status::Status;
use crate::observe::{Message, message};
use crate::settings::durations;
use crate::sys;

pub(super) fn service(seen: &Observation) -> Option<Verdict> {
    Some(verdict(seen))
}

fn verdict(seen: &Observation) -> Verdict {
    let service = seen.service();
    let Some((unit, state)) = &service.unit else {
        return pass(message!("no unit {}; {}", UNIT, service.who()));
    };
    if !service.is_ours {
        return another_home(&seen.home, service, unit, state);
    }
    let [active, sub] = [&state.active, &state.sub].map(Message::name);
    let is = message!("{} is {}", unit, active);
    if state.has_failed() {
        let (journal, restart) = (Message::name(unit.journal()), unit.command("restart"));
        let hint = message!("{} says why; then {}", journal, restart);
        return fail(message!("{} ({})", is, sub), hint);
    }
    match (seen.pid(), state.main_pid) {
        (Some(pid), Some(main)) if pid == main => running(unit, state),
        (Some(pid), _) => warn(
            message!(
                "{}, but the daemon (pid {}) was started by hand: no service manager restarts it",
                is,
                pid
            ),
            message!(
                "{}, then {}",
                command_by_hand("stop"),
                unit.command("start")
            ),
        ),
        (None, _) if matches!(seen.status, Status::Stopped { is_awaited: true }) => pass(message!(
            "{}, and {} starts it",
            is,
            Message::name(&state.triggered_by)
        )),
        (None, _) => warn(message!("{} ({})", is, sub), unit.command("start")),
    }
}

fn another_home(home: &Home, service: &Service, unit: &Unit, state: &UnitState) -> Verdict {
    let other = unit_home(state).unwrap_or_default();
    let message = message!(
        "{} is for another home, {}; {}",
        unit,
        &other,
        service.who()
    );
    if state.main_pid.is_none() {
        return pass(message);
    }
    // Usually the shell's COVEN_HOME differs from the service's.
    let hint = message!(
        "COVEN_HOME={} coven doctor, if that is the daemon that you mean, and not that of {}",
        Message::quoted(&other),
        home.path()
    );
    warn(message, hint)
}

/// The verdict on a unit that runs the daemon: its executable, and its start at boot or login.
fn running(unit: &Unit, state: &UnitState) -> Verdict {
    let own = std::env::current_exe().unwrap_or_default();
    let executable = Path::new(&state.executable);
    if !state.executable.is_empty() && !sys::is_same_file(executable, &own) {
        let message = message!("{} runs {}, this is {}", unit, executable, &own);
        let hint = message!(
            "{}, with ExecStart= and ExecStart={} daemon serve; or use the other one",
            unit.command("edit"),
            Message::quoted(&own)
        );
        return warn(message, hint);
    }
    if state.enabled == "disabled" && state.triggered_by.is_empty() {
        let when = if unit.is_user { "login" } else { "boot" };
        let message = message!("{} runs the daemon, but is not started at {}", unit, when);
        return warn(message, unit.command("enable"));
    }
    let deadline = Instant::now() + durations::SERVICE_TOOL;
    if unit.is_user && lingers(sys::euid(), deadline) == Some(false) {
        let message = message!(
            "{} runs the daemon, which ends when you have logged out",
            unit
        );
        return warn(message, "loginctl enable-linger");
    }
    pass(message!("{} runs the daemon", unit))
}
