//! The four tables under `/proc/net` as one source: which must be there, which
//! may be absent, and when a read counts as complete.

pub mod row;
pub mod scan;
pub mod sockstat;

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::listener::{Family, Listener, Protocol, SocketTable};
use crate::report::Verbosity;
use crate::snapshot::Snapshot;
use row::{RowError, Socket, decode_row, row_fields};
use scan::{Lines, Scanner};
use sockstat::Sockstat;

/// What one poll reads of a file at most: that of seven million sockets is
/// smaller, so a larger one grows for ever.
const MOST_BYTES: u64 = 1 << 30;

/// `tcp`, `tcp6`, `udp` and `udp6` below one directory.
#[derive(Debug)]
pub struct ProcNet {
    tables: [Table; 4],
    sockstat: Sockstat,
    /// The kernel lists the listeners of a TCP table before its connections
    /// (its `proc_net_tcp` document says so), and nothing here has shown
    /// otherwise.
    listeners_first: bool,
    scanner: Scanner,
    verbosity: Verbosity,
}

/// One file, and what this run knows of it.
#[derive(Debug)]
struct Table {
    path: PathBuf,
    protocol: Protocol,
    family: Family,
    /// Whether its listeners are asked for.
    wanted: bool,
    /// It stands apart from the others, so what `sockstat` says is not of it.
    is_apart: bool,
    /// It was read once in this run, or another source had listeners of it, so
    /// it can no longer count as absent.
    seen: bool,
    /// It is there but may not be read, which was said.
    left_out: bool,
    /// How many rows the last read skipped.
    skipped: u64,
    /// It skipped such rows, or text that is no row.
    has_unreadable_lines: bool,
    /// How many bytes the last read needed to come to the first connection; 0
    /// if it did not stop there.
    needed: usize,
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
                if error.kind() == ErrorKind::NotFound && self.path.starts_with("/proc/net") {
                    f.write_str(" (is /proc mounted?)")?;
                }
                Ok(())
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
    /// The tables below `proc_root/net`, of which those are read that `wanted`
    /// names. `tcp` is read in any case: it is what tells a kernel without
    /// listeners from one that shows none.
    pub fn new(
        proc_root: &Path,
        verbosity: Verbosity,
        wanted: impl Fn(Protocol, Family) -> bool,
    ) -> ProcNet {
        let net = proc_root.join("net");
        let unread = |table: SocketTable| Table {
            path: net.join(table.name()),
            protocol: table.protocol,
            family: table.family,
            wanted: wanted(table.protocol, table.family),
            is_apart: false,
            seen: false,
            left_out: false,
            skipped: 0,
            has_unreadable_lines: false,
            needed: 0,
        };
        ProcNet {
            tables: SocketTable::ALL.map(unread),
            sockstat: Sockstat::new(&net),
            listeners_first: true,
            scanner: Scanner::default(),
            verbosity,
        }
    }

    /// Takes `path` for the file of this table. It must be there, and is read to
    /// its end: it need not be the kernel's.
    pub fn read_instead(&mut self, instead: SocketTable, path: &Path) {
        for table in &mut self.tables {
            if (table.protocol, table.family) == (instead.protocol, instead.family) {
                table.path = path.to_path_buf();
                table.is_apart = true;
            }
        }
    }

    /// Another source has these listeners, so the tables in which they stand can
    /// no longer count as absent, nor be left out.
    pub fn rely_on(&mut self, listeners: &Snapshot) {
        for table in &mut self.tables {
            table.seen |= listeners.has_any(table.protocol, table.family);
        }
    }

    /// A file with lines that the last read could not make sense of, among those
    /// whose listeners are wanted.
    pub fn with_unreadable_lines(&self) -> Option<&Path> {
        let mut tables = self.tables.iter();
        let table = tables.find(|table| table.wanted && table.has_unreadable_lines)?;
        Some(&table.path)
    }

    /// The file of this protocol and family, if the last read had to leave it
    /// out because it is there but cannot be read.
    pub fn left_out(&self, protocol: Protocol, family: Family) -> Option<&Path> {
        self.tables
            .iter()
            .find(|table| table.left_out && (table.protocol, table.family) == (protocol, family))
            .map(|table| table.path.as_path())
    }

    /// Appends every listener of the tables to `listeners`, in their order.
    ///
    /// With the listeners that are `known`, a table of which none is known and
    /// of which `sockstat` counts no socket is not read. So an open may be
    /// seen one poll later; nothing that is known can go unseen.
    ///
    /// # Errors
    /// When `tcp`, or a table that was read before in this run or has to be
    /// there by [`ProcNet::rely_on`] or [`ProcNet::read_instead`], cannot be read
    /// or says nothing that can be understood. `listeners` then holds a part
    /// of a snapshot and must not be used.
    pub fn read(
        &mut self,
        known: Option<&Snapshot>,
        listeners: &mut Vec<Listener>,
    ) -> Result<(), ProcError> {
        let before = listeners.len();
        let could_rely_on_order = self.listeners_first;
        self.read_tables(known, listeners)?;
        if could_rely_on_order != self.listeners_first {
            // Those that were read before this showed may lack listeners.
            listeners.truncate(before);
            self.read_tables(known, listeners)?;
        }
        Ok(())
    }

