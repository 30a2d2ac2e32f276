//! Random facts and requests that are legal in a state of the model.

use super::expected::{Kept, Model};
use crate::api::{
    Code, EventKind, LaunchOptions, LeftBehind, OnEnd, PROMPT_HEAD, Payload, SessionCost,
    SessionId, SessionRecord, SessionStatus, Timestamp, Word,
};
use crate::random::Random;
use crate::store::facts::{Edit, End, Fact, NewEvent, NewSession, StoreRequest};

pub(super) enum Work {
    Fact(Fact),
    Request(StoreRequest),
}

fn output(random: &mut Random) -> NewEvent {
    let length = match random.below(3) {
        0 => random.below(100),
        1 => random.below(8_000),
        _ => random.below(40_000),
    };
    let data = "x".repeat(length);
    NewEvent {
        kind: EventKind::Output,
        payload_json: format!(r#"{{"data":"{data}","stream":"stdout"}}"#),
        at: Timestamp::now(),
    }
}

fn events(random: &mut Random) -> Vec<NewEvent> {
    (0..random.below(4))
        .map(|_| match random.below(6) {
            0 => NewEvent::error(Code::SendInputFailed, "a reason"),
            // A typed input that looks like a prompt's event.
            1 => NewEvent::now(Payload::Input {
                data: PROMPT_HEAD,
                eof: false,
            }),
            _ => output(random),
        })
        .collect()
}

/// No prompt, one of one event, or one of several.
fn prompt(random: &mut Random, at: Timestamp) -> Vec<NewEvent> {
    let length = *random.pick(&[0, 20, 8_000, 70_000]);
    NewEvent::of_prompt(at, &"p\n".repeat(length / 2), length)
}

fn record(random: &mut Random, model: &Model) -> SessionRecord {
    let text = |text: &str| text.to_owned();
    let external = random.one_in(3);
    let on_end = (!external && random.one_in(2)).then(|| *random.pick(&OnEnd::ALL));
    let from = (!model.sessions.is_empty()).then(|| random.pick(&model.sessions).id);
    SessionRecord {
        external,
        status: SessionStatus::Created,
        options: LaunchOptions {
            on_end: on_end.map(Word::from),
            ..LaunchOptions::default()
        },
        continued_from: from.filter(|_| random.one_in(2)),
        ..SessionRecord::new(SessionId::random(), text("/p"), text("hello"), text("t"))
    }
}

/// A random fact or request that is legal in this state.
pub(super) fn work(random: &mut Random, model: &Model) -> Work {
    let choice = random.below(12);
    // Few sessions, so that each gets many writes.
    if model.sessions.is_empty() || (choice == 0 && model.sessions.len() < 4) {
        let record = Box::new(record(random, model));
        return Work::Request(match record.external {
            true => StoreRequest::RegisterExternal(record),
            false => StoreRequest::Create(Box::new(NewSession {
                prompt: prompt(random, record.created_at),
                record: *record,
                idempotency: None,
            })),
        });
    }
    let kept = random.pick(&model.sessions).clone();
    match choice {
        1..=3 => Work::Request(request(random, kept.id, choice)),
        _ => Work::Fact(fact(random, model, &kept, choice)),
    }
}

fn request(random: &mut Random, id: SessionId, choice: usize) -> StoreRequest {
    let missing = SessionId::random();
    let id = if random.one_in(20) { missing } else { id };
    match choice {
        1 if random.one_in(4) => StoreRequest::Delete { id },
        1 => StoreRequest::Edit {
            id,
            edit: Edit::default(),
        },
        2 if random.one_in(2) => StoreRequest::OnEnd { id },
        2 => StoreRequest::Archive {
            id,
            archived: random.one_in(2),
        },
        _ => StoreRequest::Complete {
            id,
            exit_code: exit_code(random),
        },
    }
}

fn fact(random: &mut Random, model: &Model, kept: &Kept, choice: usize) -> Fact {
    let num = kept.num;
    match choice {
        4 if kept.status == SessionStatus::Created && !kept.is_external => Fact::Started {
            num,
            pid: 7,
            process_mark: None,
            stdout_pipe_bytes: Some(65_536),
            at: Timestamp::now(),
        },
        5 if kept.status == SessionStatus::Running => Fact::Ended {
            num,
            end: Box::new(End {
                status: *random.pick(&[SessionStatus::Completed, SessionStatus::Killed]),
                exit_code: exit_code(random),
                signal: None,
                ended_by: None,
                oom_killed: false,
                left_behind: LeftBehind::default(),
            }),
            cost: SessionCost::default(),
            usage: None,
            events: events(random),
        },
        // Also for a deleted session: a process that its harness left behind still writes.
        6 => Fact::Events {
            num: model.deleted.last().map_or(num, |(num, _)| *num),
            events: events(random),
        },
        _ => Fact::Events {
            num,
            events: events(random),
        },
    }
}

fn exit_code(random: &mut Random) -> Option<i32> {
    (!random.one_in(3)).then(|| random.below(2) as i32)
}
