//! inet_diag of sock_diag(7): sockets of IP with all that ss shows of them. The
//! request also has the filter, so that the kernel passes on no more than needed.

use std::net::IpAddr;

use super::info;
use crate::as_ss::ask::filter::{Facts, Place, bytecode};
use crate::as_ss::ask::selection::{AddressFamily, State, States};
use crate::as_ss::show::printer::{Answered, Details, Printer};
use crate::kernel::netlink::client::Client;
use crate::kernel::netlink::diag::{
    INET_DIAG_CONG, INET_DIAG_INFO, INET_DIAG_MEMINFO, INET_DIAG_REQ_BYTECODE,
    INET_DIAG_REQ_PROTOCOL, INET_DIAG_SKMEMINFO, INET_DIAG_VEGASINFO, InetDiagReqV2, Row,
    extension,
};
use crate::kernel::netlink::message::{Amount, Kinds, attribute_of, push_attribute};
use crate::kernel::netlink::sock_diag::SOCK_DIAG_BY_FAMILY;
use crate::kernel::socket::{
    AF_INET, AF_INET6, IPPROTO_DCCP, IPPROTO_ICMPV6, IPPROTO_IP, IPPROTO_MPTCP, IPPROTO_RAW,
    IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP,
};
use crate::listener::{Endpoint, Family, SsAddress};

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
            Inet::Tcp => IPPROTO_TCP,
            Inet::Udp => IPPROTO_UDP,
            Inet::Dccp => IPPROTO_DCCP,
            Inet::Sctp => IPPROTO_SCTP,
            Inet::Raw => IPPROTO_RAW,
            Inet::Mptcp => IPPROTO_MPTCP,
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

/// Asks for the sockets of `protocol` and writes those that are wanted.
///
/// # Errors
/// If the kernel does not list them.
pub fn show(protocol: Inet, printer: &mut Printer<'_>) -> Answered {
    let mut rows = 0;
    let last = printer.selection.last_family;
    // As ss, ask for one family only if it is the last that was named.
    let asked: &[u8] = match last {
        Some(AddressFamily::Inet) => &[AF_INET],
        Some(AddressFamily::Inet6) => &[AF_INET6],
        _ => &[AF_INET, AF_INET6],
    };
    let mut last_inode = 0;
    let mut client = Client::of_sock_diag();
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
        let kinds = Kinds::same(SOCK_DIAG_BY_FAMILY);
        let answered = client.ask(kinds, Amount::Dump, &request, &mut show_row);
        answered.map_err(|error| (printer.why(error), rows))?;
    }
    Ok(())
}

fn request(protocol: Inet, family: u8, printer: &Printer<'_>) -> Vec<u8> {
    let number = protocol.number();
    let request = InetDiagReqV2 {
        sdiag_family: family,
        sdiag_protocol: number as u8,
        idiag_ext: extensions(printer),
        idiag_states: states(protocol, printer.selection.states).bits(),
        ..InetDiagReqV2::default()
    };
    let mut request = request.bytes().to_vec();
    if let Some(program) = printer.filter.and_then(bytecode::compile) {
        push_attribute(&mut request, INET_DIAG_REQ_BYTECODE, &program);
    }
    if number > 255 {
        request.extend(attribute_of(INET_DIAG_REQ_PROTOCOL, number));
    }
    request
}

