//! ss's table: the columns of Debian's iproute2 6.1, as wide as what stands in
//! them, byte for byte as ss writes them to a pipe or a file.
//!
//! ss keeps cells until they fill its memory for them, five chunks of 1 MiB. Then
//! it writes them, as wide as they needed so far. So the widths in a long table
//! change on the way, and what fills a chunk is part of the format.

use std::fmt;

use super::text::Text;
use crate::output::OutputError;

/// The cells of a row. One more follows in ss, which is always empty.
const COLUMNS: usize = 9;
const NETID: usize = 0;
const STATE: usize = 1;

const HEADINGS: [&str; COLUMNS] = [
    "Netid",
    "State",
    "Recv-Q",
    "Send-Q",
    "Local Address:",
    "Port",
    "Peer Address:",
    "Port",
    "Process",
];
/// What stands before a column that is not the first of its line.
const DELIMITERS: [&str; COLUMNS] = ["", " ", " ", " ", " ", "", " ", "", ""];
const IS_RIGHT_ALIGNED: [bool; COLUMNS] =
    [false, false, false, false, true, false, true, false, false];

/// No cell is longer; ss cuts what is.
const MOST_IN_CELL: usize = u16::MAX as usize;
/// Text is passed on when it is about this long.
const WRITTEN_AT_ONCE: usize = 64 * 1024;

/// Where the text of a table goes.
pub type Write<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), OutputError>;

/// The lines of one answer. What is written to it becomes part of the current
/// cell.
pub struct Table<'a> {
    is_shown: [bool; COLUMNS],
    /// The longest cell of each column so far.
    widths: [usize; COLUMNS],
    /// The cells that are not written yet, one behind the other.
    text: Text,
    /// Their lengths. Those of columns that are not shown are left out.
    lengths: Vec<u16>,
    /// Lines that are not passed on yet.
    lines: Text,
    /// The current cell: its column, and where in `text` it starts. `COLUMNS` is
    /// behind the last one.
    column: usize,
    start: usize,
    chunks: Chunks,
    write: Write<'a>,
    failure: Option<OutputError>,
}

impl<'a> Table<'a> {
    /// A table without rows. `has_netid` and `has_state` say whether it has the
    /// columns that tell protocols and states apart.
    pub fn new(has_netid: bool, has_state: bool, has_header: bool, write: Write<'a>) -> Table<'a> {
        let mut is_shown = [true; COLUMNS];
        is_shown[NETID] = has_netid;
        is_shown[STATE] = has_state;
        let mut table = Table {
            is_shown,
            widths: [0; COLUMNS],
            text: Text::default(),
            lines: Text::default(),
            lengths: Vec::new(),
            column: 0,
            start: 0,
            chunks: Chunks::default(),
            write,
            failure: None,
        };
        if has_header {
            for heading in HEADINGS {
                table.push(heading.as_bytes());
                table.end_cell();
            }
        }
        table
    }

    /// Starts a row, which ends the one before it.
    pub fn start_row(&mut self) {
        if self.column == 0 {
            return;
        }
        while self.column < COLUMNS {
            self.end_cell();
        }
        if self.chunks.are_full() {
            self.render();
        } else {
            self.chunks.take(0);
        }
        self.column = 0;
    }

    /// Ends the current cell.
    pub fn end_cell(&mut self) {
        if !self.is_shown[self.column] {
            self.text.truncate(self.start);
        } else {
            let length = self.close_cell();
            self.chunks.take(length);
            let width = &mut self.widths[self.column];
            *width = length.max(*width);
        }
        self.column += 1;
    }

    fn close_cell(&mut self) -> usize {
        self.text.truncate(self.start + MOST_IN_CELL);
        let length = self.text.length() - self.start;
        self.lengths.push(length as u16);
        self.start = self.text.length();
        length
    }

    /// Adds bytes to the current cell.
    pub fn push(&mut self, bytes: &[u8]) {
        self.text.push(bytes);
    }

    /// The text at whose end the current cell grows.
    pub fn text(&mut self) -> &mut Text {
        &mut self.text
    }

    /// Fills the current cell with blanks until it is this long.
    pub fn pad(&mut self, length: usize) {
        let end = self.start + length;
        if self.text.length() < end {
            self.text.push_blanks(end - self.text.length());
        }
    }

    /// A cell of `text`.
    pub fn cell(&mut self, text: impl AsRef<[u8]>) {
        self.push(text.as_ref());
        self.end_cell();
    }

    /// Writes bytes that are not part of the table, before what of it is not written yet.
    pub fn write_at_once(&mut self, bytes: &[u8]) {
        keep(&mut self.failure, (self.write)(bytes));
    }

    /// Writes what is left. The last cell was not measured, since no other follows
    /// it.
    ///
    /// # Errors
    /// If some of the table could not be written.
    pub fn finish(mut self) -> Result<(), OutputError> {
        if self.column > 0 && self.column < COLUMNS {
            self.close_cell();
        }
        self.render();
        self.failure.map_or(Ok(()), Err)
    }

    fn render(&mut self) {
        let first = self.is_shown.iter().position(|shown| *shown).unwrap_or(0);
        let lines = &mut self.lines;
        let mut cells = self.text.as_bytes();
        let mut column = first;
        for &length in &self.lengths {
            let (cell, rest) = cells.split_at(usize::from(length));
            cells = rest;
            if column > first {
                lines.push(DELIMITERS[column].as_bytes());
            }
            let blanks = self.widths[column].saturating_sub(cell.len());
            let (before, after) = match IS_RIGHT_ALIGNED[column] {
                true => (blanks, 0),
                false => (0, blanks),
            };
            lines.push_blanks(before);
            lines.push(cell);
            lines.push_blanks(after);
            column += 1;
            while column < COLUMNS && !self.is_shown[column] {
                column += 1;
            }
            if column == COLUMNS {
                lines.push(b"\n");
                column = first;
                if lines.length() >= WRITTEN_AT_ONCE {
                    keep(&mut self.failure, (self.write)(lines.as_bytes()));
                    lines.truncate(0);
                }
            }
        }
        keep(&mut self.failure, (self.write)(lines.as_bytes()));
        lines.truncate(0);
        self.text.truncate(0);
        self.lengths.clear();
        self.start = 0;
        self.chunks = Chunks::default();
    }
}

fn keep(failure: &mut Option<OutputError>, result: Result<(), OutputError>) {
    if let Err(error) = result {
        failure.get_or_insert(error);
    }
}

impl fmt::Write for Table<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

impl fmt::Debug for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("widths", &self.widths)
            .finish_non_exhaustive()
    }
}

