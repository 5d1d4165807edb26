//! The errors of the program under the name `ss`.

use std::fmt;
use std::io;
use std::path::Path;

use crate::error::UsageError;
use crate::exit_status::SsExitStatus;
use crate::output::OutputError;
use crate::report;

/// The reason why the program under the name ss prints no table, or only part of one.
#[derive(Debug)]
pub enum Error {
    /// The command line is invalid, or uses a feature of ss that this program does not support.
    Usage(UsageError),
    /// A source cannot be read. The text names the source and the reason.
    Source(String),
    /// A network namespace cannot be entered.
    Network {
        /// The name of the network namespace.
        name: String,
        /// The step that failed.
        step: NetworkStep,
        /// Why the step failed.
        reason: io::Error,
    },
    /// The table could not be written.
    Output(OutputError),
}

/// A step of entering a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkStep {
    /// The step that opens the file of the namespace.
    Open,
    /// The step that moves this program into the namespace.
    Enter,
}

impl Error {
    /// Creates the error for a file at `path` that cannot be read for this reason.
    pub fn file(path: &Path, reason: impl fmt::Display) -> Error {
        Error::Source(format!("{}: {reason}", path.display()))
    }

    /// Prints the error to stderr.
    pub fn report(&self) {
        match self {
            // ss prints these messages without its name, because a library of iproute2 prints
            // them.
            Error::Network { .. } => report::line(format_args!("{self}")),
            _ => report::error_as("ss", format_args!("{self}")),
        }
    }

    /// The exit status of the program.
    pub fn status(&self) -> SsExitStatus {
        match self {
            Error::Usage(_) => SsExitStatus::Usage,
            _ => SsExitStatus::Failed,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(error) => error.fmt(f),
            Error::Source(error) => error.fmt(f),
            Error::Network { name, step, reason } => {
                let reason = reason.to_string();
                // Remove the `(os error 2)` that Rust appends to the text of the C library.
                let reason = reason.split('(').next().unwrap_or_default().trim_end();
                match step {
                    NetworkStep::Enter => write!(
                        f,
                        "setting the network namespace \"{name}\" failed: {reason}"
                    ),
                    NetworkStep::Open => {
                        write!(f, "Cannot open network namespace \"{name}\": {reason}")
                    }
                }
            }
            Error::Output(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<UsageError> for Error {
    fn from(error: UsageError) -> Error {
        Error::Usage(error)
    }
}
