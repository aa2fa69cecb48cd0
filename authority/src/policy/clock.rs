//! The time as rules see it.

use std::sync::{Mutex, PoisonError};

use cedar_policy::RestrictedExpression;
use signet_evidence::UnixTime;

/// The last second that was asked about, as Cedar's `datetime`, which it reads by its grammar.
#[derive(Debug, Default)]
pub(super) struct Clock(Mutex<Option<(UnixTime, RestrictedExpression)>>);

impl Clock {
    pub(super) fn datetime(&self, now: UnixTime) -> RestrictedExpression {
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*second {
            Some((time, value)) if *time == now => value.clone(),
            _ => {
                let value = RestrictedExpression::new_datetime(iso_8601(now));
                *second = Some((now, value.clone()));
                value
            }
        }
    }
}

/// `YYYY-MM-DDThh:mm:ssZ`, the form that Cedar's `datetime` takes; within the years 0 to 9999.
#[must_use]
pub fn iso_8601(time: UnixTime) -> String {
    const YEAR_0: i64 = -62_167_219_200;
    const YEAR_9999_END: i64 = 253_402_300_799;
    UnixTime(time.0.clamp(YEAR_0, YEAR_9999_END)).rfc3339()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        // As `date -u -d @N +%FT%TZ` prints them.
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_317_301, "2026-11-22T03:15:01Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (i64::MAX, "9999-12-31T23:59:59Z"),
            (i64::MIN, "0000-01-01T00:00:00Z"),
        ];
        for (seconds, text) in cases {
            assert_eq!(iso_8601(UnixTime(seconds)), text);
        }
    }
}
