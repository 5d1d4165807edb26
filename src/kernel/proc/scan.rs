//! Splits the bytes of a reader into lines. A scanner has one buffer of fixed size, which is
//! allocated when it is first used.
//!
//! `BufRead::read_until` is not used, because it copies each line into a vector. That vector
//! grows to the length of the longest line, and a line can have any length.

use std::io::{self, ErrorKind, Read};
use std::ops::Range;

/// The size of the buffer. A read of `/proc/net/tcp` returns at most a page. Two pages have
/// room for one read and for the unfinished line of the read before it.
const BUFFER_SIZE: usize = 8192;
const PAGE_SIZE: usize = 4096;
/// A read of fewer bytes than this is short. It had room for another row, so the kernel has no
/// more rows.
const SHORT_READ: usize = 2048;
/// The most bytes that a row of a table can have. If a read leaves less room than this, another
/// row may not have fit into it.
const LONGEST_ROW: usize = 256;
/// Reading fails after this number of consecutive interrupted reads.
const MOST_INTERRUPTED: u32 = 100;

/// A buffer for splitting readers into lines. One scanner can be used for many readers, one
/// after the other.
#[derive(Debug)]
pub struct Scanner {
    capacity: usize,
    buffer: Vec<u8>,
}

impl Default for Scanner {
    fn default() -> Scanner {
        Scanner::with_capacity(BUFFER_SIZE)
    }
}

impl Scanner {
    /// Creates a scanner for lines of at most `capacity - 1` bytes, not counting the newline.
    ///
    /// # Panics
    /// Panics if `capacity` is 0.
    pub fn with_capacity(capacity: usize) -> Scanner {
        assert!(capacity > 0, "a scanner needs room for a byte");
        Scanner {
            capacity,
            buffer: Vec::new(),
        }
    }

    /// The lines of `reader`, from its start.
    pub fn lines<R: Read>(&mut self, reader: R) -> Lines<'_, R> {
        // The buffer is allocated here and not in `with_capacity`, because a health check over
        // netlink never needs it.
        self.buffer.resize(self.capacity, 0);
        let splitter = Splitter {
            buffer: &mut self.buffer,
            start: 0,
            scanned: 0,
            end: 0,
            at_end: false,
            skipping: false,
            overlong: 0,
            reads: 0,
            was_full: false,
            interrupted: 0,
            consumed: 0,
            first_read: 0,
            last_read: LastRead::Empty,
        };
        Lines { reader, splitter }
    }
}

/// The kind of read that ends the lines of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastRead {
    /// The first read that returns no bytes.
    Empty,
    /// The first read that returns fewer than 2048 bytes.
    ///
    /// This is safe for regular files and for the files of `/proc/net`. There, the kernel
    /// (`seq_read_iter`) fills a page as long as rows fit. Linux 2.4 filled three quarters of a
    /// page. For `tcp`, this halves the cost of a poll: another read, which returns nothing,
    /// would make the kernel walk the whole hash table again.
    Short,
}

/// One line of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The bytes of the line, without the newline.
    pub bytes: &'a [u8],
    /// Whether the line ends with a newline. Only the last line of a file can lack one.
    pub terminated: bool,
}

/// The lines of one reader, from [`Scanner::lines`].
#[derive(Debug)]
pub struct Lines<'a, R> {
    reader: R,
    splitter: Splitter<'a>,
}

/// Everything in [`Lines`] except the reader. This struct is not generic, so that the binary
/// has only one copy of its code.
#[derive(Debug)]
struct Splitter<'a> {
    buffer: &'a mut [u8],
    /// Where the next line starts in `buffer`.
    start: usize,
    /// Where the search for the next newline starts in `buffer`.
    scanned: usize,
    /// Where the filled part of `buffer` ends.
    end: usize,
    /// Whether the end of the reader has been reached.
    at_end: bool,
    /// Whether the start of the current line was dropped because the line does not fit.
    skipping: bool,
    /// See [`Lines::overlong`].
    overlong: u64,
    /// See [`Lines::reads`].
    reads: u32,
    /// Whether the last read may have had no room for another row.
    was_full: bool,
    /// The number of consecutive interrupted reads.
    interrupted: u32,
    /// See [`Lines::consumed`].
    consumed: usize,
    /// How many bytes the first read asks for. 0 means as many as fit.
    first_read: usize,
    last_read: LastRead,
}

