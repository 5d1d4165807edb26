//! The four tables of `/proc/net` as a source: which are read, and when what they
//! list is complete.
//!
//! - [`table`] reads one of them, and knows which must be there.
//! - [`crate::kernel::proc::scan`] makes lines of bytes.
//! - [`crate::kernel::proc::row`] makes sockets of lines.
//! - [`crate::kernel::proc::sockstat`] counts sockets without reading a table.
//!
//! Which source answers instead when the tables cannot be read is decided in
//! [`crate::source`].

mod table;

use std::path::{Path, PathBuf};

use super::place;
use super::tables::{TableGap, Tables};
use crate::kernel::proc::scan::Scanner;
use crate::kernel::proc::sockstat::Sockstat;
use crate::listener::{Listener, Protocol, SocketTable};
use crate::report;
use crate::snapshot::Snapshot;
pub use table::ProcError;
use table::{Order, TableFile, Trust};

/// The files `tcp`, `tcp6`, `udp` and `udp6` below one directory.
#[derive(Debug)]
pub struct ProcNet {
    files: [TableFile; 4],
    sockstat: Sockstat,
    /// No listener stood behind a connection so far. The kernel lists listeners
    /// first (its `proc_net_tcp` document says so); gVisor does not.
    listeners_first: bool,
    /// The tables whose file took several reads the last time.
    split: Tables,
    /// Where the files may be, if they are not where they are now.
    elsewhere: Option<PathBuf>,
    scanner: Scanner,
}

impl ProcNet {
    /// The tables below `proc_root/net`. Those that `is_wanted` names are read,
    /// and `tcp` always: it tells a kernel without listeners from one that shows
    /// none.
    pub fn new(proc_root: &Path, is_wanted: impl Fn(SocketTable) -> bool) -> ProcNet {
        let net = proc_root.join("net");
        let file =
            |table: SocketTable| TableFile::new(table, net.join(table.name()), is_wanted(table));
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

    /// Limits the size of each table. One with more `bytes` is an error.
    pub fn limit(&mut self, bytes: u64) {
        self.files
            .iter_mut()
            .for_each(|file| file.most_bytes = bytes);
    }

    /// Another source has these listeners. So their tables exist, and a failure
    /// to read one of them is an error from now on.
    pub fn require_tables_of(&mut self, listeners: &Snapshot) {
        for file in &mut self.files {
            file.exists |= listeners.has_any(file.table);
        }
    }

    /// What the tables may hold that is missing from the last read.
    pub fn gaps(&self) -> Vec<TableGap> {
        self.files.iter().filter_map(TableFile::gap).collect()
    }

    /// The tables whose listing took several reads the last time.
    pub fn split(&self) -> Tables {
        self.split
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
        let mut result = self.read_files(known, listeners);
        if result.as_ref().is_err_and(ProcError::is_not_found) && self.move_elsewhere() {
            listeners.truncate(before);
            let also = self.read_files(known, listeners);
            if also.is_err() {
                self.move_elsewhere();
            } else {
                result = also;
            }
        }
        result?;
        if trusted_order != self.listeners_first {
            // The order did not hold. Files that were read before that was known
            // may lack listeners.
            listeners.truncate(before);
            self.read_files(known, listeners)?;
        }
        Ok(())
    }

    /// Looks for the files where they may also be. False if they can be nowhere else.
    fn move_elsewhere(&mut self) -> bool {
        let Some(net) = self.elsewhere.take() else {
            return false;
        };
        self.elsewhere = self.files[0].path.parent().map(Path::to_path_buf);
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
            let trust = file.trust(&in_use, self.listeners_first, known.is_some());
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
        assert!(error.ends_with("no row can be read; the first: not hexadecimal"));
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
        let tcp = fs::File::create(proc.path().join("net/tcp")).unwrap();
        tcp.set_len(1 << 40).unwrap();
        let mut source = source(&proc);
        source.files[0].most_bytes = 1 << 16;
        let error = ports(&mut source).unwrap_err();
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
    fn a_last_row_without_newline_counts_if_enough_of_it_is_there() {
        let tcp = table(&[SSH, CONNECTION]);
        let proc = proc_with(&[("tcp", tcp.trim_end())]);
        assert_eq!(ports(&mut source(&proc)), Ok(vec![22]));
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
