//! An upgrade that fails, or that is refused, leaves the daemon and its sessions as they are.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::*;

/// A daemon with a session that answers each line.
fn with_a_session() -> (Coven, String) {
    let coven = Coven::start();
    coven.harness_with("echoes", "exec cat", json!({ "stdin": "open" }));
    let id = coven.launch("echoes", "x");
    (coven, id)
}

/// Asserts that the session still takes input and ends as it would have.
#[track_caller]
fn assert_goes_on(coven: &Coven, id: &str, before: &Value) {
    let health = coven.health();
    assert_eq!(health["covenVersion"], before["covenVersion"]);
    assert_eq!(health["daemon"]["pid"], before["daemon"]["pid"]);
    assert_eq!(
        health["daemon"]["upgradedAt"],
        before["daemon"]["upgradedAt"]
    );
    assert_eq!(coven.input(id, "still\n").status, 202);
    coven.post_to(id, "input", &json!({ "eof": true }));
    let ended = coven.ended(id);
    assert_eq!(ended["status"], "completed");
    let events = coven.events(id);
    assert_gapless(id, &events);
    assert_eq!(output(&events, "stdout"), b"still\n");
}

/// Reason of a refused upgrade.
fn refusal(answer: &Answer) -> Value {
    let error = &answer.json()["error"];
    assert_eq!(
        (answer.status, &error["code"]),
        (409, &json!("upgrade_refused"))
    );
    error["details"]["reason"].clone()
}

