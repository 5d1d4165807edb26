//! Parses the output of `ss -lntu`, of any version of ss, into listeners.

use std::fmt;
use std::io::{self, Read};
use std::net::IpAddr;

use crate::kernel::proc::scan::Scanner;
use crate::listener::{Endpoint, Family, Interface, Listener, Protocol};

/// An answer with more bytes than this is refused. A row that is shorter than [`SIZE_OF_ROW`]
/// counts as that many bytes, so at most 262,144 rows are accepted.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;
/// About the number of bytes that a listener needs in memory.
const SIZE_OF_ROW: usize = 128;

/// Why an answer of ss cannot be parsed.
#[derive(Debug)]
pub enum AnswerError {
    /// The output could not be read.
    Read(io::Error),
    /// The first line is not the header `Netid State … Peer Address:Port`.
    NoHeader,
    /// A line is not a row of ss. The value is the start of the line.
    Line(String),
    /// The answer has too many rows.
    TooLong,
    /// The answer prints the wildcards of IPv4 and IPv6 in the same way, as iproute2 4.13
    /// does.
    AmbiguousWildcards,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnswerError::Read(error) => error.fmt(f),
            AnswerError::NoHeader => f.write_str("ss: no header in its output"),
            AnswerError::Line(line) => write!(f, "ss: cannot read the line '{line}'"),
            AnswerError::TooLong => f.write_str("ss: printed too many rows"),
            AnswerError::AmbiguousWildcards => {
                f.write_str("ss: this version prints IPv4 and IPv6 wildcards the same")
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

/// Reads the output of any version of `ss -lntu`.
///
/// Versions print wildcards in different ways:
///
/// - The IPv4 wildcard is `0.0.0.0`, or `*` before 2017.
/// - The IPv6 wildcard is `[::]`, or `*` if the socket accepts IPv4 too, or `::` before 2017.
///
/// So `*` can mean either wildcard. The other addresses of the same answer show which one it
/// means.
#[derive(Debug, Default)]
pub struct AnswerReader {
    scanner: Scanner,
}

impl AnswerReader {
    /// Appends the listeners of one answer to `listeners`. Returns false if the answer is
    /// empty, without even a header.
    ///
    /// # Errors
    /// If `reader` fails, or the answer cannot be parsed or is too long. `listeners` then
    /// holds part of a snapshot and must not be used.
    pub fn read(
        &mut self,
        reader: impl Read,
        listeners: &mut Vec<Listener>,
    ) -> Result<bool, AnswerError> {
        // Indices of listeners on `*` whose own row does not reveal the family.
        let mut unknown_family = Vec::new();
        let mut lines = self.scanner.lines(reader);
        let mut style = match lines.next().map_err(AnswerError::Read)? {
            Some(line) if is_header(line.bytes) => Style::from_header(line.bytes),
            Some(_) => return Err(AnswerError::NoHeader),
            None => return Ok(false),
        };
        let mut left = LONGEST_ANSWER;
        while let Some(line) = lines.next().map_err(AnswerError::Read)? {
            let row = without_processes(line.bytes)
                .filter(|_| line.terminated)
                .and_then(|row| parse_row(row, &mut style));
            let size = line.bytes.len().max(SIZE_OF_ROW);
            let row = row.ok_or_else(|| AnswerError::line(line.bytes))?;
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
                // If ss asked netlink, it knows which sockets do not accept IPv4, and prints
                // `[::]` for them. So a socket on `*` accepts IPv4.
                let knows = wildcard.is_ipv6() && style.is_from_netlink[listener.protocol as usize];
                listener.v6_only = knows.then_some(false);
            }
        }
        Ok(true)
    }
}

/// Cuts off the Process column, which `-lntu` does not ask for. `None` if that column does
/// not end in this line: ss does not escape process names, so the part of a name after a
/// newline could look like a row.
///
/// No other column can contain `users:((`. The only free text in the other columns is the name
/// of an interface, which has no colon.
fn without_processes(line: &[u8]) -> Option<&[u8]> {
    const PROCESSES: &[u8] = b"users:((";
    let mut starts = line.windows(PROCESSES.len());
    match starts.position(|window| window == PROCESSES) {
        Some(start) => line
            .trim_ascii_end()
            .ends_with(b"))")
            .then_some(&line[..start]),
        None => Some(line),
    }
}

/// Whether `line` starts with the columns that [`parse_row`] reads, in the same order.
/// Ignores blanks, because some versions print `NetidState` as one word.
fn is_header(line: &[u8]) -> bool {
    let columns = b"NetidStateRecv-QSend-QLocalAddress:PortPeerAddress:Port";
    let mut letters = line.iter().filter(|byte| !byte.is_ascii_whitespace());
    columns.iter().all(|column| letters.next() == Some(column))
}

/// What an answer reveals about the version of ss that printed it. The version numbers in the
/// comments of the fields are versions of iproute2.
#[derive(Debug, Default)]
struct Style {
    /// Whether the header has the spacing of versions before 4.15.
    has_old_header: bool,
    /// Whether an IPv6 address has no brackets, as before 4.13.
    has_bare_v6: bool,
    /// Whether a local address has brackets, as since 4.13.
    has_brackets: bool,
    /// Whether an IPv4 address has the peer `*`, as before 4.14.
    has_v4_with_star_peer: bool,
    /// Whether a peer is `0.0.0.0` or has brackets, as since 4.14.
    has_peer_with_family: bool,
    /// For each protocol, whether its rows have details that ss gets only from netlink: a
    /// backlog, an interface or `[::]`. If ss reads `/proc`, it prints `*` for every IPv6
    /// wildcard.
    is_from_netlink: [bool; 2],
}

impl Style {
    fn from_header(line: &[u8]) -> Style {
        Style {
            has_old_header: line.starts_with(b"Netid State      Recv-Q Send-Q "),
            ..Style::default()
        }
    }

