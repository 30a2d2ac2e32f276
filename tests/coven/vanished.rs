//! Files that vanish under a daemon that runs: its sessions go on, and nothing that was shown is lost.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::*;

/// A running daemon with a session that waits for a line, says it, and ends.
fn with_session() -> (Coven, String, i32) {
    let coven = Coven::new();
    coven.harness_with(
        "asks",
        "echo ready; read line; echo \"got $line\"",
        serde_json::json!({ "stdin": "open" }),
    );
    coven.start_daemon();
    let id = coven.launch("asks", "x");
    coven.wait_for_output(&id, "ready");
    let pid = coven.daemon_pid();
    (coven, id, pid)
}

/// The session answers, by way of the CLI, and ends well.
fn answers(coven: &Coven, id: &str) {
    let ran = coven.cli(["input", id, "hello\n"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    coven.wait_for_output(id, "got hello");
    assert_eq!(coven.ended(id)["status"], "completed");
}

fn inode(path: &Path) -> Option<u64> {
    path.symlink_metadata().ok().map(|meta| meta.ino())
}

fn health(coven: &Coven) -> Value {
    coven.get("/api/v1/health").json()
}

/// The copies of a database beside `path`.
fn recovered(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap().to_str().unwrap();
    let prefix = format!("{name}.recovered-");
    let entries = fs::read_dir(path.parent().unwrap()).unwrap().flatten();
    let is_copy = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(&prefix) && !name.contains(".partial")
    };
    entries.map(|entry| entry.path()).filter(is_copy).collect()
}

/// The output in a database, read by the `sqlite3` tool, which also checks its integrity.
fn output_in(database: &Path) -> String {
    let run = |query: &str| {
        let ran = Command::new("sqlite3").arg(database).arg(query).output();
        Ran::of(ran.unwrap()).out
    };
    assert_eq!(run("PRAGMA integrity_check"), "ok\n");
    run("SELECT payload_json FROM events ORDER BY key")
}

#[test]
fn deleted_files_of_the_home_are_created_again_and_the_session_goes_on() {
    let (coven, id, pid) = with_session();
    for name in [
        "coven.sock",
        "daemon.lock",
        "daemon.json",
        "logs/daemon.log",
    ] {
        let path = coven.home().join(name);
        fs::remove_file(&path).unwrap();
        eventually(name, || inode(&path).is_some());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o077, 0, "{name}");
        eventually("it answers", || coven.cli(["daemon", "status"]).code == 0);
        assert_eq!(coven.daemon_pid(), pid, "{name}");
    }
    let logs = coven.home().join("logs");
    fs::remove_dir_all(&logs).unwrap();
    eventually("logs", || logs.join("daemon.log").exists());
    fs::remove_file(logs.join("daemon.log")).unwrap();
    eventually("the new logs are watched, too", || {
        logs.join("daemon.log").exists()
    });
    answers(&coven, &id);
    let stopped = coven.cli(["daemon", "stop"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert!(!coven.socket().exists());
}

#[test]
fn the_log_place_of_a_daemon_in_the_foreground_is_recorded_again() {
    let coven = Coven::new();
    let daemon = Serving::from_line(coven.spawn(["daemon", "serve"]), "contract_served");
    let place = coven.home().join("logs/place");
    let said = fs::read(&place).unwrap();
    fs::remove_file(&place).unwrap();
    eventually("the file", || {
        fs::read(&place).is_ok_and(|again| again == said)
    });
    fs::remove_dir_all(coven.home().join("logs")).unwrap();
    eventually("the directory", || {
        fs::read(&place).is_ok_and(|again| again == said)
    });
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    assert_eq!(daemon.finish().code, 0);
}

#[test]
fn renamed_and_replaced_files_of_the_home_are_created_again() {
    let (coven, id, pid) = with_session();
    for name in ["coven.sock", "daemon.lock", "logs/daemon.log"] {
        let path = coven.home().join(name);
        fs::rename(&path, path.with_extension("away")).unwrap();
        eventually(name, || path.exists());
    }
    for name in ["coven.sock", "daemon.lock"] {
        let other = coven.home().join("other");
        fs::write(&other, "").unwrap();
        fs::rename(&other, coven.home().join(name)).unwrap();
        eventually("it answers, and holds the lock", || {
            let lock = fs::File::open(coven.home().join("daemon.lock"));
            lock.is_ok_and(|lock| lock.try_lock().is_err())
                && coven.cli(["daemon", "status"]).code == 0
        });
    }
    eventually("it answers", || coven.cli(["daemon", "status"]).code == 0);
    assert_eq!(coven.daemon_pid(), pid);
    answers(&coven, &id);
}

#[test]
fn a_second_daemon_is_refused_when_the_lock_was_removed_and_harms_nobody() {
    let (coven, id, pid) = with_session();
    // Stopped, the daemon cannot have made the lock anew before the other one starts.
    stop(pid);
    fs::remove_file(coven.home().join("daemon.lock")).unwrap();
    let ran = Ran::of(coven.command(["daemon", "serve"]).output().unwrap());
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("(daemon_locked)"), "{ran:?}");
    assert!(kill(pid, libc::SIGCONT));
    eventually("it holds a lock again", || {
        let lock = fs::File::open(coven.home().join("daemon.lock"));
        lock.is_ok_and(|lock| lock.try_lock().is_err())
    });
    answers(&coven, &id);
}

#[test]
fn the_cli_has_a_daemon_that_has_not_noticed_yet_make_its_socket_anew() {
    let (coven, id, pid) = with_session();
    stop(pid);
    fs::remove_file(coven.socket()).unwrap();
    let mut sessions = coven.command(["sessions"]);
    let child = sessions.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = child.spawn().unwrap();
    eventually("SIGHUP waits for it", || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
        u64::from_str_radix(pending.unwrap().trim(), 16).unwrap() & 1 != 0
    });
    assert!(kill(pid, libc::SIGCONT));
    let ran = finish(child);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("the socket was missing"), "{ran:?}");
    answers(&coven, &id);
}

