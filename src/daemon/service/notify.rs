//! Notifies the service manager: ready, number of sessions, stopping, alive (sd_notify(3)).
//!
//! One thread sends changes; another checks the state thread and the writer for the watchdog. Both run only if a
//! manager asked for them. A failed notification is ignored. It knows no session.

use std::env;
use std::fmt;
use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use crate::observe::field::WatchedThread;
use crate::observe::say;
use crate::settings::durations;
use crate::state::{Notice, StateEvent};
use crate::store::WriteQueue;
use crate::sys;

/// Socket of the service manager; without one, notifications are dropped.
pub(in crate::daemon) struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    has_failed: AtomicBool,
}

/// A message to the notify thread.
enum Message {
    Ready,
    Changed(Notice),
    /// Is answered once everything before it has been sent.
    Flush(Sender<()>),
}

/// Sender to the notify thread.
#[derive(Clone)]
pub(in crate::daemon) struct Teller(Sender<Message>);

impl Teller {
    /// Reports that the daemon serves.
    pub(in crate::daemon) fn ready(&self) {
        let _ = self.0.send(Message::Ready);
    }

    /// Reports a change. Does not block; without a manager it does nothing.
    pub(in crate::daemon) fn tell(&self, change: Notice) {
        let _ = self.0.send(Message::Changed(change));
    }

    /// Waits until everything reported before has been sent, but not for ever: the manager may not read. The process must
    /// not end before, since its end also ends the notify thread.
    pub(in crate::daemon) fn flush(&self) {
        let (done, is_done) = bounded(1);
        // Fails at once without a manager: then there is no thread.
        if self.0.send(Message::Flush(done)).is_ok() {
            let _ = is_done.recv_timeout(durations::NOTIFY_FLUSH);
        }
    }
}

impl Notifier {
    /// Connects to the manager named by `NOTIFY_SOCKET`. A failure is logged.
    pub(in crate::daemon) fn from_env() -> Arc<Self> {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let socket = name.and_then(|name| match connect(&name) {
            Ok(socket) => Some(socket),
            Err(err) => {
                say!(NotifyFailed, socket: Some(Path::new(&name).display()), reason: &err);
                None
            }
        });
        Arc::new(Self {
            socket,
            has_failed: AtomicBool::new(false),
        })
    }

    /// Sends `state`: one assignment per line.
    pub(in crate::daemon) fn send(&self, state: fmt::Arguments<'_>) {
        let Some((socket, address)) = &self.socket else {
            return;
        };
        let sent = socket.send_to_addr(state.to_string().as_bytes(), address);
        if let Err(err) = sent
            && !self.has_failed.swap(true, Ordering::Relaxed)
        {
            say!(NotifyFailed, socket: None, reason: &err);
        }
    }

    /// Runs `reload`, and reports its start and end.
    pub(in crate::daemon) fn reloading(&self, reload: impl FnOnce()) {
        let now = sys::monotonic_micros();
        self.send(format_args!("RELOADING=1\nMONOTONIC_USEC={now}"));
        reload();
        self.send(format_args!("READY=1"));
    }

