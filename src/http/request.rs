//! A request, read from a connection within its bounds: head, body, and the time for both.
//!
//! The head is parsed by httparse; what frames the body, and what the daemon acts on, is taken out of it here.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use super::budget::{Budget, Lease, SMALL_MAX};
use crate::api::{ApiError, BODY_MAX};
use crate::settings::durations;
use crate::sys::Within;

/// The longest request head, in bytes.
pub(super) const HEAD_MAX: usize = 16 * 1024;
/// The most headers that a head of that size is read with.
const HEADERS_MAX: usize = 100;
/// The most bytes that the lines before the chunks of a body may have.
const CHUNK_LINES_MAX: usize = 2 * BODY_MAX;
/// What ends a line, and a chunk.
const CRLF: &[u8] = b"\r\n";

/// A request as it came.
#[derive(Debug)]
pub(super) struct Request {
    pub method: String,
    pub path: String,
    pub query: String,
    pub idempotency_key: Option<String>,
    pub body: Vec<u8>,
    /// The share of the memory of large bodies that it holds.
    pub lease: Option<Lease>,
    /// HTTP/1.1, and the client has not asked to close.
    pub keep_alive: bool,
    /// The minor version of HTTP/1.
    pub minor: u8,
}

/// Why there is no request.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// The client has gone, or has said nothing for too long: there is nobody to answer.
    Gone,
    /// The client sends no more.
    Ended,
    /// The answer that it gets before the connection is closed.
    Refused(ApiError),
}

impl From<io::Error> for Unreadable {
    fn from(err: io::Error) -> Self {
        match err.kind() {
            io::ErrorKind::UnexpectedEof => Self::Ended,
            _ => Self::Gone,
        }
    }
}

/// What frames a request's body.
enum Framing {
    Length(usize),
    Chunked,
}

/// The line that begins a chunk.
struct ChunkSize {
    /// The length of the line itself, extensions and line end included, in bytes.
    line: usize,
    /// The length of the data that follows, in bytes.
    length: usize,
}

/// What is read of a head.
struct Head {
    request: Request,
    framing: Framing,
    expects_continue: bool,
    length: usize,
}

/// The reading side of a connection, with what has come beyond the current request.
pub(super) struct Incoming<'a> {
    stream: Within<'a, UnixStream>,
    /// The memory of all large bodies.
    bodies: &'a Budget,
    buffer: Vec<u8>,
    /// How much of `buffer` has been used up.
    used: usize,
    has_asked: bool,
}

impl<'a> Incoming<'a> {
    /// `stream` is non-blocking.
    pub(super) fn new(stream: &'a UnixStream, bodies: &'a Budget) -> Self {
        Self {
            stream: Within::new(stream, Instant::now()),
            bodies,
            buffer: Vec::new(),
            used: 0,
            has_asked: false,
        }
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    fn consume(&mut self, n: usize) {
        self.used += n;
        if self.used == self.buffer.len() {
            self.buffer.clear();
            self.used = 0;
        }
    }

    /// The next request. `answer_continue` is called if the client waits to be told to send its body.
    pub(super) fn request(
        &mut self,
        answer_continue: impl FnOnce() -> io::Result<()>,
    ) -> Result<Request, Unreadable> {
        if self.unread().is_empty() {
            // Between two requests a client may be silent; the first it has come to send.
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
            // It has shut down its writing side in the middle, and may still read.
            Unreadable::Ended => {
                Unreadable::Refused(ApiError::invalid("the request ends before its end"))
            }
            err => err,
        })
    }

