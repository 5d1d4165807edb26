//! Writes IP sockets from inet_diag of sock_diag(7), with all the details that ss shows. The
//! request includes the filter, so that the kernel sends only the sockets that match.

use super::dump::{DumpError, Dumps, RowError};
use super::info;
use crate::as_ss::ask::filter::{Facts, SocketEnd, bytecode};
use crate::as_ss::ask::request::{Request, Show};
use crate::as_ss::ask::selection::{AddressFamily, State, States};
use crate::as_ss::show::rows::{Details, Ipv6Wildcard, Rows};
use crate::kernel::netlink::diag::{
    INET_DIAG_CONG, INET_DIAG_INFO, INET_DIAG_MEMINFO, INET_DIAG_REQ_BYTECODE,
    INET_DIAG_REQ_PROTOCOL, INET_DIAG_SKMEMINFO, INET_DIAG_TCLASS, INET_DIAG_TOS,
    INET_DIAG_VEGASINFO, InetDiagReqV2, InetDiagRow, extension,
};
use crate::kernel::netlink::message::{number_attribute, push_attribute};
use crate::kernel::socket::{
    AF_INET, AF_INET6, IPPROTO_DCCP, IPPROTO_ICMPV6, IPPROTO_IP, IPPROTO_MPTCP, IPPROTO_RAW,
    IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP,
};
use crate::listener::{Endpoint, Family};

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
    /// The number of the protocol (`IPPROTO_…`). The number of Multipath TCP does not fit
    /// in a byte.
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

    /// The name of the protocol in `/proc/net/protocols`.
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

    /// The file of `/proc/net` that lists the protocol's IPv4 sockets, if there is one.
    pub fn file(self) -> Option<&'static str> {
        match self {
            Inet::Tcp => Some("tcp"),
            Inet::Udp => Some("udp"),
            Inet::Raw => Some("raw"),
            Inet::Dccp | Inet::Sctp | Inet::Mptcp => None,
        }
    }
}

/// Asks the kernel for the sockets of `protocol`, and writes the sockets that match the
/// request.
///
/// # Errors
/// Fails if the list is not complete, or if a row cannot be shown.
pub fn show(protocol: Inet, request: &Request, rows: &mut Rows<'_>) -> Result<(), DumpError> {
    let selection = &request.selection;
    // As in ss, the family that was specified last decides which families are requested.
    let families: &[u8] = match selection.last_family {
        Some(AddressFamily::Inet) => &[AF_INET],
        Some(AddressFamily::Inet6) => &[AF_INET6],
        _ => &[AF_INET, AF_INET6],
    };
    let mut last_inode = 0;
    let mut dumps = Dumps::default();
    for family in families {
        let question = question(protocol, *family, request);
        dumps.dump(&question, &mut |row| {
            let socket = InetSocket::parse(row).ok_or(RowError::Unreadable)?;
            match selection.families.has(socket.family) && socket.matches(request) {
                true => socket.show(protocol, &mut last_inode, request.show, rows),
                false => Ok(()),
            }
        })?;
    }
    Ok(())
}

/// Creates the netlink request for the sockets of one protocol and family.
fn question(protocol: Inet, family: u8, request: &Request) -> Vec<u8> {
    let number = protocol.number();
    let question = InetDiagReqV2 {
        sdiag_family: family,
        sdiag_protocol: number as u8,
        idiag_ext: extensions(request.show),
        idiag_states: states(protocol, request.selection.states).bits(),
        ..InetDiagReqV2::default()
    };
    let mut question = question.bytes().to_vec();
    if let Some(program) = request.filter.as_ref().and_then(bytecode::compile) {
        push_attribute(&mut question, INET_DIAG_REQ_BYTECODE, program.bytes());
    }
    if number > 255 {
        question.extend(number_attribute(INET_DIAG_REQ_PROTOCOL, number));
    }
    question
}

/// The extensions to request, as bits. An extension is a detail that the kernel adds to each
/// row.
fn extensions(show: Show) -> u8 {
    let memory = match show.memory {
        true => extension(INET_DIAG_MEMINFO) | extension(INET_DIAG_SKMEMINFO),
        false => 0,
    };
    let info = match show.info {
        true => {
            extension(INET_DIAG_INFO) | extension(INET_DIAG_VEGASINFO) | extension(INET_DIAG_CONG)
        }
        false => 0,
    };
    let tos = match show.tos {
        true => extension(INET_DIAG_TOS) | extension(INET_DIAG_TCLASS),
        false => 0,
    };
    memory | info | tos
}

/// The states to request. For `-l`, ss also asks for TCP sockets in CLOSE. This program does
/// not, because no hash table contains a closed TCP socket, and the kernel would walk all
/// connections for nothing.
fn states(protocol: Inet, states: States) -> States {
    match (protocol, states) {
        (Inet::Tcp, States::LISTENING) => States::single(State::Listen),
        _ => states,
    }
}

/// A socket in a list of inet_diag.
struct InetSocket<'a> {
    row: InetDiagRow<'a>,
    family: AddressFamily,
    local: Endpoint,
    peer: Endpoint,
}

