//! `coven daemon logs`: what it finds, in which files, with and without a daemon.

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::*;

const ONE: &str =
    "2026-05-09T06:43:00.000Z INFO event=session_started session=aaaa1111 pid=7 harness=hello";
const TWO: &str = "2026-05-09T06:44:00.000Z WARN event=session_not_live code=session_not_live request=1-2 session=bbbb2222 reason=\"it said \\\"no\\\"\"";
const THREE: &str = r#"{"ts":"2026-05-09T06:45:00.000Z","level":"ERROR","event":"spawn_failed","code":"launch_failed","session":"aaaa3333","pid":8}"#;
const THREE_AS_TEXT: &str =
    "2026-05-09T06:45:00.000Z ERROR event=spawn_failed code=launch_failed pid=8 session=aaaa3333";
const FOUR: &str = "2026-05-09T06:46:00.000Z DEBUG event=request request=1-3 pid=77";

/// A home without a daemon whose log holds `files`, the newest first.
fn with_log(files: &[&[&str]]) -> (Coven, PathBuf) {
    let coven = Coven::new();
    let dir = coven.home().join("logs");
    fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
    let log = dir.join("daemon.log");
    for (age, lines) in files.iter().enumerate() {
        let path = match age {
            0 => log.clone(),
            age => dir.join(format!("daemon.log.{age}")),
        };
        fs::write(
            path,
            lines
                .iter()
                .map(|line| format!("{line}\n"))
                .collect::<String>(),
        )
        .unwrap();
    }
    (coven, log)
}

#[track_caller]
fn shown(coven: &Coven, args: &[&str]) -> Vec<String> {
    let ran = coven.cli([&["daemon", "logs"], args].concat());
    let said = match ran.out.is_empty() && !args.contains(&"0") {
        true => "coven: no line of the log is as asked for\n",
        false => "",
    };
    assert_eq!((ran.code, ran.err.as_str()), (0, said), "{ran:?}");
    ran.out.lines().map(str::to_owned).collect()
}

#[test]
fn every_line_is_shown_oldest_first_over_rotated_files_without_a_daemon() {
    let (coven, _) = with_log(&[&[FOUR], &[THREE], &[ONE, TWO]]);
    assert_eq!(shown(&coven, &[]), [ONE, TWO, THREE_AS_TEXT, FOUR]);
    assert_eq!(shown(&coven, &["--lines", "2"]), [THREE_AS_TEXT, FOUR]);
    assert_eq!(shown(&coven, &["-n", "0"]), [] as [&str; 0]);
    assert_eq!(coven.cli(["daemon", "status"]).code, 3, "none was started");
}

#[test]
fn lines_are_found_by_session_pid_code_event_level_and_time() {
    let (coven, _) = with_log(&[&[ONE, TWO, THREE, FOUR]]);
    let cases: [(&[&str], &[&str]); 14] = [
        (&["--session", "bbbb2222"], &[TWO]),
        (&["--session", "aaaa"], &[ONE, THREE_AS_TEXT]),
        (&["--pid", "7"], &[ONE]),
        (&["--code", "launch_failed"], &[THREE_AS_TEXT]),
        (&["--event", "request"], &[FOUR]),
        (&["--level", "error"], &[THREE_AS_TEXT]),
        (&["--level", "WARN"], &[TWO, THREE_AS_TEXT]),
        (&["--level=debug"], &[ONE, TWO, THREE_AS_TEXT, FOUR]),
        (&["--since", "2026-05-09T06:45:00Z"], &[THREE_AS_TEXT, FOUR]),
        (&["--until", "2026-05-09T08:44:00+02:00"], &[ONE, TWO]),
        (&["--since", "9999d", "--lines", "1"], &[FOUR]),
        (&["--until", "9999d"], &[]),
        (&["--session", "aaaa", "--level", "warn"], &[THREE_AS_TEXT]),
        (&["--code", "nonesuch"], &[]),
    ];
    for (args, lines) in cases {
        assert_eq!(shown(&coven, args), lines, "{args:?}");
    }
    for args in [
        ["--since", "soon"],
        ["--level", "loud"],
        ["--pid", "x"],
        ["--lines", "-1"],
    ] {
        assert_eq!(
            coven.cli([&["daemon", "logs"], &args[..]].concat()).code,
            2,
            "{args:?}"
        );
    }
    assert_eq!(coven.cli(["logs", "--follow", "--until", "1d"]).code, 2);
}

#[test]
fn json_is_an_object_a_line_whichever_format_the_log_has() {
    let (coven, _) = with_log(&[&[TWO, THREE]]);
    let lines = shown(&coven, &["--json"]);
    let records: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        records[0],
        json!({ "ts": "2026-05-09T06:44:00.000Z", "level": "WARN", "event": "session_not_live", "code": "session_not_live",
            "request": "1-2", "session": "bbbb2222", "reason": "it said \"no\"" })
    );
    assert_eq!(records[1], serde_json::from_str::<Value>(THREE).unwrap());
}

