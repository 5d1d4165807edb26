//! Writes vsock sockets, which connect virtual machines and their host, from vsock_diag of
//! sock_diag(7).

use super::dump::{DumpError, RowError, dump};
use crate::as_ss::ask::filter::{Facts, SocketEnd};
use crate::as_ss::ask::request::Request;
use crate::as_ss::ask::selection::{AddressFamily, Kind};
use crate::as_ss::show::rows::Rows;
use crate::kernel::netlink::vsock_diag::{VsockDiagMsg, VsockDiagReq};
use crate::kernel::socket::{AF_VSOCK, SOCK_DGRAM, SOCK_STREAM};

/// Asks the kernel for vsock sockets, and writes the sockets that match the request.
///
/// # Errors
/// Fails if the list is not complete, or if a row cannot be read.
pub fn show(request: &Request, rows: &mut Rows<'_>) -> Result<(), DumpError> {
    let question = VsockDiagReq {
        sdiag_family: AF_VSOCK,
        vdiag_states: request.selection.states.bits(),
        ..VsockDiagReq::default()
    };
    dump(&question.bytes(), &mut |row| show_row(row, request, rows))
}

fn show_row(row: &[u8], request: &Request, rows: &mut Rows<'_>) -> Result<(), RowError> {
    let (row, _) = VsockDiagMsg::split(row).ok_or(RowError::Unreadable)?;
    let local = (row.vdiag_src_cid, row.vdiag_src_port);
    let peer = (row.vdiag_dst_cid, row.vdiag_dst_port);
    let kinds = request.selection.kinds;
    let (netid, is_selected) = match row.vdiag_type {
        SOCK_STREAM => ("v_str", kinds.has(Kind::VsockStream)),
        SOCK_DGRAM => ("v_dgr", kinds.has(Kind::VsockDatagram)),
        _ => ("???", true),
    };
    let end = |(machine, port): (u32, u32)| SocketEnd::numbered(machine, port as i32);
    let facts = || Facts::new(AddressFamily::Vsock, end(local), end(peer));
    if is_selected && request.accepts(facts) {
        rows.start(netid, row.vdiag_state, 0, 0);
        let shown = |number: u32| match number {
            u32::MAX => "*".to_string(),
            number => number.to_string(),
        };
        for (machine, port) in [local, peer] {
            rows.end(shown(machine), ":", shown(port));
        }
        rows.users(row.vdiag_ino);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::as_ss::ask::selection::State;
    use crate::as_ss::show::rows::shown;

    #[test]
    fn vsock_rows_show_machines_and_ports() {
        let row = VsockDiagMsg {
            vdiag_type: SOCK_STREAM,
            vdiag_state: State::Listen as u8,
            vdiag_src_cid: u32::MAX,
            vdiag_src_port: 1024,
            vdiag_dst_cid: 7,
            vdiag_dst_port: u32::MAX,
            ..VsockDiagMsg::default()
        };
        let row = row.bytes();
        let request = Request::with_kinds("vsock");
        let text = shown(&request, |rows| {
            assert_eq!(show_row(&row, &request, rows), Ok(()));
        });
        assert_eq!(text, "v_str LISTEN 0      0      *:1024 7:*\n");
    }

    #[test]
    fn truncated_rows_are_refused() {
        let row = VsockDiagMsg::default().bytes();
        shown(&Request::with_kinds("vsock"), |rows| {
            let result = show_row(&row[..31], &Request::default(), rows);
            assert_eq!(result, Err(RowError::Unreadable));
        });
    }
}