#[test]
fn no_stop_is_advised_where_the_socket_cannot_be_created_again() {
    let (coven, id, pid) = with_session();
    stop(pid);
    fs::remove_file(coven.socket()).unwrap();
    for is_known in [true, false] {
        if !is_known {
            fs::remove_file(coven.home().join("daemon.json")).unwrap();
        }
        // Both wait for the daemon, so they do at once.
        for child in [&["daemon", "status"][..], &["doctor"]].map(|args| coven.spawn(args)) {
            let ran = finish(child);
            assert_eq!(ran.code, 1, "{ran:?}");
            let said = format!("{}{}", ran.out, ran.err);
            let wanted = match is_known {
                true => format!("kill -HUP {pid}"),
                false => "fuser -v".to_owned(),
            };
            assert!(
                said.contains(&wanted) || said.contains("kill -CONT"),
                "{said}"
            );
            assert!(
                !said.contains("restart, ") && !said.contains("try: coven daemon"),
                "{said}"
            );
            assert!(!said.contains("next    coven daemon"), "{said}");
        }
    }
    assert!(kill(pid, libc::SIGCONT));
    eventually("the socket", || coven.socket().exists());
    answers(&coven, &id);
}

#[test]
fn a_database_that_is_gone_or_replaced_is_said_and_saved_with_all_that_was_shown() {
    let remove: fn(&Coven) = |coven| fs::remove_file(coven.database_file("")).unwrap();
    let remove_all: fn(&Coven) = |coven| {
        for suffix in ["", "-wal", "-shm"] {
            fs::remove_file(coven.database_file(suffix)).unwrap();
        }
    };
    let remove_log: fn(&Coven) = |coven| fs::remove_file(coven.database_file("-wal")).unwrap();
    let replace: fn(&Coven) = |coven| {
        let other = coven.work().join("other");
        let made = coven.cli(["backup", other.to_str().unwrap()]);
        assert_eq!(made.code, 0, "{made:?}");
        fs::rename(other, coven.database_file("")).unwrap();
    };
    for vanish in [remove, remove_all, remove_log, replace] {
        let (coven, id, _) = with_session();
        vanish(&coven);
        eventually("failed", || {
            health(&coven)["eventWriter"]["state"] == "failed"
        });
        let health = health(&coven);
        let reason = health["eventWriter"]["lastError"].as_str().unwrap();
        assert!(reason.contains("coven.sqlite3"), "{reason}");
        assert_eq!(health["storage"]["status"], reason);
        let body = coven.launch_body("hello", "x");
        let refused = coven.post("/api/v1/sessions", &body);
        assert_eq!(refused.error(), (503, "store_unavailable".into()));
        let status = coven.cli(["daemon", "status"]);
        assert!(status.out.contains("failed: "), "{status:?}");
        let copy = coven.work().join("copy");
        let backup = coven.cli(["backup", copy.to_str().unwrap()]);
        assert_eq!(
            backup.code, 1,
            "another database is not backed up: {backup:?}"
        );
        eventually("saved at once", || {
            recovered(&coven.database_file("")).len() == 1
        });
        // What comes after the copy is in the next.
        answers(&coven, &id);
        let stopped = coven.cli(["daemon", "stop"]);
        assert_eq!(stopped.code, 0, "{stopped:?}");
        let copies = recovered(&coven.database_file(""));
        let [copy] = &copies[..] else {
            panic!("{copies:?}")
        };
        assert!(stopped.out.contains(copy.to_str().unwrap()), "{stopped:?}");
        assert_eq!(fs::metadata(copy).unwrap().mode() & 0o777, 0o600);
        let output = output_in(copy);
        for shown in ["ready", "got hello", "\"completed\""] {
            assert!(output.contains(shown), "{shown}: {output}");
        }
    }
}

