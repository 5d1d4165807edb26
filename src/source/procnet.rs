//! The four tables of `/proc/net` as a source: which must be there, which may be
//! absent, and when a read is complete.
//!
//! - [`crate::kernel::proc::scan`] makes lines of bytes.
//! - [`crate::kernel::proc::row`] makes sockets of lines.
//! - [`crate::kernel::proc::sockstat`] counts sockets without reading a table.
//!
//! Which source answers instead when the tables cannot be read is decided in
//! [`crate::source`].

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::kernel::proc::row::{RowError, Socket, decode_row, row_fields};
use crate::kernel::proc::scan::{Lines, Scanner};
use crate::kernel::proc::sockstat::{InUse, Sockstat};
use crate::listener::{Listener, Protocol, SocketTable};
use crate::report;
use crate::snapshot::Snapshot;

/// At most this much of a file is read in one poll. The table of seven million
/// sockets is smaller, so a larger file is one without an end.
const MOST_BYTES: u64 = 1 << 30;

/// A table that took several reads is complete after this many steady ones in a row:
/// each lists as much as the one before, and adds nothing.
const STEADY_READS: usize = 2;
/// It is read no more often than this, whatever the reads added.
const MOST_READS: usize = 10;

/// The files `tcp`, `tcp6`, `udp` and `udp6` below one directory.
#[derive(Debug)]
pub struct ProcNet {
    files: [TableFile; 4],
    sockstat: Sockstat,
    /// No listener stood behind a connection so far. The kernel lists listeners
    /// first (its `proc_net_tcp` document says so); gVisor does not.
    listeners_first: bool,
    /// The last read took several reads of one file.
    took_several_reads: bool,
    another_read: Snapshot,
    scanner: Scanner,
}

/// The file of one table, and what this run knows of it.
#[derive(Debug)]
struct TableFile {
    table: SocketTable,
    path: PathBuf,
    /// Its listeners are asked for.
    is_wanted: bool,
    /// It was read in this run, or another source had listeners of this table.
    /// So it exists, and a failure to read it is an error.
    exists: bool,
    /// It exists, but this process may not read it. That was said on stderr.
    is_forbidden: bool,
    /// How many rows the last read skipped.
    skipped: u64,
    /// How many bytes the last read needed up to the first connection. 0 if it
    /// did not stop there.
    bytes_to_connection: usize,
}

/// How far a read relies on what the kernel promises about its tables. Each
/// level includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trust {
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
                    ErrorKind::NotFound if self.path.starts_with("/proc/net") => {
                        f.write_str(" (is /proc mounted?)")
                    }
                    ErrorKind::NotFound if place.is_some_and(|place| !place.exists()) => {
                        f.write_str(" (is there such a process, or directory?)")
                    }
                    _ => Ok(()),
                }
            }
            ProcErrorReason::Empty => {
                f.write_str("is empty, without even a header (does this kernel fill it?)")
            }
            ProcErrorReason::NoRowUnderstood(first) => {
                write!(f, "none of its rows can be read; the first: {first}")
            }
        }
    }
}

impl std::error::Error for ProcError {}

impl ProcNet {
    /// The tables below `proc_root/net`. Those that `is_wanted` names are read,
    /// and `tcp` always: it tells a kernel without listeners from one that shows
    /// none.
    pub fn new(proc_root: &Path, is_wanted: impl Fn(SocketTable) -> bool) -> ProcNet {
        let net = proc_root.join("net");
        let file = |table: SocketTable| TableFile {
            table,
            path: net.join(table.name()),
            is_wanted: is_wanted(table),
            exists: false,
            is_forbidden: false,
            skipped: 0,
            bytes_to_connection: 0,
        };
        ProcNet {
            files: SocketTable::ALL.map(file),
            sockstat: Sockstat::new(&net),
            listeners_first: true,
            took_several_reads: false,
            another_read: Snapshot::default(),
            scanner: Scanner::default(),
        }
    }

