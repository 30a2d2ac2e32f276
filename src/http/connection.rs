//! One connection: requests and answers in turn, until one side ends it.
//!
//! Runs on the connection's own thread. Faults of the client's end here.

use std::fmt;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Context;
use super::accept::Server;
use super::call::Exchange;
use super::count::Count;
use super::paging::Paging;
use super::parking::{Parking, Rest};
use super::request::{HttpRequest, Incoming, Unreadable};
use super::response::{self, Answer, HeadOptions};
use super::routes;
use crate::api::fields;
use crate::api::routes::{Route, UNKNOWN, UNREADABLE};
use crate::api::{ApiError, Upgraded};
use crate::observe::{field, metrics, say};
use crate::settings::durations;
use crate::sys::Within;
use crate::sys::passed::Bytes;

/// Most bytes that are read and dropped while a connection lingers (see [`durations::LINGER`]).
const LINGER_BYTES: u64 = 4 * 1024 * 1024;

/// Serves `stream`, whose state is `rest`, until its end, or until it is brought to rest: then returns its state.
pub(super) fn serve(
    stream: &UnixStream,
    rest: Rest,
    server: &Server,
    context: &Context,
    in_flight: &Count,
) -> Option<Rest> {
    stream.set_nonblocking(true).ok()?;
    let parking = server.parking();
    let owed = response::send_bytes(stream, &[&rest.owed.0], parking).ok()?;
    if !owed.is_empty() {
        let owed = Bytes(owed);
        return Some(Rest { owed, ..rest });
    }
    if rest.closes {
        return None;
    }
    let (unread, has_asked) = (rest.unread.0, rest.has_asked);
    let mut incoming = Incoming::new(stream, &context.bodies, parking, unread, has_asked);
    // A client that follows a session counts as in flight between two requests, too: the daemon's stop ends that
    // session, and the client must still receive its end.
    let mut _followed = None;
    let paging = Paging::default();
    loop {
        match incoming.request(|| response::send_continue(stream)) {
            Ok(request) => {
                let busy = in_flight.begin();
                let id = RequestId::next().to_string();
                let exchange = Exchange {
                    request: &request,
                    stream,
                    context,
                    paging: &paging,
                    server,
                    id: &id,
                    unread: incoming.unread(),
                };
                let sent = answer(&exchange);
                if !sent.owed.is_empty() {
                    return Some(Rest {
                        owed: Bytes(sent.owed),
                        closes: !sent.is_kept,
                        ..incoming.rest()
                    });
                }
                if !sent.is_kept {
                    return None;
                }
                _followed = sent.is_followed.then_some(busy);
                // As for a handler: a panic loses only this page, which is read again on request.
                let reader = &context.reader;
                let _ = catch_unwind(AssertUnwindSafe(|| paging.read_ahead(reader)));
            }
            Err(Unreadable::Gone | Unreadable::Ended) => return None,
            Err(Unreadable::Parked) => return Some(incoming.rest()),
            Err(Unreadable::Refused(error)) => return refuse(stream, &error, parking),
        }
    }
}

/// Answers a request that cannot be read. Returns the state of the connection if it is brought to rest before its end.
fn refuse(stream: &UnixStream, error: &ApiError, parking: &Parking) -> Option<Rest> {
    let id = RequestId::next().to_string();
    log_failure(&id, UNREADABLE, None, error, Instant::now());
    metrics::answered(UNREADABLE, error.status(), Duration::ZERO);
    let options = HeadOptions::unread(&id);
    let owed = response::send(stream, &Answer::error(error), &options, parking).ok()?;
    if owed.is_empty() {
        linger(stream);
        return None;
    }
    Some(Rest {
        owed: Bytes(owed),
        closes: true,
        ..Rest::default()
    })
}

/// The answer to the client that asked for the upgrade, as bytes.
pub(super) fn upgrade_answer(
    answer: Result<Upgraded, ApiError>,
    options: &HeadOptions<'_>,
) -> Vec<u8> {
    let route = Route::UpgradeDaemon.name();
    let answer = answer.and_then(|upgraded| Answer::of(200, &upgraded));
    let answer = answer.unwrap_or_else(|error| {
        log_failure(options.request_id, route, None, &error, Instant::now());
        Answer::error(&error)
    });
    metrics::answered(route, answer.status, Duration::ZERO);
    response::whole(&answer, options)
}

/// State of the connection after an answer.
struct Sent {
    is_kept: bool,
    is_followed: bool,
    /// The rest of the answer, if the connection is brought to rest.
    owed: Vec<u8>,
}

