//! Events as a client reads them: order, pages, cursors, waiting, and that none is ever lost or changed.

use std::process::Command;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::*;

/// A session that has said `count` lines, and ended.
fn talkative(coven: &Coven, count: usize) -> String {
    // A write each, so that there is more than one event to page through.
    let script = format!("i=0; while [ $i -lt {count} ]; do i=$((i+1)); echo $i; done");
    coven.harness("talks", &script);
    let id = coven.launch("talks", "x");
    coven.events_to_end(&id);
    id
}

fn page(coven: &Coven, query: &str) -> Value {
    let answer = coven.get(&format!("/api/v1/events?{query}"));
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()
}

fn seqs(page: &Value) -> Vec<u64> {
    let events = page["events"].as_array().unwrap();
    events.iter().map(|e| e["seq"].as_u64().unwrap()).collect()
}

#[test]
fn a_session_tells_its_story_from_seq_1_without_a_gap() {
    let coven = Coven::start();
    coven.harness(
        "says",
        "echo out; echo err >&2; sleep 0.05; echo more; exit 3",
    );
    let id = coven.launch("says", "x");
    let events = coven.events_to_end(&id);
    assert_gapless(&id, &events);
    let ends = [
        "status:created",
        "prompt",
        "status:running",
        "exit",
        "status:failed",
    ];
    assert_eq!(milestones(&events), ends);
    assert_eq!(
        kinds(&events)[..3],
        ["status", "input", "status"],
        "before any output"
    );
    let last = events.len() - 2;
    assert_eq!(
        kinds(&events)[last..],
        ["exit", "status"],
        "after all output"
    );
    let pid = coven.session(&id)["pid"].clone();
    assert_eq!(
        payload(&events[2]),
        json!({ "status": "running", "pid": pid })
    );
    let exit = json!({ "status": "failed", "exitCode": 3, "signal": null });
    assert_eq!(ending(&payload(&events[last])), exit);
    assert_eq!(output(&events, "stdout"), b"out\nmore\n");
    assert_eq!(output(&events, "stderr"), b"err\n");
    for event in &events {
        let time = event["created_at"].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
        assert!(payload(event).is_object());
    }
    assert_eq!(coven.session(&id)["last_seq"], events.len());
}

#[test]
fn pages_join_without_a_gap_or_a_repeat() {
    let coven = Coven::start();
    let id = talkative(&coven, 20);
    let all = coven.events(&id);
    assert_gapless(&id, &all);
    for limit in [1, 3, all.len(), 1000] {
        let mut joined = Vec::new();
        let mut cursor = json!({ "afterSeq": 0 });
        loop {
            let after = &cursor["afterSeq"];
            let page = page(
                &coven,
                &format!("sessionId={id}&afterSeq={after}&limit={limit}"),
            );
            let events = page["events"].as_array().unwrap().clone();
            assert!(!events.is_empty() && events.len() <= limit);
            cursor = page["nextCursor"].clone();
            assert_eq!(cursor["afterSeq"], events.last().unwrap()["seq"]);
            joined.extend(events);
            assert_eq!(page["hasMore"], joined.len() < all.len());
            if page["hasMore"] == false {
                break;
            }
        }
        assert_eq!(joined, all, "limit {limit}");
    }
    let beyond = page(&coven, &format!("sessionId={id}&afterSeq={}", all.len()));
    let empty = json!({ "events": [], "nextCursor": null, "hasMore": false });
    assert_eq!(beyond, empty);
}

#[test]
fn a_limit_is_clamped_and_what_is_no_integer_refused() {
    let coven = Coven::start();
    let id = talkative(&coven, 5);
    let count = |limit: &str| seqs(&page(&coven, &format!("sessionId={id}&limit={limit}"))).len();
    let all = coven.events(&id).len();
    assert_eq!((count("0"), count("-5"), count("1")), (1, 1, 1));
    assert_eq!(
        (count("1000"), count("1001"), count("99999999999999999999")),
        (all, all, all)
    );
    for (query, field) in [
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=1.5", "limit"),
        ("limit=1e3", "limit"),
        ("waitMs=soon", "waitMs"),
        ("waitMs=0x10", "waitMs"),
        ("afterSeq=a", "afterSeq"),
        ("afterSeq=1.0", "afterSeq"),
    ] {
        let answer = coven.get(&format!("/api/v1/events?sessionId={id}&{query}"));
        let details = answer.assert_error(400, "invalid_request");
        assert_eq!(details["field"], field, "{query}");
    }
    let details = coven
        .get("/api/v1/events")
        .assert_error(400, "invalid_request");
    assert_eq!(details["field"], "sessionId");
}

