//! A request on its way to its handler.
//!
//! Runs on the connection's thread. It knows the route's types, and nothing of what a handler does.

use std::marker::PhantomData;
use std::ops::Deref;
use std::os::unix::net::UnixStream;

use serde::Serialize;

use super::Context;
use super::paging::Paging;
use super::request::Request;
use super::response::Answer;
use crate::api::fields;
use crate::api::routes::{Endpoint, Route};
use crate::api::{ApiError, SessionId};

/// A request with what it is answered from.
pub(super) struct Exchange<'a> {
    pub request: &'a Request,
    /// To notice that a client which waits has gone.
    pub stream: &'a UnixStream,
    pub context: &'a Context,
    /// The pages that its connection has been asked for.
    pub paging: &'a Paging,
}

/// An [`Exchange`] whose route has been found.
#[derive(Clone, Copy)]
pub(super) struct Routed<'a> {
    pub exchange: &'a Exchange<'a>,
    pub route: Route,
    /// The session id in the path, as it came; empty for a route without one.
    pub id: &'a str,
}

impl<'a> Routed<'a> {
    /// With the types of its route, which the handler names.
    pub(super) fn call<E: Endpoint>(self) -> Call<'a, E> {
        debug_assert_eq!(self.route, E::ROUTE, "the handler is another route's");
        Call {
            routed: self,
            endpoint: PhantomData,
        }
    }
}

/// A call of the endpoint `E`.
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
    /// The session in the path: one that cannot be an id is an id that no session has.
    pub(super) fn session(&self) -> Result<SessionId, ApiError> {
        self.session_of(self.routed.id)
    }

    /// The session of this id, as it came.
    pub(super) fn session_of(&self, raw: &str) -> Result<SessionId, ApiError> {
        let known = match raw.parse() {
            Ok(id) => Some(id),
            Err(_) => self.context.reader.given_id(raw)?,
        };
        known.ok_or_else(|| ApiError::SessionNotFound { id: raw.to_owned() })
    }

    /// The query.
    pub(super) fn query(&self) -> Result<E::Query, ApiError> {
        fields::read_query(&self.request.query)
    }

    /// The body.
    pub(super) fn body(&self) -> Result<E::Body, ApiError> {
        fields::read_body(&self.request.body)
    }

    /// The body; its default if there is none, or a null, as some clients send it for none.
    pub(super) fn body_or_default(&self) -> Result<E::Body, ApiError>
    where
        E::Body: Default,
    {
        match self.request.body.trim_ascii() {
            b"" | b"null" => Ok(E::Body::default()),
            _ => self.body(),
        }
    }

    /// An answer with status 200.
    pub(super) fn ok(&self, answer: &E::Answer) -> Result<Answer, ApiError>
    where
        E::Answer: Serialize,
    {
        self.answer(200, answer)
    }

    /// An answer with another status of success.
    pub(super) fn answer(&self, status: u16, answer: &E::Answer) -> Result<Answer, ApiError>
    where
        E::Answer: Serialize,
    {
        Answer::of(status, answer)
    }
}
