//! Sockets between virtual machines and their host: vsock_diag of sock_diag(7).

use crate::as_ss::ask::filter::{Facts, Place};
use crate::as_ss::ask::selection::{AddressFamily, Kind};
use crate::as_ss::show::printer::{Answered, Printer};
use crate::kernel::netlink::vsock_diag::{VsockDiagMsg, VsockDiagReq};
use crate::kernel::socket::{AF_VSOCK, SOCK_DGRAM, SOCK_STREAM};

/// Asks for the sockets and writes those that are wanted.
///
/// # Errors
/// If the kernel does not list them.
pub fn show(printer: &mut Printer<'_>) -> Answered {
    let request = VsockDiagReq {
        sdiag_family: AF_VSOCK,
        vdiag_states: printer.selection.states.bits(),
        ..VsockDiagReq::default()
    };
    printer.dump(&request.bytes(), show_row)
}

/// `None` if the row cannot be read.
fn show_row(row: &[u8], printer: &mut Printer<'_>) -> Option<()> {
    let (row, _) = VsockDiagMsg::split(row)?;
    let ends = [
        (row.vdiag_src_cid, row.vdiag_src_port),
        (row.vdiag_dst_cid, row.vdiag_dst_port),
    ];
    let kinds = printer.selection.kinds;
    let (netid, is_selected) = match row.vdiag_type {
        SOCK_STREAM => ("v_str", kinds.has(Kind::VsockStream)),
        SOCK_DGRAM => ("v_dgr", kinds.has(Kind::VsockDatagram)),
        _ => ("???", true),
    };
    let place = |(machine, port): (u32, u32)| {
        let mut octets = [0; 16];
        octets[..4].copy_from_slice(&machine.to_ne_bytes());
        Place {
            octets,
            port: port as i32,
            name: None,
        }
    };
    let facts = Facts {
        family: AddressFamily::Vsock,
        local: place(ends[0]),
        peer: place(ends[1]),
        interface: 0,
        mark: 0,
        cgroup: 0,
    };
    if is_selected && printer.accepts(&facts) {
        printer.start(netid, row.vdiag_state, 0, 0);
        let shown = |number: u32| match number {
            u32::MAX => "*".to_string(),
            number => number.to_string(),
        };
        for (machine, port) in ends {
            printer.end(shown(machine), ":", shown(port));
        }
        printer.users(row.vdiag_ino);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::as_ss::ask::request::Show;
    use crate::as_ss::ask::selection::{Kinds, Selection, State, States};
    use crate::as_ss::names::services::Services;
    use crate::as_ss::show::table::Table;

    #[test]
    fn a_row_is_shown_with_its_machines_and_ports() {
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
        let mut selection = Selection::default();
        selection.add_kinds(Kinds::named("vsock").unwrap());
        selection.states = States::ALL;
        let services = Services::new("/nonexistent".into(), "/nonexistent".into());
        let mut text = Vec::new();
        let mut write = |more: Vec<u8>| {
            text.extend(more);
            Ok(())
        };
        let table = Table::new(true, true, false, &mut write);
        let mut printer = Printer::new(table, Show::default(), &selection, None, &services);
        assert_eq!(show_row(&row, &mut printer), Some(()));
        assert_eq!(show_row(&row[..31], &mut printer), None);
        printer.table.finish().unwrap();
        assert_eq!(text, b"v_str LISTEN 0      0      *:1024 7:*\n");
    }
}