#[test]
fn every_event_that_was_shown_before_and_after_the_database_went_is_in_the_copy() {
    let coven = Coven::new();
    let script = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo \"line $i\"; done; echo half; read line; \
        while [ $i -lt 6000 ]; do i=$((i+1)); echo \"line $i\"; done";
    coven.harness_with("floods", script, serde_json::json!({ "stdin": "open" }));
    coven.start_daemon();
    let id = coven.launch("floods", "x");
    coven.wait_for_output(&id, "half");
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(coven.database_file(suffix)).unwrap();
    }
    eventually("failed", || {
        health(&coven)["eventWriter"]["state"] == "failed"
    });
    let input = coven.cli(["input", &id, "on\n"]);
    assert_eq!(input.code, 0, "{input:?}");
    let shown = coven.events_to_end(&id);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let copy = recovered(&coven.database_file("")).remove(0);
    fs::rename(copy, coven.database_file("")).unwrap();
    coven.start_daemon();
    assert_eq!(coven.events_to_end(&id), shown);
    let lines = String::from_utf8(output(&shown, "stdout")).unwrap();
    assert_eq!(
        lines
            .lines()
            .filter(|line| line.starts_with("line "))
            .count(),
        6000
    );
}

#[test]
fn a_copy_that_is_put_in_the_databases_place_is_not_harmed_when_the_daemon_then_dies() {
    let (coven, id, _) = with_session();
    let other = coven.home().join("restored");
    let made = coven.cli(["backup", other.to_str().unwrap()]);
    assert_eq!(made.code, 0, "{made:?}");
    for _ in 0..3 {
        coven.ended(&coven.launch("hello", "later"));
    }
    fs::rename(&other, coven.database_file("")).unwrap();
    eventually("failed", || {
        health(&coven)["eventWriter"]["state"] == "failed"
    });
    eventually("saved", || recovered(&coven.database_file("")).len() == 1);
    coven.crash();
    let restored = output_in(&coven.database_file(""));
    assert!(
        restored.contains("ready") && !restored.contains("later"),
        "{restored}"
    );
    let copy = recovered(&coven.database_file("")).remove(0);
    assert!(output_in(&copy).contains("later"));
    coven.start_daemon();
    assert_eq!(coven.ended(&id)["status"], "orphaned");
}

#[test]
fn a_database_that_is_put_back_is_used_again() {
    let (coven, id, _) = with_session();
    let (file, away) = (coven.database_file(""), coven.home().join("away"));
    fs::rename(&file, &away).unwrap();
    let state = || health(&coven)["eventWriter"]["state"].clone();
    eventually("failed", || state() == "failed");
    fs::rename(&away, &file).unwrap();
    eventually("healthy", || state() == "healthy");
    answers(&coven, &id);
    let stopped = coven.cli(["daemon", "stop"]);
    assert_eq!(stopped.out.lines().count(), 1, "{stopped:?}");
    assert!(!stopped.out.contains("saved"), "{stopped:?}");
    assert!(output_in(&file).contains("got hello"));
}

#[test]
fn a_stop_that_leaves_the_data_nowhere_fails() {
    let coven = Coven::new();
    let child = coven.spawn(["daemon", "serve"]);
    eventually("it serves", || coven.home().join("daemon.json").exists());
    coven.ended(&coven.launch("hello", "x"));
    // A file by the name of the one that the copy is written in cannot be removed: it is a directory.
    fs::remove_file(coven.database_file("")).unwrap();
    eventually("saved", || recovered(&coven.database_file("")).len() == 1);
    let copy = recovered(&coven.database_file("")).remove(0);
    fs::create_dir(copy.with_added_extension("partial")).unwrap();
    let stopped = coven.cli(["daemon", "stop"]);
    assert_eq!(stopped.code, 1, "{stopped:?}");
    assert!(stopped.err.contains("could not be saved"), "{stopped:?}");
    let ran = finish(child);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("could not be saved"), "{ran:?}");
}

