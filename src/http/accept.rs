//! Accepts connections: a few threads wait in accept(2), and each serves the connection that it accepts. There is no
//! hand-over between threads; the kernel wakes one waiter for each connection.
//!
//! Runs on the connection threads. It knows who may connect and how many, and nothing of requests.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Select, Sender, TryRecvError, bounded};

use super::budget::MemoryBudget;
use super::connection::RequestId;
use super::count::{Count, Counted};
use super::parking::{self, Asker, ConnectionHandover, HttpHandover, Parking, Rest};
use super::response::{self, Answer, HeadOptions};
use super::{Context, connection};
use crate::api::{ApiError, UpgradeRefusal, Upgraded, routes};
use crate::observe::{field, say};
use crate::settings::durations;
use crate::state::StateEvent;
use crate::sys;
use crate::sys::passed::{Bytes, Passed};

/// Most threads that wait in accept(2): one suffices, others save or replace the creation of a thread.
const IDLE_MAX: usize = 8;

/// Stack of a connection thread, in bytes: SQLite and JSON need a few tens of kilobytes.
const STACK_BYTES: usize = 512 * 1024;

/// Address space that a new connection must leave for the others, in bytes.
const ROOM_BYTES: u64 = 8 * 1024 * 1024;

/// Most clients beyond the limit that get time to read their refusal: closing a socket with unread data would reset the
/// connection.
const LINGERERS_MAX: usize = 16;

#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    listener: UnixListener,
    context: Context,
    connections: AtomicUsize,
    in_flight: Count,
    parking: Parking,
    /// A spare descriptor: closed when none is left, so that a client can be told so.
    reserve: Mutex<Option<File>>,
    /// Lets the first threads accept.
    opening: Sender<()>,
}

impl Server {
    /// Starts the threads, which accept from [`Server::open`] on.
    ///
    /// # Errors
    /// No thread or descriptor can be created.
    pub fn prepare(listener: UnixListener, context: Context) -> io::Result<Self> {
        let (opening, gate) = bounded(IDLE_MAX);
        let shared = Arc::new(Shared {
            listener,
            context,
            connections: AtomicUsize::new(0),
            in_flight: Count::default(),
            parking: Parking::new()?,
            opening,
            reserve: Mutex::new(Some(File::open("/dev/null")?)),
        });
        // All at once: they still answer when no more threads can be created.
        for _ in 0..IDLE_MAX {
            shared.add_thread(Some(gate.clone()))?;
        }
        Ok(Self { shared })
    }

    /// Starts accepting, after the connections of the previous program go on: the one that asked for the upgrade gets
    /// its `answer`.
    pub fn open(&self, clients: Option<(HttpHandover, Result<Upgraded, ApiError>)>) {
        if let Some((clients, answer)) = clients {
            self.take_up(clients, answer);
        }
        for _ in 0..IDLE_MAX {
            // A thread waits for each of them.
            let _ = self.shared.opening.send(());
        }
    }

    fn take_up(&self, clients: HttpHandover, answer: Result<Upgraded, ApiError>) {
        let HttpHandover {
            connections,
            asker,
            next_request,
        } = clients;
        RequestId::go_on_from(next_request);
        let Asker {
            stream,
            mut rest,
            request_id,
            minor,
        } = asker;
        let options = HeadOptions {
            request_id: &request_id,
            minor,
            close: rest.closes,
        };
        rest.owed = Bytes(connection::upgrade_answer(answer, &options));
        self.shared.resume(stream.take().into(), rest);
        for ConnectionHandover { stream, rest } in connections {
            self.shared.resume(stream.take().into(), rest);
        }
    }

    pub(super) fn parking(&self) -> &Parking {
        &self.shared.parking
    }

    /// The listening socket, for the next program.
    pub fn listener(&self) -> Passed {
        Passed::borrowed(&self.shared.listener)
    }

    /// Brings all connections to rest but the caller's.
    ///
    /// # Errors
    /// The upgrade is refused: a request takes too long, or waits for the daemon's end.
    pub(super) fn come_to_rest(&self) -> Result<(), ApiError> {
        let context = &self.shared.context;
        // Waits for events look whether connections are brought to rest: that must be true before they are woken.
        let waking = || context.followers.wake_all();
        let socket = &context.daemon.own_socket;
        let is_stopping = || context.awaiting_end.load(Ordering::SeqCst) > 0;
        let parking = self.parking();
        if parking.begin(socket, durations::PARK, waking, is_stopping) {
            return Ok(());
        }
        Err(match is_stopping() {
            true => ApiError::refused_by_stop(),
            false => ApiError::refused(UpgradeRefusal::Busy, "a request takes too long"),
        })
    }

