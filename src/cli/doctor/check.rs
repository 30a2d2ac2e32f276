//! What `coven doctor` finds: the shape of its `--json`, which a diagnostics bundle embeds.
//!
//! Plain data; it knows nothing of how a check is made.

use serde::Serialize;

use crate::api::words;
use crate::observe::Message;

/// Every check, in the order in which a person would make them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// No check has failed; there can be warnings.
    pub ok: bool,
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
        let ok = checks.iter().all(|check| check.status != CheckStatus::Fail);
        Self { ok, checks }
    }

    /// With one check more.
    pub fn add(&mut self, check: Check) {
        self.ok &= check.status != CheckStatus::Fail;
        self.checks.push(check);
    }

    /// How many checks went like this.
    pub fn count(&self, status: CheckStatus) -> usize {
        let checks = self.checks.iter();
        checks.filter(|check| check.status == status).count()
    }
}

impl Check {
    /// As it should be.
    pub fn pass(id: impl Into<Message>, message: impl Into<Message>) -> Self {
        Self::new(id.into(), CheckStatus::Pass, message.into(), None)
    }

    /// It works, or will; the hint says what would change it.
    pub fn warn(
        id: impl Into<Message>,
        message: impl Into<Message>,
        hint: impl Into<Message>,
    ) -> Self {
        let hint = Some(hint.into());
        Self::new(id.into(), CheckStatus::Warn, message.into(), hint)
    }

    /// Something is broken; the hint says what mends it.
    pub fn fail(
        id: impl Into<Message>,
        message: impl Into<Message>,
        hint: impl Into<Message>,
    ) -> Self {
        let hint = Some(hint.into());
        Self::new(id.into(), CheckStatus::Fail, message.into(), hint)
    }

    fn new(id: Message, status: CheckStatus, message: Message, hint: Option<Message>) -> Self {
        Self {
            id,
            status,
            message,
            hint,
        }
    }
}
