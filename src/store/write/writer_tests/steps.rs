//! What the writer does beside its commits: batches, chores, housekeeping, figures, the record of the clocks.

use super::*;

const MIB: usize = 1024 * 1024;

/// A session that has ended, with so many MiB of output.
fn ended_session(served: &Served, mib: usize) -> (SessionNum, SessionId) {
    let (num, id) = served.session();
    served.store(output(num, mib * 16, MIB / 16));
    served.store(ended(num));
    (num, id)
}

#[test]
fn much_that_waits_is_committed_in_transactions_of_a_mebibyte_and_before_a_pause() {
    let served = Served::new();
    let (num, _) = served.session();
    let paused = served.queue.pause(LONG).unwrap();
    let facts: Vec<_> = (0..32)
        .map(|_| served.tell(output(num, 1, 128 * 1024)))
        .collect();
    let before = served.queue.health();
    drop(paused);
    drop(served.queue.pause(LONG).unwrap());
    assert_eq!(served.queue.health().queued_events, 0);
    for fact in facts {
        fact.try_recv().unwrap().unwrap();
    }
    // The pause saves the clock, which is no transaction of the queue.
    let transactions = served.queue.health().transactions - before.transactions;
    assert!((4..=5).contains(&transactions), "{transactions}");
}

#[test]
fn a_pause_saves_the_clock_and_does_not_begin_if_it_cannot() {
    let served = Served::new();
    let (num, _) = served.session();
    drop(served.queue.pause(LONG).unwrap());
    let before = served.clock();
    let passed = Instant::now() + Duration::from_millis(2);
    until(|| Instant::now() > passed);
    drop(served.queue.pause(LONG).unwrap());
    assert_ne!(served.clock(), before);
    let trigger =
        "CREATE TRIGGER timeless BEFORE UPDATE ON meta BEGIN SELECT RAISE(ABORT, 'spoilt'); END";
    served.database().execute_batch(trigger).unwrap();
    assert!(served.queue.pause(LONG).is_none());
    served.store(events(num, 1));
}

#[test]
fn the_file_shrinks_after_a_large_session_is_deleted() {
    let served = Served::new();
    let (_, id) = ended_session(&served, 6);
    served.queue.shorten_log(LONG);
    let before = served.database_bytes();
    assert!(before > 6 * MIB as u64);
    served.ask(StoreRequest::Delete { id }).unwrap();
    until(|| served.database_bytes() < 2 * MIB as u64);
}

#[test]
fn a_store_over_its_limit_loses_output_without_a_request() {
    let served = Served::with_retention(Retention {
        store_max: Some(2 * MIB as u64),
        ..Retention::default()
    });
    let (num, _) = ended_session(&served, 4);
    until(|| served.status.storage().truncated_output_events > 0);
    served.chore(Chore::Prune { days: None }).unwrap().unwrap();
    assert!(served.seqs(num).len() < 40);
}

#[test]
fn the_disk_is_measured_a_while_after_a_write_and_not_with_each() {
    let served = Served::new();
    let (num, _) = served.session();
    let used = || served.status.storage().used_bytes;
    let before = used();
    served.store(output(num, 64, MIB / 16));
    until(|| used() > before + 3 * MIB as u64);
    let begun = Instant::now();
    let measured_at = || served.status.storage().measured_at;
    let last = measured_at();
    for _ in 0..5 {
        served.store(events(num, 1));
        let passed = Instant::now() + Duration::from_millis(2);
        until(|| Instant::now() > passed);
    }
    served.settle();
    let now = measured_at();
    assert!(now == last || begun.elapsed() >= durations::MEASURE_EVERY / 2);
    until(|| measured_at() > last);
}

