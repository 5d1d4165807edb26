//! `ss -lntu` as a source: where ss is, how it is asked, and which
//! answers count.
//!
//! - [`run`] starts it, reads it under a deadline and waits for it.
//! - [`answer`] makes listeners of what it prints.
//!
//! An answer counts only if ss printed its header, wrote nothing to stderr and
//! exited 0. What happens after a failure, or with an answer without rows, is
//! decided in [`crate::source`].

pub mod answer;
pub mod run;

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::tables::Tables;
use crate::listener::Listener;
use crate::snapshot::Snapshot;
use answer::{AnswerError, AnswerReader};
use run::{Run, RunError};

/// For how long ss is not run again after it did not finish.
const PAUSE: Duration = Duration::from_secs(60);

/// The ss program of this system, if it has one.
#[derive(Debug)]
pub struct Ss {
    /// Where it may be, in the order of `PATH`.
    candidates: Vec<PathBuf>,
    /// This program's own file, as (device, inode).
    own_file: Option<(u64, u64)>,
    /// ss did not finish and is not run before this moment.
    paused_until: Option<Instant>,
    reader: AnswerReader,
}

/// Why a run of ss gave no answer that can be relied on.
#[derive(Debug)]
pub enum SsError {
    /// No absolute directory of `PATH` holds an executable ss.
    NotFound,
    /// Its last run, less than a minute ago, did not finish, so it was not run.
    Paused,
    /// The run failed.
    Run(RunError),
    /// What it printed cannot be understood.
    Answer(AnswerError),
    /// It printed no listeners. That proves nothing: where ss cannot read any
    /// source, it still prints its header and exits 0. [`Ss::read`] never returns
    /// this error. Its caller uses it for an answer without listeners.
    NoRows,
    /// It prints no inodes, which were asked for. [`Ss::read`] never returns this error,
    /// either.
    NoInodes,
}

impl fmt::Display for SsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SsError::NotFound => f.write_str("ss: not found in PATH"),
            SsError::Paused => {
                f.write_str("ss: not run again for a minute, because the last run did not finish")
            }
            SsError::Run(error) => error.fmt(f),
            SsError::Answer(error) => error.fmt(f),
            SsError::NoInodes => f.write_str("ss: prints no inodes"),
            SsError::NoRows => f.write_str("ss: printed no listeners"),
        }
    }
}

impl std::error::Error for SsError {}

impl Ss {
    /// The ss in the directories of `path`, the value of `PATH`.
    ///
    /// Relative and empty entries are skipped. They would run a file of the
    /// working directory.
    pub fn in_path(path: &std::ffi::OsStr) -> Ss {
        let own_file = std::env::current_exe().and_then(fs::metadata).ok();
        Ss {
            candidates: std::env::split_paths(path)
                .filter(|directory| directory.is_absolute())
                .map(|directory| directory.join("ss"))
                .collect(),
            own_file: own_file.map(|file| (file.dev(), file.ino())),
            paused_until: None,
            reader: AnswerReader::default(),
        }
    }

    /// Runs ss once and appends its listeners to `listeners`.
    ///
    /// # Errors
    /// Any [`SsError`] but [`SsError::NoRows`] and [`SsError::NoInodes`]. `listeners` then
    /// holds part of a snapshot and must not be used.
    pub fn read(&mut self, listeners: &mut Vec<Listener>) -> Result<(), SsError> {
        let program = self.find().ok_or(SsError::NotFound)?;
        if self.paused_until.is_some_and(|t| Instant::now() < t) {
            return Err(SsError::Paused);
        }
        let run = Run::spawn(program, "-lntu").map_err(SsError::Run);
        let result = run.and_then(|run| self.read_answer(run, listeners));
        if let Err(SsError::Run(RunError::TimedOut) | SsError::Answer(AnswerError::TooLong)) =
            result
        {
            self.paused_until = Some(Instant::now() + PAUSE);
        }
        result
    }

    fn read_answer(&mut self, mut run: Run, listeners: &mut Vec<Listener>) -> Result<(), SsError> {
        let read = self.reader.read(&mut run.stdout, listeners);
        let has_header = read.map_err(|error| match error {
            AnswerError::Read(error) => SsError::Run(RunError::of_read(error)),
            error => SsError::Answer(error),
        })?;
        run.finish().map_err(SsError::Run)?;
        match has_header {
            true => Ok(()),
            false => Err(SsError::Answer(AnswerError::NoHeader)),
        }
    }

    /// The first candidate that can be executed and is not this program.
    fn find(&self) -> Option<&Path> {
        self.candidates.iter().map(PathBuf::as_path).find(|path| {
            fs::metadata(path).is_ok_and(|file| {
                file.is_file()
                    && file.mode() & 0o111 != 0
                    && Some((file.dev(), file.ino())) != self.own_file
            })
        })
    }
}

/// ss reads a dump of inet_diag, whose first datagram has room for this many rows.
const FIRST_DATAGRAM: usize = 30;
/// More rows of a protocol than this are some in several datagrams or reads, even where
/// each is on another port.
const MOST_ROWS: usize = 200;

/// The tables whose listing may have taken ss several datagrams, by an answer of it. In a
/// dump, the kernel skips rows only among those of one port.
pub fn split(answer: &Snapshot) -> Tables {
    let mut split = Tables::default();
    let of_protocols = answer.listeners().chunk_by(|a, b| a.protocol == b.protocol);
    for rows in of_protocols {
        let mut ports = rows.chunk_by(|a, b| a.port_identity() == b.port_identity());
        if rows.len() > MOST_ROWS || ports.any(|rows| rows.len() > FIRST_DATAGRAM) {
            rows.iter().for_each(|row| split.insert(row.table()));
        }
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_and_empty_entries_of_path_are_not_searched() {
        let ss = Ss::in_path("relative:.::/usr/bin:".as_ref());
        assert_eq!(ss.candidates, [Path::new("/usr/bin/ss")]);
    }
}
