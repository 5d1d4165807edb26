//! Splits arguments into the words of a filter, and recognizes words that have a meaning in the
//! filter language of ss.

use super::End;
use crate::error::UsageError;

/// Splits an argument into words at blanks and tabs. A backslash makes the next character part
/// of a word, even if it is a blank.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' if word.is_empty() => {}
            ' ' | '\t' => words.push(std::mem::take(&mut word)),
            '\\' => word.extend(characters.next()),
            _ => word.push(character),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The way in which a condition compares two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Comparison {
    Equal,
    NotEqual,
    AtLeast,
    AtMost,
    More,
    Less,
}

impl Comparison {
    /// The comparison that this word means. `None` if it does not mean a comparison.
    pub fn parse(word: &str) -> Option<Comparison> {
        Some(match word {
            "=" | "==" | "eq" => Comparison::Equal,
            "!=" | "ne" | "neq" => Comparison::NotEqual,
            ">=" | "ge" | "geq" => Comparison::AtLeast,
            "<=" | "le" | "leq" => Comparison::AtMost,
            ">" | "gt" => Comparison::More,
            "<" | "lt" => Comparison::Less,
            _ => return None,
        })
    }
}

/// A word that has a meaning in the filter language of ss, other than a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Word {
    Open,
    Close,
    Not,
    And,
    Or,
    Address(End),
    Port(End),
    Device,
    Mark,
    Cgroup,
    AutoBound,
}

impl Word {
    /// The meaning of this word. `None` if the word is a comparison or can only be a value.
    pub fn parse(word: &str) -> Option<Word> {
        Some(match word {
            "(" => Word::Open,
            ")" => Word::Close,
            "!" | "not" => Word::Not,
            "&" | "&&" | "and" => Word::And,
            "|" | "||" | "or" => Word::Or,
            "src" => Word::Address(End::Local),
            "dst" => Word::Address(End::Peer),
            "sport" => Word::Port(End::Local),
            "dport" => Word::Port(End::Peer),
            "dev" => Word::Device,
            "fwmark" => Word::Mark,
            "cgroup" => Word::Cgroup,
            "autobound" => Word::AutoBound,
            _ => return None,
        })
    }
}

/// Creates the error for a word that is not expected after the words before it.
pub fn unexpected(word: &str) -> UsageError {
    UsageError::ss(format!(
        "'{word}' in the filter: not a filter, or not supported by lntu as ss"
    ))
}
