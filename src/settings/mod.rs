//! What the program can be set to, and how long it waits for what: declared here once, for code, pages and checks.
//!
//! Constants and their parsing; runs on whichever thread asks. Knows no other room.

pub mod durations;
mod kinds;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::sync::OnceLock;

use log::LevelFilter;

use kinds::{Filter, Kind, Limit, Number, OnePath, Paths, Words};

/// How lines of the log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level, then `key=value`.
    Text,
    /// A JSON object: `ts`, `level`, then the same fields.
    Json,
}

/// A variable of the environment that sets something.
pub struct Setting<K> {
    /// The variable.
    pub name: &'static str,
    doc: &'static str,
    kind: K,
}

/// What the file `env` of the home sets for this process, which goes before its environment.
static FROM_FILE: OnceLock<BTreeMap<String, String>> = OnceLock::new();

/// Takes what the file `env` sets, for the life of the process. Called by the daemon, before a setting is read.
pub fn set_from_file<'a>(variables: impl Iterator<Item = (&'a str, &'a str)>) {
    let settings = variables.filter(|(name, _)| ALL.iter().any(|setting| setting.name() == *name));
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    // A second call, as a daemon never makes, changes nothing.
    let _ = FROM_FILE.set(settings.map(owned).collect());
}

fn from_file(name: &str) -> Option<OsString> {
    FROM_FILE.get()?.get(name).map(OsString::from)
}

/// A variable that has a value which it cannot have.
#[derive(Debug)]
pub struct BadSetting {
    /// The variable.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// The values that it can have.
    pub values: String,
}

impl BadSetting {
    /// What speaks against its value.
    pub fn rule(&self) -> String {
        format!("is not a value that it can have ({})", self.values)
    }

    /// What to do about it.
    pub fn mend(&self) -> String {
        match from_file(self.name) {
            Some(_) => format!("change {} in the file env of COVEN_HOME", self.name),
            None => format!("unset {}", self.name),
        }
    }
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={:?} {}", self.name, self.value, self.rule())
    }
}

impl<K: Kind> Setting<K> {
    /// What the file `env` or the environment sets; the default if the variable is not set, or empty.
    ///
    /// # Errors
    /// The variable has a value that it cannot have.
    pub fn read(&self) -> Result<K::Value, BadSetting> {
        let text = from_file(self.name).or_else(|| std::env::var_os(self.name));
        match text.filter(|text| !text.is_empty()) {
            None => Ok(self.kind.default()),
            Some(text) => self.parse(&text),
        }
    }

    fn parse(&self, text: &OsStr) -> Result<K::Value, BadSetting> {
        self.kind.parse(text).ok_or_else(|| BadSetting {
            name: self.name,
            value: text.to_string_lossy().into_owned(),
            values: self.kind.values(),
        })
    }
}

/// A setting of any kind, for who shows it.
pub trait Declared {
    /// The variable.
    fn name(&self) -> &'static str;
    /// What it sets: a phrase.
    fn doc(&self) -> &'static str;
    /// The values that it can have.
    fn values(&self) -> String;
    /// The default; empty where there is none.
    fn default_text(&self) -> String;
    /// Whether a value names nothing of its user's.
    fn is_public(&self, value: &str) -> bool;
}

impl<K: Kind> Declared for Setting<K> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn doc(&self) -> &'static str {
        self.doc.trim_start()
    }

    fn values(&self) -> String {
        self.kind.values()
    }

    fn default_text(&self) -> String {
        self.kind.default_text()
    }

    fn is_public(&self, value: &str) -> bool {
        self.kind.is_public(value)
    }
}

/// Declares the settings: `/// what it sets`, `COVEN_` and its name, its kind.
macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:ty = $value:expr;)+) => {
        $($(#[doc = $doc])+ pub const $name: Setting<$kind> = Setting {
            name: concat!("COVEN_", stringify!($name)),
            doc: concat!($($doc),+),
            kind: $value,
        };)+

        /// Every setting.
        pub const ALL: &[&dyn Declared] = &[$(&$name),+];
    };
}