#[test]
fn a_file_that_is_no_program_of_ours_is_refused() {
    let (coven, id) = with_a_session();
    let before = coven.health();
    let file = |name: &str, mode: u32, text: &str| -> PathBuf {
        let path = coven.work().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let writable = coven.work().join("writable");
    fs::copy(coven.program_of_version("1.1.1"), &writable).unwrap();
    fs::set_permissions(&writable, fs::Permissions::from_mode(0o757)).unwrap();
    for path in [
        file("text", 0o755, "no program\n"),
        file("not-executable", 0o644, "#!/bin/sh\n"),
        file("exits", 0o755, "#!/bin/sh\nexit 0\n"),
        writable,
        coven.work(),
        coven.work().join("missing"),
        "/bin/true".into(),
    ] {
        let answer = coven.upgrade_to(&path);
        assert_eq!(refusal(&answer), "binary_unusable", "{}", path.display());
    }
    let relative = coven.upgrade_to(Path::new("coven"));
    assert_eq!(
        (
            relative.status,
            &relative.json()["error"]["details"]["field"]
        ),
        (400, &json!("binary"))
    );
    assert_goes_on(&coven, &id, &before);
}

#[test]
fn a_program_that_hangs_or_dies_in_its_check_is_refused() {
    let (coven, id) = with_a_session();
    let before = coven.health();
    for (how, said) in [
        ("hang", "did not answer within"),
        ("panic", "panicked at"),
        ("abort", "SIGABRT"),
    ] {
        let answer = coven.upgrade_to(&coven.failing_program("check", how));
        assert_eq!(refusal(&answer), "binary_unusable", "{how}");
        assert!(answer.text().contains(said), "{how}: {}", answer.text());
    }
    assert_goes_on(&coven, &id, &before);
}

#[test]
fn a_program_that_fails_behind_the_exec_gives_way_to_the_previous_one() {
    let (coven, id) = with_a_session();
    let before = coven.health();
    let failures = [
        ("begin", "abort"),
        ("begin", "panic"),
        ("begin", "exit"),
        ("begin", "segfault"),
        ("store", "panic"),
        ("store", "error"),
        ("store", "exit"),
        ("take_up", "abort"),
        ("take_up", "panic"),
        ("take_up", "error"),
    ];
    for (place, how) in failures {
        let answer = coven.upgrade_to(&coven.failing_program(place, how));
        let error = answer.json()["error"].clone();
        let what = format!("{place} {how}: {}", answer.text());
        assert_eq!(
            (answer.status, &error["code"]),
            (500, &json!("upgrade_failed")),
            "{what}"
        );
        let reason = error["details"]["reason"].as_str().unwrap();
        let expected = match how {
            "error" => "as the test wants",
            "panic" if place != "begin" => "panicked",
            "panic" | "exit" => "has ended",
            _ => "crashed",
        };
        assert!(reason.contains(expected), "{what}");
    }
    let told = coven.cli(["daemon", "logs", "--event", "upgrade_failed", "--json"]);
    assert_eq!(told.out.lines().count(), failures.len(), "{}", told.out);
    assert_goes_on(&coven, &id, &before);
    // What has failed can be repaired, and tried again.
    coven.upgraded_to(&coven.program_of_version("9.9.9"));
}

#[test]
fn a_program_that_hangs_gives_way_to_the_previous_one_and_a_stop_meanwhile_is_not_lost() {
    let (coven, id) = with_a_session();
    let hangs = coven.failing_program("take_up", "hang");
    let pid = coven.daemon_pid();
    std::thread::scope(|scope| {
        let upgrading = scope.spawn(|| coven.upgrade_to(&hangs));
        eventually("the other program runs", || program_of(pid) == hangs);
        assert!(kill(pid, libc::SIGTERM));
        let answer = upgrading.join().unwrap();
        let error = answer.json()["error"].clone();
        assert_eq!(
            (answer.status, &error["code"]),
            (500, &json!("upgrade_failed"))
        );
        wait_until_gone(pid);
    });
    coven.start_daemon();
    let ended = coven.session(&id);
    assert_eq!(
        (&ended["status"], &ended["ended_by"]),
        (&json!("killed"), &json!("daemon_stop"))
    );
}

#[test]
fn a_second_upgrade_is_refused_while_the_first_is_under_way() {
    let (coven, id) = with_a_session();
    let before = coven.health();
    let slow = coven.failing_program("check", "hang");
    std::thread::scope(|scope| {
        // An attempt of the second one may come before it, and have the turn for a moment.
        let first = scope.spawn(|| {
            eventually_some("the first one has its turn", || {
                let answer = coven.upgrade_to(&slow);
                (refusal(&answer) != "busy").then_some(answer)
            })
        });
        let second = eventually_some("the first has begun", || {
            let answer = coven.upgrade_to(Path::new("/does/not/exist"));
            (refusal(&answer) == "busy").then_some(answer)
        });
        assert_eq!(second.status, 409);
        assert_eq!(refusal(&first.join().unwrap()), "binary_unusable");
    });
    assert_goes_on(&coven, &id, &before);
}

#[test]
fn a_daemon_that_is_stopping_is_not_upgraded() {
    let coven = Coven::start();
    coven.harness(
        "deaf",
        "trap '' TERM; echo deaf; while :; do sleep 0.05; done",
    );
    let id = coven.launch("deaf", "x");
    coven.wait_for_output(&id, "deaf");
    let next = coven.program_of_version("9.9.9");
    let pid = coven.daemon_pid();
    assert!(kill(pid, libc::SIGTERM));
    eventually("it stops", || {
        coven
            .events(&id)
            .iter()
            .any(|event| event["kind"] == "kill")
    });
    let answer = coven.upgrade_to(&next);
    assert_eq!(refusal(&answer), "stopping");
    wait_until_gone(pid);
}

#[test]
fn an_upgrade_is_refused_while_the_store_is_being_rewritten() {
    let (coven, id) = with_a_session();
    let before = coven.health();
    let next = coven.program_of_version("9.9.9");
    let check = || {
        let body = json!({ "binary": &next, "check": true });
        coven.post("/api/v1/daemon/upgrade", &body)
    };
    std::thread::scope(|scope| {
        // The vacuum waits for this transaction of another process's making.
        let held = coven.database();
        held.execute_batch("BEGIN IMMEDIATE").unwrap();
        let vacuum = scope.spawn(|| coven.post("/api/v1/store/vacuum", &json!({})));
        let refused = eventually_some("the vacuum has begun", || {
            let answer = check();
            (answer.status != 200).then_some(answer)
        });
        assert_eq!(refusal(&refused), "maintenance");
        assert_eq!(refusal(&coven.upgrade_to(&next)), "maintenance");
        held.execute_batch("COMMIT").unwrap();
        assert_eq!(vacuum.join().unwrap().status, 200);
    });
    assert_eq!(check().status, 200);
    assert_goes_on(&coven, &id, &before);
}
