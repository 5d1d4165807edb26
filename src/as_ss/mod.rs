//! The program under the name `ss`, for images that have none. It takes the options
//! of iproute2's ss, asks the same sources and prints the same bytes, as far as
//! listening TCP and UDP sockets go. It never starts another ss.
//!
//! - [`options`] reads the command line and [`filter`] the filter on it.
//! - [`selection`] is the tables that both ask for.
//! - [`services`] names ports.
//! - [`table`] writes the table.
//!
//! If a source cannot be read, ss prints a table that may lack rows. This prints
//! none and fails.

pub mod filter;
pub mod options;
pub mod selection;
pub mod services;
pub mod table;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::cli::UsageError;
use crate::listener::{Family, Listener, Protocol, SocketTable};
use crate::output::{Output, OutputError};
use crate::source::holders::{self, Lookup};
use crate::source::netlink::{Netlink, NetlinkError};
use crate::source::procnet::{ProcError, ProcNet};
use filter::AppliedBy;
use options::{Command, Request};
use selection::Selection;
use services::Services;
use table::Table;

/// Whether a program with this first argument was started under the name `ss`.
pub fn is_name(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some("ss".as_ref())
}

/// Why there is no table.
#[derive(Debug)]
pub enum Error {
    /// The command line is wrong, or asks for what is not covered.
    Usage(UsageError),
    /// A table of `/proc` cannot be read.
    Proc(ProcError),
    /// This file is there and may not be read.
    Forbidden(PathBuf),
    /// This file has lines that cannot be read.
    Unreadable(PathBuf),
    /// The table could not be written.
    Output(OutputError),
}

