//! Decides which foreign values a report shows: one function for each type of value.
//!
//! Runs on the main thread; only [`Identity::look_up`] makes slow calls, on a thread of its own.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::gather::Read;
use super::shown::{Shown, object};
use crate::api::routes::Route;
use crate::api::{self, Manager, ManagerScope, StorageStatus, Timestamp, WriterState};
use crate::cli::grammar::is_verb;
use crate::daemon::Home;
use crate::observe::field::{Kind, is_version};
use crate::observe::{Message, Part};
use crate::redact::Redactor;
use crate::sys;

/// Directories of the system: paths in them reveal nothing about the user.
#[rustfmt::skip]
const SYSTEM: &[&str] = &[
    "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/usr/libexec", "/usr/share", "/usr/local/bin",
    "/usr/local/sbin", "/usr/local/lib", "/usr/games", "/bin", "/sbin", "/lib", "/lib64", "/proc", "/sys", "/dev",
    "/etc/systemd", "/etc/os-release", "/nix/store", "/nix/var/nix/profiles/default", "/run/current-system",
    "/snap/bin", "/opt/homebrew/bin", "/opt/homebrew/Cellar", "/home/linuxbrew/.linuxbrew/bin",
    "/home/linuxbrew/.linuxbrew/Cellar", "/System", "/Library/LaunchAgents", "/Library/LaunchDaemons",
];

/// Usual directories of programs and units in a home. A file in one keeps its name.
#[rustfmt::skip]
const BELOW_HOME: &[&str] = &[
    ".cargo/bin", ".local/bin", "bin", ".nix-profile/bin", ".bun/bin", ".deno/bin", ".npm-global/bin", ".volta/bin",
    ".asdf/shims", ".local/share/mise/shims", ".config/systemd/user", "Library/LaunchAgents",
];

/// Login names that are ordinary words are not secret.
#[rustfmt::skip]
const ORDINARY: &[&str] = &[
    "bin", "claude", "codex", "copilot", "coven", "gemini", "hello", "local", "opencode", "root", "service", "user",
];

/// A placeholder, and the kind of omission to count, unless that is empty.
type StandIn = (&'static str, &'static str);

const HOME: StandIn = ("~", "home directory, as ~");
const COVEN_HOME: StandIn = ("<coven-home>", "COVEN_HOME, as <coven-home>");
const USER: StandIn = ("<user>", "user name, as <user>");
const PATH: StandIn = ("<path>", "paths, as <path>");
const TEXTS: &str = "texts of others";
/// Kind of omission: a log value without the form of its kind.
pub(super) const HIDDEN: &str = "values in the log";

/// Directories and login names of the user, and of the home's owner.
#[derive(Debug, Default)]
pub(super) struct Identity {
    homes: Vec<PathBuf>,
    /// `COVEN_HOME`, under all of its names.
    coven_homes: Vec<PathBuf>,
    users: Vec<String>,
}

impl Identity {
    /// From the environment.
    pub(super) fn at_hand(home: Option<&Home>) -> Self {
        let users = ["USER", "LOGNAME", "SUDO_USER", "DOAS_USER"].map(env::var);
        Self {
            homes: Vec::from_iter(env::var_os("HOME").map(PathBuf::from)),
            coven_homes: Vec::from_iter(home.map(|home| home.path().to_owned())),
            users: users.into_iter().flatten().collect(),
        }
    }

    /// Also from the user database and the file system, which may be slow.
    pub(super) fn look_up(home: Option<&Home>) -> Self {
        let mut found = Self::at_hand(home);
        let sudo = env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
        let uids = [Some(sys::euid()), home.map(Home::owner), sudo];
        for user in uids.into_iter().flatten().filter_map(sys::user) {
            found.users.push(user.name);
            found.homes.push(user.home);
        }
        for dirs in [&mut found.homes, &mut found.coven_homes] {
            let real: Vec<_> = dirs.iter().flat_map(|dir| dir.canonicalize()).collect();
            dirs.extend(real);
        }
        found
    }

