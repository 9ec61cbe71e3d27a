//! Datetimes.

use super::SyntaxError;

/// An instant in the years 0 to 9999 of UTC, read from an AT Protocol datetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Datetime(i64);

/// 0000-01-01T00:00:00Z to 9999-12-31T23:59:59Z, seconds since 1970.
const YEARS: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

impl Datetime {
    /// Reads a datetime as the official software does (contract, rule 5): an impossible day rolls over to the next
    /// month, a fraction may have any length and is cut.
    ///
    /// # Errors
    /// [`SyntaxError`] for what hasn't the syntax ([`Datetime::has_syntax`]), is out of range in any field (also for
    /// second 60 and 24:00), or isn't in the years 0 to 9999 of UTC.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        Parts::of(text).and_then(Parts::micros).map(Self).ok_or(SyntaxError("datetime"))
    }

    /// Whether the text looks like a datetime, whatever its numbers: `YYYY-MM-DDTHH:MM:SS`, perhaps a fraction, `Z` or
    /// an offset other than `-00:00`; at most 64 bytes.
    #[must_use]
    pub fn has_syntax(text: &str) -> bool {
        Parts::of(text).is_some()
    }

    /// Microseconds since 1970.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since 1970, cut downwards.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }
}

/// The numbers of a datetime, as they stand there.
struct Parts {
    date: [i64; 3],
    time: [i64; 3],
    /// Microseconds.
    fraction: i64,
    /// Hours, minutes and sign of the offset; all zero for `Z`.
    offset: [i64; 3],
}

impl Parts {
    fn of(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if !(20..=64).contains(&bytes.len()) {
            return None;
        }
        for (at, mark) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
            if bytes[at] != mark {
                return None;
            }
        }
        let number = |from: usize, to: usize| digits(&bytes[from..to]);
        let date = [number(0, 4)?, number(5, 7)?, number(8, 10)?];
        let time = [number(11, 13)?, number(14, 16)?, number(17, 19)?];
        let (fraction, zone) = fraction(&bytes[19..])?;
        let offset = match zone {
            b"Z" => [0; 3],
            b"-00:00" => return None,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
                [digits(&[*h1, *h2])?, digits(&[*m1, *m2])?, if *sign == b'-' { -1 } else { 1 }]
            }
            _ => return None,
        };
        Some(Self { date, time, fraction, offset })
    }

    fn micros(self) -> Option<i64> {
        let ([year, month, day], [hour, minute, second]) = (self.date, self.time);
        let [hours, minutes, sign] = self.offset;
        let within = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60
            && hours < 24
            && minutes < 60;
        let offset = (hours * 60 + minutes) * sign;
        let seconds = days(year, month, day) * 86_400 + hour * 3_600 + (minute - offset) * 60 + second;
        (within && YEARS.contains(&seconds)).then_some(seconds * 1_000_000 + self.fraction)
    }
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

/// Days since 1970 in the Gregorian calendar, after Howard Hinnant's `days_from_civil`. Days beyond the month's end
/// roll over.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::Datetime;

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
            assert_eq!(Datetime::parse(text).map(Datetime::micros), Ok(expected), "{text}");
        }
        let before = Datetime::parse("1969-12-31T23:59:59.9999999Z").map(Datetime::millis);
        assert_eq!(before, Ok(-1), "cut, not rounded");
    }

    #[test]
    fn numbers_out_of_range_have_the_syntax_and_are_no_dates() {
        for text in [
            "2023-08-09T09:44:60Z",
            "2023-08-09T24:00:00Z",
            "2023-13-09T09:44:46Z",
            "2023-08-09T09:44:46+24:00",
            "2023-08-09T09:44:46+00:60",
            "0000-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
        ] {
            assert!(Datetime::has_syntax(text) && Datetime::parse(text).is_err(), "{text}");
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
            "2023-08-09T09:44:46.Z",
            "2023-08-09T09:44:46Zx",
        ] {
            assert!(!Datetime::has_syntax(text) && Datetime::parse(text).is_err(), "{text}");
        }
    }
}
