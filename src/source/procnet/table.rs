//! One table of `/proc/net`: how far a read of it relies on the kernel, where it may
//! stop, and which failures count.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;

use crate::kernel::proc::file;
use crate::kernel::proc::row::{DecodedRow, RowError, decode_row, row_fields};
use crate::kernel::proc::scan::{LastRead, Lines, Scanner};
use crate::kernel::proc::sockstat::InUse;
use crate::listener::{Listener, Protocol, SocketTable};
use crate::report;
use crate::source::tables::TableGap;

/// At most this much of a file is read in one poll. The table of seven million
/// sockets is smaller, so a larger file is one without an end.
const MOST_BYTES: u64 = 1 << 30;

/// The file of one table, and what this run knows of it.
#[derive(Debug)]
pub struct TableFile {
    /// Which one it is.
    pub table: SocketTable,
    /// Where it is.
    pub path: PathBuf,
    /// Its listeners are asked for.
    pub is_wanted: bool,
    /// It was read in this run, or another source had listeners of this table.
    /// So it exists, and a failure to read it is an error.
    pub exists: bool,
    /// It exists, but this process may not read it. That was said on stderr.
    pub is_forbidden: bool,
    /// How many rows the last read could not read.
    pub skipped: u64,
    /// Why it could not read the first of them.
    first_error: Option<RowError>,
    /// How many bytes the last read needed up to the first connection. 0 if it
    /// did not stop there.
    pub bytes_to_connection: usize,
    /// A file of this many bytes is one without an end.
    pub most_bytes: u64,
}

/// How far a read relies on what the kernel promises about its tables. Each
/// level includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// On nothing: the file is read until a read returns no bytes. For files that
    /// are not Linux's own: without a `sockstat` this may be gVisor.
    Nothing,
    /// On full reads: the kernel fills a page while it has rows, so a short read
    /// is the last one. After the order did not hold once, nothing more is relied
    /// on, in any table.
    FullReads,
    /// On the order: in a TCP table, listeners come before connections, so reading
    /// stops at the first connection.
    Order,
    /// On counts and on the last read: a table with no counted socket and no known
    /// listener is skipped, and the first read asks for no more bytes than the
    /// last poll needed. Counts can be too low while sockets come and go, so an
    /// open may be seen one poll later. For callers that poll again.
    Counts,
}

/// Why the tables gave no snapshot: the file, and what is wrong with it.
#[derive(Debug)]
pub struct ProcError {
    path: PathBuf,
    reason: ProcErrorReason,
}

#[derive(Debug)]
enum ProcErrorReason {
    Io(io::Error),
    Empty,
    NoRowUnderstood(RowError),
}

impl fmt::Display for ProcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.reason {
            ProcErrorReason::Io(error) => {
                write!(f, "{error}")?;
                let place = self.path.ancestors().nth(2);
                match error.kind() {
                    ErrorKind::NotFound
                        if self
                            .path
                            .as_os_str()
                            .as_encoded_bytes()
                            .starts_with(b"/proc/net/") =>
                    {
                        f.write_str(" (is /proc mounted?)")
                    }
                    ErrorKind::NotFound if place.is_some_and(|place| !place.exists()) => {
                        f.write_str(" (is there such a process, or directory?)")
                    }
                    _ => Ok(()),
                }
            }
            ProcErrorReason::Empty => {
                f.write_str("is empty, without even a header (not supported by this kernel?)")
            }
            ProcErrorReason::NoRowUnderstood(first) => {
                write!(f, "no row can be read; the first: {first}")
            }
        }
    }
}

impl std::error::Error for ProcError {}

impl ProcError {
    /// Whether the file is absent.
    pub fn is_not_found(&self) -> bool {
        matches!(&self.reason, ProcErrorReason::Io(error) if error.kind() == ErrorKind::NotFound)
    }
}

/// The order of the rows of a table, as far as they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Only listeners so far, with pending connections among them.
    #[default]
    OnlyListeners,
    /// Listeners, then connections.
    ListenersFirst,
    /// A listener behind a connection.
    Mixed,
}

impl Order {
    /// The order with one more row.
    fn then(self, socket: &DecodedRow) -> Order {
        match (self, socket) {
            (Order::OnlyListeners, DecodedRow::Connection) => Order::ListenersFirst,
            (Order::ListenersFirst, DecodedRow::Listener(_)) => Order::Mixed,
            _ => self,
        }
    }
}

