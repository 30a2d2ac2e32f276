//! A plain HTTP client that shares no code with the daemon.

use std::io::{BufRead, Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use super::{Coven, PATIENCE};

/// Prometheus' text format.
pub const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Coven {
    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, &[], body.to_string().as_bytes())
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path, &[], b"")
    }

    /// Sends one request on a new connection.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.raw(&request_bytes(method, path, headers, body))
    }

    /// As [`Coven::get`], of a daemon that can be gone before it has answered: then `None`.
    pub fn try_get(&self, path: &str) -> Option<Answer> {
        self.try_raw(&request_bytes("GET", path, &[], b""))
    }

    /// As [`Coven::post`], to a daemon that can be gone before it has answered: then `None`.
    pub fn try_post(&self, path: &str, body: &Value) -> Option<Answer> {
        let body = body.to_string();
        self.try_raw(&request_bytes("POST", path, &[], body.as_bytes()))
    }

    fn try_raw(&self, request: &[u8]) -> Option<Answer> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        let (_, length) = head.split_once("content-length: ")?;
        let length: usize = length.lines().next()?.parse().ok()?;
        (answer.len() >= end + length).then(|| Answer::parse(&answer))
    }

    /// A connection to the daemon, whose reads do not hang for ever.
    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends `bytes`, and reads one answer to the end of the connection.
    pub fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        // The daemon may answer and close before it has read everything.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Answer::parse(&answer)
    }
}

fn request_bytes(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

impl Answer {
    /// Parses an answer as the strictest client does: a length, no chunks, and nothing behind the body.
    pub fn parse(bytes: &[u8]) -> Self {
        let (answer, rest) = Self::parse_first(bytes);
        assert!(
            rest.is_empty(),
            "bytes behind the framed body: {:?}",
            String::from_utf8_lossy(rest)
        );
        answer
    }

    /// The first answer of several, and what is behind it.
    pub fn parse_first(bytes: &[u8]) -> (Self, &[u8]) {
        let text = || String::from_utf8_lossy(bytes);
        let end = bytes
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("no head: {:?}", text()));
        let head = str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| {
                line.split_once(": ")
                    .unwrap_or_else(|| panic!("header {line:?}"))
            })
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Self {
            status,
            headers,
            body: Vec::new(),
        };
        assert_eq!(answer.header("transfer-encoding"), None, "{head}");
        // The second is the metrics' own; their tests ask for it where it belongs.
        let types = ["application/json", METRICS_TYPE];
        assert!(
            answer
                .header("content-type")
                .is_some_and(|is| types.contains(&is)),
            "{head}"
        );
        assert!(answer.header("x-request-id").is_some(), "{head}");
        let length: usize = answer
            .header("content-length")
            .expect("a length")
            .parse()
            .unwrap();
        let body = &bytes[end + 4..];
        assert!(
            body.len() >= length,
            "{} of {length} bytes: {head}",
            body.len()
        );
        answer.body = body[..length].to_vec();
        (answer, &body[length..])
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|err| panic!("{err}: {}", self.text()))
    }

    /// Status and code of an error.
    pub fn error(&self) -> (u16, String) {
        (
            self.status,
            self.json()["error"]["code"]
                .as_str()
                .unwrap_or("none")
                .to_owned(),
        )
    }

    /// The error's details.
    pub fn details(&self) -> Value {
        self.json()["error"]["details"].clone()
    }

    /// Asserts an error's status and code; gives its details.
    #[track_caller]
    pub fn assert_error(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.error(), (status, code.to_owned()), "{}", self.text());
        let message = self.json()["error"]["message"].clone();
        assert!(message.as_str().is_some_and(|m| !m.is_empty()), "{message}");
        self.details()
    }

    /// The `id` of the record that this is.
    #[track_caller]
    pub fn id(&self) -> String {
        let id = self.json()["id"].as_str().map(str::to_owned);
        id.unwrap_or_else(|| panic!("no record: {}", self.text()))
    }
}

/// Reads one answer, and leaves the connection open.
pub fn read_answer(reader: &mut impl BufRead) -> Answer {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let n = reader.read_until(b'\n', &mut bytes).unwrap();
        assert!(n > 0, "closed: {:?}", String::from_utf8_lossy(&bytes));
    }
    let head = String::from_utf8_lossy(&bytes).to_lowercase();
    let (_, length) = head.split_once("content-length: ").expect("a length");
    let length: usize = length.lines().next().unwrap().parse().unwrap();
    let at = bytes.len();
    bytes.resize(at + length, 0);
    reader.read_exact(&mut bytes[at..]).unwrap();
    Answer::parse(&bytes)
}

/// Everything that comes until the daemon closes.
pub fn read_all(mut stream: &UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}
