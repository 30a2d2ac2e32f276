//! What a report may show. Nothing is in a report but [`Shown`]; what is ours converts into it, and what others have said
//! gets there only through [`Privacy`], whose functions are named after what a text is.
//!
//! Pure: it reads nothing but what it is given.

use std::io;
use std::path::Path;

use log::Level;
use serde_json::{Map, Number, Value};

use super::identity::Identity;
use super::place::{Places, USER};
use crate::api::routes::Route;
use crate::api::{Manager, ManagerScope, SessionId, StorageStatus, Timestamp, WriterState};
use crate::cli::doctor::{self, Report as Findings};
use crate::observe::field::{Kind, is_version};
use crate::observe::{LogRecord, Message, Part};
use crate::redact::Redactor;

/// What SQLite says of itself, of the disk and of the file.
#[rustfmt::skip]
const SQLITE: &[&str] = &[
    "database disk image is malformed", "database is locked", "database or disk is full", "disk I/O error",
    "attempt to write a readonly database", "unable to open database file", "file is not a database", "out of memory",
];

const TEXTS: &str = "texts of others";
/// What is counted for a value of a log that has not the form of its kind.
pub(super) const HIDDEN: &str = "values in the log";

/// A value that may be shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shown(Value);

impl Shown {
    /// As JSON.
    pub(super) fn json(&self) -> &Value {
        &self.0
    }

    /// An object of such values.
    pub(super) fn object(entries: impl IntoIterator<Item = (&'static str, Self)>) -> Self {
        let entries = entries.into_iter();
        let object: Map<_, _> = entries
            .map(|(key, value)| (key.to_owned(), value.0))
            .collect();
        Self(object.into())
    }

    fn text(text: impl Into<String>) -> Self {
        Self(Value::String(text.into()))
    }
}

macro_rules! ours {
    ($($type:ty)*) => {$(
        impl From<$type> for Shown {
            fn from(value: $type) -> Self {
                Self(Value::from(value))
            }
        }
    )*};
}

ours! { Number bool u8 u32 i32 u64 i64 usize &'static str }

impl From<Timestamp> for Shown {
    fn from(at: Timestamp) -> Self {
        Self::text(at.to_string())
    }
}

impl From<SessionId> for Shown {
    fn from(id: SessionId) -> Self {
        Self::text(id.to_string())
    }
}

impl<T: Into<Shown>> From<Option<T>> for Shown {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self(Value::Null), Into::into)
    }
}

/// A record of a log, of which every value may be shown.
pub(super) struct ShownRecord(LogRecord);

impl ShownRecord {
    pub(super) fn new(at: Timestamp, level: Level, fields: Vec<(&'static str, Shown)>) -> Self {
        let fields = fields.into_iter();
        let fields = fields
            .map(|(name, value)| (name.to_owned(), value.0))
            .collect();
        Self(LogRecord { at, level, fields })
    }

    pub(super) fn record(&self) -> &LogRecord {
        &self.0
    }
}

/// Shows of what others have said what is not private.
pub(super) struct Privacy {
    places: Places,
    /// The ids of the harnesses that a manifest names.
    harnesses: Vec<String>,
}

impl Privacy {
    pub(super) fn new(identity: &Identity, redactor: Redactor, harnesses: Vec<String>) -> Self {
        let places = Places::new(identity, redactor);
        Self { places, harnesses }
    }

    /// A path: only what is known to say nothing of its owner.
    pub(super) fn place(&self, path: &Path) -> Shown {
        Shown::text(self.places.place(path))
    }

    /// The path of our own program: all of it, but for the home and the names in it.
    pub(super) fn install(&self, path: &Path) -> Shown {
        Shown::text(self.places.install(path))
    }

    /// The name of a harness, a program, a unit or a variable.
    pub(super) fn name(&self, text: &str) -> Shown {
        Shown::text(self.places.name(text))
    }

    /// A word of somebody else's, which is shown if it is one of ours.
    pub(super) fn word(&self, text: &str, is_one: impl FnOnce(&str) -> bool) -> Option<Shown> {
        is_one(text).then(|| Shown::text(text))
    }

