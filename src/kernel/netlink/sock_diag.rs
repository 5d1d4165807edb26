//! The parts of sock_diag(7) that the lists of all socket families have in common, and the
//! requests for rows that this program does not read.

use super::layout::{Halves, Value as _, layout};

/// The type of a request for the sockets of one family, and of the rows in its answer.
pub const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// The index of a number in [`SkMeminfo`] (`SK_MEMINFO_*` of `linux/sock_diag.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SkMeminfoIndex {
    RmemAlloc,
    Rcvbuf,
    WmemAlloc,
    Sndbuf,
    FwdAlloc,
    WmemQueued,
    Optmem,
    Backlog,
    Drops,
}

/// The memory that a socket uses: an array of 32-bit numbers. Every family has an attribute for
/// it.
#[derive(Clone, Copy, Debug)]
pub struct SkMeminfo<'a>(&'a [u8]);

impl<'a> SkMeminfo<'a> {
    /// Reads the value of an attribute. `None` if it ends before `Optmem`, the last number that
    /// the oldest kernels report.
    pub fn read(value: &'a [u8]) -> Option<SkMeminfo<'a>> {
        let memory = SkMeminfo(value);
        memory.get(SkMeminfoIndex::Optmem).map(|_| memory)
    }

    /// The number at `index`. `None` if the kernel is too old to report it.
    pub fn get(self, index: SkMeminfoIndex) -> Option<u32> {
        u32::read(self.0.get(4 * index as usize..)?)
    }

    /// The bytes waiting to be read.
    pub fn rmem_alloc(self) -> u32 {
        self.get(SkMeminfoIndex::RmemAlloc).unwrap_or(0)
    }

    /// The bytes waiting to be sent.
    pub fn wmem_alloc(self) -> u32 {
        self.get(SkMeminfoIndex::WmemAlloc).unwrap_or(0)
    }
}

layout! {
    /// `struct xdp_diag_req` of `linux/xdp_diag.h`: a request for XDP sockets. We do not read
    /// the rows.
    XdpDiagReq, 20 bytes:
    sdiag_family: u8 = 0..1,
    sdiag_protocol: u8 = 1..2,
    xdiag_ino: u32 = 4..8,
    xdiag_show: u32 = 8..12,
    xdiag_cookie: Halves = 12..20,
}

layout! {
    /// `struct tipc_sock_diag_req` of `linux/tipc_sockets_diag.h`: a request for TIPC sockets.
    /// We do not read the rows.
    TipcSockDiagReq, 8 bytes:
    sdiag_family: u8 = 0..1,
    sdiag_protocol: u8 = 1..2,
    tidiag_states: u32 = 4..8,
}
