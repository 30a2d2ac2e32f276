//! The daemon's log: the six questions of the observability guide, in both formats, and that nobody can forge a line.

use serde_json::{Value, json};

use crate::support::*;

/// The log's lines, after the daemon has stopped: everything is written then.
fn lines_at_end(coven: &Coven) -> Vec<String> {
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let log = std::fs::read_to_string(coven.home().join("logs/daemon.log")).unwrap();
    log.lines().map(str::to_owned).collect()
}

/// The same as JSON.
fn records_at_end(coven: &Coven) -> Vec<Value> {
    let lines = lines_at_end(coven);
    let records = lines.iter().map(|line| serde_json::from_str(line).unwrap());
    records.collect()
}

#[track_caller]
fn only<'a>(records: &'a [Value], event: &str) -> &'a Value {
    let mut found = records.iter().filter(|record| record["event"] == event);
    let first = found.next().unwrap_or_else(|| panic!("no {event}"));
    assert!(found.next().is_none(), "{event} is there twice");
    first
}

/// A harness that is found, and that the kernel refuses to run.
fn unspawnable(coven: &Coven) {
    coven.harness("broken", "");
    coven.program("broken", "");
    let program = coven.bin().join("broken");
    std::fs::write(program, "#!/nonexistent/interpreter\n").unwrap();
}

#[test]
fn each_of_the_guides_six_questions_is_answered_by_one_line() {
    let coven = Coven::start_with_env("COVEN_LOG_FORMAT", "json");
    unspawnable(&coven);
    let rejected = coven.try_launch("hello", "x", json!({ "cwd": "/" }));
    rejected.assert_error(400, "project_root_violation");
    let failed = coven.try_launch("broken", "x", json!({}));
    let failed_id = failed.assert_error(500, "launch_failed")["sessionId"].clone();
    let ended = coven.run("hello", "x")["id"].as_str().unwrap().to_owned();
    let killed = coven.kill_session(&ended);
    killed.assert_error(409, "session_not_live");
    let pid = coven.daemon_pid();

    let records = records_at_end(&coven);
    let socket = coven.socket().display().to_string();
    assert_eq!(only(&records, "socket_bound")["socket"], json!(socket));
    assert_eq!(only(&records, "store_opened")["sessions"], 0);
    let served = only(&records, "contract_served");
    assert_eq!(served["contract"], "coven.daemon.v1");
    assert_eq!(
        (&served["pid"], &served["level"]),
        (&json!(pid), &json!("INFO"))
    );
    let (launch, kill) = ("POST /sessions", "POST /sessions/:id/kill");
    let failures = [
        ("launch_rejected", "WARN", &rejected, launch, Value::Null),
        ("spawn_failed", "ERROR", &failed, launch, failed_id),
        ("session_not_live", "WARN", &killed, kill, json!(ended)),
    ];
    for (event, level, answer, route, session) in failures {
        let record = only(&records, event);
        assert_eq!(record["level"], level, "{record}");
        assert_eq!(record["request"], answer.header("x-request-id").unwrap());
        assert_eq!(record["code"], answer.error().1);
        assert_eq!(record["status"], answer.status);
        assert_eq!(record["route"], route);
        assert_eq!(record["session"], session);
        assert!(record["took_ms"].is_u64(), "{record}");
    }
}

#[test]
fn a_level_can_be_set_for_the_events_of_one_module() {
    let coven = Coven::start_with_env("COVEN_LOG", "off,coven::http=debug");
    coven.get("/api/v1/health");
    let lines = lines_at_end(&coven);
    assert!(!lines.is_empty());
    for line in lines {
        assert!(line.contains(" DEBUG event=request "), "{line}");
    }
}

#[test]
fn every_failed_request_is_one_line_and_every_request_one_at_debug() {
    let coven = Coven::start_with_env("COVEN_LOG", "debug");
    let nobody = "00000000-0000-4000-8000-000000000000";
    let answers = [
        coven.get("/api/v1/health"),
        coven.get(&format!("/api/v1/sessions/{nobody}")),
        coven.get(&format!("/api/v1/events?sessionId={nobody}")),
        coven.get("/api/v2/health"),
        coven.delete("/api/v1/health"),
    ];
    let lines = lines_at_end(&coven);
    for answer in &answers {
        let request = format!(" request={} ", answer.header("x-request-id").unwrap());
        let of_it: Vec<&String> = lines
            .iter()
            .filter(|line| line.contains(&request))
            .collect();
        let (debug, failed): (Vec<_>, Vec<_>) = of_it
            .into_iter()
            .partition(|line| line.contains(" DEBUG event=request "));
        assert_eq!(debug.len(), 1, "{request}");
        assert_eq!(failed.len(), usize::from(answer.status >= 400), "{request}");
        for line in failed {
            assert!(
                line.contains(&format!(" code={} ", answer.error().1)),
                "{line}"
            );
            assert_eq!(
                line.contains(&format!(" session={nobody} ")),
                answer.error().1 == "session_not_found",
                "{line}"
            );
        }
    }
}

#[test]
fn nothing_from_outside_forges_a_line_or_shows_a_secret_in_either_format() {
    for format in ["text", "json"] {
        let coven = Coven::start_with_env("COVEN_LOG_FORMAT", format);
        let forged = "x\n2026-01-01T00:00:00.000Z ERROR event=forged\u{1b}[2J\u{9b}\u{202e}";
        let secret = "password=hunter2-hunter2-hunter2";
        coven.try_launch(forged, "x", json!({}));
        coven.try_launch("hello", "x", json!({ "cwd": format!("{forged} {secret}") }));
        for line in lines_at_end(&coven) {
            assert!(!line.starts_with("2026-01-01"), "{line}");
            assert!(!line.chars().any(char::is_control), "{line}");
            assert!(
                !line.contains('\u{202e}') && !line.contains("hunter2"),
                "{line}"
            );
            assert!(
                format != "json" || serde_json::from_str::<Value>(&line).is_ok(),
                "{line}"
            );
        }
    }
}
