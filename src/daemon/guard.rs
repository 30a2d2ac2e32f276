//! Guards a running daemon's home and the files in it: recreates files that vanish, and saves the database.
//!
//! Runs on the signals thread, and once on the main thread at the end. The working directory is the home: relative
//! names lead into it wherever it is moved. It knows names and inodes, and nothing of sessions.

use std::env;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use super::error::HomeError;
use super::home::{DaemonFile, Home};
use super::log_place::{self, LogPlace};
use crate::adapters::{self, ManifestSources};
use crate::http::Rebinder;
use crate::observe::log::Reopener;
use crate::observe::say;
use crate::store::{OpenFiles, Reader, StoreStatus, with_time};
use crate::sys::passed::Passed;
use crate::sys::{self, named_file_id};

/// Retries of a lock that another process holds, before the next change in the home.
const LOCK_TRIES: u32 = 5;

/// Name of a copy made from the open database.
const RECOVERED: &str = "recovered";

/// The daemon's view of its home.
pub(super) struct Guard {
    /// The home's last known path, for messages.
    home: Home,
    /// The home as names relative to the working directory.
    inside: Home,
    /// Path of the socket, for health.
    shown_socket: Arc<RwLock<String>>,
    lock: File,
    lock_tries: u32,
    socket: Option<(u64, u64)>,
    /// The daemon created the socket's file, not a service manager, so the daemon removes it.
    is_socket_own: bool,
    daemon_file: DaemonFile,
    open: Opened,
    /// Files that the last check could not recreate.
    unrestored: Vec<PathBuf>,
    copy: Option<PathBuf>,
    saving: Option<JoinHandle<()>>,
    is_deleted: bool,
    is_over: bool,
}

/// The daemon's open files, and the means to open them again.
pub(super) struct Opened {
    pub(super) rebinder: Rebinder,
    pub(super) log: Reopener,
    /// Location of the log, if it is not the home's file.
    pub(super) log_place: Option<LogPlace>,
    pub(super) adapters: Arc<adapters::SharedRegistry>,
    pub(super) files: Arc<OpenFiles>,
    pub(super) reader: Reader,
    pub(super) status: Arc<StoreStatus>,
}

/// Result of a check of the home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HomeCheck {
    /// Everything is in place.
    Done,
    /// Check again after a short delay.
    Again,
    /// The home is deleted: the daemon must stop.
    Deleted,
}

impl Guard {
    /// Guards `home`, which is the working directory; this process holds its `lock`.
    pub(super) fn new(
        home: Home,
        lock: File,
        is_socket_own: bool,
        daemon_file: DaemonFile,
        shown_socket: Arc<RwLock<String>>,
        open: Opened,
    ) -> Self {
        let inside = Home::entered();
        Self {
            socket: named_file_id(&inside.socket()),
            home,
            inside,
            shown_socket,
            lock,
            lock_tries: 0,
            is_socket_own,
            daemon_file,
            open,
            unrestored: Vec::new(),
            copy: None,
            saving: None,
            is_deleted: false,
            is_over: false,
        }
    }

    /// Current path of the home.
    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    /// The held lock, for the next program.
    pub(super) fn lock(&self) -> Passed {
        Passed::borrowed(&self.lock)
    }

    /// The daemon created the socket's file.
    pub(super) fn is_socket_own(&self) -> bool {
        self.is_socket_own
    }

    /// True if a change of `name` in the home or its `logs/` requires a check.
    pub(super) fn is_own(&self, name: &Path) -> bool {
        let inside = &self.inside;
        let own = [
            inside.socket(),
            inside.lock_file(),
            inside.daemon_file(),
            inside.logs(),
        ];
        name.as_os_str().is_empty()
            || Some(name.as_os_str()) == inside.log_file().file_name()
            || Some(name.as_os_str()) == inside.log_place_file().file_name()
            || own.iter().any(|own| name == own)
            || self.open.files.names().iter().any(|own| name == own)
    }

    /// True if both the database and the lock are gone: deleting a home deletes both.
    pub(super) fn is_emptied(&self) -> bool {
        let files = [self.inside.database(), self.inside.lock_file()];
        files.iter().all(|file| named_file_id(file).is_none())
    }

