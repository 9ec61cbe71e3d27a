//! Times as the protocols write them: TIDs and RFC 3339.

const TID_ALPHABET: &[u8; 32] = b"234567abcdefghijklmnopqrstuvwxyz";

/// The TID of a time in microseconds since 1970 (53 bits are kept) and a clock id (10 bits are kept).
pub fn tid(time_us: u64, clock: u16) -> String {
    let value = (time_us & ((1 << 53) - 1)) << 10 | u64::from(clock & 0x3ff);
    (0..13).map(|i| char::from(TID_ALPHABET[(value >> (60 - 5 * i)) as usize & 31])).collect()
}

/// The number that a TID writes; nothing for what is no TID.
pub(crate) fn untid(text: &str) -> Option<u64> {
    if text.len() != 13 {
        return None;
    }
    text.bytes().try_fold(0_u64, |value, byte| {
        let digit = TID_ALPHABET.iter().position(|known| *known == byte)?;
        Some(value << 5 | digit as u64)
    })
}

/// Reads what [`rfc3339_millis`] writes, in milliseconds since 1970; nothing for any other form.
pub(crate) fn unmillis(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    if text.len() != 24 || !text.ends_with('Z') {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    // years from March on, so that the leap day comes last
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let seconds = ((days * 24 + number(11..13)?) * 60 + number(14..16)?) * 60 + number(17..19)?;
    Some(seconds * 1_000 + number(20..23)?)
}

/// A time in microseconds since 1970 as RFC 3339 in UTC, with exactly six fractional digits.
///
/// Years up to 9999 are written correctly; later ones would need a fifth digit.
pub fn rfc3339_micros(time_us: u64) -> String {
    format!("{}.{:06}Z", seconds(time_us / 1_000_000), time_us % 1_000_000)
}

/// The same cut to milliseconds, with exactly three fractional digits.
pub fn rfc3339_millis(time_us: u64) -> String {
    format!("{}.{:03}Z", seconds(time_us / 1_000_000), time_us / 1_000 % 1_000)
}

fn seconds(unix: u64) -> String {
    let (year, month, day) = civil(unix / 86_400);
    let (hour, minute, second) = (unix / 3_600 % 24, unix / 60 % 60, unix % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// Days since 1970-01-01 to a date, counting years from March so that the leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_tids() {
        assert_eq!(tid(1_783_175_887_502_441, 6), "3mptbyplj5d2a");
        assert_eq!(tid(1_779_719_008_873_876, 12), "3mmoojp7vgo2g");
        assert_eq!(tid(0, 0), "2222222222222");
    }

    #[test]
    fn what_is_written_is_read() {
        for us in
            [0, 951_782_400_001_000, 1_709_164_800_000_000, 1_783_175_887_877_000, 4_102_444_799_999_000]
        {
            assert_eq!(unmillis(&rfc3339_millis(us)), Some((us / 1_000) as i64), "{us}");
            assert_eq!(untid(&tid(us, 7)), Some(us << 10 | 7));
        }
        assert_eq!(unmillis("2026-01-01T00:00:00Z"), None);
        assert_eq!(untid("self"), None);
    }

    #[test]
    fn known_times() {
        assert_eq!(rfc3339_micros(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(rfc3339_micros(1_725_911_162_329_308), "2024-09-09T19:46:02.329308Z");
        assert_eq!(rfc3339_millis(951_782_400_001_999), "2000-02-29T00:00:00.001Z");
        assert_eq!(rfc3339_millis(1_783_175_887_877_000), "2026-07-04T14:38:07.877Z");
    }
}
