//! Points in time in the contract's form: RFC 3339, UTC, milliseconds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time, in whole milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

impl Timestamp {
    /// The current time of the system's clock.
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_millisecond())
    }

    /// Converts milliseconds since the epoch; clamps to the years −9999 to 9999.
    pub fn from_millis(millis: i64) -> Self {
        // jiff cannot print the last instants of its range: rounding would exceed it.
        let (first, last) = (jiff::Timestamp::MIN, jiff::Timestamp::MAX);
        Self(millis.clamp(first.as_millisecond() + 1000, last.as_millisecond() - 1000))
    }

    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// The time from this one to the `other`; none where the clock was put back.
    pub fn until(self, other: Self) -> Duration {
        let millis = u64::try_from(other.0.saturating_sub(self.0));
        Duration::from_millis(millis.unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            // Unreachable: every constructor stays within jiff's range.
            Err(_) => Err(fmt::Error),
        }
    }
}

impl FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<jiff::Timestamp>()
            .map(|time| Self::from_millis(time.as_millisecond()))
            .map_err(|err| format!("not an RFC 3339 time: {err}"))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> Self {
        time.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_passes_where_the_clock_was_put_back() {
        let at = Timestamp::from_millis;
        assert_eq!(at(1000).until(at(5500)), Duration::from_millis(4500));
        assert_eq!(at(5000).until(at(1000)), Duration::ZERO);
    }

    #[test]
    fn times_are_rfc_3339_in_utc_with_milliseconds() {
        assert_eq!(
            Timestamp::from_millis(0).to_string(),
            "1970-01-01T00:00:00.000Z"
        );
        assert_eq!(
            Timestamp::from_millis(1_778_308_980_007).to_string(),
            "2026-05-09T06:43:00.007Z"
        );
        assert_eq!(
            "2026-05-09T06:43:00.007Z".parse(),
            Ok(Timestamp::from_millis(1_778_308_980_007))
        );
    }

    #[test]
    fn the_ends_of_time_can_be_printed() {
        assert!(!Timestamp::from_millis(i64::MAX).to_string().is_empty());
        assert!(!Timestamp::from_millis(i64::MIN).to_string().is_empty());
        for text in ["9999-12-30T22:00:00.999Z", "-009999-01-02T01:59:59Z"] {
            let time: Timestamp = text.parse().unwrap();
            assert!(!time.to_string().is_empty());
        }
    }
}