    /// The id of a harness in the store or the log: shown if a manifest names it.
    pub(super) fn harness(&self, id: &str) -> Option<Shown> {
        let is_known = self.harnesses.iter().any(|known| known == id);
        is_known.then(|| self.name(id))
    }

    /// Why something failed: what SQLite says, and what the numbers of the system's errors mean.
    pub(super) fn reason(&self, text: &str) -> Option<Shown> {
        if SQLITE.contains(&text) {
            return Some(Shown::text(text));
        }
        let numbers = text.split("(os error ").skip(1);
        let errors = numbers.filter_map(|rest| rest.split_once(')')?.0.parse().ok());
        let errors: Vec<String> = errors
            .map(|number| io::Error::from_raw_os_error(number).to_string())
            .collect();
        (!errors.is_empty()).then(|| Shown::text(errors.join("; ")))
    }

    /// A message, each part as what it is.
    pub(super) fn message(&self, message: &Message) -> Shown {
        Shown::text(self.message_text(message))
    }

    /// What doctor found, as JSON, and as it prints it.
    pub(super) fn doctor(&self, found: &Findings) -> (Shown, Vec<Shown>) {
        let text = |message: &Message| self.message_text(message);
        let checks = found.checks.iter().map(|check| {
            serde_json::json!({
                "id": text(&check.id), "status": check.status, "message": text(&check.message),
                "hint": check.hint.as_ref().map(text),
            })
        });
        let checks: Vec<Value> = checks.collect();
        // The same is not left out twice.
        let (blocking, lines) = self.places.uncounted(|| {
            let blocking: Vec<String> = found.blocking.iter().map(text).collect();
            (blocking, doctor::lines(found, text))
        });
        let lines = lines.into_iter().map(Shown::text).collect();
        let json = serde_json::json!({ "ok": found.ok, "blocking": blocking, "checks": checks });
        (Shown(json), lines)
    }

    /// A part of a daemon's answer that was read into a type of ours, so that its keys are known.
    pub(super) fn answer(&self, key: &str, value: &Value) -> Shown {
        Shown(match value {
            Value::Object(object) => {
                let entries = object.iter();
                let entries = entries.map(|(key, value)| (key.clone(), self.answer(key, value).0));
                Value::Object(entries.collect())
            }
            Value::Array(values) => values
                .iter()
                .map(|value| self.answer(key, value).0)
                .collect(),
            Value::String(text) => match key {
                "socket" => self.place(Path::new(text)).0,
                "unit" | "label" => self.name(text).0,
                _ => self
                    .word(text, is_answer)
                    .or_else(|| self.reason(text))
                    .map_or_else(
                        || self.places.stand_in(("?", TEXTS)).into(),
                        |shown| shown.0,
                    ),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        })
    }

    /// The value of a log's field of this kind, or what is counted in its place: anybody can write into a log.
    pub(super) fn field(&self, kind: Kind, value: &Value) -> Result<Shown, &'static str> {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let is_shown = match kind {
            Kind::Number => value.is_number(),
            Kind::Flag => value.is_boolean(),
            Kind::Word(is_one) => is_one(&text),
            Kind::Route => Route::is_name(&text),
            Kind::Verb => crate::cli::grammar::is_verb(&text),
            Kind::Harness => {
                return self
                    .harness(&text)
                    .ok_or("harnesses that no manifest names");
            }
            // The daemon logs no other.
            Kind::Path if text.starts_with('/') => return Ok(self.place(Path::new(&text))),
            Kind::Reason => return self.reason(&text).ok_or("reasons in the log"),
            Kind::Path | Kind::Text => false,
        };
        is_shown.then(|| Shown(value.clone())).ok_or(HIDDEN)
    }

    /// Counts what was left out elsewhere.
    pub(super) fn count(&self, what: &'static str, n: u64) {
        self.places.count(what, n);
    }

    /// Everything that was left out or replaced, and how often.
    pub(super) fn counts(&self) -> Vec<(Shown, u64)> {
        let counts = self.places.counts().into_iter();
        counts.map(|(what, n)| (Shown::text(what), n)).collect()
    }

