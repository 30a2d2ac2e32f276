//! A served database, and what its callers send to the writer.

use std::path::PathBuf;

use super::*;
use crate::store::keep::clock::Clock;
use crate::store::{OnEndTimer, OpenFiles, Store, beside};
use crate::sys::{Interest, Wake, poll};

/// A directory that is removed at the end of the test.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("coven-writer-{}", SessionId::random()));
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    pub(super) fn database(&self) -> PathBuf {
        self.0.join("coven.sqlite3")
    }

    pub(super) fn log(&self) -> PathBuf {
        beside(&self.database(), "-wal")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the writer thread of the database at a path is made of.
pub(super) struct Parts {
    pub(super) connection: Connection,
    pub(super) status: Arc<StoreStatus>,
    pub(super) reader: Reader,
    pub(super) maintenance: Maintenance,
}

impl Parts {
    pub(super) fn of(path: &Path) -> Self {
        let (connection, _) = connect::open_for_writing(path).unwrap();
        let retention = Retention::default();
        let status = Arc::new(StoreStatus::new(path, 0, &retention));
        let reading = connect::open_for_reading(path).unwrap();
        let files = Arc::new(OpenFiles::of(path));
        let clock = Clock::load(&connection).unwrap();
        let on_end = OnEndTimer::new(LONG, Box::new(|_| {}));
        Self {
            reader: Reader::new(path, reading, files, retention, Arc::clone(&status)),
            maintenance: Maintenance::new(retention, clock, on_end, Box::new(|| {})),
            connection,
            status,
        }
    }
}

/// A served database in a directory of its own.
pub(super) struct Served {
    pub(super) writer: Option<Writer>,
    pub(super) queue: WriteQueue,
    pub(super) reader: Reader,
    pub(super) followers: Arc<Followers>,
    pub(super) status: Arc<StoreStatus>,
    pub(super) dir: Directory,
}

impl Served {
    pub(super) fn new() -> Self {
        Self::with_on_end(LONG, |_| {})
    }

    /// A store that carries out `onEnd` after `delay`, and tells of each deletion.
    pub(super) fn with_on_end(
        delay: Duration,
        on_deleted: impl Fn(SessionId) + Send + Sync + 'static,
    ) -> Self {
        Self::with(
            Retention::default(),
            OnEndTimer::new(delay, Box::new(on_deleted)),
        )
    }

    pub(super) fn with_retention(retention: Retention) -> Self {
        Self::with(retention, OnEndTimer::new(LONG, Box::new(|_| {})))
    }

    fn with(retention: Retention, on_end: OnEndTimer) -> Self {
        let dir = Directory::new();
        let store = Store::open(&dir.database(), retention).unwrap();
        let status = store.status();
        let followers = Arc::new(Followers::default());
        let started = store.start(Arc::clone(&followers), on_end, Box::new(|| {}));
        let (writer, reader, _) = started.unwrap();
        Self::of(dir, writer, reader, followers, status)
    }

    /// A store on a disk that refuses each commit for which `refuses` is true.
    pub(super) fn on_disk(refuses: impl FnMut() -> bool + Send + 'static) -> Self {
        let dir = Directory::new();
        let path = dir.database();
        let mut parts = Parts::of(&path);
        parts.connection.commit_hook(Some(refuses)).unwrap();
        let (followers, status) = (Arc::new(Followers::default()), Arc::clone(&parts.status));
        let writer = Writer::start(
            &path,
            parts.connection,
            parts.status,
            Arc::clone(&followers),
            parts.maintenance,
            parts.reader.clone(),
        );
        Self::of(dir, writer.unwrap(), parts.reader, followers, status)
    }

    fn of(
        dir: Directory,
        writer: Writer,
        reader: Reader,
        followers: Arc<Followers>,
        status: Arc<StoreStatus>,
    ) -> Self {
        Self {
            queue: writer.queue(),
            writer: Some(writer),
            reader,
            followers,
            status,
            dir,
        }
    }

    /// Another connection to the database.
    pub(super) fn database(&self) -> Connection {
        let connection = Connection::open(self.dir.database()).unwrap();
        connection.busy_timeout(LONG).unwrap();
        connection
    }

    /// From now on no event can be stored.
    pub(super) fn spoil(&self) {
        let trigger = "CREATE TRIGGER spoilt BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'spoilt'); END;
             CREATE TRIGGER unwritable BEFORE UPDATE ON sessions BEGIN SELECT RAISE(ABORT, 'spoilt'); END";
        self.database().execute_batch(trigger).unwrap();
    }

    pub(super) fn mend(&self) {
        let mended = "DROP TRIGGER spoilt; DROP TRIGGER unwritable";
        self.database().execute_batch(mended).unwrap();
    }

    pub(super) fn ask(&self, request: StoreRequest) -> Result<Committed, Refused> {
        let (done, answer) = answer();
        self.queue.request(request, done);
        answer.recv_timeout(LONG).unwrap()
    }

    /// The answer to a chore; `None` if it is dropped.
    pub(super) fn chore(&self, chore: Chore) -> Option<Result<Committed, Refused>> {
        let (done, answer) = answer();
        self.queue.chore(chore, done);
        answer.recv_timeout(LONG).ok()
    }

    /// Sends a fact; returns the channel of its answer.
    pub(super) fn tell(&self, fact: Fact) -> Receiver<Result<Committed, Refused>> {
        let (done, answer) = answer();
        self.queue.fact(fact, Some(done));
        answer
    }

    /// Sends a fact, asserts that it is stored, and returns its answer.
    #[track_caller]
    pub(super) fn store(&self, fact: Fact) -> Committed {
        self.tell(fact).recv_timeout(LONG).unwrap().unwrap()
    }

    /// Sends so many events as a harness thread does, which reserves more than it needs.
    pub(super) fn output(&self, num: SessionNum, count: usize) {
        let share = self.queue.share(Arc::new(Wake::new().unwrap()));
        let reservation = share.reserve_or_wake(64 * 1024).unwrap();
        let event = |_| NewEvent::error(Code::SendInputFailed, "a reason");
        let events = (0..count).map(event).collect();
        self.queue.output(num, events, reservation);
    }

    /// A new session.
    pub(super) fn session(&self) -> (SessionNum, SessionId) {
        self.session_with(LaunchOptions::default())
    }

    pub(super) fn session_with(&self, options: LaunchOptions) -> (SessionNum, SessionId) {
        let mut new = new_session();
        new.record.options = options;
        let id = new.record.id;
        let created = self.ask(StoreRequest::Create(Box::new(new)));
        match created.unwrap() {
            Committed::Created(num) => (num, id),
            other => panic!("{other:?}"),
        }
    }

    /// Makes the log so much longer by the transaction of another program.
    pub(super) fn lengthen_log(&self, mib: u64) {
        let write = format!(
            "PRAGMA wal_autocheckpoint = 0; CREATE TABLE IF NOT EXISTS filler (x);
             WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT {mib})
             INSERT INTO filler SELECT zeroblob(1048576) FROM n;"
        );
        self.database().execute_batch(&write).unwrap();
        assert!(self.log_bytes() > mib * 1024 * 1024);
    }

    pub(super) fn log_bytes(&self) -> u64 {
        let log = self.dir.log();
        log.metadata().map_or(0, |meta| meta.len())
    }

    pub(super) fn database_bytes(&self) -> u64 {
        let database = self.dir.database();
        database.metadata().unwrap().len()
    }

    /// The seqs of a session's stored events.
    pub(super) fn seqs(&self, num: SessionNum) -> Vec<u64> {
        let query = "SELECT key - ?1 FROM events WHERE key BETWEEN ?1 AND ?2 ORDER BY key";
        let database = self.database();
        let mut statement = database.prepare(query).unwrap();
        let range = [num.key(0), num.key(u64::MAX)];
        let seqs = statement.query_map(range, |row| row.get(0)).unwrap();
        seqs.map(Result::unwrap).collect()
    }

    /// Number of all stored events.
    pub(super) fn stored(&self) -> u64 {
        let query = "SELECT count(*) FROM events";
        self.database()
            .query_row(query, [], |row| row.get(0))
            .unwrap()
    }

    /// The record of the clocks in the database.
    pub(super) fn clock(&self) -> Option<String> {
        saved_clock(&self.database())
    }

    pub(super) fn last_error(&self) -> Option<String> {
        self.queue.health().last_error
    }

    /// The kinds of a session's stored events.
    pub(super) fn kinds(&self, id: SessionId) -> Vec<EventKind> {
        let kind = |event: &crate::api::Event| event.kind.known().unwrap();
        let show = |events: &[crate::api::Event], _| events.iter().map(kind).collect();
        self.reader.newest_events(id, usize::MAX, show).unwrap()
    }

    /// The messages of a session's error events.
    pub(super) fn messages(&self, id: SessionId) -> Vec<String> {
        let message = |event: &crate::api::Event| {
            let payload: serde_json::Value = serde_json::from_str(&event.payload_json).unwrap();
            Some(payload["message"].as_str()?.to_owned())
        };
        let show = |events: &[crate::api::Event], _| events.iter().filter_map(message).collect();
        self.reader.newest_events(id, usize::MAX, show).unwrap()
    }

    /// Waits until the writer has taken everything that was sent before.
    pub(super) fn settle(&self) {
        let (reply, answer) = bounded(1);
        self.queue.ping(reply);
        answer.recv_timeout(LONG).unwrap();
    }
}

