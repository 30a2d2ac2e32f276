//! The home and what is in it: who owns it, and who else could reach into it.
//!
//! Trust is the file system (the contract): home 0700, the daemon's own files 0600, all of them this user's.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::api::Check;
use crate::cli::output::quoted;
use crate::daemon::{Home, HomeError};
use crate::sys;

const HOME: &str = "home";
const PERMISSIONS: &str = "permissions";

/// How many files a message names.
const NAMED_MAX: usize = 5;

/// What the home lets this user do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Look at what is in it, if it is there.
    Open,
    /// Nothing.
    Closed,
}

/// The check of a home that is not to be had at all.
pub(super) fn unusable(err: &HomeError) -> Check {
    let id = match err {
        HomeError::SocketTooLong { .. } => super::daemon::SOCKET,
        _ => HOME,
    };
    Check::fail(id, err.to_string(), err.mend())
}

/// Whose home it is: one that is not there yet will be this user's.
pub(super) fn owner(home: &Home) -> u32 {
    let meta = home.path().symlink_metadata();
    meta.map_or_else(|_| sys::euid(), |meta| meta.uid())
}

pub(super) fn checks(home: &Home, checks: &mut Vec<Check>) -> Reach {
    let path = home.path().display();
    let meta = match home.path().symlink_metadata() {
        Ok(meta) => meta,
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            let message = format!("{path} is not there yet");
            let hint = "coven daemon start, which makes it; or set COVEN_HOME, if it is elsewhere";
            checks.push(Check::warn(HOME, message, hint));
            return Reach::Open;
        }
        Err(err) => {
            let hint = format!("look at {path} and the directories that lead to it");
            checks.push(Check::fail(HOME, format!("{path}: {err}"), hint));
            return Reach::Closed;
        }
    };
    checks.push(home_check(home, &meta));
    match std::fs::read_dir(home.path()) {
        Ok(_) => {
            checks.push(permissions(home));
            Reach::Open
        }
        Err(_) => Reach::Closed,
    }
}

fn home_check(home: &Home, meta: &Metadata) -> Check {
    let path = home.path().display();
    if meta.is_dir() && meta.uid() != sys::euid() {
        // A chown is not the first thing to try: whoever came here by sudo would take their own home from themselves.
        let (owner, own) = (meta.uid(), sys::euid());
        let message = format!(
            "{path} belongs to another user (uid {owner}; this is uid {own}): its daemon serves that user only"
        );
        let hint = format!(
            "run it as that user: sudo -u '#{owner}' env COVEN_HOME={0} coven doctor; or, if it is yours: chown -R {own} {0}",
            quoted(home.path())
        );
        return Check::fail(HOME, message, hint);
    }
    if let Err(err) = home.check() {
        return Check::fail(HOME, err.to_string(), err.mend());
    }
    // Mode 0700 at most; without the owner's own bits nothing works either.
    if meta.mode() & 0o700 != 0o700 {
        let mode = meta.mode() & 0o7777;
        let message = format!("{path} is closed to its owner (mode {mode:04o})");
        return Check::fail(HOME, message, format!("chmod 700 {}", quoted(home.path())));
    }
    Check::pass(HOME, format!("{path} (mode 0700, yours)"))
}

/// What a file must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// The daemon's own: nobody else's to read or write.
    Private,
    /// The user's: others may read it, and root may have put it there.
    Unwritable,
}

/// What is wrong with the files, by what mends it.
struct Faults {
    /// Whose all of them should be.
    owner: u32,
    found: Vec<String>,
    chmod_dir: Vec<String>,
    chmod_file: Vec<String>,
    chmod_own: Vec<String>,
    chown: Vec<String>,
    links: Vec<String>,
    looked_at: usize,
}

fn permissions(home: &Home) -> Check {
    let mut faults = Faults::new(owner(home));
    for path in entries(home.path()) {
        faults.look_at(&path, rule(home, &path));
    }
    for path in entries(&home.logs()) {
        faults.look_at(&path, Rule::Private);
    }
    for path in entries(&home.adapters()) {
        // A link there is a manifest that is refused: its own check says so.
        if !path.is_symlink() {
            faults.look_at(&path, Rule::Unwritable);
        }
    }
    faults.into_check()
}

/// Whether the daemon made it, and with which mode.
fn rule(home: &Home, path: &Path) -> Rule {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_own = name.starts_with("coven.") || name.starts_with("daemon.");
    match is_own || *path == home.logs() || *path == home.adapters() {
        true => Rule::Private,
        false => Rule::Unwritable,
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

impl Faults {
    fn new(owner: u32) -> Self {
        Self {
            owner,
            found: Vec::new(),
            chmod_dir: Vec::new(),
            chmod_file: Vec::new(),
            chmod_own: Vec::new(),
            chown: Vec::new(),
            links: Vec::new(),
            looked_at: 0,
        }
    }

    fn look_at(&mut self, path: &Path, rule: Rule) {
        // What is gone by now is no fault.
        let Ok(meta) = path.symlink_metadata() else {
            return;
        };
        self.looked_at += 1;
        let (shown, mode) = (path.display(), meta.mode() & 0o7777);
        let is_private = rule == Rule::Private;
        if meta.is_symlink() {
            if is_private {
                self.found.push(format!("{shown} is a symbolic link"));
                self.links.push(quoted(path));
            }
            return;
        }
        if meta.uid() != self.owner && (is_private || meta.uid() != 0) {
            self.found
                .push(format!("{shown} belongs to uid {}", meta.uid()));
            self.chown.push(quoted(path));
        }
        let too_much = if is_private { 0o077 } else { 0o022 };
        if mode & too_much != 0 {
            self.found
                .push(format!("{shown} is open to others (mode {mode:04o})"));
            match (is_private, meta.is_dir()) {
                (true, true) => self.chmod_dir.push(quoted(path)),
                (true, false) => self.chmod_file.push(quoted(path)),
                (false, _) => self.chmod_own.push(quoted(path)),
            }
        }
    }

    fn into_check(self) -> Check {
        if self.found.is_empty() {
            let message = format!("{} files, none open to others", self.looked_at);
            return Check::pass(PERMISSIONS, message);
        }
        let chown = format!("chown {}", self.owner);
        let mends = [
            ("chmod 700", self.chmod_dir),
            ("chmod 600", self.chmod_file),
            ("chmod go-w", self.chmod_own),
            (&chown, self.chown),
            (
                "with the daemon stopped, move the file itself to where its link is:",
                self.links,
            ),
        ]
        .into_iter()
        .filter(|(_, files)| !files.is_empty())
        .map(|(command, files)| format!("{command} {}", files.join(" ")));
        let hint = mends.collect::<Vec<_>>().join("; ");
        let more = self.found.len().saturating_sub(NAMED_MAX);
        let mut message = self.found[..self.found.len() - more].join("; ");
        if more > 0 {
            message.push_str(&format!("; and {more} more"));
        }
        Check::fail(PERMISSIONS, message, hint)
    }
}
