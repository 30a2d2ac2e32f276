//! A log that cannot restart, is too long, or is to be short: who waits, who is refused, and how it ends.

use std::os::unix::fs::FileExt;

use super::*;

/// Sends a fact that is larger than what a quiet session may have waiting.
fn flood(served: &Served, num: SessionNum) -> Receiver<Result<Committed, Refused>> {
    served.tell(output(num, 4, 16 * 1024))
}

fn is_held(served: &Served) -> bool {
    let error = served.last_error();
    error.is_some_and(|error| error.contains("its log cannot be reset"))
}

#[test]
fn only_floods_wait_for_a_long_log_that_a_reader_holds_until_the_reader_has_gone() {
    let served = Served::new();
    let [(loud, _), (quiet, id)] = [served.session(), served.session()];
    let reader = hold(&served);
    served.lengthen_log(49);
    served.store(events(quiet, 1));
    until(|| is_held(&served));
    assert_eq!(served.queue.health().state, WriterState::Pressured);
    let waiting = flood(&served, loud);
    // Others are served meanwhile: their facts and their requests.
    served.store(events(quiet, 2));
    let archive = StoreRequest::Archive {
        id,
        archived: false,
    };
    served.ask(archive).unwrap();
    served.store(events(quiet, 1));
    assert!(waiting.try_recv().is_err());
    assert_eq!(served.queue.health().queued_events, 4);
    assert!(served.queue.check_available().is_ok());
    // No copy runs when the reader goes, and no message follows.
    served.queue.shorten_log(LONG);
    reader.execute_batch("COMMIT").unwrap();
    waiting.recv_timeout(LONG).unwrap().unwrap();
    until(|| served.last_error().is_none() && served.log_bytes() < 1024 * 1024);
    assert_eq!(served.queue.health().state, WriterState::Healthy);
}

#[test]
fn a_long_log_is_truncated_at_the_next_message_after_its_reader_has_gone() {
    let served = Served::new();
    let (num, _) = served.session();
    let reader = hold(&served);
    served.lengthen_log(33);
    served.store(events(num, 1));
    // It cannot be truncated now.
    served.queue.shorten_log(LONG);
    assert!(served.log_bytes() > 33 * 1024 * 1024);
    reader.execute_batch("COMMIT").unwrap();
    until(|| {
        served.settle();
        served.log_bytes() < 1024 * 1024
    });
}

#[test]
fn nothing_is_written_beyond_the_logs_limit_and_a_pause_or_a_stop_writes_all_the_same() {
    let mut served = Served::new();
    let (num, id) = served.session();
    let reader = hold(&served);
    served.lengthen_log(65);
    served.store(events(num, 1));
    until(|| is_held(&served));
    let before = served.log_bytes();
    let waiting = served.tell(events(num, 1));
    let refused = served.ask(StoreRequest::Delete { id });
    let Err(Refused::Unavailable { reason }) = refused else {
        panic!("{refused:?}");
    };
    assert!(reason.to_string().contains("its log cannot be reset"));
    assert_eq!(served.queue.health().state, WriterState::Failed);
    assert!(waiting.try_recv().is_err() && served.log_bytes() == before);
    let paused = served.queue.pause(LONG).unwrap();
    waiting.recv_timeout(LONG).unwrap().unwrap();
    drop(paused);
    let waiting = served.tell(events(num, 1));
    served.writer.take().unwrap().stop(LONG).unwrap();
    waiting.recv_timeout(LONG).unwrap().unwrap();
    reader.execute_batch("COMMIT").unwrap();
    let seqs = served.seqs(num);
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
}

#[test]
fn writing_goes_on_once_a_log_beyond_its_limit_is_copied() {
    let served = Served::new();
    let (num, id) = served.session();
    served.lengthen_log(66);
    served.store(events(num, 1));
    served.store(events(num, 1));
    let archive = StoreRequest::Archive {
        id,
        archived: false,
    };
    served.ask(archive).unwrap();
    assert_eq!(served.last_error(), None);
}

#[test]
fn who_asks_for_a_short_log_waits_until_it_is_copied_and_has_begun_anew() {
    let served = Served::new();
    let (num, _) = served.session();
    served.lengthen_log(12);
    served.store(events(num, 1));
    let before = served.clock();
    served.queue.shorten_log(LONG);
    // It holds the record of the clock, and no more.
    assert!((1..256 * 1024).contains(&served.log_bytes()));
    assert_ne!(served.clock(), before);
    // With a reader in the way it ends as well.
    let reader = hold(&served);
    served.store(events(num, 1));
    served.queue.shorten_log(LONG);
    assert!(served.log_bytes() > 0);
    reader.execute_batch("COMMIT").unwrap();
}

#[test]
fn a_log_that_cannot_be_copied_is_a_failure_in_health_until_it_is_copied() {
    let served = Served::new();
    let (num, _) = served.session();
    served.store(output(num, 1, 100_000));
    let log = served.dir.log();
    let content = std::fs::read(&log).unwrap();
    let file = std::fs::File::options().write(true).open(&log).unwrap();
    file.set_len(0).unwrap();
    served.queue.shorten_log(LONG);
    until(|| served.queue.health().state == WriterState::Failed);
    let health = served.queue.health();
    let error = health.last_error.unwrap();
    assert!(error.starts_with("its log cannot be copied into the database: "));
    assert!(health.last_sqlite_code.is_some());
    file.write_all_at(&content, 0).unwrap();
    served.queue.shorten_log(LONG);
    until(|| served.queue.health().state == WriterState::Healthy);
}

#[test]
fn a_stop_waits_for_the_copy_of_the_log_that_has_begun_and_empties_it() {
    let mut served = Served::new();
    let (num, _) = served.session();
    served.lengthen_log(20);
    // Its commit begins the copy.
    served.store(events(num, 1));
    served.writer.take().unwrap().stop(LONG).unwrap();
    assert_eq!(served.log_bytes(), 0);
}
