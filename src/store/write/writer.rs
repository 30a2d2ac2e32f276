//! The writer thread: owns the only connection that writes, and commits in groups. Everything queued during a commit
//! goes into the next one.
//!
//! While the store cannot be written, it keeps facts in order, retries them, and refuses requests. It knows rows and
//! transactions, and no process.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{
    Receiver, RecvTimeoutError, Select, Sender, TryRecvError, bounded, unbounded,
};
use rusqlite::Connection;

use super::backlog::{Backlog, Work};
use super::batch::{Applied, Batch};
use super::queue::{Item, Unwritten, WriteQueue};
use super::wal::Wal;
use crate::api::{Code, Failure};
use crate::observe::{field, metrics, say};
use crate::settings::durations;
use crate::store::connect;
use crate::store::facts::{Fact, NewEvent};
use crate::store::keep::maintenance::Maintenance;
use crate::store::keep::status::StoreStatus;
use crate::store::keep::tails::Tails;
use crate::store::read::followers::Followers;
use crate::store::read::reader::Reader;
use crate::store::schema::StoreError;
use crate::sys;

/// Most bytes of events in one transaction: enough to make its fixed cost small, and few enough that later events do
/// not wait long.
const BATCH_BYTES: usize = 1024 * 1024;

/// Steps of SQLite's virtual machine between two progress callbacks: some hundred rows.
const PROGRESS_STEPS: i32 = 1000;

/// Handle of the running writer, for the thread that stops it.
pub struct Writer {
    queue: WriteQueue,
    stopped: Receiver<()>,
}

impl Writer {
    pub(crate) fn start(
        path: &Path,
        mut connection: Connection,
        status: Arc<StoreStatus>,
        followers: Arc<Followers>,
        maintenance: Maintenance,
        reader: Reader,
    ) -> Result<Self, StoreError> {
        let progress = Arc::clone(&status);
        let count = move || {
            progress.progress.fetch_add(1, Ordering::Relaxed);
            // Only a vacuum may be interrupted: SQLite rolls it back, and no other statement runs.
            progress.is_vacuuming.load(Ordering::Relaxed)
                && progress.chores_over.load(Ordering::Relaxed)
        };
        connection.progress_handler(PROGRESS_STEPS, Some(count))?;
        let wal = Wal::start(&mut connection, path)?;
        let (items, inbox) = unbounded();
        let (stopping, stopped) = bounded(0);
        let queue = WriteQueue::new(items, Arc::clone(&status));
        sys::spawn_essential("writer", move || {
            let mut writer = Thread::new(
                connection,
                wal,
                inbox,
                status,
                followers,
                maintenance,
                reader,
            );
            writer.run();
            let Thread {
                connection, wal, ..
            } = writer;
            wal.end();
            // Closing the last connection would checkpoint, but the readers are still open. If it fails, the next start
            // reads the log.
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            let _ = connection.query_row(checkpoint, [], |_| Ok(()));
            drop(connection);
            drop(stopping);
        })?;
        Ok(Self { queue, stopped })
    }

    pub fn queue(&self) -> WriteQueue {
        self.queue.clone()
    }

    /// Commits everything queued, closes the database, and ends the thread.
    ///
    /// # Errors
    /// The events that are still uncommitted after `timeout`.
    pub fn stop(self, timeout: Duration) -> Result<(), Unwritten> {
        self.queue.stop();
        // The thread's end disconnects the channel.
        match self.stopped.recv_timeout(timeout) {
            Err(RecvTimeoutError::Disconnected) => Ok(()),
            Ok(()) | Err(RecvTimeoutError::Timeout) => Err(self.queue.unwritten()),
        }
    }
}

struct Thread {
    connection: Connection,
    wal: Wal,
    inbox: Receiver<Item>,
    backlog: Backlog,
    status: Arc<StoreStatus>,
    followers: Arc<Followers>,
    tails: Tails,
    maintenance: Maintenance,
    measured: Instant,
    /// Something was written since the last measurement.
    is_unmeasured: bool,
    reader: Reader,
    /// Those who wait until the log is short.
    shortening: Vec<Sender<()>>,
    /// A requested pause: its answer, and its end.
    pause: Option<(Sender<()>, Receiver<()>)>,
    stop: bool,
}

