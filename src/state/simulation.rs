//! Simulates sessions: a process, its harness thread, the writer, clients and a clock, with delays and faults from a
//! seed. In any order, a session must keep the invariants of `lib.rs`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use super::effect::Effect;
use super::life::{Input, Now, Phase};
use super::session::Session;
use super::stdin::Stdin;
use super::tests::created;
use super::{Killed, Launched};
use crate::api::{
    ApiError, EndCause, EndedBy, EventKind, KillSignal, SessionCost, SessionStatus, Timestamp,
};
use crate::harness::{HarnessExit, Report};
use crate::random::{Random, rounds};
use crate::store::{End, Fact, SessionNum};
use crate::sys::Exit;

const PID: i32 = 4711;
const GRACE: u64 = 1_000;
/// Longer than any simulated life, in milliseconds.
const END_OF_TIME: u64 = 100_000;

/// State of the harness's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    None,
    Alive,
    Zombie,
    Reaped,
}

/// A session and its environment. Times are in milliseconds.
struct World {
    random: Random,
    begun: Instant,
    now: u64,
    session: Session,
    /// Future inputs by their time; inputs of one thread keep their order.
    coming: BTreeMap<(u64, u64), Input>,
    sent: u64,
    process: Process,
    exited_at: Option<u64>,
    is_deaf: bool,
    /// The kernel refuses SIGTERM, always or sometimes.
    is_out_of_reach: bool,
    /// Time of the harness thread's last report; `is_lost`: it sends no more.
    thread_at: u64,
    is_lost: bool,
    is_hurried: bool,
    is_input_over: bool,
    has_order: bool,
    /// When the pipes are drained, of a process that has exited.
    drained_at: u64,
    writer_at: u64,
    /// The first end requested before the exit was known, and its time.
    asked: Option<(EndCause, u64)>,
    has_started: bool,
    closed: Option<End>,
    kill_causes: Vec<String>,
    launch: Receiver<Result<Launched, ApiError>>,
    kills: Vec<Receiver<Result<Killed, ApiError>>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (launch, launched) = bounded(1);
        let mut session = created();
        session.launch = Some(launch);
        session.repeats.clear();
        session.grace = Duration::from_millis(GRACE);
        session.limits.time = random.one_in(3).then(|| Duration::from_millis(2_000));
        session.has_conversation = random.one_in(4);
        session.stdin = *random.pick(&[Stdin::None, Stdin::Open]);
        session.launch_sweep = random.one_in(4).then(|| Duration::from_millis(GRACE));
        session.sweep = session.launch_sweep;
        let mut world = Self {
            begun: Instant::now(),
            now: 0,
            session,
            coming: BTreeMap::new(),
            sent: 0,
            process: Process::None,
            exited_at: None,
            is_deaf: random.one_in(3),
            is_out_of_reach: random.one_in(20),
            thread_at: 0,
            is_lost: false,
            is_hurried: false,
            is_input_over: false,
            has_order: false,
            drained_at: 0,
            writer_at: 0,
            asked: None,
            has_started: false,
            closed: None,
            kill_causes: Vec::new(),
            launch: launched,
            kills: Vec::new(),
            random,
        };
        world.launch();
        world
    }

    fn after(&mut self, most: usize) -> u64 {
        self.now + self.random.below(most) as u64
    }

    fn come(&mut self, at: u64, input: Input) {
        self.sent += 1;
        self.coming.insert((at, self.sent), input);
    }

    /// Schedules the harness thread's next report after all earlier ones.
    fn report(&mut self, at: u64, report: Report) {
        self.thread_at = self.thread_at.max(at) + 1;
        self.come(self.thread_at, Input::Report(report));
    }

    /// Schedules the writer's next answer.
    fn written(&mut self, input: Input) {
        self.writer_at = self.writer_at.max(self.after(50));
        self.come(self.writer_at, input);
    }

    fn launch(&mut self) {
        for _ in 0..self.random.below(3) {
            let at = self.after(4_000);
            let input = match self.random.below(3) {
                0 => Input::End(EndCause::DaemonStop),
                1 => Input::EndGrace,
                _ => {
                    let (kill, killed) = bounded(1);
                    self.kills.push(killed);
                    let signals = [
                        KillSignal::Term,
                        KillSignal::Term,
                        KillSignal::Term,
                        KillSignal::Kill,
                    ];
                    Input::Kill(kill, *self.random.pick(&signals))
                }
            };
            self.come(at, input);
        }
        if self.random.one_in(20) {
            return self.written(Input::NotCreated(ApiError::ShuttingDown));
        }
        if self.random.one_in(20) {
            self.is_lost = true;
            let reason = "panicked while it prepared the start".into();
            self.report(0, Report::Lost { reason });
        }
        self.written(Input::Created(SessionNum::FIRST));
        if self.is_lost {
            return;
        }
        let started_at = self.writer_at + self.random.below(50) as u64;
        if self.random.one_in(10) {
            let reason = "no such file".into();
            return self.report(started_at, Report::SpawnFailed { reason });
        }
        self.process = Process::Alive;
        self.report(started_at, Report::Started { pid: PID });
    }

    /// Actions of the harness by itself, once it runs.
    fn live(&mut self) {
        self.has_started = true;
        if self.session.stdin != Stdin::None && self.random.one_in(4) {
            let at = self.after(1_500);
            self.report(at, Report::InputClosed);
        }
        match self.random.below(8) {
            0 => {
                let cause = *self.random.pick(&[EndCause::Idle, EndCause::TokenLimit]);
                let at = self.after(3_000);
                self.report(at, Report::LimitReached(cause));
            }
            1 => {
                let at = self.after(3_000);
                self.is_lost = true;
                let reason = "panicked".into();
                return self.report(at, Report::Lost { reason });
            }
            _ => {}
        }
        if self.is_out_of_reach || !self.random.one_in(4) {
            let at = self.after(5_000);
            let exit = match self.random.below(3) {
                0 => Exit::Signal(11),
                _ => Exit::Code(self.random.below(2) as i32),
            };
            self.exit(at, exit);
        }
    }

    /// The process exits: its thread sees the exit, and then drains the pipes.
    fn exit(&mut self, at: u64, exit: Exit) {
        let earlier = self.exited_at.is_some_and(|earlier| earlier <= at);
        if self.is_lost || earlier {
            return;
        }
        self.exited_at = Some(at);
        // A later exit no longer happens.
        self.coming.retain(|_, input| {
            !matches!(
                input,
                Input::Report(Report::Exited(_) | Report::Drained { .. })
            )
        });
        let seen = HarnessExit {
            exit,
            at: self.time(at),
            unread: 0,
            oom_killed: false,
        };
        self.report(at, Report::Exited(seen));
        let drain = if self.is_hurried { 20 } else { 3_000 };
        self.drained_at = at + self.random.below(drain) as u64;
        if self.session.stdin == Stdin::None {
            self.drained();
        }
    }

    fn drained(&mut self) {
        let drained = Report::Drained {
            cost: SessionCost::default(),
            usage: None,
            is_late: !self.is_hurried && self.random.one_in(4),
            left: Vec::new(),
        };
        self.report(self.drained_at, drained);
    }

    fn time(&self, at: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + at as i64)
    }

    /// Applies an exit whose time has come.
    fn look_at_process(&mut self) {
        let has_exited = self.exited_at.is_some_and(|at| at <= self.now);
        if self.process == Process::Alive && has_exited {
            self.process = Process::Zombie;
        }
    }

    fn signal(&mut self, pid: i32) {
        assert_eq!(pid, PID);
        assert!(
            matches!(self.process, Process::Alive | Process::Zombie),
            "a signal to a pid that may be another process's: {:?}",
            self.process
        );
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Terminate(pid, signal) => {
                self.signal(pid);
                let is_refused = self.is_out_of_reach || self.random.one_in(20);
                if self.process == Process::Alive && is_refused {
                    self.asked = None;
                    return Some(Input::Terminated(Err("not permitted".into())));
                }
                let is_killed = signal == libc::SIGKILL;
                if self.process == Process::Alive && (is_killed || !self.is_deaf) {
                    let at = self.after(300);
                    let own = *self.random.pick(&[Exit::Signal(15), Exit::Code(0)]);
                    let exit = if is_killed { Exit::Signal(9) } else { own };
                    self.exit(at, exit);
                }
                return Some(Input::Terminated(Ok(())));
            }
            Effect::Kill(pid) => {
                self.signal(pid);
                if self.process == Process::Alive {
                    self.exit(self.now, Exit::Signal(9));
                    self.process = Process::Zombie;
                    self.exited_at = Some(self.now);
                }
            }
            Effect::Hurry => {
                assert!(!self.has_order, "an order to a thread that has ended");
                self.is_hurried = true;
            }
            Effect::Reap { sweep } => {
                self.reap();
                if sweep.is_some() {
                    let at = self.after(3_000);
                    self.report(at, Report::Swept { ended: 0 });
                }
            }
            Effect::ReadOn => {
                assert!(!self.is_hurried, "who is to be ended is not read on");
                self.reap();
            }
            Effect::EndInput => {
                assert!(!self.is_input_over && !self.has_order);
                self.is_input_over = true;
                self.drained();
            }
            Effect::Record(fact) => {
                assert!(self.closed.is_none(), "a fact behind the end: {fact:?}");
                self.record(&fact);
            }
            Effect::Close(fact) => {
                let Fact::Ended { end, .. } = fact else {
                    panic!("{fact:?}");
                };
                assert!(self.closed.replace(*end).is_none(), "it has ended twice");
                self.written(Input::Closed);
            }
            Effect::AnswerLaunch(reply, answer) => reply.send(answer).unwrap(),
            Effect::AnswerKill(reply, answer) => reply.send(answer).unwrap(),
            Effect::Log(_) => {}
        }
        None
    }

    fn reap(&mut self) {
        assert!(
            !std::mem::replace(&mut self.has_order, true),
            "reaped twice"
        );
        assert_eq!(self.process, Process::Zombie);
        self.process = Process::Reaped;
    }

    fn record(&mut self, fact: &Fact) {
        let Fact::Events { events, .. } = fact else {
            panic!("{fact:?}");
        };
        for event in events.iter().filter(|event| event.kind == EventKind::Kill) {
            let payload: serde_json::Value = serde_json::from_str(&event.payload_json).unwrap();
            self.kill_causes
                .push(payload["cause"].as_str().unwrap().into());
        }
    }

    /// Notes the end that `input` requests, if it can still have an effect.
    fn ask(&mut self, input: &Input) {
        let cause = match input {
            Input::Kill(..) => EndCause::Kill,
            Input::End(cause) | Input::Report(Report::LimitReached(cause)) => *cause,
            Input::Deadline => EndCause::Timeout,
            _ => return,
        };
        let is_in_time = matches!(
            self.session.phase,
            Phase::Creating | Phase::Starting | Phase::Running
        );
        if is_in_time && self.asked.is_none() {
            self.asked = Some((cause, self.now));
        }
    }

    fn happen(&mut self, input: Input) {
        self.look_at_process();
        self.ask(&input);
        let is_start = matches!(input, Input::Report(Report::Started { .. }));
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let now = Now {
                instant: self.begun + Duration::from_millis(self.now),
                at: self.time(self.now),
            };
            for effect in self.session.step(input, now) {
                next = self.carry_out(effect).or(next);
            }
            assert!(
                !(self.is_input_over || self.has_order) || self.session.check_reads().is_err(),
                "input is taken that may come on record behind the end"
            );
        }
        if is_start {
            self.live();
        }
    }

    /// Processes all scheduled inputs in the order of their times.
    fn run(&mut self) {
        let mut deadlines = 0;
        while self.session.phase != Phase::Gone {
            let deadline = self.session.deadline().map(|at| {
                let at = at.saturating_duration_since(self.begun).as_millis() as u64;
                at.max(self.now)
            });
            let next = self.coming.first_key_value().map(|(key, _)| *key);
            match (deadline, next) {
                (Some(at), next) if next.is_none_or(|(next, _)| at < next) => {
                    self.now = at;
                    deadlines += 1;
                    assert!(deadlines < 10, "a deadline that has passed comes again");
                    self.happen(Input::Deadline);
                }
                (_, Some(key)) => {
                    self.now = key.0;
                    let input = self.coming.remove(&key).unwrap();
                    self.happen(input);
                }
                // A session without an end runs until it is ended.
                (_, None) => self.come(self.now + 1, Input::End(EndCause::DaemonStop)),
            }
            assert!(
                self.now < END_OF_TIME,
                "it never ends: {:?}",
                self.session.phase
            );
        }
    }

    fn check(&mut self) {
        // A kill after the end is answered from the record.
        let late: Vec<Input> = std::mem::take(&mut self.coming).into_values().collect();
        let late = late.iter().filter(|input| matches!(input, Input::Kill(..)));
        let unheard = late.count();
        let answered = self.kills.iter().filter(|kill| kill.try_recv().is_ok());
        assert_eq!(answered.count() + unheard, self.kills.len());
        let launch_failed = self.launch.try_recv().is_ok();
        assert_eq!(launch_failed, !self.has_started);
        assert!(matches!(self.process, Process::None | Process::Reaped));
        let Some(end) = &self.closed else {
            return assert!(self.session.num.is_none());
        };
        let exit = self.session.exit.map(|exited| exited.exit);
        let by = match (exit, self.asked) {
            (Some(_), Some((cause, _))) => Some(cause.into()),
            (Some(Exit::Code(_)), None) => Some(EndedBy::Exit),
            (Some(Exit::Signal(_)), None) => Some(EndedBy::Signal),
            (None, _) => self.has_started.then_some(EndedBy::Lost),
        };
        assert_eq!(end.ended_by, by);
        let status = match (exit, self.asked) {
            (Some(_), Some(_)) => SessionStatus::Killed,
            (Some(Exit::Code(0)), None) if self.session.has_conversation => SessionStatus::Idle,
            (Some(Exit::Code(0)), None) => SessionStatus::Completed,
            _ => SessionStatus::Failed,
        };
        assert_eq!(end.status, status);
        if let (Some((cause, at)), Some(exited_at)) = (self.asked, self.exited_at) {
            // Its start becomes known after at most 100 ms here.
            assert!(exited_at <= at.max(100) + GRACE + 1, "{exited_at} {at}");
            if exit.is_some() {
                let told = self.kill_causes.last().map(String::as_str);
                assert_eq!(told, Some(EndedBy::from(cause).as_str()));
            }
        }
    }
}

#[test]
fn whatever_the_order_of_events_a_session_ends_once_with_the_cause_that_was_asked() {
    let mut ends = BTreeMap::<_, usize>::new();
    for seed in 0..rounds(20_000) as u64 {
        println!("seed {seed}");
        let mut world = World::new(seed);
        world.run();
        world.check();
        let by = world.closed.as_ref().and_then(|end| end.ended_by);
        *ends.entry(by.map_or("none", EndedBy::as_str)).or_default() += 1;
    }
    // Every kind of end has occurred.
    assert_eq!(ends.len(), EndedBy::ALL.len() + 1, "{ends:?}");
}