impl<'a> InetSocket<'a> {
    /// Decodes a row. `None` if the row is too short or has another family.
    fn parse(row: &'a [u8]) -> Option<InetSocket<'a>> {
        let row = InetDiagRow::parse(row)?;
        Some(InetSocket {
            family: match row.family {
                Family::V4 => AddressFamily::Inet,
                Family::V6 => AddressFamily::Inet6,
            },
            local: row.source(),
            peer: row.destination(),
            row,
        })
    }

    fn matches(&self, request: &Request) -> bool {
        request.accepts(|| Facts {
            interface: self.row.message.idiag_if,
            mark: self.row.mark().unwrap_or(0),
            cgroup: self.row.cgroup_id().unwrap_or(0),
            ..Facts::new(
                self.family,
                SocketEnd::ip(self.local),
                SocketEnd::ip(self.peer),
            )
        })
    }

    fn show(
        &self,
        protocol: Inet,
        last_inode: &mut u32,
        show: Show,
        rows: &mut Rows<'_>,
    ) -> Result<(), RowError> {
        let message = &self.row.message;
        let (state, inode) = (message.idiag_state, message.idiag_inode);
        let (recv_q, send_q) = (message.idiag_rqueue, message.idiag_wqueue);
        let number = self.row.protocol().map_or(protocol.number(), u32::from);
        // The list contains the associations of an SCTP endpoint after the endpoint. They have
        // the same inode.
        let is_association = protocol == Inet::Sctp && inode != 0 && inode == *last_inode;
        *last_inode = inode;
        match is_association {
            true => rows.start_in_state("", association_state(state), recv_q, send_q),
            false => rows.start(netid(number), state, recv_q, send_q),
        }
        let v6_only = match self.family {
            AddressFamily::Inet6 => self.row.v6_only(),
            _ => None,
        };
        let wildcard = match v6_only.unwrap_or(0) {
            0 => Ipv6Wildcard::Star,
            _ => Ipv6Wildcard::Brackets,
        };
        rows.ip_end(self.local, message.idiag_if, wildcard);
        rows.ip_end(self.peer, 0, wildcard);
        rows.users(inode);
        if show.timers {
            self.show_timer(protocol, rows);
        }
        if show.details {
            self.show_details(v6_only, rows);
        }
        info::show_options(&self.row, show, rows);
        if show.memory || show.info && number != IPPROTO_UDP {
            rows.new_line("");
            info::show(number, &self.row, show, rows)?;
        }
        Ok(())
    }

    fn show_timer(&self, protocol: Inet, rows: &mut Rows<'_>) {
        let message = &self.row.message;
        let (timer, expires) = (message.idiag_timer, message.idiag_expires);
        let retransmissions = u32::from(message.idiag_retrans);
        match protocol {
            Inet::Sctp if timer == 0 => {}
            Inet::Sctp => rows.timer("T3_RTX", expires, retransmissions),
            _ => rows.tcp_timer(timer.into(), expires, retransmissions),
        }
    }

    fn show_details(&self, v6_only: Option<u8>, rows: &mut Rows<'_>) {
        let message = &self.row.message;
        rows.details(&Details {
            uid: message.idiag_uid,
            inode: message.idiag_inode,
            cookie: message.idiag_cookie.0,
            mark: self.row.mark().unwrap_or(0),
            cgroup: self.row.cgroup_id().unwrap_or(0),
        });
        if let Some(v6_only) = v6_only {
            rows.named(" v6only:", v6_only.into());
        }
        if let Some(shut) = self.row.shutdown() {
            rows.directions(shut);
        }
    }
}

/// The name that ss prints in the column `Netid` for the protocol with this number. For a raw
/// socket, this is the protocol that the socket sends and receives.
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

/// The name that ss prints for a state of an SCTP association. The numbers of these states
/// differ from those of TCP.
fn association_state(number: u8) -> &'static str {
    const STATES: [&str; 8] = [
        "`- CLOSED",
        "`- COOKIE_WAIT",
        "`- COOKIE_ECHOED",
        "`- ESTAB",
        "`- SHUTDOWN_PENDING",
        "`- SHUTDOWN_SENT",
        "`- SHUTDOWN_RECEIVED",
        "`- ACK_SENT",
    ];
    STATES.get(usize::from(number)).unwrap_or(&"`- UNKNOWN")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::as_ss::show::rows::shown;
    use crate::kernel::netlink::diag::{INET_DIAG_PROTOCOL, InetDiagMsg};
    use crate::kernel::socket::State;

    /// Creates the row of an IPv4 socket with this state and inode.
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

    fn shown_list(protocol: Inet, list: &[Vec<u8>]) -> String {
        let request = Request::with_kinds("inet");
        shown(&request, |rows| {
            let mut last_inode = 0;
            for row in list {
                let socket = InetSocket::parse(row).unwrap();
                let result = socket.show(protocol, &mut last_inode, request.show, rows);
                assert_eq!(result, Ok(()));
            }
        })
    }

    #[test]
    fn sctp_associations_are_shown_below_their_endpoint() {
        let expected = "sctp LISTEN   0      0      127.0.0.1:80 0.0.0.0:*\n     \
                        `- ESTAB 0      0      127.0.0.1:80 0.0.0.0:*\n\
                        sctp ESTAB    0      0      127.0.0.1:80 0.0.0.0:*\n";
        // For an association, the number 3 means ESTAB. For TCP, it means SYN_RECV.
        let rows = [
            row(State::Listen, 7),
            row(State::SynRecv, 7),
            row(State::Established, 8),
        ];
        assert_eq!(shown_list(Inet::Sctp, &rows), expected);
    }

    #[test]
    fn netid_of_a_raw_socket_is_its_protocol() {
        let raw = |protocol: u8| {
            let mut row = row(State::Close, 1);
            push_attribute(&mut row, INET_DIAG_PROTOCOL, &[protocol]);
            row
        };
        let text = shown_list(Inet::Raw, &[raw(58), raw(1)]);
        let names: Vec<_> = text.lines().map(|line| line.split(' ').next()).collect();
        assert_eq!(names, [Some("icmp6"), Some("???")]);
    }

    #[test]
    fn truncated_rows_are_refused() {
        let row = row(State::Listen, 7);
        assert!(InetSocket::parse(&row).is_some());
        for length in 0..row.len() {
            assert!(InetSocket::parse(&row[..length]).is_none(), "{length}");
        }
    }
}
