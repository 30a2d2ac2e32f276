//! Resources of the daemon: descriptors, threads, children, CPU time.

use std::fs;

use serde_json::json;

use crate::support::*;

/// Descriptors that a daemon opens once and keeps: the readers' connections, and spare threads for clients.
const KEPT: usize = 12;

fn entries(pid: i32, what: &str) -> usize {
    fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count()
}

fn zombies_of(parent: i32) -> Vec<i32> {
    let is_child = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit(") ").next().unwrap_or("");
        rest.split(' ').nth(1) == Some(&parent.to_string())
    };
    let zombie = |pid: &i32| process_state(*pid) == Some('Z');
    pids().into_iter().filter(is_child).filter(zombie).collect()
}

#[test]
fn fifty_sessions_leave_no_descriptor_no_thread_and_no_zombie() {
    let coven = Coven::start();
    coven.harness_with("open", "read line", json!({ "stdin": "open" }));
    coven.harness("failing", "exit 1");
    let pid = coven.daemon_pid();
    let before = ["fd", "task"].map(|what| entries(pid, what));
    let launch = |n: usize| coven.launch(["hello", "open", "failing"][n % 3], "hi");
    let ids: Vec<String> = (0..50).map(launch).collect();
    for (n, id) in ids.iter().enumerate() {
        if n % 3 == 1 {
            let input = json!({ "data": "bye\n" });
            let path = format!("/api/v1/sessions/{id}/input");
            assert_eq!(coven.post(&path, &input).status, 202);
        }
        coven.ended(id);
    }
    for (what, before) in ["fd", "task"].into_iter().zip(before) {
        eventually(what, || entries(pid, what) <= before + KEPT);
    }
    eventually("no zombie", || zombies_of(pid).is_empty());
}

#[test]
fn launches_that_fail_leave_no_descriptor() {
    let coven = Coven::start();
    coven.harness("broken", "");
    let program = coven.work().parent().unwrap().join("bin/broken");
    fs::write(&program, "#!/no/such/interpreter\n").unwrap();
    let pid = coven.daemon_pid();
    let before = entries(pid, "fd");
    for _ in 0..50 {
        let body = coven.launch_body("broken", "x");
        let answer = coven.post("/api/v1/sessions", &body);
        assert_eq!(answer.error(), (500, "launch_failed".into()));
    }
    eventually("fd", || entries(pid, "fd") <= before + KEPT);
}

#[test]
fn an_idle_daemon_has_less_than_6_mib_resident_also_after_sessions() {
    // Unoptimised code is larger.
    let max_mib = if cfg!(debug_assertions) { 10 } else { 6 };
    let coven = Coven::start();
    let pid = coven.daemon_pid();
    let is_small = || resident_kib(pid) < max_mib * 1024;
    eventually("the memory of the start is released", is_small);
    for _ in 0..3 {
        coven.cli(["run", "hello", "x"]);
    }
    eventually("the memory of the sessions is released", is_small);
    // What is mapped again is as it was.
    assert_eq!(coven.cli(["run", "hello", "x"]).code, 0);
}

#[test]
fn the_memory_of_readers_is_released_once_they_have_gone() {
    // Unoptimised code is larger.
    let max_mib = if cfg!(debug_assertions) { 10 } else { 6 };
    let coven = Coven::start();
    coven.harness("much", "yes 0123456789abcdef | head -c 8000000");
    let id = coven.launch("much", "x");
    coven.ended(&id);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(coven.cli(["logs", &id]).out.len(), 8_000_000));
        }
    });
    let pid = coven.daemon_pid();
    eventually("it is released", || resident_kib(pid) < max_mib * 1024);
}

/// Number of sleeps of `pid`'s threads: each wake-up adds one.
fn sleeps(pid: i32) -> u64 {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let count = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += count.map_or(0, |count| count.trim().parse::<u64>().unwrap());
    }
    sum
}

#[test]
fn an_idle_daemon_with_a_quiet_session_never_wakes() {
    let coven = Coven::start();
    coven.harness("quiet", "echo ready; exec sleep 1000");
    coven.wait_for_output(&coven.launch("quiet", "x"), "ready");
    // That it is to be archived is one wait of half a minute.
    coven.cli(["run", "--archive", "hello", "x"]);
    let pid = coven.daemon_pid();
    // Something else to wait for, long enough for a timer of a few seconds to show.
    let stretch = || {
        let other = std::process::Command::new("sleep").arg("4").status();
        assert!(other.unwrap().success());
    };
    // What the last request has begun may end in the first stretch; a timer shows in all of them.
    let is_idle = (0..4).any(|_| {
        let before = sleeps(pid);
        stretch();
        sleeps(pid) == before
    });
    assert!(is_idle, "the daemon wakes though nothing happens");
}
