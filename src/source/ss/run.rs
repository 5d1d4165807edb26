//! Runs ss once: starts it, reads its output under a deadline, and waits for it to exit.
//! Kills it if it does not finish in time.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::sys::{self, Child};

/// How long one run may take, from its start to its exit.
pub const DEADLINE: Duration = Duration::from_secs(2);
/// At most this many bytes of the stderr of ss are read, enough for the line that is reported.
const MOST_STDERR: u64 = 256;

/// Why a run of ss failed.
#[derive(Debug)]
pub enum RunError {
    /// The program at this path could not be started.
    Spawn(PathBuf, io::Error),
    /// The program did not finish within [`DEADLINE`].
    TimedOut,
    /// The output could not be read.
    Read(io::Error),
    /// The program exited with this status, which is not 0, or was killed.
    Exit(ExitStatus),
    /// The program wrote to stderr. The value is the first line.
    Stderr(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Spawn(path, error) => write!(f, "{}: {error}", path.display()),
            RunError::TimedOut => write!(f, "ss: did not finish within {} s", DEADLINE.as_secs()),
            RunError::Read(error) => write!(f, "ss: reading its output: {error}"),
            RunError::Exit(status) => write!(f, "ss: {status}"),
            RunError::Stderr(line) => write!(f, "ss: wrote to stderr: {line}"),
        }
    }
}

impl std::error::Error for RunError {}

impl RunError {
    /// Converts an error from reading a [`DeadlineStream`]. If the deadline has passed, the
    /// result is [`RunError::TimedOut`].
    pub fn from_read(error: io::Error) -> RunError {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => RunError::TimedOut,
            _ => RunError::Read(error),
        }
    }
}

/// A running ss, with [`DEADLINE`] for the whole run. Dropping the value kills the process
/// group of ss and then reaps ss.
#[derive(Debug)]
pub struct Run {
    child: Child,
    /// The output of ss.
    pub stdout: DeadlineStream,
    stderr: DeadlineStream,
}

impl Run {
    /// Starts `program`.
    ///
    /// stdout and stderr are Unix sockets, not pipes, because std can set a timeout for
    /// reading a socket. stdin is a socket as well, because an image may lack `/dev/null`.
    pub fn spawn(program: &Path, arguments: &str) -> Result<Run, RunError> {
        let deadline = Instant::now() + DEADLINE;
        let spawn = || {
            let (stdin, child_stdin) = UnixStream::pair()?;
            stdin.shutdown(Shutdown::Both)?;
            let (stdout, child_stdout) = UnixStream::pair()?;
            let (stderr, child_stderr) = UnixStream::pair()?;
            let child_streams = [child_stdin, child_stdout, child_stderr].map(OwnedFd::from);
            let child = Child::spawn(program.as_os_str(), arguments, &child_streams)?;
            sys::set_child_group(child.id);
            let with_deadline = |stream| DeadlineStream { stream, deadline };
            Ok(Run {
                child,
                stdout: with_deadline(stdout),
                stderr: with_deadline(stderr),
            })
        };
        spawn().map_err(|error| RunError::Spawn(program.to_path_buf(), error))
    }

    /// Waits for ss to exit. Must be called after stdout was read to the end.
    ///
    /// # Errors
    /// If ss wrote to stderr, did not exit with status 0, or did not finish in time.
    pub fn finish(mut self) -> Result<(), RunError> {
        let mut bytes = Vec::new();
        let mut stderr = (&mut self.stderr).take(MOST_STDERR);
        stderr
            .read_to_end(&mut bytes)
            .map_err(RunError::from_read)?;
        if !bytes.is_empty() {
            let text = String::from_utf8_lossy(&bytes);
            let first = text.lines().next().unwrap_or_default();
            return Err(RunError::Stderr(first.trim_end().to_string()));
        }
        // ss has closed its streams, so it is about to exit. Poll with short sleeps, because
        // std has no wait with a timeout.
        loop {
            match self.child.try_wait().map_err(RunError::Read)? {
                Some(status) => {
                    sys::set_child_group(0);
                    return status.success().then_some(()).ok_or(RunError::Exit(status));
                }
                None if Instant::now() >= self.stderr.deadline => return Err(RunError::TimedOut),
                None => sys::sleep_briefly(),
            }
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        sys::kill_child_group();
        sys::set_child_group(0);
    }
}

/// A stream whose reads fail with `WouldBlock` once the deadline has passed.
#[derive(Debug)]
pub struct DeadlineStream {
    stream: UnixStream,
    deadline: Instant,
}

impl Read for DeadlineStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer)
    }
}