#[test]
fn output_beyond_a_sessions_limit_is_counted_as_truncated_and_other_output_is_not() {
    let served = Served::with_retention(Retention {
        session_max: Some(MIB as u64),
        ..Retention::default()
    });
    let (num, _) = served.session();
    served.chore(Chore::Prune { days: None }).unwrap().unwrap();
    let before = served.status.removals();
    served.store(output(num, 4, MIB / 16));
    assert_eq!(served.status.storage().truncated_output_events, 0);
    assert_eq!(served.status.removals(), before);
    served.store(output(num, 32, MIB / 16));
    let storage = served.status.storage();
    let events = storage.truncated_output_events;
    assert!(events > 0 && storage.truncated_output_bytes == events * (MIB / 16) as u64);
    assert_eq!(served.status.removals(), before + 1);
    assert!(storage.last_truncated_at.is_some());
}

#[test]
fn a_vacuum_can_be_interrupted_by_a_stop_and_no_other_statement() {
    let served = Served::new();
    let (num, id) = served.session();
    for _ in 0..4 {
        served.store(output(num, 2000, 10));
    }
    served.store(ended(num));
    let progress = served.queue.progress();
    let vacuumed = served.chore(Chore::Vacuum);
    assert!(matches!(vacuumed, Some(Ok(_))), "{vacuumed:?}");
    assert!(served.queue.progress() > progress);
    // It waits for the lock of another program, until the chores are over.
    let other = served.database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (done, answer) = answer();
    served.queue.chore(Chore::Vacuum, done);
    until(|| served.status.is_vacuuming.load(Ordering::Relaxed));
    served.queue.end_chores();
    other.execute_batch("COMMIT").unwrap();
    let interrupted = answer.recv_timeout(LONG).unwrap();
    assert!(
        matches!(&interrupted, Err(Refused::Unavailable { reason }) if reason.to_string().contains("interrupted")),
        "{interrupted:?}"
    );
    // A statement as long as that goes on.
    served.ask(StoreRequest::Delete { id }).unwrap();
    assert!(served.seqs(num).is_empty());
}

#[test]
fn an_on_end_is_done_after_its_delay_without_a_message() {
    let (deleted, ids) = bounded(1);
    let delay = Duration::from_millis(30);
    let served = Served::with_on_end(delay, move |id| deleted.send(id).unwrap());
    let (num, id) = served.session_with(LaunchOptions {
        on_end: Some(OnEnd::Delete.into()),
        ..LaunchOptions::default()
    });
    served.store(ended(num));
    assert_eq!(ids.recv_timeout(LONG), Ok(id));
}

#[test]
fn the_writer_ends_when_nobody_can_send_to_it_any_more() {
    let Served {
        writer, queue, dir, ..
    } = Served::new();
    let Writer {
        queue: other,
        stopped,
    } = writer.unwrap();
    drop((queue, other));
    let ended = stopped.recv_timeout(LONG);
    assert_eq!(ended, Err(RecvTimeoutError::Disconnected));
    drop(dir);
}

/// A writer thread whose steps a test runs itself, and its queue.
fn thread(path: &Path) -> (Thread, WriteQueue) {
    let Parts {
        mut connection,
        status,
        reader,
        maintenance,
    } = Parts::of(path);
    let wal = Wal::start(&mut connection, path).unwrap();
    let (items, inbox) = unbounded();
    let queue = WriteQueue::new(items, Arc::clone(&status));
    let followers = Arc::default();
    let thread = Thread::new(
        connection,
        wal,
        inbox,
        status,
        followers,
        maintenance,
        reader,
    );
    (thread, queue)
}

/// Commits what is queued.
fn turn(thread: &mut Thread) {
    thread.take_queued();
    let mut work = Work::default();
    thread.backlog.move_to(&mut work, usize::MAX);
    thread.commit(work);
}

#[test]
fn the_clock_is_saved_with_the_end_of_a_session_if_it_has_not_been_for_long() {
    let dir = Directory::new();
    let (mut thread, queue) = thread(&dir.database());
    let mut clocks = Vec::new();
    for _ in 0..2 {
        let (done, created) = answer();
        queue.request(StoreRequest::Create(Box::new(new_session())), done);
        turn(&mut thread);
        let Ok(Ok(Committed::Created(num))) = created.try_recv() else {
            panic!()
        };
        queue.fact(events(num, 1), None);
        turn(&mut thread);
        clocks.push(saved_clock(&thread.connection));
        let passed = Instant::now() + Duration::from_millis(2);
        until(|| Instant::now() > passed);
        queue.fact(ended(num), None);
        turn(&mut thread);
        clocks.push(saved_clock(&thread.connection));
    }
    assert!(clocks[0].is_none() && clocks[1].is_some());
    assert!(clocks[1] == clocks[2] && clocks[2] == clocks[3]);
}

