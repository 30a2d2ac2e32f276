//! Five hundred live sessions that print one line a second each.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::lab::Lab;
use super::report::{Reach, Report, Samples};

const SECONDS: u64 = 20;

pub fn measure(report: &mut Report) {
    let sessions = report.rounds(500);
    let lab = Lab::new().env("COVEN_MAX_SESSIONS", "1000");
    lab.harness("second");
    lab.coven(&["daemon", "start"]);
    let mut client = lab.client();
    let prompt = SECONDS.to_string();
    let ids: Vec<String> = (0..sessions)
        .map(|_| lab.launch(&mut client, "second", &prompt))
        .collect();
    let mut health = Samples::default();
    let end = Instant::now() + Duration::from_secs(SECONDS / 2);
    while Instant::now() < end {
        let begun = Instant::now();
        client.get("/health");
        health.add(begun.elapsed());
        std::thread::sleep(Duration::from_millis(10));
    }
    let resident = lab.memory("VmRSS:") * 1024.0;
    let what = format!("resident with {sessions} live sessions, a line a second each");
    report.add_alone(&what, "bytes", resident, Reach::AtMost(64e6));
    let p99 = health.percentile(99);
    report.add_alone("  health meanwhile, p99", "ms", p99, Reach::AtMost(10.0));
    let lines: u64 = ids
        .iter()
        .map(|id| {
            lab.wait_for_end(&mut client, id);
            let record: Value =
                serde_json::from_slice(client.get(&format!("/sessions/{id}"))).unwrap();
            record["stdout_lines"].as_u64().unwrap()
        })
        .sum();
    let lost = (sessions as u64 * SECONDS) as f64 - lines as f64;
    report.add_alone("  lines lost", "", lost, Reach::AtMost(0.0));
}
