//! The log of a daemon that runs as a systemd unit, in the journal.
//!
//! Runs in the CLI's process. It does not know how a record is printed.

use std::io;
use std::time::Instant;

use super::pages::paged;
use super::{CliError, Home};
use crate::api::{Code, Timestamp};
use crate::daemon::service::Unit;
use crate::observe::LogRecord;
use crate::observe::journal::{Entry, Journal, ReadOrder};
use crate::sys::{self, Interest};

/// A unit's log in the journal.
pub(super) struct UnitLog {
    unit: Unit,
    /// journalctl's arguments: the namespace, and the matches.
    matches: Vec<String>,
}

impl UnitLog {
    /// The log of `unit`, which serves `home`, in a namespace of the journal.
    pub(super) fn new(home: &Home, unit: Unit, namespace: Option<&str>) -> Self {
        // systemd's own messages about the unit are in no namespace: `+` includes both.
        let mut matches: Vec<String> = namespace
            .map(|name| format!("--namespace=+{name}"))
            .into_iter()
            .collect();
        matches.extend(unit.journal_matches(home.owner()));
        Self { unit, matches }
    }

    pub(super) fn open(
        &self,
        order: ReadOrder<'_>,
        since: Option<Timestamp>,
    ) -> Result<Journal, CliError> {
        Journal::open(&self.matches, order, since).map_err(|err| match err.kind() {
            io::ErrorKind::NotFound => self.cannot_read("there is no journalctl on PATH"),
            _ => self.cannot_read(&format!("journalctl does not start: {err}")),
        })
    }

    /// The entries until the end.
    pub(super) fn entries(
        &self,
        order: ReadOrder<'_>,
        since: Option<Timestamp>,
    ) -> Result<impl Iterator<Item = Result<Entry, CliError>>, CliError> {
        let mut journal = self.open(order, since)?;
        Ok(paged(move || match journal.read()? {
            Some(entries) => Ok((entries, false)),
            None => match journal.finish()? {
                Some(said) => Err(self.cannot_read(&said)),
                None => Ok((Vec::new(), true)),
            },
        }))
    }

    /// The last `count` records, oldest first: those read before `deadline`.
    pub(super) fn tail(&self, count: usize, deadline: Instant) -> Result<Vec<LogRecord>, CliError> {
        let mut journal = self.open(ReadOrder::NewestFirst, None)?;
        let mut records = Vec::new();
        let has_ended = loop {
            if !sys::poll(&mut [Interest::readable(&journal)], Some(deadline))? {
                break false;
            }
            let Some(entries) = journal.read()? else {
                break true;
            };
            records.extend(entries.into_iter().map(|entry| entry.record));
            if records.len() >= count {
                break false;
            }
        };
        if has_ended && let Some(said) = journal.finish()? {
            return Err(self.cannot_read(&said));
        }
        if records.is_empty() {
            return Err(self.is_empty());
        }
        records.truncate(count);
        records.reverse();
        Ok(records)
    }

    /// Why no entry exists; `None` if `since` is the reason.
    pub(super) fn why_empty(&self, since: Option<Timestamp>) -> Result<Option<CliError>, CliError> {
        if since.is_some()
            && self
                .entries(ReadOrder::NewestFirst, None)?
                .next()
                .transpose()?
                .is_some()
        {
            return Ok(None);
        }
        Ok(Some(self.is_empty()))
    }

    fn is_empty(&self) -> CliError {
        // journalctl silently omits entries that this user may not read.
        let message = match sys::euid() {
            0 => format!("the journal has nothing of {}", self.unit),
            _ => format!(
                "what this user may read of the journal has nothing of {}",
                self.unit
            ),
        };
        CliError::failed(Code::LogNotFound, message, Some(&self.command()))
    }

    pub(super) fn cannot_read(&self, why: &str) -> CliError {
        let message = format!(
            "the log of {} is in the journal, which cannot be read: {}",
            self.unit,
            why.trim_end_matches('.')
        );
        CliError::failed(Code::IoError, message, Some(&self.command()))
    }

    /// The command that shows the log with root's permission.
    fn command(&self) -> String {
        // For root, `--user-unit` means a unit of root's.
        match self.unit.is_user || self.matches[0].starts_with("--") {
            true => format!("sudo journalctl {}", self.matches.join(" ")),
            false => format!("sudo journalctl -u {}", self.unit.name),
        }
    }
}
