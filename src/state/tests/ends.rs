//! The ends of a session, as far as the simulation cannot tell: the order of the effects, and what is on record.

use super::*;

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
fn a_killed_session_is_swept_whichever_process_holds_its_streams() {
    let mut session = at(Phase::Running);
    step(&mut session, killed());
    let effects = step(&mut session, Input::Terminated(Ok(())));
    assert_eq!(outline(&effects), ["hurry", "log", "record"]);
    step(&mut session, exited(Exit::Signal(15)));
    let effects = step(&mut session, drained_late());
    assert_eq!(outline(&effects), ["log", "SIGKILL", "sweep and reap"]);
}

#[test]
fn processes_left_behind_are_on_record_unless_they_are_ended_with_the_session() {
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
fn a_refused_kill_keeps_the_sweep_of_the_launch() {
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
fn the_exit_ends_the_input_and_later_input_is_refused() {
    for (stdin, expected) in [
        (Stdin::None, &[][..]),
        (Stdin::Open, &["end input"]),
        (Stdin::Closed, &["end input"]),
        (Stdin::Ended, &["end input"]),
    ] {
        let mut session = at(Phase::Running);
        session.stdin = stdin;
        assert_eq!(session.check_reads().is_ok(), stdin == Stdin::Open);
        assert_eq!(session.is_at_eof(), stdin == Stdin::Ended);
        let effects = step(&mut session, exited(Exit::Code(0)));
        assert_eq!(outline(&effects), expected, "{stdin:?}");
        assert!(session.check_reads().is_err() && !session.is_at_eof());
    }
}

#[test]
fn a_harness_that_has_closed_its_stdin_takes_no_input_and_its_record_tells_so() {
    let mut session = at(Phase::Running);
    let effects = step(&mut session, Input::Report(Report::InputClosed));
    assert_eq!(outline(&effects), ["record"]);
    let refused = session.check_reads().unwrap_err();
    assert!(
        matches!(refused, ApiError::SendInputFailed { .. }),
        "{refused:?}"
    );
}
