//! Processes that outlive their session: they are recorded, shown, and ended only on request.

use std::fs;
use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::support::*;

/// A child, one in a session of its own, one that has shed its environment and its parents, one that ignores SIGTERM.
/// A harness that leaves processes behind which hold no stream.
const LEAVES: &str = "exec >/dev/null 2>&1
sleep 1000 &
setsid sleep 1000 &
(env -i setsid sleep 1000 &)
setsid sh -c 'trap \"\" TERM; while :; do sleep 1000; done' &
until [ -e go ]; do :; done";

/// Number of the processes that run `sleep`, and of all processes with the shell.
const SLEEPERS: usize = 4;
const LEFT: usize = 5;

/// A daemon with a harness that leaves [`LEAVES`].
fn daemon() -> Coven {
    let coven = Coven::start();
    coven.harness("leaves", LEAVES);
    coven
}

/// The processes at work that execute `sleep`.
fn sleepers(coven: &Coven) -> usize {
    let name = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let all = coven.processes_at_work();
    all.iter().filter(|pid| name(pid) == "sleep\n").count()
}

/// Launches `harness`, and lets it go on when `sleepers` more run.
fn launch(coven: &Coven, harness: &str, sleepers_more: usize, fields: Value) -> String {
    let go = coven.work().join("go");
    let _ = fs::remove_file(&go);
    let before = sleepers(coven);
    let id = coven.try_launch(harness, "x", fields).id();
    eventually("all sleep", || sleepers(coven) == before + sleepers_more);
    fs::write(go, "").unwrap();
    id
}

/// A session that has ended by itself, and what it has left behind, by pid.
fn ended(coven: &Coven, harness: &str, sleepers: usize) -> (String, Vec<i32>) {
    let before = coven.processes_at_work();
    let id = launch(coven, harness, sleepers, json!({}));
    assert_eq!(coven.ended(&id)["ended_by"], "exit");
    let mut left = coven.processes_at_work();
    left.retain(|pid| !before.contains(pid));
    left.sort_unstable();
    (id, left)
}

/// Somebody else's process in the same directory.
struct Bystander(Child);

