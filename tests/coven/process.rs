//! The process attributes of a harness: session and group, environment, descriptors, signals, umask, limits.
//!
//! Looked at from outside, in `/proc`, so that no shell in between can change it.

use std::collections::BTreeSet;
use std::fs;
use std::thread;

use serde_json::json;

use crate::support::*;

/// A daemon that was started after `prelude`, with a harness that is `cat` itself: it echoes its input.
fn daemon_with_cat(prelude: &str) -> Coven {
    let coven = Coven::new();
    let manifest = json!({ "adapters": [{ "id": "cat", "executable": "cat", "stdin": "open" }] });
    let path = coven.home().join("adapters/cat.json");
    fs::write(&path, manifest.to_string()).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&path, mode).unwrap();
    let mut start = coven.command_after(prelude, &["daemon", "start"]);
    let ran = Ran::of(start.output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    coven
}

/// The id and pid of a harness that has loaded its libraries, and waits.
fn settled_cat(coven: &Coven) -> (String, i32) {
    let id = coven.launch("cat", "-");
    assert_eq!(coven.input(&id, "ready").status, 202);
    coven.wait_for_output(&id, "ready");
    let pid = coven.session(&id)["pid"].as_i64().unwrap() as i32;
    (id, pid)
}

/// A line of `/proc/<pid>/status`.
fn status(pid: i32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim_start_matches(':').trim().to_owned()
}

fn descriptors(pid: i32) -> BTreeSet<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

fn environment(pid: i32) -> BTreeSet<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let variables = environ.split(|&b| b == 0).filter(|v| !v.is_empty());
    variables
        .map(|v| String::from_utf8_lossy(v).into_owned())
        .collect()
}

#[test]
fn a_harness_leads_a_session_and_a_group_of_its_own() {
    let coven = daemon_with_cat("");
    let (_, pid) = settled_cat(&coven);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, after_name) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = after_name.split(' ').collect();
    let daemon = coven.daemon_pid().to_string();
    let own = pid.to_string();
    let (parent, group, session, terminal) = (fields[1], fields[2], fields[3], fields[4]);
    assert_eq!(
        (parent, group, session, terminal),
        (daemon.as_str(), own.as_str(), own.as_str(), "0")
    );
}

#[test]
fn a_harness_has_the_daemons_environment_its_directory_and_its_sessions_id() {
    let coven =
        daemon_with_cat("export LC_GREETING='hello = there'; export COVEN_SESSION_ID=another");
    let (id, pid) = settled_cat(&coven);
    let theirs = environment(pid);
    assert!(theirs.contains("LC_GREETING=hello = there"));
    let is_mark = |v: &&String| v.starts_with("COVEN_SESSION_ID=");
    let marks: Vec<&String> = theirs.iter().filter(is_mark).collect();
    assert_eq!(marks, [&format!("COVEN_SESSION_ID={id}")]);
    let mut expected = environment(coven.daemon_pid());
    expected.retain(|variable| !is_mark(&variable));
    expected.insert(format!("COVEN_SESSION_ID={id}"));
    expected.insert(format!("PWD={}", coven.work().display()));
    assert_eq!(theirs, expected);
}

#[test]
fn a_harness_has_no_descriptor_but_its_own_three() {
    // One that the daemon itself was left with, as a script's lock file would be.
    let coven = daemon_with_cat("exec 7</dev/null");
    // Launched at once, and with clients connected: a leak would be into whoever is spawned meanwhile.
    let connections: Vec<_> = (0..8).map(|_| coven.connect()).collect();
    let cats: Vec<(String, i32)> = thread::scope(|scope| {
        let launch = || settled_cat(&coven);
        let launching: Vec<_> = (0..8).map(|_| scope.spawn(launch)).collect();
        launching.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let three = BTreeSet::from(["0", "1", "2"].map(str::to_owned));
    for (_, pid) in &cats {
        assert_eq!(descriptors(*pid), three);
    }
    drop(connections);
}

#[test]
fn a_harness_has_default_signals_and_an_empty_mask() {
    // A shell in the background, and `nohup`, leave signals ignored.
    let coven = daemon_with_cat("trap '' HUP INT QUIT USR1 PIPE XFSZ");
    let daemon = coven.daemon_pid();
    let ignored = u64::from_str_radix(&status(daemon, "SigIgn"), 16).unwrap();
    for signal in [libc::SIGPIPE, libc::SIGXFSZ] {
        assert_ne!(
            ignored & (1 << (signal - 1)),
            0,
            "the daemon ignores {signal}"
        );
    }
    let (_, pid) = settled_cat(&coven);
    for set in ["SigIgn", "SigBlk", "SigPnd", "ShdPnd"] {
        let bits = u64::from_str_radix(&status(pid, set), 16).unwrap();
        // 32 and 33 are glibc's own (nptl(7)), which its posix_spawn leaves ignored.
        assert_eq!(bits & !(0b11 << 31), 0, "{set}");
    }
}

#[test]
fn a_harness_has_the_umask_that_the_daemon_was_started_with() {
    for umask in ["0027", "0000", "0077"] {
        let coven = daemon_with_cat(&format!("umask {umask}"));
        let (_, pid) = settled_cat(&coven);
        assert_eq!(status(pid, "Umask"), umask);
    }
}

#[test]
fn a_harness_has_the_limits_that_the_daemon_was_started_with() {
    let prelude =
        "ulimit -Sn 200; ulimit -Hn 300; ulimit -c 0; ulimit -Ss 4096; cat /proc/$$/limits >limits";
    let coven = daemon_with_cat(prelude);
    let (_, pid) = settled_cat(&coven);
    // The soft limit on file locks, of which the kernel makes no use, is the session's mark.
    let others = |path: String| {
        let text = fs::read_to_string(path).unwrap();
        let lines = text
            .lines()
            .filter(|line| !line.starts_with("Max file locks"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let started_with = others(format!("{}/limits", coven.work().display()));
    assert!(started_with.iter().any(|line| line.contains(" 200 ")));
    assert_eq!(others(format!("/proc/{pid}/limits")), started_with);
}

#[test]
fn a_harness_runs_in_its_sessions_directory() {
    let coven = Coven::start();
    let sub = coven.work().join("a dir é");
    fs::create_dir(&sub).unwrap();
    coven.harness("where", "pwd -P");
    for (fields, expected) in [
        (json!({}), coven.work()),
        (json!({ "cwd": "a dir é" }), sub),
    ] {
        let id = coven.try_launch("where", "x", fields).id();
        let events = coven.events_to_end(&id);
        let expected = format!("{}\n", expected.display());
        assert_eq!(output(&events, "stdout"), expected.as_bytes());
    }
}