    /// The request whose first bytes are there.
    fn delivered(
        &mut self,
        answer_continue: impl FnOnce() -> io::Result<()>,
    ) -> Result<Request, Unreadable> {
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

    /// The share of a body of `length` bytes, within the time that its delivery has.
    fn take(&self, length: usize) -> Result<Option<Lease>, Unreadable> {
        let lease = self.bodies.take_body(length, self.stream.deadline);
        lease.map_err(Unreadable::Refused)
    }

    fn body(&mut self, length: usize) -> Result<Vec<u8>, Unreadable> {
        let there = length.min(self.unread().len());
        let mut body = Vec::with_capacity(length);
        body.extend_from_slice(&self.unread()[..there]);
        self.consume(there);
        // The rest is read into its place: a large body stands in memory once.
        let mut rest = (&mut self.stream).take((length - there) as u64);
        rest.read_to_end(&mut body)?;
        match body.len() == length {
            true => Ok(body),
            false => Err(Unreadable::Ended),
        }
    }

    fn chunked_body(&mut self, request: &mut Request) -> Result<(), Unreadable> {
        let mut line_bytes = 0;
        loop {
            let size = self.chunk_size()?;
            if size.length == 0 {
                return self.skip_trailers();
            }
            // A body within its bound can still come in many chunks with long extensions.
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
        }
    }

    /// Reads the line that begins a chunk.
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

    /// Reads the trailer fields behind the last chunk, and ignores them (RFC 9112, 7.1.2).
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

    /// Waits for more, and adds it to the buffer.
    fn fill(&mut self) -> io::Result<()> {
        // A client that is always a part of a request ahead must not make us keep all that it ever sent.
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

/// The head at the beginning of `bytes`; `None` if it is not complete yet.
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
        request: Request {
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
        // One of the two could have been smuggled past somebody (RFC 9112, 6.1).
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

/// A Content-Length within the bound: digits only (RFC 9110, 8.6), of which a client can send more than any
/// number holds.
fn parse_length(text: &str) -> Result<usize, ApiError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ApiError::invalid("Content-Length is not a number"));
    }
    match text.parse() {
        Ok(length) if length <= BODY_MAX => Ok(length),
        _ => Err(ApiError::PayloadTooLarge { max: BODY_MAX }),
    }
}

/// The path and the query of a request target, in origin form or, as to a proxy, in absolute form.
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
mod tests {
    use super::*;
    use crate::api::Code;
    use crate::random::{Random, rounds};
    use std::io::Write;

    fn parse(head: &str) -> Result<Option<Head>, ApiError> {
        parse_head(head.as_bytes())
    }

    fn code(head: &str) -> Option<Code> {
        parse(head).err().map(|error| error.code())
    }

    #[test]
    fn a_target_is_split_into_path_and_query() {
        assert_eq!(split_target("/a?b=c?d"), ("/a", "b=c?d"));
        assert_eq!(split_target("http://localhost/a?b"), ("/a", "b"));
        assert_eq!(split_target("http://localhost"), ("/", ""));
        assert_eq!(split_target("/a://b"), ("/a://b", ""));
    }

