//! `coven doctor`: each check provoked, with the daemon up, down, stale and hanging; and nothing changed by looking.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::Value;

use crate::support::*;

/// The checks of `coven doctor --json`, whose shape is seen to be right.
fn doctor(coven: &Coven) -> Value {
    examined(Ran::of(
        coven.command(["doctor", "--json"]).output().unwrap(),
    ))
}

#[track_caller]
fn examined(ran: Ran) -> Value {
    let report = ran.json();
    let names: Vec<_> = report.as_object().unwrap().keys().collect();
    assert_eq!(names, ["checks", "ok"], "{report}");
    let checks = report["checks"].as_array().unwrap();
    for check in checks {
        let names: Vec<_> = check.as_object().unwrap().keys().collect();
        assert_eq!(names, ["hint", "id", "message", "status"], "{check}");
        let is_pass = check["status"] == "pass";
        assert_eq!(check["hint"].is_null(), is_pass, "{check}");
        assert!(is_pass || check["hint"].as_str().is_some_and(|hint| !hint.is_empty()));
        assert!(["pass", "warn", "fail"].contains(&check["status"].as_str().unwrap()));
    }
    let is_ok = !checks.iter().any(|check| check["status"] == "fail");
    assert_eq!(report["ok"], is_ok, "{report}");
    assert_eq!(ran.code, i32::from(!is_ok), "{report}");
    report
}

fn find<'a>(report: &'a Value, id: &str) -> Option<&'a Value> {
    let mut checks = report["checks"].as_array().unwrap().iter();
    checks.find(|check| check["id"] == id)
}

/// Asserts how the check `id` went, and that its message and hint hold `parts`.
#[track_caller]
fn assert_check(report: &Value, id: &str, status: &str, parts: &[&str]) -> String {
    let check = find(report, id).unwrap_or_else(|| panic!("no {id} in {report:#}"));
    assert_eq!(check["status"], status, "{check:#}");
    let text = format!("{} | {}", check["message"], check["hint"]);
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {check:#}");
    }
    check["hint"].as_str().unwrap_or("").to_owned()
}

