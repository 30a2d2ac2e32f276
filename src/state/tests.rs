//! Unit tests of a session's steps, without process, store or clock: every phase, every input, and random orders of
//! them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use super::effect::{Effect, LogLine};
use super::life::{Input, Now, Phase};
use super::session::Session;
use super::stdin::Stdin;
use crate::adapters::Limits;
use crate::api::{
    ApiError, EndCause, KillSignal, LeftBehind, SessionCost, SessionId, SessionStatus, Timestamp,
};
use crate::harness::{HarnessExit, Report};
use crate::observe::field::KillCause;
use crate::random::{Random, rounds};
use crate::redact::Redactor;
use crate::settings::durations;
use crate::store::{Fact, SessionNum};
use crate::sys::{Exit, Process};

const PID: i32 = 4711;

fn now() -> Now {
    Now::read()
}

pub(super) fn created() -> Session {
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
        redactor: Arc::new(Redactor::new("").0),
        limits: Limits {
            time: Some(durations::CHORE),
            ..Limits::default()
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
    Input::Report(Report::Drained {
        cost: SessionCost::default(),
        usage: None,
        is_late,
        left,
    })
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

#[test]
fn a_kill_is_signalled_at_once_or_when_the_harness_runs() {
    for (phase, at_once, then) in [
        (Phase::Creating, &[][..], "SIGTERM"),
        (Phase::Starting, &[], "SIGTERM"),
        (Phase::Running, &["SIGTERM"], ""),
        (Phase::Exited, &["hurry", "SIGKILL"], ""),
        (Phase::Sweeping, &[], ""),
        (Phase::Ended, &["kill failed"], ""),
    ] {
        let mut session = at(phase);
        assert_eq!(outline(&step(&mut session, killed())), at_once, "{phase:?}");
        if !then.is_empty() {
            session.step(Input::Created(SessionNum::FIRST), now());
            assert!(outline(&step(&mut session, started())).contains(&then));
        }
    }
}

#[test]
fn a_session_whose_streams_are_held_is_closed_before_they_are_read_on() {
    let mut session = at(Phase::Exited);
    let effects = step(&mut session, drained_late());
    assert_eq!(
        outline(&effects),
        ["log", "left behind", "close", "read on"]
    );
    assert_eq!(session.phase, Phase::Ended);
    assert_eq!(outline(&step(&mut session, killed())), ["kill failed"]);
}

#[test]
fn a_session_whose_end_is_asked_for_is_swept_whoever_holds_its_streams() {
    let mut session = at(Phase::Running);
    step(&mut session, killed());
    let effects = step(&mut session, Input::Terminated(Ok(())));
    assert_eq!(outline(&effects), ["hurry", "log", "record"]);
    step(&mut session, exited(Exit::Signal(15)));
    let effects = step(&mut session, drained_late());
    assert_eq!(outline(&effects), ["log", "SIGKILL", "sweep and reap"]);
}

#[test]
fn what_a_harness_leaves_behind_is_on_record_unless_it_is_ended_with_the_session() {
    let left_behind = |effects: &[Effect]| {
        let ends = effects.iter().find_map(|effect| match effect {
            Effect::Close(Fact::Ended { end, .. }) => Some(end.left_behind.to_string()),
            _ => None,
        });
        ends.expect("a closing fact")
    };
    let mut session = at(Phase::Exited);
    let effects = step(&mut session, drained_and(false));
    assert_eq!(outline(&effects), ["log", "left behind", "reap", "close"]);
    assert_eq!(left_behind(&effects), "4712 node");

    let grace = Some(durations::SWEEP_GRACE_MAX);
    let mut session = at(Phase::Running);
    (session.launch_sweep, session.sweep) = (grace, grace);
    let effects = step(&mut session, exited(Exit::Code(0)));
    assert_eq!(outline(&effects), ["end input", "hurry"]);
    let effects = step(&mut session, drained_and(true));
    assert_eq!(outline(&effects), ["log", "sweep with a grace and reap"]);
    let effects = step(&mut session, swept());
    assert_eq!(left_behind(&effects), "");
    assert_eq!(closing_status(&effects), Some(SessionStatus::Completed));
}

#[test]
fn a_kill_that_is_refused_leaves_the_sweep_that_the_launch_has_asked_for() {
    let grace = Some(durations::SWEEP_GRACE_MAX);
    for launched in [None, grace] {
        let mut session = at(Phase::Running);
        (session.launch_sweep, session.sweep) = (launched, launched);
        step(&mut session, killed());
        assert_eq!(session.sweep, Some(Duration::ZERO));
        step(&mut session, refused());
        assert_eq!(session.sweep, launched);
    }
}

#[test]
fn a_kill_after_the_exit_does_not_change_what_the_session_ended_as() {
    let mut session = at(Phase::Exited);
    step(&mut session, killed());
    let effects = step(&mut session, drained());
    assert_eq!(outline(&effects), ["log", "SIGKILL", "sweep and reap"]);
    let effects = step(&mut session, swept());
    assert_eq!(closing_status(&effects), Some(SessionStatus::Completed));
    assert_eq!(outline(&step(&mut session, Input::Closed)), ["killed"]);
}

#[test]
fn the_cause_that_is_asked_first_is_the_one_on_record() {
    let asked: [(fn() -> Input, EndCause); 2] = [
        (|| Input::End(EndCause::DaemonStop), EndCause::DaemonStop),
        (killed, EndCause::Kill),
    ];
    for (first, expected) in asked {
        for phase in [Phase::Creating, Phase::Starting, Phase::Running] {
            let mut session = at(phase);
            step(&mut session, first());
            for (later, _) in asked {
                step(&mut session, later());
            }
            session.step(Input::Created(SessionNum::FIRST), now());
            session.step(started(), now());
            let effects = step(&mut session, Input::Terminated(Ok(())));
            assert_eq!(cause(&effects), Some(expected), "{phase:?}");
        }
    }
}

#[test]
fn a_time_limit_ends_a_session_once_and_not_one_that_is_being_ended() {
    let mut session = at(Phase::Running);
    assert!(session.deadline() > Some(Instant::now() + durations::STOP_STORE));
    assert_eq!(outline(&step(&mut session, Input::Deadline)), ["SIGTERM"]);
    let effects = step(&mut session, Input::Terminated(Ok(())));
    assert_eq!(cause(&effects), Some(EndCause::Timeout));

    let mut session = at(Phase::Running);
    step(&mut session, Input::End(EndCause::DaemonStop));
    assert!(session.deadline() <= Some(Instant::now() + durations::STOP_STORE));
    // The only deadline is now that of the grace period.
    assert_eq!(
        outline(&step(&mut session, Input::Deadline)),
        ["log", "SIGKILL"]
    );
    assert_eq!(session.deadline(), None);
    assert_eq!(session.ending.unwrap().cause, EndCause::DaemonStop);
}

#[test]
fn the_grace_period_begins_when_the_end_is_asked_for() {
    let mut session = at(Phase::Starting);
    step(&mut session, Input::End(EndCause::DaemonStop));
    let kill_at = session.ending.unwrap().kill_at;
    step(&mut session, started());
    step(&mut session, Input::Terminated(Ok(())));
    assert_eq!(session.deadline(), kill_at);
}

#[test]
fn a_second_stop_signal_ends_the_grace_period_in_every_phase() {
    for (phase, expected) in [
        (Phase::Running, &["log", "SIGKILL"][..]),
        // It had ended by itself, and got SIGKILL with the first signal.
        (Phase::Exited, &[]),
        (Phase::Sweeping, &[]),
        (Phase::Ended, &[]),
    ] {
        let mut session = at(phase);
        step(&mut session, Input::End(EndCause::DaemonStop));
        assert_eq!(
            outline(&step(&mut session, Input::EndGrace)),
            expected,
            "{phase:?}"
        );
    }
    for phase in [Phase::Creating, Phase::Starting] {
        let mut session = at(phase);
        step(&mut session, Input::End(EndCause::DaemonStop));
        assert!(step(&mut session, Input::EndGrace).is_empty());
        session.step(Input::Created(SessionNum::FIRST), now());
        let effects = step(&mut session, started());
        assert_eq!(outline(&effects), ["log", "launched", "SIGTERM"]);
        assert!(session.deadline().unwrap() <= Instant::now(), "{phase:?}");
        assert_eq!(
            outline(&step(&mut session, Input::Deadline)),
            ["log", "SIGKILL"]
        );
    }
}

#[test]
fn a_session_whose_thread_is_lost_is_ended_and_closed_as_failed() {
    for (phase, expected) in [
        (Phase::Creating, &["log"][..]),
        (Phase::Starting, &["log", "log", "close"]),
        (Phase::Running, &["log", "SIGKILL", "sweep and reap"]),
        (Phase::Exited, &["log", "SIGKILL", "sweep and reap"]),
        (Phase::Sweeping, &["log", "close"]),
        (Phase::Ended, &["unexpected"]),
    ] {
        let mut session = at(phase);
        let mut effects = step(&mut session, lost());
        assert_eq!(outline(&effects), expected, "{phase:?}");
        match phase {
            Phase::Creating => effects = step(&mut session, Input::Created(SessionNum::FIRST)),
            Phase::Running | Phase::Exited => {
                effects = step(&mut session, swept());
            }
            _ => {}
        }
        if phase != Phase::Ended {
            assert_eq!(
                closing_status(&effects),
                Some(SessionStatus::Failed),
                "{phase:?}"
            );
        }
        let answers = outline(&step(&mut session, Input::Closed));
        let never_ran = matches!(phase, Phase::Creating | Phase::Starting);
        assert_eq!(answers.contains(&"launch failed"), never_ran, "{phase:?}");
    }
}

#[test]
fn a_harness_that_cannot_be_signalled_lives_on_and_whoever_asked_is_told() {
    let mut session = at(Phase::Running);
    step(&mut session, killed());
    assert_eq!(
        outline(&step(&mut session, refused())),
        ["log", "kill failed"]
    );
    step(&mut session, exited(Exit::Code(0)));
    let effects = step(&mut session, drained());
    assert_eq!(outline(&effects), ["log", "reap", "close"]);
    assert_eq!(closing_status(&effects), Some(SessionStatus::Completed));
}

#[test]
fn a_row_that_cannot_be_written_answers_everybody_who_waits() {
    let mut session = at(Phase::Creating);
    step(&mut session, killed());
    let effects = step(&mut session, Input::NotCreated(ApiError::ShuttingDown));
    assert_eq!(
        outline(&effects),
        ["launch failed", "launch failed", "kill failed"]
    );
    assert_eq!(session.phase, Phase::Gone);
}

#[test]
fn the_thread_is_told_at_the_exit_that_no_input_follows_and_nobody_is_let_send_any() {
    for (stdin, expected) in [
        (Stdin::None, &[][..]),
        (Stdin::Open, &["end input"]),
        (Stdin::Closed, &["end input"]),
        (Stdin::Ended, &["end input"]),
    ] {
        let mut session = at(Phase::Running);
        session.stdin = stdin;
        assert_eq!(session.check_reads().is_ok(), stdin == Stdin::Open);
        let effects = step(&mut session, exited(Exit::Code(0)));
        assert_eq!(outline(&effects), expected, "{stdin:?}");
        assert!(session.check_reads().is_err());
    }
}
