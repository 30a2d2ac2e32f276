//! `coven diagnostics`: what is in the report in every state of the daemon, and what never is.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::*;

/// The parts' titles that a good report of a problem begins with.
const FIRST: [&str; 7] = [
    "Coven version",
    "Operating system",
    "Install path and package manager",
    "Whether COVEN_HOME is customized",
    "coven daemon status",
    "Health",
    "Last failing commands and error codes",
];

const SECRET: &str = "ghp_Zq3456789abcdefghijklmnopqrstuvwxyZQ";

#[track_caller]
fn markdown(coven: &Coven, args: &[&str]) -> String {
    let ran = coven.cli([&["diagnostics"], args].concat());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    ran.out
}

#[track_caller]
fn report(coven: &Coven, args: &[&str]) -> Value {
    let text = markdown(coven, &[&["--json"], args].concat());
    serde_json::from_str(&text).unwrap()
}

/// The text below a title.
fn part<'a>(markdown: &'a str, title: &str) -> &'a str {
    let (_, rest) = markdown
        .split_once(&format!("{title}\n"))
        .unwrap_or_else(|| panic!("no {title} in {markdown}"));
    rest.split("\n## ").next().unwrap()
}

fn times(report: &Value, what: &str) -> u64 {
    let rows = report["leftOut"].as_array().unwrap();
    let row = rows.iter().find(|row| row["what"] == what);
    row.map_or(0, |row| row["times"].as_u64().unwrap())
}

#[test]
fn the_report_begins_with_the_seven_things_of_the_guide_in_its_order() {
    let coven = Coven::start();
    assert_eq!(coven.cli(["kill", "ffff"]).code, 1);
    assert_eq!(coven.cli(["run", "nonesuch", "x"]).code, 125);
    let text = markdown(&coven, &[]);
    let titles: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("## "))
        .collect();
    for (at, title) in FIRST.iter().enumerate() {
        assert_eq!(titles[at], format!("## {}. {title}", at + 1));
    }
    assert_eq!(titles.last(), Some(&"## Left out or redacted"));
    assert!(part(&text, "Coven version").contains(env!("CARGO_PKG_VERSION")));
    assert!(part(&text, "package manager").contains("none: "), "{text}");
    assert!(
        part(&text, "is customized").contains("customized  yes"),
        "{text}"
    );
    // As the verb prints it, but for the path.
    let status = coven.cli(["daemon", "status"]).out;
    let pid = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("pid ")).unwrap();
        line.split_once(' ').unwrap().1.trim().to_owned()
    };
    assert_eq!(pid(part(&text, "coven daemon status")), pid(&status));
    let report = report(&coven, &[]);
    assert_eq!(report["coven"]["contract"], "coven.daemon.v1");
    assert_eq!(report["health"]["ok"], true);
    assert_eq!(
        report["health"]["daemon"]["socket"],
        "<coven-home>/coven.sock"
    );
    assert_eq!(report["status"]["state"], "running");
    let commands = report["failures"]["commands"].as_array().unwrap();
    let codes =
        |rows: &[Value]| -> Vec<Value> { rows.iter().map(|row| row["code"].clone()).collect() };
    assert_eq!(codes(commands), ["session_not_found", "invalid_request"]);
    assert_eq!(commands[0]["verb"], "kill");
    eventually("the daemon's own line", || {
        let report = self::report(&coven, &[]);
        let failures = report["failures"]["daemonLog"].as_array().unwrap().clone();
        failures.last().is_some_and(|last| {
            last["event"] == "launch_rejected"
                && last["route"] == "POST /sessions"
                && last["request"].is_string()
        })
    });
}

