//! Times in the formats of certificates and OCSP responses (RFC 5280, section 4.1.2.5) and of RFC 3339.

const SECONDS_A_DAY: u64 = 86_400;

/// Seconds since 1970 as `2027-03-01T00:00:00Z`.
#[must_use]
pub fn utc(unix_seconds: u64) -> String {
    let (days, seconds) = (unix_seconds / SECONDS_A_DAY, unix_seconds % SECONDS_A_DAY);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `YYYYMMDDHHMMSSZ`, without fractions and in no other zone; `None` for a time before 1970.
pub(crate) fn generalized(text: &[u8]) -> Option<u64> {
    let (year, rest) = text.split_at_checked(4)?;
    of_parts(decimal(year)?, rest)
}

/// `YYMMDDHHMMSSZ`, of 1970 to 2049.
pub(crate) fn utc_time(text: &[u8]) -> Option<u64> {
    let (year, rest) = text.split_at_checked(2)?;
    let year = decimal(year)?;
    of_parts(if year >= 50 { 1900 + year } else { 2000 + year }, rest)
}

/// The rest is `MMDDHHMMSSZ`.
fn of_parts(year: u64, rest: &[u8]) -> Option<u64> {
    let [month @ .., b'Z'] = rest else { return None };
    if month.len() != 10 {
        return None;
    }
    let mut pairs = month.chunks_exact(2).map(decimal);
    let mut next = || pairs.next().flatten();
    let (month, day, hour, minute, second) = (next()?, next()?, next()?, next()?, next()?);
    let exists = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if year < 1970 || !exists {
        return None;
    }
    let days = days_before(year, month) + day - 1;
    Some(days * SECONDS_A_DAY + hour * 3600 + minute * 60 + second)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_of(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970 to the first of a month.
fn days_before(year: u64, month: u64) -> u64 {
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leaps(year - 1) - leaps(1969);
    years + (1..month).map(|month| days_of(year, month)).sum::<u64>()
}

/// The date so many days after the first of 1970.
fn date(days: u64) -> (u64, u64, u64) {
    // Never later than the year itself, and a few years early at most.
    let mut year = 1970 + days / 366;
    while days_before(year + 1, 1) <= days {
        year += 1;
    }
    let mut rest = days - days_before(year, 1);
    let mut month = 1;
    while rest >= days_of(year, month) {
        rest -= days_of(year, month);
        month += 1;
    }
    (year, month, rest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `date -u -d @SECONDS`.
    const DAYS: [(u64, &str, &[u8]); 6] = [
        (0, "1970-01-01T00:00:00Z", b"19700101000000Z"),
        (951_782_400, "2000-02-29T00:00:00Z", b"20000229000000Z"),
        (1_582_934_400, "2020-02-29T00:00:00Z", b"20200229000000Z"),
        (1_764_457_199, "2025-11-29T22:59:59Z", b"20251129225959Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z", b"21000301000000Z"),
        (253_402_300_799, "9999-12-31T23:59:59Z", b"99991231235959Z"),
    ];

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text, der) in DAYS {
            assert_eq!(utc(seconds), text);
            assert_eq!(generalized(der), Some(seconds), "{text}");
        }
        assert_eq!(utc_time(b"491231235959Z"), generalized(b"20491231235959Z"));
        assert_eq!(utc_time(b"700101000000Z"), Some(0));
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            &b"20250101000000.5Z"[..],
            b"20250101000000",
            b"20250101000000+0100",
            b"202501010000Z",
            b"20250229000000Z",
            b"20251301000000Z",
            b"20250100000000Z",
            b"20250101240000Z",
            b"20250101006000Z",
            b"20250101000060Z",
            b"19691231235959Z",
            b"2025010100000 Z",
            b"",
        ] {
            assert_eq!(generalized(text), None, "{}", String::from_utf8_lossy(text));
        }
        for text in [&b"500101000000Z"[..], b"2501010000Z", b"250101000000+0100", b"2"] {
            assert_eq!(utc_time(text), None, "{}", String::from_utf8_lossy(text));
        }
    }
}
