//! `coven doctor`: each check provoked, with the daemon up, down, stale and hanging; and nothing changed by looking.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

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
    assert_eq!(names, ["blocking", "checks", "ok"], "{report}");
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
    let failed = checks.iter().filter(|check| check["status"] == "fail");
    let failed: Vec<_> = failed.map(|check| &check["message"]).collect();
    assert_eq!(report["blocking"], json!(failed));
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
        ("store", "is intact"),
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
    assert_check(&report, "socket", "pass", &["does not exist", "107"]);
    assert_check(&report, "store", "pass", &["is intact"]);
    for absent in ["contract", "version", "writer"] {
        assert_eq!(find(&report, absent), None, "there is nobody to ask");
    }
}

#[test]
fn files_of_a_crashed_daemon_fail_until_the_command_of_the_hint() {
    let coven = Coven::start();
    coven.run("hello", "x");
    coven.crash();
    let report = doctor(&coven);
    let hint = assert_check(&report, "daemon", "fail", &["left over"]);
    assert!(hint.starts_with("coven daemon start"), "{hint}");
    assert_check(&report, "socket", "fail", &["no process listens"]);
    assert_check(&report, "store", "pass", &["is intact"]);
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
    assert_check(&report, "store", "pass", &["is intact"]);
    assert_eq!(coven.shell(&hint).code, 0);
    assert_eq!(doctor(&coven)["ok"], true);
}

