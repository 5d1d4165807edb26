//! Writes the sockets of each kind: finds the sockets, and writes the same row as ss for each.
//!
//! - [`inet`], [`unix`], [`packet`], [`netlinks`] and [`vsock`] ask the kernel for the sockets
//!   of one kind, through [`dump`], and write a row for each socket.
//! - [`proc_net`] and [`files`] read the files of `/proc/net` if the kernel does not answer.
//! - [`info`] and [`tcp_info`] write the details that `-m` and `-i` add. [`summary`] writes the
//!   numbers of sockets that `-s` prints.
//!
//! This file decides in which order the kinds are written, and what happens if the kernel
//! does not answer.

pub mod dump;
pub mod files;
pub mod inet;
pub mod info;
pub mod netlinks;
pub mod packet;
pub mod proc_net;
pub mod summary;
pub mod tcp_info;
pub mod unix;
pub mod vsock;

use crate::as_ss::ask::request::Request;
use crate::as_ss::ask::selection::{AddressFamily, Kind, State};
use crate::as_ss::error::Error;
use crate::as_ss::paths::Paths;
use crate::as_ss::show::names::Naming;
use crate::as_ss::show::rows::Rows;
use crate::error::UsageError;
use crate::kernel::netlink::sock_diag::{TipcSockDiagReq, XdpDiagReq};
use crate::kernel::socket::{AF_TIPC, AF_XDP};
use crate::listener::Protocol;
use crate::report;
use dump::{DumpError, RowError};
use inet::Inet;

