//! Clients and service managers of a daemon whose program is replaced: whoever sends, reads or waits notices nothing.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::support::*;

/// Sends `begin`, upgrades the daemon, sends `end`, and reads the answer.
fn divided(coven: &Coven, version: &str, begin: &[u8], end: &[u8]) -> Answer {
    let mut stream = coven.connect();
    stream.write_all(begin).unwrap();
    eventually("it is read", || unread(&stream) == 0);
    coven.upgraded_to(&coven.program_of_version(version));
    stream.write_all(end).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    Answer::parse(&answer)
}

/// Bytes that the other end of a socket has not read yet.
fn unread(stream: &UnixStream) -> i32 {
    use std::os::fd::AsRawFd;
    let mut bytes = 0;
    // SAFETY: SIOCOUTQ, which has TIOCOUTQ's number, writes one int.
    unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
    bytes
}

#[test]
fn a_request_that_an_upgrade_divides_is_answered() {
    let coven = Coven::start();
    coven.harness("quick", "echo \"$2\"");
    let body = coven.launch_body("quick", "divided").to_string();
    let (first, second) = body.split_at(20);
    let head = "POST /api/v1/sessions HTTP/1.1\r\nConnection: close\r\n";
    let length = format!("{head}Content-Length: {}\r\n\r\n", body.len());
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{}", chunk(first));
    let cut = format!("{:x}\r\n{}", second.len(), &second[..5]);
    let end = format!("{}\r\n0\r\n\r\n", &second[5..]);
    let (begin_of_head, rest_of_head) = length.split_at(30);
    for (round, (begin, end)) in [
        (begin_of_head.to_owned(), format!("{rest_of_head}{body}")),
        (format!("{length}{first}"), second.to_owned()),
        (chunked.clone(), format!("{}0\r\n\r\n", chunk(second))),
        (format!("{chunked}{cut}"), end),
    ]
    .iter()
    .enumerate()
    {
        let version = format!("{round}.0.0");
        let answer = divided(&coven, &version, begin.as_bytes(), end.as_bytes());
        assert_eq!(answer.status, 201, "{begin:?}: {}", answer.text());
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(coven.ended(&id)["status"], "completed");
        assert_eq!(output(&coven.events(&id), "stdout"), b"divided\n");
    }
}

#[test]
fn an_answer_that_is_read_slowly_comes_whole() {
    let coven = Coven::start();
    coven.harness("flood", "seq 1 150000");
    let id = coven.run("flood", "x")["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/events?sessionId={id}");
    let whole = coven.get(&path);
    let mut stream = coven.connect();
    let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = vec![0; 100];
    stream.read_exact(&mut answer).unwrap();
    for version in ["1.1.1", "2.2.2"] {
        coven.upgraded_to(&coven.program_of_version(version));
        let mut part = vec![0; 1000];
        stream.read_exact(&mut part).unwrap();
        answer.extend(part);
    }
    stream.read_to_end(&mut answer).unwrap();
    let answer = Answer::parse(&answer);
    assert!(whole.body.len() > 500_000 && answer.body == whole.body);
}

/// A daemon that `command` has started, once it serves.
fn serving(mut command: Command) -> Child {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    wait_for_line(&mut child, "event=contract_served");
    child
}

#[test]
fn a_manager_is_told_of_an_upgrade_and_its_watchdog_goes_on() {
    let coven = Coven::new();
    coven.harness("waits", "exec sleep 1000");
    let (manager, name) = Manager::on_path(&coven);
    let mut command = coven.command(["daemon", "serve"]);
    command.envs([
        ("NOTIFY_SOCKET", name.as_str()),
        ("WATCHDOG_USEC", "400000"),
    ]);
    let child = serving(command);
    let id = coven.launch("waits", "x");
    manager.until("STATUS=1 live session");
    coven.upgraded_to(&coven.program_of_version("9.9.9"));
    let reloading = manager.until("RELOADING=1");
    let has_time = |line: &String| line.starts_with("MONOTONIC_USEC=");
    let reloading = reloading.last().unwrap();
    assert!(reloading.iter().any(has_time));
    assert!(reloading.contains(&"WATCHDOG=1".to_owned()));
    let ready = manager.until("READY=1");
    let ready = ready.last().unwrap();
    assert!(
        ready.contains(&"STATUS=1 live session".to_owned()),
        "{ready:?}"
    );
    manager.until("WATCHDOG=1");
    manager.until("WATCHDOG=1");
    // A failed upgrade is over for the manager, too.
    let failed = coven.upgrade_to(&coven.failing_program("store", "error"));
    assert_eq!(failed.status, 500);
    manager.until("RELOADING=1");
    manager.until("READY=1");
    assert_eq!(coven.session(&id)["status"], "running");
    assert!(kill(child.id() as i32, libc::SIGTERM));
    manager.until("STOPPING=1");
    let ran = finish(child);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!ran.err.contains("watchdog_started"), "{ran:?}");
}

