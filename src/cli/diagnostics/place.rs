//! Paths and names in a report: what of them says nothing about their owner.
//!
//! A path is private unless it is known not to be: system directories, where programs are usually installed, and the
//! files of a `COVEN_HOME`.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;

use super::identity::Identity;
use crate::redact::Redactor;

/// What stays as it is, with what is below it.
#[rustfmt::skip]
const SYSTEM: &[&str] = &[
    "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/usr/libexec", "/usr/share", "/usr/local/bin",
    "/usr/local/sbin", "/usr/local/lib", "/usr/games", "/bin", "/sbin", "/lib", "/lib64", "/proc", "/sys", "/dev",
    "/etc/systemd", "/etc/os-release", "/nix/store", "/nix/var/nix/profiles/default", "/run/current-system",
    "/snap/bin", "/opt/homebrew/bin", "/opt/homebrew/Cellar", "/home/linuxbrew/.linuxbrew/bin",
    "/home/linuxbrew/.linuxbrew/Cellar", "/System", "/Library/LaunchAgents", "/Library/LaunchDaemons",
];

/// Below a home directory: where programs and units are usually put. A file in one keeps its name.
#[rustfmt::skip]
const BELOW_HOME: &[&str] = &[
    ".cargo/bin", ".local/bin", "bin", ".nix-profile/bin", ".bun/bin", ".deno/bin", ".npm-global/bin", ".volta/bin",
    ".asdf/shims", ".local/share/mise/shims", ".config/systemd/user", "Library/LaunchAgents",
];

/// The files of a `COVEN_HOME`.
#[rustfmt::skip]
const BELOW_COVEN_HOME: &[&str] = &[
    "coven.sock", "coven.sqlite3", "coven.sqlite3-wal", "coven.sqlite3-shm", "coven.sqlite3-generation", "daemon.json", "daemon.lock", "logs",
    "logs/daemon.log", "logs/cli.log", "logs/last-failure", "logs/place", "adapters", "redact.txt", "env",
];

/// A user or host of such a name is nobody's secret: in a path or a command the word is what it always is.
#[rustfmt::skip]
const ORDINARY: &[&str] = &[
    "app", "bin", "build", "cargo", "claude", "codex", "copilot", "coven", "debug", "gemini", "hello", "home", "host", "lib", "local",
    "localhost", "nix", "opencode", "opt", "path", "release", "root", "sbin", "service", "share", "srv", "src", "systemd", "target",
    "tmp", "user", "usr", "var",
];

const HOME: &str = "home directory, as ~";
pub(super) const USER: (&str, &str) = ("<user>", "user name, as <user>");
const HOST: (&str, &str) = ("<host>", "host name, as <host>");

/// What stands in the place of something, and what is counted for it.
pub(super) type StandIn = (&'static str, &'static str);

/// Knows the places and names that are private, and counts what it leaves out.
pub(super) struct Places {
    redactor: Redactor,
    /// Directories with what stands in their place, the longest first.
    dirs: Vec<(String, &'static str)>,
    /// Names in lower case with what stands in their place, the longest first.
    names: Vec<(String, StandIn)>,
    counts: RefCell<BTreeMap<&'static str, u64>>,
}

/// The directories of `identity` with what stands in their place, the longest first.
fn known_dirs(identity: &Identity) -> Vec<(String, &'static str)> {
    let below_home = |dir: &String| {
        let mut homes = identity.homes.iter();
        homes.any(|home| dir.strip_prefix(home.as_str()) == Some("/.coven"))
    };
    let coven_home = match identity.coven_homes.iter().any(below_home) {
        true => "~/.coven",
        false => "<coven-home>",
    };
    let dirs = identity.coven_homes.iter().map(|dir| (dir, coven_home));
    let dirs = dirs.chain(identity.homes.iter().map(|dir| (dir, "~")));
    let dirs = dirs.map(|(dir, stands)| (dir.trim_end_matches('/').to_owned(), stands));
    // Everything is below `/`: a user with such a home has none.
    let mut dirs: Vec<_> = dirs
        .filter(|(dir, _)| dir.len() > 1 && dir.starts_with('/'))
        .collect();
    dirs.sort_by_key(|(dir, _)| Reverse(dir.len()));
    dirs
}

/// The names of `identity` in lower case with what stands in their place, the longest first.
fn known_names(identity: &Identity) -> Vec<(String, StandIn)> {
    let users = identity.users.iter().map(|name| (name, USER));
    let names = users.chain(identity.hosts.iter().map(|name| (name, HOST)));
    let names = names.map(|(name, stands)| (name.trim().to_ascii_lowercase(), stands));
    let is_name = |name: &str| name.chars().any(char::is_alphabetic) && !ORDINARY.contains(&name);
    let mut names: Vec<_> = names.filter(|(name, _)| is_name(name)).collect();
    names.sort_by_key(|(name, _)| Reverse(name.len()));
    names
}

impl Places {
    pub(super) fn new(identity: &Identity, redactor: Redactor) -> Self {
        Self {
            redactor,
            dirs: known_dirs(identity),
            names: known_names(identity),
            counts: RefCell::default(),
        }
    }