#[test]
fn json_has_the_facts_that_people_read() {
    let coven = Coven::start_with_env("COVEN_LOG_FORMAT", "json");
    coven.run("hello", "x");
    assert_eq!(coven.cli(["show", "ffff"]).code, 1);
    coven.cli(["daemon", "stop"]);
    let text = markdown(&coven, &[]);
    let report = report(&coven, &[]);
    fn check(value: &Value, text: &str) {
        match value {
            Value::Object(object) => object.values().for_each(|value| check(value, text)),
            Value::Array(values) => values.iter().for_each(|value| check(value, text)),
            Value::String(word) => assert!(text.contains(word), "{word:?} is not in {text}"),
            Value::Number(number) => assert!(
                text.contains(&number.to_string()),
                "{number} is not in {text}"
            ),
            Value::Null | Value::Bool(_) => {}
        }
    }
    for (key, value) in report.as_object().unwrap() {
        // The one is the moment, the others can differ by it.
        if !["madeAt", "doctor", "leftOut"].contains(&key.as_str()) {
            check(value, &text);
        }
    }
    assert_eq!(report["status"]["state"], "stopped");
    assert!(report["health"]["unavailable"].is_string());
    assert_eq!(
        report["store"]["sessionsByStatus"],
        json!([{ "name": "completed", "count": 1 }])
    );
    assert!(report["doctor"]["checks"].as_array().unwrap().len() > 3);
    assert!(
        report["log"]
            .as_array()
            .unwrap()
            .iter()
            .any(|record| record["event"] == "session_ended")
    );
    let hello = &report["adapters"]["adapters"][0];
    assert_eq!(
        (&hello["id"], &hello["available"]),
        (&json!("hello"), &json!(true))
    );
}

