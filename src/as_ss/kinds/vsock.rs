//! Sockets between virtual machines and their host: vsock_diag of sock_diag(7).

use crate::as_ss::ask::filter::{Facts, Place};
use crate::as_ss::ask::selection::{AddressFamily, Kind};
use crate::as_ss::show::printer::{Answered, Printer};
use crate::kernel::netlink::message::array_at;

const STREAM: u8 = 1;
const DATAGRAM: u8 = 2;

/// Asks for the sockets and writes those that are wanted.
///
/// # Errors
/// If the kernel does not list them.
pub fn show(printer: &mut Printer<'_>) -> Answered {
    // `struct vsock_diag_req`.
    let mut request = vec![AddressFamily::Vsock.number(), 0, 0, 0];
    request.extend(printer.selection.states.bits().to_ne_bytes());
    request.extend([0; 16]);
    printer.dump(&request, show_row)
}

/// Writes a `struct vsock_diag_msg`. `None` if it cannot be read.
fn show_row(row: &[u8], printer: &mut Printer<'_>) -> Option<()> {
    let word = |at| array_at(row, at).map(u32::from_ne_bytes);
    let (kind, state) = (*row.get(1)?, *row.get(2)?);
    let ends = [(word(4)?, word(8)?), (word(12)?, word(16)?)];
    let inode = word(20)?;
    let kinds = printer.selection.kinds;
    let (netid, is_selected) = match kind {
        STREAM => ("v_str", kinds.has(Kind::VsockStream)),
        DATAGRAM => ("v_dgr", kinds.has(Kind::VsockDatagram)),
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
        printer.start(netid, state, 0, 0);
        let shown = |number: u32| match number {
            u32::MAX => "*".to_string(),
            number => number.to_string(),
        };
        for (machine, port) in ends {
            printer.end(shown(machine), ":", shown(port));
        }
        printer.users(inode);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::as_ss::ask::request::Show;
    use crate::as_ss::ask::selection::{Kinds, Selection, States};
    use crate::as_ss::names::services::Services;
    use crate::as_ss::show::table::Table;

    #[test]
    fn a_row_is_shown_with_its_machines_and_ports() {
        let mut row = vec![40, STREAM, 10, 0];
        for word in [u32::MAX, 1024, 7, u32::MAX, 99, 0, 0] {
            row.extend(word.to_ne_bytes());
        }
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
        assert_eq!(show_row(&row[..24], &mut printer), Some(()));
        assert_eq!(show_row(&row[..23], &mut printer), None);
        printer.table.finish().unwrap();
        assert_eq!(text, b"v_str LISTEN 0      0      *:1024 7:*\n");
    }
}
