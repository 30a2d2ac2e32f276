//! What the writer thread says in the log, and that it says it once.

use std::sync::Mutex;
use std::thread::ThreadId;

use log::kv::{Error, Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};

use super::*;

/// Lines of all writer threads of this process, with their threads.
static LINES: Mutex<Vec<(ThreadId, String)>> = Mutex::new(Vec::new());

struct Lines;

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "coven::store::write::writer"
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut line = Pairs(String::new());
            record.key_values().visit(&mut line).unwrap();
            let thread = std::thread::current().id();
            LINES.lock().unwrap().push((thread, line.0));
        }
    }

    fn flush(&self) {}
}

struct Pairs(String);

impl<'kvs> VisitSource<'kvs> for Pairs {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        self.0.push_str(&format!("{key}={value} "));
        Ok(())
    }
}

fn begin_to_log() {
    static BEGUN: std::sync::Once = std::sync::Once::new();
    BEGUN.call_once(|| {
        log::set_logger(&Lines).unwrap();
        log::set_max_level(LevelFilter::Info);
    });
}

/// The lines of the thread that has said `mark`.
fn said(mark: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap();
    let Some((thread, _)) = lines.iter().find(|(_, line)| line.contains(mark)) else {
        return Vec::new();
    };
    let own = lines.iter().filter(|(of, _)| of == thread);
    own.map(|(_, line)| line.clone()).collect()
}

fn count(lines: &[String], text: &str) -> usize {
    lines.iter().filter(|line| line.contains(text)).count()
}

#[test]
fn an_outage_is_logged_once_for_each_reason_and_once_at_its_end() {
    begin_to_log();
    let served = Served::new();
    let (num, _) = served.session();
    // Found in the log by its own text.
    let mark = SessionId::random().to_string();
    let refuse = |why: &str| {
        let trigger = format!(
            "DROP TRIGGER IF EXISTS spoilt;
             CREATE TRIGGER spoilt BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, '{why} {mark}'); END"
        );
        served.database().execute_batch(&trigger).unwrap();
        let is_told = || served.last_error().is_some_and(|error| error.contains(why));
        until(is_told);
    };
    let fact = {
        served.spoil();
        let fact = served.tell(events(num, 1));
        until(|| served.last_error().is_some());
        fact
    };
    refuse("first");
    refuse("second");
    served.mend();
    fact.recv_timeout(LONG).unwrap().unwrap();
    // It is said behind the answer.
    until(|| count(&said(&mark), "store_recovered") == 1);
    let lines = said(&mark);
    for why in ["first", "second"] {
        assert_eq!(count(&lines, &format!("{why} {mark}")), 1, "{lines:?}");
    }
    assert_eq!(count(&lines, "store_failed"), 3, "{lines:?}");
}

#[test]
fn a_session_that_exceeds_its_limit_is_logged_once_with_the_limit() {
    begin_to_log();
    let served = Served::with_retention(Retention {
        session_max: Some(1024 * 1024),
        ..Retention::default()
    });
    let (num, id) = served.session();
    for _ in 0..3 {
        served.store(output(num, 24, 64 * 1024));
    }
    let lines = said(&id.to_string());
    let is_capped = |line: &&String| line.contains("session_output_capped");
    let capped: Vec<_> = lines.iter().filter(is_capped).collect();
    assert_eq!(capped.len(), 1, "{lines:?}");
    assert!(capped[0].contains("limit_bytes=1048576"), "{lines:?}");
}

#[test]
fn a_log_that_a_reader_holds_is_logged_once() {
    begin_to_log();
    let served = Served::new();
    let [(num, id), _] = [served.session(), served.session()];
    // Only to find the thread's lines.
    served.database().execute_batch(&format!("CREATE TRIGGER spoilt BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, '{id}'); END; CREATE TRIGGER unwritable BEFORE UPDATE ON sessions BEGIN SELECT 1; END")).unwrap();
    let fact = served.tell(events(num, 1));
    until(|| served.last_error().is_some());
    served.mend();
    fact.recv_timeout(LONG).unwrap().unwrap();
    let reader = hold(&served);
    served.lengthen_log(49);
    for _ in 0..3 {
        served.store(events(num, 1));
    }
    until(|| count(&said(&id.to_string()), "checkpoint_failed") == 1);
    for _ in 0..3 {
        served.store(events(num, 1));
    }
    assert_eq!(count(&said(&id.to_string()), "checkpoint_failed"), 1);
    reader.execute_batch("COMMIT").unwrap();
}
