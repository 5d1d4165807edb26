//! Writes Unix sockets, from unix_diag of sock_diag(7) or from the file `/proc/net/unix`.

use std::fmt::Write as _;

use super::dump::{DumpError, RowError, dump};
use super::files::for_each_line;
use super::info;
use crate::as_ss::ask::filter::{Facts, SocketEnd};
use crate::as_ss::ask::request::Request;
use crate::as_ss::ask::selection::{AddressFamily, Kind, State};
use crate::as_ss::error::Error;
use crate::as_ss::paths::Paths;
use crate::as_ss::show::rows::Rows;
use crate::kernel::netlink::unix_diag::{
    UDIAG_SHOW_ICONS, UDIAG_SHOW_MEMINFO, UDIAG_SHOW_NAME, UDIAG_SHOW_PEER, UDIAG_SHOW_RQLEN,
    UDIAG_SHOW_VFS, UnixDiagMsg, UnixDiagReq, UnixDiagRow,
};
use crate::kernel::proc::other_rows::UnixRow;
use crate::kernel::socket::{AF_UNIX, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM};
use crate::numbers;

/// Asks the kernel for Unix sockets, and writes the sockets that match the request.
///
/// # Errors
/// Fails if the list is not complete, or if a row cannot be read.
pub fn show(request: &Request, rows: &mut Rows<'_>) -> Result<(), DumpError> {
    let mut attributes = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN;
    if request.show.memory {
        attributes |= UDIAG_SHOW_MEMINFO;
    }
    if request.show.details {
        attributes |= UDIAG_SHOW_VFS | UDIAG_SHOW_ICONS;
    }
    let question = UnixDiagReq {
        sdiag_family: AF_UNIX,
        udiag_states: request.selection.states.bits(),
        udiag_show: attributes,
        ..UnixDiagReq::default()
    };
    dump(&question.bytes(), &mut |row| show_row(row, request, rows))
}

fn show_row(row: &[u8], request: &Request, rows: &mut Rows<'_>) -> Result<(), RowError> {
    let row = UnixDiagRow::parse(row).ok_or(RowError::Unreadable)?;
    let UnixDiagMsg {
        udiag_type: kind,
        udiag_state: state,
        udiag_ino: inode,
        ..
    } = row.message;
    let name = row.name.map(shown_name);
    let peer = row.peer.unwrap_or(0);
    if !matches(kind, inode as i32, peer as i32, name.as_deref(), request) {
        return Ok(());
    }
    let queues = row.rqlen.unwrap_or_default();
    rows.start(netid(kind), state, queues.udiag_rqueue, queues.udiag_wqueue);
    let name = name.as_deref().unwrap_or(b"*");
    rows.end(name, " ", (inode as i32).to_string());
    rows.end("*", " ", (peer as i32).to_string());
    rows.users(inode);
    if request.show.memory
        && let Some(memory) = row.memory
    {
        info::show_memory(memory, rows);
    }
    if request.show.details {
        show_details(&row, rows);
    }
    Ok(())
}

fn show_details(row: &UnixDiagRow<'_>, rows: &mut Rows<'_>) {
    if let Some(shut) = row.shutdown {
        rows.directions(shut);
    }
    if let Some(file) = row.vfs {
        let (inode, device) = (file.udiag_vfs_ino, file.udiag_vfs_dev);
        // The number is split in the same way as by major() and minor() of the C library.
        let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xf_ff00);
        let _ = write!(rows, " ino:{inode} dev:{major}/{minor}");
    }
    if let Some(pending) = row.icons() {
        rows.push(b" peers:");
        for inode in pending {
            let _ = write!(rows, " {inode}");
        }
    }
}

/// The name in the form that ss prints. In an abstract name, which starts with a zero byte,
/// each zero byte is replaced by `@`. A path ends at its first zero byte.
fn shown_name(name: &[u8]) -> Vec<u8> {
    match name.first() {
        Some(0) => {
            let bytes = name
                .iter()
                .map(|byte| if *byte == 0 { b'@' } else { *byte });
            bytes.collect()
        }
        _ => name
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default()
            .to_vec(),
    }
}

/// Whether a socket of this kind matches the request. `port` and `peer` are the inodes of the
/// socket and of its peer.
fn matches(kind: u8, port: i32, peer: i32, name: Option<&[u8]>, request: &Request) -> bool {
    let kinds = request.selection.kinds;
    let is_selected = match kind {
        SOCK_STREAM => kinds.has(Kind::UnixStream),
        SOCK_DGRAM => kinds.has(Kind::UnixDatagram),
        SOCK_SEQPACKET => kinds.has(Kind::UnixSeqpacket),
        _ => true,
    };
    let end = |port, name| SocketEnd {
        octets: [0; 16],
        port,
        name,
    };
    is_selected
        && request.accepts(|| Facts::new(AddressFamily::Unix, end(port, name), end(peer, None)))
}

fn netid(kind: u8) -> &'static str {
    match kind {
        SOCK_STREAM => "u_str",
        SOCK_SEQPACKET => "u_seq",
        _ => "u_dgr",
    }
}

/// Writes the Unix sockets in `/proc/net/unix` that match the request. As in ss, they are
/// sorted by type and inode, because the order in the file is arbitrary.
///
/// # Errors
/// Fails if the file or one of its lines cannot be read.
pub fn show_file(request: &Request, paths: &Paths, rows: &mut Rows<'_>) -> Result<(), Error> {
    let mut sockets = Vec::new();
    for_each_line("unix", paths, &mut |line| {
        let socket = UnixSocket::from_row(&UnixRow::parse(line)?);
        let name = (!socket.name.is_empty()).then_some(&socket.name[..]);
        // As in ss, the filter does not get the inodes that are in the file.
        if request.selection.states.has(socket.state) && matches(socket.kind, 0, 0, name, request) {
            sockets.push(socket);
        }
        Some(())
    })?;
    // We sort numbers and not sockets, because the binary already contains `sort_unstable` for
    // u64. Each number consists of a type, which is at most 5, an inode, and an index in
    // `sockets`.
    const INDEX_BITS: u32 = 29;
    let key = |(index, socket): (u64, &UnixSocket)| {
        u64::from(socket.kind) << 61 | u64::from(socket.inode) << INDEX_BITS | index
    };
    let mut order: Vec<u64> = (0..).zip(&sockets).map(key).collect();
    numbers::sort(&mut order);
    for key in order {
        let socket = &sockets[(key % (1 << INDEX_BITS)) as usize];
        rows.start(netid(socket.kind), socket.state, 0, 0);
        let name = if socket.name.is_empty() {
            b"*"
        } else {
            &socket.name[..]
        };
        rows.end(name, " ", (socket.inode as i32).to_string());
        rows.end("*", " ", "0");
        rows.users(socket.inode);
    }
    Ok(())
}

/// A socket in `/proc/net/unix`.
struct UnixSocket {
    kind: u8,
    /// The state, as the number of the corresponding TCP state.
    state: u8,
    inode: u32,
    /// The path or abstract name. Empty if the socket has no name.
    name: Vec<u8>,
}

impl UnixSocket {
    fn from_row(row: &UnixRow<'_>) -> UnixSocket {
        let state = match row.state {
            _ if row.listens => State::Listen as u8,
            1 => State::Close as u8,
            2 => State::SynSent as u8,
            3 => State::Established as u8,
            4 => State::Closing as u8,
            other => other as u8,
        };
        UnixSocket {
            kind: row.kind.try_into().unwrap_or(0),
            state,
            inode: row.inode,
            name: row.name.to_vec(),
        }
    }
}
