//! Upgrades in place: how long output and requests wait while the daemon's program is replaced by itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::floor::monotonic_nanos;
use super::follower::lines_of;
use super::lab::{Client, Lab};
use super::report::{Reach, Report, Samples};

/// Between two upgrades: followers have come back, and the writer has nothing left.
const PAUSE: Duration = Duration::from_millis(200);

pub fn measure(report: &mut Report) {
    for sessions in [1, 100, 500] {
        let most = if sessions <= 100 {
            Reach::AtMost(50.0)
        } else {
            Reach::Shown
        };
        let mut waits = waits(sessions, report.rounds(50));
        let with = format!("upgrade with {sessions} live sessions");
        for percent in [50, 99] {
            let output = waits.output.percentile(percent);
            report.add_alone(
                &format!("{with}: output waits, p{percent}"),
                "ms",
                output,
                most,
            );
        }
        for percent in [50, 99] {
            let what = format!("  a request during it, p{percent}");
            report.add_alone(
                &what,
                "ms",
                waits.requests.percentile(percent),
                Reach::Shown,
            );
        }
        let longest = waits.requests.percentile(100);
        report.add_alone("  the longest request", "ms", longest, Reach::AtMost(100.0));
    }
}

#[derive(Default)]
struct Waits {
    /// The oldest line of each upgrade, at its arrival.
    output: Samples,
    requests: Samples,
}

/// From a time until a later one, by [`monotonic_nanos`].
struct Span {
    from: u64,
    until: u64,
}

fn waits(sessions: usize, rounds: usize) -> Waits {
    let lab = Lab::new().env("COVEN_MAX_SESSIONS", "1000");
    lab.harness("second");
    lab.harness("tick");
    lab.coven(&["daemon", "start"]);
    let mut client = lab.client();
    for _ in 1..sessions {
        lab.launch(&mut client, "second", "3600");
    }
    let id = lab.launch(&mut client, "tick", "1000000");
    let over = AtomicBool::new(false);
    let is_over = || over.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        let lines = scope.spawn(|| lines_of(&lab, &id, is_over));
        let requests = scope.spawn(|| requests(&lab, is_over));
        std::thread::sleep(PAUSE);
        let upgrades: Vec<Span> = (0..rounds)
            .map(|_| upgrade(&mut client, sessions))
            .collect();
        over.store(true, Ordering::Relaxed);
        let (lines, requests) = (lines.join().unwrap(), requests.join().unwrap());
        let mut waits = Waits::default();
        for Span { from, until } in upgrades {
            let after = until + PAUSE.as_nanos() as u64;
            let during = lines
                .iter()
                .filter(|line| (from..after).contains(&line.arrived));
            waits.output.add(during.map(|line| line.age).max().unwrap());
            let during = requests
                .iter()
                .filter(|request| request.from < until && request.until > from);
            for request in during {
                waits
                    .requests
                    .add(Duration::from_nanos(request.until - request.from));
            }
        }
        waits
    })
}

/// Replaces the daemon's program by itself, and waits a little.
fn upgrade(client: &mut Client, sessions: usize) -> Span {
    let from = monotonic_nanos();
    let body = client.post("/daemon/upgrade", &json!({}));
    let until = monotonic_nanos();
    let answer: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(answer["sessions"], sessions, "{answer}");
    std::thread::sleep(PAUSE);
    Span { from, until }
}

/// Requests on new connections, one after the other.
fn requests(lab: &Lab, is_over: impl Fn() -> bool) -> Vec<Span> {
    let mut requests = Vec::new();
    while !is_over() {
        let from = monotonic_nanos();
        Client::connect(&lab.socket()).get("/health");
        let until = monotonic_nanos();
        requests.push(Span { from, until });
        std::thread::sleep(Duration::from_millis(1));
    }
    requests
}