impl<R: Read> Lines<'_, R> {
    /// Sets which read ends the lines. The default is [`LastRead::Empty`].
    pub fn until(mut self, last_read: LastRead) -> Self {
        self.splitter.last_read = last_read;
        self
    }

    /// Limits the first read to `bytes`, unless `bytes` is 0. The kernel formats only as many
    /// rows as fit into a read. A caller that needs few rows thus saves the time for the rest
    /// of a page.
    pub fn reading_at_first(mut self, bytes: usize) -> Self {
        self.splitter.first_read = bytes;
        self
    }

    /// The number of reads so far. The rows of one read are consistent with each other, but
    /// rows can move between two reads.
    ///
    /// A read that returns nothing counts if the read before it had no room for another row,
    /// because a row may have moved away between the two.
    pub fn reads(&self) -> u32 {
        self.splitter.reads
    }

    /// The number of bytes in all terminated lines so far, including their newlines. The
    /// dropped part of an over-long line does not count.
    pub fn consumed(&self) -> usize {
        self.splitter.consumed
    }

    /// The next line, or `None` at the end. A line that does not fit into the buffer is skipped
    /// and counted, see [`Lines::overlong`].
    ///
    /// # Errors
    /// The errors of the reader. An interrupted read is retried, but only a limited number of
    /// times.
    // This is not an `Iterator`, because each line borrows the buffer until the next call.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.splitter.next(&mut self.reader)
    }

    /// The next terminated line that is already in the buffer. Does not read from the reader.
    pub fn next_read(&mut self) -> Option<Line<'_>> {
        self.splitter.next_read()
    }

    /// How many lines were skipped so far because they do not fit into the buffer.
    pub fn overlong(&self) -> u64 {
        self.splitter.overlong
    }
}

