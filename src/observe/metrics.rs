//! The daemon's metrics: counters that its threads bump as they go, and the page that shows them.
//!
//! A process is one daemon, so that the counters are the process's. They hold the program's own words and numbers:
//! nothing of a prompt, a path or a session's id ever comes here.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::counters::{Durations, Labelled};
use super::exposition::Exposition;
use crate::api::{
    CONTRACT, EventKind, EventWriterHealth, SessionStatus, StorageHealth, Stream, VERSION,
};
use crate::sys::OwnUsage;

pub use super::exposition::CONTENT_TYPE;

/// Harnesses that the page names; the sessions of all others are shown together.
const HARNESSES_MAX: usize = 50;

/// The longest harness id that can be a label.
const HARNESS_BYTES_MAX: usize = 64;

/// The statuses that answers have; what is not here is `other`.
const STATUSES_MAX: usize = 24;
const ROUTES_MAX: usize = 64;
const CODES_MAX: usize = 32;

/// The counters of this process.
pub static METRICS: Metrics = Metrics {
    launches: AtomicU64::new(0),
    launch_failures: Labelled::new([const { (OnceLock::new(), AtomicU64::new(0)) }; CODES_MAX]),
    requests: Labelled::new([const { (OnceLock::new(), Requests::new()) }; ROUTES_MAX]),
    events: [const { AtomicU64::new(0) }; EventKind::ALL.len()],
    output: [const { AtomicU64::new(0) }; 2],
    commits: Durations::new(),
};

/// What the threads count.
#[derive(Debug)]
pub struct Metrics {
    launches: AtomicU64,
    launch_failures: Labelled<AtomicU64, CODES_MAX>,
    requests: Labelled<Requests, ROUTES_MAX>,
    events: [AtomicU64; EventKind::ALL.len()],
    output: [AtomicU64; 2],
    commits: Durations,
}

/// The requests of one route.
#[derive(Debug)]
struct Requests {
    /// Status and count; a place whose status is 0 is not taken.
    by_status: [(AtomicU64, AtomicU64); STATUSES_MAX],
    durations: Durations,
}

/// Sessions by the words of their status and their harness.
pub type SessionTally = Vec<(SessionStatus, String, u64)>;

/// What the page shows besides the counters: others keep it, at this moment.
#[derive(Debug)]
pub struct Snapshot {
    /// How long the daemon has been running.
    pub uptime: Duration,
    /// The sessions that have a record; `None` if they cannot be read.
    pub sessions: Option<SessionTally>,
    /// The event writer.
    pub writer: EventWriterHealth,
    /// The disk.
    pub storage: StorageHealth,
    /// Secrets that were taken out, by kind.
    pub redactions: BTreeMap<&'static str, u64>,
    /// What the process uses, where the system tells.
    pub process: Option<OwnUsage>,
}

impl Metrics {
    /// A harness has been started.
    pub fn launched(&self) {
        bump(&self.launches, 1);
    }

    /// A launch was refused, or has failed.
    pub fn launch_failed(&self, code: &'static str) {
        bump(self.launch_failures.of(code), 1);
    }

    /// A request has been answered: `route` is its pattern.
    pub fn answered(&self, route: &'static str, status: u16, took: Duration) {
        let requests = self.requests.of(route);
        requests.durations.observe(took);
        requests.count(status);
    }

    /// So many events of this kind are on disk.
    pub fn written(&self, kind: EventKind, count: u64) {
        bump(&self.events[kind as usize], count);
    }

    /// A harness has written so many bytes.
    pub fn output(&self, stream: Stream, bytes: usize) {
        bump(&self.output[stream as usize], bytes as u64);
    }

    /// A transaction is on disk.
    pub fn committed(&self, took: Duration) {
        self.commits.observe(took);
    }

