//! Parses durations and moments of a command line.

use std::time::Duration;

use super::table::local;
use crate::api::Timestamp;

/// Units of a duration, with their seconds. The first name of each is that of messages; tables write some of the others.
const UNITS: [(&[&str], u64); 4] = [
    (&["s", "sec", "second", "seconds"], 1),
    (&["m", "min", "minute", "minutes"], 60),
    (&["h", "hour", "hours"], 3600),
    (&["d", "day", "days"], 86_400),
];

/// A duration: seconds, or numbers with their units, as `15m`, `1h30m` or `1 min 40 s`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "it must be a time such as 90, 90s, 15m, 1h30m or 1d".to_owned();
    seconds(text)
        .filter(|&seconds| seconds > 0)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

fn seconds(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let (mut total, mut rest) = (0_u64, text);
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let behind = behind.strip_prefix(' ').unwrap_or(behind);
        let end = behind.find(|c: char| !c.is_ascii_alphabetic());
        let (unit, behind) = behind.split_at(end.unwrap_or(behind.len()));
        let (_, each) = UNITS.iter().find(|(names, _)| names.contains(&unit))?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*each)?)?;
        rest = match behind.strip_prefix(' ') {
            Some("") => return None,
            Some(next) => next,
            None => behind,
        };
    }
    Some(total)
}

/// A moment: RFC 3339, a local time as tables write it, or a duration before now.
pub(super) fn parse_moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    if let Some(at) = local_moment(text) {
        return Ok(at);
    }
    let ago = parse_duration(text.strip_suffix(" ago").unwrap_or(text)).map_err(|_| {
        "it must be a time such as 2026-05-09T06:43:00Z or \"2026-05-09 08:43\" (local), or so long ago as 15m, 2h or 1d"
    })?;
    let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
    let now = Timestamp::now().as_millis();
    Ok(Timestamp::from_millis(now.saturating_sub(ago)))
}

/// A date with or without a time of day, in the user's time zone.
fn local_moment(text: &str) -> Option<Timestamp> {
    let as_utc = |text: &str| text.parse::<Timestamp>().ok();
    let wanted = ["Z", " 00:00Z"]
        .iter()
        .find_map(|rest| as_utc(&format!("{text}{rest}")))?;
    // The zone's offset depends on the moment itself: the second pass has that of a moment near it.
    let mut at = wanted;
    for _ in 0..2 {
        let shown = as_utc(&format!("{}Z", local(at)))?;
        let ahead = shown.as_millis() - wanted.as_millis();
        at = Timestamp::from_millis(at.as_millis().saturating_sub(ahead));
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Random, rounds};
    use crate::rows::rows;

    #[test]
    fn a_duration_is_written_as_people_do() {
        for (text, seconds) in rows(
            "90         -> 90
             15m        -> 900
             2h         -> 7200
             1d         -> 86400
             1h30m      -> 5400
             90min      -> 5400
             1 min 40 s -> 100
             2 days     -> 172800",
        ) {
            let seconds = seconds.parse().unwrap();
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        let too_long = ["99999999999999999999h", "9999999999999999h"];
        let wrong = [
            "", "0", "m", "1w", "-1", "1.5s", "1h30", "1h ", " 1h", "1  h",
        ];
        for bad in wrong.into_iter().chain(too_long) {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_moment_is_a_time_or_so_long_ago() {
        let moment = parse_moment("2026-05-09T08:43:00+02:00").map(|at| at.to_string());
        assert_eq!(moment, Ok("2026-05-09T06:43:00.000Z".into()));
        for text in ["15m", "15 min ago"] {
            // The current time is read after the moment's.
            let moment = parse_moment(text).unwrap();
            let ago = Timestamp::now().as_millis() - moment.as_millis();
            assert!((900_000..1_000_000).contains(&ago), "{text}: {ago}");
        }
        assert!(parse_moment("yesterday").is_err());
        // Before the start of time.
        assert!(parse_moment("9999999999999d").is_ok());
    }

    #[test]
    fn a_moment_can_be_typed_as_a_table_shows_it() {
        for seconds in [0, 1_700_000_000, 1_750_000_000, 1_764_263_134] {
            let at = Timestamp::from_millis(seconds * 1000);
            assert_eq!(parse_moment(&local(at)), Ok(at));
            let minute = local(at)[..16].to_owned();
            assert_eq!(
                parse_moment(&minute),
                parse_moment(&(minute.clone() + ":00"))
            );
            let day = minute[..10].to_owned();
            assert_eq!(parse_moment(&day), parse_moment(&(day.clone() + " 00:00")));
        }
        for bad in ["2026-13-01", "2026-01-01 25:00", "17:05", "2026-01-01 8"] {
            assert!(parse_moment(bad).is_err(), "{bad}");
        }
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
