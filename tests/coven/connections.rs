//! Many connections: their limit, and clients that wait, stall, hang up, or have said all they will.

use std::collections::HashSet;
use std::io::{BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use serde_json::json;

use crate::support::*;

/// A connection that the daemon has let in: it has had an answer on it.
fn admitted(coven: &Coven) -> Option<BufReader<UnixStream>> {
    let mut stream = coven.connect();
    let sent = stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut reader = BufReader::new(stream);
    (sent.is_ok() && read_answer(&mut reader).status == 200).then_some(reader)
}

/// Begins a long poll for a session that does nothing, its answer still to come.
fn begin_waiting(mut stream: &UnixStream, id: &str) {
    let path = format!("/api/v1/events?sessionId={id}&afterSeq=1&waitMs=60000");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
}

#[test]
fn one_connection_too_many_is_refused_until_another_ends() {
    let coven = Coven::new().env("COVEN_MAX_CONNECTIONS", "2");
    coven.start_daemon();
    // The start's own connections may still be on their way out.
    let held = eventually_some("a place", || admitted(&coven));
    let other = eventually_some("another place", || admitted(&coven));
    let mut ids = HashSet::new();
    for _ in 0..3 {
        let stream = coven.connect();
        let refused = Answer::parse(&read_all(&stream));
        let details = refused.assert_error(503, "too_many_connections");
        assert_eq!(details["limit"], 2);
        assert_eq!(refused.header("connection"), Some("close"));
        let id = refused.header("x-request-id").unwrap().to_owned();
        assert!(ids.insert(id), "every answer has an id of its own");
    }
    drop(held);
    eventually_some("the place of the one who left", || admitted(&coven));
    drop(other);
}

#[test]
fn a_client_that_saw_its_connection_closed_can_open_the_next() {
    let coven = Coven::new().env("COVEN_MAX_CONNECTIONS", "2");
    coven.start_daemon();
    let held = eventually_some("a place", || admitted(&coven));
    eventually_some("nobody else", || {
        (coven.get("/api-version").status == 200).then_some(())
    });
    for round in 0..500 {
        assert_eq!(coven.get("/api-version").status, 200, "round {round}");
    }
    drop(held);
}

#[test]
fn a_waiter_that_hangs_up_frees_its_place() {
    let coven = Coven::new().env("COVEN_MAX_CONNECTIONS", "2");
    coven.start_daemon();
    let id = external_id(1);
    eventually_some("a place", || {
        (coven.register(&id, json!({})).status == 201).then_some(())
    });
    for _ in 0..5 {
        let waiters = [(); 2].map(|()| eventually_some("a place", || admitted(&coven)));
        for waiter in &waiters {
            begin_waiting(waiter.get_ref(), &id);
        }
        assert_eq!(coven.get("/health").status, 503);
        drop(waiters);
        eventually_some("a place", || admitted(&coven));
    }
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answer() {
    let coven = Coven::start();
    let id = external_id(1);
    coven.register(&id, json!({}));
    let stream = coven.connect();
    (&stream)
        .write_all(b"GET /health HTTP/1.1\r\n\r\n")
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(Answer::parse(&read_all(&stream)).status, 200);

    let waiter = coven.connect();
    begin_waiting(&waiter, &id);
    waiter.shutdown(Shutdown::Write).unwrap();
    let answered = coven.post_to(&id, "complete", &json!({}));
    assert_eq!(answered.status, 200);
    let page = Answer::parse(&read_all(&waiter)).json();
    assert_eq!(page["events"][0]["seq"], 2, "{page}");
}

#[test]
fn clients_that_stall_cost_the_others_nothing() {
    let coven = Coven::start();
    for index in 0..60 {
        let labels = vec!["l".repeat(128); 32];
        coven.register(&external_id(index), json!({ "labels": labels }));
    }
    let stalled: Vec<UnixStream> = (0..60)
        .map(|index| {
            let mut stream = coven.connect();
            let begun: &[u8] = match index % 3 {
                0 => b"GET /health HT",
                1 => b"POST /sessions HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{",
                // More than the socket's buffer holds, and nobody reads it.
                _ => b"GET /sessions HTTP/1.1\r\n\r\n",
            };
            stream.write_all(begun).unwrap();
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(coven.get("/api/v1/health").status, 200);
        assert_eq!(coven.get("/api/v1/sessions?limit=2").status, 200);
    }
    drop(stalled);
}

#[test]
fn a_client_that_is_always_a_request_ahead_costs_no_memory() {
    const REQUESTS: usize = 7_000;
    let coven = Coven::start();
    let pad = "p".repeat(15_000);
    let request = format!("GET /api-version HTTP/1.1\r\nX-Pad: {pad}\r\n\r\n");
    assert!(REQUESTS * request.len() > 100 << 20);
    let (first, rest) = request.as_bytes().split_at(request.len() / 2);
    let stream = coven.connect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Each write ends a request and begins the next.
            let next = [rest, first].concat();
            (&stream).write_all(first).unwrap();
            for _ in 1..REQUESTS {
                (&stream).write_all(&next).unwrap();
            }
            (&stream).write_all(rest).unwrap();
        });
        let mut reader = BufReader::new(&stream);
        for _ in 0..REQUESTS {
            assert_eq!(read_answer(&mut reader).status, 200);
        }
    });
    let peak = peak_kib(coven.daemon_pid());
    assert!(peak < 64 << 10, "{peak} KiB");
}

