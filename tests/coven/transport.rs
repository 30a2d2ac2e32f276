//! HTTP on the socket, as clients nobody here wrote speak it: well, badly, and maliciously.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use serde_json::json;

use crate::support::*;

const REFRESH: &str = r#"{"action":"coven.capabilities.refresh"}"#;
const BODY_MAX: usize = 4 * 1024 * 1024;

#[test]
fn an_http_1_0_client_reads_to_the_end_of_the_connection() {
    let coven = Coven::start();
    for options in ["", "Connection: keep-alive\r\n"] {
        let mut stream = coven.connect();
        write!(stream, "GET /api/v1/health HTTP/1.0\r\n{options}\r\n").unwrap();
        let answer = Answer::parse(&read_all(&stream));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["ok"], true);
    }
}

#[test]
fn one_connection_serves_many_requests() {
    let coven = Coven::start();
    let mut stream = coven.connect();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for (path, status) in [("/api/v1/health", 200), ("/nowhere", 404)].repeat(5) {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!(read_answer(&mut reader).status, status);
        let head = "POST /api/v1/actions HTTP/1.1\r\nHost: x\r\n";
        let length = REFRESH.len();
        write!(stream, "{head}Content-Length: {length}\r\n\r\n{REFRESH}").unwrap();
        assert_eq!(read_answer(&mut reader).status, 200);
    }
    write!(stream, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut reader).header("connection"), Some("close"));
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let coven = Coven::start();
    let stream = coven.connect();
    let length = REFRESH.len();
    let requests = [
        "GET /api-version HTTP/1.1\r\n\r\n".to_owned(),
        "GET /nowhere HTTP/1.1\r\n\r\n".to_owned(),
        format!("POST /actions HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{REFRESH}"),
        "GET /health HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
    ];
    (&stream).write_all(requests.concat().as_bytes()).unwrap();
    let bytes = read_all(&stream);
    let (version, rest) = Answer::parse_first(&bytes);
    let (nowhere, rest) = Answer::parse_first(rest);
    let (action, rest) = Answer::parse_first(rest);
    let health = Answer::parse(rest);
    assert_eq!(version.json()["apiVersion"], "v1");
    nowhere.assert_error(404, "not_found");
    assert_eq!(action.json()["accepted"], true);
    assert_eq!(health.json()["ok"], true);
}

#[test]
fn a_client_that_would_take_chunks_gets_none() {
    let coven = Coven::start();
    for index in 0..40 {
        // Long enough a list that a server might prefer to chunk it.
        let fields = json!({ "title": "t".repeat(1024) });
        assert_eq!(coven.register(&external_id(index), fields).status, 201);
    }
    for te in ["chunked", "trailers, chunked;q=0.5", "identity;q=0"] {
        let answer = coven.request("GET", "/api/v1/sessions", &[("TE", te)], b"");
        assert_eq!(answer.status, 200);
        assert!(answer.body.len() > 40 * 1024);
    }
}

