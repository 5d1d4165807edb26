//! Numbers that netlink messages and `/proc/net` share: address families, socket types, IP
//! protocols, and states.

#![allow(missing_docs)]

// `linux/socket.h`
pub const AF_UNIX: u8 = 1;
pub const AF_INET: u8 = 2;
pub const AF_INET6: u8 = 10;
pub const AF_NETLINK: u8 = 16;
pub const AF_PACKET: u8 = 17;
pub const AF_TIPC: u8 = 30;
pub const AF_VSOCK: u8 = 40;
pub const AF_XDP: u8 = 44;

// `linux/net.h`
pub const SOCK_STREAM: u8 = 1;
pub const SOCK_DGRAM: u8 = 2;
pub const SOCK_RAW: u8 = 3;
pub const SOCK_SEQPACKET: u8 = 5;

// `linux/in.h` and `linux/in6.h`. They are u32 because not all of them fit into a byte.
pub const IPPROTO_IP: u32 = 0;
pub const IPPROTO_TCP: u32 = 6;
pub const IPPROTO_UDP: u32 = 17;
pub const IPPROTO_DCCP: u32 = 33;
pub const IPPROTO_ICMPV6: u32 = 58;
pub const IPPROTO_SCTP: u32 = 132;
pub const IPPROTO_RAW: u32 = 255;
pub const IPPROTO_MPTCP: u32 = 262;

/// The states of TCP (`net/tcp_states.h` of the kernel). The kernel uses their numbers for
/// sockets of other protocols, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Established = 1,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
}
