//! `logs/cli.log`: which failed commands it has, and that it has nothing of what was typed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::*;

/// The records, without their times and pids.
fn records(coven: &Coven) -> Vec<String> {
    let text = fs::read_to_string(coven.home().join("logs/cli.log")).unwrap_or_default();
    text.lines()
        .map(|line| {
            let (_, record) = line.split_once(' ').unwrap();
            record.rsplit_once(" pid=").unwrap().0.to_owned()
        })
        .collect()
}

fn with_logs() -> Coven {
    let coven = Coven::new();
    fs::create_dir(coven.home().join("logs")).unwrap();
    coven
}

#[test]
fn a_failed_command_leaves_its_verb_and_code_and_nothing_of_what_was_typed() {
    let coven = Coven::start();
    let secret = "my private prompt";
    assert_eq!(coven.cli(["run", "nonesuch", secret]).code, 125);
    assert_eq!(coven.cli(["show", "ffff"]).code, 1);
    assert_eq!(coven.cli(["run", "--wrong", secret]).code, 2);
    assert_eq!(coven.cli([secret]).code, 2);
    assert_eq!(coven.cli(["run", "hello", "fail"]).code, 3, "its own code");
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    assert_eq!(coven.cli(["sessions"]).code, 3);
    assert_eq!(coven.cli(["daemon", "status"]).code, 3, "no failure");
    let bad = coven
        .command(["daemon", "start"])
        .env("COVEN_MAX_SESSIONS", secret)
        .output();
    assert_eq!(Ran::of(bad.unwrap()).code, 1);
    let expected = [
        "ERROR event=command_failed verb=run code=invalid_request exit=125",
        "ERROR event=command_failed verb=show code=session_not_found exit=1",
        "ERROR event=command_failed verb=run code=usage exit=2",
        "ERROR event=command_failed verb=\"\" code=usage exit=2",
        "ERROR event=command_failed verb=sessions code=daemon_not_running exit=3",
        "ERROR event=command_failed verb=\"daemon start\" code=invalid_setting exit=1",
    ];
    assert_eq!(records(&coven), expected);
    let log = coven.home().join("logs/cli.log");
    assert_eq!(
        fs::metadata(log).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(coven.cli(["logs", "--event", "command_failed"]).out, "");
}

#[test]
fn commands_that_fail_at_once_do_not_mix_their_lines() {
    let coven = with_logs();
    let children: Vec<_> = (0..20).map(|_| coven.spawn(["sessions"])).collect();
    for child in children {
        assert_eq!(finish(child).code, 3);
    }
    let line = "ERROR event=command_failed verb=sessions code=daemon_not_running exit=3";
    assert_eq!(records(&coven), [line; 20]);
}

#[test]
fn no_home_is_made_for_a_failure_and_none_that_is_not_ours_is_written_to() {
    let coven = Coven::new();
    assert_eq!(coven.cli(["sessions"]).code, 3);
    assert!(!coven.home().join("logs").exists());
    let away = coven.work().join("away");
    let mut command = coven.command(["sessions"]);
    let ran = Ran::of(command.env("COVEN_HOME", &away).output().unwrap());
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(!away.exists());

    let coven = with_logs();
    fs::set_permissions(coven.home(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(coven.cli(["sessions"]).code, 3);
    assert!(
        !coven.home().join("logs/cli.log").exists(),
        "open to others"
    );
}

#[test]
fn a_link_or_a_fifo_in_the_place_of_the_record_costs_nothing() {
    let coven = with_logs();
    let target = coven.work().join("target");
    fs::write(&target, "").unwrap();
    let log = coven.home().join("logs/cli.log");
    symlink(&target, &log).unwrap();
    assert_eq!(coven.cli(["sessions"]).code, 3);
    assert_eq!(fs::read_to_string(&target).unwrap(), "");
    fs::remove_file(&log).unwrap();
    let mkfifo = coven.shell(&format!("mkfifo {}", log.display()));
    assert_eq!(mkfifo.code, 0, "{mkfifo:?}");
    assert_eq!(coven.cli(["sessions"]).code, 3);
}

#[test]
fn a_record_of_failures_that_is_full_is_renamed() {
    let coven = with_logs();
    let log = coven.home().join("logs/cli.log");
    fs::write(&log, "x".repeat(256 * 1024)).unwrap();
    assert_eq!(coven.cli(["sessions"]).code, 3);
    assert_eq!(records(&coven).len(), 1);
    assert!(log.with_extension("log.1").exists());
}
