//! Simulates the state thread: the real [`State`] with simulated processes, harness threads, writer, clients and clock.
//! All delays and faults come from a seed. After each step the invariants of `lib.rs` are checked.

mod clients;
mod harness;
mod kernel;
mod upgrade;
mod writer;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::life::InputTime;
use super::{Command, Limits, Notice, Publisher, State, StateEvent, Stopped};
use crate::api::{EndCause, EndedBy, SessionId, Timestamp};
use crate::harness::Report;
use crate::random::{Random, rounds};
use crate::redact::Redactor;
use crate::settings::durations;
use crate::sys::Exit;
use clients::Clients;
use harness::{SimulatedThread, ThreadStage};
use kernel::Simulated;
use upgrade::Upgrades;
use writer::SimulatedWriter;

/// Times are in milliseconds since the start.
type Millis = u64;

const GRACE: Millis = 1_000;
/// Longest delay of the state thread.
const SLOW: Millis = 60;
/// Longer than any simulated run.
const END_OF_TIME: Millis = 200_000;

/// Something that happens outside the state thread.
#[derive(Debug)]
enum Move {
    /// A client sends a request.
    Request,
    Thread(SessionId, Step),
    /// The writer ends a transaction.
    Commit,
    /// The writer's disk fails, or works again.
    Disk(Disk),
    Event(StateEvent),
    /// A client asks for an upgrade.
    Upgrade,
}

/// Something that a thread or its process does by itself.
#[derive(Debug)]
enum Step {
    Spawn,
    /// The thread reports the start, which the writer has known for a moment.
    Announce(i32),
    Write,
    CloseInput,
    ReachLimit(EndCause),
    Exit(Exit),
    SeeExit(Exit),
    Drain,
    Lose,
    EndSweep,
    EndLate,
    /// Leaves everything to another thread.
    HandOver,
}

/// State of the writer's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    Good,
    /// Each transaction fails.
    Full,
    /// A transaction does not return.
    Hanging,
}

/// Everything outside the state thread.
struct World {
    random: Random,
    begun: Instant,
    now: Millis,
    /// Future moves by their time.
    agenda: BTreeMap<(Millis, u64), Move>,
    planned: u64,
    events: Sender<StateEvent>,
    threads: BTreeMap<SessionId, SimulatedThread>,
    writer: SimulatedWriter,
    clients: Clients,
    upgrades: Upgrades,
    /// Times of the stop and of the signal that ends its grace period.
    stopped_at: Option<Millis>,
    has_signal: bool,
    hurried_at: Option<Millis>,
    last_pid: i32,
    /// Ends of children for which nothing has been reaped yet.
    unreaped: usize,
}

impl World {
    fn after(&mut self, most: usize) -> Millis {
        self.now + self.random.below(most) as Millis
    }

    fn plan(&mut self, at: Millis, what: Move) {
        self.planned += 1;
        self.agenda.insert((at, self.planned), what);
    }

    fn time(&self) -> InputTime {
        InputTime {
            instant: self.begun + Duration::from_millis(self.now),
            at: Timestamp::from_millis(1_800_000_000_000 + self.now as i64),
        }
    }

    /// Plans the faults of the disk and the stop.
    fn plan_faults(&mut self) {
        for _ in 0..self.random.below(3) {
            let at = self.after(12_000);
            let disk = *self.random.pick(&[Disk::Full, Disk::Full, Disk::Hanging]);
            self.plan(at, Move::Disk(disk));
            // A disk that hangs for longer than a stop may take is rare.
            let most = if self.random.one_in(3) { 60_000 } else { 3_000 };
            let until = at + self.random.below(most) as Millis;
            self.plan(until, Move::Disk(Disk::Good));
        }
        let at = self.after(15_000);
        self.plan(at, Move::Event(StateEvent::Stop));
        if self.random.one_in(4) {
            let again = at + self.random.below(1_500) as Millis;
            self.plan(again, Move::Event(StateEvent::Stop));
        }
        for _ in 0..self.random.below(3) {
            let at = self.after(12_000);
            self.plan(at, Move::Upgrade);
        }
        for event in [StateEvent::ChildEnded, StateEvent::ChildEnded] {
            let at = self.after(10_000);
            self.plan(at, Move::Event(event));
        }
    }

