//! The home: what is refused as one, the files in it and their modes, and databases that are not ours to use.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::*;

/// Output of `daemon start` with another home than the test's.
fn start_in(coven: &Coven, home: &Path) -> Ran {
    let mut command = coven.command(["daemon", "start"]);
    Ran::of(command.env("COVEN_HOME", home).output().unwrap())
}

fn assert_refused(ran: &Ran, code: &str, parts: &[&str]) {
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
    assert!(ran.err.starts_with("coven: "), "{ran:?}");
    assert!(ran.err.contains(&format!("({code})\n  try: ")), "{ran:?}");
    for part in parts {
        assert!(ran.err.contains(part), "{part:?} is not in {ran:?}");
    }
}

#[test]
fn a_home_that_others_can_read_is_refused_with_the_chmod_that_mends_it() {
    for mode in [0o750, 0o705, 0o720, 0o777] {
        let coven = Coven::new();
        fs::set_permissions(coven.home(), fs::Permissions::from_mode(mode)).unwrap();
        let ran = coven.cli(["daemon", "start"]);
        let mend = format!("chmod 700 {}", coven.home().display());
        assert_refused(&ran, "home_refused", &[&mend]);
        assert_eq!(coven.shell(&mend).code, 0);
        coven.start_daemon();
    }
}

#[test]
fn a_home_that_is_a_symbolic_link_is_refused() {
    let coven = Coven::new();
    let link = coven.work().join("link");
    symlink(coven.home(), &link).unwrap();
    assert_refused(&start_in(&coven, &link), "home_refused", &["symbolic link"]);
    assert!(!coven.socket().exists());
}

#[test]
fn a_home_that_is_a_file_is_refused() {
    let coven = Coven::new();
    let file = coven.work().join("file");
    fs::write(&file, "").unwrap();
    assert_refused(
        &start_in(&coven, &file),
        "home_refused",
        &["not a directory"],
    );
}

#[test]
fn a_home_whose_socket_path_is_too_long_is_refused_by_every_verb() {
    let coven = Coven::new();
    let long = coven.work().join("x".repeat(100));
    assert_refused(&start_in(&coven, &long), "socket_path_too_long", &["107"]);
    let mut command = coven.command(["sessions"]);
    let ran = Ran::of(command.env("COVEN_HOME", &long).output().unwrap());
    assert_refused(&ran, "socket_path_too_long", &["shorter"]);
    assert!(!long.exists());
}

#[test]
fn the_longest_path_that_fits_works() {
    let coven = Coven::new();
    // sun_path holds 107 bytes (unix(7)).
    let rest = 107 - coven.work().as_os_str().len() - "//coven.sock".len();
    let home = coven.work().join("x".repeat(rest));
    assert_eq!(home.join("coven.sock").as_os_str().len(), 107);
    let ran = start_in(&coven, &home);
    assert_eq!(ran.code, 0, "{ran:?}");
    let mut stop = coven.command(["daemon", "stop"]);
    assert_eq!(
        Ran::of(stop.env("COVEN_HOME", home).output().unwrap()).code,
        0
    );
}

#[test]
fn a_home_is_made_with_all_that_leads_to_it() {
    let coven = Coven::new();
    let home = coven.work().join("a/b");
    let ran = start_in(&coven, &home);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(mode(&home), 0o700);
    let mut stop = coven.command(["daemon", "stop"]);
    assert_eq!(
        Ran::of(stop.env("COVEN_HOME", home).output().unwrap()).code,
        0
    );
}

#[test]
fn without_coven_home_it_is_dot_coven_in_the_users() {
    let coven = Coven::new();
    let with_home = |args: [&str; 2]| {
        let mut command = coven.command(args);
        let command = command.env_remove("COVEN_HOME").env("HOME", coven.work());
        Ran::of(command.output().unwrap())
    };
    let ran = with_home(["daemon", "start"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(coven.work().join(".coven/coven.sock").exists());
    assert_eq!(with_home(["daemon", "stop"]).code, 0);
}

/// Every file and directory under `dir`.
fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        }
        found.push(path);
    }
    found
}

