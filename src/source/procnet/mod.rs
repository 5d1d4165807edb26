//! Reads the four tables of `/proc/net`. Decides which of them to read, and where to stop.
//!
//! - [`table`] reads one table and knows which tables must exist.
//! - [`crate::kernel::proc::scan`] splits bytes into lines.
//! - [`crate::kernel::proc::row`] parses lines into sockets.
//! - [`crate::kernel::proc::sockstat`] counts sockets without reading a table.
//!
//! [`crate::source`] decides which source answers if the tables cannot be read.

mod table;

use std::path::{Path, PathBuf};

use super::place;
use super::tables::{TableGap, Tables};
use crate::kernel::proc::file::split;
use crate::kernel::proc::scan::Scanner;
use crate::kernel::proc::sockstat::Sockstat;
use crate::listener::{Listener, Protocol, SocketTable};
use crate::report;
use crate::snapshot::Snapshot;
pub use table::ProcError;
use table::{Order, TableFile, Trust};

/// The files `tcp`, `tcp6`, `udp` and `udp6` in one directory.
#[derive(Debug)]
pub struct ProcNet {
    files: [TableFile; 4],
    sockstat: Sockstat,
    /// Whether every listener so far came before all connections of its table. The kernel
    /// lists listeners first (its `proc_net_tcp` document says so); gVisor does not.
    listeners_first: bool,
    /// The tables whose file took several reads the last time.
    split: Tables,
    /// Another directory to try if the files are not found in the current one.
    elsewhere: Option<PathBuf>,
    scanner: Scanner,
}

impl ProcNet {
    /// The tables in `proc_root/net`. Reads those for which `is_wanted` is true. `tcp` is
    /// always read: if even `tcp` is missing, an empty answer proves nothing.
    pub fn new(proc_root: &Path, is_wanted: impl Fn(SocketTable) -> bool) -> ProcNet {
        let net = proc_root.join("net");
        let file = |table: SocketTable| {
            let mut file = TableFile::new(table, net.join(table.name()));
            file.is_wanted = is_wanted(table);
            file
        };
        // A `/proc` that is mounted with `subset=pid` has no `net`.
        let elsewhere = place::is_own(proc_root).then(|| proc_root.join("self/net"));
        ProcNet {
            files: SocketTable::ALL.map(file),
            sockstat: Sockstat::new(&net),
            listeners_first: true,
            split: Tables::default(),
            elsewhere,
            scanner: Scanner::default(),
        }
    }

    /// Limits the size of each table. A table of this many `bytes` or more is an error.
    pub fn limit(&mut self, bytes: u64) {
        self.files
            .iter_mut()
            .for_each(|file| file.most_bytes = bytes);
    }

    /// Requires the tables of these listeners, which another source found. The tables exist,
    /// so from now on it is an error if one of them cannot be read.
    pub fn require_tables_of(&mut self, listeners: &Snapshot) {
        for file in &mut self.files {
            file.exists |= listeners.has_any(file.table);
        }
    }

    /// The tables that may hold more listeners than the last read found.
    pub fn gaps(&self) -> Vec<TableGap> {
        self.files.iter().filter_map(TableFile::gap).collect()
    }

    /// The tables whose listing took several reads the last time.
    pub fn split(&self) -> Tables {
        self.split
    }

    /// Appends every listener of the tables to `listeners`, in the order of the rows.
    ///
    /// A caller that polls again passes the listeners that are `known`. Reading is then
    /// cheaper, but a new listener may be found one poll later: see `Trust::Counts`.
    ///
    /// # Errors
    /// If `tcp`, or another table that must exist, cannot be read or understood.
    /// `listeners` then holds part of a snapshot and must not be used.
    pub fn read(
        &mut self,
        known: Option<&Snapshot>,
        listeners: &mut Vec<Listener>,
    ) -> Result<(), ProcError> {
        let start = listeners.len();
        let trusted_order = self.listeners_first;
        let mut result = self.read_files(known, listeners);
        if result.as_ref().is_err_and(ProcError::is_not_found) && self.move_elsewhere() {
            listeners.truncate(start);
            let retried = self.read_files(known, listeners);
            if retried.is_err() {
                self.move_elsewhere();
            } else {
                result = retried;
            }
        }
        result?;
        if trusted_order != self.listeners_first {
            // This read found a listener after a connection. For files that were read earlier,
            // reading may have stopped at the first connection, so read all files again.
            listeners.truncate(start);
            self.read_files(known, listeners)?;
        }
        Ok(())
    }

    /// Switches to the other directory. Returns false if there is none.
    fn move_elsewhere(&mut self) -> bool {
        let Some(net) = self.elsewhere.take() else {
            return false;
        };
        self.elsewhere = Some(split(&self.files[0].path).0.to_path_buf());
        for file in &mut self.files {
            file.path = net.join(file.table.name());
        }
        self.sockstat = Sockstat::new(&net);
        true
    }