/// Writes manifests of which one is right, and all have texts that must not be seen.
fn write_manifests(manifests: &Path) {
    let write = |name: &str, adapter: Value| {
        let file = manifests.join(name);
        fs::write(&file, json!({ "adapters": [adapter] }).to_string()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write(
        &format!("{SECRET}.json"),
        json!({ "id": "widget", "executable": "quentin-tool", "label": format!("Merger label {SECRET}"),
            "install_hint": "Merger hint" }),
    );
    write(
        "merger.json",
        json!({ "id": "Merger id", "executable": "x" }),
    );
    write("type.json", json!("merger type"));
}

/// Makes sessions and failures whose texts must not be seen; returns the id of the launched session.
fn plant_sessions(coven: &Coven) -> String {
    let root = coven.work().join("acme merger");
    fs::create_dir(&root).unwrap();
    let body = json!({ "projectRoot": root, "harness": "hello", "prompt": "Plan the merger with Initech",
        "title": format!("Merger title {SECRET}"), "labels": ["merger-label"],
        "conversationId": "merger-conversation", "familiarId": "merger-familiar" });
    let mut with_model = body.clone();
    with_model["model"] = json!("merger-model");
    let refused = coven.post("/api/v1/sessions", &with_model);
    assert_eq!(refused.status, 400, "it takes none: {}", refused.text());
    let session = coven.post("/api/v1/sessions", &body);
    assert_eq!(session.status, 201, "{}", session.text());
    let session = session.json()["id"].as_str().unwrap().to_owned();
    coven.ended(&session);
    let external = json!({ "projectRoot": format!("/srv/{SECRET}/merger"), "harness": format!("merger {SECRET}"),
        "title": "Merger outside", "transcriptPath": "/srv/merger/transcript" });
    assert_eq!(coven.register(&external_id(7), external).status, 201);
    // Failures whose messages quote what was sent.
    for args in [
        &["run", "merger harness", "the merger prompt"][..],
        &[
            "run",
            "--root",
            ".",
            "--cwd",
            "/usr",
            "hello",
            "the merger prompt",
        ],
        &["run", "widget", "the merger prompt"],
        &["--merger", "usage"],
        &["kill", &session],
    ] {
        assert_ne!(coven.cli(args).code, 0, "{args:?}");
    }
    session
}

/// A home in which everything that has room for a text has one that must not be seen.
struct Planted {
    coven: Coven,
    plants: Vec<String>,
    session: String,
}

impl Planted {
    fn new() -> Self {
        let plain = Coven::new();
        let user_home = plain.work().join("home/quentin");
        let tools = plain.work().join("acme tools");
        let manifests = plain.work().join("acme-manifests");
        for dir in [&user_home.join("bin"), &tools, &manifests] {
            fs::create_dir_all(dir).unwrap();
        }
        let path = format!(
            "{}/bin:{}:/usr/bin:/bin",
            user_home.display(),
            tools.display()
        );
        let coven = plain
            .env("HOME", user_home.display().to_string())
            .env("USER", "quentin")
            .env("HOSTNAME", "fortress.acme.example")
            .env("PATH", path)
            .env("ACME_VALUE", "the value of acme")
            .env("COVEN_REDACT", "off")
            .env("COVEN_LOG", "coven=debug")
            .env("COVEN_ACME", "the other value of acme")
            .env(
                "COVEN_HARNESS_ADAPTER_DIRS",
                manifests.display().to_string(),
            );
        write_manifests(&manifests);
        coven.start_daemon();
        let session = plant_sessions(&coven);
        let plants = [
            "merger", "Merger", "acme", "Acme", "Initech", "quentin", "fortress", "Plan the",
            "ghp_",
        ];
        let mut plants: Vec<String> = plants.map(str::to_owned).to_vec();
        plants.extend(
            [coven.work(), coven.home(), coven.bin()].map(|path| path.display().to_string()),
        );
        Self {
            coven,
            plants,
            session,
        }
    }

    /// Nothing of it is in either form of the report.
    #[track_caller]
    fn check(&self, state: &str) {
        let text = markdown(&self.coven, &["--session", &self.session]);
        let json = markdown(&self.coven, &["--json", "--session", "00000000"]);
        for plant in &self.plants {
            for text in [&text, &json] {
                assert!(!text.contains(plant), "{state}: {plant:?} is in {text}");
            }
        }
        let report: Value = serde_json::from_str(&json).unwrap();
        assert!(report["session"]["record"].is_object(), "{report:#}");
        assert_eq!(report["status"]["state"], state);
        assert!(times(&report, "environment values") > 5);
        assert!(times(&report, "user name, as <user>") > 0, "{report:#}");
        assert!(report["doctor"]["checks"].is_array(), "{report:#}");
        assert!(report["log"].as_array().unwrap().len() > 5);
    }
}

#[test]
fn nothing_that_was_planted_is_in_it_with_the_daemon_running_hanging_stale_or_stopped() {
    let planted = Planted::new();
    let coven = &planted.coven;
    planted.check("running");
    let report = self::report(coven, &[]);
    assert_eq!(times(&report, "titles"), 2);
    assert_eq!(times(&report, "sessions' labels"), 1);
    let adapters = report["adapters"]["adapters"].as_array().unwrap();
    let widget = adapters
        .iter()
        .find(|adapter| adapter["id"] == "widget")
        .unwrap();
    assert_eq!(widget["executable"], "<user>-tool");
    assert_eq!(widget["source"], "<path>");
    let refused = report["adapters"]["refusedManifests"].as_array().unwrap();
    assert_eq!(refused.len(), 2, "{report:#}");
    let reasons = "reasons why a manifest was refused";
    assert_eq!(times(&report, reasons), 2, "{report:#}");
    let harnesses = &report["store"]["sessionsByHarness"];
    assert_eq!(
        *harnesses,
        json!([{ "name": "hello", "count": 1 }, { "name": "<other>", "count": 1 }])
    );
    let settings = report["settings"]["environmentHere"].as_array().unwrap();
    assert!(settings.contains(&json!({ "name": "COVEN_REDACT", "value": "off" })));
    assert!(settings.contains(&json!({ "name": "COVEN_LOG", "value": "set; value left out" })));

    let pid = coven.daemon_pid();
    assert!(kill(pid, libc::SIGSTOP));
    planted.check("stale");
    assert!(kill(pid, libc::SIGCONT));
    coven.crash();
    planted.check("stale");
    coven.start_daemon();
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    planted.check("stopped");
}

#[test]
fn a_secret_that_gets_as_far_is_redacted_and_counted() {
    let coven = Coven::new();
    coven.harness_with("widget", "", json!({ "executable": SECRET }));
    fs::write(coven.home().join("redact.txt"), "wid[g]et\n").unwrap();
    let report = report(&coven, &[]);
    let adapters = report["adapters"]["adapters"].as_array().unwrap();
    assert_eq!(adapters.last().unwrap()["executable"], "[REDACTED:github]");
    assert_eq!(adapters.last().unwrap()["id"], "[REDACTED:custom]");
    assert!(times(&report, "secrets: github") > 0, "{report:#}");
    assert!(times(&report, "secrets: custom") > 0, "{report:#}");
}

#[test]
fn a_forged_line_of_a_log_brings_nothing_into_it() {
    let coven = Coven::start();
    let mut log = fs::OpenOptions::new()
        .append(true)
        .open(coven.home().join("logs/daemon.log"))
        .unwrap();
    let mut commands = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(coven.home().join("logs/cli.log"))
        .unwrap();
    let line = |fields: &str| format!("2026-05-09T06:43:00.007Z ERROR {fields}\n");
    let json = json!({ "ts": "2026-05-09T06:43:00.007Z", "level": "ERROR", "event": "planted-e", "reason": { "planted-f": 1 },
        "planted-g": "x", "pid": "planted-h", "session": ["planted-i"] });
    let lines = line(
        "event=planted-a code=planted-b route=\"GET /planted-c\" reason=\"planted-d\"",
    ) + &format!("{json}\n")
        + "planted-j and no record\n"
        + &line("event=command_failed verb=planted-k code=planted-l exit=planted-m")
        + &line("event=command_failed verb=\"run planted-n\" code=usage exit=2")
        + &line(
            "event=store_failed reason=\"planted-o database is locked planted-p\" path=/planted-q/x",
        )
        + &line("event=store_failed reason=\"database is locked\"")
        + &line(
            "event=log_not_reopened path=/planted-t reason=\"planted-u (os error 2) planted-v\"",
        );
    for file in [&mut log, &mut commands] {
        file.write_all(lines.as_bytes()).unwrap();
        file.write_all(b"\xff\xfe planted-r\n2026-05-09T06:43:00.007Z INFO event=\"planted-s")
            .unwrap();
    }
    for args in [&[][..], &["--json"]] {
        let text = markdown(&coven, args);
        assert!(!text.contains("planted"), "{text}");
        assert!(text.contains("database is locked"), "{text}");
        assert!(text.contains("No such file or directory"), "{text}");
    }
    let report = report(&coven, &[]);
    assert_eq!(
        times(&report, "log lines that are no records"),
        3,
        "{report:#}"
    );
    assert!(times(&report, "values in the log") >= 10, "{report:#}");
    let commands = report["failures"]["commands"].as_array().unwrap();
    assert_eq!(commands.last().unwrap()["code"], "usage");
    assert_eq!(commands.last().unwrap()["verb"], Value::Null);
}

#[test]
fn one_session_is_shown_without_its_text() {
    let coven = Coven::start();
    let id = coven.run("hello", "a private prompt")["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for stopped in [false, true] {
        if stopped {
            assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
        }
        let report = report(&coven, &["--session", &id[..8]]);
        let session = &report["session"];
        assert_eq!(session["record"]["id"], id.as_str());
        assert_eq!(session["record"]["status"], "completed");
        assert_eq!(session["record"]["projectRoot"], "<project>");
        assert_eq!(session["record"]["titleBytes"], "a private prompt".len());
        let events = session["newestEvents"].as_array().unwrap();
        assert_eq!(events[0]["seq"], 1);
        assert_eq!(events[0]["kind"], "status");
        assert_eq!(events[0]["payloadBytes"], r#"{"status":"created"}"#.len());
        assert_eq!(session["record"]["lastSeq"], events.len());
        let text = markdown(&coven, &["--session", &id]);
        assert!(
            text.contains("## Session\n") && !text.contains("private prompt"),
            "{text}"
        );
    }
    for unknown in ["ffffffff", "not an id", "", "-"] {
        let report = report(&coven, &[&format!("--session={unknown}")]);
        assert!(
            report["session"]["unavailable"].is_string(),
            "{unknown:?}: {report:#}"
        );
    }
    let report = report(&coven, &[]);
    assert_eq!(report.get("session"), None);
}

#[test]
fn of_the_install_path_only_known_places_are_shown() {
    let coven = Coven::new();
    let work = coven.work().canonicalize().unwrap();
    let [home, box7, link] = ["home/coven", "box7", "link"].map(|name| work.join(name));
    for (user, program, shown) in [
        // The user's name is the program's, too.
        ("coven", home.join(".cargo/bin/coven"), "~/.cargo/bin/coven"),
        ("coven", home.join("src/coven/coven"), "~/<path>"),
        ("eve", box7.join("eve/bin/coven"), "<path>"),
        ("eve", home.join(".cargo/bin/eve"), "~/.cargo/bin/<user>"),
        ("coven", work.join("coven/coven"), "<path>"),
        // A link leads to the one before.
        ("coven", link.clone(), "<path>"),
    ] {
        if program == link {
            symlink(work.join("coven/coven"), &link).unwrap();
        } else {
            fs::create_dir_all(program.parent().unwrap()).unwrap();
            fs::hard_link(env!("CARGO_BIN_EXE_coven"), &program)
                .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_coven"), &program).map(drop))
                .unwrap();
        }
        let ran = coven.shell(&format!(
            "HOME='{}' USER={user} LOGNAME={user} HOSTNAME=box7 exec \"{}\" diagnostics --json",
            home.display(),
            program.display()
        ));
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(report["install"]["path"], shown, "{}", program.display());
    }
}

#[test]
fn a_file_for_it_is_new_and_its_owners_alone() {
    let coven = Coven::new();
    let file = coven.work().join("report.md");
    let name = file.display().to_string();
    let mut command = coven.command_after("umask 000", &["diagnostics", "--output", &name]);
    let ran = Ran::of(command.output().unwrap());
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, format!("{name}\n").as_str()),
        "{ran:?}"
    );
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# coven diagnostics\n"), "{text}");
    let link = coven.work().join("link");
    symlink(coven.work().join("target"), &link).unwrap();
    for there in [&file, &link] {
        let ran = coven.cli([
            "diagnostics",
            "--json",
            "--output",
            &there.display().to_string(),
        ]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
        assert!(ran.err.contains("(output_exists)\n  try: "), "{ran:?}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    assert!(!coven.work().join("target").exists());
    let ran = coven.cli(["diagnostics", "--json", "--output", "report.json"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "report.json\n"),
        "{ran:?}"
    );
    let json = fs::read(coven.work().join("report.json")).unwrap();
    assert!(serde_json::from_slice::<Value>(&json).is_ok());
}

#[test]
fn a_part_that_fails_says_why_and_the_rest_is_there() {
    let coven = Coven::start();
    coven.run("hello", "x");
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let database = coven.home().join("coven.sqlite3");
    let mut bytes = fs::read(&database).unwrap();
    bytes[4096..].fill(0x5a);
    for (broken, why) in [
        (bytes.as_slice(), "database disk image is malformed"),
        (
            b"not a database at all".as_slice(),
            "file is not a database",
        ),
    ] {
        fs::write(&database, broken).unwrap();
        let report = report(&coven, &["--session", "0"]);
        assert_eq!(report["store"]["unavailable"], why, "{report:#}");
        assert_eq!(report["session"]["unavailable"], why, "{report:#}");
        assert!(report["log"].as_array().unwrap().len() > 3);
        assert_eq!(fs::read(&database).unwrap(), broken, "it is left as it was");
    }
    fs::remove_file(&database).unwrap();
    let log = coven.home().join("logs/daemon.log");
    fs::remove_file(&log).unwrap();
    assert_eq!(
        coven
            .shell(&format!("mkfifo {} {}", log.display(), database.display()))
            .code,
        0
    );
    let report = report(&coven, &[]);
    assert_eq!(
        report["log"]["unavailable"],
        "<coven-home>/logs/daemon.log is not a regular file"
    );
    assert_eq!(
        report["store"]["unavailable"],
        "the database is not a regular file"
    );
    assert_eq!(report["status"]["state"], "stopped");
}

#[test]
fn without_a_usable_home_it_says_so_and_makes_none() {
    let coven = Coven::new();
    let away = coven.work().join("away");
    let mut command = coven.command(["diagnostics", "--json"]);
    let ran = Ran::of(command.env("COVEN_HOME", &away).output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["status"]["state"], "stopped");
    assert_eq!(report["store"]["unavailable"], "there is no database yet");
    assert!(!away.exists());
    let mut command = coven.command(["diagnostics", "--json"]);
    let ran = Ran::of(
        command
            .env("COVEN_HOME", away.join("x".repeat(120)))
            .output()
            .unwrap(),
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(
        report["home"]["usable"].as_str().unwrap().contains("107"),
        "{report:#}"
    );
    assert!(!ran.out.contains("xxx"), "{report:#}");
}

#[test]
fn another_users_database_is_not_opened() {
    let coven = Coven::start();
    coven.run("hello", "x");
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let files = || {
        let mut files: Vec<_> = fs::read_dir(coven.home())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        files.sort();
        files
    };
    let before = files();
    if chown(coven.home(), Some(12345), None).is_err() {
        println!("skipped: only root can give a home away");
        return;
    }
    chown(coven.home().join("coven.sqlite3"), Some(12345), None).unwrap();
    let text = markdown(&coven, &["--session", "0"]);
    assert!(
        part(&text, "Store").contains("belongs to another user (uid 12345)"),
        "{text}"
    );
    assert!(part(&text, "Session").contains("was not opened"), "{text}");
    assert!(
        part(&text, "The daemon's log").contains("event=session_ended"),
        "{text}"
    );
    assert_eq!(files(), before);
    // And a home that this user cannot even look into.
    let mut command = coven.command(["diagnostics"]);
    command.current_dir("/").uid(65534).gid(65534);
    match command.output() {
        Err(err) => println!("skipped: another user cannot execute the binary: {err}"),
        Ok(output) => {
            let ran = Ran::of(output);
            assert_eq!(ran.code, 0, "{ran:?}");
            assert!(
                part(&ran.out, "Store").contains("Permission denied"),
                "{ran:?}"
            );
            assert!(
                part(&ran.out, "The daemon's log").contains("Permission denied"),
                "{ran:?}"
            );
        }
    }
}

#[test]
fn the_answers_of_another_program_on_the_socket_are_not_repeated() {
    let busy =
        json!({ "error": { "code": "too_many_connections", "message": "planted, no thanks" } });
    for (status, body, state) in [
        (
            "200 OK",
            json!({ "ok": true, "apiVersion": "planted contract" }),
            "unsupported",
        ),
        ("503 Busy", busy, "running"),
        ("200 OK", json!("planted"), "unsupported"),
    ] {
        let coven = Coven::new();
        let listener = UnixListener::bind(coven.socket()).unwrap();
        let body = body.to_string();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let _ = client.read(&mut [0; 4096]);
                let _ = client.write_all(answer.as_bytes());
            }
        });
        let report = report(&coven, &[]);
        assert_eq!(report["status"]["state"], state, "{report:#}");
        assert!(!report.to_string().contains("planted"), "{report:#}");
        assert!(!markdown(&coven, &[]).contains("planted"));
    }
}

#[test]
fn a_file_that_never_answers_costs_its_own_part_only() {
    let coven = Coven::start();
    coven.run("hello", "x");
    let file = coven.home().join("redact.txt");
    assert_eq!(coven.shell(&format!("mkfifo {}", file.display())).code, 0);
    let report = report(&coven, &[]);
    assert_eq!(times(&report, "NOT in time: redact.txt"), 1, "{report:#}");
    assert_eq!(report["status"]["state"], "running");
    assert_eq!(report["store"]["file"]["sessions"], 1);
    assert!(report["log"].as_array().unwrap().len() > 3);
}
