//! A launch asks for its session to be archived or deleted after the end, and the daemon does it: in its time, once, and not
//! when somebody has decided otherwise.

use serde_json::{Value, json};

use crate::support::*;

/// A daemon that carries it out so many milliseconds after the end.
fn start(delay: &str) -> Coven {
    let coven = Coven::start_with_env("COVEN_ON_END_MS", delay);
    coven.harness("works", "echo done");
    coven.harness("fails", "exit 3");
    coven
}

/// A delay longer than the daemon's life.
fn start_late() -> Coven {
    start("3600000")
}

impl Coven {
    fn launch_with(&self, harness: &str, on_end: &str, fields: Value) -> String {
        let fields = merged(json!({ "onEnd": on_end }), fields);
        let answer = self.try_launch(harness, "x", fields);
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(answer.json()["on_end"], on_end);
        answer.id()
    }

    /// Launches a session and waits for its end.
    fn run_with(&self, harness: &str, on_end: &str, fields: Value) -> String {
        let id = self.launch_with(harness, on_end, fields);
        self.ended(&id);
        id
    }

    fn is_deleted(&self, id: &str) -> bool {
        self.get(&format!("/api/v1/sessions/{id}")).status == 404
    }

    fn is_archived(&self, id: &str) -> bool {
        !self.session(id)["archived_at"].is_null()
    }

    /// Lets an hour pass between two daemons.
    fn restart_an_hour_later(&self) {
        assert_eq!(self.cli(["daemon", "stop"]).code, 0);
        let database = self.database();
        let query = "SELECT value FROM meta WHERE name = 'clock'";
        let record: String = database.query_row(query, [], |row| row.get(0)).unwrap();
        let mut record: Value = serde_json::from_str(&record).unwrap();
        let observed = record["observed"].as_i64().unwrap() + 3_600_000;
        record["observed"] = observed.into();
        record["spans"].as_array_mut().unwrap().last_mut().unwrap()["end"] = observed.into();
        let update = "UPDATE meta SET value = ?1 WHERE name = 'clock'";
        database.execute(update, [record.to_string()]).unwrap();
        self.start_daemon();
    }
}

#[test]
fn a_completed_session_is_archived_or_deleted_and_one_that_has_failed_stays() {
    let coven = start("0");
    coven.harness("sleeps", "exec sleep 1000");
    let failed = coven.run_with("fails", "delete", json!({}));
    let killed = coven.launch_with("sleeps", "delete", json!({}));
    assert_eq!(coven.kill_session(&killed).status, 202);
    let timed_out = coven.run_with("sleeps", "archive", json!({ "timeoutMs": 1 }));
    let archived = coven.launch_with("works", "archive", json!({}));
    let deleted = coven.launch_with("works", "delete", json!({}));
    let idle = coven.launch_with("works", "delete", json!({ "conversationId": "c" }));
    eventually("it is archived", || coven.is_archived(&archived));
    eventually("it is deleted", || coven.is_deleted(&deleted));
    eventually("an idle one, too", || coven.is_deleted(&idle));
    // As by the verbs: what is on record of an archived session stays.
    let kinds_of = |id: &str| kinds(&coven.events(id)).join(" ");
    assert_eq!(
        kinds_of(&archived),
        "status input status output exit status"
    );
    assert_eq!(
        coven
            .get(&format!("/api/v1/events?sessionId={deleted}"))
            .status,
        404
    );
    for (id, status) in [
        (&failed, "failed"),
        (&killed, "killed"),
        (&timed_out, "killed"),
    ] {
        let record = coven.session(id);
        assert_eq!(
            (&record["status"], &record["archived_at"]),
            (&json!(status), &Value::Null)
        );
    }
    assert_eq!(coven.sessions().len(), 3);
    assert_eq!(coven.get("/api/v1/health").json()["sessions"]["total"], 4);
    // The log is written by a thread of its own.
    eventually("the log says what was done", || {
        let log = coven.cli(["logs", "--event", "on_end_done"]).out;
        let count = |action: &str| log.matches(action).count();
        (count("action=delete"), count("action=archive")) == (2, 1)
    });
}