    /// Counts what was left out elsewhere.
    pub(super) fn count(&self, what: &'static str, n: u64) {
        if n > 0 {
            *self.counts.borrow_mut().entry(what).or_default() += n;
        }
    }

    /// Everything that was left out or replaced, and how often; also what was looked for and not found.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        let counts = self.counts.borrow();
        let counts = counts.iter().map(|(what, n)| ((*what).to_owned(), *n));
        let looked_for = [HOME, USER.1, HOST.1, "secrets"].map(|what| (what.to_owned(), 0));
        let mut counts: BTreeMap<String, u64> = looked_for.into_iter().chain(counts).collect();
        for (kind, n) in self.redactor.counts() {
            *counts.entry("secrets".into()).or_default() += n;
            counts.insert(format!("secrets: {kind}"), n);
        }
        counts
    }

    /// Does `work`, whose counts are those of something that was counted before.
    pub(super) fn uncounted<T>(&self, work: impl FnOnce() -> T) -> T {
        let counts = self.counts.borrow().clone();
        let done = work();
        self.counts.replace(counts);
        done
    }

    /// The path of our own program: all of it, but for the home and the names in it.
    pub(super) fn install(&self, path: &Path) -> String {
        let text = self.redactor.redact(&path.to_string_lossy()).into_owned();
        let (root, below) = self.known(&text).unwrap_or(("", &text));
        let parts: Vec<&str> = below.split('/').filter(|part| !part.is_empty()).collect();
        let is_below_homes = root.is_empty() && matches!(parts.first(), Some(&"home" | &"Users"));
        let system = system(&text).map_or(0, |(dir, _)| dir.split('/').count() - 1);
        let shown = parts.iter().enumerate().map(|(at, &part)| {
            // A program that is named like its user stays readable. What Linux puts behind the name of a file that is no
            // more is proc(5)'s, /proc/pid/exe.
            let program = part.trim_end_matches(" (deleted)");
            let is_program = at + 1 == parts.len() && self.is_name(program);
            match part {
                _ if at < system || is_program => part.to_owned(),
                _ if at == 1 && is_below_homes => self.stand_in(USER),
                _ => self.name(part),
            }
        });
        let shown: Vec<String> = std::iter::once(root.to_owned()).chain(shown).collect();
        shown.join("/")
    }

    /// A path: only what is known to say nothing of its owner.
    pub(super) fn place(&self, path: &Path) -> String {
        let text = self.redactor.redact(&path.to_string_lossy()).into_owned();
        let is_up = text.split('/').any(|part| part == "..");
        if let Some((stands, below)) = self.known(&text).filter(|_| !is_up) {
            let below = match stands {
                "~" => in_home(below),
                _ => in_coven_home(below),
            };
            let separator = if below.is_empty() { "" } else { "/" };
            return format!("{stands}{separator}{}", self.name(below));
        }
        match system(&text).filter(|_| !is_up) {
            Some((dir, "")) => dir.to_owned(),
            Some((dir, below)) => format!("{dir}/{}", self.name(below)),
            None if text == "/" || text.is_empty() => text,
            None => self.stand_in(("<path>", "paths, as <path>")),
        }
    }

    /// What stands for the home in `path`, and what is below that.
    fn known<'p>(&self, path: &'p str) -> Option<(&'static str, &'p str)> {
        let mut dirs = self.dirs.iter();
        let (stands, below) = dirs.find_map(|(dir, stands)| Some((*stands, below(path, dir)?)))?;
        let what = match stands {
            "<coven-home>" => "COVEN_HOME, as <coven-home>",
            _ => HOME,
        };
        self.count(what, 1);
        Some((stands, below))
    }

    pub(super) fn stand_in(&self, (stands, what): StandIn) -> String {
        self.count(what, 1);
        stands.to_owned()
    }

    fn is_name(&self, text: &str) -> bool {
        let text = text.to_ascii_lowercase();
        self.names.iter().any(|(name, _)| *name == text)
    }

    /// `text` without secrets, and without names where they are words of their own.
    pub(super) fn name(&self, text: &str) -> String {
        let is_apart = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
        let mut text = self.redactor.redact(text).into_owned();
        for (name, stands) in &self.names {
            let mut from = 0;
            while let Some(at) = text[from..].to_ascii_lowercase().find(name.as_str()) {
                let (start, end) = (from + at, from + at + name.len());
                let before = text[..start].chars().next_back();
                from = end;
                if is_apart(before) && is_apart(text[end..].chars().next()) {
                    text.replace_range(start..end, &self.stand_in(*stands));
                    from = start + stands.0.len();
                }
            }
        }
        text
    }
}

/// The system's directory that `path` is in, and what is below that.
fn system(path: &str) -> Option<(&'static str, &str)> {
    let mut dirs = SYSTEM.iter();
    dirs.find_map(|dir| Some((*dir, below(path, dir)?)))
}

/// What is below the directory `dir` in `path`, if it is in there.
fn below<'p>(path: &'p str, dir: &str) -> Option<&'p str> {
    let below = path.strip_prefix(dir)?;
    (below.is_empty() || below.starts_with('/')).then(|| below.trim_matches('/'))
}

