//! Brings all connections to rest, so that another program can go on with them: between two requests, within the
//! delivery of a request, or within an answer that the client has not taken completely.
//!
//! Connection threads check it where they wait. It knows bytes, and neither requests nor answers.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde::{Deserialize, Serialize};

use super::connection::RequestId;
use super::count::{Count, Counted};
use crate::sys::passed::{Bytes, Passed};
use crate::sys::{self, Wake};

/// State of a connection at rest.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(super) struct Rest {
    /// Bytes of the next request that have been read.
    pub unread: Bytes,
    /// The rest of an answer.
    pub owed: Bytes,
    /// It has had a request.
    pub has_asked: bool,
    /// It is closed once it has the rest of its answer.
    pub closes: bool,
}

/// The client that asked for the upgrade, and gets its answer from the next program.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asker {
    pub stream: Passed,
    pub rest: Rest,
    pub request_id: String,
    /// Minor version of HTTP/1.
    pub minor: u8,
}

/// All connections, for the next program.
#[derive(Debug, Serialize, Deserialize)]
pub struct HttpHandover {
    pub(super) connections: Vec<ConnectionHandover>,
    pub(super) asker: Asker,
    /// Number of the next request: ids do not repeat.
    pub(super) next_request: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ConnectionHandover {
    pub(super) stream: Passed,
    pub(super) rest: Rest,
}

/// The connection threads, and the connections at rest.
#[derive(Debug)]
pub(super) struct Parking {
    /// Readable while connections are brought to rest.
    wake: Wake,
    is_on: AtomicBool,
    /// Threads in accept(2), or about to call it.
    pub(super) accepting: AtomicUsize,
    /// Number of connection threads.
    pub(super) threads: Count,
    lot: Mutex<Vec<(UnixStream, Rest)>>,
    asker: Mutex<Option<Asker>>,
    /// Disconnected while connections are brought to rest.
    parked: Mutex<Option<(Sender<()>, Receiver<()>)>>,
    /// Requests that work on the whole store.
    long: AtomicUsize,
    /// An upgrade is under way.
    is_taken: AtomicBool,
}

/// The turn of one upgrade; dropping it ends the turn.
pub(super) struct UpgradeTurn<'a>(&'a AtomicBool);

impl Drop for UpgradeTurn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Parking {
    /// # Errors
    /// No descriptor is left.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            wake: Wake::new()?,
            is_on: AtomicBool::new(false),
            accepting: AtomicUsize::new(0),
            threads: Count::default(),
            lot: Mutex::default(),
            asker: Mutex::default(),
            parked: Mutex::new(Some(bounded(0))),
            long: AtomicUsize::new(0),
            is_taken: AtomicBool::new(false),
        })
    }

    /// Readable while connections are brought to rest.
    pub(super) fn wake(&self) -> &Wake {
        &self.wake
    }

    /// True while connections are brought to rest.
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::SeqCst)
    }

    /// Counts a request that works on the whole store: it is not interrupted.
    pub(super) fn long_work(&self) -> Counted<'_> {
        Counted::new(&self.long)
    }

    /// True while a request works on the whole store.
    pub(super) fn has_long_work(&self) -> bool {
        self.long.load(Ordering::SeqCst) > 0
    }

    /// The turn for an upgrade; `None` while another is under way.
    pub(super) fn turn(&self) -> Option<UpgradeTurn<'_>> {
        let was_taken = self.is_taken.swap(true, Ordering::SeqCst);
        (!was_taken).then(|| UpgradeTurn(&self.is_taken))
    }

    /// Gets no message, and is disconnected when connections are brought to rest.
    pub(super) fn parked(&self) -> Receiver<()> {
        match &*lock(&self.parked) {
            Some((_, parked)) => parked.clone(),
            None => bounded(0).1,
        }
    }

    /// Sets the client that gets its answer from the next program.
    pub(super) fn set_asker(&self, asker: Asker) {
        *lock(&self.asker) = Some(asker);
    }

    /// Keeps a connection at rest.
    pub(super) fn park(&self, stream: UnixStream, rest: Rest) {
        lock(&self.lot).push((stream, rest));
    }

    /// Brings all connections to rest but the caller's, within `patience`; `socket` is that of this daemon, and
    /// `wake_others` wakes the threads that do not wait for [`Parking::wake`]. True if all other connection threads have
    /// ended. Gives up once `is_stopping`: a request for the stop is answered only at the daemon's end.
    pub(super) fn begin(
        &self,
        socket: &Path,
        patience: Duration,
        wake_others: impl Fn(),
        is_stopping: impl Fn() -> bool,
    ) -> bool {
        let deadline = Instant::now() + patience;
        self.is_on.store(true, Ordering::SeqCst);
        self.wake.wake();
        drop(lock(&self.parked).take());
        wake_others();
        // A thread counts as accepting before it reads the flag: each one that has missed the flag gets a connection.
        for _ in 0..self.accepting.load(Ordering::SeqCst) {
            if sys::connect_within(socket, patience).is_err() {
                return false;
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let is_over = |threads| threads <= 1 || is_stopping();
        self.threads.wait_for(left, is_over) <= 1
    }

    /// Ends the rest; returns the connections that were at rest.
    pub(super) fn end(&self) -> Vec<(UnixStream, Rest)> {
        self.is_on.store(false, Ordering::SeqCst);
        self.wake.clear();
        *lock(&self.parked) = Some(bounded(0));
        *lock(&self.asker) = None;
        std::mem::take(&mut *lock(&self.lot))
    }

    /// The connections at rest, for the next program. This program keeps them until it is replaced.
    pub(super) fn hand_over(&self) -> Option<HttpHandover> {
        let asker = lock(&self.asker).take()?;
        let lot = lock(&self.lot);
        let connections = lot.iter().map(|(stream, rest)| ConnectionHandover {
            stream: Passed::borrowed(stream),
            rest: rest.clone(),
        });
        Some(HttpHandover {
            connections: connections.collect(),
            asker,
            next_request: RequestId::next_number(),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Poisoning is harmless: each value is changed in one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// True if this process itself has connected.
pub(super) fn is_own(stream: &UnixStream) -> bool {
    let own = i32::try_from(std::process::id()).ok();
    sys::peer(stream).is_ok_and(|peer| peer.pid.is_some() && peer.pid == own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_does_not_wait_for_a_request_that_waits_for_the_stop() {
        let parking = Parking::new().unwrap();
        let is_stopping = AtomicBool::new(false);
        // The upgrade's own thread, and that of the request for the stop.
        (0..2).for_each(|_| parking.threads.add());
        std::thread::scope(|scope| {
            let stop = || {
                is_stopping.store(true, Ordering::SeqCst);
                parking.threads.look_again();
            };
            let waking = || drop(scope.spawn(stop));
            let socket = Path::new("/does/not/exist");
            let patience = Duration::from_secs(3600);
            let is_at_rest = parking.begin(socket, patience, waking, || {
                is_stopping.load(Ordering::SeqCst)
            });
            assert!(!is_at_rest);
        });
    }
}
