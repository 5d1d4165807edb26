//! Whole lines go out: what is written to stdout, and how far it got.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::Error;
use crate::json;
use crate::listener::Listener;
use crate::sys;
use crate::table::Table;
use crate::timestamp::Timestamp;

/// How listeners are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Format {
    /// JSON Lines instead of a table.
    pub json: bool,
    /// Start each line of a table with the time; JSON always holds it.
    pub timestamps: bool,
    /// Leave out the header of a table; JSON has none.
    pub no_header: bool,
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
    pub fn header(&self, text: &mut String) {
        if self.has_header() {
            if self.format.timestamps {
                text.push_str(&format!(
                    "{:<width$} ",
                    "Timestamp",
                    width = Timestamp::WIDTH
                ));
            }
            text.push_str(&self.table.header());
            text.push('\n');
        }
    }

    /// The line of one listener.
    pub fn line(&self, event: Event, listener: &Listener, now: Timestamp, text: &mut String) {
        if self.format.json {
            let event = match event {
                Event::Listening => "listening",
                Event::Opened => "opened",
                Event::Closed => "closed",
            };
            text.push_str(&json::object(listener, event, now));
        } else {
            if self.format.timestamps {
                text.push_str(&format!("{now} "));
            }
            let state = match event {
                Event::Listening | Event::Opened => listener.protocol.listening_state(),
                Event::Closed => "CLOSED",
            };
            text.push_str(&self.table.row(listener, state));
        }
        text.push('\n');
    }
}

/// The most bytes of one write: a pipe takes this many at once or not at all
/// (`PIPE_BUF` on Linux), so lines never mix with those of another writer.
const MOST_PER_WRITE: usize = 4096;

/// `open` says this of a FIFO that no one reads.
const ENXIO: i32 = 6;
/// On x86, Arm, RISC-V, PowerPC and s390.
const O_NONBLOCK: i32 = 0o4000;

/// Where lines are written to. Unbuffered: when a write returns, its lines
/// are out.
#[derive(Debug)]
pub struct Output {
    /// `None` for stdout.
    path: Option<PathBuf>,
    /// `None` while `path` is a FIFO that no one reads.
    file: Option<File>,
    /// The end of a line of which only the start could be written.
    torn: Vec<u8>,
}

impl Output {
    /// The file at `path`, to append to, or standard output. A FIFO that no
    /// one reads is no error here: it is opened anew at each write.
    ///
    /// # Errors
    /// [`Error::Output`] when it cannot be opened.
    pub fn open(path: Option<PathBuf>) -> Result<Output, Error> {
        let mut output = Output {
            path,
            file: None,
            torn: Vec::new(),
        };
        match output.reopen() {
            Err(error) if error.raw_os_error() != Some(ENXIO) => Err(output.error(error)),
            _ => Ok(output),
        }
    }

    /// The standard streams are duplicated: to open them by name fails where
    /// they are sockets or belong to another user. Opening a FIFO does not
    /// wait for its reader, and writing to it does not wait for it to read on.
    fn reopen(&mut self) -> io::Result<()> {
        self.file = Some(match self.path.as_deref() {
            None => File::from(io::stdout().as_fd().try_clone_to_owned()?),
            Some(path) if path == Path::new("/dev/stderr") => {
                File::from(io::stderr().as_fd().try_clone_to_owned()?)
            }
            Some(path) => File::options()
                .append(true)
                .create(true)
                .custom_flags(O_NONBLOCK)
                .open(path)?,
        });
        Ok(())
    }

