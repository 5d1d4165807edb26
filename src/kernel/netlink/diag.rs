//! inet_diag of sock_diag(7): sockets of IP (`linux/inet_diag.h`). The layout of the
//! requests and of a row, and the listener that a row describes.

use std::net::IpAddr;

use super::layout::{Halves, Value, layout};
use super::message::{Attributes, attribute_of, without_zero};
use super::sock_diag::{SOCK_DIAG_BY_FAMILY, SkMeminfo};
use super::tcp_info::{TcpBbrInfo, TcpvegasInfo, UlpInfo};
use crate::kernel::socket::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, State};
use crate::listener::{Endpoint, Family, Listener, Protocol, SocketTable};

layout! {
    /// `struct inet_diag_req_v2`: the request for one family. Attributes may follow.
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
    /// `struct inet_diag_req`: the request that [`InetDiagReqV2`] replaced. No other can
    /// name both families. Attributes may follow.
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

/// The type of a message with [`InetDiagReq`], and of the rows that answer it.
pub const TCPDIAG_GETSOCK: u16 = 18;

/// The attribute of a request with a program that says which sockets are wanted.
pub const INET_DIAG_REQ_BYTECODE: u16 = 1;
/// The attribute of a request with the protocol, as a number of 32 bits.
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

// The attributes of a row. `idiag_ext` asks for those up to 8, see `extension`.
/// [`InetDiagMeminfo`], in old kernels.
pub const INET_DIAG_MEMINFO: u16 = 1;
/// What the protocol says of the socket: [`super::tcp_info`].
pub const INET_DIAG_INFO: u16 = 2;
/// [`TcpvegasInfo`]
pub const INET_DIAG_VEGASINFO: u16 = 3;
/// The name of the congestion control.
pub const INET_DIAG_CONG: u16 = 4;
/// [`SkMeminfo`]
pub const INET_DIAG_SKMEMINFO: u16 = 7;
/// The type of service.
pub const INET_DIAG_TOS: u16 = 5;
/// The traffic class, which is the type of service of IPv6. The kernel adds the class of
/// the control group.
pub const INET_DIAG_TCLASS: u16 = 6;
const INET_DIAG_SHUTDOWN: u16 = 8;
const INET_DIAG_DCTCPINFO: u16 = 9;
/// The protocol that a raw socket speaks.
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
    /// `struct inet_diag_meminfo`
    InetDiagMeminfo, 16 bytes:
    idiag_rmem: u32 = 0..4,
    idiag_wmem: u32 = 4..8,
    idiag_fmem: u32 = 8..12,
    idiag_tmem: u32 = 12..16,
}

layout! {
    /// `struct tcp_diag_md5sig` of `linux/tcp.h`: a key, and the peers that it is for.
    TcpDiagMd5sig, 100 bytes:
    tcpm_family: u8 = 0..1,
    tcpm_prefixlen: u8 = 1..2,
    tcpm_keylen: u16 = 2..4,
    tcpm_addr: [u8; 16] = 4..20,
    // The key fills the rest.
}

/// A row, and its attributes.
#[derive(Clone, Copy, Debug)]
pub struct InetDiagRow<'a> {
    /// The row itself.
    pub message: InetDiagMsg,
    /// What `idiag_family` says.
    pub family: Family,
    attributes: Attributes<'a>,
}

impl<'a> InetDiagRow<'a> {
    /// `None` if it cannot be read, or is of another family.
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

    /// The local end of the socket.
    pub fn source(&self) -> Endpoint {
        self.endpoint(self.message.idiag_sport, self.message.idiag_src)
    }

    /// The peer.
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

    /// 1 if an IPv6 socket refuses IPv4, else 0.
    pub fn v6_only(&self) -> Option<u8> {
        self.attributes.number(INET_DIAG_SKV6ONLY)
    }

    /// The directions that are shut down, a bit each.
    pub fn shutdown(&self) -> Option<u8> {
        self.attributes.number(INET_DIAG_SHUTDOWN)
    }