#[test]
fn a_refused_client_can_send_all_and_still_reads_the_reason() {
    let coven = Coven::new().env("COVEN_MAX_CONNECTIONS", "1");
    coven.start_daemon();
    let pid = {
        let daemon = std::fs::read(coven.home().join("daemon.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&daemon).unwrap()["pid"].clone()
    };
    let held = eventually_some("the only place", || admitted(&coven));
    let log = || std::fs::read_to_string(coven.home().join("logs/daemon.log")).unwrap();
    for round in 0..50 {
        let stream = coven.connect();
        (&stream)
            .write_all(b"POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
            .unwrap();
        (&stream).write_all(b"{}").unwrap();
        let refused = Answer::parse(&read_all(&stream));
        refused.assert_error(503, "too_many_connections");
        let id = refused.header("x-request-id").unwrap();
        let word = format!("request={id} ");
        eventually(&format!("round {round}, {id} in the log"), || {
            log().contains(&word)
        });
    }

    let status = coven.cli(["daemon", "status"]);
    assert_eq!(status.code, 0, "{status:?}");
    assert!(status.out.contains("running"), "{status:?}");
    let status = coven.cli(["daemon", "status", "--json"]);
    assert_eq!(
        (status.code, &status.json()["state"]),
        (0, &json!("running"))
    );
    assert_eq!(status.json()["pid"], pid);
    let start = coven.cli(["daemon", "start"]);
    assert_eq!((start.code, start.err.as_str()), (0, ""), "{start:?}");
    assert!(start.out.contains("already running"), "{start:?}");

    drop(held);
    eventually("the same daemon", || {
        let health = coven.get("/health");
        health.status == 200 && health.json()["daemon"]["pid"] == pid
    });
}

#[test]
fn a_daemon_that_takes_no_connection_can_be_stopped_and_its_log_says_how() {
    let coven = Coven::new().env("COVEN_MAX_CONNECTIONS", "2");
    coven.start_daemon();
    let held = [(); 2].map(|()| eventually_some("a place", || admitted(&coven)));
    let ran = coven.cli(["daemon", "stop"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let warned = "which these are is not known: no more connections can be taken now";
    assert!(ran.err.contains(warned), "{ran:?}");
    assert!(ran.out.contains("by a signal"), "{ran:?}");
    let logs = coven.cli(["logs", "--event", "daemon_stopped"]);
    assert!(logs.out.contains("clean=true"), "{logs:?}");
    drop(held);
}

#[test]
fn a_request_that_is_cut_short_is_told_so() {
    let coven = Coven::start();
    for part in [
        "G",
        "GET /health HTTP/1.1\r\nHost: x\r\n",
        "POST /api/v1/sessions HTTP/1.1\r\nContent-Length: 10\r\n\r\n{",
        "POST /api/v1/sessions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    ] {
        let stream = coven.connect();
        (&stream).write_all(part.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = Answer::parse(&read_all(&stream));
        answer.assert_error(400, "invalid_request");
    }
}
