//! Unit tests of a session's steps, without process, store or clock: every phase, every input, and random orders of
//! them.

mod ends;

use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use super::effect::{Effect, LogLine};
use super::life::{Input, InputTime, Phase};
use super::session::Session;
use super::stdin::Stdin;
use crate::adapters::SessionLimits;
use crate::api::{
    ApiError, EndCause, KillSignal, LeftBehind, SessionCost, SessionId, SessionStatus, Timestamp,
};
use crate::harness::{Drained, HarnessExit, Report};
use crate::observe::field::KillCause;
use crate::random::{Random, rounds};
use crate::settings::durations;
use crate::store::{Fact, SessionNum};
use crate::sys::{Exit, Process};

const PID: i32 = 4711;

fn now() -> InputTime {
    InputTime::read()
}

fn created() -> Session {
    Session {
        id: SessionId::random(),
        phase: Phase::Creating,
        num: None,
        pid: None,
        harness: None,
        harness_id: "hello".into(),
        stdin: Stdin::Open,
        is_stream: false,
        has_conversation: false,
        redactor: None,
        limits: SessionLimits {
            time: Some(durations::CHORE),
            ..SessionLimits::default()
        },
        timeout_at: None,
        // Longer than a test takes, and shorter than the time limit.
        grace: durations::STOP_STORE,
        ending: None,
        launch_sweep: None,
        sweep: None,
        swept: 0,
        left: LeftBehind::default(),
        exit: None,
        pump: None,
        failure: None,
        closing: None,
        launch: Some(bounded(1).0),
        repeats: vec![bounded(1).0],
        kills: Vec::new(),
        early_input: Vec::new(),
    }
}

fn started() -> Input {
    Input::Report(Report::Started { pid: PID })
}

fn exited(exit: Exit) -> Input {
    Input::Report(Report::Exited(HarnessExit {
        exit,
        at: Timestamp::now(),
        unread: 3,
        oom_killed: true,
    }))
}

/// The `Drained` report of a harness that left a process behind.
fn drained_and(is_late: bool) -> Input {
    let (name, mark) = ("node".into(), "boot/1".into());
    let pid = PID + 1;
    drained_with(is_late, vec![Process { pid, name, mark }])
}

fn drained() -> Input {
    drained_with(false, Vec::new())
}

fn drained_late() -> Input {
    drained_and(true)
}

fn drained_with(is_late: bool, left: Vec<Process>) -> Input {
    Input::Report(Report::Drained(Drained {
        cost: SessionCost::default(),
        usage: None,
        is_late,
        left,
    }))
}

fn swept() -> Input {
    Input::Report(Report::Swept { ended: 2 })
}

fn lost() -> Input {
    let reason = "a bug".into();
    Input::Report(Report::Lost { reason })
}

fn killed() -> Input {
    Input::Kill(bounded(1).0, KillSignal::Term)
}

fn refused() -> Input {
    Input::Terminated(Err("Operation not permitted".into()))
}

/// Each input once; an index selects one.
const INPUTS: [fn() -> Input; 19] = [
    || Input::Created(SessionNum::FIRST),
    || Input::NotCreated(ApiError::ShuttingDown),
    started,
    || {
        Input::Report(Report::SpawnFailed {
            reason: "no such file".into(),
        })
    },
    || Input::Report(Report::InputClosed),
    || Input::Report(Report::LimitReached(EndCause::TokenLimit)),
    || exited(Exit::Code(0)),
    || exited(Exit::Signal(15)),
    drained,
    drained_late,
    lost,
    swept,
    killed,
    || Input::End(EndCause::DaemonStop),
    || Input::Terminated(Ok(())),
    refused,
    || Input::Deadline,
    || Input::EndGrace,
    || Input::Closed,
];

/// A session that reached `phase` by itself. It is in `Sweeping` only because its thread was lost.
fn at(phase: Phase) -> Session {
    let mut session = created();
    let to_sweeping = [lost()];
    let to_ended = [exited(Exit::Code(0)), drained()];
    let inputs = [Input::Created(SessionNum::FIRST), started()].into_iter();
    let inputs: Vec<Input> = match phase {
        Phase::Sweeping => inputs.chain(to_sweeping).collect(),
        _ => inputs.chain(to_ended).collect(),
    };
    for input in inputs {
        if session.phase == phase {
            break;
        }
        session.step(input, now());
    }
    assert_eq!(session.phase, phase);
    session
}

/// Applies `input`, and checks the invariants of every step.
fn step(session: &mut Session, input: Input) -> Vec<Effect> {
    let (before, name) = (session.phase, input.name());
    let fits = !before.after(&input).is_empty();
    let is_launched = matches!(input, Input::Report(Report::Started { .. })) && fits;
    let replies = waiting(session) + usize::from(matches!(input, Input::Kill(..)))
        // The writer answers the launch, once the harness's start is on disk.
        - usize::from(is_launched && session.launch.is_some());
    let effects = session.step(input, now());
    let answered = count(&effects, |effect| {
        matches!(effect, Effect::AnswerLaunch(..) | Effect::AnswerKill(..))
    });
    assert_eq!(
        waiting(session) + answered,
        replies,
        "{name} in {before:?} has dropped a reply"
    );
    if !fits {
        assert_eq!(session.phase, before, "{name}");
        assert!(
            matches!(effects[..], [Effect::Log(LogLine::Unexpected(input))] if input == name),
            "{name} in {before:?}: {effects:?}"
        );
    }
    if before.is_drained() || session.phase == Phase::Gone {
        let signals = count(&effects, is_signal);
        assert_eq!(
            signals, 0,
            "{name} in {before:?} signals what may be reaped"
        );
    }
    if session.phase == Phase::Gone {
        assert_eq!(waiting(session), 0, "{name} in {before:?}");
    }
    effects
}

