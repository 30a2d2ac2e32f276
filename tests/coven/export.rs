//! Sessions as a file.

use std::fs;

use serde_json::{Value, json};

use crate::support::*;

fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn an_export_has_the_record_every_event_and_a_summary() {
    let coven = Coven::start();
    coven.harness(
        "speaks",
        "echo one; echo two >&2; printf 'caf\\303\\251 \\377'; exit 3",
    );
    let ids = ["speaks", "hello"].map(|harness| coven.launch(harness, "first light"));
    ids.iter().for_each(|id| drop(coven.ended(id)));
    let ran = coven.cli(["export", &ids[0], &ids[1]]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    let mut rest = lines(&ran.out);
    for id in &ids {
        let events = coven.events(id);
        let (session, behind) = rest.split_at(events.len() + 2);
        assert_eq!(session[0], coven.session(id));
        assert_eq!(session[1..=events.len()], events);
        let summary = &session[events.len() + 1]["summary"];
        let expected = json!({
            "session_id": id, "events": events.len(), "last_seq": session[0]["last_seq"], "live": false,
            "exported_at": summary["exported_at"],
        });
        assert_eq!(*summary, expected);
        assert!(summary["exported_at"].as_str().unwrap().ends_with('Z'));
        rest = behind.to_vec();
    }
    assert!(rest.is_empty(), "{rest:?}");
}

#[test]
fn an_export_goes_to_a_new_file_for_its_owner_alone() {
    let coven = Coven::start();
    let id = coven.launch("hello", "first light");
    coven.ended(&id);
    let shown = coven.cli(["export", &id]).out;
    let ran = coven.cli(["export", &id, "-o", "export.jsonl"]);
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (0, "export.jsonl\n", "")
    );
    let file = coven.work().join("export.jsonl");
    assert_eq!(mode(&file), 0o600);
    let written = fs::read_to_string(&file).unwrap();
    let without_time = |text: &str| text.split("exported_at").next().unwrap().to_owned();
    assert_eq!(without_time(&written), without_time(&shown));

    let again = coven.cli(["export", "--output=export.jsonl", &id]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(
        again
            .err
            .contains("export.jsonl is there already (output_exists)\n  try: "),
        "{again:?}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), written);
    let nowhere = coven.cli(["export", &id, "-o", "nowhere/export.jsonl"]);
    assert!(nowhere.err.contains("(io_error)"), "{nowhere:?}");
    let unknown = coven.cli(["export", "0000", "-o", "other.jsonl"]);
    assert!(unknown.err.contains("(session_not_found)"), "{unknown:?}");
    let left: Vec<_> = fs::read_dir(coven.work()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    let none = coven.cli(["export"]);
    assert!(
        none.code == 2 && none.err.contains("which session?"),
        "{none:?}"
    );
}

#[test]
fn a_live_session_is_exported_up_to_now_and_says_so() {
    let coven = Coven::start();
    coven.harness("waits", "echo up; exec sleep 1000");
    let id = coven.launch("waits", "x");
    coven.wait_for_output(&id, "up");
    let ran = coven.cli(["export", &id]);
    let exported = lines(&ran.out);
    let (record, summary) = (&exported[0], &exported.last().unwrap()["summary"]);
    assert_eq!(
        (&record["status"], &summary["live"]),
        (&json!("running"), &json!(true))
    );
    assert_eq!(exported[exported.len() - 2]["seq"], record["last_seq"]);
    let said = format!(
        "coven: {id} is live: exported up to event {}\n",
        record["last_seq"]
    );
    assert_eq!(ran.err, said);
}

#[test]
fn an_export_that_cannot_be_written_leaves_no_file() {
    let coven = Coven::start();
    coven.harness("loud", "head -c 300000 /dev/zero | tr '\\0' x");
    let id = coven.launch("loud", "x");
    coven.ended(&id);
    // In a file of at most 64 KiB there is no room for it.
    let script = format!("trap '' XFSZ; ulimit -f 64; exec \"$0\" export {id} -o export.jsonl");
    let ran = coven.shell(&script);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
    assert!(ran.err.contains("(io_error)"), "{ran:?}");
    assert_eq!(fs::read_dir(coven.work()).unwrap().count(), 0);
}
