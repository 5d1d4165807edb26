//! What `ss -lntu` prints becomes listeners, whichever version of ss
//! printed it.

use std::fmt;
use std::io::{self, Read};
use std::net::IpAddr;

use crate::kernel::proc::scan::Scanner;
use crate::listener::{Endpoint, Family, Interface, Listener, Protocol};

/// The most bytes of an answer that are read, where a row counts for at least
/// [`SIZE_OF_ROW`]: 262,144 rows.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;
/// About as many bytes as a listener takes up here.
const SIZE_OF_ROW: usize = 128;

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

/// Reads what any version of `ss -lntu` prints.
///
/// Versions print wildcards in different ways:
///
/// - IPv4 is `0.0.0.0`, or `*` before 2017.
/// - IPv6 is `[::]`, or `*` if the socket takes IPv4 too, or `::` before 2017.
///
/// So `*` can be either. The other addresses of the same answer tell which.
#[derive(Debug, Default)]
pub struct AnswerReader {
    scanner: Scanner,
}

impl AnswerReader {
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
                // If ss knows, it writes `[::]` for a socket that takes no IPv4.
                let knows = wildcard.is_ipv6() && style.is_from_netlink[listener.protocol as usize];
                listener.v6_only = knows.then_some(false);
            }
        }
        Ok(true)
    }
}

/// The line without its Process column, which `-lntu` does not ask for. `None` if that
/// column does not end in this line: ss does not escape names, so a name with a newline
/// could pass for a row.
///
/// No other column can hold `users:((`. The only free text in them is the name of
/// an interface, and that has no colon.
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
        match AnswerReader::default().read(answer.as_bytes(), &mut listeners) {
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
    fn the_peer_of_a_star_has_its_family() {
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
        AnswerReader::default()
            .read(answer.as_bytes(), &mut listeners)
            .unwrap();
        assert_eq!((listeners[0].recv_q, listeners[0].send_q), (3, Some(4096)));
    }

    /// What the rows of an answer say about `v6only`.
    fn read_v6_only(rows: &str) -> Vec<Option<bool>> {
        let mut listeners = Vec::new();
        let answer = format!("{NEW_HEADER}{rows}");
        let read = AnswerReader::default().read(answer.as_bytes(), &mut listeners);
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
    fn an_answer_without_end_is_refused() {
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
