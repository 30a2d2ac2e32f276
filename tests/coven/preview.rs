//! `GET /sessions/:id/log` and `coven log`: a session, readable.

use serde_json::{Value, json};

use crate::support::*;

const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// The preview, whose body no client refuses.
#[track_caller]
fn preview(coven: &Coven, id: &str) -> Vec<Value> {
    let answer = coven.get(&format!("/api/v1/sessions/{id}/log"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.body.len() <= 900_000, "{}", answer.body.len());
    let lines = answer.json().as_array().unwrap().clone();
    for line in &lines {
        let message = line["message"].as_str().unwrap();
        assert!(!message.chars().any(char::is_control), "{message:?}");
    }
    lines
}

/// `level message` of each line.
fn said(lines: &[Value]) -> Vec<String> {
    let word = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    lines
        .iter()
        .map(|line| format!("{} {}", word(line, "level"), word(line, "message")))
        .collect()
}

#[test]
fn a_preview_has_every_line_and_what_happened_in_the_order_of_its_events() {
    let coven = Coven::start();
    let id = coven.launch("hello", "stderr");
    let record = coven.ended(&id);
    let lines = preview(&coven, &id);
    let mut said = said(&lines);
    // Two pipes have no order between them.
    let stderr = said
        .iter()
        .position(|line| line.starts_with("warn hello: a note"))
        .unwrap();
    said.remove(stderr);
    let running = format!("info status: running (pid {})", record["pid"]);
    assert_eq!(
        said,
        [
            "info status: created",
            "info prompt: stderr",
            &running,
            "info hello: reading the prompt",
            "info hello: thinking",
            "info hello: you said: stderr",
            "info hello: done",
            "info exited with code 0",
            "info status: completed"
        ]
    );
    let times: Vec<&str> = lines
        .iter()
        .map(|line| line["ts"].as_str().unwrap())
        .collect();
    assert!(
        times.is_sorted() && times.iter().all(|ts| ts.len() == 24),
        "{times:?}"
    );
    let ran = coven.cli(["log", &id[..8]]);
    assert_eq!(
        (ran.code, ran.out.lines().count()),
        (0, lines.len()),
        "{ran:?}"
    );
    assert!(
        ran.out.contains("Z  warn   hello: a note on stderr"),
        "{ran:?}"
    );
    let json = coven.cli(["log", "--json", &id]);
    let first: Value = serde_json::from_str(json.out.lines().next().unwrap()).unwrap();
    assert_eq!(first, lines[0]);
}

#[test]
fn lines_are_put_together_and_escape_sequences_left_out() {
    let coven = Coven::start();
    let script = r#"printf 'one \033[1;3'; sleep 0.2; printf '1mred\033[0m line\nbar 10%%\r'; sleep 0.2
        printf '\033]0;title\007bar 100%%\r\n\377 no text\nno end'; exit 3"#;
    coven.harness("pretty", script);
    let record = coven.run("pretty", "x");
    let said = said(&preview(&coven, record["id"].as_str().unwrap()));
    assert_eq!(
        said[3..],
        [
            "info one red line",
            "info bar 100%",
            "info \u{fffd} no text",
            "info no end",
            "error exited with code 3",
            "error status: failed"
        ]
    );
}

#[test]
fn input_kills_and_failed_spawns_are_sentences() {
    let coven = Coven::start();
    coven.harness_with("echoer", "exec cat", json!({ "stdin": "open" }));
    let id = coven.launch("echoer", "x");
    assert_eq!(coven.input(&id, "a \u{1b}[2Jline\n").status, 202);
    coven.wait_for_output(&id, "line\n");
    assert_eq!(coven.kill_session(&id).status, 202);
    coven.ended(&id);
    assert_eq!(
        said(&preview(&coven, &id))[3..],
        [
            "info input: a line",
            "info a line",
            "warn asked to end: signal 15 (kill)",
            "warn ended by signal 15",
            "warn status: killed"
        ]
    );
    coven.harness("broken", "");
    std::fs::write(coven.bin().join("broken"), "#!/nonexistent/interpreter\n").unwrap();
    let failed = coven.try_launch("broken", "x", json!({}));
    let id = failed.details()["sessionId"].as_str().unwrap().to_owned();
    let said = said(&preview(&coven, &id));
    assert!(said[2].starts_with("error launch_failed: "), "{said:?}");
    assert_eq!(said[3..], ["error status: failed"]);
}

#[test]
fn a_long_session_shows_its_newest_lines_and_says_that_others_are_missing() {
    let coven = Coven::start();
    coven.harness("long", "seq 1 300000");
    coven.harness("wide", "head -c 3000000 /dev/zero | tr '\\0' '\"'");
    let record = coven.run("long", "x");
    let lines = said(&preview(&coven, record["id"].as_str().unwrap()));
    assert_eq!(lines[0], "info (earlier lines are left out)");
    let numbers: Vec<u32> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("info ")?.parse().ok())
        .collect();
    assert!(numbers.len() > 5000, "{}", numbers.len());
    assert_eq!(numbers.last(), Some(&300_000));
    assert!(numbers.is_sorted_by(|a, b| a + 1 == *b));
    assert_eq!(lines.last().unwrap(), "info status: completed");
    let record = coven.run("wide", "x");
    let lines = said(&preview(&coven, record["id"].as_str().unwrap()));
    assert!(
        lines.len() > 3 && lines[1].starts_with("info \"\"\""),
        "{}",
        lines.len()
    );
}

#[test]
fn a_session_that_runs_shows_what_there_is_and_an_unknown_one_is_not_found() {
    let coven = Coven::start();
    coven.harness("slow", "printf 'half a line'; exec sleep 1000");
    let id = coven.launch("slow", "x");
    coven.wait_for_output(&id, "half a line");
    assert_eq!(
        said(&preview(&coven, &id)).last().unwrap(),
        "info half a line"
    );
    for id in [NOBODY, "nonsense"] {
        let answer = coven.get(&format!("/api/v1/sessions/{id}/log"));
        assert_eq!(answer.error(), (404, "session_not_found".into()));
    }
    let put = coven.request("PUT", &format!("/api/v1/sessions/{NOBODY}/log"), &[], b"");
    assert_eq!((put.status, put.header("allow")), (405, Some("GET")));
}
