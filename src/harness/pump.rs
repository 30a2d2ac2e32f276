//! Pumps a harness's pipes from its start: while it runs, during the drain after its exit, and as long as a process
//! that it left behind holds one.
//!
//! Runs on the harness thread. Output is read only when the writer's queue has room, so that the pipe blocks a fast
//! harness.

mod handover;
mod read;

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::context::ThreadState;
use super::drain::Drain;
use super::gate::Waiter;
use super::input::{InputEnd, InputRecord, StdinPipe};
use super::limits::LimitWatch;
use super::message::{ClientInput, Drained, HarnessExit, Order, Report};
use super::pipes::CountedPipes;
use super::source::Source;
use super::start::{Ends, family};
use super::tally::Exited;
use super::telemetry::TelemetryReader;
use crate::api::Timestamp;
use crate::observe::field::CloseCause;
use crate::redact::Redactor;
use crate::store::{Fact, NewEvent, SessionNum};
use crate::sys::{self, Exit, Interest, OomWatch, Process};

pub use handover::PumpHandover;
use read::READ_FIRST;

/// Phase of the pump.
#[derive(Debug, Serialize, Deserialize)]
enum Stage {
    Running,
    /// The harness has exited.
    Draining(Drain),
    /// The session has ended. With a reason, the pipes are closed once their content is read.
    Late(Option<CloseCause>),
}

pub(super) struct Pump {
    pid: i32,
    /// Readable when the harness has exited; `None` once that is known.
    exit_watch: Option<OwnedFd>,
    /// The open streams.
    sources: Vec<Source>,
    /// Counts its pipes.
    _place: CountedPipes,
    /// Reads the harness's telemetry, if it has any.
    telemetry: Option<TelemetryReader>,
    limits: LimitWatch,
    input: Option<StdinPipe>,
    /// `None` once no client can send input any more.
    record: Option<InputRecord>,
    /// Buffer of a read.
    buffer: Vec<u8>,
    stage: Stage,
    /// The session's end was requested: the drain waits for no holder.
    is_ending: bool,
    /// The pump goes on elsewhere; its thread ends behind this gate.
    end: Option<Waiter>,
    oom: Option<OomWatch>,
    /// Time of the last read with data.
    read_at: Option<Instant>,
    /// Time until which the pipes are not polled.
    rest_until: Option<Instant>,
    /// Time since which the writer's queue has no room for this harness.
    held_since: Option<Instant>,
}

/// Result of poll(2).
struct Ready {
    orders: bool,
    exit: bool,
    input: bool,
    sources: Vec<bool>,
}

impl Pump {
    /// # Errors
    /// The harness's exit cannot be watched; it is killed then, since its exit would never be noticed.
    pub(super) fn new(pid: i32, ends: Ends, redactor: &Redactor) -> io::Result<Self> {
        let exit_watch = sys::exit_watch(pid).inspect_err(|_| {
            let _ = sys::kill_group(pid, libc::SIGKILL);
            let _ = sys::reap(pid);
        })?;
        let input = ends.input;
        let open = input.as_ref().filter(|input| input.end() == InputEnd::Open);
        Ok(Self {
            pid,
            exit_watch: Some(exit_watch),
            sources: vec![ends.stdout, ends.stderr],
            _place: ends.place,
            telemetry: ends.telemetry,
            limits: LimitWatch::new(ends.limits),
            record: open.map(|input| InputRecord::behind(input.prompt(), redactor)),
            input,
            buffer: vec![0; READ_FIRST],
            stage: Stage::Running,
            is_ending: false,
            end: None,
            read_at: None,
            oom: ends.oom,
            rest_until: None,
            held_since: None,
        })
    }

    /// Processes that the harness has left behind.
    fn left_behind(&self, context: &ThreadState) -> Vec<Process> {
        match self.is_ending {
            true => Vec::new(),
            false => sys::left_behind(&family(context.id, Some(self.pid))),
        }
    }

    /// The gate behind which the thread ends, if the pump goes on elsewhere.
    pub(super) fn take_end(&mut self) -> Option<Waiter> {
        self.end.take()
    }

    /// Capacity of stdout's pipe, in bytes; `None` if unknown.
    pub(super) fn stdout_pipe_bytes(&self) -> Option<u64> {
        let size = sys::pipe_size(&self.sources.first()?.pipe).ok()?;
        Some(size as u64)
    }

    /// The session's start is being recorded: from here on its large pipes can be taken back.
    pub(super) fn start(&self, num: SessionNum) {
        self.sources.iter().for_each(|source| source.start(num));
    }