    /// Another source has these listeners. So their tables exist, and a failure
    /// to read one of them is an error from now on.
    pub fn require_tables_of(&mut self, listeners: &Snapshot) {
        for file in &mut self.files {
            file.exists |= listeners.has_any(file.table);
        }
    }

    /// The file of `table`, if this process may not read it. Its listeners are
    /// then missing from the last read.
    pub fn forbidden_file(&self, table: SocketTable) -> Option<&Path> {
        let mut files = self.files.iter();
        let file = files.find(|file| file.is_forbidden && file.table == table)?;
        Some(&file.path)
    }

    /// Reads again, if the last [`ProcNet::read`] took several reads of one file, until
    /// [`STEADY_READS`] in a row add nothing to `snapshot`.
    ///
    /// The kernel's listing is not atomic over several reads. It finds its place in a
    /// UDP table by counting rows. So when sockets close during a read, as many others
    /// are skipped, and often the same ones twice.
    ///
    /// # Errors
    /// Those of [`ProcNet::read`].
    pub fn complete(&mut self, snapshot: &mut Snapshot) -> Result<(), ProcError> {
        if !self.took_several_reads {
            return Ok(());
        }
        let mut another = std::mem::take(&mut self.another_read);
        let mut reads = Reads {
            listed: listed(snapshot),
            steady: 0,
        };
        let mut result = Ok(());
        for _ in 0..MOST_READS {
            result = another.refill(|listeners| self.read(None, listeners));
            let before = snapshot.listeners().len();
            snapshot.add_sockets(&another);
            let added = snapshot.listeners().len() - before;
            if result.is_err() || reads.are_complete(listed(&another), added) {
                break;
            }
        }
        self.another_read = another;
        result
    }

    /// Appends every listener of the tables to `listeners`, in their order.
    ///
    /// A caller that polls again passes the listeners that are `known`. That is
    /// cheaper, but an open may be seen one poll later: see `Trust::Counts`.
    ///
    /// # Errors
    /// If `tcp`, or another table that must exist, cannot be read or understood.
    /// `listeners` then holds part of a snapshot and must not be used.
    pub fn read(
        &mut self,
        known: Option<&Snapshot>,
        listeners: &mut Vec<Listener>,
    ) -> Result<(), ProcError> {
        let before = listeners.len();
        let trusted_order = self.listeners_first;
        self.read_files(known, listeners)?;
        if trusted_order != self.listeners_first {
            // The order did not hold. Files that were read before that was known
            // may lack listeners.
            listeners.truncate(before);
            self.read_files(known, listeners)?;
        }
        Ok(())
    }

    fn read_files(
        &mut self,
        known: Option<&Snapshot>,
        listeners: &mut Vec<Listener>,
    ) -> Result<(), ProcError> {
        self.took_several_reads = false;
        let in_use = self.sockstat.read(&mut self.scanner);
        for file in &mut self.files {
            if !file.is_wanted && !file.is_required() {
                continue;
            }
            let trust = file.trust(&in_use, self.listeners_first, known.is_some());
            let is_empty =
                |known: &Snapshot| in_use.is_zero(file.table) && !known.has_any(file.table);
            if trust == Trust::Counts && known.is_some_and(is_empty) {
                continue;
            }
            let (order, reads) =
                file.read(trust, &mut self.scanner, listeners)
                    .map_err(|reason| ProcError {
                        path: file.path.clone(),
                        reason,
                    })?;
            self.took_several_reads |= reads > 1;
            if file.table.protocol == Protocol::Tcp
                && order == Order::Mixed
                && std::mem::take(&mut self.listeners_first)
            {
                let path = file.path.display();
                let found = "a listener behind a connection; reading tables to their end";
                report::detail(format_args!("{path}: {found}"));
            }
        }
        Ok(())
    }
}

/// How many listeners of each table there are.
fn listed(listeners: &Snapshot) -> [usize; 4] {
    SocketTable::ALL.map(|table| {
        let all = listeners.listeners().iter();
        all.filter(|listener| listener.table() == table).count()
    })
}

