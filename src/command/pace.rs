//! The pace of polls: the time between two of them, and durations as typed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The time between two polls: never under 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval(Duration);

impl Interval {
    /// The shortest interval.
    pub const SHORTEST: Duration = Duration::from_millis(10);
    /// The default of `lntu watch`: 1 second.
    pub const OF_WATCH: Interval = Interval(Duration::from_secs(1));
    /// The default of `lntu wait`: 100 ms.
    pub const OF_WAIT: Interval = Interval(Duration::from_millis(100));

    /// The pause after a poll that cost this much. It is at least nine times the
    /// cost, so polls never take more than a tenth of the time.
    pub fn pause_after(self, cost: Duration) -> Duration {
        self.0.max(cost * 9)
    }
}

impl FromStr for Interval {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Interval, DurationError> {
        let duration = parse_duration(text)?;
        if duration < Interval::SHORTEST {
            return Err(DurationError::TooShort);
        }
        Ok(Interval(duration))
    }
}

/// Why a duration was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurationError {
    /// Not a number, with or without a known unit.
    Form,
    /// Shorter than [`Interval::SHORTEST`].
    TooShort,
    /// More than about 584 years.
    TooLong,
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DurationError::Form => "not a duration such as 500ms, 5s, 1m30s, 1h or 0.5 (seconds)",
            DurationError::TooShort => "an interval is at least 10ms",
            DurationError::TooLong => "too long",
        })
    }
}

impl std::error::Error for DurationError {}

/// Reads `500ms`, `5s`, `1.5m` or `1h`, or several in a row, which add up: `1m30s`. A
/// bare number is seconds. Digits below a nanosecond are dropped.
///
/// # Errors
/// [`DurationError::Form`] and [`DurationError::TooLong`].
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    const UNITS: [(&str, u64); 4] = [
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let mut sum: u64 = 0;
    let mut rest = text;
    loop {
        let (number, after) = split_at_first(rest, |byte| byte.is_ascii_alphabetic());
        let (name, after) = split_at_first(after, |byte| !byte.is_ascii_alphabetic());
        let unit = match UNITS.iter().find(|(known, _)| *known == name) {
            Some((_, unit)) => *unit,
            None if number == text => 1_000_000_000,
            None => return Err(DurationError::Form),
        };
        let (whole, fraction) = match number.split_once('.') {
            None => (number, "0"),
            Some(("", fraction)) => ("0", fraction),
            Some(parts) => parts,
        };
        if !is_number(whole) || !is_number(fraction) {
            return Err(DurationError::Form);
        }
        let (tail, _) = fraction.bytes().fold((0, unit), |(sum, unit), digit| {
            let unit = unit / 10;
            (sum + u64::from(digit - b'0') * unit, unit)
        });
        let nanoseconds = whole.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
        sum = nanoseconds
            .and_then(|n| n.checked_add(tail)?.checked_add(sum))
            .ok_or(DurationError::TooLong)?;
        if after.is_empty() {
            return Ok(Duration::from_nanos(sum));
        }
        rest = after;
    }
}

/// What stands before the first such byte, and the rest.
fn split_at_first(text: &str, is_it: fn(&u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|byte| is_it(&byte));
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_unit() {
        let nanoseconds = |text| parse_duration(text).unwrap().as_nanos();
        assert_eq!(nanoseconds("500ms"), 500_000_000);
        assert_eq!(nanoseconds("5s"), 5_000_000_000);
        assert_eq!(nanoseconds("5"), 5_000_000_000);
        assert_eq!(nanoseconds("0"), 0);
        assert_eq!(nanoseconds("1m"), 60_000_000_000);
        assert_eq!(nanoseconds("2h"), 7_200_000_000_000);
        assert_eq!(nanoseconds("0.25"), 250_000_000);
        assert_eq!(nanoseconds("1.5m"), 90_000_000_000);
        assert_eq!(nanoseconds("0.0000000019s"), 1);
        assert_eq!(nanoseconds(".5"), 500_000_000);
        assert_eq!(nanoseconds("1m30s"), 90_000_000_000);
        assert_eq!(nanoseconds("1h2m3.5s4ms"), 3_723_504_000_000);
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "", ".", "s", "ms", ".s", "5.", "1m30", "1m-1s", "1.2.3", "-1", "+1", "1 s", " 1",
            "1d", "1S", "0x10", "1e3", "inf", "NaN", "5ss", "٣",
        ] {
            assert_eq!(parse_duration(text), Err(DurationError::Form), "{text:?}");
        }
        for text in [
            "18446744073709551616",
            "18446744074s",
            "18446744073s1s",
            "99999999999999h",
        ] {
            assert_eq!(parse_duration(text), Err(DurationError::TooLong), "{text}");
        }
    }

    #[test]
    fn an_interval_is_never_under_10_ms() {
        for text in ["0", "0s", "9ms", "0.009"] {
            assert_eq!(
                text.parse::<Interval>(),
                Err(DurationError::TooShort),
                "{text}"
            );
        }
        assert!("10ms".parse::<Interval>().is_ok());
    }

    #[test]
    fn polling_never_takes_more_than_a_tenth_of_the_time() {
        let pause = |cost| Interval::OF_WAIT.pause_after(Duration::from_millis(cost));
        assert_eq!(pause(1), Duration::from_millis(100));
        assert_eq!(pause(50), Duration::from_millis(450));
    }
}
