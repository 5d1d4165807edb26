//! Patterns of a shell, which names of Unix sockets are compared with: fnmatch(3)
//! without sets of characters by name, in any case of letters.

/// Whether `name` is like a pattern of fnmatch(3), in any case of letters.
pub fn is_like<'a>(mut name: &'a [u8], mut pattern: &'a [u8]) -> bool {
    // What is left of both behind the last `*`, which takes nothing at first.
    let mut behind_star: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            pattern = rest;
            behind_star = Some((name, pattern));
            continue;
        }
        let Some((&byte, others)) = name.split_first() else {
            return pattern.is_empty();
        };
        if let Some(rest) = behind(byte, pattern) {
            (name, pattern) = (others, rest);
            continue;
        }
        // That `*` takes a byte more. What those before it take does not matter.
        let Some((left, rest)) = behind_star else {
            return false;
        };
        (name, pattern) = (&left[1..], rest);
        behind_star = Some((name, pattern));
    }
}

/// What is left of the pattern behind what stands for `byte` at its start.
fn behind(byte: u8, pattern: &[u8]) -> Option<&[u8]> {
    let (&first, rest) = pattern.split_first()?;
    let byte = byte.to_ascii_lowercase();
    let (is_first, rest) = match (first, rest.split_first()) {
        (b'?', _) => (true, rest),
        (b'[', _) => match in_brackets(byte, rest) {
            Some(result) => result,
            None => (byte == b'[', rest),
        },
        (b'\\', Some((escaped, rest))) => (byte == escaped.to_ascii_lowercase(), rest),
        // A backslash at the end is like nothing.
        (b'\\', None) => return None,
        _ => (byte == first.to_ascii_lowercase(), rest),
    };
    is_first.then_some(rest)
}

/// Whether `byte` is one of those in brackets, and what follows the brackets.
/// `None` if they are never closed.
fn in_brackets(byte: u8, pattern: &[u8]) -> Option<(bool, &[u8])> {
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
        let mut from = next;
        if next == b'\\' {
            (from, after) = after.split_first().map(|(byte, after)| (*byte, after))?;
        }
        let mut to = from;
        if let [b'-', end, behind @ ..] = after
            && *end != b']'
        {
            (to, after) = (*end, behind);
        }
        let (from, to) = (from.to_ascii_lowercase(), to.to_ascii_lowercase());
        is_in |= (from..=to).contains(&byte);
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
    fn a_pattern_matches_as_in_a_shell() {
        for (pattern, like, unlike) in [
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
            assert!(matches(like, pattern), "{pattern}");
            assert_eq!(matches(unlike, pattern), pattern == "*", "{pattern}");
        }
    }

    /// A pattern of many stars takes neither for ever nor more of the stack than there is.
    #[test]
    fn many_stars_are_compared_in_time() {
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
