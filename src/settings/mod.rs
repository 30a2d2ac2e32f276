//! All settings of the program, and all durations: declared once for code, pages and checks.
//!
//! Constants and their parsing, on any thread. It knows no other room.

pub mod durations;
mod kinds;
mod nearest;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::sync::OnceLock;

use log::LevelFilter;

pub use kinds::SettingKind;
pub use nearest::{did_you_mean, nearest, suggestion};

use kinds::{Filter, HostNames, Limit, Number, OnePath, Paths, Words};

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level, then `key=value`.
    Text,
    /// A JSON object: `ts`, `level`, then the same fields.
    Json,
}

/// An environment variable that is a setting.
pub struct Setting<K: ?Sized> {
    pub name: &'static str,
    /// Its meaning, as a phrase.
    pub doc: &'static str,
    pub kind: K,
}

/// Settings of the home's file `env`, which take precedence over the process's environment.
static FROM_FILE: OnceLock<BTreeMap<String, String>> = OnceLock::new();

/// Stores the settings of the file `env` for the life of the process. The daemon calls it before it reads any setting.
pub fn set_from_file<'a>(variables: impl Iterator<Item = (&'a str, &'a str)>) {
    let settings = variables.filter(|(name, _)| ALL.iter().any(|setting| setting.name == *name));
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let mut own = BTreeMap::new();
    own.extend(settings.map(owned));
    // A second call, which the daemon never makes, changes nothing.
    let _ = FROM_FILE.set(own);
}

fn from_file(name: &str) -> Option<OsString> {
    FROM_FILE.get()?.get(name).map(OsString::from)
}

/// The setting that the unknown variable `name` resembles, if its prefix is that of the settings.
pub fn misspelt(name: &str) -> Option<String> {
    // The common prefix would make all names similar.
    let given = name.strip_prefix(PREFIX)?;
    let mut known = ALL
        .iter()
        .map(|setting| setting.name[PREFIX.len()..].to_owned());
    let is_none = !ALL.iter().any(|setting| setting.name == name);
    let meant = is_none.then(|| nearest(given, &mut known))?;
    meant.map(|meant| format!("{PREFIX}{meant}"))
}

/// The common prefix of the settings.
const PREFIX: &str = "COVEN_";

/// A setting with an invalid value.
#[derive(Debug)]
pub struct BadSetting {
    pub name: &'static str,
    pub value: String,
    /// The valid values.
    pub values: String,
}

impl BadSetting {
    /// Why its value is invalid.
    pub fn rule(&self) -> String {
        format!("is not a valid value ({})", self.values)
    }

    /// Advice for the user.
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

impl<K: SettingKind> Setting<K> {
    /// The value in the file `env` or the environment; the default if unset or empty.
    ///
    /// # Errors
    /// The value is invalid.
    pub fn read(&self) -> Result<K::Value, BadSetting> {
        let text = from_file(self.name).or_else(|| std::env::var_os(self.name));
        match text.filter(|text| !text.is_empty()) {
            None => Ok(self.kind.default()),
            Some(text) => self.kind.parse(&text).ok_or_else(|| BadSetting {
                name: self.name,
                value: text.to_string_lossy().into_owned(),
                values: self.kind.values(),
            }),
        }
    }
}

/// Declares the settings: a doc comment with the meaning, the name without `COVEN_`, the kind.
macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:ty = $value:expr;)+) => {
        $($(#[doc = $doc])+ pub const $name: Setting<$kind> = Setting {
            name: concat!("COVEN_", stringify!($name)),
            doc: concat!($($doc),+).trim_ascii(),
            kind: $value,
        };)+

        pub const ALL: &[&Setting<dyn SettingKind>] = &[$(&$name),+];
    };
}