#[test]
fn a_chunked_body_is_taken_and_the_next_request_found_behind_it() {
    let coven = Coven::start();
    let stream = coven.connect();
    let (first, second) = REFRESH.split_at(10);
    let chunks = format!(
        "{:x};name=value\r\n{first}\r\n{:X}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    let head = "POST /api/v1/actions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let next = "GET /api-version HTTP/1.1\r\nConnection: close\r\n\r\n";
    write!(&stream, "{head}{chunks}{next}").unwrap();
    let bytes = read_all(&stream);
    let (action, rest) = Answer::parse_first(&bytes);
    assert_eq!(action.json()["accepted"], true);
    assert_eq!(Answer::parse(rest).json()["apiVersion"], "v1");
}

#[test]
fn trailers_behind_a_chunked_body_are_ignored_and_bounded() {
    let coven = Coven::start();
    let length = REFRESH.len();
    let post = |trailers: &str| {
        format!(
            "POST /api/v1/actions HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
             {length:x}\r\n{REFRESH}\r\n000;last\r\n{trailers}\r\n"
        )
    };
    for trailers in [
        "",
        "X-Sum: 1\r\n",
        "A: 1\r\nB:\r\nContent-Length: 7\r\n",
        &format!("X-Padding: {}\r\n", "x".repeat(15 * 1024)),
    ] {
        let answer = coven.raw(post(trailers).as_bytes());
        assert_eq!(answer.json()["accepted"], true, "{trailers}");
    }
    for too_large in [
        format!("X-Padding: {}\r\n", "x".repeat(17 * 1024)),
        "X: y\r\n".repeat(101),
        "X: y\r\n".repeat(1_000_000),
    ] {
        let refused = coven.raw(post(&too_large).as_bytes());
        refused.assert_error(431, "request_too_large");
    }
    for malformed in ["no colon\r\n", "a b: c\r\n", "\u{1}: x\r\n"] {
        let refused = coven.raw(post(malformed).as_bytes());
        refused.assert_error(400, "invalid_request");
    }
}

#[test]
fn a_body_beyond_the_cap_is_refused_whatever_frames_it() {
    let coven = Coven::start();
    let post = |framing: &str, body: &[u8]| {
        let head = format!("POST /api/v1/sessions HTTP/1.1\r\n{framing}\r\n\r\n");
        coven.raw(&[head.as_bytes(), body].concat())
    };
    let large = vec![b' '; BODY_MAX + 1];
    let chunk = [format!("{:x}\r\n", large.len()).as_bytes(), &large, b"\r\n"].concat();
    let small_chunks = b"1\r\nx\r\n".repeat(BODY_MAX + 1);
    for refused in [
        post(&format!("Content-Length: {}", large.len()), &large),
        post(&format!("Content-Length: {}", large.len()), b""),
        post("Content-Length: 1000000000000", b"{}"),
        post("Content-Length: 99999999999999999999999999", b""),
        post("Transfer-Encoding: chunked", &chunk),
        post("Transfer-Encoding: chunked", &small_chunks),
    ] {
        refused.assert_error(413, "payload_too_large");
        assert_eq!(refused.header("connection"), Some("close"));
    }
    let allowed = post(
        &format!("Connection: close\r\nContent-Length: {BODY_MAX}"),
        &large[..BODY_MAX],
    );
    allowed.assert_error(400, "invalid_request");
    assert_eq!(coven.get("/api/v1/health").status, 200);
}

#[test]
fn a_head_beyond_the_cap_is_refused() {
    let coven = Coven::start();
    let with_header = |bytes: usize| {
        let padding = "x".repeat(bytes);
        format!("GET /health HTTP/1.1\r\nConnection: close\r\nX-Padding: {padding}\r\n\r\n")
    };
    let allowed = coven.raw(with_header(15 * 1024).as_bytes());
    assert_eq!(allowed.status, 200);
    for too_large in [
        with_header(17 * 1024),
        with_header(8 * 1024 * 1024),
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(17 * 1024)),
        format!("GET / HTTP/1.1\r\n{}", "X: y\r\n".repeat(4000)),
    ] {
        let refused = coven.raw(too_large.as_bytes());
        refused.assert_error(431, "request_too_large");
        assert_eq!(refused.header("connection"), Some("close"));
    }
}