impl Error {
    /// The exit status, as in ss: 255 for a command line that is not understood,
    /// otherwise 1.
    pub fn status(&self) -> u8 {
        match self {
            Error::Usage(_) => 255,
            _ => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(error) => error.fmt(f),
            Error::Proc(error) => error.fmt(f),
            Error::Forbidden(path) => write!(f, "{}: may not be read", path.display()),
            Error::Unreadable(path) => {
                write!(f, "{}: has lines that cannot be read", path.display())
            }
            Error::Output(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<UsageError> for Error {
    fn from(error: UsageError) -> Error {
        Error::Usage(error)
    }
}

impl From<ProcError> for Error {
    fn from(error: ProcError) -> Error {
        Error::Proc(error)
    }
}

/// The files that ss reads. Its environment can name others.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// `PROC_ROOT`, in place of `/proc`.
    pub proc_root: Option<PathBuf>,
    /// `PROC_NET_TCP` and the like, each in place of one table.
    pub tables: Vec<(SocketTable, PathBuf)>,
    /// `PROC_IP_LOCAL_PORT_RANGE`.
    pub port_range: Option<PathBuf>,
}

impl Places {
    /// Those that the variables of the environment name.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Places {
        let path = |name: &str| variable(name).map(PathBuf::from);
        let table = |table: SocketTable| {
            let name = format!("PROC_NET_{}", table.name().to_ascii_uppercase());
            Some((table, path(&name)?))
        };
        Places {
            proc_root: path("PROC_ROOT"),
            tables: SocketTable::ALL.into_iter().filter_map(table).collect(),
            port_range: path("PROC_IP_LOCAL_PORT_RANGE"),
        }
    }

    /// ss appends a slash to `PROC_ROOT`, so an empty one is `/`.
    fn proc_root(&self) -> &Path {
        match self.proc_root.as_deref() {
            None => Path::new("/proc"),
            Some(root) if root.as_os_str().is_empty() => Path::new("/"),
            Some(root) => root,
        }
    }

    /// Whether ss asks the kernel. It does not if the IPv4 table is moved.
    fn asks_kernel_for(&self, protocol: Protocol) -> bool {
        let v4 = SocketTable {
            protocol,
            family: Family::V4,
        };
        let is_moved = |(table, _): &(SocketTable, PathBuf)| *table == v4;
        self.proc_root.is_none() && !self.tables.iter().any(is_moved)
    }

    fn services(&self) -> Services {
        let range = || self.proc_root().join("sys/net/ipv4/ip_local_port_range");
        let range = self.port_range.clone().unwrap_or_else(range);
        Services::new("/etc/services".into(), range)
    }
}

/// Prints what `arguments`, without the program's name, ask for.
///
/// # Errors
/// If the answer of ss is not known completely, or cannot be written. A reader that
/// goes away is no error.
pub fn run(arguments: impl IntoIterator<Item = OsString>, places: &Places) -> Result<(), Error> {
    let text = answer(arguments, places)?;
    Output::open(None, true)
        .and_then(|mut output| output.write_all(text))
        .map_err(Error::Output)
}

/// What [`run`] prints.
///
/// # Errors
/// As [`run`].
pub fn answer(
    arguments: impl IntoIterator<Item = OsString>,
    places: &Places,
) -> Result<Vec<u8>, Error> {
    let services = places.services();
    match options::parse(arguments, &services)? {
        Command::Show(request) => show(&request, places, &services),
        Command::Help => Ok(options::HELP.into()),
        Command::Version => Ok(options::VERSION.into()),
    }
}

fn show(request: &Request, places: &Places, services: &Services) -> Result<Vec<u8>, Error> {
    let selection = &request.selection;
    let mut listeners = read(request, places)?;
    if request.processes {
        let mut lookup = Lookup::new(places.proc_root(), holders::name_in_stat);
        lookup.look_for(&listeners);
        for listener in &mut listeners {
            listener.holders = lookup.holders_of(listener);
        }
    }
    let mut table = Table::new(selection.protocols.len() > 1, request.has_header);
    for protocol in &selection.protocols {
        let of_protocol = |listener: &&Listener| listener.protocol == *protocol;
        for listener in listeners.iter().filter(of_protocol) {
            let shown = |port| shown(port, *protocol, request.numeric, services);
            table.push(
                listener,
                &shown(listener.endpoint.port),
                &shown(listener.peer.port),
            );
        }
    }
    Ok(table.into_text())
}

/// The listeners that are asked for. The kernel is asked for each protocol over
/// netlink. If that fails, or the environment moves tables, the protocol is read
/// from `/proc`.
fn read(request: &Request, places: &Places) -> Result<Vec<Listener>, Error> {
    let Request {
        selection, filter, ..
    } = request;
    let mut listeners = Vec::new();
    let mut take = |rows: Vec<Listener>, applied_by: &[AppliedBy]| {
        let passes = |row: &Listener, by| filter.as_ref().is_none_or(|f| f.accepts(row, by));
        let passes_all = |row: &Listener| applied_by.iter().all(|by| passes(row, *by));
        listeners.extend(rows.into_iter().filter(passes_all));
    };
    let mut left = Vec::new();
    for &protocol in &selection.protocols {
        let ask = || from_netlink(protocol, selection).ok();
        match places.asks_kernel_for(protocol).then(ask).flatten() {
            Some(rows) => take(rows, &[AppliedBy::Kernel, AppliedBy::Ss]),
            None => left.push(protocol),
        }
    }
    if !left.is_empty() {
        take(from_proc(&left, selection, places)?, &[AppliedBy::Ss]);
    }
    Ok(listeners)
}

fn from_netlink(protocol: Protocol, selection: &Selection) -> Result<Vec<Listener>, NetlinkError> {
    let mut netlink =
        Netlink::new(|table| table.protocol == protocol && selection.wants_of_kernel(table.family));
    let mut rows = Vec::new();
    netlink.read(&mut rows).map(|()| rows)
}

/// The listeners in the tables of `/proc`.
fn from_proc(
    protocols: &[Protocol],
    selection: &Selection,
    places: &Places,
) -> Result<Vec<Listener>, Error> {
    let is_wanted = |table: SocketTable| {
        protocols.contains(&table.protocol) && selection.wants_of_proc(table.family)
    };
    let mut proc_net = ProcNet::new(places.proc_root(), is_wanted);
    for (table, path) in &places.tables {
        proc_net.replace_file(*table, path);
    }
    let mut rows = Vec::new();
    proc_net.read(None, &mut rows)?;
    let mut tables = SocketTable::ALL.into_iter();
    if let Some(path) = tables.find_map(|table| proc_net.forbidden_file(table)) {
        return Err(Error::Forbidden(path.to_path_buf()));
    }
    if let Some(path) = proc_net.file_with_unreadable_lines() {
        return Err(Error::Unreadable(path.to_path_buf()));
    }
    Ok(rows)
}

/// The port as ss writes it: `*` for 0.
fn shown(port: u16, protocol: Protocol, numeric: bool, services: &Services) -> String {
    let name = || services.name(port, protocol);
    match port {
        0 => "*".to_string(),
        _ if numeric => port.to_string(),
        _ => name().map_or_else(|| port.to_string(), str::to_string),
    }
}
