//! The daemon in the foreground, as supervisors run it, and what it takes from the environment it was started in.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};

use serde_json::json;

use crate::support::*;

/// A daemon in the foreground that serves; its log up to then has been read.
fn serve(coven: &Coven) -> (Child, String) {
    let mut child = coven.spawn(["daemon", "serve"]);
    let mut log = read_until(child.stderr.as_mut().unwrap(), "event=contract_served");
    log += &read_until(child.stderr.as_mut().unwrap(), "\n");
    (child, log)
}

#[test]
fn serve_logs_to_stderr_and_ends_cleanly_on_either_signal() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let coven = Coven::new();
        let (child, log) = serve(&coven);
        assert!(log.contains(" INFO event="), "{log}");
        assert!(log.contains("contract=coven.daemon.v1"), "{log}");
        assert_eq!(coven.daemon_pid(), child.id() as i32);
        kill(child.id() as i32, signal);
        let ran = finish(child);
        assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{ran:?}");
        assert!(ran.err.contains("event=daemon_stopped"), "{ran:?}");
        assert!(!coven.socket().exists());
        assert_eq!(coven.cli(["daemon", "status"]).code, 3);
    }
}

#[test]
fn a_second_serve_is_refused_and_says_who_runs() {
    let coven = Coven::start();
    let pid = coven.daemon_pid();
    let ran = coven.cli(["daemon", "serve"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let expected =
        format!("coven: a daemon is already running (pid {pid}) (daemon_already_running)");
    assert!(ran.err.contains(&expected), "{ran:?}");
    assert!(ran.err.contains("  try: coven daemon status"), "{ran:?}");
    assert_eq!(coven.daemon_pid(), pid);
}

#[test]
fn a_daemon_in_the_foreground_is_stopped_by_stop_as_well() {
    let coven = Coven::new();
    let (child, _) = serve(&coven);
    let ran = coven.cli(["daemon", "stop"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(finish(child).code, 0);
}

#[test]
fn a_daemon_whose_supervisor_stops_reading_its_log_serves_on() {
    let coven = Coven::new();
    let (mut child, _) = serve(&coven);
    drop(child.stderr.take());
    let id = coven.launch("hello", "hi");
    assert_eq!(coven.ended(&id)["status"], "completed");
    kill(child.id() as i32, libc::SIGTERM);
    assert_eq!(finish(child).code, 0);
}

#[test]
fn a_value_that_a_setting_cannot_have_is_refused_by_name() {
    for (name, value) in [
        ("COVEN_MAX_SESSIONS", "many"),
        ("COVEN_MAX_CONNECTIONS", "0"),
        ("COVEN_KILL_GRACE_MS", "600001"),
        ("COVEN_LOG_FORMAT", "xml"),
        ("COVEN_LOG", "inof"),
        ("COVEN_REDACT", "of"),
        ("COVEN_REDACT", "OFF"),
        ("COVEN_REDACT", "0"),
    ] {
        let ran = Coven::new().env(name, value).cli(["daemon", "start"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        let said = format!("{name}={value:?} is not a valid value");
        assert!(ran.err.contains(&said), "{ran:?}");
        assert!(ran.err.contains("(invalid_setting)"), "{ran:?}");
        assert!(ran.err.contains(&format!("  try: unset {name}")), "{ran:?}");
    }
}

#[test]
fn a_setting_that_is_empty_is_one_that_is_not_set() {
    let mut coven = Coven::new();
    for name in [
        "MAX_SESSIONS",
        "LOG",
        "LOG_FORMAT",
        "REDACT",
        "STORE_MAX_BYTES",
    ] {
        coven = coven.env(&format!("COVEN_{name}"), "");
    }
    coven.start_daemon();
    let storage = &coven.get("/api/v1/health").json()["storage"];
    assert_eq!(storage["limitBytes"], 4_294_967_296_u64);
    let log = std::fs::read_to_string(coven.home().join("logs/daemon.log")).unwrap();
    assert!(log.contains(" INFO event=store_opened"), "{log}");
}

#[test]
fn a_daemon_that_is_started_inside_a_session_is_no_part_of_it() {
    let outer = Coven::start();
    let inner = Coven::new();
    let start = format!(
        "COVEN_HOME={} {} daemon start; echo code $?",
        inner.home().display(),
        env!("CARGO_BIN_EXE_coven")
    );
    outer.harness("starter", &start);
    let id = outer.launch("starter", "x");
    let events = outer.events_to_end(&id);
    let out = String::from_utf8(output(&events, "stdout")).unwrap();
    assert!(out.ends_with("code 0\n"), "{out}");
    let pid = inner.daemon_pid();
    let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environ).contains("COVEN_SESSION_ID"));
    // Neither the end of that session nor that of its daemon ends this one.
    assert_eq!(outer.cli(["daemon", "stop"]).code, 0);
    assert!(is_alive(pid));
}

#[test]
fn harnesses_get_the_umask_that_the_daemon_was_started_with() {
    for umask in ["0000", "0027"] {
        let coven = Coven::new();
        coven.harness("umask", "umask");
        let ran = coven.shell(&format!("umask {umask}; exec \"$0\" daemon start"));
        assert_eq!(ran.code, 0, "{ran:?}");
        let id = coven.launch("umask", "x");
        let out = output(&coven.events_to_end(&id), "stdout");
        assert_eq!(out, format!("{umask}\n").into_bytes());
    }
}

#[test]
fn harnesses_get_default_signals_whatever_the_daemon_was_started_with() {
    let coven = Coven::new();
    coven.harness("signals", "grep -E '^Sig(Blk|Ign)' /proc/self/status");
    let ran = coven.shell("trap '' HUP INT QUIT TERM PIPE USR1; \"$0\" daemon start");
    assert_eq!(ran.code, 0, "{ran:?}");
    let id = coven.launch("signals", "x");
    let out = String::from_utf8(output(&coven.events_to_end(&id), "stdout")).unwrap();
    // Two signals are the C library's own (nptl(7)).
    let sets = out.lines().map(|line| {
        let (_, set) = line.split_once(":\t").unwrap();
        u64::from_str_radix(set, 16).unwrap() & !(0b11 << 31)
    });
    assert!(sets.eq([0, 0]), "{out}");
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
}

#[test]
fn harnesses_get_no_descriptor_but_their_three() {
    let coven = Coven::new();
    coven.harness("descriptors", "ls /proc/$$/fd");
    // Whoever starts the daemon may have descriptors open that are no business of harnesses.
    let ran = coven.shell("exec 7</dev/null 9>&1; \"$0\" daemon start");
    assert_eq!(ran.code, 0, "{ran:?}");
    // Many at once, so that one could inherit what another is being given.
    let ids: Vec<String> = (0..20).map(|_| coven.launch("descriptors", "x")).collect();
    for id in ids {
        let out = String::from_utf8(output(&coven.events_to_end(&id), "stdout")).unwrap();
        // A shell has its script open: dash as 10, bash as 255.
        let own = |fd: &&str| !["0", "1", "2", "10", "255"].contains(fd);
        assert_eq!(out.lines().find(own), None, "{out}");
    }
}

#[test]
fn the_environment_of_a_harness_is_the_daemons_and_its_session() {
    let coven = Coven::new().env("LC_OF_THE_DAEMON", "a b\nc");
    coven.start_daemon();
    coven.harness(
        "environment",
        "printf '%s|%s' \"$LC_OF_THE_DAEMON\" \"$COVEN_SESSION_ID\"",
    );
    let id = coven.launch("environment", "x");
    let out = output(&coven.events_to_end(&id), "stdout");
    assert_eq!(String::from_utf8(out).unwrap(), format!("a b\nc|{id}"));
}

#[test]
fn a_background_daemon_keeps_nothing_of_who_started_it() {
    let coven = Coven::new();
    let mut start = coven.spawn(["daemon", "start"]);
    let mut out = String::new();
    // End of file on both: the daemon holds neither, or this would wait for ever.
    start
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut out)
        .unwrap();
    start
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut out)
        .unwrap();
    assert_eq!(finish(start).code, 0);
    let pid = coven.daemon_pid();
    // SAFETY: getsid takes a pid and touches no memory.
    assert_eq!(unsafe { libc::getsid(pid) }, pid);
    assert_eq!(
        std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap(),
        coven.home()
    );
}

#[test]
fn a_daemon_that_was_started_with_sigchld_ignored_runs_sessions_as_usual() {
    let coven = Coven::new();
    coven.harness("fails", "echo out; exit 7");
    coven.harness("quiet", "echo ready; exec sleep 1000");
    let mut serve = coven.command(["daemon", "serve"]);
    // SAFETY: signal(2) is async-signal-safe. A shell is no help: some do not pass an ignored SIGCHLD on.
    unsafe {
        serve.pre_exec(|| match libc::signal(libc::SIGCHLD, libc::SIG_IGN) {
            libc::SIG_ERR => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    let mut daemon = serve.stderr(Stdio::piped()).spawn().unwrap();
    wait_for_line(&mut daemon, "contract_served");
    for _ in 0..5 {
        assert_eq!(coven.run("hello", "x")["status"], "completed");
        let id = coven.launch("fails", "x");
        assert_eq!(output(&coven.events_to_end(&id), "stdout"), b"out\n");
        let record = coven.session(&id);
        assert_eq!(
            (&record["status"], &record["exit_code"]),
            (&json!("failed"), &json!(7))
        );
    }
    let id = coven.launch("quiet", "x");
    coven.wait_for_output(&id, "ready");
    assert_eq!(coven.kill_session(&id).status, 202);
    let exit = coven.events_to_end(&id);
    let exit = exit.iter().find(|event| event["kind"] == "exit").unwrap();
    assert_eq!(payload(exit)["signal"], 15);
    kill(daemon.id() as i32, libc::SIGTERM);
    assert!(daemon.wait().unwrap().success());
}

#[test]
fn a_hangup_makes_the_daemon_read_its_manifests_again() {
    let coven = Coven::new();
    let (child, _) = serve(&coven);
    let pid = child.id() as i32;
    let manifest = coven.home().join("adapters/tool.json");
    let write = |executable: &str| {
        let adapter = json!({ "id": "tool", "label": "Tool", "executable": executable });
        std::fs::write(&manifest, json!({ "adapters": [adapter] }).to_string()).unwrap();
        std::fs::set_permissions(&manifest, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    let launch = || coven.try_launch("tool", "x", json!({}));
    let said = || output(&coven.events_to_end(&launch().id()), "stdout");
    for name in ["first", "second"] {
        coven.program(name, &format!("echo {name}"));
    }
    write("first");
    assert_eq!(said(), b"first\n");
    write("second");
    assert_eq!(said(), b"first\n");
    assert!(kill(pid, libc::SIGHUP));
    eventually("the changed manifest", || said() == b"second\n");

    std::fs::remove_file(manifest).unwrap();
    assert!(kill(pid, libc::SIGHUP));
    eventually("it is gone again", || launch().status == 400);
    assert_eq!(coven.daemon_pid(), pid);
    kill(pid, libc::SIGTERM);
    assert_eq!(finish(child).code, 0);
}
