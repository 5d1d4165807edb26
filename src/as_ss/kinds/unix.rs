//! Unix sockets: unix_diag of sock_diag(7), or the file `/proc/net/unix`.

use std::fmt::Write as _;

use super::info;
use super::proc_net::for_each_line;
use crate::as_ss::ask::filter::{Facts, Place};
use crate::as_ss::ask::selection::{AddressFamily, Kind, State};
use crate::as_ss::error::Error;
use crate::as_ss::places::Places;
use crate::as_ss::show::printer::{Answered, Printer};
use crate::kernel::netlink::message::{array_at, attribute};
use crate::kernel::proc::other_rows::UnixRow;

/// The length of `struct unix_diag_msg`; attributes follow.
const ROW_SIZE: usize = 16;

const SHOW_NAME: u32 = 1;
const SHOW_FILE: u32 = 2;
const SHOW_PEER: u32 = 4;
const SHOW_PENDING: u32 = 8;
const SHOW_QUEUES: u32 = 16;
const SHOW_MEMORY: u32 = 32;

const NAME: u16 = 0;
const FILE: u16 = 1;
const PEER: u16 = 2;
const PENDING: u16 = 3;
const QUEUES: u16 = 4;
const MEMORY: u16 = 5;
const SHUTDOWN: u16 = 6;

const STREAM: u32 = 1;
const DATAGRAM: u32 = 2;
const SEQPACKET: u32 = 5;

/// Asks for Unix sockets and writes those that are wanted.
///
/// # Errors
/// If the kernel does not list them.
pub fn show(printer: &mut Printer<'_>) -> Answered {
    let mut shown = SHOW_NAME | SHOW_PEER | SHOW_QUEUES;
    if printer.show.memory {
        shown |= SHOW_MEMORY;
    }
    if printer.show.details {
        shown |= SHOW_FILE | SHOW_PENDING;
    }
    // `struct unix_diag_req`.
    let mut request = vec![AddressFamily::Unix.number(), 0, 0, 0];
    request.extend(printer.selection.states.bits().to_ne_bytes());
    request.extend([0; 4]);
    request.extend(shown.to_ne_bytes());
    request.extend([0; 8]);
    printer.dump(&request, show_row)
}

/// `None` if the row cannot be read.
fn show_row(row: &[u8], printer: &mut Printer<'_>) -> Option<()> {
    let (kind, state) = (u32::from(*row.get(1)?), *row.get(2)?);
    let inode = word(row, 4)?;
    let attributes = row.get(ROW_SIZE..)?;
    let name = attribute(attributes, NAME).map(shown_name);
    let peer = match attribute(attributes, PEER) {
        Some(peer) => word(peer, 0)?,
        None => 0,
    };
    if !is_wanted(kind, inode as i32, peer as i32, name.as_deref(), printer) {
        return Some(());
    }
    let (recv_q, send_q) = match attribute(attributes, QUEUES) {
        Some(queues) => (word(queues, 0)?, word(queues, 4)?),
        None => (0, 0),
    };
    printer.start(netid(kind), state, recv_q, send_q);
    let name = name.as_deref().unwrap_or(b"*");
    printer.end(name, " ", (inode as i32).to_string());
    printer.end("*", " ", (peer as i32).to_string());
    printer.users(inode);
    if printer.show.memory
        && let Some(memory) = attribute(attributes, MEMORY)
    {
        info::show_memory(memory, printer)?;
    }
    if printer.show.details {
        if let Some(shut) = attribute(attributes, SHUTDOWN) {
            printer.directions(*shut.first()?);
        }
        if let Some(file) = attribute(attributes, FILE) {
            let (inode, device) = (word(file, 0)?, word(file, 4)?);
            // ss splits the number as the C library does.
            let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xf_ff00);
            let _ = write!(printer.table, " ino:{inode} dev:{major}/{minor}");
        }
        if let Some(pending) = attribute(attributes, PENDING) {
            printer.table.push(b" peers:");
            for at in (0..pending.len()).step_by(4) {
                let _ = write!(printer.table, " {}", word(pending, at)?);
            }
        }
    }
    Some(())
}

/// The name as ss writes it. One that is no path starts with a zero.
fn shown_name(name: &[u8]) -> Vec<u8> {
    match name.first() {
        Some(0) => {
            let shown = name
                .iter()
                .map(|byte| if *byte == 0 { b'@' } else { *byte });
            shown.collect()
        }
        _ => name
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default()
            .to_vec(),
    }
}

fn is_wanted(kind: u32, port: i32, peer: i32, name: Option<&[u8]>, printer: &Printer<'_>) -> bool {
    let kinds = printer.selection.kinds;
    let is_selected = match kind {
        STREAM => kinds.has(Kind::UnixStream),
        DATAGRAM => kinds.has(Kind::UnixDatagram),
        SEQPACKET => kinds.has(Kind::UnixSeqpacket),
        _ => true,
    };
    let place = |port, name| Place {
        octets: [0; 16],
        port,
        name,
    };
    is_selected
        && printer.accepts(&Facts {
            family: AddressFamily::Unix,
            local: place(port, name),
            peer: place(peer, None),
            interface: 0,
            mark: 0,
            cgroup: 0,
        })
}

fn netid(kind: u32) -> &'static str {
    match kind {
        STREAM => "u_str",
        SEQPACKET => "u_seq",
        _ => "u_dgr",
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_ne_bytes)
}

/// Writes the Unix sockets in `/proc/net/unix` that are wanted: by type and inode,
/// since the file has no order.
///
/// # Errors
/// If the file cannot be read.
pub fn show_file(places: &Places, printer: &mut Printer<'_>) -> Result<(), Error> {
    let mut sockets = Vec::new();
    for_each_line("unix", places, |line| {
        let socket = Line::of(&UnixRow::parse(line)?);
        let name = (!socket.name.is_empty()).then_some(&socket.name[..]);
        // ss lets no filter see inodes here.
        if printer.selection.states.has(socket.state) && is_wanted(socket.kind, 0, 0, name, printer)
        {
            sockets.push(socket);
        }
        Some(())
    })?;
    // The order is that of numbers, whose sort the binary has anyway. A number is made of
    // a type, which is at most 5, an inode, and a place in `sockets`.
    const PLACE_BITS: u32 = 29;
    let key = |(place, socket): (u64, &Line)| {
        u64::from(socket.kind) << 61 | u64::from(socket.inode) << PLACE_BITS | place
    };
    let mut order: Vec<u64> = (0..).zip(&sockets).map(key).collect();
    order.sort_unstable();
    for key in order {
        let socket = &sockets[(key % (1 << PLACE_BITS)) as usize];
        printer.start(netid(socket.kind), socket.state, 0, 0);
        let name = if socket.name.is_empty() {
            b"*"
        } else {
            &socket.name[..]
        };
        printer.end(name, " ", (socket.inode as i32).to_string());
        printer.end("*", " ", "0");
        printer.users(socket.inode);
    }
    Ok(())
}

/// What is kept of a row of `/proc/net/unix`.
struct Line {
    kind: u32,
    state: u8,
    inode: u32,
    name: Vec<u8>,
}

impl Line {
    fn of(row: &UnixRow<'_>) -> Line {
        let state = match row.state {
            _ if row.listens => State::Listen as u8,
            1 => State::Close as u8,
            2 => State::SynSent as u8,
            3 => State::Established as u8,
            4 => State::Closing as u8,
            other => other as u8,
        };
        Line {
            kind: row.kind,
            state,
            inode: row.inode,
            name: row.name.to_vec(),
        }
    }
}
