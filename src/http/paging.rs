//! A client that goes from page to page of a session: its next page is read while it still takes in the last.
//!
//! Runs on the connection's thread, between an answer and the next request. It guesses what will be asked for; whether a
//! page still is what would be read now, the store knows.

use std::cell::Cell;

use crate::api::ApiError;
use crate::store::{EventQuery, EventRead, PageAhead, Reader};

/// What a connection's thread remembers of the pages that its client has asked for.
#[derive(Default)]
pub(super) struct Paging {
    /// What a client would ask for that goes on from the last page.
    next: Cell<Option<EventQuery>>,
    /// The last page went on from the one before, and nothing was read ahead since.
    goes_on: Cell<bool>,
    ahead: Cell<Option<PageAhead>>,
}

impl Paging {
    /// The page of `query`.
    ///
    /// # Errors
    /// As [`Reader::events`].
    pub(super) fn read(&self, reader: &Reader, query: EventQuery) -> Result<EventRead, ApiError> {
        let ahead = self.ahead.take();
        let goes_on = self.next.take() == Some(query);
        let confirmed = ahead.and_then(|ahead| reader.confirm(ahead, query));
        let read = confirmed.map_or_else(|| reader.events(query), Ok)?;
        if read.has_more {
            let after = read.last;
            self.next.set(Some(EventQuery { after, ..query }));
            self.goes_on.set(goes_on);
        }
        Ok(read)
    }

    /// Reads the next page, if the client has gone on from one page to the next, and so may again.
    pub(super) fn read_ahead(&self, reader: &Reader) {
        if let (true, Some(query)) = (self.goes_on.take(), self.next.get()) {
            self.ahead.set(reader.read_ahead(query));
        }
    }
}
