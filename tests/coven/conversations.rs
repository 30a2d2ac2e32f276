//! A harness's own conversations: begun under an id, gone on with, and found again by `--continue`.

use serde_json::{Value, json};

use crate::support::*;

/// The id of no session.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

impl Coven {
    /// A harness that can be given the id of its conversation, and shows its arguments.
    pub fn conversing(&self, id: &str) {
        let keys = json!({
            "capabilities": { "preassigned_session_id": true },
            "continuity_args": {
                "init_prefix_args": ["begin"], "resume_prefix_args": ["go"],
                "session_id_flag": "--id", "resume_flag": "--on",
            },
        });
        self.harness_with(id, r#"echo "$*""#, keys);
    }

    fn launch_in(&self, harness: &str, mode: &str, conversation: &str) -> Value {
        let fields = json!({ "conversation": { "mode": mode, "id": conversation } });
        let answer = self.try_launch(harness, "hi", fields);
        assert_eq!(answer.status, 201, "{}", answer.text());
        self.ended(answer.json()["id"].as_str().unwrap())
    }

    /// The session's output.
    fn said(&self, record: &Value) -> String {
        let events = self.events_to_end(record["id"].as_str().unwrap());
        String::from_utf8(output(&events, "stdout")).unwrap()
    }

    /// The newest session.
    fn newest(&self) -> Value {
        self.sessions().remove(0)
    }
}

#[test]
fn a_conversation_is_begun_and_gone_on_with_under_its_id() {
    let coven = Coven::start();
    coven.conversing("agent");
    let first = coven.launch_in("agent", "init", "c-1.a_b");
    assert_eq!(coven.said(&first), "begin --id c-1.a_b -- hi\n");
    assert_eq!(first["status"], "idle");
    assert_eq!(first["conversation_id"], "c-1.a_b");
    assert_eq!(first["harness_session_id"], "c-1.a_b");
    assert_eq!(first["continued_from"], Value::Null);
    let second = coven.launch_in("agent", "resume", "c-1.a_b");
    assert_eq!(coven.said(&second), "go --on c-1.a_b -- hi\n");
    assert_eq!(second["continued_from"], first["id"]);
    let third = coven.launch_in("agent", "resume", "c-1.a_b");
    assert_eq!(third["continued_from"], second["id"]);
}

#[test]
fn a_session_that_is_not_begun_with_an_id_is_given_one() {
    let coven = Coven::start();
    coven.conversing("agent");
    let record = coven.run("agent", "hi");
    let id = record["id"].as_str().unwrap();
    assert_eq!(coven.said(&record), format!("begin --id {id} -- hi\n"));
    assert_eq!(record["harness_session_id"], id);
    // It is no conversation of the client's.
    assert_eq!(record["conversation_id"], Value::Null);
    assert_eq!(record["status"], "completed");
    // Who names the conversation among the arguments is left alone.
    for args in ["--on x", "--id=x", "--continue"] {
        let words: Vec<&str> = args.split(' ').collect();
        let answer = coven.try_launch("agent", "hi", json!({ "args": words }));
        let record = coven.ended(answer.json()["id"].as_str().unwrap());
        assert!(!coven.said(&record).starts_with("begin"), "{args}");
        assert_eq!(record["harness_session_id"], Value::Null);
    }
}

#[test]
fn a_conversation_that_cannot_be_is_refused_before_there_is_a_session() {
    let coven = Coven::start();
    coven.conversing("agent");
    coven.harness("plain", "true");
    let told_only = json!({ "continuity_args": {
        "init_prefix_args": [], "resume_prefix_args": ["resume"] } });
    coven.harness_with("told", "true", told_only);
    let id = |mode: &str, id: Value| json!({ "mode": mode, "id": id });
    for (harness, conversation) in [
        ("agent", json!("x")),
        ("agent", json!({})),
        ("agent", json!({ "mode": "init" })),
        ("agent", json!({ "id": "x" })),
        ("agent", id("new", json!("x"))),
        ("agent", id("init", json!(""))),
        ("agent", id("init", json!(7))),
        ("agent", id("resume", json!("--dangerous"))),
        ("agent", id("resume", json!("../x"))),
        ("agent", id("resume", json!("a b"))),
        ("agent", id("resume", json!("x".repeat(129)))),
        ("plain", id("init", json!("x"))),
        ("plain", id("resume", json!("x"))),
        ("told", id("init", json!("x"))),
    ] {
        let answer = coven.try_launch(harness, "hi", json!({ "conversation": conversation }));
        let details = answer.assert_error(400, "invalid_request");
        let field = details["field"].as_str().unwrap();
        assert!(
            field.starts_with("conversation"),
            "{harness} {conversation}: {field}"
        );
    }
    let fields = json!({ "conversation": id("init", json!("x")), "conversationId": "y" });
    let details = coven
        .try_launch("agent", "hi", fields)
        .assert_error(400, "invalid_request");
    assert_eq!(details["field"], "conversationId");
    assert_eq!(coven.sessions(), Vec::<Value>::new());
}

#[test]
fn continue_goes_on_with_the_newest_ended_session_of_the_project_also_after_a_crash() {
    let coven = Coven::start();
    coven.conversing("agent");
    coven.conversing("other");
    let first = coven.run("agent", "one");
    coven.run("other", "two");
    coven.crash();
    coven.start_daemon();
    let ran = coven.cli(["run", "--continue", "--", "agent", "three"]);
    let id = first["id"].as_str().unwrap();
    assert_eq!((ran.code, ran.out), (0, format!("go --on {id} -- three\n")));
    let second = coven.newest();
    assert_eq!(second["continued_from"], id);
    assert_eq!(second["harness_session_id"], id);

    // Elsewhere there is none.
    let elsewhere = coven.bin();
    let elsewhere = elsewhere.to_str().unwrap();
    let ran = coven.cli(["run", "--root", elsewhere, "--continue=", "agent", "x"]);
    assert_eq!(ran.code, 125, "{ran:?}");
    assert!(ran.err.contains("session_not_found"), "{ran:?}");
}

#[test]
fn continue_finds_a_session_by_each_of_its_ids() {
    let coven = Coven::start();
    coven.conversing("agent");
    coven.conversing("other");
    let own_id = "01a218fb-c4cb-7990-a542-3c936d7eae1e";
    let script = format!("echo 'session id: {own_id}' >&2; echo \"$*\"");
    let keys = json!({ "telemetry": "codex", "continuity_args": {
        "init_prefix_args": ["exec"], "resume_prefix_args": ["exec"], "resume_flag": "resume" } });
    coven.harness_with("coder", &script, keys);
    let told = coven.run("coder", "one");
    let mine = coven.launch_in("agent", "init", "my-talk");
    let session = mine["id"].as_str().unwrap();
    let resumed = format!("resume {own_id} -- x\n");
    for (id, harness, expected) in [
        (session, "agent", "go --on my-talk -- x\n"),
        ("my-talk", "agent", "go --on my-talk -- x\n"),
        (own_id, "coder", &resumed),
        (told["id"].as_str().unwrap(), "coder", &resumed),
    ] {
        let ran = coven.cli(["run", &format!("--continue={id}"), harness, "x"]);
        assert_eq!(ran.code, 0, "{id}: {ran:?}");
        assert!(ran.out.ends_with(expected), "{id}: {ran:?}");
    }
    for (id, harness, code) in [
        ("nothing", "agent", "session_not_found"),
        (NOBODY, "agent", "session_not_found"),
        ("my-talk", "other", "invalid_request"),
        (session, "other", "invalid_request"),
    ] {
        let ran = coven.cli(["run", &format!("--continue={id}"), harness, "x"]);
        assert_eq!(ran.code, 125, "{ran:?}");
        assert!(ran.err.contains(code), "{id}: {ran:?}");
    }
}

#[test]
fn a_harness_that_tells_its_id_in_its_json_form_only_is_run_in_that_and_gone_on_with() {
    let coven = Coven::start();
    let recorded = include_str!("recorded/opencode-run.jsonl");
    std::fs::write(coven.work().join("recorded"), recorded).unwrap();
    let keys = json!({ "telemetry": "opencode", "continuity_args": {
        "init_prefix_args": [], "resume_prefix_args": [], "resume_flag": "--session" } });
    let script = r#"case "$*" in *json*) cat recorded;; *) echo plain;; esac"#;
    coven.harness_with("opener", script, keys);
    let id = "ses_de60f10d8ffe4E6Le8yykXYpbE";
    let answer = "heard 1 turns, the last of 39 characters; cmd write\n";
    let shown = (0, answer.to_owned(), "write repo/x.txt\n".to_owned());
    let ran = coven.cli(["run", "opener", "--", "one"]);
    assert_eq!((ran.code, ran.out, ran.err), shown);
    let first = coven.newest();
    assert_eq!(first["harness_session_id"], id);
    assert_eq!(first["usage"]["input_tokens"], 20);
    let ran = coven.cli(["run", "opener", "--continue", "--", "two"]);
    assert_eq!((ran.code, ran.out, ran.err), shown);
    let second = coven.newest();
    assert_eq!(second["continued_from"], first["id"]);
    let argv = format!("opener --format json --session {id} -- <prompt>");
    assert_eq!(second["argv"], json!(argv.split(' ').collect::<Vec<_>>()));
    let ran = coven.cli_with_input(["chat", "opener"], b"one\ntwo\n");
    assert_eq!((ran.code, ran.out), (0, answer.repeat(2)));
    let id = coven.cli(["run", "--detach", "opener", "x"]).out;
    let ran = coven.cli(["attach", id.trim()]);
    assert_eq!((ran.code, ran.out, ran.err), shown);
    // Who names the form gets that.
    let ran = coven.cli(["run", "--arg=--format=default", "opener", "x"]);
    assert_eq!(ran.out, "plain\n", "{ran:?}");
    assert_eq!(coven.newest()["harness_session_id"], Value::Null);
}

#[test]
fn continue_of_a_session_that_runs_names_attach() {
    let coven = Coven::start();
    coven.conversing("agent");
    let keys = json!({ "capabilities": { "preassigned_session_id": true }, "continuity_args": {
        "init_prefix_args": [], "resume_prefix_args": [], "session_id_flag": "--id", "resume_flag": "--on" } });
    coven.harness_with("slow", "sleep 1000", keys);
    let id = coven.launch("slow", "x");
    for option in ["--continue=".to_owned(), format!("--continue={id}")] {
        let ran = coven.cli(["run", &option, "slow", "x"]);
        assert_eq!(ran.code, 125, "{ran:?}");
        assert!(ran.err.contains(&format!("coven attach {id}")), "{ran:?}");
    }
}

#[test]
fn a_harness_that_has_told_no_id_cannot_be_continued() {
    let coven = Coven::start();
    coven.harness("plain", "true");
    let record = coven.run("plain", "x");
    let id = record["id"].as_str().unwrap();
    let ran = coven.cli(["run", &format!("--continue={id}"), "plain", "x"]);
    assert!(ran.err.contains("plain has told no id"), "{ran:?}");
}

#[test]
fn the_word_behind_continue_is_its_id_only_if_it_can_be_one() {
    let coven = Coven::start();
    coven.conversing("agent");
    let named = coven.launch_in("agent", "init", "agent");
    let begun = coven.launch_in("agent", "init", "talk");
    let prefix = &named["id"].as_str().unwrap()[..8];
    let uuid = begun["id"].as_str().unwrap();
    let table = "
        # The newest, where no id follows: each run is then the newest of its conversation.
        --continue agent x         -> talk -- x
        agent --continue -- x      -> talk -- x
        agent x --continue         -> talk -- x
        agent --continue fix it    -> talk -- fix it
        agent --continue fix_it    -> talk -- fix it
        agent --continue abc x     -> talk -- abc x
        # The name of a harness is none, but for `=`.
        --continue=agent agent x   -> agent -- x
        --continue talk agent x    -> talk -- x
        agent --continue PREFIX x  -> agent -- x
        agent --continue UUID -- x -> talk -- x";
    for (typed, expected) in rows(&table.replace("PREFIX", prefix).replace("UUID", uuid)) {
        let ran = coven.cli([vec!["run".to_owned()], words(typed)].concat());
        let expected = format!("go --on {expected}\n");
        assert_eq!((ran.code, &ran.out), (0, &expected), "{typed}: {ran:?}");
    }
    let ran = coven.cli_with_input(["chat", "agent", "--continue", "talk"], b"x\n");
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "go --on talk -- x\n"),
        "{ran:?}"
    );
    // A UUID is an id, whether or not there is such a session.
    let ran = coven.cli(["run", "--continue", NOBODY, "agent", "x"]);
    assert!(ran.err.contains("session_not_found"), "{ran:?}");
}
