//! inet_diag of sock_diag(7): sockets of IP with all that ss shows of them. The
//! request also has the filter, so that the kernel passes on no more than needed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::info;
use crate::as_ss::ask::filter::{Facts, Place, bytecode};
use crate::as_ss::ask::selection::{AddressFamily, State, States};
use crate::as_ss::show::printer::{Answered, Details, Printer};
use crate::kernel::netlink::SocketLists;
use crate::kernel::netlink::message::{array_at, attribute};
use crate::listener::SsAddress;

/// A protocol that inet_diag lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Inet {
    Tcp,
    Mptcp,
    Dccp,
    Udp,
    Raw,
    Sctp,
}

impl Inet {
    /// Its number, which for one of them is longer than a byte.
    fn number(self) -> u32 {
        match self {
            Inet::Tcp => 6,
            Inet::Udp => 17,
            Inet::Dccp => 33,
            Inet::Sctp => 132,
            Inet::Raw => 255,
            Inet::Mptcp => 262,
        }
    }

    /// The name of its line in `/proc/net/protocols`.
    pub fn name(self) -> &'static str {
        match self {
            Inet::Tcp => "TCP",
            Inet::Udp => "UDP",
            Inet::Dccp => "DCCP",
            Inet::Sctp => "SCTP",
            Inet::Raw => "RAW",
            Inet::Mptcp => "MPTCP",
        }
    }
}

/// `struct inet_diag_req_v2` behind its first four bytes and the states.
const ID_SIZE: usize = 48;
/// The length of `struct inet_diag_msg`; attributes follow.
const ROW_SIZE: usize = 72;

const REQUEST_BYTECODE: u16 = 1;
const REQUEST_PROTOCOL: u16 = 3;

const SHUTDOWN: u16 = 8;
const PROTOCOL: u16 = 10;
const V6_ONLY: u16 = 11;
const MARK: u16 = 15;
const CGROUP: u16 = 21;

/// Asks for the sockets of `protocol` and writes those that are wanted.
///
/// # Errors
/// If the kernel does not list them.
pub fn show(protocol: Inet, printer: &mut Printer<'_>) -> Answered {
    let mut rows = 0;
    let last = printer.selection.last_family;
    // As ss, ask for one family only if it is the last that was named.
    let asked: &[AddressFamily] = match last {
        Some(AddressFamily::Inet) => &[AddressFamily::Inet],
        Some(AddressFamily::Inet6) => &[AddressFamily::Inet6],
        _ => &[AddressFamily::Inet, AddressFamily::Inet6],
    };
    let mut last_inode = 0;
    let mut lists = SocketLists::open().map_err(|error| (error.into(), rows))?;
    for family in asked {
        let request = request(protocol, *family, printer);
        let mut show_row = |row: &[u8]| {
            rows += 1;
            let socket = Socket::parse(row)?;
            if printer.selection.families.has(socket.family) {
                socket.show(protocol, &mut last_inode, printer)?;
            }
            Some(())
        };
        let answered = lists.dump(&request, &mut show_row);
        answered.map_err(|error| (printer.why(error), rows))?;
    }
    Ok(())
}

fn request(protocol: Inet, family: AddressFamily, printer: &Printer<'_>) -> Vec<u8> {
    let number = protocol.number();
    let mut request = vec![family.number(), number as u8, extensions(printer), 0];
    request.extend(
        states(protocol, printer.selection.states)
            .bits()
            .to_ne_bytes(),
    );
    request.resize(request.len() + ID_SIZE, 0);
    let mut attribute = |kind: u16, value: &[u8]| {
        request.extend((4 + value.len() as u16).to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend(value);
    };
    if let Some(program) = printer.filter.and_then(bytecode::compile) {
        attribute(REQUEST_BYTECODE, &program);
    }
    if number > 255 {
        attribute(REQUEST_PROTOCOL, &number.to_ne_bytes());
    }
    request
}

/// What the kernel is to add to each row, by the bits of its attributes.
fn extensions(printer: &Printer<'_>) -> u8 {
    let bit = |kind: u16| 1 << (kind - 1);
    let memory = match printer.show.memory {
        true => bit(info::MEMORY_SUM) | bit(info::MEMORY),
        false => 0,
    };
    let info = match printer.show.info {
        true => bit(info::INFO) | bit(info::VEGAS) | bit(info::CONGESTION),
        false => 0,
    };
    memory | info
}

/// For `-l`, ss asks for TCP sockets in CLOSE too. The kernel would walk all
/// connections to find them, and there are none: what is closed is in no table.
fn states(protocol: Inet, states: States) -> States {
    match (protocol, states) {
        (Inet::Tcp, States::LISTENING) => States::of(State::Listen),
        _ => states,
    }
}

/// A row of inet_diag.
struct Socket<'a> {
    row: &'a [u8],
    attributes: &'a [u8],
    family: AddressFamily,
    state: u8,
    local: (IpAddr, u16),
    peer: (IpAddr, u16),
    interface: u32,
}

