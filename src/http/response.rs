//! Writes an answer to the socket: tiny_http formats the head, always with a Content-Length.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use tiny_http::{HTTPVersion, Header, Response, StatusCode};

use super::budget::{MemoryLease, SMALL_MAX};
use super::parking::Parking;
use crate::api::{ApiError, LABELS_MAX, Timestamp};
use crate::settings::durations;
use crate::store::Refused;
use crate::sys::{INTERRUPTED, Within};

/// Media type of every answer except the metrics.
const JSON: &str = "application/json";

/// A handler's answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
    /// An additional header.
    pub header: Option<(&'static str, String)>,
    /// The client follows a session whose end it has not received: it will ask again.
    pub is_followed: bool,
    /// Reserved memory of a large answer, released after sending.
    pub lease: Option<MemoryLease>,
}

impl Answer {
    /// An answer of serialized JSON.
    pub(super) fn json(status: u16, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type: JSON,
            body,
            header: None,
            lease: None,
            is_followed: false,
        }
    }

    /// An answer of another text type.
    pub(super) fn text(content_type: &'static str, body: Vec<u8>) -> Self {
        Self {
            content_type,
            ..Self::json(200, body)
        }
    }

    /// Serializes `value` as the answer.
    pub(super) fn of(status: u16, value: &impl serde::Serialize) -> Result<Self, ApiError> {
        let body = serde_json::to_vec(value).map_err(|err| ApiError::Internal {
            reason: err.to_string(),
        })?;
        Ok(Self::json(status, body))
    }

    /// The answer of a failed request.
    pub(super) fn error(error: &ApiError) -> Self {
        // Cannot fail: an error's body is strings and JSON values.
        let body = serde_json::to_vec(&error.body()).unwrap_or_default();
        let header = match error {
            ApiError::MethodNotAllowed { allow } => Some(("Allow", allow.clone())),
            ApiError::Busy { .. } => Some(("Retry-After", "1".to_owned())),
            _ => None,
        };
        Self {
            header,
            ..Self::json(error.status(), body)
        }
    }
}

/// Maps the store's errors to those of the contract.
impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound { id } => Self::SessionNotFound { id },
            Refused::IdTaken { id } => Self::SessionIdConflict { id },
            Refused::NotExternal { id } => Self::NotExternalSession { id },
            Refused::Live { id } => Self::SessionLive { id },
            Refused::TooManyLabels => Self::invalid_field(
                "addLabels",
                format!("addLabels: a session has at most {LABELS_MAX} labels"),
            ),
            Refused::Unavailable { reason } => Self::StoreUnavailable { reason },
            Refused::Bug { reason } => Self::Internal { reason },
        }
    }
}

/// Options of an answer's head.
pub(super) struct HeadOptions<'a> {
    pub request_id: &'a str,
    pub minor: u8,
    pub close: bool,
}

impl<'a> HeadOptions<'a> {
    /// For a connection that is closed without a readable request.
    pub(super) fn unread(request_id: &'a str) -> Self {
        Self {
            request_id,
            minor: 1,
            close: true,
        }
    }
}

/// The head of `answer`. tiny_http would choose chunked encoding or closing by itself, so it gets no request headers, a
/// known length, and no body.
pub(super) fn head(answer: &Answer, options: &HeadOptions<'_>) -> Vec<u8> {
    let headers = [
        header("Content-Type", answer.content_type),
        header("X-Request-Id", options.request_id),
        header("Server", "coven"),
    ];
    // tiny_http panics when it formats a date before 1970.
    let is_before_epoch = Timestamp::now().as_millis() < 0;
    let date = is_before_epoch.then(|| header("Date", "Thu, 01 Jan 1970 00:00:00 GMT"));
    let headers = headers.into_iter().chain(date).chain(
        answer
            .header
            .iter()
            .map(|(name, value)| header(name, value)),
    );
    let response = Response::new(
        StatusCode(answer.status),
        headers.flatten().collect(),
        io::empty(),
        Some(answer.body.len()),
        None,
    )
    .with_chunked_threshold(usize::MAX);
    let mut head = Vec::with_capacity(256 + answer.body.len().min(SMALL_MAX));
    // Writing to a Vec cannot fail.
    let _ = response.raw_print(&mut head, HTTPVersion(1, options.minor), &[], true, None);
    if options.close {
        close_connection(&mut head);
    }
    head
}

/// Adds `Connection: close` to a complete head; tiny_http's `Response` filters it out.
fn close_connection(head: &mut Vec<u8>) {
    let end = head.len().saturating_sub(2);
    head.splice(end..end, *b"Connection: close\r\n");
}

fn header(name: &str, value: &str) -> Option<Header> {
    // Names and values are ASCII: the conversion cannot fail.
    Header::from_bytes(name, value).ok()
}

/// The head and the body of `answer`.
pub(super) fn whole(answer: &Answer, options: &HeadOptions<'_>) -> Vec<u8> {
    let mut bytes = head(answer, options);
    bytes.extend_from_slice(&answer.body);
    bytes
}

/// Sends `answer` within [`durations::RESPONSE_DELIVERY`]; returns the rest if the connection is brought to rest
/// before.
///
/// # Errors
/// The client has gone, or did not read in time.
pub(super) fn send(
    stream: &UnixStream,
    answer: &Answer,
    options: &HeadOptions<'_>,
    parking: &Parking,
) -> io::Result<Vec<u8>> {
    // One write for head and body.
    match answer.body.len() <= SMALL_MAX {
        true => send_bytes(stream, &[&whole(answer, options)], parking),
        false => send_bytes(stream, &[&head(answer, options), &answer.body], parking),
    }
}

/// As [`send`], for an answer in `parts`.
pub(super) fn send_bytes(
    stream: &UnixStream,
    parts: &[&[u8]],
    parking: &Parking,
) -> io::Result<Vec<u8>> {
    let mut client = Within::new(stream, Instant::now() + durations::RESPONSE_DELIVERY);
    client.interrupt = Some(parking.wake());
    let mut parts = parts.iter();
    while let Some(mut part) = parts.next().copied() {
        while !part.is_empty() {
            match client.write(part) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => part = &part[n..],
                Err(err) if err.kind() == INTERRUPTED => {
                    let rest = parts.copied().collect::<Vec<_>>().concat();
                    return Ok([part, &rest].concat());
                }
                Err(err) => return Err(err),
            }
        }
    }
    Ok(Vec::new())
}

/// The interim answer for a client that waits before it sends its body (RFC 9110, 10.1.1).
pub(super) fn send_continue(stream: &UnixStream) -> io::Result<()> {
    Within::new(stream, Instant::now() + durations::RESPONSE_DELIVERY)
        .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(close: bool) -> String {
        let answer = Answer::json(200, b"{}".to_vec());
        let options = HeadOptions {
            request_id: "r-1",
            minor: 1,
            close,
        };
        String::from_utf8(head(&answer, &options)).unwrap()
    }

    #[test]
    fn a_head_has_its_length_and_is_never_chunked() {
        let head = text(false);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("\r\nContent-Length: 2\r\n"), "{head}");
        assert!(head.contains("\r\nX-Request-Id: r-1\r\n"), "{head}");
        assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
        assert!(head.ends_with("\r\n\r\n"), "{head}");
    }

    #[test]
    fn a_connection_that_will_be_closed_says_so() {
        assert!(
            text(true).ends_with("\r\nConnection: close\r\n\r\n"),
            "{}",
            text(true)
        );
    }
}
