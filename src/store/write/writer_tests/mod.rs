//! The writer thread of a real database: what it publishes of a commit, a pause, its chores, and its end.

mod logged;
mod long_log;
mod outage;
mod random;
mod served;
mod steps;

use rusqlite::OptionalExtension;
use served::{
    Directory, Parts, Served, answer, ended, events, hold, is_awake, new_session, output,
    saved_clock, until,
};

use super::*;
use crate::api::{
    EventKind, LABELS_MAX, Labels, LaunchOptions, OnEnd, SessionId, SessionRecord, SessionStatus,
    Timestamp, WriterState,
};
// Longer than anything that these tests wait for.
use crate::settings::durations::START as LONG;
use crate::store::facts::{Chore, Committed, Done, Edit, End, NewSession, Refused, StoreRequest};
use crate::store::keep::retention::Retention;
use crate::store::rows::SessionNum;

/// Number of transactions of this process whose duration the metrics have.
fn durations_counted() -> u64 {
    let metrics = serde_json::to_value(metrics::hand_over()).unwrap();
    let buckets = metrics["commits"]["buckets"].as_array().unwrap();
    buckets.iter().filter_map(serde_json::Value::as_u64).sum()
}

#[test]
fn a_commit_is_counted_answered_and_wakes_the_followers_of_its_sessions() {
    let served = Served::new();
    let (num, id) = served.session();
    let (other, _) = served.session();
    assert_eq!(served.queue.sessions(), 2);
    let follow = |num| served.followers.follow(num).unwrap();
    let (followed, quiet) = (follow(num), follow(other));
    let before = served.queue.health();
    let durations = durations_counted();
    served.output(num, 3);
    let stored = served.store(events(num, 2));
    assert!(matches!(stored, Committed::Done), "{stored:?}");
    let after = served.queue.health();
    assert_eq!(after.committed_events - before.committed_events, 5);
    assert!(after.transactions > before.transactions);
    assert!(durations_counted() > durations);
    assert_eq!((after.queued_events, after.queued_bytes), (0, 0));
    assert_eq!(after.state, WriterState::Healthy);
    assert_eq!(
        served
            .kinds(id)
            .iter()
            .filter(|&&kind| kind == EventKind::Error)
            .count(),
        5
    );
    assert!(is_awake(followed.wake()) && !is_awake(quiet.wake()));
    served.store(ended(num));
    let removals = served.status.removals();
    served.ask(StoreRequest::Delete { id }).unwrap();
    assert_eq!(served.queue.sessions(), 1);
    assert!(served.status.removals() > removals);
}

/// Asserts that a request about the session `id`, and a `chore`, are refused.
fn assert_unavailable(served: &Served, id: SessionId, chore: Chore) {
    let archive = StoreRequest::Archive {
        id,
        archived: false,
    };
    let refused = served.ask(archive);
    assert!(
        matches!(refused, Err(Refused::Unavailable { .. })),
        "{refused:?}"
    );
    let refused = served.chore(chore);
    assert!(
        matches!(refused, Some(Err(Refused::Unavailable { .. }))),
        "{refused:?}"
    );
}

#[test]
fn facts_outlive_an_outage_in_their_order_and_requests_are_refused() {
    let served = Served::new();
    let (num, id) = served.session();
    served.spoil();
    let first = served.tell(events(num, 1));
    assert_unavailable(&served, id, Chore::Prune { days: None });
    assert!(served.queue.check_available().is_err());
    let health = served.queue.health();
    assert_eq!(health.state, WriterState::Failed);
    assert!(health.last_error.unwrap().contains("spoilt"));
    assert!(health.last_sqlite_code.is_some() && health.last_errno.is_none());
    served.output(num, 1);
    let last = served.tell(ended(num));
    let health = served.queue.health();
    assert_eq!(health.queued_events, 3);
    // Of what was reserved for the output, as much as it needs is taken.
    assert!((1..8 * 1024).contains(&health.queued_bytes));
    served.settle();
    served.mend();
    for answer in [first, last] {
        answer.recv_timeout(LONG).unwrap().unwrap();
    }
    let health = served.queue.health();
    assert_eq!(
        (health.state, health.last_error),
        (WriterState::Healthy, None)
    );
    assert_eq!((health.queued_events, health.queued_bytes), (0, 0));
    assert!(served.queue.check_writable().is_ok() && served.queue.check_available().is_ok());
    // The note of the outage, the first fact, the output, and the end.
    let kinds = served.kinds(id);
    let error = EventKind::Error;
    assert_eq!(
        kinds[kinds.len() - 4..],
        [error, error, error, EventKind::Status]
    );
    assert!(
        served
            .ask(StoreRequest::Archive { id, archived: true })
            .is_ok()
    );
}

