//! `coven rerun`: a session is started again with all that it was started with, or it is said what is missing.

use std::fs;

use serde_json::{Value, json};

use crate::support::*;

/// The harness, and the variables and options of this launch.
const OF_ONE_START: [&str; 12] = [
    "id",
    "created_at",
    "updated_at",
    "started_at",
    "ended_at",
    "pid",
    "cpu_ms",
    "peak_rss_bytes",
    "stdout_bytes",
    "stdout_lines",
    "last_seq",
    "status",
];

/// A session's launch options and its end.
fn again(mut record: Value) -> Value {
    let fields = record.as_object_mut().unwrap();
    OF_ONE_START.iter().for_each(|name| {
        assert!(fields.remove(*name).is_some(), "{name}");
    });
    record
}

/// The newest session, once it has ended.
fn newest(coven: &Coven) -> Value {
    coven.ended(coven.sessions()[0]["id"].as_str().unwrap())
}

#[test]
fn a_session_is_started_again_with_all_that_it_was_started_with() {
    let coven = Coven::start();
    let script = "pwd; printf '[%s]' \"$@\"; echo \" $TOKEN\"; exit 3";
    let keys = json!({
        "sandbox": { "flag": "--may", "read_only": "look", "workspace_write": "edit", "full": "all" },
        "add_dir_flag": "--dir", "model_flag": "-m",
    });
    coven.harness_with("works", script, keys);
    for dir in ["inside", "further"] {
        fs::create_dir(coven.work().join(dir)).unwrap();
    }
    let options = "run works --root . --cwd inside --title T --model m/1 --labels a,b --visibility shared \
        --permission read-only --add-dir further --arg=-v --arg=--deep --timeout 100 --idle-timeout 90 \
        --archive --sweep -q -e TOKEN=first -e OTHER=x --";
    let words = options.split_ascii_whitespace();
    let prompt = "say \"it\"\nand -- é";
    let ran = coven.cli(words.chain([prompt]));
    assert_eq!(ran.code, 3, "{ran:?}");
    let first = newest(&coven);
    let id = first["id"].as_str().unwrap();
    // From elsewhere, with a setting that says otherwise.
    let mut rerun = coven.command(["rerun", "-q", &id[..8]]);
    rerun.env("TOKEN", "second").env("OTHER", "y");
    rerun.env("COVEN_PERMISSION", "full").current_dir("/");
    let reran = Ran::of(rerun.output().unwrap());
    assert_eq!((reran.code, reran.err.as_str()), (3, ""), "{reran:?}");
    assert_eq!(reran.out, ran.out.replace(" first\n", " second\n"));
    let second = newest(&coven);
    assert_ne!(second["id"], first["id"]);
    assert_eq!(second["status"], first["status"]);
    assert_eq!(
        payload(&coven.events(second["id"].as_str().unwrap())[1])["data"],
        prompt
    );
    let (first, second) = (again(first), again(second));
    assert_eq!(second, first);
    for (field, value) in [
        ("timeout_ms", json!(100_000)),
        ("idle_timeout_ms", json!(90_000)),
        ("max_tokens", Value::Null),
        ("sweep", json!(true)),
        ("on_end", json!("archive")),
        ("permission", json!("read-only")),
        ("env_names", json!(["OTHER", "TOKEN"])),
    ] {
        assert_eq!(second[field], value, "{field}");
    }
}

#[test]
fn a_variable_that_this_shell_lacks_is_a_usage_error_and_starts_nothing() {
    let coven = Coven::start();
    let record = coven
        .try_launch(
            "hello",
            "x",
            json!({ "env": { "GIVEN": "1", "LACKING": "2" } }),
        )
        .json();
    let mut rerun = coven.command(["rerun", record["id"].as_str().unwrap()]);
    let ran = Ran::of(rerun.env("GIVEN", "1").output().unwrap());
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert!(
        ran.err.contains("LACKING: it is not set in this shell"),
        "{ran:?}"
    );
    assert_eq!(coven.sessions().len(), 1);
}

