//! The life of a harness thread once its program runs: pump, wait for the exit, drain, reap.
//!
//! Two things bound it. Output is read only when the writer's queue has room, so that the pipe holds a fast
//! harness back; and after the exit the pipes are let go soon, since a grandchild can keep them open for ever.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::input::Input;
use super::message::{Order, Report, reporting_panics};
use super::source::Source;
use super::start::{Started, family};
use super::tally::{Exited, Tally};
use crate::api::{SessionCost, SessionId, Stream, Timestamp};
use crate::observe::{metrics, say};
use crate::redact::Redactor;
use crate::settings::durations;
use crate::store::{Done, Fact, NewEvent, SessionNum, Share, WriteQueue};
use crate::sys::{self, Interest, Wake};

/// The size of a read, in bytes: what a quiet harness needs, and what a pipe holds (pipe(7)).
const READ_FIRST: usize = 4 * 1024;
const READ_MAX: usize = 64 * 1024;

/// A read of as many bytes is of a flood, which would fill its pipe before the rest is over, and wait.
const MUCH: usize = 16 * 1024;

/// How many bytes of JSON one byte of output can become: `\u0000`.
const ESCAPED_MAX: usize = 6;

/// What a harness thread works with once its program runs.
pub(super) struct Context {
    pub(super) id: SessionId,
    pub(super) num: SessionNum,
    pub(super) queue: WriteQueue,
    pub(super) share: Share,
    pub(super) orders: Receiver<Order>,
    pub(super) wake: Arc<Wake>,
    pub(super) report: Box<dyn Fn(Report) + Send>,
    /// Takes secrets out of the output.
    pub(super) redactor: Arc<Redactor>,
}

/// The thread's life from the start of its program on, if that could be started.
pub(super) fn run(started: io::Result<Started>, on_record: Done, context: &Context) {
    let report = &context.report;
    let (pid, pump) = match started.and_then(|started| Ok((started.pid, Pump::new(started)?))) {
        Ok(spawned) => spawned,
        Err(err) => {
            return report(Report::SpawnFailed {
                reason: sys::explain(&err),
            });
        }
    };
    announce(pid, pump.tally.started_at(), on_record, context);
    reporting_panics(report, || {
        report(match pump.run(context) {
            Ok(cost) => Report::Drained { cost },
            Err(err) => Report::Lost {
                reason: err.to_string(),
            },
        });
    });
    // A disconnected channel means that the daemon is gone: then this process is about to be, too.
    while let Ok(order) = context.orders.recv() {
        if let Order::Reap { sweep: is_swept } = order {
            if is_swept {
                sweep(pid, context);
            }
            break;
        }
    }
    if let Err(err) = sys::reap(pid) {
        say!(ReapFailed, session: context.id, pid, reason: &err);
    }
}

/// Ends what has left the harness's process group, before the session is final: a daemon that dies meanwhile leaves an
/// unfinished session, and the next one goes on here.
fn sweep(pid: i32, context: &Context) {
    let ended = sys::end_families(&[family(context.id, Some(pid))], durations::FAMILY_END);
    if !ended.pids.is_empty() {
        say!(SessionSwept, session: context.id, pid, processes: ended.pids.len());
    }
    if !ended.is_complete {
        let reason = "a process of the session does not end";
        say!(KillFailed, session: Some(context.id), reason: &reason);
    }
    (context.report)(Report::Swept);
}

/// Puts on record that the harness runs, before the first of its output can be.
fn announce(pid: i32, at: Timestamp, started: Done, context: &Context) {
    metrics::LAUNCHES.add(1);
    let fact = Fact::Started {
        num: context.num,
        pid,
        process_mark: sys::process_mark(pid),
        at,
    };
    context.queue.fact(fact, Some(started));
    (context.report)(Report::Started { pid });
}

/// The time after the exit.
struct Drain {
    exited: Exited,
    /// Not later than this, not counting the time in which the store had no room.
    end: Instant,
    quiet_since: Instant,
    /// Nothing came although it was waited for: an empty pipe, and not just a thread that was not run in time.
    is_over: bool,
}

struct Pump {
    pid: i32,
    /// Readable when the harness has exited; gone once that is known.
    exit_watch: Option<OwnedFd>,
    /// The streams that are still open.
    sources: Vec<Source>,
    tally: Tally,
    input: Option<Input>,
    /// What a read goes into.
    buffer: Vec<u8>,
    drain: Option<Drain>,
    /// The last read that gave something.
    read_at: Option<Instant>,
    /// Until when the pipes are left alone.
    rest_until: Option<Instant>,
    /// Since when the writer's queue has no room for this harness.
    held_since: Option<Instant>,
}

