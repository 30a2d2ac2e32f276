//! `COVEN_HOME`: the directory of all of a daemon's files. Access is controlled by the file system: a home that is open
//! to other users is refused.

use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::HomeError;
use crate::api::Timestamp;
use crate::observe::{Message, Mode, message};
use crate::settings;
use crate::sys;

/// Most bytes read of a JSON file; each has a few hundred.
const RECORD_MAX: u64 = 64 * 1024;

/// The home of one daemon: an absolute path.
#[derive(Debug, Clone)]
pub struct Home {
    path: PathBuf,
}

/// Content of `daemon.json`, which the daemon writes about itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DaemonFile {
    pub pid: i32,
    /// Time of its start.
    pub started_at: Timestamp,
    pub socket: String,
    /// Tells the daemon from a later process with the same pid.
    pub process_mark: Option<String>,
    /// Longest duration of its stop in milliseconds, for a client that stops it while it does not answer.
    pub stop_within_ms: Option<u64>,
}

impl Home {
    /// The home by `COVEN_HOME`, or `~/.coven`.
    ///
    /// # Errors
    /// No home directory is known, the path is relative, or too long for the socket.
    pub fn from_env() -> Result<Self, HomeError> {
        let (name, path) = match settings::HOME.read().unwrap_or_default() {
            Some(path) => (settings::HOME.name, path),
            None => ("HOME", Self::default_path().ok_or(HomeError::Unknown)?),
        };
        if path.is_relative() {
            let path = match name {
                "HOME" => path.parent().unwrap_or(&path).to_owned(),
                _ => path,
            };
            return Err(HomeError::Relative { name, path });
        }
        // Removes `.` and repeated slashes.
        let path = std::path::absolute(&path).map_err(|err| HomeError::Io { path, err })?;
        let home = Self { path };
        let socket = home.socket();
        let length = socket.as_os_str().as_bytes().len();
        if length > sys::SUN_PATH_MAX {
            return Err(HomeError::SocketTooLong { socket, length });
        }
        Ok(home)
    }

    /// The home whose socket is `socket`.
    pub fn of_socket(socket: &Path) -> Self {
        Self {
            path: socket.parent().unwrap_or(socket).to_owned(),
        }
    }

    /// The home at its new path.
    pub(super) fn moved_to(path: PathBuf) -> Self {
        Self { path }
    }

    /// The home as names relative to the working directory, which is the home: they stay valid wherever it is moved.
    pub(super) fn entered() -> Self {
        Self {
            path: PathBuf::new(),
        }
    }

    /// The program that the last upgrade in place replaced.
    pub fn previous_program(&self) -> PathBuf {
        self.path.join("coven.previous")
    }

    /// The default home, `~/.coven`, for when `COVEN_HOME` is not set.
    pub fn default_path() -> Option<PathBuf> {
        let set = std::env::var_os("HOME").filter(|home| !home.is_empty());
        let home = set.map(PathBuf::from).or_else(sys::home_from_passwd)?;
        Some(home.join(".coven"))
    }

    /// Owner (uid) of the home, and therefore of the daemon; this user if the home does not exist yet.
    pub fn owner(&self) -> u32 {
        let meta = self.path.symlink_metadata();
        meta.map_or_else(|_| sys::euid(), |meta| meta.uid())
    }

    /// Creates the home (mode 0700) if it does not exist, checks its owner, and removes other users' access to the
    /// daemon's files.
    ///
    /// # Errors
    /// The home is a symbolic link, belongs to another user, is open to others, or cannot be created; or one of the daemon's
    /// files is a link or another user's.
    pub fn prepare(&self) -> Result<(), HomeError> {
        self.check_place()?;
        self.create_dir(&self.path)?;
        self.check()?;
        for dir in [self.logs(), self.adapters()] {
            self.create_dir(&dir)?;
            self.close(&dir, Expected::Directory)?;
        }
        self.close_files(&self.path)?;
        self.close_files(&self.logs())
    }

    /// Checks that a new home would not be created in another user's directory, such as the `HOME` that `su` or `sudo`
    /// kept: that user could not access it.
    fn check_place(&self) -> Result<(), HomeError> {
        let mut places = self.path.ancestors();
        let Some((place, meta)) =
            places.find_map(|place| Some((place, place.symlink_metadata().ok()?)))
        else {
            return Ok(());
        };
        // A directory of root's is for all users.
        if place == self.path || meta.uid() == sys::euid() || meta.uid() == 0 {
            return Ok(());
        }
        let what = message!(
            "{} would lie in {}, which belongs to {}",
            &self.path,
            place,
            named(meta.uid())
        );
        Err(HomeError::Refused {
            what,
            mend: as_owner(meta.uid()),
        })
    }

