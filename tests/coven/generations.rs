//! A log belongs to one database: beside another one that has its name now, it is set aside; after a crash, it is used.

use std::fs;
use std::path::PathBuf;

use rusqlite::Connection;

use crate::support::*;

/// The files of the home whose names begin with `coven.sqlite3`, then hold `part`.
fn kept(coven: &Coven, part: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(coven.home()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_kept = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("coven.sqlite3") && name.contains(part)
    };
    paths.filter(is_kept).collect()
}

fn hello(coven: &Coven) -> String {
    coven.run("hello", "x")["id"].as_str().unwrap().to_owned()
}

/// Asserts that the running daemon has exactly these sessions, each with all of its events, in a whole database.
#[track_caller]
fn assert_sessions(coven: &Coven, ids: &[&String], why: &str) {
    let sessions = coven.get("/api/v1/sessions").json();
    let sessions = sessions.as_array().unwrap();
    let mut found: Vec<&str> = sessions
        .iter()
        .map(|session| session["id"].as_str().unwrap())
        .collect();
    found.reverse();
    assert_eq!(found, ids, "{why}");
    for id in ids {
        assert_gapless(id, &coven.events(id));
    }
    let database = coven.database();
    let integrity: String = database
        .pragma_query_value(None, "integrity_check", |row| row.get(0))
        .unwrap();
    assert_eq!(integrity, "ok", "{why}");
}

