//! Netlink sockets: netlink_diag of sock_diag(7) (`linux/netlink_diag.h`).

use super::layout::{Halves, layout};
use super::message::Attributes;
use super::sock_diag::SkMeminfo;

layout! {
    /// `struct netlink_diag_req`: a request for netlink sockets.
    NetlinkDiagReq, 20 bytes:
    sdiag_family: u8 = 0..1,
    sdiag_protocol: u8 = 1..2,
    ndiag_ino: u32 = 4..8,
    ndiag_show: u32 = 8..12,
    ndiag_cookie: Halves = 12..20,
}

/// The `sdiag_protocol` that asks for the sockets of every netlink protocol.
pub const NDIAG_PROTO_ALL: u8 = 255;

// The bits of `ndiag_show`. Each bit asks for an attribute.
/// The memory that the socket uses.
pub const NDIAG_SHOW_MEMINFO: u32 = 1;
/// The multicast groups that the socket has joined.
pub const NDIAG_SHOW_GROUPS: u32 = 2;

layout! {
    /// `struct netlink_diag_msg`: a row of the answer. Attributes follow.
    NetlinkDiagMsg, 28 bytes:
    ndiag_family: u8 = 0..1,
    ndiag_type: u8 = 1..2,
    ndiag_protocol: u8 = 2..3,
    ndiag_state: u8 = 3..4,
    ndiag_portid: i32 = 4..8,
    ndiag_dst_portid: i32 = 8..12,
    ndiag_dst_group: i32 = 12..16,
    ndiag_ino: u32 = 16..20,
    ndiag_cookie: Halves = 20..28,
}

/// The `ndiag_state` of a connected socket.
pub const NETLINK_CONNECTED: u8 = 1;

const NETLINK_DIAG_MEMINFO: u16 = 0;
const NETLINK_DIAG_GROUPS: u16 = 1;

/// A row with its attributes.
#[derive(Clone, Copy, Debug)]
pub struct NetlinkDiagRow<'a> {
    /// The fixed part of the row.
    pub message: NetlinkDiagMsg,
    /// The memory that the socket uses.
    pub memory: Option<SkMeminfo<'a>>,
    /// The first 32 multicast groups, one bit for each. A bit is set if the socket has joined
    /// the group.
    pub groups: Option<u32>,
}

impl<'a> NetlinkDiagRow<'a> {
    /// Parses a row. `None` if the row is too short, or if its attribute for the memory is too
    /// short.
    pub fn parse(bytes: &'a [u8]) -> Option<NetlinkDiagRow<'a>> {
        let (message, attributes) = NetlinkDiagMsg::split(bytes)?;
        let attributes = Attributes(attributes);
        Some(NetlinkDiagRow {
            message,
            memory: match attributes.get(NETLINK_DIAG_MEMINFO) {
                Some(memory) => Some(SkMeminfo::read(memory)?),
                None => None,
            },
            groups: attributes.number(NETLINK_DIAG_GROUPS),
        })
    }
}
