//! The facts of `coven daemon status`, each once, with a name for people and a key for programs.
//!
//! `coven diagnostics` shows the same facts without private data.

use serde_json::Value;

use super::table::told;
use crate::api::{Code, DaemonInfo, Health, Word};
use crate::daemon::Home;
use crate::daemon::service::{Supervisor, command_by_hand};
use crate::daemon::status::{Status, held_next};
use crate::observe::field::is_version;
use crate::observe::{Message, message};

/// A fact. Without a name it is not for people, without a key not for programs.
pub(super) struct StatusLine {
    pub name: &'static str,
    pub key: &'static str,
    pub said: StatusValue,
}

/// Name of the fact about the daemon's state.
pub(super) const STATE: &str = "state";

/// Value of a fact.
pub(super) enum StatusValue {
    Message(Message),
    /// Numbers and words from the daemon; null is absent.
    Data(Value),
}

impl<T: Into<Message>> From<T> for StatusValue {
    fn from(message: T) -> Self {
        Self::Message(message.into())
    }
}

/// `message`, or null without one.
fn or_null(message: Option<impl Into<Message>>) -> StatusValue {
    message.map_or(StatusValue::Data(Value::Null), StatusValue::from)
}

/// The facts about the daemon of `home`.
pub(super) fn facts(home: &Home, status: &Status) -> Vec<StatusLine> {
    let mut facts = Vec::new();
    let mut say = |name, key, said: StatusValue| facts.push(StatusLine { name, key, said });
    say(STATE, "state", status.state().as_str().into());
    // The key that existing scripts use.
    say("", "status", status.state().as_str().into());
    say(
        "",
        "ok",
        StatusValue::Data(status.health().is_some().into()),
    );
    let health = status.health();
    let (reason, code, pid, next) = cause(home, status);
    if health.is_none() {
        say("", "reason", or_null(reason.clone()));
        let told = reason.map(|reason| match &code {
            Some(code) => message!("{} ({})", reason, code),
            None => reason,
        });
        if let Some(told) = told {
            say("reason", "", told.into());
        }
    }
    if let Some(code) = &code {
        say("", "code", Message::from(code).into());
    }
    say("pid", "pid", StatusValue::Data(pid.into()));
    let socket = health.map_or_else(
        || home.socket(),
        |health| health.daemon.socket.clone().into(),
    );
    say("socket", "socket", (&socket).into());
    match status {
        Status::Failed(failure) => {
            say("failed at", "failedAt", or_null(failure.at));
        }
        Status::Stale { locked, .. } => say("", "locked", StatusValue::Data((*locked).into())),
        _ => {}
    }
    match health {
        Some(health) => running(health, &mut say),
        None => {
            let spoken = match status {
                Status::Unsupported { found } => Some(Message::word(found, is_version)),
                _ => None,
            };
            say("", "apiVersion", or_null(spoken));
            say("", "uptimeSeconds", StatusValue::Data(Value::Null));
            say("", "started_at", StatusValue::Data(Value::Null));
        }
    }
    say("next", "next", next.into());
    facts
}

/// The facts that a running daemon reports.
fn running(health: &Health, say: &mut impl FnMut(&'static str, &'static str, StatusValue)) {
    let daemon = &health.daemon;
    say("run by", "", run_by(daemon).into());
    say("", "supervisor", data(&daemon.supervisor));
    say("uptime", "", uptime(daemon.uptime_seconds).into());
    say("", "uptimeSeconds", data(&daemon.uptime_seconds));
    for key in ["startedAt", "started_at"] {
        say("", key, daemon.started_at.into());
    }
    let version = |text| Message::word(text, is_version).into();
    let (api, coven) = (version(&health.api_version), version(&health.coven_version));
    say("api version", "apiVersion", api);
    say("coven version", "covenVersion", coven);
    let (live, total) = (health.sessions.live, health.sessions.total);
    let sessions = message!("{} live, {} in all", live, total);
    say("sessions", "", sessions.into());
    say("", "sessions", data(&health.sessions));
    let (state, writer) = (health.event_writer.state.as_str(), &health.event_writer);
    let writing = match &writer.last_error {
        None => state.into(),
        Some(err) => message!("{}: {}", state, Message::foreign(err)),
    };
    say("event writer", "", writing.into());
    say("", "eventWriter", data(writer));
    if let Some(damage) = &health.storage.damage {
        let what = Message::foreign(&damage.what);
        say(
            "store",
            "",
            message!("damaged at {}: {}", damage.at, what).into(),
        );
    }
    say("", "storage", data(&health.storage));
}