impl<'a> Socket<'a> {
    /// `None` if the row cannot be read.
    fn parse(row: &'a [u8]) -> Option<Socket<'a>> {
        let family = [AddressFamily::Inet, AddressFamily::Inet6]
            .into_iter()
            .find(|family| row.first() == Some(&family.number()))?;
        let attributes = row.get(ROW_SIZE..)?;
        let end = |port, address| {
            let port = u16::from_be_bytes(array_at(row, port)?);
            let address = match family {
                AddressFamily::Inet => Ipv4Addr::from(array_at::<4>(row, address)?).into(),
                _ => Ipv6Addr::from(array_at::<16>(row, address)?).into(),
            };
            Some((address, port))
        };
        Some(Socket {
            row,
            attributes,
            family,
            state: row[1],
            local: end(4, 8)?,
            peer: end(6, 24)?,
            interface: word(row, 40)?,
        })
    }

    fn byte(&self, kind: u16) -> Option<u8> {
        attribute(self.attributes, kind)?.first().copied()
    }

    fn mark(&self) -> u32 {
        let mark = attribute(self.attributes, MARK);
        mark.and_then(|mark| word(mark, 0)).unwrap_or(0)
    }

    fn cgroup(&self) -> u64 {
        let number = attribute(self.attributes, CGROUP);
        let number = number.and_then(|number| array_at(number, 0));
        number.map_or(0, u64::from_ne_bytes)
    }

    /// `None` if something of the row cannot be read, or is not covered.
    fn show(&self, protocol: Inet, last_inode: &mut u32, printer: &mut Printer<'_>) -> Option<()> {
        let row = self.row;
        if printer.filter.is_some() {
            let facts = Facts {
                family: self.family,
                local: place(self.local),
                peer: place(self.peer),
                interface: self.interface,
                mark: self.mark(),
                cgroup: self.cgroup(),
            };
            if !printer.accepts(&facts) {
                return Some(());
            }
        }
        let inode = word(row, 68)?;
        let number = self.byte(PROTOCOL).map_or(protocol.number(), u32::from);
        let (recv_q, send_q) = (word(row, 56)?, word(row, 60)?);
        // Associations follow their endpoint and share its inode.
        let is_association = protocol == Inet::Sctp && inode != 0 && inode == *last_inode;
        *last_inode = inode;
        match is_association {
            true => printer.start_association(self.state, recv_q, send_q),
            false => printer.start(netid(number), self.state, recv_q, send_q),
        }
        let v6_only = match self.family {
            AddressFamily::Inet6 => self.byte(V6_ONLY),
            _ => None,
        };
        let is_v6_only = v6_only.unwrap_or(0) != 0;
        printer.endpoint(self.local, self.interface, is_v6_only);
        printer.endpoint(self.peer, 0, is_v6_only);
        printer.users(inode);
        if printer.show.timers {
            let (timer, expires) = (row[2], word(row, 52)?);
            let retransmissions = u32::from(row[3]);
            match protocol {
                Inet::Sctp if timer == 0 => {}
                Inet::Sctp => printer.timer("T3_RTX", expires, retransmissions),
                _ => printer.tcp_timer(timer.into(), expires, retransmissions),
            }
        }
        if printer.show.details {
            printer.details(&Details {
                uid: word(row, 64)?,
                inode,
                cookie: u64::from(word(row, 48)?) << 32 | u64::from(word(row, 44)?),
                mark: self.mark(),
                cgroup: self.cgroup(),
            });
            if let Some(v6_only) = v6_only {
                printer.v6_only(v6_only);
            }
            if let Some(shut) = self.byte(SHUTDOWN) {
                printer.directions(shut);
            }
        }
        if printer.show.memory || printer.show.info && number != Inet::Udp.number() {
            printer.new_line();
            info::show(number, self.state, self.attributes, printer)?;
        }
        Some(())
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_ne_bytes)
}

/// One end as a filter sees it.
pub fn place((address, port): (IpAddr, u16)) -> Place<'static> {
    let mut octets = [0; 16];
    match address {
        IpAddr::V4(address) => octets[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => octets = address.octets(),
    }
    Place {
        octets,
        port: port.into(),
        name: None,
    }
}

/// What ss calls the sockets of this protocol. A raw socket has the protocol that it
/// speaks.
fn netid(number: u32) -> &'static str {
    match number {
        0 => "raw",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        58 => "icmp6",
        132 => "sctp",
        262 => "mptcp",
        _ => "???",
    }
}

