//! Harnesses that hide, multiply, flood or play dead: a kill ends all of it, and the daemon pays little for it.

use std::fs;

use serde_json::json;

use crate::support::*;

/// Processes that leave the process group, the environment, their parents and the session's mark, each in another
/// combination. All of them have the test's own directory as theirs.
const HIDING: &str = "
sleep 1000 &
setsid sleep 1000 &
env -i sleep 1000 &
env -i setsid sleep 1000 &
(env -i setsid sleep 1000 &)
(setsid env -i sh -c 'trap \"\" TERM HUP; (env -i setsid sleep 1000 >/dev/null 2>&1 </dev/null &) ; exec sleep 1000' &)
setsid sh -c 'bash -c \"ulimit -S -x unlimited; exec env -i setsid sleep 1000\" & wait' &
until [ -e .ready ]; do :; done
";

/// Number of processes that `HIDING` starts.
const HIDDEN: usize = 8;

/// Launches `HIDING` with `rest` behind it, and waits until all of it is there. Gives what is new.
fn hide(coven: &Coven, rest: &str) -> (String, Vec<i32>) {
    let marker = coven.work().join(".ready");
    let _ = fs::remove_file(&marker);
    let before = sleepers(coven);
    coven.harness("hiding", &format!("{HIDING}\n{rest}"));
    let id = coven.launch("hiding", "x");
    let new = || -> Vec<i32> {
        let all = sleepers(coven).into_iter();
        all.filter(|pid| !before.contains(pid)).collect()
    };
    eventually("all of them sleep", || new().len() == HIDDEN);
    let new = new();
    fs::write(marker, "").unwrap();
    (id, new)
}

/// The processes that execute `sleep` in the test's own directory.
fn sleepers(coven: &Coven) -> Vec<i32> {
    let name = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let all = coven.processes_at_work().into_iter();
    all.filter(|pid| name(pid) == "sleep\n").collect()
}

#[test]
fn a_kill_reaches_what_has_left_group_environment_and_parents() {
    let coven = Coven::start();
    let (id, _) = hide(&coven, "echo ready; cat; sleep 1000 & wait");
    coven.wait_for_output(&id, "ready");
    assert_eq!(coven.kill_session(&id).status, 202);
    assert_eq!(coven.ended(&id)["status"], "killed");
    // Not a moment later: the session is not final before its processes are gone.
    assert_eq!(coven.processes_at_work(), [0; 0]);
}

#[test]
fn a_time_limit_and_a_stop_of_the_daemon_reach_them_too() {
    let coven = Coven::start();
    let (_, _) = hide(&coven, "wait");
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    assert_eq!(coven.processes_at_work(), [0; 0]);
    coven.start_daemon();
    coven.harness("timed", "(env -i setsid sleep 1000 &); sleep 1000");
    let launched = coven.try_launch("timed", "x", json!({ "timeoutMs": 300 }));
    assert_eq!(coven.ended(&launched.id())["status"], "killed");
    assert_eq!(coven.processes_at_work(), [0; 0]);
}

#[test]
fn a_kill_leaves_the_processes_of_other_sessions_alone() {
    let coven = Coven::start();
    let (background, left) = hide(&coven, "exit 0");
    assert_eq!(coven.ended(&background)["status"], "completed");
    let (other, others) = hide(&coven, "wait");
    let (id, _) = hide(&coven, "wait");
    coven.kill_session(&id);
    coven.ended(&id);
    let mut expected = [left.clone(), others].concat();
    expected.sort_unstable();
    let mut there = sleepers(&coven);
    there.sort_unstable();
    assert_eq!(there, expected);
    coven.kill_session(&other);
    coven.ended(&other);
    // What a harness that ended by itself has left in the background lives on.
    assert_eq!(sleepers(&coven), left);
    coven.cli(["daemon", "stop"]);
    assert_eq!(sleepers(&coven), left);
}

