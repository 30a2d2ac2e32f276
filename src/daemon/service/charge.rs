//! Finds who starts and stops the daemon of a home, a service manager or the user, and the commands for it.
//!
//! Runs in the CLI's process. It knows a home's path, and not its content.

use std::path::PathBuf;

use super::launchd;
use super::systemd::{UnitState, find_unit, is_meant, own_cgroup, unit_of_cgroup};
use super::unit::{Supervisor, Unit, command_by_hand};
use crate::api::ENDS_SESSIONS;
use crate::daemon::Home;
use crate::observe::{Message, message};

/// The service that is in charge of a home's daemon.
#[derive(Debug, Default)]
pub struct Service {
    /// Supervisor of the running daemon.
    pub runs: Option<Supervisor>,
    /// systemd's unit: the one that runs the daemon, or one of our name.
    pub unit: Option<(Unit, UnitState)>,
    /// The unit serves this home.
    pub is_ours: bool,
    /// The unit runs this daemon, or could.
    pub is_in_charge: bool,
}

impl Service {
    /// Finds the service for `home`, whose daemon has the pid `pid` if it runs.
    pub fn of(home: &Home, pid: Option<i32>) -> Self {
        let runs = pid.and_then(of_process);
        let unit = find_unit(runs.as_ref(), pid);
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

    pub fn start(&self) -> Message {
        self.command("start")
    }

    /// The command that restarts the daemon in any state.
    pub fn restart(&self) -> Message {
        self.command("restart")
    }

    pub fn stop(&self) -> Message {
        self.command("stop")
    }

    /// The command that reloads patterns and manifests; `pid` is the daemon's.
    pub fn reload(&self, pid: u32) -> Message {
        let by = self.in_charge();
        by.and_then(|by| by.command("reload"))
            .unwrap_or_else(|| message!("kill -HUP {}", pid))
    }

    fn command(&self, verb: &str) -> Message {
        let by = self.in_charge();
        by.and_then(|by| by.command(verb))
            .unwrap_or_else(|| command_by_hand(verb))
    }

    /// The command that restarts the daemon with the variable `change` in its unit; `by_hand` without a unit.
    pub fn restart_with(&self, change: Message, by_hand: Message) -> Message {
        match self.in_charge() {
            Some(Supervisor::Systemd(unit)) => {
                let (edit, restart) = (unit.command("edit"), unit.command("restart"));
                message!("{}, with {} under [Service]; {}", edit, change, restart)
            }
            Some(Supervisor::Launchd { label }) => message!(
                "set it in the plist of {}, and load that again{}",
                Message::name(label),
                ENDS_SESSIONS
            ),
            _ => by_hand,
        }
    }

    /// True if no service manager is in charge: the user starts the daemon.
    pub fn is_by_hand(&self) -> bool {
        self.in_charge().is_none()
    }

    fn in_charge(&self) -> Option<Supervisor> {
        match (&self.unit, &self.runs) {
            (Some((unit, _)), _) if self.is_in_charge => Some(Supervisor::Systemd(unit.clone())),
            // systemctl does not answer; the control group names the unit.
            (None, Some(Supervisor::Systemd(unit))) => Some(Supervisor::Systemd(unit.clone())),
            (_, Some(launchd @ Supervisor::Launchd { .. })) => Some(launchd.clone()),
            _ => None,
        }
    }

    pub fn who(&self) -> Message {
        match &self.runs {
            None => "no daemon runs".into(),
            Some(Supervisor::Nobody) => "the daemon was started by hand".into(),
            Some(supervisor) => message!("the daemon is run by {}", supervisor),
        }
    }
}

/// The home that a unit serves: the one that it sets, or the default home, since the unit's user is probably this one.
pub fn unit_home(state: &UnitState) -> Option<PathBuf> {
    match &state.home {
        Some(home) => Some(home.clone()),
        None => Home::default_path(),
    }
}

/// Supervisor of this process.
pub fn own() -> Supervisor {
    let variable = |name: &str| std::env::var(name).ok();
    of_environment(variable, &own_cgroup(), std::process::id())
}

/// Supervisor of the process `pid` by its environment. A shell in a unit inherits the unit's variables.
fn of_environment(variable: impl Fn(&str) -> Option<String>, cgroup: &str, pid: u32) -> Supervisor {
    if is_meant(variable("SYSTEMD_EXEC_PID"), pid) {
        let unit = unit_of_cgroup(cgroup).map(Supervisor::Systemd);
        return unit.unwrap_or(Supervisor::Nobody);
    }
    let label = variable("XPC_SERVICE_NAME").filter(|label| launchd::is_job(label));
    label.map_or(Supervisor::Nobody, |label| Supervisor::Launchd { label })
}

/// Supervisor of the process `pid`; `None` if unknown.
pub fn of_process(pid: i32) -> Option<Supervisor> {
    let by = match std::fs::read_to_string(format!("/proc/{pid}/cgroup")) {
        Ok(cgroup) => unit_of_cgroup(&cgroup).map(Supervisor::Systemd),
        Err(_) => launchd::job_of_process(pid)?.map(|label| Supervisor::Launchd { label }),
    };
    Some(by.unwrap_or(Supervisor::Nobody))
}

/// The unit that runs the process `pid`.
pub fn unit_of_process(pid: i32) -> Option<Unit> {
    let runs = of_process(pid);
    match (find_unit(runs.as_ref(), Some(pid)), runs) {
        (Some((unit, state)), _) => (state.main_pid == Some(pid)).then_some(unit),
        // systemctl does not answer; the control group names the unit.
        (None, Some(Supervisor::Systemd(unit))) => Some(unit),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_inside_a_unit_passes_on_its_variables_but_not_its_supervisor() {
        let cgroup = "0::/system.slice/coven.service\n";
        let of = |name: &'static str, value: &'static str| {
            let variable = move |asked: &str| (asked == name).then(|| value.to_owned());
            of_environment(variable, cgroup, 42)
        };
        let own = of("SYSTEMD_EXEC_PID", "42");
        assert_eq!(
            own,
            Supervisor::Systemd(Unit {
                name: "coven.service".into(),
                is_user: false
            })
        );
        assert_eq!(Supervisor::of_info(&own.info()), own);
        assert_eq!(of("SYSTEMD_EXEC_PID", "41"), Supervisor::Nobody);
        assert_eq!(of("INVOCATION_ID", "0123"), Supervisor::Nobody);
        assert_eq!(of("XPC_SERVICE_NAME", "0"), Supervisor::Nobody);
        let label = "dev.coven.daemon".to_owned();
        assert_eq!(
            of("XPC_SERVICE_NAME", "dev.coven.daemon"),
            Supervisor::Launchd { label }
        );
    }
}
