//! Descriptors and processes that run out: launches fail and say why, the rest goes on, and all comes back by itself.

use std::os::unix::net::UnixStream;

use crate::support::*;

/// A daemon that was started after `prelude`, with a harness that waits.
fn daemon_after(prelude: &str) -> Coven {
    let coven = Coven::new();
    coven.harness("quiet", "echo ready; exec sleep 1000");
    let mut start = coven.command_after(prelude, &["daemon", "start"]);
    let ran = Ran::of(start.output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    coven
}

/// Launches until a launch fails; gives the sessions, and why.
fn launch_until_it_fails(coven: &Coven) -> (Vec<String>, String) {
    let mut ids = Vec::new();
    loop {
        let answer = coven.try_launch("quiet", "x", serde_json::json!({}));
        if answer.status == 201 {
            ids.push(answer.id());
            assert!(ids.len() < 200, "nothing runs out");
            continue;
        }
        assert_eq!(answer.error(), (500, "launch_failed".into()));
        let details = &answer.json()["error"]["details"];
        let failed = details["sessionId"].as_str().unwrap();
        assert_eq!(coven.session(failed)["status"], "failed");
        return (ids, details["reason"].as_str().unwrap().to_owned());
    }
}

/// Asserts that several clients at once are answered, and that sessions are as they should be.
fn assert_answers(coven: &Coven, ids: &[String]) {
    let held: Vec<UnixStream> = (0..3).map(|_| coven.connect()).collect();
    let health = coven.get("/api/v1/health").json();
    assert_eq!(health["sessions"]["live"], ids.len());
    for id in ids {
        assert_eq!(coven.session(id)["status"], "running");
        coven.wait_for_output(id, "ready");
    }
    drop(held);
}

fn assert_all_comes_back(coven: &Coven, ids: &[String]) {
    for id in ids {
        assert_eq!(coven.kill_session(id).status, 202);
        assert_eq!(coven.ended(id)["status"], "killed");
    }
    assert_eq!(coven.run("hello", "x")["status"], "completed");
    let (again, _) = launch_until_it_fails(coven);
    assert!(
        again.len() + 2 >= ids.len(),
        "{} of {}",
        again.len(),
        ids.len()
    );
}

#[test]
fn when_descriptors_run_out_launches_fail_and_say_why_and_clients_are_still_answered() {
    for most in [64, 100] {
        let coven = daemon_after(&format!("ulimit -n {most}"));
        let (ids, reason) = launch_until_it_fails(&coven);
        assert!(ids.len() >= 3, "{reason}");
        assert!(reason.contains("RLIMIT_NOFILE"), "{reason}");
        assert!(reason.contains(&format!("is {most}")), "{reason}");
        assert_answers(&coven, &ids);
        assert_all_comes_back(&coven, &ids);
    }
}

/// Lets this process have more descriptors than it usually may: other tests run in it, too.
fn allow_open_files(most: u64) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls get a struct that outlives them.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_cur.max(most).min(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}

#[test]
fn a_thousand_idle_connections_hold_nothing_up_once_they_are_gone() {
    allow_open_files(4096);
    let coven = daemon_after("ulimit -n 256");
    let id = coven.launch("quiet", "x");
    let idle: Vec<UnixStream> = (0..1000)
        .filter_map(|_| UnixStream::connect(coven.socket()).ok())
        .collect();
    // One that comes while they are there is told so, or is answered.
    let refused = coven.connect();
    drop(refused);
    drop(idle);
    // Until the last of them has been seen to, a client can still be told that it is one too many.
    let launched = eventually_some("launches succeed again", || {
        let answer = coven.try_launch("hello", "x", serde_json::json!({}));
        (answer.status == 201).then(|| answer.id())
    });
    eventually("kills succeed again", || {
        coven.kill_session(&id).status == 202
    });
    for (id, status) in [(launched, "completed"), (id, "killed")] {
        eventually("it has ended", || {
            let answer = coven.get(&format!("/api/v1/sessions/{id}"));
            answer.status == 200 && answer.json()["status"] == status
        });
    }
}

#[test]
fn a_daemon_has_the_hard_limit_on_open_files_and_its_harnesses_the_soft_one() {
    let coven = daemon_after("ulimit -Sn 200; ulimit -Hn 300");
    let files = |pid: i32| {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let fields: Vec<&str> = line.unwrap().split_whitespace().skip(3).take(2).collect();
        fields.join(" ")
    };
    assert_eq!(files(coven.daemon_pid()), "300 300");
    let id = coven.launch("quiet", "x");
    coven.wait_for_output(&id, "ready");
    assert_eq!(
        files(coven.session(&id)["pid"].as_i64().unwrap() as i32),
        "200 300"
    );
    let process = coven.get("/api/v1/capabilities").json()["process"].clone();
    assert_eq!(
        process["openFiles"],
        serde_json::json!({ "soft": 300, "hard": 300 })
    );
}

#[test]
fn when_processes_run_out_launches_fail_and_say_why_and_clients_are_still_answered() {
    let coven = Coven::new();
    coven.harness("quiet", "echo ready; exec sleep 1000");
    if !coven.start_as_nobody_else("ulimit -p 24 2>/dev/null || ulimit -u 24") {
        return;
    }
    let (ids, reason) = launch_until_it_fails(&coven);
    assert!(!ids.is_empty(), "{reason}");
    assert!(reason.contains("RLIMIT_NPROC"), "{reason}");
    assert_answers(&coven, &ids);
    assert_all_comes_back(&coven, &ids);
}

#[test]
fn when_address_space_runs_out_launches_fail_and_say_why_and_sessions_go_on() {
    for kilobytes in [54_000, 60_000] {
        let coven = daemon_after(&format!("ulimit -v {kilobytes}"));
        let daemon = coven.daemon_pid();
        let (ids, reason) = launch_until_it_fails(&coven);
        assert!(!ids.is_empty(), "{reason}");
        assert!(reason.contains("RLIMIT_AS"), "{reason}");
        assert!(
            reason.contains(&format!("is {}", kilobytes * 1024)),
            "{reason}"
        );
        assert_answers(&coven, &ids);
        for _ in 0..20 {
            let refused = coven.try_launch("quiet", "x", serde_json::json!({}));
            assert_eq!(refused.error(), (500, "launch_failed".into()));
        }
        for id in &ids {
            assert_eq!(coven.kill_session(id).status, 202);
            assert_eq!(coven.ended(id)["status"], "killed");
        }
        // The threads of the sessions end behind the sessions' ends.
        eventually("a launch succeeds again", || {
            let launched = coven.try_launch("hello", "x", serde_json::json!({}));
            launched.status == 201
        });
        assert_eq!(coven.daemon_pid(), daemon, "it is the same daemon");
    }
}

#[test]
fn the_kernel_takes_a_harness_before_the_daemon_when_memory_runs_out() {
    let coven = Coven::start();
    let score = |pid: i32| -> i32 {
        let score = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        score.trim().parse().unwrap()
    };
    coven.harness_with(
        "quiet",
        "read line; sleep 1000 & echo ready; wait",
        serde_json::json!({ "stdin": "open" }),
    );
    let id = coven.launch("quiet", "x");
    let more = (score(coven.daemon_pid()) + 500).min(1000);
    // What it starts has its score.
    let body = serde_json::json!({ "data": "go\n" });
    let path = format!("/api/v1/sessions/{id}/input");
    assert_eq!(coven.post(&path, &body).status, 202);
    coven.wait_for_output(&id, "ready");
    let processes = coven.session_processes(&id);
    assert_eq!(processes.len(), 2);
    for pid in processes {
        assert_eq!(score(pid), more);
    }
}
