//! Accepting: a few threads wait in accept(2), and the one that gets a connection serves it to its end. There is
//! no hand-over to another thread; the kernel wakes one waiter a connection.
//!
//! Runs on the connection threads. Knows who may connect and how many at once, and nothing of requests.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::connection::RequestId;
use super::{Context, connection, response};
use crate::api::ApiError;
use crate::observe::{field, say};
use crate::settings::durations;
use crate::sys;

/// Threads that wait for the next connection: one must, more spare the creation of a thread, or make up for it.
const IDLE_MAX: usize = 8;

/// A connection thread's stack: SQLite and JSON need a few tens of kilobytes.
const STACK_BYTES: usize = 512 * 1024;

/// Clients beyond the limit that are given the time to read that they are refused: closing a socket on what its
/// client has just sent would reset it.
const LINGERERS_MAX: usize = 16;

/// The running server.
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    listener: UnixListener,
    context: Context,
    /// Threads in accept(2), or on the way to it.
    idle: AtomicUsize,
    connections: AtomicUsize,
    /// Requests that are being answered.
    busy: Mutex<usize>,
    less_busy: Condvar,
    /// A descriptor to give up when there is none left, so that a client can be told so.
    reserve: Mutex<Option<File>>,
}

impl Server {
    /// Begins to accept.
    ///
    /// # Errors
    /// No thread or descriptor is to be had.
    pub fn start(listener: UnixListener, context: Context) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            listener,
            context,
            idle: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            busy: Mutex::new(0),
            less_busy: Condvar::new(),
            reserve: Mutex::new(Some(File::open("/dev/null")?)),
        });
        // All at once: when no thread is to be had any more, these still answer.
        for _ in 0..IDLE_MAX {
            shared.add_thread()?;
        }
        Ok(Self { shared })
    }

    /// Lets the requests that are being answered come to their end, for `patience` at most. Nobody waits for an
    /// event any more; who connects from now on is told that the daemon is stopping, or finds nobody.
    pub fn finish(&self, patience: Duration) {
        let context = &self.shared.context;
        context.stopping.store(true, Ordering::SeqCst);
        context.followers.wake_all();
        self.wait_while_busy(patience, || context.awaiting_end.load(Ordering::SeqCst));
    }

    /// As [`Server::finish`], also for the requests that have waited for the end and have been told of it.
    pub fn finish_all(&self, patience: Duration) {
        self.wait_while_busy(patience, || 0);
    }

    /// Waits until no more than `most` requests are being answered.
    fn wait_while_busy(&self, patience: Duration, most: impl Fn() -> usize) {
        let deadline = Instant::now() + patience;
        let mut busy = self
            .shared
            .busy
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while *busy > most() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return;
            };
            let waited = self.shared.less_busy.wait_timeout(busy, left);
            busy = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A request that is being answered, until this is dropped.
pub(super) struct Busy<'a>(&'a Shared);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut busy = self.0.busy.lock().unwrap_or_else(PoisonError::into_inner);
        *busy -= 1;
        self.0.less_busy.notify_all();
    }
}

/// What a connection's thread knows of the server.
pub(super) struct Connected<'a>(&'a Shared);

impl Connected<'_> {
    pub(super) fn context(&self) -> &Context {
        &self.0.context
    }

    pub(super) fn busy(&self) -> Busy<'_> {
        *self.0.busy.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Busy(self.0)
    }
}

/// A place among the connections, given back when it is dropped: also when its thread panics.
struct Slot<'a> {
    connections: &'a AtomicUsize,
    /// How many connections there are with this one.
    number: usize,
}

