//! Clients that send what no client should, or hang up in the middle: nobody else notices.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::support::*;

/// Requests that are as they should be, to be spoilt.
const GOOD: [&str; 6] = [
    "GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /api/v1/sessions?limit=3&cursor=abc&includeArchived=true HTTP/1.1\r\n\r\n",
    "GET /api/v1/events?sessionId=00000000-0000-4000-8000-000000000001&afterSeq=1 HTTP/1.1\r\n\r\n",
    "POST /api/v1/sessions HTTP/1.1\r\nContent-Length: 26\r\n\r\n{\"harness\":\"x\",\"prompt\":1}",
    "POST /api/v1/actions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"act\r\n0\r\n\r\n",
    "DELETE /api/v1/sessions/nobody HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
];

/// Resources of the daemon's process.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    threads: usize,
}

/// Without those of the database: each of its connections opens its files when it is first used.
fn held(pid: i32) -> Held {
    let links = |what: &str| {
        let entries = fs::read_dir(format!("/proc/{pid}/{what}"))
            .unwrap()
            .flatten();
        entries.map(|entry| fs::read_link(entry.path()).unwrap_or_default())
    };
    let is_other = |path: &PathBuf| !path.to_string_lossy().contains("coven.sqlite3");
    Held {
        descriptors: links("fd").filter(is_other).count(),
        threads: links("task").count(),
    }
}

/// Waits until the daemon holds no more than it did; it may keep up to four threads that wait for connections.
fn assert_lets_go(pid: i32, before: &Held) {
    eventually("all is let go", || {
        let now = held(pid);
        now.descriptors <= before.descriptors && now.threads <= before.threads + 4
    });
}

fn assert_unharmed(coven: &Coven, pid: i32) {
    assert_eq!(coven.daemon_pid(), pid);
    assert_eq!(coven.run("hello", "x")["status"], "completed");
    let peak = peak_kib(pid);
    assert!(peak < 64 << 10, "{peak} KiB");
    let log = fs::read_to_string(coven.home().join("logs/daemon.log")).unwrap();
    assert!(!log.contains("event=panic") && !log.contains("internal_error"));
}

/// A request whose body comes in wrong chunks.
fn wrong_chunks(path: &str, size: usize, random: &mut Random) -> Vec<u8> {
    let chunk = random
        .pick(&["ffffffffffffffff", "-1", "5", "zz", "1;1;"])
        .to_owned();
    let twice = random.pick(&["", "Content-Length: 3\r\n"]);
    let head =
        format!("POST {path} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{twice}\r\n{chunk}\r\n");
    [head.into_bytes(), random.bytes(size)].concat()
}

/// A good request with a few wrong bytes.
fn spoilt(random: &mut Random) -> Vec<u8> {
    let mut bytes = random.pick(&GOOD).as_bytes().to_vec();
    for _ in 0..=random.below(5) {
        let at = random.below(bytes.len());
        match random.below(3) {
            0 => bytes[at] = random.next() as u8,
            1 => bytes.insert(at, random.next() as u8),
            _ => drop(bytes.remove(at)),
        }
    }
    bytes
}

/// A request that is wrong in one of many ways.
fn malformed(random: &mut Random) -> Vec<u8> {
    let path = random.pick(&["/health", "/sessions", "/actions", "/sessions/x/kill"]);
    let method = random.pick(&["GET", "POST", "DELETE", "HEAD", "OPTIONS"]);
    let size = random.below(2000);
    match random.below(11) {
        0 => random.bytes(size),
        1 => random.text(size).into_bytes(),
        2 => {
            let long = "h".repeat(10_000 + random.below(60_000));
            format!("{method} {path} HTTP/1.1\r\nX-Long: {long}\r\n\r\n").into_bytes()
        }
        3 => {
            let many = "X: y\r\n".repeat(50 + random.below(3000));
            format!("{method} {path} HTTP/1.1\r\n{many}\r\n").into_bytes()
        }
        4 => {
            let lies = [
                "-1",
                "1e3",
                "0x10",
                "99999999999999999999",
                "1, 2",
                "",
                " 5",
                "5\r\nContent-Length: 6",
            ];
            let lie = random.pick(&lies);
            format!("{method} {path} HTTP/1.1\r\nContent-Length: {lie}\r\n\r\n{{}}").into_bytes()
        }
        5 => {
            let claimed = random.below(3_000_000);
            let head = format!("POST {path} HTTP/1.1\r\nContent-Length: {claimed}\r\n\r\n");
            [head.into_bytes(), random.bytes(size)].concat()
        }
        6 => {
            let version = random.pick(&["", " HTTP/0.9", " HTTP/2.0", " HTTP/1.7", " HTCPCP/1.0"]);
            let newline = random.pick(&["\r\n", "\n", "\r", "\0"]);
            format!("{method} {path}{version}{newline}{newline}").into_bytes()
        }
        7 => {
            let (odd, value) = (random.text(20), random.text(200));
            format!("{odd} /{value} HTTP/1.1\r\n{odd}: {value}\r\nCookie: é\u{202e}\r\n\r\n")
                .into_bytes()
        }
        8 => wrong_chunks(path, size, random),
        9 => {
            let mut many: Vec<u8> = Vec::new();
            for _ in 0..random.below(20) {
                many.extend_from_slice(random.pick(&GOOD).as_bytes());
            }
            many.extend(random.bytes(size));
            many
        }
        _ => spoilt(random),
    }
}

