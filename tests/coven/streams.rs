//! Conversations in stream-json: a harness that reads messages and writes lines, `run --stream-json`, and `chat`.

use serde_json::{Value, json};

use crate::support::*;

/// An agent that keeps what it reads, and answers each line as claude does.
const AGENT: &str = r#"echo "$*" > args
while read -r line; do
    n=$((n+1)); printf '%s\n' "$line" >> lines
    printf '{"type":"system","subtype":"init","session_id":"conv-1","model":"m-1"}\n'
    printf '{"type":"assistant","message":{"id":"m%s","content":[{"type":"text","text":"answer %s"}]}}\n' $n $n
    printf '{"type":"result","subtype":"success","is_error":false,"num_turns":1,"session_id":"conv-1","usage":{"input_tokens":10,"output_tokens":5}}\n'
done"#;

impl Coven {
    /// A harness with a stream form, which answers each line.
    pub fn streaming(&self, id: &str) {
        let keys = json!({
            "telemetry": "claude",
            "capabilities": { "stream": true },
            "stream_args": { "prefix_args": ["--output-format", "stream-json"], "session_id_flag": "--id", "resume_flag": "--on" },
            "continuity_args": { "init_prefix_args": [], "resume_prefix_args": [], "session_id_flag": "--id", "resume_flag": "--on" },
        });
        self.harness_with(id, AGENT, keys);
    }
}

/// A message as the harness reads it.
fn line(text: &str) -> String {
    let text = json!(text);
    format!(
        r#"{{"type":"user","message":{{"role":"user","content":[{{"type":"text","text":{text}}}]}}}}"#
    ) + "\n"
}

fn lines_of(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line}")))
        .collect()
}

#[test]
fn prompt_and_input_of_a_stream_session_are_lines_of_messages() {
    let coven = Coven::start();
    coven.streaming("agent");
    let answer = coven.try_launch("agent", "one\n\"two\"", json!({ "launchMode": "stream" }));
    assert_eq!(answer.status, 201, "{}", answer.text());
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.json()["launch_mode"], "stream");
    coven.wait_for_output(&id, "answer 1");
    assert_eq!(coven.input(&id, "drei\nvier").status, 202);
    coven.wait_for_output(&id, "answer 2");
    let end = json!({ "data": "five", "eof": true });
    assert_eq!(coven.post_to(&id, "input", &end).status, 202);
    let record = coven.ended(&id);
    assert_eq!(
        coven.work_file("lines"),
        line("one\n\"two\"") + &line("drei\nvier") + &line("five")
    );
    assert_eq!(record["status"], "completed");
    assert_eq!(record["usage"]["num_turns"], 3);
    assert_eq!(record["harness_session_id"], "conv-1");
    // What was said is on record as it was sent.
    let events = coven.events(&id);
    let inputs = typed(&events);
    assert!(
        inputs.iter().any(|input| input["data"] == "drei\nvier"),
        "{inputs:?}"
    );
}

#[test]
fn a_stream_is_refused_where_the_harness_has_none() {
    let coven = Coven::start();
    let answer = coven.try_launch("hello", "x", json!({ "launchMode": "stream" }));
    assert_eq!(
        answer.assert_error(400, "invalid_request")["field"],
        "launchMode"
    );
    assert_eq!(coven.sessions(), Vec::<Value>::new());
}

#[test]
fn a_stream_is_begun_and_gone_on_with_under_an_id() {
    let coven = Coven::start();
    coven.streaming("agent");
    for (mode, flag) in [("init", "--id"), ("resume", "--on")] {
        let fields =
            json!({ "launchMode": "stream", "conversation": { "mode": mode, "id": "c1" } });
        let id = coven.try_launch("agent", "x", fields).json()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(
            coven.post_to(&id, "input", &json!({ "eof": true })).status,
            202
        );
        coven.ended(&id);
        assert_eq!(
            coven.work_file("args"),
            format!("--output-format stream-json {flag} c1\n")
        );
    }
}

