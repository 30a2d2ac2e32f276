//! Paths in a text, reduced to what says nothing about their owner. Pure.
//!
//! A path is private unless it is known not to be: system directories, where programs are usually installed, and the
//! files of a `COVEN_HOME`.

use super::names::percent_encoded;

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
    "logs/daemon.log", "logs/cli.log", "adapters", "redact.txt",
];

/// What a path was reduced to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reduced {
    Home,
    CovenHome,
    Other,
}

/// The directories that are known by name.
pub(super) struct Dirs {
    known: Vec<(String, Kind)>,
    /// The same as URLs and JSON write them, with what stands in their place.
    escaped: Vec<(String, &'static str, Reduced)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Home,
    /// `COVEN_HOME`, and what it is called.
    CovenHome(&'static str),
    Other,
}

impl Dirs {
    pub(super) fn new(homes: &[String], coven_homes: &[String], others: &[String]) -> Self {
        let is_default = |dir: &String| {
            homes
                .iter()
                .any(|home| dir.strip_prefix(home.as_str()) == Some("/.coven"))
        };
        let name = match coven_homes.iter().any(is_default) {
            true => "~/.coven",
            false => "<coven-home>",
        };
        let kinds = [
            (coven_homes, Kind::CovenHome(name)),
            (homes, Kind::Home),
            (others, Kind::Other),
        ];
        let mut known = Vec::new();
        for (dirs, kind) in kinds {
            for dir in dirs {
                let dir = dir.trim_end_matches('/');
                // Everything is below `/`: a user with such a home has none.
                if dir.len() > 1
                    && dir.starts_with('/')
                    && known.iter().all(|(other, _)| other != dir)
                {
                    known.push((dir.to_owned(), kind));
                }
            }
        }
        known.sort_by_key(|(dir, _)| std::cmp::Reverse(dir.len()));
        let escaped = known.iter().flat_map(|(dir, kind)| {
            let (name, what) = kind.name();
            let forms = [
                percent_encoded(dir, ""),
                percent_encoded(dir, "/"),
                dir.replace('/', "\\/"),
            ];
            let forms: Vec<String> = forms.into_iter().filter(|form| form != dir).collect();
            forms.into_iter().map(move |form| (form, name, what))
        });
        Self {
            escaped: escaped.collect(),
            known,
        }
    }

    /// `path`, reduced.
    pub(super) fn reduce(&self, path: &str, mut found: impl FnMut(Reduced)) -> String {
        if !path.starts_with('/') {
            return path.to_owned();
        }
        let (shown, what) = self.shown(path);
        what.into_iter().for_each(&mut found);
        shown
    }

    /// `text` with every absolute path in it reduced.
    pub(super) fn reduce_all(&self, text: &str, found: impl FnMut(Reduced)) -> String {
        self.scan(text, true, found)
    }

    /// `text` with the paths in it reduced that begin with a directory which is known by name and is private.
    pub(super) fn reduce_known(&self, text: &str, found: impl FnMut(Reduced)) -> String {
        self.scan(text, false, found)
    }

    fn scan(&self, text: &str, all: bool, mut found: impl FnMut(Reduced)) -> String {
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let is_apart = text[..at].chars().next_back().is_none_or(|c| !is_inside(c));
            if let Some((form, name, what)) = self.escaped_at(&text[at..]) {
                found(*what);
                out.push_str(name);
                at += form.len();
                if begins_escaped(&text[at..]) {
                    out.push_str("/<path>");
                    at += end_of_word(&text[at..]);
                }
                continue;
            }
            if all && is_apart && begins_escaped(&text[at..]) {
                found(Reduced::Other);
                out.push_str("<path>");
                at += end_of_word(&text[at..]);
                continue;
            }
            let begins = c == '/' && is_apart;
            let known = begins.then(|| self.known_at(&text[at..])).flatten();
            if !begins || !(all || known.is_some()) {
                out.push(c);
                at += c.len_utf8();
                continue;
            }
            let start = known.map_or(0, |(length, _)| length);
            let below = &text[at + start..];
            let length = start
                + if below.starts_with('/') {
                    end_of_path(below)
                } else {
                    0
                };
            let (shown, what) = self.shown(&text[at..at + length]);
            what.into_iter().for_each(&mut found);
            out.push_str(&shown);
            at += length;
        }
        out
    }

    fn escaped_at(&self, text: &str) -> Option<&(String, &'static str, Reduced)> {
        self.escaped.iter().find(|(form, ..)| {
            let head = text.as_bytes().get(..form.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(form.as_bytes()))
        })
    }

    /// The known directory that `text` begins with: its length and kind.
    fn known_at(&self, text: &str) -> Option<(usize, Kind)> {
        let known = self.known.iter().find(|(dir, _)| is_below(text, dir))?;
        Some((known.0.len(), known.1))
    }

    /// What is shown of `path`, and what that was reduced from.
    fn shown(&self, path: &str) -> (String, Option<Reduced>) {
        let below = |length: usize| path[length..].trim_matches('/');
        // A directory of a PATH can lie in a home: the home decides.
        let mut homes = self.known.iter().filter(|(_, kind)| *kind != Kind::Other);
        let home = homes.find(|(dir, _)| is_below(path, dir));
        match home.map(|(dir, kind)| (dir.len(), *kind)) {
            Some((length, kind @ Kind::CovenHome(_))) => {
                let (name, what) = kind.name();
                (join(name, coven_file(below(length))), Some(what))
            }
            Some((length, Kind::Home)) => {
                (join("~", home_file(below(length))), Some(Reduced::Home))
            }
            _ if path.len() == 1 => (path.to_owned(), None),
            _ if is_system(path) => (path.to_owned(), None),
            _ => ("<path>".to_owned(), Some(Reduced::Other)),
        }
    }
}

impl Kind {
    fn name(self) -> (&'static str, Reduced) {
        match self {
            Self::Home => ("~", Reduced::Home),
            Self::CovenHome("<coven-home>") => ("<coven-home>", Reduced::CovenHome),
            Self::CovenHome(name) => (name, Reduced::Home),
            Self::Other => ("<path>", Reduced::Other),
        }
    }
}

fn join(dir: &str, below: String) -> String {
    match below.as_str() {
        "" => dir.to_owned(),
        below => format!("{dir}/{below}"),
    }
}

fn coven_file(below: &str) -> String {
    let older = below.trim_end_matches(|c: char| c.is_ascii_digit());
    let plain = older.strip_suffix('.').unwrap_or(below);
    if below.is_empty() || BELOW_COVEN_HOME.contains(&plain) {
        return below.to_owned();
    }
    let is_manifest = below.starts_with("adapters/");
    if is_manifest {
        "adapters/<file>"
    } else {
        "<path>"
    }
    .to_owned()
}

fn home_file(below: &str) -> String {
    let (dir, file) = below.rsplit_once('/').unwrap_or(("", below));
    let is_kept = BELOW_HOME.contains(&below) || (BELOW_HOME.contains(&dir) && is_plain(file));
    if below.is_empty() || is_kept {
        below
    } else {
        "<path>"
    }
    .to_owned()
}

fn is_plain(file: &str) -> bool {
    file.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn is_system(path: &str) -> bool {
    !path.split('/').any(|part| part == "..") && SYSTEM.iter().any(|dir| is_below(path, dir))
}

/// Whether `text` begins with the directory `dir`, and not with a longer name.
fn is_below(text: &str, dir: &str) -> bool {
    let Some(rest) = text.strip_prefix(dir) else {
        return false;
    };
    let mut rest = rest.chars();
    match rest.next() {
        None => true,
        // The end of a sentence, not of a name.
        Some('.') => !rest.next().is_some_and(is_inside),
        Some(c) => !is_inside(c) || c == '/',
    }
}

/// Whether a slash begins `text`, as URLs or JSON can write it.
fn begins_escaped(text: &str) -> bool {
    ["%2F", "%2f", "\\/"]
        .iter()
        .any(|slash| text.starts_with(slash))
}

/// What can stand in the middle of a path.
fn is_inside(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '~' | '%' | '+' | '@')
}

/// Where a path ends that is written without spaces.
fn end_of_word(text: &str) -> usize {
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '&' | ',' | ';');
    text.find(ends).unwrap_or(text.len())
}

