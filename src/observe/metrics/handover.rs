//! The counters, as the next program goes on with them.
//!
//! Plain data, for the main thread.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::counters::{Counter, Durations, DurationsHandover};
use super::{
    COMMITS, EVENTS_WRITTEN, EventKind, LAUNCH_FAILURES, LAUNCHES, OUTPUT_BYTES, REQUESTS,
    Requests, Stream, TOKEN_KINDS, TOKENS,
};
use crate::sys::passed;

/// All counters. A label that the next program does not know is dropped with its count.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MetricsHandover {
    launches: u64,
    launch_failures: BTreeMap<String, u64>,
    requests: BTreeMap<String, RequestsHandover>,
    events_written: BTreeMap<String, u64>,
    output_bytes: BTreeMap<String, u64>,
    tokens: BTreeMap<String, [u64; TOKEN_KINDS.len()]>,
    commits: DurationsHandover,
}

#[derive(Debug, Serialize, Deserialize)]
struct RequestsHandover {
    by_status: Vec<(u16, u64)>,
    durations: DurationsHandover,
}

/// The counters of this process.
pub fn hand_over() -> MetricsHandover {
    let named = |names: &[&'static str], counters: &[Counter]| {
        passed::table(names.iter().copied().zip(counters.iter().map(Counter::get)))
    };
    let requests = |requests: &Requests| RequestsHandover {
        by_status: requests.counts().collect(),
        durations: requests.durations.hand_over(),
    };
    MetricsHandover {
        launches: LAUNCHES.get(),
        launch_failures: passed::table(
            LAUNCH_FAILURES
                .iter()
                .map(|(code, count)| (code, count.get())),
        ),
        requests: passed::table(
            REQUESTS
                .iter()
                .map(|(route, of_route)| (route, requests(of_route))),
        ),
        events_written: named(&EventKind::ALL.map(EventKind::as_str), &EVENTS_WRITTEN),
        output_bytes: named(&Stream::ALL.map(Stream::as_str), &OUTPUT_BYTES),
        tokens: passed::table(
            TOKENS
                .iter()
                .map(|(harness, counts)| (harness, counts.each_ref().map(Counter::get))),
        ),
        commits: COMMITS.hand_over(),
    }
}

/// Adds the counts of the previous program.
pub fn take_up(handover: MetricsHandover) {
    let MetricsHandover {
        launches,
        launch_failures,
        requests,
        events_written,
        output_bytes,
        tokens,
        commits,
    } = handover;
    LAUNCHES.add(launches);
    for (code, count) in launch_failures {
        LAUNCH_FAILURES.of(code).add(count);
    }
    for (route, of_route) in requests {
        let all = REQUESTS.of(route);
        for (status, count) in of_route.by_status {
            all.count(status, count);
        }
        all.durations.take_up(&of_route.durations);
    }
    for (kind, count) in EventKind::ALL.iter().zip(&EVENTS_WRITTEN) {
        count.add(events_written.get(kind.as_str()).copied().unwrap_or(0));
    }
    for (stream, count) in Stream::ALL.iter().zip(&OUTPUT_BYTES) {
        count.add(output_bytes.get(stream.as_str()).copied().unwrap_or(0));
    }
    for (harness, tokens) in tokens {
        super::used(&harness, tokens);
    }
    Durations::take_up(&COMMITS, &commits);
}
