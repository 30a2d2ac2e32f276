//! Display of running sessions: `stats`, the last lines of `show`, and the hint about a silent one.

use std::fs::File;
use std::io::Read;

use serde_json::{Value, json};

use crate::support::*;

/// A daemon with one session that runs, one that has ended, and one of another program's.
fn with_a_quiet_session() -> (Coven, String) {
    let coven = Coven::start();
    coven.harness("quiet", "seq 12; exec sleep 1000");
    let id = coven.launch("quiet", "wait for something");
    coven.wait_for_output(&id, "12\n");
    coven.run("hello", "x");
    coven.register(&external_id(1), json!({}));
    (coven, id)
}

/// Reads what is drawn on a terminal until it is as `is_all` says.
fn read_until(screen: &mut File, is_all: impl Fn(&str) -> bool) -> String {
    let (mut shown, mut buffer) = (String::new(), [0; 4096]);
    while !is_all(&shown) {
        let n = screen.read(&mut buffer).unwrap();
        shown.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
    }
    shown
}

#[test]
fn stats_has_the_live_sessions_with_what_they_use() {
    let (coven, id) = with_a_quiet_session();
    let table = coven.cli(["stats"]).out;
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    let head: Vec<_> = lines[0].split_whitespace().collect();
    assert_eq!(
        head.join(" "),
        "ID HARNESS DURATION CPU MEMORY OUTPUT SILENT TITLE"
    );
    assert!(lines[1].starts_with(&id[..8]), "{table}");
    for part in [" quiet ", " % ", "iB ", "/s ", "  wait for something"] {
        assert!(lines[1].contains(part), "{part}: {table}");
    }

    let document: Value = serde_json::from_str(&coven.cli(["top", "--json"]).out).unwrap();
    let [session] = document["sessions"].as_array().unwrap().as_slice() else {
        panic!("{document}");
    };
    assert_eq!(session["id"], id);
    assert_eq!(session["stdout_bytes"], 27);
    for figure in [
        "duration_ms",
        "cpu_percent",
        "family_rss_bytes",
        "silent_ms",
    ] {
        assert!(session[figure].is_u64(), "{figure}: {session}");
    }

    assert_eq!(coven.kill_session(&id).status, 202);
    let ran = coven.cli(["stats"]);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 1), "{ran:?}");
    assert!(ran.err.contains("no session is live"), "{ran:?}");
    assert_eq!(coven.cli(["stats", "--watch"]).code, 2, "it is no terminal");
}

#[test]
fn stats_are_drawn_in_place_until_the_terminal_is_closed() {
    let (coven, id) = with_a_quiet_session();
    let (mut screen, stdout) = terminal();
    let mut child = coven
        .command(["stats", "--watch"])
        .stdout(stdout)
        .spawn()
        .unwrap();
    let shown = read_until(&mut screen, |shown| shown.matches("\x1b[J").count() == 2);
    drop(screen);
    assert!(child.wait().unwrap().success());
    assert!(shown.starts_with("\x1b[HID "), "{shown:?}");
    assert_eq!(shown.matches(&id[..8]).count(), 2, "{shown:?}");
    assert!(!shown.contains("hello"), "{shown:?}");
}

#[test]
fn show_has_the_last_ten_lines_and_the_figures_so_far() {
    let (coven, id) = with_a_quiet_session();
    let shown = coven.cli(["show", &id]).out;
    let (facts, lines) = shown.split_once("\n\nlast lines\n").unwrap();
    let expected: Vec<_> = (3..=12).map(|n| format!("  {n}")).collect();
    assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
    for name in ["family memory ", "family cpu ", "silent for ", "cpu time "] {
        assert!(facts.lines().any(|line| line.starts_with(name)), "{shown}");
    }
    assert!(facts.contains("27 bytes, 12 lines"), "{shown}");
    // One that has written nothing has no such part.
    coven.harness("mute", "exec sleep 1000");
    let mute = coven.launch("mute", "x");
    let shown = coven.cli(["show", &mute]).out;
    assert!(!shown.contains("last lines"), "{shown}");
}

#[test]
fn a_terminal_is_told_of_a_silent_session_until_its_next_output() {
    let coven = Coven::start();
    let script = "echo begun; read -r line; echo \"got $line\"";
    coven.harness_with("reader", script, json!({ "stdin": "open" }));
    let id = coven.launch("reader", "x");
    let (mut screen, terminal) = terminal();
    let mut child = coven
        .command_after("exec 2>&1", &["attach", &id])
        .env("TERM", "xterm")
        .stdout(terminal)
        .spawn()
        .unwrap();
    let hint = read_until(&mut screen, |shown| shown.contains("\x1b8"));
    for part in [
        "coven: running ",
        ", silent ",
        ", cpu 0 %",
        "Ctrl-C detaches",
    ] {
        assert!(hint.contains(part), "{part}: {hint:?}");
    }
    assert!(
        hint.contains(&format!("coven show {}", &id[..8])),
        "{hint:?}"
    );
    let input = coven.post(
        &format!("/api/v1/sessions/{id}/input"),
        &json!({ "data": "it\n" }),
    );
    assert_eq!(input.status, 202);
    let rest = read_until(&mut screen, |shown| shown.contains("got it"));
    assert!(rest.starts_with("\x1b[J"), "{rest:?}");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_terminal_is_told_that_a_long_operation_goes_on() {
    let coven = Coven::start();
    let pid = coven.daemon_pid();
    for verb in [&["vacuum"][..], &["backup", "copy"]] {
        kill(pid, libc::SIGSTOP);
        let (mut screen, terminal) = terminal();
        let child = coven
            .command_after("exec 2>&1 1>/dev/null", verb)
            .stdout(terminal)
            .spawn()
            .unwrap();
        let line = format!("coven: {}: ", verb[0]);
        read_until(&mut screen, |shown| shown.contains(&line));
        kill(pid, libc::SIGCONT);
        let ran = finish(child);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let plain = coven.cli(["vacuum"]);
    assert!(!plain.err.contains("coven: vacuum"), "{plain:?}");
}
