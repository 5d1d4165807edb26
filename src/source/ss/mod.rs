//! Runs `ss -lntu` as a source: finds ss, runs it, and decides whether its answer counts.
//!
//! - [`run`] starts ss, reads its output under a deadline and waits for it to exit.
//! - [`answer`] parses the output into listeners.
//!
//! An answer counts only if ss printed its header, wrote nothing to stderr and exited 0.
//! [`crate::source`] decides what happens after a failure, or if an answer has no rows.

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

/// How long to wait before ss is run again after a run that did not finish in time or printed
/// too many rows.
const PAUSE: Duration = Duration::from_secs(60);

/// The ss program of this system, if it has one.
#[derive(Debug)]
pub struct Ss {
    /// The paths that ss may have, in the order of `PATH`.
    candidates: Vec<PathBuf>,
    /// The executable of this program, as (device, inode). This program may be installed under
    /// the name `ss`.
    own_file: Option<(u64, u64)>,
    /// If set, ss is not run before this moment, because the last run did not finish.
    paused_until: Option<Instant>,
    reader: AnswerReader,
}

/// Why a run of ss gave no reliable answer.
#[derive(Debug)]
pub enum SsError {
    /// No absolute directory of `PATH` holds an executable ss.
    NotFound,
    /// ss was not run, because the last run, less than a minute ago, did not finish.
    Paused,
    /// The run failed.
    Run(RunError),
    /// The output cannot be parsed.
    Answer(AnswerError),
    /// ss printed no listeners. That proves nothing: if ss cannot read any source, it still
    /// prints its header and exits 0. [`Ss::read`] never returns this error. The caller of
    /// [`Ss::read`] uses it for an answer without listeners.
    NoRows,
    /// Inodes were asked for, and ss prints none. [`Ss::read`] never returns this error,
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
    /// Skips relative and empty entries of `PATH`, because they could lead to a file in the
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
    /// Any [`SsError`] except [`SsError::NoRows`] and [`SsError::NoInodes`]. `listeners` then
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
            AnswerError::Read(error) => SsError::Run(RunError::from_read(error)),
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

/// The first datagram of a dump of inet_diag, which ss reads, has room for this many rows.
const FIRST_DATAGRAM: usize = 30;
/// A protocol with more rows than this is listed in several datagrams or reads.
const MOST_ROWS: usize = 200;

/// The tables that ss may have listed incompletely, because the kernel needed several
/// datagrams for them. Between two datagrams of a dump, the kernel can skip only rows of the
/// same port.
pub fn split(answer: &Snapshot) -> Tables {
    let mut split = Tables::default();
    let protocols = answer.listeners().chunk_by(|a, b| a.protocol == b.protocol);
    for rows in protocols {
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
    fn ss_is_searched_in_absolute_directories_of_path() {
        let ss = Ss::in_path("relative:.::/usr/bin:".as_ref());
        assert_eq!(ss.candidates, [Path::new("/usr/bin/ss")]);
    }
}
