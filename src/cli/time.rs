//! Parses durations and moments of a command line.

use std::time::Duration;

use crate::api::Timestamp;

/// A duration: seconds, or a number with `s`, `m`, `h`, `d`.
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

/// A moment: RFC 3339, or a duration before now.
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
    use crate::random::{Random, rounds};

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
        // The current time is read after the moment's.
        let moment = parse_moment("15m").unwrap();
        let ago = Timestamp::now().as_millis() - moment.as_millis();
        assert!((900_000..1_000_000).contains(&ago), "{ago}");
        assert!(parse_moment("yesterday").is_err());
        // Before the start of time.
        assert!(parse_moment("9999999999999d").is_ok());
    }

    #[test]
    fn any_text_is_a_time_or_is_refused() {
        let mut random = Random::new(1);
        for _ in 0..rounds(20_000) {
            let number = random.next() >> random.below(64);
            let unit = *random.pick(&["", "s", "m", "h", "d", "w", "µs", " ", "Z"]);
            if let Ok(time) = parse_duration(&format!("{number}{unit}")) {
                let unit = [("", 1), ("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)]
                    .into_iter()
                    .find(|(name, _)| *name == unit)
                    .map(|(_, seconds)| seconds);
                assert_eq!(time.as_secs(), number * unit.unwrap(), "{number}{unit:?}");
            }
            let whole = random.pick(&["2026-05-09T06:43:00Z", "9999-12-30T22:00:00.999Z", "15m"]);
            let mut chars: Vec<char> = whole.chars().collect();
            let at = random.below(chars.len());
            chars[at] = random.text(1).chars().next().unwrap_or('0');
            let text: String = chars.into_iter().collect();
            for text in [*whole, &text] {
                if let Ok(moment) = parse_moment(text) {
                    let printed = moment.to_string();
                    assert_eq!(parse_moment(&printed), Ok(moment), "{text}");
                }
            }
        }
    }
}
