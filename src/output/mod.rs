//! Whole lines go out: what is written to stdout, and how far it got.

pub mod json;
pub mod table;
pub mod timestamp;

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::listener::Listener;
use crate::output::table::Table;
use crate::output::timestamp::Timestamp;

/// How listeners are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Format {
    /// JSON Lines instead of a table.
    pub json: bool,
    /// Start each line of a table with the time; JSON always holds it.
    pub timestamps: bool,
    /// Leave out the header of a table; JSON has none.
    pub no_header: bool,
    /// Name the processes that hold each listener.
    pub processes: bool,
}

/// What a line says of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is there, and was when the program first looked.
    Listening,
    /// It is there and was not before.
    Opened,
    /// It was there and is no longer.
    Closed,
}

/// Turns listeners into lines of text in one format.
#[derive(Debug)]
pub struct Renderer {
    format: Format,
    table: Table,
}

impl Renderer {
    /// A renderer whose columns start as wide as those of `table`.
    pub fn new(format: Format, table: Table) -> Renderer {
        let table = table.with_processes(format.processes);
        Renderer { format, table }
    }

    /// Widens the columns of the lines to come to what `listeners` need.
    pub fn fit<'a>(&mut self, listeners: impl IntoIterator<Item = &'a Listener>) {
        if !self.format.json {
            listeners.into_iter().for_each(|l| self.table.fit(l));
        }
    }

    /// Whether there is a header to write.
    pub fn has_header(&self) -> bool {
        !self.format.json && !self.format.no_header
    }

    /// The header line, if there is one.
    pub fn header(&self, text: &mut Vec<u8>) {
        if self.has_header() {
            if self.format.timestamps {
                let width = Timestamp::WIDTH;
                text.extend_from_slice(format!("{:<width$} ", "Timestamp").as_bytes());
            }
            text.extend_from_slice(self.table.header().as_bytes());
            text.push(b'\n');
        }
    }

    /// The line of one listener.
    pub fn line(&self, event: Event, listener: &Listener, now: Timestamp, text: &mut Vec<u8>) {
        if self.format.json {
            let event = match event {
                Event::Listening => "listening",
                Event::Opened => "opened",
                Event::Closed => "closed",
            };
            text.extend_from_slice(
                json::object(listener, event, now, self.format.processes).as_bytes(),
            );
        } else {
            if self.format.timestamps {
                text.extend_from_slice(format!("{now} ").as_bytes());
            }
            let state = match event {
                Event::Listening | Event::Opened => listener.protocol.listening_state(),
                Event::Closed => "CLOSED",
            };
            text.extend_from_slice(self.table.row(listener, state).as_bytes());
        }
        text.push(b'\n');
    }
}

/// The most bytes of one write: a pipe takes this many at once or not at all
/// (`PIPE_BUF` on Linux), so lines never mix with those of another writer.
const MOST_PER_WRITE: usize = 4096;

/// `open` says this of a FIFO that no one reads.
const ENXIO: i32 = 6;
/// `write` says this of a descriptor that is not open for writing.
const EBADF: i32 = 9;
/// On x86, Arm, RISC-V, PowerPC and s390.
const O_NONBLOCK: i32 = 0o4000;

/// Where lines are written to.
#[derive(Debug)]
pub struct Output {
    target: Target,
    /// `None` while the target is a FIFO that no one reads.
    file: Option<File>,
    waits: bool,
}

#[derive(Debug)]
enum Target {
    Stdout,
    Stderr,
    File(PathBuf),
}

impl Output {
    /// The file at `path`, to append to, or standard output.
    ///
    /// One who `waits` does so for the reader of a FIFO, to come and to read
    /// on, as a shell does. For one who does not, a FIFO that no one reads is
    /// an error of each write, which may work the next time.
    ///
    /// # Errors
    /// [`Error::Output`] when it cannot be opened.
    pub fn open(path: Option<PathBuf>, waits: bool) -> Result<Output, Error> {
        let mut output = Output {
            target: match path {
                None => Target::Stdout,
                Some(path) if path == Path::new("/dev/stderr") => Target::Stderr,
                Some(path) => Target::File(path),
            },
            file: None,
            waits,
        };
        match output.reopen() {
            Err(error) if waits || error.raw_os_error() != Some(ENXIO) => Err(output.error(error)),
            _ => Ok(output),
        }
    }

