//! Which TCP ports are listening and which UDP ports are bound, and what
//! changes: the parts of the program `lntu`.
//!
//! ```text
//! command line ─► command ─► source ──► snapshot ──► changes ──► output ─► stdout
//!  cli             list      ├ ss        sorted set    opened /    table
//!  port            watch     └ procnet   of listeners  closed      json
//!  interval
//! ```
//!
//! One thread and one loop: poll a source, compare with the last snapshot,
//! write what changed, pause. A source either gives a complete snapshot or an
//! error, and everything behind it is the same code whichever answered.
//!
//! - [`cli`] turns arguments into a command; [`port`] and [`interval`] are the
//!   kinds of value that appear there.
//! - [`listener`] is what everything speaks of.
//! - [`procnet`] reads `/proc/net`: [`procnet::scan`] makes lines of bytes and
//!   [`procnet::row`] makes sockets of lines. [`ss`] runs ss and reads its
//!   answer. [`source`] chooses between the two.
//! - [`snapshot`] holds the listeners of one moment and tells two apart.
//! - [`table`], [`json`] and [`timestamp`] are how things are spelled;
//!   [`output`] writes them.
//! - [`list`] and [`watch`] are the commands.
//! - [`report`] is stderr. [`sys`] is the only `unsafe` code.

pub mod cli;
pub mod interval;
pub mod json;
pub mod list;
pub mod listener;
pub mod output;
pub mod port;
pub mod procnet;
pub mod report;
pub mod snapshot;
pub mod source;
pub mod ss;
pub mod sys;
pub mod table;
pub mod timestamp;
pub mod watch;

use std::fmt;
use std::io;

/// Why the program could not tell. Its exit status is 2.
#[derive(Debug)]
pub enum Error {
    /// The command line makes no sense.
    Usage(cli::UsageError),
    /// No source gave a complete answer.
    Source(source::SourceError),
    /// The answer could not be written.
    Output(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(error) => error.fmt(f),
            Error::Source(error) => error.fmt(f),
            Error::Output(error) => write!(f, "stdout: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<cli::UsageError> for Error {
    fn from(error: cli::UsageError) -> Error {
        Error::Usage(error)
    }
}

impl From<source::SourceError> for Error {
    fn from(error: source::SourceError) -> Error {
        Error::Source(error)
    }
}
