//! The end of a harness's stdin: by the API, by `coven input`, by `coven attach`.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::*;

/// A session of `sort`, which says nothing before its stdin ends.
fn sorting(coven: &Coven) -> String {
    coven.harness_with("sorts", "exec sort", json!({ "stdin": "open" }));
    coven.launch("sorts", "x")
}

fn sorted(coven: &Coven, id: &str) -> String {
    let events = coven.events_to_end(id);
    assert_eq!(coven.ended(id)["exit_code"], 0);
    String::from_utf8(output(&events, "stdout")).unwrap()
}

#[test]
fn a_filter_ends_by_itself_when_its_input_ends() {
    let coven = Coven::start();
    let long: String = (0..40_000).map(|n| format!("{}\n", 99_999 - n)).collect();
    let (mut lines, bodies): (Vec<&str>, _) = (
        long.lines().collect(),
        [
            vec![json!({ "data": "b\na\n", "eof": true })],
            vec![
                json!({ "data": "b\n" }),
                json!({ "data": "a\n", "eof": true }),
            ],
            vec![
                json!({ "input": "b\n" }),
                json!({ "text": "a\n" }),
                json!({ "eof": true }),
            ],
            // More than a pipe holds.
            vec![json!({ "data": long, "eof": true })],
            vec![json!({ "eof": true })],
        ],
    );
    lines.sort_unstable();
    let expected = ["a\nb\n", "a\nb\n", "a\nb\n", &(lines.join("\n") + "\n"), ""];
    for (bodies, expected) in bodies.iter().zip(expected) {
        let id = sorting(&coven);
        for body in bodies {
            let answer = coven.post_to(&id, "input", body);
            assert_eq!(answer.status, 202, "{}", answer.text());
        }
        assert_eq!(sorted(&coven, &id), expected);
    }
}

#[test]
fn the_end_of_input_is_on_record_behind_the_last_of_it() {
    let coven = Coven::start();
    let id = sorting(&coven);
    let data = "é".repeat(40_000);
    coven.post_to(&id, "input", &json!({ "data": data, "eof": true }));
    let events = coven.events_to_end(&id);
    let inputs = typed(&events);
    let ends: Vec<&Value> = inputs.iter().map(|input| &input["eof"]).collect();
    assert_eq!(ends, [&Value::Null, &json!(true)]);
    let ran = coven.cli(["log", &id]);
    assert!(ran.out.contains("(end of file)"), "{ran:?}");
}

#[test]
fn nothing_follows_the_end_of_input_but_it_can_be_repeated() {
    let coven = Coven::start();
    let script = "cat; echo at end; exec sleep 600";
    coven.harness_with("stays", script, json!({ "stdin": "open" }));
    let id = coven.launch("stays", "x");
    let end = json!({ "eof": true });
    assert_eq!(coven.post_to(&id, "input", &end).status, 202);
    coven.wait_for_output(&id, "at end");
    assert_eq!(coven.post_to(&id, "input", &end).status, 202);
    for body in [json!({ "data": "x" }), json!({ "data": "x", "eof": true })] {
        coven
            .post_to(&id, "input", &body)
            .assert_error(500, "send_input_failed");
    }
    assert_eq!(coven.session(&id)["status"], "running");
}

#[test]
fn input_that_is_not_read_before_the_end_is_reported() {
    let coven = Coven::start();
    let script = "exec <&-; echo ready; exec sleep 600";
    coven.harness_with("deaf", script, json!({ "stdin": "open" }));
    let id = coven.launch("deaf", "x");
    coven.wait_for_output(&id, "ready");
    coven.post_to(&id, "input", &json!({ "data": "lost", "eof": true }));
    coven.events_until(&id, |event| event["kind"] == "error");
}

#[test]
fn a_harness_without_a_stdin_has_no_end_of_input() {
    let coven = Coven::start();
    coven.harness("deaf", "exec sleep 600");
    let id = coven.launch("deaf", "x");
    coven
        .post_to(&id, "input", &json!({ "eof": true }))
        .assert_error(422, "input_not_accepted");
}