    /// Checks the home, and recreates missing files.
    pub(super) fn check(&mut self) -> HomeCheck {
        if self.is_over || self.is_deleted {
            return HomeCheck::Done;
        }
        if self.has_been_deleted() {
            return HomeCheck::Deleted;
        }
        self.follow_home();
        let mut unrestored = Vec::new();
        let lock = self.restore_lock();
        let is_locked = lock.is_ok();
        let results = [
            (self.inside.lock_file(), lock),
            (self.inside.socket(), self.restore_socket()),
            (self.inside.log_file(), self.restore_log()),
            (self.inside.log_place_file(), self.restore_log_place()),
            (self.inside.daemon_file(), self.restore_daemon_file()),
        ];
        for (name, result) in results {
            let path = self.home.path().join(&name);
            match result {
                Ok(false) => {}
                Ok(true) => say!(HomeFileRestored, path: path.display()),
                Err(err) => {
                    // A process that only inspects the lock holds it for an instant.
                    let is_instant =
                        err.kind() == io::ErrorKind::WouldBlock && self.lock_tries == 0;
                    if !self.unrestored.contains(&name) && !is_instant {
                        say!(HomeFileLost, path: path.display(), reason: &err);
                    }
                    if !is_instant {
                        unrestored.push(name);
                    }
                }
            }
        }
        self.unrestored = unrestored;
        self.check_database();
        self.lock_tries = if is_locked { 0 } else { self.lock_tries + 1 };
        match (1..LOCK_TRIES).contains(&self.lock_tries) {
            true => HomeCheck::Again,
            false => HomeCheck::Done,
        }
    }

    /// The kernel does not find a deleted directory either (getcwd(2)).
    fn has_been_deleted(&mut self) -> bool {
        let is_gone =
            matches!(env::current_dir(), Err(err) if err.kind() == io::ErrorKind::NotFound);
        if is_gone && !self.is_deleted {
            self.is_deleted = true;
            let home = self.home.path().display();
            let reason = format!("{home} was deleted: the daemon stops, and saves the database");
            self.open.status.set_lost(Some(reason));
            say!(HomeGone, path: home);
        }
        self.is_deleted
    }

    /// True if the home has moved. Its parent can be renamed without an event in the home.
    pub(super) fn is_elsewhere(&self) -> bool {
        !sys::is_same_file(self.home.path(), Path::new("."))
    }

    /// Updates the home's path.
    fn follow_home(&mut self) {
        if !self.is_elsewhere() {
            return;
        }
        let Ok(path) = env::current_dir() else { return };
        say!(HomeMoved, path: path.display());
        self.home = Home::moved_to(path);
        let socket = self.home.socket().display().to_string();
        self.daemon_file.socket.clone_from(&socket);
        *self
            .shown_socket
            .write()
            .unwrap_or_else(PoisonError::into_inner) = socket;
        let sources = ManifestSources::from_env(self.home.adapters());
        self.open.adapters.set_sources(sources);
        if let Err(err) = self.inside.write_daemon_file(&self.daemon_file) {
            say!(HomeFileLost, path: self.home.daemon_file().display(), reason: &err);
        }
    }

    fn restore_lock(&mut self) -> io::Result<bool> {
        if self.inside.is_locked_by(&self.lock) {
            return Ok(false);
        }
        let lock = self.inside.open_lock().map_err(system_error)?;
        lock.try_lock().map_err(io::Error::from)?;
        self.lock = lock;
        Ok(true)
    }

    fn restore_socket(&mut self) -> io::Result<bool> {
        let socket = self.inside.socket();
        if named_file_id(&socket).is_some_and(|id| Some(id) == self.socket) {
            return Ok(false);
        }
        self.open.rebinder.rebind(&bind(&socket)?)?;
        self.socket = named_file_id(&socket);
        self.is_socket_own = true;
        Ok(true)
    }

    fn restore_log(&self) -> io::Result<bool> {
        self.inside.create_logs().map_err(system_error)?;
        self.open.log.restore()
    }

    fn restore_log_place(&self) -> io::Result<bool> {
        if self.open.log_place.is_none() || self.inside.log_place_file().exists() {
            return Ok(false);
        }
        log_place::record(&self.inside, self.open.log_place.as_ref()).map(|()| true)
    }

    fn restore_daemon_file(&self) -> io::Result<bool> {
        let on_record = self.inside.read_daemon_file().map(|file| file.pid);
        if on_record == Some(self.daemon_file.pid) {
            return Ok(false);
        }
        self.inside
            .write_daemon_file(&self.daemon_file)
            .map(|()| true)
    }