/// Where a path that has begun ends. A space can be in one: it goes on if a slash comes before anything that ends it.
fn end_of_path(text: &str) -> usize {
    let ends = |c: char| {
        c.is_control()
            || matches!(
                c,
                '"' | '\''
                    | '`'
                    | ':'
                    | ';'
                    | ','
                    | '|'
                    | '<'
                    | '>'
                    | '('
                    | ')'
                    | '['
                    | ']'
                    | '{'
                    | '}'
            )
    };
    let stop = text.find(ends).unwrap_or(text.len());
    // Another path begins behind a space.
    let next = [" /", " ~"]
        .into_iter()
        .filter_map(|begin| text[..stop].find(begin));
    let stop = next.min().unwrap_or(stop);
    let from = text[..stop].rfind('/').unwrap_or(0);
    let end = text[from..stop]
        .find(char::is_whitespace)
        .map_or(stop, |at| from + at);
    // The full stop of a sentence.
    text[..end].trim_end_matches('.').len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs(homes: &[&str], coven_home: &str) -> Dirs {
        let homes: Vec<String> = homes.iter().map(|&home| home.to_owned()).collect();
        Dirs::new(
            &homes,
            &[coven_home.to_owned()],
            &[
                "/mnt/my tools".to_owned(),
                "/home/ada/.local/bin".to_owned(),
            ],
        )
    }

    #[test]
    fn only_what_is_known_to_be_harmless_stays() {
        let dirs = dirs(&["/home/ada", "/root"], "/root/.coven");
        for (path, shown) in [
            ("/usr/local/bin/codex", "/usr/local/bin/codex"),
            ("/usr/bin", "/usr/bin"),
            ("/usr/binary", "<path>"),
            ("/usr/bin/../../srv/x", "<path>"),
            ("/opt/acme/bin/codex", "<path>"),
            ("/home/eve/x", "<path>"),
            ("/home/ada", "~"),
            ("/home/ada/", "~"),
            ("/home/adam", "<path>"),
            ("/home/ada/.cargo/bin/coven", "~/.cargo/bin/coven"),
            ("/home/ada/.local/bin/codex", "~/.local/bin/codex"),
            ("/home/ada/.cargo/bin/my plan", "~/<path>"),
            ("/home/ada/.cargo/bin/x/y", "~/<path>"),
            ("/home/ada/projects/merger", "~/<path>"),
            ("/root/.coven", "~/.coven"),
            (
                "/root/.coven/coven.sqlite3-wal",
                "~/.coven/coven.sqlite3-wal",
            ),
            (
                "/root/.coven/logs/daemon.log.3",
                "~/.coven/logs/daemon.log.3",
            ),
            (
                "/root/.coven/adapters/acme.json",
                "~/.coven/adapters/<file>",
            ),
            ("/root/.coven/plans.txt", "~/.coven/<path>"),
            ("/", "/"),
            ("relative", "relative"),
        ] {
            assert_eq!(dirs.reduce(path, |_| {}), shown);
        }
    }

    #[test]
    fn every_path_in_a_text_is_reduced_to_its_end() {
        let dirs = dirs(&["/home/ada"], "/var/lib/coven");
        for (text, shown) in [
            ("/srv/x: no such file", "<path>: no such file"),
            ("in /srv/x, and /srv/y.", "in <path>, and <path>."),
            ("/srv/my plan/x is gone", "<path> is gone"),
            ("/mnt/my tools and/or", "<path> and/or"),
            (
                "PATH=/usr/bin:/home/ada/p:/bin",
                "PATH=/usr/bin:~/<path>:/bin",
            ),
            (
                "/var/lib/coven/coven.sock (pid 7)",
                "<coven-home>/coven.sock (pid 7)",
            ),
            (
                "mv /var/lib/coven /var/lib/coven.old",
                "mv <coven-home> <path>",
            ),
            ("\"/home/ada/x y\"", "\"~/<path> y\""),
            ("read and/or write", "read and/or write"),
            ("%2Fhome%2Fada%2Fx%2Fy \\/home\\/ada", "~/<path> ~"),
            ("url=%2Fsrv%2Fx&y \\/srv\\/x", "url=<path>&y <path>"),
        ] {
            assert_eq!(dirs.reduce_all(text, |_| {}), shown);
        }
    }

    #[test]
    fn elsewhere_only_what_is_known_by_name_is_looked_for() {
        let dirs = dirs(&["/home/ada"], "/var/lib/coven");
        let text = "GET /sessions/:id /home/ada/x /var/lib/coven/coven.sock ~/x";
        let shown = "GET /sessions/:id ~/<path> <coven-home>/coven.sock ~/x";
        assert_eq!(dirs.reduce_known(text, |_| {}), shown);
    }

    #[test]
    fn a_home_of_everybody_is_nobodys() {
        let dirs = dirs(&["/", ""], "/var/lib/coven");
        assert_eq!(dirs.reduce("/usr/bin/x", |_| {}), "/usr/bin/x");
        assert_eq!(dirs.reduce("/srv", |_| {}), "<path>");
    }
}
