//! Vsock sockets, which connect virtual machines and their host: vsock_diag of sock_diag(7)
//! (`linux/vm_sockets_diag.h`).

use super::layout::{Halves, layout};

layout! {
    /// `struct vsock_diag_req`: a request for vsock sockets.
    VsockDiagReq, 24 bytes:
    sdiag_family: u8 = 0..1,
    sdiag_protocol: u8 = 1..2,
    vdiag_states: u32 = 4..8,
    vdiag_ino: u32 = 8..12,
    vdiag_show: u32 = 12..16,
    vdiag_cookie: Halves = 16..24,
}

layout! {
    /// `struct vsock_diag_msg`: a row of the answer.
    VsockDiagMsg, 32 bytes:
    vdiag_family: u8 = 0..1,
    vdiag_type: u8 = 1..2,
    vdiag_state: u8 = 2..3,
    vdiag_shutdown: u8 = 3..4,
    vdiag_src_cid: u32 = 4..8,
    vdiag_src_port: u32 = 8..12,
    vdiag_dst_cid: u32 = 12..16,
    vdiag_dst_port: u32 = 16..20,
    vdiag_ino: u32 = 20..24,
    vdiag_cookie: Halves = 24..32,
}
