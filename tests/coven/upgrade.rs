//! The upgrade in place: the daemon's program is replaced under its sessions and its clients, who notice nothing.

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::*;

/// Reads one answer of a kept connection.
fn answer(stream: &mut impl Read) -> Answer {
    let head = read_until(stream, "\r\n\r\n");
    let (_, length) = head.split_once("Content-Length: ").unwrap();
    let length: usize = length.lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    Answer::parse(&[head.as_bytes(), &body].concat())
}

#[test]
fn a_session_and_a_kept_connection_go_on_in_the_new_program() {
    let coven = Coven::start();
    let script = "echo before; read line; echo \"got $line\"; exit 7";
    coven.harness_with("writes", script, json!({ "stdin": "open" }));
    let id = coven.launch("writes", "x");
    coven.wait_for_output(&id, "before\n");
    let mut kept = coven.connect();
    let requests = b"GET /api/v1/health HTTP/1.1\r\n\r\nGET /api/v1/heal";
    kept.write_all(requests).unwrap();
    let before = answer(&mut kept).json();
    let told = coven.upgraded_to(&coven.program_of_version("9.9.9"));
    assert_eq!(told["pid"], before["daemon"]["pid"]);
    assert_eq!(
        (&told["from"], &told["to"]),
        (&before["covenVersion"], &json!("9.9.9"))
    );
    assert_eq!(told["sessions"], 1);
    kept.write_all(b"th HTTP/1.1\r\n\r\n").unwrap();
    let after = answer(&mut kept).json();
    assert_eq!(after["covenVersion"], "9.9.9");
    assert_eq!(after["daemon"]["startedAt"], before["daemon"]["startedAt"]);
    assert!(before["daemon"]["upgradedAt"].is_null() && after["daemon"]["upgradedAt"].is_string());
    assert_eq!(coven.input(&id, "on\n").status, 202);
    let ended = coven.ended(&id);
    assert_eq!(
        (&ended["status"], &ended["exit_code"]),
        (&json!("failed"), &json!(7))
    );
    assert_eq!(ended["stdout_bytes"], 14);
    let events = coven.events(&id);
    assert_gapless(&id, &events);
    assert_eq!(output(&events, "stdout"), b"before\ngot on\n");
    assert_eq!(coven.health()["sessions"]["live"], 0);
}

/// Asks for health until told to stop; returns the number of answers and the ids of the requests.
fn ask_for_ever(coven: &Coven, is_kept: bool, is_over: &AtomicBool) -> HashSet<String> {
    let mut ids = HashSet::new();
    let mut kept = coven.connect();
    while !is_over.load(Ordering::Relaxed) {
        let answer = match is_kept {
            true => {
                kept.write_all(b"GET /api/v1/health HTTP/1.1\r\n\r\n")
                    .unwrap();
                answer(&mut kept)
            }
            false => coven.get("/api/v1/health"),
        };
        assert_eq!(answer.status, 200, "{}", answer.text());
        let id = answer.header("x-request-id").unwrap().to_owned();
        assert!(ids.insert(id), "an id repeats");
    }
    ids
}

/// Follows a session to its end by long requests, as a client does that takes an empty page for what it is.
fn follow(coven: &Coven, id: &str) -> Vec<Value> {
    let (mut events, mut after) = (Vec::new(), 0);
    loop {
        let path = format!("/api/v1/events?sessionId={id}&afterSeq={after}&waitMs=60000");
        let page = coven.get(&path);
        assert_eq!(page.status, 200, "{}", page.text());
        events.extend(page.json()["events"].as_array().unwrap().clone());
        after = events.len() as u64;
        if events.iter().any(|event| event["kind"] == "exit") {
            return events;
        }
    }
}

/// The numbers of open descriptors and of threads.
fn resources(pid: i32) -> (usize, usize) {
    let count = |what| fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
    (count("fd"), count("task"))
}

/// Declares harnesses that flood, wait, or ignore SIGTERM.
fn declare_harnesses(coven: &Coven) {
    coven.harness("flood", "seq 1 1500000; sleep 0.1; echo end");
    coven.harness("errors", "seq 1 700000 >&2; exit 3");
    coven.harness(
        "lines",
        "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo $i; sleep 0.01; done",
    );
    coven.harness_with("slow-cat", "sleep 3; exec cat", json!({ "stdin": "open" }));
    coven.harness("sleeps", "exec sleep 60");
    coven.harness(
        "deaf",
        "trap '' TERM; echo deaf; while :; do sleep 0.05; done",
    );
}

