//! Permissions and additional arguments of harnesses: in a launch, on the command line, and rejected ones.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::support::*;

/// Prints its arguments, one a line.
const ARGUMENTS: &str = "for argument; do printf '[%s]\\n' \"$argument\"; done";

/// The keys of an adapter that maps every permission.
fn keys() -> Value {
    json!({
        "sandbox": { "flag": "--may", "read_only": "look", "workspace_write": "edit", "full": "all" },
        "add_dir_flag": "--dir", "prompt": "stdin", "default_can_write": false, "permission_flags": ["-y"],
    })
}

fn policy(sandbox: &str) -> Value {
    json!({ "launchPolicy": { "approval": "never", "sandbox": sandbox } })
}

fn out(coven: &Coven, id: &str) -> String {
    String::from_utf8(output(&coven.events_to_end(id), "stdout")).unwrap()
}

#[test]
fn a_policy_becomes_the_adapters_own_arguments_and_stays_in_the_record() {
    let coven = Coven::start();
    coven.harness_with("agent", ARGUMENTS, keys());
    let dir = coven.work().join("further");
    fs::create_dir(&dir).unwrap();
    symlink(&dir, coven.work().join("link")).unwrap();
    for (fields, arguments, permission, can_write) in [
        (json!({}), "", "default", false),
        (policy("read-only"), "[--may]\n[look]\n", "read-only", false),
        (
            policy("workspace-write"),
            "[--may]\n[edit]\n",
            "workspace-write",
            true,
        ),
        (policy("full"), "[--may]\n[all]\n", "full", true),
    ] {
        let id = coven.try_launch("agent", "secret words", fields).id();
        assert_eq!(out(&coven, &id), arguments, "{permission}");
        let record = coven.session(&id);
        assert_eq!(record["permission"], permission);
        assert_eq!(record["can_write"], can_write);
        assert!(!record["argv"].to_string().contains("secret words"));
    }
    let mut fields = policy("read-only");
    fields["launchPolicy"]["addDirs"] = json!([coven.work().join("link")]);
    fields["args"] = json!(["-v", "--token=ghp_012345678901234567890123456789012345"]);
    let id = coven.try_launch("agent", "x", fields).id();
    let shown = dir.canonicalize().unwrap().display().to_string();
    let expected = format!("[--may]\n[look]\n[--dir]\n[{shown}]\n[-v]\n[--token=[REDACTED");
    assert!(
        out(&coven, &id).starts_with(&expected),
        "{}",
        out(&coven, &id)
    );
    let record = coven.session(&id);
    assert_eq!(record["add_dirs"], json!([shown]));
    assert!(!record.to_string().contains("ghp_0123"), "{record}");
    let argv = record["argv"].as_array().unwrap();
    assert_eq!(
        argv[..6],
        ["agent", "--may", "look", "--dir", &shown, "-v"].map(Value::from)
    );
    assert_eq!(argv.len(), 7);
    // Where the prompt is an argument, its place is shown.
    let hello = coven.run("hello", "secret words");
    assert_eq!(hello["argv"], json!(["coven", "__hello", "--", "<prompt>"]));
    assert_eq!(hello["can_write"], json!(null));
}

