//! Reads one table of `/proc/net`. Decides how far a read trusts the kernel, where it may
//! stop, and which failures are errors.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;

use crate::kernel::proc::file::{self, split};
use crate::kernel::proc::row::{DecodedRow, RowError, decode_row, row_fields};
use crate::kernel::proc::scan::{LastRead, Lines, Scanner};
use crate::listener::{Listener, Protocol, SocketTable};
use crate::report;
use crate::source::tables::TableGap;

/// One poll reads at most this many bytes of a file. A table of seven million sockets is
/// smaller, so a larger file is assumed to have no end.
const MOST_BYTES: u64 = 1 << 30;

/// The file of one table, and what this program has found out about the file.
#[derive(Debug)]
pub struct TableFile {
    /// The table that is in the file.
    pub table: SocketTable,
    /// The path of the file.
    pub path: PathBuf,
    /// Whether the caller asked for the listeners of this table.
    pub is_wanted: bool,
    /// Whether the file has been read before, or another source found listeners of this table.
    /// If so, it is an error if the file cannot be read.
    pub exists: bool,
    /// Whether the file exists, but may not be read. If so, a warning was printed to stderr.
    pub is_forbidden: bool,
    /// The number of rows that the last read could not parse.
    pub skipped: u64,
    /// Why the first of the skipped rows could not be parsed.
    first_error: Option<RowError>,
    /// The number of bytes that the last read needed up to the first connection. 0 if reading
    /// did not stop there.
    pub bytes_to_connection: usize,
    /// A file of this many bytes or more is an error.
    pub most_bytes: u64,
}

/// How far a read trusts what the kernel promises about its tables. Each level includes the
/// ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// Read until a read returns no bytes. For kernels other than Linux: if there is no
    /// `sockstat`, the kernel may be gVisor.
    Nothing,
    /// Stop at a short read, because Linux fills a page as long as it has rows. Used for all
    /// tables once a listener was found after a connection.
    FullReads,
    /// Stop reading a TCP table at the first connection, because listeners come before
    /// connections.
    Order,
    /// Skip a table if `sockstat` counts no sockets for it and none of its listeners are
    /// known. For other tables, let the first read ask for no more bytes than the last poll
    /// needed. Only for callers that poll again: the counts can be too low while sockets open
    /// and close, so a new listener may be found one poll later.
    Counts,
}

/// Why the tables gave no snapshot: the path of a file, and what is wrong with it.
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
                let directory = split(split(&self.path).0).0;
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
                    ErrorKind::NotFound if !directory.exists() => {
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

/// The order of the rows that were read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// No connection so far, except pending ones, which are listed among the listeners.
    #[default]
    OnlyListeners,
    /// Listeners, then connections.
    ListenersFirst,
    /// At least one listener after a connection.
    Mixed,
}

impl Order {
    /// The order after one more row.
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
    pub fn new(table: SocketTable, path: PathBuf) -> TableFile {
        TableFile {
            table,
            path,
            is_wanted: false,
            exists: false,
            is_forbidden: false,
            skipped: 0,
            first_error: None,
            bytes_to_connection: 0,
            most_bytes: MOST_BYTES,
        }
    }

    /// Whether reading fails if the table is missing. Only `tcp` is required.
    pub fn is_required(&self) -> bool {
        self.table == SocketTable::ALL[0]
    }

    /// Why the table may hold more listeners than the last read found. `None` if the last
    /// read was complete.
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

    /// Whether the poll fails if the file cannot be read.
    fn must_be_readable(&self) -> bool {
        self.is_required() || self.exists
    }

    /// Appends the listeners of the table to `listeners`. Returns the order of the rows, and
    /// how many reads the file took (see [`Lines::reads`]).
    ///
    /// # Errors
    /// If the file must be readable and is not, or if none of its rows can be parsed.
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
        let start = listeners.len();
        self.first_error = None;
        // At the other levels of trust, the first read asks for a full page. It also returns
        // rows after the first connection, which show whether the order is broken.
        let first_read = match trust {
            Trust::Counts => self.bytes_to_connection,
            _ => 0,
        };
        // Each poll opens the file again instead of seeking to its start: Linux 6.6.102 to
        // 6.6.104, 6.12.42 to 6.12.45 and 6.14 cannot seek in these files.
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
            let contents = self.scan(lines, trust, listeners)?;
            match file.limit() {
                0 => Err(ErrorKind::FileTooLarge.into()),
                _ => Ok(contents),
            }
        }) {
            Ok(contents) => contents,
            Err(error) if self.must_be_readable() => return Err(ProcErrorReason::Io(error)),
            Err(error) => {
                listeners.truncate(start);
                return self.leave_out(error).map(|()| (Order::default(), 0));
            }
        };
        self.is_forbidden = false;
        self.bytes_to_connection = contents.bytes_to_connection;
        match contents.first_error {
            // On WSL 1, all four files exist, but they are empty.
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
    /// If the file cannot be read for another reason. Such an error may be temporary, so the
    /// poll has to fail.
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

    /// Reads rows to the end of the file, or as far as `trust` requires.
    ///
    /// Reading may stop at the first connection. The rows after it that the same read
    /// returned are parsed as well. If one of them is a listener, the order is broken, and
    /// the rest of the file is read after all.
    fn scan<R: Read>(
        &self,
        mut lines: Lines<'_, R>,
        trust: Trust,
        listeners: &mut Vec<Listener>,
    ) -> io::Result<Contents> {
        let stops_at_connection = trust >= Trust::Order && self.table.protocol == Protocol::Tcp;
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
                // The header starts with `sl` in every kernel. Any other text is a damaged
                // row, or the file is not a table.
                let text = line.bytes.trim_ascii_start();
                let is_header = contents.lines == 1 && text.starts_with(b"sl ");
                if !is_header && !line.bytes.trim_ascii().is_empty() {
                    contents.skip(RowError::NotARow);
                }
                continue;
            };
            // The state is complete only if another field follows it.
            let is_whole = !is_cut || fields.has_field_after_state();
            match decode_row(&fields, self.table.protocol) {
                Err(_) if is_cut => return Err(cut_short()),
                Ok(DecodedRow::Connection) if !is_whole => return Err(cut_short()),
                Ok(socket) => {
                    contents.understood += 1;
                    let old_order = contents.order;
                    contents.order = old_order.then(&socket);
                    if stops_at_connection
                        && old_order == Order::OnlyListeners
                        && contents.order != old_order
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

    /// With `-v`, reports the number of skipped rows each time it changes.
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

/// The error if a file ends within a row. The kernel ends each row with a newline, but the
/// last row is accepted without a newline if it has all fields that are needed.
fn cut_short() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "ends within a row")
}

/// The contents of a file, as one read of it found them.
#[derive(Debug, Default)]
struct Contents {
    /// The number of lines of any kind.
    lines: u64,
    /// The number of rows that could be parsed, of listeners or other sockets.
    understood: u64,
    /// The number of rows that could not be parsed, including overlong lines and other text.
    skipped: u64,
    first_error: Option<RowError>,
    order: Order,
    /// The number of reads that the file took (see [`Lines::reads`]).
    reads: u32,
    /// The number of bytes up to the end of the first connection. 0 if reading may not stop
    /// there.
    bytes_to_connection: usize,
}

impl Contents {
    fn skip(&mut self, error: RowError) {
        self.skipped += 1;
        self.first_error.get_or_insert(error);
    }
}