    /// The directories with their placeholders, the longest first.
    fn dirs(&self) -> Vec<(String, StandIn)> {
        let defaults: Vec<_> = self.homes.iter().map(|home| home.join(".coven")).collect();
        let coven_home = match self.coven_homes.iter().any(|dir| defaults.contains(dir)) {
            true => ("~/.coven", HOME.1),
            false => COVEN_HOME,
        };
        let text = |dir: &PathBuf| dir.to_string_lossy().trim_end_matches('/').to_owned();
        let homes = self.homes.iter().map(|dir| (text(dir), HOME));
        let coven_homes = self.coven_homes.iter().map(|dir| (text(dir), coven_home));
        // All paths are below `/`: a user with that home has no private directory.
        let mut dirs: Vec<_> = homes
            .chain(coven_homes)
            .filter(|(dir, _)| dir.starts_with('/'))
            .collect();
        dirs.sort_by_key(|(dir, _)| Reverse(dir.len()));
        dirs
    }
}

/// Shows the public parts of foreign values, and counts the others.
pub(super) struct Privacy {
    redactor: Redactor,
    dirs: Vec<(String, StandIn)>,
    /// Login names, in lower case.
    users: Vec<String>,
    /// Ids of the harnesses that manifests declare.
    harnesses: Vec<String>,
    counts: RefCell<BTreeMap<&'static str, u64>>,
}

impl Privacy {
    pub(super) fn new(identity: &Identity, redactor: Redactor, harnesses: Vec<String>) -> Self {
        let users = identity.users.iter().map(|name| name.to_ascii_lowercase());
        let is_name = |name: &String| !name.is_empty() && !ORDINARY.contains(&name.as_str());
        Self {
            redactor,
            dirs: identity.dirs(),
            users: users.filter(is_name).collect(),
            harnesses,
            counts: RefCell::default(),
        }
    }

    /// Counts omissions made elsewhere.
    pub(super) fn count(&self, what: &'static str, n: u64) {
        if n > 0 {
            *self.counts.borrow_mut().entry(what).or_default() += n;
        }
    }

    /// All kinds of omissions, with their numbers.
    pub(super) fn counts(&self) -> Shown {
        let counts = self.counts.borrow();
        let counts = counts.iter().map(|(what, n)| ((*what).to_owned(), *n));
        let secrets = self.redactor.counts().into_iter();
        let secrets = secrets.map(|(kind, n)| (format!("secrets: {kind}"), n));
        let all = counts.chain(secrets);
        all.map(|(what, n)| object! { "what": Shown::text(what), "times": n })
            .collect()
    }

    /// A finding, converted by `show`, or the reason why it is missing.
    pub(super) fn read<T>(&self, found: &Read<T>, show: impl FnOnce(&T, &Self) -> Shown) -> Shown {
        match found {
            Ok(found) => show(found, self),
            Err(why) => object! { "unavailable": self.message(why) },
        }
    }

    /// A path: only parts that reveal nothing about the user.
    pub(super) fn place(&self, path: &Path) -> Shown {
        Shown::text(self.place_text(path))
    }

    fn place_text(&self, path: &Path) -> String {
        let text = self.redactor.redact(&path.to_string_lossy()).into_owned();
        if text.is_empty() || text == "/" {
            return text;
        }
        let known = self
            .dirs
            .iter()
            .find_map(|(dir, stands)| Some((*stands, below(&text, dir)?)));
        let system = || {
            SYSTEM
                .iter()
                .find_map(|dir| Some(((*dir, ""), below(&text, dir)?)))
        };
        let is_up = text.split('/').any(|part| part == "..");
        let Some((root, below)) = known.or_else(system).filter(|_| !is_up) else {
            return self.stand_in(PATH);
        };
        let below = match root {
            (_, "") => below,
            HOME => in_home(below),
            _ => in_coven_home(below),
        };
        let separator = if below.is_empty() { "" } else { "/" };
        format!(
            "{}{separator}{}",
            self.stand_in(root),
            self.name_text(below)
        )
    }

    fn stand_in(&self, (stands, what): StandIn) -> String {
        self.count(what, u64::from(!what.is_empty()));
        stands.to_owned()
    }

    /// Name of a harness, a program, a unit or a variable.
    pub(super) fn name(&self, text: &str) -> Shown {
        Shown::text(self.name_text(text))
    }

    /// `text` without secrets, and without login names as separate words.
    fn name_text(&self, text: &str) -> String {
        let is_apart = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
        let mut text = self.redactor.redact(text).into_owned();
        for name in &self.users {
            let mut from = 0;
            while let Some(at) = text[from..].to_ascii_lowercase().find(name.as_str()) {
                let (start, end) = (from + at, from + at + name.len());
                let before = text[..start].chars().next_back();
                from = end;
                if is_apart(before) && is_apart(text[end..].chars().next()) {
                    text.replace_range(start..end, &self.stand_in(USER));
                    from = start + USER.0.len();
                }
            }
        }
        text
    }