    fn make(&mut self, what: Move) {
        match what {
            // Before an upgrade all clients are brought to rest.
            Move::Request if self.upgrades.is_under_way() => {
                let at = self.after(100) + 1;
                self.plan(at, Move::Request);
            }
            Move::Request => self.request(),
            Move::Thread(id, step) => self.with_thread(id, |thread, world| thread.act(step, world)),
            Move::Commit => self.commit(),
            Move::Disk(disk) => self.writer.disk = disk,
            Move::Event(event) => self.events.send(event).unwrap(),
            Move::Upgrade => self.upgrade(),
        }
        self.deliver();
    }

    fn with_thread(&mut self, id: SessionId, act: impl FnOnce(&mut SimulatedThread, &mut Self)) {
        let mut thread = self.threads.remove(&id).unwrap();
        act(&mut thread, self);
        self.threads.insert(id, thread);
    }

    /// Delivers orders to the threads, and facts and requests to the writer.
    fn deliver(&mut self) {
        let ids: Vec<SessionId> = self.threads.keys().copied().collect();
        for id in ids {
            self.with_thread(id, SimulatedThread::take_orders);
        }
        self.receive();
    }

    /// Notes what `event` asks for, before the state thread handles it.
    fn foresee(&mut self, event: &StateEvent) {
        match event {
            StateEvent::Stop => {
                let again = std::mem::replace(&mut self.has_signal, true);
                if self.stopped_at.is_some() && again {
                    self.hurried_at.get_or_insert(self.now);
                }
                self.foresee_stop();
            }
            StateEvent::Command(command) => self.foresee_command(command),
            StateEvent::ChildEnded => self.unreaped += 1,
            StateEvent::Created { id, result } if result.is_err() => {
                self.clients.not_created += 1;
                self.clients.forget_key(*id);
            }
            StateEvent::Deleted { id } => {
                self.clients.forget_key(*id);
                let thread = self.threads.get_mut(id);
                thread
                    .into_iter()
                    .for_each(|thread| thread.is_deleted = true);
            }
            StateEvent::Harness { id, report } => {
                let now = self.now;
                let Some(thread) = self.threads.get_mut(id) else {
                    return;
                };
                match report {
                    Report::Started { .. } => thread.started_at = Some(now),
                    Report::LimitReached(cause) => thread.ask(*cause, now),
                    Report::Exited(_) => thread.is_exit_known = true,
                    Report::Drained(_) => thread.is_drain_known = true,
                    Report::Lost { .. } => thread.is_lost_known = !thread.is_drain_known,
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn foresee_stop(&mut self) {
        if self.stopped_at.is_none() {
            self.stopped_at = Some(self.now);
            let now = self.now;
            for thread in self.threads.values_mut() {
                thread.ask(EndCause::DaemonStop, now);
            }
        }
    }
}

fn publisher(live: &Arc<AtomicU64>, tell: &Sender<Notice>) -> Publisher {
    let (live, tell) = (Arc::clone(live), tell.clone());
    Publisher {
        live,
        tell: Box::new(move |change| tell.send(change).unwrap()),
    }
}

/// A state thread and its world.
struct Simulation {
    state: State,
    world: Rc<RefCell<World>>,
    inbox: Receiver<StateEvent>,
    tell: Sender<Notice>,
    changes: Receiver<Notice>,
    live: Arc<AtomicU64>,
    /// The number of live sessions that the service manager was told last.
    told: u64,
    /// The state thread is busy until then.
    busy_until: Option<Millis>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (events, inbox) = unbounded();
        let (writer, queue) = SimulatedWriter::new();
        let (tell, changes) = unbounded();
        let limits = Limits {
            sessions: 1 + random.below(4),
            kill_grace: Duration::from_millis(GRACE),
            drain_max: Duration::from_secs(5),
        };
        let live = Arc::<AtomicU64>::default();
        let publisher = publisher(&live, &tell);
        let (_, unused) = unbounded();
        let redactor = Arc::new(Redactor::new("").0);
        let mut state = State::new(
            unused,
            events.clone(),
            queue,
            limits,
            redactor,
            Vec::new(),
            publisher,
        );
        let mut world = World {
            random,
            begun: Instant::now(),
            now: 0,
            agenda: BTreeMap::new(),
            planned: 0,
            events,
            threads: BTreeMap::new(),
            writer,
            clients: Clients::default(),
            upgrades: Upgrades::default(),
            stopped_at: None,
            has_signal: false,
            hurried_at: None,
            last_pid: 4_710,
            unreaped: 0,
        };
        world.plan_faults();
        for _ in 0..5 + world.random.below(20) {
            let at = world.after(12_000);
            world.plan(at, Move::Request);
        }
        let world = Rc::new(RefCell::new(world));
        state.kernel = Box::new(Simulated(Rc::clone(&world)));
        state.rest_at = None;
        Self {
            state,
            world,
            inbox,
            tell,
            changes,
            live,
            told: 0,
            busy_until: None,
        }
    }

    /// Runs until the state thread has stopped.
    fn run(&mut self) -> Stopped {
        let mut deadlines = 0;
        loop {
            let event = self.next();
            match &event {
                Some(event) => self.world.borrow_mut().foresee(event),
                None => deadlines += 1,
            }
            assert!(deadlines < 1_000, "a deadline that has passed comes again");
            let stopped = self.state.step(event);
            self.world.borrow_mut().deliver();
            self.check();
            if let Some(stopped) = stopped {
                return stopped;
            }
            if let Some(handed_over) = self.state.handed_over() {
                if let Some(stopped) = self.execute(handed_over) {
                    return stopped;
                }
                self.world.borrow_mut().deliver();
                self.check();
            }
        }
    }

    /// The next event, or `None` where a deadline passes first. The state thread may be slow: then more happens before
    /// it handles an event.
    fn next(&mut self) -> Option<StateEvent> {
        loop {
            let mut world = self.world.borrow_mut();
            assert!(world.now < END_OF_TIME, "the daemon never stops");
            let next = world.agenda.first_key_value().map(|(key, _)| *key);
            if self.inbox.is_empty() {
                self.busy_until = None;
            } else {
                let slow = if world.random.one_in(5) { SLOW } else { 1 };
                let until = world.after(slow as usize);
                let until = *self.busy_until.get_or_insert(until);
                if next.is_none_or(|(at, _)| at > until) {
                    return self.inbox.try_recv().ok();
                }
            }
            let deadline = self.state.next_deadline().map(|at| {
                // A handover keeps microseconds, by the real clock.
                let at = at.saturating_duration_since(world.begun).as_micros() + 500;
                world.now.max(at as Millis / 1_000 + 1)
            });
            match (deadline, next) {
                (Some(at), next)
                    if self.inbox.is_empty() && next.is_none_or(|(next, _)| at < next) =>
                {
                    world.pass_until(at, self.state.handing_over.is_some());
                    return None;
                }
                (_, Some(key)) => {
                    world.pass_until(key.0, self.state.handing_over.is_some());
                    let what = world.agenda.remove(&key).unwrap();
                    world.make(what);
                }
                // An event waits.
                (_, None) => {}
            }
        }
    }

    /// Checks the invariants that hold after each step.
    fn check(&mut self) {
        let world = &mut *self.world.borrow_mut();
        let live = self.state.live_sessions();
        // A session stops being live before its closing facts go to the writer.
        let expected = world.clients.accepted - world.clients.not_created - world.writer.ends();
        assert_eq!(live, expected, "live sessions");
        assert_eq!(self.live.load(Ordering::Relaxed), live as u64);
        let late = world.threads.values().filter(|thread| thread.is_open());
        assert!(
            live + late.count() <= self.state.limits.sessions,
            "more threads than live sessions are allowed"
        );
        for thread in world.threads.values() {
            thread.check(world);
        }
        world.check_upgrade();
        let answers = clients::Seen {
            live,
            limits: self.state.limits,
            sessions: self.state.sessions.keys().copied().collect(),
        };
        world.check_answers(&answers);
        for change in self.changes.try_iter() {
            match change {
                Notice::Stopping { .. } => assert!(world.stopped_at.is_some()),
                Notice::Live(live) => self.told = live,
            }
        }
        assert_eq!(self.told, live as u64, "the manager is told");
        assert_eq!(world.unreaped, 0, "orphans are reaped");
        assert_eq!(world.writer.are_chores_over(), world.stopped_at.is_some());
    }

    /// Checks the result of the stop, and that all who waited have been answered.
    fn conclude(&self, stopped: &Stopped) {
        let world = &mut *self.world.borrow_mut();
        let begun = world.stopped_at.expect("nobody asked for the stop");
        let store = durations::STOP_STORE.as_millis() as Millis;
        let took = world.now - begun;
        assert!(took <= GRACE + 2 * store + SLOW, "the stop took {took} ms");
        for given_up in &stopped.abandoned {
            let thread = world.threads.get(&given_up.id);
            let row = given_up.num.map(|num| world.writer.row(num));
            assert!(row.is_none_or(|row| !row.has_ended));
            assert_eq!(given_up.closed, row.is_some_and(|row| row.end.is_some()));
            // A session whose thread could not be created has none.
            if let Some((exited, unread)) = thread.map(SimulatedThread::known_end) {
                assert_eq!(given_up.exited, exited || given_up.closed);
                assert_eq!(given_up.unread, unread as u64);
            }
        }
        let lost: Vec<SessionId> = stopped.abandoned.iter().map(|lost| lost.id).collect();
        let unfinished = world.writer.unfinished();
        assert!(unfinished.iter().all(|id| lost.contains(id)));
        let is_hindered = world.writer.was_faulty_since(begun)
            || world.threads.values().any(|thread| thread.is_refused);
        assert!(is_hindered || lost.is_empty(), "given up without a reason");
        let unhandled = self.inbox.try_iter().filter_map(|event| match event {
            StateEvent::Command(Command::Launch(launch, _)) => Some(launch.session.record.id),
            StateEvent::Command(Command::Kill { id, .. }) => Some(id),
            _ => None,
        });
        world.check_waiting(&lost, &unhandled.collect::<Vec<_>>());
        if lost.is_empty() {
            for thread in world.threads.values() {
                assert_eq!(thread.stage, ThreadStage::Over, "a thread is left");
                assert!(!thread.is_alive());
            }
        }
    }
}

#[test]
fn in_any_order_of_events_a_session_ends_once_with_the_requested_cause() {
    let mut ends = BTreeMap::<_, usize>::new();
    let mut abandoned = 0;
    let mut upgrades = [0; 2];
    for seed in 0..rounds(1_500) as u64 {
        println!("seed {seed}");
        let mut simulation = Simulation::new(seed);
        let stopped = simulation.run();
        simulation.conclude(&stopped);
        abandoned += stopped.abandoned.len();
        let ended = simulation.world.borrow().upgrades.ended;
        upgrades = [upgrades[0] + ended[0], upgrades[1] + ended[1]];
        for by in simulation.world.borrow().writer.causes() {
            *ends.entry(by.map_or("none", EndedBy::as_str)).or_default() += 1;
        }
    }
    // Every kind of end has occurred.
    assert_eq!(ends.len(), EndedBy::ALL.len() + 1, "{ends:?}");
    assert!(abandoned > 0 && upgrades.iter().all(|number| *number > 0));
}