impl TableFile {
    /// The file of `table` at `path`.
    pub fn new(table: SocketTable, path: PathBuf, is_wanted: bool) -> TableFile {
        TableFile {
            table,
            path,
            is_wanted,
            exists: false,
            is_forbidden: false,
            skipped: 0,
            first_error: None,
            bytes_to_connection: 0,
            most_bytes: MOST_BYTES,
        }
    }

    /// Without `tcp` there is no answer.
    pub fn is_required(&self) -> bool {
        self.table == SocketTable::ALL[0]
    }

    /// What it may hold that is missing from the last read.
    pub fn gap(&self) -> Option<TableGap> {
        let path = self.path.display();
        let reason = match self.first_error {
            _ if self.is_forbidden => format!("{path} cannot be read"),
            None => return None,
            Some(first) => {
                let s = if self.skipped == 1 { "" } else { "s" };
                format!(
                    "{path}: {} row{s} cannot be read; the first: {first}",
                    self.skipped
                )
            }
        };
        Some(TableGap {
            table: self.table,
            reason,
            may_pass: !self.is_forbidden,
            hides_listeners: !self.is_forbidden,
        })
    }

    /// Whether a failure to read it fails the poll.
    fn must_be_readable(&self) -> bool {
        self.is_required() || self.exists
    }

    /// How far to trust the kernel about this file.
    pub fn trust(&self, in_use: &InUse, listeners_first: bool, polls_again: bool) -> Trust {
        if !in_use.is_readable {
            Trust::Nothing
        } else if !listeners_first {
            Trust::FullReads
        } else if !polls_again {
            Trust::Order
        } else {
            Trust::Counts
        }
    }

    /// Appends its listeners to `listeners`. Returns the order of its rows, and how many
    /// reads it took (see [`Lines::reads`]).
    ///
    /// # Errors
    /// If it must be readable and is not, or none of its rows can be read.
    pub fn read(
        &mut self,
        trust: Trust,
        scanner: &mut Scanner,
        listeners: &mut Vec<Listener>,
    ) -> Result<(Order, u32), ProcError> {
        let read = self.try_read(trust, scanner, listeners);
        read.map_err(|reason| ProcError {
            path: self.path.clone(),
            reason,
        })
    }

    fn try_read(
        &mut self,
        trust: Trust,
        scanner: &mut Scanner,
        listeners: &mut Vec<Listener>,
    ) -> Result<(Order, u32), ProcErrorReason> {
        let before = listeners.len();
        self.first_error = None;
        // The other levels also look at what stands behind the first connection
        // in a page, and so check the order.
        let first_read = match trust {
            Trust::Counts => self.bytes_to_connection,
            _ => 0,
        };
        let stops_at_connection = trust >= Trust::Order && self.table.protocol == Protocol::Tcp;
        // Opened anew for each poll: Linux 6.6.102 to 6.6.104, 6.12.42 to 6.12.45
        // and 6.14 cannot seek in these files.
        let contents = match file::open(&self.path).and_then(|file| {
            let mut file = file.take(self.most_bytes);
            let last_read = match trust >= Trust::FullReads {
                true => LastRead::Short,
                false => LastRead::Empty,
            };
            let lines = scanner
                .lines(&mut file)
                .until(last_read)
                .reading_at_first(first_read);
            let contents = self.scan(lines, stops_at_connection, listeners)?;
            match file.limit() {
                0 => Err(ErrorKind::FileTooLarge.into()),
                _ => Ok(contents),
            }
        }) {
            Ok(contents) => contents,
            Err(error) if self.must_be_readable() => return Err(ProcErrorReason::Io(error)),
            Err(error) => {
                listeners.truncate(before);
                return self.leave_out(error).map(|()| (Order::default(), 0));
            }
        };
        self.is_forbidden = false;
        self.bytes_to_connection = contents.bytes_to_connection;
        match contents.first_error {
            // On WSL 1 all four files exist and have zero bytes.
            _ if contents.lines == 0 && self.must_be_readable() => {
                return Err(ProcErrorReason::Empty);
            }
            Some(first) if contents.understood == 0 => {
                return Err(ProcErrorReason::NoRowUnderstood(first));
            }
            _ => {}
        }
        self.exists |= contents.lines > 0;
        self.report_skipped(&contents);
        Ok((contents.order, contents.reads))
    }

