//! Writes lines to stdout, stderr or a file, and keeps track of what was written. Each write
//! consists of whole lines, so lines never mix with those of another writer.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::report;
use crate::sys::{self, O_NONBLOCK};

/// The longest write to a pipe that is atomic, in bytes: pipe(7).
const PIPE_BUF: usize = 4096;
/// The number of interrupted writes in a row after which writing fails.
const MOST_TRIES: u32 = 100;

/// The error of open(2) if the file is a FIFO without a reader, or a socket.
const ENXIO: i32 = 6;
/// The message for [`ENXIO`].
const UNREAD: &str = "no reader";
/// The error of write(2) if the descriptor is not open for writing.
const EBADF: i32 = 9;

/// The file or stream that lines are written to.
#[derive(Debug)]
pub struct Output {
    target: Target,
    /// The open file. `None` while the target is a FIFO without a reader.
    file: Option<File>,
    /// Whether opening a FIFO waits for a reader.
    waits: bool,
}

/// Why lines could not be written: the name of the output, and the error.
#[derive(Debug)]
pub struct OutputError {
    name: String,
    error: io::Error,
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.error)
    }
}

impl std::error::Error for OutputError {}

#[derive(Debug)]
enum Target {
    Stdout,
    Stderr,
    File(PathBuf),
}

impl Output {
    /// Opens the file at `path`, or stdout if there is no path. The file is created if it
    /// does not exist, and lines are appended to it.
    ///
    /// If `waits` is true, opening a FIFO waits for a reader, as in a shell. Otherwise, a
    /// write to a FIFO without a reader fails, and a later write may succeed.
    ///
    /// # Errors
    /// If the output cannot be opened.
    pub fn open(path: Option<PathBuf>, waits: bool) -> Result<Output, OutputError> {
        const STDERR: [&str; 2] = ["/dev/stderr", "/dev/fd/2"];
        let mut output = Output {
            target: match path {
                None => Target::Stdout,
                Some(path) if STDERR.iter().any(|name| path.as_os_str() == *name) => Target::Stderr,
                Some(path) => Target::File(path),
            },
            file: None,
            waits,
        };
        match output.reopen() {
            Err(error) if waits || !is_unread(&error) => Err(output.error(error)),
            _ => Ok(output),
        }
    }

