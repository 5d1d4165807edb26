//! Packet sockets: packet_diag of sock_diag(7) (`linux/packet_diag.h`).

use super::layout::{Halves, layout};
use super::message::Attributes;
use super::sock_diag::SkMeminfo;

layout! {
    /// `struct packet_diag_req`: a request for packet sockets.
    PacketDiagReq, 20 bytes:
    sdiag_family: u8 = 0..1,
    sdiag_protocol: u8 = 1..2,
    pdiag_ino: u32 = 4..8,
    pdiag_show: u32 = 8..12,
    pdiag_cookie: Halves = 12..20,
}

// The bits of `pdiag_show`. Each bit asks for one or more attributes.
/// The settings of the socket ([`PacketDiagInfo`]) and its owner.
pub const PACKET_SHOW_INFO: u32 = 1;
/// The ring buffers that the kernel shares with the process.
pub const PACKET_SHOW_RING_CFG: u32 = 4;
/// The fanout group of the socket. The sockets of such a group share the packets.
pub const PACKET_SHOW_FANOUT: u32 = 8;
/// The memory that the socket uses.
pub const PACKET_SHOW_MEMINFO: u32 = 16;

layout! {
    /// `struct packet_diag_msg`: a row of the answer. Attributes follow.
    PacketDiagMsg, 16 bytes:
    pdiag_family: u8 = 0..1,
    pdiag_type: u8 = 1..2,
    pdiag_num: u16 = 2..4,
    pdiag_ino: u32 = 4..8,
    pdiag_cookie: Halves = 8..16,
}

const PACKET_DIAG_INFO: u16 = 0;
const PACKET_DIAG_RX_RING: u16 = 2;
const PACKET_DIAG_TX_RING: u16 = 3;
const PACKET_DIAG_FANOUT: u16 = 4;
const PACKET_DIAG_UID: u16 = 5;
const PACKET_DIAG_MEMINFO: u16 = 6;

layout! {
    /// `struct packet_diag_info`: the settings of a packet socket.
    PacketDiagInfo, 24 bytes:
    pdi_index: u32 = 0..4,
    pdi_version: u32 = 4..8,
    pdi_reserve: u32 = 8..12,
    pdi_copy_thresh: u32 = 12..16,
    pdi_tstamp: u32 = 16..20,
    pdi_flags: u32 = 20..24,
}

layout! {
    /// `struct packet_diag_ring`: a ring buffer that the kernel shares with the process.
    PacketDiagRing, 28 bytes:
    pdr_block_size: u32 = 0..4,
    pdr_block_nr: u32 = 4..8,
    pdr_frame_size: u32 = 8..12,
    pdr_frame_nr: u32 = 12..16,
    pdr_retire_tmo: u32 = 16..20,
    pdr_sizeof_priv: u32 = 20..24,
    pdr_features: u32 = 24..28,
}

/// A row with its attributes.
#[derive(Clone, Copy, Debug)]
pub struct PacketDiagRow<'a> {
    /// The fixed part of the row.
    pub message: PacketDiagMsg,
    /// The memory that the socket uses.
    pub memory: SkMeminfo<'a>,
    /// The settings of the socket.
    pub info: Option<PacketDiagInfo>,
    /// The user id of the owner.
    pub uid: Option<u32>,
    /// The ring buffer for received packets.
    pub rx_ring: Option<PacketDiagRing>,
    /// The ring buffer for packets to send.
    pub tx_ring: Option<PacketDiagRing>,
    /// The fanout group: its number in the low 16 bits, and the way it distributes packets in
    /// the high 16 bits.
    pub fanout: Option<u32>,
}

impl<'a> PacketDiagRow<'a> {
    /// Parses a row. `None` if the row or one of its attributes is too short, or if the
    /// attribute for the memory is missing.
    pub fn parse(bytes: &'a [u8]) -> Option<PacketDiagRow<'a>> {
        let (message, attributes) = PacketDiagMsg::split(bytes)?;
        let attributes = Attributes(attributes);
        Some(PacketDiagRow {
            message,
            memory: SkMeminfo::read(attributes.get(PACKET_DIAG_MEMINFO)?)?,
            info: attributes.read(PACKET_DIAG_INFO)?,
            uid: attributes.read(PACKET_DIAG_UID)?,
            rx_ring: attributes.read(PACKET_DIAG_RX_RING)?,
            tx_ring: attributes.read(PACKET_DIAG_TX_RING)?,
            fanout: attributes.read(PACKET_DIAG_FANOUT)?,
        })
    }
}
