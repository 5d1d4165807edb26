//! How ss writes numbers that are not whole: times, rates and C's `%g`.

use std::fmt::Write as _;

/// A time as ss writes it: what is small beside the rest is left out.
pub fn time(milliseconds: u32) -> String {
    let (all_seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    let (minutes, seconds) = (all_seconds / 60, all_seconds % 60);
    let mut text = String::new();
    if minutes > 0 {
        let _ = write!(text, "{minutes}min");
    }
    let rest = if minutes > 0 || seconds > 9 { 0 } else { rest };
    if seconds > 0 && minutes <= 9 {
        let unit = if rest > 0 { "." } else { "sec" };
        let _ = write!(text, "{seconds}{unit}");
    }
    if rest > 0 {
        let _ = write!(text, "{rest:03}ms");
    }
    text
}

/// A thousandth of `number` as C's `%g` writes it: six digits.
pub fn thousandths(number: u32) -> String {
    significant(f64::from(number) / 1000.0, 6)
}

/// `number` as C's `%.Ng` writes it for N `digits`: without zeros at its end. It is
/// neither negative nor so small that an exponent would say so.
///
/// Rust's own way to write a float would be a tenth of what all of this is long.
pub fn significant(number: f64, digits: u32) -> String {
    let whole_digits = match number as u64 {
        0 => 0,
        whole => whole.ilog10() + 1,
    };
    let decimals = digits.saturating_sub(whole_digits);
    let scale = 10u64.pow(decimals);
    let scaled = rounded(number * scale as f64);
    if scaled >= scale * 10u64.pow(digits) {
        return format!("1e+0{digits}");
    }
    let (whole, mut part) = (scaled / scale, scaled % scale);
    if part == 0 {
        return whole.to_string();
    }
    let mut width = decimals as usize;
    while part % 10 == 0 {
        part /= 10;
        width -= 1;
    }
    format!("{whole}.{part:0width$}")
}

/// The nearest whole number; of two, the even one.
pub fn rounded(number: f64) -> u64 {
    let whole = number as u64;
    let rest = number - whole as f64;
    let is_up = rest > 0.5 || rest == 0.5 && whole % 2 == 1;
    whole + u64::from(is_up)
}

/// Bits per second as ss writes them: with a unit, or whole.
pub fn bandwidth(rate: f64, numeric: bool) -> String {
    if numeric {
        return rounded(rate).to_string();
    }
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match units.into_iter().find(|(size, _)| rate >= *size) {
        Some((size, unit)) => significant(rate / size, 3) + unit,
        None => significant(rate, 6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `printf` of C wrote them.
    #[test]
    fn numbers_are_written_as_c_does() {
        for (number, text) in [
            (1, "0.001"),
            (34, "0.034"),
            (200_000, "200"),
            (1500, "1.5"),
            (123_456, "123.456"),
            (1_234_567, "1234.57"),
            (12_345_678, "12345.7"),
        ] {
            assert_eq!(thousandths(number), text);
        }
        for (rate, text) in [
            (21.824e9, "21.8G"),
            (999_999_999.0, "1e+03M"),
            (12_500.0, "12.5k"),
            (1000.0 / 3.0, "333.333"),
            (8e6 / 3.0, "2.67M"),
        ] {
            assert_eq!(bandwidth(rate, false), text);
        }
        assert_eq!(bandwidth(8e6 / 3.0, true), "2666667");
    }

    #[test]
    fn times_leave_out_what_is_small() {
        for (milliseconds, text) in [
            (0, ""),
            (7, "007ms"),
            (1000, "1sec"),
            (1007, "1.007ms"),
            (10_007, "10sec"),
            (61_500, "1min1sec"),
            (60_500, "1min"),
            (119 * 60_000 + 59_000, "119min"),
        ] {
            assert_eq!(time(milliseconds), text, "{milliseconds}");
        }
    }
}