#[test]
fn a_stop_commits_everything_queued_and_empties_the_log() {
    let mut served = Served::new();
    let (num, id) = served.session();
    let before = served.kinds(id).len();
    for _ in 0..500 {
        served.queue.fact(events(num, 1), None);
    }
    served.writer.take().unwrap().stop(LONG).unwrap();
    assert_eq!(served.kinds(id).len(), before + 500);
    let log = served.dir.log();
    assert_eq!(log.metadata().map_or(0, |meta| meta.len()), 0);
}

#[test]
fn a_stop_in_an_outage_tells_what_is_not_on_disk() {
    let mut served = Served::new();
    let (num, id) = served.session();
    served.spoil();
    let last = served.tell(events(num, 3));
    // Refused with the fact, or while that is tried again.
    assert!(
        served
            .ask(StoreRequest::Archive {
                id,
                archived: false
            })
            .is_err()
    );
    let unwritten = served.writer.take().unwrap().stop(Duration::ZERO);
    let Unwritten { sessions, reason } = unwritten.unwrap_err();
    assert_eq!(sessions[&num].events, 3);
    assert!(sessions[&num].bytes > 0 && reason.unwrap().to_string().contains("spoilt"));
    // The thread ends once it can write.
    served.mend();
    last.recv_timeout(LONG).unwrap().unwrap();
}

#[test]
fn a_paused_writer_has_committed_what_came_before_and_writes_nothing() {
    let served = Served::new();
    let (num, id) = served.session();
    let before = served.kinds(id).len();
    for _ in 0..100 {
        served.queue.fact(events(num, 1), None);
    }
    let paused = served.queue.pause(LONG).unwrap();
    assert_eq!(served.kinds(id).len(), before + 100);
    let later = served.tell(events(num, 1));
    assert!(served.queue.pause(Duration::from_millis(50)).is_none());
    assert!(later.try_recv().is_err());
    assert_eq!(served.queue.health().queued_events, 1);
    drop(paused);
    later.recv_timeout(LONG).unwrap().unwrap();
}

#[test]
fn chores_run_between_transactions_until_a_stop_is_near() {
    let served = Served::new();
    let (num, _) = served.session();
    let pruned = served.chore(Chore::Prune { days: None });
    assert!(
        matches!(pruned, Some(Ok(Committed::Pruned(_)))),
        "{pruned:?}"
    );
    let vacuumed = served.chore(Chore::Vacuum);
    assert!(
        matches!(vacuumed, Some(Ok(Committed::Vacuumed(_)))),
        "{vacuumed:?}"
    );
    served.queue.end_chores();
    assert!(served.chore(Chore::Vacuum).is_none());
    served.store(events(num, 1));
}

#[test]
fn requests_are_refused_while_the_databases_files_are_lost() {
    let served = Served::new();
    let (num, id) = served.session();
    served.status.set_lost(Some("the file is gone".into()));
    assert_unavailable(&served, id, Chore::Vacuum);
    assert!(served.queue.check_available().is_err() && served.queue.check_writable().is_ok());
    assert_eq!(served.queue.health().state, WriterState::Failed);
    // A fact goes to the open files.
    served.store(events(num, 1));
}

#[test]
fn a_session_that_is_to_be_deleted_is_deleted_after_its_end() {
    let (deleted, ids) = bounded(1);
    let served = Served::with_on_end(Duration::ZERO, move |id| deleted.send(id).unwrap());
    // Nothing is due now: the end makes the writer look.
    served.settle();
    let (num, id) = served.session_with(LaunchOptions {
        on_end: Some(OnEnd::Delete.into()),
        ..LaunchOptions::default()
    });
    served.store(ended(num));
    assert_eq!(ids.recv_timeout(LONG), Ok(id));
    assert!(served.reader.session(id).is_err());
    served.settle();
    assert_eq!(served.queue.sessions(), 0);
}

#[test]
fn an_edit_adds_and_removes_labels_up_to_their_limit() {
    let served = Served::new();
    let (_, id) = served.session();
    let edit = |add: &[&str], remove: &[&str]| {
        let texts = |labels: &[&str]| labels.iter().map(|&label| label.to_owned()).collect();
        let edit = Edit {
            title: None,
            add_labels: texts(add),
            remove_labels: texts(remove),
        };
        served.ask(StoreRequest::Edit { id, edit })?.record()
    };
    let labels = |record: SessionRecord| record.options.labels.0.join(" ");
    assert_eq!(edit(&["a", "b", "a"], &[]).map(labels), Ok("a b".into()));
    assert_eq!(edit(&["c", "b"], &["a", "x"]).map(labels), Ok("b c".into()));
    let many: Vec<String> = (0..LABELS_MAX).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(edit(&many, &[]), Err(Refused::TooManyLabels));
    assert_eq!(
        served.reader.session(id).unwrap().options.labels,
        Labels(vec!["b".into(), "c".into()])
    );
    assert!(edit(&many, &["b", "c"]).is_ok());
}