/// Answers one request.
fn answer(exchange: &Exchange<'_>) -> Sent {
    let request = exchange.request;
    let begun = Instant::now();
    let id = exchange.id;
    let (route, result) = dispatch(exchange);
    let result = result.and_then(|answer| covered(exchange.context, answer));
    let answer = match result {
        Ok(answer) => answer,
        Err(error) => {
            log_failure(id, route, session_of(request), &error, begun);
            if route == Route::Launch.name() {
                metrics::LAUNCH_FAILURES.of(error.code().as_str()).add(1);
            }
            Answer::error(&error)
        }
    };
    metrics::answered(route, answer.status, begun.elapsed());
    let is_followed = answer.is_followed;
    let close = !request.keep_alive || (exchange.context.is_stopping() && !is_followed);
    let options = HeadOptions {
        request_id: id,
        minor: request.minor,
        close,
    };
    let (stream, parking) = (exchange.stream, exchange.server.parking());
    let sent = match request.method.as_str() {
        "HEAD" => response::send_bytes(stream, &[&response::head(&answer, &options)], parking),
        _ => response::send(stream, &answer, &options, parking),
    };
    let took_us = begun.elapsed().as_micros() as u64;
    say!(Request, request: field::Request(id), method: field::Method(&request.method),
        route: field::Route(route), session: session_of(request).map(field::NamedSession),
        status: answer.status, bytes: answer.body.len(), took_us);
    Sent {
        is_kept: sent.is_ok() && !close,
        is_followed,
        owed: sent.unwrap_or_default(),
    }
}

/// Reserves memory for a large `answer`.
fn covered(context: &Context, answer: Answer) -> Result<Answer, ApiError> {
    let lease = match answer.lease {
        None => context.answers.cover(answer.body.len())?,
        lease => lease,
    };
    Ok(Answer { lease, ..answer })
}

/// A handler's panic is a bug: only its own request fails.
fn dispatch(exchange: &Exchange<'_>) -> (&'static str, Result<Answer, ApiError>) {
    let panicked = || {
        (
            UNKNOWN,
            Err(ApiError::Internal {
                reason: "the handler panicked".into(),
            }),
        )
    };
    catch_unwind(AssertUnwindSafe(|| routes::dispatch(exchange))).unwrap_or_else(|_| panicked())
}

/// The session that a request names in its path or its query.
fn session_of(request: &HttpRequest) -> Option<&str> {
    let in_path = routes::session_in(&request.path);
    in_path.or_else(|| fields::query_value(&request.query, "sessionId"))
}

/// Logs each failure in one line, with fields to search for.
fn log_failure(id: &str, route: &str, session: Option<&str>, error: &ApiError, begun: Instant) {
    let reason = match error {
        ApiError::Internal { reason } => reason.as_str().into(),
        error => error.failure(),
    };
    let of_error = error.session();
    macro_rules! failed {
        ($event:ident) => {
            say!($event, code: error.code(), request: field::Request(id),
                route: field::Route(route), status: error.status(),
                session: of_error.as_deref().or(session).map(field::NamedSession),
                took_ms: begun.elapsed().as_millis() as u64, reason: &reason)
        };
    }
    match error {
        ApiError::Internal { .. } => failed!(InternalError),
        ApiError::LaunchFailed { .. } => failed!(SpawnFailed),
        _ if route == Route::Launch.name() => failed!(LaunchRejected),
        ApiError::SessionNotLive { .. } => failed!(SessionNotLive),
        _ => failed!(RequestFailed),
    }
}

/// Reads and drops what the client still sends, within [`durations::LINGER`] and [`LINGER_BYTES`].
pub(super) fn linger(stream: &UnixStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let incoming = Within::new(stream, Instant::now() + durations::LINGER);
    let _ = io::copy(&mut incoming.take(LINGER_BYTES), &mut io::sink());
}

/// Number of the next request.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Id of a request in its answer and in the log: unique among all requests of this daemon.
pub(super) struct RequestId {
    daemon: u32,
    number: u64,
}

impl RequestId {
    pub(super) fn next() -> Self {
        Self {
            daemon: std::process::id(),
            number: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Number of the next request.
    pub(super) fn next_number() -> u64 {
        NEXT.load(Ordering::Relaxed)
    }

    /// Goes on behind the requests of the previous program.
    pub(super) fn go_on_from(number: u64) {
        NEXT.fetch_max(number, Ordering::Relaxed);
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.daemon, self.number)
    }
}
