//! What the writer keeps in mind of a session's events, so that it need not look at them: the last seq, and how much
//! output the session has on disk, its prompt included. A cache of the session's row.
//!
//! Runs on the writer thread. It counts; what goes, [`super::truncation`] decides.

use std::collections::HashMap;
use std::sync::LazyLock;

use rusqlite::Connection;

use crate::store::columns::{Columns, columns};
use crate::store::rows::{SessionNum, select, update_session};
use crate::store::schema::PAGE_BYTES;

/// The output that a session may always keep from its beginning, in bytes on disk.
const HEAD_BYTES: u64 = 1024 * 1024;

/// SQLite's page, in bytes; a database of an older coven can have smaller ones.
const PAGE: u64 = PAGE_BYTES as u64;

/// What of a page rows can have, without its header and a share of the auto-vacuum's own pages, in bytes.
const PAGE_USABLE: u64 = PAGE - 16;

/// The longest row that is kept whole in a page of the table, and the least of a longer one that is: its other bytes have
/// pages of their own (SQLite, Database File Format, 1.6).
const LOCAL_MAX: u64 = PAGE - 35;
const LOCAL_MIN: u64 = (PAGE - 12) * 32 / 255 - 23;

/// What one of these other pages holds: all but the number of the next.
const OVERFLOW: u64 = PAGE - 4;

/// What a row of an event takes besides its payload: cell pointer, sizes, key, header, kind and time, in bytes.
const ROW: u64 = 28;

/// A session's events, as the writer keeps them in mind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The last seq.
    pub last_seq: u64,
    /// What its output and its prompt take on disk, in bytes.
    pub stored_bytes: u64,
    /// The last seq of the output that is kept from the beginning; `None` while that may still grow.
    pub head_seq: Option<u64>,
    /// Where the last `output_truncated` event stands; 0 if there is none.
    pub cut_seq: u64,
}

columns!(Tail {
    last_seq,
    stored_bytes,
    head_seq,
    cut_seq
});

/// The ends of sessions that had events lately: a cache of their rows.
pub(crate) type Tails = HashMap<SessionNum, Tail>;

impl Tail {
    /// As a session's row has it.
    pub(crate) fn of(connection: &Connection, num: SessionNum) -> rusqlite::Result<Self> {
        static QUERY: LazyLock<String> = LazyLock::new(|| select::<Tail>("num = ?1"));
        let mut statement = connection.prepare_cached(&QUERY)?;
        statement.query_row([num], Self::from_row)
    }

    /// Brings a session's row up to it.
    pub(crate) fn write(&self, connection: &Connection, num: SessionNum) -> rusqlite::Result<()> {
        update_session(connection, num, &self.changes())
    }

    /// Counts an event of output or of a prompt, of `payload` bytes, whose seq is the last one. No more than half of `limit` is kept from
    /// the beginning.
    pub(crate) fn add_output(&mut self, payload: usize, limit: Option<u64>) {
        let head_max = limit.map_or(HEAD_BYTES, |limit| HEAD_BYTES.min(limit / 2));
        self.stored_bytes += disk_bytes(payload);
        if self.head_seq.is_none() && self.stored_bytes > head_max {
            self.head_seq = Some(self.last_seq - 1);
        }
    }
}

/// What an event with a payload of so many bytes takes on disk, its share of a page's unused end included. Within a
/// twentieth of the pages that SQLite really uses.
pub(crate) fn disk_bytes(payload: usize) -> u64 {
    let row = payload as u64 + ROW;
    let share_of_page = |bytes: u64| PAGE / (PAGE_USABLE / bytes);
    if row <= LOCAL_MAX {
        return share_of_page(row);
    }
    // As much is kept as fills the other pages to their ends, if that can be.
    let filling = LOCAL_MIN + (row - LOCAL_MIN) % OVERFLOW;
    let local = if filling <= LOCAL_MAX {
        filling
    } else {
        LOCAL_MIN
    };
    share_of_page(local) + (row - local).div_ceil(OVERFLOW) * PAGE
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, params};

    use super::*;

    /// The pages that `rows` events of `payload` bytes really take, in bytes.
    fn really(rows: usize, payload: usize) -> u64 {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .pragma_update(None, "page_size", PAGE_BYTES)
            .unwrap();
        connection
            .execute_batch(
                "CREATE TABLE events (key INTEGER PRIMARY KEY, kind TEXT, created_at INTEGER, payload_json TEXT)",
            )
            .unwrap();
        let text = "x".repeat(payload);
        let mut insert = connection
            .prepare("INSERT INTO events VALUES (?1, 'output', 1764000000000, ?2)")
            .unwrap();
        for row in 0..rows as i64 {
            insert.execute(params![(7_i64 << 32) | row, text]).unwrap();
        }
        let pages: u64 = connection
            .pragma_query_value(None, "page_count", |row| row.get(0))
            .unwrap();
        pages * PAGE
    }

    #[test]
    fn an_event_is_counted_as_what_it_takes_on_disk() {
        for payload in [
            30, 60, 150, 400, 1000, 2500, 3000, 4200, 5000, 8000, 8200, 9000, 16_400, 20_000,
            65_000, 66_200, 390_000,
        ] {
            let rows = (4_000_000 / (payload + 100)).min(20_000);
            let counted = disk_bytes(payload) * rows as u64;
            let really = really(rows, payload);
            let apart = counted.abs_diff(really) as f64 / really as f64;
            assert!(apart < 0.05, "{payload}: {counted} of {really}");
        }
    }

    #[test]
    fn what_is_kept_from_the_beginning_ends_with_the_first_mebibyte() {
        let mut tail = Tail::default();
        for _ in 0..100 {
            tail.last_seq += 1;
            tail.add_output(60_000, None);
        }
        let head = tail.head_seq.unwrap();
        assert!(head * disk_bytes(60_000) <= HEAD_BYTES);
        assert!((head + 1) * disk_bytes(60_000) > HEAD_BYTES);
    }
}
