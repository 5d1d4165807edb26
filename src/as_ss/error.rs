//! Why there is no table, or only part of one.

use std::fmt;
use std::io;
use std::path::Path;

use crate::error::UsageError;
use crate::exit_status::SsExitStatus;
use crate::output::OutputError;
use crate::report;

/// Why there is no table, or only part of one.
#[derive(Debug)]
pub enum Error {
    /// The command line is wrong, or asks for what is not covered.
    Usage(UsageError),
    /// A source cannot be read: which, and why.
    Source(String),
    /// The network namespace of this name cannot be entered.
    Network {
        /// Its name.
        name: String,
        /// Whether it was found.
        is_found: bool,
        /// Why not.
        reason: io::Error,
    },
    /// The table could not be written.
    Output(OutputError),
}

impl Error {
    /// What `path` names cannot be read, for this reason.
    pub fn of_file(path: &Path, reason: impl fmt::Display) -> Error {
        Error::Source(format!("{}: {reason}", path.display()))
    }

    /// Says it on stderr.
    pub fn report(&self) {
        match self {
            // ss names itself in messages of its own only, which these are not.
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
            Error::Network {
                name,
                is_found,
                reason,
            } => {
                let reason = reason.to_string();
                // As in C, without a number: `REASON (os error 2)`.
                let reason = reason.split('(').next().unwrap_or_default().trim_end();
                match is_found {
                    true => write!(
                        f,
                        "setting the network namespace \"{name}\" failed: {reason}"
                    ),
                    false => write!(f, "Cannot open network namespace \"{name}\": {reason}"),
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