/// What the kernel is to add to each row.
fn extensions(printer: &Printer<'_>) -> u8 {
    let memory = match printer.show.memory {
        true => extension(INET_DIAG_MEMINFO) | extension(INET_DIAG_SKMEMINFO),
        false => 0,
    };
    let info = match printer.show.info {
        true => {
            extension(INET_DIAG_INFO) | extension(INET_DIAG_VEGASINFO) | extension(INET_DIAG_CONG)
        }
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

/// A row of inet_diag, as this program sees it.
struct Socket<'a> {
    row: Row<'a>,
    family: AddressFamily,
    local: (IpAddr, u16),
    peer: (IpAddr, u16),
}

impl<'a> Socket<'a> {
    /// `None` if the row cannot be read.
    fn parse(row: &'a [u8]) -> Option<Socket<'a>> {
        let row = Row::parse(row)?;
        let end = |end: Endpoint| (end.address, end.port);
        Some(Socket {
            family: match row.family {
                Family::V4 => AddressFamily::Inet,
                Family::V6 => AddressFamily::Inet6,
            },
            local: end(row.source()),
            peer: end(row.destination()),
            row,
        })
    }

    fn is_wanted(&self, printer: &Printer<'_>) -> bool {
        printer.filter.is_none()
            || printer.accepts(&Facts {
                family: self.family,
                local: place(self.local),
                peer: place(self.peer),
                interface: self.row.message.idiag_if,
                mark: self.row.mark().unwrap_or(0),
                cgroup: self.row.cgroup_id().unwrap_or(0),
            })
    }

    /// `None` if something of the row cannot be read, or is not covered.
    fn show(&self, protocol: Inet, last_inode: &mut u32, printer: &mut Printer<'_>) -> Option<()> {
        if !self.is_wanted(printer) {
            return Some(());
        }
        let message = &self.row.message;
        let (state, inode) = (message.idiag_state, message.idiag_inode);
        let (recv_q, send_q) = (message.idiag_rqueue, message.idiag_wqueue);
        let number = self.row.protocol().map_or(protocol.number(), u32::from);
        // Associations follow their endpoint and share its inode.
        let is_association = protocol == Inet::Sctp && inode != 0 && inode == *last_inode;
        *last_inode = inode;
        match is_association {
            true => printer.start_association(state, recv_q, send_q),
            false => printer.start(netid(number), state, recv_q, send_q),
        }
        let v6_only = match self.family {
            AddressFamily::Inet6 => self.row.v6_only(),
            _ => None,
        };
        let is_v6_only = v6_only.unwrap_or(0) != 0;
        printer.endpoint(self.local, message.idiag_if, is_v6_only);
        printer.endpoint(self.peer, 0, is_v6_only);
        printer.users(inode);
        if printer.show.timers {
            self.show_timer(protocol, printer);
        }
        if printer.show.details {
            self.show_details(v6_only, printer);
        }
        if printer.show.memory || printer.show.info && number != IPPROTO_UDP {
            printer.new_line();
            info::show(number, &self.row, printer)?;
        }
        Some(())
    }

    fn show_timer(&self, protocol: Inet, printer: &mut Printer<'_>) {
        let message = &self.row.message;
        let (timer, expires) = (message.idiag_timer, message.idiag_expires);
        let retransmissions = u32::from(message.idiag_retrans);
        match protocol {
            Inet::Sctp if timer == 0 => {}
            Inet::Sctp => printer.timer("T3_RTX", expires, retransmissions),
            _ => printer.tcp_timer(timer.into(), expires, retransmissions),
        }
    }

    fn show_details(&self, v6_only: Option<u8>, printer: &mut Printer<'_>) {
        let message = &self.row.message;
        printer.details(&Details {
            uid: message.idiag_uid,
            inode: message.idiag_inode,
            cookie: message.idiag_cookie.0,
            mark: self.row.mark().unwrap_or(0),
            cgroup: self.row.cgroup_id().unwrap_or(0),
        });
        if let Some(v6_only) = v6_only {
            printer.v6_only(v6_only);
        }
        if let Some(shut) = self.row.shutdown() {
            printer.directions(shut);
        }
    }
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
        IPPROTO_IP => "raw",
        IPPROTO_TCP => "tcp",
        IPPROTO_UDP => "udp",
        IPPROTO_DCCP => "dccp",
        IPPROTO_ICMPV6 => "icmp6",
        IPPROTO_SCTP => "sctp",
        IPPROTO_MPTCP => "mptcp",
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
    use crate::kernel::netlink::diag::{INET_DIAG_PROTOCOL, InetDiagMsg};
    use crate::kernel::socket::State;

    /// An IPv4 socket of this state and inode.
    fn row(state: State, inode: u32) -> Vec<u8> {
        let mut row = InetDiagMsg {
            idiag_family: AF_INET,
            idiag_state: state as u8,
            idiag_sport: 80u16.to_be_bytes(),
            idiag_inode: inode,
            ..InetDiagMsg::default()
        };
        row.idiag_src[..4].copy_from_slice(&[127, 0, 0, 1]);
        row.bytes().to_vec()
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
        // Associations have states of their own: 3 is ESTAB.
        let rows = [
            row(State::Listen, 7),
            row(State::SynRecv, 7),
            row(State::Established, 8),
        ];
        assert_eq!(shown(Inet::Sctp, &rows), expected);
    }

    #[test]
    fn a_raw_socket_is_named_by_the_protocol_that_it_speaks() {
        let speaking = |protocol: u8| {
            let mut row = row(State::Close, 1);
            push_attribute(&mut row, INET_DIAG_PROTOCOL, &[protocol]);
            row
        };
        let text = shown(Inet::Raw, &[speaking(58), speaking(1)]);
        let names: Vec<_> = text.lines().map(|line| line.split(' ').next()).collect();
        assert_eq!(names, [Some("icmp6"), Some("???")]);
    }

    #[test]
    fn a_row_that_is_cut_cannot_be_read() {
        let row = row(State::Listen, 7);
        assert!(Socket::parse(&row).is_some());
        for length in 0..row.len() {
            assert!(Socket::parse(&row[..length]).is_none(), "{length}");
        }
    }
}
