//! Dates and RFC 3339 times as counts since 1970-01-01T00:00:00 UTC.

use arrow::datatypes::TimeUnit;

use super::columns::Refusal;

const SECONDS_OF_DAY: i64 = 86_400;

/// The days since 1970-01-01 of a `YYYY-MM-DD`.
///
/// # Errors
/// [`Refusal::WrongType`] where the text is no such date.
pub(crate) fn date(text: &[u8]) -> Result<i32, Refusal> {
    let mut text = Reader { rest: text };
    let days = text.date().ok_or(Refusal::WrongType)?;
    if text.rest.is_empty() { Ok(days) } else { Err(Refusal::WrongType) }
}

/// The instant of an RFC 3339 text, such as `2024-11-25T12:20:00.123456Z`, in `unit`s. Between date and time
/// stands `T`, `t` or a space. An offset is subtracted, so that the value is UTC. Leap seconds (`:60`) are no
/// times in Arrow and are refused.
///
/// # Errors
/// [`Refusal::WrongType`] where the text is no such time; [`Refusal::MissingOffset`] where it has no offset
/// though `offset_needed`; [`Refusal::TooFine`] for digits below the unit other than zero;
/// [`Refusal::OutOfRange`] beyond 64 bits (nanoseconds outside 1677 to 2262).
pub(crate) fn timestamp(text: &[u8], unit: TimeUnit, offset_needed: bool) -> Result<i64, Refusal> {
    let mut text = Reader { rest: text };
    let (local, fraction) = text.local_time().ok_or(Refusal::WrongType)?;
    let offset = match text.rest {
        [] => None,
        _ => Some(text.offset().ok_or(Refusal::WrongType)?),
    };
    if !text.rest.is_empty() {
        return Err(Refusal::WrongType);
    }
    if offset.is_none() && offset_needed {
        return Err(Refusal::MissingOffset);
    }
    let (per_second, places) = match unit {
        TimeUnit::Second => (1, 0),
        TimeUnit::Millisecond => (1_000, 3),
        TimeUnit::Microsecond => (1_000_000, 6),
        TimeUnit::Nanosecond => (1_000_000_000, 9),
    };
    let (kept, below) = fraction.split_at(fraction.len().min(places));
    if below.iter().any(|&digit| digit != b'0') {
        return Err(Refusal::TooFine);
    }
    let mut parts = kept.iter().fold(0, |value, digit| value * 10 + i128::from(digit - b'0'));
    for _ in kept.len()..places {
        parts *= 10;
    }
    let seconds = local - offset.unwrap_or(0);
    i64::try_from(i128::from(seconds) * per_second + parts).map_err(|_| Refusal::OutOfRange)
}