/// State that doctor must not change: every file's path, mode and size, except the log, which a daemon may write at any
/// time.
fn tree(dir: &Path) -> Vec<(String, u32, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        }
        if path.ends_with("logs/daemon.log") {
            continue;
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
    assert_check(&report, "home", "warn", &["does not exist yet"]);
    assert_check(&report, "store", "pass", &["the first start creates it"]);
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
fn a_link_in_a_files_place_fails_and_no_daemon_starts_with_it() {
    let coven = Coven::start();
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let replace_by_link = |name: &str| {
        let path = coven.home().join(name);
        let target = coven.work().join(name);
        fs::rename(&path, &target).unwrap();
        symlink(&target, &path).unwrap();
        path.display().to_string()
    };
    let database = replace_by_link("coven.sqlite3");
    let parts = [&database, "is a symbolic link"];
    assert_check(&doctor(&coven), "permissions", "fail", &parts);
    assert_eq!(coven.cli(["daemon", "start"]).code, 1);
    let lock = replace_by_link("daemon.lock");
    assert_check(&doctor(&coven), "permissions", "fail", &[&lock]);
    assert_eq!(coven.cli(["daemon", "start"]).code, 1);
}

#[test]
fn files_that_the_user_writes_may_be_read_by_others_but_not_written() {
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
    let page = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    let at = bytes.len() / 2 / page * page;
    bytes[at..at + page].fill(0xa5);
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
    coven.set_schema(99);
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
    let copy = format!("{}.recovered-", coven.database_file("").display());
    assert!(hint.contains(&copy), "{hint}");
}

/// Whose manager has the unit.
#[derive(Clone, Copy)]
enum Scope {
    User,
    System,
}

/// Puts a `systemctl` on the test's `PATH` that knows `coven.service` as this, and a `loginctl`.
fn systemctl(coven: &Coven, scope: Scope, shown: &str) {
    let asked = match scope {
        Scope::User => "--user*",
        Scope::System => "show*",
    };
    let script = format!(
        "case \"$*\" in {asked}) printf '%s\\n' LoadState=loaded {shown};; *) echo LoadState=not-found;; esac"
    );
    coven.program("systemctl", &script);
    coven.program("loginctl", "echo Linger=yes");
}

/// Asserts how the check of the unit goes, if `systemctl` shows this of it; `parts` are apart by ` | `.
fn assert_service(coven: &Coven, scope: Scope, shown: &str, status: &str, parts: &str) {
    systemctl(coven, scope, shown);
    let parts: Vec<&str> = parts.split(" | ").collect();
    assert_check(&doctor(coven), "service", status, &parts);
}

#[test]
fn the_service_managers_unit_is_compared_with_the_daemon() {
    let coven = Coven::start();
    let pid = coven.daemon_pid();
    let own = env!("CARGO_BIN_EXE_coven");
    let active =
        format!("ActiveState=active SubState=running MainPID={pid} 'ExecStart={{ path={own} ; }}'");
    let check = |scope, shown: &str, status: &str, parts: &str| {
        assert_service(&coven, scope, shown, status, parts);
    };
    let user = "coven.service (user) runs the daemon";
    check(Scope::User, &active, "pass", user);
    let system = "coven.service (system) runs the daemon";
    check(Scope::System, &active, "pass", system);
    let disabled = format!("{active} UnitFileState=disabled");
    let enable = "boot | sudo systemctl enable coven.service";
    check(Scope::System, &disabled, "warn", enable);
    let enable = "login | systemctl --user enable";
    check(Scope::User, &disabled, "warn", enable);
    let by_socket = format!("{disabled} TriggeredBy=coven.socket");
    check(Scope::User, &by_socket, "pass", "runs the daemon");
    let other = active.replace(own, "/bin/sh");
    let parts = format!("runs /bin/sh | {own} | ExecStart=");
    check(Scope::User, &other, "warn", &parts);
    systemctl(&coven, Scope::User, &active);
    coven.program("loginctl", "echo Linger=no");
    let report = doctor(&coven);
    assert_check(
        &report,
        "service",
        "warn",
        &["logged out", "loginctl enable-linger"],
    );
}

#[test]
fn a_unit_of_another_home_or_one_that_does_not_run_the_daemon_is_told() {
    let coven = Coven::start();
    let home = coven.home().display().to_string();
    let check = |shown: &str, status: &str, parts: &str| {
        assert_service(&coven, Scope::User, shown, status, parts);
    };
    // Of another home: the shell's COVEN_HOME is not the service's.
    let other = "ActiveState=active MainPID=1 'Environment=A=b COVEN_HOME=/srv/x'";
    let parts = "another home, /srv/x | COVEN_HOME=/srv/x coven doctor";
    check(other, "warn", parts);
    let other = "ActiveState=failed MainPID=0 'Environment=A=b COVEN_HOME=/srv/x'";
    check(other, "pass", "another home, /srv/x");
    let ours = format!("MainPID=0 Environment=COVEN_HOME={home}");
    let inactive = format!("{ours} ActiveState=inactive SubState=dead");
    check(
        &inactive,
        "warn",
        "started by hand | systemctl --user start",
    );
    let failed = format!("{ours} ActiveState=failed SubState=failed");
    check(
        &failed,
        "fail",
        "failed | journalctl --user -u coven.service",
    );
}

#[test]
fn under_a_unit_what_to_do_is_the_units_command() {
    let coven = Coven::start();
    let home = coven.home().display().to_string();
    let unit = format!("ActiveState=active MainPID={}", coven.daemon_pid());
    systemctl(&coven, Scope::User, &unit);
    // A program that this shell finds, and the daemon does not.
    let there = coven.work().join("codex");
    fs::write(&there, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&there, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!(
        "{}:{}:/usr/bin:/bin",
        coven.bin().display(),
        coven.work().display()
    );
    let mut command = coven.command(["doctor", "--json"]);
    let report = examined(Ran::of(command.env("PATH", path).output().unwrap()));
    let hint = assert_check(&report, "adapter.codex", "warn", &["daemon: not found"]);
    let there = coven.work().display().to_string();
    let change = format!("PATH=… with {there} in it, written to {home}/env; then ");
    assert_eq!(hint, change + "systemctl --user reload coven.service");
    fs::write(coven.home().join("redact.txt"), "x\n").unwrap();
    let hint = assert_check(&doctor(&coven), "redaction", "warn", &[]);
    assert_eq!(hint, "systemctl --user reload coven.service");
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let unit = format!("ActiveState=inactive MainPID=0 Environment=COVEN_HOME={home}");
    systemctl(&coven, Scope::System, &unit);
    let hint = assert_check(&doctor(&coven), "daemon", "warn", &["stopped"]);
    assert_eq!(hint, "sudo systemctl start coven.service");
}

#[test]
fn without_a_service_manager_or_with_one_that_hangs_nothing_is_wrong() {
    let coven = Coven::start();
    coven.program("systemctl", "echo LoadState=not-found");
    assert_check(&doctor(&coven), "service", "pass", &["the daemon "]);
    coven.program("systemctl", "exec sleep 1000");
    assert_check(&doctor(&coven), "service", "pass", &["the daemon "]);
    coven.program("systemctl", "echo no bus >&2; exit 1");
    assert_check(&doctor(&coven), "service", "pass", &["the daemon "]);
}

#[test]
fn each_adapter_is_looked_up_in_the_daemon_and_in_the_shell() {
    let coven = Coven::new();
    let (there, here) = (coven.work().join("there"), coven.work().join("here"));
    for dir in [&there, &here] {
        fs::create_dir(dir).unwrap();
    }
    let install = |dir: &Path, name: &str| {
        fs::write(dir.join(name), "#!/bin/sh\n").unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    install(&there, "codex");
    install(&here, "codex");
    install(&there, "claude");
    install(&here, "copilot");
    install(&there, "gemini");
    symlink(there.join("gemini"), here.join("gemini")).unwrap();
    let with = |dir: &Path, args: [&str; 2]| {
        let path = format!("{}:/usr/bin:/bin", dir.display());
        Ran::of(coven.command(args).env("PATH", path).output().unwrap())
    };
    assert_eq!(with(&there, ["daemon", "start"]).code, 0);
    let report = examined(with(&here, ["doctor", "--json"]));
    let at = |dir: &Path, name: &str| dir.join(name).display().to_string();
    let codex = [at(&there, "codex"), at(&here, "codex")];
    assert_check(&report, "adapter.codex", "warn", &[&codex[0], &codex[1]]);
    let claude = format!("daemon: {}; shell: not found", at(&there, "claude"));
    assert_check(&report, "adapter.claude", "warn", &[&claude]);
    let copilot = format!("daemon: not found; shell: {}", at(&here, "copilot"));
    let parts = [
        copilot.as_str(),
        "coven daemon restart (ends live sessions) from this shell",
    ];
    assert_check(&report, "adapter.copilot", "warn", &parts);
    assert_check(&report, "adapter.gemini", "pass", &["daemon and shell"]);
    assert_check(&report, "adapter.hello", "pass", &["built in"]);
    // Nowhere: no failure, but how to get it.
    let hints = ["npm install", "opencode auth login"];
    assert_check(&report, "adapter.opencode", "warn", &hints);
    let (there, here) = (there.display().to_string(), here.display().to_string());
    assert_check(&report, "path", "pass", &[&there, &here]);
    assert_eq!(report["ok"], true, "{report}");
}

#[test]
fn a_manifest_that_is_refused_fails_and_one_that_is_not_read_yet_warns() {
    let coven = Coven::new();
    coven.harness("mine", "exit 0");
    coven.start_daemon();
    let bad = coven.home().join("adapters/bad.json");
    let new = coven.home().join("adapters/new.json");
    fs::write(&bad, "{").unwrap();
    fs::write(&new, r#"{"adapters":[{"id":"new","executable":"sh"}]}"#).unwrap();
    let shown = bad.display().to_string();
    let report = doctor(&coven);
    let hint = assert_check(&report, "manifests", "fail", &[&shown, "not a manifest"]);
    let pid = coven.daemon_pid();
    assert!(hint.contains(&format!("kill -HUP {pid}")), "{hint}");
    assert_check(&report, "adapter.mine", "pass", &["bin/mine"]);
    assert_check(
        &report,
        "adapter.new",
        "warn",
        &["new.json", "not to the daemon"],
    );
    fs::remove_file(&bad).unwrap();
    assert!(kill(pid, libc::SIGHUP));
    eventually("it is read", || {
        let report = doctor(&coven);
        find(&report, "adapter.new").unwrap()["status"] == "pass"
    });
    assert_check(&doctor(&coven), "manifests", "pass", &["none refused"]);
    // Without a daemon the shell's own look at them has to do.
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    fs::set_permissions(&new, fs::Permissions::from_mode(0o666)).unwrap();
    assert_check(&doctor(&coven), "manifests", "fail", &["chmod go-w"]);
}

#[test]
fn a_pattern_that_is_refused_fails_and_a_changed_one_needs_a_reload() {
    let coven = Coven::start();
    let file = coven.home().join("redact.txt");
    assert_check(&doctor(&coven), "redaction", "pass", &["built-in"]);
    fs::write(&file, "fine\n\n(broken\n").unwrap();
    assert_check(
        &doctor(&coven),
        "redaction",
        "fail",
        &["line 3: unclosed group"],
    );
    fs::write(&file, "fine\n").unwrap();
    let hint = assert_check(&doctor(&coven), "redaction", "warn", &["has changed"]);
    assert_eq!(hint, format!("kill -HUP {}", coven.daemon_pid()));
    assert_eq!(coven.shell(&hint).code, 0);
    eventually("the file is in force", || {
        let report = doctor(&coven).to_string();
        report.contains("every pattern")
    });
    let coven = Coven::start_with_env("COVEN_REDACT", "off");
    assert_check(&doctor(&coven), "redaction", "warn", &["COVEN_REDACT=off"]);
}

#[test]
fn a_setting_that_no_daemon_takes_fails() {
    let coven = Coven::new().env("COVEN_MAX_SESSIONS", "many");
    let hint = assert_check(&doctor(&coven), "settings", "fail", &["\\\"many\\\""]);
    assert_eq!(hint, "unset COVEN_MAX_SESSIONS");
    let coven = Coven::new().env("COVEN_MAX_SESSION", "1");
    let meant = ["COVEN_MAX_SESSION is no setting; did you mean COVEN_MAX_SESSIONS?"];
    assert_check(&doctor(&coven), "settings", "warn", &meant);
    let coven = Coven::new().env("COVEN_REDCAT", "off");
    fs::write(coven.home().join("env"), "COVEN_LOGS=debug\n").unwrap();
    fs::set_permissions(coven.home().join("env"), fs::Permissions::from_mode(0o600)).unwrap();
    let both = ["did you mean COVEN_REDACT?", "did you mean COVEN_LOG?"];
    let hint = assert_check(&doctor(&coven), "settings", "warn", &both);
    assert!(
        hint.contains("unset COVEN_LOGS, and set COVEN_LOG"),
        "{hint}"
    );
    let coven = Coven::new()
        .env("COVEN_COMMIT", "1")
        .env("COVEN_OF_CATS", "x");
    assert_check(&doctor(&coven), "settings", "pass", &[]);
}

#[test]
fn limits_that_are_low_for_the_sessions_allowed_warn() {
    let coven = Coven::new();
    // Of the shell, while no daemon runs.
    let low = |args: &[&str]| {
        // The second letter depends on which shell `sh` is.
        let limits = "ulimit -n 400; ulimit -u 900 2>/dev/null || ulimit -p 900";
        let mut command = coven.command_after(limits, args);
        Ran::of(command.output().unwrap())
    };
    let report = examined(low(&["doctor", "--json"]));
    let parts = [
        "this shell",
        "400",
        "COVEN_MAX_SESSIONS is 256",
        "ulimit -n 1600",
    ];
    assert_check(&report, "limits.files", "warn", &parts);
    assert_check(
        &report,
        "limits.processes",
        "warn",
        &["this shell", "900", "ulimit -u"],
    );
    // Of the daemon, whatever the shell has.
    assert_eq!(low(&["daemon", "start"]).code, 0);
    let report = doctor(&coven);
    assert_check(&report, "limits.files", "warn", &["the daemon", "400"]);
    let few = Coven::new().env("COVEN_MAX_SESSIONS", "10");
    let mut command = few.command_after("ulimit -n 400", &["doctor", "--json"]);
    let report = examined(Ran::of(command.output().unwrap()));
    assert_check(&report, "limits.files", "pass", &["400"]);
}

/// Listens on the path that it is given, and starts what its other arguments say with that socket, as systemd does.
const MANAGER: &str = r#"
BEGIN { $^F = 10 }
use Socket;
my $path = shift;
socket(my $socket, PF_UNIX, SOCK_STREAM, 0) or die;
umask 0177;
bind($socket, sockaddr_un($path)) or die;
listen($socket, 128) or die;
fileno($socket) == 3 or die;
if (fork == 0) {
    ($ENV{LISTEN_PID}, $ENV{LISTEN_FDS}) = ($$, 1);
    exec @ARGV;
}
wait;
"#;

#[test]
fn a_socket_that_systemd_has_handed_over_is_the_daemons() {
    let coven = Coven::new();
    if Command::new("perl").arg("-e1").status().is_err() {
        eprintln!("skipped: perl is not installed");
        return;
    }
    // What a process is called is the file that it was started as (proc(5), comm).
    let systemd = coven.work().join("systemd");
    symlink("/usr/bin/perl", &systemd).unwrap();
    let daemon = coven.command(["daemon", "serve"]);
    let mut manager = Command::new(&systemd);
    manager.args(["-e", MANAGER]).arg(coven.socket());
    manager.arg(daemon.get_program()).args(daemon.get_args());
    for (name, value) in daemon.get_envs() {
        if let Some(value) = value {
            manager.env(name, value);
        }
    }
    let mut manager = manager.stderr(Stdio::piped()).spawn().unwrap();
    read_until(manager.stderr.as_mut().unwrap(), "event=contract_served");
    let report = doctor(&coven);
    let pid = coven.daemon_pid().to_string();
    assert_ne!(pid, manager.id().to_string());
    assert_check(
        &report,
        "socket",
        "pass",
        &["systemd", "handed it to", &pid],
    );
    assert_check(&report, "daemon", "pass", &[&pid]);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    assert!(manager.wait().unwrap().success());
}

/// Answers health on the home's socket with what a daemon said, changed; nothing else is to be had there.
fn impostor(coven: &Coven, change: impl Fn(&mut Value)) {
    let mut health = coven.get("/api/v1/health").json();
    change(&mut health);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let listener = UnixListener::bind(coven.socket()).unwrap();
    fs::set_permissions(coven.socket(), fs::Permissions::from_mode(0o600)).unwrap();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut request = [0; 4096];
            while let Ok(n @ 1..) = client.read(&mut request) {
                let is_health = request[..n].starts_with(b"GET /api/v1/health ");
                let (status, body) = match is_health {
                    true => ("200 OK", health.to_string()),
                    false => ("404 Not Found", "{}".to_owned()),
                };
                let length = body.len();
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
                let _ = client.write_all(answer.as_bytes());
            }
        }
    });
}

#[test]
fn a_daemon_of_another_version_warns_and_one_of_another_contract_fails() {
    let coven = Coven::start();
    impostor(&coven, |health| health["covenVersion"] = json!("0.0.9"));
    let report = doctor(&coven);
    assert_check(&report, "path", "warn", &["does not say"]);
    let hint = assert_check(&report, "version", "warn", &["0.0.9"]);
    assert_eq!(hint, "coven daemon restart (ends live sessions)");
    // The process that answers is not one that has put itself on record.
    assert_check(
        &report,
        "socket",
        "warn",
        &[&std::process::id().to_string()],
    );
    let coven = Coven::start();
    impostor(&coven, |health| {
        health["apiVersion"] = json!("coven.daemon.v9")
    });
    let report = doctor(&coven);
    assert_check(
        &report,
        "contract",
        "fail",
        &["coven.daemon.v9", "coven.daemon.v1"],
    );
    assert_eq!(find(&report, "version"), None);
}

#[test]
fn a_process_that_listens_in_the_daemons_place_fails() {
    let coven = Coven::start();
    let record = fs::read(coven.home().join("daemon.json")).unwrap();
    let pid = coven.daemon_pid().to_string();
    impostor(&coven, |_| {});
    let path = coven.home().join("daemon.json");
    fs::write(&path, record).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let own = std::process::id().to_string();
    assert_check(
        &doctor(&coven),
        "socket",
        "fail",
        &[&own, &pid, "daemon.json"],
    );
}

#[test]
fn a_writer_that_fails_or_holds_harnesses_back_shows() {
    let coven = Coven::start();
    impostor(&coven, |health| {
        health["eventWriter"]["state"] = json!("failed");
        health["eventWriter"]["lastError"] = json!("database or disk is full");
    });
    assert_check(
        &doctor(&coven),
        "writer",
        "fail",
        &["database or disk is full"],
    );
    let coven = Coven::start();
    impostor(&coven, |health| {
        health["eventWriter"]["state"] = json!("pressured")
    });
    assert_check(&doctor(&coven), "writer", "warn", &["held back"]);
}

#[test]
fn a_daemon_that_takes_no_connection_costs_a_few_seconds_at_most() {
    let coven = Coven::new();
    // A daemon's own socket is made behind its lock.
    fs::write(coven.home().join("daemon.lock"), "").unwrap();
    let listener = UnixListener::bind(coven.socket()).unwrap();
    fs::set_permissions(coven.socket(), fs::Permissions::from_mode(0o600)).unwrap();
    // SAFETY: listen takes two integers; it makes the queue of a socket that listens shorter (listen(2)).
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let _waits = UnixStream::connect(coven.socket()).unwrap();
    let report = examined(coven.cli(["doctor", "--json", "--self-test"]));
    assert_check(
        &report,
        "daemon",
        "fail",
        &["does not even take a connection"],
    );
    assert_check(&report, "socket", "fail", &["accepts no more connections"]);
    assert_check(&report, "self_test", "fail", &["no daemon to test"]);
}

#[test]
fn the_self_test_runs_a_session_and_deletes_it() {
    let coven = Coven::start();
    let kept = coven.run("hello", "kept");
    let report = examined(coven.cli(["doctor", "--self-test", "--json"]));
    assert_check(&report, "self_test", "pass", &["byte for byte"]);
    let ids: Vec<Value> = coven.sessions().iter().map(|s| s["id"].clone()).collect();
    assert_eq!(ids, [kept["id"].clone()]);
    // The log's thread has written every line once the daemon has stopped.
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let log = coven.cli(["logs", "--event", "session_ended"]).out;
    assert_eq!(log.lines().count(), 2, "it ran in the daemon: {log}");
}

#[test]
fn the_self_test_fails_without_a_daemon_and_where_what_comes_back_is_wrong() {
    let coven = Coven::new();
    let report = examined(coven.cli(["doctor", "--self-test", "--json"]));
    let hint = assert_check(&report, "self_test", "fail", &["no daemon to test"]);
    assert!(hint.starts_with("coven daemon start"), "{hint}");
    // A pattern of the user's that takes out what the harness says.
    fs::write(coven.home().join("redact.txt"), "think[a-z]+\n").unwrap();
    coven.start_daemon();
    let report = examined(coven.cli(["doctor", "--self-test", "--json"]));
    let hint = assert_check(&report, "self_test", "fail", &["Stdout", "[REDACTED:"]);
    let id = coven.sessions()[0]["id"].as_str().unwrap().to_owned();
    assert!(hint.contains(&format!("coven events {id}")), "{hint}");
}

/// Gives everything in the test's home to another user; `None`, and says so, where only root could.
fn give_away(coven: &Coven, uid: u32) -> Option<()> {
    if !is_root() {
        eprintln!("skipped: only root can give a home to another user");
        return None;
    }
    let ran = coven.shell(&format!("chown -R {uid} \"$COVEN_HOME\""));
    assert_eq!(ran.code, 0, "{ran:?}");
    Some(())
}

const SOMEBODY: u32 = 65_534;

#[test]
fn as_root_another_users_home_is_told_of_and_left_alone() {
    let coven = Coven::start();
    coven.run("hello", "x");
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    if give_away(&coven, SOMEBODY).is_none() {
        return;
    }
    let before = tree(&coven.home());
    let report = doctor(&coven);
    assert_eq!(tree(&coven.home()), before);
    let own = format!("sudo -u '#{SOMEBODY}'");
    assert_check(&report, "home", "fail", &["uid 65534", &own]);
    assert_check(&report, "store", "warn", &["not opened", &own]);
    // Nothing that root could be told to take from its owner.
    assert_check(&report, "permissions", "pass", &[]);
}

#[test]
fn a_file_of_somebody_elses_fails_with_the_chown_that_mends_it() {
    let coven = Coven::start();
    if give_away(&coven, SOMEBODY).is_none() {
        return;
    }
    let ran = coven.shell("chown 0 \"$COVEN_HOME\"");
    assert_eq!(ran.code, 0, "{ran:?}");
    let hint = assert_check(
        &doctor(&coven),
        "permissions",
        "fail",
        &["belongs to uid 65534", "more"],
    );
    assert!(hint.starts_with("chown 0 "), "{hint}");
    assert_eq!(coven.shell(&hint).code, 0, "{hint}");
    assert_check(&doctor(&coven), "permissions", "pass", &[]);
}

#[test]
fn a_home_that_cannot_be_read_says_whose_it_is() {
    use std::os::unix::process::CommandExt;
    let coven = Coven::start();
    if !is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    // Where the build is, another user may not get to.
    // Not by this process: what another thread starts meanwhile would hold the copy open for writing (execve(2), ETXTBSY).
    assert_eq!(coven.shell("cp \"$0\" coven").code, 0);
    let mut command = std::process::Command::new(coven.work().join("coven"));
    command.args(["doctor", "--json"]).env_clear();
    command
        .env("COVEN_HOME", coven.home())
        .env("PATH", "/usr/bin:/bin");
    command.uid(SOMEBODY).gid(SOMEBODY).current_dir("/");
    let report = examined(Ran::of(command.output().unwrap()));
    assert_check(&report, "home", "fail", &["belongs to another user (uid 0"]);
    for absent in ["daemon", "store", "permissions"] {
        assert_eq!(find(&report, absent), None, "nothing of it can be told");
    }
}

#[test]
fn a_daemon_whose_binary_was_replaced_warns() {
    let coven = Coven::new();
    let ran = coven.shell("cp \"$0\" coven && ./coven daemon start && rm coven && cp \"$0\" coven");
    assert_eq!(ran.code, 0, "{ran:?}");
    let binary = coven.work().join("coven").display().to_string();
    let report = doctor(&coven);
    assert_check(&report, "version", "warn", &[&binary, "has been replaced"]);
    fs::remove_file(&binary).unwrap();
    // What the daemon would start as the harness that is built in.
    assert_check(
        &doctor(&coven),
        "adapter.hello",
        "fail",
        &[&binary, "is gone"],
    );
}

#[test]
fn a_daemon_that_has_all_the_connections_it_takes_is_no_failure() {
    let coven = Coven::start_with_env("COVEN_MAX_CONNECTIONS", "1");
    // Not from health: the connection by which the start was seen may still be the one.
    let record = fs::read(coven.home().join("daemon.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    let pid = record["pid"].to_string();
    let mut holds = eventually_some("the one connection is ours", || {
        let mut stream = coven.connect();
        let request = b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).ok()?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).ok()?;
        answer.ends_with(b" 200").then_some(stream)
    });
    let report = doctor(&coven);
    assert_check(
        &report,
        "daemon",
        "warn",
        &[&pid, "rejects this connection"],
    );
    assert_check(&report, "socket", "pass", &[&pid]);
    holds.flush().unwrap();
}
