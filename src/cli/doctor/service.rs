//! Who starts the daemon, and so which commands do: a service manager's unit, or the user.

use std::path::PathBuf;

use crate::daemon::Home;
use crate::daemon::supervisor::{self, Supervisor, Unit, UnitState};

/// What whoever is told to restart or stop it must know.
const ENDS: &str = " (ends live sessions)";

/// Who starts the daemon of a home.
#[derive(Debug, Default)]
pub(super) struct Service {
    /// Who runs the one that runs.
    pub(super) runs: Option<Supervisor>,
    /// systemd's unit: the one that runs it, or one by our name.
    pub(super) unit: Option<(Unit, UnitState)>,
    /// The unit is for this home.
    pub(super) is_ours: bool,
    /// The unit runs this daemon, or nothing hinders it.
    pub(super) is_in_charge: bool,
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
        format!("{}{ENDS}", self.command("restart", "coven daemon restart"))
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
        format!("{}{ENDS}", self.command("stop", "coven daemon stop"))
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
                    "{systemctl} edit {name}, with {change} under [Service]; {systemctl} restart {name}{ENDS}"
                )
            }
            (None, Some(Supervisor::Launchd { label })) => {
                format!("set it in the plist of {label}, and load that again")
            }
            (None, _) => by_hand.to_owned(),
        }
    }

    /// Whether no service manager has it: who types its command starts it.
    pub(super) fn is_by_hand(&self) -> bool {
        let is_launchd = matches!(self.runs, Some(Supervisor::Launchd { .. }));
        self.unit_in_charge().is_none() && !is_launchd
    }

    fn unit_in_charge(&self) -> Option<&Unit> {
        match (&self.unit, &self.runs) {
            (Some((unit, _)), _) => self.is_in_charge.then_some(unit),
            // systemctl does not say; the control group does.
            (None, Some(Supervisor::Systemd(unit))) => Some(unit),
            (None, _) => None,
        }
    }

    pub(super) fn who(&self) -> String {
        match &self.runs {
            None => "no daemon runs".into(),
            Some(Supervisor::Nobody) => "the daemon was started by hand".into(),
            Some(supervisor) => format!("the daemon is run by {supervisor}"),
        }
    }
}

/// The home that a unit serves: the one that it sets, or the default, as its user is most likely this one.
pub(super) fn unit_home(state: &UnitState) -> Option<PathBuf> {
    match &state.home {
        Some(home) => Some(home.clone()),
        None => Home::default_path(),
    }
}
