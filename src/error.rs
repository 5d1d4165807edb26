//! Why the program ended without an answer. A command line that makes no sense
//! is not here: that error stays with the parser, [`crate::cli::UsageError`].

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::listener::{Endpoint, SsAddress};
use crate::output::OutputError;
use crate::port::RequiredPort;
use crate::source::SourceError;

/// Why a command ended without an answer.
#[derive(Debug)]
pub enum Error {
    /// No source gave a complete answer.
    Source(SourceError),
    /// Nothing was found that certainly serves this port, for this reason.
    Unknown(RequiredPort, Unknown),
    /// The answer was written, but lacks something or may lack it: this says what.
    Partial(String),
    /// This address that was asked about is none of this network namespace's.
    NotOwn(IpAddr),
    /// The answer could not be written.
    Output(OutputError),
    /// This program could not be executed.
    Exec(OsString, io::Error),
}

/// Why it is not known whether a port is served.
#[derive(Debug)]
pub enum Unknown {
    /// This file may hold a listener and could not be read.
    File(PathBuf),
    /// This listener on `::` serves it if it takes IPv4. The source does not tell.
    V6Only(Endpoint),
    /// The process of `--of` or a descendant may hold a listener that serves it. Who holds
    /// that listener cannot be read, for this reason.
    Holder(String),
}

impl Error {
    /// The exit status: 2, or what a shell gives for a program that it does not
    /// find (127) or cannot execute (126).
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
            Error::Source(error) => error.fmt(f),
            Error::Unknown(port, Unknown::File(file)) => {
                let file = file.display();
                write!(f, "{port}: could not tell, since {file} cannot be read")
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
                    "{port}: could not tell whether {address}:{number} takes IPv4 (ask for {relaxed})"
                )
            }
            Error::Unknown(port, Unknown::Holder(reason)) => {
                write!(f, "{port}: could not tell who listens: {reason}")
            }
            Error::Partial(what) => f.write_str(what),
            Error::NotOwn(address) => write!(
                f,
                "{address} is not an address of this network namespace; lntu looks nowhere else"
            ),
            Error::Output(error) => error.fmt(f),
            Error::Exec(program, error) => write!(f, "{}: {error}", program.display()),
        }
    }
}

impl std::error::Error for Error {}

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