    /// The protocol that a raw socket speaks.
    pub fn protocol(&self) -> Option<u8> {
        self.attributes.number(INET_DIAG_PROTOCOL)
    }

    /// The mark of the socket (`SO_MARK`). Only root gets it.
    pub fn mark(&self) -> Option<u32> {
        self.attributes.number(INET_DIAG_MARK)
    }

    /// The inode of the directory of its control group.
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

    /// The class of packets that the socket sends (net_cls of cgroups(7)).
    pub fn class_id(&self) -> Option<u32> {
        self.attributes.number(INET_DIAG_CLASS_ID)
    }

    /// The options of the socket, a bit each: `struct inet_diag_sockopt`, from its first
    /// field on.
    pub fn options(&self) -> Option<u16> {
        let [mut first, mut second]: [u8; 2] = self.attributes.number(INET_DIAG_SOCKOPT)?;
        // C fills bytes from this end there.
        if cfg!(target_endian = "big") {
            (first, second) = (first.reverse_bits(), second.reverse_bits());
        }
        Some(u16::from_le_bytes([first, second]))
    }

    /// The memory of the socket. The inner `None` is one that cannot be read.
    pub fn memory(&self) -> Option<Option<SkMeminfo<'a>>> {
        Some(SkMeminfo::read(self.attributes.get(INET_DIAG_SKMEMINFO)?))
    }

    /// Sums of the memory. The inner `None` is one that cannot be read.
    pub fn memory_sums(&self) -> Option<Option<InetDiagMeminfo>> {
        Some(Value::read(self.attributes.get(INET_DIAG_MEMINFO)?))
    }

    /// What the protocol says of the socket: a structure of [`super::tcp_info`].
    pub fn info(&self) -> Option<&'a [u8]> {
        self.attributes.get(INET_DIAG_INFO)
    }

    /// The name of the congestion control.
    pub fn congestion(&self) -> Option<&'a [u8]> {
        self.attributes.get(INET_DIAG_CONG).map(without_zero)
    }

    /// What the congestion control Vegas knows.
    pub fn vegas(&self) -> Option<TcpvegasInfo> {
        self.attributes.number(INET_DIAG_VEGASINFO)
    }

    /// What the congestion control BBR knows.
    pub fn bbr(&self) -> Option<TcpBbrInfo> {
        let info = self.attributes.get(INET_DIAG_BBRINFO)?;
        Some(TcpBbrInfo::read_padded(info))
    }

    /// Whether the congestion control DCTCP says something.
    pub fn has_dctcp(&self) -> bool {
        self.attributes.get(INET_DIAG_DCTCPINFO).is_some()
    }

    /// For which peers segments are signed, and with which key (RFC 2385). Only root gets
    /// the keys.
    pub fn signatures(&self) -> impl Iterator<Item = (TcpDiagMd5sig, &'a [u8])> + use<'a> {
        let all = self.attributes.get(INET_DIAG_MD5SIG).unwrap_or_default();
        all.chunks_exact(TcpDiagMd5sig::SIZE).filter_map(|one| {
            let signature = TcpDiagMd5sig::read(one)?;
            let (_, key) = one.split_at(20);
            Some((signature, key.get(..signature.tcpm_keylen.into())?))
        })
    }

    /// What is put on top of TCP.
    pub fn ulp(&self) -> Option<UlpInfo<'a>> {
        let attributes = self.attributes.get(INET_DIAG_ULP_INFO)?;
        Some(UlpInfo(Attributes(attributes)))
    }

    /// The listener that it describes.
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

