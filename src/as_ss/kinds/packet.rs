//! Writes packet sockets, from packet_diag of sock_diag(7) or from the file `/proc/net/packet`.

use std::fmt::Write as _;

use super::dump::{DumpError, RowError, dump};
use super::files::for_each_line;
use super::info;
use crate::as_ss::ask::filter::{Facts, SocketEnd};
use crate::as_ss::ask::request::Request;
use crate::as_ss::ask::selection::{AddressFamily, State};
use crate::as_ss::error::Error;
use crate::as_ss::paths::Paths;
use crate::as_ss::show::rows::{Details, Rows};
use crate::kernel::netlink::packet_diag::{
    PACKET_SHOW_FANOUT, PACKET_SHOW_INFO, PACKET_SHOW_MEMINFO, PACKET_SHOW_RING_CFG,
    PacketDiagInfo, PacketDiagReq, PacketDiagRing, PacketDiagRow,
};
use crate::kernel::proc::other_rows::PacketRow;
use crate::kernel::socket::{AF_PACKET, SOCK_RAW};

/// Asks the kernel for packet sockets, and writes the sockets that match the request. As in ss,
/// both kinds of packet sockets are shown, even if only one of them is selected.
///
/// # Errors
/// Fails if the list is not complete, or if a row cannot be read.
pub fn show(request: &Request, rows: &mut Rows<'_>) -> Result<(), DumpError> {
    let question = PacketDiagReq {
        sdiag_family: AF_PACKET,
        pdiag_show: PACKET_SHOW_INFO
            | PACKET_SHOW_MEMINFO
            | PACKET_SHOW_RING_CFG
            | PACKET_SHOW_FANOUT,
        ..PacketDiagReq::default()
    };
    dump(&question.bytes(), &mut |row| show_row(row, request, rows))
}

fn show_row(row: &[u8], request: &Request, rows: &mut Rows<'_>) -> Result<(), RowError> {
    let row = PacketDiagRow::parse(row).ok_or(RowError::Unreadable)?;
    let socket = PacketSocket {
        kind: row.message.pdiag_type,
        protocol: row.message.pdiag_num,
        interface: row.info.map_or(0, |info| info.pdi_index),
        recv_q: row.memory.rmem_alloc(),
        details: Details {
            uid: row.uid.unwrap_or(0),
            inode: row.message.pdiag_ino,
            cookie: row.message.pdiag_cookie.0,
            ..Details::default()
        },
    };
    if !socket.show_if_matching(request, rows) {
        return Ok(());
    }
    if request.show.details {
        show_details(&row, rows);
    }
    if request.show.memory {
        info::show_memory(row.memory, rows);
    }
    Ok(())
}

/// Writes the sockets in `/proc/net/packet` that match the request.
///
/// # Errors
/// Fails if the file or one of its lines cannot be read.
pub fn show_file(request: &Request, paths: &Paths, rows: &mut Rows<'_>) -> Result<(), Error> {
    for_each_line("packet", paths, &mut |line| {
        let row = PacketRow::parse(line)?;
        let socket = PacketSocket {
            kind: row.kind as u8,
            protocol: row.protocol as u16,
            interface: row.interface,
            recv_q: row.rmem,
            details: Details {
                uid: row.uid,
                inode: row.inode,
                ..Details::default()
            },
        };
        socket.show_if_matching(request, rows);
        Some(())
    })
}

/// The properties of a packet socket that both netlink and the file provide.
struct PacketSocket {
    kind: u8,
    protocol: u16,
    interface: u32,
    recv_q: u32,
    details: Details,
}

impl PacketSocket {
    /// Writes a row if the socket matches the request. Returns whether the socket matches.
    fn show_if_matching(&self, request: &Request, rows: &mut Rows<'_>) -> bool {
        let local = SocketEnd::numbered(self.protocol.into(), self.interface as i32);
        let facts = || Facts {
            interface: self.interface,
            ..Facts::new(AddressFamily::Packet, local, SocketEnd::default())
        };
        if !request.accepts(facts) {
            return false;
        }
        let netid = if self.kind == SOCK_RAW {
            "p_raw"
        } else {
            "p_dgr"
        };
        rows.start(netid, State::Close as u8, self.recv_q, 0);
        let protocol = rows.names.link_protocol(self.protocol);
        match self.interface {
            0 => rows.end(protocol, ":", "*"),
            interface => {
                let name = rows.names.interface(interface);
                rows.end(protocol, ":", name.as_str());
            }
        }
        rows.end("", "*", "");
        rows.users(self.details.inode);
        if request.show.details {
            rows.details(&self.details);
        }
        true
    }
}

/// Writes the settings of the socket: general settings, rings and fanout, each on its own line.
fn show_details(row: &PacketDiagRow<'_>, rows: &mut Rows<'_>) {
    if let Some(info) = &row.info {
        show_info(info, rows);
    }
    for (ring, name) in [(&row.rx_ring, "ring_rx("), (&row.tx_ring, "ring_tx(")] {
        if let Some(ring) = ring {
            start_line(name, rows);
            show_ring(ring, rows);
        }
    }
    if let Some(fanout) = row.fanout {
        start_line("fanout(", rows);
        show_fanout(fanout, rows);
    }
}

fn start_line(name: &str, rows: &mut Rows<'_>) {
    rows.new_line(" ");
    rows.push(name.as_bytes());
}

fn show_info(info: &PacketDiagInfo, rows: &mut Rows<'_>) {
    start_line("ver:", rows);
    let (version, threshold) = (info.pdi_version, info.pdi_copy_thresh);
    let _ = write!(rows, "{version} cpy_thresh:{threshold} flags( ");
    let names = ["running", " auxdata", " origdev", " vnethdr", " loss"];
    for (bit, name) in names.iter().enumerate() {
        if info.pdi_flags & 1 << bit != 0 {
            rows.push(name.as_bytes());
        }
    }
    if info.pdi_flags == 0 {
        rows.push(b"0");
    }
    rows.push(b" )");
}

fn show_ring(ring: &PacketDiagRing, rows: &mut Rows<'_>) {
    for (name, number) in [
        ("blk_size:", ring.pdr_block_size),
        (",blk_nr:", ring.pdr_block_nr),
        (",frm_size:", ring.pdr_frame_size),
        (",frm_nr:", ring.pdr_frame_nr),
        (",tmo:", ring.pdr_retire_tmo),
    ] {
        let _ = write!(rows, "{name}{number}");
    }
    let _ = write!(rows, ",features:{:#x})", ring.pdr_features);
}

fn show_fanout(fanout: u32, rows: &mut Rows<'_>) {
    let (group, kind) = (fanout & 0xffff, fanout >> 16);
    let names = ["hash", "lb", "cpu", "roll", "random", "qm"];
    let _ = write!(rows, "id:{group},type:");
    let _ = match names.get(kind as usize) {
        Some(name) => write!(rows, "{name})"),
        None => write!(rows, "{kind:#x})"),
    };
}