#[test]
fn a_process_that_ends_in_the_background_leaves_no_zombie() {
    let coven = Coven::start();
    let (id, left) = hide(&coven, "exit 0");
    coven.ended(&id);
    let daemon = coven.daemon_pid();
    let adopted = |pid: &&i32| parent_of(**pid) == Some(daemon);
    assert!(
        left.iter().filter(adopted).count() >= 5,
        "the daemon adopts orphans"
    );
    for pid in &left {
        assert!(kill(*pid, libc::SIGKILL));
    }
    eventually("they are reaped", || {
        left.iter().all(|pid| process_state(*pid).is_none())
    });
    // And sessions end as ever.
    assert_eq!(coven.run("hello", "x")["status"], "completed");
}

#[test]
fn nothing_is_left_after_a_crash_and_a_restart() {
    let coven = Coven::start();
    for rest in ["wait", "trap '' TERM HUP PIPE; while :; do sleep 1; done"] {
        let (id, _) = hide(&coven, rest);
        coven.crash();
        coven.start_daemon();
        assert_eq!(coven.processes_at_work(), [0; 0]);
        assert_eq!(coven.session(&id)["status"], "orphaned");
    }
}

#[test]
fn a_kill_that_a_crash_interrupts_is_finished_by_the_next_daemon() {
    let coven = Coven::new().env("COVEN_KILL_GRACE_MS", "600000");
    coven.start_daemon();
    let (id, _) = hide(
        &coven,
        "trap '' TERM; echo ready; while :; do sleep 1; done",
    );
    coven.wait_for_output(&id, "ready");
    coven.kill_session(&id);
    coven.crash();
    coven.start_daemon();
    assert_eq!(coven.processes_at_work(), [0; 0]);
    assert_eq!(coven.session(&id)["status"], "orphaned");
}

#[test]
fn a_daemon_that_was_started_inside_a_killed_session_lives_on_with_its_sessions() {
    let outer = Coven::start();
    let inner = Coven::new();
    inner.harness("quiet", "echo ready; sleep 1000");
    let start = format!(
        "COVEN_HOME={} {} daemon start; echo started; sleep 1000",
        inner.home().display(),
        env!("CARGO_BIN_EXE_coven")
    );
    outer.harness(
        "starter",
        &format!("PATH={}:$PATH; {start}", inner.bin().display()),
    );
    let id = outer.launch("starter", "x");
    outer.wait_for_output(&id, "started");
    let daemon = inner.daemon_pid();
    let session = inner.launch("quiet", "x");
    inner.wait_for_output(&session, "ready");
    outer.kill_session(&id);
    assert_eq!(outer.ended(&id)["status"], "killed");
    assert!(is_alive(daemon));
    assert_eq!(inner.session(&session)["status"], "running");
    // Nor does the start of the next daemon after a crash of the outer one end it.
    let again = outer.launch("hello", "x");
    outer.ended(&again);
    outer.crash();
    outer.start_daemon();
    assert!(is_alive(daemon));
    assert_eq!(inner.session(&session)["status"], "running");
}

#[test]
fn without_room_for_the_mark_session_and_environment_have_to_do() {
    let coven = Coven::new();
    let prelude = "prlimit --locks=1000000:1000000 --pid $$ || exit 77";
    let mut start = coven.command_after(prelude, &["daemon", "start"]);
    let ran = Ran::of(start.output().unwrap());
    if ran.code == 77 {
        println!("skipped: no prlimit(1)");
        return;
    }
    // A group of its own with an empty environment, and a session of its own with a full one.
    let script =
        "env -i bash -c 'set -m; sleep 1000 & wait' & setsid sleep 1000 & echo ready; wait";
    coven.harness("hiding", script);
    for expected in [2, 4] {
        coven.launch("hiding", "x");
        eventually("all sleep", || sleepers(&coven).len() == expected);
    }
    let id = coven.sessions()[0]["id"].as_str().unwrap().to_owned();
    coven.kill_session(&id);
    coven.ended(&id);
    assert_eq!(sleepers(&coven).len(), 2);
}

