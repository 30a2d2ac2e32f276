//! Environments of sessions: their sources, and that values of a launch are not stored.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::*;

/// Prints its environment, a variable a line.
const PRINTENV: &str = "exec env";

/// The value of `name` that the session `id` has found, once it has ended.
fn found(coven: &Coven, id: &str, name: &str) -> Option<String> {
    let out = output(&coven.events_to_end(id), "stdout");
    value(&String::from_utf8(out).unwrap(), name)
}

fn value(environment: &str, name: &str) -> Option<String> {
    let mut lines = environment.lines();
    lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

fn launched(coven: &Coven, env: Value) -> String {
    let answer = coven.try_launch("printenv", "x", json!({ "env": env }));
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.id()
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The files below `dir` that hold `text`.
fn holding(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if let Ok(bytes) = fs::read(&path)
            && memchr::memmem::find(&bytes, text.as_bytes()).is_some()
        {
            found.push(path.display().to_string());
        }
    }
    found
}

fn checked(coven: &Coven, id: &str) -> Value {
    let report: Value = serde_json::from_str(&coven.cli(["doctor", "--json"]).out).unwrap();
    let checks = report["checks"].as_array().unwrap();
    checks
        .iter()
        .find(|check| check["id"] == id)
        .unwrap()
        .clone()
}

#[test]
fn the_working_directory_of_a_session_is_in_its_environment() {
    let coven = Coven::start();
    // As it was started, before sh has put its own PWD right.
    coven.harness("printenv", "tr '\\0' '\\n' </proc/$$/environ");
    let sub = coven.work().join("sub");
    fs::create_dir(&sub).unwrap();
    symlink(&sub, coven.work().join("link")).unwrap();
    for (cwd, expected) in [
        (None, coven.work()),
        (Some("sub"), sub.clone()),
        (Some("link"), sub),
    ] {
        let fields = json!({ "cwd": cwd, "env": { "PWD": "/elsewhere" } });
        let id = coven.try_launch("printenv", "x", fields).id();
        assert_eq!(
            found(&coven, &id, "PWD"),
            Some(expected.display().to_string())
        );
    }
}

#[test]
fn marks_of_where_the_daemon_was_started_do_not_reach_sessions() {
    const MARKS: &str = "CLAUDECODE CLAUDE_CODE_CHILD_SESSION CODEX_SANDBOX_NETWORK_DISABLED CODEX_THREAD_ID GEMINI_CLI \
        OPENCODE AGENT COPILOT_AGENT_SESSION_ID TMUX STY SSH_TTY TERM_PROGRAM TERM_PROGRAM_VERSION VSCODE_PID XDG_SESSION_ID";
    let coven = Coven::new();
    coven.harness("printenv", PRINTENV);
    let exports: String = MARKS
        .split_whitespace()
        .map(|name| format!("export {name}=1; "))
        .collect();
    let prelude = format!("{exports} export KEPT=yes");
    let mut serve = coven
        .command_after(&prelude, &["daemon", "serve"])
        .spawn()
        .unwrap();
    eventually("the daemon answers", || {
        coven.try_get("/api/v1/health").is_some()
    });
    let id = launched(&coven, json!({ "TMUX_PANE": "%1" }));
    let out = String::from_utf8(output(&coven.events_to_end(&id), "stdout")).unwrap();
    for mark in MARKS.split_whitespace() {
        assert_eq!(value(&out, mark), None, "{mark}");
    }
    assert_eq!(value(&out, "KEPT").as_deref(), Some("yes"));
    assert_eq!(
        value(&out, "TMUX_PANE").as_deref(),
        Some("%1"),
        "given on purpose"
    );
    let message = checked(&coven, "environment")["message"].to_string();
    let (_, filtered) = message.split_once("environment without").unwrap();
    assert!(
        filtered.contains("CLAUDECODE") && filtered.contains("VSCODE_PID"),
        "{message}"
    );
    assert!(!filtered.contains("KEPT"), "{message}");
    assert!(kill(serve.id() as i32, libc::SIGTERM));
    assert!(serve.wait().unwrap().success());
}

#[test]
fn a_daemon_that_a_command_starts_takes_no_key_along() {
    let coven = Coven::new()
        .env("SOME_API_KEY", "k")
        .env("LC_TIME", "C")
        .env("https_proxy", "http://p");
    coven.harness("printenv", PRINTENV);
    for start in [
        &["daemon", "start"][..],
        &["daemon", "restart"],
        &["run", "printenv", "x"],
    ] {
        coven.cli(start);
        let id = launched(&coven, json!({}));
        let out = String::from_utf8(output(&coven.events_to_end(&id), "stdout")).unwrap();
        assert_eq!(value(&out, "SOME_API_KEY"), None, "{start:?}");
        assert_eq!(value(&out, "LC_TIME").as_deref(), Some("C"), "{start:?}");
        assert_eq!(
            value(&out, "https_proxy").as_deref(),
            Some("http://p"),
            "{start:?}"
        );
        if start.len() == 2 && start[1] == "restart" {
            assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
        }
    }
}

#[test]
fn the_file_env_sets_sessions_and_is_read_again_on_sighup() {
    let coven = Coven::new();
    let bin = coven.work().join("bin2");
    fs::create_dir(&bin).unwrap();
    coven.harness("printenv", PRINTENV);
    let env = coven.home().join("env");
    let path = coven.bin().display().to_string();
    let text = |a: &str| {
        format!(
            "# one\nA=\"{a} \\\"b\\\"\"\nCOVEN_MAX_SESSIONS=7\nPATH={path}:/usr/bin:/bin:{}\nbad line\n",
            bin.display()
        )
    };
    write_private(&env, &text("first"));
    coven.start_daemon();
    let pid = coven.daemon_pid();
    assert_eq!(
        found(&coven, &launched(&coven, json!({})), "A").as_deref(),
        Some("first \"b\"")
    );
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(
        !String::from_utf8_lossy(&environ).contains("first"),
        "not the daemon's own"
    );
    let process = coven.get("/api/v1/capabilities").json()["process"].clone();
    assert_eq!(process["maxSessions"], 7);
    assert!(
        process["path"].as_str().unwrap().ends_with("bin2"),
        "{process}"
    );
    let check = checked(&coven, "environment.file");
    assert_eq!(check["status"], "warn");
    assert!(
        check["message"].as_str().unwrap().contains("line 5"),
        "{check}"
    );
    // Replaced by a launch's.
    assert_eq!(
        found(&coven, &launched(&coven, json!({ "A": "mine" })), "A").as_deref(),
        Some("mine")
    );
    // A program that only the new PATH finds.
    write_private(&env, &text("second").replace("bin2", "bin3"));
    let bin = coven.work().join("bin3");
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("late"), "#!/bin/sh\necho late").unwrap();
    fs::set_permissions(bin.join("late"), fs::Permissions::from_mode(0o755)).unwrap();
    let manifest = json!({ "adapters": [{ "id": "late", "executable": "late" }] });
    write_private(
        &coven.home().join("adapters/late.json"),
        &manifest.to_string(),
    );
    assert!(kill(pid, libc::SIGHUP));
    eventually("the daemon has read it", || {
        found(&coven, &launched(&coven, json!({})), "A").as_deref() == Some("second \"b\"")
    });
    assert_eq!(coven.run("late", "x")["status"], "completed");
}

