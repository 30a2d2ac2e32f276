//! A session's environment: the sources of its variables, and their precedence.
//!
//! A launch builds it on its connection thread; the signals thread reads the file `env` again. It knows no process.

mod file;
mod variables;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

pub use file::{Ignored, read_given, read_own};
pub use variables::{FILTERED, is_filtered, is_started_with};

use crate::api::{SessionId, Timestamp, Variables};

/// Variable that identifies a process's session.
pub const SESSION_VARIABLE: &str = "COVEN_SESSION_ID";

/// Variables by name. `Debug` prints only names: a value can be a secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.insert(name.into(), value.into());
    }

    fn set_all(&mut self, variables: &Variables) {
        for (name, value) in variables.iter() {
            self.set(name, value);
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The environment that all sessions of a daemon share.
#[derive(Debug, Clone, Default)]
pub struct Base {
    /// The daemon's inherited environment, without filtered variables.
    inherited: Environment,
    /// Names of the filtered variables in the daemon's environment.
    pub filtered: Vec<String>,
    /// Variables of the home's file `env`.
    file: Variables,
    /// Time at which the file was read: later changes are not in effect.
    pub file_read_at: Option<Timestamp>,
}

impl Base {
    /// Uses `variables` as the daemon's inherited environment.
    pub fn inherit(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let (filtered, inherited): (BTreeMap<_, _>, BTreeMap<_, _>) =
            variables.partition(|(name, _)| is_filtered(name));
        Self {
            inherited: Environment(inherited),
            filtered: filtered
                .into_keys()
                .map(|name| name.to_string_lossy().into_owned())
                .collect(),
            file: Variables::default(),
            file_read_at: None,
        }
    }

    /// Replaces the content of the file `env`, read at `read_at`.
    pub fn with_file(&self, file: Variables, read_at: Timestamp) -> Self {
        Self {
            file,
            file_read_at: Some(read_at),
            ..self.clone()
        }
    }

    /// The `PATH` on which harnesses are looked up.
    pub fn path(&self) -> Option<&OsStr> {
        let file = self.file.get("PATH").map(OsStr::new);
        file.or_else(|| self.inherited.get("PATH"))
    }

    /// Variables that a session is given on purpose, by the file and by its `launch`: names and values, without those
    /// that every login has.
    pub fn given<'a>(&'a self, launch: &'a Variables) -> impl Iterator<Item = (&'a str, &'a str)> {
        let file = self.file.iter();
        let file = file.filter(|(name, _)| launch.get(name).is_none());
        let all = launch.iter().chain(file);
        all.filter(|(name, _)| !is_started_with(OsStr::new(name)))
    }

    /// The environment of the session `id` in `cwd`. Later sources replace earlier ones: inherited, file, adapter,
    /// launch. `PWD` is always the session's: programs trust it more than getcwd(3).
    pub fn session(
        &self,
        adapter: &Variables,
        launch: &Variables,
        id: SessionId,
        cwd: &Path,
    ) -> Environment {
        let mut environment = self.inherited.clone();
        for source in [&self.file, adapter, launch] {
            environment.set_all(source);
        }
        environment.set("PWD", cwd);
        environment.set(SESSION_VARIABLE, id.to_string());
        environment
    }
}

/// The current base, replaced as a whole when the file `env` is read again.
#[derive(Debug)]
pub struct SharedBase(RwLock<Arc<Base>>);

impl SharedBase {
    pub fn new(base: Base) -> Self {
        Self(RwLock::new(Arc::new(base)))
    }

    pub fn current(&self) -> Arc<Base> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the content of the file `env`, read at `read_at`.
    pub fn set_file(&self, file: Variables, read_at: Timestamp) {
        let base = Arc::new(self.current().with_file(file, read_at));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = base;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|&(name, value)| (name, value)).collect()
    }

    fn base(inherited: &[(&str, &str)], file: &[(&str, &str)]) -> Base {
        let inherited = inherited
            .iter()
            .map(|&(name, value)| (name.into(), value.into()));
        Base::inherit(inherited).with_file(variables(file), Timestamp::now())
    }

    #[test]
    fn a_later_source_replaces_an_earlier_one() {
        // Bits: the variable is in the inherited environment, the file, the adapter, the launch.
        for sources in 1_u8..16 {
            let names = ["inherited", "file", "adapter", "launch"];
            let of = |bit: usize| match sources & (1 << bit) {
                0 => vec![],
                _ => vec![("X", names[bit])],
            };
            let base = base(&of(0), &of(1));
            let id = SessionId::random();
            let session = base.session(&variables(&of(2)), &variables(&of(3)), id, "/".as_ref());
            let last = (0..4).rfind(|bit| sources & (1 << bit) != 0).unwrap();
            assert_eq!(session.get("X"), Some(OsStr::new(names[last])), "{sources}");
        }
    }

    #[test]
    fn only_what_is_inherited_is_filtered() {
        let base = base(
            &[
                ("TMUX", "1"),
                ("A", "a"),
                ("CLAUDECODE", "1"),
                ("PWD", "/daemon"),
            ],
            &[("STY", "on purpose")],
        );
        let launch = variables(&[("TMUX_PANE", "%1"), ("PWD", "/elsewhere")]);
        let id = SessionId::random();
        let session = base.session(&variables(&[("SHLVL", "7")]), &launch, id, "/work".as_ref());
        let found: Vec<_> = session
            .iter()
            .map(|(name, value)| (name.to_str(), value))
            .collect();
        let id = id.to_string();
        let expected = [
            ("A", "a"),
            ("COVEN_SESSION_ID", &*id),
            ("PWD", "/work"),
            ("SHLVL", "7"),
            ("STY", "on purpose"),
            ("TMUX_PANE", "%1"),
        ];
        assert_eq!(
            found,
            expected.map(|(name, value)| (Some(name), OsStr::new(value)))
        );
        assert_eq!(base.filtered, ["CLAUDECODE", "TMUX"]);
    }

    #[test]
    fn the_files_path_is_the_daemons() {
        assert_eq!(
            base(&[("PATH", "/a")], &[("PATH", "/b")]).path(),
            Some("/b".as_ref())
        );
        assert_eq!(base(&[("PATH", "/a")], &[]).path(), Some("/a".as_ref()));
        assert_eq!(base(&[], &[]).path(), None);
    }

    #[test]
    fn a_value_is_not_in_what_debug_prints() {
        let base = base(&[("A", "secret-1")], &[("B", "secret-2")]);
        let session = base.session(
            &variables(&[("C", "secret-3")]),
            &Variables::default(),
            SessionId::random(),
            "/".as_ref(),
        );
        let shown = format!("{base:?} {session:?}");
        assert!(shown.contains('A') && shown.contains('B') && shown.contains('C'));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