    /// Opens the target. Standard streams are duplicated, because opening `/dev/stdout` fails
    /// if it is a socket or belongs to another user.
    fn reopen(&mut self) -> io::Result<&mut File> {
        let stream = |fd: BorrowedFd<'_>| {
            let mut file = File::from(fd.try_clone_to_owned()?);
            // If the stream was closed when the program started, it is now open for reading
            // only. Writing no bytes shows that.
            match file.write(&[]) {
                Err(error) if error.raw_os_error() == Some(EBADF) => Err(error),
                _ => Ok(file),
            }
        };
        let file = match &self.target {
            Target::Stdout => stream(sys::stdout())?,
            Target::Stderr => stream(io::stderr().as_fd())?,
            Target::File(path) => {
                let open = |flags| {
                    let mut options = File::options();
                    options.append(true).create(true).custom_flags(flags);
                    options.open(path).map_err(|error| {
                        let file = fs::metadata(path).map(|file| file.file_type());
                        match is_unread(&error) && !file.is_ok_and(|file| file.is_fifo()) {
                            true => io::Error::other("neither a file nor a FIFO"),
                            false => error,
                        }
                    })
                };
                let at_once = open(O_NONBLOCK);
                if self.waits && at_once.as_ref().is_err_and(is_unread) {
                    report::warn(format_args!("{}: {UNREAD}; waiting", path.display()));
                }
                match self.waits {
                    // `at_once` stays open until this second call succeeds, so a waiting
                    // reader does not see the end of the file.
                    true => open(0)?,
                    false => at_once?,
                }
            }
        };
        Ok(self.file.insert(file))
    }

    /// The name of the output in messages.
    pub fn name(&self) -> std::path::Display<'_> {
        match &self.target {
            Target::Stdout => Path::new("stdout").display(),
            Target::Stderr => Path::new("/dev/stderr").display(),
            Target::File(path) => path.display(),
        }
    }

    fn error(&self, error: io::Error) -> OutputError {
        let name = self.name().to_string();
        OutputError { name, error }
    }

    /// The descriptor, if the output is stdout or stderr. A pipe that has lost its reader
    /// never gets another one, but a FIFO in the file system can.
    pub fn stream(&self) -> Option<BorrowedFd<'_>> {
        match self.target {
            Target::Stdout | Target::Stderr => self.file.as_ref().map(AsFd::as_fd),
            Target::File(_) => None,
        }
    }

    /// Whether `error` means that nobody will ever read what is written.
    pub fn is_gone(&self, error: &io::Error) -> bool {
        self.stream().is_some() && error.kind() == ErrorKind::BrokenPipe
    }

    /// Writes `text`, which ends with a newline. Each write consists of whole lines of at most
    /// 4096 bytes in all, or of one longer line. Written lines are removed from `text`.
    ///
    /// # Errors
    /// The errors of open(2) and write(2). `text` then contains what was not written. It can
    /// start in the middle of a line, for example if the disk is full.
    pub fn write(&mut self, text: &mut Vec<u8>) -> io::Result<()> {
        let mut rest = &text[..];
        let result = self.write_front(&mut rest);
        let left = rest.len();
        text.drain(..text.len() - left);
        result
    }

    /// Writes `text` in the same way as [`Output::write`]. Shortens the slice `text` to what
    /// was not written.
    fn write_front(&mut self, text: &mut &[u8]) -> io::Result<()> {
        while !text.is_empty() {
            match self.write_once(&text[..whole_lines(text)]) {
                Ok(written) => *text = &text[written..],
                Err(error) if is_unread(&error) => {
                    return Err(io::Error::new(ErrorKind::NotConnected, UNREAD));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `text`, which ends with a newline. It is not an error if the reader goes
    /// away early.
    ///
    /// # Errors
    /// If `text` cannot be written.
    pub fn write_all(&mut self, mut text: &[u8]) -> Result<(), OutputError> {
        match self.write_front(&mut text) {
            Err(error) if !self.is_gone(&error) => Err(self.error(error)),
            _ => Ok(()),
        }
    }

    /// Writes at least one byte with a single write(2). Returns the number of bytes.
    fn write_once(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.reopen()?,
        };
        let mut tries = 1;
        loop {
            match file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted && tries < MOST_TRIES => {
                    tries += 1;
                }
                Err(error) => {
                    if error.kind() == ErrorKind::BrokenPipe && self.stream().is_none() {
                        self.file = None;
                    }
                    return Err(error);
                }
                written => return written,
            }
        }
    }
}

/// Whether `error` means that no process reads the FIFO.
fn is_unread(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ENXIO)
}

/// The number of bytes of `text` to write at once: as many whole lines as fit into
/// [`PIPE_BUF`], but at least one line. `text` ends with a newline.
fn whole_lines(text: &[u8]) -> usize {
    let most = text.len().min(PIPE_BUF);
    match memchr::memrchr(b'\n', &text[..most]) {
        Some(newline) => newline + 1,
        None => memchr::memchr(b'\n', text).map_or(text.len(), |newline| newline + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_write_is_whole_lines_of_up_to_4096_bytes() {
        let line = format!("{}\n", "x".repeat(99));
        let text = line.repeat(60);
        assert_eq!(whole_lines(text.as_bytes()), 4000);
        assert_eq!(whole_lines(line.as_bytes()), 100);
        let long = format!("{}\nnext\n", "x".repeat(5000));
        assert_eq!(whole_lines(long.as_bytes()), 5001);
    }

    /// A socket simulates a disk that fills up, because both can accept a part of a write. A
    /// socket does so only if its buffer is smaller than the write.
    #[test]
    fn the_rest_of_a_partial_write_is_written_next() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let buffer = socket2::SockRef::from(&ours);
        buffer.set_send_buffer_size(PIPE_BUF).unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut output = Output {
            target: Target::Stdout,
            file: Some(File::from(OwnedFd::from(ours))),
            waits: false,
        };
        let all: String = (0..20_000).map(|n| format!("line {n} of many\n")).collect();
        let mut text = all.clone().into_bytes();
        let mut received = Vec::new();
        let mut torn = 0;
        while let Err(error) = output.write(&mut text) {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            torn += usize::from(!text.starts_with(b"line "));
            // This is not a multiple of the length of a line, so a write can end anywhere in a
            // line.
            let mut some = vec![0; 10_007];
            let read = theirs.read(&mut some).unwrap();
            received.extend_from_slice(&some[..read]);
        }
        assert!(torn > 3, "{torn} lines were torn");
        assert!(text.is_empty());
        drop(output);
        theirs.read_to_end(&mut received).unwrap();
        assert_eq!(String::from_utf8(received).unwrap(), all);
    }
}
