//! A page of a session's events: read when it is asked for, or before.
//!
//! Runs on the connections' threads, on a reader's connection. A page is built straight from SQLite's rows; who asks for
//! it, and how it is sent, is not known here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::{Connection, OptionalExtension, params};

use super::reader::Reader;
use crate::api::{EventWriter, SessionId, SessionStatus};
use crate::store::facts::Refused;
use crate::store::rows::{EVENTS, EventRow, SessionNum};

/// What follows a page's events in its body takes less than that, in bytes.
const PAGE_END: usize = 100;

/// Pages that are kept for clients who have not asked for them yet, in the whole daemon: as many as can be read at once,
/// and few megabytes.
const AHEAD_MAX: usize = 4;

/// Which events to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventQuery {
    /// Whose.
    pub session: SessionId,
    /// Only those after this seq.
    pub after: u64,
    /// At most so many.
    pub limit: usize,
    /// What the page's body may have, in bytes. An event alone always fits.
    pub bytes_max: usize,
}

/// A page of events, ready to be sent, and what a waiter needs to know.
#[derive(Debug)]
pub struct EventRead {
    /// The page's JSON.
    pub body: Vec<u8>,
    /// How many events are in it.
    pub count: usize,
    /// The seq of the last of them; without any, what was asked for.
    pub last: u64,
    /// Whether more are there already.
    pub has_more: bool,
    /// Whose they are.
    pub num: SessionNum,
    /// The session's status, read before the events.
    pub status: SessionStatus,
}

/// A page that nobody has asked for yet.
#[derive(Debug)]
pub struct PageAhead {
    query: EventQuery,
    read: EventRead,
    /// How often events had been taken away before it was read.
    removals: u64,
    _place: Place,
}

/// One of the places for pages that are read ahead, until this is dropped.
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
    /// A page of a session's events.
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

    /// The page of `query`, before it is asked for. `None` if it is not full: it may then change at any moment; or if
    /// enough are kept already, or it cannot be read, which whoever asks for it will be told.
    pub fn read_ahead(&self, query: EventQuery) -> Option<PageAhead> {
        let place = Place::take(&self.ahead)?;
        // Before the read: what is taken away after it makes another number of this.
        let removals = self.status.removals();
        let read = self.events(query).ok()?;
        read.has_more.then_some(PageAhead {
            query,
            read,
            removals,
            _place: place,
        })
    }

    /// `ahead`, if it is what [`Reader::events`] would read for `query` now: events are only ever added behind a full
    /// page, or taken away.
    pub fn confirm(&self, ahead: PageAhead, query: EventQuery) -> Option<EventRead> {
        let holds = ahead.query == query && ahead.removals == self.status.removals();
        holds.then_some(ahead.read)
    }
}

/// What does not fit a page is not read: at the end of a page of large events that would be a good part of the work.
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
        // One event alone always fits: its payload has at most 400,000 bytes (`PAYLOAD_MAX`), at most doubled by escaping.
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

/// How many bytes the payload of a session's first event after `seq` has, if there is one. Of the event only the head of
/// its row is read.
fn next_length(
    connection: &Connection,
    num: SessionNum,
    seq: u64,
) -> rusqlite::Result<Option<usize>> {
    connection
        .prepare_cached(
            "SELECT octet_length(payload_json) FROM events
             WHERE key > ?1 AND key <= ?2 ORDER BY key LIMIT 1",
        )?
        .query_row(params![num.key(seq), num.key(u64::MAX)], |row| row.get(0))
        .optional()
}
