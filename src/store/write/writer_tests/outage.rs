//! A disk that refuses commits: what is tried again, noted, refused, and counted.

use std::sync::atomic::AtomicUsize;

use super::*;

/// A store on a disk that refuses as many commits as it is told to, and the times of the commits since.
struct Failing {
    served: Served,
    refused: Arc<AtomicUsize>,
    attempts: Receiver<Instant>,
}

impl Failing {
    fn new() -> Self {
        let refused = Arc::new(AtomicUsize::new(0));
        let (tell, attempts) = unbounded();
        let served = Served::on_disk({
            let refused = Arc::clone(&refused);
            move || {
                let _ = tell.send(Instant::now());
                let take = |left: usize| left.checked_sub(1);
                let order = Ordering::Relaxed;
                refused.fetch_update(order, order, take).is_ok()
            }
        });
        // Nothing of its start commits any more.
        served.chore(Chore::Prune { days: None }).unwrap().unwrap();
        Self {
            served,
            refused,
            attempts,
        }
    }

    fn refuse(&self, commits: usize) {
        self.attempts.try_iter().for_each(drop);
        self.refused.store(commits, Ordering::Relaxed);
    }
}

#[test]
fn a_commit_that_fails_is_tried_again_after_ever_longer_pauses_with_gapless_seqs() {
    let failing = Failing::new();
    let (num, _) = failing.served.session();
    failing.refuse(3);
    failing.served.store(events(num, 2));
    let attempts: Vec<Instant> = failing.attempts.try_iter().collect();
    assert_eq!(attempts.len(), 4);
    let mut least = durations::WRITE_RETRY_FIRST;
    for pair in attempts.windows(2) {
        assert!(pair[1] - pair[0] >= least);
        least *= 2;
    }
    failing.served.store(events(num, 1));
    // The session's status, the note, and three events.
    assert_eq!(failing.served.seqs(num), [1, 2, 3, 4, 5]);
}

#[test]
fn an_outage_is_noted_once_in_each_session_that_waited_and_in_no_other() {
    let served = Served::new();
    let sessions = [served.session(), served.session(), served.session()];
    let [(first, first_id), (second, second_id), (_, quiet)] = sessions;
    let before = served.stored() - served.queue.health().committed_events;
    served.spoil();
    let facts = [events(first, 1), events(second, 1), events(first, 2)];
    let answers = facts.map(|fact| served.tell(fact));
    until(|| served.queue.check_available().is_err());
    served.mend();
    for answer in answers {
        answer.recv_timeout(LONG).unwrap().unwrap();
    }
    for (id, facts) in [(first_id, 3), (second_id, 1), (quiet, 0)] {
        let messages = served.messages(id);
        assert_eq!(messages.len(), facts + usize::from(facts > 0));
        let Some((note, facts)) = messages.split_first() else {
            continue;
        };
        let says = "the event store could not be written for ";
        assert!(note.starts_with(says) && note.ends_with("spoilt"), "{note}");
        assert!(facts.iter().all(|fact| fact == "a reason"));
    }
    for (num, _) in sessions {
        let seqs = served.seqs(num);
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    }
    assert_eq!(
        served.stored() - served.queue.health().committed_events,
        before
    );
    assert!(!served.status.is_damaged());
}

#[test]
fn an_outage_that_met_only_a_request_ends_when_the_disk_takes_a_commit_and_leaves_no_note() {
    let failing = Failing::new();
    let served = &failing.served;
    let (num, id) = served.session();
    let stored = served.stored();
    let other = served.database();
    let version = || -> i64 {
        let version = other.pragma_query_value(None, "data_version", |row| row.get(0));
        version.unwrap()
    };
    let before = version();
    failing.refuse(2);
    let archive = StoreRequest::Archive {
        id,
        archived: false,
    };
    assert!(served.ask(archive).is_err());
    until(|| served.queue.check_available().is_ok());
    assert_eq!(failing.attempts.try_iter().count(), 3);
    // A page has been written, with the same content.
    assert!(version() != before && served.stored() == stored);
    served.store(events(num, 1));
    assert_eq!(served.stored(), stored + 1);
}

#[test]
fn a_stop_does_not_wait_for_a_disk_that_has_only_refused_requests() {
    let failing = Failing::new();
    let (_, id) = failing.served.session();
    failing.refuse(usize::MAX);
    assert!(failing.served.ask(StoreRequest::Delete { id }).is_err());
    let Failing { mut served, .. } = failing;
    served.writer.take().unwrap().stop(LONG).unwrap();
}

#[test]
fn requests_in_an_outage_are_refused_and_facts_are_kept_in_their_order_behind_the_note() {
    let failing = Failing::new();
    let served = &failing.served;
    let [(num, id), (other, other_id)] = [served.session(), served.session()];
    failing.refuse(usize::MAX);
    let mut facts = vec![served.tell(events(num, 1))];
    until(|| served.queue.check_available().is_err());
    for _ in 0..5 {
        facts.push(served.tell(events(num, 1)));
        facts.push(served.tell(events(other, 1)));
        served.settle();
        let vacuumed = served.chore(Chore::Vacuum);
        for refused in [served.ask(StoreRequest::Delete { id }), vacuumed.unwrap()] {
            let is_refused = matches!(refused, Err(Refused::Unavailable { .. }));
            assert!(is_refused, "{refused:?}");
        }
    }
    failing.refuse(0);
    for fact in facts {
        fact.recv_timeout(LONG).unwrap().unwrap();
    }
    assert_eq!(served.queue.health().queued_bytes, 0);
    for (id, facts) in [(id, 6), (other_id, 5)] {
        let messages = served.messages(id);
        assert!(messages[0].contains("could not be written"), "{messages:?}");
        assert_eq!(messages[1..], vec!["a reason"; facts]);
    }
}

#[test]
fn a_request_in_an_outage_is_refused_before_the_next_attempt() {
    let failing = Failing::new();
    let (num, id) = failing.served.session();
    failing.refuse(usize::MAX);
    let fact = failing.served.tell(events(num, 1));
    until(|| failing.served.queue.check_available().is_err());
    // An attempt can happen to come in between.
    let is_refused_at_once = (0..5).any(|_| {
        failing.attempts.try_iter().for_each(drop);
        assert!(failing.served.ask(StoreRequest::Delete { id }).is_err());
        failing.attempts.is_empty()
    });
    assert!(is_refused_at_once);
    failing.refuse(0);
    fact.recv_timeout(LONG).unwrap().unwrap();
}

#[test]
fn damage_that_a_write_meets_is_on_record_also_when_writing_works_again() {
    let served = Served::new();
    let (num, _) = served.session();
    let database = served.database();
    // A root page that the database does not have.
    let set_root = |root: &str| {
        let set = format!(
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = {root} WHERE name = 'events';"
        );
        database.execute_batch(&set).unwrap();
        let version: i64 = database
            .pragma_query_value(None, "schema_version", |row| row.get(0))
            .unwrap();
        database
            .pragma_update(None, "schema_version", version + 1)
            .unwrap();
    };
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'events'";
    let root: i64 = database.query_row(root, [], |row| row.get(0)).unwrap();
    set_root("99999999");
    let fact = served.tell(events(num, 1));
    until(|| served.queue.check_writable().is_err());
    assert!(served.status.is_damaged());
    set_root(&root.to_string());
    fact.recv_timeout(LONG).unwrap().unwrap();
    assert!(served.status.is_damaged() && served.queue.check_writable().is_ok());
}
