//! Caches per session the last seq and the size of its output on disk, prompt included, so that the writer need not
//! read them.
//!
//! Runs on the writer thread. It counts; [`super::truncation`] deletes.

use std::collections::HashMap;
use std::sync::LazyLock;

use rusqlite::Connection;

use crate::store::columns::{Columns, columns};
use crate::store::rows::{SessionNum, select, update_session};
use crate::store::schema::PAGE_BYTES;

/// Bytes on disk that a session always keeps from the start of its output.
const HEAD_BYTES: u64 = 1024 * 1024;

/// SQLite's page size, in bytes; a database of an older coven can have smaller pages.
const PAGE: u64 = PAGE_BYTES as u64;

/// Bytes of a page that rows can use: without its header and a share of the auto-vacuum's pointer pages.
const PAGE_USABLE: u64 = PAGE - 16;

/// Largest row that a table page holds completely, and the least that it holds of a larger row; the rest goes to
/// overflow pages (SQLite, Database File Format, 1.6). In bytes.
const LOCAL_MAX: u64 = PAGE - 35;
const LOCAL_MIN: u64 = (PAGE - 12) * 32 / 255 - 23;

/// Payload bytes of an overflow page: all but the number of the next page.
const OVERFLOW: u64 = PAGE - 4;

/// Bytes of an event's row besides its payload: cell pointer, sizes, key, header, kind and time.
const ROW: u64 = 28;

/// The cached end of a session's events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    pub last_seq: u64,
    /// Bytes on disk of its output and its prompt.
    pub stored_bytes: u64,
    /// Last seq of the output that is kept from the start; `None` while that can still grow.
    pub head_seq: Option<u64>,
    /// Seq of the last `output_truncated` event; 0 if there is none.
    pub cut_seq: u64,
}

columns!(Tail {
    last_seq,
    stored_bytes,
    head_seq,
    cut_seq
});

/// Cache of the rows of recently active sessions.
pub(crate) type Tails = HashMap<SessionNum, Tail>;

impl Tail {
    /// Reads a session's row.
    pub(crate) fn of(connection: &Connection, num: SessionNum) -> rusqlite::Result<Self> {
        static QUERY: LazyLock<String> = LazyLock::new(|| select::<Tail>("num = ?1"));
        let mut statement = connection.prepare_cached(&QUERY)?;
        statement.query_row([num], Self::from_row)
    }

    /// Writes it to a session's row.
    pub(crate) fn write(&self, connection: &Connection, num: SessionNum) -> rusqlite::Result<()> {
        update_session(connection, num, &self.changes())
    }

    /// Counts the event `last_seq`, output or prompt, with a payload of `payload` bytes. At most half of `limit` is
    /// kept from the start.
    pub(crate) fn add_output(&mut self, payload: usize, limit: Option<u64>) {
        let head_max = limit.map_or(HEAD_BYTES, |limit| HEAD_BYTES.min(limit / 2));
        self.stored_bytes += disk_bytes(payload);
        if self.head_seq.is_none() && self.stored_bytes > head_max {
            self.head_seq = Some(self.last_seq - 1);
        }
    }
}

/// Bytes on disk of an event with `payload` bytes, including its share of unused page ends. Within 5 % of the pages
/// that SQLite really uses.
pub(crate) fn disk_bytes(payload: usize) -> u64 {
    let row = payload as u64 + ROW;
    let share_of_page = |bytes: u64| PAGE / (PAGE_USABLE / bytes);
    if row <= LOCAL_MAX {
        return share_of_page(row);
    }
    // SQLite keeps as much in the table page as fills the overflow pages completely, if that fits.
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

    /// Bytes of the pages that `rows` events of `payload` bytes really take.
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
    fn the_kept_head_of_a_session_ends_with_the_first_mebibyte() {
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
