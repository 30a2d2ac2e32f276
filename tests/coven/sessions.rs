//! Session records: launched, registered, listed, archived, deleted.

use std::collections::HashSet;
use std::thread;

use serde_json::{Value, json};

use crate::support::*;

const LIST_BYTES_MAX: usize = 900_000;

/// The ids on a page, and its cursor.
fn page(coven: &Coven, query: &str) -> (Vec<String>, Option<String>) {
    let answer = coven.get(&format!("/api/v1/sessions?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.body.len() < LIST_BYTES_MAX, "{}", answer.body.len());
    let page = answer.json();
    let sessions = page["sessions"].as_array().unwrap();
    let cursor = page["next_cursor"].as_str().map(str::to_owned);
    assert!(cursor.is_some() || page["next_cursor"].is_null());
    (ids(sessions), cursor)
}

/// The ids of all pages.
fn all_pages(coven: &Coven, query: &str) -> Vec<String> {
    let (mut ids, mut cursor) = page(coven, query);
    while let Some(at) = cursor {
        let (more, next) = page(coven, &format!("{query}&cursor={at}"));
        assert!(!more.is_empty(), "a cursor leads to something");
        ids.extend(more);
        cursor = next;
    }
    ids
}

fn ids(sessions: &[Value]) -> Vec<String> {
    let id = |session: &Value| session["id"].as_str().unwrap().to_owned();
    sessions.iter().map(id).collect()
}

/// Registers `count` sessions; gives their ids, newest first.
fn register_many(coven: &Coven, from: usize, count: usize, fields: &Value) -> Vec<String> {
    let ids = (from..from + count).map(external_id);
    let registered = ids.inspect(|id| {
        assert_eq!(coven.register(id, fields.clone()).status, 201);
    });
    let mut ids: Vec<String> = registered.collect();
    ids.reverse();
    ids
}

fn assert_is_time(value: &Value) {
    let text = value.as_str().unwrap();
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{text}");
}

#[test]
fn a_record_has_every_field_and_what_the_launch_said() {
    let coven = Coven::start();
    // One that has ended is shown so by the launch's own answer, if both come in one batch.
    let script = "until [ -e ../go ]; do sleep 0.01; done";
    coven.harness_with("quiet", script, json!({ "model_flag": "--model" }));
    std::fs::create_dir(coven.work().join("sub")).unwrap();
    let fields = json!({
        "title": "A title", "model": "m-1", "conversationId": "c-1", "familiarId": "f-1",
        "labels": ["a", "é"], "visibility": "workspace", "launchMode": "nonInteractive",
        "cwd": "sub", "timeoutMs": 60000, "something": { "nobody": "knows" },
    });
    let launched = coven.try_launch("quiet", "the prompt", fields);
    assert_eq!(launched.status, 201, "{}", launched.text());
    let record = launched.json();
    let expected = json!({
        "project_root": coven.work(), "cwd": coven.work().join("sub"), "harness": "quiet",
        "title": "A title", "status": "running", "exit_code": null, "archived_at": null,
        "conversation_id": "c-1", "familiar_id": "f-1", "execution_binding": null,
        "labels": ["a", "é"], "visibility": "workspace", "external": false,
        "transcript_path": null, "launch_mode": "nonInteractive", "model": "m-1",
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&record[key], value, "{key}");
    }
    assert!(record["pid"].as_i64().unwrap() > 1);
    assert!(record["last_seq"].as_u64().unwrap() >= 2);
    assert_is_time(&record["created_at"]);
    assert_is_time(&record["updated_at"]);
    let id = launched.id();
    let groups: Vec<usize> = id.split('-').map(str::len).collect();
    assert_eq!(groups, [8, 4, 4, 4, 12], "{id}");
    assert_eq!(id, id.to_lowercase());
    std::fs::write(coven.work().join("go"), "").unwrap();
    let events = coven.events_to_end(&id);
    let shown = coven.session(&id);
    assert_eq!(shown["last_seq"], events.len());
    assert_eq!(coven.sessions(), [shown]);
}

#[test]
fn a_launch_needs_little_and_fills_in_the_rest() {
    let coven = Coven::start();
    let first_line = format!("{}é", "x".repeat(200));
    let prompt = format!("{first_line}\nsecond line");
    let record = coven.try_launch("hello", &prompt, json!({})).json();
    assert_eq!(record["title"], "x".repeat(120));
    let wide = coven
        .try_launch("hello", &"é".repeat(121), json!({}))
        .json();
    assert_eq!(wide["title"], "é".repeat(120));
    assert_eq!(record["visibility"], "private");
    assert_eq!(record["labels"], json!([]));
    assert_eq!(record["launch_mode"], "nonInteractive");
    assert_eq!(record["cwd"], record["project_root"]);
    for absent in ["model", "conversation_id", "familiar_id"] {
        assert!(record[absent].is_null(), "{absent}");
    }
    let longest = json!({ "title": "t".repeat(1024), "labels": vec!["l".repeat(128); 32] });
    let record = coven.try_launch("hello", "x", longest);
    assert_eq!(record.status, 201, "{}", record.text());
}

#[test]
fn a_title_that_is_too_long_is_cut_at_a_character() {
    let coven = Coven::start();
    for (number, (given, kept)) in [
        ("t".repeat(1024), "t".repeat(1024)),
        ("t".repeat(1025), "t".repeat(1024)),
        ("é".repeat(700), "é".repeat(512)),
        (
            format!("a{}", "é".repeat(700)),
            format!("a{}", "é".repeat(511)),
        ),
        ("€".repeat(342), "€".repeat(341)),
        ("😀".repeat(200_000), "😀".repeat(256)),
        ("\n".repeat(2000), "\n".repeat(1024)),
    ]
    .into_iter()
    .enumerate()
    {
        let launched = coven.try_launch("hello", "x", json!({ "title": given }));
        assert_eq!(launched.json()["title"], kept);
        let external = coven.register(&external_id(number), json!({ "title": given }));
        assert_eq!(
            (external.status, &external.json()["title"]),
            (201, &json!(kept))
        );
    }
}

#[test]
fn the_root_and_the_working_directory_are_canonical() {
    let coven = Coven::start();
    let work = coven.work();
    std::fs::create_dir_all(work.join("real/sub")).unwrap();
    std::os::unix::fs::symlink(work.join("real"), work.join("link")).unwrap();
    let launch = |fields| coven.try_launch("hello", "x", fields).json();
    let root = json!({ "projectRoot": work.join("link/sub/..") });
    assert_eq!(launch(root)["project_root"], json!(work.join("real")));
    let real = json!(work.join("real/sub"));
    let absolute = json!({ "projectRoot": work.join("link"), "cwd": work.join("link/sub") });
    assert_eq!(launch(absolute)["cwd"], real);
    let relative = json!({ "projectRoot": work.join("link"), "cwd": "./sub/../sub" });
    assert_eq!(launch(relative)["cwd"], real);
}

#[test]
fn the_plain_list_is_newest_first_and_without_the_archived() {
    let coven = Coven::start();
    assert_eq!(coven.get("/api/v1/sessions").text(), "[]");
    let ids_newest_first = register_many(&coven, 0, 5, &json!({}));
    assert_eq!(ids(&coven.sessions()), ids_newest_first);
    let archived = &ids_newest_first[2];
    coven.post_to(archived, "complete", &json!({}));
    assert_eq!(coven.post_to(archived, "archive", &json!({})).status, 200);
    let without = [&ids_newest_first[..2], &ids_newest_first[3..]].concat();
    assert_eq!(ids(&coven.sessions()), without);
    assert_eq!(page(&coven, "limit=10"), (without.clone(), None));
    assert_eq!(page(&coven, "includeArchived=false"), (without, None));
    let all = (ids_newest_first, None);
    assert_eq!(page(&coven, "includeArchived=true"), all);
}

#[test]
fn pages_are_stable_while_rows_are_added() {
    let coven = Coven::start();
    let expected = register_many(&coven, 0, 7, &json!({}));
    let mut seen = Vec::new();
    let mut query = "limit=2".to_owned();
    loop {
        let (ids, cursor) = page(&coven, &query);
        assert!(ids.len() <= 2);
        seen.extend(ids);
        register_many(&coven, 100 + seen.len(), 1, &json!({}));
        let Some(cursor) = cursor else { break };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        assert!(cursor.chars().all(is_plain), "{cursor}");
        query = format!("limit=2&cursor={cursor}");
    }
    assert_eq!(seen, expected);
    assert_eq!(page(&coven, "limit=11").1, None, "the last page says so");
}

#[test]
fn a_page_has_a_hundred_sessions_unless_told_otherwise() {
    let coven = Coven::start();
    let expected = register_many(&coven, 0, 101, &json!({}));
    let (first, cursor) = page(&coven, "includeArchived=false");
    assert_eq!(first, expected[..100]);
    assert_eq!(
        page(&coven, &format!("cursor={}", cursor.unwrap())).0,
        expected[100..]
    );
    assert_eq!(page(&coven, "limit=1000").0.len(), 101);
}

#[test]
fn a_bad_value_in_a_lists_query_is_named() {
    let coven = Coven::start();
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=99999999999999999999999", "limit"),
        ("cursor=", "cursor"),
        ("cursor=!!!", "cursor"),
        ("cursor=bm9ib2R5", "cursor"),
        ("includeArchived=maybe", "includeArchived"),
    ] {
        let answer = coven.get(&format!("/api/v1/sessions?{query}"));
        let details = answer.assert_error(400, "invalid_request");
        assert_eq!(details["field"], field, "{query}");
    }
}

#[test]
fn no_list_passes_the_smallest_clients_bound() {
    let coven = Coven::start();
    // Escaped, each of these is twice as long.
    let fields = json!({ "title": "\"".repeat(1024), "labels": vec!["\\".repeat(128); 32] });
    let expected = register_many(&coven, 0, 130, &fields);
    let plain = coven.get("/api/v1/sessions");
    assert!(plain.body.len() < LIST_BYTES_MAX, "{}", plain.body.len());
    let newest = ids(plain.json().as_array().unwrap());
    assert!(newest.len() > 50 && newest.len() < 130, "{}", newest.len());
    assert_eq!(newest, expected[..newest.len()], "it keeps the newest");
    assert_eq!(all_pages(&coven, "limit=1000"), expected);
}

#[test]
fn archive_and_summon_can_be_repeated() {
    let coven = Coven::start();
    let id = coven.run("hello", "x")["id"].as_str().unwrap().to_owned();
    let first = coven.post_to(&id, "archive", &json!({}));
    assert_eq!(first.status, 200);
    assert_is_time(&first.json()["archived_at"]);
    assert_eq!(
        coven.post_to(&id, "archive", &json!({})).json(),
        first.json()
    );
    assert!(coven.sessions().is_empty());
    assert_eq!(coven.session(&id), first.json());
    for _ in 0..2 {
        let summoned = coven.post_to(&id, "summon", &json!({}));
        assert_eq!(summoned.status, 200);
        assert!(summoned.json()["archived_at"].is_null());
    }
    assert_eq!(ids(&coven.sessions()), [id]);
}

#[test]
fn a_deleted_session_is_gone_for_good() {
    let coven = Coven::start();
    let kept = coven.run("hello", "kept")["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let id = coven.run("hello", "x")["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/sessions/{id}");
    let deleted = coven.delete(&path);
    assert_eq!(
        (deleted.status, deleted.json()),
        (200, json!({ "ok": true }))
    );
    for answer in [
        coven.delete(&path),
        coven.get(&path),
        coven.get(&format!("{path}/events")),
        coven.post_to(&id, "archive", &json!({})),
    ] {
        let details = answer.assert_error(404, "session_not_found");
        assert_eq!(details["sessionId"], id);
    }
    let count = |sql| {
        coven
            .database()
            .query_row(sql, [], |row| row.get::<_, usize>(0))
    };
    let events = coven.events(&kept).len();
    assert_eq!(count("SELECT count(*) FROM events"), Ok(events));
    assert_eq!(count("SELECT count(*) FROM sessions"), Ok(1));
}

#[test]
fn a_session_that_somebody_else_runs_is_registered_once() {
    let coven = Coven::start();
    let id = external_id(1);
    let fields = json!({ "title": "T", "transcriptPath": "/t/x.jsonl", "labels": ["a"], "new": 1 });
    let first = coven.register(&id, fields);
    assert_eq!(first.status, 201, "{}", first.text());
    let record = first.json();
    let expected = json!({
        "id": id, "project_root": "/somewhere", "harness": "other", "title": "T",
        "status": "running", "external": true, "transcript_path": "/t/x.jsonl", "labels": ["a"],
        "exit_code": null, "pid": null,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&record[key], value, "{key}");
    }
    let again = coven.register(&id, json!({ "title": "Another" }));
    assert_eq!((again.status, again.json()), (200, record));
    coven.crash();
    coven.start_daemon();
    assert_eq!(coven.session(&id)["status"], "running", "the registrar's");
}

#[test]
fn an_external_session_has_the_id_that_its_registrar_gives_it() {
    let coven = Coven::start();
    let id = "Run-7.x_é:1";
    assert_eq!(coven.register(id, json!({})).json()["id"], id);
    assert_eq!(coven.register(id, json!({})).status, 200);
    coven.register("run 8", json!({}));
    // Names are read from the disk again.
    coven.crash();
    coven.start_daemon();
    let ids: Vec<Value> = coven
        .sessions()
        .iter()
        .map(|record| record["id"].clone())
        .collect();
    assert_eq!(ids, ["run 8", id]);
    let shown = coven.cli(["sessions"]).out;
    assert!(shown.contains("run 8 ") && shown.contains(id), "{shown}");

    let id = "run-9.x";
    coven.register(id, json!({ "title": "T" }));
    assert_eq!(coven.session(id)["title"], "T");
    let events = coven.events(id);
    assert_eq!(events[0]["session_id"], id);
    assert_eq!(events[0]["id"], "run-9.x.1");
    let after = format!("/api/v1/events?sessionId={id}&afterEventId=run-9.x.1");
    assert_eq!(coven.get(&after).json()["events"], json!([]));
    coven
        .kill_session(id)
        .assert_error(422, "external_session_not_killable");
    assert_eq!(coven.post_to(id, "complete", &json!({})).status, 200);
    assert_eq!(coven.post_to(id, "archive", &json!({})).json()["id"], id);
    let page = coven
        .get("/api/v1/sessions?includeArchived=true&limit=1")
        .json();
    assert_eq!(page["sessions"][0]["id"], id);
    assert!(coven.cli(["show", id]).out.contains(id));
    assert_eq!(
        coven.cli(["sacrifice", "--yes", id]).out,
        format!("{id} deleted\n")
    );
    let gone = coven.get(&format!("/api/v1/sessions/{id}"));
    assert_eq!(gone.assert_error(404, "session_not_found")["sessionId"], id);
}

#[test]
fn an_external_session_ends_as_its_registrar_says() {
    let coven = Coven::start();
    for (number, body, status) in [
        (1, json!({}), "completed"),
        (2, json!({ "exitCode": null }), "completed"),
        (3, json!({ "exitCode": 0 }), "completed"),
        (4, json!({ "exitCode": 1 }), "failed"),
        (5, json!({ "exitCode": -1 }), "failed"),
    ] {
        let id = external_id(number);
        coven.register(&id, json!({}));
        let ended = coven.post_to(&id, "complete", &body);
        assert_eq!(
            (ended.status, &ended.json()["status"]),
            (200, &json!(status))
        );
        let last = coven.events(&id).pop().unwrap();
        assert_eq!(payload(&last)["status"], status);
        assert_eq!(coven.delete(&format!("/api/v1/sessions/{id}")).status, 200);
    }
    let id = external_id(6);
    coven.register(&id, json!({}));
    let no_body = coven.request("POST", &format!("/api/v1/sessions/{id}/complete"), &[], b"");
    assert_eq!(no_body.json()["status"], "completed");
}

#[test]
fn a_repeated_launch_gives_the_first_session() {
    let coven = Coven::start();
    let body = coven.launch_body("hello", "once");
    let first = coven.launch_keyed("key-1", &body);
    assert_eq!(first.status, 201);
    let id = first.id();
    coven.events_to_end(&id);
    let again = coven.launch_keyed("key-1", &body);
    assert_eq!((again.status, again.json()), (200, coven.session(&id)));
    let other = merged(body.clone(), json!({ "title": "other" }));
    let conflict = coven.launch_keyed("key-1", &other);
    conflict.assert_error(409, "idempotency_conflict");
    let with_other_key = coven.launch_keyed("key-2", &body);
    assert_eq!(with_other_key.status, 201);
    assert_ne!(with_other_key.id(), id);
    coven.events_to_end(&with_other_key.id());
    for crash in [true, false] {
        if crash {
            coven.crash();
        } else {
            assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
        }
        coven.start_daemon();
        let again = coven.launch_keyed("key-1", &body);
        assert_eq!((again.status, again.id()), (200, id.clone()));
        let conflict = coven.launch_keyed("key-1", &other);
        conflict.assert_error(409, "idempotency_conflict");
    }
    assert_eq!(coven.sessions().len(), 2);
}

#[test]
fn launches_that_race_with_one_key_start_one_session() {
    let coven = Coven::start();
    let body = coven.launch_body("hello", "once");
    let answers: Vec<Answer> = thread::scope(|scope| {
        let launch = || coven.launch_keyed("key", &body);
        let racing: Vec<_> = (0..8).map(|_| scope.spawn(launch)).collect();
        racing.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let ids: HashSet<String> = answers.iter().map(Answer::id).collect();
    assert_eq!(ids.len(), 1);
    let new = answers.iter().filter(|a| a.status == 201).count();
    assert_eq!(new, 1);
    assert!(answers.iter().all(|a| matches!(a.status, 200 | 201)));
}

#[test]
fn a_failed_launch_is_not_tried_again_with_its_key() {
    let coven = Coven::start();
    coven.harness("broken", "");
    std::fs::write(
        coven.home().join("../bin/broken"),
        "#!/no/such/interpreter\n",
    )
    .unwrap();
    let body = coven.launch_body("broken", "x");
    let details = coven
        .launch_keyed("key", &body)
        .assert_error(500, "launch_failed");
    let again = coven.launch_keyed("key", &body);
    assert_eq!(
        (again.status, &again.json()["id"]),
        (200, &details["sessionId"])
    );
    assert_eq!(again.json()["status"], "failed");
}

#[test]
fn a_deleted_sessions_key_can_be_used_again() {
    let coven = Coven::start();
    let body = coven.launch_body("hello", "once");
    let id = coven.launch_keyed("key", &body).id();
    coven.events_to_end(&id);
    assert_eq!(coven.delete(&format!("/api/v1/sessions/{id}")).status, 200);
    let again = eventually_some("a launch", || {
        let answer = coven.launch_keyed("key", &body);
        (answer.status == 201).then_some(answer)
    });
    assert_ne!(again.id(), id);
}

#[test]
fn a_repeated_launch_gives_the_first_session_though_its_project_is_gone() {
    let coven = Coven::start();
    let root = coven.work().join("project");
    std::fs::create_dir(&root).unwrap();
    let body = merged(
        coven.launch_body("hello", "once"),
        json!({ "projectRoot": root }),
    );
    let first = coven.launch_keyed("key", &body);
    assert_eq!(first.status, 201);
    let record = coven.ended(&first.id());
    std::fs::remove_dir(&root).unwrap();
    let again = coven.launch_keyed("key", &body);
    assert_eq!((again.status, again.json()), (200, record));
    let other = merged(body.clone(), json!({ "title": "other" }));
    let conflict = coven.launch_keyed("key", &other);
    conflict.assert_error(409, "idempotency_conflict");
    let new = coven.launch_keyed("another key", &body);
    let details = new.assert_error(400, "invalid_request");
    assert_eq!(details["field"], "projectRoot");
    assert_eq!(coven.sessions().len(), 1);
}
