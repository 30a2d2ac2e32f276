//! What the database holds, in numbers; and one session, without its text.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use super::gather::Read;
use super::report::Block;
use super::shown::{Privacy, Shown};
use crate::api::{
    EventKind, SessionCost, SessionRecord, SessionStatus, Visibility, is_session_id_prefix,
};
use crate::daemon::Home;
use crate::observe::{Message, message};
use crate::store::{self, EventOutline, Group, SessionOutline, StoreError, Survey};
use crate::sys;

/// Looks into the database until `deadline`, and for the session that is asked for. With `is_stopped`, no daemon has it
/// open.
pub(super) fn look(
    home: &Home,
    is_stopped: bool,
    session: Option<&str>,
    deadline: Instant,
) -> (Result<Survey, Message>, Read<SessionOutline>) {
    let path = home.database();
    let wal = store::beside(&path, "-wal");
    if let Err(why) = check(home, &path) {
        let session = session.map(|_| Err(why.clone()));
        return (Err(why), session);
    }
    // What is not in its log is in the file itself: then it is read without a lock, and without a file beside it.
    let is_empty = wal.metadata().map_or(true, |meta| meta.len() == 0);
    let is_alone = is_stopped && is_empty;
    let said = |err: StoreError| err.message();
    // The session first: it is what was asked for, and cheap.
    let session = session.map(|prefix| {
        if !is_session_id_prefix(prefix) {
            return Err("no session's id begins like that".into());
        }
        let found = store::outline(&path, deadline, is_alone, prefix).map_err(said)?;
        found.ok_or_else(|| "not exactly one session's id begins like that".into())
    });
    let survey = store::survey(&path, deadline, is_alone).map_err(said);
    (survey, session)
}

