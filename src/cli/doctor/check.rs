//! The result of `coven doctor`: the structure of its `--json`, which a diagnostics bundle includes.
//!
//! Plain data; it does not know how a check works.

use serde::Serialize;

use crate::api::words;
use crate::observe::Message;

/// Prefix of the id of an adapter's check.
pub(super) const ADAPTER: &str = "adapter.";

/// All checks, in the order in which a person would make them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// No check has failed; there may be warnings.
    pub ok: bool,
    /// Messages of the failed checks; empty if `ok`.
    pub blocking: Vec<Message>,
    /// The checks made. One without a subject (the daemon's version, without a daemon) is omitted.
    pub checks: Vec<Check>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its id, which is the same in every release.
    pub id: Message,
    pub status: CheckStatus,
    /// The finding, for people.
    pub message: Message,
    /// Advice for the user; null for a pass.
    pub hint: Option<Message>,
}

words! {
    /// Result of a check.
    pub enum CheckStatus {
        Pass = "pass",
        /// The part works, or will, but the user should know.
        Warn = "warn",
        Fail = "fail",
    }
}

impl Findings {
    /// The report of these checks.
    pub fn new(checks: Vec<Check>) -> Self {
        let mut report = Self {
            ok: true,
            blocking: Vec::new(),
            checks: Vec::new(),
        };
        checks.into_iter().for_each(|check| report.add(check));
        report
    }

    /// Adds a check.
    pub fn add(&mut self, check: Check) {
        if check.status == CheckStatus::Fail {
            self.ok = false;
            self.blocking.push(check.message.clone());
        }
        self.checks.push(check);
    }

    /// The ids of the checked harnesses.
    pub fn adapters(&self) -> Vec<String> {
        let ids = self.checks.iter().map(|check| check.id.to_string());
        ids.filter_map(|id| Some(id.strip_prefix(ADAPTER)?.to_owned()))
            .collect()
    }

    /// Only the checks of the harnesses, or of `harness`. Here a harness that cannot be started fails.
    pub fn of_adapters(self, harness: Option<&str>) -> Self {
        let mut checks = self.checks;
        checks.retain_mut(|check| {
            let id = check.id.to_string();
            let adapter = id.strip_prefix(ADAPTER);
            if check.status == CheckStatus::Warn {
                check.status = CheckStatus::Fail;
            }
            adapter.is_some_and(|adapter| harness.is_none_or(|harness| adapter == harness))
        });
        Self::new(checks)
    }

    /// Number of checks with this result.
    pub fn count(&self, status: CheckStatus) -> usize {
        let checks = self.checks.iter();
        checks.filter(|check| check.status == status).count()
    }
}

#[derive(Debug)]
pub(super) struct Verdict {
    pub status: CheckStatus,
    pub message: Message,
    pub hint: Option<Message>,
}

impl Verdict {
    /// The check with this id and verdict.
    pub(super) fn of(self, id: impl Into<Message>) -> Check {
        Check {
            id: id.into(),
            status: self.status,
            message: self.message,
            hint: self.hint,
        }
    }
}

/// A passed check.
pub(super) fn pass(message: impl Into<Message>) -> Verdict {
    Verdict {
        status: CheckStatus::Pass,
        message: message.into(),
        hint: None,
    }
}

/// A warning; the hint says what would change it.
pub(super) fn warn(message: impl Into<Message>, hint: impl Into<Message>) -> Verdict {
    Verdict {
        status: CheckStatus::Warn,
        hint: Some(hint.into()),
        ..pass(message)
    }
}

/// A failure; the hint says how to repair it.
pub(super) fn fail(message: impl Into<Message>, hint: impl Into<Message>) -> Verdict {
    Verdict {
        status: CheckStatus::Fail,
        ..warn(message, hint)
    }
}
