//! Checks of the database and its disk.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use super::check::{CheckStatus, Verdict, fail, pass, warn};
use crate::api::StorageHealth;
use crate::cli::observation::Observation;
use crate::cli::table::amount;
use crate::observe::{Message, message};
use crate::settings::durations;
use crate::store::{self, Inspection, Integrity, StoreError};
use crate::sys;

/// Free bytes below which a busy day may fill the disk, and below which the next minute may.
const FREE_LOW: u64 = 1 << 30;
const FREE_NONE: u64 = 64 << 20;

pub(super) fn store(seen: &Observation) -> Option<Verdict> {
    let database = database(seen);
    let damage = store::damage(&seen.home.database());
    Some(
        match damage.filter(|_| database.status == CheckStatus::Pass) {
            Some(damage) => warn(
                message!(
                    "{}, but at {} it was met damaged: {}",
                    database.message,
                    damage.at,
                    Message::foreign(damage.what)
                ),
                "coven vacuum, which checks all of it",
            ),
            None => database,
        },
    )
}

fn database(seen: &Observation) -> Verdict {
    let path = seen.home.database();
    let meta = match path.metadata() {
        Ok(meta) => meta,
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            return missing(&path, seen);
        }
        Err(err) => return fail(message!("{}: {}", &path, &err), "look at its path"),
    };
    if meta.uid() != sys::euid() {
        // Reading a database in WAL mode can leave files beside it, which its owner could not use.
        let message = message!("{} belongs to uid {}: not opened", &path, meta.uid());
        let hint = message!(
            "run it as that user: sudo -u '#{}' coven doctor",
            meta.uid()
        );
        return warn(message, hint);
    }
    let deadline = seen
        .until
        .max(Instant::now() + durations::DOCTOR_DATABASE_MIN);
    let is_alone = seen.is_store_alone();
    let mut result = store::inspect(&path, deadline, is_alone);
    if is_alone && seen.wal_bytes() > 0 {
        // A daemon has started meanwhile: the first result may be of a half-made change.
        result = store::inspect(&path, deadline, false);
    }
    let size = message!("{}, its log {}", bytes(meta.len()), bytes(seen.wal_bytes()));
    verdict(&path, size, result, seen.service().stop())
}

fn missing(path: &Path, seen: &Observation) -> Verdict {
    if seen.health().is_none() {
        return pass(message!(
            "{} does not exist yet: the first start creates it",
            path
        ));
    }
    let message = message!(
        "{} is gone, and the daemon still writes to it: a restart begins an empty one",
        path
    );
    let hint = message!(
        "the daemon saves it as {}.recovered-TIME, at its stop again: after that, coven restore the newest",
        path
    );
    fail(message, hint)
}

fn verdict(
    path: &Path,
    size: Message,
    result: Result<Inspection, StoreError>,
    stop: Message,
) -> Verdict {
    let found = match result {
        Ok(found) => found,
        Err(err @ StoreError::Newer { .. }) => {
            let hint = "use the newer coven that wrote it, or another COVEN_HOME";
            return fail(message!("{}: {}", path, err.message()), hint);
        }
        Err(err @ StoreError::Foreign) => {
            let hint = message!(
                "move it away: mv {} {}.old",
                Message::quoted(path),
                Message::quoted(path)
            );
            return fail(message!("{}: {}", path, err.message()), hint);
        }
        Err(err) => {
            return fail(message!("{}: {}", path, err.message()), rescue(path, stop));
        }
    };
    let schema = match found.schema == found.known_schema {
        true => message!("schema {}", found.schema),
        false => message!(
            "schema {} of {}, brought forward at the next start",
            found.schema,
            found.known_schema
        ),
    };
    match found.integrity {
        Integrity::Whole => pass(message!("{} is intact ({}, {})", path, schema, size)),
        Integrity::Damaged(what) => fail(
            message!("{} is damaged: {}", path, Message::name(what)),
            rescue(path, stop),
        ),
        Integrity::Unfinished => warn(
            message!(
                "{} opens ({}, {}), but is too large to be checked in a few seconds",
                path,
                schema,
                size
            ),
            message!(
                "sqlite3 -readonly {} 'PRAGMA quick_check', which takes its time",
                Message::quoted(path)
            ),
        ),
    }
}

fn rescue(path: &Path, stop: Message) -> Message {
    message!(
        "{}, then coven restore COPY, one that coven backup made; without it keep a copy of {}*, and save what can \
         be read: sqlite3 {} .recover | sqlite3 {}.new",
        stop,
        Message::quoted(path),
        Message::quoted(path),
        Message::quoted(path)
    )
}

pub(super) fn disk(seen: &Observation) -> Option<Verdict> {
    let home = &seen.home;
    // A new home will be on its parent's disk.
    let at = home.path().ancestors().find(|path| path.exists())?;
    let free = sys::free_bytes(at).ok()?;
    let message = message!("{} free for {}", bytes(free), home.path());
    let hint = "make room, or delete sessions: coven sacrifice";
    Some(if free < FREE_NONE {
        fail(message, hint)
    } else if free < FREE_LOW {
        warn(message, hint)
    } else {
        pass(message)
    })
}

/// The retention settings, and the output deleted so far.
pub(super) fn retention(seen: &Observation) -> Option<Verdict> {
    Some(kept(&seen.health()?.storage))
}

fn kept(storage: &StorageHealth) -> Verdict {
    let limit = |limit: Option<u64>| limit.map_or("no limit".into(), bytes);
    if let Some(most) = storage
        .limit_bytes
        .filter(|&most| storage.used_bytes > most)
    {
        let message = message!(
            "the store takes {} of {}: what is left belongs to live sessions, or is no output",
            bytes(storage.used_bytes),
            bytes(most)
        );
        let hint = "coven kill sessions that print much, or raise COVEN_STORE_MAX_BYTES";
        return warn(message, hint);
    }
    if let Some(clock) = storage.unconfirmed_clock {
        let hint = "look at the clock: date; if it is right, there is nothing to do";
        return warn(clock, hint);
    }
    let days = match storage.retention_days {
        Some(days) => message!("for {} days", days),
        None => "for ever".into(),
    };
    let kept = message!(
        "output is kept {}, {} in all, {} a session",
        days,
        limit(storage.limit_bytes),
        limit(storage.session_limit_bytes)
    );
    let gone = match storage.last_truncated_at {
        Some(at) => message!(
            "{} events ({}) have gone since the start, the last at {}",
            storage.truncated_output_events,
            bytes(storage.truncated_output_bytes),
            at
        ),
        None => "none has gone since the start".into(),
    };
    let set = storage
        .clock_set_by_ms
        .map_or(Message::default(), |millis| {
            message!(
                "; the clock was set by {} s, and ages do not follow it",
                millis / 1000
            )
        });
    pass(message!("{}; {}{}", kept, gone, set))
}

fn bytes(n: u64) -> Message {
    Message::word(&amount(n), |_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_too_large_to_check_is_no_failure() {
        let found = Inspection {
            schema: 1,
            known_schema: 2,
            integrity: Integrity::Unfinished,
        };
        let check = verdict(
            Path::new("/my db"),
            "1.0 TB".into(),
            Ok(found),
            "stop it".into(),
        );
        assert_eq!(check.status, CheckStatus::Warn);
        for part in ["opens", "schema 1 of 2", "1.0 TB", "too large"] {
            assert!(check.message.to_string().contains(part), "{check:?}");
        }
        assert!(
            check
                .hint
                .unwrap()
                .to_string()
                .contains("sqlite3 -readonly '/my db' ")
        );
    }
}
