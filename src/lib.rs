//! Which TCP ports are listening and which UDP ports are bound, and what
//! changes: the parts of the program `lntu`.
//!
//! ```text
//! command line ─► command ─► source ──► snapshot ──► changes ──► output ─► stdout
//!  cli             watch     ├ ss        sorted set    opened /    table
//!  port            list      ├ procnet   of listeners  closed      json
//!  interval        check     └ netlink
//!                  wait
//! ```
//!
//! One thread and one loop: poll a source, compare with the last snapshot,
//! write what changed, pause. A source either gives a complete snapshot or an
//! error, and everything behind it is the same code whichever answered.
//!
//! - [`cli`] turns arguments into a command, and [`cli::description`] says which
//!   there are; [`port`] and [`command::pace`] are the kinds of value that appear
//!   there.
//! - [`listener`] is what everything speaks of; [`source::holders`] is who holds one.
//! - [`source::procnet`] reads `/proc/net`: [`source::procnet::scan`] makes lines of bytes and
//!   [`source::procnet::row`] makes sockets of lines. [`source::ss`] runs ss and reads its
//!   answer. [`source::netlink`] asks inet_diag: [`source::netlink::message`] makes a list of
//!   datagrams, [`source::netlink::diag`] a socket of each of its rows, and
//!   [`source::netlink::link`] names interfaces. [`source`] chooses between the three.
//! - [`snapshot`] holds the listeners of one moment and tells two apart;
//!   [`command::settle`] holds back what may pass.
//! - [`output::table`], [`output::json`] and [`output::timestamp`] are how things are spelled;
//!   [`output`] writes them.
//! - [`command::watch`], [`command::list`], [`command::check`] and [`command::wait`] are the commands;
//!   [`command::entrypoint`] becomes an application after the one, or beside the other.
//! - [`as_ss`] is another program, for whoever calls this one `ss`.
//! - [`report`] is stderr. [`sys`] is the only `unsafe` code.

pub mod as_ss;
pub mod cli;
pub mod command;
pub mod listener;
pub mod output;
pub mod port;
pub mod report;
pub mod snapshot;
pub mod source;
pub mod sys;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why the program ended without an answer.
#[derive(Debug)]
pub enum Error {
    /// The command line makes no sense.
    Usage(cli::UsageError),
    /// No source gave a complete answer.
    Source(source::SourceError),
    /// This port was not found, and this file, which may hold it, could not
    /// be read.
    Unknown(port::RequiredPort, PathBuf),
    /// What is called so could not be written.
    Output(String, io::Error),
    /// This program could not be executed.
    Exec(OsString, io::Error),
}

impl Error {
    /// The exit status that tells it: 2, or what a shell gives for a program
    /// that is not there (127) or cannot be executed (126).
    pub fn status(&self) -> u8 {
        match self {
            Error::Exec(_, error) if error.kind() == io::ErrorKind::NotFound => 127,
            Error::Exec(_, _) => 126,
            _ => 2,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(error) => error.fmt(f),
            Error::Source(error) => error.fmt(f),
            Error::Unknown(port, file) => {
                let file = file.display();
                write!(f, "{port}: could not tell, since {file} cannot be read")
            }
            Error::Output(name, error) => write!(f, "{name}: {error}"),
            Error::Exec(program, error) => write!(f, "{}: {error}", program.display()),
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
