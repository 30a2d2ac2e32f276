//! The columns of tables of sessions: their names, and the cell of each for a record. `sessions` and `stats` share them.
//!
//! It knows neither which sessions are shown nor where they come from.

use std::collections::HashMap;
use std::time::Duration;

use super::output::visible;
use super::table::{GREEN, RED, age, amount, duration, local, painted, rough, shortened};
use crate::api::{EndedBy, SessionId, SessionRecord, SessionStatus, Timestamp, Word, words};

words! {
    /// A field of a session.
    pub(super) enum Column {
        Id = "id",
        Status = "status",
        Harness = "harness",
        Created = "created",
        Age = "age",
        Duration = "duration",
        End = "end",
        Cpu = "cpu",
        Memory = "memory",
        Output = "output",
        Silent = "silent",
        Labels = "labels",
        Model = "model",
        Cwd = "cwd",
        Title = "title",
    }
}

impl Column {
    /// Its head in a table.
    pub(super) fn head(self) -> String {
        self.as_str().to_uppercase()
    }
}

/// Form of the cells.
#[derive(Default)]
pub(super) struct Look {
    pub has_colors: bool,
    pub has_whole_ids: bool,
    pub has_whole_titles: bool,
    /// For programs: exact times, and no words for people.
    pub is_plain: bool,
    /// The figures of the table before this one: rates are since then, else since the start of the session.
    pub before: HashMap<SessionId, Sample>,
}

/// Live figures at one time.
#[derive(Clone, Copy)]
pub(super) struct Sample {
    at: Timestamp,
    cpu_ms: u64,
    output_bytes: u64,
}

impl Sample {
    /// The figures of a running session.
    pub(super) fn of(session: &SessionRecord) -> Option<Self> {
        let cost = &session.cost;
        Some(Self {
            at: Timestamp::now(),
            // Unknown on macOS.
            cpu_ms: session.family_cpu_ms.unwrap_or(0),
            output_bytes: cost.stdout_bytes? + cost.stderr_bytes?,
        })
    }
}

/// Resources and output of a session, on average over a time.
pub(super) struct Rates {
    /// Of one processor.
    pub cpu_percent: Option<u64>,
    pub output_bytes_per_second: u64,
}

impl Rates {
    /// Those of `session` since the `before` sample, or since its start; `None` unless it runs.
    pub(super) fn of(session: &SessionRecord, before: Option<&Sample>) -> Option<Self> {
        let now = Sample::of(session)?;
        let start = Sample {
            at: session.cost.started_at?,
            cpu_ms: 0,
            output_bytes: 0,
        };
        let before = before.unwrap_or(&start);
        let millis = (before.at.until(now.at).as_millis() as u64).max(1);
        // The CPU time of a family falls when a process is gone for which nobody has waited.
        let rate = |now: u64, before: u64, unit| now.saturating_sub(before) * unit / millis;
        Some(Self {
            cpu_percent: session
                .family_cpu_ms
                .map(|now| rate(now, before.cpu_ms, 100)),
            output_bytes_per_second: rate(now.output_bytes, before.output_bytes, 1000),
        })
    }
}

impl Look {
    /// The cell of a session in a column.
    pub(super) fn cell(&self, column: Column, session: &SessionRecord) -> String {
        let text = |text: &Option<String>| text.as_deref().map(visible).unwrap_or_default();
        let rates = || Rates::of(session, self.before.get(&session.id));
        match column {
            Column::Id => {
                let id = match self.has_whole_ids {
                    true => session.id.to_string(),
                    false => session.id.short(),
                };
                visible(&id)
            }
            Column::Status => self.status(session),
            Column::Harness => visible(&session.harness),
            Column::Created if self.is_plain => session.created_at.to_string(),
            Column::Created => local(session.created_at),
            Column::Age => format!("{} ago", age(session.created_at)),
            Column::Duration => took(session).map(duration).unwrap_or_default(),
            Column::End => end(session),
            Column::Cpu => rates()
                .and_then(|rates| Some(format!("{} %", rates.cpu_percent?)))
                .unwrap_or_default(),
            Column::Memory => session.family_rss_bytes.map(amount).unwrap_or_default(),
            Column::Output => rates()
                .map(|rates| amount(rates.output_bytes_per_second) + "/s")
                .unwrap_or_default(),
            Column::Silent => silence(session).map(duration).unwrap_or_default(),
            Column::Labels => visible(&session.options.labels.0.join(",")),
            Column::Model => text(&session.options.model),
            Column::Cwd => text(&session.cwd),
            Column::Title if self.has_whole_titles => visible(&session.title),
            Column::Title => shortened(&session.title, 60),
        }
    }

    fn status(&self, session: &SessionRecord) -> String {
        let status = session.status;
        let text = status.as_str();
        let status = match status {
            SessionStatus::Created | SessionStatus::Running => {
                painted(self.has_colors, GREEN, text)
            }
            SessionStatus::Failed | SessionStatus::Killed | SessionStatus::Orphaned => {
                painted(self.has_colors, RED, text)
            }
            SessionStatus::Idle | SessionStatus::Completed => text.to_owned(),
        };
        match session.archived_at.is_some() && !self.is_plain {
            true => status + " (archived)",
            false => status,
        }
    }
}

/// The exit code or the cause of the end; of a running session its silence.
fn end(session: &SessionRecord) -> String {
    let by = session.ended_by.as_ref().and_then(Word::known);
    match (by, session.exit_code, session.signal) {
        _ if !session.status.is_final() => {
            let silence = silence(session).map(rough);
            silence.map_or_else(String::new, |silence| format!("silent {silence}"))
        }
        _ if session.oom_killed => "memory".into(),
        (Some(EndedBy::Exit) | None, Some(code), _) => code.to_string(),
        (Some(EndedBy::Signal) | None, None, Some(signal)) => format!("signal {signal}"),
        (Some(by), ..) => by.to_string(),
        (None, None, None) => String::new(),
    }
}

/// The time since the last output of a running session, or since its start.
pub(super) fn silence(session: &SessionRecord) -> Option<Duration> {
    // Unknown for a session that another program runs.
    session
        .cost
        .stdout_bytes
        .filter(|_| !session.status.is_final())?;
    let since = session.last_output_at.or(session.cost.started_at)?;
    Some(since.until(Timestamp::now()))
}

/// Run time of a session.
pub(super) fn took(session: &SessionRecord) -> Option<Duration> {
    let now = (!session.status.is_final()).then(Timestamp::now);
    let from = session.cost.started_at.unwrap_or(session.created_at);
    Some(from.until(session.cost.ended_at.or(now)?))
}
