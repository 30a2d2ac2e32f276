//! Reads a request from a connection within limits of size and time.
//!
//! Runs on the connection thread. httparse parses the head; this file extracts the body's framing and the fields that
//! the daemon uses.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use super::budget::{MemoryBudget, MemoryLease, SMALL_MAX};
use super::parking::{Parking, Rest};
use crate::api::{ApiError, BODY_MAX};
use crate::settings::durations;
use crate::sys::passed::Bytes;
use crate::sys::{INTERRUPTED, Within};

/// Largest request head, in bytes.
pub(super) const HEAD_MAX: usize = 16 * 1024;
/// Most headers of a head.
const HEADERS_MAX: usize = 100;
/// Most bytes of all chunk-size lines of a body.
const CHUNK_LINES_MAX: usize = 2 * BODY_MAX;
/// End of a line, and of a chunk.
const CRLF: &[u8] = b"\r\n";

/// A complete request.
#[derive(Debug)]
pub(super) struct HttpRequest {
    pub method: String,
    pub path: String,
    pub query: String,
    pub idempotency_key: Option<String>,
    pub body: Vec<u8>,
    /// Reserved memory of a large body.
    pub lease: Option<MemoryLease>,
    /// HTTP/1.1, and the client did not ask to close the connection.
    pub keep_alive: bool,
    /// Minor version of HTTP/1.
    pub minor: u8,
}

/// Why there is no request.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// The client has gone, or was silent for too long: no answer is sent.
    Gone,
    /// The client has shut down its writing side.
    Ended,
    /// The connection is brought to rest.
    Parked,
    /// The error to answer before the connection is closed.
    Refused(ApiError),
}

impl From<io::Error> for Unreadable {
    fn from(err: io::Error) -> Self {
        match err.kind() {
            io::ErrorKind::UnexpectedEof => Self::Ended,
            INTERRUPTED => Self::Parked,
            _ => Self::Gone,
        }
    }
}

/// Framing of a request's body.
enum Framing {
    Length(usize),
    Chunked,
}

/// A chunk-size line.
struct ChunkSize {
    /// Length of the line in bytes, including extensions and line end.
    line: usize,
    /// Length of the chunk's data, in bytes.
    length: usize,
}

/// The parsed fields of a head.
struct Head {
    request: HttpRequest,
    framing: Framing,
    expects_continue: bool,
    length: usize,
}

/// The reading side of a connection, with data beyond the current request.
pub(super) struct Incoming<'a> {
    stream: Within<'a, UnixStream>,
    /// Memory budget of all large bodies.
    bodies: &'a MemoryBudget,
    parking: &'a Parking,
    buffer: Vec<u8>,
    /// Number of consumed bytes in `buffer`.
    used: usize,
    has_asked: bool,
    /// Consumed bytes of the request that is being delivered.
    begun: Vec<u8>,
}

impl<'a> Incoming<'a> {
    /// `stream` must be non-blocking; `unread` has been read from it already.
    pub(super) fn new(
        stream: &'a UnixStream,
        bodies: &'a MemoryBudget,
        parking: &'a Parking,
        unread: Vec<u8>,
        has_asked: bool,
    ) -> Self {
        let mut stream = Within::new(stream, Instant::now());
        stream.interrupt = Some(parking.wake());
        Self {
            stream,
            bodies,
            parking,
            buffer: unread,
            used: 0,
            has_asked,
            begun: Vec::new(),
        }
    }

    /// State of the connection, which is brought to rest before its next request has arrived completely.
    pub(super) fn rest(&self) -> Rest {
        Rest {
            unread: Bytes([&self.begun, self.unread()].concat()),
            has_asked: self.has_asked,
            ..Rest::default()
        }
    }

