//! What the database holds, in numbers; and one session, without its text.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use super::anonymise::Anonymiser;
use super::report::Block;
use crate::api::{
    EventKind, SessionCost, SessionRecord, SessionStatus, Visibility, is_session_id_prefix,
};
use crate::daemon::Home;
use crate::store::{self, EventOutline, Group, SessionOutline, StoreError, Survey};
use crate::sys;

/// What was found in the database.
pub(super) struct Found {
    pub survey: Result<Survey, String>,
    /// The session that was asked for.
    pub session: Option<Result<SessionOutline, String>>,
}

/// Looks into the database until `deadline`. With `is_stopped`, no daemon has it open.
pub(super) fn look(
    home: &Home,
    is_stopped: bool,
    session: Option<&str>,
    deadline: Instant,
) -> Found {
    let path = home.database();
    let wal = store::beside(&path, "-wal");
    if let Err(why) = check(home, &path) {
        return Found {
            session: session.map(|_| Err(why.clone())),
            survey: Err(why),
        };
    }
    // What is not in its log is in the file itself: then it is read without a lock, and without a file beside it.
    let is_empty = wal.metadata().map_or(true, |meta| meta.len() == 0);
    let is_alone = is_stopped && is_empty;
    let said = |err: StoreError| err.to_string();
    // The session first: it is what was asked for, and cheap.
    let session = session.map(|prefix| {
        if !is_session_id_prefix(prefix) {
            return Err("no session's id begins like that".to_owned());
        }
        let found = store::outline(&path, deadline, is_alone, prefix).map_err(said)?;
        found.ok_or_else(|| "not exactly one session's id begins like that".to_owned())
    });
    Found {
        survey: store::survey(&path, deadline, is_alone).map_err(said),
        session,
    }
}

/// Whether the database can be read without leaving anything that its owner could not use.
fn check(home: &Home, path: &Path) -> Result<(), String> {
    let meta = path.symlink_metadata().map_err(|err| match err.kind() {
        io::ErrorKind::NotFound => "there is no database yet".to_owned(),
        _ => format!("the database cannot be looked at: {err}"),
    })?;
    let owners = [
        Ok(meta.uid()),
        home.path().metadata().map(|meta| meta.uid()),
    ];
    for owner in owners.into_iter().flatten() {
        if owner != sys::euid() {
            return Err(format!(
                "the database belongs to another user (uid {owner}): to read it could leave a -wal and a -shm that they \
                 cannot use, so it was not opened; run coven diagnostics as that user"
            ));
        }
    }
    if !meta.is_file() {
        return Err("the database is not a regular file".into());
    }
    Ok(())
}

pub(super) fn counts(
    survey: &Result<Survey, String>,
    harnesses: &[String],
    a: &Anonymiser,
) -> Block {
    let survey = match survey {
        Ok(survey) => survey,
        Err(why) => return Block::Missing(a.text(why)),
    };
    const COUNTS: &[&str] = &["name", "count"];
    let total: u64 = survey.sessions.iter().map(|group| group.count).sum();
    a.count("titles", total);
    a.count("project roots and working directories", total);
    a.count("sessions' labels", survey.labelled);
    let events_of = survey.events.iter().flatten();
    a.count("events' payloads", events_of.map(|group| group.count).sum());
    let is_harness = |word: &str| harnesses.iter().any(|known| known == word);
    let count = |group: &Group| vec![group.name.as_str().into(), group.count.into()];
    let table = |groups: &[Group]| Block::Table(COUNTS, groups.iter().map(count).collect());
    Block::Group(vec![
        (
            "file",
            Block::Facts(vec![
                ("schema", survey.schema.into()),
                ("bytes", (survey.pages * survey.page_bytes).into()),
                ("freeBytes", (survey.free_pages * survey.page_bytes).into()),
                ("sessions", total.into()),
                ("eventsEver", survey.events_ever.into()),
                ("external", survey.external.into()),
                ("archived", survey.archived.into()),
                ("withLabels", survey.labelled.into()),
            ]),
        ),
        (
            "sessionsByStatus",
            table(&known(
                &survey.sessions,
                |word| SessionStatus::parse(word).is_some(),
                a,
            )),
        ),
        (
            "sessionsByHarness",
            table(&known(&survey.harnesses, is_harness, a)),
        ),
        ("eventsByKind", events(survey.events.as_deref(), a)),
    ])
}

