//! Slowdown of a harness that writes each line separately: its run time under the daemon, compared with its run time
//! into a pipe that a reader only drains.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use coven::api::Timestamp;

use super::lab::Lab;
use super::report::{Reach, Report};

pub fn measure(report: &mut Report) {
    let lab = Lab::new();
    lab.harness("write-lines");
    lab.coven(&["daemon", "start"]);
    let lines = report.rounds(1_000_000);
    let mut best = [Duration::MAX; 2];
    let mut rows = 0;
    for _ in 0..3 {
        let (took, events) = under_the_daemon(&lab, lines);
        best[0] = best[0].min(took);
        best[1] = best[1].min(into_a_pipe(lines));
        rows = events;
    }
    let [ours, floor] = best.map(|took| took.as_secs_f64() * 1000.0);
    let what = format!("a harness that writes {lines} lines one by one");
    report.add(&what, "ms", ours, floor, Reach::Shown);
    report.add_alone("events of it", "", rows as f64, Reach::Shown);
}

/// Run time of the harness, and the number of events it produced.
fn under_the_daemon(lab: &Lab, lines: usize) -> (Duration, u64) {
    let mut client = lab.client();
    let id = lab.launch(&mut client, "write-lines", &lines.to_string());
    let record = lab.wait_for_end(&mut client, &id);
    let millis = |at: Option<Timestamp>| at.unwrap().as_millis();
    let took = millis(record.cost.ended_at) - millis(record.cost.started_at);
    (
        Duration::from_millis(took.try_into().unwrap()),
        record.last_seq,
    )
}

fn into_a_pipe(lines: usize) -> Duration {
    let begun = Instant::now();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--floor", "write-lines", &lines.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdout.take().unwrap();
    let mut buffer = vec![0; 64 * 1024];
    while pipe.read(&mut buffer).unwrap() > 0 {}
    child.wait().unwrap();
    begun.elapsed()
}