    /// Bytes behind the last request.
    pub(super) fn unread(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    fn consume(&mut self, n: usize) {
        self.used += n;
        if self.used == self.buffer.len() {
            self.buffer.clear();
            self.used = 0;
        }
    }

    /// Reads the next request. Calls `answer_continue` if the client waits before it sends the body.
    pub(super) fn request(
        &mut self,
        answer_continue: impl FnOnce() -> io::Result<()>,
    ) -> Result<HttpRequest, Unreadable> {
        self.begun.clear();
        // A client that sends without a pause would not be interrupted by a wait.
        if self.parking.is_on() {
            return Err(Unreadable::Parked);
        }
        if self.unread().is_empty() {
            // A client may be silent between two requests; the first one must arrive at once.
            let patience = if self.has_asked {
                durations::REQUEST_IDLE
            } else {
                durations::REQUEST_DELIVERY
            };
            self.stream.deadline = Instant::now() + patience;
            self.fill()?;
        }
        self.has_asked = true;
        self.stream.deadline = Instant::now() + durations::REQUEST_DELIVERY;
        self.delivered(answer_continue).map_err(|err| match err {
            // The client shut down its writing side within a request, and may still read.
            Unreadable::Ended => {
                Unreadable::Refused(ApiError::invalid("the request ends before its end"))
            }
            err => err,
        })
    }

    /// Reads a request whose first bytes have arrived.
    fn delivered(
        &mut self,
        answer_continue: impl FnOnce() -> io::Result<()>,
    ) -> Result<HttpRequest, Unreadable> {
        let head = loop {
            match parse_head(self.unread()) {
                Ok(Some(head)) => break head,
                Ok(None) if self.unread().len() > HEAD_MAX => {
                    return Err(Unreadable::Refused(ApiError::RequestTooLarge {
                        max: HEAD_MAX,
                    }));
                }
                Ok(None) => self.fill()?,
                Err(error) => return Err(Unreadable::Refused(error)),
            }
        };
        if !matches!(head.framing, Framing::Length(0)) {
            self.begun
                .extend_from_slice(&self.buffer[self.used..][..head.length]);
        }
        self.consume(head.length);
        let mut request = head.request;
        if let Framing::Length(length) = head.framing {
            request.lease = self.take(length)?;
        }
        if head.expects_continue && self.unread().is_empty() {
            answer_continue()?;
        }
        match head.framing {
            Framing::Length(length) => request.body = self.body(length)?,
            Framing::Chunked => self.chunked_body(&mut request)?,
        }
        Ok(request)
    }

    /// Reserves memory for a body of `length` bytes, within the time for its delivery.
    fn take(&self, length: usize) -> Result<Option<MemoryLease>, Unreadable> {
        let lease = self.bodies.take_body(length, self.stream.deadline);
        lease.map_err(Unreadable::Refused)
    }

    fn body(&mut self, length: usize) -> Result<Vec<u8>, Unreadable> {
        let there = length.min(self.unread().len());
        let mut body = Vec::with_capacity(length);
        body.extend_from_slice(&self.unread()[..there]);
        self.consume(there);
        // Read directly into the body: a large body is in memory once.
        let mut rest = (&mut self.stream).take((length - there) as u64);
        if let Err(err) = rest.read_to_end(&mut body) {
            self.begun.append(&mut body);
            return Err(err.into());
        }
        match body.len() == length {
            true => Ok(body),
            false => Err(Unreadable::Ended),
        }
    }

    fn chunked_body(&mut self, request: &mut HttpRequest) -> Result<(), Unreadable> {
        let mut line_bytes = 0;
        loop {
            let size = self.chunk_size()?;
            self.begin_chunk(size.length);
            if size.length == 0 {
                return self.skip_trailers();
            }
            // A small body can come in many chunks with long extensions.
            line_bytes += size.line;
            if size.length > BODY_MAX - request.body.len() || line_bytes > CHUNK_LINES_MAX {
                return Err(Unreadable::Refused(ApiError::PayloadTooLarge {
                    max: BODY_MAX,
                }));
            }
            if request.lease.is_none() && request.body.len() + size.length > SMALL_MAX {
                request.lease = self.take(BODY_MAX)?;
            }
            let chunk = self.body(size.length + CRLF.len())?;
            let Some(data) = chunk.strip_suffix(CRLF) else {
                return Err(malformed_chunks());
            };
            request.body.extend_from_slice(data);
            self.begun.extend_from_slice(data);
            self.begun.extend_from_slice(CRLF);
        }
    }

    /// Notes the size line of a chunk as consumed, without its extensions.
    fn begin_chunk(&mut self, length: usize) {
        let line = format!("{length:x}\r\n");
        self.begun.extend_from_slice(line.as_bytes());
    }

    /// Reads a chunk-size line.
    fn chunk_size(&mut self) -> Result<ChunkSize, Unreadable> {
        loop {
            match httparse::parse_chunk_size(self.unread()) {
                Ok(httparse::Status::Complete((line, length))) => {
                    self.consume(line);
                    let length = usize::try_from(length).unwrap_or(usize::MAX);
                    return Ok(ChunkSize { line, length });
                }
                Ok(httparse::Status::Partial) if self.unread().len() <= HEAD_MAX => self.fill()?,
                _ => return Err(malformed_chunks()),
            }
        }
    }

    /// Reads and ignores the trailer fields after the last chunk (RFC 9112, 7.1.2).
    fn skip_trailers(&mut self) -> Result<(), Unreadable> {
        let too_large = Err(Unreadable::Refused(ApiError::RequestTooLarge {
            max: HEAD_MAX,
        }));
        loop {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            match httparse::parse_headers(self.unread(), &mut headers) {
                Ok(httparse::Status::Complete((length, _))) if length <= HEAD_MAX => {
                    self.consume(length);
                    return Ok(());
                }
                Ok(httparse::Status::Partial) if self.unread().len() <= HEAD_MAX => self.fill()?,
                Ok(_) | Err(httparse::Error::TooManyHeaders) => return too_large,
                Err(_) => return Err(malformed_chunks()),
            }
        }
    }

    /// Waits for data, and appends it to the buffer.
    fn fill(&mut self) -> io::Result<()> {
        // A client that always sends a part of the next request must not make the buffer grow for ever.
        self.buffer.drain(..self.used);
        self.used = 0;
        let mut chunk = [0; 16 * 1024];
        let n = self.stream.read(&mut chunk)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&chunk[..n]);
        Ok(())
    }
}