fn in_coven_home(below: &str) -> &str {
    let older = below.trim_end_matches(|c: char| c.is_ascii_digit());
    let plain = older.strip_suffix('.').unwrap_or(below);
    match below.is_empty() || BELOW_COVEN_HOME.contains(&plain) {
        true => below,
        false if below.starts_with("adapters/") => "adapters/<file>",
        false => "<path>",
    }
}

fn in_home(below: &str) -> &str {
    let (dir, file) = below.rsplit_once('/').unwrap_or(("", below));
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let is_program = BELOW_HOME.contains(&dir) && file.bytes().all(is_plain);
    match below.is_empty() || BELOW_HOME.contains(&below) || is_program {
        true => below,
        false => "<path>",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(user: &str, host: &str, home: &str) -> Places {
        let list = |text: &str| vec![text.to_owned()];
        let identity = Identity {
            homes: list(home),
            coven_homes: list("/srv/Ada's coven"),
            users: list(user),
            hosts: list(host),
        };
        Places::new(&identity, Redactor::new("").0)
    }

    #[test]
    fn of_a_path_only_what_is_known_to_be_harmless_stays() {
        let places = places("ada", "engine", "/home/ada");
        for (path, shown) in [
            ("/usr/local/bin/codex", "/usr/local/bin/codex"),
            ("/usr/local/bin/ada-tool", "/usr/local/bin/<user>-tool"),
            ("/usr/bin", "/usr/bin"),
            ("/usr/binary", "<path>"),
            ("/usr/bin/../../srv/x", "<path>"),
            ("/opt/acme/bin/codex", "<path>"),
            ("/home/ada", "~"),
            ("/home/adam", "<path>"),
            ("/home/ada/.cargo/bin/coven", "~/.cargo/bin/coven"),
            ("/home/ada/.cargo/bin/my plan", "~/<path>"),
            ("/home/ada/.cargo/bin/x/y", "~/<path>"),
            ("/srv/Ada's coven/coven.sock", "<coven-home>/coven.sock"),
            (
                "/srv/Ada's coven/logs/daemon.log.3",
                "<coven-home>/logs/daemon.log.3",
            ),
            (
                "/srv/Ada's coven/adapters/x.json",
                "<coven-home>/adapters/<file>",
            ),
            ("/srv/Ada's coven/plans.txt", "<coven-home>/<path>"),
            ("/", "/"),
            ("relative/plan", "<path>"),
        ] {
            assert_eq!(places.place(Path::new(path)), shown, "{path}");
        }
    }

    #[test]
    fn the_install_path_is_shown_without_home_user_and_host() {
        for case in [
            "ada|engine|/home/ada|/home/ada/.cargo/bin/coven|~/.cargo/bin/coven",
            "ada|engine|/home/ada|/home/ada/src/target/release/coven|~/src/target/release/coven",
            "ada|engine|/home/ada|/home/eve/.cargo/bin/coven|/home/<user>/.cargo/bin/coven",
            "ada|engine|/home/ada|/Users/eve/bin/coven|/Users/<user>/bin/coven",
            "ada|engine|/home/ada|/opt/engine/ada/bin/coven|/opt/<host>/<user>/bin/coven",
            "ada|engine|/home/ada|/opt/ENGINE-2/bin/coven|/opt/<host>-2/bin/coven",
            "ada|engine|/home/ada|/data/bin/coven (deleted)|/data/bin/coven (deleted)",
            "ada|engine|/home/ada|/usr/local/bin/ada|/usr/local/bin/ada",
            "ada|engine|/home/ada|/opt/tools/ada (deleted)|/opt/tools/ada (deleted)",
            "coven|bin|/home/coven|/usr/local/bin/coven|/usr/local/bin/coven",
            "coven|bin|/home/coven|/home/coven/.cargo/bin/coven|~/.cargo/bin/coven",
            "coven|bin|/home/coven|/opt/coven/bin/coven|/opt/coven/bin/coven",
            "coven|x|/var/lib/coven|/home/coven/bin/coven|/home/<user>/bin/coven",
            "games|sbin|/|/usr/games/coven|/usr/games/coven",
            "ada|x|/|/home/linuxbrew/.linuxbrew/bin/coven|/home/linuxbrew/.linuxbrew/bin/coven",
        ] {
            let case: Vec<&str> = case.split('|').collect();
            let shown = places(case[0], case[1], case[2]).install(Path::new(case[3]));
            assert_eq!(shown, case[4], "{case:?}");
        }
    }

    #[test]
    fn a_name_is_replaced_as_a_word_of_its_own() {
        let places = places("ada", "in", "/home/ada");
        let secret = "ghp_0123456789abcdefghijklmnopqrstuvwxyz";
        for (name, shown) in [
            ("ada-ADA_ada.log", "<user>-<user>_<user>.log"),
            ("adapter canada éada", "adapter canada éada"),
            (secret, "[REDACTED:github]"),
        ] {
            assert_eq!(places.name(name), shown);
        }
        assert_eq!(places.counts()["user name, as <user>"], 3);
    }
}
