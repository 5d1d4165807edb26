//! Reads any bytes as JSON, as if a container runtime had written them. Nothing may panic. If
//! serde_json accepts the text, lntu must find the same strings in the same positions. If the text
//! is cut off or nested too deeply, lntu must find no strings.
#![no_main]

use std::fmt;

use libfuzzer_sys::fuzz_target;
use lntu::source::json::for_each_string;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// The number of levels to which a text may be nested. lntu refuses text that is nested deeper.
const MOST_NESTED: usize = 64;

fuzz_target!(|input: &[u8]| {
    let found = strings(input);
    let Some((depth, strings_inside)) = expected(input) else {
        return;
    };
    assert_eq!(found, (depth <= MOST_NESTED).then_some(strings_inside));
    let text = input.trim_ascii();
    let step = text.len() / 256 + 1;
    for end in (0..text.len()).step_by(step) {
        assert_eq!(strings(&text[..end]), None, "{end}");
    }
    assert_eq!(strings(&[text, b"x"].concat()), None);
    for levels in [1, MOST_NESTED - depth.min(MOST_NESTED), 10_000] {
        let nested = [&b"[".repeat(levels), text, &b"]".repeat(levels)].concat();
        assert_eq!(strings(&nested).is_some(), levels + depth <= MOST_NESTED);
    }
});

/// A string, with escapes decoded, and its position.
#[derive(Debug, PartialEq)]
struct Found {
    depth: u32,
    item: usize,
    is_element: bool,
    key: String,
    value: String,
}

/// The strings that lntu finds in `text`.
fn strings(text: &[u8]) -> Option<Vec<Found>> {
    let mut found = Vec::new();
    let is_whole = for_each_string(text, &mut |string| {
        found.push((
            string.depth,
            string.item,
            string.is_element,
            string.key.to_vec(),
            string.value.to_vec(),
        ));
    });
    if is_whole.is_none() {
        assert!(found.is_empty());
        return None;
    }
    let plain = |(depth, item, is_element, key, value): (_, _, _, Vec<u8>, Vec<u8>)| Found {
        depth,
        item,
        is_element,
        key: unescaped(&key),
        value: unescaped(&value),
    };
    Some(found.into_iter().map(plain).collect())
}

/// Decodes the escapes in `text`. If they are not valid, the result does not matter: serde_json
/// then refuses the whole input, and nothing is compared.
fn unescaped(text: &[u8]) -> String {
    serde_json::from_slice(&[b"\"", text, b"\""].concat()).unwrap_or_default()
}

/// Returns how deeply `text` is nested, and the strings that serde_json finds in it. Returns `None`
/// if `text` is not an object or an array.
fn expected(text: &[u8]) -> Option<(usize, Vec<Found>)> {
    let mut walk = Walk::default();
    let mut json = serde_json::Deserializer::from_slice(text);
    walk.deserialize(&mut json).ok()?;
    json.end().ok()?;
    (walk.deepest > 0).then_some((walk.deepest, walk.found))
}

/// Collects the strings of a text.
#[derive(Default)]
struct Walk {
    found: Vec<Found>,
    /// The name of the member that was read last. It is empty after the end of an object or array.
    key: String,
    /// For each object and array that is open, whether it is an array, and its next index.
    open: Vec<(bool, usize)>,
    deepest: usize,
}

impl Walk {
    fn open(&mut self, is_array: bool) {
        self.open.push((is_array, 0));
        self.deepest = self.deepest.max(self.open.len());
    }

    fn close(&mut self) {
        self.open.pop();
        self.key.clear();
    }

    fn count(&mut self) {
        self.open.last_mut().expect("an open object or array").1 += 1;
    }
}

impl<'de> DeserializeSeed<'de> for &mut Walk {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Walk {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        if let (Some((_, item)), Some((is_element, _))) = (self.open.first(), self.open.last()) {
            self.found.push(Found {
                depth: self.open.len() as u32,
                item: *item,
                is_element: *is_element,
                key: self.key.clone(),
                value: value.to_string(),
            });
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        self.open(true);
        while elements.next_element_seed(&mut *self)?.is_some() {
            self.count();
        }
        self.close();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        self.open(false);
        while let Some(key) = members.next_key()? {
            self.key = key;
            members.next_value_seed(&mut *self)?;
            self.count();
        }
        self.close();
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