impl Thread {
    fn new(
        connection: Connection,
        wal: Wal,
        inbox: Receiver<Item>,
        status: Arc<StoreStatus>,
        followers: Arc<Followers>,
        maintenance: Maintenance,
        reader: Reader,
    ) -> Self {
        Self {
            connection,
            wal,
            inbox,
            backlog: Backlog::default(),
            status,
            followers,
            tails: Tails::new(),
            maintenance,
            measured: Instant::now(),
            is_unmeasured: false,
            reader,
            shortening: Vec::new(),
            pause: None,
            stop: false,
        }
    }

    fn run(&mut self) {
        while !self.stop || !self.backlog.is_empty() {
            // If the disk is too slow, only floods wait for it.
            let is_late = self.wal.is_late() && !self.is_ending();
            if (self.backlog.is_empty() || is_late) && !self.maintenance.is_busy() {
                self.wait(is_late);
            }
            let has_come = self.take_queued();
            if !self.stop
                && let Some((request, done)) =
                    self.maintenance.due_on_end(&self.connection, &self.status)
            {
                self.backlog.add_request(request, done);
            }
            let mut work = Work::default();
            if is_late {
                self.backlog.move_quiet_to(&mut work);
            } else {
                self.backlog.move_to(&mut work, BATCH_BYTES);
            }
            if !work.is_empty() {
                self.commit(work);
            }
            self.pause_if_asked();
            let is_due = has_come || is_late || self.maintenance.is_busy();
            self.wal.advance(&self.connection, is_due);
            self.end_shortening();
            self.say_log_trouble();
            if self.is_unmeasured && self.measured.elapsed() >= durations::MEASURE_EVERY {
                self.measure();
            }
            // Also under constant load: that is when the store grows.
            if self.maintenance.is_busy() {
                let (connection, tails) = (&mut self.connection, &mut self.tails);
                let settle = &mut || drop(self.wal.settle());
                let maintenance = &mut self.maintenance;
                if maintenance.step(connection, tails, settle, &self.status) {
                    self.wal.shorten();
                }
            }
        }
    }

    /// True if everything queued must be written now.
    fn is_ending(&self) -> bool {
        self.stop || self.pause.is_some()
    }

    /// Writes nothing for as long as asked, once everything is committed.
    fn pause_if_asked(&mut self) {
        if !self.backlog.is_empty() {
            return;
        }
        if let Some((paused, resumed)) = self.pause.take() {
            // The next program observes the clocks again; the time until then is as short as between two observations.
            self.maintenance.observe_clock(&self.status);
            if self.maintenance.save_clock(&self.connection).is_ok() && paused.send(()).is_ok() {
                // The end disconnects the channel.
                let _ = resumed.recv();
            }
        }
    }

    /// Answers those who wait for a short log, once the checkpoint thread is done.
    fn end_shortening(&mut self) {
        if !self.shortening.is_empty() && !self.wal.is_copying() {
            // The first commit of a log waits for the disk: it syncs the log's header.
            let _ = self.maintenance.save_clock(&self.connection);
            self.shortening.clear();
        }
    }

    /// Waits for a message, a finished checkpoint, or the next deadline.
    fn wait(&self, is_late: bool) {
        let due = self.maintenance.due();
        let measure_at = self
            .is_unmeasured
            .then(|| self.measured + durations::MEASURE_EVERY);
        let mut select = Select::new();
        select.recv(&self.inbox);
        select.recv(self.wal.copied());
        // No event reports that a reader has released the log, so check again after [`durations::LOG_RETRY`].
        let look_at =
            (is_late && !self.wal.is_copying()).then(|| Instant::now() + durations::LOG_RETRY);
        let due = [Some(due), measure_at, look_at].into_iter().flatten().min();
        let _ = select.ready_deadline(due.unwrap_or_else(Instant::now));
    }

