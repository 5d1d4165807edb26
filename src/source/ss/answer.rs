//! What `ss -lntu` or `ss -lntup` prints becomes listeners, whichever version of ss
//! printed it.

use std::fmt;
use std::io::{self, Read};
use std::net::IpAddr;

use crate::kernel::proc::scan::Scanner;
use crate::listener::{Endpoint, Family, Holder, Holders, Interface, Listener, Protocol};

/// The most bytes of a line that names processes. ss cuts the names off at 64 KiB.
/// A buffer of this size costs little: the kernel provides a page of it only once
/// a line reaches it.
const LONGEST_LINE: usize = 128 * 1024;
/// The most bytes of an answer that are read, where a row counts for at least
/// [`SIZE_OF_ROW`]: 262,144 rows.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;
/// About as many bytes as a listener takes up here, without its holders.
const SIZE_OF_ROW: usize = 128;
/// The most bytes of a process name in `/proc/PID/stat`. A name has at most 15
/// bytes, and the kernel may write each of them as an escape of two.
const LONGEST_NAME: usize = 30;

/// Why an answer of ss cannot be understood.
#[derive(Debug)]
pub enum AnswerError {
    /// Reading it failed with this error.
    Read(io::Error),
    /// Its first line is not the header `Netid State … Peer Address:Port`.
    NoHeader,
    /// This line, or the start of it, is not a row of ss.
    Line(String),
    /// It has more rows than are read.
    TooLong,
    /// It prints the wildcards of IPv4 and IPv6 alike, as iproute2 4.13 does.
    AmbiguousWildcards,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnswerError::Read(error) => error.fmt(f),
            AnswerError::NoHeader => f.write_str("ss: its output has no header"),
            AnswerError::Line(line) => write!(f, "ss: cannot read its line '{line}'"),
            AnswerError::TooLong => f.write_str("ss: printed too many rows"),
            AnswerError::AmbiguousWildcards => {
                f.write_str("ss: this version prints IPv4 and IPv6 wildcards alike")
            }
        }
    }
}

impl std::error::Error for AnswerError {}

impl AnswerError {
    fn line(bytes: &[u8]) -> AnswerError {
        const SHOWN: usize = 80;
        let shown = &bytes[..bytes.len().min(SHOWN)];
        AnswerError::Line(String::from_utf8_lossy(shown).into_owned())
    }
}

/// Reads what any version of `ss -lntu` prints.
///
/// Versions print wildcards in different ways:
///
/// - IPv4 is `0.0.0.0`, or `*` before 2017.
/// - IPv6 is `[::]`, or `*` if the socket takes IPv4 too, or `::` before 2017.
///
/// So `*` can be either. The other addresses of the same answer tell which.
#[derive(Debug)]
pub struct AnswerReader {
    scanner: Scanner,
    /// The Process column of the current row.
    cell: Vec<u8>,
}

impl AnswerReader {
    /// A reader of answers. With `processes`, it takes the long lines that name
    /// many processes.
    pub fn new(processes: bool) -> AnswerReader {
        AnswerReader {
            scanner: match processes {
                true => Scanner::with_capacity(LONGEST_LINE),
                false => Scanner::default(),
            },
            cell: Vec::new(),
        }
    }

