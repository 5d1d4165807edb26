//! The values of options and operands: the words that an option knows, and what is read
//! from a text. A text that cannot be read is a usage error that names it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::variables;
use crate::command::pace::{self, DurationError, Interval};
use crate::error::UsageError;
use crate::listener::Protocol;
use crate::port::{PortArgument, PortSpecError};

/// Looks up a variable of the environment.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// A source, as `--source` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceName {
    Auto,
    Ss,
    Proc,
    Netlink,
}

/// The words of `--source`.
pub const SOURCES: [(&str, SourceName); 4] = [
    ("auto", SourceName::Auto),
    ("ss", SourceName::Ss),
    ("proc", SourceName::Proc),
    ("netlink", SourceName::Netlink),
];

/// What a word of `--exclude` leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excluded {
    /// Loopback addresses.
    Loopback,
    /// The ports of these protocols that the kernel chooses.
    Ephemeral(&'static [Protocol]),
}

/// The words of `--exclude`. Anything else is a PORT.
pub const EXCLUDED: [(&str, Excluded); 4] = [
    ("loopback", Excluded::Loopback),
    (
        "ephemeral",
        Excluded::Ephemeral(&[Protocol::Tcp, Protocol::Udp]),
    ),
    ("ephemeral/tcp", Excluded::Ephemeral(&[Protocol::Tcp])),
    ("ephemeral/udp", Excluded::Ephemeral(&[Protocol::Udp])),
];

/// The words of a table of words and meanings.
pub const fn words<T, const N: usize>(table: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut words = [""; N];
    let mut index = 0;
    while index < N {
        words[index] = table[index].0;
        index += 1;
    }
    words
}

pub fn refused(what: &str, value: &str, why: &dyn fmt::Display) -> UsageError {
    UsageError::of_lntu(format!("{what} '{value}': {why}"))
}

pub fn parse_source(name: &str, text: &str) -> Result<SourceName, UsageError> {
    match SOURCES.iter().find(|(word, _)| *word == text) {
        Some((_, source)) => Ok(*source),
        None => {
            let [others @ .., last] = words(&SOURCES);
            let why = format!("must be {} or {last}", others.join(", "));
            Err(refused(name, text, &why))
        }
    }
}

/// The meaning of a word of [`EXCLUDED`], in whatever case.
pub fn excluded_word(text: &str) -> Option<Excluded> {
    let is_it = |(word, _): &&(&str, Excluded)| word.eq_ignore_ascii_case(text);
    EXCLUDED.iter().find(is_it).map(|(_, excluded)| *excluded)
}

pub fn parse_pid(name: &str, text: &str) -> Result<u32, UsageError> {
    let why = match text {
        "0" => "not a process id (docker inspect prints 0 if the container is not running)",
        _ => "not a process id",
    };
    parse_number(name, text, 1..=u32::MAX, why)
}

pub fn parse_max_queued(name: &str, text: &str) -> Result<u32, UsageError> {
    parse_number(name, text, 0..=u32::MAX, "not a number of connections")
}

/// Digits only: `u32::from_str` would also take a sign.
fn parse_number(
    name: &str,
    text: &str,
    range: RangeInclusive<u32>,
    why: &str,
) -> Result<u32, UsageError> {
    text.parse()
        .ok()
        .filter(|number| range.contains(number) && text.bytes().all(|b| b.is_ascii_digit()))
        .ok_or_else(|| refused(name, text, &why))
}

pub fn parse_duration(name: &str, text: &str) -> Result<Duration, UsageError> {
    pace::parse_duration(text).map_err(|error| refused(name, text, &error))
}

pub fn parse_interval(name: &str, text: &str) -> Result<Interval, UsageError> {
    text.parse()
        .map_err(|error: DurationError| refused(name, text, &error))
}

/// Reads a PORT, in which environment variables are expanded.
pub fn parse_port(
    name: &str,
    text: &str,
    variable: Variable<'_>,
) -> Result<PortArgument, UsageError> {
    let expanded = variables::expand(text, variable);
    let expanded = expanded.map_err(|error| refused(name, text, &error))?;
    let is_expanded = expanded != text;
    expanded
        .parse()
        .map_err(|error: PortSpecError| match is_expanded {
            true => refused(name, text, &format_args!("'{expanded}': {error}")),
            false => refused(name, text, &error),
        })
}

/// Reads the name of a process, as `/proc/PID/comm` has it.
pub fn parse_holder(name: &str, value: &OsStr) -> Result<Vec<u8>, UsageError> {
    // The kernel's TASK_COMM_LEN less its terminating zero.
    const LONGEST: usize = 15;
    let bytes = value.as_encoded_bytes();
    match bytes.get(..LONGEST) {
        Some(cut) if bytes.len() > LONGEST => {
            let cut = String::from_utf8_lossy(cut);
            let why = format!("the kernel keeps only {LONGEST} bytes of a name: '{cut}'");
            Err(refused(name, &value.to_string_lossy(), &why))
        }
        _ if bytes.is_empty() => Err(refused(name, "", &"not a name")),
        _ => Ok(bytes.to_vec()),
    }
}

/// Reads the file that lines are appended to: `None` for stdout.
pub fn parse_output(name: &str, value: &OsStr) -> Result<Option<PathBuf>, UsageError> {
    if value.is_empty() {
        return Err(refused(name, "", &"not a file"));
    }
    let names = ["-", "/dev/stdout", "/dev/fd/1"];
    let is_stdout = names.iter().any(|name| value == *name);
    Ok((!is_stdout).then(|| value.into()))
}

/// Reads the DEST of `install`, of which there is one.
pub fn parse_destination(
    destination: &mut Option<PathBuf>,
    value: &OsStr,
) -> Result<(), UsageError> {
    let why = match destination {
        Some(_) => "only one DEST",
        None if value.is_empty() => "not a file",
        None => {
            *destination = Some(value.into());
            return Ok(());
        }
    };
    Err(refused("install", &value.to_string_lossy(), &why))
}

pub fn parse_directory(name: &str, value: &OsStr) -> Result<PathBuf, UsageError> {
    match value.is_empty() {
        true => Err(refused(name, "", &"not a directory")),
        false => Ok(value.into()),
    }
}