/// A harness with fields of a launch that it cannot honour, or that are wrong; and the field that is refused. FILE is no
/// directory.
const REFUSED: &str = r#"
    hello {"launchPolicy":{"approval":"never","sandbox":"read-only"}} -> launchPolicy.sandbox
    agent {"launchPolicy":{"approval":"never","sandbox":"default"}}   -> launchPolicy.sandbox
    agent {"launchPolicy":{"approval":"never","sandbox":"danger"}}    -> launchPolicy.sandbox
    agent {"launchPolicy":{"approval":"never","sandbox":""}}          -> launchPolicy.sandbox
    agent {"launchPolicy":"full"}                                     -> launchPolicy
    agent {"launchPolicy":[]}                                         -> launchPolicy
    agent {"launchPolicy":{}}                                         -> launchPolicy.approval
    agent {"launchPolicy":{"approval":"never"}}                       -> launchPolicy.sandbox
    agent {"launchPolicy":{"sandbox":"full"}}                         -> launchPolicy.approval
    agent {"launchPolicy":{"approval":"ask","sandbox":"full"}}        -> launchPolicy.approval
    agent {"launchPolicy":{"approval":"never","sandbox":1}}           -> launchPolicy.sandbox
    agent {"launchPolicy":{"approval":"never","sandbox":"full","addDirs":"/"}}          -> launchPolicy.addDirs
    agent {"launchPolicy":{"approval":"never","sandbox":"full","addDirs":[1]}}          -> launchPolicy.addDirs
    agent {"launchPolicy":{"approval":"never","sandbox":"full","addDirs":["relative"]}} -> launchPolicy.addDirs
    agent {"launchPolicy":{"approval":"never","sandbox":"full","addDirs":["/no/such"]}} -> launchPolicy.addDirs
    agent {"launchPolicy":{"approval":"never","sandbox":"full","addDirs":["FILE"]}}     -> launchPolicy.addDirs
    agent {"launchPolicy":{"approval":"never","sandbox":"full","addDirs":["/a\u0000b"]}} -> launchPolicy.addDirs
    hello {"addDirs":["/"]}                     -> addDirs
    hello {"launchMode":"stream"}               -> launchMode
    agent {"addDirs":["--may"]}                 -> addDirs
    agent {"addDirs":["FILE"]}                  -> addDirs
    agent {"args":"-v"}                         -> args
    agent {"args":[1]}                          -> args
    agent {"args":["a\u0000b"]}                 -> args
    agent {"launchPolicy":{"approval":"never","sandbox":"full"},"args":["--may","all"]} -> args
    agent {"launchPolicy":{"approval":"never","sandbox":"full"},"args":["--may=all"]}   -> args
    agent {"launchPolicy":{"approval":"never","sandbox":"full"},"args":["-y"]}          -> args
    agent {"env":{"A=B":"1"}}                   -> env
    agent {"env":{"COVEN_HOME":"1"}}            -> env
    agent {"env":["A"]}                         -> env
    agent {"executionBinding":{"x":1}}          -> executionBinding
    agent {"requestAdoption":"x"}               -> requestAdoption
"#;

#[test]
fn an_option_that_an_adapter_cannot_honour_is_refused_before_there_is_a_session() {
    let coven = Coven::start();
    coven.harness_with("agent", ARGUMENTS, keys());
    let file = coven.work().join("file");
    fs::write(&file, "").unwrap();
    let assert_refused = |harness: &str, fields: Value, field: &str| {
        let answer = coven.try_launch(harness, "x", fields.clone());
        let details = answer.assert_error(400, "invalid_request");
        assert_eq!(details["field"], field, "{fields}");
    };
    for (given, field) in rows(&REFUSED.replace("FILE", file.to_str().unwrap())) {
        let (harness, fields) = given.split_once(' ').unwrap();
        assert_refused(harness, serde_json::from_str(fields).unwrap(), field);
    }
    let mut many = policy("full");
    many["launchPolicy"]["addDirs"] = json!(vec!["/"; 65]);
    assert_refused("agent", many, "launchPolicy.addDirs");
    let long = json!({ "args": ["x".repeat(65 * 1024)] });
    assert_refused("agent", long, "args");
    symlink("/", coven.work().join("out")).unwrap();
    let answer = coven.try_launch("agent", "x", json!({ "cwd": "out" }));
    answer.assert_error(400, "project_root_violation");
    assert_eq!(coven.sessions().len(), 0);
    // Null counts as left out, and a flag that no policy is beside is the client's own.
    let fields = json!({ "launchPolicy": null, "executionBinding": null, "args": ["--may=all"] });
    assert_eq!(coven.try_launch("agent", "x", fields).status, 201);
}

#[test]
fn an_option_that_a_harness_refuses_to_root_is_refused_before_its_start() {
    let coven = Coven::start();
    coven.program("claude", ARGUMENTS);
    let answer = coven.try_launch("claude", "x", policy("full"));
    if is_root() {
        let details = answer.assert_error(400, "invalid_request");
        assert_eq!(details["field"], "launchPolicy.sandbox");
        assert_eq!(coven.sessions().len(), 0);
    } else {
        assert_eq!(answer.status, 201);
    }
    let meant = merged(policy("full"), json!({ "env": { "IS_SANDBOX": "1" } }));
    let id = coven.try_launch("claude", "x", meant).id();
    let given = out(&coven, &id);
    assert!(
        given.contains("[--permission-mode]\n[bypassPermissions]\n"),
        "{given}"
    );
}

