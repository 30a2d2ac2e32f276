//! The queue before a writer takes from it: what it sends, refuses and counts, and what it says of the writer's state.

use std::path::Path;

use super::*;
use crate::api::{Code, SessionId};
use crate::store::keep::retention::Retention;
use crate::store::keep::status::LogTrouble;

/// A queue, and what has been sent to the writer.
fn queue() -> (WriteQueue, Receiver<Item>) {
    let retention = Retention::default();
    let path = Path::new("/does/not/exist");
    let status = Arc::new(StoreStatus::new(path, 3, &retention));
    let (items, inbox) = crossbeam_channel::unbounded();
    (WriteQueue::new(items, status), inbox)
}

fn share(queue: &WriteQueue) -> Share {
    queue.share(Arc::new(Wake::new().unwrap()))
}

fn events(count: usize) -> Vec<NewEvent> {
    let event = |_| NewEvent::error(Code::SendInputFailed, "a reason");
    (0..count).map(event).collect()
}

fn failure(text: &str, fault: Option<Fault>) -> Option<Failure> {
    Some(Failure::new(text.to_owned(), fault))
}

fn log_trouble(is_failed: bool) -> Option<LogTrouble> {
    let reason = Failure::new("of the log".to_owned(), Some(Fault::Sqlite(10)));
    Some(LogTrouble { is_failed, reason })
}

#[test]
fn health_tells_the_worst_that_is_known_with_its_code() {
    let (queue, _inbox) = queue();
    let told = || {
        let health = queue.health();
        let codes = (health.last_errno, health.last_sqlite_code);
        (health.state, health.last_error.unwrap_or_default(), codes)
    };
    let is = |state, error: &str, codes| (state, error.to_owned(), codes);
    assert_eq!(told(), is(WriterState::Healthy, "", (None, None)));
    let loud = share(&queue);
    let all = loud.reserve_or_wake(CAPACITY).unwrap();
    assert!(loud.reserve_or_wake(1).is_none());
    assert_eq!(told(), is(WriterState::Pressured, "", (None, None)));
    drop(all);
    assert_eq!(told(), is(WriterState::Healthy, "", (None, None)));
    queue.status.set_log_trouble(log_trouble(false));
    let of_log = (None, Some(10));
    assert_eq!(told(), is(WriterState::Pressured, "of the log", of_log));
    assert!(queue.check_available().is_ok());
    queue.status.set_log_trouble(log_trouble(true));
    assert_eq!(told(), is(WriterState::Failed, "of the log", of_log));
    let no_room = failure("no room", Some(Fault::Errno(28)));
    queue.status.set_write_failure(no_room);
    assert_eq!(told(), is(WriterState::Failed, "no room", (Some(28), None)));
    assert!(queue.check_available().is_err() && queue.check_writable().is_err());
    queue.status.set_lost(Some("gone".into()));
    assert_eq!(told(), is(WriterState::Failed, "gone", (None, None)));
    queue.status.set_log_trouble(None);
    queue.status.set_lost(None);
    queue.status.set_write_failure(None);
    assert_eq!(told(), is(WriterState::Healthy, "", (None, None)));
}

#[test]
fn what_waits_is_counted_by_session_until_it_is_written() {
    let (queue, inbox) = queue();
    let [first, second] = [SessionNum(7), SessionNum(8)];
    queue.fact(
        Fact::Events {
            num: first,
            events: events(2),
        },
        None,
    );
    let reservation = share(&queue).reserve_or_wake(10_000).unwrap();
    assert!(queue.health().queued_bytes >= 10_000);
    queue.output(second, events(3), reservation);
    let health = queue.health();
    assert_eq!(health.queued_events, 5);
    assert_eq!(health.capacity_bytes, CAPACITY as u64);
    let pending: Vec<Pending> = inbox
        .try_iter()
        .map(|item| match item {
            Item::Fact(pending) => pending,
            _ => panic!(),
        })
        .collect();
    // As many bytes as the facts have, not as were reserved.
    let bytes: usize = pending.iter().map(|pending| pending.fact.bytes()).sum();
    assert_eq!(health.queued_bytes, bytes as u64);
    queue.status.set_write_failure(failure("no room", None));
    let Unwritten { sessions, reason } = queue.unwritten();
    assert_eq!((sessions[&first].events, sessions[&second].events), (2, 3));
    assert!(sessions[&first].bytes > 0 && sessions[&first].bytes < sessions[&second].bytes);
    assert_eq!(reason, failure("no room", None));
    queue
        .status
        .written(pending[..1].iter().map(|pending| &pending.fact));
    assert_eq!(queue.health().queued_events, 3);
    assert!(!queue.unwritten().sessions.contains_key(&first));
    drop(pending);
    assert_eq!(queue.health().queued_bytes, 0);
    assert_eq!(queue.sessions(), 3);
}

