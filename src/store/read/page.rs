//! Reads a page of a session's events, on request or ahead of it.
//!
//! Runs on the connection threads, on a reader's connection. It builds the page's JSON from SQLite's rows; it does not
//! know who asks or how the page is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::{Connection, OptionalExtension};

use super::reader::Reader;
use crate::api::{EventWriter, SessionId, SessionStatus};
use crate::store::facts::Refused;
use crate::store::rows::{EVENTS, EventRow, SessionNum, find};

/// Upper bound of the JSON after a page's events, in bytes.
const PAGE_END: usize = 100;

/// Most pages read ahead in the whole daemon: as many as can be read at once, and a few megabytes.
const AHEAD_MAX: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventQuery {
    pub session: SessionId,
    /// Only events after this seq.
    pub after: u64,
    /// Most events of the page.
    pub limit: usize,
    /// Most bytes of the page's body. A single event always fits.
    pub bytes_max: usize,
}

/// A page of events as JSON, and what a long poll needs to know.
#[derive(Debug)]
pub struct EventRead {
    pub body: Vec<u8>,
    /// Number of events in it.
    pub count: usize,
    /// Seq of the last event; without any, the requested `after`.
    pub last: u64,
    /// More events are stored already.
    pub has_more: bool,
    pub num: SessionNum,
    /// The session's status, read before the events.
    pub status: SessionStatus,
}

/// A page that was read before a client asked for it.
#[derive(Debug)]
pub struct PageAhead {
    query: EventQuery,
    read: EventRead,
    /// Number of removals before it was read.
    removals: u64,
    _place: Place,
}

/// Permission to hold one page ahead; dropping it frees the place.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(taken: &Arc<AtomicUsize>) -> Option<Self> {
        let another = |taken: usize| (taken < AHEAD_MAX).then_some(taken + 1);
        taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, another)
            .ok()
            .map(|_| Self(Arc::clone(taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Reader {
    /// Reads a page of a session's events.
    ///
    /// # Errors
    /// [`Refused::NotFound`], or [`Refused::Unavailable`] if they cannot be read.
    pub fn events(&self, query: EventQuery) -> Result<EventRead, Refused> {
        self.read(|connection| {
            let session = connection
                .prepare_cached("SELECT num, status FROM sessions WHERE id = ?1")?
                .query_row([query.session], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            session
                .map(|(num, status)| read_page(connection, num, status, query))
                .transpose()
        })?
        .ok_or_else(|| Refused::NotFound {
            id: query.session.to_string(),
        })
    }

    /// Reads the page of `query` ahead. `None` if it is not full and so may change, if too many are held, or if it
    /// cannot be read; the client's own request then reports the error.
    pub fn read_ahead(&self, query: EventQuery) -> Option<PageAhead> {
        let place = Place::take(&self.ahead)?;
        // Counted before the read: a later removal then invalidates the page.
        let removals = self.status.removals();
        let read = self.events(query).ok()?;
        read.has_more.then_some(PageAhead {
            query,
            read,
            removals,
            _place: place,
        })
    }

    /// Returns `ahead` if [`Reader::events`] would read the same for `query` now. Events are only appended after a full
    /// page, or removed.
    pub fn confirm(&self, ahead: PageAhead, query: EventQuery) -> Option<EventRead> {
        let holds = ahead.query == query && ahead.removals == self.status.removals();
        holds.then_some(ahead.read)
    }
}

/// Checks the next event's size before reading it: rereading large events at a page's end would cost much of the time.
fn read_page(
    connection: &Connection,
    num: SessionNum,
    status: SessionStatus,
    query: EventQuery,
) -> rusqlite::Result<EventRead> {
    let mut statement = connection.prepare_cached(EVENTS)?;
    let mut rows = statement.query([num.key(query.after), num.key(u64::MAX)])?;
    let mut writer = EventWriter::new(query.session);
    let mut body = Vec::with_capacity(4096);
    body.extend_from_slice(br#"{"events":["#);
    let page_max = query.bytes_max - PAGE_END;
    let (mut count, mut longest) = (0, 0);
    let (mut last, mut has_more) = (query.after, false);
    while let Some(row) = rows.next()? {
        let EventRow {
            seq,
            kind,
            at,
            payload_json,
        } = EventRow::of(row)?;
        let before = body.len();
        if count > 0 {
            body.push(b',');
        }
        writer.write(&mut body, seq, kind, payload_json, at);
        // A single event fits: its payload has at most 400,000 bytes (the wire contract); escaping at most doubles it.
        if count > 0 && body.len() > page_max {
            body.truncate(before);
            has_more = true;
            break;
        }
        last = seq;
        count += 1;
        longest = longest.max(body.len() - before);
        let is_full = count == query.limit;
        if is_full || body.len() + longest > page_max {
            let next = next_length(connection, num, last)?;
            let fits = next.is_some_and(|length| !is_full && body.len() + length <= page_max);
            if !fits {
                has_more = next.is_some();
                break;
            }
        }
    }
    let cursor = if count == 0 {
        "null".to_owned()
    } else {
        format!(r#"{{"afterSeq":{last}}}"#)
    };
    body.extend_from_slice(format!(r#"],"nextCursor":{cursor},"hasMore":{has_more}}}"#).as_bytes());
    Ok(EventRead {
        body,
        count,
        last,
        has_more,
        num,
        status,
    })
}

/// Payload size in bytes of a session's first event after `seq`, if any. SQLite reads only the head of the row.
fn next_length(
    connection: &Connection,
    num: SessionNum,
    seq: u64,
) -> rusqlite::Result<Option<usize>> {
    let length = "SELECT octet_length(payload_json) FROM events
        WHERE key > ?1 AND key <= ?2 ORDER BY key LIMIT 1";
    find(connection, length, [num.key(seq), num.key(u64::MAX)])
}