#[test]
fn a_daemon_that_is_well_passes() {
    let coven = Coven::start();
    let report = doctor(&coven);
    let pid = coven.daemon_pid().to_string();
    for (id, part) in [
        ("home", "0700"),
        ("permissions", "none open to others"),
        ("socket", &pid),
        ("daemon", "running"),
        ("contract", "coven.daemon.v1"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("writer", "reach the disk"),
        ("store", "is whole"),
    ] {
        assert_check(&report, id, "pass", &[part]);
    }
    assert_eq!(report["ok"], true);
}

#[test]
fn for_eyes_a_check_is_a_line_and_what_to_try_is_below_it() {
    let coven = Coven::new();
    let ran = coven.cli(["doctor"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    let mut lines = ran
        .out
        .lines()
        .skip_while(|line| !line.contains("daemon  "));
    let line = lines.next().unwrap();
    assert!(
        line.starts_with("warn  daemon ") && line.ends_with(" stopped"),
        "{ran:?}"
    );
    assert_eq!(
        lines.next().unwrap().trim_start(),
        "try: coven daemon start"
    );
    let last = ran.out.lines().last().unwrap();
    assert!(
        last.contains(" checks: ") && last.ends_with(" 0 fail"),
        "{ran:?}"
    );
}

#[test]
fn a_stopped_daemon_is_a_warning_with_the_command_that_starts_it() {
    let coven = Coven::start();
    coven.run("hello", "x");
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let report = doctor(&coven);
    assert_eq!(
        assert_check(&report, "daemon", "warn", &["stopped"]),
        "coven daemon start"
    );
    assert_check(&report, "socket", "pass", &["not there", "107"]);
    assert_check(&report, "store", "pass", &["is whole"]);
    for absent in ["contract", "version", "writer"] {
        assert_eq!(find(&report, absent), None, "there is nobody to ask");
    }
}

#[test]
fn what_a_crash_leaves_fails_until_the_command_of_the_hint() {
    let coven = Coven::start();
    coven.run("hello", "x");
    coven.crash();
    let report = doctor(&coven);
    let hint = assert_check(&report, "daemon", "fail", &["left over"]);
    assert!(hint.starts_with("coven daemon start"), "{hint}");
    assert_check(&report, "socket", "fail", &["nobody listens"]);
    assert_check(&report, "store", "pass", &["is whole"]);
    coven.start_daemon();
    assert_eq!(doctor(&coven)["ok"], true);
}

#[test]
fn a_daemon_that_hangs_is_told_from_one_that_is_gone() {
    let coven = Coven::start();
    let pid = coven.daemon_pid();
    stop(pid);
    let report = doctor(&coven);
    let hint = assert_check(&report, "daemon", "fail", &["stopped by a signal"]);
    assert_eq!(hint, format!("kill -CONT {pid}"));
    assert_check(&report, "socket", "pass", &[&pid.to_string()]);
    assert_check(&report, "store", "pass", &["is whole"]);
    assert_eq!(coven.shell(&hint).code, 0);
    assert_eq!(doctor(&coven)["ok"], true);
}

/// What looking must leave as it is: every file's path, mode and size, but for SQLite's shared memory.
fn tree(dir: &Path) -> Vec<(String, u32, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        }
        let meta = path.symlink_metadata().unwrap();
        found.push((
            path.display().to_string(),
            meta.permissions().mode(),
            meta.len(),
        ));
    }
    found.sort();
    found
}

#[test]
fn looking_changes_nothing() {
    let coven = Coven::new();
    let nowhere = coven.work().join("nowhere");
    let mut command = coven.command(["doctor", "--json"]);
    let report = examined(Ran::of(
        command.env("COVEN_HOME", &nowhere).output().unwrap(),
    ));
    assert_check(&report, "home", "warn", &["not there yet"]);
    assert_check(&report, "store", "pass", &["the first start makes it"]);
    assert!(!nowhere.exists());
    coven.start_daemon();
    coven.run("hello", "x");
    let before = tree(&coven.home());
    doctor(&coven);
    assert_eq!(tree(&coven.home()), before, "beside a daemon");
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let before = tree(&coven.home());
    doctor(&coven);
    assert_eq!(tree(&coven.home()), before, "without one");
    coven.start_daemon();
    coven.crash();
    let before = tree(&coven.home());
    doctor(&coven);
    assert_eq!(tree(&coven.home()), before, "after a crash");
}

#[test]
fn a_home_that_others_can_enter_fails_with_the_chmod_that_mends_it() {
    for mode in [0o750, 0o701, 0o777] {
        let coven = Coven::start();
        fs::set_permissions(coven.home(), fs::Permissions::from_mode(mode)).unwrap();
        let report = doctor(&coven);
        let hint = assert_check(&report, "home", "fail", &["open to others"]);
        assert_eq!(coven.shell(&hint).code, 0, "{hint}");
        assert_check(&doctor(&coven), "home", "pass", &[]);
    }
}

#[test]
fn a_home_that_is_a_symbolic_link_fails() {
    let coven = Coven::new();
    let link = coven.work().join("link");
    symlink(coven.home(), &link).unwrap();
    let mut command = coven.command(["doctor", "--json"]);
    let report = examined(Ran::of(command.env("COVEN_HOME", &link).output().unwrap()));
    assert_check(&report, "home", "fail", &["symbolic link"]);
}

#[test]
fn a_home_that_cannot_be_is_said_without_one() {
    let coven = Coven::new();
    let long = coven.work().join("x".repeat(100));
    let mut command = coven.command(["doctor", "--json"]);
    let report = examined(Ran::of(command.env("COVEN_HOME", &long).output().unwrap()));
    assert_check(&report, "socket", "fail", &["107", "shorter"]);
}

#[test]
fn files_that_others_can_reach_fail_with_the_chmods_that_mend_them() {
    let coven = Coven::start();
    for (name, mode) in [
        ("coven.sock", 0o666),
        ("coven.sqlite3", 0o640),
        ("daemon.json", 0o604),
        ("logs", 0o755),
        ("logs/daemon.log", 0o644),
        ("adapters", 0o770),
    ] {
        let path = coven.home().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let report = doctor(&coven);
        let shown = path.display().to_string();
        let octal = format!("{mode:04o}");
        let hint = assert_check(&report, "permissions", "fail", &[&shown, &octal]);
        assert_eq!(coven.shell(&hint).code, 0, "{hint}");
        assert_check(&doctor(&coven), "permissions", "pass", &[]);
    }
}

#[test]
fn what_the_user_writes_may_be_read_by_others_but_not_written() {
    let coven = Coven::new();
    let patterns = coven.home().join("redact it's.txt");
    let manifest = coven.home().join("adapters/a.json");
    for path in [&patterns, &manifest] {
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    assert_check(&doctor(&coven), "permissions", "pass", &[]);
    for path in [&patterns, &manifest] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o664)).unwrap();
    }
    let hint = assert_check(&doctor(&coven), "permissions", "fail", &["0664"]);
    assert_eq!(coven.shell(&hint).code, 0, "{hint}");
    assert_check(&doctor(&coven), "permissions", "pass", &[]);
    assert_eq!((mode(&patterns), mode(&manifest)), (0o644, 0o644));
}

