//! The number of sockets in use, from `/proc/net/sockstat` and `sockstat6`, and the number of
//! established connections, from `/proc/net/snmp`.
//!
//! Reading one of these files takes a few microseconds. Reading a socket table such as
//! `/proc/net/tcp` can take much longer even if it is empty, because the kernel walks its whole
//! hash table, which all network namespaces share.
//!
//! The kernel sums each count over its CPUs without a lock (`sock_prot_inuse_get`). A count
//! can therefore be too low while sockets open and close. If a count is 0, reading the table
//! can wait, but a count of 0 does not prove that a listener has closed.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::file;
use super::scan::{LastRead, Scanner};
use crate::listener::{Family, Protocol, SocketTable};

/// The most bytes of a file that are read. The kernel's files have less than a kilobyte.
const MOST_BYTES: u64 = 1 << 16;

/// The paths of `sockstat` and `sockstat6` in one directory.
#[derive(Debug)]
pub struct Sockstat {
    v4: PathBuf,
    v6: PathBuf,
}

/// The counts of sockets from both files. Counts that could not be read are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Whether `sockstat` could be read. gVisor does not have that file.
    pub is_readable: bool,
    counts: [[Option<u64>; 2]; 2],
}

impl Sockstat {
    /// The two files in the directory `net` of a `/proc`.
    pub fn new(net: &Path) -> Sockstat {
        Sockstat {
            v4: net.join("sockstat"),
            v6: net.join("sockstat6"),
        }
    }

    /// Reads both files. If a count cannot be read, it is unknown; this is not an error.
    pub fn read(&self, scanner: &mut Scanner) -> InUse {
        let mut in_use = InUse::default();
        in_use.is_readable = read_file(&self.v4, scanner, Family::V4, &mut in_use).is_ok();
        // The second file does not exist in a kernel without IPv6.
        let _ = read_file(&self.v6, scanner, Family::V6, &mut in_use);
        in_use
    }
}

impl InUse {
    /// Whether the count of sockets in `table` is 0. False if the count is unknown.
    pub fn is_zero(&self, table: SocketTable) -> bool {
        self.counts[table.protocol as usize][table.family as usize] == Some(0)
    }
}

fn read_file(
    path: &Path,
    scanner: &mut Scanner,
    family: Family,
    in_use: &mut InUse,
) -> io::Result<()> {
    let file = file::open(path)?.take(MOST_BYTES);
    let mut lines = scanner.lines(file).until(LastRead::Short);
    while let Some(line) = lines.next()? {
        let Some((name, rest)) = split_at_colon(line.bytes) else {
            continue;
        };
        let protocol = match (name, family) {
            (b"TCP", Family::V4) | (b"TCP6", Family::V6) => Protocol::Tcp,
            (b"UDP", Family::V4) | (b"UDP6", Family::V6) => Protocol::Udp,
            _ => continue,
        };
        let count = value(str::from_utf8(rest).unwrap_or_default(), "inuse");
        in_use.counts[protocol as usize][family as usize] = count.and_then(|n| n.parse().ok());
    }
    Ok(())
}

/// The word after `name` in a line of names and values. In `inuse 5 orphan 0`, `inuse` has
/// the value 5.
pub fn value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut words = line.split_ascii_whitespace();
    words.find(|word| *word == name)?;
    words.next()
}

/// The number of established TCP connections, from the contents of `/proc/net/snmp`. In that
/// file, a line of names is followed by a line of values.
pub fn established(snmp: &str) -> Option<i64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let mut names = lines.next()?.split_ascii_whitespace();
    let index = names.position(|name| name == "CurrEstab")?;
    let value = lines.next()?.split_ascii_whitespace().nth(index)?;
    value.parse().ok()
}

fn split_at_colon(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    Some((&line[..colon], &line[colon + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    fn read(files: &[(&str, &str)]) -> InUse {
        let net = TempDir::new().unwrap();
        for (name, contents) in files {
            fs::write(net.path().join(name), contents).unwrap();
        }
        Sockstat::new(net.path()).read(&mut Scanner::default())
    }

    const V4: &str = "sockets: used 8\nTCP: inuse 3 orphan 0 tw 0 alloc 1 mem 0\n\
                      UDP: inuse 0 mem 0\nUDPLITE: inuse 7\nRAW: inuse 0\n";
    const V6: &str = "TCP6: inuse 0\nUDP6: inuse 12\nUDPLITE6: inuse 0\n";

    #[test]
    fn socket_counts_are_read_from_both_files() {
        let in_use = read(&[("sockstat", V4), ("sockstat6", V6)]);
        assert!(in_use.is_readable);
        let zero = SocketTable::ALL.map(|table| (table.name(), in_use.is_zero(table)));
        let expected = [
            ("tcp", false),
            ("tcp6", true),
            ("udp", true),
            ("udp6", false),
        ];
        assert_eq!(zero, expected);
    }

    #[test]
    fn an_unreadable_socket_count_is_not_zero() {
        let unknown = |in_use: InUse| !SocketTable::ALL.into_iter().any(|t| in_use.is_zero(t));
        let neither = read(&[]);
        assert!(!neither.is_readable && unknown(neither));
        for odd in [
            "",
            "TCP: orphan 0\n",
            "TCP inuse 0\n",
            "TCP: inuse\n",
            "TCP: inuse -1\n",
        ] {
            let in_use = read(&[("sockstat", odd)]);
            assert!(in_use.is_readable && unknown(in_use), "{odd:?}");
        }
        // Each file counts only its own family.
        assert!(unknown(read(&[("sockstat", V6), ("sockstat6", V4)])));
    }

    #[test]
    fn established_reads_curr_estab_by_name() {
        let snmp = "Ip: Forwarding\nIp: 1\nTcp: Rto CurrEstab InSegs\nTcp: 1 7 9\n";
        assert_eq!(established(snmp), Some(7));
        assert_eq!(established("Tcp: Rto CurrEstab\nTcp: 1\n"), None);
        assert_eq!(established("Tcp: Rto\nTcp: 1\n"), None);
    }
}
