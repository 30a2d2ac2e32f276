//! Duration of `daemon start` until the daemon has answered its own health check, with an empty store and with a large
//! one.

use std::time::Instant;

use super::lab::Lab;
use super::read::filled;
use super::report::{Reach, Report, Samples};

pub fn measure(report: &mut Report) {
    let lab = Lab::start();
    let rounds = report.rounds(50).max(5);
    let empty = starts(&lab, rounds);
    report.add_alone("start, empty store, p50", "ms", empty, Reach::AtMost(50.0));
    let events = report.rounds(5_000_000) as u64;
    filled(&lab, events);
    let large = starts(&lab, rounds);
    let what = format!("start, {events} events, p50");
    report.add(&what, "ms", large, empty, Reach::Ratio(1.5));
}

pub fn starts(lab: &Lab, rounds: usize) -> f64 {
    let mut samples = Samples::default();
    for _ in 0..rounds {
        lab.coven(&["daemon", "stop"]);
        let begun = Instant::now();
        lab.coven(&["daemon", "start"]);
        samples.add(begun.elapsed());
    }
    samples.percentile(50)
}