    /// The page, in Prometheus' text format.
    pub fn page(&self, snapshot: &Snapshot) -> Vec<u8> {
        let mut page = Exposition::default();
        show_daemon(&mut page, snapshot);
        self.show_launches(&mut page);
        self.show_requests(&mut page);
        self.show_events(&mut page);
        show_writer(&mut page, &snapshot.writer);
        let commits = "Time of a transaction of the event store, from its begin to its commit.";
        let mut family = page.histogram("coven_store_commit_duration_seconds", commits);
        self.commits.show(|shown| family.distribution(&[], shown));
        show_redactions(&mut page, &snapshot.redactions);
        show_storage(&mut page, &snapshot.storage);
        if let Some(process) = &snapshot.process {
            show_process(&mut page, process);
        }
        page.into_bytes()
    }

    fn show_launches(&self, page: &mut Exposition) {
        page.counter("coven_launches_total", "Harnesses started.")
            .value(read(&self.launches));
        let help = "Launches refused or failed, by error code.";
        let mut family = page.counter("coven_launch_failures_total", help);
        for (code, count) in self.launch_failures.iter() {
            family.labelled(&[("code", code)], read(count));
        }
    }

    fn show_requests(&self, page: &mut Exposition) {
        let help = "Requests answered, by route and status.";
        let mut family = page.counter("coven_http_requests_total", help);
        for (route, requests) in self.requests.iter() {
            requests.show(|status, count| {
                family.labelled(&[("route", route), ("status", status)], count);
            });
        }
        let help = "Time until a request had its answer, by route; a request that waits for events counts with its wait.";
        let mut family = page.histogram("coven_http_request_duration_seconds", help);
        for (route, requests) in self.requests.iter() {
            requests
                .durations
                .show(|shown| family.distribution(&[("route", route)], shown));
        }
    }

    fn show_events(&self, page: &mut Exposition) {
        let help = "Events committed, by kind.";
        let mut family = page.counter("coven_events_written_total", help);
        for (kind, count) in EventKind::ALL.iter().zip(&self.events) {
            family.labelled(&[("kind", kind.as_str())], read(count));
        }
        let help = "Bytes that harnesses have written, by stream, before redaction.";
        let mut family = page.counter("coven_output_bytes_total", help);
        for (stream, count) in Stream::ALL.iter().zip(&self.output) {
            family.labelled(&[("stream", stream.as_str())], read(count));
        }
    }
}

impl Requests {
    const fn new() -> Self {
        Self {
            by_status: [const { (AtomicU64::new(0), AtomicU64::new(0)) }; STATUSES_MAX],
            durations: Durations::new(),
        }
    }

    fn count(&self, status: u16) {
        let status = u64::from(status);
        let place = self.by_status.iter().find(|(taken_by, _)| {
            let taken = taken_by.compare_exchange(0, status, Ordering::Relaxed, Ordering::Relaxed);
            taken.is_ok() || taken == Err(status)
        });
        // The contract has fewer statuses than there are places.
        if let Some((_, count)) = place {
            bump(count, 1);
        }
    }

    fn show(&self, mut show: impl FnMut(&str, u64)) {
        for (status, count) in &self.by_status {
            match read(status) {
                0 => return,
                status => show(&status.to_string(), read(count)),
            }
        }
    }
}

fn bump(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn show_daemon(page: &mut Exposition, snapshot: &Snapshot) {
    page.gauge("coven_uptime_seconds", "Time since the daemon started.")
        .value(snapshot.uptime.as_secs_f64());
    let labels = [("version", VERSION), ("contract", CONTRACT)];
    page.gauge("coven_build_info", "The daemon's version and contract.")
        .labelled(&labels, 1);
    let Some(sessions) = &snapshot.sessions else {
        return;
    };
    let help = "Sessions that have a record, by status and harness.";
    let mut family = page.gauge("coven_sessions", help);
    for ((status, harness), count) in bounded(sessions) {
        family.labelled(&[("status", status), ("harness", harness)], count);
    }
}

/// The tally with its harnesses bounded: those with most sessions keep their name, if it looks like one, since
/// whoever registers an external session can write anything there.
fn bounded(sessions: &SessionTally) -> BTreeMap<(&'static str, &str), u64> {
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, harness, count) in sessions {
        *totals.entry(harness).or_default() += count;
    }
    let mut named: Vec<(&str, u64)> = totals
        .into_iter()
        .filter(|(harness, _)| is_name(harness))
        .collect();
    named.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    named.truncate(HARNESSES_MAX);
    let mut tally = BTreeMap::new();
    for (status, harness, count) in sessions {
        let is_named = named.iter().any(|(name, _)| name == harness);
        let harness = if is_named { harness.as_str() } else { "other" };
        *tally.entry((status.as_str(), harness)).or_default() += count;
    }
    tally
}

