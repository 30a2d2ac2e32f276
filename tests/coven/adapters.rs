//! Which harnesses there are: the bundled ones, those of manifests, and the manifests that are refused.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::*;

const BUNDLED: [&str; 6] = ["hello", "codex", "claude", "copilot", "opencode", "gemini"];
/// Prints its arguments, one a line.
const ARGUMENTS: &str = "for argument; do printf '[%s]\\n' \"$argument\"; done";

/// Writes a manifest as its owner alone can.
fn write(path: &Path, manifest: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, manifest).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A manifest of one adapter, whose executable has its id for a name.
fn manifest(id: &str) -> String {
    json!({ "adapters": [{ "id": id, "label": id, "executable": id }] }).to_string()
}

fn refresh(coven: &Coven) -> Answer {
    coven.post(
        "/api/v1/actions",
        &json!({ "action": "coven.capabilities.refresh" }),
    )
}

fn capabilities(coven: &Coven) -> Value {
    let answer = coven.get("/api/v1/capabilities");
    assert_eq!(answer.status, 200);
    answer.json()
}

fn adapter(coven: &Coven, id: &str) -> Option<Value> {
    let capabilities = capabilities(coven);
    let mut adapters = capabilities["adapters"].as_array().unwrap().iter();
    adapters.find(|adapter| adapter["id"] == id).cloned()
}

/// Asserts that the manifest is refused for a reason, and none of `ids` known.
fn assert_refused(coven: &Coven, path: &Path, ids: &[&str]) {
    let capabilities = capabilities(coven);
    let refused = capabilities["refusedManifests"].as_array().unwrap();
    let source = json!(path);
    let entry = refused.iter().find(|entry| entry["source"] == source);
    let reason = entry.unwrap_or_else(|| panic!("{path:?}: {refused:?}"))["reason"].clone();
    assert!(reason.as_str().is_some_and(|r| !r.is_empty()), "{reason}");
    for id in ids {
        assert_eq!(adapter(coven, id), None, "{id}");
    }
    assert_eq!(
        coven.get("/api/v1/health").status,
        200,
        "nothing stops the daemon"
    );
}

/// The arguments that the harness `id` is started with.
fn arguments(coven: &Coven, id: &str, prompt: &str, fields: Value) -> String {
    let answer = coven.try_launch(id, prompt, fields);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let events = coven.events_to_end(&answer.id());
    String::from_utf8(output(&events, "stdout")).unwrap()
}

#[test]
fn the_bundled_harnesses_are_there_and_hello_always_works() {
    let coven = Coven::start();
    for id in BUNDLED {
        let adapter = adapter(&coven, id).unwrap();
        assert_eq!(adapter["source"], "bundled");
        for key in ["label", "executable", "installHint"] {
            assert!(adapter[key].is_string(), "{id} {key}");
        }
        assert_eq!(adapter["available"], adapter["path"].is_string(), "{id}");
    }
    let hello = adapter(&coven, "hello").unwrap();
    assert_eq!(hello["available"], true);
    let id = coven.launch("hello", "first\nlight");
    let events = coven.events_to_end(&id);
    let out = String::from_utf8(output(&events, "stdout")).unwrap();
    assert!(out.contains("first\nlight"), "it echoes its prompt: {out}");
    assert!(output(&events, "stderr").is_empty());
}

#[test]
fn the_daemon_says_what_it_can_do() {
    let coven = Coven::start();
    let capabilities = capabilities(&coven);
    let list = capabilities["capabilities"].as_array().unwrap();
    let find = |id: &str| {
        list.iter()
            .find(|capability| capability["id"] == id)
            .unwrap()
    };
    let actions = find("coven.control.actions")["actions"].as_array().unwrap();
    assert!(actions.contains(&json!("coven.capabilities.refresh")));
    find("coven.sessions");
    for capability in list {
        for key in ["label", "adapter"] {
            assert!(capability[key].is_string(), "{capability}");
        }
        assert!(["available", "planned"].contains(&capability["status"].as_str().unwrap()));
        assert!(["allow", "requiresApproval"].contains(&capability["policy"].as_str().unwrap()));
        assert!(capability["actions"].is_array());
    }
}