/// Parses the head at the start of `bytes`; `None` if it is incomplete.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, ApiError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Partial) => return Ok(None),
        Ok(httparse::Status::Complete(length)) => length,
        Err(httparse::Error::TooManyHeaders) => {
            return Err(ApiError::RequestTooLarge { max: HEAD_MAX });
        }
        Err(err) => return Err(ApiError::invalid(format!("not an HTTP/1 request: {err}"))),
    };
    if length > HEAD_MAX {
        return Err(ApiError::RequestTooLarge { max: HEAD_MAX });
    }
    let minor = parsed.version.unwrap_or(0);
    let (path, query) = split_target(parsed.path.unwrap_or("/"));
    let mut head = Head {
        request: HttpRequest {
            method: parsed.method.unwrap_or("").to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            idempotency_key: None,
            body: Vec::new(),
            lease: None,
            keep_alive: minor == 1,
            minor,
        },
        framing: Framing::Length(0),
        expects_continue: false,
        length,
    };
    let mut content_length = None;
    for header in parsed.headers.iter() {
        head.take_header(header.name, header.value, &mut content_length)?;
    }
    match (&head.framing, content_length) {
        // Two framings allow request smuggling (RFC 9112, 6.1).
        (Framing::Chunked, Some(_)) => Err(ApiError::invalid(
            "both Content-Length and Transfer-Encoding",
        )),
        (Framing::Chunked, None) => Ok(Some(head)),
        (Framing::Length(_), length) => {
            head.framing = Framing::Length(length.unwrap_or(0));
            Ok(Some(head))
        }
    }
}

impl Head {
    fn take_header(
        &mut self,
        name: &str,
        value: &[u8],
        content_length: &mut Option<usize>,
    ) -> Result<(), ApiError> {
        let text = || {
            str::from_utf8(value)
                .map_err(|_| ApiError::invalid(format!("header {name} is not UTF-8")))
        };
        if name.eq_ignore_ascii_case("content-length") {
            let length = parse_length(text()?)?;
            if content_length
                .replace(length)
                .is_some_and(|other| other != length)
            {
                return Err(ApiError::invalid("two Content-Length headers that differ"));
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if !text()?.eq_ignore_ascii_case("chunked") {
                return Err(ApiError::invalid(
                    "the only Transfer-Encoding known is chunked",
                ));
            }
            self.framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case("connection") {
            let mut options = text()?.split(',').map(str::trim);
            if options.any(|option| option.eq_ignore_ascii_case("close")) {
                self.request.keep_alive = false;
            }
        } else if name.eq_ignore_ascii_case("expect") {
            self.expects_continue = text()?.eq_ignore_ascii_case("100-continue");
        } else if name.eq_ignore_ascii_case("idempotency-key") {
            self.request.idempotency_key = Some(text()?.to_owned());
        }
        Ok(())
    }
}

fn malformed_chunks() -> Unreadable {
    Unreadable::Refused(ApiError::invalid("the chunked body is malformed"))
}

/// A Content-Length within the limit: digits only (RFC 9110, 8.6), possibly more than a number can hold.
fn parse_length(text: &str) -> Result<usize, ApiError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ApiError::invalid("Content-Length is not a number"));
    }
    match text.parse() {
        Ok(length) if length <= BODY_MAX => Ok(length),
        _ => Err(ApiError::PayloadTooLarge { max: BODY_MAX }),
    }
}

/// Path and query of a request target, in origin form or in absolute form, as for a proxy.
fn split_target(target: &str) -> (&str, &str) {
    let target = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    target.split_once('?').unwrap_or((target, ""))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