/// Sends `bytes`, and checks that whatever is answered is an answer, and no fault of the daemon's own.
fn send(coven: &Coven, bytes: &[u8], hangs_up: bool) {
    let mut stream = coven.connect();
    // It may answer and close before it has read everything.
    let _ = stream.write_all(bytes);
    if hangs_up {
        return;
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut answers = Vec::new();
    let _ = stream.read_to_end(&mut answers);
    let mut rest = answers.as_slice();
    while !rest.is_empty() {
        // The answer to HEAD has a length and no body: what follows it cannot be told apart here.
        if bytes.windows(4).any(|word| word == b"HEAD") {
            return;
        }
        let (answer, behind) = Answer::parse_first(rest);
        let is_told = (200..500).contains(&answer.status);
        assert!(is_told, "{bytes:?}: {}", answer.text());
        rest = behind;
    }
}

#[test]
fn ten_thousand_malformed_requests_leave_the_daemon_as_it_was() {
    let coven = Coven::start();
    let pid = coven.daemon_pid();
    coven.register(&external_id(1), json!({}));
    let before = held(pid);
    let each = rounds(10_000) / 4;
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let coven = &coven;
            scope.spawn(move || {
                let mut random = Random::new(seed);
                for _ in 0..each {
                    let bytes = malformed(&mut random);
                    send(coven, &bytes, random.one_in(10));
                }
            });
        }
    });
    assert_lets_go(pid, &before);
    assert_unharmed(&coven, pid);
    assert_eq!(coven.session(&external_id(1))["status"], "running");
}

#[test]
fn clients_that_hang_up_at_any_byte_cost_nothing() {
    let coven = Coven::start();
    let pid = coven.daemon_pid();
    for index in 0..40 {
        let labels = vec!["l".repeat(128); 32];
        coven.register(&external_id(index), json!({ "labels": labels }));
    }
    let before = held(pid);
    // In the middle of the request.
    for good in GOOD {
        for length in 1..good.len() {
            coven
                .connect()
                .write_all(&good.as_bytes()[..length])
                .unwrap();
        }
    }
    // In the middle of an answer that no socket's buffer holds.
    for length in 1..100 {
        let mut stream = coven.connect();
        stream
            .write_all(b"GET /api/v1/sessions HTTP/1.1\r\n\r\n")
            .unwrap();
        stream.read_exact(&mut vec![0; length * 100]).unwrap();
    }
    assert_lets_go(pid, &before);
    assert_unharmed(&coven, pid);
}

#[test]
fn clients_that_send_and_read_byte_by_byte_are_served_and_cost_the_others_nothing() {
    let coven = Coven::start();
    for index in 0..60 {
        let labels = vec!["l".repeat(128); 32];
        coven.register(&external_id(index), json!({ "labels": labels }));
    }
    let whole = coven.get("/api/v1/sessions").body;
    let mut slow: Vec<UnixStream> = (0..20).map(|_| coven.connect()).collect();
    // A byte of each, and then somebody else's request.
    for byte in b"GET /api/v1/sessions HTTP/1.1\r\nConnection: close\r\n\r\n" {
        for stream in &mut slow {
            stream.write_all(&[*byte]).unwrap();
        }
        assert_eq!(coven.get("/api/v1/health").status, 200);
    }
    let mut read = vec![Vec::new(); slow.len()];
    for _ in 0..100 {
        for (stream, read) in slow.iter_mut().zip(&mut read) {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            read.extend(byte);
        }
        assert_eq!(coven.get("/api/v1/health").status, 200);
    }
    for (mut stream, mut read) in slow.into_iter().zip(read) {
        stream.read_to_end(&mut read).unwrap();
        assert!(Answer::parse(&read).body == whole);
    }
}

