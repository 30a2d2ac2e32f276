//! Time to read a page at the end of a long session, compared with a short one; and to read all of a large session
//! through the API, compared with a bare `SELECT`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use coven::api::{EventWriter, SessionId, Timestamp};
use rusqlite::{Connection, params};

use super::lab::{Client, Lab};
use super::report::{Reach, Report, Samples};

const SHORT: u64 = 2000;

/// Size at which a page has no room for another event of the flood.
const PAGE_BYTES: usize = 840_000;

pub fn measure(report: &mut Report) {
    pages(report);
    everything(report);
}

fn pages(report: &mut Report) {
    let lab = Lab::start();
    let long = report.rounds(1_000_000) as u64;
    let ids = [SHORT, long].map(|events| filled(&lab, events));
    let mut client = lab.client();
    let mut samples: [Samples; 2] = Default::default();
    for _ in 0..report.rounds(500) {
        for ((id, events), samples) in ids.iter().zip([SHORT, long]).zip(&mut samples) {
            let after = events - 1000;
            let begun = Instant::now();
            client.get(&format!("/events?sessionId={id}&afterSeq={after}"));
            samples.add(begun.elapsed());
        }
    }
    let [mut short, mut long_page] = samples;
    let what = format!("a page of 1000 at the end of {long} events, p50");
    let (measured, floor) = (long_page.percentile(50), short.percentile(50));
    report.add(&what, "ms", measured, floor, Reach::Ratio(1.2));
}

/// Creates a session with the given number of events, inserted while no daemon runs.
pub fn filled(lab: &Lab, events: u64) -> String {
    let mut client = lab.client();
    let id = lab.launch(&mut client, "hello", "x");
    lab.wait_for_end(&mut client, &id);
    lab.coven(&["daemon", "stop"]);
    let mut database = Connection::open(lab.database()).unwrap();
    let (num, last): (i64, i64) = database
        .query_row(
            "SELECT num, last_seq FROM sessions WHERE id = ?1",
            [&id],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    let transaction = database.transaction().unwrap();
    let mut insert = transaction
        .prepare("INSERT INTO events (key, kind, created_at, payload_json) VALUES (?1, 'output', 1764000000000, ?2)")
        .unwrap();
    for seq in last + 1..=events as i64 {
        let payload =
            format!(r#"{{"data":"a line of no interest, number {seq}\n","stream":"stdout"}}"#);
        insert.execute(params![(num << 32) | seq, payload]).unwrap();
    }
    drop(insert);
    let sql = "UPDATE sessions SET last_seq = ?2 WHERE num = ?1";
    transaction.execute(sql, params![num, events]).unwrap();
    transaction.commit().unwrap();
    drop(database);
    lab.coven(&["daemon", "start"]);
    id
}

/// Reads a page, and returns the cursor of the next one. The cursor is at the end of the body: the client need not
/// parse the events.
pub fn next_page(client: &mut Client, id: &str, after: u64) -> Option<u64> {
    let body = client.get(&format!("/events?sessionId={id}&afterSeq={after}"));
    let tail = str::from_utf8(&body[body.len() - 60..]).unwrap();
    let (_, cursor) = tail.split_once("\"afterSeq\":").unwrap();
    let (cursor, rest) = cursor.split_once('}').unwrap();
    rest.ends_with("true}").then(|| cursor.parse().unwrap())
}

fn everything(report: &mut Report) {
    let lab = Lab::new();
    lab.harness("emit");
    lab.coven(&["daemon", "start"]);
    let bytes = report.rounds(100_000_000);
    let mut client = lab.client();
    let id = lab.launch(&mut client, "emit", &bytes.to_string());
    lab.wait_for_end(&mut client, &id);
    let rate = |took: Duration| bytes as f64 / 1e6 / took.as_secs_f64();
    let (mut ours, mut select, mut sent) = (0.0_f64, 0.0_f64, 0.0_f64);
    for _ in 0..3 {
        let begun = Instant::now();
        let mut after = Some(0);
        while let Some(seq) = after {
            after = next_page(&mut client, &id, seq);
        }
        ours = ours.max(rate(begun.elapsed()));
        select = select.max(rate(selected(&lab, bytes)));
        sent = sent.max(rate(sent_by_a_bare_program(&lab, bytes)));
    }
    let what = "100 MB of events through the API";
    report.add(what, "MB/s", ours, select, Reach::RatioAtLeast(0.5));
    let what = "  beside a bare program that sends the same pages";
    report.add(what, "MB/s", ours, sent, Reach::Shown);
}

const SELECT: &str = "SELECT key, kind, created_at, payload_json FROM events ORDER BY key";

/// Reads the same rows, and does nothing with them.
fn selected(lab: &Lab, bytes: usize) -> Duration {
    let bare = Connection::open(lab.database()).unwrap();
    let begun = Instant::now();
    let mut select = bare.prepare(SELECT).unwrap();
    let mut rows = select.query([]).unwrap();
    let mut sum = 0;
    while let Some(row) = rows.next().unwrap() {
        sum += row.get_ref(3).unwrap().as_str().unwrap().len();
    }
    assert!(sum >= bytes);
    begun.elapsed()
}

/// Sends the same rows as the same JSON, in pages of the same size, to a reader that requests each page: the API's cost
/// without HTTP, routes and cursors.
fn sent_by_a_bare_program(lab: &Lab, bytes: usize) -> Duration {
    let (server, client) = UnixStream::pair().unwrap();
    let bare = Connection::open(lab.database()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || send_pages(server, &bare));
        let begun = Instant::now();
        assert!(take_pages(client) >= bytes);
        begun.elapsed()
    })
}

/// Sends a page for each received byte, after its length in eight bytes; the last page has no events.
fn send_pages(mut server: UnixStream, bare: &Connection) {
    let mut select = bare.prepare(SELECT).unwrap();
    let mut rows = select.query([]).unwrap();
    let mut writer = EventWriter::new(SessionId::random());
    let mut length = usize::MAX;
    while length > 0 {
        let mut page = vec![0; 8];
        while page.len() < PAGE_BYTES
            && let Some(row) = rows.next().unwrap()
        {
            let text = |column| row.get_ref(column).unwrap().as_str().unwrap();
            let at = Timestamp::from_millis(row.get(2).unwrap());
            writer.write(&mut page, row.get(0).unwrap(), text(1), text(3), at);
        }
        length = page.len() - 8;
        page[..8].copy_from_slice(&(length as u64).to_le_bytes());
        server.read_exact(&mut [0]).unwrap();
        server.write_all(&page).unwrap();
    }
}

/// Requests pages until one has no events; returns the sum of their bytes.
fn take_pages(mut client: UnixStream) -> usize {
    let mut buffer = vec![0; 2 << 20];
    let mut sum = 0;
    loop {
        client.write_all(&[0]).unwrap();
        let (mut end, mut whole) = (0, usize::MAX);
        while end < whole {
            end += client.read(&mut buffer[end..]).unwrap();
            if let Some(length) = buffer[..end].first_chunk() {
                whole = 8 + u64::from_le_bytes(*length) as usize;
            }
        }
        if whole == 8 {
            return sum;
        }
        sum += end;
    }
}