    /// A foreign word, shown if `is_one` accepts it.
    pub(super) fn word(&self, text: &str, is_one: impl FnOnce(&str) -> bool) -> Option<Shown> {
        is_one(text).then(|| Shown::text(text))
    }

    /// A harness id from the store or the log: shown if a manifest declares it.
    pub(super) fn harness(&self, id: &str) -> Option<Shown> {
        let is_known = self.harnesses.iter().any(|known| known == id);
        is_known.then(|| self.name(id))
    }

    /// A message, part by part.
    pub(super) fn message(&self, message: &Message) -> Shown {
        let part = |part: &Part| match part {
            Part::Ours(_) | Part::Time(_) => part.to_string(),
            Part::Path(path) | Part::Quoted(path) => self.place_text(path),
            Part::Name(text) => self.name_text(text),
            Part::User(_) => self.stand_in(USER),
            Part::Failure(failure) => match failure.fault() {
                Some(fault) => fault.to_string(),
                None => self.stand_in(("…", TEXTS)),
            },
            Part::Foreign(_) => self.stand_in(("…", TEXTS)),
        };
        Shown::text(message.parts().iter().map(part).collect::<String>())
    }

    /// A part of a daemon's answer, parsed into a known type, so that its keys are known.
    pub(super) fn answer(&self, key: &str, value: &Value) -> Shown {
        Shown(match value {
            Value::Object(object) => {
                let entries = object.iter();
                api::object(entries.map(|(key, value)| (key.clone(), self.answer(key, value).0)))
            }
            Value::Array(values) => values
                .iter()
                .map(|value| self.answer(key, value).0)
                .collect(),
            Value::String(text) => match key {
                "socket" => self.place(Path::new(text)).0,
                "unit" | "label" => self.name(text).0,
                _ => {
                    let shown = self.word(text, is_answer);
                    shown.map_or_else(|| self.stand_in(("?", TEXTS)).into(), |shown| shown.0)
                }
            },
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        })
    }

    /// The value of a log field of this kind, or the kind of omission: any process of the user can write to a log.
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
            Kind::Verb => is_verb(&text),
            Kind::Harness => {
                return self
                    .harness(&text)
                    .ok_or("harnesses that no manifest names");
            }
            // The daemon logs only absolute paths.
            Kind::Path if text.starts_with('/') => return Ok(self.place(Path::new(&text))),
            Kind::Path | Kind::Reason | Kind::Text => false,
        };
        is_shown.then(|| Shown(value.clone())).ok_or(HIDDEN)
    }
}

/// True for values of a normal daemon: times, versions, known words.
fn is_answer(text: &str) -> bool {
    text.parse::<Timestamp>().is_ok()
        || is_version(text)
        || text == "sequence"
        || WriterState::parse(text).is_some()
        || StorageStatus::parse(text).is_some()
        || Manager::parse(text).is_some()
        || ManagerScope::parse(text).is_some()
}

/// The part of `path` below the directory `dir`, if it is inside.
fn below<'p>(path: &'p str, dir: &str) -> Option<&'p str> {
    let below = path.strip_prefix(dir)?;
    (below.is_empty() || below.starts_with('/')).then(|| below.trim_matches('/'))
}

fn in_coven_home(below: &str) -> &str {
    // Suffixes of a file's name: of a rotated log, and of files beside the database.
    let older = below.trim_end_matches(|c: char| c.is_ascii_digit());
    let ends = [".", "-wal", "-shm", "-generation"];
    let beside = ends.iter().find_map(|end| older.strip_suffix(end));
    let is_file = |name| Home::FILES.contains(&name);
    match below.is_empty() || is_file(below) || beside.is_some_and(is_file) {
        true => below,
        false if below.starts_with("adapters/") => "adapters/<file>",
        false => PATH.0,
    }
}

