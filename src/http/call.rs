//! A request with its context, on the way to its handler.
//!
//! Runs on the connection thread. It knows the route's types, and not the handler's work.

use std::marker::PhantomData;
use std::ops::Deref;
use std::os::unix::net::UnixStream;

use serde::Serialize;

use super::Context;
use super::accept::Server;
use super::paging::Paging;
use super::request::HttpRequest;
use super::response::Answer;
use crate::api::fields;
use crate::api::routes::{Endpoint, Route};
use crate::api::{ApiError, SessionId};

/// A request, and everything that is needed to answer it.
pub(super) struct Exchange<'a> {
    pub request: &'a HttpRequest,
    /// Shows whether a waiting client has gone.
    pub stream: &'a UnixStream,
    pub context: &'a Context,
    /// The pages that this connection's client has requested.
    pub paging: &'a Paging,
    pub server: &'a Server,
    /// Id of the request.
    pub id: &'a str,
    /// Bytes behind the request that have been read already.
    pub unread: &'a [u8],
}

impl Exchange<'_> {
    /// True if a request that waits for something must be answered now: the daemon stops, or another program takes over.
    pub(super) fn is_interrupted(&self) -> bool {
        self.context.is_stopping() || self.server.parking().is_on()
    }
}

/// An [`Exchange`] with its route.
#[derive(Clone, Copy)]
pub(super) struct Routed<'a> {
    pub exchange: &'a Exchange<'a>,
    pub route: Route,
    /// The raw session id in the path; empty for a route without one.
    pub id: &'a str,
}

impl<'a> Routed<'a> {
    /// The call with its route's types, which the handler names.
    pub(super) fn call<E: Endpoint>(self) -> Call<'a, E> {
        debug_assert_eq!(self.route, E::ROUTE, "the handler is another route's");
        Call {
            routed: self,
            endpoint: PhantomData,
        }
    }
}

pub(super) struct Call<'a, E> {
    routed: Routed<'a>,
    endpoint: PhantomData<E>,
}

impl<'a, E> Deref for Call<'a, E> {
    type Target = Exchange<'a>;

    fn deref(&self) -> &Exchange<'a> {
        self.routed.exchange
    }
}

impl<E: Endpoint> Call<'_, E> {
    /// The session in the path. Text that is no id counts as an unknown id.
    pub(super) fn session(&self) -> Result<SessionId, ApiError> {
        self.session_of(self.routed.id)
    }

    /// The session with the raw id `raw`.
    pub(super) fn session_of(&self, raw: &str) -> Result<SessionId, ApiError> {
        let known = match raw.parse() {
            Ok(id) => Some(id),
            Err(_) => self.context.reader.given_id(raw)?,
        };
        known.ok_or_else(|| ApiError::SessionNotFound { id: raw.to_owned() })
    }

    pub(super) fn query(&self) -> Result<E::Query, ApiError> {
        fields::read_query(&self.request.query)
    }

    pub(super) fn body(&self) -> Result<E::Body, ApiError> {
        fields::read_body(&self.request.body)
    }

    /// The body; the default if it is missing, or null, as some clients send.
    pub(super) fn body_or_default(&self) -> Result<E::Body, ApiError>
    where
        E::Body: Default,
    {
        match self.request.body.trim_ascii() {
            b"" | b"null" => Ok(E::Body::default()),
            _ => self.body(),
        }
    }

    pub(super) fn ok(&self, answer: &E::Answer) -> Result<Answer, ApiError>
    where
        E::Answer: Serialize,
    {
        self.answer(200, answer)
    }

    /// An answer with another success status.
    pub(super) fn answer(&self, status: u16, answer: &E::Answer) -> Result<Answer, ApiError>
    where
        E::Answer: Serialize,
    {
        Answer::of(status, answer)
    }
}