/// What reads of the same tables found.
struct Reads {
    /// How many listeners the last one listed.
    listed: [usize; 4],
    /// How many in a row were steady.
    steady: usize,
}

impl Reads {
    /// Whether they are complete with one more, which lists so many listeners, of which
    /// so many are new.
    fn are_complete(&mut self, listed: [usize; 4], added: usize) -> bool {
        // While sockets close, reads add nothing and pass over the most.
        let is_steady = added == 0 && listed == self.listed;
        self.listed = listed;
        self.steady = if is_steady { self.steady + 1 } else { 0 };
        self.steady == STEADY_READS
    }
}

/// The order of the rows of a table, as far as they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
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
    fn then(self, socket: &Socket) -> Order {
        match (self, socket) {
            (Order::OnlyListeners, Socket::Connection) => Order::ListenersFirst,
            (Order::ListenersFirst, Socket::Listener(_)) => Order::Mixed,
            _ => self,
        }
    }
}

impl TableFile {
    /// Without `tcp` there is no answer.
    fn is_required(&self) -> bool {
        self.table == SocketTable::ALL[0]
    }

    /// Whether a failure to read it fails the poll.
    fn must_be_readable(&self) -> bool {
        self.is_required() || self.exists
    }

    /// How far to trust the kernel about this file.
    fn trust(&self, in_use: &InUse, listeners_first: bool, polls_again: bool) -> Trust {
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

    fn read(
        &mut self,
        trust: Trust,
        scanner: &mut Scanner,
        listeners: &mut Vec<Listener>,
    ) -> Result<(Order, u32), ProcErrorReason> {
        let before = listeners.len();
        // The other levels also look at what stands behind the first connection
        // in a page, and so check the order.
        let first_read = match trust {
            Trust::Counts => self.bytes_to_connection,
            _ => 0,
        };
        let stops_at_connection = trust >= Trust::Order && self.table.protocol == Protocol::Tcp;
        // Opened anew for each poll: Linux 6.6.102 to 6.6.104, 6.12.42 to 6.12.45
        // and 6.14 cannot seek in these files.
        let contents = match File::open(&self.path).and_then(|file| {
            let mut file = file.take(MOST_BYTES);
            let lines = scanner
                .lines(&mut file)
                .ending_on_short_read(trust >= Trust::FullReads)
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
            report::warn(format_args!("{path}: {error}; its ports are left out"));
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
                // The first line is the header. Other text means that the file
                // holds something else.
                if contents.lines > 1 && !line.bytes.trim_ascii().is_empty() {
                    contents.first_error.get_or_insert(RowError::NoRow);
                }
                continue;
            };
            // The state may be cut too, unless a field follows it.
            let is_whole = !is_cut || fields.clone().nth(3).is_some();
            match decode_row(fields, self.table.protocol) {
                Err(_) if is_cut => return Err(cut_short()),
                Ok(Socket::Connection) if !is_whole => return Err(cut_short()),
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
                    if let Socket::Listener(row) = socket
                        && self.is_wanted
                    {
                        listeners.push(row.listener(self.table.protocol));
                    }
                }
                Err(error) => {
                    contents.skipped += 1;
                    contents.first_error.get_or_insert(error);
                }
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
        if std::mem::replace(&mut self.skipped, skipped) != skipped
            && let Some(first) = contents.first_error
        {
            let path = self.path.display();
            let s = if skipped == 1 { "" } else { "s" };
            report::detail(format_args!(
                "{path}: {skipped} row{s} skipped; the first: {first}"
            ));
        }
    }
}

/// The error of a file that ends within a row. The kernel ends each row with a
/// newline. A last row without one is accepted if it is long enough.
fn cut_short() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "ends in the middle of a row")
}