/// Reason of a daemon's state, its code, its pid, and the next command.
fn cause(
    home: &Home,
    status: &Status,
) -> (Option<Message>, Option<Word<Code>>, Option<i64>, Message) {
    let pid = |pid: &Option<i32>| pid.map(i64::from);
    match status {
        Status::Running(health) => {
            let next = match health.storage.damage {
                Some(_) => "coven doctor",
                None => "coven sessions",
            };
            (None, None, Some(health.daemon.pid.into()), next.into())
        }
        Status::Busy { reason, pid: of } => {
            let next = "wait, or close some of its connections";
            (Some(reason.clone()), None, pid(of), next.into())
        }
        Status::Stopped { is_awaited } => {
            let reason = "the service manager listens, and starts it with the first client";
            let next = "coven daemon start";
            (is_awaited.then(|| reason.into()), None, None, next.into())
        }
        Status::Failed(failure) => {
            let (reason, code) = (Message::foreign(&failure.reason), failure.code.clone());
            (Some(reason), Some(code), None, "coven doctor".into())
        }
        Status::Stale {
            reason,
            pid: of,
            locked,
        } => {
            let next = match locked {
                true => held_next(home, *of),
                false => "coven daemon start, which cleans up".into(),
            };
            (Some(reason.clone()), None, pid(of), next)
        }
        Status::Forwarded(err) => (
            Some(err.message()),
            Some(err.code().into()),
            None,
            err.mend(),
        ),
        Status::Unknown { reason } => {
            let next = "coven doctor, which says whose home it is";
            (Some(reason.clone()), None, None, next.into())
        }
        Status::Unsupported { found } => {
            let reason = message!("it speaks {}", Message::word(found, is_version));
            let code = Code::UnsupportedApiVersion.into();
            (Some(reason), Some(code), None, command_by_hand("restart"))
        }
    }
}

/// The daemon's supervisor, as it reports it.
fn run_by(daemon: &DaemonInfo) -> Message {
    let supervisor = daemon.supervisor.as_ref().map(Supervisor::of_info);
    match supervisor {
        Some(Supervisor::Nobody) => "no supervisor: started by hand".into(),
        Some(supervisor) => (&supervisor).into(),
        None => "it does not say".into(),
    }
}

/// An uptime for people.
pub(super) fn uptime(seconds: u64) -> Message {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => message!("{} s", seconds),
        (0, 0, _) => message!("{} min {} s", minutes, seconds % 60),
        (0, _, _) => message!("{} h {} min", hours, minutes),
        _ => message!("{} d {} h", days, hours),
    }
}

/// A part of an answer as JSON.
fn data(value: &impl serde::Serialize) -> StatusValue {
    StatusValue::Data(as_json(value))
}

/// `value` as JSON.
pub(super) fn as_json(value: &impl serde::Serialize) -> Value {
    // Converted through text: its serializer exists already, and a second one would enlarge the program.
    let text = serde_json::to_vec(value).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// The facts for people, by name.
pub(super) fn for_people(facts: &[StatusLine]) -> Vec<(&'static str, String)> {
    let named = facts.iter().filter(|fact| !fact.name.is_empty());
    let said = named.filter_map(|StatusLine { name, said, .. }| match said {
        StatusValue::Message(message) => Some((*name, told(message))),
        StatusValue::Data(Value::Null) => None,
        StatusValue::Data(value) => Some((*name, value.to_string())),
    });
    said.collect()
}

/// The facts for programs, by key.
pub(super) fn for_programs(facts: &[StatusLine]) -> Value {
    let keyed = facts.iter().filter(|fact| !fact.key.is_empty());
    let said = keyed.map(|StatusLine { key, said, .. }| {
        let value = match said {
            StatusValue::Message(message) => message.to_string().into(),
            StatusValue::Data(value) => value.clone(),
        };
        ((*key).to_owned(), value)
    });
    Value::Object(said.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uptime_is_short() {
        for (seconds, said) in [
            (59, "59 s"),
            (61, "1 min 1 s"),
            (7260, "2 h 1 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(uptime(seconds).to_string(), said);
        }
    }
}