/// What poll(2) found.
struct Ready {
    orders: bool,
    exit: bool,
    input: bool,
    sources: Vec<bool>,
}

impl Pump {
    /// # Errors
    /// The harness's exit cannot be watched; it is killed then, since nobody would ever learn of it.
    fn new(started: Started) -> io::Result<Self> {
        let Started {
            pid,
            stdout,
            stderr,
            input,
        } = started;
        let exit_watch = sys::exit_watch(pid).inspect_err(|_| {
            let _ = sys::kill_group(pid, libc::SIGKILL);
            let _ = sys::reap(pid);
        })?;
        Ok(Self {
            pid,
            exit_watch: Some(exit_watch),
            sources: vec![
                Source::new(stdout, Stream::Stdout),
                Source::new(stderr, Stream::Stderr),
            ],
            tally: Tally::new(Timestamp::now()),
            input,
            buffer: vec![0; READ_FIRST],
            drain: None,
            read_at: None,
            rest_until: None,
            held_since: None,
        })
    }

    fn run(mut self, context: &Context) -> io::Result<SessionCost> {
        let exited = loop {
            if let Some(exited) = self.drained() {
                break exited;
            }
            let ready = self.wait(context)?;
            self.expire_held(context);
            if ready.orders {
                self.take_orders(context);
            }
            if ready.input {
                self.write_input(context);
            }
            if ready.exit {
                self.note_exit(context)?;
            }
            if self.drain.as_ref().is_none_or(|drain| !drain.is_over) {
                self.read_sources(&ready.sources, context)?;
            }
        };
        let cost = self.tally.cost(exited);
        self.let_go(context);
        Ok(cost)
    }

    /// The pipes that a grandchild still holds: what is held back of them is not completed any more.
    fn let_go(mut self, context: &Context) {
        for source in &mut self.sources {
            store(source.finish(&context.redactor), context);
        }
    }

    /// What has been held back for as long as it may be.
    fn expire_held(&mut self, context: &Context) {
        for source in &mut self.sources {
            store(source.expire(&context.redactor), context);
        }
    }

    /// The exit, once the pipes are drained.
    fn drained(&self) -> Option<Exited> {
        let drain = self.drain.as_ref();
        drain
            .filter(|drain| drain.is_over || self.sources.is_empty())
            .map(|drain| drain.exited)
    }

    fn wait(&mut self, context: &Context) -> io::Result<Ready> {
        let mut interests = vec![Interest::readable(&*context.wake)];
        let exit_at = self.exit_watch.as_ref().map(|watch| {
            interests.push(Interest::readable(watch));
            interests.len() - 1
        });
        let input_at = self
            .input
            .as_ref()
            .filter(|input| input.is_waiting())
            .map(|input| {
                interests.push(Interest::writable(input.pipe()));
                interests.len() - 1
            });
        let sources_at = interests.len();
        let now = Instant::now();
        self.rest_until.take_if(|until| *until <= now);
        // Held back, the pipes are left alone, too: they fill, and the harness waits in its write.
        if self.held_since.is_none() && self.rest_until.is_none() {
            interests.extend(self.sources.iter().map(Interest::readable));
        }
        let drained_at = self
            .drain
            .as_ref()
            .filter(|_| self.held_since.is_none())
            .map(|drain| drain.end.min(drain.quiet_since + durations::DRAIN_QUIET));
        let held_until = self.sources.iter().filter_map(Source::deadline).min();
        let times = [drained_at, held_until, self.rest_until];
        let deadline = times.into_iter().flatten().min();
        let timed_out = !sys::poll(&mut interests, deadline)?;
        let ready_at = |at: Option<usize>| at.is_some_and(|at| interests[at].is_ready());
        let ready = Ready {
            orders: interests[0].is_ready(),
            exit: ready_at(exit_at),
            input: ready_at(input_at),
            sources: interests[sources_at..]
                .iter()
                .map(Interest::is_ready)
                .collect(),
        };
        if let Some(drain) = &mut self.drain {
            // A grandchild that never stops writing is cut off; what the harness itself wrote came before.
            let is_paid = self.sources.iter().all(|source| source.owed == 0);
            let now = Instant::now();
            let is_late = self.held_since.is_none() && now >= drain.end;
            let is_empty = timed_out && drained_at.is_some_and(|at| now >= at);
            drain.is_over = is_empty || (is_paid && is_late);
        }
        Ok(ready)
    }