    fn check_database(&mut self) {
        let database = self.home.database();
        self.open.files.put_back();
        match (self.open.files.lost(), &self.copy) {
            (None, Some(_)) => {
                self.copy = None;
                self.open.status.set_lost(None);
                say!(StoreBack, path: database.display());
            }
            (Some(file), None) => self.lose_database(&file),
            // The log can vanish first, and the database later.
            (Some(_), Some(_)) => self.open.files.set_aside(),
            (None, None) => {}
        }
    }

    /// Refuses launches from now on, and saves the open database on a thread of its own: signals must not wait for it.
    fn lose_database(&mut self, file: &Path) {
        let copy = self.new_copy();
        let path = self.home.path().join(file);
        say!(StoreLost, path: path.display(), copy: copy.display());
        let what = match file.symlink_metadata() {
            Ok(_) => "is another file than the one that is open",
            Err(_) => "is gone",
        };
        let reason = format!(
            "{} {what}; what the daemon has open is saved as {}",
            path.display(),
            copy.display()
        );
        self.open.status.set_lost(Some(reason));
        self.open.files.set_aside();
        let (reader, target) = (self.open.reader.clone(), copy.clone());
        let save = move || {
            // Both results are logged.
            let _ = save(&reader, &target);
        };
        self.saving = thread::Builder::new().name("save".into()).spawn(save).ok();
        self.copy = Some(copy);
    }

    /// Ends all checks: files may vanish from now on, since the stop removes some.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    /// Path for a copy of the database.
    fn new_copy(&self) -> PathBuf {
        let name = with_time(&self.inside.database(), RECOVERED);
        self.home.path().join(name)
    }

    /// Saves the database once more if its files are gone, including all later writes. Returns the copy, or the reason
    /// why there is none; `None` if it is not needed.
    pub(super) fn rescue(&mut self) -> Option<Result<PathBuf, String>> {
        if let Some(saving) = self.saving.take() {
            let _ = saving.join();
        }
        if self.has_been_deleted() {
            return Some(self.rescue_beside());
        }
        self.open.files.lost()?;
        let copy = self.copy.clone().unwrap_or_else(|| self.new_copy());
        let saved = save(&self.open.reader, &copy);
        Some(saved.map(|()| {
            self.open.files.remove_log();
            copy
        }))
    }

    /// Saves the database of a deleted home to a directory beside it, or to the directory for temporary files.
    fn rescue_beside(&self) -> Result<PathBuf, String> {
        let home = self.home.path();
        let name = with_time(Path::new(home.file_name().unwrap_or_default()), RECOVERED);
        let parents = [home.parent().map(Path::to_owned), Some(env::temp_dir())];
        let mut failed = String::from("there is no directory to save it in");
        for dir in parents.into_iter().flatten().map(|dir| dir.join(&name)) {
            let copy = dir.join(self.inside.database());
            let made = DirBuilder::new().mode(0o700).create(&dir);
            let saved = made
                .map_err(|err| err.to_string())
                .and_then(|()| save(&self.open.reader, &copy));
            match saved {
                Ok(()) => return Ok(copy),
                Err(reason) => failed = format!("{}: {reason}", copy.display()),
            }
            // At most an empty directory is left.
            let _ = std::fs::remove_dir(&dir);
        }
        Err(failed)
    }

    /// The last path of a deleted home.
    pub(super) fn deleted_home(&self) -> Option<&Path> {
        self.is_deleted.then(|| self.home.path())
    }

    /// Removes the files that only a running daemon has: a client must not find a socket without a daemon.
    pub(super) fn leave(&self) {
        if !self.inside.is_locked_by(&self.lock) {
            return;
        }
        if self.is_socket_own {
            let _ = std::fs::remove_file(self.inside.socket());
        }
        let _ = std::fs::remove_file(self.inside.daemon_file());
    }
}

fn save(reader: &Reader, copy: &Path) -> Result<(), String> {
    match reader.save(copy) {
        Ok(bytes) => {
            say!(StoreSaved, path: copy.display(), bytes);
            Ok(())
        }
        Err(err) => {
            let reason = err.to_string();
            say!(StoreSaveFailed, path: copy.display(), reason: &reason);
            Err(reason)
        }
    }
}

fn system_error(err: HomeError) -> io::Error {
    match err {
        HomeError::Io { err, .. } => err,
        err => io::Error::other(err.to_string()),
    }
}

/// Binds a listening socket of mode 0600 at `path`, atomically replacing a dead daemon's.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    // The draft's name is no longer than the socket's, whose length has been checked.
    let draft = path.with_file_name("new.sock");
    let _ = std::fs::remove_file(&draft);
    let listener = UnixListener::bind(&draft)?;
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&draft, path)?;
    Ok(listener)
}
