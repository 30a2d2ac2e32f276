//! What waits for a harness's stdin: bounded, so that a harness that never reads costs nobody anything.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::api::BODY_MAX;

/// Bytes that may wait for one harness, besides what its pipe holds: as much as one request can bring.
const LIMIT: usize = BODY_MAX;

/// How many bytes wait, counted by the state thread that adds and the harness thread that takes.
#[derive(Debug, Clone, Default)]
pub struct Backlog(Arc<AtomicUsize>);

impl Backlog {
    /// Counts `bytes` more. Only the state thread adds, so that nothing comes between check and add.
    ///
    /// # Errors
    /// The bound, in bytes, if not so many can wait.
    pub(super) fn add(&self, bytes: usize) -> Result<(), usize> {
        if self.0.load(Ordering::Relaxed) + bytes > LIMIT {
            return Err(LIMIT);
        }
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn remove(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The writing side of a harness's stdin, and what waits for it.
pub(super) struct Input {
    pipe: File,
    waiting: VecDeque<Vec<u8>>,
    /// How much of the first of `waiting` the pipe has taken.
    written: usize,
    backlog: Backlog,
    end: End,
}

/// Whether more can follow what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It can.
    Open,
    /// Nothing follows the prompt, which the harness need not read.
    AfterPrompt,
    /// A client has ended it.
    AfterInput,
}

impl Input {
    /// `first` is written before all else, and counts towards what waits.
    pub(super) fn new(pipe: File, backlog: Backlog, first: Option<String>, end: End) -> Self {
        let waiting: VecDeque<Vec<u8>> = first.into_iter().map(String::into_bytes).collect();
        let bytes = waiting.iter().map(Vec::len).sum();
        backlog.0.fetch_add(bytes, Ordering::Relaxed);
        Self {
            pipe,
            waiting,
            written: 0,
            backlog,
            end,
        }
    }

    /// Whether the pipe is to be closed once nothing waits.
    pub(super) fn end(&self) -> End {
        self.end
    }

    pub(super) fn pipe(&self) -> &File {
        &self.pipe
    }

    /// Adds what a client has sent; with `eof` nothing follows it.
    pub(super) fn push(&mut self, data: Vec<u8>, eof: bool) {
        if !data.is_empty() {
            self.waiting.push_back(data);
        }
        if eof {
            self.end = End::AfterInput;
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes what the pipe takes now. An error means that nobody reads it any more.
    pub(super) fn write(&mut self) -> io::Result<()> {
        while let Some(data) = self.waiting.front() {
            match self.pipe.write(&data[self.written..]) {
                Ok(n) => {
                    self.written += n;
                    self.backlog.remove(n);
                    if self.written == data.len() {
                        self.waiting.pop_front();
                        self.written = 0;
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }
}
