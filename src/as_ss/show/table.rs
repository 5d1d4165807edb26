//! Writes the table exactly as ss of Debian's iproute2 6.1 writes it to a pipe or a file. Each
//! column is as wide as its longest cell.
//!
//! ss collects cells until they fill a buffer of five chunks of 1 MiB each. Then it writes the
//! rows in the buffer, with each column as wide as its longest cell so far. The widths can
//! therefore change in the middle of a long table, and the output depends on how the cells fill
//! the chunks.

use std::fmt;

use super::text::Text;
use crate::output::OutputError;

/// The number of cells in a row. In ss, a row has a tenth cell, which is always empty.
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
/// The text before each column, unless the column is the first one that is shown.
const DELIMITERS: [&str; COLUMNS] = ["", " ", " ", " ", " ", "", " ", "", ""];
const IS_RIGHT_ALIGNED: [bool; COLUMNS] =
    [false, false, false, false, true, false, true, false, false];

/// The maximum length of a cell in bytes. As in ss, the rest is cut off.
const LONGEST_CELL: usize = u16::MAX as usize;
/// Lines are passed to `write` in pieces of about this many bytes.
const PIECE_SIZE: usize = 64 * 1024;

/// Receives the text of a table, piece by piece.
pub type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), OutputError>;

/// The optional parts of a table: whether the table has each of them.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// The column `Netid`, which distinguishes protocols.
    pub netid: bool,
    /// The column `State`.
    pub state: bool,
    /// The line of headings.
    pub header: bool,
}

/// The table of one answer. Text that is added to it becomes part of the current cell.
pub struct Table<'a> {
    is_shown: [bool; COLUMNS],
    /// The length of the longest cell of each column so far.
    widths: [usize; COLUMNS],
    /// The cells that are not written yet, without separators.
    text: Text,
    /// The length of each cell in `text`.
    lengths: Vec<u16>,
    /// Lines that have not been passed to `write` yet.
    lines: Text,
    /// The column of the current cell, or `COLUMNS` after the last cell of a row.
    column: usize,
    /// The index in `text` where the current cell starts.
    start: usize,
    chunks: Chunks,
    write: Sink<'a>,
    failure: Option<OutputError>,
}

impl<'a> Table<'a> {
    /// Creates a table that has these parts and no rows.
    pub fn new(parts: Parts, write: Sink<'a>) -> Table<'a> {
        let mut is_shown = [true; COLUMNS];
        is_shown[NETID] = parts.netid;
        is_shown[STATE] = parts.state;
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
        if parts.header {
            for heading in HEADINGS {
                table.push(heading.as_bytes());
                table.end_cell();
            }
        }
        table
    }

    /// Ends the current row and starts another one.
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
            self.chunks.add_cell(0);
        }
        self.column = 0;
    }

    /// Ends the current cell.
    pub fn end_cell(&mut self) {
        if !self.is_shown[self.column] {
            self.text.truncate(self.start);
        } else {
            let length = self.close_cell();
            self.chunks.add_cell(length);
            let width = &mut self.widths[self.column];
            *width = length.max(*width);
        }
        self.column += 1;
    }

    fn close_cell(&mut self) -> usize {
        self.text.truncate(self.start + LONGEST_CELL);
        let length = self.text.length() - self.start;
        self.lengths.push(length as u16);
        self.start = self.text.length();
        length
    }

    /// Adds bytes to the current cell.
    pub fn push(&mut self, bytes: &[u8]) {
        self.text.push(bytes);
    }

    /// The buffer whose text ends with the current cell. Text that is added to it becomes part
    /// of the cell.
    pub fn text(&mut self) -> &mut Text {
        &mut self.text
    }

    /// Pads the current cell with blanks to this length.
    pub fn pad(&mut self, length: usize) {
        let end = self.start + length;
        if self.text.length() < end {
            self.text.push_blanks(end - self.text.length());
        }
    }

    /// Adds `text` to the current cell and ends the cell.
    pub fn cell(&mut self, text: impl AsRef<[u8]>) {
        self.push(text.as_ref());
        self.end_cell();
    }

    /// Writes bytes that are not part of the table immediately, before any row that is still
    /// buffered.
    pub fn write_at_once(&mut self, bytes: &[u8]) {
        keep_first(&mut self.failure, (self.write)(bytes));
    }

    /// Writes the remaining rows. As in ss, the last cell of the table does not widen its
    /// column.
    ///
    /// # Errors
    /// Fails if part of the table could not be written.
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
                if lines.length() >= PIECE_SIZE {
                    keep_first(&mut self.failure, (self.write)(lines.as_bytes()));
                    lines.truncate(0);
                }
            }
        }
        keep_first(&mut self.failure, (self.write)(lines.as_bytes()));
        lines.truncate(0);
        self.text.truncate(0);
        self.lengths.clear();
        self.start = 0;
        self.chunks = Chunks::default();
    }
}

