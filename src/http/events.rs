//! Reads events: pages, and long polls for the next event. Runs on the connection thread.

use std::time::{Duration, Instant};

use super::budget::MemoryLease;
use super::call::{Call, Exchange};
use super::paging;
use super::response::Answer;
use crate::api::{
    ApiError, EventId, EventsQuery, Failure, Fault, LIST_BYTES_MAX, SessionId, routes,
};
use crate::settings::durations;
use crate::store::{EventQuery, EventRead, SessionNum};
use crate::sys::{self, Interest};

const LIMIT_MAX: u64 = 1000;
const WAIT_MAX_MS: u64 = durations::EVENTS_WAIT_MAX.as_millis() as u64;

/// `GET /events?sessionId=…`
pub(super) fn list(call: &Call<'_, routes::Events>) -> Result<Answer, ApiError> {
    let query = call.query()?;
    match query.session_id.as_deref() {
        Some(id) if !id.is_empty() => page(call, call.session_of(id)?, &query),
        _ => Err(ApiError::invalid_field("sessionId", "sessionId is missing")),
    }
}

/// `GET /sessions/:id/events`
pub(super) fn of_session(call: &Call<'_, routes::SessionEvents>) -> Result<Answer, ApiError> {
    let query = call.query()?;
    page(call, call.session()?, &query)
}

fn page(call: &Exchange<'_>, session: SessionId, asked: &EventsQuery) -> Result<Answer, ApiError> {
    let limit = asked.limit.unwrap_or(LIMIT_MAX).clamp(1, LIMIT_MAX);
    let wait = asked.wait_ms.unwrap_or(0).min(WAIT_MAX_MS);
    let after = match (asked.after_seq, &asked.after_event_id) {
        (Some(seq), _) => seq.min(u64::from(u32::MAX)),
        (None, Some(event)) => seq_of(event, session)?,
        (None, None) => 0,
    };
    let query = EventQuery {
        session,
        after,
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        bytes_max: LIST_BYTES_MAX,
    };
    let (read, lease) = match call.paging.read(call.context, query)? {
        (read, _) if read.count == 0 && wait > 0 && !read.status.is_final() => {
            wait_for_events(call, query, read.num, Duration::from_millis(wait))?
        }
        read => read,
    };
    let is_followed = wait > 0 && (read.has_more || !read.status.is_final());
    Ok(Answer {
        is_followed,
        lease,
        ..Answer::json(200, read.body)
    })
}

fn seq_of(event: &str, session: SessionId) -> Result<u64, ApiError> {
    match event.parse::<EventId>() {
        Ok(id) if id.session == session => Ok(id.seq),
        _ => Err(ApiError::invalid_field(
            "afterEventId",
            "afterEventId is not an event of this session",
        )),
    }
}

/// Holds an empty page until there is an event, the session has ended, the time is up, the client has gone, or the
/// daemon stops.
fn wait_for_events(
    call: &Exchange<'_>,
    query: EventQuery,
    num: SessionNum,
    wait: Duration,
) -> Result<(EventRead, Option<MemoryLease>), ApiError> {
    let deadline = Instant::now() + wait;
    let following = call.context.followers.follow(num).map_err(cannot_wait)?;
    loop {
        // Cleared before the read: a commit after the read wakes it again.
        following.wake().clear();
        let (read, lease) = paging::read(call.context, query)?;
        if read.count > 0 || read.status.is_final() || call.is_interrupted() {
            return Ok((read, lease));
        }
        let mut interests = [
            Interest::readable(following.wake()),
            Interest::hangup(call.stream),
        ];
        let woken = sys::poll(&mut interests, Some(deadline)).map_err(cannot_wait)?;
        if !woken || interests[1].is_ready() {
            return Ok((read, lease));
        }
    }
}

fn cannot_wait(err: std::io::Error) -> ApiError {
    ApiError::StoreUnavailable {
        reason: Failure::new(
            format!("no descriptor to wait with: {err}"),
            Fault::of(&err),
        ),
    }
}