/// Reads fixed fields from the front of a text.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A number of exactly `N` digits, from `least` to `most`.
    fn number<const N: usize>(&mut self, least: i64, most: i64) -> Option<i64> {
        let (digits, rest) = self.rest.split_first_chunk::<N>()?;
        let mut value = 0;
        for digit in digits {
            value = value * 10 + i64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        }
        self.rest = rest;
        (least..=most).contains(&value).then_some(value)
    }

    fn byte(&mut self, wanted: impl Fn(u8) -> bool) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        wanted(byte).then_some(byte)
    }

    /// `YYYY-MM-DD` as days since 1970-01-01.
    fn date(&mut self) -> Option<i32> {
        let year = self.number::<4>(0, 9999)?;
        self.byte(|byte| byte == b'-')?;
        let month = self.number::<2>(1, 12)?;
        self.byte(|byte| byte == b'-')?;
        let day = self.number::<2>(1, days_of_month(year, month))?;
        i32::try_from(days_since_1970(year, month, day)).ok()
    }

    /// A date and a time of day as seconds since 1970 on the local clock, and the digits of the second's fraction.
    fn local_time(&mut self) -> Option<(i64, &'a [u8])> {
        let days = i64::from(self.date()?);
        self.byte(|byte| matches!(byte, b'T' | b't' | b' '))?;
        let hour = self.number::<2>(0, 23)?;
        self.byte(|byte| byte == b':')?;
        let minute = self.number::<2>(0, 59)?;
        self.byte(|byte| byte == b':')?;
        let second = self.number::<2>(0, 59)?;
        let mut fraction: &[u8] = &[];
        if let [b'.', rest @ ..] = self.rest {
            let end = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
            if end == 0 {
                return None;
            }
            (fraction, self.rest) = rest.split_at(end);
        }
        Some((days * SECONDS_OF_DAY + hour * 3_600 + minute * 60 + second, fraction))
    }

    /// `Z` or `+HH:MM` as seconds east of UTC.
    fn offset(&mut self) -> Option<i64> {
        let sign = match self.byte(|byte| matches!(byte, b'Z' | b'z' | b'+' | b'-'))? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(0),
        };
        let hours = self.number::<2>(0, 23)?;
        self.byte(|byte| byte == b':')?;
        let minutes = self.number::<2>(0, 59)?;
        Some(sign * (hours * 3_600 + minutes * 60))
    }
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// The proleptic Gregorian calendar, counted from 1 March so that the leap day ends a year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, NaiveDate, TimeDelta};
    use proptest::prelude::*;

    #[test]
    fn dates_are_strict() {
        assert_eq!(date(b"1970-01-01"), Ok(0));
        assert_eq!(date(b"2024-02-29"), Ok(19_782));
        for text in [
            "2023-02-29",
            "2024-13-01",
            "2024-1-1",
            "2024-01-01T",
            "20240101",
            "",
            "2024-01-00",
            "-024-01-01",
        ] {
            assert_eq!(date(text.as_bytes()), Err(Refusal::WrongType), "{text}");
        }
    }

    #[test]
    fn times_are_strict() {
        let micros = |text: &str| timestamp(text.as_bytes(), TimeUnit::Microsecond, true);
        assert_eq!(micros("2024-11-25T12:20:00.123456Z"), Ok(1_732_537_200_123_456));
        assert_eq!(micros("2024-11-25 12:20:00.123456000z"), Ok(1_732_537_200_123_456));
        assert_eq!(micros("2024-11-25T14:20:00.1+02:00"), Ok(1_732_537_200_100_000));
        assert_eq!(micros("1969-12-31T23:59:59.999999Z"), Ok(-1));
        assert_eq!(micros("2024-11-25T12:20:00.1234567Z"), Err(Refusal::TooFine));
        assert_eq!(micros("2024-11-25T12:20:00"), Err(Refusal::MissingOffset));
        for text in [
            "2024-11-25T12:20:60Z",
            "2024-11-25T24:00:00Z",
            "2024-11-25T12:20Z",
            "2024-11-25",
            "2024-11-25T12:20:00.Z",
            "2024-11-25T12:20:00+0200",
            "2024-11-25T12:20:00+24:00",
            "2024-11-25T12:20:00ZZ",
            "2024-11-25_12:20:00Z",
        ] {
            assert_eq!(micros(text), Err(Refusal::WrongType), "{text}");
        }
        assert_eq!(timestamp(b"1970-01-01T00:00:01", TimeUnit::Second, false), Ok(1));
        let nanos = |text: &str| timestamp(text.as_bytes(), TimeUnit::Nanosecond, true);
        assert_eq!(nanos("2262-04-11T23:47:16.854775807Z"), Ok(i64::MAX));
        assert_eq!(nanos("2262-04-11T23:47:16.854775808Z"), Err(Refusal::OutOfRange));
        assert_eq!(nanos("1677-09-21T00:12:43.145224192Z"), Ok(i64::MIN));
    }

    proptest! {
        #[test]
        fn every_day_is_that_of_chrono(days in -719_528_i32..=2_932_896) {
            let day = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap() + TimeDelta::days(i64::from(days));
            prop_assert_eq!(date(day.format("%Y-%m-%d").to_string().as_bytes()), Ok(days));
        }

        #[test]
        fn every_time_is_that_of_chrono(nanos in any::<i64>(), offset in -1439_i32..=1439) {
            let zone = chrono::FixedOffset::east_opt(offset * 60).unwrap();
            let text = DateTime::from_timestamp_nanos(nanos).with_timezone(&zone).to_rfc3339();
            prop_assert_eq!(timestamp(text.as_bytes(), TimeUnit::Nanosecond, true), Ok(nanos));
        }

        #[test]
        fn what_chrono_refuses_is_refused(text in "2024-(0[0-9]|1[0-4])-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-5][0-9](\\.[0-9]{0,3})?(Z|[+-][0-2][0-9]:[0-6][0-9])") {
            let expected = DateTime::parse_from_rfc3339(&text).ok().map(|time| time.timestamp_millis());
            prop_assert_eq!(timestamp(text.as_bytes(), TimeUnit::Millisecond, true).ok(), expected);
        }
    }
}