/// What one read of a file found.
#[derive(Debug, Default)]
struct Contents {
    /// Lines of any kind.
    lines: u64,
    /// Rows that could be read, listening or not.
    understood: u64,
    /// Rows that could not, over-long lines among them.
    skipped: u64,
    first_error: Option<RowError>,
    order: Order,
    /// See [`Lines::reads`].
    reads: u32,
    /// How many bytes the lines up to the first connection take. 0 if reading may
    /// not stop there.
    bytes_to_connection: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::Endpoint;
    use std::fs;
    use tempfile::TempDir;

    const HEADER: &str = "  sl  local_address rem_address   st tx_queue rx_queue\n";
    const SSH: &str = "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 \
                       00000000     0        0 1603 1 0000000040cdbcfc 100 0 0 10 0\n";
    const BROKEN: &str = "   1: 0000000G:0016 00000000:0000 0A\n";

    /// A `/proc` with these tables, as (name, contents).
    fn proc_with(tables: &[(&str, &str)]) -> TempDir {
        let proc = TempDir::new().unwrap();
        fs::create_dir(proc.path().join("net")).unwrap();
        for (name, contents) in tables {
            fs::write(proc.path().join("net").join(name), contents).unwrap();
        }
        proc
    }

    fn source(proc: &TempDir) -> ProcNet {
        ProcNet::new(proc.path(), |_| true)
    }

    fn ports(source: &mut ProcNet) -> Result<Vec<u16>, String> {
        let mut listeners = Vec::new();
        source
            .read(None, &mut listeners)
            .map_err(|error| error.to_string())?;
        Ok(listeners.iter().map(|l| l.endpoint.port).collect())
    }

    fn table(rows: &[&str]) -> String {
        format!("{HEADER}{}", rows.concat())
    }

    #[test]
    fn a_table_without_rows_has_no_listeners() {
        let proc = proc_with(&[("tcp", HEADER)]);
        assert_eq!(ports(&mut source(&proc)), Ok(vec![]));
    }

    #[test]
    fn only_tcp_must_be_there() {
        let proc = proc_with(&[("tcp", &table(&[SSH]))]);
        assert_eq!(ports(&mut source(&proc)), Ok(vec![22]));
        let proc = proc_with(&[("tcp6", HEADER), ("udp", HEADER), ("udp6", HEADER)]);
        let error = ports(&mut source(&proc)).unwrap_err();
        assert!(error.ends_with("net/tcp: No such file or directory (os error 2)"));
    }

    #[test]
    fn a_tcp_of_zero_bytes_is_an_error_and_an_empty_tcp6_is_none() {
        let proc = proc_with(&[("tcp", "")]);
        assert!(ports(&mut source(&proc)).unwrap_err().contains("is empty"));
        let proc = proc_with(&[("tcp", HEADER), ("tcp6", "")]);
        assert_eq!(ports(&mut source(&proc)), Ok(vec![]));
    }

    #[test]
    fn a_broken_row_is_skipped_and_a_table_of_only_broken_rows_is_an_error() {
        let proc = proc_with(&[("tcp", &table(&[BROKEN, SSH, BROKEN]))]);
        assert_eq!(ports(&mut source(&proc)), Ok(vec![22]));
        let proc = proc_with(&[("tcp", &table(&[BROKEN, BROKEN]))]);
        let error = ports(&mut source(&proc)).unwrap_err();
        assert!(error.ends_with("none of its rows can be read; the first: not hexadecimal"));
    }

    #[test]
    fn an_overlong_row_is_skipped_and_counted() {
        let long = SSH.replace(" 1603 ", &" ".repeat(10_000));
        let proc = proc_with(&[("tcp", &table(&[&long, SSH]))]);
        let mut source = source(&proc);
        assert_eq!(ports(&mut source), Ok(vec![22]));
        assert_eq!(source.files[0].skipped, 1);
    }

    #[test]
    fn a_directory_in_place_of_a_table_is_an_error_not_an_empty_table() {
        let proc = proc_with(&[]);
        fs::create_dir(proc.path().join("net/tcp")).unwrap();
        let error = ports(&mut source(&proc)).unwrap_err();
        assert!(error.ends_with("Is a directory (os error 21)"), "{error}");
    }