    /// Records the addresses of one row.
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

    /// The wildcard that a local `*` with the peer `*` means. `None` if it can be either.
    ///
    /// Before 4.13 it is the IPv4 wildcard, and since 4.14 the IPv6 wildcard. 4.13 prints both
    /// in this way. If the answer may come either from 4.13 or from an older version, the
    /// older version is assumed, because few systems had 4.13.
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

/// The socket in a row of ss.
enum SsRow {
    Listener(Listener),
    /// A listener on `*` whose row does not reveal the family.
    UnknownFamily(Listener),
    /// A socket in another state.
    Other,
}

/// Parses `line`, which must not have a Process column. `None` if it is not a row.
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
    // Both ends have the same family, so a peer of `0.0.0.0` or `[::]` shows what a local `*`
    // means.
    let wildcard = peer.address.filter(IpAddr::is_unspecified);
    let address = local.address.or(wildcard);
    let endpoint = Endpoint {
        port: local.port,
        address: address.unwrap_or(Family::V6.wildcard()),
    };
    let listener = Listener {
        interface: local.interface,
        recv_q,
        // ss prints 0 if it does not know the backlog.
        send_q: (protocol == Protocol::Udp || has_backlog).then_some(send_q),
        v6_only: is_v6_only.then_some(true),
        ..Listener::new(protocol, endpoint)
    };
    Some(match address {
        Some(_) => SsRow::Listener(listener),
        None => SsRow::UnknownFamily(listener),
    })
}

/// One end of a socket, which ss prints as `ADDRESS:PORT`.
struct SsEndpoint {
    /// The address, or `None` for `*`.
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
            // Most versions print `[fe80::1]%eth0`, some `[fe80::1%eth0]`.
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
        match AnswerReader::default().read(answer.as_bytes(), &mut listeners) {
            Ok(true) => Ok(listeners.iter().map(shown).collect()),
            Ok(false) => Err("no header".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The listener as text, such as `tcp fe80::1%eth0 22`.
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
    fn addresses_from_current_versions_are_read() {
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
    fn other_rows_reveal_the_family_of_a_star() {
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
        assert!(
            meaning(OLD_HEADER, &[v4_13])
                .unwrap_err()
                .contains("the same")
        );
        let alike = [old_v4[0], v4_13];
        assert!(
            meaning(OLD_HEADER, &alike)
                .unwrap_err()
                .contains("the same")
        );
    }

    #[test]
    fn star_and_peer_get_the_same_family() {
        let stars = "tcp LISTEN 0 128 *:22 *:*\ntcp LISTEN 0 128 :::22 :::*";
        let mut listeners = Vec::new();
        let answer = rows(OLD_HEADER, &[stars]);
        let mut reader = AnswerReader::default();
        reader.read(answer.as_bytes(), &mut listeners).unwrap();
        for listener in &listeners {
            assert_eq!(listener.peer.address, listener.endpoint.address);
        }
        assert_eq!(listeners.len(), 2);
    }

    #[test]
    fn the_peer_reveals_the_family_of_a_star() {
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
    fn interfaces_in_and_after_brackets_are_read() {
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
        AnswerReader::default()
            .read(answer.as_bytes(), &mut listeners)
            .unwrap();
        assert_eq!((listeners[0].recv_q, listeners[0].send_q), (3, Some(4096)));
    }

    /// The `v6only` of each row of an answer.
    fn read_v6_only(rows: &str) -> Vec<Option<bool>> {
        let mut listeners = Vec::new();
        let answer = format!("{NEW_HEADER}{rows}");
        let read = AnswerReader::default().read(answer.as_bytes(), &mut listeners);
        assert!(read.unwrap());
        listeners.iter().map(|listener| listener.v6_only).collect()
    }

    #[test]
    fn a_star_in_an_answer_from_netlink_accepts_ipv4() {
        let star = "tcp LISTEN 0 128 *:80 *:*\n";
        let only = "tcp LISTEN 0 128 [::]:81 [::]:*\n";
        let v4 = "tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:*\n";
        assert_eq!(read_v6_only(star), [Some(false)]);
        assert_eq!(
            read_v6_only(&format!("{star}{only}")),
            [Some(false), Some(true)]
        );
        // If ss reads /proc, it knows neither the backlog nor v6only.
        let star_of_proc = "tcp LISTEN 0 0 *:80 *:*\n";
        assert_eq!(read_v6_only(star_of_proc), [None]);
        assert_eq!(
            read_v6_only(&format!("{star_of_proc}{v4}")),
            [Some(false), None]
        );
        // ss asks for each protocol separately, so netlink may answer for one of them only.
        let udp = "udp UNCONN 0 0 *:53 *:*\n";
        assert_eq!(read_v6_only(&format!("{star}{udp}")), [Some(false), None]);
        for known in ["127.0.0.53%lo:53 0.0.0.0:*", "[::]:54 [::]:*"] {
            let v6_only = read_v6_only(&format!("{udp}udp UNCONN 0 0 {known}\n"));
            assert_eq!(v6_only[0], Some(false), "{known}");
        }
        // Before 2017, ss did not print v6only.
        assert_eq!(read_v6_only("tcp LISTEN 0 128 :::80 :::*\n"), [None]);
    }

    #[test]
    fn a_process_column_is_skipped() {
        let shown = |cell: &str| {
            let row = format!("tcp LISTEN 0 128 *:80 *:* {cell}");
            read(&rows(NEW_HEADER, &[&row, "tcp LISTEN 0 128 *:81 *:*"]))
        };
        for cell in [
            r#"users:(("a b",pid=1,fd=3))   "#,
            r#"users:(("sshd",12,3))"#,
            r#"users:(("x",pid=1,fd=9",pid=13,fd=4),("",pid=12,fd=4))"#,
        ] {
            assert_eq!(shown(cell).unwrap(), ["tcp :: 80", "tcp :: 81"], "{cell}");
        }
    }

    #[test]
    fn a_process_column_over_several_lines_is_refused() {
        let forged = "tcp LISTEN 0 128 *:80 *:* users:((\"a\ntcp LISTEN 0 0 *:82 *:*\",1,3))";
        let error = read(&rows(NEW_HEADER, &[forged])).unwrap_err();
        assert!(error.contains("cannot read the line"), "{error}");
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
            assert!(error.contains("cannot read the line"), "{row:?}: {error}");
        }
    }

    #[test]
    fn an_answer_with_an_overlong_line_is_refused() {
        let long = format!("tcp LISTEN 0 0 *:80 *:* {}", "x".repeat(10_000));
        let error = read(&rows(NEW_HEADER, &[&long])).unwrap_err();
        assert!(error.contains("(over-long)"), "{error}");
    }

    #[test]
    fn an_answer_with_too_many_rows_is_refused() {
        let mut listeners = Vec::new();
        let mut read = |number: usize| {
            listeners.clear();
            let answer = rows(NEW_HEADER, &vec!["tcp LISTEN 0 0 [::]:1 [::]:*"; number]);
            AnswerReader::default().read(answer.as_bytes(), &mut listeners)
        };
        assert!(matches!(read(262_144), Ok(true)));
        assert!(matches!(read(262_145), Err(AnswerError::TooLong)));
    }

    #[test]
    fn a_read_error_is_returned() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(ErrorKind::ConnectionReset.into())
            }
        }
        let result = AnswerReader::default().read(Broken, &mut Vec::new());
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