#[test]
fn the_command_line_asks_for_it_also_for_a_session_that_it_leaves_to_itself() {
    let coven = start("0");
    let ran = coven.cli(["run", "works", "--rm", "--detach", "--", "x"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    eventually("it is deleted", || coven.is_deleted(ran.out.trim()));
    let ran = coven.cli(["run", "--archive", "--detach", "works", "x"]);
    eventually("it is archived", || coven.is_archived(ran.out.trim()));
    let both = coven.cli(["run", "--archive", "--rm", "works", "x"]);
    assert_eq!(both.code, 2, "{both:?}");
    assert!(both.err.contains("run: --archive and --rm"), "{both:?}");
}

#[test]
fn a_follower_reads_the_closing_status_before_the_session_is_gone() {
    let coven = start("2000");
    coven.harness("waits", "echo ready; until [ -e go ]; do sleep 0.01; done");
    let id = coven.launch_with("waits", "delete", json!({}));
    let follower = coven.spawn(["attach", "--json", &id]);
    coven.wait_for_output(&id, "ready");
    std::fs::write(coven.work().join("go"), "").unwrap();
    let followed = Ran::of(follower.wait_with_output().unwrap());
    assert_eq!(followed.code, 0, "{followed:?}");
    let last = followed.out.lines().last().unwrap();
    assert!(last.contains("completed"), "{followed:?}");
    eventually("it is deleted", || coven.is_deleted(&id));
}

#[test]
fn a_restart_or_a_crash_before_the_time_does_not_call_it_off() {
    let coven = start_late();
    let archived = coven.run_with("works", "archive", json!({}));
    let deleted = coven.run_with("works", "delete", json!({}));
    let stays = coven.run_with("fails", "delete", json!({}));
    coven.crash();
    coven.start_daemon();
    assert!(!coven.is_archived(&archived) && !coven.is_deleted(&deleted));
    assert!(coven.cli(["show", &deleted]).out.contains("on end"));
    coven.restart_an_hour_later();
    eventually("it is archived", || coven.is_archived(&archived));
    eventually("it is deleted", || coven.is_deleted(&deleted));
    assert!(!coven.is_deleted(&stays));
    // It is done once: who takes it out of the archive keeps it.
    assert_eq!(coven.post_to(&archived, "summon", &json!({})).status, 200);
    coven.restart_an_hour_later();
    let other = coven.run_with("works", "delete", json!({}));
    coven.restart_an_hour_later();
    eventually("another is deleted", || coven.is_deleted(&other));
    assert!(!coven.is_archived(&archived));
}

#[test]
fn a_client_that_archives_or_summons_a_session_meanwhile_overrides_its_on_end() {
    let coven = start_late();
    coven.conversing("converses");
    let conversation = |mode| json!({ "conversation": { "mode": mode, "id": "c" } });
    let summoned = coven.run_with("works", "archive", json!({}));
    let archived = coven.run_with("works", "delete", json!({}));
    for (id, verb) in [(&summoned, "summon"), (&archived, "archive")] {
        assert_eq!(coven.post_to(id, verb, &json!({})).status, 200);
    }
    let continued = coven.run_with("converses", "delete", conversation("init"));
    let next = coven.run_with("converses", "archive", conversation("resume"));
    assert_eq!(coven.session(&next)["continued_from"], continued);
    let last = coven.run_with("converses", "delete", conversation("resume"));
    let labelled = coven.run_with("works", "delete", json!({}));
    assert_eq!(coven.cli(["label", &labelled, "+kept"]).code, 0);
    coven.restart_an_hour_later();
    eventually("the label changes nothing", || coven.is_deleted(&labelled));
    eventually("the last of the conversation goes", || {
        coven.is_deleted(&last)
    });
    eventually("one that is gone on with is archived", || {
        coven.is_archived(&next)
    });
    assert!(!coven.is_archived(&continued) && !coven.is_archived(&summoned));
    assert!(coven.is_archived(&archived));
}

#[test]
fn the_late_stream_of_a_session_that_is_deleted_is_closed() {
    let coven = Coven::new()
        .env("COVEN_ON_END_MS", "0")
        .env("COVEN_DRAIN_MAX_MS", "0");
    coven.start_daemon();
    coven.harness("leaves", "sleep 1000 & exit 0");
    let id = coven.launch_with("leaves", "delete", json!({}));
    eventually("it is deleted", || coven.is_deleted(&id));
    eventually("its stream is closed", || {
        let log = coven.cli(["logs", "--event", "late_stream_closed"]).out;
        log.contains("why=deleted")
    });
}
