//! IP sockets: inet_diag of sock_diag(7) (`linux/inet_diag.h`). Contains the layouts of
//! requests and rows, and converts a row into a listener.

use std::net::IpAddr;

use super::layout::{Halves, Value, layout};
use super::message::{Attributes, number_attribute, without_zero};
use super::sock_diag::{SOCK_DIAG_BY_FAMILY, SkMeminfo};
use super::tcp_info::{TcpBbrInfo, TcpvegasInfo, UlpInfo};
use crate::kernel::socket::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, State};
use crate::listener::{Endpoint, Family, Listener, Protocol, SocketTable};

layout! {
    /// `struct inet_diag_req_v2`: a request for the sockets of one family. Attributes can
    /// follow.
    InetDiagReqV2, 56 bytes:
    sdiag_family: u8 = 0..1,
    sdiag_protocol: u8 = 1..2,
    idiag_ext: u8 = 2..3,
    idiag_states: u32 = 4..8,
    // `struct inet_diag_sockid`
    idiag_sport: [u8; 2] = 8..10,
    idiag_dport: [u8; 2] = 10..12,
    idiag_src: [u8; 16] = 12..28,
    idiag_dst: [u8; 16] = 28..44,
    idiag_if: u32 = 44..48,
    idiag_cookie: Halves = 48..56,
}

layout! {
    /// `struct inet_diag_req`: the older request that [`InetDiagReqV2`] replaced. Only the
    /// older one can ask for IPv4 and IPv6 at once. Attributes can follow.
    InetDiagReq, 60 bytes:
    idiag_family: u8 = 0..1,
    idiag_src_len: u8 = 1..2,
    idiag_dst_len: u8 = 2..3,
    idiag_ext: u8 = 3..4,
    // `struct inet_diag_sockid`
    idiag_sport: [u8; 2] = 4..6,
    idiag_dport: [u8; 2] = 6..8,
    idiag_src: [u8; 16] = 8..24,
    idiag_dst: [u8; 16] = 24..40,
    idiag_if: u32 = 40..44,
    idiag_cookie: Halves = 44..52,
    idiag_states: u32 = 52..56,
    idiag_dbs: u32 = 56..60,
}

/// The type of a request with [`InetDiagReq`], and of the rows in its answer.
pub const TCPDIAG_GETSOCK: u16 = 18;

/// The attribute of a request that contains a program to select sockets.
pub const INET_DIAG_REQ_BYTECODE: u16 = 1;
/// The attribute of a request that contains the protocol as a 32-bit number.
pub const INET_DIAG_REQ_PROTOCOL: u16 = 3;

layout! {
    /// `struct inet_diag_msg`: a row. Attributes follow.
    InetDiagMsg, 72 bytes:
    idiag_family: u8 = 0..1,
    idiag_state: u8 = 1..2,
    idiag_timer: u8 = 2..3,
    idiag_retrans: u8 = 3..4,
    // `struct inet_diag_sockid`
    idiag_sport: [u8; 2] = 4..6,
    idiag_dport: [u8; 2] = 6..8,
    idiag_src: [u8; 16] = 8..24,
    idiag_dst: [u8; 16] = 24..40,
    idiag_if: u32 = 40..44,
    idiag_cookie: Halves = 44..52,
    // The rest of `struct inet_diag_msg`.
    idiag_expires: u32 = 52..56,
    idiag_rqueue: u32 = 56..60,
    idiag_wqueue: u32 = 60..64,
    idiag_uid: u32 = 64..68,
    idiag_inode: u32 = 68..72,
}