/// The session has ended with this exit code, and exactly this text of `stream` is stored.
fn assert_stored(coven: &Coven, id: &str, stream: &str, text: &str, code: &Value) {
    let record = coven.ended(id);
    let events = coven.events(id);
    assert_gapless(id, &events);
    let stored = output(&events, stream);
    assert_eq!(stored.len(), text.len(), "{}", record["harness"]);
    assert!(stored == text.as_bytes(), "{}", record["harness"]);
    assert_eq!(record[format!("{stream}_bytes")], text.len());
    assert_eq!(record[format!("{stream}_lines")], text.lines().count());
    assert_eq!(&record["exit_code"], code);
}

/// Upgrades from one program to the other and back, while clients ask, follow `followed`, and kill `deaf`.
fn upgrade_under_load(coven: &Coven, programs: &[PathBuf; 2], followed: &str, deaf: &str) {
    let pid = coven.daemon_pid();
    let is_over = AtomicBool::new(false);
    let rounds = 20.max(rounds(20));
    std::thread::scope(|scope| {
        let asking = [true, false].map(|is_kept| {
            let is_over = &is_over;
            scope.spawn(move || ask_for_ever(coven, is_kept, is_over))
        });
        let following = scope.spawn(|| follow(coven, followed));
        let killing = scope.spawn(|| coven.kill_session(deaf));
        let answers = (0..rounds).map(|round| coven.upgrade_to(&programs[round % 2]));
        let answers: Vec<Answer> = answers.collect();
        is_over.store(true, Ordering::Relaxed);
        for answer in &answers {
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.json()["pid"], pid);
        }
        let [kept, new] = asking.map(|thread| thread.join().unwrap());
        assert!(kept.is_disjoint(&new) && kept.len() + new.len() > rounds);
        let killed = killing.join().unwrap();
        assert_eq!(killed.status, 202, "{}", killed.text());
        let events = following.join().unwrap();
        assert_gapless(followed, &events);
    });
}

#[test]
fn many_upgrades_under_floods_lose_and_double_nothing() {
    let coven = Coven::start();
    declare_harnesses(&coven);
    let programs = ["1.1.1", "2.2.2"].map(|version| coven.program_of_version(version));
    let floods = ["flood", "flood", "errors", "lines"].map(|harness| coven.launch(harness, "x"));
    let cat = coven.launch("slow-cat", "x");
    let data = "0123456789abcde\n".repeat(40_000);
    let input = coven.post_to(&cat, "input", &json!({ "data": data, "eof": true }));
    assert_eq!(input.status, 202, "{}", input.text());
    let timed = coven
        .try_launch("sleeps", "x", json!({ "timeoutMs": 2500 }))
        .json();
    let deaf = coven.launch("deaf", "x");
    coven.wait_for_output(&deaf, "deaf");
    let idle = coven.launch("sleeps", "x");
    coven.upgraded_to(&programs[1]);
    eventually("the first threads are there", || {
        resources(coven.daemon_pid()).1 > 0
    });

    upgrade_under_load(&coven, &programs, &floods[3], &deaf);

    let expected = |to: usize| (1..=to).map(|n| format!("{n}\n")).collect::<String>();
    let whole = [
        (
            &floods[0],
            "stdout",
            expected(1_500_000) + "end\n",
            json!(0),
        ),
        (
            &floods[1],
            "stdout",
            expected(1_500_000) + "end\n",
            json!(0),
        ),
        (&floods[2], "stderr", expected(700_000), json!(3)),
        (&floods[3], "stdout", expected(400), json!(0)),
        (&cat, "stdout", data, json!(0)),
    ];
    for (id, stream, text, code) in whole {
        assert_stored(&coven, id, stream, &text, &code);
    }
    let timed = coven.ended(timed["id"].as_str().unwrap());
    assert_eq!(timed["ended_by"], "timeout");
    let deaf = coven.ended(&deaf);
    assert_eq!(
        (&deaf["status"], &deaf["ended_by"]),
        (&json!("killed"), &json!("kill"))
    );
    assert_eq!(coven.session(&idle)["status"], "running");
    assert_eq!(coven.kill_session(&idle).status, 202);
}

