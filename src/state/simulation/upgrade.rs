//! Simulated upgrades: the next program goes on with all sessions, or this one does.

use std::fs::File;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_channel::{Receiver, TryRecvError, bounded};

use super::harness::{SimulatedThread, ThreadStage};
use super::kernel::Simulated;
use super::{Millis, Move, Simulation, Step, World, publisher};
use crate::api::{ApiError, SessionId};
use crate::harness::{Harness, PumpHandover, Report};
use crate::state::{HandingOver, State, StateEvent, StateHandover, Stopped, Successor, Upgrade};

/// The upgrades of one run.
#[derive(Default)]
pub(super) struct Upgrades {
    /// The client that waits for the end of one.
    asked: Option<Receiver<ApiError>>,
    /// Time that passed while no order reached a thread.
    pub(super) took: Millis,
    /// Number of those behind which this program has gone on, and of those behind which the next one has.
    pub(super) ended: [usize; 2],
    /// The program is being executed: what fails now is not this program's.
    is_executed: bool,
}

impl Upgrades {
    pub(super) fn is_under_way(&self) -> bool {
        self.asked.is_some()
    }
}

/// A thread in an upgrade.
pub(super) enum ThreadHandover {
    None,
    /// It leaves everything as soon as it can.
    Ordered,
    /// No thread follows the harness. The steps are made up for.
    Away(Vec<Step>),
}

impl ThreadHandover {
    pub(super) fn is_away(&self) -> bool {
        matches!(self, Self::Away(_))
    }

    /// Keeps `step` for the next thread.
    pub(super) fn miss(&mut self, step: Step) {
        if let Self::Away(missed) = self {
            missed.push(step);
        }
    }
}

impl SimulatedThread {
    pub(super) fn order_handover(&mut self, world: &mut World) {
        self.handover = ThreadHandover::Ordered;
        self.plan_handover(world);
    }

    /// Plans the handover, if there is an order.
    pub(super) fn plan_handover(&self, world: &mut World) {
        if let ThreadHandover::Ordered = self.handover {
            let at = world.after(50);
            world.plan(at, Move::Thread(self.id, Step::HandOver));
        }
    }

    /// A thread that has read everything goes on to the end, or to its late streams.
    pub(super) fn hand_over(&mut self, world: &World) {
        let can_be = match self.stage {
            ThreadStage::Running | ThreadStage::Late => true,
            ThreadStage::Draining => !self.is_drain_due,
            _ => false,
        };
        if let (ThreadHandover::Ordered, true, Some(num)) = (&self.handover, can_be, self.num) {
            self.handover = ThreadHandover::Away(Vec::new());
            let pump = PumpHandover::simulated(num, self.pid.unwrap_or_default());
            self.report(Report::HandedOver(Box::new(pump)), world);
        }
    }
}

impl World {
    /// Lets the time pass until `at`; the state thread `is_handing_over`.
    pub(super) fn pass_until(&mut self, at: Millis, is_handing_over: bool) {
        if is_handing_over {
            self.upgrades.took += at - self.now;
        }
        self.now = at;
    }

    /// A client asks for an upgrade; another one is refused before it comes to the state thread.
    pub(super) fn upgrade(&mut self) {
        if self.upgrades.is_under_way() {
            return;
        }
        let (failed, answer) = bounded(1);
        self.upgrades.asked = Some(answer);
        let successor = Successor {
            program: File::open("/dev/null").unwrap().into(),
            path: "/next".into(),
            version: "9.9.9".into(),
            migrates_to: None,
        };
        let upgrade = Upgrade {
            successor,
            begun: self.begun,
            failed,
        };
        self.events.send(StateEvent::HandOver(upgrade)).unwrap();
    }

    /// Takes the answer of a failed upgrade.
    pub(super) fn check_upgrade(&mut self) {
        match self.upgrades.asked.as_ref().map(Receiver::try_recv) {
            Some(Ok(_)) => {
                self.upgrades.asked = None;
                self.upgrades.ended[0] += 1;
            }
            Some(Err(TryRecvError::Disconnected)) => panic!("an upgrade has lost its answer"),
            Some(Err(TryRecvError::Empty)) | None => {}
        }
    }

    /// Starts the thread that goes on with `handover`.
    pub(super) fn take_up(
        &mut self,
        id: SessionId,
        handover: &PumpHandover,
    ) -> io::Result<Harness> {
        let fails = !self.upgrades.is_executed && self.random.one_in(20);
        let (harness, orders) = Harness::new(Arc::default())?;
        let thread = self.threads.get_mut(&id).expect("a thread");
        assert_eq!(Some(handover.num), thread.num);
        let last = std::mem::replace(&mut thread.handover, ThreadHandover::None);
        let ThreadHandover::Away(missed) = last else {
            panic!("two threads follow a harness");
        };
        if fails {
            thread.be_left();
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        (thread.orders, thread.has_returned) = (orders, true);
        for step in missed {
            let at = self.after(5);
            self.plan(at, Move::Thread(id, step));
        }
        Ok(harness)
    }
}

impl SimulatedThread {
    /// No thread goes on with it.
    fn be_left(&mut self) {
        self.is_lost_known = self.stage != ThreadStage::Late;
        self.stage = ThreadStage::Over;
    }
}

impl Simulation {
    /// Executes the next program, as `daemon::handover` does: it goes on with everything, or this one does. Returns the
    /// result of a stop that is complete.
    pub(super) fn execute(&mut self, handing_over: HandingOver) -> Option<Stopped> {
        let (mut is_stopping, events) = (false, self.inbox.try_iter().collect::<Vec<_>>());
        for event in events {
            self.world.borrow_mut().foresee(&event);
            match event {
                StateEvent::Stop => is_stopping = true,
                event => self.state.handle(event),
            }
            self.world.borrow_mut().deliver();
        }
        let reason = || ApiError::UpgradeFailed {
            reason: "a test".into(),
        };
        let has_answered_all = self.has_answered_all();
        if !is_stopping && let Ok(handover) = self.state.handover() {
            let is_refused = self.world.borrow_mut().random.one_in(2) || !has_answered_all;
            if !is_refused {
                self.be_replaced(&handover);
                return None;
            }
            self.state.give_back(handover);
        }
        self.state.go_on(handing_over, reason());
        if is_stopping {
            self.state.stop_by_signal();
        }
        self.world.borrow_mut().deliver();
        self.state.step(None)
    }

    /// True if no client waits: else the daemon would not have come to rest.
    fn has_answered_all(&self) -> bool {
        let mut sessions = self.state.sessions.values();
        self.state.stop_replies.is_empty()
            && sessions.all(|session| session.kills.is_empty() && session.launch.is_none())
    }

    /// The next program takes up the sessions of this one.
    fn be_replaced(&mut self, handover: &StateHandover) {
        let document = serde_json::to_string(handover).unwrap();
        let last = &mut self.state;
        let mut next = State::new(
            last.inbox.clone(),
            last.events.clone(),
            last.queue.clone(),
            last.limits,
            Arc::clone(&last.redactor),
            last.idempotency.drain().map(|(_, key)| key).collect(),
            publisher(&self.live, &self.tell),
        );
        next.kernel = Box::new(Simulated(Rc::clone(&self.world)));
        next.rest_at = None;
        self.world.borrow_mut().upgrades.is_executed = true;
        let taken_up = next.take_up(serde_json::from_str(&document).unwrap());
        next.begin(taken_up.expect("threads")).open();
        self.state = next;
        let upgrades = &mut self.world.borrow_mut().upgrades;
        upgrades.is_executed = false;
        upgrades.asked = None;
        upgrades.ended[1] += 1;
    }
}
