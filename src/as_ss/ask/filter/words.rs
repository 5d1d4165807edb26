//! The words of a filter: how an argument is divided into them, and what each means in
//! ss's language.

use super::End;
use crate::error::UsageError;

/// The words of an argument. A backslash makes part of a word of whatever
/// follows it.
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

/// How a port is compared.
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
    /// The comparison that this word is, if it is one.
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

/// A word of the language that is no comparison.
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
    /// What this word means, if it means anything but itself.
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

/// Refuses a word that cannot follow those before it.
pub fn unexpected(word: &str) -> UsageError {
    UsageError::ss(format!(
        "'{word}' in the filter: not a filter, or not supported by lntu as ss"
    ))
}
