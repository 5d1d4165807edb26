//! Reads numbers in the notation of C, as ss does.

/// The value of a number in the notation of C: decimal, octal if it starts with `0`, or
/// hexadecimal if it starts with `0x`, with an optional sign. `None` if the text is not a
/// number, or if the number without its sign does not fit in 32 bits.
pub fn integer(text: &str) -> Option<i64> {
    let (is_negative, text) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (digits, base) = match text.strip_prefix('0') {
        Some("") | None => (text, 10),
        Some(rest) => match rest.strip_prefix(['x', 'X']) {
            Some(digits) => (digits, 16),
            None => (rest, 8),
        },
    };
    if !digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i64::from(u32::from_str_radix(digits, base).ok()?);
    Some(if is_negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_the_notation_of_c() {
        for (text, number) in [
            ("0", Some(0)),
            ("80", Some(80)),
            ("0120", Some(80)),
            ("0x50", Some(80)),
            ("0X5f", Some(95)),
            ("+80", Some(80)),
            ("-0x50", Some(-80)),
            ("4294967295", Some(4_294_967_295)),
            ("4294967296", None),
            ("080", None),
            ("0x", None),
            ("--1", None),
            ("1_0", None),
            ("", None),
        ] {
            assert_eq!(integer(text), number, "{text}");
        }
    }
}
