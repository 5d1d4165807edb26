//! Why there is no table, or only part of one.

use std::fmt;
use std::path::Path;

use crate::error::UsageError;
use crate::exit_status::SsExitStatus;
use crate::output::OutputError;

/// Why there is no table, or only part of one.
#[derive(Debug)]
pub enum Error {
    /// The command line is wrong, or asks for what is not covered.
    Usage(UsageError),
    /// A source cannot be read: which, and why.
    Source(String),
    /// The table could not be written.
    Output(OutputError),
}

impl Error {
    /// What `path` names cannot be read, for this reason.
    pub fn of_file(path: &Path, reason: impl fmt::Display) -> Error {
        Error::Source(format!("{}: {reason}", path.display()))
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
