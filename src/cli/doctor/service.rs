//! Who starts the daemon, and so which commands do: a service manager's unit, or the user.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::daemon::Probe;
use crate::api::Check;
use crate::cli::output::quoted;
use crate::daemon::Home;
use crate::daemon::supervisor::{self, Supervisor, UNIT, Unit, UnitState};
use crate::settings::durations;
use crate::sys;

const SERVICE: &str = "service";

/// Who starts the daemon of a home.
#[derive(Debug, Default)]
pub(super) struct Service {
    /// Who runs the one that runs.
    runs: Option<Supervisor>,
    /// systemd's unit: the one that runs it, or one by our name.
    unit: Option<(Unit, UnitState)>,
    /// The unit is for this home.
    is_ours: bool,
    /// The unit runs this daemon, or nothing hinders it.
    is_in_charge: bool,
}

impl Service {
    /// Who starts the daemon of `home`, whose process is `pid` if it runs.
    pub(super) fn of(home: &Home, pid: Option<i32>) -> Self {
        let runs = pid.and_then(supervisor::of_process);
        let unit = supervisor::find_unit(runs.as_ref(), pid);
        let state = unit.as_ref().map(|(_, state)| state);
        let is_main = pid.is_some() && state.is_some_and(|state| state.main_pid == pid);
        let is_its_home = state
            .and_then(unit_home)
            .is_some_and(|of| of == home.path());
        Self {
            is_ours: is_main || is_its_home,
            is_in_charge: is_main || (is_its_home && pid.is_none()),
            runs,
            unit,
        }
    }

    /// The command that starts the daemon.
    pub(super) fn start(&self) -> String {
        self.command("start", "coven daemon start")
    }

    /// The command that brings the daemon back, whatever it is doing.
    pub(super) fn restart(&self) -> String {
        self.command("restart", "coven daemon restart")
    }

    /// The command that has it read its patterns and manifests again; its process is `pid`.
    pub(super) fn reload(&self, pid: u32) -> String {
        match &self.runs {
            // It knows no such command.
            Some(Supervisor::Launchd { .. }) => format!("kill -HUP {pid}"),
            _ => self.command("reload", &format!("kill -HUP {pid}")),
        }
    }

    /// The command that stops it.
    pub(super) fn stop(&self) -> String {
        self.command("stop", "coven daemon stop")
    }

    fn command(&self, verb: &str, by_hand: &str) -> String {
        match (self.unit_in_charge(), &self.runs) {
            (Some(unit), _) => format!("{} {verb} {}", unit.systemctl(), unit.name),
            (None, Some(Supervisor::Launchd { label })) => {
                let verb = if verb == "stop" {
                    "bootout"
                } else {
                    "kickstart -k"
                };
                format!("launchctl {verb} gui/$(id -u)/{label}")
            }
            (None, _) => by_hand.to_owned(),
        }
    }

    /// How to start it again with `change`, as a unit writes it; `by_hand` where there is none.
    pub(super) fn restart_with(&self, change: &str, by_hand: &str) -> String {
        match (self.unit_in_charge(), &self.runs) {
            (Some(unit), _) => {
                let (systemctl, name) = (unit.systemctl(), &unit.name);
                format!(
                    "{systemctl} edit {name}, with {change} under [Service]; {systemctl} restart {name}"
                )
            }
            (None, Some(Supervisor::Launchd { label })) => {
                format!("set it in the plist of {label}, and load that again")
            }
            (None, _) => by_hand.to_owned(),
        }
    }

    fn unit_in_charge(&self) -> Option<&Unit> {
        match (&self.unit, &self.runs) {
            (Some((unit, _)), _) => self.is_in_charge.then_some(unit),
            // systemctl does not say; the control group does.
            (None, Some(Supervisor::Systemd(unit))) => Some(unit),
            (None, _) => None,
        }
    }

    fn who(&self) -> String {
        match &self.runs {
            None => "no daemon runs".into(),
            Some(Supervisor::Nobody) => "the daemon was started by hand".into(),
            Some(supervisor) => format!("the daemon is run by {supervisor}"),
        }
    }
}

/// The home that a unit serves: the one that it sets, or the default, as its user is most likely this one.
fn unit_home(state: &UnitState) -> Option<PathBuf> {
    match &state.home {
        Some(home) => Some(home.clone()),
        None => Home::default_path(),
    }
}

/// Who starts the daemon, and whether they start this one.
pub(super) fn check(home: &Home, probe: &Probe) -> Check {
    let service = &probe.service;
    let Some((unit, state)) = &service.unit else {
        return Check::pass(SERVICE, format!("no unit {UNIT}; {}", service.who()));
    };
    if !service.is_ours {
        return another_home(home, service, unit, state);
    }
    let (systemctl, name) = (unit.systemctl(), &unit.name);
    if state.active == "failed" || state.sub == "auto-restart" {
        let message = format!("{unit} is {} ({})", state.active, state.sub);
        let journalctl = systemctl.replace("systemctl", "journalctl");
        let hint =
            format!("{journalctl} -u {name} -n 50 says why; then {systemctl} restart {name}");
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
            format!("coven daemon stop && {systemctl} start {name}"),
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
            format!("{systemctl} start {name}"),
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
    let (systemctl, name) = (unit.systemctl(), &unit.name);
    let own = std::env::current_exe().unwrap_or_default();
    let executable = Path::new(&state.executable);
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
    if state.enabled == "disabled" && state.triggered_by.is_empty() {
        let when = if unit.is_user { "login" } else { "boot" };
        let message = format!("{unit} runs the daemon, but is not started at {when}");
        return Check::warn(SERVICE, message, format!("{systemctl} enable {name}"));
    }
    let deadline = Instant::now() + durations::SERVICE_TOOL;
    if unit.is_user && supervisor::lingers(sys::euid(), deadline) == Some(false) {
        let message = format!("{unit} runs the daemon, which ends when you have logged out");
        return Check::warn(SERVICE, message, "loginctl enable-linger");
    }
    Check::pass(SERVICE, format!("{unit} runs the daemon"))
}
