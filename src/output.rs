//! Whole lines go out: what is written to stdout, and how far it got.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsFd, BorrowedFd};

use crate::Error;
use crate::json;
use crate::listener::Listener;
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

/// Where lines are written to. Unbuffered: when a write returns, its lines
/// are out.
#[derive(Debug)]
pub struct Output {
    file: File,
    /// The end of a line of which only the start could be written.
    torn: Vec<u8>,
}

impl Output {
    /// Standard output.
    ///
    /// # Errors
    /// When its descriptor cannot be duplicated.
    pub fn stdout() -> io::Result<Output> {
        Ok(Output::to(File::from(
            io::stdout().as_fd().try_clone_to_owned()?,
        )))
    }

    /// An open file of any kind.
    pub fn to(file: File) -> Output {
        Output {
            file,
            torn: Vec::new(),
        }
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
            if let Err(error) = self.mend_torn() {
                return (lines, Err(error));
            }
            if rest.is_empty() {
                return (lines, Ok(()));
            }
            let batch = &rest[..whole_lines(rest)];
            match self.file.write(batch) {
                Ok(0) => return (lines, Err(ErrorKind::WriteZero.into())),
                Ok(written) => {
                    let out = end_of_line(batch, written);
                    self.torn.extend_from_slice(&batch[written..out]);
                    lines += memchr::memchr_iter(b'\n', &batch[..out]).count();
                    rest = &rest[out..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return (lines, Err(error)),
            }
        }
    }

    /// Writes all of `text`, which ends with a newline. A reader that goes
    /// away before the end is no error.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_text(&mut self, text: &str) -> Result<(), Error> {
        match self.write_lines(text).1 {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            result => result.map_err(Error::Output),
        }
    }

    fn mend_torn(&mut self) -> io::Result<()> {
        while !self.torn.is_empty() {
            match self.file.write(&self.torn) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => drop(self.torn.drain(..written)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
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
