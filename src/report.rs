//! Prints messages to stderr, one line each, in the form `lntu: WHAT: WHY`.
//!
//! Messages quote text from elsewhere, such as the output of ss or the contents of a file.
//! Every message therefore goes through [`line()`], which escapes characters that are
//! [`is_nonprinting`].
//!
//! The verbosity is a global setting, like the log level in common logging crates, because
//! the process has only one stderr.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU8, Ordering};

/// The levels of verbosity, which decide which messages are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// `-q`: print only errors that end the program.
    Quiet,
    /// The default: also print warnings, for example that something is missing or has failed.
    #[default]
    Normal,
    /// `-v`: also print details, for example why a source was not used and which rows were
    /// skipped.
    Verbose,
}

static VERBOSITY: AtomicU8 = AtomicU8::new(Verbosity::Normal as u8);

/// Sets the verbosity. At the start, it is [`Verbosity::Normal`].
pub fn set_verbosity(verbosity: Verbosity) {
    VERBOSITY.store(verbosity as u8, Ordering::Relaxed);
}

/// Calls `work`. Until it returns, only errors that end the program are printed.
pub fn silently<T>(work: impl FnOnce() -> T) -> T {
    let before = VERBOSITY.swap(Verbosity::Quiet as u8, Ordering::Relaxed);
    let result = work();
    VERBOSITY.store(before, Ordering::Relaxed);
    result
}

fn is_at_least(verbosity: Verbosity) -> bool {
    VERBOSITY.load(Ordering::Relaxed) >= verbosity as u8
}

/// Prints an error that ends the program.
pub fn error(message: fmt::Arguments<'_>) {
    error_as("lntu", message);
}

/// Prints an error that ends the program. The message starts with `program`, the name under
/// which the program was started.
pub fn error_as(program: &str, message: fmt::Arguments<'_>) {
    line(format_args!("{program}: {message}"));
}

/// Prints a message without the name of the program, as ss does in some cases.
///
/// The message is written as one line in a single write. If that fails, the message is lost.
pub fn line(message: fmt::Arguments<'_>) {
    let line = format!("{}\n", Escaped(&message.to_string()));
    let _ = io::stderr().write(line.as_bytes());
}

/// Prints a warning, unless `-q` was given.
pub fn warn(message: fmt::Arguments<'_>) {
    if is_at_least(Verbosity::Normal) {
        error(message);
    }
}

/// Prints a warning, unless `-q` was given. `message` is called only if the warning is printed.
pub fn warn_with(message: impl FnOnce() -> String) {
    if is_at_least(Verbosity::Normal) {
        error(format_args!("{}", message()));
    }
}

/// Prints a detail that helps to find the cause of a problem, if `-v` was given.
pub fn detail(message: fmt::Arguments<'_>) {
    if is_at_least(Verbosity::Verbose) {
        error(message);
    }
}

/// Prints each distinct detail only the first time.
#[derive(Debug, Default)]
pub struct Details {
    printed: Vec<String>,
}

impl Details {
    /// The most details that are printed. Later ones are dropped, because details may quote
    /// text that is different every time, and memory use must not grow without limit.
    const MOST: usize = 100;

    /// Prints `message` if `-v` was given and the same message was not printed before.
    pub fn print_once(&mut self, message: fmt::Arguments<'_>) {
        // `detail` checks this as well. Checking it here avoids the allocation if `-v` was not
        // given.
        if is_at_least(Verbosity::Verbose) {
            self.record(message.to_string());
        }
    }

    fn record(&mut self, text: String) {
        if self.printed.len() < Details::MOST && !self.printed.contains(&text) {
            detail(format_args!("{text}"));
            self.printed.push(text);
        }
    }
}

/// Whether `character` must be escaped in messages, table cells and JSON, when it is in text
/// that others control.
///
/// This is true for white space other than U+0020, for control, format, private-use and
/// unassigned characters, and for characters that are displayed as a blank or not at all. Such
/// characters could end a cell or a line, control a terminal, or make two names look the same.
pub fn is_nonprinting(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    // These characters are invisible, although their category says that they are letters, marks
    // or a symbol: the characters of Default_Ignorable_Code_Point (Unicode,
    // DerivedCoreProperties.txt), and the Braille pattern without dots.
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
    // `escape_debug` of a string escapes all other nonprinting characters by their category. It
    // also escapes a combining mark at the start of the string, so we put a letter first.
    let mut text = [b'a'; 5];
    let length = 1 + character.encode_utf8(&mut text[1..]).len();
    let text = str::from_utf8(&text[..length]).unwrap_or_default();
    is_invisible || text.escape_debug().nth(1) == Some('\\')
}

/// Text whose nonprinting characters are displayed as escapes.
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

    /// Compares every character with the Unicode database.
    #[test]
    fn invisible_characters_are_nonprinting() {
        let class = |class: &str| {
            let hir = regex_syntax::parse(class).unwrap();
            match hir.into_kind() {
                HirKind::Class(Class::Unicode(class)) => class,
                other => panic!("{other:?}"),
            }
        };
        let is_in = |class: &ClassUnicode, character| {
            let ranges = class.ranges();
            let count = ranges.partition_point(|range| range.start() <= character);
            count > 0 && character <= ranges[count - 1].end()
        };
        // `C` is control, format, private use and unassigned; `Z` is white space.
        let nonprinting = class(r"[[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}\x{2800}]--\x{20}]");
        // A character of a later Unicode version may be assigned in only one of the two
        // databases.
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
    fn names_in_other_scripts_are_not_escaped() {
        let names = "café cafe\u{301} सेवा ฐานข้อมูล 服务 サーバー 서버 שרת خدمة \u{1f980}";
        assert_eq!(Escaped(names).to_string(), names);
    }

    #[test]
    fn repeated_details_are_not_printed_again() {
        let details = with_many_details();
        assert_eq!(details.printed[1], "1");
    }

    #[test]
    fn the_number_of_details_is_limited() {
        let details = with_many_details();
        assert_eq!(details.printed.len(), Details::MOST);
    }

    /// Records twice as many details as the limit allows, each of them twice.
    fn with_many_details() -> Details {
        let mut details = Details::default();
        for number in (0..2 * Details::MOST).flat_map(|number| [number; 2]) {
            details.record(number.to_string());
        }
        details
    }

    #[test]
    fn details_are_not_kept_unless_verbose() {
        let mut details = Details::default();
        details.print_once(format_args!("a"));
        assert!(details.printed.is_empty());
    }
}
