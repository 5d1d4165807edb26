//! inet_diag over netlink as a source: what is asked, when an answer counts as
//! complete, and what the interfaces are called that listeners are bound to.

pub mod diag;
pub mod link;
pub mod message;

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::time::{Duration, Instant};

use crate::listener::{Family, Listener, Protocol, Scope};
use crate::sys;
use diag::Table;
use message::{AnswerError, BUFFER_SIZE};

/// A dump that was interrupted this often is given up.
const MOST_TRIES: usize = 10;
/// How long the name of an interface is taken to be the same.
const NAMES_LAST: Duration = Duration::from_secs(1);

const NETLINK_ROUTE: i32 = 0;
const NETLINK_SOCK_DIAG: i32 = 4;

const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOBUFS: i32 = 105;

/// The listeners of this process's network namespace, as inet_diag lists them.
#[derive(Debug)]
pub struct Netlink {
    tables: [Option<Table>; 4],
    socket: Option<Socket>,
    buffer: Vec<u8>,
    /// Which of the listeners that were read are bound to an interface, and to
    /// which.
    bound: Vec<(usize, u32)>,
    interfaces: Interfaces,
}

/// Why inet_diag gave no snapshot: what was asked, and what came of it.
#[derive(Debug)]
pub struct NetlinkError {
    /// Nothing was asked yet if no socket could be opened.
    table: Option<Table>,
    reason: AnswerError,
}

impl NetlinkError {
    /// Whether the next poll may fare better. If not, this kernel or what
    /// confines the program does not let inet_diag answer.
    pub fn may_pass(&self) -> bool {
        match &self.reason {
            AnswerError::Interrupted => true,
            AnswerError::Io(error) => matches!(
                error.raw_os_error(),
                Some(ENOMEM | ENFILE | EMFILE | ENOBUFS)
            ),
            AnswerError::Truncated | AnswerError::Unexpected => false,
        }
    }
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(table) = self.table else {
            return write!(f, "netlink: socket: {}", self.reason);
        };
        write!(f, "netlink: {}: {}", table.name(), self.reason)?;
        match &self.reason {
            AnswerError::Io(error) if error.kind() == ErrorKind::NotFound => {
                write!(f, " (has the kernel {}?)", table.module())
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for NetlinkError {}

impl Netlink {
    /// A source that asks for those tables that `wanted` names.
    pub fn new(wanted: impl Fn(Protocol, Family) -> bool) -> Netlink {
        let is_wanted = |table: &Table| wanted(table.protocol, table.family);
        Netlink {
            tables: Table::ALL.map(|table| Some(table).filter(is_wanted)),
            socket: None,
            buffer: vec![0; BUFFER_SIZE],
            bound: Vec::new(),
            interfaces: Interfaces::default(),
        }
    }

    /// Appends every listener to `listeners`.
    ///
    /// # Errors
    /// Unless each dump is complete. `listeners` then holds a part of a
    /// snapshot and must not be used.
    pub fn read(&mut self, listeners: &mut Vec<Listener>) -> Result<(), NetlinkError> {
        self.bound.clear();
        for table in self.tables.into_iter().flatten() {
            self.dump(table, listeners)?;
        }
        for &(place, interface) in &self.bound {
            let name = self.interfaces.name(interface, &mut self.buffer);
            listeners[place].scope = Some(name);
        }
        Ok(())
    }

    /// Asks until a dump is not interrupted. One that was is read to its end,
    /// so the socket holds nothing of it.
    fn dump(&mut self, table: Table, listeners: &mut Vec<Listener>) -> Result<(), NetlinkError> {
        let before = (listeners.len(), self.bound.len());
        let mut tries = 0;
        loop {
            let mut socket = match self.socket.take() {
                Some(socket) => socket,
                None => Socket::open(NETLINK_SOCK_DIAG).map_err(|error| NetlinkError {
                    table: None,
                    reason: error.into(),
                })?,
            };
            let result = socket
                .ask(|sequence| table.request(sequence))
                .and_then(|sequence| {
                    let (buffer, bound) = (&mut self.buffer, &mut self.bound);
                    table.read(sequence, &socket.file, buffer, listeners, bound)
                });
            tries += 1;
            match result {
                Ok(()) => {
                    self.socket = Some(socket);
                    return Ok(());
                }
                Err(AnswerError::Interrupted) if tries < MOST_TRIES => {
                    self.socket = Some(socket);
                    listeners.truncate(before.0);
                    self.bound.truncate(before.1);
                }
                Err(reason) => {
                    return Err(NetlinkError {
                        table: Some(table),
                        reason,
                    });
                }
            }
        }
    }
}

/// A socket to the kernel, and the number of the last request on it.
#[derive(Debug)]
struct Socket {
    file: File,
    sequence: u32,
}

impl Socket {
    fn open(protocol: i32) -> io::Result<Socket> {
        let file = sys::netlink_socket(protocol)?;
        Ok(Socket { file, sequence: 0 })
    }

    /// Sends a request under a number of its own, which is returned.
    fn ask<const N: usize>(
        &mut self,
        request: impl Fn(u32) -> [u8; N],
    ) -> Result<u32, AnswerError> {
        self.sequence = self.sequence.wrapping_add(1);
        match self.file.write(&request(self.sequence))? {
            sent if sent == N => Ok(self.sequence),
            _ => Err(io::Error::from(ErrorKind::WriteZero).into()),
        }
    }
}

/// What interfaces are called, by number. A name can change, and a number be
/// given to another, so names are forgotten after [`NAMES_LAST`].
#[derive(Debug, Default)]
struct Interfaces {
    names: Vec<(u32, Scope)>,
    /// When the oldest of the names was asked for.
    since: Option<Instant>,
}

impl Interfaces {
    /// The name of an interface, or, as ss has it, `if` and its number where
    /// it cannot be had or printed.
    fn name(&mut self, interface: u32, buffer: &mut [u8]) -> Scope {
        if self
            .since
            .is_some_and(|since| since.elapsed() >= NAMES_LAST)
        {
            self.names.clear();
        }
        if let Some((_, name)) = self.names.iter().find(|(known, _)| *known == interface) {
            return *name;
        }
        if self.names.is_empty() {
            self.since = Some(Instant::now());
        }
        let name = ask_name(interface, buffer).unwrap_or_else(|_| Scope::of_number(interface));
        self.names.push((interface, name));
        name
    }
}

/// Over a socket of its own: it is seldom needed.
fn ask_name(interface: u32, buffer: &mut [u8]) -> Result<Scope, AnswerError> {
    let mut socket = Socket::open(NETLINK_ROUTE)?;
    let sequence = socket.ask(|sequence| link::request(interface, sequence))?;
    link::read_name(interface, sequence, &socket.file, buffer)
}