// The attributes of a row. A request must ask for those up to 8 in `idiag_ext`, see
// `extension`.
/// Sums of the memory that the socket uses: [`InetDiagMeminfo`].
pub const INET_DIAG_MEMINFO: u16 = 1;
/// The details that the protocol of the socket reports: a structure of [`super::tcp_info`].
pub const INET_DIAG_INFO: u16 = 2;
/// The state of the congestion control Vegas: [`TcpvegasInfo`].
pub const INET_DIAG_VEGASINFO: u16 = 3;
/// The name of the congestion control algorithm.
pub const INET_DIAG_CONG: u16 = 4;
/// The memory that the socket uses: [`SkMeminfo`].
pub const INET_DIAG_SKMEMINFO: u16 = 7;
/// The type of service of IPv4 (`IP_TOS`).
pub const INET_DIAG_TOS: u16 = 5;
/// The traffic class, which is IPv6's type of service. A request for it also returns
/// `INET_DIAG_CLASS_ID`.
pub const INET_DIAG_TCLASS: u16 = 6;
const INET_DIAG_SHUTDOWN: u16 = 8;
const INET_DIAG_DCTCPINFO: u16 = 9;
/// The IP protocol of a raw socket.
pub const INET_DIAG_PROTOCOL: u16 = 10;
const INET_DIAG_SKV6ONLY: u16 = 11;
const INET_DIAG_MARK: u16 = 15;
const INET_DIAG_BBRINFO: u16 = 16;
const INET_DIAG_CLASS_ID: u16 = 17;
const INET_DIAG_MD5SIG: u16 = 18;
const INET_DIAG_ULP_INFO: u16 = 19;
const INET_DIAG_CGROUP_ID: u16 = 21;
const INET_DIAG_SOCKOPT: u16 = 22;

/// The bit of `idiag_ext` that asks for an attribute.
pub const fn extension(attribute: u16) -> u8 {
    1 << (attribute - 1)
}

layout! {
    /// `struct inet_diag_meminfo`: sums of the memory that a socket uses, in bytes.
    InetDiagMeminfo, 16 bytes:
    idiag_rmem: u32 = 0..4,
    idiag_wmem: u32 = 4..8,
    idiag_fmem: u32 = 8..12,
    idiag_tmem: u32 = 12..16,
}

layout! {
    /// `struct tcp_diag_md5sig` of `linux/tcp.h`: the peers whose segments are signed, and the
    /// key.
    TcpDiagMd5sig, 100 bytes:
    tcpm_family: u8 = 0..1,
    tcpm_prefixlen: u8 = 1..2,
    tcpm_keylen: u16 = 2..4,
    tcpm_addr: [u8; 16] = 4..20,
    // The key takes up the rest of the structure.
}

/// A row with its attributes.
#[derive(Clone, Copy, Debug)]
pub struct InetDiagRow<'a> {
    /// The fixed part of the row.
    pub message: InetDiagMsg,
    /// The family in `idiag_family`.
    pub family: Family,
    attributes: Attributes<'a>,
}

