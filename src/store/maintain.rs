//! The store's own housekeeping: sweeps, and giving back the space that they leave; all of it in small steps, between
//! which the writer does what it is there for. With it, what is only done when somebody asks: a whole vacuum, a copy.
//!
//! The steps run on the writer thread; a backup runs on the thread that asks, on a connection of its own.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use log::{info, warn};
use rusqlite::Connection;

use super::batch::Tails;
use super::retention::{self, Pages, Pruned, Retention, Sweep};
use super::wal::Wal;
use super::{Answer, Done, StoreError, StoreStatus, schema};
use crate::api::ApiError;
use crate::settings::durations;

/// Pages that one step of the vacuum moves: about a millisecond.
const VACUUM_PAGES: u32 = 64;

/// Free pages are given back once there are so many, in bytes: fewer are soon used again.
const VACUUM_FROM: u64 = 1024 * 1024;

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chore {
    /// A whole sweep. Answered with [`Answer::Pruned`].
    Prune,
    /// The whole database written anew, without a gap. Answered with [`Answer::Vacuumed`].
    Vacuum,
}

/// What is being done of it.
pub(super) struct Maintenance {
    retention: Retention,
    sweep: Option<Sweep>,
    is_vacuuming: bool,
    next_sweep: Instant,
    /// Who waits for the end of the next whole sweep, and of the one that runs.
    prunes_next: Vec<Done>,
    prunes: Vec<Done>,
    vacuums: Vec<Done>,
    /// It has been said that the store is too large, and that nothing can be done about it.
    is_over_said: bool,
}

impl Maintenance {
    pub(super) fn new(retention: Retention) -> Self {
        Self {
            retention,
            sweep: None,
            is_vacuuming: false,
            next_sweep: Instant::now(),
            prunes_next: Vec::new(),
            prunes: Vec::new(),
            vacuums: Vec::new(),
            is_over_said: false,
        }
    }

    pub(super) fn session_max(&self) -> Option<u64> {
        self.retention.session_max
    }

    /// Remembers who asks.
    pub(super) fn ask(&mut self, chore: Chore, done: Done) {
        match chore {
            // A sweep that runs may be past what has become old enough since.
            Chore::Prune => self.prunes_next.push(done),
            Chore::Vacuum => self.vacuums.push(done),
        }
    }

    /// Tells all who wait that the store cannot be written.
    pub(super) fn refuse(&mut self, reason: &str) {
        let waiting = [&mut self.prunes, &mut self.prunes_next, &mut self.vacuums];
        for done in waiting.into_iter().flat_map(std::mem::take) {
            let reason = reason.to_owned();
            done(Err(ApiError::StoreUnavailable { reason }));
        }
        self.sweep = None;
    }

    /// Whether there is something to do now.
    pub(super) fn is_busy(&self) -> bool {
        self.sweep.is_some()
            || self.is_vacuuming
            || !self.prunes_next.is_empty()
            || !self.vacuums.is_empty()
            || self.next_sweep <= Instant::now()
    }

    /// When there will be, if nothing else happens.
    pub(super) fn due(&self) -> Instant {
        self.next_sweep
    }

    /// The pages have been counted: is there anything to sweep, or to give back?
    pub(super) fn look(&mut self, connection: &Connection) {
        let Ok(pages) = retention::pages(connection) else {
            return;
        };
        if self
            .retention
            .store_max
            .is_some_and(|max| pages.used() > max)
        {
            self.sweep.get_or_insert_with(|| Sweep::new(self.retention));
        } else {
            self.is_over_said = false;
        }
        self.plan_vacuum(pages);
    }

    fn plan_vacuum(&mut self, pages: Pages) {
        self.is_vacuuming |= pages.free >= VACUUM_FROM;
    }

    /// Does a little of what is to be done.
    pub(super) fn step(
        &mut self,
        connection: &mut Connection,
        tails: &mut Tails,
        wal: &mut Wal,
        status: &StoreStatus,
    ) {
        if status.chores_over.load(Ordering::Relaxed) {
            // Whoever waits is told so by this end of the channel going away.
            self.vacuums.clear();
        }
        if let Some(done) = self.vacuums.pop() {
            wal.settle();
            status.is_vacuuming.store(true, Ordering::Relaxed);
            let result = vacuum(connection);
            status.is_vacuuming.store(false, Ordering::Relaxed);
            return done(result.map(Answer::Vacuumed).map_err(ApiError::from));
        }
        if self.sweep.is_none()
            && (!self.prunes_next.is_empty() || self.next_sweep <= Instant::now())
        {
            self.prunes = std::mem::take(&mut self.prunes_next);
            self.sweep = Some(Sweep::new(self.retention));
        }
        match &mut self.sweep {
            Some(sweep) => {
                let step = sweep.step(connection, tails);
                status.removed();
                self.swept(step, connection, status);
            }
            None => self.vacuum_a_little(connection, wal),
        }
    }

