//! What is said on stderr: one line a message, `lntu: WHAT: WHY`.
//!
//! Messages quote text that others wrote (what ss said, what stands in a
//! file), so control characters are escaped here, in the one place through
//! which every message goes.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// `-q`: only what ends the program.
    Quiet,
    /// What a user should know: something is left out or failing.
    #[default]
    Normal,
    /// `-v`: also why a source was passed over and which rows were skipped.
    Verbose,
}

impl Verbosity {
    /// Says what a user should know.
    pub fn warn(self, message: fmt::Arguments<'_>) {
        if self >= Verbosity::Normal {
            say(message);
        }
    }

    /// Says what is of interest only when something is looked into.
    pub fn detail(self, message: fmt::Arguments<'_>) {
        if self >= Verbosity::Verbose {
            say(message);
        }
    }
}

/// Says each distinct detail once, and only with `-v`.
#[derive(Debug, Default)]
pub struct Details {
    said: Vec<String>,
}

impl Details {
    /// Reasons that quote others' text may differ every time; past this many
    /// they are neither kept nor said.
    const MOST: usize = 100;

    /// Says `message` if `verbosity` asks for details and it was not said before.
    pub fn say_once(&mut self, verbosity: Verbosity, message: fmt::Arguments<'_>) {
        if verbosity < Verbosity::Verbose || self.said.len() >= Details::MOST {
            return;
        }
        let text = message.to_string();
        if !self.said.contains(&text) {
            say(message);
            self.said.push(text);
        }
    }
}

/// Writes `lntu: ` and the message as one line of stderr, in one write.
/// Nothing can be done about a stderr that fails, so that is ignored.
pub fn say(message: fmt::Arguments<'_>) {
    say_as("lntu", message);
}

/// [`say`] under another name.
pub fn say_as(program: &str, message: fmt::Arguments<'_>) {
    let line = format!("{program}: {}\n", Escaped(&message.to_string()));
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Whether a terminal may do something else with `character` than show it:
/// control characters, and what is invisible or turns the direction of text.
pub fn steers(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

/// Text in which what steers a terminal is written as escapes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if steers(character) {
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

    #[test]
    fn control_characters_are_escaped() {
        let text = "a\u{1b}[31m\nb\u{9b}é\u{7f}\u{202e}c";
        let escaped = "a\\u{1b}[31m\\nb\\u{9b}é\\u{7f}\\u{202e}c";
        assert_eq!(Escaped(text).to_string(), escaped);
    }

    #[test]
    fn a_detail_is_kept_once_and_only_when_verbose() {
        let mut details = Details::default();
        details.say_once(Verbosity::Normal, format_args!("a"));
        assert!(details.said.is_empty());
        details.say_once(Verbosity::Verbose, format_args!("a test says this"));
        details.say_once(Verbosity::Verbose, format_args!("a test says this"));
        assert_eq!(details.said.len(), 1);
    }

    #[test]
    fn details_stay_within_bounds() {
        let mut details = Details::default();
        for number in 0..2 * Details::MOST {
            details.said.push(number.to_string());
        }
        let before = details.said.len();
        details.say_once(Verbosity::Verbose, format_args!("not said"));
        assert_eq!(details.said.len(), before);
    }
}
