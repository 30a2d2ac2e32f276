//! One OS thread per harness: it spawns the process, pumps its output into the store, hands it its input,
//! sees it exit, and reaps it when the state thread says so.
//!
//! While it pumps, the thread blocks in poll(2) only. It decides nothing about a session: what happens it reports to the state
//! thread, which alone sends signals. It knows nothing of HTTP, or of other sessions.

mod context;
mod decode;
mod drain;
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

use crossbeam_channel::{Sender, bounded, unbounded};

pub use hello::{run as run_hello, script as hello_script};
pub use input::Backlog;
pub use message::{ClientInput, HarnessExit, Report};
pub use pipes::Pipes;
pub use start::family;
pub use tally::Tally;

use context::Context;
use message::{Order, reporting_panics};
use start::Prepared;

use crate::adapters::Program;
use crate::api::SessionId;
use crate::observe::field::CloseCause;
use crate::redact::Redactor;
use crate::store::{Done, SessionNum, WriteQueue};
use crate::sys::{self, Wake};

/// A harness thread's stack. Its buffers are on the heap; the pump needs a few kilobytes.
const STACK_BYTES: usize = 256 * 1024;

/// The address space that a launch leaves to whoever is there: its own stack and buffers, and what the sessions and clients
/// that are there may still need.
const ROOM_BYTES: u64 = 16 * 1024 * 1024;

/// The state thread's hold on a harness thread. Nothing in here blocks.
#[derive(Debug)]
pub struct Harness {
    orders: Sender<Order>,
    wake: Arc<Wake>,
    backlog: Backlog,
    tally: Arc<Tally>,
}

/// What a harness thread waits for before it starts its program: that the session's row is on disk, under this number.
/// One that is dropped ends the thread.
pub type Go = Sender<SessionNum>;

/// What all harness threads work with.
#[derive(Clone)]
pub struct Shared {
    /// Where output goes.
    pub queue: WriteQueue,
    /// The large pipes.
    pub pipes: Arc<Pipes>,
    /// Takes secrets out of output and input.
    pub redactor: Arc<Redactor>,
    /// The longest that a drain takes while a process of the session holds a stream.
    pub drain_max: Duration,
}

impl Harness {
    /// Starts the thread that prepares the start of `program` as the session `id`, and starts it on [`Go`]. It tells
    /// `report` what happens, and `started` when it is on disk that the harness runs.
    ///
    /// # Errors
    /// No descriptor, thread or memory is to be had.
    pub fn prepare(
        id: SessionId,
        program: Program,
        shared: Shared,
        report: impl Fn(Report) + Clone + Send + 'static,
        started: Done,
    ) -> io::Result<(Self, Go)> {
        // Most allocations cannot fail without ending the daemon: a launch that would come near to that is refused.
        sys::check_room(ROOM_BYTES)?;
        let (go, start) = bounded(1);
        let (orders, inbox) = unbounded();
        let wake = Arc::new(Wake::new()?);
        let backlog = Backlog::default();
        let tally = Arc::<Tally>::default();
        let harness = Self {
            orders,
            wake: Arc::clone(&wake),
            backlog: backlog.clone(),
            tally: Arc::clone(&tally),
        };
        std::thread::Builder::new()
            .name("harness".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let lost = report.clone();
                reporting_panics(&lost, || {
                    let prepared = Prepared::new(program, id, &backlog, &shared);
                    let Ok(num) = start.recv() else { return };
                    let Shared {
                        queue,
                        redactor,
                        drain_max,
                        ..
                    } = shared;
                    let context = Context {
                        id,
                        num,
                        share: queue.share(Arc::clone(&wake)),
                        queue,
                        orders: inbox,
                        wake,
                        report: Box::new(report),
                        tally,
                        drain_max,
                        redactor,
                    };
                    life::run(prepared.and_then(Prepared::spawn), started, &context);
                });
            })?;
        Ok((harness, go))
    }

    /// What it has written so far.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Keeps room for `bytes` more of input.
    ///
    /// # Errors
    /// The bound, in bytes, if what waits already leaves no room.
    pub fn reserve_input(&self, bytes: usize) -> Result<(), usize> {
        self.backlog.add(bytes)
    }

    /// Hands over what a client has sent, for which room is kept.
    pub fn input(&self, input: ClientInput) {
        self.order(Order::Input(input));
    }

    /// No input follows: the thread does not report that it is drained before it has been told so.
    pub fn end_input(&self) {
        self.order(Order::InputOver);
    }

    /// Lets the thread wait for nobody who holds the harness's streams behind its exit: whoever does is about to be ended.
    pub fn hurry(&self) {
        self.order(Order::End);
    }

    /// Lets the thread close the harness's late streams and end.
    pub fn close(&self, why: CloseCause) {
        self.order(Order::Close(why));
    }

    /// Lets the thread, once it has read all output or failed to, take the zombie away and end; with a `sweep`, after it
    /// has ended whatever the harness has started, and has reported that. The sweep is the grace between SIGTERM and
    /// SIGKILL; zero sends SIGKILL alone. No signal may be sent after this.
    pub fn reap(&self, sweep: Option<Duration>) {
        self.order(Order::Reap { sweep });
    }

    fn order(&self, order: Order) {
        // The thread takes orders until it is told to reap, or is lost.
        let _ = self.orders.send(order);
        self.wake.wake();
    }
}
