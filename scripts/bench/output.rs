//! Throughput of output from a harness's write to the commit, compared with a bare SQLite writer of the same rows; and
//! health latency meanwhile.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::lab::Lab;
use super::report::{Reach, Report, Samples};

/// Number of events in one batch of the daemon.
const TRANSACTION: usize = 4 * 1024 * 1024;

pub fn measure(report: &mut Report) {
    let bytes = report.rounds(100_000_000);
    let (one, _) = compare(report, bytes, 1);
    report.add(
        "100 MB from one harness",
        "MB/s",
        one.0,
        one.1,
        Reach::RatioAtLeast(0.8),
    );
    let (eight, mut health) = compare(report, bytes, 8);
    report.add(
        "100 MB from eight at once",
        "MB/s",
        eight.0,
        eight.1,
        Reach::RatioAtLeast(0.8),
    );
    let p99 = health.percentile(99);
    report.add_alone("health meanwhile, p99", "ms", p99, Reach::AtMost(5.0));
}

/// Best of several alternating runs of the daemon and the bare writer, in MB/s; and health latency under load.
fn compare(report: &Report, bytes: usize, harnesses: usize) -> ((f64, f64), Samples) {
    let lab = Lab::new();
    lab.harness("emit");
    lab.coven(&["daemon", "start"]);
    let mut best = (0.0_f64, 0.0_f64);
    let mut health = Samples::default();
    for _ in 0..report.rounds(30).clamp(2, 5) {
        let took = run(&lab, bytes, harnesses, &mut health);
        best.0 = best.0.max(rate(bytes, took));
        best.1 = best.1.max(rate(bytes, write_again(&lab)));
        sacrifice_all(&lab);
    }
    (best, health)
}

fn rate(bytes: usize, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64()
}

/// Duration from the first launch until everything is committed.
fn run(lab: &Lab, bytes: usize, harnesses: usize, health: &mut Samples) -> Duration {
    let mut client = lab.client();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut samples = Vec::new();
            let mut client = lab.client();
            while !is_over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                client.get("/health");
                samples.push(begun.elapsed());
                std::thread::sleep(Duration::from_millis(2));
            }
            samples
        });
        let begun = Instant::now();
        let prompt = (bytes / harnesses).to_string();
        let ids: Vec<String> = (0..harnesses)
            .map(|_| lab.launch(&mut client, "emit", &prompt))
            .collect();
        for id in ids {
            lab.wait_for_end(&mut client, &id);
        }
        let took = begun.elapsed();
        is_over.store(true, Ordering::Relaxed);
        for sample in watcher.join().unwrap() {
            health.add(sample);
        }
        took
    })
}

/// Writes the rows of the daemon's events again from a bare program, with the same pragmas.
fn write_again(lab: &Lab) -> Duration {
    let rows = read(&lab.database());
    let copy = lab.work().join("bare.sqlite3");
    let mut bare = Connection::open(&copy).unwrap();
    bare.execute_batch(
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
         PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -2000;
         CREATE TABLE events (key INTEGER PRIMARY KEY, kind TEXT NOT NULL, created_at INTEGER NOT NULL,
             payload_json TEXT NOT NULL) STRICT;",
    )
    .unwrap();
    let begun = Instant::now();
    let mut rows = rows.iter().peekable();
    while rows.peek().is_some() {
        let transaction = bare.transaction().unwrap();
        let mut insert = transaction
            .prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4)")
            .unwrap();
        let mut size = 0;
        while size < TRANSACTION
            && let Some((key, kind, at, payload)) = rows.next()
        {
            insert.execute(params![key, kind, at, payload]).unwrap();
            size += payload.len();
        }
        drop(insert);
        transaction.commit().unwrap();
    }
    let took = begun.elapsed();
    drop(bare);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(lab.work().join(format!("bare.sqlite3{suffix}")));
    }
    took
}

fn read(database: &Path) -> Vec<(i64, String, i64, String)> {
    let connection = Connection::open(database).unwrap();
    let mut select = connection
        .prepare("SELECT key, kind, created_at, payload_json FROM events ORDER BY rowid")
        .unwrap();
    let rows = select
        .query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .unwrap();
    rows.map(Result::unwrap).collect()
}

fn sacrifice_all(lab: &Lab) {
    let listed = lab.coven(&["sessions", "--all", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    for record in listed["sessions"].as_array().unwrap() {
        lab.coven(&["sacrifice", "--yes", record["id"].as_str().unwrap()]);
    }
}