#[test]
fn a_home_that_is_moved_is_followed() {
    let (coven, id, pid) = with_session();
    let moved = coven.work().join("moved");
    fs::rename(coven.home(), &moved).unwrap();
    // Another home in its place is another's.
    fs::create_dir(coven.home()).unwrap();
    fs::set_permissions(coven.home(), fs::Permissions::from_mode(0o700)).unwrap();
    let there = |args: &[&str]| {
        let mut command = coven.command(args);
        Ran::of(command.env("COVEN_HOME", &moved).output().unwrap())
    };
    let socket = moved.join("coven.sock");
    eventually("health shows the path", || {
        let status = there(&["daemon", "status", "--json"]);
        status.code == 0 && status.json()["socket"] == socket.to_str().unwrap()
    });
    let log = fs::read_to_string(moved.join("logs/daemon.log")).unwrap();
    assert!(log.contains("event=home_moved"), "{log}");
    let input = there(&["input", &id, "hello\n"]);
    assert_eq!(input.code, 0, "{input:?}");
    let waited = there(&["wait", &id]);
    assert_eq!(waited.code, 0, "{waited:?}");
    let run = there(&["run", "hello", "again"]);
    assert_eq!(run.code, 0, "{run:?}");
    for (what, args) in [("vacuum", &["vacuum"][..]), ("prune", &["logs", "prune"])] {
        let ran = there(args);
        assert_eq!(ran.code, 0, "{what}: {ran:?}");
    }
    let backup = coven.work().join("backup");
    let made = there(&["backup", backup.to_str().unwrap()]);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(output_in(&backup).contains("got hello"));
    fs::remove_file(&socket).unwrap();
    eventually("the socket is made anew there", || socket.exists());
    assert!(!coven.socket().exists());
    let other = coven.cli(["run", "hello", "other"]);
    assert_eq!(other.code, 0, "{other:?}");
    assert_ne!(coven.daemon_pid(), pid);
    let stopped = there(&["daemon", "stop"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    wait_until_gone(pid);
    assert!(output_in(&moved.join("coven.sqlite3")).contains("got hello"));
    assert!(recovered(&moved.join("coven.sqlite3")).is_empty());
    assert_ne!(coven.daemon_pid(), pid, "the other one goes on");
}

#[test]
fn a_home_whose_parent_is_moved_is_followed_with_the_next_launch() {
    let coven = Coven::new();
    let (before, after) = (coven.work().join("before"), coven.work().join("after"));
    fs::create_dir(&before).unwrap();
    let at = |parent: &Path, args: &[&str]| {
        let mut command = coven.command(args);
        Ran::of(
            command
                .env("COVEN_HOME", parent.join("home"))
                .output()
                .unwrap(),
        )
    };
    let ran = at(&before, &["run", "hello", "x"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let pid = at(&before, &["daemon", "status", "--json"]).json()["pid"].clone();
    fs::rename(&before, &after).unwrap();
    let ran = at(&after, &["run", "hello", "x"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let status = at(&after, &["daemon", "status", "--json"]).json();
    assert_eq!(status["pid"], pid);
    let socket = after.join("home/coven.sock");
    assert_eq!(status["socket"], socket.to_str().unwrap());
    let stopped = at(&after, &["daemon", "stop"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
}

#[test]
fn a_home_that_is_deleted_ends_the_daemon_which_saves_the_database_beside_it() {
    let deletions: [fn(&Path); 2] = [
        |home| fs::remove_dir_all(home).unwrap(),
        |home| {
            fs::remove_dir_all(home).unwrap();
            fs::create_dir(home).unwrap();
        },
    ];
    for delete in deletions {
        let coven = Coven::new();
        coven.harness("waits", "echo ready; exec sleep 1000");
        let child = coven.spawn(["daemon", "serve"]);
        let pid = child.id() as i32;
        eventually("it serves", || coven.home().join("daemon.json").exists());
        let id = coven.launch("waits", "x");
        coven.wait_for_output(&id, "ready");
        delete(&coven.home());
        let ran = finish(child);
        assert_eq!(ran.code, 1, "{ran:?}");
        let copies = recovered(&coven.home());
        let [dir] = &copies[..] else {
            panic!("{copies:?}")
        };
        assert!(ran.err.contains(dir.to_str().unwrap()), "{ran:?}");
        assert!(ran.err.contains("(home_deleted)"), "{ran:?}");
        assert_eq!(fs::metadata(dir).unwrap().mode() & 0o777, 0o700);
        let output = output_in(&dir.join("coven.sqlite3"));
        assert!(
            output.contains("ready") && output.contains("\"killed\""),
            "{output}"
        );
        assert!(coven.session_processes(&id).is_empty());
        wait_until_gone(pid);
    }
}

#[test]
fn a_home_that_is_removed_file_by_file_stays_removed() {
    for command in ["rm -rf \"$COVEN_HOME\"", "find \"$COVEN_HOME\" -delete"] {
        let (coven, _, pid) = with_session();
        // What takes a while to delete, as in a directory of manifests that is a checkout.
        let many = coven.home().join("adapters/many");
        fs::create_dir(&many).unwrap();
        (0..3000).for_each(|n| fs::write(many.join(n.to_string()), "").unwrap());
        let removed = coven.shell(command);
        assert_eq!(removed.code, 0, "{removed:?}");
        wait_until_gone(pid);
        assert!(!coven.home().exists());
        assert_eq!(recovered(&coven.home()).len(), 1);
    }
}

#[test]
fn a_home_that_is_emptied_loses_no_session_and_no_output() {
    let cleaners = [
        "git init -q \"$COVEN_HOME\" && git -C \"$COVEN_HOME\" clean -fdxq",
        "find \"$COVEN_HOME\" -mindepth 1 -delete",
    ];
    for clean in cleaners {
        let (coven, id, pid) = with_session();
        let cleaned = coven.shell(clean);
        assert_eq!(cleaned.code, 0, "{cleaned:?}");
        eventually("it answers", || coven.socket().exists());
        eventually("failed", || {
            health(&coven)["eventWriter"]["state"] == "failed"
        });
        assert_eq!(coven.daemon_pid(), pid);
        answers(&coven, &id);
        let stopped = coven.cli(["daemon", "stop"]);
        assert_eq!(stopped.code, 0, "{stopped:?}");
        let copies = recovered(&coven.database_file(""));
        assert!(output_in(&copies[0]).contains("got hello"));
    }
}

#[test]
fn a_home_that_is_deleted_with_its_parent_has_its_database_saved_in_the_temporary_directory() {
    let coven = Coven::new();
    let (parent, temporary) = (coven.work().join("p"), coven.work().join("t"));
    fs::create_dir(&parent).unwrap();
    fs::create_dir(&temporary).unwrap();
    let home = parent.join("home");
    // As systemd starts it: it names the process that it means.
    let mut command = coven.command_after("export SYSTEMD_EXEC_PID=$$", &["daemon", "serve"]);
    let child = command
        .env("COVEN_HOME", &home)
        .env("TMPDIR", &temporary)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("it serves", || home.join("daemon.json").exists());
    let mut run = coven.command(["run", "hello", "kept"]);
    let ran = Ran::of(run.env("COVEN_HOME", &home).output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    fs::remove_dir_all(&parent).unwrap();
    let ran = finish(child);
    assert_eq!(ran.code, 66, "systemd is not to start it again: {ran:?}");
    let copies = recovered(&temporary.join("home"));
    let [dir] = &copies[..] else {
        panic!("{copies:?}")
    };
    assert!(ran.err.contains(dir.to_str().unwrap()), "{ran:?}");
    assert!(output_in(&dir.join("coven.sqlite3")).contains("kept"));
}

#[test]
fn a_client_that_follows_a_session_does_not_notice_that_the_socket_is_made_anew() {
    let (coven, id, _) = with_session();
    let mut attached = coven.spawn(["attach", &id]);
    read_until(attached.stdout.as_mut().unwrap(), "ready\n");
    fs::remove_file(coven.socket()).unwrap();
    eventually("the socket", || coven.socket().exists());
    let input = coven.cli(["input", &id, "hello\n"]);
    assert_eq!(input.code, 0, "{input:?}");
    let ran = finish(attached);
    assert_eq!((ran.code, ran.out.as_str()), (0, "got hello\n"), "{ran:?}");
}

#[test]
fn no_connection_is_refused_or_lost_while_the_socket_is_made_anew() {
    let coven = Coven::start();
    let pid = coven.daemon_pid();
    // Before the old one goes: what waits in its queue is served, too.
    let mut streams: Vec<UnixStream> = (0..20)
        .map(|_| UnixStream::connect(coven.socket()).unwrap())
        .collect();
    stop(pid);
    streams.extend((0..20).map(|_| UnixStream::connect(coven.socket()).unwrap()));
    fs::remove_file(coven.socket()).unwrap();
    assert!(kill(pid, libc::SIGCONT));
    eventually("the socket", || coven.socket().exists());
    for stream in &mut streams {
        let request = b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
    }
}
