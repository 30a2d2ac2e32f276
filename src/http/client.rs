//! A blocking client of the daemon's API: one connection, one request at a time.
//!
//! Used by the CLI's verbs, and by a starting daemon to check itself. It knows the contract, and not the server in this
//! room.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::dial::{Dial, GatewayEnd, Running};
use crate::api::routes::{self, Endpoint, Request};
use crate::api::{API_VERSION, BASE_PATH, CONTRACT, ErrorBody, ErrorDetail, Health};
use crate::observe::field::is_version;
use crate::observe::{Message, message};
use crate::settings::durations;

/// Largest answer that is read, in bytes: the contract's lists stay below a quarter of it.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// No process listens on the socket.
    NotRunning {
        socket: PathBuf,
        reason: io::Error,
    },
    /// The program that should lead to the daemon has ended.
    Ended(GatewayEnd),
    /// The server speaks another contract.
    UnsupportedVersion {
        found: String,
    },
    Api {
        status: u16,
        error: ErrorDetail,
    },
    /// The connection broke or timed out.
    Io(io::Error),
    /// The answer is not valid HTTP or JSON.
    Protocol(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message().fmt(f)
    }
}

impl ClientError {
    pub fn message(&self) -> Message {
        match self {
            Self::NotRunning { socket, reason } => {
                message!("no daemon answers on {}: {}", socket, reason)
            }
            Self::Ended(ended) => {
                message!(
                    "the connection to {} has ended",
                    Message::foreign(&ended.name)
                )
            }
            Self::UnsupportedVersion { found } => message!(
                "the daemon speaks {}, this coven speaks {}",
                Message::word(found, is_version),
                CONTRACT
            ),
            Self::Api { error, .. } => Message::foreign(&error.message),
            err if err.is_timeout() => "the daemon did not answer in time".into(),
            Self::Io(err) if err.kind() == io::ErrorKind::PermissionDenied => {
                message!("only the daemon's user and root can connect: {}", err)
            }
            Self::Io(err) => message!("the connection to the daemon broke: {}", err),
            Self::Protocol(what) => {
                message!(
                    "the daemon's answer cannot be read: {}",
                    Message::foreign(what)
                )
            }
        }
    }

    /// True if the answer did not arrive in time.
    pub fn is_timeout(&self) -> bool {
        let kinds = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
        matches!(self, Self::Io(err) if kinds.contains(&err.kind()))
    }
}

impl From<io::Error> for ClientError {
    fn from(err: io::Error) -> Self {
        Self::Io(err)
    }
}

pub struct Client {
    dial: Dial,
    stream: UnixStream,
    /// The program that the stream leads through.
    program: Option<Running>,
}

/// The versions that a daemon supports which rejects this contract's paths.
fn other_versions(error: &ErrorDetail) -> Option<String> {
    let versions = error.details.as_ref()?.get("supportedApiVersions")?;
    let versions = versions.as_array()?.iter().filter_map(Value::as_str);
    let versions: Vec<&str> = versions.collect();
    (!versions.contains(&API_VERSION)).then(|| format!("API version {}", versions.join(", ")))
}

impl Client {
    /// Connects, and checks that the daemon speaks the contract.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`], [`ClientError::UnsupportedVersion`], or a failed exchange.
    pub fn connect(socket: &Path) -> Result<Self, ClientError> {
        Self::connect_within(socket, durations::CLIENT_ANSWER).map(|(client, _)| client)
    }

    /// As [`Client::connect`] within a time limit; also returns the daemon's health.
    pub fn connect_within(
        socket: &Path,
        patience: Duration,
    ) -> Result<(Self, Health), ClientError> {
        Self::dial_within(Dial::Socket(socket.to_owned()), patience)
    }

    /// As [`Client::connect_within`], by any way.
    ///
    /// # Errors
    /// As [`Client::connect`], and [`ClientError::Ended`].
    pub fn dial_within(dial: Dial, patience: Duration) -> Result<(Self, Health), ClientError> {
        let (stream, program) = dial.connect(patience)?;
        stream.set_read_timeout(Some(patience))?;
        let mut client = Self {
            dial,
            stream,
            program,
        };
        let health = client.health()?;
        client
            .stream
            .set_read_timeout(Some(durations::CLIENT_ANSWER))?;
        Ok((client, health))
    }

    fn health(&mut self) -> Result<Health, ClientError> {
        let body = self.fetch(&routes::Health.request())?;
        // A daemon of another contract may say its health otherwise.
        let found = parse::<serde_json::Value>(&body)?;
        let found = found
            .get("apiVersion")
            .and_then(|version| version.as_str())
            .unwrap_or("another contract");
        if found != CONTRACT {
            return Err(ClientError::UnsupportedVersion {
                found: found.to_owned(),
            });
        }
        parse(&body)
    }

