//! The daemon's life: start, stop, restart, status, serve, and what a dead one leaves behind.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;

use crate::support::*;

#[test]
fn a_started_daemon_answers_and_a_stopped_one_is_gone() {
    let coven = Coven::new();
    let ran = coven.cli(["daemon", "start"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.starts_with("started (pid "), "{ran:?}");
    let pid = coven.daemon_pid();
    assert_eq!(coven.cli(["daemon", "status"]).code, 0);
    let ran = coven.cli(["daemon", "stop"]);
    assert_eq!((ran.code, ran.out), (0, format!("stopped (pid {pid})\n")));
    assert!(!is_alive(pid));
    assert_eq!(coven.cli(["daemon", "status"]).code, 3);
    for left in ["coven.sock", "daemon.json"] {
        assert!(!coven.home().join(left).exists(), "{left}");
    }
}

#[test]
fn starting_a_running_daemon_is_a_success_that_says_so() {
    let coven = Coven::start();
    let pid = coven.daemon_pid();
    let ran = coven.cli(["daemon", "start"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(
        ran.out.starts_with(&format!("already running (pid {pid}")),
        "{ran:?}"
    );
    assert_eq!(coven.daemon_pid(), pid);
}

#[test]
fn stopping_a_stopped_daemon_is_a_success_that_says_so() {
    let coven = Coven::start();
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let ran = coven.cli(["daemon", "stop"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "not running\n"));
    let never_started = Coven::new().cli(["daemon", "stop"]);
    assert_eq!(
        (never_started.code, never_started.out.as_str()),
        (0, "not running\n")
    );
}

#[test]
fn a_restart_gives_another_daemon_with_the_same_sessions() {
    let coven = Coven::start();
    let before = coven.daemon_pid();
    let id = coven.launch("hello", "hi");
    let events = coven.events_to_end(&id);
    let ran = coven.cli(["daemon", "restart"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_ne!(coven.daemon_pid(), before);
    assert!(!is_alive(before));
    assert_eq!(coven.events_to_end(&id), events);
}

#[test]
fn restarting_a_stopped_daemon_starts_it() {
    let coven = Coven::new();
    assert_eq!(coven.cli(["daemon", "restart"]).code, 0);
    assert_eq!(coven.cli(["daemon", "status"]).code, 0);
}

#[test]
fn the_status_of_a_running_daemon_has_pid_socket_uptime_and_contract() {
    let coven = Coven::start();
    let pid = coven.daemon_pid();
    let socket = coven.socket().display().to_string();
    let ran = coven.cli(["daemon", "status"]);
    for part in ["running", &pid.to_string(), &socket, "coven.daemon.v1"] {
        assert!(ran.out.contains(part), "{part} is not in {}", ran.out);
    }
    let ran = coven.cli(["daemon", "status", "--json"]);
    let status = ran.json();
    assert_eq!(ran.code, 0);
    assert_eq!(status["state"], "running");
    assert_eq!(status["pid"], pid);
    assert_eq!(status["socket"], socket);
    assert_eq!(status["apiVersion"], "coven.daemon.v1");
    assert!(status["uptimeSeconds"].is_u64(), "{status}");
    assert!(status["next"].is_string(), "{status}");
}

#[test]
fn the_status_of_a_stopped_daemon_is_exit_3_with_the_command_that_starts_it() {
    let coven = Coven::new();
    let ran = coven.cli(["daemon", "status"]);
    assert_eq!(ran.code, 3);
    assert!(ran.out.contains("stopped"), "{ran:?}");
    assert!(ran.out.contains("coven daemon start"), "{ran:?}");
    let ran = coven.cli(["daemon", "status", "--json"]);
    assert_eq!((ran.code, &ran.json()["state"]), (3, &"stopped".into()));
    assert_eq!(ran.json()["next"], "coven daemon start");
    // Looking has created nothing.
    assert!(!coven.home().join("daemon.lock").exists());
}

#[test]
fn the_files_of_a_crashed_daemon_are_stale_until_the_next_start() {
    let coven = Coven::start();
    coven.crash();
    assert!(coven.socket().exists());
    let ran = coven.cli(["daemon", "status"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("stale"), "{ran:?}");
    assert!(ran.out.contains("coven daemon start"), "{ran:?}");
    let ran = coven.cli(["daemon", "status", "--json"]);
    assert_eq!((ran.code, &ran.json()["state"]), (1, &"stale".into()));
    assert_eq!(ran.json()["locked"], false);
    coven.start_daemon();
    assert_eq!(coven.cli(["daemon", "status"]).code, 0);
}

/// Holds the lock of `coven`, as a daemon does that hangs.
fn hold_lock(coven: &Coven) -> File {
    let path = coven.home().join("daemon.lock");
    let mut options = File::options();
    let lock = options.create(true).append(true).mode(0o600).open(path);
    let lock = lock.unwrap();
    lock.lock().unwrap();
    lock
}

#[test]
fn a_held_lock_without_an_answer_is_stale() {
    let coven = Coven::new();
    let lock = hold_lock(&coven);
    let ran = coven.cli(["daemon", "status", "--json"]);
    assert_eq!((ran.code, &ran.json()["state"]), (1, &"stale".into()));
    assert_eq!(ran.json()["locked"], true);
    let ran = coven.cli(["daemon", "start"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("(daemon_locked)"), "{ran:?}");
    assert!(ran.err.contains("  try: "), "{ran:?}");
    // Who holds it is not known, and nobody is killed on a guess.
    let ran = coven.cli(["daemon", "stop"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("(daemon_stop_failed)"), "{ran:?}");
    drop(lock);
    coven.start_daemon();
}

#[test]
fn a_lock_that_is_let_go_soon_does_not_hinder_a_start() {
    let coven = Coven::new();
    let lock = hold_lock(&coven);
    let start = coven.spawn(["daemon", "start"]);
    // The starting daemon has the file open: it has met the lock, or is about to.
    let path = coven.home().join("daemon.lock");
    eventually("the daemon looks at the lock", || {
        coven
            .processes()
            .into_iter()
            .any(|pid| has_open(pid, &path))
    });
    drop(lock);
    let ran = finish(start);
    assert_eq!(ran.code, 0, "{ran:?}");
}

fn has_open(pid: i32, path: &std::path::Path) -> bool {
    let fds = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    fds.flatten()
        .any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == path))
}

#[test]
fn fifty_starts_at_once_give_one_daemon_and_fifty_successes() {
    let coven = Coven::new();
    let starts: Vec<_> = (0..50).map(|_| coven.spawn(["daemon", "start"])).collect();
    let ran: Vec<Ran> = starts.into_iter().map(finish).collect();
    let pid = coven.daemon_pid();
    for ran in &ran {
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.out.contains(&format!("(pid {pid},")), "{ran:?}");
    }
    let new = ran.iter().filter(|ran| ran.out.starts_with("started"));
    assert_eq!(new.count(), 1);
    assert_eq!(coven.processes(), [pid]);
}

#[test]
fn garbage_in_daemon_json_hinders_nothing() {
    let coven = Coven::new();
    fs::write(coven.home().join("daemon.json"), "{\"pid\": garbage").unwrap();
    assert_eq!(coven.cli(["daemon", "status"]).code, 1);
    coven.start_daemon();
    let pid = coven.daemon_pid();
    fs::write(coven.home().join("daemon.json"), [0xff; 100]).unwrap();
    assert_eq!(coven.cli(["daemon", "status"]).code, 0);
    let ran = coven.cli(["daemon", "stop"]);
    assert_eq!((ran.code, ran.out), (0, format!("stopped (pid {pid})\n")));
}

#[test]
fn a_pid_in_daemon_json_that_went_to_another_process_is_not_killed() {
    let coven = Coven::new();
    let mut bystander = std::process::Command::new("sleep")
        .arg("1000")
        .spawn()
        .unwrap();
    let daemon = format!(
        r#"{{"pid":{},"startedAt":"2026-05-09T06:43:00.000Z","socket":"x","processMark":"a/1"}}"#,
        bystander.id()
    );
    fs::write(coven.home().join("daemon.json"), daemon).unwrap();
    let lock = hold_lock(&coven);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 1);
    assert!(is_alive(bystander.id() as i32));
    drop(lock);
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[test]
fn a_socket_on_which_nobody_listens_is_replaced() {
    let coven = Coven::new();
    // A daemon's own socket is made behind its lock.
    File::create(coven.home().join("daemon.lock")).unwrap();
    drop(UnixListener::bind(coven.socket()).unwrap());
    assert_eq!(coven.cli(["daemon", "status"]).code, 1);
    coven.start_daemon();
    assert_eq!(coven.cli(["daemon", "status"]).code, 0);
}

#[test]
fn a_plain_file_in_the_sockets_place_is_replaced() {
    let coven = Coven::new();
    let mut file = File::create(coven.socket()).unwrap();
    file.write_all(b"not a socket").unwrap();
    coven.start_daemon();
    assert_eq!(coven.cli(["daemon", "status"]).code, 0);
}

#[test]
fn a_daemon_whose_queue_is_full_is_not_waited_for_for_ever() {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    let coven = Coven::new();
    File::create(coven.home().join("daemon.lock")).unwrap();
    let listener = UnixListener::bind(coven.socket()).unwrap();
    // SAFETY: the descriptor is the listener's own, and open.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    // One waits in a queue of length 0 (listen(2)); the next would wait outside.
    let _waiting = UnixStream::connect(coven.socket()).unwrap();
    let ran = coven.cli(["daemon", "status"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.starts_with("state   stale"), "{ran:?}");
}

#[test]
fn a_stop_during_a_start_leaves_either_a_daemon_that_answers_or_none() {
    let coven = Coven::new();
    for round in 0..15 {
        let start = coven.spawn(["daemon", "start"]);
        // Another point of the start each time.
        if round % 3 == 1 {
            eventually("the lock is there", || {
                coven.home().join("daemon.lock").exists()
            });
        } else if round % 3 == 2 {
            eventually("the socket is there", || coven.socket().exists());
        }
        let stopped = coven.cli(["daemon", "stop"]);
        let started = finish(start);
        assert_eq!(stopped.code, 0, "{stopped:?}");
        // Stopped before it served is no success, and says so.
        assert!(
            started.code == 0 || started.err.contains("(daemon_start_failed)"),
            "{started:?}"
        );
        let status = coven.cli(["daemon", "status"]);
        let is_running = status.code == 0;
        assert!(
            is_running || status.code == 3,
            "{status:?} after {started:?} {stopped:?}"
        );
        assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
        assert_eq!(coven.cli(["daemon", "status"]).code, 3);
        assert!(coven.processes().iter().all(|pid| !is_alive(*pid)));
    }
    coven.start_daemon();
}

#[test]
fn a_stop_of_a_daemon_in_the_foreground_that_just_starts_waits_until_it_can_be_asked() {
    let coven = Coven::new();
    for _ in 0..10 {
        let serve = coven.spawn(["daemon", "serve"]);
        let is_locked = || {
            let lock = File::open(coven.home().join("daemon.lock"));
            lock.is_ok_and(|lock| lock.try_lock_shared().is_err())
        };
        eventually("the lock is held", is_locked);
        let stopped = coven.cli(["daemon", "stop"]);
        assert_eq!(stopped.code, 0, "{stopped:?}");
        let served = finish(serve);
        assert_eq!(served.code, 0, "{served:?}");
    }
}
