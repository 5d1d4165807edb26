//! Writes numbers as ss does: times, rates, and decimals in the format `%g` of C.
//!
//! The digits are written directly into a [`Text`], because a table of connections can contain
//! a million such numbers.

use super::text::Text;

/// Writes a time as ss does. From 10 seconds on, the milliseconds are left out. From 10 minutes
/// on, the seconds are left out, too.
pub fn time(milliseconds: u32, text: &mut Text) {
    let (all_seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    let (minutes, seconds) = (all_seconds / 60, all_seconds % 60);
    if minutes > 0 {
        text.decimal(minutes.into());
        text.push(b"min");
    }
    let rest = if minutes > 0 || seconds > 9 { 0 } else { rest };
    if seconds > 0 && minutes <= 9 {
        text.decimal(seconds.into());
        text.push(if rest > 0 { b"." } else { b"sec" });
    }
    if rest > 0 {
        text.digits(rest.into(), 3);
        text.push(b"ms");
    }
}

/// Writes `number` divided by 1000, with up to six significant digits, as `%g` of C does.
pub fn thousandths(number: u32, text: &mut Text) {
    match number {
        0..1_000_000 => {
            text.decimal((number / 1000).into());
            fraction((number % 1000).into(), 3, text);
        }
        _ => significant(f64::from(number) / 1000.0, 6, text),
    }
}

/// Writes `number` with up to `digits` significant digits and without zeros at the end, as
/// `%.Ng` of C does. The number must be below 2^64, not negative, and not so small that C would
/// write a negative exponent.
///
/// The formatting of floats in std would make the binary larger.
pub fn significant(number: f64, digits: u32, text: &mut Text) {
    let power = |exponent| 10u64.pow(exponent);
    let whole_digits = match number as u64 {
        0 => 0,
        whole => whole.ilog10() + 1,
    };
    let decimals = digits.saturating_sub(whole_digits);
    let left_out = whole_digits.saturating_sub(digits);
    let scaled = rounded(number * power(decimals) as f64 / power(left_out) as f64);
    let is_rounded_up = decimals == 0 && scaled == power(digits);
    if left_out == 0 && !is_rounded_up {
        text.decimal(scaled / power(decimals));
        return fraction(scaled % power(decimals), decimals as usize, text);
    }
    let last = digits - 1;
    let mantissa = if is_rounded_up { power(last) } else { scaled };
    text.decimal(mantissa / power(last));
    fraction(mantissa % power(last), last as usize, text);
    text.push(b"e+");
    text.digits((left_out + last + u32::from(is_rounded_up)).into(), 2);
}

/// Writes a decimal point and `count` decimals, without zeros at the end.
fn fraction(mut decimals: u64, mut count: usize, text: &mut Text) {
    if decimals == 0 {
        return;
    }
    while decimals.is_multiple_of(10) {
        decimals /= 10;
        count -= 1;
    }
    text.push(b".");
    text.digits(decimals, count);
}

/// Rounds to the nearest whole number. A number halfway between two whole numbers is rounded to
/// the even one. A number that is too large becomes the largest `u64`.
pub fn rounded(number: f64) -> u64 {
    let whole = number as u64;
    let rest = number - whole as f64;
    let is_up = rest > 0.5 || rest == 0.5 && whole % 2 == 1;
    whole.saturating_add(is_up.into())
}

/// The format in which a rate is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateFormat {
    /// Three significant digits and a unit such as `Mbps`.
    WithUnit,
    /// All digits, in bits per second.
    Exact,
}

/// Writes a rate. `rate` is in bits per second.
pub fn bandwidth(rate: f64, format: RateFormat, text: &mut Text) {
    /// The largest power of ten that fits in a `u64`.
    const LARGEST_POWER: u128 = 10u128.pow(19);
    let is_exact = format == RateFormat::Exact;
    if is_exact && rate >= LARGEST_POWER as f64 {
        let whole = rate as u128;
        text.decimal((whole / LARGEST_POWER) as u64);
        text.digits((whole % LARGEST_POWER) as u64, 19);
    } else if is_exact {
        text.decimal(rounded(rate));
    } else {
        let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
        match units.into_iter().find(|(size, _)| rate >= *size) {
            Some((size, unit)) => {
                significant(rate / size, 3, text);
                text.push(unit.as_bytes());
            }
            None => significant(rate, 6, text),
        }
    }
    text.push(b"bps");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text that `write` writes.
    fn written(write: impl FnOnce(&mut Text)) -> String {
        let mut text = Text::default();
        write(&mut text);
        String::from_utf8(text.as_bytes().to_vec()).unwrap()
    }

    /// The expected texts come from `printf` of C.
    #[test]
    fn thousandths_agrees_with_printf() {
        for (number, expected) in [
            (0, "0"),
            (1, "0.001"),
            (34, "0.034"),
            (200_000, "200"),
            (1500, "1.5"),
            (123_456, "123.456"),
            (999_999, "999.999"),
            (1_000_000, "1000"),
            (1_234_567, "1234.57"),
            (12_345_678, "12345.7"),
            (999_999_501, "1e+06"),
        ] {
            assert_eq!(written(|text| thousandths(number, text)), expected);
        }
    }

    /// The expected texts come from `printf` of C, apart from the units.
    #[test]
    fn rates_are_written_with_a_unit() {
        for (rate, expected) in [
            (21.824e9, "21.8Gbps"),
            (999_999_999.0, "1e+03Mbps"),
            (12_500.0, "12.5kbps"),
            (1000.0 / 3.0, "333.333bps"),
            (8e6 / 3.0, "2.67Mbps"),
            (999.4e12, "999Tbps"),
            (999.5e12, "1e+03Tbps"),
            (1.5e15, "1.5e+03Tbps"),
            (2f64.powi(65), "3.69e+07Tbps"),
            (2f64.powi(67) * 999.0 / 1000.0, "1.47e+08Tbps"),
            (1e26, "1e+14Tbps"),
        ] {
            assert_eq!(
                written(|text| bandwidth(rate, RateFormat::WithUnit, text)),
                expected
            );
        }
    }

    #[test]
    fn exact_rates_are_written_with_all_digits() {
        for (rate, expected) in [
            (8e6 / 3.0, "2666667bps"),
            (2f64.powi(63), "9223372036854775808bps"),
            (1e19, "10000000000000000000bps"),
            (2f64.powi(65), "36893488147419103232bps"),
            (2f64.powi(67), "147573952589676412928bps"),
        ] {
            assert_eq!(
                written(|text| bandwidth(rate, RateFormat::Exact, text)),
                expected
            );
        }
    }

    #[test]
    fn long_times_leave_out_small_units() {
        for (milliseconds, expected) in [
            (0, ""),
            (7, "007ms"),
            (1000, "1sec"),
            (1007, "1.007ms"),
            (10_007, "10sec"),
            (61_500, "1min1sec"),
            (60_500, "1min"),
            (119 * 60_000 + 59_000, "119min"),
        ] {
            assert_eq!(
                written(|text| time(milliseconds, text)),
                expected,
                "{milliseconds}"
            );
        }
    }
}