fn is_name(harness: &str) -> bool {
    harness.len() <= HARNESS_BYTES_MAX
        && harness
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn show_writer(page: &mut Exposition, writer: &EventWriterHealth) {
    let help = "Events that wait for the event writer.";
    page.gauge("coven_writer_queue_events", help)
        .value(writer.queued_events);
    let help = "Bytes that wait for the event writer.";
    page.gauge("coven_writer_queue_bytes", help)
        .value(writer.queued_bytes);
    let help = "Bytes that may wait before harnesses are held back.";
    page.gauge("coven_writer_queue_capacity_bytes", help)
        .value(writer.capacity_bytes);
    let help = "Transactions committed to the event store.";
    page.counter("coven_store_commits_total", help)
        .value(writer.transactions);
}

fn show_redactions(page: &mut Exposition, redactions: &BTreeMap<&'static str, u64>) {
    let help = "Secrets taken out of what is stored and logged, by kind.";
    let mut family = page.counter("coven_redactions_total", help);
    for (kind, count) in redactions {
        family.labelled(&[("kind", kind)], count);
    }
}

fn show_storage(page: &mut Exposition, storage: &StorageHealth) {
    page.gauge("coven_store_size_bytes", "Size of the database.")
        .value(storage.database_bytes);
    page.gauge("coven_store_wal_size_bytes", "Size of the database's log.")
        .value(storage.wal_bytes);
    let help = "What of the database is in use.";
    page.gauge("coven_store_used_bytes", help)
        .value(storage.used_bytes);
    let help = "Output events that retention has taken away.";
    page.counter("coven_output_truncated_events_total", help)
        .value(storage.truncated_output_events);
    let help = "Bytes of output that retention has taken away.";
    page.counter("coven_output_truncated_bytes_total", help)
        .value(storage.truncated_output_bytes);
    let help = "Free space on the file system that holds the database.";
    page.gauge("coven_store_free_disk_bytes", help)
        .value(storage.free_disk_bytes);
}

/// Not under Prometheus' own `process_` names: node_exporter has those of itself already, and refuses a file that
/// brings them again.
fn show_process(page: &mut Exposition, process: &OwnUsage) {
    let help = "Memory that the daemon has resident.";
    page.gauge("coven_process_resident_memory_bytes", help)
        .value(process.resident_bytes);
    page.gauge(
        "coven_process_open_fds",
        "Descriptors that the daemon has open.",
    )
    .value(process.open_files);
    page.gauge("coven_process_threads", "Threads of the daemon.")
        .value(process.threads);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_harnesses_are_named_than_fit_and_none_that_is_not_a_name() {
        let mut sessions: SessionTally = (0..80)
            .map(|n| (SessionStatus::Completed, format!("h{n}"), n + 1))
            .collect();
        sessions.push((SessionStatus::Failed, "/home/somebody".into(), 1000));
        let tally = bounded(&sessions);
        assert_eq!(tally.len(), HARNESSES_MAX + 2);
        assert_eq!(tally[&("completed", "h79")], 80);
        assert_eq!(tally[&("completed", "other")], (1..=30).sum::<u64>());
        assert_eq!(tally[&("failed", "other")], 1000);
    }
}