#[test]
fn a_database_that_is_damaged_fails() {
    let coven = Coven::start();
    for _ in 0..20 {
        coven.run("hello", &"x".repeat(2000));
    }
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let path = coven.home().join("coven.sqlite3");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() / 2 / 4096 * 4096;
    bytes[at..at + 4096].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let hint = assert_check(&doctor(&coven), "store", "fail", &["coven.sqlite3"]);
    assert!(hint.contains(".recover"), "{hint}");
    fs::write(&path, "no database at all ".repeat(1000)).unwrap();
    assert_check(&doctor(&coven), "store", "fail", &["not a database"]);
}

#[test]
fn a_database_of_a_newer_coven_or_of_something_else_fails() {
    let coven = Coven::start();
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let database = coven.database();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    assert_check(&doctor(&coven), "store", "fail", &["99", "newer"]);
    let database = coven.database();
    database.pragma_update(None, "application_id", 7).unwrap();
    drop(database);
    assert_check(&doctor(&coven), "store", "fail", &["not coven's"]);
}

#[test]
fn a_database_that_is_deleted_under_the_daemon_fails() {
    let coven = Coven::start();
    fs::remove_file(coven.home().join("coven.sqlite3")).unwrap();
    let hint = assert_check(&doctor(&coven), "store", "fail", &["is gone"]);
    assert!(
        hint.contains(&format!("/proc/{}/fd", coven.daemon_pid())),
        "{hint}"
    );
}

/// Puts a `systemctl` on the test's `PATH` that knows `coven.service` as this.
fn systemctl(coven: &Coven, is_user: bool, shown: &str) {
    let user = if is_user { "--user*" } else { "show*" };
    let script = format!(
        "case \"$*\" in {user}) printf '%s\\n' {shown};; *) echo LoadState=not-found;; esac"
    );
    coven.program("systemctl", &script);
}

#[test]
fn the_service_managers_unit_is_compared_with_the_daemon() {
    let coven = Coven::start();
    let pid = coven.daemon_pid();
    let own = env!("CARGO_BIN_EXE_coven");
    let active = format!(
        "LoadState=loaded ActiveState=active SubState=running 'ExecStart={{ path={own} ; }}'"
    );
    systemctl(
        &coven,
        true,
        &format!("{active} MainPID={pid} UnitFileState=enabled"),
    );
    assert_check(
        &doctor(&coven),
        "service",
        "pass",
        &["coven.service (user) runs the daemon"],
    );
    systemctl(
        &coven,
        false,
        &format!("{active} MainPID={pid} UnitFileState=disabled"),
    );
    assert_check(
        &doctor(&coven),
        "service",
        "warn",
        &["(system)", "boot", "sudo systemctl enable"],
    );
    systemctl(
        &coven,
        true,
        &format!("{active} MainPID=1 'Environment=A=b COVEN_HOME=/srv/x'"),
    );
    assert_check(
        &doctor(&coven),
        "service",
        "warn",
        &["another daemon (pid 1, /srv/x)"],
    );
    let other = active.replace(own, "/bin/sh");
    systemctl(&coven, true, &format!("{other} MainPID={pid}"));
    assert_check(
        &doctor(&coven),
        "service",
        "warn",
        &["runs /bin/sh", own, "ExecStart="],
    );
    systemctl(
        &coven,
        true,
        "LoadState=loaded ActiveState=inactive SubState=dead MainPID=0",
    );
    assert_check(
        &doctor(&coven),
        "service",
        "warn",
        &["by hand", "systemctl --user start"],
    );
    systemctl(
        &coven,
        true,
        "LoadState=loaded ActiveState=failed SubState=failed MainPID=0",
    );
    assert_check(
        &doctor(&coven),
        "service",
        "fail",
        &["failed", "journalctl --user"],
    );
}

#[test]
fn without_a_service_manager_or_with_one_that_hangs_nothing_is_wrong() {
    let coven = Coven::start();
    systemctl(&coven, true, "LoadState=not-found");
    assert_check(&doctor(&coven), "service", "pass", &["the daemon "]);
    coven.program("systemctl", "exec sleep 1000");
    assert_check(&doctor(&coven), "service", "pass", &["the daemon "]);
    coven.program("systemctl", "echo no bus >&2; exit 1");
    assert_check(&doctor(&coven), "service", "pass", &["the daemon "]);
}
