//! Declares each metric once: name, type, labels, help, and source of its figures.
//!
//! Any thread counts; a connection thread renders the page. The counters belong to the process, which is one daemon.
//! Metrics never contain prompts, paths or session ids.

mod handover;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::counters::{Counter, Durations, Labelled};
use super::exposition::{Exposition, MetricFamily, MetricType, Samples};
use crate::api::{
    CONTRACT, EventKind, EventWriterHealth, SessionStatus, StorageHealth, Stream, version,
};
use crate::sys::OwnUsage;

pub use super::exposition::CONTENT_TYPE;
pub use handover::{MetricsHandover, hand_over, take_up};

/// Most harnesses with their own label; sessions of the others are summed.
const HARNESSES_MAX: usize = 50;

/// Longest harness id that can be a label, in bytes.
const HARNESS_BYTES_MAX: usize = 64;

/// Most statuses, routes and codes that are counted separately; others are counted as `other`, or not at all.
const STATUSES_MAX: usize = 24;
const ROUTES_MAX: usize = 64;
const CODES_MAX: usize = 32;

/// Number of started harnesses.
pub(crate) static LAUNCHES: Counter = Counter::new();

/// Refused or failed launches, by error code.
pub(crate) static LAUNCH_FAILURES: Labelled<Counter, CODES_MAX> = Labelled::new();

/// Answered requests, by the route's pattern.
static REQUESTS: Labelled<Requests, ROUTES_MAX> = Labelled::new();

/// Committed events, by [`EventKind`].
pub(crate) static EVENTS_WRITTEN: [Counter; EventKind::ALL.len()] =
    [const { Counter::new() }; EventKind::ALL.len()];

/// Bytes that harnesses wrote, by [`Stream`].
pub(crate) static OUTPUT_BYTES: [Counter; Stream::ALL.len()] =
    [const { Counter::new() }; Stream::ALL.len()];

/// Tokens that harnesses reported, by harness; kinds as in [`TOKEN_KINDS`].
static TOKENS: Labelled<[Counter; TOKEN_KINDS.len()], HARNESSES_MAX> = Labelled::new();

const TOKEN_KINDS: [&str; 3] = ["input", "output", "cached"];

/// Durations of committed transactions.
pub(crate) static COMMITS: Durations = Durations::new();

/// A family of the page, with the function that writes its samples.
pub struct Metric {
    pub family: MetricFamily,
    /// Writes its samples; `None` omits the family.
    show: Show,
}