#[test]
fn the_disk_is_measured_when_health_asks_for_it() {
    let dir = Directory::new();
    let (mut thread, queue) = thread(&dir.database());
    let before = thread.status.storage();
    turn(&mut thread);
    assert!(thread.is_unmeasured);
    thread.status.measuring.store(true, Ordering::Relaxed);
    thread.take(Item::Measure);
    let after = thread.status.storage();
    assert!(!thread.status.measuring.load(Ordering::Relaxed) && !thread.is_unmeasured);
    assert!(before.database_bytes == 0 && after.database_bytes > 0);
    drop(queue);
}

/// Does all housekeeping that is due.
fn keep_house(thread: &mut Thread) {
    while thread.maintenance.is_busy() {
        let (connection, tails) = (&mut thread.connection, &mut thread.tails);
        let settle = &mut || {};
        thread
            .maintenance
            .step(connection, tails, settle, &thread.status);
    }
}

#[test]
fn a_deletion_that_frees_much_is_followed_by_housekeeping_at_once() {
    let dir = Directory::new();
    let (mut thread, queue) = thread(&dir.database());
    keep_house(&mut thread);
    let new = new_session();
    let id = new.record.id;
    let (done, created) = answer();
    queue.request(StoreRequest::Create(Box::new(new)), done);
    turn(&mut thread);
    let Ok(Ok(Committed::Created(num))) = created.try_recv() else {
        panic!()
    };
    queue.fact(output(num, 32, MIB / 16), None);
    queue.fact(ended(num), None);
    turn(&mut thread);
    assert!(!thread.maintenance.is_busy());
    queue.request(StoreRequest::Delete { id }, answer().0);
    turn(&mut thread);
    assert!(thread.maintenance.is_busy());
}

/// True if the thread goes on by itself within `patience`; else it waits, and goes on with a message.
fn goes_on(thread: &mut Thread, queue: &WriteQueue, is_late: bool, patience: Duration) -> bool {
    std::thread::scope(|scope| {
        let (tell, returned) = bounded(1);
        scope.spawn(move || {
            thread.wait(is_late);
            tell.send(())
        });
        let has_gone_on = returned.recv_timeout(patience).is_ok();
        if !has_gone_on {
            queue.ping(bounded(1).0);
            returned.recv_timeout(LONG).unwrap();
        }
        has_gone_on
    })
}

#[test]
fn the_writer_waits_for_a_message_a_measurement_a_copy_or_the_next_look_at_a_long_log() {
    let dir = Directory::new();
    let (mut thread, queue) = thread(&dir.database());
    keep_house(&mut thread);
    let Thread {
        connection,
        status,
        maintenance,
        ..
    } = &mut thread;
    assert!(maintenance.due_on_end(connection, status).is_none());
    let a_moment = Duration::from_millis(20);
    let waits = |thread: &mut Thread, is_late| {
        let waits = !goes_on(thread, &queue, is_late, a_moment);
        thread.take_queued();
        waits
    };
    // Longer than until the next look at a long log.
    let patience = durations::LOG_RETRY * 2;
    assert!(!goes_on(&mut thread, &queue, false, patience));
    thread.take_queued();
    assert!(goes_on(&mut thread, &queue, true, LONG));
    thread.is_unmeasured = true;
    thread.measured = Instant::now();
    assert!(waits(&mut thread, false));
    thread.measured = Instant::now()
        .checked_sub(durations::MEASURE_EVERY)
        .unwrap();
    assert!(goes_on(&mut thread, &queue, false, LONG));
    thread.is_unmeasured = false;
    thread.wal.shorten();
    assert!(goes_on(&mut thread, &queue, false, LONG));
    // While a copy runs, its end is waited for, and not the next look.
    thread.wal.settle().unwrap();
    assert!(waits(&mut thread, false));
}