impl Printer<'_> {
    /// An address and a port. A socket that takes IPv4 too has `*` for the IPv6
    /// wildcard.
    pub fn endpoint(&mut self, (address, port): (IpAddr, u16), interface: u32, is_v6_only: bool) {
        use std::fmt::Write as _;
        match address {
            IpAddr::V4(address) => {
                for (index, octet) in address.octets().into_iter().enumerate() {
                    if index > 0 {
                        self.table.push(b".");
                    }
                    self.table.decimal(octet.into());
                }
            }
            IpAddr::V6(any) if any.is_unspecified() && !is_v6_only => self.table.push(b"*"),
            IpAddr::V6(_) => {
                let _ = write!(self.table, "{}", SsAddress(address));
            }
        }
        if interface != 0 {
            let name = self.interface(interface);
            let _ = write!(self.table, "%{}", name.as_str());
        }
        self.table.cell(":");
        self.port_cell(port);
    }

    fn v6_only(&mut self, v6_only: u8) {
        self.table.push(b" v6only:");
        self.table.decimal(v6_only.into());
    }

    /// Starts the row of an SCTP association, which has states of its own.
    fn start_association(&mut self, state: u8, recv_q: u32, send_q: u32) {
        const STATES: [&str; 8] = [
            "CLOSED",
            "COOKIE_WAIT",
            "COOKIE_ECHOED",
            "ESTAB",
            "SHUTDOWN_PENDING",
            "SHUTDOWN_SENT",
            "SHUTDOWN_RECEIVED",
            "ACK_SENT",
        ];
        use std::fmt::Write as _;
        self.table.start_row();
        self.table.cell("");
        let state = STATES.get(usize::from(state)).unwrap_or(&"UNKNOWN");
        let _ = write!(self.table, "`- {state}");
        self.table.end_cell();
        self.queues(recv_q, send_q);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::as_ss::ask::request::Show;
    use crate::as_ss::ask::selection::{Kinds, Selection};
    use crate::as_ss::names::services::Services;
    use crate::as_ss::show::table::Table;

    /// `struct inet_diag_msg`: an IPv4 socket of this state and inode.
    fn row(state: u8, inode: u32) -> Vec<u8> {
        let mut row = vec![0; ROW_SIZE];
        (row[0], row[1]) = (2, state);
        row[4..6].copy_from_slice(&80u16.to_be_bytes());
        row[8..12].copy_from_slice(&[127, 0, 0, 1]);
        row[68..72].copy_from_slice(&inode.to_ne_bytes());
        row
    }

    fn shown(protocol: Inet, rows: &[Vec<u8>]) -> String {
        let mut selection = Selection::default();
        selection.add_kinds(Kinds::named("inet").unwrap());
        let services = Services::new("/nonexistent".into(), "/nonexistent".into());
        let mut text = Vec::new();
        let mut write = |more: Vec<u8>| {
            text.extend(more);
            Ok(())
        };
        let table = Table::new(true, true, false, &mut write);
        let mut printer = Printer::new(table, Show::default(), &selection, None, &services);
        let mut last_inode = 0;
        for row in rows {
            let socket = Socket::parse(row).unwrap();
            let shown = socket.show(protocol, &mut last_inode, &mut printer);
            assert_eq!(shown, Some(()));
        }
        printer.table.finish().unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn an_association_follows_its_endpoint() {
        let expected = "sctp LISTEN   0      0      127.0.0.1:80 0.0.0.0:*\n     \
                        `- ESTAB 0      0      127.0.0.1:80 0.0.0.0:*\n\
                        sctp ESTAB    0      0      127.0.0.1:80 0.0.0.0:*\n";
        let rows = [row(10, 7), row(3, 7), row(1, 8)];
        assert_eq!(shown(Inet::Sctp, &rows), expected);
    }

    #[test]
    fn a_raw_socket_is_named_by_the_protocol_that_it_speaks() {
        let speaking = |protocol: u8| {
            let mut row = row(7, 1);
            row.extend(5u16.to_ne_bytes());
            row.extend(PROTOCOL.to_ne_bytes());
            row.extend([protocol, 0, 0, 0]);
            row
        };
        let text = shown(Inet::Raw, &[speaking(58), speaking(1)]);
        let names: Vec<_> = text.lines().map(|line| line.split(' ').next()).collect();
        assert_eq!(names, [Some("icmp6"), Some("???")]);
    }

    #[test]
    fn a_row_that_is_cut_cannot_be_read() {
        let row = row(10, 7);
        assert!(Socket::parse(&row).is_some());
        for length in 0..row.len() {
            assert!(Socket::parse(&row[..length]).is_none(), "{length}");
        }
    }
}