#[test]
fn a_request_that_cannot_be_parsed_is_answered_and_closed() {
    let coven = Coven::start();
    let unparsable: [&[u8]; 12] = [
        b"GET /health\r\n\r\n",
        b"GET /health HTTP/2.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /health HTTP/1.7\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00\x00\x00\x00\r\n\r\n",
        b"hello, is there anybody?\r\n\r\n",
        b"GET /health HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /sessions HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /sessions HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /sessions HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST /sessions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ];
    for bytes in unparsable {
        let answer = coven.raw(bytes);
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(answer.error(), (400, "invalid_request".into()), "{text:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{text:?}");
    }
}

#[test]
fn a_client_that_waits_for_continue_is_told_to() {
    let coven = Coven::start();
    let mut stream = coven.connect();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let length = REFRESH.len();
    let head = "POST /api/v1/actions HTTP/1.1\r\nExpect: 100-continue\r\n";
    write!(stream, "{head}Content-Length: {length}\r\n\r\n").unwrap();
    let mut interim = String::new();
    reader.read_line(&mut interim).unwrap();
    reader.read_line(&mut interim).unwrap();
    assert_eq!(interim, "HTTP/1.1 100 Continue\r\n\r\n");
    write!(stream, "{REFRESH}").unwrap();
    assert_eq!(read_answer(&mut reader).status, 200);
    let length = BODY_MAX + 1;
    write!(stream, "{head}Content-Length: {length}\r\n\r\n").unwrap();
    read_answer(&mut reader).assert_error(413, "payload_too_large");
}

#[test]
fn head_is_get_without_the_body() {
    let coven = Coven::start();
    let get = coven.get("/api/v1/api-version");
    let stream = coven.connect();
    let head = "HEAD /api/v1/api-version HTTP/1.1\r\nConnection: close\r\n\r\n";
    (&stream).write_all(head.as_bytes()).unwrap();
    let text = String::from_utf8(read_all(&stream)).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    assert!(text.ends_with("\r\n\r\n"), "{text}");
    let length = format!("\r\nContent-Length: {}\r\n", get.body.len());
    assert!(text.contains(&length), "{text}");
    assert!(text.contains("\r\nContent-Type: application/json\r\n"));
}

#[test]
fn an_absolute_target_is_the_path_in_it() {
    let coven = Coven::start();
    for (target, status) in [
        ("http://localhost/api/v1/health", 200),
        ("http://localhost/nowhere", 404),
        ("http://localhost/api/v1/sessions?limit=x", 400),
    ] {
        assert_eq!(coven.get(target).status, status, "{target}");
    }
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    let coven = Coven::start();
    let id = external_id(1);
    for (method, path, allow) in [
        ("POST", "/health".to_owned(), "GET"),
        ("DELETE", "/sessions".to_owned(), "GET, POST"),
        ("PUT", format!("/sessions/{id}"), "GET, PATCH, DELETE"),
        ("GET", format!("/sessions/{id}/kill"), "POST"),
        ("POST", "/events".to_owned(), "GET"),
        ("PATCH", "/api-version".to_owned(), "GET"),
    ] {
        let answer = coven.request(method, &format!("/api/v1{path}"), &[], b"");
        answer.assert_error(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
}

#[test]
fn unknown_routes_and_versions_are_told_apart() {
    let coven = Coven::start();
    for path in [
        "/nowhere",
        "/api/v1/nowhere",
        "/api",
        "/api/health",
        "/health/",
    ] {
        coven.get(path).assert_error(404, "not_found");
    }
    for (path, version) in [("/api/v2/health", "v2"), ("/api/v10/sessions", "v10")] {
        let details = coven.get(path).assert_error(404, "invalid_request");
        assert_eq!(details["apiVersion"], version);
        assert_eq!(details["supportedApiVersions"], json!(["v1"]));
    }
}

#[test]
fn a_path_without_a_version_is_the_same_route() {
    let coven = Coven::start();
    let id = external_id(1);
    coven.register(&id, json!({}));
    for path in [
        "/api-version".to_owned(),
        "/capabilities".to_owned(),
        "/sessions".to_owned(),
        format!("/sessions/{id}"),
        format!("/sessions/{id}/events"),
        format!("/events?sessionId={id}"),
    ] {
        let versioned = coven.get(&format!("/api/v1{path}"));
        assert_eq!(versioned.status, 200, "{path}");
        assert_eq!(coven.get(&path).body, versioned.body, "{path}");
    }
    assert_eq!(coven.get("/health").json()["apiVersion"], "coven.daemon.v1");
}

#[test]
fn no_two_answers_share_a_request_id() {
    let coven = Coven::start();
    let mut ids = HashSet::new();
    for path in ["/health", "/nowhere", "/api/v2/health", "/sessions/x"].repeat(20) {
        let id = coven.get(path).header("x-request-id").unwrap().to_owned();
        assert!(!id.is_empty() && ids.insert(id.clone()), "{id}");
        let garbage = coven.raw(b"garbage\r\n\r\n");
        let id = garbage.header("x-request-id").unwrap().to_owned();
        assert!(!id.is_empty() && ids.insert(id.clone()), "{id}");
    }
}

#[test]
fn a_failures_request_id_stands_in_the_log() {
    let coven = Coven::start();
    let log = coven.home().join("logs/daemon.log");
    for answer in [
        coven.get("/api/v1/sessions/nobody"),
        coven.raw(b"garbage\r\n\r\n"),
    ] {
        let id = answer.header("x-request-id").unwrap();
        eventually_some("the id in the log", || {
            std::fs::read_to_string(&log)
                .unwrap()
                .contains(id)
                .then_some(())
        });
    }
}

#[test]
fn nobody_else_can_open_the_home_whatever_the_umask() {
    let coven = Coven::new();
    let ran = Ran::of(
        coven
            .command_after("umask 0", &["daemon", "start"])
            .output()
            .unwrap(),
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    coven.run("hello", "first light");
    assert_eq!(mode(&coven.home()), 0o700);
    let mut dirs = vec![coven.home()];
    let mut seen = HashSet::new();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let is_dir = entry.file_type().unwrap().is_dir();
            let wanted = if is_dir { 0o700 } else { 0o600 };
            assert_eq!(mode(&entry.path()), wanted, "{:?}", entry.path());
            seen.insert(entry.file_name().into_string().unwrap());
            if is_dir {
                dirs.push(entry.path());
            }
        }
    }
    for name in [
        "coven.sock",
        "coven.sqlite3",
        "coven.sqlite3-wal",
        "coven.sqlite3-shm",
    ] {
        assert!(seen.contains(name), "{name}: {seen:?}");
    }
    for name in ["daemon.json", "daemon.lock", "daemon.log"] {
        assert!(seen.contains(name), "{name}: {seen:?}");
    }
}

#[test]
fn curl_can_drive_the_daemon() {
    let coven = Coven::start();
    let socket = coven.socket();
    let curl = |args: &[&str]| {
        Command::new("curl")
            .args(["-sS", "--fail-with-body", "--unix-socket"])
            .arg(&socket)
            .args(args)
            .output()
    };
    let Ok(health) = curl(&["http://localhost/api/v1/health"]) else {
        println!("skipped: there is no curl");
        return;
    };
    assert_eq!(Ran::of(health).json()["ok"], true);
    let body = coven.launch_body("hello", "from curl").to_string();
    let launched = curl(&["-d", &body, "http://localhost/api/v1/sessions"]).unwrap();
    let id = Ran::of(launched).json()["id"].as_str().unwrap().to_owned();
    let events = coven.events_to_end(&id);
    let said = String::from_utf8(output(&events, "stdout")).unwrap();
    assert!(said.contains("from curl"), "{said}");
    // A body of this size makes curl wait for `100 Continue` first.
    let title = "x".repeat(BODY_MAX - 100);
    let body = json!({ "id": external_id(1), "title": title }).to_string();
    let file = coven.work().join("body");
    std::fs::write(&file, body).unwrap();
    let data = format!("@{}", file.display());
    let refused = curl(&["--data-binary", &data, "http://localhost/sessions/external"]).unwrap();
    assert_eq!(Ran::of(refused).json()["error"]["code"], "invalid_request");
}

#[test]
fn nothing_in_a_path_can_turn_the_logs_text_around() {
    let coven = Coven::start();
    let answer = coven.get("/api/v1/sessions/abc\u{202e}def");
    let details = answer.assert_error(404, "session_not_found");
    assert_eq!(details["sessionId"], "abc\u{202e}def");
    let id = answer.header("x-request-id").unwrap();
    let line = eventually_some("the id in the log", || {
        let log = std::fs::read_to_string(coven.home().join("logs/daemon.log")).unwrap();
        log.lines()
            .find(|line| line.contains(id))
            .map(str::to_owned)
    });
    assert!(line.contains(r"abc\u{202e}def"), "{line:?}");
    assert!(!line.contains('\u{202e}'), "{line:?}");
}

#[test]
fn large_requests_share_64_mib_and_small_ones_wait_for_nobody() {
    let coven = Coven::start();
    let head = |length: usize| {
        format!(
            "POST /api/v1/sessions HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    // Told to go on, a client knows that its body has its share.
    let begin = || {
        let mut stream = coven.connect();
        let head = head(BODY_MAX).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let told = |mut stream: &UnixStream| {
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    };
    let mut held: Vec<UnixStream> = (0..16).map(|_| begin()).collect();
    held.iter().for_each(&told);
    let waiting = begin();
    assert_eq!(coven.run("hello", "x")["status"], "completed");
    assert_eq!(coven.get("/api/v1/health").status, 200);
    drop(held.pop());
    told(&waiting);
}

#[test]
fn a_prompt_of_4_mib_reaches_a_harness_that_reads_it() {
    let coven = Coven::start();
    coven.harness_with("count", "wc -c", json!({ "prompt": "stdin" }));
    let prompt = "line of a long prompt\n".repeat(180_000);
    let body = coven.launch_body("count", &prompt).to_string();
    assert!(body.len() > BODY_MAX - 300_000 && body.len() <= BODY_MAX);
    let pid = coven.daemon_pid();
    let before = resident_kib(pid);
    for _ in 0..3 {
        let id = coven.launch("count", &prompt);
        let out = output(&coven.events_to_end(&id), "stdout");
        let counted = String::from_utf8(out).unwrap();
        assert_eq!(counted.trim(), prompt.len().to_string());
    }
    eventually("the memory is given back", || {
        resident_kib(pid) < before + (16 << 10)
    });
}