    /// True if the home contains only a socket that forwards to another machine, as `ssh -L` creates it: a daemon
    /// creates its lock and database before its socket.
    pub fn is_forwarded(&self) -> bool {
        let socket = self.socket().symlink_metadata();
        socket.is_ok_and(|meta| meta.file_type().is_socket())
            && [self.lock_file(), self.database()]
                .iter()
                .all(|file| file.symlink_metadata().is_err())
    }

    /// Checks that a daemon would not replace a socket that forwards to another machine.
    ///
    /// # Errors
    /// [`HomeError::Forwarded`].
    pub fn check_own(&self) -> Result<(), HomeError> {
        match self.is_forwarded() {
            true => Err(HomeError::Forwarded {
                path: self.path.clone(),
            }),
            false => Ok(()),
        }
    }

    /// Removes other users' access to the daemon's files in `dir`. Existing files can be open: restored from a copy, or
    /// created under another umask.
    fn close_files(&self, dir: &Path) -> Result<(), HomeError> {
        let entries = std::fs::read_dir(dir).map_err(|err| self.io(dir, err))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().as_bytes();
            let is_own = name.starts_with(b"coven.") || name.starts_with(b"daemon.");
            // The socket is always bound anew.
            if (is_own || dir != self.path) && path != self.socket() {
                self.close(&path, Expected::File)?;
            }
        }
        Ok(())
    }

    /// Removes other users' access to `path`; fails for a link or another user's file.
    fn close(&self, path: &Path, expected: Expected) -> Result<(), HomeError> {
        let meta = match std::fs::symlink_metadata(path) {
            Ok(meta) => meta,
            // A daemon that stops has removed it.
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(err) => return Err(self.io(path, err)),
        };
        let by_owner = message!("chown {} {}", sys::euid(), path);
        let by_link = message!("move what it leads to here: rm {}, then mv", path);
        refuse(path, &meta, expected, by_link, by_owner)?;
        if meta.mode() & 0o077 == 0 {
            return Ok(());
        }
        let closed = Permissions::from_mode(meta.mode() & 0o700);
        match std::fs::set_permissions(path, closed) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(self.io(path, err)),
            _ => Ok(()),
        }
    }

    /// Creates the log's directory if it does not exist.
    pub(super) fn create_logs(&self) -> Result<(), HomeError> {
        self.create_dir(&self.logs())
    }

    fn create_dir(&self, path: &Path) -> Result<(), HomeError> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound && path == self.path => {
                // Only the home itself is private; its parents get the user's umask.
                let parent = path.parent().unwrap_or(path);
                std::fs::create_dir_all(parent).map_err(|err| self.io(parent, err))?;
                self.create_dir(path)
            }
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result.map_err(|err| self.io(path, err)),
        }
    }

    /// Error `err` of the file `path` in this home.
    pub fn io(&self, path: &Path, err: io::Error) -> HomeError {
        HomeError::Io {
            path: path.to_owned(),
            err,
        }
    }

    /// Checks that the home is a directory of this user, and closed to others.
    ///
    /// # Errors
    /// The home is not usable; the message names the repair.
    pub fn check(&self) -> Result<(), HomeError> {
        let path = &self.path;
        let meta = std::fs::symlink_metadata(path).map_err(|err| self.io(path, err))?;
        let by_link = "set COVEN_HOME to the directory that it leads to".into();
        refuse(
            path,
            &meta,
            Expected::Directory,
            by_link,
            as_owner(meta.uid()),
        )?;
        let mode = meta.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(HomeError::Refused {
                what: message!("{} is open to others (mode {})", path, Mode(mode)),
                mend: message!("chmod 700 {}", path),
            });
        }
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the lock's file.
    pub fn open_lock(&self) -> Result<File, HomeError> {
        let lock = self.lock_file();
        sys::append_own(&lock, libc::O_NOFOLLOW).map_err(|err| self.io(&lock, err))
    }

    /// True if `lock` is the file that [`Home::open_lock`] would open.
    pub fn is_locked_by(&self, lock: &File) -> bool {
        let files = (lock.metadata(), self.lock_file().metadata());
        matches!(files, (Ok(one), Ok(other)) if sys::file_id(&one) == sys::file_id(&other))
    }

    /// Reads `daemon.json`; `None` if it is missing or unreadable.
    pub fn read_daemon_file(&self) -> Option<DaemonFile> {
        self.read_json(&self.daemon_file())
    }

    /// Reads a file that [`Home::write_json`] wrote; `None` if it is missing or unreadable.
    pub(super) fn read_json<T: DeserializeOwned>(&self, path: &Path) -> Option<T> {
        let file = sys::open_own(path).ok()?;
        let mut bytes = Vec::new();
        file.take(RECORD_MAX).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Replaces `daemon.json` atomically.
    pub fn write_daemon_file(&self, daemon: &DaemonFile) -> io::Result<()> {
        self.write_json(&self.daemon_file(), daemon)
    }

    /// Name of the draft of `target`.
    pub(super) fn draft(target: &Path) -> PathBuf {
        target.with_added_extension("new")
    }

    /// Replaces `target` atomically by one line of JSON.
    pub(super) fn write_json(&self, target: &Path, value: &impl Serialize) -> io::Result<()> {
        // The main thread writes `daemon.json` at the start, and the signals thread if it vanishes.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let draft = Self::draft(target);
        // The process that left the draft is dead: this one holds the lock.
        let _ = std::fs::remove_file(&draft);
        let mut file = sys::create_own(&draft)?;
        let written = serde_json::to_writer(&mut file, value)
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| std::fs::rename(&draft, target));
        if written.is_err() {
            let _ = std::fs::remove_file(draft);
        }
        written
    }
}