    /// Takes all waiting messages, so that each session gets its turn; true if there were any.
    fn take_queued(&mut self) -> bool {
        let mut has_come = false;
        loop {
            match self.inbox.try_recv() {
                Ok(item) => self.take(item),
                Err(TryRecvError::Empty) => return has_come,
                Err(TryRecvError::Disconnected) => {
                    self.stop = true;
                    return has_come;
                }
            }
            has_come = true;
        }
    }

    /// Publishes the log's problem, and logs it once.
    fn say_log_trouble(&self) {
        let trouble = self.wal.trouble();
        if let Some(reason) = self.status.set_log_trouble(trouble) {
            say!(CheckpointFailed, reason: &reason);
        }
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Request(request, done) => self.backlog.add_request(request, done),
            Item::Fact(pending) => self.backlog.add_fact(pending),
            Item::Chore(chore, done) => self.maintenance.ask(chore, done),
            Item::Measure => self.measure(),
            Item::Ping(reply) => {
                let _ = reply.send(());
            }
            Item::Shorten(done) => {
                self.wal.shorten();
                self.shortening.push(done);
            }
            Item::Pause(paused, resumed) => self.pause = Some((paused, resumed)),
            Item::Rest => self.rest(),
            Item::Stop => self.stop = true,
        }
    }

    fn rest(&self) {
        connect::release_pages(&self.connection);
        self.reader.rest();
        sys::release_idle_memory();
    }

    fn measure(&mut self) {
        self.measured = Instant::now();
        self.is_unmeasured = false;
        self.status.measure(&self.connection);
        self.maintenance.check_size(&self.connection);
    }

    fn commit(&mut self, work: Work) {
        match self.attempt(&[], &work) {
            Ok(results) => self.finish(work, results),
            Err(err) => self.retry_until_written(work, err),
        }
        self.is_unmeasured = true;
    }

    /// Runs one transaction with `notes` and all of `work`; after an error nothing of it is stored.
    fn attempt(&mut self, notes: &[Fact], work: &Work) -> Result<Vec<Applied>, StoreError> {
        let begun = Instant::now();
        // At a stop or a pause, the log's limit is ignored to write everything that is queued.
        let result = match self.is_ending() || self.wal.make_room(&self.connection) {
            true => self.transaction(notes, work),
            false => Err(StoreError::LogFull {
                why: self.wal.trouble().map(|trouble| trouble.reason),
            }),
        };
        if result.is_ok() {
            metrics::COMMITS.observe(begun.elapsed());
        } else {
            // The cached seqs belong to the failed transaction: the next attempt reads them from the rows.
            self.tails.clear();
        }
        if let Err(StoreError::Sqlite(err)) = &result {
            self.status.met(err);
        }
        result
    }

    fn transaction(&mut self, notes: &[Fact], work: &Work) -> Result<Vec<Applied>, StoreError> {
        // The clock is checked before the rows are written: their times come from it.
        let is_clock_due = self.maintenance.observe_clock(&self.status);
        let mut batch = Batch::begin(
            &mut self.connection,
            &mut self.tails,
            self.maintenance.observed(),
            self.maintenance.session_max(),
        )?;
        for note in notes {
            batch.fact(note)?;
        }
        let mut results = Vec::with_capacity(work.facts.len() + work.requests.len());
        for fact in work.facts() {
            results.push(batch.fact(fact)?);
        }
        for (request, _) in &work.requests {
            results.push(batch.request(request)?);
        }
        if results.is_empty() {
            batch.probe()?;
        }
        if is_clock_due && work.has_end() {
            self.maintenance.save_clock(&batch.transaction)?;
        }
        let committed = batch.commit(&mut results)?;
        if committed.dropped.events > 0 {
            self.status.removed();
            self.status.truncated(committed.dropped);
        }
        for id in committed.newly_capped {
            let limit_bytes = self.maintenance.session_max().unwrap_or(0);
            say!(SessionOutputCapped, session: field::NamedSession(&id), limit_bytes);
        }
        Ok(results)
    }

    /// Publishes the commit: counters, followers, `onEnd`, callbacks.
    fn finish(&mut self, work: Work, results: Vec<Applied>) {
        let status = &self.status;
        let mut touched = HashSet::new();
        let mut events = 0;
        for result in &results {
            events += result.events;
            touched.extend(result.touched);
            status
                .sessions
                .fetch_add(result.sessions_added, Ordering::Relaxed);
            status
                .sessions
                .fetch_sub(result.sessions_removed, Ordering::Relaxed);
        }
        status.written(work.facts());
        status.transactions.fetch_add(1, Ordering::Relaxed);
        status.committed_events.fetch_add(events, Ordering::Relaxed);
        let has_deleted = results.iter().any(|result| result.sessions_removed > 0);
        if has_deleted {
            status.removed();
        }
        self.followers.wake(touched.into_iter());
        if has_deleted {
            self.maintenance.check_size(&self.connection);
        }
        if work.has_end() {
            self.maintenance.on_end.check_now();
        }
        let facts = work.facts.into_iter().map(|pending| {
            drop(pending.reservation);
            pending.done
        });
        let requests = work.requests.into_iter().map(|(_, done)| Some(done));
        for (done, result) in facts.chain(requests).zip(results) {
            if let Some(done) = done {
                done(result.answer);
            }
        }
    }

    /// Retries until a transaction succeeds; keeps the facts of `work` and those that arrive meanwhile.
    fn retry_until_written(&mut self, mut work: Work, err: StoreError) {
        let failed_at = Instant::now();
        let mut reason = Failure::from(&err);
        let mut pause = durations::WRITE_RETRY_FIRST;
        loop {
            self.fail(&reason, &mut work);
            self.hold_out(pause, &reason, &mut work);
            if self.stop && work.is_empty() {
                // Only requests failed, and they are refused: nothing is lost.
                return;
            }
            pause = (pause * 2).min(durations::WRITE_RETRY_MAX);
            let notes = survival_notes(&work, failed_at.elapsed(), &reason);
            match self.attempt(&notes, &work) {
                Ok(results) => {
                    self.status
                        .committed_events
                        .fetch_add(notes.len() as u64, Ordering::Relaxed);
                    self.status.set_write_failure(None);
                    self.finish(work, results);
                    break;
                }
                Err(err) => reason = Failure::from(&err),
            }
        }
        let outage_ms = failed_at.elapsed().as_millis() as u64;
        say!(StoreRecovered, outage_ms);
    }

    fn fail(&mut self, reason: &Failure, work: &mut Work) {
        if self.status.write_failure().as_ref() != Some(reason) {
            say!(StoreFailed, reason: reason);
        }
        self.status.set_write_failure(Some(reason.clone()));
        self.refuse_requests(reason, work);
    }

    /// Keeps all waiting facts for the next attempt, and refuses all requests.
    fn refuse_requests(&mut self, reason: &Failure, work: &mut Work) {
        self.maintenance.refuse(reason);
        self.backlog.move_to(work, usize::MAX);
        work.refuse_requests(reason);
    }

    /// Waits for `pause`; keeps facts and refuses requests that arrive.
    fn hold_out(&mut self, pause: Duration, reason: &Failure, work: &mut Work) {
        let until = Instant::now() + pause;
        while let Ok(item) = self.inbox.recv_deadline(until) {
            self.take(item);
            self.refuse_requests(reason, work);
        }
    }
}

/// One event for each session of `work`, stored before the delayed facts: the store failed and recovered.
fn survival_notes(work: &Work, outage: Duration, reason: &Failure) -> Vec<Fact> {
    let seconds = outage.as_secs_f32();
    let message = format!(
        "the event store could not be written for {seconds:.1} s, and nothing was lost: {reason}"
    );
    let mut noted = HashSet::new();
    work.facts()
        .map(Fact::num)
        .filter(|num| noted.insert(*num))
        .map(|num| {
            let note = NewEvent::error(Code::StoreUnavailable, &message);
            Fact::Events {
                num,
                events: vec![note],
            }
        })
        .collect()
}

#[cfg(test)]
#[path = "writer_tests/mod.rs"]
mod tests;