fn events(groups: Option<&[Group]>, a: &Anonymiser) -> Block {
    const COLUMNS: &[&str] = &["kind", "count", "payloadBytes"];
    let Some(groups) = groups else {
        return Block::Missing("there are too many to be counted in time".into());
    };
    let groups = known(groups, is_kind, a);
    let row = |group: &Group| {
        vec![
            group.name.as_str().into(),
            group.count.into(),
            group.bytes.into(),
        ]
    };
    Block::Table(COLUMNS, groups.iter().map(row).collect())
}

fn is_kind(word: &str) -> bool {
    EventKind::parse(word).is_some()
}

/// `groups` with those that have a name which is not ours put together.
fn known(groups: &[Group], is_known: impl Fn(&str) -> bool, a: &Anonymiser) -> Vec<Group> {
    let (mut kept, others): (Vec<Group>, Vec<Group>) = groups
        .iter()
        .cloned()
        .partition(|group| is_known(&group.name));
    if !others.is_empty() {
        a.count("harnesses that no manifest names", others.len() as u64);
        kept.push(Group {
            name: OTHER.into(),
            count: others.iter().map(|group| group.count).sum(),
            bytes: others.iter().map(|group| group.bytes).sum(),
        });
    }
    kept
}

const OTHER: &str = "<other>";

/// One session, without its text.
pub(super) fn session(
    found: &Result<SessionOutline, String>,
    harnesses: &[String],
    a: &Anonymiser,
) -> Block {
    const EVENTS: &[&str] = &["seq", "kind", "time", "payloadBytes"];
    let outline = match found {
        Ok(outline) => outline,
        Err(why) => return Block::Missing(a.text(why)),
    };
    let event = |event: &EventOutline| {
        let kind = if is_kind(&event.kind) {
            &event.kind
        } else {
            OTHER
        };
        vec![
            event.seq.into(),
            kind.into(),
            event.at.to_string().into(),
            event.bytes.into(),
        ]
    };
    Block::Group(vec![
        ("record", Block::Facts(record(&outline.record, harnesses))),
        ("eventsByKind", events(Some(&outline.kinds), a)),
        (
            "newestEvents",
            Block::Table(EVENTS, outline.events.iter().map(event).collect()),
        ),
    ])
}

fn record(record: &SessionRecord, harnesses: &[String]) -> Vec<(&'static str, Value)> {
    let at = |at: Option<crate::api::Timestamp>| Value::from(at.map(|at| at.to_string()));
    let is_known = harnesses.contains(&record.harness);
    let harness = if is_known {
        record.harness.as_str()
    } else {
        OTHER
    };
    let cwd = record
        .cwd
        .as_ref()
        .map(|cwd| match *cwd == record.project_root {
            true => "<project>",
            false => "<project>/<path>",
        });
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
        ("id", record.id.to_string().into()),
        ("status", record.status.as_str().into()),
        ("harness", harness.into()),
        ("external", record.external.into()),
        ("exitCode", record.exit_code.into()),
        ("signal", record.signal.into()),
        ("pid", record.pid.into()),
        ("stdoutPipeBytes", record.stdout_pipe_bytes.into()),
        ("createdAt", at(Some(record.created_at))),
        ("startedAt", at(started_at)),
        ("endedAt", at(ended_at)),
        ("updatedAt", at(Some(record.updated_at))),
        ("archivedAt", at(record.archived_at)),
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
