//! The store's own routes: prune, vacuum, backup. They can take long, and hold nobody else.

use std::path::PathBuf;

use super::fields::{Body, no_nul};
use super::response::Answer;
use super::routes::Call;
use crate::api::{ApiError, BackedUp, Pruned, Vacuumed};
use crate::settings::durations;
use crate::state::Command;
use crate::store::{Answer as Committed, Chore};

/// `POST /store/prune`
pub(super) fn prune(call: &Call<'_>, _: &str) -> Result<Answer, ApiError> {
    let body = Body::parse_or_empty(&call.request.body)?;
    let pruned = match body.flag("dryRun")? {
        Some(true) => call.context.reader.preview_prune()?,
        _ => match chore(call, Chore::Prune)? {
            Committed::Pruned(pruned) => pruned,
            other => return Err(other.unexpected()),
        },
    };
    let answer = Pruned {
        ok: true,
        events: pruned.dropped.events,
        bytes: pruned.dropped.bytes,
        sessions: pruned.sessions,
    };
    Answer::of(200, &answer)
}

/// `POST /store/vacuum`. A damaged database is left as it is.
pub(super) fn vacuum(call: &Call<'_>, _: &str) -> Result<Answer, ApiError> {
    call.context.reader.check_integrity()?;
    let bytes_freed = match chore(call, Chore::Vacuum)? {
        Committed::Vacuumed(bytes) => bytes,
        other => return Err(other.unexpected()),
    };
    let answer = Vacuumed {
        ok: true,
        integrity_check: "ok".into(),
        bytes_freed,
    };
    Answer::of(200, &answer)
}

fn chore(call: &Call<'_>, chore: Chore) -> Result<Committed, ApiError> {
    call.context
        .ask_within(durations::CHORE, |reply| Command::Chore(chore, reply))
}

/// `POST /store/backup`
pub(super) fn backup(call: &Call<'_>, _: &str) -> Result<Answer, ApiError> {
    let body = Body::parse(&call.request.body)?;
    let path = body.required("path")?;
    no_nul("path", path)?;
    let path = PathBuf::from(path);
    let wrong = |why: &str| ApiError::invalid_field("path", format!("path {why}"));
    if !path.is_absolute() {
        return Err(wrong("must be absolute"));
    }
    if path.symlink_metadata().is_ok() {
        return Err(wrong("is there already"));
    }
    if !path.parent().is_some_and(|parent| parent.is_dir()) {
        return Err(wrong("is in no directory"));
    }
    let bytes = call.context.reader.backup(&path)?;
    Answer::of(200, &BackedUp { ok: true, bytes })
}