/// How ss's memory for cells fills up. A cell is two bytes of length and its text,
/// and starts at an even place. One that does not fit in a chunk moves to the next.
#[derive(Debug, Default)]
struct Chunks {
    begun: usize,
    /// Of the last chunk.
    used: usize,
}

impl Chunks {
    /// A chunk without the two pointers that it starts with on 64-bit machines.
    const SIZE: usize = 1024 * 1024 - 16;
    const MOST: usize = 5;
    const LENGTH_SIZE: usize = 2;

    fn take(&mut self, length: usize) {
        self.begun = self.begun.max(1);
        let end = |used| used + Chunks::LENGTH_SIZE + length;
        if self.used > 0 && length > 0 && end(self.used) >= Chunks::SIZE {
            self.begin();
        }
        self.used = end(self.used).next_multiple_of(2);
        if self.used + Chunks::LENGTH_SIZE > Chunks::SIZE {
            self.begin();
        }
    }

    fn begin(&mut self) {
        self.begun += 1;
        self.used = 0;
    }

    fn are_full(&self) -> bool {
        self.begun >= Chunks::MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(has_netid: bool, has_state: bool, has_header: bool, rows: &[[&str; 9]]) -> String {
        let mut text = Vec::new();
        let mut write = |more: &[u8]| {
            text.extend(more);
            Ok(())
        };
        let mut table = Table::new(has_netid, has_state, has_header, &mut write);
        for row in rows {
            table.start_row();
            for cell in &row[..8] {
                table.cell(cell);
            }
            table.push(row[8].as_bytes());
        }
        table.finish().unwrap();
        String::from_utf8(text).unwrap()
    }

    const ROWS: [[&str; 9]; 2] = [
        [
            "tcp",
            "LISTEN",
            "0     ",
            "0     ",
            "127.0.0.1:",
            "1",
            "0.0.0.0:",
            "*",
            " a",
        ],
        [
            "tcp",
            "LISTEN",
            "0     ",
            "0     ",
            "[::1]:",
            "8080",
            "*:",
            "*",
            " longer than Process",
        ],
    ];

    #[test]
    fn the_last_cell_widens_nothing() {
        let expected = "\
State  Recv-Q Send-Q Local Address:Port Peer Address:PortProcess\n\
LISTEN 0      0          127.0.0.1:1         0.0.0.0:*    a     \n\
LISTEN 0      0              [::1]:8080            *:*    longer than Process\n";
        assert_eq!(text(false, true, true, &ROWS), expected);
    }

    #[test]
    fn without_a_header_columns_are_as_wide_as_what_is_in_them() {
        let expected = "tcp 0      0      127.0.0.1:1    0.0.0.0:* a\n\
                        tcp 0      0          [::1]:8080       *:* longer than Process\n";
        assert_eq!(text(true, false, false, &ROWS), expected);
        assert_eq!(text(true, true, false, &[]), "");
    }

    #[test]
    fn a_cell_that_does_not_fit_in_a_chunk_starts_another() {
        let mut chunks = Chunks::default();
        chunks.take(Chunks::SIZE - 10);
        assert_eq!((chunks.begun, chunks.used), (1, Chunks::SIZE - 8));
        chunks.take(5);
        assert_eq!((chunks.begun, chunks.used), (2, 0));
    }
}
