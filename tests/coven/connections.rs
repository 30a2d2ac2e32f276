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
