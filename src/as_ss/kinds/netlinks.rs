//! Writes netlink sockets, from netlink_diag of sock_diag(7) or from the file
//! `/proc/net/netlink`.

use std::fmt::Write as _;

use super::dump::{DumpError, Dumps, RowError};
use super::files::for_each_line;
use super::info;
use crate::as_ss::ask::filter::{Facts, SocketEnd};
use crate::as_ss::ask::request::Request;
use crate::as_ss::ask::selection::{AddressFamily, State};
use crate::as_ss::error::Error;
use crate::as_ss::paths::Paths;
use crate::as_ss::show::rows::Rows;
use crate::kernel::netlink::client::NETLINK_SOCK_DIAG;
use crate::kernel::netlink::netlink_diag::{
    NDIAG_PROTO_ALL, NDIAG_SHOW_GROUPS, NDIAG_SHOW_MEMINFO, NETLINK_CONNECTED, NetlinkDiagReq,
    NetlinkDiagRow,
};
use crate::kernel::proc::other_rows::NetlinkRow;
use crate::kernel::socket::AF_NETLINK;

/// Asks the kernel for netlink sockets, and writes the sockets that match the request.
///
/// # Errors
/// Fails if the list is not complete, or if a row cannot be read.
pub fn show(request: &Request, rows: &mut Rows<'_>) -> Result<(), DumpError> {
    let question = NetlinkDiagReq {
        sdiag_family: AF_NETLINK,
        sdiag_protocol: NDIAG_PROTO_ALL,
        ndiag_show: NDIAG_SHOW_MEMINFO | NDIAG_SHOW_GROUPS,
        ..NetlinkDiagReq::default()
    };
    Dumps::with_buffers_of_ss().dump(&question.bytes(), &mut |row| show_row(row, request, rows))
}

fn show_row(row: &[u8], request: &Request, rows: &mut Rows<'_>) -> Result<(), RowError> {
    let NetlinkDiagRow {
        message,
        memory,
        groups,
    } = NetlinkDiagRow::parse(row).ok_or(RowError::Unreadable)?;
    // The list includes the netlink socket of this program. Unlike the socket of ss, it is
    // connected to the kernel. It is shown as unconnected, so that the output is the same as
    // that of ss.
    let is_own = message.ndiag_protocol == NETLINK_SOCK_DIAG
        && message.ndiag_portid.cast_unsigned() == std::process::id();
    let is_connected = message.ndiag_state == NETLINK_CONNECTED && !is_own;
    let socket = NetlinkSocket {
        protocol: message.ndiag_protocol,
        port: message.ndiag_portid,
        peer: is_connected.then_some((message.ndiag_dst_group, message.ndiag_dst_portid)),
        recv_q: memory.map_or(0, |memory| memory.rmem_alloc()),
        send_q: memory.map_or(0, |memory| memory.wmem_alloc()),
        groups: groups.unwrap_or(0),
        kernel_addresses: (0, 0),
    };
    if socket.show_if_matching(request, rows) && request.show.memory {
        rows.push(b"\t");
        if let Some(memory) = memory {
            info::show_memory(memory, rows);
        }
    }
    Ok(())
}

/// Writes the sockets in `/proc/net/netlink` that match the request.
///
/// # Errors
/// Fails if the file or one of its lines cannot be read.
pub fn show_file(request: &Request, paths: &Paths, rows: &mut Rows<'_>) -> Result<(), Error> {
    for_each_line("netlink", paths, &mut |line| {
        let row = NetlinkRow::parse(line)?;
        let socket = NetlinkSocket {
            protocol: row.protocol as u8,
            port: row.port as i32,
            peer: None,
            groups: row.groups as u32,
            recv_q: row.rmem as u32,
            send_q: row.wmem as u32,
            kernel_addresses: (row.pointer, row.callback),
        };
        socket.show_if_matching(request, rows);
        Some(())
    })
}

/// The properties of a netlink socket that `ss` shows.
struct NetlinkSocket {
    protocol: u8,
    /// The port id. This is a process id, or a negative number.
    port: i32,
    /// The multicast group and the port id that the socket is connected to.
    peer: Option<(i32, i32)>,
    recv_q: u32,
    send_q: u32,
    groups: u32,
    /// The addresses of the socket and of its callback in the kernel's memory. Only the file
    /// contains them.
    kernel_addresses: (u64, u64),
}

impl NetlinkSocket {
    /// Writes a row if the socket matches the request. Returns whether the socket matches.
    fn show_if_matching(&self, request: &Request, rows: &mut Rows<'_>) -> bool {
        let nowhere = SocketEnd {
            port: -1,
            ..SocketEnd::default()
        };
        let local = SocketEnd::numbered(self.protocol.into(), self.port);
        if !request.accepts(|| Facts::new(AddressFamily::Netlink, local, nowhere)) {
            return false;
        }
        rows.start("nl", State::Close as u8, self.recv_q, self.send_q);
        let protocol = rows.names.netlink_protocol(self.protocol);
        let holder = rows.names.netlink_port(self.port);
        rows.end(protocol, ":", holder);
        match self.peer {
            Some((group, port)) => rows.end(group.to_string(), ":", port.to_string()),
            None => rows.end("", "*", ""),
        }
        if request.show.details {
            let ((socket, callback), groups) = (self.kernel_addresses, self.groups);
            let _ = write!(rows, " sk={socket:x} cb={callback:x} groups=0x{groups:08x}");
        }
        true
    }
}