fn in_home(below: &str) -> &str {
    let (dir, file) = below.rsplit_once('/').unwrap_or(("", below));
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let is_program = BELOW_HOME.contains(&dir) && file.bytes().all(is_plain);
    match below.is_empty() || BELOW_HOME.contains(&below) || is_program {
        true => below,
        false => PATH.0,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::api::{Failure, Fault};
    use crate::observe::{LogEvent, message};
    use crate::rows::rows;

    fn privacy() -> Privacy {
        let identity = Identity {
            homes: vec!["/home/ada".into()],
            coven_homes: vec!["/srv/Ada's coven".into()],
            users: vec!["ada".into()],
        };
        Privacy::new(&identity, Redactor::new("").0, vec!["codex".into()])
    }

    #[test]
    fn only_the_harmless_part_of_a_path_stays() {
        for (path, shown) in rows(
            "/usr/local/bin/codex               -> /usr/local/bin/codex
             /usr/local/bin/ada-tool            -> /usr/local/bin/<user>-tool
             /usr/bin                           -> /usr/bin
             /usr/binary                        -> <path>
             /usr/bin/../../srv/x               -> <path>
             /opt/acme/bin/codex                -> <path>
             /home/ada                          -> ~
             /home/adam                         -> <path>
             /home/ada/.cargo/bin/coven         -> ~/.cargo/bin/coven
             /home/ada/.cargo/bin/my plan       -> ~/<path>
             /home/ada/.cargo/bin/x/y           -> ~/<path>
             /srv/Ada's coven/coven.sock        -> <coven-home>/coven.sock
             /srv/Ada's coven/logs/daemon.log.3 -> <coven-home>/logs/daemon.log.3
             /srv/Ada's coven/adapters/x.json   -> <coven-home>/adapters/<file>
             /srv/Ada's coven/plans.txt         -> <coven-home>/<path>
             /                                  -> /
             relative/plan                      -> <path>",
        ) {
            assert_eq!(privacy().place(Path::new(path)).json(), shown, "{path}");
        }
    }

    #[test]
    fn a_name_is_replaced_as_a_word_of_its_own() {
        let privacy = privacy();
        let secret = "ghp_0123456789abcdefghijklmnopqrstuvwxyz";
        for (name, shown) in [
            ("ada-ADA_ada.log", "<user>-<user>_<user>.log"),
            ("adapter canada éada", "adapter canada éada"),
            (secret, "[REDACTED:github]"),
        ] {
            assert_eq!(privacy.name(name).json(), shown);
        }
        assert_eq!(privacy.counts.borrow()[USER.1], 3);
    }

    #[test]
    fn a_message_keeps_the_words_of_the_program() {
        let gone = io::Error::from_raw_os_error(libc::ENOENT);
        let plan = Path::new("/srv/plan");
        let user = Message::user("eve".into());
        let locked = Failure::new("my plan is locked", Some(Fault::Sqlite(5)));
        for (message, shown) in [
            (
                message!("{}: {}", plan, &gone),
                "<path>: No such file or directory (os error 2)",
            ),
            (
                message!("mv {} away", Message::quoted(plan)),
                "mv <path> away",
            ),
            (message!("uid {}, {}", 7_u32, user), "uid 7, <user>"),
            (Message::failure(locked), "database is locked"),
            (Message::failure("database is locked".into()), "…"),
            (Message::foreign("database is locked"), "…"),
            (message!("{}", &io::Error::other("my plan")), "…"),
        ] {
            assert_eq!(privacy().message(&message).json(), shown);
        }
    }

    #[test]
    fn of_an_answer_only_known_words_are_kept() {
        let answer = serde_json::json!({ "socket": "/srv/x", "apiVersion": "coven.daemon.v1", "status": "plan", "label": "ada.job",
            "lastError": "disk I/O error", "lastErrno": 5, "at": "2026-05-09T06:43:00.007Z", "list": ["plan", 1, null, true], "state": "healthy" });
        let shown = serde_json::json!({ "socket": "<path>", "apiVersion": "coven.daemon.v1", "status": "?", "label": "<user>.job",
            "lastError": "?", "lastErrno": 5, "at": "2026-05-09T06:43:00.007Z", "list": ["?", 1, null, true], "state": "healthy" });
        assert_eq!(*privacy().answer("", &answer).json(), shown);
    }

    #[test]
    fn a_field_of_the_log_is_shown_as_its_kind_allows() {
        let privacy = privacy();
        // Any process of the user can write arbitrary text into the file.
        for declared in LogEvent::ALL {
            for (name, kind) in declared.fields {
                let shown = privacy.field(*kind, &"plan".into());
                assert!(shown.is_err(), "{} {name}: {shown:?}", declared.name);
            }
        }
        let field = |kind, value: Value| privacy.field(kind, &value).unwrap();
        assert_eq!(field(Kind::Path, "/srv/x".into()), "<path>".into());
        assert_eq!(field(Kind::Harness, "codex".into()), "codex".into());
        assert_eq!(field(Kind::Number, 7.into()), 7_u32.into());
    }
}
