//! Supervisors of a daemon: a systemd unit, a launchd job, or none; and their commands.
//!
//! Plain data on any thread: it calls no manager.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::api::{ENDS_SESSIONS, Manager, ManagerScope, SupervisorInfo};
use crate::observe::{Message, message};
use crate::sys;

/// The supervisor of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supervisor {
    /// A systemd unit.
    Systemd(Unit),
    /// A launchd job.
    Launchd { label: String },
    /// None: it was started by hand, and stays down when it ends.
    Nobody,
}

/// A systemd service unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unit {
    /// Name, including `.service`.
    pub name: String,
    /// The unit belongs to a user's manager (`systemctl --user`).
    pub is_user: bool,
}

impl Unit {
    /// The systemctl command of its manager.
    fn systemctl(&self) -> &'static str {
        match self.is_user {
            true => "systemctl --user",
            false => "sudo systemctl",
        }
    }

    /// The command for `verb`, as a hint for the user.
    pub fn command(&self, verb: &str) -> Message {
        hint(verb, format!("{} {verb} {}", self.systemctl(), self.name))
    }

    fn scope(&self) -> ManagerScope {
        if self.is_user {
            ManagerScope::User
        } else {
            ManagerScope::System
        }
    }

    /// The command that shows its last messages.
    pub fn journal(&self) -> String {
        let journalctl = self.systemctl().replace("systemctl", "journalctl");
        format!("{journalctl} -u {} -n 20", self.name)
    }

    /// journalctl's matches (systemd.journal-fields(7)) for its output and its manager's messages about it. `uid` is
    /// the user of a user's manager; the command may run as another, as with sudo.
    pub fn journal_matches(&self, uid: u32) -> Vec<String> {
        let Self { name, is_user } = self;
        let (stdout, uid) = ("_TRANSPORT=stdout".to_owned(), format!("_UID={uid}"));
        // One argument each: the name comes from a file, and must not inject an option into root's journalctl.
        if *is_user {
            let (own, managers) = (
                format!("_SYSTEMD_USER_UNIT={name}"),
                format!("USER_UNIT={name}"),
            );
            return vec![stdout, own, uid.clone(), "+".into(), managers, uid];
        }
        let (own, managers) = (format!("_SYSTEMD_UNIT={name}"), format!("UNIT={name}"));
        vec![stdout, own, "+".into(), managers, "_PID=1".into()]
    }
}

/// The command for `verb` of a daemon that was started by hand, as a hint for the user.
pub fn command_by_hand(verb: &str) -> Message {
    hint(verb, format!("coven daemon {verb}"))
}

/// `command` with the remark that its user needs.
fn hint(verb: &str, command: String) -> Message {
    Message::name(match verb {
        "stop" | "restart" => command + ENDS_SESSIONS,
        _ => command,
    })
}

impl From<&Supervisor> for Message {
    fn from(supervisor: &Supervisor) -> Self {
        match supervisor {
            Supervisor::Systemd(unit) => message!("systemd unit {}", unit),
            Supervisor::Launchd { label } => message!("launchd job {}", Message::name(label)),
            Supervisor::Nobody => "started by hand".into(),
        }
    }
}

impl From<&Unit> for Message {
    fn from(unit: &Unit) -> Self {
        message!("{} ({})", Message::name(&unit.name), unit.scope().as_str())
    }
}

impl fmt::Display for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Message::from(self).fmt(f)
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Message::from(self).fmt(f)
    }
}

impl Supervisor {
    /// The command for `verb`, as a hint for the user; `None` if the supervisor has none.
    pub fn command(&self, verb: &str) -> Option<Message> {
        let (word, label) = match (self, verb) {
            (Self::Systemd(unit), _) => return Some(unit.command(verb)),
            (Self::Launchd { label }, "start") => ("kickstart", label),
            (Self::Launchd { label }, "stop") => ("bootout", label),
            (Self::Launchd { label }, "restart") => ("kickstart -k", label),
            _ => return None,
        };
        let command = format!("launchctl {word} gui/{}/{label}", sys::euid());
        Some(hint(verb, command))
    }

    /// Converts it to its wire structure.
    pub fn info(&self) -> SupervisorInfo {
        let of = |manager: Manager| SupervisorInfo {
            kind: manager.into(),
            unit: None,
            scope: None,
            label: None,
        };
        match self {
            Self::Systemd(unit) => SupervisorInfo {
                unit: Some(unit.name.clone()),
                scope: Some(unit.scope().into()),
                ..of(Manager::Systemd)
            },
            Self::Launchd { label } => SupervisorInfo {
                label: Some(label.clone()),
                ..of(Manager::Launchd)
            },
            Self::Nobody => of(Manager::Nobody),
        }
    }

    /// Converts it from its wire structure.
    pub fn of_info(info: &SupervisorInfo) -> Self {
        match (&info.unit, &info.label) {
            (Some(name), _) => Self::Systemd(Unit {
                name: name.clone(),
                is_user: info
                    .scope
                    .as_ref()
                    .is_some_and(|scope| *scope == ManagerScope::User),
            }),
            (None, Some(label)) => Self::Launchd {
                label: label.clone(),
            },
            (None, None) => Self::Nobody,
        }
    }
}