/// Declares the files of a home.
macro_rules! files {
    ($(#[doc = $doc:literal] $file:ident: $name:literal;)*) => {
        impl Home {
            /// Names of all files, relative to the home.
            pub const FILES: &[&str] = &[$($name),*];

            $(#[doc = $doc] pub fn $file(&self) -> PathBuf {
                self.path.join($name)
            })*
        }
    };
}

files! {
    /// The socket.
    socket: "coven.sock";
    /// The database.
    database: "coven.sqlite3";
    /// Record of the running daemon about itself.
    daemon_file: "daemon.json";
    /// Held by flock(2) while a daemon lives.
    lock_file: "daemon.lock";
    /// Directory of the log and its rotated files.
    logs: "logs";
    /// Log of a background daemon.
    log_file: "logs/daemon.log";
    /// Log of failed commands.
    failures_file: "logs/cli.log";
    /// Reason of the last failed start, until one serves.
    last_failure_file: "logs/last-failure";
    /// Location of the newest daemon's log, if it is not [`Home::log_file`].
    log_place_file: "logs/place";
    /// The user's own redaction patterns, one per line.
    redact_file: "redact.txt";
    /// Variables of the sessions, and settings of the daemon.
    env_file: "env";
    /// Manifests of harnesses.
    adapters: "adapters";
}

/// Type of a path in the home.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Directory,
    File,
}

/// Checks type and owner of a path; `by_link` and `by_owner` name the repair for a link and for another user's file.
fn refuse(
    path: &Path,
    meta: &Metadata,
    expected: Expected,
    by_link: Message,
    by_owner: Message,
) -> Result<(), HomeError> {
    let (what, mend) = if meta.is_symlink() {
        (message!("{} is a symbolic link", path), by_link)
    } else if expected == Expected::Directory && !meta.is_dir() {
        let mend = message!("move it away: mv {} {}.old", path, path);
        (message!("{} is not a directory", path), mend)
    } else if meta.uid() != sys::euid() {
        (
            message!("{} belongs to {}", path, named(meta.uid())),
            by_owner,
        )
    } else {
        return Ok(());
    };
    Err(HomeError::Refused { what, mend })
}

/// Another user, for a message.
fn named(uid: u32) -> Message {
    match sys::user(uid) {
        Some(user) => message!("another user (uid {}, {})", uid, Message::user(user.name)),
        None => message!("another user (uid {})", uid),
    }
}

/// The two remedies for a user in the home of the user `uid`.
fn as_owner(uid: u32) -> Message {
    let user = match sys::user(uid) {
        Some(user) => Message::user(user.name),
        None => message!("'#{}'", uid),
    };
    message!(
        "sudo -u {} coven …, which acts as its owner; or set COVEN_HOME to a directory of your own",
        user
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_threads_can_write_the_same_file() {
        let path = std::env::temp_dir().join(format!("coven-home-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path).unwrap();
        let home = Home::of_socket(&path.join("coven.sock"));
        let write = || (0..200).all(|n| home.write_json(&home.log_place_file(), &n).is_ok());
        home.create_logs().unwrap();
        let written = std::thread::scope(|threads| {
            [(); 2]
                .map(|()| threads.spawn(write))
                .map(|one| one.join().unwrap())
        });
        std::fs::remove_dir_all(path).unwrap();
        assert_eq!(written, [true, true]);
    }
}