    fn take_orders(&mut self, context: &Context) {
        context.wake.clear();
        if let (Some(since), Some(drain)) = (self.held_since.take(), &mut self.drain) {
            // The store's time is not the harness's: what the pipes held at the exit is read in any case.
            drain.end += since.elapsed();
            drain.quiet_since = Instant::now();
        }
        while let Ok(order) = context.orders.try_recv() {
            if let (Order::Input(data), Some(input)) = (order, &mut self.input) {
                input.push(data);
            }
        }
        self.write_input(context);
    }

    fn write_input(&mut self, context: &Context) {
        let Some(input) = &mut self.input else { return };
        let result = input.write();
        if input.is_closing() {
            // A harness that does not want its prompt need not read it.
            if result.is_err() || !input.is_waiting() {
                self.input = None;
            }
        } else if result.is_err() {
            self.input = None;
            (context.report)(Report::InputClosed);
        }
    }

    fn note_exit(&mut self, context: &Context) -> io::Result<()> {
        let (exit, usage) = sys::wait_exit(self.pid)?;
        let (at, now) = (Timestamp::now(), Instant::now());
        self.exit_watch = None;
        self.input = None;
        for source in &mut self.sources {
            source.owed = sys::bytes_waiting(&source.pipe);
        }
        self.drain = Some(Drain {
            exited: Exited { at, usage },
            end: now + durations::DRAIN_MAX,
            quiet_since: now,
            is_over: false,
        });
        let unread = self.sources.iter().map(|source| source.owed).sum();
        (context.report)(Report::Exited { exit, at, unread });
        Ok(())
    }

    fn read_sources(&mut self, ready: &[bool], context: &Context) -> io::Result<()> {
        let mut at = 0;
        for &ready in ready {
            if ready && self.held_since.is_none() && !self.read(at, context)? {
                self.sources.remove(at);
            } else {
                at += 1;
            }
        }
        Ok(())
    }

    /// One read of a source, into the store; `false` when it has ended.
    fn read(&mut self, at: usize, context: &Context) -> io::Result<bool> {
        let most = self.buffer.len() * ESCAPED_MAX;
        let Some(reservation) = context.share.reserve_or_wake(most) else {
            self.held_since = Some(Instant::now());
            return Ok(true);
        };
        let source = &mut self.sources[at];
        let room = self.buffer.len().min(reservation.bytes() / ESCAPED_MAX);
        let n = match source.pipe.read(&mut self.buffer[..room]) {
            Ok(n) => n,
            Err(err)
                if matches!(
                    err.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                return Ok(true);
            }
            Err(err) => return Err(err),
        };
        let redactor = &context.redactor;
        let events = match n {
            0 => source.finish(redactor),
            n => {
                metrics::OUTPUT_BYTES[source.stream as usize].add(n as u64);
                self.tally.add(source.stream, &self.buffer[..n]);
                source.take(&self.buffer[..n], redactor)
            }
        };
        if !events.is_empty() {
            context.queue.output(context.num, events, reservation);
        }
        if let Some(drain) = &mut self.drain {
            drain.quiet_since = Instant::now();
        }
        if n == self.buffer.len() && n < READ_MAX {
            self.buffer.resize(n * 2, 0);
        }
        self.rest_after(n);
        Ok(n > 0)
    }

    /// Leaves the pipes of a busy harness alone for a while, after a read of `n` bytes. Once it has exited, nothing more
    /// comes that it would be worth to wait for.
    fn rest_after(&mut self, n: usize) {
        let now = Instant::now();
        let is_busy = self
            .read_at
            .is_some_and(|at| now < at + durations::HARNESS_BUSY);
        if is_busy && n < MUCH && self.drain.is_none() {
            self.rest_until = Some(now + durations::HARNESS_REST);
        }
        self.read_at = Some(now);
    }
}

/// Hands over what is small and was counted when it was read.
fn store(events: Vec<NewEvent>, context: &Context) {
    if !events.is_empty() {
        let num = context.num;
        context.queue.fact(Fact::Events { num, events }, None);
    }
}