    /// Leaves out a file that is absent or may not be read.
    ///
    /// # Errors
    /// For any other error: it may pass, so it is no reason to answer for less.
    fn leave_out(&mut self, error: io::Error) -> Result<(), ProcErrorReason> {
        let is_forbidden = match error.kind() {
            ErrorKind::PermissionDenied => true,
            ErrorKind::NotFound => false,
            _ => return Err(ProcErrorReason::Io(error)),
        };
        let was_forbidden = std::mem::replace(&mut self.is_forbidden, is_forbidden);
        if is_forbidden && !was_forbidden {
            let path = self.path.display();
            report::warn(format_args!("{path}: {error}; leaving out its ports"));
        }
        Ok(())
    }

    /// Reads rows to the end, or up to the first connection.
    ///
    /// Rows behind that connection that were read with it are looked at as well.
    /// A listener among them means that the order does not hold, and the rest of
    /// the file is read after all.
    fn scan<R: Read>(
        &self,
        mut lines: Lines<'_, R>,
        stops_at_connection: bool,
        listeners: &mut Vec<Listener>,
    ) -> io::Result<Contents> {
        let mut contents = Contents::default();
        loop {
            let line = if stops_at_connection && contents.order == Order::ListenersFirst {
                lines.next_read()
            } else {
                lines.next()?
            };
            let Some(line) = line else {
                break;
            };
            contents.lines += 1;
            let is_cut = !line.terminated;
            let Some(fields) = row_fields(line.bytes) else {
                if is_cut {
                    return Err(cut_short());
                }
                // Every kernel's header starts with `sl`. Other text may be a row that is
                // damaged, or a file that is no table.
                let text = line.bytes.trim_ascii_start();
                let is_header = contents.lines == 1 && text.starts_with(b"sl ");
                if !is_header && !line.bytes.trim_ascii().is_empty() {
                    contents.skip(RowError::NotARow);
                }
                continue;
            };
            // The state may be cut too, unless a field follows it.
            let is_whole = !is_cut || fields.has_field_after_state();
            match decode_row(&fields, self.table.protocol) {
                Err(_) if is_cut => return Err(cut_short()),
                Ok(DecodedRow::Connection) if !is_whole => return Err(cut_short()),
                Ok(socket) => {
                    contents.understood += 1;
                    let before = contents.order;
                    contents.order = before.then(&socket);
                    if stops_at_connection
                        && before == Order::OnlyListeners
                        && contents.order != before
                    {
                        contents.bytes_to_connection = lines.consumed();
                    }
                    if let DecodedRow::Listener(row) = socket
                        && self.is_wanted
                    {
                        listeners.push(row.listener(self.table.protocol));
                    }
                }
                Err(error) => contents.skip(error),
            }
        }
        contents.reads = lines.reads();
        if lines.overlong() > 0 {
            contents.lines += lines.overlong();
            contents.skipped += lines.overlong();
            contents.first_error.get_or_insert(RowError::TooLong);
        }
        Ok(contents)
    }

    /// With `-v`, says how many rows were skipped whenever that number changes.
    fn report_skipped(&mut self, contents: &Contents) {
        let skipped = contents.skipped;
        self.first_error = contents.first_error;
        if std::mem::replace(&mut self.skipped, skipped) != skipped
            && let Some(gap) = self.gap()
        {
            report::detail(format_args!("{}", gap.reason));
        }
    }
}

/// The error of a file that ends within a row. The kernel ends each row with a
/// newline. A last row without one is accepted if it is long enough.
fn cut_short() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "ends within a row")
}

/// What one read of a file found.
#[derive(Debug, Default)]
struct Contents {
    /// Lines of any kind.
    lines: u64,
    /// Rows that could be read, listening or not.
    understood: u64,
    /// Rows that could not, among them over-long lines and other text.
    skipped: u64,
    first_error: Option<RowError>,
    order: Order,
    /// See [`Lines::reads`].
    reads: u32,
    /// How many bytes the lines up to the first connection take. 0 if reading may
    /// not stop there.
    bytes_to_connection: usize,
}

impl Contents {
    fn skip(&mut self, error: RowError) {
        self.skipped += 1;
        self.first_error.get_or_insert(error);
    }
}
