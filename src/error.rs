//! The errors with which a command ends without an answer, and their exit statuses.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::exit_status::ExitStatus;
use crate::listener::{Endpoint, Interface, SsAddress};
use crate::output::OutputError;
use crate::port::{RequiredPort, UnixSocket};
use crate::source::SourceError;
use crate::source::tree::TreeError;

/// Why a command ended without an answer.
#[derive(Debug)]
pub enum Error {
    /// The command line is invalid.
    Usage(UsageError),
    /// No source gave a complete answer.
    Source(SourceError),
    /// The process that `wait` was waiting for has exited or does not exist.
    Died(TreeError),
    /// It is unknown whether this port is served. The second field is the reason.
    Unknown(RequiredPort, Unknown),
    /// It is unknown whether this Unix socket listens. The text is the reason.
    UnknownUnix(UnixSocket, String),
    /// The answer was written, but is or may be incomplete. The message says why.
    Partial(String),
    /// The address of a PORT does not belong to this network namespace.
    NotOwn(IpAddr),
    /// The answer could not be written.
    Output(OutputError),
    /// This file could not be read or written.
    File(PathBuf, io::Error),
    /// This program could not be executed.
    Exec(OsString, io::Error),
}

/// Why it is unknown whether a port is served.
#[derive(Debug)]
pub enum Unknown {
    /// A socket table may contain a listener that serves the port, but the table is not known
    /// completely. The text is the reason.
    Table(String),
    /// This listener on `::` serves the port unless it is IPv6-only, and the source does not
    /// report whether it is.
    V6Only(Endpoint),
    /// A listener that is bound to this interface serves the port if the address belongs to the
    /// interface. The kernel does not answer whether the address does.
    Interface(Interface),
    /// The process of `--of` or one of its descendants may hold a listener that serves the
    /// port, but the holders of that listener cannot be read. The text is the reason.
    Holder(String),
}

impl Error {
    /// Converts this error to the error that `wait` reports. If the process has exited, `wait`
    /// has a special exit status for that ([`Error::Died`]).
    pub fn into_wait_error(self) -> Error {
        match self {
            Error::Source(SourceError::Tree(
                error @ (TreeError::Ended(_) | TreeError::NoProcess(_)),
            )) => Error::Died(error),
            error => error,
        }
    }

    /// The exit status for this error. If a program is not found or cannot be executed, it is
    /// the status that a shell returns in this case.
    pub fn status(&self) -> ExitStatus {
        match self {
            Error::Exec(_, error) if error.kind() == io::ErrorKind::NotFound => {
                ExitStatus::NotFound
            }
            Error::Exec(_, _) => ExitStatus::NotExecutable,
            Error::Died(_) => ExitStatus::Died,
            _ => ExitStatus::Unknown,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(error) => error.fmt(f),
            Error::Source(error) => error.fmt(f),
            Error::Died(error) => write!(f, "--of{error}"),
            Error::Unknown(port, Unknown::Table(reason)) => {
                write!(f, "{port}: could not tell, because {reason}")
            }
            Error::Unknown(
                port,
                Unknown::V6Only(Endpoint {
                    address,
                    port: number,
                }),
            ) => {
                let address = SsAddress(*address);
                let relaxed = port.relaxed();
                write!(
                    f,
                    "{port}: could not tell whether {address}:{number} accepts IPv4 (check {relaxed} instead)"
                )
            }
            Error::Unknown(port, Unknown::Interface(interface)) => {
                let (interface, relaxed) = (interface.as_str(), port.relaxed());
                write!(
                    f,
                    "{port}: could not tell whether the address belongs to {interface} (check {relaxed} instead)"
                )
            }
            Error::Unknown(port, Unknown::Holder(reason)) => {
                write!(f, "{port}: could not tell which process listens: {reason}")
            }
            Error::UnknownUnix(socket, reason) => {
                write!(f, "{socket}: could not tell, because {reason}")
            }
            Error::Partial(what) => f.write_str(what),
            Error::NotOwn(address) => write!(
                f,
                "{address} is not an address of this network namespace; lntu looks nowhere else"
            ),
            Error::Output(error) => error.fmt(f),
            Error::File(file, error) => write!(f, "{}: {error}", file.display()),
            Error::Exec(program, error) => write!(f, "{}: {error}", program.display()),
        }
    }
}

impl std::error::Error for Error {}

impl From<UsageError> for Error {
    fn from(error: UsageError) -> Error {
        Error::Usage(error)
    }
}

impl From<SourceError> for Error {
    fn from(error: SourceError) -> Error {
        Error::Source(error)
    }
}

impl From<OutputError> for Error {
    fn from(error: OutputError) -> Error {
        Error::Output(error)
    }
}

/// An invalid command line. The message gives the reason and refers to `--help`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError {
    is_ss: bool,
    reason: String,
}

impl UsageError {
    /// Creates the error for a command line of `lntu` that is invalid for this reason.
    pub fn lntu(reason: impl Into<String>) -> UsageError {
        UsageError {
            is_ss: false,
            reason: reason.into(),
        }
    }

    /// Creates the error for a command line of the program under the name `ss`, if the command
    /// line is invalid or unsupported for this reason.
    pub fn ss(reason: impl ToString) -> UsageError {
        UsageError {
            is_ss: true,
            reason: reason.to_string(),
        }
    }

    /// Appends `hint` to the reason of this error.
    pub fn with_hint(mut self, hint: &str) -> UsageError {
        self.reason.push_str(hint);
        self
    }
}

/// The reason why lexopt rejected an option or its value, in the words of lexopt. lexopt's own
/// `Display` is not used, because it escapes bytes that are not UTF-8 and would make the binary
/// larger.
pub fn lexopt_reason(error: &lexopt::Error) -> String {
    match error {
        lexopt::Error::UnexpectedOption(option) => format!("invalid option '{option}'"),
        lexopt::Error::UnexpectedValue { option, value } => {
            let value = value.to_string_lossy();
            format!("unexpected argument for option '{option}': {value:?}")
        }
        lexopt::Error::MissingValue {
            option: Some(option),
        } => {
            format!("missing argument for option '{option}'")
        }
        // The other errors are about parsed values, and we never let lexopt parse a value.
        _ => "invalid argument".into(),
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = if self.is_ss { "ss" } else { "lntu" };
        write!(f, "{} (try '{program} --help')", self.reason)
    }
}

impl std::error::Error for UsageError {}
