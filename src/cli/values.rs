//! Parses the values of options and operands. A usage error contains the text that could not
//! be parsed.

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

/// Looks up an environment variable.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// A value of `--source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceName {
    Auto,
    Ss,
    Proc,
    Netlink,
}

/// The words that `--source` accepts.
pub const SOURCES: [(&str, SourceName); 4] = [
    ("auto", SourceName::Auto),
    ("ss", SourceName::Ss),
    ("proc", SourceName::Proc),
    ("netlink", SourceName::Netlink),
];

/// The listeners that a word after `--exclude` hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excluded {
    /// Loopback addresses.
    Loopback,
    /// Ports of these protocols that the kernel chose.
    Ephemeral(&'static [Protocol]),
}

/// The words that `--exclude` accepts. Any other value is a PORT.
pub const EXCLUDED: [(&str, Excluded); 4] = [
    ("loopback", Excluded::Loopback),
    (
        "ephemeral",
        Excluded::Ephemeral(&[Protocol::Tcp, Protocol::Udp]),
    ),
    ("ephemeral/tcp", Excluded::Ephemeral(&[Protocol::Tcp])),
    ("ephemeral/udp", Excluded::Ephemeral(&[Protocol::Udp])),
];

/// Returns the words of a table that lists words and their meanings.
pub const fn words<T, const N: usize>(table: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut words = [""; N];
    let mut index = 0;
    while index < N {
        words[index] = table[index].0;
        index += 1;
    }
    words
}

/// The usage error for `value`. `what` names the option or operand.
pub fn refused(what: &str, value: &str, why: &dyn fmt::Display) -> UsageError {
    UsageError::lntu(format!("{what} '{value}': {why}"))
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

/// The meaning of a word in [`EXCLUDED`]. Ignores case.
pub fn excluded_word(text: &str) -> Option<Excluded> {
    let matches = |(word, _): &&(&str, Excluded)| word.eq_ignore_ascii_case(text);
    EXCLUDED.iter().find(matches).map(|(_, excluded)| *excluded)
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

/// Parses digits only: `u32::from_str` would also accept a sign.
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

/// Parses a PORT after expanding the environment variables in it.
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

/// Parses the name of a process, as in `/proc/PID/comm`.
pub fn parse_holder(name: &str, value: &OsStr) -> Result<Vec<u8>, UsageError> {
    // The kernel's TASK_COMM_LEN without the terminating zero.
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

/// Parses the name of the file that lines are appended to. Returns `None` for stdout.
pub fn parse_output(name: &str, value: &OsStr) -> Result<Option<PathBuf>, UsageError> {
    if value.is_empty() {
        return Err(refused(name, "", &"not a file"));
    }
    let names = ["-", "/dev/stdout", "/dev/fd/1"];
    let is_stdout = names.iter().any(|name| value == *name);
    Ok((!is_stdout).then(|| value.into()))
}

/// Stores the DEST of `install`, or refuses a second one.
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