#[test]
fn a_refresh_is_answered_with_an_event() {
    let coven = Coven::start();
    let action = "coven.capabilities.refresh";
    let count = capabilities(&coven)["capabilities"]
        .as_array()
        .unwrap()
        .len();
    let event = json!({
        "kind": "capabilities.refreshed", "action": action, "payload": { "capabilities": count },
    });
    let mut expected = json!({
        "ok": true, "accepted": true, "action": action, "status": "completed", "event": event,
    });
    let answer = refresh(&coven);
    assert_eq!((answer.status, answer.json()), (200, expected.clone()));
    let body = json!({ "action": action, "origin": "o", "intentId": "i", "args": { "a": 1 } });
    expected["event"]["origin"] = json!("o");
    expected["event"]["intentId"] = json!("i");
    assert_eq!(coven.post("/api/v1/actions", &body).json(), expected);
}

#[test]
fn an_unknown_action_is_rejected() {
    let coven = Coven::start();
    let answer = coven.post("/api/v1/actions", &json!({ "action": "world.end" }));
    let expected = json!({
        "ok": false, "accepted": false, "action": "world.end", "status": "rejected",
        "reason": "unknown action `world.end`",
    });
    assert_eq!((answer.status, answer.json()), (400, expected));
    for body in [json!({}), json!({ "action": 1 })] {
        let details = coven
            .post("/api/v1/actions", &body)
            .assert_error(400, "invalid_request");
        assert_eq!(details["field"], "action");
    }
}

#[test]
fn manifests_come_from_three_places() {
    let coven = Coven::new();
    let work = coven.work();
    let one = work.join("single.manifest");
    let (first, second) = (work.join("first"), work.join("second"));
    let coven = coven
        .env("COVEN_HARNESS_ADAPTER_MANIFEST", one.to_str().unwrap())
        .env(
            "COVEN_HARNESS_ADAPTER_DIRS",
            format!("{}:{}", first.display(), second.display()),
        );
    let places = [
        ("single", one),
        ("in-first", first.join("a.json")),
        ("in-second", second.join("b.json")),
        ("at-home", coven.home().join("adapters/c.json")),
    ];
    for (id, path) in &places {
        write(path, &manifest(id));
        coven.program(id, ARGUMENTS);
    }
    write(&first.join("ignored.txt"), &manifest("ignored"));
    coven.start_daemon();
    for (id, path) in &places {
        let adapter = adapter(&coven, id).unwrap();
        assert_eq!(adapter["source"], json!(path));
        assert_eq!(adapter["available"], true);
        assert_eq!(arguments(&coven, id, "p", json!({})), "[--]\n[p]\n");
    }
    assert_eq!(adapter(&coven, "ignored"), None);
    assert_eq!(capabilities(&coven)["refusedManifests"], json!([]));
}

#[test]
fn places_that_are_not_there_stop_nothing() {
    let coven = Coven::new()
        .env("COVEN_HARNESS_ADAPTER_MANIFEST", "/no/such/manifest.json")
        .env(
            "COVEN_HARNESS_ADAPTER_DIRS",
            "/no/such/directory::/dev/null",
        );
    coven.start_daemon();
    coven.harness("mine", "exit 0");
    assert_eq!(coven.run("mine", "x")["status"], "completed");
    assert_refused(&coven, Path::new("/no/such/manifest.json"), &[]);
}

