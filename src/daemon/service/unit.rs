//! Who runs a daemon: a systemd unit, a launchd job, or nobody who would start it again; and the commands for each.
//!
//! Plain data, without a thread of its own: it asks no manager.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::api::{ENDS_SESSIONS, Manager, ManagerScope, SupervisorInfo};
use crate::observe::{Message, message};
use crate::sys;

/// Who runs a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supervisor {
    /// A unit of systemd's.
    Systemd(Unit),
    /// A job of launchd's.
    Launchd {
        /// Its label.
        label: String,
    },
    /// Nobody: it was started by hand, and stays down when it ends.
    Nobody,
}

/// A service unit of systemd's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unit {
    /// Its name, with `.service`.
    pub name: String,
    /// It belongs to a user's own manager, `systemctl --user`.
    pub is_user: bool,
}

impl Unit {
    /// The command that its manager listens to.
    fn systemctl(&self) -> &'static str {
        match self.is_user {
            true => "systemctl --user",
            false => "sudo systemctl",
        }
    }

    /// The command with which its manager does `verb`, as a hint gives it.
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

    /// The command that shows what it has said last.
    pub fn journal(&self) -> String {
        let journalctl = self.systemctl().replace("systemctl", "journalctl");
        format!("{journalctl} -u {} -n 20", self.name)
    }

    /// The fields (systemd.journal-fields(7)) of what it has written to stdout and stderr, and of what its manager has said
    /// of it, as journalctl takes them. `uid` is whose manager a user's is: the command can be another's, as with sudo.
    pub fn journal_matches(&self, uid: u32) -> Vec<String> {
        let Self { name, is_user } = self;
        let (stdout, uid) = ("_TRANSPORT=stdout".to_owned(), format!("_UID={uid}"));
        // A word each: the name is from a file, and must give no option to a journalctl of root's.
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

/// The command that does `verb` to a daemon that was started by hand, as a hint gives it.
pub fn command_by_hand(verb: &str) -> Message {
    hint(verb, format!("coven daemon {verb}"))
}

/// `command`, which does `verb`, with what whoever types it must know.
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
    /// The command with which it does `verb`, as a hint gives it; `None` where it does not know that.
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

    /// As it goes over the wire.
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

    /// From what came over the wire.
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