#[test]
fn a_page_has_a_thousand_events_at_most() {
    let coven = Coven::start();
    // Each input is an event; of output, one read can make one event of many lines.
    coven.harness_with("echoes", "exec cat >/dev/null", json!({ "stdin": "open" }));
    let id = coven.launch("echoes", "x");
    for _ in 0..1010 {
        assert_eq!(coven.input(&id, "x").status, 202);
    }
    coven.kill_session(&id);
    coven.events_to_end(&id);
    for query in ["", "&limit=1000", "&limit=5000"] {
        let page = page(&coven, &format!("sessionId={id}{query}"));
        assert_eq!(seqs(&page), (1..=1000).collect::<Vec<u64>>());
        assert_eq!(page["hasMore"], true);
    }
    assert_gapless(&id, &coven.events(&id));
}

#[test]
fn an_event_id_is_a_cursor_of_its_own_session() {
    let coven = Coven::start();
    let id = talkative(&coven, 5);
    let other = talkative(&coven, 5);
    let events = coven.events(&id);
    for (index, event) in events.iter().enumerate() {
        let event_id = event["id"].as_str().unwrap();
        let page = page(&coven, &format!("sessionId={id}&afterEventId={event_id}"));
        assert_eq!(page["events"].as_array().unwrap()[..], events[index + 1..]);
    }
    let foreign = events[0]["id"].as_str().unwrap();
    for (session, event_id) in [
        (&other, foreign),
        (&id, "x"),
        (&id, ""),
        (&id, "1"),
        (&id, &id),
    ] {
        let path = format!("/api/v1/events?sessionId={session}&afterEventId={event_id}");
        let details = coven.get(&path).assert_error(400, "invalid_request");
        assert_eq!(details["field"], "afterEventId", "{event_id}");
    }
}

#[test]
fn both_routes_to_a_sessions_events_are_the_same() {
    let coven = Coven::start();
    let id = talkative(&coven, 5);
    for query in [
        "afterSeq=2",
        "limit=3",
        "afterSeq=1&limit=1",
        "waitMs=10",
        "limit=x",
    ] {
        let one = coven.get(&format!("/api/v1/events?sessionId={id}&{query}"));
        let other = coven.get(&format!("/api/v1/sessions/{id}/events?{query}"));
        assert_eq!(
            (one.status, one.body),
            (other.status, other.body),
            "{query}"
        );
    }
}

#[test]
fn a_wait_ends_with_the_next_event() {
    let coven = Coven::start();
    coven.harness_with("echoes", "exec cat", json!({ "stdin": "open" }));
    let id = coven.launch("echoes", "x");
    let mut after = 2;
    for round in 0..20 {
        let query = format!("sessionId={id}&afterSeq={after}&waitMs=60000");
        let page = thread::scope(|scope| {
            let waiting = scope.spawn(|| page(&coven, &query));
            assert_eq!(coven.input(&id, &format!("{round}\n")).status, 202);
            waiting.join().unwrap()
        });
        assert_eq!(seqs(&page)[0], after + 1);
        let is_echo = |event: &Value| {
            event["kind"] == "output" && payload(event)["data"] == format!("{round}\n")
        };
        after = coven.events_until(&id, is_echo).len() as u64;
    }
}

#[test]
fn a_wait_for_what_is_there_or_can_never_come_is_none() {
    let coven = Coven::start();
    let id = talkative(&coven, 3);
    let last = coven.events(&id).len();
    let there = page(&coven, &format!("sessionId={id}&waitMs=60000"));
    assert_eq!(seqs(&there).len(), last);
    let ended = page(
        &coven,
        &format!("sessionId={id}&afterSeq={last}&waitMs=60000"),
    );
    let empty = json!({ "events": [], "nextCursor": null, "hasMore": false });
    assert_eq!(ended, empty, "the session has ended");
    let running = external_id(1);
    coven.register(&running, json!({}));
    for wait in ["0", "1", "-1", "30"] {
        let page = page(
            &coven,
            &format!("sessionId={running}&afterSeq=1&waitMs={wait}"),
        );
        assert_eq!(page, empty, "the time is up");
    }
}