settings! {
    /// where everything is
    HOME: OnePath = OnePath("~/.coven");
    /// what is logged
    LOG: Filter = Filter(LevelFilter::Info);
    /// how the log's lines are written: as key=value, or as a JSON object each
    LOG_FORMAT: Words<LogFormat> = Words(&[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    /// milliseconds between SIGTERM and SIGKILL
    KILL_GRACE_MS: Number = Number { default: 5000, min: 0, max: 600_000 };
    /// milliseconds for which the end of a session waits at most while a process of its own still holds its output
    DRAIN_MAX_MS: Number = Number { default: 5000, min: 0, max: 600_000 };
    /// milliseconds from a session's closing status until the `onEnd` of its launch is carried out
    ON_END_MS: Number = Number { default: 30_000, min: 0, max: 86_400_000 };
    /// sessions that can be live at once
    MAX_SESSIONS: Number = Number { default: 256, min: 1, max: 10_000 };
    /// connections that can be open at once
    MAX_CONNECTIONS: Number = Number { default: 512, min: 1, max: 10_000 };
    /// days for which an ended session's output is kept; 0 keeps none
    LOG_RETENTION_DAYS: Limit = Limit(Number { default: 30, min: 0, max: 36_500 });
    /// bytes that the store may take on disk before the output of ended sessions goes, the oldest first
    STORE_MAX_BYTES: Limit = Limit(Number { default: 4 << 30, min: 0, max: u64::MAX });
    /// bytes that one session's output may take on disk
    SESSION_MAX_BYTES: Limit = Limit(Number { default: 256 << 20, min: SESSION_MAX_MIN, max: u64::MAX });
    /// whether secrets are taken out of what is stored
    REDACT: Words<bool> = Words(&[("on", true), ("off", false)]);
    /// what the harnesses of `coven run` may do, where its command line does not say
    PERMISSION: Words<&'static str> = Words(&[
        ("default", "default"), ("read-only", "read-only"), ("workspace-write", "workspace-write"), ("full", "full"),
    ]);
    /// one more manifest
    HARNESS_ADAPTER_MANIFEST: OnePath = OnePath("");
    /// more directories of manifests
    HARNESS_ADAPTER_DIRS: Paths = Paths;
}

/// The least that one session's output may be limited to, in bytes: about what one read of a pipe makes.
const SESSION_MAX_MIN: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::checkout::{checkout, each_file};

    /// What begins with `COVEN_` and is no setting: what a harness is told, what a build and the tests are.
    const OTHERS: &[&str] = &[
        "COVEN_",
        "COVEN_SESSION_ID",
        "COVEN_COMMIT",
        "COVEN_BUILD_COMMIT",
        "COVEN_BUILD_DATE",
        "COVEN_TEST_ROUNDS",
        "COVEN_TEST_FLOOD_BYTES",
    ];

    #[test]
    fn whatever_is_called_a_setting_is_one() {
        for root in ["src", "scripts", "README.md", "CHANGELOG.md", "build.rs"] {
            each_file(&checkout(root), &mut |path, text| {
                for (at, _) in text.match_indices("COVEN_") {
                    let is_part = |c: char| c.is_ascii_uppercase() || c == '_';
                    let end = text[at..].find(|c| !is_part(c)).unwrap_or(text.len() - at);
                    let word = &text[at..at + end];
                    let is_known =
                        ALL.iter().any(|setting| setting.name() == word) || OTHERS.contains(&word);
                    // `COVEN_HARNESS_ADAPTER_*` and the like.
                    assert!(
                        is_known || word.ends_with('_'),
                        "{word} in {}",
                        path.display()
                    );
                }
            });
        }
    }

    #[test]
    fn the_readme_has_the_table_of_settings() {
        let row = |s: &&dyn Declared| {
            let (name, doc) = (s.name(), s.doc());
            let row = format!(
                "| `{name}` | {doc} | {} | {} |\n",
                s.values(),
                s.default_text()
            );
            row.replace("|  |", "| |")
        };
        let head = "| variable | sets | values | default |\n| --- | --- | --- | --- |\n";
        let table = format!("{head}{}\n", ALL.iter().map(row).collect::<String>());
        let readme = fs::read_to_string(checkout("README.md")).unwrap();
        assert!(readme.contains(&table), "it should have\n{table}");
    }
}