#[test]
fn a_manifest_that_is_added_is_known_to_the_next_launch() {
    let coven = Coven::start();
    let program = coven.work().join("../bin/late");
    fs::write(&program, "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    coven
        .try_launch("late", "x", json!({}))
        .assert_error(400, "invalid_request");
    write(&coven.home().join("adapters/late.json"), &manifest("late"));
    assert_eq!(coven.run("late", "x")["status"], "completed");
}

#[test]
fn a_manifest_that_others_can_write_is_refused() {
    let coven = Coven::start();
    let path = coven.home().join("adapters/open.json");
    write(&path, &manifest("open"));
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        refresh(&coven);
        assert_refused(&coven, &path, &["open"]);
        coven
            .try_launch("open", "x", json!({}))
            .assert_error(400, "invalid_request");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    refresh(&coven);
    assert!(adapter(&coven, "open").is_some(), "others may read it");
    assert_eq!(capabilities(&coven)["refusedManifests"], json!([]));
}

#[test]
fn a_manifest_that_is_no_plain_file_is_refused() {
    let coven = Coven::start();
    let adapters = coven.home().join("adapters");
    let target = coven.work().join("target");
    write(&target, &manifest("linked"));
    symlink(&target, adapters.join("link.json")).unwrap();
    symlink("/no/such/file", adapters.join("dangling.json")).unwrap();
    fs::create_dir(adapters.join("dir.json")).unwrap();
    let fifo = adapters.join("fifo.json");
    let made = std::process::Command::new("mkfifo")
        .arg("-m600")
        .arg(&fifo)
        .status();
    assert!(made.unwrap().success());
    refresh(&coven);
    for name in ["link.json", "dangling.json", "dir.json", "fifo.json"] {
        assert_refused(&coven, &adapters.join(name), &["linked"]);
    }
}

#[test]
fn a_bad_manifest_is_refused_and_costs_the_others_nothing() {
    let coven = Coven::new();
    let adapters = coven.home().join("adapters");
    let entry = |fields: Value| {
        let entry = json!({ "id": "bad", "label": "Bad", "executable": "bad" });
        json!({ "adapters": [merged(entry, fields)] }).to_string()
    };
    let bad = [
        ("empty", String::new()),
        ("cut", "{\"adapters\": [".to_owned()),
        ("list", "[]".to_owned()),
        ("nothing", "{}".to_owned()),
        ("path", entry(json!({ "executable": "/bin/sh" }))),
        ("relative", entry(json!({ "executable": "./sh" }))),
        ("no-name", entry(json!({ "executable": "" }))),
        ("upper", entry(json!({ "id": "Bad" }))),
        ("no-id", entry(json!({ "id": "" }))),
        ("stdin", entry(json!({ "stdin": "maybe" }))),
        (
            "types",
            entry(json!({ "non_interactive_prompt_prefix_args": "run" })),
        ),
        (
            "twice",
            json!({ "adapters": [
            { "id": "bad", "executable": "a" }, { "id": "bad", "executable": "b" },
        ] })
            .to_string(),
        ),
        ("taken", entry(json!({ "id": "codex" }))),
        ("hello", entry(json!({ "id": "hello" }))),
    ];
    for (name, content) in &bad {
        write(&adapters.join(format!("{name}.json")), content);
    }
    fs::write(adapters.join("latin1.json"), b"{\"adapters\": [\"\xe9\"]}").unwrap();
    write(&adapters.join("zz-good.json"), &manifest("good"));
    coven.start_daemon();
    for (name, _) in &bad {
        assert_refused(
            &coven,
            &adapters.join(format!("{name}.json")),
            &["bad", "Bad"],
        );
    }
    assert!(adapter(&coven, "good").is_some());
    for id in ["codex", "hello"] {
        assert_eq!(adapter(&coven, id).unwrap()["source"], "bundled");
    }
    let log = fs::read_to_string(coven.home().join("logs/daemon.log")).unwrap();
    assert!(log.contains("cut.json"), "{log}");
}

#[test]
fn the_first_manifest_with_an_id_has_it() {
    let coven = Coven::start();
    let adapters = coven.home().join("adapters");
    write(&adapters.join("a.json"), &manifest("same"));
    write(&adapters.join("b.json"), &manifest("same"));
    refresh(&coven);
    assert_eq!(
        adapter(&coven, "same").unwrap()["source"],
        json!(adapters.join("a.json"))
    );
    assert_refused(&coven, &adapters.join("b.json"), &[]);
}

#[test]
fn a_refresh_picks_manifests_up_and_lets_them_go() {
    let coven = Coven::start();
    let path = coven.home().join("adapters/new.json");
    write(&path, &manifest("new"));
    coven.program("new", ARGUMENTS);
    assert_eq!(adapter(&coven, "new"), None, "not before it is asked for");
    refresh(&coven);
    assert_eq!(arguments(&coven, "new", "p", json!({})), "[--]\n[p]\n");
    fs::remove_file(&path).unwrap();
    refresh(&coven);
    assert_eq!(adapter(&coven, "new"), None);
}

#[test]
fn programs_are_looked_up_when_they_are_needed() {
    let coven = Coven::start();
    write(&coven.home().join("adapters/late.json"), &manifest("late"));
    refresh(&coven);
    let seen = adapter(&coven, "late").unwrap();
    assert_eq!(
        (&seen["available"], &seen["path"]),
        (&json!(false), &json!(null))
    );
    coven
        .try_launch("late", "x", json!({}))
        .assert_error(422, "harness_not_found");
    coven.program("late", ARGUMENTS);
    let seen = adapter(&coven, "late").unwrap();
    let path = coven.home().parent().unwrap().join("bin/late");
    assert_eq!(
        (&seen["available"], &seen["path"]),
        (&json!(true), &json!(path))
    );
    assert_eq!(arguments(&coven, "late", "p", json!({})), "[--]\n[p]\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    coven
        .try_launch("late", "x", json!({}))
        .assert_error(422, "harness_not_found");
}

#[test]
fn the_path_is_the_daemons_and_not_the_projects() {
    let coven = Coven::start();
    write(
        &coven.home().join("adapters/local.json"),
        &manifest("local"),
    );
    fs::write(coven.work().join("local"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(
        coven.work().join("local"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    refresh(&coven);
    coven
        .try_launch("local", "x", json!({}))
        .assert_error(422, "harness_not_found");
}

#[test]
fn the_arguments_are_as_the_manifest_says() {
    let coven = Coven::start();
    let prefix = json!(["run", "--quiet", "a b", ""]);
    coven.harness_with(
        "full",
        ARGUMENTS,
        json!({
            "non_interactive_prompt_prefix_args": prefix, "interactive_prompt_prefix_args": ["tui"],
            "model_flag": "--model", "prompt_flag": null, "something_new": { "x": 1 },
        }),
    );
    coven.harness_with(
        "flag",
        ARGUMENTS,
        json!({ "prompt_flag": "--prompt", "model_flag": "-m" }),
    );
    coven.harness("plain", ARGUMENTS);
    let model = || json!({ "model": "m-1" });
    for (id, fields, expected) in [
        (
            "full",
            json!({}),
            "[run]\n[--quiet]\n[a b]\n[]\n[--]\n[-p q]\n",
        ),
        (
            "full",
            model(),
            "[run]\n[--quiet]\n[a b]\n[]\n[--model]\n[m-1]\n[--]\n[-p q]\n",
        ),
        ("flag", json!({}), "[--prompt=-p q]\n"),
        ("flag", model(), "[-m]\n[m-1]\n[--prompt=-p q]\n"),
        ("plain", json!({}), "[--]\n[-p q]\n"),
    ] {
        assert_eq!(arguments(&coven, id, "-p q", fields), expected, "{id}");
    }
    let before = coven.sessions().len();
    for id in ["plain", "hello"] {
        let details = coven
            .try_launch(id, "-p q", model())
            .assert_error(400, "invalid_request");
        assert_eq!(details["field"], "model");
        let ran = coven.cli(["run", "--model", "m-1", id, "x"]);
        assert!(
            ran.err.contains(&format!("harness {id} takes no model")),
            "{ran:?}"
        );
    }
    assert_eq!(coven.sessions().len(), before);
}

#[test]
fn a_bundled_agent_gets_the_command_line_it_knows_and_its_prompt_on_stdin() {
    let coven = Coven::start();
    for id in &BUNDLED[1..] {
        coven.program(id, &format!("{ARGUMENTS}; printf '<%s>' \"$(cat)\""));
    }
    // What each is given, but for the id of its session.
    let given = |id: &str, prompt: &str, fields: Value| {
        let got = arguments(&coven, id, prompt, fields);
        let session = coven.sessions().remove(0);
        let flag = format!("[--session-id]\n[{}]\n", session["id"].as_str().unwrap());
        assert_eq!(
            got.contains(&flag),
            ["claude", "copilot", "gemini"].contains(&id),
            "{got}"
        );
        got.replacen(&flag, "", 1)
    };
    for (id, first, last) in [
        (
            "codex",
            "[exec]\n[--skip-git-repo-check]\n[--color]\n[never]\n",
            "[-]\n",
        ),
        ("claude", "[--print]\n", ""),
        ("copilot", "", ""),
        ("opencode", "[run]\n", ""),
        ("gemini", "[--skip-trust]\n", ""),
    ] {
        let got = given(id, "-x\ny", json!({}));
        assert_eq!(got, format!("{first}{last}<-x\ny>"), "{id}");
        let got = given(id, "-x\ny", json!({ "model": "m" }));
        assert_eq!(got, format!("{first}[--model]\n[m]\n{last}<-x\ny>"), "{id}");
        // Longer than an argument can be.
        let long = "x".repeat(300_000);
        let got = given(id, &long, json!({}));
        assert!(
            got == format!("{first}{last}<{long}>"),
            "{id}: {}",
            got.len()
        );
    }
}

#[test]
fn a_manifest_replaces_a_bundled_adapter_only_if_it_says_so() {
    let coven = Coven::new();
    let path = coven.home().join("adapters/mine.json");
    write(&path, &manifest("codex"));
    coven.program("codex", ARGUMENTS);
    coven.start_daemon();
    let refused = capabilities(&coven)["refusedManifests"][0]["reason"].clone();
    assert!(
        refused.as_str().unwrap().contains("\"replaces\": true"),
        "{refused}"
    );
    assert_eq!(adapter(&coven, "codex").unwrap()["source"], "bundled");
    let entry = json!({ "id": "codex", "executable": "codex", "replaces": true });
    write(&path, &json!({ "adapters": [entry] }).to_string());
    write(
        &coven.home().join("adapters/second.json"),
        &json!({ "adapters": [entry] }).to_string(),
    );
    refresh(&coven);
    assert_eq!(adapter(&coven, "codex").unwrap()["source"], json!(path));
    assert_refused(&coven, &coven.home().join("adapters/second.json"), &[]);
    assert_eq!(arguments(&coven, "codex", "p", json!({})), "[--]\n[p]\n");
    let ids = capabilities(&coven)["adapters"].clone();
    let ids: Vec<&Value> = ids
        .as_array()
        .unwrap()
        .iter()
        .map(|adapter| &adapter["id"])
        .collect();
    assert_eq!(ids, BUNDLED, "it stands where the bundled one stood");
}

#[test]
fn a_closed_stdin_is_at_its_end_and_an_open_one_is_read() {
    let coven = Coven::start();
    let script = "if read -r line; then echo \"got $line\"; else echo end; fi";
    coven.harness("by-default", script);
    coven.harness_with("closed", script, json!({ "stdin": "closed" }));
    coven.harness_with("open", script, json!({ "stdin": "open" }));
    for id in ["by-default", "closed"] {
        let id = coven.launch(id, "x");
        assert_eq!(output(&coven.events_to_end(&id), "stdout"), b"end\n");
    }
    let id = coven.launch("open", "x");
    assert_eq!(coven.input(&id, "a line\n").status, 202);
    assert_eq!(output(&coven.events_to_end(&id), "stdout"), b"got a line\n");
}
