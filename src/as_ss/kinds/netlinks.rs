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
use crate::kernel::netlink::netlink_diag::{
    NDIAG_PROTO_ALL, NDIAG_SHOW_GROUPS, NDIAG_SHOW_MEMINFO, NETLINK_CONNECTED, NetlinkDiagReq, Row,
};
use crate::kernel::proc::other_rows::NetlinkRow;
use crate::kernel::proc::process::name_in_stat;
use crate::kernel::socket::AF_NETLINK;

/// Asks for the sockets of netlink and writes those that are wanted.
///
/// # Errors
/// If the kernel does not list them.
pub fn show(printer: &mut Printer<'_>) -> Answered {
    let request = NetlinkDiagReq {
        sdiag_family: AF_NETLINK,
        sdiag_protocol: NDIAG_PROTO_ALL,
        ndiag_show: NDIAG_SHOW_MEMINFO | NDIAG_SHOW_GROUPS,
        ..NetlinkDiagReq::default()
    };
    printer.dump(&request.bytes(), show_row)
}

/// `None` if the row cannot be read.
fn show_row(row: &[u8], printer: &mut Printer<'_>) -> Option<()> {
    let Row {
        message,
        memory,
        groups,
    } = Row::parse(row)?;
    let is_connected = message.ndiag_state == NETLINK_CONNECTED;
    let socket = Socket {
        protocol: message.ndiag_protocol,
        port: message.ndiag_portid,
        peer: is_connected.then_some((message.ndiag_dst_group, message.ndiag_dst_portid)),
        recv_q: memory.map_or(0, |memory| memory.rmem_alloc()),
        send_q: memory.map_or(0, |memory| memory.wmem_alloc()),
        groups: groups.unwrap_or(0),
        addresses: (0, 0),
    };
    if socket.show(printer) && printer.show.memory {
        printer.table.push(b"\t");
        if let Some(memory) = memory {
            info::show_memory(memory, printer);
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
