//! Latency of one line from a quiet harness's write to a waiting follower, compared with a pipe and a socket without a
//! store; measured idle, and while another session floods.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::floor::monotonic_nanos;
use super::lab::Lab;
use super::report::{Reach, Report, Samples};

pub fn measure(report: &mut Report) {
    let lines = report.rounds(1000);
    let lab = Lab::new();
    lab.harness("tick");
    lab.harness("emit");
    lab.coven(&["daemon", "start"]);
    let floor = through_a_pipe_and_a_socket(lines);
    let idle = follow(&lab, lines);
    show(report, "idle", idle, floor, [1.0, 5.0]);

    let is_over = AtomicBool::new(false);
    let (busy, floor) = std::thread::scope(|scope| {
        scope.spawn(|| flood(&lab, &is_over));
        std::thread::sleep(Duration::from_millis(300));
        let floor = through_a_pipe_and_a_socket(lines);
        let busy = follow(&lab, lines);
        is_over.store(true, Ordering::Relaxed);
        (busy, floor)
    });
    show(report, "while another floods", busy, floor, [5.0, 25.0]);
}

/// `most` limits what the daemon adds to the floor, in milliseconds.
fn show(report: &mut Report, when: &str, mut ours: Samples, mut floor: Samples, most: [f64; 2]) {
    for (percent, most) in [50, 99].into_iter().zip(most) {
        let over = ours.percentile(percent) - floor.percentile(percent);
        let what = format!("a line to a follower, {when}, p{percent}, over a pipe and a socket");
        report.add_alone(&what, "ms", over, Reach::AtMost(most));
    }
}

fn flood(lab: &Lab, is_over: &AtomicBool) {
    let mut client = lab.client();
    while !is_over.load(Ordering::Relaxed) {
        let id = lab.launch(&mut client, "emit", "20000000");
        lab.wait_for_end(&mut client, &id);
    }
}

fn follow(lab: &Lab, lines: usize) -> Samples {
    let id = lab.launch(&mut lab.client(), "tick", &lines.to_string());
    let mut samples = Samples::default();
    for line in lines_of(lab, &id, || false) {
        samples.add(line.age);
    }
    samples
}

/// A line of the harness `tick`.
pub struct Line {
    /// Time at which the client had it, by [`monotonic_nanos`].
    pub arrived: u64,
    /// Time since the harness wrote it.
    pub age: Duration,
}

/// Follows a session of the harness `tick` until its exit, or until `is_over`.
pub fn lines_of(lab: &Lab, id: &str, is_over: impl Fn() -> bool) -> Vec<Line> {
    let mut client = lab.client();
    let (mut lines, mut after) = (Vec::new(), 0);
    while !is_over() {
        let path = format!("/events?sessionId={id}&afterSeq={after}&waitMs=30000");
        let body = client.get(&path);
        let now = monotonic_nanos();
        let page: Value = serde_json::from_slice(body).unwrap();
        for event in page["events"].as_array().unwrap() {
            after = event["seq"].as_u64().unwrap();
            match event["kind"].as_str().unwrap() {
                "output" => {
                    let payload: Value =
                        serde_json::from_str(event["payload_json"].as_str().unwrap()).unwrap();
                    lines.extend(aged(payload["data"].as_str().unwrap(), now));
                }
                "exit" => return lines,
                _ => {}
            }
        }
    }
    lines
}

fn aged(text: &str, arrived: u64) -> impl Iterator<Item = Line> {
    text.lines().map(move |line| {
        let at: u64 = line.parse().unwrap();
        let age = Duration::from_nanos(arrived - at);
        Line { arrived, age }
    })
}

/// Sends the same lines through a relay that reads a pipe and writes a socket.
fn through_a_pipe_and_a_socket(lines: usize) -> Samples {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--floor", "tick", "--", &lines.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdout.take().unwrap();
    let (mut relayed, received) = UnixStream::pair().unwrap();
    let relay = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n) = pipe.read(&mut buffer)
            && n > 0
        {
            relayed.write_all(&buffer[..n]).unwrap();
        }
    });
    let mut samples = Samples::default();
    for line in BufReader::new(received).lines() {
        let now = monotonic_nanos();
        for line in aged(&line.unwrap(), now) {
            samples.add(line.age);
        }
    }
    relay.join().unwrap();
    child.wait().unwrap();
    samples
}