#[test]
fn everybody_who_waits_sees_the_end_of_a_session() {
    let coven = Coven::start();
    coven.harness("waits", "echo ready; exec sleep 600");
    let id = coven.launch("waits", "x");
    coven.wait_for_output(&id, "ready");
    let after = coven.events(&id).len();
    thread::scope(|scope| {
        let followers: Vec<_> = (0..10)
            .map(|_| scope.spawn(|| coven.events_to_end(&id)))
            .collect();
        assert_eq!(coven.kill_session(&id).status, 202);
        let all = coven.events_to_end(&id);
        assert!(all.len() > after);
        for follower in followers {
            assert_eq!(follower.join().unwrap(), all);
        }
    });
}

#[test]
fn a_client_that_follows_closely_sees_what_a_later_one_reads() {
    let coven = Coven::start();
    let script = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i; echo e$i >&2; done";
    coven.harness("talks", script);
    let id = coven.launch("talks", "x");
    let followed = coven.events_to_end(&id);
    assert_gapless(&id, &followed);
    assert_eq!(coven.events(&id), followed);
    let lines = |prefix: &str| {
        (1..=300)
            .map(|i| format!("{prefix}{i}\n"))
            .collect::<String>()
    };
    assert_eq!(output(&followed, "stdout"), lines("").as_bytes());
    assert_eq!(output(&followed, "stderr"), lines("e").as_bytes());
}

#[test]
fn the_same_cursor_gives_the_same_bytes_also_after_a_restart() {
    let coven = Coven::start();
    let id = talkative(&coven, 30);
    let paths: Vec<String> = ["", "&afterSeq=3", "&afterSeq=2&limit=4", "&waitMs=100"]
        .iter()
        .map(|query| format!("/api/v1/events?sessionId={id}{query}"))
        .collect();
    let read = || {
        paths
            .iter()
            .map(|path| coven.get(path).text())
            .collect::<Vec<_>>()
    };
    let first = read();
    assert_eq!(read(), first);
    coven.cli(["daemon", "restart"]);
    assert_eq!(read(), first);
    coven.crash();
    coven.start_daemon();
    assert_eq!(read(), first);
}

#[test]
fn an_event_that_was_shown_survives_a_crash_of_the_daemon() {
    let coven = Coven::start();
    coven.harness("talks", "i=0; while :; do i=$((i+1)); echo $i; done");
    for line in ["10\n", "1000\n", "5000\n"] {
        let id = coven.launch("talks", "x");
        let said = std::cell::RefCell::new(String::new());
        let shown = coven.events_until(&id, |event| {
            said.borrow_mut()
                .push_str(payload(event)["data"].as_str().unwrap_or(""));
            said.borrow().contains(line)
        });
        coven.crash();
        coven.start_daemon();
        let kept = coven.events(&id);
        assert_gapless(&id, &kept);
        assert_eq!(kept[..shown.len()], shown);
        assert_eq!(payload(kept.last().unwrap())["status"], "orphaned");
    }
}

#[test]
fn the_database_itself_refuses_to_change_an_event() {
    let coven = Coven::start();
    let id = talkative(&coven, 3);
    let before = coven.events(&id);
    let updates = [
        "UPDATE events SET payload_json = '{}'",
        "UPDATE events SET kind = 'error' WHERE kind = 'output'",
        "UPDATE events SET key = key + 1000",
        "UPDATE OR REPLACE events SET created_at = 0",
    ];
    for update in updates {
        let refused = coven
            .database()
            .execute(update, [])
            .unwrap_err()
            .to_string();
        assert!(refused.contains("append-only"), "{update}: {refused}");
        let database = coven.home().join("coven.sqlite3");
        match Command::new("sqlite3").arg(database).arg(update).output() {
            Ok(output) => assert!(Ran::of(output).err.contains("append-only"), "{update}"),
            Err(_) => println!("skipped: there is no sqlite3"),
        }
    }
    assert_eq!(coven.events(&id), before);
}