    /// True if the session has ended.
    pub(super) fn is_late(&self) -> bool {
        matches!(self.stage, Stage::Late(_))
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Pumps until the harness has exited and its pipes are drained; `None` if it is ordered to hand over before.
    pub(super) fn run(&mut self, context: &ThreadState) -> io::Result<Option<Drained>> {
        let exited = loop {
            if let Some(exited) = self.drained() {
                break exited;
            }
            if self.end.is_some() {
                return Ok(None);
            }
            self.go_on(context)?;
        };
        // Until it knows of the exit the state thread can pass input, which must precede the closing facts.
        while self.record.is_some()
            && let Ok(order) = context.orders.recv()
        {
            self.take(order, context);
        }
        let cost = context.tally.cost(exited);
        let is_late = match &self.stage {
            Stage::Draining(drain) if drain.is_held() && !self.sources.is_empty() => {
                self.become_late(drain.is_quiet(), context);
                true
            }
            _ => {
                self.close_sources(None, context);
                false
            }
        };
        let usage = self
            .telemetry
            .as_mut()
            .and_then(TelemetryReader::usage)
            .map(Box::new);
        Ok(Some(Drained {
            cost,
            usage,
            is_late,
            left: self.left_behind(context),
        }))
    }

    /// Pumps after the session's end, until no process holds the pipes or they are to be closed; false if it is ordered
    /// to hand over before.
    pub(super) fn run_late(&mut self, context: &ThreadState) -> io::Result<bool> {
        while !self.is_closed() {
            if self.end.is_some() {
                return Ok(false);
            }
            self.go_on(context)?;
        }
        if let Stage::Late(Some(why)) = self.stage {
            self.close_sources(Some(why), context);
        }
        Ok(true)
    }

    /// Waits once, and processes the result.
    fn go_on(&mut self, context: &ThreadState) -> io::Result<()> {
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
        if self.drained().is_none() {
            self.read_sources(&ready.sources, context)?;
        }
        self.check_limits(context);
        Ok(())
    }

    /// Reports once that the running harness has reached a limit.
    fn check_limits(&mut self, context: &ThreadState) {
        let tokens = self.telemetry.as_ref().map(TelemetryReader::limited_tokens);
        let is_running = matches!(self.stage, Stage::Running);
        let is_held = self.held_since.is_some();
        if let Some(cause) = self.limits.reached(is_running, is_held, tokens) {
            (context.report)(Report::LimitReached(cause));
        }
    }

    /// Time at which it exceeds its idle limit.
    fn idle_until(&self) -> Option<Instant> {
        let is_waiting = matches!(self.stage, Stage::Running) && self.held_since.is_none();
        self.limits.idle_until().filter(|_| is_waiting)
    }

    /// Marks all further output as late, possibly for days: frees memory that a flood needed.
    fn become_late(&mut self, is_quiet: bool, context: &ThreadState) {
        self.stage = Stage::Late(None);
        self.buffer = vec![0; READ_FIRST];
        for source in &mut self.sources {
            store(source.become_late(is_quiet), context);
        }
    }

    /// Closes the open pipes; late ones with the reason `why`.
    fn close_sources(&mut self, why: Option<CloseCause>, context: &ThreadState) {
        for source in self.sources.drain(..) {
            store(source.close(why, &context.shared.redactor), context);
        }
    }

    /// Reads and closes the pipes whose holders have been ended with the session.
    pub(super) fn finish(&mut self, context: &ThreadState) -> io::Result<()> {
        for source in &mut self.sources {
            source.origin.is_late = false;
        }
        self.measure_rest();
        while !self.has_read_rest() && !self.sources.is_empty() {
            self.go_on(context)?;
        }
        self.close_sources(None, context);
        Ok(())
    }

    /// Flushes bytes whose redaction hold has expired.
    fn expire_held(&mut self, context: &ThreadState) {
        for source in &mut self.sources {
            store(source.expire(&context.shared.redactor), context);
        }
        if let Some(record) = &mut self.record {
            store(record.expire(&context.shared.redactor), context);
        }
    }

    /// The exit, once the pipes are drained.
    fn drained(&self) -> Option<Exited> {
        match &self.stage {
            Stage::Draining(drain) if drain.is_over() || self.sources.is_empty() => {
                Some(drain.exited)
            }
            _ => None,
        }
    }

    /// True if no late pipe is to be read any more.
    fn is_closed(&self) -> bool {
        let is_closing = matches!(self.stage, Stage::Late(Some(_)));
        self.sources.is_empty() || is_closing && self.has_read_rest()
    }

    /// True if the content measured by the last [`Pump::measure_rest`] has been read.
    fn has_read_rest(&self) -> bool {
        self.sources.iter().all(|source| source.unread_at_exit == 0)
    }

    /// Measures the content of the pipes; returns the sum, in bytes.
    fn measure_rest(&mut self) -> usize {
        for source in &mut self.sources {
            source.unread_at_exit = sys::bytes_waiting(&source.pipe);
        }
        self.sources
            .iter()
            .map(|source| source.unread_at_exit)
            .sum()
    }

    fn wait(&mut self, context: &ThreadState) -> io::Result<Ready> {
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
        // Without room in the queue the pipes are not polled: they fill, and the harness blocks in its write.
        if self.held_since.is_none() && self.rest_until.is_none() {
            interests.extend(self.sources.iter().map(Interest::readable));
        }
        let drained_at = match &self.stage {
            Stage::Draining(drain) if self.held_since.is_none() => Some(drain.deadline()),
            _ => None,
        };
        let is_awaited = interests.len() > sources_at;
        let held_until = self.sources.iter().filter_map(Source::deadline).min();
        let input_until = self.record.as_ref().and_then(InputRecord::deadline);
        let times = [
            drained_at,
            held_until,
            input_until,
            self.rest_until,
            self.idle_until(),
        ];
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
        let has_read_rest = self.has_read_rest();
        if let Stage::Draining(drain) = &mut self.stage
            && self.held_since.is_none()
        {
            let sources = &self.sources;
            let is_held = || sys::is_held(&family(context.id, Some(self.pid)), sources);
            let is_idle = timed_out && is_awaited;
            drain.check(Instant::now(), is_idle, has_read_rest, is_held);
        }
        Ok(ready)
    }

    fn take_orders(&mut self, context: &ThreadState) {
        context.wake.clear();
        self.end_hold();
        while let Ok(order) = context.orders.try_recv() {
            self.take(order, context);
        }
        self.write_input(context);
    }

    /// There may be room in the writer's queue again.
    fn end_hold(&mut self) {
        let held_since = self.held_since.take();
        if held_since.is_some() {
            self.limits.was_active(Instant::now());
        }
        if let (Some(since), Stage::Draining(drain)) = (held_since, &mut self.stage) {
            drain.was_held(since.elapsed(), Instant::now());
        }
    }

    pub(super) fn take(&mut self, order: Order, context: &ThreadState) {
        match (order, &mut self.stage) {
            (Order::Input(input), _) => self.take_input(input, context),
            (Order::InputOver | Order::Reap { .. }, _) => self.end_record(context),
            (Order::End, stage) => {
                self.is_ending = true;
                if let Stage::Draining(drain) = stage {
                    drain.hurry();
                }
            }
            (Order::HandOver(end), _) => self.end = Some(end),
            (Order::Close(why), Stage::Late(closing)) => {
                *closing = Some(why);
                self.measure_rest();
            }
            // Only late pipes are closed.
            (Order::Close(_), _) => {}
        }
    }

    /// Recorded first, so that no answer of the harness can precede it.
    fn take_input(&mut self, taken: ClientInput, context: &ThreadState) {
        // Taken out while it may panic: the code that ends it would otherwise panic again.
        if let Some(mut record) = self.record.take() {
            store(record.take(&taken, &context.shared.redactor), context);
            self.record = Some(record);
        }
        if let Some(input) = &mut self.input {
            input.push(taken.data, taken.eof);
        }
    }

    /// Ends the record of the input.
    fn end_record(&mut self, context: &ThreadState) {
        if let Some(record) = self.record.take() {
            store(record.finish(&context.shared.redactor), context);
        }
    }

    fn write_input(&mut self, context: &ThreadState) {
        let Some(input) = &mut self.input else { return };
        let is_written = input.write().map(|()| !input.is_waiting());
        match (is_written, input.end()) {
            (Ok(true), InputEnd::AfterPrompt | InputEnd::AfterInput)
            | (Err(_), InputEnd::AfterPrompt) => {
                self.input = None;
            }
            (Ok(_), _) => {}
            (Err(_), InputEnd::Open | InputEnd::AfterInput) => {
                self.input = None;
                (context.report)(Report::InputClosed);
            }
        }
    }

    fn note_exit(&mut self, context: &ThreadState) -> io::Result<()> {
        let (exit, usage) = sys::wait_exit(self.pid)?;
        let (at, now) = (Timestamp::now(), Instant::now());
        self.exit_watch = None;
        self.input = None;
        let unread = self.measure_rest();
        let exited = Exited { at, usage };
        let mut drain = Drain::new(exited, now, context.shared.drain_max);
        if self.is_ending {
            drain.hurry();
        }
        self.stage = Stage::Draining(drain);
        // A shell returns this code for a killed command.
        let is_killed = matches!(exit, Exit::Signal(libc::SIGKILL) | Exit::Code(137));
        let oom = self.oom.as_mut().filter(|_| is_killed && !self.is_ending);
        let exited = HarnessExit {
            exit,
            at,
            unread,
            oom_killed: oom.is_some_and(|oom| oom.has_killed(self.pid)),
        };
        (context.report)(Report::Exited(exited));
        Ok(())
    }
}

/// Sends small events that were counted when they were read.
fn store(events: Vec<NewEvent>, context: &ThreadState) {
    if !events.is_empty() {
        let num = context.num;
        context
            .shared
            .queue
            .fact(Fact::Events { num, events }, None);
    }
}
