//! A simulated harness: its process, with the processes that it leaves behind, and its thread.

mod checks;

use crossbeam_channel::{Receiver, TryRecvError};

use super::kernel::LIMITS;
use super::upgrade::ThreadHandover;
use super::{Millis, Move, Step, World};
use crate::adapters::{Program, StdinMode};
use crate::api::{EndCause, EventKind, Origin, Payload, SessionCost, SessionId, Stream};
use crate::harness::{Drained, HarnessExit, Order, Report};
use crate::state::StateEvent;
use crate::store::{Done, Fact, NewEvent, SessionNum, WriteQueue};
use crate::sys::{self, Exit};

/// Bytes in the pipes of a harness at its exit.
const UNREAD: usize = 7;

/// State of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SimulatedProcess {
    None,
    Alive,
    Zombie,
    Reaped,
}

/// State of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThreadStage {
    Preparing,
    Starting,
    Running,
    Draining,
    /// The thread waits for the order to reap.
    Drained,
    Sweeping,
    Late,
    Over,
}

pub(super) struct SimulatedThread {
    pub(super) id: SessionId,
    pub(super) pid: Option<i32>,
    pub(super) stage: ThreadStage,
    pub(super) process: SimulatedProcess,
    /// Its reap order has been received: no signal may follow.
    pub(super) is_ordered_to_reap: bool,
    pub(super) num: Option<SessionNum>,
    start: Receiver<SessionNum>,
    pub(super) orders: Receiver<Order>,
    pub(super) handover: ThreadHandover,
    /// It goes on behind a handover: orders are repeated.
    pub(super) has_returned: bool,
    queue: WriteQueue,
    started: Option<Done>,
    has_stdin: bool,
    is_input_over: bool,
    pub(super) is_drain_due: bool,
    is_hurried: bool,
    is_closing: bool,
    is_late: bool,
    /// The state thread knows that its record is deleted.
    pub(super) is_deleted: bool,
    /// Number of processes that it leaves behind; the first may hold a stream.
    family: usize,
    is_held: bool,
    /// The process ignores SIGTERM.
    is_deaf: bool,
    /// The kernel refuses the first signal to it.
    pub(super) refuses: bool,
    pub(super) is_refused: bool,
    exited: Option<(Exit, Millis)>,
    time_limit: Option<Millis>,
    /// Time at which the state thread learned of the start.
    pub(super) started_at: Option<Millis>,
    pub(super) is_exit_known: bool,
    pub(super) is_drain_known: bool,
    /// The thread was lost before the drain.
    pub(super) is_lost_known: bool,
    /// The first end that was asked for before the exit was known, and its time.
    asked: Option<(EndCause, Millis)>,
    /// Its end was asked for, at any time.
    pub(super) is_end_wanted: bool,
    is_signalled: bool,
    /// Number of its processes that were ended.
    pub(super) swept: usize,
    /// The client's data, as delivered.
    pub(super) taken: Vec<(String, bool)>,
}