#[test]
fn nothing_but_facts_is_sent_to_files_that_are_lost() {
    let (queue, inbox) = queue();
    queue.status.set_lost(Some("gone".into()));
    let (tell, answers) = bounded(2);
    let done = || -> Done {
        let tell = tell.clone();
        Box::new(move |answer| tell.send(answer.map(drop)).unwrap())
    };
    let id = SessionId::random();
    queue.request(StoreRequest::Delete { id }, done());
    queue.chore(Chore::Vacuum, done());
    let refused = Err(Refused::Unavailable {
        reason: "gone".into(),
    });
    assert_eq!(answers.try_iter().collect::<Vec<_>>(), vec![refused; 2]);
    let fact = Fact::Events {
        num: SessionNum::FIRST,
        events: events(1),
    };
    queue.fact(fact, None);
    assert_eq!(inbox.len(), 1);
    queue.status.set_lost(None);
    queue.request(StoreRequest::Delete { id }, done());
    queue.chore(Chore::Vacuum, done());
    assert!(inbox.len() == 3 && answers.is_empty());
}

#[test]
fn who_waits_for_the_writer_does_so_no_longer_than_he_says() {
    let (queue, inbox) = queue();
    queue.shorten_log(Duration::ZERO);
    assert!(queue.pause(Duration::ZERO).is_none());
    let items: Vec<Item> = inbox.try_iter().collect();
    let [Item::Shorten(_), Item::Pause(paused, resumed)] = &items[..] else {
        panic!()
    };
    // The writer finds out that nobody waits any more.
    assert!(paused.send(()).is_err() && resumed.recv().is_err());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| queue.shorten_log(durations::START));
        drop(inbox.recv().unwrap());
        waiting.join().unwrap();
        let pausing = scope.spawn(|| queue.pause(durations::START));
        let Ok(Item::Pause(paused, resumed)) = inbox.recv() else {
            panic!()
        };
        paused.send(()).unwrap();
        let pause = pausing.join().unwrap();
        assert!(pause.is_some() && resumed.try_recv().unwrap_err().is_empty());
        drop(pause);
        assert!(resumed.try_recv().unwrap_err().is_disconnected());
    });
    // Sending to a writer that has ended is no error.
    drop(inbox);
    queue.stop();
    queue.rest();
}

#[test]
fn figures_of_the_disk_that_are_old_are_measured_once() {
    let (queue, inbox) = queue();
    queue.storage();
    assert!(inbox.is_empty());
    queue.status.age_figures(durations::MEASURE_STALE * 2);
    queue.storage();
    queue.storage();
    let items: Vec<Item> = inbox.try_iter().collect();
    assert!(matches!(items[..], [Item::Measure]));
    // Until the writer has measured.
    queue.status.measuring.store(false, Ordering::Relaxed);
    queue.storage();
    assert_eq!(inbox.len(), 1);
}

#[test]
fn the_chores_are_over_once_a_stop_says_so() {
    let (queue, inbox) = queue();
    assert!(!queue.status.chores_over.load(Ordering::Relaxed));
    queue.end_chores();
    assert!(queue.status.chores_over.load(Ordering::Relaxed) && inbox.is_empty());
    queue.status.progress.store(5, Ordering::Relaxed);
    assert_eq!(queue.progress(), 5);
}