#[test]
fn run_sets_a_permission_and_says_what_holds_without_one() {
    let coven = Coven::start();
    coven.harness_with("agent", ARGUMENTS, keys());
    let set = merged(keys(), json!({ "default_permission": "read-only" }));
    coven.harness_with("careful", ARGUMENTS, set);
    let dir = coven.work().canonicalize().unwrap().display().to_string();
    let with_dir = format!("[--may]\n[edit]\n[--dir]\n[{dir}]\n[--fast]\n[--n=1]\n");
    let (none, look, all) = ("", "[--may]\n[look]\n", "[--may]\n[all]\n");
    let unset = "coven: agent changes no files unless";
    let all_options = "--permission=workspace-write --add-dir . --arg=--fast --arg=--n=1 agent x";
    for (args, printed, said) in [
        ("agent x", none, unset),
        ("--detach agent x", none, unset),
        ("-q agent x", none, ""),
        ("--json agent x", none, ""),
        ("--permission full agent x", all, ""),
        ("careful x", look, "read-only, by default_permission"),
        ("--permission=full careful x", all, ""),
        (all_options, &with_dir, ""),
        ("hello x", "hello: reading the prompt\n", ""),
    ] {
        let words: Vec<&str> = args.split(' ').collect();
        let ran = coven.cli([&["run"], &words[..]].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        let is_shown = !args.contains("--json") && !args.contains("--detach");
        assert!(!is_shown || ran.out.starts_with(printed), "{ran:?}");
        assert_eq!(
            ran.err.lines().count(),
            usize::from(!said.is_empty()),
            "{ran:?}"
        );
        assert!(ran.err.contains(said), "{ran:?}");
    }
}

#[test]
fn run_takes_a_permission_from_the_setting_unless_an_option_gives_one() {
    let coven = Coven::start();
    coven.harness_with("agent", ARGUMENTS, keys());
    let with_setting = |word: &str, args: &[&str]| {
        let mut command = coven.command([&["run"], args].concat());
        Ran::of(command.env("COVEN_PERMISSION", word).output().unwrap())
    };
    let ran = with_setting("read-only", &["agent", "x"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "[--may]\n[look]\n"),
        "{ran:?}"
    );
    assert_eq!(
        ran.err,
        "coven: agent runs with permission read-only, by COVEN_PERMISSION\n"
    );
    let ran = with_setting("read-only", &["--permission", "full", "agent", "x"]);
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str()),
        ("[--may]\n[all]\n", "")
    );
    let ran = with_setting("read-only", &["hello", "x"]);
    assert!(
        ran.code != 0 && ran.err.contains("has no permission read-only"),
        "{ran:?}"
    );
    let ran = with_setting("all", &["hello", "x"]);
    assert!(ran.err.contains("(invalid_setting)"), "{ran:?}");
    assert_eq!(
        coven.cli(["run", "--permission", "all", "hello", "x"]).code,
        2
    );
}

#[test]
fn adapters_show_prints_each_command_line_and_the_version() {
    let coven = Coven::start();
    coven.program("codex", "echo codex-cli 7.8.9");
    let shown = coven.cli(["adapters", "show", "codex"]);
    for part in [
        "codex-cli 7.8.9",
        "codex login",
        "npm install -g @openai/codex",
        "codex exec --skip-git-repo-check --color never - < prompt",
        "codex exec --skip-git-repo-check --color never --sandbox danger-full-access - < prompt",
        "nonInteractive  read-only        no",
        "nonInteractive  workspace-write  yes",
    ] {
        assert!(shown.out.contains(part), "{part}: {shown:?}");
    }
    let opencode = coven.cli(["adapters", "show", "opencode"]);
    let denied = r#"'OPENCODE_PERMISSION={"edit":"deny","bash":"deny"}' opencode run < prompt"#;
    assert!(opencode.out.contains(denied), "{opencode:?}");
    assert!(
        opencode.out.contains("run adds") && opencode.out.contains("--format json"),
        "{opencode:?}"
    );
    let hello: Value =
        serde_json::from_str(&coven.cli(["adapters", "show", "--json", "hello"]).out).unwrap();
    let argv = &hello["adapter"]["commands"][0]["argv"];
    assert_eq!(*argv, json!(["coven", "__hello", "--", "<prompt>"]));
    let unknown = coven.cli(["adapters", "show", "nobody"]);
    assert!(
        unknown.code == 1 && unknown.err.contains("nobody"),
        "{unknown:?}"
    );
    let health = coven.get("/api/v1/health").json();
    for flag in ["sessionLaunchPolicy", "launchArgs"] {
        assert_eq!(health["capabilities"][flag], true, "{flag}");
    }
    let record = coven.run("hello", "x");
    let record = coven.cli(["show", record["id"].as_str().unwrap()]);
    assert!(
        record.out.contains("coven __hello -- <prompt>"),
        "{record:?}"
    );
}
