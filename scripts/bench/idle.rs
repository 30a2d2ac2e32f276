//! An idle daemon's resident memory and wake-ups, and the size of the binary.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::lab::Lab;
use super::report::{Reach, Report};

/// Duration of the observation of an idle daemon.
const WATCHED: Duration = Duration::from_secs(10);

pub fn measure(report: &mut Report) {
    let binary = fs::metadata(env!("CARGO_BIN_EXE_coven")).unwrap().len();
    report.add_alone(
        "binary, stripped",
        "bytes",
        binary as f64,
        Reach::AtMost(4e6),
    );
    report.add_alone("crates", "", crates() as f64, Reach::AtMost(60.0));

    let lab = Lab::start();
    let pid = lab.pid();
    // Waits for the end of the work that the pid request caused, and for the release of the start's memory.
    std::thread::sleep(Duration::from_secs(3));
    let resident = lab.memory("VmRSS:") * 1024.0;
    report.add_alone("resident, idle", "bytes", resident, Reach::AtMost(6e6));
    let before = switches(pid);
    std::thread::sleep(WATCHED);
    let wakes = (switches(pid) - before) as f64 / WATCHED.as_secs_f64();
    report.add_alone("wake-ups, idle", "a second", wakes, Reach::AtMost(1.0));
}

fn crates() -> usize {
    let tree = Command::new("cargo")
        .args(["tree", "--locked", "-e", "normal", "--prefix", "none"])
        .output()
        .unwrap();
    let text = String::from_utf8(tree.stdout).unwrap();
    let mut crates: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split(" (").next())
        .collect();
    crates.sort_unstable();
    crates.dedup();
    crates.len()
}

/// Number of voluntary context switches of all threads of `pid`.
fn switches(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let of_task = |status: &str| -> u64 {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
    };
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("status")).ok())
        .map(|status| of_task(&status))
        .sum()
}
