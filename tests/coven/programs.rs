//! Which program an upgrade in place takes, and what it keeps for a way back.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::support::*;

/// `coven daemon upgrade` with these arguments, which succeeds.
fn upgraded(coven: &Coven, args: &[&str]) -> String {
    let ran = coven.cli([&["daemon", "upgrade"], args].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.out
}

/// The reason and the message of a refused upgrade; the daemon is as it was.
fn refused(coven: &Coven, binary: &Path) -> (String, String) {
    let before = coven.get("/api/v1/health").json();
    let answer = coven.upgrade_to(binary);
    assert_eq!(answer.status, 409, "{answer:?}");
    let error = answer.json()["error"].clone();
    assert_eq!(error["code"], "upgrade_refused");
    let after = coven.get("/api/v1/health").json();
    for field in ["pid", "startedAt", "upgradedAt"] {
        assert_eq!(before["daemon"][field], after["daemon"][field], "{field}");
    }
    assert_eq!(before["covenVersion"], after["covenVersion"]);
    let text = |name: &str| error["details"][name].as_str().unwrap().to_owned();
    (text("reason"), text("message"))
}

#[test]
fn an_upgrade_says_what_it_did_and_leads_back() {
    let coven = Coven::start();
    coven.harness_with("waits", "read line; exit 3", json!({ "stdin": "open" }));
    let id = coven.launch("waits", "x");
    let own = env!("CARGO_PKG_VERSION");
    let new = coven.program_of_version("9.9.9");
    let new = new.to_str().unwrap();
    let nowhere = coven.cli(["daemon", "upgrade", "--back"]);
    assert_eq!(nowhere.code, 1, "{nowhere:?}");
    assert!(nowhere.err.contains("no upgrade has left a program in"));

    let checked = upgraded(&coven, &["--binary", new, "--check"]);
    assert!(
        checked.starts_with(&format!("9.9.9 can take over from {own} (pid ")),
        "{checked}"
    );
    assert!(checked.ends_with("with 1 live session; nothing was changed\n"));
    assert!(!coven.home().join("coven.previous").exists());

    let said = upgraded(&coven, &["--binary", new]);
    assert!(
        said.starts_with(&format!("upgraded from {own} to 9.9.9 (pid ")),
        "{said}"
    );
    assert!(said.contains("1 live session went on"), "{said}");
    let back: serde_json::Value =
        serde_json::from_str(&upgraded(&coven, &["--back", "--json"])).unwrap();
    assert_eq!((&back["from"], &back["to"]), (&json!("9.9.9"), &json!(own)));
    // A way back does not change which program is the installed one.
    let again = upgraded(&coven, &[]);
    assert!(again.contains(&format!("from {own} to 9.9.9")), "{again}");
    coven.post(
        &format!("/api/v1/sessions/{id}/input"),
        &json!({ "data": "\n" }),
    );
    assert_eq!(coven.ended(&id)["exit_code"], 3);
}

#[test]
fn a_file_that_is_no_program_of_the_owners_is_refused_before_anything_happens() {
    let coven = Coven::start();
    let file = |name: &str, text: &str, mode: u32| {
        let path = coven.bin().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    };
    let shared = coven.program_of_version("9.9.9");
    let writable = coven.bin().join("writable");
    fs::copy(&shared, &writable).unwrap();
    fs::set_permissions(&writable, Permissions::from_mode(0o775)).unwrap();
    let fifo = coven.bin().join("fifo");
    tool(std::process::Command::new("mkfifo").arg(&fifo));
    for (path, why) in [
        (coven.bin().join("absent"), "No such file"),
        (coven.bin().to_owned(), "no regular file"),
        (fifo, "no regular file"),
        (file("text", "no program", 0o755), "does not start"),
        (file("quiet", "#!/bin/sh\n", 0o755), "no coven"),
        (file("exits", "#!/bin/sh\nexit 7\n", 0o755), "no coven"),
        (file("closed", "", 0o644), "not executable"),
        (writable, "chmod go-w"),
        ("/bin/true".into(), "no coven"),
    ] {
        let (reason, message) = refused(&coven, &path);
        assert_eq!(reason, "binary_unusable", "{}", path.display());
        assert!(message.contains(why), "{}: {message}", path.display());
    }
    let relative = coven.post("/api/v1/daemon/upgrade", &json!({ "binary": "coven" }));
    assert_eq!(relative.status, 400, "{relative:?}");
    let ran = coven.cli(["daemon", "upgrade", "--binary", "/bin/true"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("(upgrade_refused)"), "{ran:?}");
}

#[test]
fn a_migration_that_only_adds_is_made_under_the_sessions_behind_a_copy() {
    let coven = Coven::start();
    coven.harness_with("waits", "read line; echo $line", json!({ "stdin": "open" }));
    let id = coven.launch("waits", "x");
    let schema = || -> i64 {
        let database = coven.database();
        database
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap()
    };
    let own = schema();
    let copy = coven
        .home()
        .join(format!("coven.sqlite3.before-{}", own + 1));
    let new = coven.program_of_version("9.9.9");
    tell(&new, "schema", "short");

    // The new program migrates, and fails: the old one goes on with the database as it is.
    tell(&new, "fails", "take_up abort");
    let failed = coven.upgrade_to(&new);
    assert_eq!(failed.status, 500, "{failed:?}");
    assert_eq!((schema(), copy.exists()), (own + 1, true));
    assert_eq!(coven.get("/api/v1/health").json()["sessions"]["live"], 1);
    let mut told = new.clone().into_os_string();
    told.push(".fails");
    fs::remove_file(told).unwrap();

    assert_eq!(coven.upgrade_to(&new).status, 200);
    let found = rusqlite::Connection::open(&copy).unwrap();
    let found: i64 = found
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(found, own);
    upgraded(&coven, &["--back"]);
    coven.post(
        &format!("/api/v1/sessions/{id}/input"),
        &json!({ "data": "on\n" }),
    );
    assert_eq!(coven.ended(&id)["status"], "completed");
    assert_eq!(output(&coven.events(&id), "stdout"), b"on\n");
}

#[test]
fn a_migration_that_reads_rows_needs_a_restart_and_is_refused_beforehand() {
    let coven = Coven::start();
    let new = coven.program_of_version("9.9.9");
    tell(&new, "schema", "long");
    let (reason, message) = refused(&coven, &new);
    assert_eq!(reason, "migration_needs_restart");
    assert!(message.contains("restart"), "{message}");
    let ran = coven.cli([
        "daemon",
        "upgrade",
        "--check",
        "--binary",
        new.to_str().unwrap(),
    ]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err
            .contains("try: coven daemon restart (ends live sessions)"),
        "{ran:?}"
    );
    // A program that knows only older schemas.
    coven.set_schema(99);
    let old = coven.program_of_version("0.0.1");
    assert_eq!(refused(&coven, &old).0, "newer_schema");
    coven.set_schema(11);
}

#[test]
fn an_upgrade_without_room_is_refused_beforehand_and_takes_none_from_the_sessions() {
    let coven = Coven::new();
    let next = coven.program_of_version("9.9.9");
    // The running program's copy, and as much again.
    let needed = (fs::metadata(&next).unwrap().len() >> 19) as usize;
    let Some(disk) = SmallDisk::under(&coven, needed - 8) else {
        return;
    };
    coven.start_daemon();
    let (reason, message) = refused(&coven, &next);
    assert_eq!(reason, "store_unavailable");
    assert!(message.contains("as many must stay free"), "{message}");
    let checked = coven.cli(["daemon", "upgrade", "--check"]);
    assert_eq!(checked.code, 1, "{checked:?}");
    assert!(!coven.home().join("coven.previous.new").exists());
    disk.resize(needed + 64);
    upgraded(&coven, &["--binary", next.to_str().unwrap()]);
    assert!(coven.home().join("coven.previous").exists());
}
