//! One OS thread per harness: it spawns the process, pumps its output into the store, hands it its input,
//! sees it exit, and reaps it when the state thread says so.
//!
//! While it pumps, the thread blocks in poll(2) only. It decides nothing about a session: what happens it reports to the state
//! thread, which alone sends signals. It knows nothing of HTTP, or of other sessions.

mod decode;
mod hello;
mod input;
mod pump;
mod source;
mod start;
mod tally;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

pub use hello::{run as run_hello, script as hello_script};
pub use input::Backlog;

use start::Prepared;

use crate::adapters::{Program, SESSION_VARIABLE};
use crate::api::{SessionCost, SessionId, Timestamp};
use crate::redact::Redactor;
use crate::store::{Done, SessionNum, Share, WriteQueue};
use crate::sys::{Exit, Family, Usage, Wake};

/// A harness thread's stack. Its buffers are on the heap; the pump needs a few kilobytes.
const STACK_BYTES: usize = 256 * 1024;

/// What the processes of the session `id` are known by. `leader` is the harness, while its zombie has not been reaped.
pub fn family(id: SessionId, leader: Option<i32>) -> Family {
    Family {
        variable: format!("{SESSION_VARIABLE}={id}").into_bytes(),
        number: id.random_bits(),
        leader,
    }
}

/// What a harness thread tells the state thread, in this order, each at most once but for the input's.
#[derive(Debug)]
pub enum Report {
    /// It runs, in a process group with this number.
    Started { pid: i32 },
    /// It could not be started; the thread has ended.
    SpawnFailed { reason: String },
    /// It no longer reads its stdin.
    InputClosed,
    /// It has exited; its pipes may still hold output. The zombie stays until the thread is told to reap.
    Exited {
        exit: Exit,
        at: Timestamp,
        /// What the pipes hold, in bytes.
        unread: usize,
    },
    /// All of its output is in the writer's queue, and this is what it cost.
    Drained { cost: SessionCost },
    /// The thread has failed, and reads no more. The process may still run.
    Lost { reason: String },
    /// Nothing is left of what the harness has started, or it does not end.
    Swept,
}

/// A harness's exit, as its thread keeps it until the pipes are drained.
#[derive(Debug, Clone, Copy)]
struct Exited {
    at: Timestamp,
    usage: Option<Usage>,
}

/// What the state thread tells a harness thread.
#[derive(Debug)]
enum Order {
    /// Write this to the harness's stdin.
    Input(Vec<u8>),
    /// Nobody will signal the process any more. End whatever the harness has started, in its group or not, where `sweep`
    /// says so; then take the zombie away, and end. One order, since no signal can fall between the two: until the zombie
    /// is taken away its pid is no other process's, and the search for what it has started knows it by that.
    Reap { sweep: bool },
}

/// The state thread's hold on a harness thread. Nothing in here blocks.
#[derive(Debug)]
pub struct Harness {
    orders: Sender<Order>,
    wake: Arc<Wake>,
    backlog: Backlog,
}

/// What a harness thread waits for before it starts its program: that the session's row is on disk, under this number.
/// One that is dropped ends the thread.
pub type Go = Sender<SessionNum>;

/// What a harness thread works with once its program runs.
struct Context {
    id: SessionId,
    num: SessionNum,
    queue: WriteQueue,
    share: Share,
    orders: Receiver<Order>,
    wake: Arc<Wake>,
    report: Box<dyn Fn(Report) + Send>,
    /// Takes secrets out of the output.
    redactor: Arc<Redactor>,
}

/// Runs `life`, and reports a panic, which would otherwise leave the session as it is for ever. The panic hook logs it.
fn reporting_panics(report: impl Fn(Report), life: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(life)).is_err() {
        let reason = "the harness thread panicked".into();
        report(Report::Lost { reason });
    }
}

impl Harness {
    /// Starts the thread that prepares the start of `program` as the session `id`, and starts it on [`Go`]. It tells
    /// `report` what happens, and `started` when it is on disk that the harness runs.
    ///
    /// # Errors
    /// No descriptor or thread is to be had.
    pub fn prepare(
        id: SessionId,
        program: Program,
        queue: WriteQueue,
        redactor: Arc<Redactor>,
        report: impl Fn(Report) + Clone + Send + 'static,
        started: Done,
    ) -> io::Result<(Self, Go)> {
        let (go, start) = bounded(1);
        let (orders, inbox) = unbounded();
        let wake = Arc::new(Wake::new()?);
        let backlog = Backlog::default();
        let harness = Self {
            orders,
            wake: Arc::clone(&wake),
            backlog: backlog.clone(),
        };
        std::thread::Builder::new()
            .name("harness".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let lost = report.clone();
                reporting_panics(&lost, || {
                    let prepared = Prepared::new(program, id, &backlog);
                    let Ok(num) = start.recv() else { return };
                    let context = Context {
                        id,
                        num,
                        share: queue.share(Arc::clone(&wake)),
                        queue,
                        orders: inbox,
                        wake,
                        report: Box::new(report),
                        redactor,
                    };
                    pump::run(prepared.and_then(Prepared::spawn), started, &context);
                });
            })?;
        Ok((harness, go))
    }

    /// Keeps room for `bytes` more of input.
    ///
    /// # Errors
    /// The bound, in bytes, if what waits already leaves no room.
    pub fn reserve_input(&self, bytes: usize) -> Result<(), usize> {
        self.backlog.add(bytes)
    }

    /// Hands `data`, for which room is kept, to the harness's stdin.
    pub fn input(&self, data: Vec<u8>) {
        self.order(Order::Input(data));
    }

    /// Lets the thread, once it has read all output or failed to, take the zombie away and end; where `sweep` says so,
    /// after it has ended whatever the harness has started, and has reported that. No signal may be sent after this.
    pub fn reap(self, sweep: bool) {
        self.order(Order::Reap { sweep });
    }

    fn order(&self, order: Order) {
        // The thread takes orders until it is told to reap, or is lost.
        let _ = self.orders.send(order);
        self.wake.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_thread_that_panics_wherever_it_is_reports_that_it_is_lost() {
        let reports = RefCell::new(Vec::new());
        let report = |report| reports.borrow_mut().push(report);
        reporting_panics(report, || {});
        assert!(reports.borrow().is_empty());
        reporting_panics(report, || panic!("as the test wants"));
        assert!(matches!(reports.borrow()[..], [Report::Lost { .. }]));
    }
}