    /// Goes on with all connections that were brought to rest.
    pub(super) fn go_on(&self) {
        for (stream, rest) in self.parking().end() {
            self.shared.resume(stream, rest);
        }
        for _ in 0..IDLE_MAX {
            if let Err(err) = self.shared.add_thread(None) {
                say!(ThreadFailed, reason: &err);
            }
        }
    }

    /// The next message of `inbox`; `Timeout` after `patience`, or when connections are brought to rest.
    pub(super) fn recv_unless_parked<T>(
        &self,
        inbox: &Receiver<T>,
        patience: Duration,
    ) -> Result<T, RecvTimeoutError> {
        let parked = self.parking().parked();
        let mut select = Select::new();
        select.recv(inbox);
        select.recv(&parked);
        let _ = select.ready_timeout(patience);
        inbox.try_recv().map_err(|err| match err {
            TryRecvError::Empty => RecvTimeoutError::Timeout,
            TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
        })
    }

    /// The connections at rest, for the next program; `None` if no client has asked for an upgrade.
    pub fn hand_over(&self) -> Option<HttpHandover> {
        self.parking().hand_over()
    }

    pub fn rebinder(&self) -> Rebinder {
        Rebinder(Arc::clone(&self.shared))
    }

    /// Waits for the running requests, for at most `patience`. Long polls end, and new clients are told that the daemon
    /// stops, or find no listener.
    pub fn finish(&self, patience: Duration) {
        let context = &self.shared.context;
        context.stopping.store(true, Ordering::SeqCst);
        context.followers.wake_all();
        let is_last = |requests| requests <= context.awaiting_end.load(Ordering::SeqCst);
        self.shared.in_flight.wait_for(patience, is_last);
    }

    /// As [`Server::finish`], including the requests that waited for the stop.
    pub fn finish_all(&self, patience: Duration) {
        let is_last = |requests| requests == 0;
        self.shared.in_flight.wait_for(patience, is_last);
    }
}

/// Handle that replaces the socket of a running server.
pub struct Rebinder(Arc<Shared>);

impl Rebinder {
    /// Continues with `listener`. Connections queued on the old socket are served, too.
    ///
    /// # Errors
    /// No descriptor can be created.
    pub fn rebind(&self, listener: &UnixListener) -> io::Result<()> {
        let shared = &self.0;
        let before = sys::replace_listener(&shared.listener, listener)?;
        before.set_nonblocking(true)?;
        while let Ok((stream, _)) = before.accept() {
            shared.spawn(stream, Rest::default())?;
        }
        Ok(())
    }
}

/// A counted connection thread.
struct ConnectionThread(Arc<Shared>);

impl ConnectionThread {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.parking.threads.add();
        Self(Arc::clone(shared))
    }
}

impl Drop for ConnectionThread {
    fn drop(&mut self) {
        self.0.parking.threads.remove();
    }
}