    /// Appends the listeners of one answer to `listeners`. False if the answer is
    /// empty, without even a header.
    ///
    /// # Errors
    /// [`AnswerError::NoHeader`], [`AnswerError::Line`] or [`AnswerError::AmbiguousWildcards`]
    /// for an answer that cannot be understood, and [`AnswerError::TooLong`].
    /// [`AnswerError::Read`] if `reader` fails.
    pub fn read(
        &mut self,
        reader: impl Read,
        listeners: &mut Vec<Listener>,
    ) -> Result<bool, AnswerError> {
        // The indices of the listeners on a `*` whose own row does not name the family.
        let mut unknown_family = Vec::new();
        let mut lines = self.scanner.lines(reader);
        let mut style = match lines.next().map_err(AnswerError::Read)? {
            Some(line) if is_header(line.bytes) => Style::of_header(line.bytes),
            Some(_) => return Err(AnswerError::NoHeader),
            None => return Ok(false),
        };
        let mut left = LONGEST_ANSWER;
        while let Some(line) = lines.next().map_err(AnswerError::Read)? {
            let (row, cell) = split_off_processes(line.bytes);
            let mut size = line.bytes.len().max(SIZE_OF_ROW);
            let unreadable = || AnswerError::line(line.bytes);
            let is_whole = line.terminated;
            let mut row = parse_row(row, &mut style)
                .filter(|_| is_whole)
                .ok_or_else(unreadable)?;
            if let Some(cell) = cell {
                self.cell.clear();
                self.cell.extend_from_slice(cell);
                // ss does not escape names, and a name may hold a newline. So a row
                // can go on in the next line.
                let is_end = |text: &[u8]| text.trim_ascii_end().ends_with(b"))");
                let mut is_at_end = is_end(cell);
                while !is_at_end {
                    let more = lines.next().map_err(AnswerError::Read)?;
                    let more =
                        more.filter(|more| self.cell.len() + more.bytes.len() < LONGEST_LINE);
                    let more = more.ok_or_else(|| AnswerError::line(&self.cell))?;
                    self.cell.push(b'\n');
                    self.cell.extend_from_slice(more.bytes);
                    is_at_end = is_end(more.bytes);
                }
                let processes = parse_processes(self.cell.trim_ascii_end());
                let processes = processes.ok_or_else(|| AnswerError::line(&self.cell))?;
                size += self.cell.len();
                if let SsRow::Listener(listener) | SsRow::UnknownFamily(listener) = &mut row {
                    listener.holders = processes;
                }
            }
            left = left.checked_sub(size).ok_or(AnswerError::TooLong)?;
            match row {
                SsRow::Listener(listener) => listeners.push(listener),
                SsRow::UnknownFamily(listener) => {
                    unknown_family.push(listeners.len());
                    listeners.push(listener);
                }
                SsRow::Other => {}
            }
        }
        if lines.overlong() > 0 {
            return Err(AnswerError::line(b"(over-long)"));
        }
        if !unknown_family.is_empty() {
            let wildcard = style
                .meaning_of_star()
                .ok_or(AnswerError::AmbiguousWildcards)?;
            for &index in &unknown_family {
                let listener = &mut listeners[index];
                listener.endpoint.address = wildcard;
                listener.peer.address = wildcard;
                // If ss knows, it writes `[::]` for a socket that takes no IPv4.
                let knows = wildcard.is_ipv6() && style.is_from_netlink[listener.protocol as usize];
                listener.v6_only = knows.then_some(false);
            }
        }
        Ok(true)
    }
}

/// The line up to its Process column, and that column if there is one.
///
/// No other column can hold `users:((`. The only free text in them is the name of
/// an interface, and that has no colon.
fn split_off_processes(line: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut starts = line.windows(PROCESSES.len());
    match starts.position(|window| window == PROCESSES) {
        Some(start) => (&line[..start], Some(&line[start..])),
        None => (line, None),
    }
}

/// How a Process column starts.
const PROCESSES: &[u8] = b"users:((";

/// The processes in `users:(("NAME",pid=12,fd=3),("NAME",pid=13,fd=3))`. Before
/// 2015, ss wrote `users:(("NAME",12,3))`.
///
/// ss does not escape a NAME, but cuts it off before its first `)`. So the first
/// `)` ends a process, whatever its NAME holds.
fn parse_processes(cell: &[u8]) -> Option<Holders> {
    let mut rest = cell.strip_prefix(PROCESSES)?;
    let mut processes = Holders::default();
    loop {
        let end = memchr::memchr(b')', rest)?;
        let mut parts = rest[..end].rsplitn(3, |byte| *byte == b',');
        let mut number = |prefix| {
            let part = str::from_utf8(parts.next()?).ok()?;
            part.strip_prefix(prefix).unwrap_or(part).parse().ok()
        };
        let (fd, pid) = (number("fd=")?, number("pid=").filter(|&pid| pid > 0)?);
        let name = parts.next()?.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        // No process has a longer name. Here ss cut the column off within a name,
        // and the text of the next row follows.
        let name = (name.len() <= LONGEST_NAME).then(|| name.to_vec())?;
        processes.add(&Holder { name, pid, fd });
        rest = match &rest[end + 1..] {
            b")" => return Some(processes),
            more => more.strip_prefix(b",(")?,
        };
    }
}