impl Bystander {
    fn start(coven: &Coven) -> Self {
        let mut command = Command::new("sleep");
        Self(
            command
                .arg("1000")
                .current_dir(coven.work())
                .spawn()
                .unwrap(),
        )
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn sweep(coven: &Coven, id: &str) -> Answer {
    coven.post_to(id, "kill", &json!({ "sweep": true }))
}

/// Sweeps the session; returns the number of ended processes.
#[track_caller]
fn swept(coven: &Coven, id: &str) -> u64 {
    let answer = sweep(coven, id);
    assert_eq!(answer.status, 202, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(
        (&answer["ok"], &answer["accepted"]),
        (&json!(true), &json!(true))
    );
    answer["swept"].as_u64().unwrap()
}

/// The left processes in the error of a kill of the ended session.
#[track_caller]
fn left_behind(coven: &Coven, id: &str) -> Value {
    let details = coven.kill_session(id).assert_error(409, "session_not_live");
    details["leftBehind"].clone()
}

/// As the contract has these processes.
fn as_told(pids: &[i32]) -> Value {
    let name = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    let told = |pid: &i32| json!({ "pid": pid, "name": name(pid).trim_end() });
    pids.iter().map(told).collect()
}

#[test]
fn all_that_a_harness_leaves_is_on_record_and_ended_by_a_sweep() {
    let coven = daemon();
    let bystander = Bystander::start(&coven);
    let (other, others) = ended(&coven, "leaves", SLEEPERS);
    let (id, left) = ended(&coven, "leaves", SLEEPERS);
    assert_eq!(left.len(), LEFT);
    let told = as_told(&left);
    assert_eq!(coven.session(&id)["left_behind"], told);
    assert_eq!(
        coven.cli(["show", "--json", &id]).json()["left_behind"],
        told
    );
    let shown = coven.cli(["show", &id]).out;
    let log = eventually_some("what is left is in the log", || {
        let ran = coven.cli(["logs", "--event", "session_left_behind", "--session", &id]);
        (!ran.out.is_empty()).then_some(ran.out)
    });
    for pid in &left {
        assert!(shown.contains(&format!(" {pid} s")), "{shown}");
        assert!(log.contains(&format!("{pid} s")), "{log}");
    }
    assert_eq!(left_behind(&coven, &id), told);
    assert_eq!(swept(&coven, &id), LEFT as u64);
    assert_eq!(left_behind(&coven, &id), json!([]));
    assert_eq!(swept(&coven, &id), 0);
    // What it had left stays on record, and nobody else was touched.
    assert_eq!(coven.session(&id)["left_behind"], told);
    assert_eq!(left_behind(&coven, &other), as_told(&others));
    let mut there = coven.processes_at_work();
    there.sort_unstable();
    let mut expected = [others, vec![bystander.pid()]].concat();
    expected.sort_unstable();
    assert_eq!(there, expected);
}

#[test]
fn a_zombie_is_not_left_behind() {
    let coven = Coven::start();
    let script =
        "setsid sh -c 'true & exec sleep 1000' >/dev/null 2>&1 &\nuntil [ -e go ]; do :; done";
    coven.harness("leaves", script);
    let id = coven.launch("leaves", "x");
    let is_zombie = |pid: &i32| {
        let parent = parent_of(*pid).unwrap_or(0);
        process_state(*pid) == Some('Z') && coven.session_processes(&id).contains(&parent)
    };
    eventually("a zombie", || {
        sleepers(&coven) == 1 && pids().iter().any(is_zombie)
    });
    fs::write(coven.work().join("go"), "").unwrap();
    let record = coven.ended(&id);
    let left = coven.processes_at_work();
    assert_eq!((left.len(), &record["left_behind"]), (1, &as_told(&left)));
    assert_eq!(swept(&coven, &id), 1);
}

#[test]
fn a_process_name_is_shown_as_text_and_moves_no_cursor() {
    let coven = Coven::start();
    // The kernel keeps 15 bytes of a name, and cuts characters.
    for (name, told) in [
        ("äöüäöüäö", "äöüäöüä\u{fffd}"),
        ("a\u{1b}[2Jb,\"\u{9b}", "a\u{1b}[2Jb,\"\u{9b}"),
        (" ) R 1 (", " ) R 1 ("),
    ] {
        fs::write(coven.work().join("name"), name).unwrap();
        let script = "(exec >/dev/null 2>&1; sh -c 'IFS= read -r n <name; printf %s \"$n\" >/proc/$$/comm; sleep 1000; true' &)
until [ -e go ]; do :; done";
        coven.harness("leaves", script);
        let (id, left) = ended(&coven, "leaves", 1);
        assert_eq!(left.len(), 2, "{name:?}");
        let names: Vec<Value> = left_behind(&coven, &id)
            .as_array()
            .unwrap()
            .iter()
            .map(|left| left["name"].clone())
            .collect();
        assert!(names.contains(&json!(told)), "{name:?}: {names:?}");
        for args in [
            &["show", &id][..],
            &["show", "--json", &id],
            &["doctor"],
            &["logs"],
        ] {
            let said = coven.cli(args).out;
            let is_bad = |c: char| c.is_control() && c != '\n';
            assert!(!said.contains(is_bad), "{args:?}: {said:?}");
        }
        let ran = coven.cli(["kill", &id]);
        assert!(ran.out.ends_with("processes ended: 2\n"), "{ran:?}");
        assert!(!ran.out.contains(['\u{1b}', '\u{9b}']), "{ran:?}");
    }
}

#[test]
fn a_session_that_leaves_nothing_says_so() {
    let coven = daemon();
    let id = coven.launch("hello", "x");
    assert_eq!(coven.ended(&id)["left_behind"], json!([]));
    assert_eq!(left_behind(&coven, &id), json!([]));
    assert_eq!(swept(&coven, &id), 0);
    assert!(!coven.cli(["show", &id]).out.contains("left behind"));
    assert_eq!(
        coven.cli(["logs", "--event", "session_left_behind"]).out,
        ""
    );
    let ran = coven.cli(["kill", &id]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
    assert!(ran.err.contains("(session_not_live)"), "{ran:?}");
    // A kill leaves nothing.
    coven.harness("waits", &format!("{LEAVES}\nsleep 1000"));
    let id = launch(&coven, "waits", SLEEPERS, json!({}));
    coven.kill_session(&id);
    assert_eq!(coven.ended(&id)["left_behind"], json!([]));
    assert_eq!(left_behind(&coven, &id), json!([]));
}

#[test]
fn the_child_of_a_killed_wrapper_is_on_record_and_coven_kill_ends_it() {
    let coven = Coven::start_with_env("COVEN_DRAIN_MAX_MS", "0");
    coven.harness(
        "wraps",
        "sh -c 'while :; do echo on; sleep 0.1; done' & echo ready; wait",
    );
    let id = coven.launch("wraps", "x");
    coven.wait_for_output(&id, "on");
    let wrapper = coven.session(&id)["pid"].as_i64().unwrap() as i32;
    let bystander = Bystander::start(&coven);
    assert!(kill(wrapper, libc::SIGKILL));
    let record = coven.ended(&id);
    assert_eq!(
        (&record["status"], &record["signal"]),
        (&json!("failed"), &json!(9))
    );
    let child = record["left_behind"][0]["pid"].as_i64().unwrap() as i32;
    assert_eq!(parent_of(child), Some(coven.daemon_pid()));
    let ran = coven.cli(["kill", &id[..8]]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    let told = format!("{id} has ended; it has left behind: {child} sh");
    assert!(lines[0].starts_with(&told), "{ran:?}");
    assert!(
        lines[1].starts_with(&format!("{id} processes ended: ")),
        "{ran:?}"
    );
    assert_eq!(coven.processes_at_work(), [bystander.pid()]);
    let ran = coven.cli(["kill", &id]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
}

#[test]
fn a_sweep_after_a_crash_or_a_restart_ends_what_was_left_before() {
    let coven = daemon();
    let (first, left) = ended(&coven, "leaves", SLEEPERS);
    coven.crash();
    coven.start_daemon();
    assert_eq!(left_behind(&coven, &first), as_told(&left));
    let (second, more) = ended(&coven, "leaves", SLEEPERS);
    assert_eq!(coven.cli(["daemon", "restart"]).code, 0);
    for (id, left) in [(first, left), (second, more)] {
        assert_eq!(swept(&coven, &id), left.len() as u64);
        assert!(left.into_iter().all(|pid| !is_alive(pid)));
    }
}

#[test]
fn a_sweep_sends_sigterm_first_and_ends_processes_that_start_on_it() {
    let coven = Coven::start();
    // One is stopped, and one starts another on its signal.
    let script = "exec >/dev/null 2>&1
setsid sh -c 'trap \"echo >termed; exit\" TERM; sleep 1000 & wait' &
setsid sh -c 'trap \"setsid sleep 1000 & exit\" TERM; sleep 1000 & wait' &
setsid sh -c 'trap \"echo >woken; exit\" TERM; sleep 1000 & kill -STOP $$; wait' &
until [ -e go ]; do :; done";
    coven.harness("leaves", script);
    let (id, left) = ended(&coven, "leaves", 3);
    eventually("one is stopped", || {
        left.iter().any(|pid| process_state(*pid) == Some('T'))
    });
    assert!(swept(&coven, &id) > left.len() as u64);
    assert_eq!(coven.processes_at_work(), [0; 0]);
    for name in ["termed", "woken"] {
        assert!(coven.work().join(name).exists(), "{name}");
    }
}

#[test]
fn two_sweeps_at_once_end_each_process_once() {
    let coven = daemon();
    let (id, left) = ended(&coven, "leaves", SLEEPERS);
    let counts = std::thread::scope(|scope| {
        let sweeps: Vec<_> = (0..3).map(|_| scope.spawn(|| swept(&coven, &id))).collect();
        sweeps
            .into_iter()
            .map(|sweep| sweep.join().unwrap())
            .sum::<u64>()
    });
    assert_eq!(counts, left.len() as u64);
    assert_eq!(coven.processes_at_work(), [0; 0]);
}

#[test]
fn a_launch_that_asks_for_it_is_final_when_nothing_is_left() {
    let coven = daemon();
    let bystander = Bystander::start(&coven);
    let id = launch(&coven, "leaves", SLEEPERS, json!({ "sweep": true }));
    let record = coven.ended(&id);
    assert_eq!(
        (&record["status"], &record["ended_by"]),
        (&json!("completed"), &json!("exit"))
    );
    assert_eq!(record["left_behind"], json!([]));
    assert_eq!(coven.processes_at_work(), [bystander.pid()]);
    eventually("the sweep is in the log", || {
        let swept = ["logs", "--event", "session_swept", "--session", &id];
        coven.cli(swept).out.contains(&format!("processes={LEFT}"))
    });
    // Also where what is left holds a stream, and would write for ever.
    coven.harness(
        "holds",
        "(setsid sh -c 'while :; do echo on; sleep 0.05; done' &); exit 7",
    );
    let ran = coven.cli(["run", "--sweep", "holds", "x"]);
    assert_eq!(ran.code, 7, "{ran:?}");
    assert_eq!(coven.processes_at_work(), [bystander.pid()]);
    // A kill meanwhile is one of any session.
    let id = launch(&coven, "leaves", SLEEPERS, json!({ "sweep": true }));
    let answer = coven.kill_session(&id);
    assert!([202, 409].contains(&answer.status), "{}", answer.text());
    coven.ended(&id);
    assert_eq!(coven.processes_at_work(), [bystander.pid()]);
}

#[test]
fn a_crash_or_a_stop_while_a_session_is_swept_leaves_nothing() {
    let coven = Coven::new().env("COVEN_KILL_GRACE_MS", "600000");
    coven.start_daemon();
    coven.harness("leaves", LEAVES);
    let sweeping = || {
        let id = launch(&coven, "leaves", SLEEPERS, json!({ "sweep": true }));
        // What ignores SIGTERM is left, and the grace is not over.
        eventually("the others have ended", || {
            coven.processes_at_work().len() == 2
        });
        id
    };
    let id = sweeping();
    coven.crash();
    coven.start_daemon();
    assert_eq!(coven.processes_at_work(), [0; 0]);
    assert_eq!(coven.session(&id)["status"], "orphaned");
    let id = sweeping();
    assert_eq!(coven.cli(["daemon", "stop", "--yes"]).code, 0);
    assert_eq!(coven.processes_at_work(), [0; 0]);
    coven.start_daemon();
    assert_eq!(coven.session(&id)["status"], "completed");
}

#[test]
fn a_sweep_of_a_live_session_kills_it_with_all_that_it_has_started() {
    let coven = Coven::start();
    coven.harness("waits", &format!("{LEAVES}\nsleep 1000"));
    let id = launch(&coven, "waits", SLEEPERS, json!({}));
    let count = swept(&coven, &id);
    assert_eq!(coven.session(&id)["ended_by"], "kill");
    assert!(
        count >= 3,
        "{count}: what has left its group, and the one that ignores SIGTERM"
    );
    assert_eq!(coven.processes_at_work(), [0; 0]);
}

#[test]
fn a_sweep_is_true_or_false() {
    let coven = daemon();
    let id = coven.launch("hello", "x");
    coven.ended(&id);
    for wrong in [json!("yes"), json!(1), json!([]), json!({})] {
        let body = json!({ "sweep": wrong });
        for answer in [
            coven.post_to(&id, "kill", &body),
            coven.try_launch("hello", "x", body.clone()),
        ] {
            let details = answer.assert_error(400, "invalid_request");
            assert_eq!(details["field"], "sweep");
        }
    }
    for absent in [
        json!({ "sweep": null }),
        json!({ "sweep": false }),
        json!({ "other": 1 }),
    ] {
        let answer = coven.post_to(&id, "kill", &absent);
        answer.assert_error(409, "session_not_live");
    }
    for absent in [Value::Null, json!({})] {
        let answer = coven.post_to(&id, "kill", &absent);
        answer.assert_error(409, "session_not_live");
    }
    let path = format!("/api/v1/sessions/{id}/kill");
    for wrong in [&b"sweep"[..], b"[true]", b"{\"sweep\":tr"] {
        let answer = coven.request("POST", &path, &[], wrong);
        answer.assert_error(400, "invalid_request");
    }
    // An answer that nobody has asked a sweep of is as it was.
    coven.harness("waits", "sleep 1000");
    let id = coven.launch("waits", "x");
    let answer = coven.kill_session(&id).json();
    assert_eq!(answer, json!({ "ok": true, "accepted": true }));
}

#[test]
fn without_the_mark_what_is_on_record_is_ended_and_nothing_else() {
    let coven = Coven::new();
    let prelude = "prlimit --locks=1000000:1000000 --pid $$ || exit 77";
    let ran = Ran::of(
        coven
            .command_after(prelude, &["daemon", "start"])
            .output()
            .unwrap(),
    );
    if ran.code == 77 {
        println!("skipped: no prlimit(1)");
        return;
    }
    // The first is known by its variable, the second was of the harness's session.
    coven.harness(
        "leaves",
        "exec >/dev/null 2>&1\nsetsid sleep 1000 & env -i sleep 1000 &\nuntil [ -e go ]; do :; done",
    );
    let bystander = Bystander::start(&coven);
    let (id, left) = ended(&coven, "leaves", 2);
    assert_eq!((left.len(), left_behind(&coven, &id)), (2, as_told(&left)));
    assert_eq!(swept(&coven, &id), 2);
    assert_eq!(coven.processes_at_work(), [bystander.pid()]);
}

#[test]
fn a_pid_on_record_that_is_another_process_by_now_is_left_alone() {
    let coven = daemon();
    let (id, left) = ended(&coven, "leaves", SLEEPERS);
    assert_eq!(swept(&coven, &id), left.len() as u64);
    let bystander = Bystander::start(&coven);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    // As if its number had been given anew.
    let pid = bystander.pid();
    let number = left[0].to_string();
    let sql = "UPDATE sessions SET left_behind = replace(left_behind, ?1, ?2)";
    let changed = coven.database().execute(sql, [number, pid.to_string()]);
    assert_eq!(changed, Ok(1));
    coven.start_daemon();
    assert_eq!(coven.session(&id)["left_behind"][0]["pid"], pid);
    assert_eq!(left_behind(&coven, &id), json!([]));
    assert_eq!(swept(&coven, &id), 0);
    assert!(is_alive(pid));
}

#[test]
fn a_daemon_that_a_session_has_started_is_not_left_behind() {
    let (outer, inner) = (Coven::start(), Coven::new());
    let start = format!(
        "PATH={}:$PATH COVEN_HOME={} {} daemon start",
        inner.bin().display(),
        inner.home().display(),
        env!("CARGO_BIN_EXE_coven")
    );
    outer.harness("starter", &start);
    let id = outer.launch("starter", "x");
    assert_eq!(outer.ended(&id)["left_behind"], json!([]));
    inner.harness("waits", "echo ready; sleep 1000");
    let session = inner.launch("waits", "x");
    inner.wait_for_output(&session, "ready");
    assert_eq!(left_behind(&outer, &id), json!([]));
    assert_eq!(swept(&outer, &id), 0);
    assert_eq!(inner.session(&session)["status"], "running");
}

#[test]
fn doctor_lists_what_still_runs_and_diagnostics_only_counts_it() {
    let coven = daemon();
    let check = || {
        let report = coven.cli(["doctor", "--json"]).json();
        let checks = report["checks"].as_array().unwrap().clone();
        checks
            .into_iter()
            .find(|check| check["id"] == "left_behind")
    };
    assert_eq!(check(), None, "nothing was ever left");
    coven.harness(
        "private",
        "(exec >/dev/null 2>&1; sh -c 'printf hush >/proc/$$/comm; sleep 1000; true' &)\nuntil [ -e go ]; do :; done",
    );
    let (private, _) = ended(&coven, "private", 1);
    let (id, left) = ended(&coven, "leaves", SLEEPERS);
    // Also while no daemon runs.
    for is_up in [true, false] {
        let found = check().unwrap();
        assert_eq!(found["status"], "warn", "{found}");
        let message = found["message"].as_str().unwrap();
        assert!(message.contains("hush"), "{message}");
        for pid in &left {
            assert!(message.contains(&format!("{pid} s")), "{message}");
        }
        assert_eq!(found["hint"], format!("coven kill {private} {id}"));
        if is_up {
            let report = coven.cli(["diagnostics"]).out;
            assert!(report.contains("of 2 ended sessions still run"), "{report}");
            assert!(!report.contains("hush"), "{report}");
            assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
        }
    }
    coven.start_daemon();
    assert_eq!(coven.cli(["kill", &private, &id]).code, 0);
    assert_eq!(check().unwrap()["status"], "pass");
}
