//! One thread per harness: spawns the process, pumps its output into the store, writes its input, sees its exit, and
//! reaps it when ordered to.
//!
//! While it pumps, the thread blocks only in poll(2). It decides nothing about a session: it reports to the state
//! thread, which alone sends signals to end a session. It knows neither HTTP nor other sessions.

mod context;
mod decode;
mod drain;
mod gate;
mod hello;
mod input;
mod life;
mod limits;
mod lines;
mod message;
mod pipes;
mod pump;
mod redacted;
mod source;
mod start;
mod tally;
mod telemetry;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

pub use gate::{Gate, Waiter};
pub use hello::{run as run_hello, script as hello_script};
pub use input::WaitingInput;
pub(crate) use message::Order;
pub use message::{ClientInput, Drained, HarnessExit, Report};
pub use pipes::Pipes;
pub use pump::PumpHandover;
pub use start::family;
pub use tally::Tally;

use context::ThreadState;
use message::reporting_panics;
use pump::Pump;
use start::Prepared;

use crate::adapters::Program;
use crate::api::{Failure, SessionId};
use crate::observe::field::CloseCause;
use crate::redact::Redactor;
use crate::store::{Done, SessionNum, WriteQueue};
use crate::sys::{self, Wake};

/// Stack of a harness thread, in bytes. Its buffers are on the heap; the pump needs a few kilobytes.
const STACK_BYTES: usize = 256 * 1024;

/// Address space that a launch must leave: for its own stack and buffers, and for running sessions and clients. In
/// bytes.
const ROOM_BYTES: u64 = 16 * 1024 * 1024;

/// The state thread's handle of a harness thread. No call blocks.
#[derive(Debug)]
pub struct Harness {
    orders: Sender<Order>,
    wake: Arc<Wake>,
    backlog: WaitingInput,
    tally: Arc<Tally>,
}

/// Signals a harness thread that the session's row is on disk, under this number; the thread then spawns the program.
/// Dropping it ends the thread.
pub type Go = Sender<SessionNum>;

/// State shared by all harness threads.
#[derive(Clone)]
pub struct HarnessShared {
    /// Destination of the output.
    pub queue: WriteQueue,
    pub pipes: Arc<Pipes>,
    /// Redacts output and input.
    pub redactor: Arc<Redactor>,
    /// Longest drain while a process of the session holds a stream.
    pub drain_max: Duration,
}

impl Harness {
    /// Starts the thread that prepares the spawn of `program` as session `id`, and spawns it on [`Go`]. It calls
    /// `report` for each report, and `started` once the start is on disk.
    ///
    /// # Errors
    /// No descriptor, thread or memory is available.
    pub fn prepare(
        id: SessionId,
        program: Program,
        shared: HarnessShared,
        report: impl Fn(Report) + Clone + Send + 'static,
        started: Done,
    ) -> io::Result<(Self, Go)> {
        // Most failed allocations abort the daemon: a launch that comes close to that is refused.
        sys::check_room(ROOM_BYTES)?;
        let (go, start) = bounded(1);
        let (harness, inbox) = Self::new(Arc::default())?;
        let (wake, tally) = (Arc::clone(&harness.wake), harness.tally());
        let backlog = harness.backlog.clone();
        std::thread::Builder::new()
            .name("harness".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let lost = report.clone();
                reporting_panics(&lost, || {
                    let prepared = Prepared::new(program, id, &backlog, &shared);
                    let Ok(num) = start.recv() else { return };
                    let context = ThreadState {
                        id,
                        num,
                        share: shared.queue.share(Arc::clone(&wake)),
                        shared,
                        orders: inbox,
                        wake,
                        report: Box::new(report),
                        tally,
                    };
                    life::run(prepared.and_then(Prepared::spawn), started, &context);
                });
            })?;
        Ok((harness, go))
    }

    /// A handle without a thread, and the channel of its orders.
    ///
    /// # Errors
    /// No descriptor is available.
    pub(crate) fn new(tally: Arc<Tally>) -> io::Result<(Self, Receiver<Order>)> {
        let (orders, inbox) = unbounded();
        let harness = Self {
            orders,
            wake: Arc::new(Wake::new()?),
            backlog: WaitingInput::default(),
            tally,
        };
        Ok((harness, inbox))
    }

    /// Starts the thread that goes on with `handover` as session `id` behind the gate `begin`. If the gate is dropped, the
    /// thread ends, and leaves the descriptors as they are.
    ///
    /// # Errors
    /// No descriptor or thread is available.
    pub fn take_up(
        id: SessionId,
        mut handover: PumpHandover,
        shared: HarnessShared,
        report: impl Fn(Report) + Send + 'static,
        begin: Waiter,
    ) -> io::Result<Self> {
        let (harness, inbox) = Self::new(Arc::new(std::mem::take(&mut handover.tally)))?;
        let (wake, tally) = (Arc::clone(&harness.wake), harness.tally());
        let backlog = harness.backlog.clone();
        let kept = handover.keep_child();
        let go_on = move || {
            let passage = begin.wait();
            if !passage.is_open {
                return;
            }
            let context = ThreadState {
                id,
                num: handover.num,
                share: shared.queue.share(Arc::clone(&wake)),
                shared,
                orders: inbox,
                wake,
                report: Box::new(report),
                tally,
            };
            let pump = Pump::take_up(handover, &backlog, &context.shared);
            drop(passage);
            match pump {
                Ok(pump) => life::follow(pump, &context),
                Err(err) => (context.report)(Report::Lost {
                    reason: Failure::explained(&err),
                }),
            }
            drop(kept);
        };
        std::thread::Builder::new()
            .name("harness".into())
            .stack_size(STACK_BYTES)
            .spawn(go_on)?;
        Ok(harness)
    }

    /// The counters of its output.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Reserves room for `bytes` of input.
    ///
    /// # Errors
    /// The limit in bytes, if it would be exceeded.
    pub fn reserve_input(&self, bytes: usize) -> Result<(), usize> {
        self.backlog.add(bytes)
    }

    /// Passes a client's input, for which room is reserved.
    pub fn input(&self, input: ClientInput) {
        self.order(Order::Input(input));
    }

    /// Announces that no input follows: the thread reports its drain only after this.
    pub fn end_input(&self) {
        self.order(Order::InputOver);
    }

    /// Tells the thread to wait for no holder of the streams after the exit: they are about to be ended.
    pub fn hurry(&self) {
        self.order(Order::End);
    }

    /// Makes the thread report [`Report::HandedOver`], and end behind the gate. What it has reported before is completed
    /// first.
    pub fn hand_over(&self, end: Waiter) {
        self.order(Order::HandOver(end));
    }

    /// Makes the thread close the late streams and end.
    pub fn close(&self, why: CloseCause) {
        self.order(Order::Close(why));
    }

    /// Makes the thread reap the zombie and end, once all output is read or the pump has failed. With `sweep`, the
    /// grace between SIGTERM and SIGKILL, it first ends all processes of the session, and reports that; zero sends only
    /// SIGKILL. No signal may be sent after this.
    pub fn reap(&self, sweep: Option<Duration>) {
        self.order(Order::Reap { sweep });
    }

    fn order(&self, order: Order) {
        // The thread receives orders until it is ordered to reap, or has failed.
        let _ = self.orders.send(order);
        self.wake.wake();
    }
}