/// Stores the error of `result` in `failure`, unless an earlier error is stored there already.
fn keep_first(failure: &mut Option<OutputError>, result: Result<(), OutputError>) {
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

/// Calculates how full the buffer of ss is. A cell consists of two bytes for its length and of
/// its text, and starts at an even offset. A cell that does not fit in a chunk goes to the next
/// chunk.
#[derive(Debug, Default)]
struct Chunks {
    /// The number of chunks that contain cells.
    count: usize,
    /// The number of bytes used in the last chunk.
    used: usize,
}

impl Chunks {
    /// The bytes in a chunk that can contain cells: 1 MiB minus two pointers of a 64-bit
    /// machine.
    const SIZE: usize = 1024 * 1024 - 16;
    const LARGEST_COUNT: usize = 5;
    const LENGTH_SIZE: usize = 2;

    fn add_cell(&mut self, length: usize) {
        self.count = self.count.max(1);
        let end = |used| used + Chunks::LENGTH_SIZE + length;
        if self.used > 0 && length > 0 && end(self.used) >= Chunks::SIZE {
            self.add_chunk();
        }
        self.used = end(self.used).next_multiple_of(2);
        if self.used + Chunks::LENGTH_SIZE > Chunks::SIZE {
            self.add_chunk();
        }
    }

    fn add_chunk(&mut self) {
        self.count += 1;
        self.used = 0;
    }

    fn are_full(&self) -> bool {
        self.count >= Chunks::LARGEST_COUNT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(parts: Parts, rows: &[[&str; 9]]) -> String {
        let mut text = Vec::new();
        let mut write = |piece: &[u8]| {
            text.extend(piece);
            Ok(())
        };
        let mut table = Table::new(parts, &mut write);
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
    fn the_last_cell_does_not_widen_its_column() {
        let expected = "\
State  Recv-Q Send-Q Local Address:Port Peer Address:PortProcess\n\
LISTEN 0      0          127.0.0.1:1         0.0.0.0:*    a     \n\
LISTEN 0      0              [::1]:8080            *:*    longer than Process\n";
        let parts = Parts {
            netid: false,
            state: true,
            header: true,
        };
        assert_eq!(text(parts, &ROWS), expected);
    }

    #[test]
    fn without_a_header_only_cells_set_the_widths() {
        let expected = "tcp 0      0      127.0.0.1:1    0.0.0.0:* a\n\
                        tcp 0      0          [::1]:8080       *:* longer than Process\n";
        let parts = |state| Parts {
            netid: true,
            state,
            header: false,
        };
        assert_eq!(text(parts(false), &ROWS), expected);
        assert_eq!(text(parts(true), &[]), "");
    }

    #[test]
    fn cells_that_do_not_fit_start_another_chunk() {
        let mut chunks = Chunks::default();
        chunks.add_cell(Chunks::SIZE - 10);
        assert_eq!((chunks.count, chunks.used), (1, Chunks::SIZE - 8));
        chunks.add_cell(5);
        assert_eq!((chunks.count, chunks.used), (2, 0));
    }
}