/// Whether `line` starts with the columns that [`parse_row`] reads, in their order.
/// Blanks do not count: some versions print `NetidState` without one between.
fn is_header(line: &[u8]) -> bool {
    let columns = b"NetidStateRecv-QSend-QLocalAddress:PortPeerAddress:Port";
    let mut letters = line.iter().filter(|byte| !byte.is_ascii_whitespace());
    columns.iter().all(|column| letters.next() == Some(column))
}

/// What an answer shows of the version of ss that printed it. The numbers are
/// those of iproute2.
#[derive(Debug, Default)]
struct Style {
    /// Its header is spaced as in versions before 4.15.
    has_old_header: bool,
    /// It has an IPv6 address without brackets: before 4.13.
    has_bare_v6: bool,
    /// It has a local address in brackets: since 4.13.
    has_brackets: bool,
    /// It has an IPv4 address whose peer is `*`: before 4.14.
    has_v4_with_star_peer: bool,
    /// It has `0.0.0.0` or brackets in the peer column: since 4.14.
    has_peer_with_family: bool,
    /// For each protocol: it has something that ss learns from netlink only, a
    /// backlog, an interface or `[::]`. Where ss reads `/proc`, it writes `*` for
    /// every IPv6 wildcard.
    is_from_netlink: [bool; 2],
}

impl Style {
    fn of_header(line: &[u8]) -> Style {
        Style {
            has_old_header: line.starts_with(b"Netid State      Recv-Q Send-Q "),
            ..Style::default()
        }
    }

    /// Takes note of the addresses of one row.
    fn note(&mut self, local: &SsEndpoint, peer: &SsEndpoint) {
        let is_v4 = local.address.is_some_and(|address| address.is_ipv4());
        let is_bare_v6 = |endpoint: &SsEndpoint| {
            !endpoint.bracketed && endpoint.address.is_some_and(|address| address.is_ipv6())
        };
        self.has_bare_v6 |= is_bare_v6(local) || is_bare_v6(peer);
        self.has_brackets |= local.bracketed;
        self.has_v4_with_star_peer |= is_v4 && peer.address.is_none();
        self.has_peer_with_family |= peer.bracketed || peer.address == Some(Family::V4.wildcard());
    }

    /// The wildcard that a local `*` stands for if its peer is `*` too.
    ///
    /// Before 4.13 that is the IPv4 wildcard, and since 4.14 the IPv6 one. 4.13
    /// prints both in this way, so its answer gives `None`. An answer that can be
    /// of 4.13 or of an older version counts as older, since few systems had
    /// 4.13.
    fn meaning_of_star(&self) -> Option<IpAddr> {
        let may_be_old = self.has_v4_with_star_peer || self.has_old_header;
        if self.has_bare_v6 {
            Some(Family::V4.wildcard())
        } else if self.has_peer_with_family || !may_be_old {
            Some(Family::V6.wildcard())
        } else {
            (!self.has_brackets).then_some(Family::V4.wildcard())
        }
    }
}

/// What a row describes.
enum SsRow {
    Listener(Listener),
    /// A listener on `*` whose row does not tell its family.
    UnknownFamily(Listener),
    /// A socket in another state.
    Other,
}