/// Asks the kernel for the sockets of one kind, and writes a row for each socket.
type AskKernel = fn(&Request, &mut Rows<'_>) -> Result<(), DumpError>;
/// Reads the sockets of one kind from a file, and writes a row for each socket.
type ReadFile = fn(&Request, &Paths, &mut Rows<'_>) -> Result<(), Error>;

/// Writes the rows of each requested kind, in the order of ss.
///
/// # Errors
/// Fails if not all sockets of a kind could be listed.
pub fn show(request: &Request, paths: &Paths, rows: &mut Rows<'_>) -> Result<(), Error> {
    let selection = &request.selection;
    let has = |kind| selection.kinds.has(kind);
    let has_family = |family| selection.families.has(family);
    // Netlink, packet and XDP sockets are always in this state.
    let has_close = selection.states.has(State::Close as u8);
    let mut ask_or_read = |table, ask: AskKernel, read: ReadFile| {
        let asked = paths.asks_kernel_for(table).then(|| ask(request, rows));
        match is_answered(asked, table)? {
            true => Ok(()),
            false => read(request, paths, rows),
        }
    };
    if has(Kind::Netlink) && has_family(AddressFamily::Netlink) && has_close {
        ask_or_read("netlink", netlinks::show, netlinks::show_file)?;
    }
    let packet = [Kind::PacketRaw, Kind::PacketDatagram];
    if packet.into_iter().any(has) && has_family(AddressFamily::Packet) && has_close {
        ask_or_read("packet", packet::show, packet::show_file)?;
    }
    let unix = [Kind::UnixStream, Kind::UnixDatagram, Kind::UnixSeqpacket];
    if unix.into_iter().any(has) && has_family(AddressFamily::Unix) {
        ask_or_read("unix", unix::show, unix::show_file)?;
    }
    // The third field is `None` if ss uses the same names of ports as for the kind before it.
    let inet_kinds = [
        (Kind::Raw, Inet::Raw, Some(Naming::Protocols)),
        (Kind::Udp, Inet::Udp, Some(services(Protocol::Udp))),
        (Kind::Tcp, Inet::Tcp, Some(services(Protocol::Tcp))),
        (Kind::Dccp, Inet::Dccp, None),
        (Kind::Sctp, Inet::Sctp, None),
    ];
    for (kind, protocol, naming) in inet_kinds {
        if has(kind) && selection.has_inet() {
            rows.names.naming = naming.unwrap_or(rows.names.naming);
            show_inet(protocol, request, paths, rows)?;
        }
    }
    let vsock = [Kind::VsockStream, Kind::VsockDatagram];
    if vsock.into_iter().any(has) && has_family(AddressFamily::Vsock) {
        let answer = vsock::show(request, rows);
        check_answer(answer, "vsock", "AF_VSOCK", paths)?;
    }
    if has(Kind::Tipc) && has_family(AddressFamily::Tipc) {
        check_answer(expect_no_tipc_sockets(request), "tipc", "TIPC", paths)?;
    }
    if has(Kind::Xdp) && has_family(AddressFamily::Xdp) && has_close {
        check_answer(expect_no_xdp_sockets(), "xdp", "XDP", paths)?;
    }
    if has(Kind::Mptcp) && selection.has_inet() {
        show_inet(Inet::Mptcp, request, paths, rows)?;
    }
    Ok(())
}

fn services(protocol: Protocol) -> Naming {
    Naming::Services(Some(protocol))
}

fn show_inet(
    protocol: Inet,
    request: &Request,
    paths: &Paths,
    rows: &mut Rows<'_>,
) -> Result<(), Error> {
    let Some(file) = protocol.file() else {
        // If `PROC_ROOT` is set, ss does not ask the kernel, and there is no file that lists
        // these sockets.
        if paths.proc_root.is_some() {
            return Ok(());
        }
        let name = protocol.name();
        // Old kernels do not support Multipath TCP, and ss does not report that.
        let may_lack_sockets =
            || protocol != Inet::Mptcp || files::are_in_use(name, paths) != Some(false);
        return match inet::show(protocol, request, rows) {
            Err(error) if error.is_forbidden() && may_lack_sockets() => {
                report_forbidden(protocol);
                Ok(())
            }
            answer => check_answer(answer, name, name, paths),
        };
    };
    if protocol == Inet::Tcp && paths.recording.is_some() {
        let why = "TCPDIAG_FILE in the environment: not supported by lntu as ss";
        return Err(UsageError::ss(why).into());
    }
    let asked = paths
        .asks_kernel_for(file)
        .then(|| inet::show(protocol, request, rows));
    if let Some(Err(error)) = &asked
        && error.is_forbidden()
    {
        report_forbidden(protocol);
    }
    if is_answered(asked, file)? {
        return Ok(());
    }
    proc_net::show(protocol, request, paths, rows)
}

/// Reports that the kernel refused to answer. As in ss, there are two lines for TCP, because ss
/// asks for TCP sockets a second time, with an older request.
fn report_forbidden(protocol: Inet) {
    let times = if protocol == Inet::Tcp { 2 } else { 1 };
    for _ in 0..times {
        report::line(format_args!("RTNETLINK answers: Operation not permitted"));
    }
}

/// Whether the kernel was asked and gave a complete answer.
///
/// # Errors
/// Fails if the answer broke off. If the kernel did not begin to answer, the result is false
/// and not an error, because a file may list the same sockets.
fn is_answered(asked: Option<Result<(), DumpError>>, table: &str) -> Result<bool, Error> {
    match asked {
        None => Ok(false),
        Some(Ok(())) => Ok(true),
        Some(Err(error)) if error.rows == 0 => Ok(false),
        Some(Err(error)) => Err(incomplete(&error, table)),
    }
}

/// Checks an answer about sockets that no file lists. If the kernel did not begin to answer,
/// but `/proc/net/protocols` counts no sockets of the protocol `name`, there are no such
/// sockets.
///
/// # Errors
/// Fails if the answer is not complete and there may be such sockets.
fn check_answer(
    answer: Result<(), DumpError>,
    table: &str,
    name: &str,
    paths: &Paths,
) -> Result<(), Error> {
    match answer {
        Ok(()) => Ok(()),
        Err(error) if error.rows == 0 && files::are_in_use(name, paths) == Some(false) => Ok(()),
        Err(error) => Err(incomplete(&error, table)),
    }
}

fn incomplete(error: &DumpError, table: &str) -> Error {
    Error::Source(format!("netlink: {table}: {error}"))
}

/// Asks for TIPC sockets, and fails if there are any, because this program cannot show them.
fn expect_no_tipc_sockets(request: &Request) -> Result<(), DumpError> {
    let question = TipcSockDiagReq {
        sdiag_family: AF_TIPC,
        tidiag_states: request.selection.states.bits(),
        ..TipcSockDiagReq::default()
    };
    dump::dump(&question.bytes(), &mut |_| Err(RowError::Unreadable))
}

/// Asks for XDP sockets, and fails if there are any, because this program cannot show them.
fn expect_no_xdp_sockets() -> Result<(), DumpError> {
    let question = XdpDiagReq {
        sdiag_family: AF_XDP,
        ..XdpDiagReq::default()
    };
    dump::dump(&question.bytes(), &mut |_| Err(RowError::Unreadable))
}