    /// Sends `request`, and waits for its answer.
    pub fn call<E: Endpoint>(&mut self, request: Request<E>) -> Result<E::Answer, ClientError>
    where
        E::Answer: DeserializeOwned,
    {
        parse(&self.fetch(&request)?)
    }

    /// As [`Client::call`], but returns the answer's raw body.
    pub fn fetch<E: Endpoint>(&mut self, request: &Request<E>) -> Result<Vec<u8>, ClientError> {
        self.fetch_answer(E::ROUTE.method(), &request.target(), request.bytes())
    }

    fn fetch_answer(
        &mut self,
        method: &str,
        target: &str,
        body: &[u8],
    ) -> Result<Vec<u8>, ClientError> {
        match self.exchange(method, target, body) {
            // The daemon closes a connection that has been idle for a minute; a GET can be repeated.
            Err(ClientError::Io(err)) if method == "GET" && is_closed(&err) => {
                self.reconnect()?;
                // A dying daemon can still accept a connection into its queue, and break it.
                self.exchange(method, target, body)
                    .map_err(|err| match err {
                        ClientError::Io(reason) if is_closed(&reason) => self.gone(reason),
                        err => err,
                    })
            }
            result => result,
        }
    }

    /// Allows `wait` more than usual for the next answers.
    pub fn allow_wait(&self, wait: Duration) -> io::Result<()> {
        self.set_patience(durations::CLIENT_ANSWER + wait)
    }

    /// Sets the time limit of the next answers.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(patience))
    }

    /// Error: the daemon has closed a new connection.
    fn gone(&self, reason: io::Error) -> ClientError {
        match &self.dial {
            Dial::Socket(socket) => ClientError::NotRunning {
                socket: socket.clone(),
                reason,
            },
            Dial::Gateway(_) => ClientError::Io(reason),
        }
    }

    fn reconnect(&mut self) -> Result<(), ClientError> {
        let timeout = self.stream.read_timeout()?;
        let patience = timeout.unwrap_or(durations::CLIENT_ANSWER);
        (self.stream, self.program) = self.dial.connect(patience)?;
        self.stream.set_read_timeout(timeout)?;
        Ok(())
    }

    /// Sends a request, and returns the answer's body; an error status becomes an error.
    fn exchange(
        &mut self,
        method: &str,
        target: &str,
        body: &[u8],
    ) -> Result<Vec<u8>, ClientError> {
        let length = body.len();
        let mut request = format!(
            "{method} {BASE_PATH}{target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        request.extend_from_slice(body);
        let answer = self.stream.write_all(&request).map_err(ClientError::from);
        let (status, body) = match answer.and_then(|()| self.read_answer()) {
            Err(ClientError::Io(err)) if is_closed(&err) => {
                let ended = self.program.as_mut().and_then(Running::ended);
                return Err(ended.map_or(ClientError::Io(err), ClientError::Ended));
            }
            answer => answer?,
        };
        if let Some(program) = &mut self.program {
            program.has_answered = true;
        }
        if status < 400 {
            return Ok(body);
        }
        match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(ErrorBody { error }) => Err(match other_versions(&error) {
                Some(found) => ClientError::UnsupportedVersion { found },
                None => ClientError::Api { status, error },
            }),
            Err(_) => Err(ClientError::Protocol(format!(
                "status {status} without an error"
            ))),
        }
    }

    fn read_answer(&mut self) -> Result<(u16, Vec<u8>), ClientError> {
        let mut bytes = Vec::new();
        let (status, head, length) = loop {
            if let Some(answer) = parse_head(&bytes)? {
                break answer;
            }
            self.fill(&mut bytes)?;
        };
        if length > ANSWER_MAX {
            return Err(ClientError::Protocol(format!(
                "{length} bytes are too many"
            )));
        }
        while bytes.len() < head + length {
            self.fill(&mut bytes)?;
        }
        Ok((status, bytes.split_off(head)))
    }

    fn fill(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let mut chunk = [0; 64 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                bytes.extend_from_slice(&chunk[..n]);
                Ok(())
            }
            Err(err) if err.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(err) => Err(err),
        }
    }
}

fn is_closed(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

/// Status, length of the head, and length of the body; `None` if the head is incomplete.
fn parse_head(bytes: &[u8]) -> Result<Option<(u16, usize, usize)>, ClientError> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let protocol = |what: &str| ClientError::Protocol(what.to_owned());
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(err) => return Err(ClientError::Protocol(err.to_string())),
    };
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| str::from_utf8(header.value).ok()?.parse().ok())
        .ok_or_else(|| protocol("no Content-Length"))?;
    Ok(Some((
        response.code.ok_or_else(|| protocol("no status"))?,
        head,
        length,
    )))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|err| ClientError::Protocol(err.to_string()))
}
