//! Access and trust: other users, files with open modes, links, escape sequences,
//! and what a harness can learn about the daemon.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::*;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        match entry.path().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

/// Runs `act` as `nobody`: on Linux the system calls themselves change one thread only (nptl(7)). `None`, having said
/// so, where this process is not root.
fn as_nobody<T: Send>(act: impl FnOnce() -> T + Send) -> Option<T> {
    const NOBODY: libc::uid_t = 65_534;
    if !is_root() {
        println!("skipped: only root can be nobody");
        return None;
    }
    let become_nobody = || {
        // SAFETY: the calls take integers, and no group at all.
        unsafe {
            assert_eq!(
                libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()),
                0
            );
            assert_eq!(
                libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY),
                0
            );
            assert_eq!(
                libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY),
                0
            );
        }
        act()
    };
    std::thread::scope(|scope| Some(scope.spawn(become_nobody).join().unwrap()))
}

#[test]
fn another_user_can_neither_connect_nor_read_anything() {
    let coven = Coven::start();
    coven.run("hello", "x");
    let files = files(&coven.home());
    assert!(files.len() >= 5, "{files:?}");
    let denied = |err: Option<std::io::Error>| {
        err.is_some_and(|err| err.kind() == std::io::ErrorKind::PermissionDenied)
    };
    let Some(()) = as_nobody(|| {
        assert!(denied(UnixStream::connect(coven.socket()).err()));
        assert!(denied(fs::read_dir(coven.home()).err()));
        for file in &files {
            assert!(denied(File::open(file).err()), "{}", file.display());
        }
    }) else {
        return;
    };
    // Whoever gets to the socket all the same gets no answer.
    set_mode(&coven.home(), 0o711);
    set_mode(&coven.socket(), 0o666);
    as_nobody(|| {
        let mut stream = UnixStream::connect(coven.socket()).unwrap();
        let _ = stream.write_all(b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        assert_eq!(said, b"");
        // Nor do the files need the home's mode.
        for file in files.iter().filter(|file| !file.ends_with("coven.sock")) {
            assert!(denied(File::open(file).err()), "{}", file.display());
        }
    });
    assert_eq!(coven.get("/api/v1/health").status, 200);
}

#[test]
fn to_another_user_no_daemon_is_said_to_be_stopped_that_they_cannot_see() {
    let coven = Coven::start();
    // The home's own mode, and one that lets others get as far as the socket.
    for mode in [0o700, 0o711] {
        set_mode(&coven.home(), mode);
        let Some((status, json, stop)) = as_nobody(|| {
            (
                coven.cli(["daemon", "status"]),
                coven.cli(["daemon", "status", "--json"]),
                coven.cli(["daemon", "stop"]),
            )
        }) else {
            return;
        };
        assert_eq!(status.code, 1, "{status:?}");
        assert!(status.out.starts_with("state   unknown\n"), "{status:?}");
        assert!(status.out.contains("Permission denied"), "{status:?}");
        assert!(json.out.contains(r#""state": "unknown""#), "{json:?}");
        assert_eq!(stop.code, 1, "{stop:?}");
        assert!(stop.err.contains("Permission denied"), "{stop:?}");
    }
    set_mode(&coven.home(), 0o700);
    assert_eq!(coven.get("/api/v1/health").status, 200);
}

#[test]
fn files_that_were_open_before_are_closed_at_start() {
    let coven = Coven::start();
    coven.run("hello", "x");
    coven.crash();
    let home = coven.home();
    for name in [
        "coven.sqlite3",
        "coven.sqlite3-wal",
        "coven.sqlite3-generation",
        "daemon.json",
        "daemon.lock",
        "logs/daemon.log",
    ] {
        set_mode(&home.join(name), 0o666);
    }
    set_mode(&home.join("logs"), 0o755);
    set_mode(&home.join("adapters"), 0o775);
    coven.start_daemon();
    for file in files(&home) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    for dir in ["logs", "adapters"] {
        assert_eq!(mode(&home.join(dir)), 0o700, "{dir}");
    }
}

#[test]
fn links_in_the_place_of_the_daemons_files_are_refused() {
    for name in [
        "logs",
        "adapters",
        "coven.sqlite3",
        "daemon.lock",
        "daemon.json",
        "logs/daemon.log",
    ] {
        let coven = Coven::start();
        coven.run("hello", "x");
        assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
        let (path, elsewhere) = (coven.home().join(name), coven.work().join("elsewhere"));
        if path.exists() {
            fs::rename(&path, &elsewhere).unwrap();
        }
        symlink(&elsewhere, &path).unwrap();
        for verb in ["start", "serve"] {
            let ran = coven.cli(["daemon", verb]);
            assert_eq!(ran.code, 1, "{name}: {ran:?}");
            assert!(
                ran.err
                    .contains("is a symbolic link (home_refused)\n  try: "),
                "{ran:?}"
            );
        }
    }
}

#[test]
fn files_of_another_user_are_refused_with_the_chown_that_mends_it() {
    if !is_root() {
        println!("skipped: only root can give files away");
        return;
    }
    let coven = Coven::start();
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let database = coven.home().join("coven.sqlite3");
    std::os::unix::fs::chown(&database, Some(65_534), None).unwrap();
    let ran = coven.cli(["daemon", "start"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.err.contains("belongs to another user (uid 65534"),
        "{ran:?}"
    );
    assert!(ran.err.contains("try: chown 0 "), "{ran:?}");
}

#[test]
fn a_directory_of_manifests_that_others_can_write_is_refused() {
    let dirs = |coven: &Coven| coven.work().join("manifests");
    let coven = Coven::new();
    let dir = dirs(&coven);
    let coven = coven.env("COVEN_HARNESS_ADAPTER_DIRS", dir.display().to_string());
    fs::create_dir(&dir).unwrap();
    let manifest = json!({ "adapters": [{ "id": "theirs", "executable": "true" }] });
    fs::write(dir.join("theirs.json"), manifest.to_string()).unwrap();
    set_mode(&dir.join("theirs.json"), 0o600);
    set_mode(&dir, 0o777);
    coven.start_daemon();
    let known = || {
        coven
            .get("/api/v1/capabilities")
            .text()
            .contains("\"theirs\"")
    };
    assert!(!known());
    let refused = coven.cli(["adapters"]);
    assert!(
        refused
            .out
            .contains(&format!("chmod go-w {}", dir.display()))
            || refused.err.contains("chmod go-w"),
        "{refused:?}"
    );
    set_mode(&dir, 0o755);
    coven.post(
        "/api/v1/actions",
        &json!({ "action": "coven.capabilities.refresh" }),
    );
    assert!(known());
}

#[test]
fn a_harness_is_told_nothing_that_a_service_manager_tells_the_daemon() {
    let mut coven = Coven::new();
    let names = [
        "NOTIFY_SOCKET",
        "LISTEN_FDNAMES",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "SYSTEMD_EXEC_PID",
        "MAINPID",
        "MANAGERPID",
        "CREDENTIALS_DIRECTORY",
        "MEMORY_PRESSURE_WATCH",
    ];
    for name in names {
        coven = coven.env(name, "/nowhere");
    }
    // Those that a daemon acts on, set to what is no business of this one.
    for name in ["LISTEN_FDS", "LISTEN_PID", "WATCHDOG_PID", "WATCHDOG_USEC"] {
        coven = coven.env(name, "1");
    }
    coven = coven.env("LC_KEPT", "yes");
    coven.start_daemon();
    coven.harness("shows", "exec env");
    let id = coven.launch("shows", "x");
    let out = String::from_utf8(output(&coven.events_to_end(&id), "stdout")).unwrap();
    assert!(out.contains("LC_KEPT=yes\n"), "{out}");
    for name in names
        .iter()
        .chain(&["LISTEN_FDS", "LISTEN_PID", "WATCHDOG_PID", "WATCHDOG_USEC"])
    {
        assert!(!out.contains(&format!("{name}=")), "{name}: {out}");
    }
}

#[test]
fn a_prompt_can_go_to_stdin_where_no_other_user_sees_it() {
    let coven = Coven::start();
    coven.harness_with(
        "reader",
        "echo $# arguments; tr '\\0' ' ' </proc/$$/cmdline; echo; echo read: $(wc -c)",
        json!({ "prompt": "stdin" }),
    );
    let id = coven.launch("reader", "a secret plan");
    let out = String::from_utf8(output(&coven.events_to_end(&id), "stdout")).unwrap();
    assert!(out.starts_with("0 arguments\n"), "{out}");
    assert!(!out.contains("secret"), "{out}");
    assert!(out.ends_with("read: 13\n"), "{out}");
    assert_eq!(coven.input(&id, "x").status, 409);
    assert_eq!(
        milestones(&coven.events(&id)),
        [
            "status:created",
            "prompt",
            "status:running",
            "exit",
            "status:completed"
        ]
    );
    // Longer than an argument can be.
    let long = "y".repeat(900_000);
    let id = coven.launch("reader", &long);
    let out = String::from_utf8(output(&coven.events_to_end(&id), "stdout")).unwrap();
    assert!(out.ends_with("read: 900000\n"), "{out}");
    // A harness that does not read it is none the worse.
    coven.harness_with("deaf", "exec sleep 1000", json!({ "prompt": "stdin" }));
    let id = coven.launch("deaf", &long);
    assert_eq!(
        coven.input(&id, "x").error(),
        (422, "input_not_accepted".into())
    );
    assert_eq!(coven.kill_session(&id).status, 202);
    // Where input can follow, the prompt is a line of its own.
    coven.harness_with(
        "open",
        "read a; read b; echo $a-$b",
        json!({ "prompt": "stdin", "stdin": "open" }),
    );
    let id = coven.launch("open", "one");
    assert_eq!(coven.input(&id, "two\n").status, 202);
    let out = output(&coven.events_to_end(&id), "stdout");
    assert_eq!(out, b"one-two\n");
}

#[test]
fn no_prompt_title_or_harness_id_can_forge_what_a_terminal_shows() {
    let coven = Coven::start();
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\n2026-01-01T00:00:00.000Z INFO event=forged\u{202e}\u{9b}31m";
    coven.harness_with("says", "printf %s \"$4\"", json!({ "model_flag": "-m" }));
    let launched = coven.try_launch(
        "says",
        evil,
        json!({ "title": evil, "labels": [evil], "model": evil }),
    );
    let id = launched.id();
    coven.ended(&id);
    coven.try_launch(evil, "x", json!({}));
    coven.register(&external_id(1), json!({ "harness": evil, "title": evil }));
    let (short, external) = (id.clone(), external_id(1));
    let verbs: [&[&str]; 8] = [
        &["sessions"],
        &["show", &short],
        &["show", &external],
        &["events", &short],
        &["log", &short],
        &["logs"],
        &["sessions", "--json"],
        &["logs", "--json"],
    ];
    for verb in verbs {
        let ran = coven.cli(verb);
        assert_eq!(ran.code, 0, "{verb:?}: {ran:?}");
        let is_forging = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        let raw = ran
            .out
            .chars()
            .chain(ran.err.chars())
            .find(|c| is_forging(*c));
        assert_eq!(raw, None, "{verb:?}: {ran:?}");
        assert!(
            !ran.out.lines().any(|line| line.starts_with("2026-01-01")),
            "{ran:?}"
        );
    }
    let log = fs::read_to_string(coven.home().join("logs/daemon.log")).unwrap();
    assert!(
        !log.lines().any(|line| line.starts_with("2026-01-01")),
        "{log}"
    );
}

#[test]
fn a_git_directory_of_another_user_makes_no_project_root() {
    if !is_root() {
        return println!("skipped: only root can give a directory away");
    }
    let coven = Coven::start();
    let work = coven.work();
    let give_away = |path: &Path| std::os::unix::fs::lchown(path, Some(12_345), None).unwrap();
    fs::create_dir_all(work.join("shared/mine/deep")).unwrap();
    // A directory, a file and a link, as git makes them.
    let git = work.join("shared/.git");
    for kind in ["directory", "file", "link"] {
        match kind {
            "directory" => fs::create_dir(&git).unwrap(),
            "file" => fs::write(&git, "gitdir: x").unwrap(),
            _ => symlink("/", &git).unwrap(),
        }
        give_away(&git);
        let ran = coven.cli(["run", "--cwd", "shared/mine/deep", "--json", "hello", "x"]);
        let said = format!("{} belongs to another user (uid 12345)", git.display());
        assert!(ran.err.contains(&said), "{kind}: {ran:?}");
        let newest = &coven.sessions()[0];
        let deep = work.join("shared/mine/deep");
        assert_eq!(newest["project_root"], deep.to_str().unwrap(), "{kind}");
        // One's own further up counts, and nothing is said.
        fs::create_dir(work.join(".git")).unwrap();
        let ran = coven.cli(["run", "--cwd", "shared/mine/deep", "hello", "x"]);
        assert_eq!(ran.err, "", "{kind}");
        assert_eq!(coven.sessions()[0]["project_root"], work.to_str().unwrap());
        fs::remove_dir(work.join(".git")).unwrap();
        if fs::remove_dir(&git).is_err() {
            fs::remove_file(&git).unwrap();
        }
    }
}

/// The uid of a user that the test makes a home for.
const USER: u32 = 12_345;

/// Verbs that start a daemon.
const STARTS: [&[&str]; 4] = [
    &["run", "hello", "x"],
    &["run", "--detach", "hello", "x"],
    &["daemon", "start"],
    &["daemon", "serve"],
];

/// An empty directory of [`USER`]'s; `None` if this test cannot make one.
fn users_directory(coven: &Coven) -> Option<PathBuf> {
    use std::os::unix::fs::chown;
    if !is_root() {
        println!("skipped: only root can come to another user's home");
        return None;
    }
    let user = coven.work().join("user");
    fs::create_dir(&user).unwrap();
    chown(&user, Some(USER), Some(USER)).unwrap();
    Some(user)
}

/// Runs coven as root with the user's `HOME`, as su and sudo keep it, and with `home` as coven's.
fn as_root(coven: &Coven, args: &[&str], user: &Path, home: &Path) -> Ran {
    let mut command = coven.command(args);
    command.env("HOME", user).env_remove("COVEN_HOME");
    if home != user {
        command.env("COVEN_HOME", home);
    }
    Ran::of(command.output().unwrap())
}

/// Runs a copy of coven, which the user can get to, as the user.
fn as_user(coven: &Coven, args: &[&str], user: &Path) -> Ran {
    use std::os::unix::process::CommandExt;
    let mut command = std::process::Command::new(coven.work().join("coven"));
    command
        .args(args)
        .env_clear()
        .env("HOME", user)
        .env("PATH", "/usr/bin:/bin");
    command.uid(USER).gid(USER).current_dir(user);
    Ran::of(command.output().unwrap())
}

#[test]
fn root_starts_no_daemon_in_a_users_directory() {
    let coven = Coven::new();
    let Some(user) = users_directory(&coven) else {
        return;
    };
    // By the user's HOME; then by name, also where more is missing than the home itself.
    for home in [user.clone(), user.join(".coven"), user.join("a/b")] {
        for args in STARTS {
            let refused = as_root(&coven, args, &user, &home);
            assert_eq!(refused.code, exit_of(args, 1), "{args:?}: {refused:?}");
            for part in [
                "uid 12345",
                "sudo -u '#12345' coven",
                "COVEN_HOME",
                "(home_refused)",
            ] {
                assert!(refused.err.contains(part), "{part}: {refused:?}");
            }
        }
        let left = fs::read_dir(&user).unwrap().count();
        assert_eq!(left, 0, "{}", home.display());
    }
}

#[test]
fn root_in_a_users_home_starts_nothing_and_leaves_nothing_of_its_own() {
    use std::os::unix::fs::MetadataExt;
    let coven = Coven::new();
    let Some(user) = users_directory(&coven) else {
        return;
    };
    assert_eq!(coven.shell("cp \"$0\" coven").code, 0);
    let ran = as_user(&coven, &["run", "hello", "the user's own"], &user);
    assert_eq!(ran.code, 0, "{ran:?}");
    let home = user.join(".coven");
    let seen = as_root(&coven, &["sessions"], &user, &home);
    assert!(seen.out.contains("the user's own"), "{seen:?}");
    assert_eq!(as_root(&coven, &["show", "0000"], &user, &home).code, 1);
    let locked = coven.work().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o700)).unwrap();
    let locked = locked.to_str().unwrap();
    let ran = as_user(&coven, &["run", "--root", locked, "hello", "x"], &user);
    let said =
        format!("{locked} cannot be entered by the daemon's user (uid 12345): Permission denied");
    assert!(ran.err.contains(&said), "{ran:?}");
    assert_eq!(as_user(&coven, &["daemon", "stop"], &user).code, 0);
    for args in STARTS {
        let refused = as_root(&coven, args, &user, &home);
        let is_told = refused.err.contains("sudo -u '#12345' coven");
        assert!(is_told, "{args:?}: {refused:?}");
    }
    for args in [
        &["vacuum"][..],
        &["logs", "prune"],
        &["backup", "copy"],
        &["kill", "0000"],
        &["logs"],
        &["doctor"],
        &["diagnostics"],
        &["daemon", "stop"],
    ] {
        as_root(&coven, args, &user, &home);
    }
    for file in files(&user) {
        let owner = file.symlink_metadata().unwrap().uid();
        assert_eq!(owner, USER, "{}", file.display());
    }
    let ran = as_user(&coven, &["run", "hello", "again"], &user);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(as_user(&coven, &["daemon", "stop"], &user).code, 0);
}

#[test]
fn a_home_that_depends_on_the_working_directory_is_refused() {
    let coven = Coven::new();
    for (name, value) in [
        ("COVEN_HOME", "home"),
        ("COVEN_HOME", "./x"),
        ("HOME", "u"),
        ("HOME", "."),
    ] {
        let mut command = coven.command(["daemon", "start"]);
        if name == "HOME" {
            command.env_remove("COVEN_HOME");
        }
        let refused = Ran::of(command.env(name, value).output().unwrap());
        assert_eq!(refused.code, 1, "{refused:?}");
        let said = format!("{name} is not an absolute path: {value}");
        assert!(refused.err.contains(&said), "{refused:?}");
    }
    assert_eq!(fs::read_dir(coven.work()).unwrap().count(), 0);
}
