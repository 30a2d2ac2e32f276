//! A start that fails: its reason in the manager's status text and in the home, and who says it afterwards.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use rusqlite::Connection;

use crate::support::*;

fn record(coven: &Coven) -> PathBuf {
    coven.home().join("logs/last-failure")
}

/// Sets the daemon by the file `env`.
fn set(coven: &Coven, env: &str) {
    let file = coven.home().join("env");
    fs::write(&file, env).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Asserts that `status` and `doctor` give `reason` for a start that failed.
#[track_caller]
fn assert_failed(coven: &Coven, reason: &str, code: &str) {
    let status = coven.cli(["daemon", "status", "--json"]);
    assert_eq!(status.code, 3, "{status:?}");
    let said = status.json();
    assert_eq!(said["state"], "failed", "{said}");
    assert_eq!(said["reason"], reason, "{said}");
    assert_eq!(said["code"], code, "{said}");
    assert_eq!(said["next"], "coven doctor", "{said}");
    let shown = coven.cli(["daemon", "status"]);
    assert_eq!(shown.code, 3, "{shown:?}");
    assert!(shown.out.contains(reason), "{shown:?}");
    // So does every verb that needs a daemon.
    let sessions = coven.cli(["sessions"]);
    assert_eq!(sessions.code, 3, "{sessions:?}");
    let said = sessions
        .err
        .contains(&format!("its last start failed: {reason} ({code})"));
    assert!(
        said && sessions.err.ends_with("  try: coven doctor\n"),
        "{sessions:?}"
    );
    let report = coven.cli(["doctor", "--json"]).json();
    let checks = report["checks"].as_array().unwrap();
    let daemon = checks.iter().find(|check| check["id"] == "daemon").unwrap();
    assert_eq!(daemon["status"], "fail", "{daemon}");
    let message = daemon["message"].as_str().unwrap();
    assert!(message.contains(reason), "{daemon}");
    assert!(!daemon["hint"].as_str().unwrap().is_empty(), "{daemon}");
}

#[track_caller]
fn assert_stopped(coven: &Coven) {
    let status = coven.cli(["daemon", "status", "--json"]);
    assert_eq!(status.json()["state"], "stopped", "{status:?}");
    assert!(!record(coven).exists());
}

type Change = fn(&Coven);

/// Error codes of a start, each with what brings it about and what mends it.
const FAILURES: [(&str, Change, Change); 5] = [
    (
        "store_unavailable",
        |coven| fs::write(coven.database_file(""), "no database at all").unwrap(),
        |coven| fs::remove_file(coven.database_file("")).unwrap(),
    ),
    (
        "store_unavailable",
        |coven| {
            let newer = Connection::open(coven.database_file("")).unwrap();
            newer.pragma_update(None, "user_version", 9999).unwrap();
        },
        |coven| fs::remove_file(coven.database_file("")).unwrap(),
    ),
    (
        "invalid_setting",
        |coven| set(coven, "COVEN_LOG_FORMAT=xml\n"),
        |coven| fs::remove_file(coven.home().join("env")).unwrap(),
    ),
    (
        "home_refused",
        |coven| symlink("/dev/null", coven.home().join("adapters")).unwrap(),
        |coven| fs::remove_file(coven.home().join("adapters")).unwrap(),
    ),
    (
        "daemon_start_failed",
        |coven| fs::create_dir_all(coven.socket().join("x")).unwrap(),
        |coven| fs::remove_dir_all(coven.socket()).unwrap(),
    ),
];

#[test]
fn a_failed_start_says_why_until_the_next_one_serves() {
    for (code, spoil, mend) in FAILURES {
        let coven = Coven::new();
        let _ = fs::remove_dir(coven.home().join("adapters"));
        spoil(&coven);
        let (manager, name) = Manager::on_path(&coven);
        let mut serve = coven.command(["daemon", "serve"]);
        let ran = Ran::of(serve.env("NOTIFY_SOCKET", name).output().unwrap());
        assert_eq!(ran.code, 1, "{ran:?}");
        let told = manager.last();
        let reason = told.strip_prefix("STATUS=failed: ").expect(&told);
        let error = ran.err.lines().find(|line| line.starts_with("coven: "));
        assert_eq!(
            error,
            Some(&*format!("coven: {reason} ({code})")),
            "{ran:?}"
        );
        assert_failed(&coven, reason, code);
        assert_eq!(mode(&record(&coven)), 0o600);
        // In the background the same.
        fs::remove_file(record(&coven)).unwrap();
        let ran = coven.cli(["daemon", "start"]);
        assert!(ran.err.contains(reason), "{ran:?}");
        if code != "home_refused" {
            assert_failed(&coven, reason, code);
        }
        mend(&coven);
        coven.start_daemon();
        assert!(!record(&coven).exists());
        assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
        assert_stopped(&coven);
    }
}

#[test]
fn a_start_beside_a_running_daemon_leaves_no_reason() {
    let coven = Coven::start();
    let (manager, name) = Manager::on_path(&coven);
    let mut serve = coven.command(["daemon", "serve"]);
    let ran = Ran::of(serve.env("NOTIFY_SOCKET", name).output().unwrap());
    assert_eq!(ran.code, 1, "{ran:?}");
    let told = manager.last();
    assert!(
        told.starts_with("STATUS=failed: a daemon is already running"),
        "{told}"
    );
    assert!(!record(&coven).exists());
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    assert_stopped(&coven);
}

#[test]
fn nothing_is_written_into_a_home_that_is_refused_and_the_manager_is_told() {
    let coven = Coven::new();
    fs::set_permissions(coven.home(), fs::Permissions::from_mode(0o777)).unwrap();
    let (manager, name) = Manager::on_path(&coven);
    let too_long = coven.work().join("x".repeat(200)).display().to_string();
    let own = coven.home().display().to_string();
    for (home, reason) in [
        (own.as_str(), "is open to others"),
        (&too_long, "the socket's path is"),
        ("relative", "COVEN_HOME is not an absolute path"),
    ] {
        let mut serve = coven.command(["daemon", "serve"]);
        serve.env("NOTIFY_SOCKET", &name).env("COVEN_HOME", home);
        let ran = Ran::of(serve.output().unwrap());
        assert_eq!(ran.code, 1, "{ran:?}");
        let told = manager.last();
        assert!(told.starts_with("STATUS=failed: "), "{told}");
        assert!(told.contains(reason), "{told}");
    }
    assert!(!coven.home().join("logs").exists());
}

#[test]
fn a_reason_says_no_secret_and_moves_no_cursor() {
    let coven = Coven::new();
    let secret = "sk-ant-api03-0123456789abcdefghijklmnopqrstuvwxyz";
    let env = format!("COVEN_LOG_FORMAT={secret}\u{9b}2J\n");
    set(&coven, &env);
    let (manager, name) = Manager::on_path(&coven);
    let mut serve = coven.command(["daemon", "serve"]);
    let ran = Ran::of(serve.env("NOTIFY_SOCKET", name).output().unwrap());
    assert_eq!(ran.code, 1, "{ran:?}");
    let told = manager.last();
    let record = fs::read_to_string(record(&coven)).unwrap();
    let shown = coven.cli(["daemon", "status"]).out;
    for text in [told, record, shown] {
        assert!(text.contains("COVEN_LOG_FORMAT"), "{text}");
        assert!(!text.contains(secret), "{text}");
        assert!(!text.contains('\u{9b}'), "{text}");
    }
}

#[test]
fn a_start_in_a_home_that_its_user_cannot_write_to_leaves_the_reason() {
    use std::os::unix::process::CommandExt;
    let coven = Coven::new();
    fs::create_dir(coven.home().join("logs")).unwrap();
    fs::write(coven.home().join("daemon.lock"), "").unwrap();
    let program = coven.work().join("coven");
    // By a process of its own: a child of another test's could hold what is written here, and so keep it from being run.
    let copy = std::process::Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_coven"))
        .arg(&program)
        .status();
    assert!(copy.unwrap().success());
    let mut serve = std::process::Command::new(&program);
    serve
        .args(["daemon", "serve"])
        .env("COVEN_HOME", coven.home());
    for (name, mode) in [
        ("logs", 0o700),
        ("adapters", 0o700),
        ("daemon.lock", 0o600),
        ("", 0o500),
    ] {
        let path = coven.home().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        if is_root() {
            // Root may write everywhere.
            std::os::unix::fs::chown(&path, Some(54_320), Some(54_320)).unwrap();
            serve.uid(54_320).gid(54_320);
        }
    }
    let ran = Ran::of(serve.output().unwrap());
    assert_eq!(ran.code, 1, "{ran:?}");
    let record = fs::read_to_string(record(&coven)).unwrap();
    assert!(record.contains("cannot be opened"), "{record}");
    assert!(ran.err.contains("make "), "{ran:?}");
}

#[test]
fn a_start_on_a_disk_without_any_room_leaves_the_reason() {
    let coven = Coven::new();
    let Some(disk) = SmallDisk::under(&coven, 8) else {
        return;
    };
    // The last one that served has kept a block for it.
    coven.start_daemon();
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    fs::remove_file(coven.database_file("")).unwrap();
    let filler = coven.home().join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    drop(file);
    for _ in 0..2 {
        let ran = coven.cli(["daemon", "start"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        let path = coven.database_file("");
        let reason = format!(
            "the store {} cannot be opened: database or disk is full",
            path.display()
        );
        assert_failed(&coven, &reason, "store_unavailable");
    }
    fs::remove_file(filler).unwrap();
    coven.start_daemon();
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    assert_stopped(&coven);
    drop(disk);
}