impl Splitter<'_> {
    fn next(&mut self, reader: &mut dyn Read) -> io::Result<Option<Line<'_>>> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(Some(Line {
                    bytes: &self.buffer[line],
                    terminated: true,
                }));
            }
            if self.at_end {
                // Drop the rest of an over-long line, which is not a line of its own.
                if std::mem::take(&mut self.skipping) {
                    self.start = self.end;
                }
                let line = self.start..self.end;
                self.start = self.end;
                return Ok((!line.is_empty()).then(|| Line {
                    bytes: &self.buffer[line],
                    terminated: false,
                }));
            }
            self.make_room();
            let mut room = self.buffer.len() - self.end;
            if self.first_read > 0 {
                room = room.min(std::mem::take(&mut self.first_read));
            }
            match reader.read(&mut self.buffer[self.end..][..room]) {
                Ok(read) => {
                    let is_short = self.last_read == LastRead::Short && read < SHORT_READ;
                    self.at_end = read == 0 || is_short && room >= PAGE_SIZE;
                    self.end += read;
                    self.reads += u32::from(read > 0 || self.was_full);
                    self.was_full = read + LONGEST_ROW > room.min(PAGE_SIZE);
                    self.interrupted = 0;
                }
                Err(error)
                    if error.kind() == ErrorKind::Interrupted
                        && self.interrupted + 1 < MOST_INTERRUPTED =>
                {
                    self.interrupted += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn next_read(&mut self) -> Option<Line<'_>> {
        self.take_line().map(|line| Line {
            bytes: &self.buffer[line],
            terminated: true,
        })
    }

    /// The range of the next line in the buffer. `None` if the buffer does not contain its
    /// newline yet.
    fn take_line(&mut self) -> Option<Range<usize>> {
        while let Some(found) = memchr::memchr(b'\n', &self.buffer[self.scanned..self.end]) {
            let newline = self.scanned + found;
            let line = self.start..newline;
            self.consumed += newline + 1 - self.start;
            self.start = newline + 1;
            self.scanned = self.start;
            if !std::mem::take(&mut self.skipping) {
                return Some(line);
            }
        }
        self.scanned = self.end;
        None
    }

    /// Moves the unfinished line to the front of the buffer. If the line fills the whole
    /// buffer, or is the rest of a line that did, drops it.
    fn make_room(&mut self) {
        let fills_buffer = self.end - self.start == self.buffer.len();
        if fills_buffer {
            self.overlong += u64::from(!self.skipping);
            self.skipping = true;
        }
        if self.skipping {
            self.end = 0;
        } else {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
        }
        self.start = 0;
        self.scanned = self.end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that returns `data` in pieces of `step` bytes, and fails with `Interrupted`
    /// before each piece.
    struct InPieces<'a> {
        data: &'a [u8],
        step: usize,
        interrupt: bool,
    }

    impl Read for InPieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.interrupt = !self.interrupt;
            if self.interrupt {
                return Err(ErrorKind::Interrupted.into());
            }
            let n = self.step.min(self.data.len()).min(buffer.len());
            buffer[..n].copy_from_slice(&self.data[..n]);
            self.data = &self.data[n..];
            Ok(n)
        }
    }

    /// Each line with whether it was terminated, and the number of over-long lines.
    fn scan(data: &[u8], capacity: usize, step: usize) -> (Vec<(String, bool)>, u64) {
        let mut scanner = Scanner::with_capacity(capacity);
        let mut lines = scanner.lines(InPieces {
            data,
            step,
            interrupt: false,
        });
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push((
                String::from_utf8(line.bytes.to_vec()).unwrap(),
                line.terminated,
            ));
        }
        assert_eq!(lines.next().unwrap(), None, "the end stays the end");
        (found, lines.overlong())
    }

    fn terminated(lines: &[&str]) -> Vec<(String, bool)> {
        lines.iter().map(|line| (line.to_string(), true)).collect()
    }

    #[test]
    fn lines_do_not_depend_on_read_sizes() {
        for step in 1..20 {
            let (lines, overlong) = scan(b"first\n\nthird line\n", 16, step);
            assert_eq!(lines, terminated(&["first", "", "third line"]));
            assert_eq!(overlong, 0);
        }
    }

    /// The number of reads decides whether a table is read again.
    #[test]
    fn an_empty_read_counts_after_a_full_read() {
        for (length, expected) in [(0, 0), (2000, 1), (3800, 1), (3900, 2), (8000, 3)] {
            let mut scanner = Scanner::default();
            let data = b"x\n".repeat(length / 2);
            let mut lines = scanner.lines(InPieces {
                data: &data,
                step: PAGE_SIZE,
                interrupt: false,
            });
            while lines.next().unwrap().is_some() {}
            assert_eq!(lines.reads(), expected, "{length}");
        }
    }

    #[test]
    fn the_last_line_needs_no_newline() {
        for step in 1..8 {
            let (lines, _) = scan(b"one\ntwo", 16, step);
            assert_eq!(lines, [("one".into(), true), ("two".into(), false)]);
        }
    }

    #[test]
    fn overlong_lines_are_skipped_and_counted() {
        let long = "x".repeat(100);
        for step in 1..120 {
            let text = format!("before\n{long}\nafter\n{long}\nlast\n");
            let (lines, overlong) = scan(text.as_bytes(), 16, step);
            assert_eq!(lines, terminated(&["before", "after", "last"]));
            assert_eq!(overlong, 2);
        }
    }

    #[test]
    fn an_overlong_unterminated_last_line_is_counted() {
        for step in 1..40 {
            let (lines, overlong) = scan(b"ok\nabcdefghijklmnopqrstuvwxyz", 8, step);
            assert_eq!(lines, terminated(&["ok"]));
            assert_eq!(overlong, 1);
        }
    }

    #[test]
    fn a_line_fits_if_it_is_shorter_than_the_buffer() {
        for step in 1..20 {
            let (lines, overlong) = scan(b"1234567\n12345678\n1234567\n", 8, step);
            assert_eq!(lines, terminated(&["1234567", "1234567"]));
            assert_eq!(overlong, 1);
        }
    }

    #[test]
    fn next_read_returns_lines_without_reading() {
        let mut scanner = Scanner::with_capacity(16);
        let mut lines = scanner.lines(InPieces {
            data: b"one\ntwo\nthree\n",
            step: 10,
            interrupt: false,
        });
        assert_eq!(lines.next_read(), None);
        assert_eq!(lines.next().unwrap().unwrap().bytes, b"one");
        assert_eq!(lines.next_read().unwrap().bytes, b"two");
        assert_eq!(lines.next_read(), None);
        assert_eq!(lines.next().unwrap().unwrap().bytes, b"three");
    }

    #[test]
    fn the_rest_of_an_overlong_last_line_is_not_a_line() {
        let text = format!("ok\n{}", "x".repeat(BUFFER_SIZE + 100));
        let mut scanner = Scanner::default();
        let mut lines = scanner.lines(text.as_bytes()).until(LastRead::Short);
        assert_eq!(lines.next().unwrap().unwrap().bytes, b"ok");
        assert_eq!(lines.next().unwrap(), None);
        assert_eq!(lines.overlong(), 1);
    }

    /// The number of reads that a text of `length` bytes needs if each returns at most `most`
    /// bytes.
    fn reads(length: usize, most: usize) -> usize {
        struct Counting<'a> {
            data: &'a [u8],
            most: usize,
            reads: usize,
        }
        impl Read for Counting<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.reads += 1;
                let most = self.most.min(buffer.len());
                self.data.read(&mut buffer[..most])
            }
        }
        let text = "0123456789abcde\n".repeat(length / 16);
        let mut reader = Counting {
            data: text.as_bytes(),
            most,
            reads: 0,
        };
        let mut scanner = Scanner::default();
        let mut lines = scanner.lines(&mut reader).until(LastRead::Short);
        let mut count = 0;
        while lines.next().unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, length / 16, "no line is lost");
        reader.reads
    }

    #[test]
    fn last_read_short_ends_at_the_first_short_read() {
        assert_eq!(reads(1600, 4000), 1);
        assert_eq!(reads(4000 + 1600, 4000), 2);
        assert_eq!(reads(3200, 4000), 2, "3,200 bytes are not short");
        assert_eq!(reads(9600, 3200), 4);
    }

    #[test]
    fn a_small_first_read_loses_no_line() {
        let mut scanner = Scanner::default();
        let mut lines = scanner.lines(&b"one\ntwo\nthree\n"[..]).reading_at_first(8);
        assert_eq!(lines.next().unwrap().unwrap().bytes, b"one");
        assert_eq!(lines.next_read().unwrap().bytes, b"two");
        assert_eq!(lines.next_read(), None);
        assert_eq!(lines.consumed(), 8);
        assert_eq!(lines.next().unwrap().unwrap().bytes, b"three");
        assert_eq!(lines.next().unwrap(), None);
    }

    #[test]
    fn an_empty_reader_has_no_lines() {
        assert_eq!(scan(b"", 8, 1), (vec![], 0));
    }

    #[test]
    fn errors_of_the_reader_are_returned() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(ErrorKind::PermissionDenied.into())
            }
        }
        let error = Scanner::default().lines(Broken).next().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn reading_gives_up_after_too_many_interrupts() {
        struct Interrupted<'a>(&'a mut u32);
        impl Read for Interrupted<'_> {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                *self.0 += 1;
                Err(ErrorKind::Interrupted.into())
            }
        }
        let mut reads = 0;
        let mut scanner = Scanner::default();
        let error = scanner.lines(Interrupted(&mut reads)).next().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        assert_eq!(reads, MOST_INTERRUPTED);
    }

    #[test]
    fn a_scanner_forgets_the_previous_reader() {
        let mut scanner = Scanner::with_capacity(8);
        let mut lines = scanner.lines(&b"a very long line"[..]);
        assert_eq!(lines.next().unwrap(), None);
        let mut lines = scanner.lines(&b"next\n"[..]);
        assert_eq!(lines.next().unwrap().unwrap().bytes, b"next");
        assert_eq!(lines.overlong(), 0);
    }
}