    fn read_tables(
        &mut self,
        known: Option<&Snapshot>,
        listeners: &mut Vec<Listener>,
    ) -> Result<(), ProcError> {
        let in_use = self.sockstat.read(&mut self.scanner);
        for table in &mut self.tables {
            let (protocol, family) = (table.protocol, table.family);
            if !table.wanted && !table.is_required() {
                continue;
            }
            let is_counted = in_use.is_readable && !table.is_apart;
            if is_counted
                && in_use.is_zero(protocol, family)
                && known.is_some_and(|known| !known.has_any(protocol, family))
            {
                continue;
            }
            // gVisor lists in no order; it has no sockstat either.
            let stops_early = protocol == Protocol::Tcp && is_counted && self.listeners_first;
            let scanner = &mut self.scanner;
            let order = table
                .read(
                    scanner,
                    is_counted,
                    known.is_some(),
                    stops_early,
                    self.verbosity,
                    listeners,
                )
                .map_err(|reason| ProcError {
                    path: table.path.clone(),
                    reason,
                })?;
            if protocol == Protocol::Tcp
                && order == Order::Mixed
                && std::mem::take(&mut self.listeners_first)
            {
                let path = table.path.display();
                let found = "a listener behind a connection; reading tables to their end";
                self.verbosity.detail(format_args!("{path}: {found}"));
            }
        }
        Ok(())
    }
}

/// How the rows of a table follow each other, as far as they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    /// Listeners, and pending connections among them.
    #[default]
    OnlyListeners,
    /// Listeners, then connections.
    ListenersFirst,
    /// A listener behind a connection.
    Mixed,
}

impl Table {
    fn is_required(&self) -> bool {
        (self.protocol, self.family) == (Protocol::Tcp, Family::V4)
    }

    /// Whether a failure to read it fails the poll.
    fn must_answer(&self) -> bool {
        self.is_required() || self.seen || self.is_apart
    }

    fn read(
        &mut self,
        scanner: &mut Scanner,
        is_linux: bool,
        is_repeated: bool,
        stops_early: bool,
        verbosity: Verbosity,
        listeners: &mut Vec<Listener>,
    ) -> Result<Order, ProcErrorReason> {
        let before = listeners.len();
        // A first look, and one for what is missing, also see what stands
        // behind the first connection in a page, and so whether that is right.
        let at_first = if is_repeated { self.needed } else { 0 };
        // Opened afresh for each poll: Linux 6.6.102 to 6.6.104, 6.12.42 to
        // 6.12.45 and 6.14 cannot seek in these files.
        let contents = match File::open(&self.path).and_then(|file| {
            let mut file = file.take(MOST_BYTES);
            let lines = scanner
                .lines(&mut file)
                .ending_on_short_read(is_linux)
                .reading_at_first(at_first);
            let contents = self.scan(lines, stops_early, listeners)?;
            match file.limit() {
                0 => Err(ErrorKind::FileTooLarge.into()),
                _ => Ok(contents),
            }
        }) {
            Ok(contents) => contents,
            Err(error) if self.must_answer() => return Err(ProcErrorReason::Io(error)),
            Err(error) => {
                listeners.truncate(before);
                let is_forbidden = error.kind() == ErrorKind::PermissionDenied;
                if !is_forbidden && error.kind() != ErrorKind::NotFound {
                    return Err(ProcErrorReason::Io(error));
                }
                if !std::mem::replace(&mut self.left_out, is_forbidden) && is_forbidden {
                    let path = self.path.display();
                    verbosity.warn(format_args!("{path}: {error}; its ports are left out"));
                }
                return Ok(Order::default());
            }
        };
        self.left_out = false;
        self.needed = contents.bytes_to_connection;
        self.has_unreadable_lines = contents.first_error.is_some();
        match contents.first_error {
            // WSL 1 has all four files, each of zero bytes.
            _ if contents.lines == 0 && self.must_answer() => return Err(ProcErrorReason::Empty),
            Some(first) if contents.understood == 0 => {
                return Err(ProcErrorReason::NoRowUnderstood(first));
            }
            _ => {}
        }
        self.seen |= contents.lines > 0;
        self.say_skipped(&contents, verbosity);
        Ok(contents.order)
    }

