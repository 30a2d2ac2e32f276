//! The home and what is in it: who owns it, and who else could reach into it.
//!
//! Trust is the file system (the contract): home 0700, the daemon's own files 0600, all of them this user's.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::probe::owner;
use crate::api::Check;
use crate::cli::output::quoted;
use crate::daemon::control::is_forwarded;
use crate::daemon::supervisor::command_by_hand;
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
            // Whoever made the connection to another machine has set the mode of its socket.
            checks.extend((!is_forwarded(home)).then(|| permissions(home)));
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

/// What is wrong with a file.
struct Fault {
    what: String,
    mend: Mend,
    path: PathBuf,
}

/// What mends it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mend {
    CloseDir,
    CloseFile,
    DenyWriting,
    Chown,
    /// No daemon starts: where it leads to is not looked at.
    ReplaceLink,
}

impl Mend {
    const ALL: [Self; 5] = [
        Self::CloseDir,
        Self::CloseFile,
        Self::DenyWriting,
        Self::Chown,
        Self::ReplaceLink,
    ];

    /// The command, to which the files are added.
    fn command(self, owner: u32) -> String {
        match self {
            Self::CloseDir => "chmod 700".into(),
            Self::CloseFile => "chmod 600".into(),
            Self::DenyWriting => "chmod go-w".into(),
            Self::Chown => format!("chown {owner}"),
            Self::ReplaceLink => format!(
                "{}, and move the file itself to where its link is:",
                command_by_hand("stop")
            ),
        }
    }
}

fn permissions(home: &Home) -> Check {
    let mut files: Vec<(PathBuf, Rule)> = Vec::new();
    for path in entries(home.path()) {
        let rule = rule(home, &path);
        files.push((path, rule));
    }
    let logs = entries(&home.logs()).into_iter();
    files.extend(logs.map(|path| (path, Rule::Private)));
    // A link there is a manifest that is refused: its own check says so.
    let manifests = entries(&home.adapters()).into_iter();
    let manifests = manifests.filter(|path| !path.is_symlink());
    files.extend(manifests.map(|path| (path, Rule::Unwritable)));
    let owner = owner(home);
    let each = files.iter();
    let faults: Vec<Fault> = each
        .flat_map(|(path, rule)| faults(path, *rule, owner))
        .collect();
    if faults.is_empty() {
        let message = format!("{} files, none open to others", files.len());
        return Check::pass(PERMISSIONS, message);
    }
    verdict(&faults, owner)
}

fn verdict(faults: &[Fault], owner: u32) -> Check {
    let named: Vec<&str> = faults
        .iter()
        .take(NAMED_MAX)
        .map(|fault| fault.what.as_str())
        .collect();
    let mut message = named.join("; ");
    if faults.len() > NAMED_MAX {
        message.push_str(&format!("; and {} more", faults.len() - NAMED_MAX));
    }
    let mends = Mend::ALL.into_iter().filter_map(|mend| {
        let files: Vec<String> = faults
            .iter()
            .filter(|fault| fault.mend == mend)
            .map(|fault| quoted(&fault.path))
            .collect();
        (!files.is_empty()).then(|| format!("{} {}", mend.command(owner), files.join(" ")))
    });
    let hint = mends.collect::<Vec<_>>().join("; ");
    Check::fail(PERMISSIONS, message, hint)
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

/// What is wrong with the file at `path`, which should be `owner`'s.
fn faults(path: &Path, rule: Rule, owner: u32) -> Vec<Fault> {
    // What is gone by now is no fault.
    let Ok(meta) = path.symlink_metadata() else {
        return Vec::new();
    };
    let (shown, mode) = (path.display(), meta.mode() & 0o7777);
    let is_private = rule == Rule::Private;
    let fault = |what: String, mend: Mend| Fault {
        what: format!("{shown} {what}"),
        mend,
        path: path.to_owned(),
    };
    if meta.is_symlink() {
        let link = fault("is a symbolic link".into(), Mend::ReplaceLink);
        return Vec::from_iter(is_private.then_some(link));
    }
    let mut faults = Vec::new();
    if meta.uid() != owner && (is_private || meta.uid() != 0) {
        let what = format!("belongs to uid {}", meta.uid());
        faults.push(fault(what, Mend::Chown));
    }
    let too_much = if is_private { 0o077 } else { 0o022 };
    if mode & too_much != 0 {
        let what = format!("is open to others (mode {mode:04o})");
        let mend = match (is_private, meta.is_dir()) {
            (true, true) => Mend::CloseDir,
            (true, false) => Mend::CloseFile,
            (false, _) => Mend::DenyWriting,
        };
        faults.push(fault(what, mend));
    }
    faults
}