/// Whether the database can be read without leaving anything that its owner could not use.
fn check(home: &Home, path: &Path) -> Result<(), Message> {
    let meta = path.symlink_metadata().map_err(|err| match err.kind() {
        io::ErrorKind::NotFound => "there is no database yet".into(),
        _ => message!("the database cannot be looked at: {}", &err),
    })?;
    let owners = [
        Ok(meta.uid()),
        home.path().metadata().map(|meta| meta.uid()),
    ];
    for owner in owners.into_iter().flatten() {
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

pub(super) fn counts(survey: &Survey, privacy: &Privacy) -> Block {
    let total: u64 = survey.sessions.iter().map(|group| group.count).sum();
    let events_of = survey.events.iter().flatten();
    for (what, count) in [
        ("titles", total),
        ("project roots and working directories", total),
        ("sessions' labels", survey.labelled),
        ("events' payloads", events_of.map(|group| group.count).sum()),
    ] {
        privacy.count(what, count);
    }
    let facts = vec![
        ("schema", survey.schema.into()),
        ("bytes", (survey.pages * survey.page_bytes).into()),
        ("freeBytes", (survey.free_pages * survey.page_bytes).into()),
        ("sessions", total.into()),
        ("eventsEver", survey.events_ever.into()),
        ("external", survey.external.into()),
        ("archived", survey.archived.into()),
        ("withLabels", survey.labelled.into()),
    ];
    let count = |group: &Group| vec![group.count.into()];
    let table = |groups, known: &dyn Fn(&str) -> Option<Shown>| {
        Block::Table(&["name", "count"], rows(groups, known, count, privacy))
    };
    let status = |word: &str| privacy.word(word, |word| SessionStatus::parse(word).is_some());
    let harness = |word: &str| privacy.harness(word);
    Block::Group(vec![
        ("file", Block::Facts(facts)),
        ("sessionsByStatus", table(&survey.sessions, &status)),
        ("sessionsByHarness", table(&survey.harnesses, &harness)),
        ("eventsByKind", events(survey.events.as_deref(), privacy)),
    ])
}

fn events(groups: Option<&[Group]>, privacy: &Privacy) -> Block {
    let Some(groups) = groups else {
        return Block::Missing("there are too many to be counted in time".into());
    };
    let figures = |group: &Group| vec![group.count.into(), group.bytes.into()];
    let rows = rows(groups, &|word| kind(word, privacy), figures, privacy);
    Block::Table(&["kind", "count", "payloadBytes"], rows)
}

fn kind(word: &str, privacy: &Privacy) -> Option<Shown> {
    privacy.word(word, |word| EventKind::parse(word).is_some())
}

/// A row a group; those that have a name which is not ours are put together.
fn rows(
    groups: &[Group],
    known: &dyn Fn(&str) -> Option<Shown>,
    figures: impl Fn(&Group) -> Vec<Shown>,
    privacy: &Privacy,
) -> Vec<Vec<Shown>> {
    let row = |name: Shown, group: &Group| [vec![name], figures(group)].concat();
    let named = groups.iter().map(|group| (known(&group.name), group));
    let (kept, others): (Vec<_>, Vec<_>) = named.partition(|(name, _)| name.is_some());
    let kept = kept.into_iter();
    let mut rows: Vec<Vec<Shown>> = kept
        .filter_map(|(name, group)| Some(row(name?, group)))
        .collect();
    if !others.is_empty() {
        privacy.count("harnesses that no manifest names", others.len() as u64);
        let all = Group {
            name: OTHER.into(),
            count: others.iter().map(|(_, group)| group.count).sum(),
            bytes: others.iter().map(|(_, group)| group.bytes).sum(),
        };
        rows.push(row(OTHER.into(), &all));
    }
    rows
}

/// One session, without its text.
pub(super) fn session(outline: &SessionOutline, privacy: &Privacy) -> Block {
    const EVENTS: &[&str] = &["seq", "kind", "time", "payloadBytes"];
    let event = |event: &EventOutline| {
        let kind = kind(&event.kind, privacy).unwrap_or(OTHER.into());
        vec![event.seq.into(), kind, event.at.into(), event.bytes.into()]
    };
    let newest = outline.events.iter().map(event).collect();
    Block::Group(vec![
        ("record", Block::Facts(record(&outline.record, privacy))),
        ("eventsByKind", events(Some(&outline.kinds), privacy)),
        ("newestEvents", Block::Table(EVENTS, newest)),
    ])
}

fn record(record: &SessionRecord, privacy: &Privacy) -> Vec<(&'static str, Shown)> {
    let cwd = record.cwd.as_ref();
    let cwd = cwd.map(|cwd| match *cwd == record.project_root {
        true => "<project>",
        false => "<project>/<path>",
    });
    let harness = privacy.harness(&record.harness).unwrap_or(OTHER.into());
    let options = &record.options;
    let visibility = options.visibility.known();
    let SessionCost {
        started_at,
        ended_at,
        cpu_ms,
        peak_rss_bytes,
        stdout_bytes,
        stdout_lines,
        stderr_bytes,
        stderr_lines,
    } = record.cost;
    vec![
        ("id", record.id.into()),
        ("status", record.status.as_str().into()),
        ("harness", harness),
        ("external", record.external.into()),
        ("exitCode", record.exit_code.into()),
        ("signal", record.signal.into()),
        ("pid", record.pid.into()),
        ("stdoutPipeBytes", record.stdout_pipe_bytes.into()),
        ("createdAt", record.created_at.into()),
        ("startedAt", started_at.into()),
        ("endedAt", ended_at.into()),
        ("updatedAt", record.updated_at.into()),
        ("archivedAt", record.archived_at.into()),
        ("lastSeq", record.last_seq.into()),
        ("visibility", visibility.map(Visibility::as_str).into()),
        ("projectRoot", "<project>".into()),
        ("cwd", cwd.into()),
        ("titleBytes", record.title.len().into()),
        ("labels", options.labels.0.len().into()),
        ("hasModel", options.model.is_some().into()),
        ("hasConversation", options.conversation_id.is_some().into()),
        ("hasFamiliar", options.familiar_id.is_some().into()),
        ("hasTranscript", record.transcript_path.is_some().into()),
        ("cpuMs", cpu_ms.into()),
        ("peakRssBytes", peak_rss_bytes.into()),
        ("stdoutBytes", stdout_bytes.into()),
        ("stdoutLines", stdout_lines.into()),
        ("stderrBytes", stderr_bytes.into()),
        ("stderrLines", stderr_lines.into()),
    ]
}