impl<'a> InetDiagRow<'a> {
    /// Parses a row. `None` if it is too short, or if its family is neither IPv4 nor IPv6.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Option<InetDiagRow<'a>> {
        let (message, attributes) = InetDiagMsg::split(bytes)?;
        let family = match message.idiag_family {
            AF_INET => Family::V4,
            AF_INET6 => Family::V6,
            _ => return None,
        };
        let attributes = Attributes(attributes);
        Some(InetDiagRow {
            message,
            family,
            attributes,
        })
    }

    /// The local address and port.
    pub fn source(&self) -> Endpoint {
        self.endpoint(self.message.idiag_sport, self.message.idiag_src)
    }

    /// The address and port of the peer.
    pub fn destination(&self) -> Endpoint {
        self.endpoint(self.message.idiag_dport, self.message.idiag_dst)
    }

    fn endpoint(&self, port: [u8; 2], address: [u8; 16]) -> Endpoint {
        let [a, b, c, d, ..] = address;
        Endpoint {
            port: u16::from_be_bytes(port),
            address: match self.family {
                Family::V4 => IpAddr::from([a, b, c, d]),
                Family::V6 => IpAddr::from(address),
            },
        }
    }

    /// 1 if an IPv6 socket refuses IPv4, 0 if it accepts IPv4, and `None` if the kernel does
    /// not report it.
    pub fn v6_only(&self) -> Option<u8> {
        self.attributes.number(INET_DIAG_SKV6ONLY)
    }

    /// The directions that are shut down, one bit for each.
    pub fn shutdown(&self) -> Option<u8> {
        self.attributes.number(INET_DIAG_SHUTDOWN)
    }

    /// The IP protocol of a raw socket.
    pub fn protocol(&self) -> Option<u8> {
        self.attributes.number(INET_DIAG_PROTOCOL)
    }

    /// The mark of the socket (`SO_MARK`). The kernel reports it only to root.
    pub fn mark(&self) -> Option<u32> {
        self.attributes.number(INET_DIAG_MARK)
    }

    /// The number of the control group that the socket belongs to.
    pub fn cgroup_id(&self) -> Option<u64> {
        self.attributes.number(INET_DIAG_CGROUP_ID)
    }

    /// The type of service.
    pub fn tos(&self) -> Option<u8> {
        self.attributes.number(INET_DIAG_TOS)
    }

    /// The traffic class.
    pub fn traffic_class(&self) -> Option<u8> {
        self.attributes.number(INET_DIAG_TCLASS)
    }

    /// The class of the packets that the socket sends (`net_cls` of cgroups(7)).
    pub fn class_id(&self) -> Option<u32> {
        self.attributes.number(INET_DIAG_CLASS_ID)
    }

    /// The options of the socket, one bit for each field of `struct inet_diag_sockopt`. The
    /// first field is the lowest bit.
    pub fn options(&self) -> Option<u16> {
        let [mut first, mut second]: [u8; 2] = self.attributes.number(INET_DIAG_SOCKOPT)?;
        // On a big-endian machine, C assigns bit fields starting at the highest bit of a byte.
        if cfg!(target_endian = "big") {
            (first, second) = (first.reverse_bits(), second.reverse_bits());
        }
        Some(u16::from_le_bytes([first, second]))
    }

    /// The memory of the socket. `Some(None)` if the attribute cannot be read.
    pub fn memory(&self) -> Option<Option<SkMeminfo<'a>>> {
        Some(SkMeminfo::read(self.attributes.get(INET_DIAG_SKMEMINFO)?))
    }

    /// The sums of the socket's memory. `Some(None)` if the attribute cannot be read.
    pub fn memory_sums(&self) -> Option<Option<InetDiagMeminfo>> {
        Some(Value::read(self.attributes.get(INET_DIAG_MEMINFO)?))
    }

    /// The details that the protocol reports: a structure of [`super::tcp_info`].
    pub fn info(&self) -> Option<&'a [u8]> {
        self.attributes.get(INET_DIAG_INFO)
    }

    /// The name of the congestion control algorithm.
    pub fn congestion(&self) -> Option<&'a [u8]> {
        self.attributes.get(INET_DIAG_CONG).map(without_zero)
    }

    /// The state of the congestion control Vegas.
    pub fn vegas(&self) -> Option<TcpvegasInfo> {
        self.attributes.number(INET_DIAG_VEGASINFO)
    }

    /// The state of the congestion control BBR.
    pub fn bbr(&self) -> Option<TcpBbrInfo> {
        let info = self.attributes.get(INET_DIAG_BBRINFO)?;
        Some(TcpBbrInfo::read_padded(info))
    }

    /// Whether the row includes the state of the congestion control DCTCP.
    pub fn has_dctcp(&self) -> bool {
        self.attributes.get(INET_DIAG_DCTCPINFO).is_some()
    }

    /// The peers whose segments are signed, each with its key (RFC 2385). The kernel reports
    /// the keys only to root.
    pub fn signatures(&self) -> impl Iterator<Item = (TcpDiagMd5sig, &'a [u8])> + use<'a> {
        let signatures = self.attributes.get(INET_DIAG_MD5SIG).unwrap_or_default();
        let signatures = signatures.chunks_exact(TcpDiagMd5sig::SIZE);
        signatures.filter_map(|bytes| {
            let signature = TcpDiagMd5sig::read(bytes)?;
            let (_, key) = bytes.split_at(20);
            Some((signature, key.get(..signature.tcpm_keylen.into())?))
        })
    }

    /// The protocol that is layered on top of TCP (ULP), such as TLS.
    pub fn ulp(&self) -> Option<UlpInfo<'a>> {
        let attributes = self.attributes.get(INET_DIAG_ULP_INFO)?;
        Some(UlpInfo(Attributes(attributes)))
    }

    /// The listener that this row describes. `protocol` is the protocol that was asked for.
    fn listener(&self, protocol: Protocol) -> Listener {
        Listener {
            recv_q: self.message.idiag_rqueue,
            send_q: Some(self.message.idiag_wqueue),
            inode: u64::from(self.message.idiag_inode),
            uid: Some(self.message.idiag_uid),
            cgroup_id: self.cgroup_id().unwrap_or_default(),
            peer: self.destination(),
            v6_only: self.v6_only().map(|only| only == 1),
            ..Listener::new(protocol, self.source())
        }
    }
}

