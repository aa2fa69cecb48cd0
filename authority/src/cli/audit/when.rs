//! Points in time as people write them, and as they are shown.

use std::str::FromStr;

use anyhow::Context;
use signet_authority::config::Span;
use signet_authority::policy::iso_8601;
use signet_authority::state::system_clock;
use signet_evidence::UnixTime;

const DAY: i64 = 86_400;

/// `2026-11-22`, `2026-11-22T13:00:00Z`, seconds since 1970, or an age such as `7d`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct When(pub(super) UnixTime);

impl FromStr for When {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if let Ok(age) = Span::try_from(text.to_owned()) {
            let age = i64::try_from(age.duration().as_secs()).unwrap_or(i64::MAX);
            return Ok(Self(UnixTime(system_clock()().0.saturating_sub(age))));
        }
        if let Ok(seconds) = text.parse() {
            return Ok(Self(UnixTime(seconds)));
        }
        let time = utc(text);
        time.map(Self).context(
            "write a date (2026-11-22), a time (2026-11-22T13:00:00Z), or an age (90s, 5m, 10h, 7d)",
        )
    }
}

fn utc(text: &str) -> Option<UnixTime> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let time_of_day =
        (0..24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second);
    if !(1970..=9999).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || !time_of_day
    {
        return None;
    }
    let time = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
    // The thirty-first of a short month is none: it would be shown as another day.
    let same = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z");
    (shown(time) == same).then_some(UnixTime(time))
}

fn numbers(text: &str, between: char) -> Option<[i64; 3]> {
    let parts: Option<Vec<i64>> = text
        .split(between)
        .map(|part| part.parse().ok().filter(|_| part.bytes().all(|one| one.is_ascii_digit())))
        .collect();
    parts?.try_into().ok()
}

/// Days since 1970 of a date in the Gregorian calendar; years start in March, so that the leap day is
/// their last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

/// `2026-11-22T13:00:00Z`.
pub(in crate::cli) fn shown(time: i64) -> String {
    iso_8601(UnixTime(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_shown() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2026-11-22T13:00:00Z", 1_795_352_400),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(shown(seconds), text);
            assert_eq!(text.parse::<When>().unwrap().0, UnixTime(seconds));
        }
        assert_eq!("2026-11-22".parse::<When>().unwrap().0, UnixTime(1_795_305_600));
        assert_eq!("1795305600".parse::<When>().unwrap().0, UnixTime(1_795_305_600));
    }

    #[test]
    fn what_is_no_time_is_refused_with_advice() {
        for text in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-02-30",
            "2026-11-22T25:00:00Z",
            "7w",
            "-1-1-1",
            "9223372036854775807-01-01",
            "2026-01-9223372036854775807",
        ] {
            let refused = text.parse::<When>().unwrap_err().to_string();
            assert!(refused.starts_with("write a date"), "{text}: {refused}");
        }
    }
}