    #[test]
    fn a_file_without_end_is_an_error() {
        let proc = proc_with(&[]);
        let tcp = proc.path().join("net/tcp");
        std::os::unix::fs::symlink("/dev/zero", tcp).unwrap();
        let error = ports(&mut source(&proc)).unwrap_err();
        assert!(error.ends_with("net/tcp: file too large"), "{error}");
    }

    /// Only what is forbidden is left out, which the tests of the program show;
    /// an error that may pass is no reason to answer for less.
    #[test]
    fn an_optional_table_that_fails_for_another_reason_is_an_error() {
        let proc = proc_with(&[("tcp", &table(&[SSH]))]);
        fs::create_dir(proc.path().join("net/tcp6")).unwrap();
        let error = ports(&mut source(&proc)).unwrap_err();
        assert!(
            error.ends_with("net/tcp6: Is a directory (os error 21)"),
            "{error}"
        );
    }

    #[test]
    fn a_table_that_was_read_once_must_stay_readable() {
        let proc = proc_with(&[("tcp", HEADER), ("tcp6", HEADER)]);
        let tcp6 = proc.path().join("net/tcp6");
        let mut source = source(&proc);
        assert_eq!(ports(&mut source), Ok(vec![]));
        fs::write(&tcp6, "").unwrap();
        assert!(ports(&mut source).unwrap_err().contains("is empty"));
        fs::remove_file(&tcp6).unwrap();
        assert!(ports(&mut source).unwrap_err().contains("os error 2"));
        fs::write(&tcp6, HEADER).unwrap();
        assert_eq!(ports(&mut source), Ok(vec![]));
    }

    #[test]
    fn a_table_may_appear_later() {
        let proc = proc_with(&[("tcp", HEADER)]);
        let mut source = source(&proc);
        assert_eq!(ports(&mut source), Ok(vec![]));
        fs::write(proc.path().join("net/tcp6"), table(&[SSH])).unwrap();
        assert_eq!(ports(&mut source), Ok(vec![22]));
    }

    #[test]
    fn a_table_that_is_not_wanted_is_not_read_but_tcp_is() {
        let proc = proc_with(&[("tcp", &table(&[SSH])), ("udp", HEADER)]);
        fs::create_dir(proc.path().join("net/tcp6")).unwrap();
        let only_udp = |table: SocketTable| table.protocol == Protocol::Udp;
        let mut source = ProcNet::new(proc.path(), only_udp);
        assert_eq!(ports(&mut source), Ok(vec![]), "tcp6 was not touched");
        fs::remove_file(proc.path().join("net/tcp")).unwrap();
        assert!(ports(&mut source).is_err());
    }

    const CONNECTION: &str = "   7: 0100007F:0016 0100007F:9C40 01 00000000:00000000\n";
    const PENDING: &str = "   8: 0100007F:0016 0100007F:9C41 03 00000000:00000000\n";
    const SOCKSTAT: &str = "TCP: inuse 9 orphan 0\nUDP: inuse 9 mem 0\n";
    const WEB: &str = "   9: 00000000:0050 00000000:0000 0A 00000000:00000000\n";

    /// More than one read of connections, so that what follows is not read
    /// unless someone reads on.
    fn many_connections() -> String {
        CONNECTION.repeat(1000)
    }

    #[test]
    fn reads_are_complete_after_two_that_list_as_much_as_before_and_add_nothing() {
        let complete_at = |counts: &[([usize; 4], usize)]| {
            let (listed, steady) = ([0, 0, 400, 0], 0);
            let mut reads = Reads { listed, steady };
            let mut counts = counts.iter();
            counts.position(|(listed, added)| reads.are_complete(*listed, *added))
        };
        let of_udp = |count| [0, 0, count, 0];
        assert_eq!(complete_at(&[(of_udp(400), 0); 2]), Some(1));
        // While sockets close, nothing is added and listeners are passed over.
        let shrinking = [400, 300, 200, 200, 200].map(|count| (of_udp(count), 0));
        assert_eq!(complete_at(&shrinking), Some(4));
        assert_eq!(complete_at(&shrinking[..4]), None);
        let adding = [(of_udp(400), 0), (of_udp(400), 1), (of_udp(400), 0)];
        assert_eq!(complete_at(&adding), None);
        // One that TCP gains makes up for none that UDP lacks.
        assert_eq!(complete_at(&[(of_udp(400), 0), ([1, 0, 399, 0], 0)]), None);
    }