    fn read_files(
        &mut self,
        known: Option<&Snapshot>,
        listeners: &mut Vec<Listener>,
    ) -> Result<(), ProcError> {
        self.split = Tables::default();
        let in_use = self.sockstat.read(&mut self.scanner);
        for file in &mut self.files {
            if !file.is_wanted && !file.is_required() {
                continue;
            }
            let trust = match known {
                _ if !in_use.is_readable => Trust::Nothing,
                _ if !self.listeners_first => Trust::FullReads,
                None => Trust::Order,
                Some(_) => Trust::Counts,
            };
            let is_empty =
                |known: &Snapshot| in_use.is_zero(file.table) && !known.has_any(file.table);
            if trust == Trust::Counts && known.is_some_and(is_empty) {
                continue;
            }
            let (order, reads) = file.read(trust, &mut self.scanner, listeners)?;
            if reads > 1 {
                self.split.insert(file.table);
            }
            if file.table.protocol == Protocol::Tcp
                && order == Order::Mixed
                && std::mem::take(&mut self.listeners_first)
            {
                let path = file.path.display();
                let found = "a listener after a connection; reading the tables to the end";
                report::detail(format_args!("{path}: {found}"));
            }
        }
        Ok(())
    }
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
    fn tcp_is_the_one_required_table() {
        let proc = proc_with(&[("tcp", &table(&[SSH]))]);
        assert_eq!(ports(&mut source(&proc)), Ok(vec![22]));
        let proc = proc_with(&[("tcp6", HEADER), ("udp", HEADER), ("udp6", HEADER)]);
        let error = ports(&mut source(&proc)).unwrap_err();
        assert!(error.ends_with("net/tcp: No such file or directory (os error 2)"));
    }

    #[test]
    fn an_empty_tcp_file_is_an_error() {
        let proc = proc_with(&[("tcp", "")]);
        assert!(ports(&mut source(&proc)).unwrap_err().contains("is empty"));
    }

    #[test]
    fn an_empty_tcp6_file_has_no_listeners() {
        let proc = proc_with(&[("tcp", HEADER), ("tcp6", "")]);
        assert_eq!(ports(&mut source(&proc)), Ok(vec![]));
    }

    #[test]
    fn broken_rows_are_skipped() {
        let proc = proc_with(&[("tcp", &table(&[BROKEN, SSH, BROKEN]))]);
        assert_eq!(ports(&mut source(&proc)), Ok(vec![22]));
    }

    #[test]
    fn a_table_of_only_broken_rows_is_an_error() {
        let proc = proc_with(&[("tcp", &table(&[BROKEN, BROKEN]))]);
        let error = ports(&mut source(&proc)).unwrap_err();
        assert!(error.ends_with("no row can be read; the first: not hexadecimal"));
    }

    #[test]
    fn an_overlong_row_counts_as_skipped() {
        let long = SSH.replace(" 1603 ", &" ".repeat(10_000));
        let proc = proc_with(&[("tcp", &table(&[&long, SSH]))]);
        let mut source = source(&proc);
        assert_eq!(ports(&mut source), Ok(vec![22]));
        assert_eq!(source.files[0].skipped, 1);
    }

    #[test]
    fn a_directory_instead_of_a_table_is_an_error() {
        let proc = proc_with(&[]);
        fs::create_dir(proc.path().join("net/tcp")).unwrap();
        let error = ports(&mut source(&proc)).unwrap_err();
        assert!(error.ends_with("Is a directory (os error 21)"), "{error}");
    }

    #[test]
    fn a_file_that_is_too_large_is_an_error() {
        let proc = proc_with(&[]);
        let tcp = fs::File::create(proc.path().join("net/tcp")).unwrap();
        tcp.set_len(1 << 40).unwrap();
        let mut source = source(&proc);
        source.files[0].most_bytes = 1 << 16;
        let error = ports(&mut source).unwrap_err();
        assert!(error.ends_with("net/tcp: file too large"), "{error}");
    }

    /// An error that may be temporary fails the poll. The tests of the program show that a
    /// forbidden table is left out.
    #[test]
    fn an_io_error_of_an_optional_table_fails_the_read() {
        let proc = proc_with(&[("tcp", &table(&[SSH]))]);
        fs::create_dir(proc.path().join("net/tcp6")).unwrap();
        let error = ports(&mut source(&proc)).unwrap_err();
        assert!(
            error.ends_with("net/tcp6: Is a directory (os error 21)"),
            "{error}"
        );
    }

