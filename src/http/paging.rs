//! Reads the next page of a session ahead, while the client still processes the last one.
//!
//! Runs on the connection thread, between an answer and the next request. It predicts the next query; the store decides
//! whether the page is still valid.

use std::cell::Cell;

use super::Context;
use super::budget::{Bounded, MemoryLease};
use crate::api::ApiError;
use crate::store::{EventQuery, EventRead, PageAhead, Reader};

/// Reads the page of `query`, with its reserved memory.
///
/// # Errors
/// As [`Reader::events`], and [`ApiError::Busy`].
pub(super) fn read(
    context: &Context,
    query: EventQuery,
) -> Result<(EventRead, Option<MemoryLease>), ApiError> {
    context.answers.read(|bytes_max| {
        let content = context.reader.events(EventQuery { bytes_max, ..query })?;
        let length = content.body.len();
        let is_cut = content.has_more && content.count < query.limit;
        Ok(Bounded {
            content,
            length,
            is_cut,
        })
    })
}

/// The last pages that a connection's client requested.
#[derive(Default)]
pub(super) struct Paging {
    /// The query that would continue after the last page.
    next: Cell<Option<EventQuery>>,
    /// The last page continued the one before, and no page was read ahead since.
    goes_on: Cell<bool>,
    ahead: Cell<Option<PageAhead>>,
}

impl Paging {
    /// The page of `query`, with its reserved memory.
    ///
    /// # Errors
    /// As [`Reader::events`], and [`ApiError::Busy`].
    pub(super) fn read(
        &self,
        context: &Context,
        query: EventQuery,
    ) -> Result<(EventRead, Option<MemoryLease>), ApiError> {
        let ahead = self.ahead.take();
        let goes_on = self.next.take() == Some(query);
        let confirmed = ahead.and_then(|ahead| context.reader.confirm(ahead, query));
        let (read, lease) = match confirmed {
            Some(read) => {
                let lease = context.answers.cover(read.body.len())?;
                (read, lease)
            }
            None => read(context, query)?,
        };
        if read.has_more {
            let after = read.last;
            self.next.set(Some(EventQuery { after, ..query }));
            self.goes_on.set(goes_on);
        }
        Ok((read, lease))
    }

    /// Reads the next page, if the client has gone from one page to the next.
    pub(super) fn read_ahead(&self, reader: &Reader) {
        if let (true, Some(query)) = (self.goes_on.take(), self.next.get()) {
            self.ahead.set(reader.read_ahead(query));
        }
    }
}
