//! Who starts the daemon, and so which commands do: a service manager's unit, or the user.

use std::path::PathBuf;

use crate::api::ENDS_SESSIONS;
use crate::daemon::Home;
use crate::daemon::supervisor::{self, Supervisor, Unit, UnitState};
use crate::observe::{Message, message};

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
    pub(super) fn start(&self) -> Message {
        self.command("start")
    }

    /// The command that brings the daemon back, whatever it is doing.
    pub(super) fn restart(&self) -> Message {
        self.command("restart")
    }

    /// The command that stops it.
    pub(super) fn stop(&self) -> Message {
        self.command("stop")
    }

    /// The command that has it read its patterns and manifests again; its process is `pid`.
    pub(super) fn reload(&self, pid: u32) -> Message {
        let by = self.in_charge();
        by.and_then(|by| by.command("reload"))
            .map_or_else(|| message!("kill -HUP {}", pid), Message::name)
    }

    fn command(&self, verb: &str) -> Message {
        let by = self.in_charge();
        let by_hand = || supervisor::command_by_hand(verb);
        Message::name(by.and_then(|by| by.command(verb)).unwrap_or_else(by_hand))
    }

    /// How to start it again with `change`, as a unit writes it; `by_hand` where there is none.
    pub(super) fn restart_with(&self, change: Message, by_hand: Message) -> Message {
        match self.in_charge() {
            Some(Supervisor::Systemd(unit)) => {
                let command = |verb| Message::name(unit.command(verb));
                let (edit, restart) = (command("edit"), command("restart"));
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

    /// Whether no service manager has it: who types its command starts it.
    pub(super) fn is_by_hand(&self) -> bool {
        self.in_charge().is_none()
    }

    /// The service manager that starts and stops it.
    fn in_charge(&self) -> Option<Supervisor> {
        match (&self.unit, &self.runs) {
            (Some((unit, _)), _) if self.is_in_charge => Some(Supervisor::Systemd(unit.clone())),
            // systemctl does not say; the control group does.
            (None, Some(Supervisor::Systemd(unit))) => Some(Supervisor::Systemd(unit.clone())),
            (_, Some(launchd @ Supervisor::Launchd { .. })) => Some(launchd.clone()),
            _ => None,
        }
    }

    pub(super) fn who(&self) -> Message {
        match &self.runs {
            None => "no daemon runs".into(),
            Some(Supervisor::Nobody) => "the daemon was started by hand".into(),
            Some(supervisor) => message!("the daemon is run by {}", supervisor),
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