#[test]
fn no_file_of_the_home_is_open_to_others_whatever_the_umask() {
    for umask in ["0000", "0022", "0077"] {
        let coven = Coven::new();
        let ran = coven.shell(&format!("umask {umask}; exec \"$0\" daemon start"));
        assert_eq!(ran.code, 0, "{ran:?}");
        coven.ended(&coven.launch("hello", "hi"));
        let files = tree(&coven.home());
        for path in &files {
            let expected = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(path), expected, "{} under {umask}", path.display());
        }
        let names: Vec<_> = files
            .iter()
            .map(|path| path.strip_prefix(coven.home()).unwrap().to_str().unwrap())
            .collect();
        for name in [
            "coven.sock",
            "coven.sqlite3",
            "coven.sqlite3-wal",
            "coven.sqlite3-shm",
            "coven.sqlite3-generation",
            "daemon.json",
            "daemon.lock",
            "logs/daemon.log",
        ] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
    }
}

#[test]
fn daemon_json_says_what_the_contract_says() {
    let coven = Coven::start();
    let text = fs::read_to_string(coven.home().join("daemon.json")).unwrap();
    let daemon: serde_json::Value = serde_json::from_str(&text).unwrap();
    let health = coven.get("/api/v1/health").json();
    assert_eq!(daemon["pid"], coven.daemon_pid());
    assert_eq!(daemon["startedAt"], health["daemon"]["startedAt"]);
    assert_eq!(daemon["socket"], coven.socket().display().to_string());
}

#[test]
fn the_background_log_is_in_the_home_and_says_which_contract_is_served() {
    let coven = Coven::start();
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let log = fs::read_to_string(coven.home().join("logs/daemon.log")).unwrap();
    for event in ["contract_served", "daemon_stopping", "daemon_stopped"] {
        assert!(log.contains(&format!("event={event} ")), "{log}");
    }
}

#[test]
fn a_database_of_a_newer_coven_is_refused_and_left_as_it_is() {
    let coven = Coven::start();
    let id = coven.launch("hello", "hi");
    let events = coven.events_to_end(&id);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let database = coven.database();
    let own: i64 = database
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    drop(database);
    coven.set_schema(99);
    let ran = coven.cli(["daemon", "start"]);
    assert_refused(&ran, "store_unavailable", &["99", "newer", "coven.sqlite3"]);
    assert_eq!(coven.cli(["daemon", "serve"]).code, 1);
    let ran = coven.cli(["daemon", "status"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    coven.set_schema(own);
    coven.start_daemon();
    assert_eq!(coven.events_to_end(&id), events);
}

#[test]
fn a_database_of_a_newer_coven_that_only_added_to_it_is_used() {
    let coven = Coven::start();
    let id = coven.launch("hello", "hi");
    let events = coven.events_to_end(&id);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let database = coven.database();
    database
        .execute_batch("ALTER TABLE sessions ADD COLUMN newer TEXT; CREATE TABLE newer (x TEXT)")
        .unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    coven.start_daemon();
    assert_eq!(coven.events_to_end(&id), events);
    let again = coven.launch("hello", "again");
    assert!(coven.events_to_end(&again).len() > 2);
    let kept: i64 = coven
        .database()
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 99);
    assert_eq!(coven.cli(["doctor"]).code, 0);
}

#[test]
fn a_database_of_something_else_is_refused_and_left_as_it_is() {
    let coven = Coven::new();
    let database = coven.database();
    database
        .execute_batch("CREATE TABLE bookmarks (url TEXT); INSERT INTO bookmarks VALUES ('x')")
        .unwrap();
    drop(database);
    let path = coven.home().join("coven.sqlite3");
    let before = fs::read(&path).unwrap();
    let ran = coven.cli(["daemon", "start"]);
    assert_refused(&ran, "store_unavailable", &["not coven's"]);
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let coven = Coven::new();
    let path = coven.home().join("coven.sqlite3");
    fs::write(
        &path,
        "this is no database, and it is longer than a header ".repeat(100),
    )
    .unwrap();
    let before = fs::read(&path).unwrap();
    let ran = coven.cli(["daemon", "start"]);
    assert_refused(&ran, "store_unavailable", &["coven.sqlite3"]);
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_daemon_whose_home_was_moved_away_takes_nothing_of_the_one_that_came_after() {
    let coven = Coven::start();
    let first = coven.daemon_pid();
    let moved = coven.home().with_file_name("moved");
    fs::rename(coven.home(), &moved).unwrap();
    coven.start_daemon();
    let second = coven.daemon_pid();
    assert_ne!(first, second);
    assert!(kill(first, libc::SIGTERM));
    wait_until_gone(first);
    assert_eq!(coven.get("/api/v1/health").json()["daemon"]["pid"], second);
    assert!(coven.home().join("daemon.json").exists());
}
