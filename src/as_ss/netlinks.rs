//! The sockets of netlink(7): netlink_diag of sock_diag(7).

use std::fmt::Write as _;

use super::filter::{Facts, Place};
use super::info;
use super::names;
use super::printer::{Answered, Printer};
use super::selection::{AddressFamily, State};
use crate::source::holders::name_in_stat;
use crate::source::netlink::message::{array_at, attribute};

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
    let (protocol, state) = (*row.get(2)?, *row.get(3)?);
    // A port is a process id, or a negative number.
    let port = word(row, 4)? as i32;
    let (peer_port, peer_group) = (word(row, 8)? as i32, word(row, 12)? as i32);
    let attributes = row.get(ROW_SIZE..)?;
    let memory = attribute(attributes, MEMORY);
    let mut octets = [0; 16];
    octets[..4].copy_from_slice(&u32::from(protocol).to_ne_bytes());
    let facts = Facts {
        family: AddressFamily::Netlink,
        local: Place {
            octets,
            port,
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
        return Some(());
    }
    let (recv_q, send_q) = match memory {
        Some(memory) => (word(memory, 0)?, word(memory, 8)?),
        None => (0, 0),
    };
    printer.start("nl", State::Close as u8, recv_q, send_q);
    let name = match printer.show.numeric {
        true => protocol.to_string(),
        false => names::netlink(protocol),
    };
    let holder = holder(port, printer);
    printer.end(name, ":", holder);
    match state {
        CONNECTED => printer.end(peer_group.to_string(), ":", peer_port.to_string()),
        _ => printer.end("", "*", ""),
    }
    if printer.show.details {
        let groups = attribute(attributes, GROUPS).and_then(|groups| word(groups, 0));
        let groups = groups.unwrap_or(0);
        let _ = write!(printer.table, " sk=0 cb=0 groups=0x{groups:08x}");
    }
    if printer.show.memory {
        printer.table.push(b"\t");
        if let Some(memory) = memory {
            info::show_memory(memory, printer)?;
        }
    }
    Some(())
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
