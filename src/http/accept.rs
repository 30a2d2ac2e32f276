//! Accepting: a few threads wait in accept(2), and the one that gets a connection serves it to its end. There is
//! no hand-over to another thread; the kernel wakes one waiter a connection.
//!
//! Runs on the connection threads. Knows who may connect and how many at once, and nothing of requests.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::connection::RequestId;
use super::in_flight::InFlight;
use super::{Context, connection, response};
use crate::api::{ApiError, routes};
use crate::observe::{field, say};
use crate::settings::durations;
use crate::sys;

/// Threads that wait for the next connection: one must, more spare the creation of a thread, or make up for it.
const IDLE_MAX: usize = 8;

/// A connection thread's stack: SQLite and JSON need a few tens of kilobytes.
const STACK_BYTES: usize = 512 * 1024;

/// The address space that one more connection leaves to whoever is there.
const ROOM_BYTES: u64 = 8 * 1024 * 1024;

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
    in_flight: InFlight,
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
            in_flight: InFlight::default(),
            reserve: Mutex::new(Some(File::open("/dev/null")?)),
        });
        // All at once: when no thread is to be had any more, these still answer.
        for _ in 0..IDLE_MAX {
            shared.add_thread()?;
        }
        Ok(Self { shared })
    }

    /// Whoever has it can give the server another socket.
    pub fn rebinder(&self) -> Rebinder {
        Rebinder(Arc::clone(&self.shared))
    }

    /// Lets the requests that are being answered come to their end, for `patience` at most. Nobody waits for an
    /// event any more; who connects from now on is told that the daemon is stopping, or finds nobody.
    pub fn finish(&self, patience: Duration) {
        let context = &self.shared.context;
        context.stopping.store(true, Ordering::SeqCst);
        context.followers.wake_all();
        let in_flight = &self.shared.in_flight;
        in_flight.wait_for(patience, || context.awaiting_end.load(Ordering::SeqCst));
    }

    /// As [`Server::finish`], also for the requests that have waited for the end and have been told of it.
    pub fn finish_all(&self, patience: Duration) {
        self.shared.in_flight.wait_for(patience, || 0);
    }
}

/// Gives a running server another socket.
pub struct Rebinder(Arc<Shared>);

impl Rebinder {
    /// Goes on with `listener`. The connections that wait on the socket before it are served, too.
    ///
    /// # Errors
    /// No descriptor is to be had.
    pub fn rebind(&self, listener: &UnixListener) -> io::Result<()> {
        let shared = &self.0;
        let before = sys::replace_listener(&shared.listener, listener)?;
        before.set_nonblocking(true)?;
        while let Ok((stream, _)) = before.accept() {
            let serving = Arc::clone(shared);
            let serve = move || serving.serve(&stream);
            thread::Builder::new()
                .name("connection".into())
                .stack_size(STACK_BYTES)
                .spawn(serve)?;
        }
        Ok(())
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
        sys::check_room(ROOM_BYTES)?;
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
            // The client has gone, a signal came, or the server has another socket now: the next one is waiting.
            Err(err)
                if matches!(
                    err.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::Interrupted
                        | io::ErrorKind::InvalidInput
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
                    connection::serve(stream, &self.context, &self.in_flight);
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
        say!(ConnectionRefused, request: field::Request(&id), route: field::Route(routes::UNREAD),
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