settings! {
    /// directory of all of coven's files
    HOME: OnePath = OnePath("~/.coven");
    /// host whose daemon `coven` uses, by ssh; `-H` overrides it
    HOST: HostNames = HostNames;
    /// filter of the log
    LOG: Filter = Filter(LevelFilter::Info);
    /// format of log lines: key=value, or one JSON object each
    LOG_FORMAT: Words<LogFormat> = Words(&[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    /// milliseconds between SIGTERM and SIGKILL
    KILL_GRACE_MS: Number = Number { default: 5000, min: 0, max: 600_000 };
    /// most milliseconds that a session's end waits while a process of the session holds its output
    DRAIN_MAX_MS: Number = Number { default: 5000, min: 0, max: 600_000 };
    /// milliseconds between a session's final status and the `onEnd` of its launch
    ON_END_MS: Number = Number { default: 30_000, min: 0, max: 86_400_000 };
    /// sessions that can be live at once
    MAX_SESSIONS: Number = Number { default: 256, min: 1, max: 10_000 };
    /// connections that can be open at once
    MAX_CONNECTIONS: Number = Number { default: 512, min: 1, max: 10_000 };
    /// days for which an ended session's output is kept; 0 keeps none
    LOG_RETENTION_DAYS: Limit = Limit(Number { default: 30, min: 0, max: 36_500 });
    /// bytes on disk from which the store deletes output of ended sessions, oldest first
    STORE_MAX_BYTES: Limit = Limit(Number { default: 4 << 30, min: 0, max: u64::MAX });
    /// bytes that one session's output may take on disk
    SESSION_MAX_BYTES: Limit = Limit(Number { default: 256 << 20, min: SESSION_MAX_MIN, max: u64::MAX });
    /// redaction of secrets in stored data
    REDACT: Words<bool> = Words(&[("on", true), ("off", false)]);
    /// default permission of the harnesses of `coven run`
    PERMISSION: Words<&'static str> = Words(&[
        ("default", "default"), ("read-only", "read-only"), ("workspace-write", "workspace-write"), ("full", "full"),
    ]);
    /// path of an additional manifest
    HARNESS_ADAPTER_MANIFEST: OnePath = OnePath("");
    /// additional directories of manifests
    HARNESS_ADAPTER_DIRS: Paths = Paths;
}

/// Lowest limit of one session's output, in bytes: about the events of one pipe read.
const SESSION_MAX_MIN: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkout::{checkout, each_file};

    /// Names that start with `COVEN_` but are no settings: variables for harnesses, builds and tests.
    #[rustfmt::skip]
    const OTHERS: &[&str] = &[
        "COVEN_", "COVEN_SESSION_ID", "COVEN_COMMIT", "COVEN_BUILD_COMMIT", "COVEN_BUILD_DATE", "COVEN_TEST_ROUNDS",
        "COVEN_TEST_FLOOD_BYTES",
    ];

    #[test]
    fn every_name_of_a_setting_in_a_text_is_declared() {
        for root in ["src", "scripts", "README.md", "CHANGELOG.md", "build.rs"] {
            each_file(&checkout(root), &mut |path, text| {
                for (at, _) in text.match_indices("COVEN_") {
                    let is_part = |c: char| c.is_ascii_uppercase() || c == '_';
                    let end = text[at..].find(|c| !is_part(c)).unwrap_or(text.len() - at);
                    let word = &text[at..at + end];
                    let is_known =
                        ALL.iter().any(|setting| setting.name == word) || OTHERS.contains(&word);
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
    fn a_variable_whose_name_is_near_to_a_settings_is_misspelt() {
        let meant = |rest: &str| misspelt(&format!("{PREFIX}{rest}"));
        assert_eq!(meant("REDCAT").unwrap(), REDACT.name);
        assert_eq!(meant("MAX_SESSION").unwrap(), MAX_SESSIONS.name);
        assert_eq!(meant("STORE_MAX").unwrap(), STORE_MAX_BYTES.name);
        assert_eq!(meant("OF_CATS"), None);
        assert_eq!(misspelt("REDCAT"), None);
        let known = ALL.iter().map(|setting| setting.name);
        for name in known.chain(OTHERS.iter().copied()) {
            assert_eq!(misspelt(name), None, "{name}");
        }
    }
    #[test]
    fn the_readme_has_five_settings_as_they_are_declared() {
        let readme = std::fs::read_to_string(checkout("README.md")).unwrap();
        let rows: Vec<&str> = readme
            .lines()
            .filter(|line| line.starts_with("| `COVEN_"))
            .collect();
        assert_eq!(rows.len(), 5, "{rows:?}");
        for row in rows {
            let declared = ALL.iter().any(|setting| {
                let (name, doc, default) = (setting.name, setting.doc, setting.kind.default_text());
                row == format!("| `{name}` | {doc} | {default} |")
            });
            assert!(declared, "{row}");
        }
    }
}