    /// What messages call it.
    pub fn name(&self) -> std::path::Display<'_> {
        self.path
            .as_deref()
            .unwrap_or(Path::new("stdout"))
            .display()
    }

    fn error(&self, error: io::Error) -> Error {
        Error::Output(self.name().to_string(), error)
    }

    /// Waits for `pause`, or until no one can read stdout any more: true then.
    /// A file of its own stays in use: another reader may open a FIFO.
    pub fn wait_for_hangup(&self, pause: Duration) -> bool {
        match (&self.file, &self.path) {
            (Some(stdout), None) => sys::wait_for_hangup(stdout.as_fd(), pause),
            _ => {
                thread::sleep(pause);
                false
            }
        }
    }

    /// Whether `error` means that no one will ever read what is written: the
    /// pipe on stdout is closed. A FIFO may be opened by another reader.
    pub fn is_gone(&self, error: &io::Error) -> bool {
        self.path.is_none() && error.kind() == ErrorKind::BrokenPipe
    }

    /// Writes the lines of `text`, whole lines and at most 4096 bytes at a
    /// time. Returns how many lines are out, and why not all are.
    ///
    /// A line counts as out once a part of it is, which a disk that fills up
    /// can bring about; its rest is written first the next time, before
    /// anything else.
    pub fn write_lines(&mut self, text: &str) -> (usize, io::Result<()>) {
        let mut rest = text.as_bytes();
        let mut lines = 0;
        loop {
            let result = self.mend_torn().and_then(|()| match rest {
                [] => Ok(0),
                _ => self.write(&rest[..whole_lines(rest)]),
            });
            match result {
                Ok(0) => return (lines, Ok(())),
                Ok(written) => {
                    let out = end_of_line(rest, written);
                    self.torn.extend_from_slice(&rest[written..out]);
                    lines += memchr::memchr_iter(b'\n', &rest[..out]).count();
                    rest = &rest[out..];
                }
                Err(error) => return (lines, Err(error)),
            }
        }
    }

    /// Writes all of `text`, which ends with a newline. A reader of stdout
    /// that goes away before the end is no error.
    ///
    /// # Errors
    /// [`Error::Output`] when it cannot be written.
    pub fn write_text(&mut self, text: &str) -> Result<(), Error> {
        match self.write_lines(text).1 {
            Err(error) if !self.is_gone(&error) => Err(self.error(error)),
            _ => Ok(()),
        }
    }

    fn mend_torn(&mut self) -> io::Result<()> {
        while !self.torn.is_empty() {
            let torn = std::mem::take(&mut self.torn);
            let written = self.write(&torn);
            let rest = &torn[*written.as_ref().unwrap_or(&0)..];
            self.torn.extend_from_slice(rest);
            written?;
        }
        Ok(())
    }

    /// One write, of at least a byte.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(mut file) = self.file.as_ref() else {
            return Err(ErrorKind::NotConnected.into());
        };
        loop {
            match file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // The reader of a FIFO is gone, and with it what it read.
                    if error.kind() == ErrorKind::BrokenPipe && self.path.is_some() {
                        self.file = None;
                        self.torn.clear();
                    }
                    return Err(error);
                }
                result => return result,
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
        None => end_of_line(text, most),
    }
}

/// The end, past the newline, of the line that the byte before `position` is in.
fn end_of_line(text: &[u8], position: usize) -> usize {
    let start = position.saturating_sub(1);
    memchr::memchr(b'\n', &text[start..]).map_or(text.len(), |newline| start + newline + 1)
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
    #[test]
    fn a_torn_line_is_completed_before_anything_else() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut output = Output {
            path: None,
            file: Some(File::from(OwnedFd::from(ours))),
            torn: Vec::new(),
        };
        let lines: Vec<String> = (0..20_000).map(|n| format!("line {n} of many\n")).collect();
        let mut received = Vec::new();
        let mut sent = 0;
        let mut stops = 0;
        while sent < lines.len() {
            let (out, result) = output.write_lines(&lines[sent..].concat());
            sent += out;
            assert_eq!(result.is_ok(), sent == lines.len());
            stops += usize::from(result.is_err());
            // Read less than a line, so that the next write is torn somewhere else.
            let mut some = vec![0; 10_007];
            let read = theirs.read(&mut some).unwrap();
            received.extend_from_slice(&some[..read]);
        }
        assert!(stops > 3, "the socket filled up {stops} times");
        while output.write_lines("").1.is_err() {
            let mut some = [0; 10_007];
            let read = theirs.read(&mut some).unwrap();
            received.extend_from_slice(&some[..read]);
        }
        drop(output);
        theirs.read_to_end(&mut received).unwrap();
        assert_eq!(String::from_utf8(received).unwrap(), lines.concat());
    }
}
