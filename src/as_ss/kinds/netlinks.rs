//! The sockets of netlink(7): netlink_diag of sock_diag(7), or the file
//! `/proc/net/netlink`.

use std::fmt::Write as _;

use super::info;
use super::proc_net::for_each_line;
use crate::as_ss::ask::filter::{Facts, Place};
use crate::as_ss::ask::selection::{AddressFamily, State};
use crate::as_ss::error::Error;
use crate::as_ss::names::protocols;
use crate::as_ss::places::Places;
use crate::as_ss::show::printer::{Answered, Printer};
use crate::kernel::netlink::message::{array_at, attribute};
use crate::kernel::proc::other_rows::NetlinkRow;
use crate::kernel::proc::process::name_in_stat;

/// The length of `struct netlink_diag_msg`; attributes follow.
const ROW_SIZE: usize = 28;

const EVERY_PROTOCOL: u8 = 255;
const SHOW_MEMORY: u32 = 1;
const SHOW_GROUPS: u32 = 2;

const MEMORY: u16 = 0;
const GROUPS: u16 = 1;
/// `NETLINK_CONNECTED` of the kernel.
const CONNECTED: u8 = 1;

/// Asks for the sockets of netlink and writes those that are wanted.
///
/// # Errors
/// If the kernel does not list them.
pub fn show(printer: &mut Printer<'_>) -> Answered {
    // `struct netlink_diag_req`.
    let mut request = vec![AddressFamily::Netlink.number(), EVERY_PROTOCOL, 0, 0];
    request.extend([0; 4]);
    request.extend((SHOW_MEMORY | SHOW_GROUPS).to_ne_bytes());
    request.extend([0; 8]);
    printer.dump(&request, show_row)
}

/// `None` if the row cannot be read.
fn show_row(row: &[u8], printer: &mut Printer<'_>) -> Option<()> {
    let attributes = row.get(ROW_SIZE..)?;
    let memory = attribute(attributes, MEMORY);
    let (recv_q, send_q) = match memory {
        Some(memory) => (word(memory, 0)?, word(memory, 8)?),
        None => (0, 0),
    };
    let is_connected = row[3] == CONNECTED;
    let socket = Socket {
        protocol: row[2],
        port: word(row, 4)? as i32,
        // The group, then the port.
        peer: is_connected.then_some((word(row, 12)? as i32, word(row, 8)? as i32)),
        recv_q,
        send_q,
        groups: attribute(attributes, GROUPS)
            .and_then(|groups| word(groups, 0))
            .unwrap_or(0),
        addresses: (0, 0),
    };
    if socket.show(printer) && printer.show.memory {
        printer.table.push(b"\t");
        if let Some(memory) = memory {
            info::show_memory(memory, printer)?;
        }
    }
    Some(())
}

/// Writes the sockets in `/proc/net/netlink` that are wanted.
///
/// # Errors
/// If the file cannot be read.
pub fn show_file(places: &Places, printer: &mut Printer<'_>) -> Result<(), Error> {
    for_each_line("netlink", places, |line| {
        let row = NetlinkRow::parse(line)?;
        let socket = Socket {
            protocol: row.protocol as u8,
            port: row.port as i32,
            peer: None,
            groups: row.groups as u32,
            recv_q: row.rmem as u32,
            send_q: row.wmem as u32,
            addresses: (row.pointer, row.callback),
        };
        socket.show(printer);
        Some(())
    })
}

struct Socket {
    protocol: u8,
    /// A process id, or a negative number.
    port: i32,
    /// The group and the port that it is connected to.
    peer: Option<(i32, i32)>,
    recv_q: u32,
    send_q: u32,
    groups: u32,
    /// Of the socket and of its callback, in the kernel. Only the file says them.
    addresses: (u64, u64),
}

impl Socket {
    /// Whether it was wanted.
    fn show(&self, printer: &mut Printer<'_>) -> bool {
        let mut octets = [0; 16];
        octets[..4].copy_from_slice(&u32::from(self.protocol).to_ne_bytes());
        let facts = Facts {
            family: AddressFamily::Netlink,
            local: Place {
                octets,
                port: self.port,
                name: None,
            },
            peer: Place {
                port: -1,
                ..Place::default()
            },
            interface: 0,
            mark: 0,
            cgroup: 0,
        };
        if !printer.accepts(&facts) {
            return false;
        }
        printer.start("nl", State::Close as u8, self.recv_q, self.send_q);
        let name = match printer.show.numeric {
            true => self.protocol.to_string(),
            false => protocols::netlink_name(self.protocol),
        };
        let holder = holder(self.port, printer);
        printer.end(name, ":", holder);
        match self.peer {
            Some((group, port)) => printer.end(group.to_string(), ":", port.to_string()),
            None => printer.end("", "*", ""),
        }
        if printer.show.details {
            let ((socket, callback), groups) = (self.addresses, self.groups);
            let _ = write!(
                printer.table,
                " sk={socket:x} cb={callback:x} groups=0x{groups:08x}"
            );
        }
        true
    }
}

/// The process that a port stands for, as ss shows it.
fn holder(port: i32, printer: &Printer<'_>) -> Vec<u8> {
    let number = port.to_string();
    match port {
        -1 => b"*".to_vec(),
        _ if printer.show.numeric => number.into(),
        0 => b"kernel".to_vec(),
        1.. => match name_in_stat(&printer.proc_root.join(&number)) {
            Ok(mut name) if !name.is_empty() => {
                name.truncate(63);
                name.extend(format!("/{number}").bytes());
                name
            }
            _ => number.into(),
        },
        _ => number.into(),
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_ne_bytes)
}
