//! Packet sockets: packet_diag of sock_diag(7), or the file `/proc/net/packet`.

use std::fmt::Write as _;

use super::info;
use super::proc_net::for_each_line;
use crate::as_ss::ask::filter::{Facts, Place};
use crate::as_ss::ask::selection::{AddressFamily, State};
use crate::as_ss::error::Error;
use crate::as_ss::names::protocols;
use crate::as_ss::places::Places;
use crate::as_ss::show::printer::{Answered, Details, Printer};
use crate::kernel::netlink::packet_diag::{
    PACKET_SHOW_FANOUT, PACKET_SHOW_INFO, PACKET_SHOW_MEMINFO, PACKET_SHOW_RING_CFG,
    PacketDiagInfo, PacketDiagReq, PacketDiagRing, Row,
};
use crate::kernel::proc::other_rows::PacketRow;
use crate::kernel::socket::{AF_PACKET, SOCK_RAW};

/// The protocol of a socket that gets every packet.
const EVERY: u16 = 3;

/// Asks for packet sockets and writes those that are wanted. ss shows both kinds
/// whichever was asked for.
///
/// # Errors
/// If the kernel does not list them.
pub fn show(printer: &mut Printer<'_>) -> Answered {
    let request = PacketDiagReq {
        sdiag_family: AF_PACKET,
        pdiag_show: PACKET_SHOW_INFO
            | PACKET_SHOW_MEMINFO
            | PACKET_SHOW_RING_CFG
            | PACKET_SHOW_FANOUT,
        ..PacketDiagReq::default()
    };
    printer.dump(&request.bytes(), show_row)
}

/// `None` if the row cannot be read.
fn show_row(row: &[u8], printer: &mut Printer<'_>) -> Option<()> {
    let row = Row::parse(row)?;
    let socket = Socket {
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
    if !socket.show(printer) {
        return Some(());
    }
    if printer.show.details {
        if let Some(info) = &row.info {
            show_info(info, printer);
        }
        for (ring, name) in [(&row.rx_ring, "ring_rx("), (&row.tx_ring, "ring_tx(")] {
            if let Some(ring) = ring {
                start_line(name, printer);
                show_ring(ring, printer);
            }
        }
        if let Some(fanout) = row.fanout {
            start_line("fanout(", printer);
            show_fanout(fanout, printer);
        }
    }
    if printer.show.memory {
        info::show_memory(row.memory, printer);
    }
    Some(())
}

/// Writes the sockets in `/proc/net/packet` that are wanted.
///
/// # Errors
/// If the file cannot be read.
pub fn show_file(places: &Places, printer: &mut Printer<'_>) -> Result<(), Error> {
    for_each_line("packet", places, |line| {
        let row = PacketRow::parse(line)?;
        let socket = Socket {
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
        socket.show(printer);
        Some(())
    })
}

struct Socket {
    kind: u8,
    protocol: u16,
    interface: u32,
    recv_q: u32,
    details: Details,
}

impl Socket {
    /// Whether it was wanted.
    fn show(&self, printer: &mut Printer<'_>) -> bool {
        let (protocol, interface) = (self.protocol, self.interface);
        let mut octets = [0; 16];
        octets[..4].copy_from_slice(&u32::from(protocol).to_ne_bytes());
        let facts = Facts {
            family: AddressFamily::Packet,
            local: Place {
                octets,
                port: interface as i32,
                name: None,
            },
            peer: Place::default(),
            interface,
            mark: 0,
            cgroup: 0,
        };
        if !printer.accepts(&facts) {
            return false;
        }
        let netid = if self.kind == SOCK_RAW {
            "p_raw"
        } else {
            "p_dgr"
        };
        printer.start(netid, State::Close as u8, self.recv_q, 0);
        let shown = match protocol {
            EVERY => "*".to_string(),
            _ if printer.show.numeric => format!("[{protocol}]"),
            _ => protocols::link_name(protocol),
        };
        match interface {
            0 => printer.end(shown, ":", "*"),
            _ => {
                let name = printer.interface(interface);
                printer.end(shown, ":", name.as_str());
            }
        }
        printer.end("", "*", "");
        printer.users(self.details.inode);
        if printer.show.details {
            printer.details(&self.details);
        }
        true
    }
}

fn start_line(name: &str, printer: &mut Printer<'_>) {
    match printer.show.one_line {
        true => printer.table.push(b" "),
        false => printer.new_line(),
    }
    printer.table.push(name.as_bytes());
}

fn show_info(info: &PacketDiagInfo, printer: &mut Printer<'_>) {
    start_line("ver:", printer);
    let (version, threshold) = (info.pdi_version, info.pdi_copy_thresh);
    let _ = write!(printer.table, "{version} cpy_thresh:{threshold} flags( ");
    let names = ["running", " auxdata", " origdev", " vnethdr", " loss"];
    for (bit, name) in names.iter().enumerate() {
        if info.pdi_flags & 1 << bit != 0 {
            printer.table.push(name.as_bytes());
        }
    }
    if info.pdi_flags == 0 {
        printer.table.push(b"0");
    }
    printer.table.push(b" )");
}

fn show_ring(ring: &PacketDiagRing, printer: &mut Printer<'_>) {
    for (name, number) in [
        ("blk_size:", ring.pdr_block_size),
        (",blk_nr:", ring.pdr_block_nr),
        (",frm_size:", ring.pdr_frame_size),
        (",frm_nr:", ring.pdr_frame_nr),
        (",tmo:", ring.pdr_retire_tmo),
    ] {
        let _ = write!(printer.table, "{name}{number}");
    }
    let _ = write!(printer.table, ",features:{:#x})", ring.pdr_features);
}

fn show_fanout(fanout: u32, printer: &mut Printer<'_>) {
    let (group, kind) = (fanout & 0xffff, fanout >> 16);
    let names = ["hash", "lb", "cpu", "roll", "random", "qm"];
    let _ = write!(printer.table, "id:{group},type:");
    let _ = match names.get(kind as usize) {
        Some(name) => write!(printer.table, "{name})"),
        None => write!(printer.table, "{kind:#x})"),
    };
}
