//! Sessions whose end has begun, or has been prepared, before the daemon's program is replaced: they end behind it as they
//! would have ended before.

use std::fs;

use serde_json::json;

use crate::support::*;

/// No process gets SIGTERM while the file that `KILL_FAILS` names is there.
const FAILING_KILL: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int kill(pid_t pid, int number) {
    const char *path = getenv("KILL_FAILS");
    if (number == SIGTERM && path && access(path, F_OK) == 0) {
        errno = EPERM;
        return -1;
    }
    return syscall(SYS_kill, pid, number);
}
"#;

#[test]
fn a_session_whose_limit_was_reached_before_the_upgrade_ends_behind_it_for_that_reason() {
    let coven = Coven::start_with_env("COVEN_KILL_GRACE_MS", "60000");
    let slow = "trap \"touch asked-$2\" TERM; while [ ! -e go ]; do sleep 0.02; done; exit 3";
    coven.harness("slow", slow);
    let limits = [
        ("timeout", json!({ "timeoutMs": 100 })),
        ("idle", json!({ "idleTimeoutMs": 100 })),
    ];
    let sessions = limits.map(|(why, limit)| (why, coven.try_launch("slow", why, limit).id()));
    for (why, _) in &sessions {
        let asked = coven.work().join(format!("asked-{why}"));
        eventually("it is asked to end", || asked.exists());
    }
    for version in ["1.1.1", "2.2.2"] {
        coven.upgraded_to(&coven.program_of_version(version));
    }
    fs::write(coven.work().join("go"), "").unwrap();
    for (why, id) in &sessions {
        let ended = coven.ended(id);
        assert_eq!(
            (&ended["status"], &ended["ended_by"], &ended["exit_code"]),
            (&json!("killed"), &json!(why), &json!(3))
        );
        let events = coven.events(id);
        let kills = events.iter().filter(|event| event["kind"] == "kill");
        let causes: Vec<_> = kills.map(|event| payload(event)["cause"].clone()).collect();
        assert_eq!(causes, [json!(why)]);
    }
}

#[test]
fn a_harness_that_ignores_its_end_is_killed_behind_an_upgrade_when_its_grace_is_over() {
    let coven = Coven::start_with_env("COVEN_KILL_GRACE_MS", "1000");
    let deaf = "trap 'touch asked' TERM; while :; do sleep 0.02; done";
    coven.harness("deaf", deaf);
    let limit = json!({ "timeoutMs": 100 });
    let id = coven.try_launch("deaf", "x", limit).id();
    eventually("it is asked to end", || coven.work().join("asked").exists());
    coven.upgraded_to(&coven.program_of_version("9.9.9"));
    let ended = coven.ended(&id);
    assert_eq!(
        (&ended["status"], &ended["ended_by"], &ended["signal"]),
        (&json!("killed"), &json!("timeout"), &json!(9))
    );
}

#[test]
fn a_kill_that_the_kernel_refuses_behind_an_upgrade_leaves_the_sweep_that_the_launch_asked_for() {
    let coven = Coven::new();
    let fails = coven.work().join("fails");
    let coven = coven.env("KILL_FAILS", fails.to_str().unwrap());
    let Some(shim) = Shim::compile(&coven, "kill", FAILING_KILL) else {
        return;
    };
    let leaves =
        "setsid sleep 600 >/dev/null 2>&1 & while [ ! -e go ]; do sleep 0.02; done; echo end";
    coven.harness("leaves", leaves);
    let mut daemon = shim.serve(&coven);
    let swept = coven
        .try_launch("leaves", "x", json!({ "sweep": true }))
        .id();
    let kept = coven.launch("leaves", "x");
    coven.upgraded_to(&coven.program_of_version("9.9.9"));
    fs::write(&fails, "").unwrap();
    for id in [&swept, &kept] {
        coven.kill_session(id).assert_error(500, "kill_failed");
    }
    fs::remove_file(&fails).unwrap();
    fs::write(coven.work().join("go"), "").unwrap();
    for (id, left) in [(&swept, 0), (&kept, 1)] {
        assert_eq!(coven.ended(id)["status"], "completed");
        assert_eq!(coven.session_processes(id).len(), left);
    }
    for pid in coven.session_processes(&kept) {
        kill(pid, libc::SIGKILL);
    }
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    assert!(daemon.wait().unwrap().success());
}
