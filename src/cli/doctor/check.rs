//! What `coven doctor` finds: the shape of its `--json`, which a diagnostics bundle embeds.
//!
//! Plain data; it knows nothing of how a check is made.

use serde::Serialize;

use crate::api::words;
use crate::observe::Message;

/// The id of the check of one adapter is this and the adapter's own.
pub(super) const ADAPTER: &str = "adapter.";

/// Every check, in the order in which a person would make them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// No check has failed; there can be warnings.
    pub ok: bool,
    /// What has failed, a message each; empty if `ok`.
    pub blocking: Vec<Message>,
    /// What was looked at. A check that there is nothing for (a daemon's version, without a daemon) is left out.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its id: the same in every release.
    pub id: Message,
    /// How it went.
    pub status: CheckStatus,
    /// What was found, for a person.
    pub message: Message,
    /// What to do about it; null for a pass.
    pub hint: Option<Message>,
}

words! {
    /// How a check went.
    pub enum CheckStatus {
        /// As it should be.
        Pass = "pass",
        /// It works, or will: somebody should know.
        Warn = "warn",
        /// Something is broken.
        Fail = "fail",
    }
}

impl Report {
    /// The report that these checks make.
    pub fn new(checks: Vec<Check>) -> Self {
        let mut report = Self {
            ok: true,
            blocking: Vec::new(),
            checks: Vec::new(),
        };
        checks.into_iter().for_each(|check| report.add(check));
        report
    }

    /// With one check more.
    pub fn add(&mut self, check: Check) {
        if check.status == CheckStatus::Fail {
            self.ok = false;
            self.blocking.push(check.message.clone());
        }
        self.checks.push(check);
    }

    /// Only what is said of the harnesses, or of `harness` alone. Here one that cannot be started fails.
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

    /// How many checks went like this.
    pub fn count(&self, status: CheckStatus) -> usize {
        let checks = self.checks.iter();
        checks.filter(|check| check.status == status).count()
    }
}

/// What a check has found.
#[derive(Debug)]
pub(super) struct Verdict {
    pub status: CheckStatus,
    pub message: Message,
    pub hint: Option<Message>,
}

impl Verdict {
    /// As the check with this id.
    pub(super) fn of(self, id: impl Into<Message>) -> Check {
        Check {
            id: id.into(),
            status: self.status,
            message: self.message,
            hint: self.hint,
        }
    }
}

/// As it should be.
pub(super) fn pass(message: impl Into<Message>) -> Verdict {
    Verdict {
        status: CheckStatus::Pass,
        message: message.into(),
        hint: None,
    }
}

/// It works, or will; the hint says what would change it.
pub(super) fn warn(message: impl Into<Message>, hint: impl Into<Message>) -> Verdict {
    Verdict {
        status: CheckStatus::Warn,
        hint: Some(hint.into()),
        ..pass(message)
    }
}

/// Something is broken; the hint says what mends it.
pub(super) fn fail(message: impl Into<Message>, hint: impl Into<Message>) -> Verdict {
    Verdict {
        status: CheckStatus::Fail,
        ..warn(message, hint)
    }
}
