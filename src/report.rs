//! Messages on stderr: one line each, `lntu: WHAT: WHY`.
//!
//! Messages quote text from elsewhere (what ss wrote, what a file holds). So
//! every message goes through [`line()`], which escapes what [`is_nonprinting`].
//!
//! How much is said is one setting of the process, like the log level of the
//! usual logging crates: stderr is one, too.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU8, Ordering};

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// `-q`: only what ends the program.
    Quiet,
    /// Also what a user should know: something is left out or fails.
    #[default]
    Normal,
    /// `-v`: also why a source was passed over and which rows were skipped.
    Verbose,
}

static VERBOSITY: AtomicU8 = AtomicU8::new(Verbosity::Normal as u8);

/// Sets how much is said from now on. It is [`Verbosity::Normal`] at the start.
pub fn set_verbosity(verbosity: Verbosity) {
    VERBOSITY.store(verbosity as u8, Ordering::Relaxed);
}

/// Does `work` without a word, however much is said otherwise.
pub fn silently<T>(work: impl FnOnce() -> T) -> T {
    let before = VERBOSITY.swap(Verbosity::Quiet as u8, Ordering::Relaxed);
    let result = work();
    VERBOSITY.store(before, Ordering::Relaxed);
    result
}

fn is_at_least(verbosity: Verbosity) -> bool {
    VERBOSITY.load(Ordering::Relaxed) >= verbosity as u8
}

/// Says what ends the program.
pub fn error(message: fmt::Arguments<'_>) {
    error_as("lntu", message);
}

/// Says what ends the program, which was started under this name.
///
/// The message is one line, in one write. A stderr that fails is ignored:
/// nothing can be done about it.
pub fn error_as(program: &str, message: fmt::Arguments<'_>) {
    line(format_args!("{program}: {message}"));
}

/// Says this without the name of a program before it, as ss does in some messages.
pub fn line(message: fmt::Arguments<'_>) {
    let line = format!("{}\n", Escaped(&message.to_string()));
    let _ = io::stderr().write(line.as_bytes());
}

/// Says what a user should know, unless `-q` was given.
pub fn warn(message: fmt::Arguments<'_>) {
    if is_at_least(Verbosity::Normal) {
        error(message);
    }
}

/// Says what a user should know, unless `-q` was given. The message is made only
/// if it is said.
pub fn warn_with(message: impl FnOnce() -> String) {
    if is_at_least(Verbosity::Normal) {
        error(format_args!("{}", message()));
    }
}

/// Says what helps to find a cause, if `-v` was given.
pub fn detail(message: fmt::Arguments<'_>) {
    if is_at_least(Verbosity::Verbose) {
        error(message);
    }
}

/// Says each distinct detail once.
#[derive(Debug, Default)]
pub struct Details {
    said: Vec<String>,
}

impl Details {
    /// After this many, further details are dropped. They may quote text that
    /// differs every time, and memory must not grow.
    const MOST: usize = 100;

    /// Says `message` if `-v` was given and it was not said before.
    pub fn say_once(&mut self, message: fmt::Arguments<'_>) {
        // Checked here too, so that without `-v` nothing is allocated.
        if is_at_least(Verbosity::Verbose) {
            self.record(message.to_string());
        }
    }

    fn record(&mut self, text: String) {
        if self.said.len() < Details::MOST && !self.said.contains(&text) {
            detail(format_args!("{text}"));
            self.said.push(text);
        }
    }
}

/// Whether `character` must be escaped in text that others control, in messages, cells
/// and JSON alike: white space other than U+0020, control, format, private-use and
/// unassigned characters, and those that are shown as a blank or not at all. They could
/// end a cell or a line, steer a terminal, or make two names look the same.
pub fn is_nonprinting(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    // Letters, marks and a symbol by their category, but nothing is seen of them: those of
    // Default_Ignorable_Code_Point (Unicode, DerivedCoreProperties.txt), and the empty
    // pattern of Braille.
    let is_invisible = matches!(
        character,
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0100}'..='\u{e01ef}'
    );
    // std escapes the other ones in a string, by their category. At its start it would
    // also escape combining marks, so a letter comes first.
    let mut text = [b'a'; 5];
    let length = 1 + character.encode_utf8(&mut text[1..]).len();
    let text = str::from_utf8(&text[..length]).unwrap_or_default();
    is_invisible || text.escape_debug().nth(1) == Some('\\')
}

/// Text with nonprinting characters written as escapes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if is_nonprinting(character) {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex_syntax::hir::{Class, ClassUnicode, HirKind};

    #[test]
    fn control_characters_are_escaped() {
        let text = "a\u{1b}[31m\nb\u{9b}é\u{7f}\u{202e}c";
        let escaped = "a\\u{1b}[31m\\nb\\u{9b}é\\u{7f}\\u{202e}c";
        assert_eq!(Escaped(text).to_string(), escaped);
    }

    /// Over all characters, against the database of Unicode.
    #[test]
    fn what_is_not_seen_as_itself_is_nonprinting() {
        let class = |class: &str| {
            let hir = regex_syntax::parse(class).unwrap();
            match hir.into_kind() {
                HirKind::Class(Class::Unicode(class)) => class,
                other => panic!("{other:?}"),
            }
        };
        let is_in = |class: &ClassUnicode, character| {
            let ranges = class.ranges();
            let after = ranges.partition_point(|range| range.start() <= character);
            after > 0 && character <= ranges[after - 1].end()
        };
        // `C` is control, format, private use and unassigned; `Z` is white space.
        let nonprinting = class(r"[[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}\x{2800}]--\x{20}]");
        // Others may be assigned in the one database and not yet in the other.
        let known = class(r"\p{Age=16.0}");
        let (mut wrong, mut number) = (Vec::new(), 0);
        for character in '\0'..=char::MAX {
            let is_known = is_in(&known, character);
            let expected = match is_known || char::UNICODE_VERSION.0 == 16 {
                true => is_in(&nonprinting, character) || !is_known,
                false => is_nonprinting(character),
            };
            number += usize::from(expected);
            if is_nonprinting(character) != expected {
                wrong.push(character);
            }
        }
        assert_eq!(wrong, ['a'; 0]);
        assert!(number > 900_000, "{number}");
    }

    #[test]
    fn names_in_other_scripts_are_readable() {
        let names = "café cafe\u{301} सेवा ฐานข้อมูล 服务 サーバー 서버 שרת خدمة \u{1f980}";
        assert_eq!(Escaped(names).to_string(), names);
    }

    #[test]
    fn a_detail_is_said_once_and_their_number_is_bounded() {
        let mut details = Details::default();
        for number in (0..2 * Details::MOST).flat_map(|number| [number; 2]) {
            details.record(number.to_string());
        }
        assert_eq!(details.said.len(), Details::MOST);
        assert_eq!(details.said[1], "1");
    }

    #[test]
    fn without_v_no_detail_is_kept() {
        let mut details = Details::default();
        details.say_once(format_args!("a"));
        assert!(details.said.is_empty());
    }
}