impl<'a> Slot<'a> {
    fn take(connections: &'a AtomicUsize) -> Self {
        let number = connections.fetch_add(1, Ordering::SeqCst) + 1;
        Self {
            connections,
            number,
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn add_thread(self: &Arc<Self>) -> io::Result<()> {
        let shared = Arc::clone(self);
        self.idle.fetch_add(1, Ordering::SeqCst);
        let spawned = thread::Builder::new()
            .name("connection".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                // How a flood goes can be asked while it has the processors.
                sys::prefer_latency();
                shared.accept_and_serve();
            });
        if let Err(err) = spawned {
            self.idle.fetch_sub(1, Ordering::SeqCst);
            return Err(err);
        }
        Ok(())
    }

    fn accept_and_serve(self: &Arc<Self>) {
        loop {
            let Some(stream) = self.accept() else {
                continue;
            };
            let last_idle = self.idle.fetch_sub(1, Ordering::SeqCst) == 1;
            if last_idle && let Err(err) = self.add_thread() {
                // Somebody must go on accepting, and no other thread is there to do it.
                self.idle.fetch_add(1, Ordering::SeqCst);
                say!(ThreadFailed, reason: &err);
                self.refuse(&stream);
                continue;
            }
            self.serve(&stream);
            // Not before it has stopped counting: who sees it closed can open the next.
            drop(stream);
            // One thread too many is no harm; what matters is that there is one.
            if self.idle.fetch_add(1, Ordering::SeqCst) >= IDLE_MAX {
                self.idle.fetch_sub(1, Ordering::SeqCst);
                return;
            }
        }
    }

    fn accept(&self) -> Option<UnixStream> {
        match self.listener.accept() {
            Ok((stream, _)) if sys::is_scarce(&stream, sys::Use::Client) => {
                self.refuse(&stream);
                None
            }
            Ok((stream, _)) => Some(stream),
            Err(err) if sys::is_out_of_descriptors(&err) => self.accept_with_reserve(&err),
            // The client has gone, or a signal came: the next one is waiting.
            Err(err)
                if matches!(
                    err.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                ) =>
            {
                None
            }
            Err(err) => {
                say!(AcceptFailed, reason: &err);
                thread::sleep(durations::ACCEPT_PAUSE);
                None
            }
        }
    }

    /// No descriptor is left: the one in reserve is given up for the moment that it takes to say so.
    fn accept_with_reserve(&self, err: &io::Error) -> Option<UnixStream> {
        let mut reserve = self.reserve.lock().unwrap_or_else(PoisonError::into_inner);
        drop(reserve.take());
        let accepted = self.listener.accept();
        // accept(2) wants its descriptor before there is anybody to accept: by the time that somebody comes, the
        // need may be over.
        *reserve = File::open("/dev/null").ok();
        match accepted {
            Ok((stream, _)) if reserve.is_some() => return Some(stream),
            Ok((stream, _)) => {
                say!(OutOfDescriptors, reason: &err);
                self.refuse(&stream);
                drop(stream);
                *reserve = File::open("/dev/null").ok();
            }
            // Another thread was faster with the descriptor.
            Err(_) => thread::sleep(durations::ACCEPT_PAUSE),
        }
        None
    }

    fn serve(&self, stream: &UnixStream) {
        let slot = Slot::take(&self.connections);
        let count = slot.number;
        if count > self.context.connections_max {
            self.refuse(stream);
            // Few at a time: who is refused must not take up what the limit is there to keep.
            if count <= self.context.connections_max + LINGERERS_MAX {
                connection::linger(stream);
            }
        } else {
            match sys::peer(stream) {
                Ok(peer) if peer.uid == sys::euid() || peer.uid == 0 => {
                    connection::serve(stream, &Connected(self));
                }
                // The socket's mode keeps others out; whoever comes all the same gets no answer.
                Ok(peer) => say!(PeerRefused, uid: Some(peer.uid), reason: None),
                Err(err) => say!(PeerRefused, uid: None, reason: Some(&err)),
            }
        }
    }

    /// Answers before anything was asked, without ever waiting for the client.
    fn refuse(&self, mut stream: &UnixStream) {
        let error = ApiError::TooManyConnections {
            limit: self.context.connections_max,
        };
        let id = RequestId::next().to_string();
        say!(ConnectionRefused, request: field::Request(&id), route: field::Route("unread"),
            status: error.status(), limit: self.context.connections_max);
        if stream.set_nonblocking(true).is_ok() {
            // An answer of this size fits the empty buffer of a new socket.
            let _ = stream.write_all(&response::refusal(&error, &id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_whose_thread_panics_gives_its_place_back() {
        let connections = AtomicUsize::new(0);
        let panicked = std::panic::catch_unwind(|| {
            let slot = Slot::take(&connections);
            assert_eq!(slot.number, 0, "the first is number 1: this panics");
        });
        assert!(panicked.is_err());
        assert_eq!(connections.load(Ordering::SeqCst), 0);
    }
}