    /// Reads rows to the end, or with `stops_early` no further than to the
    /// first connection. What stands behind that in what was read already is
    /// looked at all the same: a listener there means that there is no order
    /// to rely on, and the rest is read after all.
    fn scan<R: Read>(
        &self,
        mut lines: Lines<'_, R>,
        stops_early: bool,
        listeners: &mut Vec<Listener>,
    ) -> io::Result<Contents> {
        let mut contents = Contents::default();
        loop {
            let line = if stops_early && contents.order == Order::ListenersFirst {
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
                // The header, or a file that holds something else.
                if contents.lines > 1 && !line.bytes.trim_ascii().is_empty() {
                    contents.first_error.get_or_insert(RowError::NoRow);
                }
                continue;
            };
            // Half a state is a state too, so something must follow it.
            let is_whole = !is_cut || fields.clone().nth(3).is_some();
            match decode_row(fields, self.protocol) {
                Err(_) if is_cut => return Err(cut_short()),
                Ok(Socket::Connection) if !is_whole => return Err(cut_short()),
                Ok(socket) => {
                    contents.understood += 1;
                    let before = contents.order;
                    contents.order = before.then(&socket);
                    if stops_early && before == Order::OnlyListeners && contents.order != before {
                        contents.bytes_to_connection = lines.consumed();
                    }
                    if let Socket::Listener(row) = socket
                        && self.wanted
                    {
                        listeners.push(row.listener(self.protocol));
                    }
                }
                Err(error) => {
                    contents.skipped += 1;
                    contents.first_error.get_or_insert(error);
                }
            }
        }
        if lines.overlong() > 0 {
            contents.lines += lines.overlong();
            contents.skipped += lines.overlong();
            contents.first_error.get_or_insert(RowError::TooLong);
        }
        Ok(contents)
    }

    /// With `-v`, says how many rows were skipped whenever that number changes.
    fn say_skipped(&mut self, contents: &Contents, verbosity: Verbosity) {
        let skipped = contents.skipped;
        if std::mem::replace(&mut self.skipped, skipped) != skipped
            && let Some(first) = contents.first_error
        {
            let path = self.path.display();
            let s = if skipped == 1 { "" } else { "s" };
            verbosity.detail(format_args!(
                "{path}: {skipped} row{s} skipped; the first: {first}"
            ));
        }
    }
}

/// What stood behind is missing. What the kernel prints ends with a newline, but
/// a row of which enough is there is taken without one.
fn cut_short() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "ends in the middle of a row")
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

/// What one read of a table held.
#[derive(Debug, Default)]
struct Contents {
    /// Lines of any kind.
    lines: u64,
    /// Rows that were read, listening or not.
    understood: u64,
    /// Rows that were not, over-long lines among them.
    skipped: u64,
    first_error: Option<RowError>,
    order: Order,
    /// Where reading may stop; 0 if it may not.
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
        ProcNet::new(proc.path(), Verbosity::Quiet, |_, _| true)
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
        assert_eq!(source.tables[0].skipped, 1);
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
        let only_udp = |protocol, _| protocol == Protocol::Udp;
        let mut source = ProcNet::new(proc.path(), Verbosity::Quiet, only_udp);
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
    fn reading_stops_at_the_first_connection() {
        let many = many_connections();
        let tcp = table(&[SSH, PENDING, WEB, PENDING, &many, BROKEN, SSH]);
        let proc = proc_with(&[("tcp", &tcp), ("sockstat", SOCKSTAT)]);
        let mut source = source(&proc);
        assert_eq!(ports(&mut source), Ok(vec![22, 80]));
        assert_eq!(
            source.tables[0].skipped, 0,
            "the broken row was not reached"
        );
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
            assert_eq!(source.tables[0].needed, needed);
        }
        // More than that, and less, are found all the same.
        for listeners in [&[SSH, WEB, WEB, SSH, WEB][..], &[SSH], &[]] {
            let rows = [listeners, &[&many]].concat();
            fs::write(proc.path().join("net/tcp"), table(&rows)).unwrap();
            assert_eq!(count(&mut source), listeners.len());
        }
        fs::write(proc.path().join("net/tcp"), table(&[SSH])).unwrap();
        assert_eq!(count(&mut source), 1);
        assert_eq!(source.tables[0].needed, 0);
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
        source.rely_on(&known);
        let error = ports(&mut source).unwrap_err();
        assert!(error.contains("tcp6: No such file"), "{error}");
    }

    #[test]
    fn a_table_from_elsewhere_is_read_to_its_end() {
        let many = many_connections();
        let late = table(&[SSH, &many, WEB]);
        let proc = proc_with(&[("tcp", &late), ("other", &late), ("sockstat", SOCKSTAT)]);
        let mut source = source(&proc);
        assert_eq!(ports(&mut source), Ok(vec![22]));
        let other = proc.path().join("net/other");
        source.read_instead(SocketTable::ALL[0], &other);
        assert_eq!(ports(&mut source), Ok(vec![22, 80]));
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