    #[test]
    fn reading_stops_at_the_first_connection() {
        let many = many_connections();
        let tcp = table(&[SSH, PENDING, WEB, PENDING, &many, BROKEN, SSH]);
        let proc = proc_with(&[("tcp", &tcp), ("sockstat", SOCKSTAT)]);
        let mut source = source(&proc);
        assert_eq!(ports(&mut source), Ok(vec![22, 80]));
        assert_eq!(source.files[0].skipped, 0, "the broken row was not reached");
        assert!(source.listeners_first);
    }

    #[test]
    fn what_the_last_poll_needed_is_what_the_next_one_reads_at_first() {
        let many = many_connections();
        let two = table(&[SSH, WEB, &many]);
        let proc = proc_with(&[("tcp", &two), ("sockstat", SOCKSTAT)]);
        let mut source = source(&proc);
        let needed = table(&[SSH, WEB, CONNECTION]).len();
        let known = Snapshot::default();
        let count = |source: &mut ProcNet| {
            let mut listeners = Vec::new();
            source.read(Some(&known), &mut listeners).unwrap();
            listeners.len()
        };
        for _ in 0..2 {
            assert_eq!(count(&mut source), 2);
            assert_eq!(source.files[0].bytes_to_connection, needed);
        }
        // More than that, and less, are found all the same.
        for listeners in [&[SSH, WEB, WEB, SSH, WEB][..], &[SSH], &[]] {
            let rows = [listeners, &[&many]].concat();
            fs::write(proc.path().join("net/tcp"), table(&rows)).unwrap();
            assert_eq!(count(&mut source), listeners.len());
        }
        fs::write(proc.path().join("net/tcp"), table(&[SSH])).unwrap();
        assert_eq!(count(&mut source), 1);
        assert_eq!(source.files[0].bytes_to_connection, 0);
    }

    #[test]
    fn without_sockstat_a_table_is_read_to_its_end() {
        let many = many_connections();
        let proc = proc_with(&[("tcp", &table(&[SSH, &many, WEB]))]);
        assert_eq!(ports(&mut source(&proc)), Ok(vec![22, 80]));
    }

    #[test]
    fn a_listener_behind_a_connection_has_all_tables_read_to_their_end_from_then_on() {
        let many = many_connections();
        let mixed = table(&[SSH, CONNECTION, SSH, &many, WEB]);
        let proc = proc_with(&[("tcp", &mixed), ("sockstat", SOCKSTAT)]);
        let mut source = source(&proc);
        assert_eq!(ports(&mut source), Ok(vec![22, 22, 80]));
        let late = table(&[SSH, &many, WEB]);
        fs::write(proc.path().join("net/tcp"), late).unwrap();
        assert_eq!(ports(&mut source), Ok(vec![22, 80]));
    }

    #[test]
    fn a_table_that_was_read_before_the_order_showed_to_be_none_is_read_again() {
        let many = many_connections();
        let proc = proc_with(&[
            ("tcp", &table(&[SSH, &many, WEB])),
            ("tcp6", &table(&[SSH, CONNECTION, SSH])),
            ("sockstat", SOCKSTAT),
        ]);
        assert_eq!(ports(&mut source(&proc)), Ok(vec![22, 80, 22, 22]));
    }