#[test]
fn input_is_on_record_as_it_was_accepted() {
    let coven = Coven::start();
    let copy = coven.work().join("copy");
    let large: String = "é€🦀 \"quoted\" \\ \u{1}\0\r\n".repeat(8000);
    let total = large.len() + "first\r\nlast".len();
    let script = format!("exec head -c {total} > '{}'", copy.display());
    coven.harness_with("reads", &script, json!({ "stdin": "open" }));
    let id = coven.launch("reads", "x");
    let accepted = json!({ "ok": true, "accepted": true });
    for data in ["first\r\n", "", &large, "last"] {
        let answer = coven.input(&id, data);
        assert_eq!((answer.status, answer.json()), (202, accepted.clone()));
    }
    let events = coven.events_to_end(&id);
    assert_gapless(&id, &events);
    let sent = format!("first\r\n{large}last");
    assert!(
        std::fs::read(&copy).unwrap() == sent.as_bytes(),
        "byte for byte"
    );
    let is_typed = |event: &&Value| !typed(std::slice::from_ref(*event)).is_empty();
    let inputs: Vec<&Value> = events.iter().filter(is_typed).collect();
    assert!(inputs.len() > 4, "a large one is split: {}", inputs.len());
    let seqs: Vec<u64> = inputs.iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    assert!(
        seqs.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{seqs:?}"
    );
    assert!(
        inputs
            .iter()
            .all(|e| e["payload_json"].as_str().unwrap().len() <= 60_000)
    );
    let recorded: String = inputs
        .iter()
        .map(|e| payload(e)["data"].as_str().unwrap().to_owned())
        .collect();
    assert!(recorded == sent, "as accepted");
}

#[test]
fn an_echo_never_stands_before_its_input() {
    let coven = Coven::start();
    coven.harness_with("echoes", "exec cat", json!({ "stdin": "open" }));
    let id = coven.launch("echoes", "x");
    for round in 0..50 {
        assert_eq!(coven.input(&id, &format!("<{round}>")).status, 202);
        coven.wait_for_output(&id, &format!("<{round}>"));
    }
    let (mut asked, mut echoed) = (String::new(), String::new());
    for event in coven.events(&id) {
        let data = payload(&event)["data"].as_str().unwrap_or("").to_owned();
        match event["kind"].as_str().unwrap() {
            "input" if payload(&event)["origin"].is_null() => asked.push_str(&data),
            "output" => echoed.push_str(&data),
            _ => {}
        }
        assert!(asked.starts_with(&echoed), "{asked:?} {echoed:?}");
    }
}

#[test]
fn a_page_that_was_cut_always_says_that_there_is_more() {
    let coven = Coven::start();
    coven.harness_with(
        "sink",
        "echo ready; exec cat > /dev/null",
        json!({ "stdin": "open" }),
    );
    let id = &coven.launch("sink", "x");
    coven.wait_for_output(id, "ready");
    // One input is several events, which are committed at once: who sees the first of them has not seen all.
    let data = "i".repeat(1_000_000);
    let mut before = coven.session(id)["last_seq"].as_u64().unwrap();
    for round in 0..rounds(15) {
        // Without a limit, the page is cut by its bytes.
        let limit = ["&limit=1", "&limit=2", ""][round % 3];
        let path = format!("/api/v1/events?sessionId={id}&afterSeq={before}{limit}");
        let deadline = Instant::now() + PATIENCE;
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    // Not a moment between two attempts: one of them meets the commit.
                    let first = loop {
                        assert!(Instant::now() < deadline, "no input after {before}");
                        let page = coven.get(&path).json();
                        if page["nextCursor"] != Value::Null {
                            break page;
                        }
                    };
                    assert_eq!(first["hasMore"], true, "{limit}: {:?}", seqs(&first));
                });
            }
            // The harness may have yet to read what it was given before.
            eventually("there is room", || coven.input(id, &data).status == 202);
        });
        let last = coven.session(id)["last_seq"].as_u64().unwrap();
        assert!(last >= before + 3, "{last} after {before}");
        before = last;
    }
}
