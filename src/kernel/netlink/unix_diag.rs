//! Unix sockets: unix_diag of sock_diag(7) (`linux/unix_diag.h`).

use super::layout::{Halves, Value as _, layout};
use super::message::Attributes;
use super::sock_diag::SkMeminfo;

layout! {
    /// `struct unix_diag_req`: a request for Unix sockets.
    UnixDiagReq, 24 bytes:
    sdiag_family: u8 = 0..1,
    sdiag_protocol: u8 = 1..2,
    udiag_states: u32 = 4..8,
    udiag_ino: u32 = 8..12,
    udiag_show: u32 = 12..16,
    udiag_cookie: Halves = 16..24,
}

// The bits of `udiag_show`. Each bit asks for an attribute.
/// The name of the socket.
pub const UDIAG_SHOW_NAME: u32 = 1;
/// The file that the socket is bound to.
pub const UDIAG_SHOW_VFS: u32 = 2;
/// The inode of the peer.
pub const UDIAG_SHOW_PEER: u32 = 4;
/// The inodes of the connections waiting to be accepted.
pub const UDIAG_SHOW_ICONS: u32 = 8;
/// The lengths of the queues.
pub const UDIAG_SHOW_RQLEN: u32 = 16;
/// The memory that the socket uses.
pub const UDIAG_SHOW_MEMINFO: u32 = 32;

layout! {
    /// `struct unix_diag_msg`: a row of the answer. Attributes follow.
    UnixDiagMsg, 16 bytes:
    udiag_family: u8 = 0..1,
    udiag_type: u8 = 1..2,
    udiag_state: u8 = 2..3,
    udiag_ino: u32 = 4..8,
    udiag_cookie: Halves = 8..16,
}

const UNIX_DIAG_NAME: u16 = 0;
const UNIX_DIAG_VFS: u16 = 1;
const UNIX_DIAG_PEER: u16 = 2;
const UNIX_DIAG_ICONS: u16 = 3;
const UNIX_DIAG_RQLEN: u16 = 4;
const UNIX_DIAG_MEMINFO: u16 = 5;
const UNIX_DIAG_SHUTDOWN: u16 = 6;

layout! {
    /// `struct unix_diag_vfs`: the file that a socket is bound to.
    UnixDiagVfs, 8 bytes:
    udiag_vfs_ino: u32 = 0..4,
    udiag_vfs_dev: u32 = 4..8,
}

layout! {
    /// `struct unix_diag_rqlen`: the lengths of the queues.
    UnixDiagRqlen, 8 bytes:
    udiag_rqueue: u32 = 0..4,
    udiag_wqueue: u32 = 4..8,
}

/// A row with its attributes.
#[derive(Clone, Copy, Debug)]
pub struct UnixDiagRow<'a> {
    /// The fixed part of the row.
    pub message: UnixDiagMsg,
    /// The name of the socket: a path, or an abstract name, which starts with a zero byte.
    pub name: Option<&'a [u8]>,
    /// The file that the socket is bound to.
    pub vfs: Option<UnixDiagVfs>,
    /// The inode of the peer.
    pub peer: Option<u32>,
    /// The lengths of the queues.
    pub rqlen: Option<UnixDiagRqlen>,
    /// The memory that the socket uses.
    pub memory: Option<SkMeminfo<'a>>,
    /// The directions that are shut down, one bit for each.
    pub shutdown: Option<u8>,
    icons: Option<&'a [u8]>,
}

impl<'a> UnixDiagRow<'a> {
    /// Parses a row. `None` if the row or one of its attributes is too short.
    pub fn parse(bytes: &'a [u8]) -> Option<UnixDiagRow<'a>> {
        let (message, attributes) = UnixDiagMsg::split(bytes)?;
        let attributes = Attributes(attributes);
        let memory = attributes.get(UNIX_DIAG_MEMINFO).map(SkMeminfo::read);
        Some(UnixDiagRow {
            message,
            name: attributes.get(UNIX_DIAG_NAME),
            vfs: attributes.read(UNIX_DIAG_VFS)?,
            peer: attributes.read(UNIX_DIAG_PEER)?,
            rqlen: attributes.read(UNIX_DIAG_RQLEN)?,
            memory: match memory {
                Some(memory) => Some(memory?),
                None => None,
            },
            shutdown: attributes.read(UNIX_DIAG_SHUTDOWN)?,
            icons: attributes.get(UNIX_DIAG_ICONS),
        })
    }

    /// The inodes of the connections waiting to be accepted. `None` if the row does not contain
    /// them.
    pub fn icons(&self) -> Option<impl Iterator<Item = u32> + use<'a>> {
        let inodes = self.icons?.chunks_exact(4);
        Some(inodes.filter_map(u32::read))
    }
}