/// The listeners that one request asks for: those of a protocol, and of one family or
/// of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listeners {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// `None` for both. The kernel then walks its hash table once.
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
    /// The type of the request, and of the rows that answer it.
    pub fn kind(self) -> u16 {
        match self.family {
            Some(_) => SOCK_DIAG_BY_FAMILY,
            None => TCPDIAG_GETSOCK,
        }
    }

    /// Whether listeners of `table` are asked for.
    pub fn includes(self, table: SocketTable) -> bool {
        self.protocol == table.protocol && self.family.is_none_or(|family| family == table.family)
    }

    /// Passes the request without its header to `send`.
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
        // Linux 5.9 gave the old request an attribute that names the protocol.
        let protocol = attribute_of(INET_DIAG_REQ_PROTOCOL, protocol);
        let mut bytes = [0; InetDiagReq::SIZE + 8];
        bytes[..InetDiagReq::SIZE].copy_from_slice(&request.bytes());
        bytes[InetDiagReq::SIZE..].copy_from_slice(&protocol);
        send(&bytes)
    }

    /// The state in which a listener is. `ss -l` also asks for TCP sockets in CLOSE. These
    /// do not listen, and the kernel would walk its connections to find them.
    fn state_and_protocol(self) -> (State, u32) {
        match self.protocol {
            Protocol::Tcp => (State::Listen, IPPROTO_TCP),
            Protocol::Udp => (State::Close, IPPROTO_UDP),
        }
    }

    /// Appends the listener of a row of the answer to `listeners`, if it is one. If it is
    /// bound to an interface, `bound` gets its index in `listeners` and the number of the
    /// interface. `None` if the row cannot be read or is of another family.
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
        // A UDP socket may connect between the kernel's check of its state and
        // the row. It is then no listener any more.
        if row.message.idiag_state == state as u8 {
            if row.message.idiag_if != 0 {
                bound.push((listeners.len(), row.message.idiag_if));
            }
            listeners.push(row.listener(self.protocol));
        }
        Some(())
    }
}

/// The bytes here are written out, not made from the tables, so that they check these.
#[cfg(test)]
mod tests {
    use super::*;

    const TCP_CLOSE: u8 = 7;
    const TCP_LISTEN: u8 = 10;

    /// A socket of this family and state, with `Recv-Q` 3, `Send-Q` 128, the owner 1000
    /// and the inode 0x90000001.
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

    /// The listener in a row, and what it is bound to.
    fn read(protocol: Protocol, family: Family, row: &[u8]) -> (Listener, Vec<(usize, u32)>) {
        let (mut listeners, mut bound) = (Vec::new(), Vec::new());
        let table = Listeners::from(SocketTable { protocol, family });
        table.take(row, &mut listeners, &mut bound).unwrap();
        (listeners.remove(0), bound)
    }

    #[test]
    fn every_field_of_a_row_is_read() {
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
    fn a_row_of_ipv6_says_whether_it_takes_ipv4() {
        let mapped: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1];
        for (only, is_only) in [(0, false), (1, true)] {
            let mut row = row(10, TCP_LISTEN, &mapped, 80, 0);
            row[6..8].copy_from_slice(&81u16.to_be_bytes());
            row[24..40].copy_from_slice(&[9; 16]);
            // `INET_DIAG_SHUTDOWN` comes first, and needs padding.
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
    fn a_request_names_a_family_or_both() {
        let both = Listeners {
            protocol: Protocol::Udp,
            family: None,
        };
        both.with_request(|request| {
            assert_eq!((both.kind(), request.len()), (18, 68));
            assert_eq!(request[52..56], (1u32 << TCP_CLOSE).to_ne_bytes());
            // An attribute of 8 bytes and type 3: UDP is 17.
            assert_eq!(request[60..62], 8u16.to_ne_bytes());
            assert_eq!(request[62..64], 3u16.to_ne_bytes());
            assert_eq!(request[64..68], 17u32.to_ne_bytes());
        });
        let one = Listeners {
            protocol: Protocol::Tcp,
            family: Some(Family::V6),
        };
        one.with_request(|request| {
            assert_eq!((one.kind(), request.len()), (20, 56));
            assert_eq!(request[..4], [10, 6, 0, 0]);
            assert_eq!(request[4..8], (1u32 << TCP_LISTEN).to_ne_bytes());
        });
    }
}