    fn swept(
        &mut self,
        step: Result<Option<Pruned>, StoreError>,
        connection: &Connection,
        status: &StoreStatus,
    ) {
        let pruned = match step {
            Ok(None) => return,
            Ok(Some(pruned)) => pruned,
            Err(err) => {
                let reason = err.to_string();
                warn!(event = "retention_failed", code = "store_unavailable", reason = reason.as_str(); "");
                self.refuse(&reason);
                self.next_sweep = Instant::now() + durations::RETENTION_RETRY;
                return;
            }
        };
        self.sweep = None;
        self.next_sweep = Instant::now() + durations::RETENTION_EVERY;
        if pruned.dropped.events > 0 {
            info!(event = "output_truncated", sessions = pruned.sessions, events = pruned.dropped.events,
                bytes = pruned.dropped.bytes; "");
            status.truncated(pruned.dropped);
        }
        self.say_if_over(connection);
        // No new sweep, however large the store still is: what this one has left, the next would leave, too.
        if let Ok(pages) = retention::pages(connection) {
            self.plan_vacuum(pages);
        }
        for done in self.prunes.drain(..) {
            done(Ok(Answer::Pruned(pruned)));
        }
    }

    /// Once: what is left belongs to live sessions, or is no output.
    fn say_if_over(&mut self, connection: &Connection) {
        let over = retention::is_over(connection, &self.retention).unwrap_or(false);
        if over && !self.is_over_said {
            let limit = self.retention.store_max.unwrap_or(0);
            warn!(event = "store_over_limit", limit_bytes = limit; "");
        }
        self.is_over_said = over;
    }

    /// Gives some free pages back; the last step shortens the file.
    fn vacuum_a_little(&mut self, connection: &Connection, wal: &mut Wal) {
        let is_done = incremental_vacuum(connection).and_then(|()| {
            let left = retention::pages(connection)?.free;
            if left == 0 {
                wal.settle();
                shorten(connection)?;
            }
            Ok(left == 0)
        });
        // What fails now is tried again when pages are counted the next time.
        self.is_vacuuming = !is_done.unwrap_or(true);
    }
}

/// The pragma gives a row for each page, and does its work while they are read (SQLite, PRAGMA incremental_vacuum).
fn incremental_vacuum(connection: &Connection) -> Result<(), StoreError> {
    let mut statement =
        connection.prepare_cached(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Brings the log into the database, whose file becomes as short as it can. Whoever reads an old state keeps it from
/// that; then a later checkpoint does it.
fn shorten(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(Duration::ZERO)?;
    let result = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    connection.busy_timeout(durations::STORE_LOCK)?;
    Ok(result?)
}

/// Writes the whole database anew; how many bytes that has given back.
///
/// # Errors
/// What SQLite says: there must be room for a second database.
pub(super) fn vacuum(connection: &Connection) -> Result<u64, StoreError> {
    let before = retention::pages(connection)?;
    connection.execute_batch("VACUUM")?;
    shorten(connection)?;
    let after = retention::pages(connection)?;
    Ok(before.all.saturating_sub(after.all))
}

/// Whether every page of the database is as it must be.
///
/// # Errors
/// What SQLite finds wrong, or says.
pub(super) fn check_integrity(connection: &Connection) -> Result<(), StoreError> {
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    match found.as_str() {
        "ok" => Ok(()),
        _ => Err(StoreError::Damaged { found }),
    }
}

/// Writes a copy of the database, as it is at this moment, to a new file of mode 0600; gives its size in bytes. Under its
/// name it is whole: until then it is called `<name>.partial`.
///
/// # Errors
/// The file is there already, or cannot be written; then nothing is left of it.
pub(super) fn backup(database: &Path, copy: &Path) -> Result<u64, StoreError> {
    let connection = schema::open_for_copying(database)?;
    let partial = copy.with_added_extension("partial");
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)
        .map_err(|err| not_copied(&partial, &err))?;
    let written = copy_into(&connection, &partial)
        .map_err(|err| not_copied(&partial, &err))
        // Unlike rename(2), link(2) takes nobody's place.
        .and_then(|bytes| match std::fs::hard_link(&partial, copy) {
            Ok(()) => Ok(bytes),
            Err(err) => Err(not_copied(copy, &err)),
        });
    let _ = std::fs::remove_file(&partial);
    // On a full disk SQLite leaves the copy's rollback journal behind.
    let _ = std::fs::remove_file(schema::beside(&partial, "-journal"));
    Ok(written?)
}

/// Which file it was: the disk that is full is then not the store's.
fn not_copied(file: &Path, err: &impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("the copy {}: {err}", file.display()))
}

fn copy_into(connection: &Connection, copy: &Path) -> Result<u64, StoreError> {
    let name = copy
        .to_str()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8"))?;
    // An empty file is one that may be written (SQLite, VACUUM INTO).
    connection.execute("VACUUM INTO ?1", [name])?;
    let file = OpenOptions::new().read(true).open(copy)?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}