/// All metrics, in the order of the page.
#[rustfmt::skip]
pub const ALL: &[Metric] = &[
    gauge("coven_uptime_seconds", &[], "Time since the daemon started.",
        |now, out| out.value(now.uptime.as_secs_f64())),
    gauge("coven_build_info", &["version", "contract"], "The daemon's version and contract.",
        |_, out| out.labelled([([version(), CONTRACT], 1)])),
    gauge("coven_sessions", &["status", HARNESS], "Sessions that have a record, by status and harness.",
        |now, out| out.labelled(bounded(now.sessions.as_ref()?))),
    gauge("coven_session_silence_seconds", &[HARNESS],
        "Time since the last output, or the start, of the running session that is silent the longest, by harness.",
        |now, out| out.labelled(now.silence.iter().map(|(harness, silence)| ([harness], silence.as_secs_f64())))),
    counter("coven_launches_total", &[], "Harnesses started.",
        |_, out| out.value(LAUNCHES.get())),
    counter("coven_launch_failures_total", &["code"], "Launches refused or failed, by error code.",
        |_, out| out.labelled(LAUNCH_FAILURES.iter().map(|(code, count)| ([code], count.get())))),
    counter("coven_http_requests_total", &["route", "status"], "Requests answered, by route and status.",
        |_, out| out.labelled(REQUESTS.iter().flat_map(|(route, requests)| requests.by_status(route)))),
    histogram("coven_http_request_duration_seconds", &["route"],
        "Time until a request had its answer, by route; a request that waits for events counts with its wait.",
        |_, out| out.distributions(REQUESTS.iter().map(|(route, requests)| ([route], requests.durations.get())))),
    counter("coven_events_written_total", &["kind"], "Events committed, by kind.",
        |_, out| out.labelled(EventKind::ALL.map(|kind| ([kind.as_str()], EVENTS_WRITTEN[kind as usize].get())))),
    counter("coven_output_bytes_total", &["stream"], "Bytes that harnesses have written, by stream, before redaction.",
        |_, out| out.labelled(Stream::ALL.map(|stream| ([stream.as_str()], OUTPUT_BYTES[stream as usize].get())))),
    counter("coven_tokens_total", &[HARNESS, "kind"],
        "Tokens of models that harnesses have told of, by harness and kind: input, output, cached.",
        |_, out| out.labelled(TOKENS.iter().flat_map(|(harness, counts)|
            TOKEN_KINDS.iter().zip(counts).map(move |(kind, count)| ([harness, kind], count.get()))))),
    gauge("coven_writer_queue_events", &[], "Events that wait for the event writer.",
        |now, out| out.value(now.writer.queued_events)),
    gauge("coven_writer_queue_bytes", &[], "Bytes that wait for the event writer.",
        |now, out| out.value(now.writer.queued_bytes)),
    gauge("coven_writer_queue_capacity_bytes", &[], "Bytes that may wait before harnesses are held back.",
        |now, out| out.value(now.writer.capacity_bytes)),
    counter("coven_store_commits_total", &[], "Transactions committed to the event store.",
        |now, out| out.value(now.writer.transactions)),
    histogram("coven_store_commit_duration_seconds", &[],
        "Time of a transaction of the event store, from its begin to its commit.",
        |_, out| out.distributions([(NO_LABELS, COMMITS.get())])),
    counter("coven_redactions_total", &["kind"], "Secrets taken out of what is stored and logged, by kind.",
        |now, out| out.labelled(now.redactions.iter().map(|(kind, count)| ([kind], count)))),
    gauge("coven_store_size_bytes", &[], "Size of the database.",
        |now, out| out.value(now.storage.database_bytes)),
    gauge("coven_store_wal_size_bytes", &[], "Size of the database's log.",
        |now, out| out.value(now.storage.wal_bytes)),
    gauge("coven_store_used_bytes", &[], "What of the database is in use.",
        |now, out| out.value(now.storage.used_bytes)),
    counter("coven_output_truncated_events_total", &[], "Output events that retention has taken away.",
        |now, out| out.value(now.storage.truncated_output_events)),
    counter("coven_output_truncated_bytes_total", &[], "Bytes of output that retention has taken away.",
        |now, out| out.value(now.storage.truncated_output_bytes)),
    gauge("coven_store_free_disk_bytes", &[], "Free space on the file system that holds the database.",
        |now, out| out.value(now.storage.free_disk_bytes)),
    // Not Prometheus' own `process_` names: node_exporter exports those about itself, and rejects a text file that
    // repeats them.
    gauge("coven_process_resident_memory_bytes", &[], "Memory that the daemon has resident.",
        |now, out| out.value(now.process?.resident_bytes)),
    gauge("coven_process_open_fds", &[], "Descriptors that the daemon has open.",
        |now, out| out.value(now.process?.open_files)),
    gauge("coven_process_threads", &[], "Threads of the daemon.",
        |now, out| out.value(now.process?.threads)),
];

/// The only label with values that are not the program's own words.
const HARNESS: &str = "harness";

const NO_LABELS: &[&str] = &[];

