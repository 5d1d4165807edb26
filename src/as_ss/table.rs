//! ss's table: the columns of Debian's iproute2 6.1, as wide as what stands in
//! them, byte for byte as ss writes them to a pipe or a file.

use std::net::IpAddr;

use crate::listener::{Holder, Interface, Listener, SsAddress};

const COLUMNS: usize = 9;
const NETID: usize = 0;
const PROCESS: usize = 8;

const HEADINGS: [&str; COLUMNS] = [
    "Netid",
    "State",
    "Recv-Q",
    "Send-Q",
    "Local Address:",
    "Port",
    "Peer Address:",
    "Port",
    "Process",
];
/// What stands before a column that is not the first of its line.
const DELIMITERS: [&str; COLUMNS] = ["", " ", " ", " ", " ", "", " ", "", ""];
const IS_RIGHT_ALIGNED: [bool; COLUMNS] =
    [false, false, false, false, true, false, true, false, false];

/// The lines of one answer.
#[derive(Debug, Default)]
pub struct Table {
    has_netid: bool,
    has_header: bool,
    rows: Vec<[Vec<u8>; COLUMNS]>,
}

impl Table {
    /// A table without rows. `has_netid` says whether it has the column that
    /// tells protocols apart.
    pub fn new(has_netid: bool, has_header: bool) -> Table {
        let mut table = Table {
            has_netid,
            has_header,
            rows: Vec::new(),
        };
        if has_header {
            table.rows.push(HEADINGS.map(Vec::from));
        }
        table
    }

    /// Adds the row of `listener`, with its port and that of its peer as they are
    /// to be written.
    pub fn push(&mut self, listener: &Listener, port: &str, peer_port: &str) {
        let v6_only = listener.v6_only == Some(true);
        let interface = listener.interface.as_ref().map(Interface::as_str);
        self.rows.push([
            listener.protocol.name().into(),
            listener.protocol.listening_state().into(),
            queue(listener.recv_q),
            queue(listener.send_q),
            address(listener.endpoint.address, v6_only, interface),
            port.into(),
            address(listener.peer.address, v6_only, None),
            peer_port.into(),
            users(listener.holders.as_slice()),
        ]);
    }

    /// The text, which ends with a newline if it is not empty.
    pub fn into_text(self) -> Vec<u8> {
        let first = if self.has_netid { NETID } else { NETID + 1 };
        let widths: [usize; COLUMNS] = std::array::from_fn(|column| self.width(column));
        let mut text = Vec::new();
        for row in &self.rows {
            for column in first..COLUMNS {
                if column > first {
                    text.extend_from_slice(DELIMITERS[column].as_bytes());
                }
                let cell = &row[column];
                let blanks = widths[column].saturating_sub(cell.len());
                let (before, after) = match IS_RIGHT_ALIGNED[column] {
                    true => (blanks, 0),
                    false => (0, blanks),
                };
                text.resize(text.len() + before, b' ');
                text.extend_from_slice(cell);
                text.resize(text.len() + after, b' ');
            }
            text.push(b'\n');
        }
        text
    }

    /// ss measures a field when it comes to the next one, and nothing comes
    /// after the processes of the last socket.
    fn width(&self, column: usize) -> usize {
        let rows = match self.rows.split_last() {
            Some((_, rest)) if column == PROCESS && self.ends_in_a_socket() => rest,
            _ => &self.rows,
        };
        rows.iter().map(|row| row[column].len()).max().unwrap_or(0)
    }

    fn ends_in_a_socket(&self) -> bool {
        self.rows.len() > usize::from(self.has_header)
    }
}

/// Queues are a C `int` to ss.
fn queue(length: u32) -> Vec<u8> {
    format!("{:<6}", length as i32).into()
}

/// An address as its column holds it, with the colon before the port. A socket
/// that takes IPv4 too has `*` for the IPv6 wildcard.
fn address(address: IpAddr, v6_only: bool, interface: Option<&str>) -> Vec<u8> {
    let is_any = address.is_ipv6() && address.is_unspecified() && !v6_only;
    let mut text = match is_any {
        true => "*".to_string(),
        false => SsAddress(address).to_string(),
    };
    if let Some(name) = interface {
        text.push('%');
        text.push_str(name);
    }
    text.push(':');
    text.into()
}

/// ` users:(("NAME",pid=12,fd=3),…)`, or nothing.
fn users(processes: &[Holder]) -> Vec<u8> {
    let mut text = Vec::new();
    for Holder { name, pid, fd } in processes {
        let before: &[u8] = if text.is_empty() {
            b" users:((\""
        } else {
            b",(\""
        };
        text.extend_from_slice(before);
        text.extend_from_slice(name);
        text.extend_from_slice(format!("\",pid={pid},fd={fd})").as_bytes());
    }
    if !text.is_empty() {
        text.push(b')');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{Endpoint, Holders, Protocol};

    fn listener(address: &str, processes: &[(&str, u32)]) -> Listener {
        let endpoint = Endpoint {
            port: 1,
            address: address.parse().unwrap(),
        };
        let process = |(name, pid): &(&str, u32)| Holder {
            name: name.as_bytes().into(),
            pid: *pid,
            fd: 3,
        };
        Listener {
            holders: Holders::new(processes.iter().map(process)),
            ..Listener::new(Protocol::Tcp, endpoint)
        }
    }

    fn text(table: Table) -> String {
        String::from_utf8(table.into_text()).unwrap()
    }

    #[test]
    fn the_processes_of_the_last_socket_widen_nothing() {
        let mut table = Table::new(false, true);
        table.push(&listener("127.0.0.1", &[("a", 1)]), "1", "*");
        table.push(&listener("::1", &[("bb", 22), ("c", 1)]), "1", "*");
        let expected = "\
State  Recv-Q Send-Q Local Address:Port Peer Address:PortProcess                  \n\
LISTEN 0      0          127.0.0.1:1         0.0.0.0:*    users:((\"a\",pid=1,fd=3))\n\
LISTEN 0      0              [::1]:1               *:*    users:((\"bb\",pid=22,fd=3),(\"c\",pid=1,fd=3))\n";
        assert_eq!(text(table), expected);
    }

    #[test]
    fn without_a_header_columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(true, false);
        table.push(&listener("::", &[]), "80", "*");
        let only = Listener {
            v6_only: Some(true),
            ..listener("::", &[])
        };
        table.push(&only, "8080", "*");
        let expected = "tcp LISTEN 0      0         *:80      *:*\n\
                        tcp LISTEN 0      0      [::]:8080 [::]:*\n";
        assert_eq!(text(table), expected);
        assert_eq!(text(Table::new(true, false)), "");
    }

    #[test]
    fn queues_are_signed() {
        assert_eq!(queue(7), b"7     ");
        assert_eq!(queue(u32::MAX), b"-1    ");
        assert_eq!(queue(i32::MAX as u32), b"2147483647");
    }
}
