//! The store's routes: prune, vacuum, backup. They can take long, and block no other request. Runs on the connection
//! thread.

use std::path::PathBuf;

use super::call::{Call, Exchange};
use super::response::Answer;
use crate::api::{ApiError, BackedUp, PruneRequest, Pruned, Vacuumed, routes};
use crate::settings::durations;
use crate::state::Command;
use crate::store::{Chore, Committed};

/// `POST /store/prune`
pub(super) fn prune(call: &Call<'_, routes::Prune>) -> Result<Answer, ApiError> {
    let _work = call.server.parking().long_work();
    let PruneRequest { dry_run, days } = call.body_or_default()?;
    let pruned = match dry_run {
        true => call.context.reader.preview_prune(days)?,
        false => match chore(call, Chore::Prune { days })? {
            Committed::Pruned(pruned) => pruned,
            other => return Err(other.unexpected().into()),
        },
    };
    call.ok(&Pruned::from(pruned))
}

/// `POST /store/vacuum`. A damaged database is not changed.
pub(super) fn vacuum(call: &Call<'_, routes::Vacuum>) -> Result<Answer, ApiError> {
    let _work = call.server.parking().long_work();
    call.context.reader.check_integrity()?;
    let bytes_freed = match chore(call, Chore::Vacuum)? {
        Committed::Vacuumed(bytes) => bytes,
        other => return Err(other.unexpected().into()),
    };
    call.ok(&Vacuumed::undamaged(bytes_freed))
}

fn chore(call: &Exchange<'_>, chore: Chore) -> Result<Committed, ApiError> {
    call.context
        .ask_within(durations::CHORE, |reply| Command::Chore(chore, reply))
}

/// `POST /store/backup`
pub(super) fn backup(call: &Call<'_, routes::Backup>) -> Result<Answer, ApiError> {
    let _work = call.server.parking().long_work();
    let path = PathBuf::from(call.body()?.path);
    let wrong = |why: &str| ApiError::invalid_field("path", format!("path {why}"));
    if path.symlink_metadata().is_ok() {
        let taken = format!("{} is there already: a copy is a new file", path.display());
        return Err(wrong(&taken));
    }
    if !path.parent().is_some_and(|parent| parent.is_dir()) {
        return Err(wrong(&format!("{} is in no directory", path.display())));
    }
    let bytes = call.context.reader.backup(&path)?;
    call.ok(&BackedUp { ok: true, bytes })
}
