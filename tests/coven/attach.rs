//! `coven attach`: replay, follow, type, detach.

use std::io::Write;

use serde_json::{Value, json};

use crate::support::*;

/// A session that answers what is typed, until that is `quit`.
fn answering(coven: &Coven) -> String {
    let script = "echo ready; echo note >&2
while read -r line; do [ \"$line\" = quit ] && exit 5; echo \"got $line\"; done";
    coven.harness_with("answering", script, json!({ "stdin": "open" }));
    let id = coven.launch("answering", "x");
    coven.wait_for_output(&id, "ready");
    id
}

#[test]
fn attach_replays_a_session_that_has_ended() {
    let coven = Coven::start();
    coven.harness("bytes", r"printf 'a\377'; printf 'e\200' >&2; exit 7");
    let id = coven.launch("bytes", "x");
    coven.events_to_end(&id);
    let out = coven.command(["attach", &id]).output().unwrap();
    assert_eq!(out.status.code(), Some(7));
    assert_eq!(
        (out.stdout, out.stderr),
        (b"a\xff".to_vec(), b"e\x80".to_vec())
    );
}

#[test]
fn attach_replays_then_follows_and_sends_what_is_typed() {
    let coven = Coven::start();
    let id = answering(&coven);
    let mut attach = coven.spawn(["attach", &id[..8]]);
    read_until(attach.stdout.as_mut().unwrap(), "ready\n");
    let mut stdin = attach.stdin.take().unwrap();
    stdin.write_all("hällo\n".as_bytes()).unwrap();
    read_until(attach.stdout.as_mut().unwrap(), "got hällo\n");
    stdin.write_all(b"quit\n").unwrap();
    let ran = finish(attach);
    assert_eq!((ran.code, ran.err.as_str()), (5, "note\n"));
}

#[test]
fn ctrl_c_detaches_and_the_session_lives_on() {
    let coven = Coven::start();
    let id = answering(&coven);
    let mut attach = coven.spawn(["attach", &id]);
    read_until(attach.stdout.as_mut().unwrap(), "ready\n");
    kill(attach.id() as i32, libc::SIGINT);
    assert_eq!(finish(attach).code, 130);
    assert_eq!(coven.session(&id)["status"], "running");
    // The next one sees all of it, and what is typed there still arrives.
    let mut attach = coven.spawn(["attach", &id]);
    attach.stdin.take().unwrap().write_all(b"quit\n").unwrap();
    let ran = finish(attach);
    assert_eq!((ran.code, ran.out.as_str()), (5, "ready\n"));
}

#[test]
fn two_can_be_attached_at_once() {
    let coven = Coven::start();
    let id = answering(&coven);
    let mut both = [coven.spawn(["attach", &id]), coven.spawn(["attach", &id])];
    for attach in &mut both {
        read_until(attach.stdout.as_mut().unwrap(), "ready\n");
    }
    let mut typed = both[0].stdin.take().unwrap();
    typed.write_all(b"x\n").unwrap();
    for attach in &mut both {
        read_until(attach.stdout.as_mut().unwrap(), "got x\n");
    }
    typed.write_all(b"quit\n").unwrap();
    assert_eq!(both.map(|attach| finish(attach).code), [5, 5]);
}

#[test]
fn a_session_without_stdin_says_so_and_is_followed_all_the_same() {
    let coven = Coven::start();
    coven.harness(
        "closed",
        "echo ready; until [ -e go ]; do sleep 0.02; done; echo end",
    );
    let id = coven.launch("closed", "x");
    let mut attach = coven.spawn(["attach", &id]);
    let mut stdin = attach.stdin.take().unwrap();
    stdin.write_all(b"typed\n").unwrap();
    let said = read_until(attach.stderr.as_mut().unwrap(), "(input_not_accepted)");
    assert!(said.starts_with("coven: "), "{said}");
    std::fs::write(coven.work().join("go"), "").unwrap();
    let ran = finish(attach);
    assert_eq!((ran.code, ran.out.as_str()), (0, "ready\nend\n"));
}

#[test]
fn attach_can_begin_behind_an_event_and_print_json() {
    let coven = Coven::start();
    let id = coven.launch("hello", "x");
    let events = coven.events_to_end(&id);
    let ran = coven.cli(["attach", "--json", "--after=3", &id]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let shown: Vec<Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(shown, events[3..]);
}

#[test]
fn attach_behind_the_end_exits_with_the_sessions_code() {
    let coven = Coven::start();
    let id = coven.launch("hello", "fail");
    let last = coven.events_to_end(&id).len();
    let ran = coven.cli(["attach", "--after", &last.to_string(), &id]);
    assert_eq!((ran.code, ran.out.as_str()), (3, ""));
}