/// The row in `line`, without its Process column. `None` if it is not a row.
fn parse_row(line: &[u8], style: &mut Style) -> Option<SsRow> {
    let text = std::str::from_utf8(line).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let protocol = match fields.next()? {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    let state = fields.next()?;
    let recv_q = fields.next()?.parse().ok()?;
    let send_q: u32 = fields.next()?.parse().ok()?;
    let local = SsEndpoint::parse(fields.next()?)?;
    let peer = SsEndpoint::parse(fields.next()?)?;
    if state != protocol.listening_state() {
        return Some(SsRow::Other);
    }
    style.note(&local, &peer);
    let is_v6_only = local.bracketed && local.address == Some(Family::V6.wildcard());
    let has_backlog = protocol == Protocol::Tcp && send_q > 0;
    style.is_from_netlink[protocol as usize] |=
        has_backlog || is_v6_only || local.interface.is_some();
    // Both ends have the same family. So a peer of `0.0.0.0` or `[::]` tells what a
    // local `*` means.
    let wildcard = peer.address.filter(IpAddr::is_unspecified);
    let address = local.address.or(wildcard);
    let endpoint = Endpoint {
        port: local.port,
        address: address.unwrap_or(Family::V6.wildcard()),
    };
    let listener = Listener {
        interface: local.interface,
        recv_q,
        // ss writes 0 where it does not know the backlog.
        send_q: (protocol == Protocol::Udp || has_backlog).then_some(send_q),
        v6_only: is_v6_only.then_some(true),
        inode: fields
            .find_map(|field| field.strip_prefix("ino:")?.parse().ok())
            .unwrap_or(0),
        ..Listener::new(protocol, endpoint)
    };
    Some(match address {
        Some(_) => SsRow::Listener(listener),
        None => SsRow::UnknownFamily(listener),
    })
}

/// `ADDRESS:PORT` as ss prints it.
struct SsEndpoint {
    /// `None` for `*`.
    address: Option<IpAddr>,
    bracketed: bool,
    interface: Option<Interface>,
    port: u16,
}

impl SsEndpoint {
    fn parse(text: &str) -> Option<SsEndpoint> {
        let (host, port) = text.rsplit_once(':')?;
        let (host, interface) = match host.split_once('%') {
            None => (host, None),
            // `[fe80::1]%eth0`, or in some versions `[fe80::1%eth0]`.
            Some((host, name)) => {
                let name = match host.starts_with('[') && !host.ends_with(']') {
                    true => name.strip_suffix(']')?,
                    false => name,
                };
                (host, Some(Interface::new(name.as_bytes())?))
            }
        };
        let in_brackets = host.strip_prefix('[');
        let address = match in_brackets {
            _ if host == "*" => None,
            None => Some(host.parse().ok()?),
            Some(v6) => Some(IpAddr::V6(v6.strip_suffix(']').unwrap_or(v6).parse().ok()?)),
        };
        let port = match port {
            "*" => 0,
            port => port.parse().ok()?,
        };
        Some(SsEndpoint {
            address,
            bracketed: in_brackets.is_some(),
            interface,
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    const NEW_HEADER: &str =
        "Netid State  Recv-Q Send-Q Local Address:Port  Peer Address:PortProcess\n";
    const OLD_HEADER: &str =
        "Netid State      Recv-Q Send-Q     Local Address:Port      Peer Address:Port\n";

    fn read(answer: &str) -> Result<Vec<String>, String> {
        let mut listeners = Vec::new();
        match AnswerReader::new(false).read(answer.as_bytes(), &mut listeners) {
            Ok(true) => Ok(listeners.iter().map(shown).collect()),
            Ok(false) => Err("no header".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// `tcp 0.0.0.0 22`, and `%interface` if there is one.
    fn shown(listener: &Listener) -> String {
        let Endpoint { address, port } = listener.endpoint;
        let name = listener.interface.map(|name| format!("%{}", name.as_str()));
        let name = name.unwrap_or_default();
        format!("{} {address}{name} {port}", listener.protocol.name())
    }

    fn rows(header: &str, rows: &[&str]) -> String {
        format!("{header}{}\n", rows.join("\n"))
    }

    #[test]
    fn current_addresses_are_read() {
        let answer = rows(
            NEW_HEADER,
            &[
                "udp   UNCONN 0      0      127.0.0.53%lo:53        0.0.0.0:*    ",
                "udp   UNCONN 0      0      [fe80::1]%eth0:546         [::]:*    ",
                "tcp   LISTEN 0      128          0.0.0.0:22        0.0.0.0:*    ",
                "tcp   LISTEN 0      128             [::]:22           [::]:*    ",
                "tcp   LISTEN 0      511                *:80              *:*    users:((\"a b\",pid=1,fd=3))",
                "tcp   LISTEN 0      4096 [::ffff:127.0.0.1]:8080         *:*    ",
                "tcp   LISTEN 3      4096           [::1]:631          [::]:*    ",
            ],
        );
        let expected = [
            "udp 127.0.0.53%lo 53",
            "udp fe80::1%eth0 546",
            "tcp 0.0.0.0 22",
            "tcp :: 22",
            "tcp :: 80",
            "tcp ::ffff:127.0.0.1 8080",
            "tcp ::1 631",
        ];
        assert_eq!(read(&answer).unwrap(), expected);
    }

    #[test]
    fn addresses_from_before_2017_are_read() {
        let answer = rows(
            OLD_HEADER,
            &[
                "udp    UNCONN     0      0              *:68                 *:*",
                "udp    UNCONN     0      0       fe80::1%eth0:546           :::*",
                "tcp    LISTEN     0      128    127.0.0.1:25                 *:*",
                "tcp    LISTEN     0      128            *:22                 *:*",
                "tcp    LISTEN     0      128           :::22                :::*",
                "tcp    LISTEN     0      128          ::1:631               :::*",
                "tcp    LISTEN     0      50  ::ffff:127.0.0.1:9005          :::*",
            ],
        );
        let expected = [
            "udp 0.0.0.0 68",
            "udp fe80::1%eth0 546",
            "tcp 127.0.0.1 25",
            "tcp 0.0.0.0 22",
            "tcp :: 22",
            "tcp ::1 631",
            "tcp ::ffff:127.0.0.1 9005",
        ];
        assert_eq!(read(&answer).unwrap(), expected);
    }

    #[test]
    fn other_rows_tell_the_family_of_a_star_whose_peer_is_a_star() {
        let star = "tcp LISTEN 0 128 *:22 *:*";
        let meaning = |header, other: &[&str]| {
            let answer = rows(header, &[&[star], other].concat());
            read(&answer).map(|listeners| listeners[0].clone())
        };
        let (v4, v6) = ("tcp 0.0.0.0 22".to_string(), "tcp :: 22".to_string());
        assert_eq!(meaning(NEW_HEADER, &[]), Ok(v6.clone()));
        assert_eq!(meaning(OLD_HEADER, &[]), Ok(v4.clone()));
        let zeros = ["tcp LISTEN 0 9 0.0.0.0:80 0.0.0.0:*"];
        assert_eq!(meaning(OLD_HEADER, &zeros), Ok(v6.clone()));
        let brackets = ["tcp LISTEN 0 9 [::1]:80 [::]:*"];
        assert_eq!(meaning(OLD_HEADER, &brackets), Ok(v6));
        let bare = ["tcp LISTEN 0 9 :::80 :::*"];
        assert_eq!(meaning(NEW_HEADER, &bare), Ok(v4.clone()));
        let old_v4 = ["tcp LISTEN 0 9 127.0.0.1:80 *:*"];
        assert_eq!(meaning(NEW_HEADER, &old_v4), Ok(v4));
        let v4_13 = "tcp LISTEN 0 9 [::1]:80 *:*";
        assert!(meaning(OLD_HEADER, &[v4_13]).unwrap_err().contains("alike"));
        let alike = [old_v4[0], v4_13];
        assert!(meaning(OLD_HEADER, &alike).unwrap_err().contains("alike"));
    }

    #[test]
    fn the_peer_of_a_star_has_its_family() {
        let stars = "tcp LISTEN 0 128 *:22 *:*\ntcp LISTEN 0 128 :::22 :::*";
        let mut listeners = Vec::new();
        let answer = rows(OLD_HEADER, &[stars]);
        let mut reader = AnswerReader::new(false);
        reader.read(answer.as_bytes(), &mut listeners).unwrap();
        for listener in &listeners {
            assert_eq!(listener.peer.address, listener.endpoint.address);
        }
        assert_eq!(listeners.len(), 2);
    }

    #[test]
    fn the_peer_tells_the_family_of_a_star() {
        let answer = rows(
            NEW_HEADER,
            &[
                "tcp LISTEN 0 0 *:80 0.0.0.0:*",
                "tcp LISTEN 0 0 *:81 [::]:*",
                "udp UNCONN 0 0 *%eth0:68 0.0.0.0:*",
            ],
        );
        let expected = ["tcp 0.0.0.0 80", "tcp :: 81", "udp 0.0.0.0%eth0 68"];
        assert_eq!(read(&answer).unwrap(), expected);
    }

    #[test]
    fn an_interface_may_stand_in_or_after_brackets_and_contain_one() {
        let answer = rows(
            NEW_HEADER,
            &[
                "tcp LISTEN 0 0 [fe80::1]%eth0:80 [::]:*",
                "tcp LISTEN 0 0 [fe80::1%eth0]:80 [::]:*",
                "tcp LISTEN 0 0 [fe80::1]%a]:80 [::]:*",
                "tcp LISTEN 0 0 *%]:80 0.0.0.0:*",
            ],
        );
        let expected = [
            "tcp fe80::1%eth0 80",
            "tcp fe80::1%eth0 80",
            "tcp fe80::1%a] 80",
            "tcp 0.0.0.0%] 80",
        ];
        assert_eq!(read(&answer).unwrap(), expected);
    }

    #[test]
    fn queues_are_read() {
        let answer = rows(NEW_HEADER, &["tcp LISTEN 3 4096 [::1]:80 [::]:*"]);
        let mut listeners = Vec::new();
        AnswerReader::new(false)
            .read(answer.as_bytes(), &mut listeners)
            .unwrap();
        assert_eq!((listeners[0].recv_q, listeners[0].send_q), (3, Some(4096)));
    }

    #[test]
    fn an_inode_is_read_where_ss_was_asked_for_it() {
        let inode = |details: &str| {
            let mut listeners = Vec::new();
            let answer = format!("{NEW_HEADER}tcp LISTEN 0 128 *:80 *:* {details}\n");
            let read = AnswerReader::new(false).read(answer.as_bytes(), &mut listeners);
            assert!(read.unwrap());
            listeners[0].inode
        };
        let of_root = "ino:4294967296 sk:1 cgroup:/a v6only:0 <->";
        assert_eq!(inode(of_root), 1 << 32);
        assert_eq!(
            inode("timer:(keepalive,1min,0) uid:33 ino:77 sk:1 cgroup:/ino:5 <->"),
            77
        );
        assert_eq!(inode("sk:1"), 0);
    }

    /// What the rows of an answer say about `v6only`.
    fn read_v6_only(rows: &str) -> Vec<Option<bool>> {
        let mut listeners = Vec::new();
        let answer = format!("{NEW_HEADER}{rows}");
        let read = AnswerReader::new(false).read(answer.as_bytes(), &mut listeners);
        assert!(read.unwrap());
        listeners.iter().map(|listener| listener.v6_only).collect()
    }

    #[test]
    fn a_star_takes_ipv4_where_ss_got_its_answer_from_netlink() {
        let star = "tcp LISTEN 0 128 *:80 *:*\n";
        let only = "tcp LISTEN 0 128 [::]:81 [::]:*\n";
        let v4 = "tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:*\n";
        assert_eq!(read_v6_only(star), [Some(false)]);
        assert_eq!(
            read_v6_only(&format!("{star}{only}")),
            [Some(false), Some(true)]
        );
        // Where ss reads /proc it knows neither backlog nor v6only.
        let star_of_proc = "tcp LISTEN 0 0 *:80 *:*\n";
        assert_eq!(read_v6_only(star_of_proc), [None]);
        assert_eq!(
            read_v6_only(&format!("{star_of_proc}{v4}")),
            [Some(false), None]
        );
        // Each protocol is asked for by itself.
        let udp = "udp UNCONN 0 0 *:53 *:*\n";
        assert_eq!(read_v6_only(&format!("{star}{udp}")), [Some(false), None]);
        for known in ["127.0.0.53%lo:53 0.0.0.0:*", "[::]:54 [::]:*"] {
            let v6_only = read_v6_only(&format!("{udp}udp UNCONN 0 0 {known}\n"));
            assert_eq!(v6_only[0], Some(false), "{known}");
        }
        // Before 2017 ss did not tell.
        assert_eq!(read_v6_only("tcp LISTEN 0 128 :::80 :::*\n"), [None]);
    }

    fn read_processes(cells: &str) -> Result<Vec<Holders>, String> {
        let answer = format!("{NEW_HEADER}tcp LISTEN 0 128 *:80 *:* {cells}\n");
        let mut listeners = Vec::new();
        let result = AnswerReader::new(true).read(answer.as_bytes(), &mut listeners);
        result.map_err(|error| error.to_string())?;
        Ok(listeners.into_iter().map(|l| l.holders).collect())
    }

    #[test]
    fn processes_are_read_whatever_their_names_hold() {
        let process = |name: &str, pid, fd| Holder {
            name: name.into(),
            pid,
            fd,
        };
        for (cell, expected) in [
            ("", vec![]),
            (
                r#"users:(("a b",pid=1,fd=3))   "#,
                vec![process("a b", 1, 3)],
            ),
            (r#"users:(("sshd",12,3))"#, vec![process("sshd", 12, 3)]),
            (
                r#"users:(("x",pid=1,fd=9",pid=13,fd=4),("",pid=12,fd=4))"#,
                vec![process(r#"x",pid=1,fd=9"#, 13, 4), process("", 12, 4)],
            ),
            (
                "users:((\"a \"b\"\n\",pid=3,fd=4),(\"\n\n\",pid=2,fd=4)) ",
                vec![process("a \"b\"\n", 3, 4), process("\n\n", 2, 4)],
            ),
        ] {
            let read = read_processes(cell).unwrap();
            assert_eq!(read, [Holders::new(expected)], "{cell}");
        }
        let two = "users:((\"a\",pid=3,fd=4))\ntcp LISTEN 0 128 *:81 *:*";
        assert_eq!(read_processes(two).unwrap().len(), 2);
        let many = vec![r#"("nginx",pid=12,fd=6)"#; 2800].join(",");
        let read = read_processes(&format!("users:({many})")).unwrap();
        assert!(!read[0].is_empty());
    }

    #[test]
    fn an_unreadable_process_column_is_refused() {
        for cell in [
            "users:((",
            "users:(())",
            r#"users:(("a",pid=1,fd=3)"#,
            r#"users:(("a",pid=x,fd=3))"#,
            r#"users:(("a",pid=0,fd=3))"#,
            r#"users:(("a",pid=1,fd=3),)"#,
            r#"users:(("a,pid=1,fd=3))"#,
            r#"users:((a",pid=1,fd=3))"#,
            r#"users:(("a",pid=1,fd=3)) more"#,
        ] {
            let error = read_processes(cell).unwrap_err();
            assert!(error.contains("cannot read its line"), "{cell}: {error}");
        }
        let many = vec![r#"("nginx",pid=12,fd=6)"#; 4000].join(",");
        let cut = &format!("users:({many}")[..65_535];
        let row = r#"tcp LISTEN 0 128 *:81 *:* users:(("a",pid=3,fd=4))"#;
        assert!(read_processes(&format!("{cut}\n{row}")).is_err());
        // ss cuts the column off at 65,535 bytes, and the next row follows.
        let many = vec![r#"("nginx",pid=12,fd=6)"#; 3000].join(",");
        let cut = &format!("users:({many}")[..65_535];
        let row = r#"tcp LISTEN 0 128 *:81 *:* users:(("a",pid=3,fd=4))"#;
        assert!(read_processes(&format!("{cut}\n{row}")).is_err());
        let endless = format!("users:((\"{}", "x\n".repeat(LONGEST_LINE));
        assert!(read_processes(&endless).is_err());
    }

    #[test]
    fn a_header_alone_is_an_answer_without_listeners() {
        assert_eq!(read(NEW_HEADER), Ok(vec![]));
        let narrower = "NetidState Recv-QSend-QLocal Address:Port Peer Address:Port\n";
        assert_eq!(read(narrower), Ok(vec![]));
    }

    #[test]
    fn sockets_in_other_states_are_skipped() {
        let answer = rows(NEW_HEADER, &["udp ESTAB 0 0 10.0.0.1:68 10.0.0.2:67"]);
        assert_eq!(read(&answer), Ok(vec![]));
    }

    #[test]
    fn text_that_is_not_from_ss_is_refused() {
        assert_eq!(read(""), Err("no header".into()));
        assert!(read("hello\n").unwrap_err().contains("no header"));
        assert!(
            read(&"x".repeat(100_000))
                .unwrap_err()
                .contains("no header")
        );
        for row in [
            "garbage",
            "",
            "dccp LISTEN 0 0 *:80 *:*",
            "tcp LISTEN 0 0 *:80",
            "tcp LISTEN 0 0 *:http *:*",
            "tcp LISTEN 0 0 *:65536 *:*",
            "tcp LISTEN x 0 *:80 *:*",
            "tcp LISTEN 0 0 localhost:80 0.0.0.0:*",
            "tcp LISTEN 0 0 127.0.0.1%a-name-that-is-too-long:80 0.0.0.0:*",
            "\u{1b}[31mtcp LISTEN 0 0 *:80 *:*",
        ] {
            let error = read(&rows(NEW_HEADER, &[row])).unwrap_err();
            assert!(error.contains("cannot read its line"), "{row:?}: {error}");
        }
    }

    #[test]
    fn an_answer_with_an_overlong_line_is_refused() {
        let long = format!("tcp LISTEN 0 0 *:80 *:* {}", "x".repeat(10_000));
        let error = read(&rows(NEW_HEADER, &[&long])).unwrap_err();
        assert!(error.contains("(over-long)"), "{error}");
    }

    #[test]
    fn an_answer_without_end_is_refused() {
        let mut listeners = Vec::new();
        let mut read = |number: usize| {
            listeners.clear();
            let answer = rows(NEW_HEADER, &vec!["tcp LISTEN 0 0 [::]:1 [::]:*"; number]);
            AnswerReader::new(false).read(answer.as_bytes(), &mut listeners)
        };
        assert!(matches!(read(262_144), Ok(true)));
        assert!(matches!(read(262_145), Err(AnswerError::TooLong)));
        // What names many processes takes up more.
        let processes = vec![r#"("a",pid=1,fd=3)"#; 64].join(",");
        let row = format!("tcp LISTEN 0 0 [::]:1 [::]:* users:({processes})");
        let answer = rows(NEW_HEADER, &vec![row.as_str(); 30_000]);
        let result = AnswerReader::new(true).read(answer.as_bytes(), &mut listeners);
        assert!(matches!(result, Err(AnswerError::TooLong)), "{result:?}");
    }

    #[test]
    fn a_read_error_is_returned() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(ErrorKind::ConnectionReset.into())
            }
        }
        let result = AnswerReader::new(false).read(Broken, &mut Vec::new());
        assert!(matches!(result, Err(AnswerError::Read(_))), "{result:?}");
    }

    #[test]
    fn a_last_line_that_is_cut_short_is_refused() {
        let whole = rows(NEW_HEADER, &["tcp LISTEN 0 128 0.0.0.0:8080 0.0.0.0:*"]);
        assert!(read(&whole).is_ok());
        for end in NEW_HEADER.len() + 1..whole.len() {
            assert!(read(&whole[..end]).is_err(), "{:?}", &whole[..end]);
        }
    }
}