#[test]
fn a_managers_socket_is_still_the_managers_behind_an_upgrade() {
    use std::os::unix::fs::PermissionsExt;
    let coven = Coven::new();
    let listener = std::os::unix::net::UnixListener::bind(coven.socket()).unwrap();
    fs::set_permissions(coven.socket(), fs::Permissions::from_mode(0o600)).unwrap();
    let child = serving(crate::supervised::activated(&coven, &listener, "1"));
    coven.upgraded_to(&coven.program_of_version("9.9.9"));
    assert_eq!(coven.health()["covenVersion"], "9.9.9");
    let stopped = coven.cli(["daemon", "stop"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert_eq!(finish(child).code, 0);
    assert!(coven.socket().exists(), "the manager goes on listening");
}

#[test]
fn a_handover_that_cannot_be_executed_leaves_the_same_program_with_all_sessions() {
    let coven = Coven::new();
    let fails = coven.failing_program("collect", "error");
    let started = coven.command(["daemon", "start"]);
    let mut start = Command::new(&fails);
    start.args(started.get_args()).current_dir(coven.work());
    start.envs(
        started
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    assert!(start.output().unwrap().status.success());
    coven.harness_with("echoes", "exec cat", json!({ "stdin": "open" }));
    coven.harness(
        "lines",
        "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo $i; sleep 0.01; done
         while [ ! -e over ]; do sleep 0.02; done",
    );
    let (echoes, lines) = (coven.launch("echoes", "x"), coven.launch("lines", "x"));
    let mut kept = coven.connect();
    for round in 0..3 {
        let answer = coven.upgrade_to(&coven.program_of_version(&format!("{round}.1.1")));
        assert_eq!(answer.status, 500, "{}", answer.text());
        assert_eq!(answer.json()["error"]["code"], "upgrade_failed");
        assert_eq!(coven.input(&echoes, "still\n").status, 202);
    }
    kept.write_all(b"GET /api/v1/health HTTP/1.0\r\n\r\n")
        .unwrap();
    let mut health = Vec::new();
    kept.read_to_end(&mut health).unwrap();
    assert_eq!(Answer::parse(&health).json()["sessions"]["live"], 2);
    coven.post_to(&echoes, "input", &json!({ "eof": true }));
    fs::write(coven.work().join("over"), "").unwrap();
    let expected: String = (1..=100).map(|n| format!("{n}\n")).collect();
    for (id, text) in [(&echoes, "still\n".repeat(3)), (&lines, expected)] {
        assert_eq!(coven.ended(id)["status"], "completed");
        let events = coven.events(id);
        assert_gapless(id, &events);
        assert_eq!(output(&events, "stdout"), text.as_bytes());
    }
}

#[test]
fn a_store_that_cannot_be_written_is_not_handed_over() {
    let coven = Coven::start();
    let next = coven.program_of_version("9.9.9");
    fs::remove_file(coven.database_file("")).unwrap();
    eventually("it is noticed", || {
        coven.health()["eventWriter"]["state"] == "failed"
    });
    let answer = coven.upgrade_to(&next);
    let error = answer.json()["error"].clone();
    assert_eq!(
        (answer.status, &error["code"]),
        (409, &json!("upgrade_refused"))
    );
    assert_eq!(error["details"]["reason"], "store_unavailable");
}