#[test]
fn a_session_with_a_cut_record_cannot_be_rerun_and_the_error_names_the_command() {
    let coven = Coven::new().env("COVEN_LOG_RETENTION_DAYS", "0");
    coven.harness_with("reads", "cat > /dev/null", json!({ "prompt": "stdin" }));
    coven.start_daemon();
    let secret = "ghp_0123456789abcdefghijklmnopqrstuvwxyz";
    let pruned = coven.launch("reads", "x");
    coven.events_to_end(&pruned);
    assert_eq!(
        coven.post("/api/v1/store/prune", &json!({})).json()["events"],
        1
    );
    let external = external_id(1);
    coven.register(&external, json!({}));
    let long = coven.launch("reads", &"y".repeat(70_000));
    let redacted = coven.launch("reads", &format!("use {secret}"));
    let in_argument = coven
        .try_launch("reads", "x", json!({ "args": [secret] }))
        .id();
    let count = coven.sessions().len();
    for (id, why) in [
        (&pruned, "its prompt is gone by retention"),
        (&external, "coven has not launched it"),
        (
            &long,
            "its prompt has 70000 bytes, of which 65536 are on record",
        ),
        (&redacted, "holds a secret, which is not on record"),
        (&in_argument, "holds a secret, which is not on record"),
    ] {
        let ran = coven.cli(["rerun", id]);
        assert_eq!((ran.code, ran.out.as_str()), (125, ""), "{ran:?}");
        assert!(ran.err.contains(why), "{ran:?}");
        let harness = coven.session(id)["harness"].as_str().unwrap().to_owned();
        assert!(
            ran.err
                .contains(&format!("try: coven run {harness} --file FILE")),
            "{ran:?}"
        );
    }
    // The session's limit has taken the end of a prompt, whose beginning is kept.
    let gone = "DELETE FROM events WHERE seq = 3 AND kind = 'input'";
    let two = coven.launch("reads", &"\"".repeat(40_000));
    coven.events_to_end(&two);
    assert_eq!(coven.cli(["rerun", "-q", &two]).code, 0);
    assert_eq!(coven.database().execute(gone, []).unwrap(), 3);
    let ran = coven.cli(["rerun", &two]);
    assert!(ran.err.contains("a part of its prompt is gone"), "{ran:?}");
    assert_eq!(coven.sessions().len(), count + 2);
    assert_eq!(coven.cli(["rerun", "ffff"]).code, 125);
}

#[test]
fn rerun_prints_what_run_prints() {
    let coven = Coven::start();
    let first = coven.cli(["run", "hello", "hi"]);
    let id = newest(&coven)["id"].as_str().unwrap().to_owned();
    let again = coven.cli(["rerun", &id]);
    assert_eq!(
        (again.code, again.out, again.err),
        (0, first.out, first.err)
    );
    let detached = coven.cli(["rerun", "--detach", &id]).out;
    assert_eq!(detached.trim(), newest(&coven)["id"]);
    let record = coven.cli(["rerun", "--detach", "--json", &id]).json();
    assert_eq!(record["id"], newest(&coven)["id"]);
    let events = coven.cli(["rerun", "--json", &id]).out;
    let first: Value = serde_json::from_str(events.lines().next().unwrap()).unwrap();
    assert_eq!(first["session_id"], newest(&coven)["id"]);
    // Where no daemon runs, it starts one.
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    assert_eq!(coven.cli(["rerun", &id]).code, 0);
    assert_eq!(coven.sessions().len(), 6);
}

#[test]
fn a_session_goes_on_again_with_the_conversation_that_it_went_on_with_and_else_begins_one() {
    let coven = Coven::start();
    coven.conversing("agent");
    let begun = coven.run("agent", "begin");
    let begun = begun["id"].as_str().unwrap();
    let said = coven.cli(["rerun", begun]).out;
    let own = newest(&coven)["id"].as_str().unwrap().to_owned();
    assert_eq!(said, format!("begin --id {own} -- begin\n"));
    let went_on = format!("go --on {begun} -- on\n");
    assert_eq!(
        coven.cli(["run", "--continue", begun, "agent", "on"]).out,
        went_on
    );
    let second = newest(&coven);
    assert_eq!(
        coven.cli(["rerun", second["id"].as_str().unwrap()]).out,
        went_on
    );
    let third = newest(&coven);
    assert_eq!(third["continued_from"], second["id"]);
    assert_eq!(third["status"], "idle");
    // The client's own word for a conversation stays, its id of the harness's is used up.
    let label = coven
        .try_launch("agent", "x", json!({ "conversationId": "mine" }))
        .id();
    coven.events_to_end(&label);
    assert_eq!(coven.cli(["rerun", &label]).code, 0);
    assert_eq!(newest(&coven)["conversation_id"], "mine");
    let init = json!({ "conversation": { "mode": "init", "id": "c-1" } });
    let init = coven.try_launch("agent", "x", init).id();
    coven.events_to_end(&init);
    assert_eq!(coven.cli(["rerun", &init]).code, 0);
    assert_eq!(newest(&coven)["conversation_id"], Value::Null);
}

#[test]
fn a_stream_session_is_asked_its_prompt_again_and_ends() {
    let coven = Coven::start();
    coven.streaming("agent");
    let id = coven
        .try_launch("agent", "one", json!({ "launchMode": "stream" }))
        .id();
    coven.post_to(&id, "input", &json!({ "data": "two", "eof": true }));
    coven.events_to_end(&id);
    let ran = coven.cli(["rerun", &id]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "answer 1\n"), "{ran:?}");
    assert_eq!(newest(&coven)["launch_mode"], "stream");
    // What is counted is told as JSON, and shown as text.
    let counted = coven.cli(["run", "--max-tokens", "1000", "agent", "{}"]);
    let first = newest(&coven);
    let again = coven.cli(["rerun", first["id"].as_str().unwrap()]);
    assert_eq!((again.code, again.out), (counted.code, counted.out));
    let second = newest(&coven);
    assert_eq!(
        (&second["args"], &second["max_tokens"]),
        (&first["args"], &json!(1000))
    );
}
