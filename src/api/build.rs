//! What this binary was built from: known in a release build, which the build script tells.

use std::fmt;

/// What a build was made of.
#[derive(Debug, Clone, Copy)]
pub struct Build {
    /// The git commit, as 12 hexadecimal digits, or `unknown`: in a debug build, and outside of a checkout.
    pub commit: &'static str,
    /// The day in UTC, or `SOURCE_DATE_EPOCH`'s, as `2026-05-09`; `unknown` in a debug build.
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
