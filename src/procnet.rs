//! The four tables under `/proc/net` as one source: which must be there, which
//! may be absent, and when a read counts as complete.

pub mod row;
pub mod scan;

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::listener::{Family, Listener, Protocol};
use crate::report::Verbosity;
use row::{RowError, decode_row, row_fields};
use scan::Scanner;

/// `tcp`, `tcp6`, `udp` and `udp6` below one directory.
#[derive(Debug)]
pub struct ProcNet {
    tables: [Table; 4],
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
    /// It was read once in this run, so it can no longer count as absent.
    seen: bool,
    /// It is there but cannot be read, which was said.
    left_out: bool,
    /// How many rows the last read skipped.
    skipped: u64,
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
        let table = |name, protocol, family| Table {
            path: proc_root.join("net").join(name),
            protocol,
            family,
            wanted: wanted(protocol, family),
            seen: false,
            left_out: false,
            skipped: 0,
        };
        ProcNet {
            tables: [
                table("tcp", Protocol::Tcp, Family::V4),
                table("tcp6", Protocol::Tcp, Family::V6),
                table("udp", Protocol::Udp, Family::V4),
                table("udp6", Protocol::Udp, Family::V6),
            ],
            scanner: Scanner::default(),
            verbosity,
        }
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
    /// # Errors
    /// When `tcp`, or a table that was read before in this run, cannot be read
    /// or says nothing that can be understood. `listeners` then holds a part
    /// of a snapshot and must not be used.
    pub fn read(&mut self, listeners: &mut Vec<Listener>) -> Result<(), ProcError> {
        for table in &mut self.tables {
            if table.wanted || table.is_required() {
                table
                    .read(&mut self.scanner, self.verbosity, listeners)
                    .map_err(|reason| ProcError {
                        path: table.path.clone(),
                        reason,
                    })?;
            }
        }
        Ok(())
    }
}

impl Table {
    fn is_required(&self) -> bool {
        (self.protocol, self.family) == (Protocol::Tcp, Family::V4)
    }

    /// Whether a failure to read it fails the poll.
    fn must_answer(&self) -> bool {
        self.is_required() || self.seen
    }

    fn read(
        &mut self,
        scanner: &mut Scanner,
        verbosity: Verbosity,
        listeners: &mut Vec<Listener>,
    ) -> Result<(), ProcErrorReason> {
        let before = listeners.len();
        // Opened afresh for each poll: Linux 6.6.102 to 6.6.104, 6.12.42 to
        // 6.12.45 and 6.14 cannot seek in these files.
        let scanned = File::open(&self.path).and_then(|file| self.scan(scanner, file, listeners));
        let contents = match scanned {
            Ok(contents) => contents,
            Err(error) if self.must_answer() => return Err(ProcErrorReason::Io(error)),
            Err(error) => {
                listeners.truncate(before);
                let is_there = error.kind() != ErrorKind::NotFound;
                if is_there && !std::mem::replace(&mut self.left_out, is_there) {
                    let path = self.path.display();
                    verbosity.warn(format_args!("{path}: {error}; its ports are left out"));
                }
                return Ok(());
            }
        };
        if contents.lines == 0 {
            // WSL 1 has all four files, each of zero bytes.
            return if self.must_answer() {
                Err(ProcErrorReason::Empty)
            } else {
                Ok(())
            };
        }
        if let Some(first) = contents.first_error
            && contents.understood == 0
        {
            return Err(ProcErrorReason::NoRowUnderstood(first));
        }
        self.seen = true;
        self.left_out = false;
        self.say_skipped(&contents, verbosity);
        Ok(())
    }

    fn scan(
        &self,
        scanner: &mut Scanner,
        file: File,
        listeners: &mut Vec<Listener>,
    ) -> io::Result<Contents> {
        let mut contents = Contents::default();
        let mut lines = scanner.lines(file);
        while let Some(line) = lines.next()? {
            contents.lines += 1;
            let Some(fields) = row_fields(line.bytes) else {
                continue;
            };
            match decode_row(fields, self.protocol) {
                Ok(row) => {
                    contents.understood += 1;
                    if self.wanted {
                        listeners.extend(row.map(|row| row.listener(self.protocol)));
                    }
                }
                Err(error) => {
                    contents.skipped += 1;
                    contents.first_error.get_or_insert(error);
                }
            }
        }
        contents.lines += lines.overlong();
        contents.skipped += lines.overlong();
        Ok(contents)
    }

    /// With `-v`, says how many rows were skipped whenever that number changes.
    fn say_skipped(&mut self, contents: &Contents, verbosity: Verbosity) {
        if contents.skipped != self.skipped && verbosity >= Verbosity::Verbose {
            let path = self.path.display();
            let (rows, s) = (
                contents.skipped,
                if contents.skipped == 1 { "" } else { "s" },
            );
            match contents.first_error {
                Some(first) => verbosity.warn(format_args!(
                    "{path}: {rows} row{s} skipped; the first that cannot be read: {first}"
                )),
                None => verbosity.warn(format_args!("{path}: {rows} over-long row{s} skipped")),
            }
        }
        self.skipped = contents.skipped;
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
}

#[cfg(test)]
mod tests {
    use super::*;
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
            .read(&mut listeners)
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
    fn a_directory_in_place_of_a_table_is_an_error_not_an_empty_table() {
        let proc = proc_with(&[]);
        fs::create_dir(proc.path().join("net/tcp")).unwrap();
        let error = ports(&mut source(&proc)).unwrap_err();
        assert!(error.ends_with("Is a directory (os error 21)"), "{error}");
    }

    #[test]
    fn an_optional_table_that_was_never_readable_is_left_out() {
        let proc = proc_with(&[("tcp", &table(&[SSH]))]);
        fs::create_dir(proc.path().join("net/tcp6")).unwrap();
        let mut source = source(&proc);
        assert_eq!(ports(&mut source), Ok(vec![22]));
        assert!(source.tables[1].left_out);
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
        assert_eq!(ports(&mut source), Ok(vec![]));
        assert!(!source.tables[1].left_out, "tcp6 was not touched");
        fs::remove_file(proc.path().join("net/tcp")).unwrap();
        assert!(ports(&mut source).is_err());
    }
}
