//! Times in the formats of RFC 3339 and HTTP.

use std::time::{SystemTime, UNIX_EPOCH};

/// How far two clocks may differ before a warning, in seconds: as far as a TEE accepts OCSP responses
/// from the future.
pub const TOLERANCE: u64 = 300;

const SECONDS_A_DAY: u64 = 86_400;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds since 1970 by the system's clock.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// Seconds since 1970 as `2026-11-24T21:10:35Z`; `None` beyond the year 9999.
#[must_use]
pub fn utc(seconds: u64) -> Option<String> {
    let (mut days, second) = (seconds / SECONDS_A_DAY, seconds % SECONDS_A_DAY);
    let year = (1970..=9999).find(|year| {
        let in_year = days_before(year + 1, 0) - days_before(*year, 0);
        let found = days < in_year;
        if !found {
            days -= in_year;
        }
        found
    })?;
    let month = (0..12).rev().find(|month| days_in_year(year, *month) <= days)?;
    let day = days - days_in_year(year, month) + 1;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Some(format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", month + 1))
}

/// Seconds since 1970 of an HTTP date in the form that senders use (RFC 9110, section 5.6.7):
/// `Sun, 06 Nov 1994 08:49:37 GMT`.
#[must_use]
pub fn from_http(date: &str) -> Option<u64> {
    let mut words = date.split(' ');
    let (_, day, month, year) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let (time, zone) = (words.next()?, words.next()?);
    let month = u64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()?;
    let number = |text: &str| text.parse::<u64>().ok();
    let (day, year) = (number(day)?, number(year)?);
    let mut parts = time.split(':').map(number);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let valid = zone == "GMT"
        && (1970..=9999).contains(&year)
        && (1..=31).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 60;
    if !valid {
        return None;
    }
    let days = days_before(year, month) + day - 1;
    Some(days * SECONDS_A_DAY + hour * 3600 + minute * 60 + second)
}

/// Days from 1970 to the beginning of a month, which counts from 0.
fn days_before(year: u64, month: u64) -> u64 {
    // Leap years before this one, and before 1970.
    let leaps = |year: u64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    (year - 1970) * 365 + leaps(year) - leaps(1970) + days_in_year(year, month)
}

/// Days from the beginning of a year to that of a month.
fn days_in_year(year: u64, month: u64) -> u64 {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let index = usize::try_from(month).unwrap_or_default();
    BEFORE.get(index).copied().unwrap_or_default() + u64::from(leap && month >= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_date_program() {
        // From: date -u -d @SECONDS +%Y-%m-%dT%H:%M:%SZ, and date -u -R for the form of HTTP.
        for (seconds, text, http) in [
            (0, "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "2000-02-28T23:59:59Z", "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "2000-02-29T00:00:00Z", "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_795_554_635, "2026-11-24T21:10:35Z", "Tue, 24 Nov 2026 21:10:35 GMT"),
            (4_102_444_799, "2099-12-31T23:59:59Z", "Thu, 31 Dec 2099 23:59:59 GMT"),
            (4_107_542_400, "2100-03-01T00:00:00Z", "Mon, 01 Mar 2100 00:00:00 GMT"),
            (253_402_300_799, "9999-12-31T23:59:59Z", "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(utc(seconds).as_deref(), Some(text));
            assert_eq!(from_http(http), Some(seconds), "{http}");
        }
        assert_eq!((utc(253_402_300_800), utc(u64::MAX)), (None, None));
    }

    #[test]
    fn no_other_text_is_a_date() {
        for date in [
            "",
            "now",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 Nov 99999999999999999999 08:49:37 GMT",
        ] {
            assert_eq!(from_http(date), None, "{date}");
        }
    }
}
