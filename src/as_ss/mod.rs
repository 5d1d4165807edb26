//! The program under the name `ss`, for images that have none. It takes the options
//! of iproute2's ss, asks the same sources and prints the same bytes. It never
//! starts another ss.
//!
//! - [`options`] reads the command line, [`filter`] the filter on it. [`selection`]
//!   is which sockets both ask for.
//! - [`inet`], [`unix`], [`packet`], [`netlinks`] and [`vsock`] ask the kernel for
//!   sockets of one kind and write a row for each. [`bytecode`] is a filter for the
//!   kernel. [`proc_net`] reads the files of `/proc/net` in place of that.
//! - [`printer`] writes what all rows have, [`info`] what `-m` and `-i` add, and
//!   [`table`] makes columns of it. [`services`], [`names`], [`cgroups`] and
//!   [`users`] turn numbers into names.
//! - [`summary`] is `-s`.
//!
//! If a source cannot be read, ss prints a table that may lack rows. This fails.

pub mod ask;
pub mod error;
pub mod kinds;
pub mod names;
pub mod places;
pub mod show;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::cli::UsageError;
use crate::kernel::netlink::sock_diag::XdpDiagReq;
use crate::kernel::socket::AF_XDP;
use crate::listener::Protocol;
use crate::output::{Output, OutputError};
use ask::help;
use ask::options::{self, Command};
use ask::request::Request;
use ask::selection::{AddressFamily, Kind, State};
pub use error::Error;
use kinds::inet::{self, Inet};
use kinds::{netlinks, packet, proc_net, summary, unix, vsock};
use names::services::Services;
pub use places::Places;
use show::printer::{Answered, Naming, Printer};
use show::table::{Table, Write};
use show::users::Users;

/// Whether a program with this first argument was started under the name `ss`.
pub fn is_name(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some("ss".as_ref())
}

/// Prints what `arguments`, without the program's name, ask for.
///
/// # Errors
/// If the answer of ss is not known completely, or cannot be written. A long table
/// may be written in part by then. A reader that goes away is no error.
pub fn run(arguments: impl IntoIterator<Item = OsString>, places: &Places) -> Result<(), Error> {
    let mut output = None;
    let mut write = |text: Vec<u8>| -> Result<(), OutputError> {
        let output = match &mut output {
            Some(output) => output,
            None => output.insert(Output::open(None, true)?),
        };
        output.write_all(text)
    };
    answer(arguments, places, &mut write)
}

/// Passes what [`run`] prints to `write`.
///
/// # Errors
/// As [`run`].
pub fn answer(
    arguments: impl IntoIterator<Item = OsString>,
    places: &Places,
    write: Write<'_>,
) -> Result<(), Error> {
    let services = places.services();
    match options::parse(arguments, &services)? {
        Command::Show(request) => show(&request, places, &services, write),
        Command::Help => write(help::HELP.into()).map_err(Error::Output),
        Command::Version => write(help::VERSION.into()).map_err(Error::Output),
    }
}

fn show(
    request: &Request,
    places: &Places,
    services: &Services,
    write: Write<'_>,
) -> Result<(), Error> {
    if request.summary {
        let text = summary::summary(places)?;
        write(text.into()).map_err(Error::Output)?;
        if !request.has_table {
            return Ok(());
        }
    }
    let selection = &request.selection;
    // Processes are read first, as in ss.
    let users = request
        .processes
        .then(|| Users::read(places.proc_root(), request.threads));
    let table = Table::new(
        !selection.kinds.is_one(),
        !selection.states.is_one(),
        request.has_header,
        write,
    );
    let filter = request.filter.as_ref();
    let mut printer = Printer::new(table, request.show, selection, filter, services);
    printer.users = users;
    printer.proc_root = places.proc_root().to_path_buf();
    show_kinds(places, &mut printer)?;
    printer.table.finish().map_err(Error::Output)
}