impl Shared {
    /// Starts a thread that accepts, once it has a message from `gate`.
    fn add_thread(self: &Arc<Self>, gate: Option<Receiver<()>>) -> io::Result<()> {
        sys::check_room(ROOM_BYTES)?;
        let thread = ConnectionThread::new(self);
        self.parking.accepting.fetch_add(1, Ordering::SeqCst);
        let spawned = thread::Builder::new()
            .name("connection".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                // Health requests must be answered while a flood uses the processors.
                sys::prefer_latency();
                if gate.is_none_or(|gate| gate.recv().is_ok()) {
                    thread.0.accept_and_serve();
                }
            });
        if let Err(err) = spawned {
            self.parking.accepting.fetch_sub(1, Ordering::SeqCst);
            return Err(err);
        }
        Ok(())
    }

    fn accept_and_serve(self: &Arc<Self>) {
        let accepting = &self.parking.accepting;
        loop {
            if self.parking.is_on() {
                accepting.fetch_sub(1, Ordering::SeqCst);
                return;
            }
            let Some(stream) = self.accept() else {
                continue;
            };
            if self.parking.is_on() {
                if !parking::is_own(&stream) {
                    self.parking.park(stream, Rest::default());
                }
                continue;
            }
            let last_idle = accepting.fetch_sub(1, Ordering::SeqCst) == 1;
            if last_idle && let Err(err) = self.add_thread(None) {
                // One thread must go on accepting, and no other could be created.
                accepting.fetch_add(1, Ordering::SeqCst);
                say!(ThreadFailed, reason: &err);
                self.refuse(&stream);
                continue;
            }
            self.serve(stream, Rest::default());
            // One thread too many does no harm; one must remain.
            if accepting.fetch_add(1, Ordering::SeqCst) >= IDLE_MAX {
                accepting.fetch_sub(1, Ordering::SeqCst);
                return;
            }
        }
    }

    /// Goes on with a connection that was at rest. One that gets no thread is closed.
    fn resume(self: &Arc<Self>, stream: UnixStream, rest: Rest) {
        if let Err(err) = self.spawn(stream, rest) {
            say!(ThreadFailed, reason: &err);
        }
    }

    /// Serves `stream` on a new thread.
    fn spawn(self: &Arc<Self>, stream: UnixStream, rest: Rest) -> io::Result<()> {
        let thread = ConnectionThread::new(self);
        thread::Builder::new()
            .name("connection".into())
            .stack_size(STACK_BYTES)
            .spawn(move || thread.0.serve(stream, rest))
            .map(drop)
    }

    fn accept(&self) -> Option<UnixStream> {
        match self.listener.accept() {
            Ok((stream, _)) if sys::is_scarce(&stream, sys::Use::Client) => {
                self.refuse(&stream);
                None
            }
            Ok((stream, _)) => Some(stream),
            Err(err) if sys::is_out_of_descriptors(&err) => self.accept_with_reserve(&err),
            // The client has gone, a signal arrived, or the socket was replaced: accept again.
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

    /// No descriptor is left: closes the spare one to accept a client and refuse it.
    fn accept_with_reserve(&self, err: &io::Error) -> Option<UnixStream> {
        let mut reserve = self.reserve.lock().unwrap_or_else(PoisonError::into_inner);
        drop(reserve.take());
        let accepted = self.listener.accept();
        // accept(2) needs a descriptor before a client exists: by the time one arrives, the shortage may be over.
        *reserve = File::open("/dev/null").ok();
        match accepted {
            Ok((stream, _)) if reserve.is_some() => return Some(stream),
            Ok((stream, _)) => {
                say!(OutOfDescriptors, reason: err);
                self.refuse(&stream);
                drop(stream);
                *reserve = File::open("/dev/null").ok();
            }
            // Another thread took the descriptor first.
            Err(_) => thread::sleep(durations::ACCEPT_PAUSE),
        }
        None
    }

    fn serve(self: &Arc<Self>, stream: UnixStream, rest: Rest) {
        let place = Counted::new(&self.connections);
        let rest = self.serve_as(place.number, &stream, rest);
        drop(place);
        // Closed after the count: a client that sees the close can connect at once.
        if let Some(rest) = rest {
            self.parking.park(stream, rest);
        }
        let budgets = [&self.context.answers, &self.context.bodies];
        // Each is asked: asking ends the use.
        if budgets.map(MemoryBudget::take_use).contains(&true) {
            let _ = self.context.state.send(StateEvent::MemoryFree);
        }
    }

    /// Serves the connection as one of `number`; returns its state if it is brought to rest.
    fn serve_as(self: &Arc<Self>, number: usize, stream: &UnixStream, rest: Rest) -> Option<Rest> {
        if number > self.context.connections_max {
            self.refuse(stream);
            // Only a few at a time: refused clients must not use what the limit protects.
            if number <= self.context.connections_max + LINGERERS_MAX {
                connection::linger(stream);
            }
        } else {
            match sys::peer(stream) {
                Ok(peer) if peer.uid == sys::euid() || peer.uid == 0 => {
                    let server = Server {
                        shared: Arc::clone(self),
                    };
                    return connection::serve(
                        stream,
                        rest,
                        &server,
                        &self.context,
                        &self.in_flight,
                    );
                }
                // The socket's mode excludes other users; one that connects nevertheless gets no answer.
                Ok(peer) => say!(PeerRefused, uid: Some(peer.uid), reason: None),
                Err(err) => say!(PeerRefused, uid: None, reason: Some(&err)),
            }
        }
        None
    }

    /// Answers before a request has arrived, without waiting for the client.
    fn refuse(&self, mut stream: &UnixStream) {
        let error = ApiError::TooManyConnections {
            limit: self.context.connections_max,
        };
        let id = RequestId::next().to_string();
        say!(ConnectionRefused, request: field::Request(&id), route: field::Route(routes::UNREAD),
            status: error.status(), limit: self.context.connections_max);
        if stream.set_nonblocking(true).is_ok() {
            // This answer fits into the empty buffer of a new socket.
            let refusal = response::whole(&Answer::error(&error), &HeadOptions::unread(&id));
            let _ = stream.write_all(&refusal);
        }
    }
}