    #[test]
    fn a_table_that_was_read_must_stay_readable() {
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
    fn a_table_that_appears_later_is_read() {
        let proc = proc_with(&[("tcp", HEADER)]);
        let mut source = source(&proc);
        assert_eq!(ports(&mut source), Ok(vec![]));
        fs::write(proc.path().join("net/tcp6"), table(&[SSH])).unwrap();
        assert_eq!(ports(&mut source), Ok(vec![22]));
    }

    #[test]
    fn unwanted_tables_are_not_read() {
        let proc = proc_with(&[("tcp", &table(&[SSH])), ("udp", HEADER)]);
        fs::create_dir(proc.path().join("net/tcp6")).unwrap();
        let only_udp = |table: SocketTable| table.protocol == Protocol::Udp;
        let mut source = ProcNet::new(proc.path(), only_udp);
        assert_eq!(ports(&mut source), Ok(vec![]), "tcp6 was not touched");
    }

    #[test]
    fn tcp_must_be_readable_even_if_unwanted() {
        let proc = proc_with(&[("tcp", &table(&[SSH])), ("udp", HEADER)]);
        let only_udp = |table: SocketTable| table.protocol == Protocol::Udp;
        let mut source = ProcNet::new(proc.path(), only_udp);
        assert_eq!(ports(&mut source), Ok(vec![]));
        fs::remove_file(proc.path().join("net/tcp")).unwrap();
        assert!(ports(&mut source).is_err());
    }

    const CONNECTION: &str = "   7: 0100007F:0016 0100007F:9C40 01 00000000:00000000\n";
    const PENDING: &str = "   8: 0100007F:0016 0100007F:9C41 03 00000000:00000000\n";
    const SOCKSTAT: &str = "TCP: inuse 9 orphan 0\nUDP: inuse 9 mem 0\n";
    const WEB: &str = "   9: 00000000:0050 00000000:0000 0A 00000000:00000000\n";

    /// Enough connections that the first read does not reach the rows after them.
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
        assert_eq!(source.files[0].skipped, 0, "the broken row was not reached");
        assert!(source.listeners_first);
    }

    #[test]
    fn the_last_poll_sets_the_size_of_the_first_read() {
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
        // The size of the first read does not limit what is found.
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
    fn after_mixed_rows_tables_are_read_to_the_end() {
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
    fn tables_read_before_the_order_broke_are_read_again() {
        let many = many_connections();
        let proc = proc_with(&[
            ("tcp", &table(&[SSH, &many, WEB])),
            ("tcp6", &table(&[SSH, CONNECTION, SSH])),
            ("sockstat", SOCKSTAT),
        ]);
        assert_eq!(ports(&mut source(&proc)), Ok(vec![22, 80, 22, 22]));
    }

    #[test]
    fn a_table_known_from_another_source_must_exist() {
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
    fn text_that_is_not_a_table_is_an_error() {
        for text in [
            "header\ngarbage\n",
            "a\n\nb\n",
            "\0\0\n\u{1}2:\n",
            "hello\n",
            "<html>\n",
            "slot local_address\n",
        ] {
            let proc = proc_with(&[("tcp", text)]);
            let error = ports(&mut source(&proc)).unwrap_err();
            assert!(error.ends_with("the first: not a row"), "{error}");
        }
        let proc = proc_with(&[("tcp", "  sl  local_address\n\n \n")]);
        assert_eq!(ports(&mut source(&proc)), Ok(vec![]));
    }

    #[test]
    fn a_last_row_without_a_newline_is_accepted() {
        let tcp = table(&[SSH, CONNECTION]);
        let proc = proc_with(&[("tcp", tcp.trim_end())]);
        assert_eq!(ports(&mut source(&proc)), Ok(vec![22]));
    }

    #[test]
    fn a_row_that_ends_in_its_state_is_an_error() {
        let tcp = table(&[SSH, CONNECTION]);
        let cut_in_state = &tcp[..tcp.len() - " 00000000:00000000\n".len()];
        let proc = proc_with(&[("tcp", cut_in_state)]);
        assert!(
            ports(&mut source(&proc))
                .unwrap_err()
                .ends_with("ends within a row")
        );
    }

    #[test]
    fn rows_that_are_all_too_long_are_an_error() {
        let long = format!("0: {}\n", "F".repeat(100_000));
        let proc = proc_with(&[("tcp", &table(&[&long, &long]))]);
        let error = ports(&mut source(&proc)).unwrap_err();
        assert!(error.ends_with("no row can be read; the first: too long"));
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
    fn the_order_of_udp_rows_does_not_matter() {
        let bound = WEB.replace(" 0A ", " 07 ");
        let udp = table(&[CONNECTION, &bound]);
        let proc = proc_with(&[("tcp", HEADER), ("udp", &udp), ("sockstat", SOCKSTAT)]);
        let mut source = source(&proc);
        assert_eq!(ports(&mut source), Ok(vec![80]));
        assert!(source.listeners_first);
    }

    #[test]
    fn a_zero_count_skips_tables_without_known_listeners() {
        let none = "TCP: inuse 0 orphan 0\nUDP: inuse 0 mem 0\n";
        let proc = proc_with(&[("tcp", &table(&[SSH])), ("sockstat", none)]);
        let mut source = source(&proc);
        let mut read = |known: Option<&Snapshot>| {
            let mut listeners = Vec::new();
            source.read(known, &mut listeners).unwrap();
            listeners
        };
        // Without `known`, no table is skipped.
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
