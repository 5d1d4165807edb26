//! How many sockets are in use: `/proc/net/sockstat` and `sockstat6`, and of
//! `/proc/net/snmp` how many connections are established.
//!
//! Reading one takes a few microseconds. Reading a table without rows can take much
//! longer: the kernel walks its whole hash table, which all namespaces share.
//!
//! The kernel sums a count over its CPUs without a lock (`sock_prot_inuse_get`),
//! so it can be too low while sockets come and go. It may be a reason to look
//! later. It is never a reason to call a listener closed.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::file;
use super::scan::{LastRead, Scanner};
use crate::listener::{Family, Protocol, SocketTable};

/// At most this much of a file is read. The kernel's have less than a kilobyte.
const MOST_BYTES: u64 = 1 << 16;

/// The two files below one directory.
#[derive(Debug)]
pub struct Sockstat {
    v4: PathBuf,
    v6: PathBuf,
}

/// The counts of both files, where they could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// `sockstat` could be read. gVisor has none.
    pub is_readable: bool,
    counts: [[Option<u64>; 2]; 2],
}

impl Sockstat {
    /// The files in `net`, the directory of that name in a `/proc`.
    pub fn new(net: &Path) -> Sockstat {
        Sockstat {
            v4: net.join("sockstat"),
            v6: net.join("sockstat6"),
        }
    }

    /// Reads both files. A count that cannot be read is not known. That is no
    /// error.
    pub fn read(&self, scanner: &mut Scanner) -> InUse {
        let mut in_use = InUse::default();
        in_use.is_readable = read_file(&self.v4, scanner, Family::V4, &mut in_use).is_ok();
        // Without IPv6 there is no second file.
        let _ = read_file(&self.v6, scanner, Family::V6, &mut in_use);
        in_use
    }
}

impl InUse {
    /// Whether no socket of `table` is counted. False if the count is not known.
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

/// The word after `name` in a line of names and values, such as 5 of `inuse` in
/// `inuse 5 orphan 0`.
pub fn value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut words = line.split_ascii_whitespace();
    words.find(|word| *word == name)?;
    words.next()
}

/// The number of established TCP connections in the text of `/proc/net/snmp`, where one
/// line has names and the next their values.
pub fn established(snmp: &str) -> Option<i64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let mut names = lines.next()?.split_ascii_whitespace();
    let place = names.position(|name| name == "CurrEstab")?;
    let value = lines.next()?.split_ascii_whitespace().nth(place)?;
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
    fn counts_are_read_from_both_files() {
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
    fn a_count_that_is_missing_or_odd_is_not_zero() {
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
    fn established_connections_are_found_by_name() {
        let snmp = "Ip: Forwarding\nIp: 1\nTcp: Rto CurrEstab InSegs\nTcp: 1 7 9\n";
        assert_eq!(established(snmp), Some(7));
        assert_eq!(established("Tcp: Rto CurrEstab\nTcp: 1\n"), None);
        assert_eq!(established("Tcp: Rto\nTcp: 1\n"), None);
    }
}