#[test]
fn stream_json_passes_the_lines_of_a_streaming_harness_on_between_two_of_its_own() {
    let coven = Coven::start();
    coven.streaming("agent");
    let ran = coven.cli(["run", "--stream-json", "agent", "hi"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines = lines_of(&ran.out);
    let id = coven.sessions()[0]["id"].clone();
    let first = json!({ "type": "system", "subtype": "init", "cwd": coven.work(), "session_id": id,
        "tools": [], "agent_mode": null, "model": null });
    assert_eq!(lines[0], first);
    assert!(
        ran.out.starts_with(r#"{"type":"system","subtype":"init","#),
        "{ran:?}"
    );
    let kinds: Vec<&str> = lines
        .iter()
        .map(|line| line["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["system", "system", "assistant", "result", "result"]);
    let last = lines.last().unwrap();
    assert!(last["duration_ms"].is_u64(), "{last}");
    for (name, value) in [
        ("subtype", json!("success")),
        ("is_error", json!(false)),
        ("num_turns", json!(1)),
        ("session_id", id),
        ("harness_session_id", json!("conv-1")),
        ("error", Value::Null),
    ] {
        assert_eq!(last[name], value, "{last}");
    }
}

#[test]
fn messages_on_stdin_are_turns_of_one_session() {
    let coven = Coven::start();
    coven.streaming("agent");
    let message = |text: &str| {
        json!({ "role": "user", "content": [{ "type": "text", "text": text }] }).to_string()
    };
    let input = [
        message("one"),
        String::new(),
        message("two"),
        message("three"),
    ]
    .join("\n");
    let ran = coven.cli_with_input(
        ["run", "--stream-json", "--stream-json-input", "agent"],
        input.as_bytes(),
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        coven.work_file("lines"),
        line("one") + &line("two") + &line("three")
    );
    assert_eq!(lines_of(&ran.out).last().unwrap()["num_turns"], 3);
    assert_eq!(coven.sessions().len(), 1);

    let ran = coven.cli_with_input(
        ["run", "--stream-json", "--stream-json-input", "agent"],
        b"not a message\n",
    );
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert_eq!(coven.sessions().len(), 1);
}

#[test]
fn stream_json_of_codex_has_its_finished_messages() {
    let coven = Coven::start();
    std::fs::write(
        coven.work().join("out"),
        include_str!("recorded/codex-exec.jsonl"),
    )
    .unwrap();
    coven.harness_with(
        "coder",
        "echo \"$*\" > args; cat out",
        json!({ "telemetry": "codex" }),
    );
    let ran = coven.cli(["run", "--stream-json", "coder", "hi"]);
    assert_eq!(coven.work_file("args"), "--json -- hi\n");
    let lines = lines_of(&ran.out);
    let id = coven.sessions()[0]["id"].clone();
    let said = json!({ "type": "assistant", "session_id": id, "stop_reason": "end_turn",
        "message": { "role": "assistant", "content": [{ "type": "text", "text": "echo 2 users" }] } });
    assert_eq!((lines.len(), &lines[1]), (3, &said));
    assert_eq!(
        lines[2]["harness_session_id"],
        "01a218fb-c3bd-7bf1-9a26-544a9389d512"
    );
}

#[test]
fn stream_json_of_any_other_harness_has_the_prompt_and_each_piece_of_output() {
    let coven = Coven::start();
    coven.harness("plain", "echo out; echo err >&2; exit 3");
    let ran = coven.cli(["run", "--stream-json", "plain", "hi"]);
    assert_eq!((ran.code, ran.err.as_str()), (3, "err\n"));
    let lines = lines_of(&ran.out);
    let id = coven.sessions()[0]["id"].clone();
    let user = json!({ "type": "user", "session_id": id,
        "message": { "role": "user", "content": [{ "type": "text", "text": "hi" }] } });
    let output = json!({ "type": "output", "text": "out\n", "session_id": id });
    assert_eq!(lines[1..3], [user, output]);
    let last = &lines[3];
    assert_eq!(last["subtype"], "error_during_execution");
    assert_eq!(last["is_error"], true);
    assert_eq!(last["error"], "plain exited with 3");
}

#[test]
fn a_chat_with_a_streaming_harness_is_one_session() {
    let coven = Coven::start();
    coven.streaming("agent");
    let ran = coven.cli_with_input(["chat", "agent"], b"one\n\ntwo\n");
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "answer 1\nanswer 2\n"),
        "{ran:?}"
    );
    assert_eq!(coven.work_file("lines"), line("one") + &line("two"));
    let session = coven.sessions().remove(0);
    assert_eq!(session["status"], "completed");

    let ran = coven.cli_with_input(["chat", "--continue=", "agent"], b"three\n");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        coven.work_file("args"),
        "--output-format stream-json --on conv-1\n"
    );
    assert_eq!(coven.sessions()[0]["continued_from"], session["id"]);
}

#[test]
fn a_chat_with_a_harness_that_resumes_is_a_session_a_line() {
    let coven = Coven::start();
    let keys = json!({ "capabilities": { "preassigned_session_id": true }, "continuity_args": {
        "init_prefix_args": ["begin"], "resume_prefix_args": ["go"], "session_id_flag": "--id", "resume_flag": "--on" } });
    coven.harness_with("agent", "echo \"$1 $3 $5\"", keys);
    let ran = coven.cli_with_input(["chat", "agent"], b"one\ntwo\nthree\n");
    assert_eq!(ran.code, 0, "{ran:?}");
    let sessions = coven.sessions();
    let first = sessions.last().unwrap()["id"].as_str().unwrap();
    assert_eq!(
        ran.out,
        format!("begin {first} one\ngo {first} two\ngo {first} three\n")
    );
    let chain: Vec<&Value> = sessions
        .iter()
        .map(|session| &session["continued_from"])
        .collect();
    assert_eq!(
        chain,
        [&sessions[1]["id"], &sessions[2]["id"], &Value::Null]
    );
}

#[test]
fn a_chat_with_a_harness_that_can_do_neither_says_why_not() {
    let coven = Coven::start();
    let ran = coven.cli_with_input(["chat", "hello"], b"one\n");
    assert_eq!(ran.code, 125, "{ran:?}");
    assert!(ran.err.contains("hello holds no conversation"), "{ran:?}");
    assert_eq!(coven.sessions(), Vec::<Value>::new());
}
