//! Compares the names of Unix sockets with shell patterns, like fnmatch(3) with the flag that
//! ignores case. Named character classes such as `[:alpha:]` are not supported.

/// Whether `name` matches `pattern`, ignoring case. The syntax of the pattern is that of
/// fnmatch(3).
pub fn is_like<'a>(mut name: &'a [u8], mut pattern: &'a [u8]) -> bool {
    // Where to continue after the last `*` of the pattern: the rest of the name and the rest of
    // the pattern. At first, the `*` matches no bytes.
    let mut after_star: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            pattern = rest;
            after_star = Some((name, pattern));
            continue;
        }
        let Some((&byte, others)) = name.split_first() else {
            return pattern.is_empty();
        };
        if let Some(rest) = match_byte(byte, pattern) {
            (name, pattern) = (others, rest);
            continue;
        }
        // Backtrack: let the last `*` match one more byte. An earlier `*` never has to match
        // more.
        let Some((left, rest)) = after_star else {
            return false;
        };
        (name, pattern) = (&left[1..], rest);
        after_star = Some((name, pattern));
    }
}

/// The rest of the pattern after its first element, if that element matches `byte`.
fn match_byte(byte: u8, pattern: &[u8]) -> Option<&[u8]> {
    let (&first, rest) = pattern.split_first()?;
    let byte = byte.to_ascii_lowercase();
    let (is_match, rest) = match (first, rest.split_first()) {
        (b'?', _) => (true, rest),
        (b'[', _) => match match_brackets(byte, rest) {
            Some(result) => result,
            None => (byte == b'[', rest),
        },
        (b'\\', Some((escaped, rest))) => (byte == escaped.to_ascii_lowercase(), rest),
        // A backslash at the end of the pattern does not match anything.
        (b'\\', None) => return None,
        _ => (byte == first.to_ascii_lowercase(), rest),
    };
    is_match.then_some(rest)
}

/// Whether `byte` matches a bracket expression, and the rest of the pattern after the
/// expression. `pattern` starts after the opening bracket. `None` if there is no closing
/// bracket.
fn match_brackets(byte: u8, pattern: &[u8]) -> Option<(bool, &[u8])> {
    let is_negated = matches!(pattern.first(), Some(b'!' | b'^'));
    let mut rest = &pattern[usize::from(is_negated)..];
    let mut is_in = false;
    let mut is_first = true;
    loop {
        let (&next, mut after) = rest.split_first()?;
        if next == b']' && !is_first {
            return Some((is_in != is_negated, after));
        }
        is_first = false;
        let mut low = next;
        if next == b'\\' {
            (low, after) = after.split_first().map(|(byte, after)| (*byte, after))?;
        }
        let mut high = low;
        if let [b'-', end, after_range @ ..] = after
            && *end != b']'
        {
            (high, after) = (*end, after_range);
        }
        let (low, high) = (low.to_ascii_lowercase(), high.to_ascii_lowercase());
        is_in |= (low..=high).contains(&byte);
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(name: &str, pattern: &str) -> bool {
        is_like(name.as_bytes(), pattern.as_bytes())
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, matching, other) in [
            ("/run/*.sock", "/RUN/a/b.sock", "/run/a.socket"),
            ("@?b", "@ab", "@b"),
            ("[a-c]*", "b", "d"),
            ("[!a]", "b", "A"),
            ("[]a]", "]", "b"),
            ("a[", "a[", "ab"),
            ("*ab*[!a]", "aab/aaab", "aab/aaa"),
            ("*ab*b*", "aab/aaab", "aab/aaa"),
            ("\\*", "*", "a"),
            ("*", "", "\0"),
        ] {
            assert!(matches(matching, pattern), "{pattern}");
            assert_eq!(matches(other, pattern), pattern == "*", "{pattern}");
        }
    }

    /// Backtracking over every star would take exponential time, and recursion would overflow
    /// the stack.
    #[test]
    fn patterns_with_many_stars_are_compared_quickly() {
        for (end, is_alike) in [("b", true), ("$", false)] {
            let stars = "*".repeat(120_000);
            let pattern = format!("a{stars}{end}");
            assert_eq!(matches("aab/aaab", &pattern), is_alike, "{end}");
            let name = "a".repeat(60) + "b";
            let pattern = format!("{}{end}", "*a".repeat(40));
            assert_eq!(matches(&name, &pattern), is_alike, "{end}");
        }
    }
}