#[test]
fn a_harness_that_forks_without_rest_is_ended() {
    let coven = Coven::start();
    // Each lives for one fork only, in a session of its own: no number is the same when it is looked at again.
    let script = "echo 'if [ -e stop ]; then exit; fi; env -i setsid sh hop.sh & ' >hop.sh
for i in 1 2 3 4 5 6 7 8; do env -i PATH=$PATH setsid sh hop.sh & done; echo ready; wait; sleep 1000";
    coven.harness("hopping", script);
    let id = coven.launch("hopping", "x");
    coven.wait_for_output(&id, "ready");
    coven.kill_session(&id);
    assert_eq!(coven.ended(&id)["status"], "killed");
    let left = coven.processes_at_work();
    fs::write(coven.work().join("stop"), "").unwrap();
    assert_eq!(left, [0; 0]);
}

#[test]
fn a_fork_bomb_within_its_users_limit_is_ended() {
    let coven = Coven::new();
    // The leader starts it and forks no more: a shell that cannot fork ends, which would end the session.
    let bomb = "b() { b & b & setsid env -i sleep 1000 & wait; }; b 2>/dev/null &";
    coven.harness("bomb", &format!("{bomb} echo ready; exec sleep 1000"));
    if !coven.start_as_nobody_else("ulimit -p 150 2>/dev/null || ulimit -u 150") {
        return;
    }
    let id = coven.launch("bomb", "x");
    coven.wait_for_output(&id, "ready");
    eventually("it multiplies", || coven.processes_at_work().len() > 50);
    assert_eq!(coven.kill_session(&id).status, 202);
    assert_eq!(coven.ended(&id)["status"], "killed");
    assert_eq!(coven.processes_at_work(), [0; 0]);
    assert_eq!(coven.run("hello", "x")["status"], "completed");
}

/// The most that the daemon may ever have in memory, in KiB.
const MEMORY_MAX: u64 = 64 * 1024;

#[test]
fn the_daemon_stays_small_with_floods_and_with_harnesses_that_never_read() {
    let coven = Coven::start();
    // More than that without a newline; a gigabyte where somebody has the time.
    let flood: u64 = match std::env::var_os("COVEN_TEST_FLOOD_BYTES") {
        Some(bytes) => bytes.to_str().unwrap().parse().unwrap(),
        None => 75_000_000,
    };
    let printing = [
        (
            "flood",
            flood,
            format!("head -c {flood} /dev/zero | tr '\\0' x"),
        ),
        ("nuls", 10_000_000, "head -c 10000000 /dev/zero".into()),
        ("junk", 10_000_000, "head -c 10000000 /dev/urandom".into()),
        ("short", 3_000_000, "yes '' | head -c 3000000 >&2".into()),
    ];
    coven.harness_with(
        "deaf",
        "echo ready; exec sleep 1000",
        json!({ "stdin": "open" }),
    );
    coven.harness("exec", "exec sleep 1000");
    coven.harness("brief", "exit 0");
    coven.harness("mute", "exec >&- 2>&-; exec sleep 1000");
    let quiet: Vec<String> = ["deaf", "exec", "mute"]
        .map(|id| coven.launch(id, "x"))
        .into();
    let printing = printing.map(|(id, bytes, script)| {
        coven.harness(id, &script);
        (coven.launch(id, "x"), bytes)
    });
    // It never reads, and what waits for it is bounded.
    let bytes = "x".repeat(100_000);
    let full = (0..100).find(|_| coven.input(&quiet[0], &bytes).status == 429);
    assert!(full.is_some(), "its input is never full");
    for _ in 0..20 {
        assert_eq!(coven.run("brief", "x")["status"], "completed");
    }
    for (id, bytes) in &printing {
        let record = coven.ended(id);
        let written = ["stdout_bytes", "stderr_bytes"].map(|name| record[name].as_u64().unwrap());
        assert_eq!(written.iter().sum::<u64>(), *bytes, "{record}");
    }
    for id in &quiet {
        assert_eq!(coven.kill_session(id).status, 202);
        assert_eq!(coven.ended(id)["status"], "killed");
    }
    let peak = peak_kib(coven.daemon_pid());
    assert!(peak < MEMORY_MAX, "{peak} KiB");
}
