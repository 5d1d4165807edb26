//! The program under the name `ss`: for images that have none, with the
//! options, the bytes and the sources of iproute2's ss, as far as listening TCP
//! and UDP sockets go. It never starts another ss.
//!
//! Where ss would print a table that may lack rows because a source cannot be
//! read, this prints none and fails.

pub mod filter;
pub mod options;
pub mod services;
pub mod table;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::listener::{Family, Listener, Protocol};
use crate::output::Output;
use crate::process::Lookup;
use crate::procnet::{ProcError, ProcNet};
use crate::report::Verbosity;
use filter::{Filter, Judge};
use options::{Command, Refusal, Request, Selection};
use services::Services;
use table::Table;

/// Whether a program that was started with this first argument was called ss.
pub fn is_meant_by(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some("ss".as_ref())
}

/// Why there is no table.
#[derive(Debug)]
pub enum Error {
    /// It was not asked for in a way that is covered.
    Refused(Refusal),
    /// A table of `/proc` cannot be read.
    Proc(ProcError),
    /// This file is there and may not be read.
    Forbidden(PathBuf),
    /// The table could not be written.
    Output(crate::Error),
}

impl Error {
    /// The exit status that tells it: as with ss, 255 for a command line that
    /// is not understood, and otherwise 1.
    pub fn status(&self) -> u8 {
        match self {
            Error::Refused(_) => 255,
            _ => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Refused(refusal) => refusal.fmt(f),
            Error::Proc(error) => error.fmt(f),
            Error::Forbidden(path) => write!(f, "{}: may not be read", path.display()),
            Error::Output(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::Refused(refusal)
    }
}

impl From<ProcError> for Error {
    fn from(error: ProcError) -> Error {
        Error::Proc(error)
    }
}

/// The files that ss reads, which its environment can move.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// `PROC_ROOT`, in place of `/proc`.
    pub proc_root: Option<PathBuf>,
    /// `PROC_NET_TCP` and the like, each in place of one table.
    pub tables: Vec<(Protocol, Family, PathBuf)>,
    /// `PROC_IP_LOCAL_PORT_RANGE`.
    pub port_range: Option<PathBuf>,
}

impl Places {
    /// Those that the variables of the environment name.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Places {
        let tables = [
            ("PROC_NET_TCP", Protocol::Tcp, Family::V4),
            ("PROC_NET_TCP6", Protocol::Tcp, Family::V6),
            ("PROC_NET_UDP", Protocol::Udp, Family::V4),
            ("PROC_NET_UDP6", Protocol::Udp, Family::V6),
        ];
        let path = |name| variable(name).map(PathBuf::from);
        let table = |(name, protocol, family)| Some((protocol, family, path(name)?));
        Places {
            proc_root: path("PROC_ROOT"),
            tables: tables.into_iter().filter_map(table).collect(),
            port_range: path("PROC_IP_LOCAL_PORT_RANGE"),
        }
    }

    fn proc_root(&self) -> &Path {
        self.proc_root.as_deref().unwrap_or(Path::new("/proc"))
    }

    fn services(&self) -> Services {
        let range = || self.proc_root().join("sys/net/ipv4/ip_local_port_range");
        let range = self.port_range.clone().unwrap_or_else(range);
        Services::new("/etc/services".into(), range)
    }
}

/// Prints what the arguments that follow the program's name ask for.
///
/// # Errors
/// When there is nothing that ss would print and that is known to be complete,
/// or when it cannot be written. A reader that goes away is no error.
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
    let mut listeners = from_proc(selection, places, request.filter.as_ref())?;
    if request.processes {
        let mut lookup = Lookup::new(places.proc_root());
        lookup.look_for(&listeners);
        for listener in &mut listeners {
            listener.processes = lookup.holders_of(listener);
        }
    }
    let mut table = Table::new(selection.protocols.len() > 1, request.has_header);
    for protocol in &selection.protocols {
        let of_protocol = |listener: &&Listener| listener.protocol == *protocol;
        for listener in listeners.iter().filter(of_protocol) {
            table.push(listener, &port(listener, request.numeric, services));
        }
    }
    Ok(table.into_text())
}

/// The listeners in the tables of `/proc`.
fn from_proc(
    selection: &Selection,
    places: &Places,
    filter: Option<&Filter>,
) -> Result<Vec<Listener>, Error> {
    let wanted = |protocol, family| {
        selection.protocols.contains(&protocol) && selection.wants_of_proc(family)
    };
    let mut proc_net = ProcNet::new(places.proc_root(), Verbosity::Quiet, wanted);
    for (protocol, family, path) in &places.tables {
        proc_net.read_instead(*protocol, *family, path.clone());
    }
    let mut listeners = Vec::new();
    proc_net.read(None, &mut listeners)?;
    for protocol in &selection.protocols {
        for family in [Family::V4, Family::V6] {
            if let Some(path) = proc_net.left_out(*protocol, family) {
                return Err(Error::Forbidden(path.to_path_buf()));
            }
        }
    }
    if let Some(filter) = filter {
        listeners.retain(|listener| filter.accepts(listener, Judge::Ss));
    }
    Ok(listeners)
}

/// ss writes `*` for port 0.
fn port(listener: &Listener, numeric: bool, services: &Services) -> String {
    let port = listener.endpoint.port;
    let name = || services.name(port, listener.protocol);
    match port {
        0 => "*".to_string(),
        _ if numeric => port.to_string(),
        _ => name().map_or_else(|| port.to_string(), str::to_string),
    }
}