/// The listeners that one request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listeners {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// IPv4 or IPv6, or `None` for both. To list both, the kernel walks its hash table only
    /// once.
    pub family: Option<Family>,
}

impl From<SocketTable> for Listeners {
    fn from(table: SocketTable) -> Listeners {
        Listeners {
            protocol: table.protocol,
            family: Some(table.family),
        }
    }
}

impl Listeners {
    /// The type of the request, and of the rows in its answer.
    pub fn kind(self) -> u16 {
        match self.family {
            Some(_) => SOCK_DIAG_BY_FAMILY,
            None => TCPDIAG_GETSOCK,
        }
    }

    /// Whether the request asks for listeners of `table`.
    pub fn includes(self, table: SocketTable) -> bool {
        self.protocol == table.protocol && self.family.is_none_or(|family| family == table.family)
    }

    /// Calls `send` with the request. The request does not include the netlink header.
    pub fn with_request<T>(self, send: impl FnOnce(&[u8]) -> T) -> T {
        let (state, protocol) = self.state_and_protocol();
        let idiag_states = 1 << state as u32;
        if let Some(family) = self.family {
            return send(
                &InetDiagReqV2 {
                    sdiag_family: match family {
                        Family::V4 => AF_INET,
                        Family::V6 => AF_INET6,
                    },
                    sdiag_protocol: protocol as u8,
                    idiag_states,
                    ..InetDiagReqV2::default()
                }
                .bytes(),
            );
        }
        let request = InetDiagReq {
            idiag_states,
            ..InetDiagReq::default()
        };
        // The old request has no field for the protocol. Since Linux 5.9, an attribute
        // specifies it.
        let protocol = number_attribute(INET_DIAG_REQ_PROTOCOL, protocol);
        let mut bytes = [0; InetDiagReq::SIZE + 8];
        bytes[..InetDiagReq::SIZE].copy_from_slice(&request.bytes());
        bytes[InetDiagReq::SIZE..].copy_from_slice(&protocol);
        send(&bytes)
    }

    /// The state in which a socket of this protocol is a listener, and the number of the IP
    /// protocol.
    ///
    /// `ss -l` also lists TCP sockets in CLOSE. We do not ask for them, because they do not
    /// listen, and because the kernel would walk all connections to find them.
    fn state_and_protocol(self) -> (State, u32) {
        match self.protocol {
            Protocol::Tcp => (State::Listen, IPPROTO_TCP),
            Protocol::Udp => (State::Close, IPPROTO_UDP),
        }
    }

    /// Reads a row of the answer, and appends the listener that it describes to `listeners`. If
    /// the listener is bound to an interface, also appends to `bound`: the index of the
    /// listener in `listeners`, and the index of the interface. `None` if the row cannot be
    /// read or has another family.
    pub fn take(
        self,
        row: &[u8],
        listeners: &mut Vec<Listener>,
        bound: &mut Vec<(usize, u32)>,
    ) -> Option<()> {
        let row = InetDiagRow::parse(row)?;
        if self.family.is_some_and(|family| family != row.family) {
            return None;
        }
        let (state, _) = self.state_and_protocol();
        // A UDP socket can connect after the kernel has selected it and before the kernel
        // writes the row. Such a socket is no longer a listener.
        if row.message.idiag_state == state as u8 {
            if row.message.idiag_if != 0 {
                bound.push((listeners.len(), row.message.idiag_if));
            }
            listeners.push(row.listener(self.protocol));
        }
        Some(())
    }
}

/// The tests spell out the expected bytes instead of using the layouts, so that a mistake in a
/// layout makes a test fail.
#[cfg(test)]
mod tests {
    use super::*;

    const TCP_CLOSE: u8 = 7;
    const TCP_LISTEN: u8 = 10;