    fn message_text(&self, message: &Message) -> String {
        let part = |part: &Part| match part {
            Part::Ours(text) => text.as_str().to_owned(),
            Part::Path(path) | Part::Quoted(path) => self.places.place(path),
            Part::Name(text) => self.places.name(text),
            Part::User(_) => self.places.stand_in(USER),
            Part::Foreign(text) => match self.reason(text) {
                Some(Shown(Value::String(reason))) => reason,
                _ => self.places.stand_in(("…", TEXTS)),
            },
        };
        message.parts().iter().map(part).collect()
    }
}

/// What a daemon that is as we are can say: a time, a version, a word.
fn is_answer(text: &str) -> bool {
    text.parse::<Timestamp>().is_ok()
        || is_version(text)
        || text == "sequence"
        || WriterState::parse(text).is_some()
        || StorageStatus::parse(text).is_some()
        || Manager::parse(text).is_some()
        || ManagerScope::parse(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{LogEvent, message};

    fn privacy(user: &str, host: &str, home: &str) -> Privacy {
        let list = |text: &str| vec![text.to_owned()];
        let identity = Identity {
            homes: list(home),
            coven_homes: list("/srv/Ada's secret/coven"),
            users: list(user),
            hosts: list(host),
        };
        Privacy::new(&identity, Redactor::new("").0, list("codex"))
    }

    #[test]
    fn a_message_keeps_what_is_ours() {
        let privacy = privacy("ada", "engine", "/home/ada");
        let gone = io::Error::from_raw_os_error(libc::ENOENT);
        let plan = Path::new("/srv/plan");
        for (message, shown) in [
            (
                message!("{}: {}", plan, &gone),
                "<path>: No such file or directory (os error 2)",
            ),
            (
                message!("mv {} away", Message::quoted(plan)),
                "mv <path> away",
            ),
            (
                message!("uid {}, {}", 7_u32, Message::user("eve".into())),
                "uid 7, <user>",
            ),
            (
                message!("it says {}", Message::foreign("database is locked")),
                "it says database is locked",
            ),
            (
                message!(
                    "it says {}",
                    Message::foreign("the plan: database is locked")
                ),
                "it says …",
            ),
            (message!("{}", &io::Error::other("my plan")), "…"),
        ] {
            assert_eq!(privacy.message(&message).json(), shown);
        }
    }

    #[test]
    fn of_an_answer_only_known_words_are_kept() {
        let privacy = privacy("ada", "engine", "/home/ada");
        let answer = serde_json::json!({ "socket": "/srv/x", "apiVersion": "coven.daemon.v1", "status": "plan", "label": "ada.job",
            "lastError": "disk I/O error", "at": "2026-05-09T06:43:00.007Z", "list": ["plan", 1, null, true], "state": "healthy" });
        let shown = serde_json::json!({ "socket": "<path>", "apiVersion": "coven.daemon.v1", "status": "?", "label": "<user>.job",
            "lastError": "disk I/O error", "at": "2026-05-09T06:43:00.007Z", "list": ["?", 1, null, true], "state": "healthy" });
        assert_eq!(*privacy.answer("", &answer).json(), shown);
    }

    #[test]
    fn a_field_of_the_log_is_shown_as_its_kind_allows() {
        let privacy = privacy("ada", "engine", "/home/ada");
        // Anybody who can write into the file can write anything.
        for declared in LogEvent::ALL {
            for (name, kind) in declared.fields {
                let shown = privacy.field(*kind, &"plan".into());
                assert!(shown.is_err(), "{} {name}: {shown:?}", declared.name);
            }
        }
        let locked = privacy.field(Kind::Reason, &"database is locked".into());
        assert_eq!(locked, Ok("database is locked".into()));
        assert_eq!(
            privacy.field(Kind::Path, &"/srv/x".into()),
            Ok("<path>".into())
        );
        assert_eq!(
            privacy.field(Kind::Harness, &"codex".into()),
            Ok("codex".into())
        );
        assert_eq!(privacy.field(Kind::Number, &7.into()), Ok(7_u32.into()));
    }
}