#[test]
fn the_cli_ends_the_input_of_a_session() {
    let coven = Coven::start();
    for (args, input, expected) in [
        (&["ID", "--eof"][..], "", "b\n"),
        (&["--eof", "ID"], "", "b\n"),
        (&["ID", "a", "c", "--eof"], "", "a c\nb\n"),
        (&["-n", "--eof", "ID", "a"], "", "a\nb\n"),
        (&["ID", "-", "--eof"], "c\na\n", "a\nb\nc\n"),
    ] {
        let id = sorting(&coven);
        assert_eq!(coven.cli(["input", &id, "b"]).code, 0);
        let args = args.iter().map(|arg| arg.replace("ID", &id));
        let args: Vec<String> = std::iter::once("input".into()).chain(args).collect();
        let ran = coven.cli_with_input(&args, input.as_bytes());
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
        assert_eq!(sorted(&coven, &id), expected, "{args:?}");
    }
}

#[test]
fn the_end_of_what_is_piped_into_attach_ends_a_filter() {
    let coven = Coven::start();
    let id = sorting(&coven);
    let mut attach = coven.spawn(["attach", &id]);
    let mut stdin = attach.stdin.take().unwrap();
    stdin.write_all(b"b\na\n").unwrap();
    drop(stdin);
    let ran = finish(attach);
    assert_eq!((ran.code, ran.out.as_str()), (0, "a\nb\n"), "{ran:?}");
}

#[test]
fn ctrl_d_in_attach_ends_a_filter_also_without_a_line() {
    let coven = Coven::start();
    for (typed, expected) in [("b\na\n\u{4}", "a\nb\n"), ("\u{4}", "")] {
        let id = sorting(&coven);
        let (mut keyboard, stdin) = terminal();
        let mut attach = coven.command(["attach", &id]);
        attach.stdin(stdin).stdout(Stdio::piped());
        let attach = attach.stderr(Stdio::piped()).spawn().unwrap();
        keyboard.write_all(typed.as_bytes()).unwrap();
        let ran = finish(attach);
        assert_eq!((ran.code, ran.out.as_str()), (0, expected), "{ran:?}");
    }
}

#[test]
fn an_attach_without_any_input_ends_nobodys() {
    let coven = Coven::start();
    let script = "echo ready; read -r line; echo \"got $line\"";
    coven.harness_with("reads", script, json!({ "stdin": "open" }));
    let id = coven.launch("reads", "x");
    // Its stdin is /dev/null, the other's a pipe that is closed at once.
    let null = coven
        .command(["attach", &id])
        .stdout(Stdio::piped())
        .spawn();
    let mut null = null.unwrap();
    let mut closed = coven.spawn(["attach", &id]);
    drop(closed.stdin.take());
    read_until(null.stdout.as_mut().unwrap(), "ready\n");
    read_until(closed.stdout.as_mut().unwrap(), "ready\n");
    assert_eq!(coven.input(&id, "typed\n").status, 202);
    assert_eq!(finish(null).out, "got typed\n");
    assert_eq!(finish(closed).out, "got typed\n");
}

/// The recorded input of an ended session; none of it may follow the closing status.
fn recorded(coven: &Coven, id: &str) -> String {
    coven.events_to_end(id);
    let events = coven.events(id);
    assert_eq!(events.last().unwrap()["kind"], "status", "{events:?}");
    let inputs = typed(&events).into_iter();
    inputs
        .map(|input| input["data"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn input_accepted_right_before_a_kill_is_on_record_before_the_end() {
    let coven = Coven::start();
    coven.harness_with("deaf", "exec sleep 600", json!({ "stdin": "open" }));
    for _ in 0..10 {
        let id = coven.launch("deaf", "x");
        // What may be the beginning of a token is held back.
        assert_eq!(coven.input(&id, "last words: gh").status, 202);
        assert_eq!(coven.kill_session(&id).status, 202);
        assert_eq!(recorded(&coven, &id), "last words: gh");
    }
}

#[test]
fn input_accepted_while_a_harness_exits_is_on_record_before_the_end() {
    let coven = Coven::start();
    coven.harness_with("brief", "read -r line", json!({ "stdin": "open" }));
    for _ in 0..20 {
        let id = coven.launch("brief", "x");
        assert_eq!(coven.input(&id, "go\n").status, 202);
        let mut accepted = "go\n".to_owned();
        loop {
            let answer = coven.input(&id, "gh");
            if answer.status != 202 {
                let code = answer.json()["error"]["code"].clone();
                assert!(
                    ["session_not_live", "send_input_failed"].contains(&code.as_str().unwrap())
                );
                break;
            }
            accepted += "gh";
        }
        assert_eq!(recorded(&coven, &id), accepted);
    }
}