    #[test]
    fn a_table_whose_listeners_another_source_knows_is_never_absent() {
        let proc = proc_with(&[("tcp", HEADER)]);
        let mut source = source(&proc);
        assert_eq!(ports(&mut source), Ok(vec![]));
        let mut known = Snapshot::default();
        let endpoint = Endpoint {
            port: 80,
            address: "::".parse().unwrap(),
        };
        let fill = |listeners: &mut Vec<Listener>| {
            listeners.push(Listener::new(Protocol::Tcp, endpoint));
            Ok::<_, ()>(())
        };
        known.refill(fill).unwrap();
        source.require_tables_of(&known);
        let error = ports(&mut source).unwrap_err();
        assert!(error.contains("tcp6: No such file"), "{error}");
    }

    #[test]
    fn text_that_is_no_table_is_an_error() {
        for text in ["header\ngarbage\n", "a\n\nb\n", "\0\0\n\u{1}2:\n"] {
            let proc = proc_with(&[("tcp", text)]);
            let error = ports(&mut source(&proc)).unwrap_err();
            assert!(error.ends_with("the first: not a row"), "{error}");
        }
        let proc = proc_with(&[("tcp", "header\n\n \n")]);
        assert_eq!(ports(&mut source(&proc)), Ok(vec![]));
    }

    #[test]
    fn a_last_row_without_newline_counts_if_enough_of_it_is_there() {
        let tcp = table(&[SSH, CONNECTION]);
        let proc = proc_with(&[("tcp", tcp.trim_end())]);
        assert_eq!(ports(&mut source(&proc)), Ok(vec![22]));
        let cut_in_state = &tcp[..tcp.len() - " 00000000:00000000\n".len()];
        let proc = proc_with(&[("tcp", cut_in_state)]);
        assert!(
            ports(&mut source(&proc))
                .unwrap_err()
                .ends_with("ends in the middle of a row")
        );
    }

    #[test]
    fn rows_that_are_all_too_long_are_an_error() {
        let long = format!("0: {}\n", "F".repeat(100_000));
        let proc = proc_with(&[("tcp", &table(&[&long, &long]))]);
        let error = ports(&mut source(&proc)).unwrap_err();
        assert!(error.ends_with("none of its rows can be read; the first: too long"));
    }

    #[test]
    fn udp_tables_are_always_read_to_their_end() {
        let connected = CONNECTION.repeat(1000);
        let bound = WEB.replace(" 0A ", " 07 ");
        let udp = table(&[&connected, &bound]);
        let proc = proc_with(&[("tcp", HEADER), ("udp", &udp), ("sockstat", SOCKSTAT)]);
        assert_eq!(ports(&mut source(&proc)), Ok(vec![80]));
    }

    #[test]
    fn the_order_of_a_udp_table_says_nothing_of_tcp() {
        let bound = WEB.replace(" 0A ", " 07 ");
        let udp = table(&[CONNECTION, &bound]);
        let proc = proc_with(&[("tcp", HEADER), ("udp", &udp), ("sockstat", SOCKSTAT)]);
        let mut source = source(&proc);
        assert_eq!(ports(&mut source), Ok(vec![80]));
        assert!(source.listeners_first);
    }

    #[test]
    fn a_count_of_zero_skips_a_table_only_if_nothing_in_it_is_known() {
        let none = "TCP: inuse 0 orphan 0\nUDP: inuse 0 mem 0\n";
        let proc = proc_with(&[("tcp", &table(&[SSH])), ("sockstat", none)]);
        let mut source = source(&proc);
        let mut read = |known: Option<&Snapshot>| {
            let mut listeners = Vec::new();
            source.read(known, &mut listeners).unwrap();
            listeners
        };
        // Who does not say what is known gets everything.
        let all = read(None);
        assert_eq!(all.len(), 1);
        assert_eq!(read(Some(&Snapshot::default())), []);
        let mut known = Snapshot::default();
        known
            .refill(|rows| {
                rows.extend_from_slice(&all);
                Ok::<_, ()>(())
            })
            .unwrap();
        assert_eq!(read(Some(&known)), all);
    }
}