    #[test]
    fn a_body_is_framed_in_one_way_only() {
        assert_eq!(
            code("POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"),
            None
        );
        assert_eq!(
            code("POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"),
            Some(Code::InvalidRequest)
        );
        assert_eq!(
            code("POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Some(Code::InvalidRequest)
        );
        for bad in ["-1", "+1", "1 2", "", "0x10"] {
            let head = format!("POST / HTTP/1.1\r\nContent-Length: {bad}\r\n\r\n");
            assert_eq!(code(&head), Some(Code::InvalidRequest), "{bad}");
        }
        for large in ["4194305", "1000000000000", "99999999999999999999999999"] {
            let head = format!("POST / HTTP/1.1\r\nContent-Length: {large}\r\n\r\n");
            assert_eq!(code(&head), Some(Code::PayloadTooLarge), "{large}");
        }
    }

    #[test]
    fn what_is_not_http_1_is_refused() {
        for bad in [
            "GET /\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\n",
            "\u{1}\u{2}\r\n\r\n",
            "GET / HTTP/1.1\r\na b: c\r\n\r\n",
        ] {
            assert_eq!(code(bad), Some(Code::InvalidRequest), "{bad:?}");
        }
    }

    #[test]
    fn a_connection_is_kept_as_the_client_asks() {
        let keeps = |head| parse(head).unwrap().unwrap().request.keep_alive;
        assert!(keeps("GET / HTTP/1.1\r\n\r\n"));
        assert!(!keeps("GET / HTTP/1.1\r\nConnection: foo, Close\r\n\r\n"));
        assert!(!keeps("GET / HTTP/1.0\r\n\r\n"));
        assert!(!keeps("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    }

    /// A request that is as it should be, as bytes and as what is to be read of it.
    fn good_request(random: &mut Random) -> (Vec<u8>, String) {
        let method = *random.pick(&["GET", "POST", "DELETE", "X-Own!"]);
        let path = *random.pick(&["/", "/api/v1/sessions", "/a/%2e%2e/b", "/x://y"]);
        let query = *random.pick(&["", "a=b", "a=b&c", "?x=/y?"]);
        let body = match random.below(3) {
            0 => Vec::new(),
            _ => {
                let length = random.below(300);
                random.bytes(length)
            }
        };
        let minor = random.below(2);
        let mut head = format!("{method} {path}?{query} HTTP/1.{minor}\r\n");
        for _ in 0..random.below(20) {
            let value = "v".repeat(random.below(30));
            head.push_str(&format!("X-{}: {value}\r\n", random.below(1000)));
        }
        let framed = match random.one_in(2) {
            true => {
                head.push_str("Transfer-Encoding: chunked\r\n\r\n");
                let mut chunks = Vec::new();
                for chunk in body.chunks(1 + random.below(100)) {
                    chunks.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                    chunks.extend_from_slice(chunk);
                    chunks.extend_from_slice(b"\r\n");
                }
                chunks.extend_from_slice(b"0\r\n");
                for _ in 0..random.below(4) {
                    chunks.extend_from_slice(b"X-Trailer: x\r\n");
                }
                chunks.extend_from_slice(b"\r\n");
                chunks
            }
            false => {
                head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
                body.clone()
            }
        };
        let read = format!("{method} {path} {query} {minor} {body:?}");
        ([head.into_bytes(), framed].concat(), read)
    }

    fn shown(request: &Request) -> String {
        let Request {
            method,
            path,
            query,
            minor,
            body,
            ..
        } = request;
        format!("{method} {path} {query} {minor} {body:?}")
    }

    #[test]
    fn requests_are_read_the_same_whichever_way_they_arrive() {
        let mut random = Random::new(1);
        for _ in 0..rounds(300) {
            let requests: Vec<_> = (0..1 + random.below(4))
                .map(|_| good_request(&mut random))
                .collect();
            let bytes: Vec<u8> = requests
                .iter()
                .flat_map(|(bytes, _)| bytes.clone())
                .collect();
            let (client, server) = UnixStream::pair().unwrap();
            server.set_nonblocking(true).unwrap();
            let mut cuts: Vec<usize> = (0..random.below(30))
                .map(|_| random.below(bytes.len()))
                .collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut begun = 0;
                    for cut in cuts {
                        (&client).write_all(&bytes[begun..cut]).unwrap();
                        begun = cut;
                        std::thread::yield_now();
                    }
                    client.shutdown(std::net::Shutdown::Write).unwrap();
                });
                let bodies = Budget::default();
                let mut incoming = Incoming::new(&server, &bodies);
                for (_, expected) in &requests {
                    assert_eq!(&shown(&incoming.request(|| Ok(())).unwrap()), expected);
                }
                let end = incoming.request(|| Ok(()));
                assert!(matches!(end, Err(Unreadable::Ended)), "{end:?}");
            });
        }
    }

    #[test]
    fn a_head_is_complete_at_its_last_byte_and_not_before() {
        let mut random = Random::new(2);
        for _ in 0..rounds(300) {
            let (bytes, _) = good_request(&mut random);
            let end = bytes
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
                .unwrap()
                + 4;
            for length in 0..end {
                assert!(matches!(parse_head(&bytes[..length]), Ok(None)), "{length}");
            }
            assert_eq!(parse_head(&bytes).unwrap().unwrap().length, end);
        }
    }

    #[test]
    fn no_head_makes_the_parser_panic_or_ask_for_more_than_the_bound() {
        let mut random = Random::new(3);
        for _ in 0..rounds(20_000) {
            let (mut bytes, _) = good_request(&mut random);
            for _ in 0..random.below(6) {
                let at = random.below(bytes.len());
                match random.below(3) {
                    0 => bytes[at] = random.next() as u8,
                    1 => bytes.insert(at, random.next() as u8),
                    _ => bytes.truncate(at + 1),
                }
            }
            let Ok(Some(head)) = parse_head(&bytes) else {
                continue;
            };
            assert!((1..=bytes.len()).contains(&head.length));
            assert!(matches!(
                head.framing,
                Framing::Length(0..=BODY_MAX) | Framing::Chunked
            ));
            assert!(!head.request.method.is_empty() && !head.request.path.contains('?'));
        }
    }
}