/// A launch without a prompt.
pub(super) fn new_session() -> NewSession {
    let text = |text: &str| text.to_owned();
    NewSession {
        record: SessionRecord::new(SessionId::random(), text("/p"), text("hello"), text("t")),
        prompt: Vec::new(),
        idempotency: None,
    }
}

/// A callback, and the channel on which it passes the answer.
pub(super) fn answer() -> (Done, Receiver<Result<Committed, Refused>>) {
    let (reply, answer) = bounded(1);
    let done = Box::new(move |committed| drop(reply.send(committed)));
    (done, answer)
}

pub(super) fn events(num: SessionNum, count: usize) -> Fact {
    let event = |_| NewEvent::error(Code::SendInputFailed, "a reason");
    Fact::Events {
        num,
        events: (0..count).map(event).collect(),
    }
}

pub(super) fn ended(num: SessionNum) -> Fact {
    Fact::Ended {
        num,
        end: Box::new(End {
            status: SessionStatus::Completed,
            exit_code: Some(0),
            signal: None,
            ended_by: None,
            oom_killed: false,
            left_behind: Default::default(),
        }),
        cost: Default::default(),
        usage: None,
        events: Vec::new(),
    }
}

pub(super) fn is_awake(wake: &Wake) -> bool {
    poll(&mut [Interest::readable(wake)], Some(Instant::now())).unwrap()
}

/// A fact of so many events of `bytes` bytes of output each.
pub(super) fn output(num: SessionNum, count: usize, bytes: usize) -> Fact {
    let payload_json = format!(r#"{{"data":"{}","stream":"stdout"}}"#, "x".repeat(bytes));
    let event = |_| NewEvent {
        kind: EventKind::Output,
        payload_json: payload_json.clone(),
        at: Timestamp::now(),
    };
    Fact::Events {
        num,
        events: (0..count).map(event).collect(),
    }
}

/// Keeps the log of `served` from restarting until the returned connection commits.
pub(super) fn hold(served: &Served) -> Connection {
    let holder = served.database();
    let begin = "BEGIN; SELECT count(*) FROM sessions";
    holder.execute_batch(begin).unwrap();
    holder
}

pub(super) fn saved_clock(connection: &Connection) -> Option<String> {
    let query = "SELECT value FROM meta WHERE name = 'clock'";
    let value = connection.query_row(query, [], |row| row.get(0));
    value.optional().unwrap()
}

/// Waits until `is_so`, for what the writer does without a message.
#[track_caller]
pub(super) fn until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "it does not come to be");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
