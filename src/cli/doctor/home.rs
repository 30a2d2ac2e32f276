//! Checks of the home and its files: owners and modes.
//!
//! Access is controlled by the file system (the contract): the home has mode 0700, the daemon's files 0600, and all
//! belong to this user.

use std::collections::BTreeMap;
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

/// Most files named in a message.
const NAMED_MAX: usize = 5;

/// The check of a home that cannot be used.
pub(super) fn unusable(err: &HomeError) -> Check {
    let id = match err {
        HomeError::SocketTooLong { .. } => SOCKET,
        _ => HOME,
    };
    fail(err.message(), err.mend()).of(id)
}

/// True if the home's files can be inspected, or if there is no home.
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
            message!("{} does not exist yet", path),
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
        // No chown as first advice: a user of sudo would lose their own home.
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
    // At most mode 0700; the owner's bits are required.
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

/// A wrong owner or mode, and its repair.
struct Flaw {
    what: Message,
    mend: Mend,
    path: PathBuf,
}

/// Kind of repair, in the order of the hint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mend {
    CloseDir,
    CloseFile,
    DenyWriting,
    Chown,
    /// Repairs a link on which no daemon starts; its target is not inspected.
    ReplaceLink,
}

impl Mend {
    /// The command; the files are appended.
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
    // The user who made the connection has set the mode of the forwarded socket.
    if home.path().read_dir().is_err() || is_forwarded(home) {
        return None;
    }
    let own = entries(home.path()).into_iter();
    let own = own.map(|path| (is_private(home, &path), path));
    let logs = entries(&home.logs()).into_iter().map(|path| (true, path));
    // A link is a rejected manifest, which has its own check.
    let manifests = entries(&home.adapters()).into_iter();
    let manifests = manifests
        .filter(|path| !path.is_symlink())
        .map(|path| (false, path));
    let files: Vec<(bool, PathBuf)> = own.chain(logs).chain(manifests).collect();
    let owner = home.owner();
    let each = files.iter();
    let faults: Vec<Flaw> = each
        .flat_map(|(is_private, path)| faults(path, *is_private, owner))
        .collect();
    if faults.is_empty() {
        let message = message!("{} files, none open to others", files.len());
        return Some(pass(message));
    }
    Some(verdict(&faults, owner))
}

fn verdict(faults: &[Flaw], owner: u32) -> Verdict {
    let named = faults.iter().take(NAMED_MAX);
    let more = faults.len().checked_sub(NAMED_MAX).filter(|&more| more > 0);
    let more = more.map(|more| message!("and {} more", more));
    let message = Message::join(named.map(|fault| fault.what.clone()).chain(more), "; ");
    let mut mends: BTreeMap<Mend, Vec<Message>> = BTreeMap::new();
    for fault in faults {
        let files = mends.entry(fault.mend).or_default();
        files.push(Message::quoted(&fault.path));
    }
    let mends = mends
        .into_iter()
        .map(|(mend, files)| message!("{} {}", mend.command(owner), Message::join(files, " ")));
    fail(message, Message::join(mends, "; "))
}

/// True for a file of the daemon's, by its name: others have no access. Others may read a file of the user's, and root may
/// own it.
fn is_private(home: &Home, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_own = name.starts_with("coven.") || name.starts_with("daemon.");
    is_own || *path == home.logs() || *path == home.adapters()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort_unstable();
    paths
}

/// The faults of the file at `path`, which should belong to `owner`.
fn faults(path: &Path, is_private: bool, owner: u32) -> Vec<Flaw> {
    // A file that has vanished has no fault.
    let Ok(meta) = path.symlink_metadata() else {
        return Vec::new();
    };
    let mode = meta.mode() & 0o7777;
    let fault = |what: Message, mend: Mend| Flaw {
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
