//! Durations and points in time, as people write them on a command line.

use std::time::Duration;

use crate::api::Timestamp;

/// A duration: seconds, or with `s`, `m`, `h`, `d`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let wrong = || format!("{text:?} is not a time such as 90, 90s, 15m, 2h or 1d");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "s" => Some(number),
        "m" => number.checked_mul(60),
        "h" => number.checked_mul(3600),
        "d" => number.checked_mul(86_400),
        _ => None,
    };
    seconds
        .filter(|&seconds| seconds > 0)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

/// A point in time: RFC 3339, or so long ago.
pub(super) fn parse_moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let ago = parse_duration(text).map_err(|_| {
        format!("{text:?} is neither a time such as 2026-05-09T06:43:00Z nor so long ago as 15m, 2h or 1d")
    })?;
    let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
    let now = Timestamp::now().as_millis();
    Ok(Timestamp::from_millis(now.saturating_sub(ago)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_as_people_do() {
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_duration("1d"), Ok(Duration::from_secs(86_400)));
        for bad in ["", "0", "m", "1w", "-1", "1.5s", "99999999999999999999h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_moment_is_a_time_or_so_long_ago() {
        let moment = parse_moment("2026-05-09T08:43:00+02:00").map(|at| at.to_string());
        assert_eq!(moment, Ok("2026-05-09T06:43:00.000Z".into()));
        let ago = Timestamp::now().as_millis() - parse_moment("15m").unwrap().as_millis();
        assert!((900_000..1_000_000).contains(&ago), "{ago}");
        assert!(parse_moment("yesterday").is_err());
        // Longer ago than there was time.
        assert!(parse_moment("9999999999999d").is_ok());
    }
}