#[test]
fn a_line_that_is_no_record_is_shown_harmless_and_matches_no_filter() {
    let broken = "not a record \u{1b}[2J\u{9b}\u{202e}";
    let (coven, log) = with_log(&[&[ONE, broken, TWO]]);
    let all = shown(&coven, &[]);
    assert_eq!(all[1], "not a record \\u{1b}[2J\\u{9b}\\u{202e}");
    assert_eq!(shown(&coven, &["--level", "trace"]), [ONE, TWO]);
    let json = shown(&coven, &["--json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&json[1]).unwrap()["line"],
        broken
    );
    assert!(json[1].contains("\\u009b\\u202e"), "{}", json[1]);
    // Cut off in the middle, by a crash: and bytes that are no text.
    fs::write(log, b"\xff\xfe\n2026-05-09T06:43:00.000Z INFO event=\"cu").unwrap();
    assert_eq!(shown(&coven, &[]).len(), 2);
}

#[test]
fn a_running_daemons_log_leads_from_a_failed_command_to_its_line() {
    let coven = Coven::start();
    let id = coven.run("hello", "x")["id"].as_str().unwrap().to_owned();
    assert_eq!(coven.cli(["kill", &id]).code, 1);
    eventually("the line", || {
        shown(&coven, &["--code", "session_not_live"]).len() == 1
    });
    let of_session = shown(&coven, &["--session", &id[..8]]);
    let events: Vec<&str> = of_session
        .iter()
        .map(|line| {
            line.split("event=")
                .nth(1)
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
        })
        .collect();
    assert_eq!(
        events,
        ["session_started", "session_ended", "session_not_live"]
    );
    assert_eq!(shown(&coven, &["--session", &id, "--since", "1h"]).len(), 3);
}

#[test]
fn follow_shows_every_line_while_the_log_is_rotated() {
    let (coven, log) = with_log(&[&[ONE, TWO]]);
    let mut child = coven.spawn(["logs", "--follow", "--lines", "1"]);
    let mut out = child.stdout.take().unwrap();
    assert_eq!(read_until(&mut out, "\n"), format!("{TWO}\n"));
    let older = log.with_extension("log.1");
    let mut file = fs::OpenOptions::new().append(true).open(&log).unwrap();
    for round in 0..50 {
        let line = |n| format!("2026-05-09T07:00:00.000Z INFO event=tick round={round} n={n}\n");
        file.write_all(line(1).as_bytes()).unwrap();
        // In two writes: half a line is none.
        let (half, rest) = (&line(2)[..40], &line(2)[40..]);
        file.write_all(half.as_bytes()).unwrap();
        file.write_all(rest.as_bytes()).unwrap();
        fs::rename(&log, &older).unwrap();
        file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&log)
            .unwrap();
        file.write_all(line(3).as_bytes()).unwrap();
        let seen = read_until(&mut out, "n=3\n");
        assert_eq!(seen, format!("{}{}{}", line(1), line(2), line(3)));
    }
    assert!(kill(child.id() as i32, libc::SIGINT));
    assert_eq!(finish(child).code, 130);
}

#[test]
fn follow_begins_before_there_is_a_log_and_ends_with_its_reader() {
    let (coven, log) = with_log(&[]);
    let mut child = coven.spawn(["logs", "--follow", "--event", "wanted"]);
    let mut out = child.stdout.take().unwrap();
    fs::write(
        &log,
        format!("{ONE}\n2026-05-09T07:00:00.000Z INFO event=wanted\n"),
    )
    .unwrap();
    assert!(read_until(&mut out, "\n").ends_with(" event=wanted\n"));
    drop(out);
    assert_eq!(finish(child).code, 0);
}

#[test]
fn a_log_that_is_not_there_or_cannot_be_read_is_said_so() {
    let coven = Coven::new();
    for args in [&["logs"][..], &["logs", "--follow"]] {
        let ran = coven.cli(args);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
        assert!(ran.err.contains("(log_not_found)\n  try: "), "{ran:?}");
    }
    let (coven, log) = with_log(&[]);
    fs::create_dir(log).unwrap();
    let ran = coven.cli(["logs"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.err.contains("logs/daemon.log cannot be read: "),
        "{ran:?}"
    );
}

#[test]
fn a_level_that_is_none_is_refused_with_those_there_are() {
    let coven = Coven::start();
    let ran = coven.cli(["logs", "--level", "loud"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.err.contains("error, warn, info, debug, trace"),
        "{ran:?}"
    );
}
