//! The home and what is in it: who owns it, and who else could reach into it.
//!
//! Trust is the file system (the contract): home 0700, the daemon's own files 0600, all of them this user's.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::check::{Check, Verdict, fail, pass, warn};
use super::{HOME, SOCKET};
use crate::daemon::service::command_by_hand;
use crate::daemon::status::is_forwarded;
use crate::daemon::{Home, HomeError};
use crate::observe::{Message, Mode, message};
use crate::sys;

/// How many files a message names.
const NAMED_MAX: usize = 5;

/// The check of a home that is not to be had at all.
pub(super) fn unusable(err: &HomeError) -> Check {
    let id = match err {
        HomeError::SocketTooLong { .. } => SOCKET,
        _ => HOME,
    };
    fail(err.message(), err.mend()).of(id)
}

/// Whether what is in the home can be looked at, if it is there.
pub(super) fn is_readable(home: &Home) -> bool {
    let path = home.path();
    let is_missing = |err: io::Error| err.kind() == io::ErrorKind::NotFound;
    path.symlink_metadata().is_err_and(is_missing) || path.read_dir().is_ok()
}

pub(super) fn home(home: &Home) -> Option<Verdict> {
    let path = home.path();
    Some(match path.symlink_metadata() {
        Ok(meta) => home_check(home, &meta),
        Err(err) if err.kind() == io::ErrorKind::NotFound => warn(
            message!("{} is not there yet", path),
            "coven daemon start, which makes it; or set COVEN_HOME, if it is elsewhere",
        ),
        Err(err) => {
            let hint = message!("look at {} and the directories that lead to it", path);
            fail(message!("{}: {}", path, &err), hint)
        }
    })
}

fn home_check(home: &Home, meta: &Metadata) -> Verdict {
    let path = home.path();
    if meta.is_dir() && meta.uid() != sys::euid() {
        // A chown is not the first thing to try: whoever came here by sudo would take their own home from themselves.
        let (owner, own) = (meta.uid(), sys::euid());
        let message = message!(
            "{} belongs to another user (uid {}; this is uid {}): its daemon serves that user only",
            path,
            owner,
            own
        );
        let hint = message!(
            "run it as that user: sudo -u '#{}' env COVEN_HOME={} coven doctor; or, if it is yours: chown -R {} {}",
            owner,
            Message::quoted(home.path()),
            own,
            Message::quoted(home.path())
        );
        return fail(message, hint);
    }
    if let Err(err) = home.check() {
        return fail(err.message(), err.mend());
    }
    // Mode 0700 at most; without the owner's own bits nothing works either.
    if meta.mode() & 0o700 != 0o700 {
        let mode = meta.mode() & 0o7777;
        let message = message!("{} is closed to its owner (mode {})", path, Mode(mode));
        return fail(
            message,
            message!("chmod 700 {}", Message::quoted(home.path())),
        );
    }
    pass(message!("{} (mode 0700, yours)", path))
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
    what: Message,
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
    fn command(self, owner: u32) -> Message {
        match self {
            Self::CloseDir => "chmod 700".into(),
            Self::CloseFile => "chmod 600".into(),
            Self::DenyWriting => "chmod go-w".into(),
            Self::Chown => message!("chown {}", owner),
            Self::ReplaceLink => message!(
                "{}, and move the file itself to where its link is:",
                command_by_hand("stop")
            ),
        }
    }
}

pub(super) fn permissions(home: &Home) -> Option<Verdict> {
    // Whoever made the connection to another machine has set the mode of its socket.
    if home.path().read_dir().is_err() || is_forwarded(home) {
        return None;
    }
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
    let owner = home.owner();
    let each = files.iter();
    let faults: Vec<Fault> = each
        .flat_map(|(path, rule)| faults(path, *rule, owner))
        .collect();
    if faults.is_empty() {
        let message = message!("{} files, none open to others", files.len());
        return Some(pass(message));
    }
    Some(verdict(&faults, owner))
}

fn verdict(faults: &[Fault], owner: u32) -> Verdict {
    let named = faults.iter().take(NAMED_MAX);
    let more = faults.len().checked_sub(NAMED_MAX).filter(|&more| more > 0);
    let more = more.map(|more| message!("and {} more", more));
    let message = Message::join(named.map(|fault| fault.what.clone()).chain(more), "; ");
    let mends = Mend::ALL.into_iter().filter_map(|mend| {
        let files: Vec<Message> = faults
            .iter()
            .filter(|fault| fault.mend == mend)
            .map(|fault| Message::quoted(&fault.path))
            .collect();
        (!files.is_empty())
            .then(|| message!("{} {}", mend.command(owner), Message::join(files, " ")))
    });
    fail(message, Message::join(mends, "; "))
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
    paths.sort_unstable();
    paths
}

/// What is wrong with the file at `path`, which should be `owner`'s.
fn faults(path: &Path, rule: Rule, owner: u32) -> Vec<Fault> {
    // What is gone by now is no fault.
    let Ok(meta) = path.symlink_metadata() else {
        return Vec::new();
    };
    let mode = meta.mode() & 0o7777;
    let is_private = rule == Rule::Private;
    let fault = |what: Message, mend: Mend| Fault {
        what: message!("{} {}", path, what),
        mend,
        path: path.to_owned(),
    };
    if meta.is_symlink() {
        let link = fault("is a symbolic link".into(), Mend::ReplaceLink);
        return Vec::from_iter(is_private.then_some(link));
    }
    let mut faults = Vec::new();
    if meta.uid() != owner && (is_private || meta.uid() != 0) {
        let what = message!("belongs to uid {}", meta.uid());
        faults.push(fault(what, Mend::Chown));
    }
    let too_much = if is_private { 0o077 } else { 0o022 };
    if mode & too_much != 0 {
        let what = message!("is open to others (mode {})", Mode(mode));
        let mend = match (is_private, meta.is_dir()) {
            (true, true) => Mend::CloseDir,
            (true, false) => Mend::CloseFile,
            (false, _) => Mend::DenyWriting,
        };
        faults.push(fault(what, mend));
    }
    faults
}
