//! Commit and date of this build, set by the build script for release builds.

use std::fmt;

#[derive(Debug, Clone, Copy)]
pub struct Build {
    /// The git commit as 12 hexadecimal digits; `unknown` in a debug build, and outside of a checkout.
    pub commit: &'static str,
    /// The build day in UTC, or that of `SOURCE_DATE_EPOCH`, as `2026-05-09`; `unknown` in a debug build.
    pub date: &'static str,
}

/// This build.
pub const BUILD: Build = Build {
    commit: env!("COVEN_BUILD_COMMIT"),
    date: env!("COVEN_BUILD_DATE"),
};

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "commit {}, built {}", self.commit, self.date)
    }
}
