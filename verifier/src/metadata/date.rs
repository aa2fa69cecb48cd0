//! Calendar dates of metadata (ISO 8601, `YYYY-MM-DD`), as midnight UTC.

use signet_evidence::UnixTime;

/// Midnight UTC of the date in `text`.
pub(super) fn midnight(text: &str) -> Option<UnixTime> {
    let mut parts = text.split('-');
    let mut number = |length: usize| {
        let part = parts.next()?;
        let digits = part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
        if digits { part.parse::<i64>().ok() } else { None }
    };
    let (year, month, day) = (number(4)?, number(2)?, number(2)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || day < 1 || day > days(year, month) {
        return None;
    }
    // Days since 1970-01-01 in the proleptic Gregorian calendar, by years that begin in March.
    let shifted = if month > 2 { year } else { year - 1 };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(UnixTime((era * 146_097 + day_of_era - 719_468) * 86_400))
}

fn days(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_one_form() {
        // As `date -u -d DATE +%s` prints them.
        let cases = [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400),
            ("2026-11-01", 1_793_491_200),
            ("2100-03-01", 4_107_542_400),
            ("2026-04-30", 1_777_507_200),
            ("2024-02-29", 1_709_164_800),
        ];
        for (text, seconds) in cases {
            assert_eq!(midnight(text), Some(UnixTime(seconds)), "{text}");
        }
        for wrong in [
            "",
            "2026-1-01",
            "2026-13-01",
            "2026-02-29",
            "2100-02-29",
            "2026-04-31",
            "2026-06-31",
            "2026-09-31",
            "2026-11-31",
            "2026-12-32",
            "2026-00-10",
            "2026-01-01T00",
            "+026-01-01",
            "2026-01-01-01",
        ] {
            assert_eq!(midnight(wrong), None, "{wrong}");
        }
    }
}