fn count(effects: &[Effect], is_wanted: impl Fn(&Effect) -> bool) -> usize {
    effects.iter().filter(|effect| is_wanted(effect)).count()
}

fn waiting(session: &Session) -> usize {
    session.launch.iter().len() + session.repeats.len() + session.kills.len()
}

fn is_signal(effect: &Effect) -> bool {
    matches!(effect, Effect::Terminate(..) | Effect::Kill(_))
}

/// The kinds of the effects in order, without answers.
fn outline(effects: &[Effect]) -> Vec<&'static str> {
    let name = |effect: &Effect| match effect {
        Effect::Terminate(PID, libc::SIGTERM) => "SIGTERM",
        Effect::Kill(PID) => "SIGKILL",
        Effect::Terminate(..) | Effect::Kill(_) => "a signal to somebody else",
        Effect::EndInput => "end input",
        Effect::Reap {
            sweep: Some(Duration::ZERO),
        } => "sweep and reap",
        Effect::Reap { sweep: Some(_) } => "sweep with a grace and reap",
        Effect::Reap { sweep: None } => "reap",
        Effect::Log(LogLine::LeftBehind(_, 1)) => "left behind",
        Effect::Hurry => "hurry",
        Effect::ReadOn => "read on",
        Effect::Record(_) => "record",
        Effect::Close(_) => "close",
        Effect::AnswerLaunch(_, Ok(_)) => "launched",
        Effect::AnswerLaunch(_, Err(_)) => "launch failed",
        Effect::AnswerKill(_, Ok(_)) => "killed",
        Effect::AnswerKill(_, Err(_)) => "kill failed",
        Effect::Log(LogLine::Unexpected(_)) => "unexpected",
        Effect::Log(_) => "log",
    };
    effects.iter().map(name).collect()
}

/// The cause in the log line of SIGTERM.
fn cause(effects: &[Effect]) -> Option<EndCause> {
    effects.iter().find_map(|effect| match effect {
        Effect::Log(LogLine::Signalled(PID, KillCause::Asked(cause))) => Some(*cause),
        _ => None,
    })
}

/// The status in the closing facts.
fn closing_status(effects: &[Effect]) -> Option<SessionStatus> {
    effects.iter().find_map(|effect| match effect {
        Effect::Close(Fact::Ended { end, .. }) => {
            // Killed by the OOM killer; a requested kill keeps its own cause.
            assert!(!end.oom_killed || end.status != SessionStatus::Killed);
            Some(end.status)
        }
        _ => None,
    })
}

#[test]
fn every_input_in_every_phase_keeps_or_answers_every_reply() {
    for &phase in &Phase::ALL[..Phase::Gone as usize] {
        for input in INPUTS {
            let mut session = at(phase);
            step(&mut session, input());
            // The same with a requested end.
            let mut session = at(phase);
            step(&mut session, killed());
            step(&mut session, input());
        }
    }
}

#[test]
fn in_any_order_of_inputs_a_session_is_closed_and_reaped_once_at_most() {
    let mut random = Random::new(11);
    let mut lives = 0;
    for _ in 0..rounds(1000) {
        let mut session = created();
        let (mut closed, mut reaped) = (0, 0);
        for _ in 0..40 {
            let input = random.pick(&INPUTS)();
            if session.phase.after(&input).is_empty() && !random.one_in(4) {
                continue;
            }
            let effects = step(&mut session, input);
            closed += count(&effects, |effect| matches!(effect, Effect::Close(_)));
            reaped += count(&effects, |effect| {
                matches!(effect, Effect::Reap { .. } | Effect::ReadOn)
            });
            assert!(count(&effects, is_signal) == 0 || session.pid == Some(PID));
            if session.phase == Phase::Gone {
                break;
            }
        }
        assert!(closed <= 1 && reaped <= 1, "{closed} {reaped}");
        assert_eq!(closed == 1, session.has_ended() && session.num.is_some());
        lives += closed * reaped;
    }
    assert!(lives > 0, "no session has lived from its launch to its end");
}

#[test]
fn an_exit_before_the_start_is_logged_and_the_launch_still_waits() {
    let mut session = at(Phase::Starting);
    assert_eq!(
        outline(&step(&mut session, exited(Exit::Code(0)))),
        ["unexpected"]
    );
    assert!(session.launch.is_some());
    assert_eq!(outline(&step(&mut session, started())), ["log", "launched"]);
}

#[test]
fn the_end_of_the_output_without_an_exit_is_logged_and_the_kill_still_waits() {
    let mut session = at(Phase::Running);
    step(&mut session, killed());
    assert_eq!(outline(&step(&mut session, drained())), ["unexpected"]);
    assert_eq!(session.kills.len(), 1);
    step(&mut session, exited(Exit::Signal(15)));
    let effects = step(&mut session, drained());
    assert_eq!(outline(&effects), ["log", "SIGKILL", "sweep and reap"]);
    let effects = step(&mut session, swept());
    assert_eq!(closing_status(&effects), Some(SessionStatus::Killed));
    assert_eq!(outline(&step(&mut session, Input::Closed)), ["killed"]);
    assert_eq!(session.phase, Phase::Gone);
}
