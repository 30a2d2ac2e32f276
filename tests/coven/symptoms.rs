//! The observability guide's "Common symptoms", row by row: each is provoked, and the CLI prints the structured code and
//! the guide's first check.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use serde_json::json;

use crate::support::*;

/// Runs `args`, which fail with `code`; gives the message with its code, and what it says to try.
#[track_caller]
fn fails(coven: &Coven, args: &[&str], exit: i32, code: &str) -> (String, String) {
    let ran = coven.cli(args);
    assert_eq!((ran.code, ran.out.as_str()), (exit, ""), "{ran:?}");
    let (message, next) = ran.err.split_once("\n  try: ").unwrap();
    assert!(message.ends_with(&format!(" ({code})")), "{ran:?}");
    (message.to_owned(), next.trim_end().to_owned())
}

#[test]
fn connection_refused_asks_whether_the_daemon_is_started_and_names_the_socket() {
    let coven = Coven::new();
    let socket = coven.socket();
    let check = || {
        let (message, next) = fails(&coven, &["sessions"], 3, "daemon_not_running");
        assert!(message.contains(&socket.display().to_string()), "{message}");
        assert!(message.contains("is it started"), "{message}");
        assert_eq!(next, "coven daemon start");
    };
    check();
    // A socket of a daemon's on which nobody listens: the connection is refused.
    std::fs::write(coven.home().join("daemon.lock"), "").unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    check();
}

#[test]
fn an_unsupported_api_version_asks_whether_the_releases_are_compatible() {
    let coven = Coven::new();
    let listener = UnixListener::bind(coven.socket()).unwrap();
    let body = json!({ "ok": true, "apiVersion": "coven.daemon.v9" }).to_string();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.read(&mut [0; 4096]);
            let _ = client.write_all(format!("{head}{body}").as_bytes());
        }
    });
    let (message, next) = fails(&coven, &["sessions"], 1, "unsupported_api_version");
    for part in ["coven.daemon.v9", "coven.daemon.v1", "compatible releases"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(next.starts_with("coven daemon restart"), "{next}");
}

#[test]
fn a_harness_that_is_not_found_names_the_daemons_path_and_not_the_shells() {
    let coven = Coven::new().env("PATH", "/usr/bin:/bin");
    coven.start_daemon();
    coven.harness("away", "");
    // This shell finds it; the daemon was started by one that does not.
    let path = format!("{}:/usr/bin:/bin", coven.bin().display());
    let args = ["run", "away", "x"];
    let ran = Ran::of(coven.command(args).env("PATH", &path).output().unwrap());
    assert_eq!(ran.code, 125, "{ran:?}");
    assert!(
        ran.err.contains("away is not on the daemon's PATH"),
        "{ran:?}"
    );
    assert!(ran.err.contains("(harness_not_found)\n  try: "), "{ran:?}");
    assert!(
        ran.err.ends_with("the daemon's PATH is /usr/bin:/bin\n"),
        "{ran:?}"
    );
    // What it says to try helps.
    let restart = coven
        .command(["daemon", "restart"])
        .env("PATH", &path)
        .output();
    assert_eq!(Ran::of(restart.unwrap()).code, 0);
    assert_eq!(coven.cli(args).code, 0);
}

#[test]
fn a_session_that_is_not_live_says_whether_it_exited_crashed_was_killed_or_orphaned() {
    let coven = Coven::start();
    coven.harness("quiet", "exec sleep 1000");
    coven.harness("crash", "kill -SEGV $$");
    let exited = coven.launch("hello", "x");
    let failed = coven.launch("hello", "fail");
    let crashed = coven.launch("crash", "x");
    let killed = coven.launch("quiet", "x");
    coven.kill_session(&killed);
    for id in [&exited, &failed, &crashed, &killed] {
        coven.ended(id);
    }
    let orphaned = coven.launch("quiet", "x");
    coven.crash();
    coven.start_daemon();
    let cases = [
        (&exited, "completed: its process has exited with code 0"),
        (&failed, "failed: its process has exited with another code"),
        (&crashed, "failed: "),
        (&killed, "killed: it was killed"),
        (&orphaned, "orphaned: the daemon that ran it died"),
    ];
    for (id, how) in cases {
        for args in [&["kill", id][..], &["input", id, "x"]] {
            let (message, next) = fails(&coven, args, 1, "session_not_live");
            assert!(message.contains(how), "{message}");
            assert!(next.starts_with(&format!("coven show {id}")), "{next}");
        }
        assert_eq!(coven.cli(["show", id]).code, 0);
        assert_eq!(coven.cli(["log", id]).code, 0);
    }
}

#[test]
fn a_rejected_cwd_names_it_and_the_root_and_asks_for_one_inside() {
    let coven = Coven::start();
    let root = coven.work().join("root");
    std::fs::create_dir(&root).unwrap();
    // Inside by its name, outside once it is resolved.
    std::os::unix::fs::symlink("/usr", root.join("link")).unwrap();
    let root = root.display().to_string();
    let cwd = format!("{root}/link");
    let args = ["run", "--root", &root, "--cwd", &cwd, "hello", "x"];
    let (message, next) = fails(&coven, &args, 125, "project_root_violation");
    assert!(
        message.contains(&root) && message.contains("/usr"),
        "{message}"
    );
    assert!(next.contains("inside it once links are resolved"), "{next}");
    assert_eq!(coven.sessions().len(), 0);
}
