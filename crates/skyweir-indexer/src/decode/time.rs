//! Dates of events, to the microsecond.

/// Reads an AT Protocol datetime as microseconds since 1970; longer fractions are cut. `None` for what is no such
/// datetime, or isn't in the years 0 to 9999 of UTC. Days beyond the month's end roll over.
pub(crate) fn micros(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < 20 || bytes.len() > 64 {
        return None;
    }
    let number = |from: usize, to: usize| digits(bytes.get(from..to)?);
    for (at, mark) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
        if bytes[at] != mark {
            return None;
        }
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = fraction(&bytes[19..])?;
    let offset = zone_minutes(zone)?;
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + (minute - offset) * 60 + second;
    // 0000-01-01T00:00:00Z to 9999-12-31T23:59:59Z
    (-62_167_219_200..=253_402_300_799).contains(&seconds).then_some(seconds * 1_000_000 + fraction)
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0i64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

/// The fraction in microseconds, and what is behind it.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = rest.strip_prefix(b".") else { return Some((0, rest)) };
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let micros =
        rest[..length].iter().chain(b"000000").take(6).fold(0, |sum, b| sum * 10 + i64::from(b - b'0'));
    (length > 0).then_some((micros, &rest[length..]))
}

fn zone_minutes(zone: &[u8]) -> Option<i64> {
    match zone {
        b"Z" => Some(0),
        b"-00:00" => None,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            let sum = hours * 60 + minutes;
            (hours < 24 && minutes < 60).then_some(if *sign == b'-' { -sum } else { sum })
        }
        _ => None,
    }
}

/// Days since 1970 in the Gregorian calendar, after Howard Hinnant's `days_from_civil`.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::micros;

    #[test]
    fn dates_are_read() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-07-04T14:38:08.085434Z", 1_783_175_888_085_434),
            ("2026-07-04T16:38:08.085434999+02:00", 1_783_175_888_085_434),
            ("1969-12-31T23:59:59.9Z", -100_000),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000_000),
            ("2023-02-30T00:00:00Z", 1_677_715_200_000_000),
        ] {
            assert_eq!(micros(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn others_are_refused() {
        for text in [
            "",
            "2023-08-09T09:44:46.189371",
            "2023-08-09t09:44:46Z",
            "2023-08-09T09:44:46z",
            "2023-08-09T09:44:46-00:00",
            "2023-08-09T09:44:60Z",
            "2023-08-09T24:00:00Z",
            "2023-13-09T09:44:46Z",
            "2023-08-09T09:44:46.Z",
            "0000-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "2023-08-09T09:44:46Zx",
        ] {
            assert_eq!(micros(text), None, "{text}");
        }
    }
}
