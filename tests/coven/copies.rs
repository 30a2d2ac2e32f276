//! A store that is opened by another daemon than the one whose processes it names: copied, moved, carried to another boot,
//! or still served. Only what a daemon has left behind that is proven dead is ended.

use std::fs;

use serde_json::{Value, json};

use crate::support::*;

/// A session that runs until it is ended, with a child that has left its group.
fn launch_sleeper(coven: &Coven) -> String {
    coven.harness("sleeper", "setsid sleep 1000 & echo ready; sleep 1000");
    let id = coven.launch("sleeper", "x");
    coven.events_until(&id, |event| event["kind"] == "output");
    id
}

/// Starts a daemon in `other`, to which the session `id` of another daemon was carried, and checks that it is orphaned
/// there, with all that is on record of it, and that none of its processes is touched.
fn assert_left_alone(first: &Coven, other: &Coven, id: &str, why: &str) {
    let processes = first.session_processes(id);
    assert!(processes.len() >= 2, "{processes:?}");
    other.start_daemon();
    assert_eq!(other.session(id)["status"], "orphaned");
    assert!(other.events_to_end(id).len() > 2);
    assert_eq!(first.session_processes(id), processes);
    let sweep = other.post_to(id, "kill", &json!({ "sweep": true }));
    assert_eq!((sweep.status, &sweep.json()["swept"]), (202, &json!(0)));
    assert_eq!(first.session_processes(id), processes);
    let log = fs::read_to_string(other.home().join("logs/daemon.log")).unwrap();
    assert!(
        log.contains(&format!("event=orphans_untouched why={why}")),
        "{log}"
    );
    assert!(!log.contains("event=orphan_killed"), "{log}");
}

#[test]
fn a_copied_store_leaves_the_sessions_of_the_first_daemon_alone() {
    let first = Coven::start();
    let id = launch_sleeper(&first);
    let copies = [
        r#""$0" backup "$OTHER/coven.sqlite3""#,
        r#"cp "$COVEN_HOME"/coven.sqlite3* "$OTHER""#,
        r#"rm -rf "$OTHER"; cp -a "$COVEN_HOME" "$OTHER""#,
        r#"sqlite3 "$COVEN_HOME/coven.sqlite3" ".backup '$OTHER/coven.sqlite3'""#,
    ];
    for copy in copies {
        let other = Coven::new();
        let script = format!("set -e; OTHER='{}'; {copy}", other.home().display());
        if copy.starts_with("sqlite3") && !has_tools(&["sqlite3"]) {
            continue;
        }
        let copied = first.shell(&script);
        assert_eq!(copied.code, 0, "{copied:?}");
        // A second start does no more than the first: the copy is its own by then.
        for _ in 0..2 {
            assert_left_alone(&first, &other, &id, "copy");
            assert_eq!(other.cli(["daemon", "stop"]).code, 0);
        }
    }
    assert_eq!(first.session(&id)["status"], "running");
    assert_eq!(first.kill_session(&id).status, 202);
    assert!(first.session_processes(&id).is_empty());
}

#[test]
fn a_second_daemon_is_refused_where_the_first_still_serves_the_store() {
    let coven = Coven::start();
    let id = launch_sleeper(&coven);
    let (pid, processes) = (coven.daemon_pid(), coven.session_processes(&id));
    // A stopped daemon cannot recreate the files while the commands below run.
    assert!(kill(pid, libc::SIGSTOP));
    // The files that a cleaner of temporary files deletes.
    for file in ["daemon.lock", "coven.sock", "daemon.json"] {
        let _ = fs::remove_file(coven.home().join(file));
    }
    for args in [
        &["daemon", "start"][..],
        &["daemon", "serve"],
        &["run", "hello", "x"],
        &["vacuum"],
        &["logs", "prune"],
        &["backup", "copy"],
    ] {
        let refused = coven.cli(args);
        assert_ne!(refused.code, 0, "{args:?}: {refused:?}");
        assert!(
            refused.err.contains("(daemon_locked)"),
            "{args:?}: {refused:?}"
        );
        assert!(
            refused.err.contains(&format!("pid {pid}")),
            "{args:?}: {refused:?}"
        );
    }
    assert_eq!(coven.session_processes(&id), processes);
    assert!(kill(pid, libc::SIGCONT));
    assert!(kill(pid, libc::SIGTERM));
    wait_until_gone(pid);
    coven.start_daemon();
    assert_eq!(coven.session(&id)["status"], "killed");
}

/// Changes what is on record of the owner.
fn change_owner(coven: &Coven, change: impl FnOnce(&mut Value)) {
    let database = coven.database();
    let read = "SELECT value FROM meta WHERE name = 'owner'";
    let value: String = database.query_row(read, [], |row| row.get(0)).unwrap();
    let mut owner = serde_json::from_str(&value).unwrap();
    change(&mut owner);
    let write = "UPDATE meta SET value = ?1 WHERE name = 'owner'";
    assert_eq!(database.execute(write, [owner.to_string()]).unwrap(), 1);
}

#[test]
fn processes_of_another_boot_or_namespace_or_of_nobody_are_left_alone() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 4] = [
        ("elsewhere", |owner| owner["boot"] = "another boot".into()),
        ("elsewhere", |owner| {
            owner["pid_namespace"] = "pid:[1]".into()
        }),
        ("unknown", |owner| *owner = Value::Null),
        ("unknown", |owner| owner["pid"] = "not a number".into()),
    ];
    for (why, change) in changes {
        let coven = Coven::start();
        let id = launch_sleeper(&coven);
        coven.crash();
        change_owner(&coven, change);
        assert_left_alone(&coven, &coven, &id, why);
    }
}

#[test]
fn a_store_that_was_moved_after_a_crash_still_ends_what_the_dead_daemon_left() {
    let (first, other) = (Coven::start(), Coven::new());
    let id = launch_sleeper(&first);
    first.crash();
    assert!(first.session_processes(&id).len() >= 2);
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::rename(first.database_file(suffix), other.database_file(suffix));
    }
    other.start_daemon();
    assert_eq!(other.session(&id)["status"], "orphaned");
    assert!(first.session_processes(&id).is_empty());
}
