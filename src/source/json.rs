//! Finds the strings in JSON text (RFC 8259). This is no validator: text that is not JSON may
//! pass, but text that was cut off is always refused.

/// Text that is nested deeper than this is refused.
const MOST_NESTED: u32 = 64;

/// A string that is neither the name of a member nor outside of all objects and arrays.
pub struct StringValue<'a> {
    /// The number of objects and arrays around the string.
    pub depth: u32,
    /// The index of the outermost element or member that contains the string.
    pub item: usize,
    /// Whether the string is an element of an array.
    pub is_element: bool,
    /// The name of the member whose value is the string, or the array around the string.
    pub key: &'a [u8],
    /// The string as it is written, without quotes. Escapes are not decoded.
    pub value: &'a [u8],
}

/// Calls `each` with every string in `text`. `None` if the text is cut off, goes on after its
/// outermost value, or is nested too deeply. `each` is then not called at all.
pub fn for_each_string<'a>(text: &'a [u8], each: &mut dyn FnMut(&StringValue<'a>)) -> Option<()> {
    scan(text, &mut |_| ())?;
    scan(text, each)
}

/// Does the same as [`for_each_string`], but calls `each` before the end of the text is seen.
fn scan<'a>(text: &'a [u8], each: &mut dyn FnMut(&StringValue<'a>)) -> Option<()> {
    // One bit for each open object (0) and array (1). The innermost one is the lowest bit.
    let mut open = 0_u64;
    let mut current = StringValue {
        depth: 0,
        item: 0,
        is_element: false,
        key: b"",
        value: b"",
    };
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'{' | b'[' if current.depth == MOST_NESTED => return None,
            b'{' | b'[' => {
                open = open << 1 | u64::from(*byte == b'[');
                current.depth += 1;
            }
            b'}' | b']' => {
                current.depth = current.depth.checked_sub(1)?;
                if open & 1 != u64::from(*byte == b']') {
                    return None;
                }
                open >>= 1;
                current.key = b"";
                if current.depth == 0 {
                    return rest.trim_ascii().is_empty().then_some(());
                }
            }
            b',' if current.depth == 1 => current.item += 1,
            b'"' => {
                (current.value, rest) = rest.split_at_checked(length(rest)?)?;
                rest = rest[1..].trim_ascii_start();
                match rest {
                    [b':', ..] => current.key = current.value,
                    _ => {
                        current.is_element = open & 1 == 1;
                        each(&current);
                    }
                }
            }
            _ => {}
        }
    }
    None
}

/// The length of a string whose opening quote is before `text`. `None` if it does not end.
fn length(text: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    text.iter().position(|byte| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// The fields of a [`StringValue`], in their order.
    type Found<'a> = (u32, usize, bool, &'a str, &'a str);

    fn strings(text: &str) -> Option<Vec<Found<'_>>> {
        let mut found = Vec::new();
        let is_whole = for_each_string(text.as_bytes(), &mut |string| {
            let [key, value] =
                [string.key, string.value].map(|bytes| str::from_utf8(bytes).unwrap());
            found.push((string.depth, string.item, string.is_element, key, value));
        });
        assert!(is_whole.is_some() || found.is_empty());
        is_whole.map(|()| found)
    }

    #[test]
    fn each_string_has_its_key() {
        let text = r#" {"a": "1", "b" : {"a":"2\"}\\"}, "c":[ "3", [{"d":4}, "5"], "6" ],"a":"7"}
            "#;
        let expected = [
            (1, 0, false, "a", "1"),
            (2, 1, false, "a", "2\\\"}\\\\"),
            (2, 2, true, "c", "3"),
            (3, 2, true, "", "5"),
            (2, 2, true, "", "6"),
            (1, 3, false, "a", "7"),
        ];
        assert_eq!(strings(text).unwrap(), expected);
    }

    #[test]
    fn the_elements_of_an_array_are_counted() {
        let text = r#"[{"id":"a","n":["x","y"]},{"n":["z"],"id":"b"}]"#;
        let items = strings(text).unwrap();
        let items: Vec<usize> = items.iter().map(|string| string.1).collect();
        assert_eq!(items, [0, 0, 0, 1, 1]);
    }

    #[test]
    fn text_that_is_cut_off_is_refused() {
        let text = r#"[{"id":"a\\","names":["x\"","y"],"n":{"a":[1,true,null]}},{"id":"b"}]"#;
        assert!(strings(text).is_some());
        for end in 0..text.len() {
            assert_eq!(strings(&text[..end]), None, "{}", &text[..end]);
        }
    }

    #[test]
    fn text_after_the_end_and_wrong_brackets_are_refused() {
        for text in [
            r#"{"a":"b"}{"a":"c"}"#,
            r#"{"a":"b"},"#,
            r#"{"a":"b"]"#,
            r#"["b"}"#,
            "]",
            r#""a""#,
            "",
        ] {
            assert_eq!(strings(text), None, "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| {
            let inner = format!("{}\"x\"{}", "[".repeat(depth), "]".repeat(depth));
            strings(&inner).map(|all| all.len())
        };
        assert_eq!(nested(64), Some(1));
        for depth in [65, 10_000] {
            assert_eq!(nested(depth), None);
            assert_eq!(strings(&"{\"a\":".repeat(depth)), None);
        }
    }

    /// The texts are JSON with random changes.
    #[test]
    fn all_strings_of_valid_json_are_found() {
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            (state >> 33) as usize % below
        };
        let alphabet = b"{}[]:,\"\\ \n1ax\xff\x00";
        let whole = br#"[{"id":"a","names":["x","y\\"],"n":{"a":["b",1]}},{"id":"b"}]"#;
        let (mut accepted, mut refused) = (0, 0);
        for _ in 0..200_000 {
            let mut text = whole.to_vec();
            for _ in 0..random(4) {
                let index = random(text.len());
                match random(3) {
                    0 => text.truncate(index + 1),
                    1 => text[index] = alphabet[random(alphabet.len())],
                    _ => text.insert(index, alphabet[random(alphabet.len())]),
                }
            }
            let mut found = 0;
            let is_whole = for_each_string(&text, &mut |_| found += 1).is_some();
            match serde_json::from_slice::<Value>(&text) {
                Ok(value) if value.is_array() || value.is_object() => {
                    let text = String::from_utf8_lossy(&text);
                    assert!(is_whole, "{text}");
                    assert!(found >= count(&value), "{text}");
                    accepted += 1;
                }
                _ => refused += 1,
            }
        }
        assert!(accepted > 1000 && refused > 1000, "{accepted} {refused}");
    }

    /// The number of strings in `value`. Of several members with the same name, serde_json
    /// keeps the last one only.
    fn count(value: &Value) -> usize {
        match value {
            Value::String(_) => 1,
            Value::Array(elements) => elements.iter().map(count).sum(),
            Value::Object(members) => members.values().map(count).sum(),
            _ => 0,
        }
    }
}
