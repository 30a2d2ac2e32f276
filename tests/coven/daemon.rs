//! The daemon's life: start, stop, restart, status, and what it leaves behind.

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
