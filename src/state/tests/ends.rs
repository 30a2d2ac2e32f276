//! The ends of a session: kills, limits, stops, lost threads, and what the harness leaves behind.

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
fn a_harness_that_cannot_be_signalled_lives_on_and_the_kill_is_answered() {
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
fn a_row_that_cannot_be_written_answers_all_waiting_clients() {
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