#[test]
fn a_file_env_that_others_can_read_is_ignored_and_said() {
    let coven = Coven::new();
    coven.harness("printenv", PRINTENV);
    let env = coven.home().join("env");
    write_private(&env, "A=1\n");
    fs::set_permissions(&env, fs::Permissions::from_mode(0o640)).unwrap();
    coven.start_daemon();
    assert_eq!(found(&coven, &launched(&coven, json!({})), "A"), None);
    let log = fs::read_to_string(coven.home().join("logs/daemon.log")).unwrap();
    assert!(
        log.contains("event=env_ignored") && log.contains("chmod 600"),
        "{log}"
    );
    assert_eq!(checked(&coven, "environment.file")["status"], "warn");
    // A link leads out of the home.
    write_private(&coven.work().join("env"), "A=1\n");
    fs::remove_file(&env).unwrap();
    symlink(coven.work().join("env"), &env).unwrap();
    assert_eq!(coven.cli(["daemon", "restart"]).code, 0);
    assert_eq!(found(&coven, &launched(&coven, json!({})), "A"), None);
}

#[test]
fn a_setting_in_the_file_env_that_cannot_be_is_said_with_the_file() {
    let coven = Coven::new();
    write_private(&coven.home().join("env"), "COVEN_MAX_SESSIONS=many\n");
    let ran = coven.cli(["daemon", "start"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let change = "change COVEN_MAX_SESSIONS in the file env";
    assert!(
        ran.err.contains("many") && ran.err.contains(change),
        "{ran:?}"
    );
    // The home and the session are no business of the file's.
    let text = "COVEN_HOME=/elsewhere\nCOVEN_SESSION_ID=x\n";
    write_private(&coven.home().join("env"), text);
    coven.start_daemon();
    let message = checked(&coven, "environment.file")["message"].to_string();
    assert!(
        message.contains("COVEN_HOME") && message.contains("COVEN_SESSION_ID"),
        "{message}"
    );
}

#[test]
fn a_malformed_env_is_refused_before_there_is_a_session() {
    let coven = Coven::start();
    coven.harness("printenv", PRINTENV);
    let large = "x".repeat(64 * 1024);
    for env in [
        json!({ "1A": "x" }),
        json!({ "A-B": "x" }),
        json!({ "": "x" }),
        json!({ "COVEN_HOME": "x" }),
        json!({ "COVEN_SESSION_ID": "x" }),
        json!({ "A": 1 }),
        json!({ "A": null }),
        json!({ "A": "x\u{0}" }),
        json!({ "A": large }),
        json!(["A=x"]),
        json!("A=x"),
    ] {
        let answer = coven.try_launch("printenv", "x", json!({ "env": env }));
        assert_eq!(
            answer.assert_error(400, "invalid_request")["field"],
            "env",
            "{env}"
        );
    }
    assert_eq!(coven.sessions(), [] as [Value; 0]);
    let max = "x".repeat(64 * 1024 - 1);
    assert_eq!(
        coven
            .try_launch("printenv", "x", json!({ "env": { "A": max } }))
            .status,
        201
    );
}

#[test]
fn coven_run_gives_variables_from_options_files_and_the_shell() {
    let coven = Coven::new()
        .env("FROM_SHELL", "shell")
        .env("PASSED", "passed")
        .env("OTHER", "other");
    let keys = json!({ "env": { "PASSED": "adapter", "FIXED": "adapter" }, "pass_env": ["PASSED", "NOT_SET"] });
    coven.harness_with("printenv", PRINTENV, keys);
    let file = coven.work().join("vars");
    write_private(&file, "IN_FILE='a b'\nBOTH=file\n");
    let ran = coven.cli([
        "run",
        "-e",
        "GIVEN=a=b",
        "-e",
        "FROM_SHELL",
        "--env",
        "BOTH=option",
        "--env-file",
        "vars",
        "printenv",
        "x",
    ]);
    let got = |name| value(&ran.out, name);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(got("GIVEN").as_deref(), Some("a=b"));
    assert_eq!(got("FROM_SHELL").as_deref(), Some("shell"));
    assert_eq!(got("IN_FILE").as_deref(), Some("a b"));
    assert_eq!(got("BOTH").as_deref(), Some("option"));
    assert_eq!(got("PASSED").as_deref(), Some("passed"));
    assert_eq!(got("FIXED").as_deref(), Some("adapter"));
    assert_eq!((got("OTHER"), got("NOT_SET")), (None, None));
    let record = coven.sessions()[0].clone();
    let names = ["BOTH", "FROM_SHELL", "GIVEN", "IN_FILE", "PASSED"];
    assert_eq!(record["env_names"], json!(names));
    let id = record["id"].as_str().unwrap();
    assert!(
        coven
            .cli(["show", id])
            .out
            .contains("BOTH, FROM_SHELL, GIVEN, IN_FILE, PASSED")
    );
    // Wrong ones, and nothing of their values in what is said.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    for args in [
        &["--env-file", "vars"][..],
        &["--env-file", "absent"],
        &["-e", "UNSET_VARIABLE"],
        &["-e", "=sesame"],
        &["-e", "1A=sesame"],
        &["-e", "COVEN_LOG=sesame"],
    ] {
        let ran = coven.cli([&["run"], args, &["printenv", "x"]].concat());
        assert_ne!(ran.code, 0, "{args:?}");
        assert!(!format!("{ran:?}").contains("sesame"), "{ran:?}");
    }
    assert_eq!(coven.sessions().len(), 1);
}

#[test]
fn a_key_that_is_exported_later_reaches_an_agent_of_an_old_daemon() {
    let coven = Coven::start();
    coven.program("claude", PRINTENV);
    let ran =
        coven.shell("ANTHROPIC_API_KEY=later; export ANTHROPIC_API_KEY; exec \"$0\" run claude hi");
    assert_eq!(
        value(&ran.out, "ANTHROPIC_API_KEY").as_deref(),
        Some("later")
    );
    assert_eq!(
        value(&coven.cli(["run", "claude", "hi"]).out, "ANTHROPIC_API_KEY"),
        None
    );
    let adapters = coven.get("/api/v1/capabilities").json()["adapters"].clone();
    for agent in ["codex", "claude", "copilot", "opencode", "gemini"] {
        let mut all = adapters.as_array().unwrap().iter();
        let names = all.find(|adapter| adapter["id"] == agent).unwrap()["passEnv"].clone();
        for name in ["SSH_AUTH_SOCK", "GPG_TTY"] {
            assert!(
                names.as_array().unwrap().contains(&json!(name)),
                "{agent}: {names}"
            );
        }
    }
}

#[test]
fn a_repeated_launch_counts_names_of_variables_and_not_values() {
    let coven = Coven::start();
    coven.harness("printenv", PRINTENV);
    let body = |env: Value| merged(coven.launch_body("printenv", "x"), json!({ "env": env }));
    let first = coven.launch_keyed("k", &body(json!({ "A": "1" })));
    assert_eq!(first.status, 201);
    let again = coven.launch_keyed("k", &body(json!({ "A": "2" })));
    assert_eq!((again.status, again.id()), (200, first.id()));
    let other = coven.launch_keyed("k", &body(json!({ "B": "1" })));
    assert_eq!(other.error(), (409, "idempotency_conflict".into()));
}

#[test]
fn no_value_of_a_launch_is_kept_anywhere() {
    const VALUE: &str = "zq7f3kx9w2mv8";
    let coven = Coven::new().env("COVEN_LOG", "trace").env("PASSED", VALUE);
    coven.harness_with("quiet", "exit 3", json!({ "pass_env": ["PASSED"] }));
    coven.start_daemon();
    let env = json!({ "A": VALUE });
    let body = merged(coven.launch_body("quiet", "x"), json!({ "env": env }));
    for _ in 0..2 {
        assert!(coven.launch_keyed("key", &body).status < 300);
    }
    coven.cli(["run", "quiet", "x"]);
    coven.cli(["run", "-e", &format!("B={VALUE}"), "quiet", "x"]);
    coven.cli(["run", "-e", &format!("1B={VALUE}"), "quiet", "x"]);
    // Refused, and failed by the spawn itself.
    for fields in [
        json!({ "env": { "A-B": VALUE } }),
        json!({ "env": { "A": VALUE }, "cwd": "/" }),
        json!({ "env": { "A": [VALUE] } }),
        json!({ "env": VALUE }),
    ] {
        let answer = coven.try_launch("quiet", "x", fields);
        assert_eq!(answer.status, 400);
        assert!(!answer.text().contains(VALUE));
    }
    let broken = coven.bin().join("quiet");
    fs::write(&broken, "#!/nowhere/at/all\n").unwrap();
    let failed = coven.try_launch("quiet", "x", json!({ "env": { "A": VALUE } }));
    assert_eq!(failed.error().0, 500);
    let shown = [
        coven.cli(["diagnostics", "--json"]).out,
        coven.cli(["sessions", "--json"]).out,
        coven.cli(["doctor", "--json"]).out,
    ];
    assert!(!shown.concat().contains(VALUE));
    let environ = fs::read(format!("/proc/{}/environ", coven.daemon_pid())).unwrap();
    assert!(!String::from_utf8_lossy(&environ).contains(VALUE));
    assert_eq!(holding(&coven.home(), VALUE), [] as [String; 0]);
    assert_ne!(
        holding(&coven.home(), "env_names"),
        [] as [String; 0],
        "the names are kept"
    );
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    assert_eq!(holding(&coven.home(), VALUE), [] as [String; 0]);
}

#[test]
fn a_daemon_that_a_nice_command_starts_goes_back_to_niceness_0_or_doctor_warns() {
    let coven = Coven::new();
    let ran = coven.shell("nice -n 7 \"$0\" daemon start");
    assert_eq!(ran.code, 0, "{ran:?}");
    let stat = fs::read_to_string(format!("/proc/{}/stat", coven.daemon_pid())).unwrap();
    // Field 19, behind the name in its parentheses (proc(5)).
    let niceness = stat
        .rsplit_once(") ")
        .unwrap()
        .1
        .split(' ')
        .nth(16)
        .unwrap()
        .to_owned();
    let check = checked(&coven, "limits.niceness");
    match niceness.as_str() {
        "0" => assert_eq!(check["status"], "pass"),
        // Without the privilege.
        niceness => assert_eq!((niceness, &check["status"]), ("7", &json!("warn"))),
    }
}