    /// Starts the notify thread, if there is a manager.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub(in crate::daemon) fn start(self: &Arc<Self>) -> io::Result<Teller> {
        let (changes, inbox) = unbounded();
        if self.socket.is_some() {
            // Sent here, not on the thread: a start that fails at once must send its status last.
            self.send(format_args!("STATUS=opening the store"));
            let notifier = Arc::clone(self);
            let run = move || {
                if let Some(live) = notifier.wait_until_ready(&inbox) {
                    notifier.tell_changes(live, &inbox);
                }
            };
            std::thread::Builder::new()
                .name("notify".into())
                .spawn(run)?;
        }
        Ok(Teller(changes))
    }

    /// Extends the start timeout until the daemon serves; returns the number of live sessions, which an upgrade carries
    /// over. `None` if it never serves.
    fn wait_until_ready(&self, inbox: &Receiver<Message>) -> Option<u64> {
        let mut live = 0;
        let begun = Instant::now();
        let extension = durations::START_EXTENSION.as_micros();
        while begun.elapsed() < durations::START_EXTEND_MAX {
            self.send(format_args!("EXTEND_TIMEOUT_USEC={extension}"));
            match inbox.recv_timeout(durations::START_EXTEND_EVERY) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::Ready) => return Some(live),
                Ok(Message::Changed(Notice::Live(now))) => live = now,
                // No stop begins before the daemon serves.
                Ok(Message::Changed(Notice::Stopping { .. }) | Message::Flush(_)) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        matches!(inbox.recv(), Ok(Message::Ready)).then_some(live)
    }

    fn tell_changes(&self, mut live: u64, inbox: &Receiver<Message>) {
        self.send(format_args!("READY=1\nSTATUS={}", Sessions(live)));
        let mut told = Instant::now();
        let mut due = None;
        loop {
            let message = match due {
                Some(at) => inbox.recv_deadline(at),
                None => inbox.recv().map_err(RecvTimeoutError::from),
            };
            match message {
                Ok(Message::Changed(Notice::Live(now))) => {
                    live = now;
                    due.get_or_insert(told + durations::NOTIFY_STATUS);
                }
                Ok(Message::Changed(Notice::Stopping { within })) => {
                    let within = within.as_micros();
                    self.send(format_args!(
                        "STOPPING=1\nEXTEND_TIMEOUT_USEC={within}\nSTATUS=stopping, {}",
                        Sessions(live)
                    ));
                }
                Ok(Message::Flush(done)) => {
                    let _ = done.send(());
                }
                Ok(Message::Ready) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if due.is_some_and(|at| at <= Instant::now()) {
                self.send(format_args!("STATUS={}", Sessions(live)));
                (due, told) = (None, Instant::now());
            }
        }
    }

    /// Sends keep-alive notifications while the state thread and the writer answer, if the manager asked for them
    /// (sd_watchdog_enabled(3)). Ends with those threads, or with `end`. Returns the period that the manager allows.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub(in crate::daemon) fn start_watchdog(
        self: &Arc<Self>,
        state: Sender<StateEvent>,
        writer: WriteQueue,
        end: Receiver<()>,
    ) -> io::Result<Option<Duration>> {
        let period = watchdog_period(|name| env::var(name).ok(), std::process::id());
        let Some(period) = period.filter(|_| self.socket.is_some()) else {
            return Ok(None);
        };
        let notifier = Arc::clone(self);
        let watch = move || {
            let mut is_withheld = false;
            loop {
                let begun = Instant::now();
                let Some(stuck) = find_stuck(&state, &writer, begun + period / 4) else {
                    return;
                };
                match stuck.first() {
                    None => notifier.send(format_args!("WATCHDOG=1")),
                    Some(thread) if !is_withheld => {
                        say!(WatchdogWithheld, thread: *thread);
                    }
                    Some(_) => {}
                }
                is_withheld = !stuck.is_empty();
                match end.recv_deadline(begun + period / 2) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("watchdog".into());
        thread.spawn(watch)?;
        Ok(Some(period))
    }
}

/// The threads that do not answer before `deadline`; `None` if one has ended, as at a stop.
fn find_stuck(
    state: &Sender<StateEvent>,
    writer: &WriteQueue,
    deadline: Instant,
) -> Option<Vec<WatchedThread>> {
    let progress = writer.progress();
    // Buffered: the thread that answers does not wait for this one.
    let ((ask_state, of_state), (ask_writer, of_writer)) = (bounded(1), bounded(1));
    state.send(StateEvent::Ping(ask_state)).ok()?;
    writer.ping(ask_writer);
    let mut stuck = Vec::new();
    for (thread, answer) in [
        (WatchedThread::State, of_state),
        (WatchedThread::Writer, of_writer),
    ] {
        match answer.recv_deadline(deadline) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
            // A long statement such as a vacuum still makes progress, and must not be killed.
            Err(RecvTimeoutError::Timeout)
                if thread == WatchedThread::Writer && writer.progress() != progress => {}
            Err(RecvTimeoutError::Timeout) => stuck.push(thread),
        }
    }
    Some(stuck)
}

fn connect(name: &std::ffi::OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = sys::notify_address(name)?;
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(durations::NOTIFY_SEND))?;
    Ok((socket, address))
}

/// Interval at which the manager expects keep-alives of the process `pid`; `None` if it expects none.
fn watchdog_period(variable: impl Fn(&str) -> Option<String>, pid: u32) -> Option<Duration> {
    if variable("WATCHDOG_PID").is_some_and(|meant| meant.parse() != Ok(pid)) {
        return None;
    }
    let micros = variable("WATCHDOG_USEC")?.parse().ok()?;
    (micros > 0).then(|| Duration::from_micros(micros))
}

/// The number of live sessions, as text.
struct Sessions(u64);

impl fmt::Display for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => write!(f, "1 live session"),
            n => write!(f, "{n} live sessions"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_for_the_process_that_it_names() {
        let period = |usec: Option<&str>, pid: Option<&str>| {
            let variable = |name: &str| match name {
                "WATCHDOG_USEC" => usec.map(str::to_owned),
                "WATCHDOG_PID" => pid.map(str::to_owned),
                _ => None,
            };
            watchdog_period(variable, 42)
        };
        let second = Some(Duration::from_secs(1));
        assert_eq!(period(Some("1000000"), None), second);
        assert_eq!(period(Some("1000000"), Some("42")), second);
        assert_eq!(period(Some("1000000"), Some("43")), None);
        assert_eq!(period(Some("1000000"), Some("")), None);
        assert_eq!(period(Some("0"), None), None);
        assert_eq!(period(Some("soon"), None), None);
        assert_eq!(period(None, Some("42")), None);
    }
}
