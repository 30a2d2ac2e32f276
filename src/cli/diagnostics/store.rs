//! Counts of the database, and one session without its text. Read on a thread of its own.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::gather::Read;
use super::privacy::Privacy;
use super::shown::{Shown, object};
use crate::api::{EventKind, SessionRecord, SessionStatus, is_session_id_prefix};
use crate::cli::observation::Observation;
use crate::daemon::Home;
use crate::observe::{Message, message};
use crate::store::{self, EventOutline, Group, SessionOutline, StoreError, Survey};
use crate::sys;

/// Counts the database's content, and outlines the requested session.
pub(super) fn survey(
    seen: &Observation,
    session: Option<&str>,
) -> (Read<Survey>, Read<SessionOutline>) {
    let path = seen.home.database();
    if let Err(why) = check(&seen.home, &path) {
        return (Err(why.clone()), Err(why));
    }
    let (until, is_alone) = (seen.until, seen.is_store_alone());
    let said = |err: StoreError| err.message();
    // The session first: it was requested, and is cheap.
    let session = match session {
        Some(prefix) if is_session_id_prefix(prefix) => {
            store::outline(&path, until, is_alone, prefix)
                .map_err(said)
                .and_then(|found| {
                    found.ok_or("not exactly one session's id begins like that".into())
                })
        }
        _ => Err("no session's id begins like that".into()),
    };
    (store::survey(&path, until, is_alone).map_err(said), session)
}

/// Checks that reading the database leaves no files that its owner could not use.
fn check(home: &Home, path: &Path) -> Result<(), Message> {
    let meta = path.symlink_metadata().map_err(|err| match err.kind() {
        io::ErrorKind::NotFound => "there is no database yet".into(),
        _ => message!("the database cannot be looked at: {}", &err),
    })?;
    for owner in [meta.uid(), home.owner()] {
        if owner != sys::euid() {
            return Err(message!(
                "the database belongs to another user (uid {}): to read it could leave a -wal and a -shm that they cannot \
                 use, so it was not opened; run coven diagnostics as that user",
                owner
            ));
        }
    }
    if !meta.is_file() {
        return Err("the database is not a regular file".into());
    }
    Ok(())
}

const OTHER: &str = "<other>";

pub(super) fn counts(survey: &Survey, privacy: &Privacy) -> Shown {
    let total: u64 = survey.sessions.iter().map(|group| group.count).sum();
    let events_of = survey.events.iter().flatten();
    privacy.count("titles", total);
    privacy.count("project roots and working directories", total);
    privacy.count("sessions' labels", survey.labelled);
    privacy.count("events' payloads", events_of.map(|group| group.count).sum());
    let file = object! {
        "schema": survey.schema,
        "bytes": survey.pages * survey.page_bytes,
        "freeBytes": survey.free_pages * survey.page_bytes,
        "sessions": total,
        "eventsEver": survey.events_ever,
        "external": survey.external,
        "archived": survey.archived,
        "withLabels": survey.labelled,
    };
    let count = |name: Shown, group: &Group| object! { "name": name, "count": group.count };
    let status = |word: &str| privacy.word(word, |word| SessionStatus::parse(word).is_some());
    let harness = |word: &str| privacy.harness(word);
    let events = survey
        .events
        .as_deref()
        .map(|groups| events(groups, privacy));
    object! {
        "file": file,
        "sessionsByStatus": rows(&survey.sessions, &status, count, privacy),
        "sessionsByHarness": rows(&survey.harnesses, &harness, count, privacy),
        "eventsByKind": events.unwrap_or(object! { "unavailable": "there are too many to be counted in time" }),
    }
}

fn events(groups: &[Group], privacy: &Privacy) -> Shown {
    let row = |kind: Shown, group: &Group| object! { "kind": kind, "count": group.count, "payloadBytes": group.bytes };
    rows(groups, &|word| kind(word, privacy), row, privacy)
}

fn kind(word: &str, privacy: &Privacy) -> Option<Shown> {
    privacy.word(word, |word| EventKind::parse(word).is_some())
}

/// One row for each group; groups with unknown names are summed.
fn rows(
    groups: &[Group],
    known: &dyn Fn(&str) -> Option<Shown>,
    row: impl Fn(Shown, &Group) -> Shown,
    privacy: &Privacy,
) -> Shown {
    let others = || groups.iter().filter(|group| known(&group.name).is_none());
    privacy.count("harnesses that no manifest names", others().count() as u64);
    let all = Group {
        name: OTHER.into(),
        count: others().map(|group| group.count).sum(),
        bytes: others().map(|group| group.bytes).sum(),
    };
    let kept = groups
        .iter()
        .filter_map(|group| Some(row(known(&group.name)?, group)));
    kept.chain(others().next().map(|_| row(OTHER.into(), &all)))
        .collect()
}

/// One session without its text.
pub(super) fn session(outline: &SessionOutline, privacy: &Privacy) -> Shown {
    let event = |event: &EventOutline| {
        let kind = kind(&event.kind, privacy).unwrap_or(OTHER.into());
        object! { "seq": event.seq, "kind": kind, "time": event.at, "payloadBytes": event.bytes }
    };
    object! {
        "record": record(&outline.record, privacy),
        "eventsByKind": events(&outline.kinds, privacy),
        "newestEvents": outline.events.iter().map(event).collect::<Shown>(),
    }
}

fn record(record: &SessionRecord, privacy: &Privacy) -> Shown {
    let cwd = record
        .cwd
        .as_ref()
        .map(|cwd| match *cwd == record.project_root {
            true => "<project>",
            false => "<project>/<path>",
        });
    let (options, cost) = (&record.options, &record.cost);
    object! {
        "id": record.id,
        "status": record.status.as_str(),
        "harness": privacy.harness(&record.harness).unwrap_or(OTHER.into()),
        "external": record.external,
        "exitCode": record.exit_code,
        "signal": record.signal,
        "pid": record.pid,
        "stdoutPipeBytes": record.stdout_pipe_bytes,
        "createdAt": record.created_at,
        "startedAt": cost.started_at,
        "endedAt": cost.ended_at,
        "updatedAt": record.updated_at,
        "archivedAt": record.archived_at,
        "lastSeq": record.last_seq,
        "visibility": options.visibility.known().map(|word| word.as_str()),
        "projectRoot": "<project>",
        "cwd": cwd,
        "titleBytes": record.title.len(),
        "labels": options.labels.0.len(),
        "hasModel": options.model.is_some(),
        "hasConversation": options.conversation_id.is_some(),
        "hasFamiliar": options.familiar_id.is_some(),
        "hasTranscript": record.transcript_path.is_some(),
        "cpuMs": cost.cpu_ms,
        "peakRssBytes": cost.peak_rss_bytes,
        "stdoutBytes": cost.stdout_bytes,
        "stdoutLines": cost.stdout_lines,
        "stderrBytes": cost.stderr_bytes,
        "stderrLines": cost.stderr_lines,
    }
}