type Show = fn(&Snapshot, &mut Samples<'_>) -> Option<()>;

/// Number of sessions by status and harness.
pub type SessionTally = Vec<(SessionStatus, String, u64)>;

/// Figures of the page that are not counters, read when the page is rendered.
#[derive(Debug)]
pub struct Snapshot {
    pub uptime: Duration,
    /// Sessions with a record; `None` if they cannot be read.
    pub sessions: Option<SessionTally>,
    /// The longest silence of a running session, by harness.
    pub silence: BTreeMap<String, Duration>,
    pub writer: EventWriterHealth,
    pub storage: StorageHealth,
    /// Redacted secrets, by kind.
    pub redactions: BTreeMap<&'static str, u64>,
    /// Resources that the process uses; `None` if the system does not tell.
    pub process: Option<OwnUsage>,
}

impl Metric {
    /// True if a diagnostics report shows it: histograms have too many buckets, and the harness label may be user text.
    pub fn is_reported(&self) -> bool {
        let family = &self.family;
        family.metric_type != MetricType::Histogram && !family.labels.contains(&HARNESS)
    }
}

/// Renders the page in Prometheus' text format.
pub fn page(now: &Snapshot) -> Vec<u8> {
    let mut page = Exposition::default();
    for metric in ALL {
        page.family(&metric.family, |samples| (metric.show)(now, samples));
    }
    page.into_bytes()
}

/// Counts an answered request; `route` is the route's pattern.
pub fn answered(route: &'static str, status: u16, took: Duration) {
    let requests = REQUESTS.of(route);
    requests.durations.observe(took);
    requests.count(status, 1);
}

/// Counts tokens that a harness reported: input, output, cached.
pub fn used(harness: &str, tokens: [u64; TOKEN_KINDS.len()]) {
    let counts = TOKENS.of(harness.to_owned());
    counts
        .iter()
        .zip(tokens)
        .for_each(|(count, tokens)| count.add(tokens));
}

macro_rules! types {
    ($($name:ident: $metric_type:ident;)*) => {$(
        const fn $name(
            name: &'static str,
            labels: &'static [&'static str],
            help: &'static str,
            show: Show,
        ) -> Metric {
            let family = MetricFamily { metric_type: MetricType::$metric_type, name, labels, help };
            Metric { family, show }
        }
    )*};
}

types! {
    counter: Counter;
    gauge: Gauge;
    histogram: Histogram;
}

#[derive(Debug, Default)]
struct Requests {
    /// Status and count; a free place has status 0.
    by_status: [(AtomicU64, Counter); STATUSES_MAX],
    durations: Durations,
}

impl Requests {
    fn count(&self, status: u16, times: u64) {
        let status = u64::from(status);
        let place = self.by_status.iter().find(|(taken_by, _)| {
            let taken = taken_by.compare_exchange(0, status, Ordering::Relaxed, Ordering::Relaxed);
            taken.is_ok() || taken == Err(status)
        });
        // The contract has fewer statuses than there are places.
        if let Some((_, count)) = place {
            count.add(times);
        }
    }

    fn by_status(&self, route: &str) -> impl Iterator<Item = ([String; 2], u64)> {
        self.counts()
            .map(move |(status, count)| ([route.to_owned(), status.to_string()], count))
    }

    /// The statuses that have occurred, with their counts.
    fn counts(&self) -> impl Iterator<Item = (u16, u64)> {
        self.by_status.iter().map_while(|(status, count)| {
            let status = status.load(Ordering::Relaxed) as u16;
            (status > 0).then(|| (status, count.get()))
        })
    }
}

/// The tally with a bounded number of harnesses: those with the most sessions keep their name if it is valid. A client
/// that registers an external session can send any text as harness.
fn bounded(sessions: &SessionTally) -> BTreeMap<[&str; 2], u64> {
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
        *tally.entry([status.as_str(), harness]).or_default() += count;
    }
    tally
}

/// The longest silence of each harness. Harnesses beyond the limit of labels are `other`.
pub fn longest_silence(
    silences: impl Iterator<Item = (String, Duration)>,
) -> BTreeMap<String, Duration> {
    let mut longest: BTreeMap<String, Duration> = BTreeMap::new();
    for (harness, silence) in silences {
        let is_named = longest.len() < HARNESSES_MAX || longest.contains_key(&harness);
        let harness = if is_named { harness } else { "other".into() };
        let known = longest.entry(harness).or_default();
        *known = silence.max(*known);
    }
    longest
}

fn is_name(harness: &str) -> bool {
    harness.len() <= HARNESS_BYTES_MAX
        && harness
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
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
        assert_eq!(tally[&["completed", "h79"]], 80);
        assert_eq!(tally[&["completed", "other"]], (1..=30).sum::<u64>());
        assert_eq!(tally[&["failed", "other"]], 1000);
    }
}