    /// The standard streams are duplicated: to open them by name fails where
    /// they are sockets or belong to another user.
    fn reopen(&mut self) -> io::Result<&mut File> {
        let stream = |fd: BorrowedFd<'_>| {
            let mut file = File::from(fd.try_clone_to_owned()?);
            // One that was closed at the start never takes anything.
            match file.write(&[]) {
                Err(error) if error.raw_os_error() == Some(EBADF) => Err(error),
                _ => Ok(file),
            }
        };
        let file = match &self.target {
            Target::Stdout => stream(io::stdout().as_fd())?,
            Target::Stderr => stream(io::stderr().as_fd())?,
            Target::File(path) => File::options()
                .append(true)
                .create(true)
                .custom_flags(if self.waits { 0 } else { O_NONBLOCK })
                .open(path)?,
        };
        Ok(self.file.insert(file))
    }

    /// What messages call it.
    pub fn name(&self) -> std::path::Display<'_> {
        match &self.target {
            Target::Stdout => Path::new("stdout").display(),
            Target::Stderr => Path::new("/dev/stderr").display(),
            Target::File(path) => path.display(),
        }
    }

    fn error(&self, error: io::Error) -> Error {
        Error::Output(self.name().to_string(), error)
    }

    /// The stream, if that is what it is: one without a reader never gets
    /// another, as a FIFO may.
    pub fn stream(&self) -> Option<BorrowedFd<'_>> {
        match self.target {
            Target::Stdout | Target::Stderr => self.file.as_ref().map(AsFd::as_fd),
            Target::File(_) => None,
        }
    }

    /// Whether `error` means that no one will ever read what is written.
    pub fn is_gone(&self, error: &io::Error) -> bool {
        self.stream().is_some() && error.kind() == ErrorKind::BrokenPipe
    }

    /// Writes `text`, which ends with a newline, whole lines and at most 4096
    /// bytes at a time. What is out is taken off its front.
    ///
    /// # Errors
    /// Those of the system. A disk that fills up can leave the rest of a line
    /// at the front.
    pub fn write(&mut self, text: &mut Vec<u8>) -> io::Result<()> {
        let mut out = 0;
        let result = loop {
            let rest = &text[out..];
            if rest.is_empty() {
                break Ok(());
            }
            match self.write_once(&rest[..whole_lines(rest)]) {
                Ok(written) => out += written,
                Err(error) => break Err(error),
            }
        };
        text.drain(..out);
        result
    }

    /// Writes all of `text`, which ends with a newline. A reader that goes
    /// away before the end is no error.
    ///
    /// # Errors
    /// [`Error::Output`] when it cannot be written.
    pub fn write_all(&mut self, mut text: Vec<u8>) -> Result<(), Error> {
        match self.write(&mut text) {
            Err(error) if !self.is_gone(&error) => Err(self.error(error)),
            _ => Ok(()),
        }
    }

    /// One write, of at least a byte.
    fn write_once(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.reopen()?,
        };
        loop {
            match file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
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

/// How many bytes of `text`, which ends with a newline, one write may take:
/// as many whole lines as fit, and at least one.
fn whole_lines(text: &[u8]) -> usize {
    let most = text.len().min(MOST_PER_WRITE);
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
    fn a_write_takes_whole_lines_up_to_4096_bytes() {
        let line = format!("{}\n", "x".repeat(99));
        let text = line.repeat(60);
        assert_eq!(whole_lines(text.as_bytes()), 4000);
        assert_eq!(whole_lines(line.as_bytes()), 100);
        let long = format!("{}\nnext\n", "x".repeat(5000));
        assert_eq!(whole_lines(long.as_bytes()), 5001);
    }

    /// A socket that takes a part of a write stands for a disk that fills up.
    /// It does so only when its buffer is smaller than a write.
    #[test]
    fn what_a_write_did_not_take_is_written_by_the_next() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let buffer = socket2::SockRef::from(&ours);
        buffer.set_send_buffer_size(MOST_PER_WRITE).unwrap();
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
            // No multiple of a line, so that writes are torn anywhere.
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
