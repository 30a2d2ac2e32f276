//! `coven logs`: what a session has written, of the one that is named; without one, the daemon's log.

use serde_json::{Value, json};

use crate::support::*;

/// A session that has ended, whose harness has run `script`.
fn ended(coven: &Coven, script: &str) -> String {
    coven.harness("writer", script);
    let ran = coven.cli(["run", "writer", "go", "--detach"]);
    let id = ran.out.trim().to_owned();
    coven.cli(["wait", &id]);
    id
}

#[test]
fn a_sessions_output_comes_back_byte_for_byte_on_its_two_streams() {
    let coven = Coven::start();
    let id = ended(&coven, r"printf 'out\r\n\033[2J\377'; echo err >&2; exit 7");
    let raw = coven.command(["logs", &id]).output().unwrap();
    assert_eq!(raw.stdout, b"out\r\n\x1b[2J\xff");
    assert_eq!(
        (raw.stderr, raw.status.code()),
        (b"err\n".to_vec(), Some(0))
    );
    let ran = coven.cli(["logs", "--stream=stderr", &id[..8]]);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", "err\n"));
    let ran = coven.cli(["logs", &id, "--json", "--stream", "stderr"]);
    assert_eq!(payload(&ran.json())["data"], "err\n");
}

#[test]
fn the_last_lines_of_a_large_session_are_found_from_its_end() {
    let coven = Coven::start();
    // More events than one look at the end of a session reads.
    let id = ended(
        &coven,
        "for i in $(seq 400); do echo $i; sleep 0.0005; done; printf last",
    );
    for (lines, expected) in [("1", "last"), ("3", "399\n400\nlast"), ("0", "")] {
        let ran = coven.cli(["logs", "-n", lines, &id]);
        assert_eq!((ran.out.as_str(), ran.code), (expected, 0));
    }
    assert_eq!(coven.cli(["logs", "-n500", &id]).out.lines().count(), 401);
    assert_eq!(coven.cli(["logs", "--lines=2", &id]).out, "400\nlast");
}

#[test]
fn each_line_can_begin_with_its_time_and_only_new_ones_can_be_asked_for() {
    let coven = Coven::start();
    let id = ended(&coven, "printf a; sleep 0.05; echo b; echo c");
    let ran = coven.cli(["logs", "-t", &id]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(
        lines[0].ends_with("Z  ab") && lines[1].ends_with("Z  c"),
        "{ran:?}"
    );
    assert_eq!(lines.len(), 2);
    let events = coven.events(&id);
    let event = events
        .iter()
        .find(|event| event["kind"] == "output")
        .unwrap();
    assert!(lines[0].starts_with(event["created_at"].as_str().unwrap()));
    assert_eq!(
        coven
            .cli(["logs", "--since", "2099-01-01T00:00:00Z", &id])
            .out,
        ""
    );
    assert_eq!(coven.cli(["logs", "--since", "1d", &id]).out, "ab\nc\n");
}

#[test]
fn follow_shows_what_comes_until_the_session_ends() {
    let coven = Coven::start();
    let script = "echo ready; read -r line; echo \"got $line\"; exit 3";
    coven.harness_with("answering", script, json!({ "stdin": "open" }));
    let id = coven
        .cli(["run", "answering", "go", "-d"])
        .out
        .trim()
        .to_owned();
    let mut child = coven.spawn(["tail", "-n", "5", &id]);
    read_until(child.stdout.as_mut().unwrap(), "ready\n");
    coven.cli(["input", &id, "x"]);
    let ran = finish(child);
    assert_eq!((ran.code, ran.out.as_str()), (0, "got x\n"), "{ran:?}");
    assert_eq!(coven.cli(["logs", "-f", &id]).out, "ready\ngot x\n");
}

#[test]
fn output_written_after_the_end_can_be_told_apart() {
    let coven = Coven::start_with_env("COVEN_DRAIN_MAX_MS", "0");
    let go = coven.work().join("go");
    let id = ended(
        &coven,
        "echo early; (while [ ! -e go ]; do sleep 0.02; done; echo behind) &",
    );
    std::fs::write(go, "").unwrap();
    eventually("late output", || {
        coven.cli(["logs", "--late", &id]).out == "behind\n"
    });
    assert_eq!(coven.cli(["logs", &id]).out, "early\nbehind\n");
}

#[test]
fn a_terminal_is_sent_no_control_but_colours_and_lines() {
    if !has_tools(&["script"]) {
        return;
    }
    let coven = Coven::start();
    let id = ended(
        &coven,
        r"printf '\033[31mred\033[0m\033[2J\033]0;t\007\r\n'",
    );
    let ran = coven.shell(&format!("script -qec \"$0 logs {id}\" /dev/null"));
    let shown = "\x1b[31mred\x1b[0m\\u{1b}[2J\\u{1b}]0;t\\u{7}\r\n";
    assert_eq!(ran.out, shown, "{ran:?}");
}

#[test]
fn logs_without_a_session_is_the_daemons_log_and_says_so_at_a_terminal() {
    let coven = Coven::start();
    let newest = ["daemon", "logs", "--event", "contract_served", "-n", "1"];
    let of_daemon = eventually_some("the log's line", || {
        Some(coven.cli(newest).out).filter(|said| said.lines().count() == 1)
    });
    for args in [
        &["logs", "--event=contract_served", "-n1"][..],
        &["logs", "--tail", "1", "--event", "contract_served"],
    ] {
        let ran = coven.cli(args);
        assert_eq!(
            (ran.out.as_str(), ran.err.as_str()),
            (of_daemon.as_str(), "")
        );
    }
    if has_tools(&["script"]) {
        let ran = coven.shell("script -qec \"$0 logs -n 1\" /dev/null");
        assert!(
            ran.out.starts_with("coven: this is the daemon's log"),
            "{ran:?}"
        );
    }
    // Whatever a session is called, this is the subcommand.
    let pruned: Value = coven.cli(["logs", "prune", "--dry-run", "--json"]).json();
    assert_eq!(pruned["events"], 0);
}

#[test]
fn a_preview_is_asked_for_by_log_and_is_cut_as_output_is() {
    let coven = Coven::start();
    let id = ended(&coven, "echo one; echo two");
    let whole = coven.cli(["log", &id]);
    assert!(whole.out.contains("info   one\n"), "{whole:?}");
    assert_eq!(whole.out, coven.cli(["logs", "-t", "--readable", &id]).out);
    let last = coven.cli(["logs", "--readable", "-n", "1", &id]).out;
    assert!(whole.out.ends_with(&format!("  {last}")), "{last}");
    assert_eq!(coven.cli(["logs", "--readable", "-f", &id]).code, 2);
}