#[test]
fn a_copy_in_the_place_of_a_crashed_database_is_used_without_the_log_of_the_old_one() {
    // How the copy is made while the daemon runs, and how it is put in the database's place.
    let cases = [
        (r#""$0" backup copy"#, "mv copy"),
        (r#""$0" backup copy"#, "cp copy"),
        (r#"sqlite3 "$DB" '.backup copy'"#, "mv copy"),
        (r#"sqlite3 "$DB" '.backup copy'"#, "cp copy"),
        (
            r#""$0" daemon stop; cp "$DB" copy; "$0" daemon start"#,
            "cp -p copy",
        ),
        (
            r#""$0" daemon stop; cp "$DB" copy; "$0" daemon start; "$0" daemon restart"#,
            "cat copy >",
        ),
    ];
    for (copy, put) in cases {
        if copy.starts_with("sqlite3") && !has_tools(&["sqlite3"]) {
            continue;
        }
        let why = format!("{copy}, {put}");
        let coven = Coven::start();
        let first = hello(&coven);
        let database = coven.database_file("");
        let script = |line: &str| {
            let ran = coven.shell(&format!("set -e; DB='{}'; {line}", database.display()));
            assert_eq!(ran.code, 0, "{why}: {ran:?}");
        };
        script(copy);
        let second = hello(&coven);
        coven.crash();
        let log = fs::read(coven.database_file("-wal")).unwrap();
        assert!(log.len() > 1000, "{why}");
        script(&format!(r#"{put} "$DB""#));
        coven.start_daemon();
        assert_sessions(&coven, &[&first], &why);
        let aside = kept(&coven, "-wal.orphaned-");
        let [aside] = aside.as_slice() else {
            panic!("{why}: {aside:?}");
        };
        assert!(fs::read(aside).unwrap() == log, "{why}");
        assert_eq!(mode(aside), 0o600);
        let event = "event=log_orphaned";
        let said = eventually_some("it is in the log", || {
            let said = fs::read_to_string(coven.home().join("logs/daemon.log")).unwrap();
            said.contains(event).then_some(said)
        });
        assert_eq!(said.matches(event).count(), 1, "{why}: {said}");
        assert!(said.contains(aside.to_str().unwrap()), "{why}: {said}");
        // A crash of the daemon that serves the copy is a crash like any other.
        let third = hello(&coven);
        assert_ne!(second, third);
        coven.crash();
        coven.start_daemon();
        assert_sessions(&coven, &[&first, &third], &why);
        assert_eq!(kept(&coven, "orphaned").len(), 1, "{why}");
    }
}

#[test]
fn another_homes_database_or_none_does_not_get_the_sessions_of_the_log() {
    let other = Coven::start();
    let theirs = hello(&other);
    assert_eq!(other.cli(["daemon", "stop"]).code, 0);
    for is_there in [true, false] {
        let coven = Coven::start();
        hello(&coven);
        coven.crash();
        let database = coven.database_file("");
        match is_there {
            true => drop(fs::copy(other.database_file(""), &database).unwrap()),
            false => fs::remove_file(&database).unwrap(),
        }
        coven.start_daemon();
        let expected: &[&String] = if is_there { &[&theirs] } else { &[] };
        assert_sessions(&coven, expected, &format!("{is_there}"));
        assert_eq!(kept(&coven, "-wal.orphaned-").len(), 1);
    }
}

#[test]
fn a_database_without_a_generation_keeps_its_log() {
    // As an older coven leaves it, and as one that was moved without the file beside it.
    for sql in ["DELETE FROM meta WHERE name = 'generation'", ""] {
        let coven = Coven::start();
        let id = hello(&coven);
        coven.crash();
        fs::remove_file(coven.database_file("-generation")).unwrap();
        let database = coven.database();
        database
            .set_db_config(
                rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
                true,
            )
            .unwrap();
        database.execute_batch(sql).unwrap();
        drop(database);
        coven.start_daemon();
        assert_sessions(&coven, &[&id], sql);
        assert!(kept(&coven, "orphaned").is_empty());
    }
}

/// The calls that change files, each of which a crash can come before.
const CHANGES: &str = "pwrite64,write,openat,rename,renameat,renameat2,link,linkat,unlink,unlinkat,ftruncate,fsync,fdatasync";

#[test]
fn a_crash_at_any_moment_of_a_start_sets_no_log_aside() {
    if !has_tools(&["strace"]) {
        return;
    }
    let coven = Coven::start();
    let id = hello(&coven);
    coven.crash();
    let names = ["", "-wal", "-shm", "-generation"];
    let crashed = names.map(|name| fs::read(coven.database_file(name)).unwrap());
    let sessions = || {
        let database = Connection::open(coven.database_file("")).unwrap();
        let query = "SELECT group_concat(id) FROM sessions";
        let ids: String = database.query_row(query, [], |row| row.get(0)).unwrap();
        ids
    };
    // The calls before the database is touched load the program.
    let (mut killed, mut through) = (0, false);
    for call in CHANGES.split(',') {
        for number in 1.. {
            for (name, content) in names.iter().zip(&crashed) {
                fs::write(coven.database_file(name), content).unwrap();
            }
            let inject = format!("inject={call}:signal=KILL:when={number}");
            let line =
                format!("strace -f -qq -o /dev/null -e trace={call} -e {inject} \"$0\" logs prune");
            let ran = coven.shell(&line);
            if ran.code == 0 {
                through = true;
                break;
            }
            killed += 1;
            // A second crash in the same start, then none.
            if call != "pwrite64" {
                coven.shell(&line);
            }
            let ran = coven.cli(["logs", "prune"]);
            assert_eq!(ran.code, 0, "{call} {number}: {ran:?}");
            let aside = kept(&coven, "orphaned");
            assert!(aside.is_empty(), "{call} {number}: {aside:?}");
            assert_eq!(sessions(), id, "{call} {number}");
        }
    }
    assert!(killed > 20 && through, "{killed}");
}

#[test]
fn restore_puts_a_backup_in_the_place_of_a_database_and_keeps_that() {
    let coven = Coven::start();
    let first = hello(&coven);
    let copy = coven.work().join("copy");
    assert_eq!(coven.cli(["backup", "copy"]).code, 0);
    let second = hello(&coven);
    let refused = coven.cli(["restore", "copy"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.err.contains("(daemon_already_running)") && refused.err.contains("daemon stop"),
        "{refused:?}"
    );
    coven.crash();
    let before = names(&coven);
    for (name, content) in [
        ("garbage", b"not a database\n".repeat(1000)),
        ("cut", fs::read(&copy).unwrap()[..3 * 8192].to_vec()),
        ("empty", Vec::new()),
    ] {
        fs::write(coven.work().join(name), content).unwrap();
        let refused = coven.cli(["restore", name]);
        assert_eq!(refused.code, 1, "{name}: {refused:?}");
        assert!(refused.err.contains(name), "{refused:?}");
        assert_eq!(names(&coven), before, "{name}: nothing is changed");
    }
    let refused = coven.cli(["restore", "nothing"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let restored = coven.cli(["restore", "copy"]);
    assert_eq!(restored.code, 0, "{restored:?}");
    assert!(copy.exists());
    let replaced = kept(&coven, ".replaced-");
    let (_, time) = replaced[0]
        .to_str()
        .unwrap()
        .rsplit_once(".replaced-")
        .unwrap();
    let time = time.trim_end_matches("-wal");
    let form: String = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(form, "00000000T000000000Z");
    assert_eq!(replaced.len(), 2, "the database and its log: {replaced:?}");
    let database = replaced
        .iter()
        .find(|path| !path.to_str().unwrap().ends_with("-wal"))
        .unwrap();
    assert!(restored.out.contains(database.to_str().unwrap()));
    coven.start_daemon();
    assert_sessions(&coven, &[&first], "restored");
    assert!(kept(&coven, "orphaned").is_empty());
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    // What was replaced has all that it had, and can be restored as well.
    let back = coven.cli(["restore".as_ref(), "--json".as_ref(), database.as_os_str()]);
    let answer: serde_json::Value = serde_json::from_str(&back.out).unwrap();
    assert!(answer["bytes"].as_u64().unwrap() > 0 && answer["replaced"].is_string());
    coven.start_daemon();
    assert_sessions(&coven, &[&first, &second], "restored back");
}

/// The names of the database's files.
fn names(coven: &Coven) -> Vec<PathBuf> {
    let mut names = kept(coven, "");
    names.sort();
    names
}