    /// A row of a socket with this family and state. It has a `Recv-Q` of 3, a `Send-Q` of 128,
    /// the owner 1000 and the inode 0x90000001.
    fn row(family: u8, state: u8, address: &[u8], port: u16, interface: u32) -> Vec<u8> {
        let mut row = vec![0; 72];
        (row[0], row[1]) = (family, state);
        row[4..6].copy_from_slice(&port.to_be_bytes());
        row[8..8 + address.len()].copy_from_slice(address);
        row[40..44].copy_from_slice(&interface.to_ne_bytes());
        row[56..60].copy_from_slice(&3u32.to_ne_bytes());
        row[60..64].copy_from_slice(&128u32.to_ne_bytes());
        row[64..68].copy_from_slice(&1000u32.to_ne_bytes());
        row[68..72].copy_from_slice(&0x9000_0001u32.to_ne_bytes());
        row
    }

    /// The listener in a row, and the interfaces that `take` reports.
    fn read(protocol: Protocol, family: Family, row: &[u8]) -> (Listener, Vec<(usize, u32)>) {
        let (mut listeners, mut bound) = (Vec::new(), Vec::new());
        let table = Listeners::from(SocketTable { protocol, family });
        table.take(row, &mut listeners, &mut bound).unwrap();
        (listeners.remove(0), bound)
    }

    #[test]
    fn every_field_of_an_inet_diag_row_is_read() {
        let row = row(2, TCP_CLOSE, &[127, 0, 0, 53], 53, 9);
        let (listener, bound) = read(Protocol::Udp, Family::V4, &row);
        let address: IpAddr = "127.0.0.53".parse().unwrap();
        assert_eq!(
            (listener.protocol, listener.endpoint.address),
            (Protocol::Udp, address)
        );
        assert_eq!(listener.endpoint.port, 53);
        assert_eq!((listener.recv_q, listener.send_q), (3, Some(128)));
        assert_eq!((listener.inode, listener.v6_only), (0x9000_0001, None));
        assert_eq!(listener.uid, Some(1000));
        assert_eq!(bound, [(0, 9)]);
    }

    #[test]
    fn v6only_is_read_from_an_ipv6_row() {
        let mapped: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1];
        for (only, is_only) in [(0, false), (1, true)] {
            let mut row = row(10, TCP_LISTEN, &mapped, 80, 0);
            row[6..8].copy_from_slice(&81u16.to_be_bytes());
            row[24..40].copy_from_slice(&[9; 16]);
            // The first attribute, `INET_DIAG_SHUTDOWN`, needs padding.
            row.extend([5u16, 8].map(u16::to_ne_bytes).as_flattened());
            row.extend([0; 4]);
            row.extend([5u16, 11].map(u16::to_ne_bytes).as_flattened());
            row.extend([only, 0, 0, 0]);
            let (listener, bound) = read(Protocol::Tcp, Family::V6, &row);
            let address: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
            assert_eq!(listener.endpoint.address, address);
            let peer: IpAddr = [9; 16].into();
            assert_eq!((listener.peer.address, listener.peer.port), (peer, 81));
            assert_eq!((listener.v6_only, bound), (Some(is_only), vec![]));
        }
    }

    #[test]
    fn requests_are_encoded_for_one_family_and_for_both() {
        let both = Listeners {
            protocol: Protocol::Udp,
            family: None,
        };
        both.with_request(|request| {
            assert_eq!((both.kind(), request.len()), (18, 68));
            assert_eq!(request[52..56], (1u32 << TCP_CLOSE).to_ne_bytes());
            // An attribute of 8 bytes and type 3. Its value is 17, which is UDP.
            assert_eq!(request[60..62], 8u16.to_ne_bytes());
            assert_eq!(request[62..64], 3u16.to_ne_bytes());
            assert_eq!(request[64..68], 17u32.to_ne_bytes());
        });
        let v6_only = Listeners {
            protocol: Protocol::Tcp,
            family: Some(Family::V6),
        };
        v6_only.with_request(|request| {
            assert_eq!((v6_only.kind(), request.len()), (20, 56));
            assert_eq!(request[..4], [10, 6, 0, 0]);
            assert_eq!(request[4..8], (1u32 << TCP_LISTEN).to_ne_bytes());
        });
    }
}
