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
use crate::kernel::netlink::message::{array_at, attribute};
use crate::kernel::proc::other_rows::PacketRow;

/// The length of `struct packet_diag_msg`; attributes follow.
const ROW_SIZE: usize = 16;

const SHOW_INFO: u32 = 1;
const SHOW_RINGS: u32 = 4;
const SHOW_FANOUT: u32 = 8;
const SHOW_MEMORY: u32 = 16;

const INFO: u16 = 0;
const RECEIVING_RING: u16 = 2;
const SENDING_RING: u16 = 3;
const FANOUT: u16 = 4;
const UID: u16 = 5;
const MEMORY: u16 = 6;

const RAW: u8 = 3;
/// The protocol of a socket that gets every packet.
const EVERY: u16 = 3;

/// Asks for packet sockets and writes those that are wanted. ss shows both kinds
/// whichever was asked for.
///
/// # Errors
/// If the kernel does not list them.
pub fn show(printer: &mut Printer<'_>) -> Answered {
    // `struct packet_diag_req`.
    let mut request = vec![AddressFamily::Packet.number(), 0, 0, 0];
    request.extend([0; 4]);
    let shown = SHOW_INFO | SHOW_MEMORY | SHOW_RINGS | SHOW_FANOUT;
    request.extend(shown.to_ne_bytes());
    request.extend([0; 8]);
    printer.dump(&request, show_row)
}

/// `None` if the row cannot be read.
fn show_row(row: &[u8], printer: &mut Printer<'_>) -> Option<()> {
    let attributes = row.get(ROW_SIZE..)?;
    let memory = attribute(attributes, MEMORY)?;
    let about = attribute(attributes, INFO);
    let socket = Socket {
        kind: row[1],
        protocol: array_at(row, 2).map(u16::from_ne_bytes)?,
        interface: match about {
            Some(about) => word(about, 0)?,
            None => 0,
        },
        recv_q: word(memory, 0)?,
        details: Details {
            uid: match attribute(attributes, UID) {
                Some(uid) => word(uid, 0)?,
                None => 0,
            },
            inode: word(row, 4)?,
            cookie: u64::from(word(row, 12)?) << 32 | u64::from(word(row, 8)?),
            ..Details::default()
        },
    };
    if !socket.show(printer) {
        return Some(());
    }
    if printer.show.details {
        if let Some(about) = about {
            show_info(about, printer)?;
        }
        for (kind, name) in [(RECEIVING_RING, "ring_rx("), (SENDING_RING, "ring_tx(")] {
            if let Some(ring) = attribute(attributes, kind) {
                start_line(name, printer);
                show_ring(ring, printer)?;
            }
        }
        if let Some(fanout) = attribute(attributes, FANOUT) {
            start_line("fanout(", printer);
            show_fanout(word(fanout, 0)?, printer);
        }
    }
    if printer.show.memory {
        info::show_memory(memory, printer)?;
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
        let netid = if self.kind == RAW { "p_raw" } else { "p_dgr" };
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

/// `struct packet_diag_info`.
fn show_info(about: &[u8], printer: &mut Printer<'_>) -> Option<()> {
    let (version, threshold, flags) = (word(about, 4)?, word(about, 12)?, word(about, 20)?);
    start_line("ver:", printer);
    let _ = write!(printer.table, "{version} cpy_thresh:{threshold} flags( ");
    let names = ["running", " auxdata", " origdev", " vnethdr", " loss"];
    for (bit, name) in names.iter().enumerate() {
        if flags & 1 << bit != 0 {
            printer.table.push(name.as_bytes());
        }
    }
    if flags == 0 {
        printer.table.push(b"0");
    }
    printer.table.push(b" )");
    Some(())
}

/// `struct packet_diag_ring`.
fn show_ring(ring: &[u8], printer: &mut Printer<'_>) -> Option<()> {
    let names = ["blk_size:", ",blk_nr:", ",frm_size:", ",frm_nr:", ",tmo:"];
    for (index, name) in names.iter().enumerate() {
        let _ = write!(printer.table, "{name}{}", word(ring, 4 * index)?);
    }
    let features = word(ring, 24)?;
    let _ = write!(printer.table, ",features:{features:#x})");
    Some(())
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

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_ne_bytes)
}