/// Writes the rows of each kind that is asked for, in the order of ss.
fn show_kinds(places: &Places, printer: &mut Printer<'_>) -> Result<(), Error> {
    let selection = printer.selection;
    let has = |kind| selection.kinds.has(kind);
    let has_family = |family| selection.families.has(family);
    // These have no state but this.
    let has_close = selection.states.has(State::Close as u8);
    if has(Kind::Netlink) && has_family(AddressFamily::Netlink) && has_close {
        let asks = places.asks_kernel_for("netlink");
        let answered = asks.then(|| netlinks::show(printer));
        if !is_answered(answered, "netlink")? {
            netlinks::show_file(places, printer)?;
        }
    }
    if (has(Kind::PacketRaw) || has(Kind::PacketDatagram))
        && has_family(AddressFamily::Packet)
        && has_close
    {
        let asks = places.asks_kernel_for("packet");
        let answered = asks.then(|| packet::show(printer));
        if !is_answered(answered, "packet")? {
            packet::show_file(places, printer)?;
        }
    }
    let unix = [Kind::UnixStream, Kind::UnixDatagram, Kind::UnixSeqpacket];
    if unix.into_iter().any(has) && has_family(AddressFamily::Unix) {
        let asks = places.asks_kernel_for("unix");
        let answered = asks.then(|| unix::show(printer));
        if !is_answered(answered, "unix")? {
            unix::show_file(places, printer)?;
        }
    }
    let tables = [
        (Kind::Raw, Inet::Raw, Some(Naming::Protocols)),
        (
            Kind::Udp,
            Inet::Udp,
            Some(Naming::Services(Some(Protocol::Udp))),
        ),
        (
            Kind::Tcp,
            Inet::Tcp,
            Some(Naming::Services(Some(Protocol::Tcp))),
        ),
        (Kind::Dccp, Inet::Dccp, None),
        (Kind::Sctp, Inet::Sctp, None),
    ];
    for (kind, protocol, naming) in tables {
        if has(kind) && selection.has_inet() {
            printer.naming = naming.unwrap_or(printer.naming);
            show_inet(protocol, places, printer)?;
        }
    }
    if (has(Kind::VsockStream) || has(Kind::VsockDatagram)) && has_family(AddressFamily::Vsock) {
        from_kernel_only("vsock", "AF_VSOCK", places, || vsock::show(printer))?;
    }
    if has(Kind::Xdp) && has_family(AddressFamily::Xdp) && has_close {
        from_kernel_only("xdp", "XDP", places, || are_no_xdp_sockets(printer))?;
    }
    if has(Kind::Mptcp) && selection.has_inet() {
        show_inet(Inet::Mptcp, places, printer)?;
    }
    Ok(())
}

fn show_inet(protocol: Inet, places: &Places, printer: &mut Printer<'_>) -> Result<(), Error> {
    let file = match protocol {
        Inet::Tcp => "tcp",
        Inet::Udp => "udp",
        Inet::Raw => "raw",
        Inet::Mptcp | Inet::Dccp | Inet::Sctp => {
            // ss looks for these nowhere else.
            if places.proc_root.is_some() {
                return Ok(());
            }
            let name = protocol.name();
            return from_kernel_only(name, name, places, || inet::show(protocol, printer));
        }
    };
    if protocol == Inet::Tcp && places.recording.is_some() {
        let why = "TCPDIAG_FILE in the environment: not covered";
        return Err(UsageError::of_ss(why).into());
    }
    let asks = places.asks_kernel_for(file);
    let answered = asks.then(|| inet::show(protocol, printer));
    if is_answered(answered, file)? {
        return Ok(());
    }
    let show = printer.show;
    if asks && protocol == Inet::Tcp && (show.memory || show.info) {
        let why = "the kernel does not answer over netlink, which -m and -i need";
        return Err(Error::Source(format!("{file}: {why}")));
    }
    proc_net::show(protocol, places, printer)
}

/// Whether the kernel answered. What it did not say at all may be found elsewhere.
fn is_answered(answered: Option<Answered>, table: &str) -> Result<bool, Error> {
    match answered {
        None | Some(Err((_, 0))) => Ok(false),
        Some(Ok(())) => Ok(true),
        Some(Err((error, _))) => Err(Error::Source(format!("netlink: {table}: {error}"))),
    }
}

/// Asks the kernel for what stands nowhere else. One that does not answer, and has
/// no such sockets in use, has none.
fn from_kernel_only(
    table: &str,
    name: &str,
    places: &Places,
    ask: impl FnOnce() -> Answered,
) -> Result<(), Error> {
    let (error, rows) = match ask() {
        Ok(()) => return Ok(()),
        Err(failed) => failed,
    };
    match proc_net::are_in_use(name, places) {
        Some(false) if rows == 0 => Ok(()),
        _ => Err(Error::Source(format!("netlink: {table}: {error}"))),
    }
}

/// Asks for XDP sockets, which cannot be shown.
fn are_no_xdp_sockets(printer: &mut Printer<'_>) -> Answered {
    let request = XdpDiagReq {
        sdiag_family: AF_XDP,
        ..XdpDiagReq::default()
    };
    printer.dump(&request.bytes(), |_, _| None)
}