#[test]
fn descriptors_and_threads_do_not_grow_with_the_number_of_upgrades() {
    let coven = Coven::start();
    coven.harness_with("echoes", "exec cat", json!({ "stdin": "open" }));
    let ids = [(); 3].map(|()| coven.launch("echoes", "x"));
    let programs = ["1.1.1", "2.2.2"].map(|version| coven.program_of_version(version));
    let pid = coven.daemon_pid();
    let mut seen = Vec::new();
    for round in 0..6 {
        coven.upgraded_to(&programs[round % 2]);
        for id in &ids {
            assert_eq!(coven.input(id, "x\n").status, 202);
        }
        // Connection threads end when their clients have gone, and the watch of the home is set up.
        let mut last = resources(pid);
        eventually("it is at rest", || {
            let now = resources(pid);
            std::mem::replace(&mut last, now) == now
        });
        seen.push(last);
    }
    assert!(
        seen[5].0 <= seen[0].0 + 1 && seen[5].1 <= seen[0].1 + 1,
        "{seen:?}"
    );
    for id in &ids {
        coven.post_to(id, "input", &json!({ "eof": true }));
        assert_eq!(coven.ended(id)["stdout_bytes"], 12);
    }
}

#[test]
fn a_follower_gets_an_empty_page_at_once_and_comes_back() {
    let coven = Coven::start();
    coven.harness_with("echoes", "exec cat", json!({ "stdin": "open" }));
    let id = coven.launch("echoes", "x");
    let next = coven.program_of_version("9.9.9");
    let last = coven.session(&id)["last_seq"].as_u64().unwrap();
    let path = format!("/api/v1/events?sessionId={id}&afterSeq={last}&waitMs=60000");
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| coven.get(&path));
        eventually("it waits", || {
            let metrics = coven.get("/api/v1/metrics");
            metrics.status == 200
        });
        coven.upgraded_to(&next);
        let page = waits.join().unwrap();
        assert_eq!(page.status, 200);
        assert_eq!(page.json()["events"], json!([]));
    });
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(coven.input(&id, "now\n").status, 202);
    coven.wait_for_output(&id, "now\n");
}

#[test]
fn what_counts_goes_on_counting_and_a_repeated_launch_is_still_a_repeat() {
    let coven = Coven::start();
    coven.harness("quick", "echo ghp_0123456789abcdefghijABCDEFGHIJ012345");
    coven.run("quick", "x");
    let body = coven.launch_body("quick", "keyed");
    let first = coven.launch_keyed("one", &body);
    assert_eq!(first.status, 201);
    coven.ended(first.json()["id"].as_str().unwrap());
    let counts = |coven: &Coven| -> Vec<(String, f64)> {
        let page = coven.get("/api/v1/metrics").text();
        let lines = page.lines().filter(|line| {
            let is_counter = ["_total", "_count", "_sum"]
                .iter()
                .any(|end| line.contains(end));
            is_counter && !line.starts_with('#') && !line.contains("/metrics")
        });
        let parsed = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        parsed.collect()
    };
    let before = counts(&coven);
    coven.upgraded_to(&coven.program_of_version("9.9.9"));
    let after = counts(&coven);
    for (name, value) in &before {
        let now = after.iter().find(|(other, _)| other == name);
        assert!(
            now.is_some_and(|(_, now)| now >= value),
            "{name}: {value}, {now:?}"
        );
    }
    assert!(
        before
            .iter()
            .any(|(name, value)| name.starts_with("coven_launches") && *value == 2.0)
    );
    assert!(before.iter().any(|(name, _)| name.contains("redactions")));
    let again = coven.launch_keyed("one", &body);
    assert_eq!(
        (again.status, again.json()["id"].clone()),
        (200, first.json()["id"].clone())
    );
}

#[test]
fn a_launch_that_arrives_during_an_upgrade_is_answered() {
    let coven = Coven::start();
    coven.harness("quick", "echo done");
    let programs = ["1.1.1", "2.2.2"].map(|version| coven.program_of_version(version));
    std::thread::scope(|scope| {
        let launching = [(); 3].map(|()| {
            scope.spawn(|| {
                let ids = (0..15).map(|_| coven.launch("quick", "x"));
                ids.collect::<Vec<String>>()
            })
        });
        for round in 0..6 {
            coven.upgraded_to(&programs[round % 2]);
        }
        for thread in launching {
            for id in thread.join().unwrap() {
                assert_eq!(coven.ended(&id)["status"], "completed");
                assert_eq!(output(&coven.events(&id), "stdout"), b"done\n");
            }
        }
    });
}

#[test]
fn a_check_changes_nothing() {
    let coven = Coven::start();
    let next = coven.program_of_version("9.9.9");
    let body = json!({ "binary": next, "check": true });
    let told = coven.post("/api/v1/daemon/upgrade", &body);
    assert_eq!(told.status, 200, "{}", told.text());
    assert_eq!(
        (&told.json()["to"], &told.json()["tookMs"]),
        (&json!("9.9.9"), &json!(0))
    );
    let health: Value = coven.health();
    assert_ne!(health["covenVersion"], "9.9.9");
    assert!(health["daemon"]["upgradedAt"].is_null());
}
