//! Deletes the oldest output of a session, and its prompt, within a transaction. An `output_truncated` event replaces
//! the last deleted row and counts what is gone, so a client can prove that it has seen all other events.
//!
//! Runs on the writer thread, or in the CLI's process. It knows the events of one session; [`super::retention`] decides
//! which session loses how much.

use rusqlite::{Connection, Transaction, params};

use super::clock::Aged;
use super::tails::{Tail, disk_bytes};
use crate::api::{
    EventKind, PROMPT_HEAD, Payload, Timestamp, Truncation, is_prompt, output_length,
};
use crate::store::facts::Dropped;
use crate::store::rows::{EVENTS, EventRow, InsertEvent, SessionNum, unreadable};
use crate::store::schema::StoreError;

/// Which output of a session is deleted: the oldest first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut<'a> {
    /// Only events after this seq.
    pub after: u64,
    /// Only events before this seq.
    pub until: u64,
    /// Only events older than this.
    pub aged: Option<&'a Aged>,
    /// Stops once so many bytes on disk are freed; the last event may exceed it.
    pub bytes_max: u64,
    /// Most events to delete.
    pub events_max: u64,
}

/// The range of rows to delete, while it is collected.
struct Range {
    truncation: Truncation,
    /// Seq of the first deleted row; an earlier truncation covers seqs before its own row.
    first_row: u64,
    dropped: Dropped,
    /// Bytes freed on disk.
    freed: u64,
}

impl Range {
    fn taken(&self) -> Taken {
        Taken {
            dropped: self.dropped,
            freed: self.freed,
            through: self.truncation.through_seq,
        }
    }
}

/// Result of a truncation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub dropped: Dropped,
    /// Bytes freed on disk.
    pub freed: u64,
    /// Seq of the last deleted row.
    pub through: u64,
}

/// True if retention may delete the event: all output, and the prompt.
pub(crate) fn is_prunable(kind: &str, payload_json: &str) -> bool {
    kind == EventKind::Output.as_str() || is_prompt(kind, payload_json)
}

/// Deletes the oldest output of a session as `cut` says, and updates `tail`. `None` if there was none to delete.
pub(crate) fn truncate(
    transaction: &Transaction<'_>,
    num: SessionNum,
    cut: Cut<'_>,
    tail: &mut Tail,
) -> Result<Option<Taken>, StoreError> {
    let Some(range) = range(transaction, num, cut)? else {
        return Ok(None);
    };
    let through = range.truncation.through_seq;
    transaction
        .prepare_cached(
            "DELETE FROM events
             WHERE key BETWEEN ?1 AND ?2 AND (kind IN ('output', 'output_truncated')
                 OR kind = 'input' AND substr(payload_json, 1, length(?3)) = ?3)",
        )?
        .execute(params![
            num.key(range.first_row),
            num.key(through),
            PROMPT_HEAD
        ])?;
    let payload = Payload::Truncated(range.truncation);
    InsertEvent::prepare(transaction)?.execute(
        num.key(through),
        payload.kind(),
        Timestamp::now(),
        &payload.to_json(),
    )?;
    tail.stored_bytes = tail.stored_bytes.saturating_sub(range.freed);
    tail.cut_seq = tail.cut_seq.max(through);
    Ok(Some(range.taken()))
}

/// Deletes the oldest output after the session's head until the session is within `limit` bytes on disk.
pub(crate) fn enforce_cap(
    transaction: &Transaction<'_>,
    num: SessionNum,
    limit: Option<u64>,
    tail: &mut Tail,
) -> Result<Dropped, StoreError> {
    let (Some(limit), Some(head)) = (limit, tail.head_seq) else {
        return Ok(Dropped::default());
    };
    if tail.stored_bytes <= limit {
        return Ok(Dropped::default());
    }
    let cut = Cut {
        // The row of the last truncation is the first of the next.
        after: head.max(tail.cut_seq.saturating_sub(1)),
        // The newest event is kept, whatever its size.
        until: tail.last_seq,
        aged: None,
        bytes_max: tail.stored_bytes - limit,
        events_max: u64::MAX,
    };
    let taken = truncate(transaction, num, cut, tail)?;
    Ok(taken.map_or_else(Dropped::default, |taken| taken.dropped))
}

/// Computes what `cut` would delete.
pub(crate) fn measure(
    connection: &Connection,
    num: SessionNum,
    cut: Cut<'_>,
) -> Result<Option<Taken>, StoreError> {
    Ok(range(connection, num, cut)?.map(|range| range.taken()))
}

fn range(
    connection: &Connection,
    num: SessionNum,
    cut: Cut<'_>,
) -> Result<Option<Range>, StoreError> {
    let mut statement = connection.prepare_cached(EVENTS)?;
    let mut rows = statement.query([num.key(cut.after), num.key(cut.until) - 1])?;
    let mut range: Option<Range> = None;
    while let Some(row) = rows.next()? {
        let full = range.as_ref().is_some_and(|range| {
            range.freed >= cut.bytes_max || range.dropped.events >= cut.events_max
        });
        if full {
            break;
        }
        let event = EventRow::of(row)?;
        let (seq, payload) = (event.seq, event.payload_json);
        if event.kind == EventKind::OutputTruncated.as_str() {
            let earlier = crate::api::from_json(payload).map_err(unreadable)?;
            extend(&mut range, seq, earlier, Dropped::default(), 0);
        } else if is_prunable(event.kind, payload) {
            if cut.aged.is_some_and(|aged| !aged.is_old(event.at)) {
                break;
            }
            let bytes = output_length(payload).unwrap_or(payload.len() as u64);
            let one = Truncation {
                from_seq: seq,
                through_seq: seq,
                dropped_events: 1,
                dropped_bytes: bytes,
            };
            let dropped = Dropped { events: 1, bytes };
            extend(&mut range, seq, one, dropped, disk_bytes(payload.len()));
        }
    }
    // An earlier truncation alone needs no new one.
    Ok(range.filter(|range| range.dropped.events > 0))
}

fn extend(range: &mut Option<Range>, seq: u64, more: Truncation, dropped: Dropped, freed: u64) {
    let range = range.get_or_insert(Range {
        truncation: Truncation {
            from_seq: more.from_seq,
            through_seq: seq,
            dropped_events: 0,
            dropped_bytes: 0,
        },
        first_row: seq,
        dropped: Dropped::default(),
        freed: 0,
    });
    let so_far = &mut range.truncation;
    so_far.from_seq = so_far.from_seq.min(more.from_seq);
    so_far.through_seq = seq;
    so_far.dropped_events += more.dropped_events;
    so_far.dropped_bytes += more.dropped_bytes;
    range.dropped += dropped;
    range.freed += freed;
}