/// Waits until the daemon has closed its side, whatever there is to be read before.
fn wait_for_close(stream: &UnixStream) {
    let mut poll = libc::pollfd {
        fd: stream.as_raw_fd(),
        events: libc::POLLRDHUP,
        revents: 0,
    };
    // SAFETY: poll takes a live array of one.
    let ready = unsafe { libc::poll(&mut poll, 1, PATIENCE.as_millis() as i32) };
    assert_eq!(ready, 1, "it is still open");
}

#[test]
fn clients_that_never_come_to_an_end_are_let_go() {
    let coven = Coven::start();
    let pid = coven.daemon_pid();
    for index in 0..80 {
        let labels = vec!["l".repeat(128); 32];
        coven.register(&external_id(index), json!({ "labels": labels }));
    }
    let before = held(pid);
    let begun: [&[u8]; 5] = [
        b"",
        b"GET /health HT",
        b"POST /sessions HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{",
        b"POST /sessions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        // More than the socket's buffer holds, and nobody reads it.
        b"GET /sessions HTTP/1.1\r\n\r\n",
    ];
    let stalled: Vec<UnixStream> = begun
        .iter()
        .cycle()
        .take(25)
        .map(|bytes| {
            let mut stream = coven.connect();
            stream.write_all(bytes).unwrap();
            stream
        })
        .collect();
    std::thread::scope(|scope| {
        // A byte now and then does not make the time that a request has any longer.
        scope.spawn(|| {
            let mut dribbler = coven.connect();
            dribbler
                .write_all(b"GET /health HTTP/1.1\r\nX-Endless: ")
                .unwrap();
            while dribbler.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        stalled.iter().for_each(wait_for_close);
    });
    assert_lets_go(pid, &before);
    assert_unharmed(&coven, pid);
}

#[test]
fn followers_that_never_read_hold_no_session_back() {
    const BYTES: usize = 30_000_000;
    let coven = Coven::start();
    coven.harness("flood", &format!("yes 0123456789abcdef | head -c {BYTES}"));
    let id = coven.launch("flood", "x");
    coven.wait_for_output(&id, "0123456789abcdef");
    let path = format!("/api/v1/events?sessionId={id}&waitMs=60000");
    let followers: Vec<UnixStream> = (0..50)
        .map(|_| {
            let mut stream = coven.connect();
            // More than one page, and nobody takes the first.
            for _ in 0..3 {
                write!(stream, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
            }
            stream
        })
        .collect();
    let events = coven.events_to_end(&id);
    assert_eq!(output(&events, "stdout").len(), BYTES);
    drop(followers);
    assert_eq!(coven.get("/api/v1/health").status, 200);
}

#[test]
fn clients_that_do_not_read_large_answers_share_their_memory_and_cost_others_nothing() {
    const CLIENTS: usize = 480;
    let coven = Coven::start();
    let pid = coven.daemon_pid();
    let line = "0123456789".repeat(10);
    coven.harness(
        "large",
        &format!("i=0; while [ $i -lt 12000 ]; do i=$((i+1)); echo {line}; done"),
    );
    let id = coven.run("large", "x")["id"].as_str().unwrap().to_owned();
    let before = resident_kib(pid);
    let request = format!("GET /api/v1/sessions/{id}/events HTTP/1.1\r\nConnection: close\r\n\r\n");
    let clients: Vec<UnixStream> = (0..CLIENTS)
        .map(|_| {
            let mut stream = coven.connect();
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    let answered = r#"coven_http_requests_total{route="GET /sessions/:id/events""#;
    eventually("all have their answer, which most cannot take", || {
        let metrics = coven.get("/metrics").text();
        let counts = metrics.lines().filter(|line| line.starts_with(answered));
        let count = |line: &str| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap();
        counts.map(count).sum::<usize>() >= CLIENTS
    });
    assert_eq!(coven.get("/api/v1/health").status, 200);
    assert_eq!(coven.run("hello", "x")["status"], "completed");
    let preview = coven.get(&format!("/api/v1/sessions/{id}/events?limit=1"));
    assert_eq!(preview.status, 200, "a small answer waits for nobody");
    // 64 MiB for the answers; the rest is half a thousand threads, and what was there before.
    let peak = peak_kib(pid);
    assert!(peak < before + (110 << 10), "{peak} KiB, {before} before");
    let (mut taken, mut busy) = (0, 0);
    for mut stream in clients {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let answer = Answer::parse(&bytes);
        match answer.status {
            200 => taken += 1,
            _ => {
                answer.assert_error(503, "busy");
                assert_eq!(answer.header("retry-after"), Some("1"));
                busy += 1;
            }
        }
    }
    assert!(taken >= 70 && busy > 0, "{taken} taken, {busy} refused");
    eventually("the memory is given back", || {
        resident_kib(pid) < before + (24 << 10)
    });
}