impl SimulatedThread {
    pub(super) fn new(
        id: SessionId,
        program: &Program,
        queue: WriteQueue,
        (start, orders): (Receiver<SessionNum>, Receiver<Order>),
        started: Done,
        world: &mut World,
    ) -> Self {
        let family = world.random.below(3);
        if world.random.one_in(30) {
            let at = world.after(50);
            world.plan(at, Move::Thread(id, Step::Lose));
        }
        Self {
            id,
            pid: None,
            stage: ThreadStage::Preparing,
            process: SimulatedProcess::None,
            is_ordered_to_reap: false,
            num: None,
            start,
            orders,
            handover: ThreadHandover::None,
            has_returned: false,
            queue,
            started: Some(started),
            has_stdin: program.stdin == StdinMode::Open,
            is_input_over: false,
            is_drain_due: false,
            is_hurried: false,
            is_closing: false,
            is_late: false,
            is_deleted: false,
            family,
            is_held: family > 0 && world.random.one_in(2),
            is_deaf: world.random.one_in(3),
            refuses: world.random.one_in(30),
            is_refused: false,
            exited: None,
            time_limit: program.limits.time.map(|limit| limit.as_millis() as Millis),
            started_at: None,
            is_exit_known: false,
            is_drain_known: false,
            is_lost_known: false,
            asked: None,
            is_end_wanted: false,
            is_signalled: false,
            swept: 0,
            taken: Vec::new(),
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.process == SimulatedProcess::Alive
    }

    /// True if it reads late output, and has not been told to end.
    pub(super) fn is_open(&self) -> bool {
        self.stage == ThreadStage::Late && !self.is_closing
    }

    /// Notes that its end is asked for.
    pub(super) fn ask(&mut self, cause: EndCause, now: Millis) {
        self.is_end_wanted = true;
        if !self.is_exit_known && !self.is_lost_known && self.asked.is_none() {
            self.asked = Some((cause, now));
        }
    }

    /// Notes the end that its time limit asks for, if that has passed.
    pub(super) fn note_timeout(&mut self, now: Millis) {
        if let (Some(limit), Some(started_at)) = (self.time_limit, self.started_at)
            && now >= started_at + limit
            && self.asked.is_none()
        {
            self.time_limit = None;
            self.ask(EndCause::Timeout, now);
        }
    }

    pub(super) fn is_first_signal(&self) -> bool {
        self.asked.is_some() && !self.is_signalled
    }

    /// The kernel refuses the signal: the session goes on as if nobody had asked.
    pub(super) fn refuse(&mut self) {
        self.is_refused = true;
        self.asked = None;
        self.is_end_wanted = false;
    }

    pub(super) fn be_signalled(&mut self, signal: i32, world: &mut World) {
        self.is_signalled = true;
        if signal == libc::SIGKILL {
            self.die(Exit::Signal(9), world);
        } else if !self.is_deaf {
            let at = world.after(300);
            let exit = *world.random.pick(&[Exit::Signal(15), Exit::Code(0)]);
            world.plan(at, Move::Thread(self.id, Step::Exit(exit)));
        }
    }

    /// The process ends; its thread sees that soon.
    pub(super) fn die(&mut self, exit: Exit, world: &mut World) {
        self.process = SimulatedProcess::Zombie;
        self.exited = Some((exit, world.now));
        let at = world.after(5);
        world.plan(at, Move::Thread(self.id, Step::SeeExit(exit)));
    }

    pub(super) fn report(&self, report: Report, world: &World) {
        let id = self.id;
        world
            .events
            .send(StateEvent::Harness { id, report })
            .unwrap();
    }

    fn record(&self, event: NewEvent) {
        let events = vec![event];
        let num = self.num.expect("a row");
        self.queue.fact(Fact::Events { num, events }, None);
    }

    /// Does `step`, if it still fits.
    pub(super) fn act(&mut self, step: Step, world: &mut World) {
        match (self.stage, step) {
            (_, Step::Exit(exit)) if self.is_alive() => self.die(exit, world),
            (_, step) if self.handover.is_away() => self.handover.miss(step),
            (_, Step::HandOver) => self.hand_over(world),
            (ThreadStage::Starting, Step::Spawn) => self.spawn(world),
            (ThreadStage::Starting, Step::Announce(pid)) => {
                self.stage = ThreadStage::Running;
                self.report(Report::Started { pid }, world);
                self.live(world);
            }
            (ThreadStage::Running | ThreadStage::Draining | ThreadStage::Late, Step::Write) => {
                self.write(world)
            }
            (ThreadStage::Running, Step::CloseInput) if self.has_stdin => {
                self.report(Report::InputClosed, world);
            }
            (ThreadStage::Running, Step::ReachLimit(cause)) => {
                self.report(Report::LimitReached(cause), world);
            }
            (ThreadStage::Running, Step::SeeExit(exit)) => self.see(exit, world),
            (ThreadStage::Draining, Step::Drain) => self.drain(world),
            (ThreadStage::Preparing | ThreadStage::Starting, Step::Lose) if !self.is_alive() => {
                self.lose(ThreadStage::Over, world);
            }
            (ThreadStage::Running | ThreadStage::Draining, Step::Lose) => {
                self.lose(ThreadStage::Drained, world)
            }
            (ThreadStage::Sweeping, Step::EndSweep) => self.end_sweep(world),
            (ThreadStage::Late, Step::EndLate) => {
                self.stage = ThreadStage::Over;
                self.report(Report::LateEnded, world);
            }
            _ => {}
        }
    }

    fn lose(&mut self, stage: ThreadStage, world: &World) {
        self.stage = stage;
        let reason = "the harness thread panicked".into();
        self.report(Report::Lost { reason }, world);
    }

    fn spawn(&mut self, world: &mut World) {
        if world.random.one_in(10) {
            self.stage = ThreadStage::Over;
            let reason = "no such file".into();
            return self.report(Report::SpawnFailed { reason }, world);
        }
        world.last_pid += 1;
        let pid = world.last_pid;
        (self.pid, self.process) = (Some(pid), SimulatedProcess::Alive);
        let fact = Fact::Started {
            num: self.num.expect("a row"),
            pid,
            process_mark: None,
            stdout_pipe_bytes: None,
            at: world.time().at,
        };
        self.queue.fact(fact, self.started.take());
        let at = world.after(80);
        world.plan(at, Move::Thread(self.id, Step::Announce(pid)));
    }

    /// Plans what the harness does by itself.
    fn live(&mut self, world: &mut World) {
        for (one_in, most, step) in [
            (2, 3_000, Step::Write),
            (4, 1_500, Step::CloseInput),
            (8, 3_000, Step::ReachLimit(*world.random.pick(&LIMITS))),
            (10, 3_000, Step::Lose),
        ] {
            if world.random.one_in(one_in) {
                let at = world.after(most);
                world.plan(at, Move::Thread(self.id, step));
            }
        }
        if !world.random.one_in(4) {
            let exit = match world.random.below(3) {
                0 => Exit::Signal(11),
                _ => Exit::Code(world.random.below(2) as i32),
            };
            let at = world.after(5_000);
            world.plan(at, Move::Thread(self.id, Step::Exit(exit)));
        }
    }

    fn write(&mut self, world: &mut World) {
        let origin = Origin {
            stream: Stream::Stdout,
            is_late: self.stage == ThreadStage::Late,
        };
        let output = NewEvent {
            kind: EventKind::Output,
            payload_json: Payload::text_to_json("x", origin),
            at: world.time().at,
        };
        self.record(output);
        if world.random.one_in(2) {
            let at = world.after(1_000);
            world.plan(at, Move::Thread(self.id, Step::Write));
        }
    }

    fn see(&mut self, exit: Exit, world: &mut World) {
        self.stage = ThreadStage::Draining;
        let seen = HarnessExit {
            exit,
            at: world.time().at,
            unread: UNREAD,
            oom_killed: false,
        };
        self.report(Report::Exited(seen), world);
        self.plan_drain(world);
    }

    fn plan_drain(&self, world: &mut World) {
        let at = world.after(if self.is_hurried { 20 } else { 3_000 });
        world.plan(at, Move::Thread(self.id, Step::Drain));
    }

    fn drain(&mut self, world: &mut World) {
        self.is_drain_due = true;
        if self.has_stdin && !self.is_input_over {
            return;
        }
        self.stage = ThreadStage::Drained;
        self.is_late = self.is_held && !self.is_hurried;
        let process = |number| sys::Process {
            pid: number as i32 + 2,
            name: "node".into(),
            mark: String::new(),
        };
        let family = if self.is_hurried { 0 } else { self.family };
        let drained = Drained {
            cost: SessionCost::default(),
            usage: None,
            is_late: self.is_late,
            left: (0..family).map(process).collect(),
        };
        self.report(Report::Drained(drained), world);
    }

    fn end_sweep(&mut self, world: &mut World) {
        assert_eq!(self.process, SimulatedProcess::Zombie);
        let ended = std::mem::take(&mut self.family);
        self.process = SimulatedProcess::Reaped;
        if world.random.one_in(20) {
            return self.lose(ThreadStage::Over, world);
        }
        self.stage = ThreadStage::Over;
        self.swept = ended;
        self.report(Report::Swept { ended }, world);
    }

    /// Takes the row's number and the orders of the state thread.
    pub(super) fn take_orders(&mut self, world: &mut World) {
        if self.handover.is_away() {
            return;
        }
        if self.stage == ThreadStage::Preparing {
            match self.start.try_recv() {
                Ok(num) => {
                    (self.num, self.stage) = (Some(num), ThreadStage::Starting);
                    let at = world.after(50);
                    world.plan(at, Move::Thread(self.id, Step::Spawn));
                }
                // Its row could not be written.
                Err(TryRecvError::Disconnected) => self.stage = ThreadStage::Over,
                Err(TryRecvError::Empty) => {}
            }
        }
        while let Ok(order) = self.orders.try_recv() {
            self.take(order, world);
        }
    }

    fn take(&mut self, order: Order, world: &mut World) {
        if let Order::Close(_) = order {
            // Its last report is under way.
            if self.stage == ThreadStage::Over {
                return;
            }
            assert_eq!(self.stage, ThreadStage::Late, "streams that are not late");
            self.is_closing = true;
            let at = world.after(20);
            return world.plan(at, Move::Thread(self.id, Step::EndLate));
        }
        if let Order::HandOver(_) = order {
            return self.order_handover(world);
        }
        assert!(
            !self.is_ordered_to_reap,
            "{order:?} behind the order to reap"
        );
        match order {
            Order::Input(input) => {
                assert!(!self.is_input_over, "input behind its end");
                let (data, eof) = (&*input.data, input.eof);
                self.record(NewEvent::at(world.time().at, Payload::Input { data, eof }));
                self.taken.push((input.data, input.eof));
            }
            Order::InputOver => {
                let is_repeated = std::mem::replace(&mut self.is_input_over, true);
                assert!(!is_repeated || self.has_returned);
                if self.is_drain_due {
                    world.plan(world.now, Move::Thread(self.id, Step::Drain));
                }
            }
            Order::End => {
                self.is_hurried = true;
                if self.stage == ThreadStage::Draining {
                    self.plan_drain(world);
                }
            }
            Order::Reap { sweep } => {
                self.is_ordered_to_reap = true;
                assert_eq!(self.stage, ThreadStage::Drained);
                assert_eq!(
                    self.process,
                    SimulatedProcess::Zombie,
                    "it would wait for its end"
                );
                if let Some(grace) = sweep {
                    self.stage = ThreadStage::Sweeping;
                    let at = world.after(grace.as_millis() as usize + 2_000);
                    return world.plan(at, Move::Thread(self.id, Step::EndSweep));
                }
                self.process = SimulatedProcess::Reaped;
                self.stage = if self.is_late {
                    ThreadStage::Late
                } else {
                    ThreadStage::Over
                };
                if self.is_late {
                    self.plan_handover(world);
                    let (write, end) = (world.after(2_000), world.after(20_000));
                    world.plan(write, Move::Thread(self.id, Step::Write));
                    world.plan(end, Move::Thread(self.id, Step::EndLate));
                }
            }
            Order::Close(_) | Order::HandOver(_) => {}
        }
    }
}
