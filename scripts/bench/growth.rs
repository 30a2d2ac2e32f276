//! Growth of costs with the events of a session and with the live sessions: some must stay flat, others may grow in
//! proportion.

use std::time::Instant;

use super::lab::{Client, Lab};
use super::plot::{Panel, Series};
use super::read::filled;
use super::report::{Reach, Report, Samples};
use super::start::starts;

const EVENTS: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
const SESSIONS: [u64; 4] = [1, 10, 100, 500];

/// Limit of the ratio of the largest cost to the smallest where costs must stay flat; where they may grow in
/// proportion, of the ratio per unit.
const FLAT: f64 = 2.0;

pub fn measure(report: &mut Report) {
    by_events(report);
    by_sessions(report);
}

fn by_events(report: &mut Report) {
    let counts = &EVENTS[..report.rounds(40).clamp(3, 4)];
    let mut page = Series::new("a page of 1000 at its end, ms");
    let mut health = Series::new("health, ms");
    let mut start = Series::new("start, ms");
    let mut all = Series::new("reading all of it, ms");
    for &events in counts {
        let lab = Lab::start();
        let id = filled(&lab, events);
        let mut client = lab.client();
        let rounds = report.rounds(300);
        let at_end = format!("/events?sessionId={id}&afterSeq={}", events - 1000);
        page.add(
            events,
            p50(rounds, || {
                client.get(&at_end);
            }),
        );
        health.add(
            events,
            p50(rounds, || {
                client.get("/health");
            }),
        );
        all.add(events, p50(3, || read_all(&mut client, &id)));
        start.add(events, starts(&lab, report.rounds(100).max(5)));
    }
    for series in [&page, &health, &start] {
        flat(report, series, "a thousand events");
    }
    in_step(report, &all, "a thousand events");
    let title = "events of a session";
    report.plot(Panel::new(title, vec![page, health, start, all]));
}

fn by_sessions(report: &mut Report) {
    let counts = &SESSIONS[..report.rounds(40).clamp(3, 4)];
    let lab = Lab::new().env("COVEN_MAX_SESSIONS", "1000");
    for harness in ["second", "nothing"] {
        lab.harness(harness);
    }
    lab.coven(&["daemon", "start"]);
    let idle = lab.memory("VmRSS:");
    let mut client = lab.client();
    let mut launch = Series::new("launch to 201, ms");
    let mut health = Series::new("health, ms");
    let mut resident = Series::new("resident beyond idle, MB");
    let mut live = 0;
    for &sessions in counts {
        for _ in live..sessions {
            lab.launch(&mut client, "second", "100000");
        }
        live = sessions;
        let rounds = report.rounds(200);
        health.add(
            sessions,
            p50(rounds, || {
                client.get("/health");
            }),
        );
        let mut samples = Samples::default();
        for _ in 0..rounds {
            let begun = Instant::now();
            let id = lab.launch(&mut client, "nothing", "x");
            samples.add(begun.elapsed());
            lab.wait_for_end(&mut client, &id);
        }
        launch.add(sessions, samples.percentile(50));
        let more = (lab.memory("VmRSS:") - idle).max(1.0) * 1024.0 / 1e6;
        resident.add(sessions, more);
    }
    for series in [&launch, &health] {
        flat(report, series, "one session");
    }
    // Starts at ten sessions: the first session's figure includes memory that all sessions share.
    in_step(report, &resident.from(10), "ten sessions");
    let title = "live sessions, a line a second each";
    report.plot(Panel::new(title, vec![launch, health, resident]));
}

fn p50(rounds: usize, mut act: impl FnMut()) -> f64 {
    let mut samples = Samples::default();
    for _ in 0..rounds {
        let begun = Instant::now();
        act();
        samples.add(begun.elapsed());
    }
    samples.percentile(50)
}

fn read_all(client: &mut Client, id: &str) {
    let mut after = Some(0);
    while let Some(seq) = after {
        after = super::read::next_page(client, id, seq);
    }
}

fn flat(report: &mut Report, series: &Series, least: &str) {
    let [(_, first), .., (count, last)] = series.points() else {
        return;
    };
    let what = format!("{}: {count}, beside {least}", series.name());
    report.add(&what, "", *last, *first, Reach::Ratio(FLAT));
}

fn in_step(report: &mut Report, series: &Series, least: &str) {
    let [(few, first), .., (count, last)] = series.points() else {
        return;
    };
    let what = format!("{}, a thousand: {count}, beside {least}", series.name());
    let a_thousand = |count: u64, figure: f64| figure * 1000.0 / count as f64;
    let (last, first) = (a_thousand(*count, *last), a_thousand(*few, *first));
    report.add(&what, "", last, first, Reach::Ratio(FLAT));
}
