//! inet_diag over netlink as a source: what is asked, and when an answer is
//! complete.
//!
//! - [`message`] makes a list of datagrams.
//! - [`diag`] makes a listener of each row of the list.
//! - [`link`] reads the name of an interface.
//! - [`route`] tells whether an address is this network namespace's own.

pub mod diag;
pub mod link;
pub mod message;
pub mod route;

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write as _};
use std::time::{Duration, Instant};

use crate::listener::{Interface, Listener, SocketTable};
use crate::sys;
use message::{AnswerError, BUFFER_SIZE};

/// After this many interrupted dumps, the poll fails.
const MOST_TRIES: usize = 10;
/// After this many datagrams in a row that did not come from the kernel, a read fails.
/// Only those that arrived while the socket was being connected are left to discard.
const MOST_FOREIGN: usize = 1000;
/// How long the name of an interface is remembered.
const NAMES_LAST: Duration = Duration::from_secs(1);

const NETLINK_ROUTE: i32 = 0;
const NETLINK_SOCK_DIAG: i32 = 4;

const EINTR: i32 = 4;
const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOBUFS: i32 = 105;

/// The listeners of this process's network namespace, as inet_diag lists them.
#[derive(Debug)]
pub struct Netlink {
    tables: [Option<SocketTable>; 4],
    socket: Option<Socket>,
    /// `None` until a socket was open.
    asks_for_both: Option<bool>,
    buffer: Vec<u8>,
    /// The listeners that are bound to an interface: their place in the list, and
    /// the index of the interface.
    bound: Vec<(usize, u32)>,
    interfaces: Interfaces,
}

/// Why inet_diag gave no snapshot: the table that was asked for, and the reason.
#[derive(Debug)]
pub struct NetlinkError {
    /// `None` if no socket could be opened.
    table: Option<SocketTable>,
    reason: AnswerError,
}

impl NetlinkError {
    /// Whether the error may pass until the next poll. Otherwise the kernel, or a
    /// sandbox, refuses.
    pub fn may_pass(&self) -> bool {
        match &self.reason {
            AnswerError::Interrupted => true,
            AnswerError::Io(error) => matches!(
                error.raw_os_error(),
                Some(EINTR | ENOMEM | ENFILE | EMFILE | ENOBUFS)
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
    /// A source that asks for the tables that `is_wanted` names.
    pub fn new(is_wanted: impl Fn(SocketTable) -> bool) -> Netlink {
        Netlink {
            tables: SocketTable::ALL.map(|table| is_wanted(table).then_some(table)),
            socket: None,
            asks_for_both: None,
            buffer: vec![0; BUFFER_SIZE],
            bound: Vec::new(),
            interfaces: Interfaces::default(),
        }
    }

    /// Appends every listener to `listeners`.
    ///
    /// # Errors
    /// If a dump is not complete. `listeners` then holds part of a snapshot and
    /// must not be used.
    pub fn read(&mut self, listeners: &mut Vec<Listener>) -> Result<(), NetlinkError> {
        self.bound.clear();
        let tables = self.tables;
        for of_protocol in tables.chunks(2) {
            if let [Some(v4), Some(_)] = *of_protocol
                && self.asks_for_both()?
            {
                let before = (listeners.len(), self.bound.len());
                match self.dump(v4, true, listeners) {
                    Err(error) if !error.may_pass() => {
                        self.asks_for_both = Some(false);
                        listeners.truncate(before.0);
                        self.bound.truncate(before.1);
                    }
                    answer => {
                        answer?;
                        continue;
                    }
                }
            }
            for table in of_protocol.iter().flatten() {
                self.dump(*table, false, listeners)?;
            }
        }
        for &(place, interface) in &self.bound {
            let name = self.interfaces.name(interface, &mut self.buffer);
            listeners[place].interface = Some(name);
        }
        Ok(())
    }

    /// Forgets what belongs to the network namespace of the last answer: the socket, which
    /// would keep it alive, and the names of its interfaces.
    pub fn leave_namespace(&mut self) {
        self.socket = None;
        self.interfaces.names.clear();
    }

    /// The cookie of the network namespace of the last answer, if the kernel tells.
    pub fn namespace_cookie(&self) -> Option<u64> {
        sys::namespace_cookie(&self.socket.as_ref()?.file)
    }

    /// Whether one request may ask for both families. The kernel knows it since Linux
    /// 5.9, and tells cookies since 5.14. An older one would list TCP for UDP.
    fn asks_for_both(&mut self) -> Result<bool, NetlinkError> {
        let socket = self.take_socket()?;
        let file = &self.socket.insert(socket).file;
        Ok(*self
            .asks_for_both
            .get_or_insert_with(|| sys::namespace_cookie(file).is_some()))
    }

    fn take_socket(&mut self) -> Result<Socket, NetlinkError> {
        let opened = match self.socket.take() {
            Some(socket) => Ok(socket),
            None => Socket::open(NETLINK_SOCK_DIAG),
        };
        opened.map_err(|error| NetlinkError {
            table: None,
            reason: error.into(),
        })
    }

    /// Asks for `table`, or for those of its protocol and `both` families, until a dump
    /// is not interrupted. An interrupted dump is read to its end, so nothing of it is
    /// left in the socket.
    fn dump(
        &mut self,
        table: SocketTable,
        both: bool,
        listeners: &mut Vec<Listener>,
    ) -> Result<(), NetlinkError> {
        let protocol = table.protocol;
        let before = (listeners.len(), self.bound.len());
        let mut tries = 0;
        loop {
            let mut socket = self.take_socket()?;
            let (buffer, bound) = (&mut self.buffer[..], &mut self.bound);
            let asked = match both {
                true => socket.ask(|sequence| diag::request_of_both(protocol, sequence)),
                false => socket.ask(|sequence| table.request(sequence)),
            };
            let answer = &socket;
            let result = asked.and_then(|sequence| match both {
                true => diag::read_both(protocol, sequence, answer, buffer, listeners, bound),
                false => table.read(sequence, answer, buffer, listeners, bound),
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

/// Lists of sockets that sock_diag(7) gives, row by row.
#[derive(Debug)]
pub struct SocketLists {
    socket: Socket,
    buffer: Vec<u8>,
}

impl SocketLists {
    /// Opens a socket to ask with.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn open() -> io::Result<SocketLists> {
        SocketLists::of(NETLINK_SOCK_DIAG)
    }

    fn of(protocol: i32) -> io::Result<SocketLists> {
        Ok(SocketLists {
            socket: Socket::open(protocol)?,
            buffer: vec![0; BUFFER_SIZE],
        })
    }

    /// Asks once and passes each row to `take`. `payload` is the request behind its
    /// header.
    ///
    /// # Errors
    /// Those of [`message::read_dump`]. What `take` got until then is part of a
    /// list.
    pub fn dump(
        &mut self,
        payload: &[u8],
        take: &mut dyn FnMut(&[u8]) -> Option<()>,
    ) -> Result<(), AnswerError> {
        const SOCK_DIAG_BY_FAMILY: u16 = 20;
        self.ask([SOCK_DIAG_BY_FAMILY; 2], true, payload, take)
    }

    /// `kinds` are the types of the request and of what answers it. The answer is a
    /// `dump`, or one row.
    fn ask(
        &mut self,
        kinds: [u16; 2],
        dump: bool,
        payload: &[u8],
        take: &mut dyn FnMut(&[u8]) -> Option<()>,
    ) -> Result<(), AnswerError> {
        let socket = &mut self.socket;
        socket.sequence = socket.sequence.wrapping_add(1);
        let sequence = socket.sequence;
        let [request, answer] = kinds.map(|kind| message::Expected { kind, sequence });
        let request = message::request_with(request, dump, payload);
        if socket.file.write(&request)? != request.len() {
            return Err(io::Error::from(ErrorKind::WriteZero).into());
        }
        if dump {
            return message::read_dump(&*socket, &mut self.buffer, answer, take);
        }
        let row = message::read_one(&*socket, &mut self.buffer, answer)?;
        take(row).ok_or(AnswerError::Unexpected)
    }
}

/// The name of the interface with this index. If the name cannot be read or printed,
/// it is `if` and the index, as in ss.
pub fn interface_name(index: u32) -> Interface {
    let name = ask_name(index, &mut vec![0; BUFFER_SIZE]);
    name.unwrap_or_else(|_| Interface::from_index(index))
}

/// The index of the interface with this name, or with this index behind `if`.
pub fn interface_index(name: &str) -> Option<u32> {
    const RTM_NEWLINK: u16 = 16;
    const RTM_GETLINK: u16 = 18;
    const IFLA_IFNAME: u16 = 3;
    /// The length of `struct ifinfomsg`.
    const IFINFOMSG_SIZE: usize = 16;
    let mut found = None;
    let kinds = [RTM_GETLINK, RTM_NEWLINK];
    let mut take = |link: &[u8]| {
        let its = message::attribute(link.get(IFINFOMSG_SIZE..)?, IFLA_IFNAME)?;
        if its.strip_suffix(b"\0")? == name.as_bytes() {
            found = message::array_at(link, 4).map(u32::from_ne_bytes);
        }
        Some(())
    };
    let of_index = || name.strip_prefix("if")?.parse().ok();
    let mut links = SocketLists::of(NETLINK_ROUTE).ok()?;
    let all = links.ask(kinds, true, &[0; IFINFOMSG_SIZE], &mut take);
    all.ok().and(found).or_else(of_index)
}

/// A netlink socket, and the sequence number of its last request.
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

    /// Sends a request with a new sequence number, and returns that number.
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

impl Read for &Socket {
    /// Reads the next datagram from the kernel, and discards what others sent.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for _ in 0..MOST_FOREIGN {
            if let Some(length) = sys::receive_from_kernel(&self.file, buffer)? {
                return Ok(length);
            }
        }
        // They left no room for the kernel's, as the kernel itself would say.
        Err(io::Error::from_raw_os_error(ENOBUFS))
    }
}

/// The names of interfaces, by index. An interface can be renamed, and its index
/// reused. So names are forgotten after [`NAMES_LAST`].
#[derive(Debug, Default)]
struct Interfaces {
    names: Vec<(u32, Interface)>,
    /// When the oldest name was read.
    since: Option<Instant>,
}

impl Interfaces {
    /// The name of the interface with this index. If the name cannot be read or
    /// printed, it is `if` and the index, as in ss.
    fn name(&mut self, interface: u32, buffer: &mut [u8]) -> Interface {
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
        let name = ask_name(interface, buffer).unwrap_or_else(|_| Interface::from_index(interface));
        self.names.push((interface, name));
        name
    }
}

/// Asks the kernel for the name of the interface with this index. This is rare,
/// so it opens a socket each time.
fn ask_name(interface: u32, buffer: &mut [u8]) -> Result<Interface, AnswerError> {
    let mut socket = Socket::open(NETLINK_ROUTE)?;
    let sequence = socket.ask(|sequence| link::request(interface, sequence))?;
    link::read_name(interface, sequence, &socket, buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{Family, Protocol};
    use std::net::IpAddr;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;
    use std::path::{Path, PathBuf};
    use std::thread;

    use tempfile::TempDir;

    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const RTM_NEWLINK: u16 = 16;
    const NLMSG_ERROR: u16 = 2;
    const NLMSG_DONE: u16 = 3;
    const NLM_F_MULTI: u16 = 2;
    const NLM_F_DUMP_INTR: u16 = 0x10;
    const INET_DIAG_SHUTDOWN: u16 = 8;
    const INET_DIAG_SKV6ONLY: u16 = 11;
    const IFLA_IFNAME: u16 = 3;
    const IFLA_TXQLEN: u16 = 13;
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    const TCP_CLOSE: u8 = 7;
    const TCP_LISTEN: u8 = 10;

    /// A message with this `nlmsghdr`. Its length is that of the header and `body`.
    fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let length = 16 + body.len() as u32;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(sequence.to_ne_bytes());
        message.extend(4711u32.to_ne_bytes());
        message.extend(body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    /// The last message of a dump.
    fn done(sequence: u32) -> Vec<u8> {
        message(NLMSG_DONE, NLM_F_MULTI, sequence, &0i32.to_ne_bytes())
    }

    /// A message of this type with an error number. 0 is no error.
    fn status(kind: u16, sequence: u32, errno: i32) -> Vec<u8> {
        message(kind, 0, sequence, &(-errno).to_ne_bytes())
    }

    /// A `rtattr`, padded to a multiple of four bytes.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// An `inet_diag_msg`: a socket of this family and state, with `Recv-Q` 3,
    /// `Send-Q` 128 and the inode 0x90000001.
    fn row(family: u8, state: u8, address: &[u8], port: u16, interface: u32) -> Vec<u8> {
        let mut row = vec![0; 72];
        (row[0], row[1]) = (family, state);
        row[4..6].copy_from_slice(&port.to_be_bytes());
        row[8..8 + address.len()].copy_from_slice(address);
        row[40..44].copy_from_slice(&interface.to_ne_bytes());
        row[56..60].copy_from_slice(&3u32.to_ne_bytes());
        row[60..64].copy_from_slice(&128u32.to_ne_bytes());
        row[68..72].copy_from_slice(&0x9000_0001u32.to_ne_bytes());
        row
    }

    /// A row of an answer about both families: a UDP socket on this address.
    fn udp(family: u8, address: &[u8], port: u16) -> Vec<u8> {
        const TCPDIAG_GETSOCK: u16 = 18;
        let row = row(family, TCP_CLOSE, address, port, 0);
        message(TCPDIAG_GETSOCK, NLM_F_MULTI, 1, &row)
    }

    /// A row of a dump: a TCP listener on 127.0.0.1.
    fn tcp(sequence: u32, port: u16) -> Vec<u8> {
        let row = row(AF_INET, TCP_LISTEN, &[127, 0, 0, 1], port, 0);
        message(SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, sequence, &row)
    }

    /// A source of IPv4 TCP that gets these datagrams as its answers, and the other
    /// end of its socket.
    fn netlink_with_answers(datagrams: &[Vec<u8>]) -> (Netlink, UnixDatagram) {
        let (ours, kernel) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        for datagram in datagrams {
            kernel.send(datagram).unwrap();
        }
        let mut netlink = Netlink::new(|table| table == SocketTable::ALL[0]);
        let file = File::from(OwnedFd::from(ours));
        netlink.socket = Some(Socket { file, sequence: 0 });
        (netlink, kernel)
    }

    /// The ports of the listeners in these answers.
    fn ports(datagrams: &[Vec<u8>]) -> Result<Vec<u16>, NetlinkError> {
        let (mut netlink, _kernel) = netlink_with_answers(datagrams);
        let mut listeners = Vec::new();
        netlink.read(&mut listeners)?;
        Ok(listeners.iter().map(|l| l.endpoint.port).collect())
    }

    /// The error for these answers, and whether it may pass.
    fn error_for(datagrams: &[Vec<u8>]) -> (String, bool) {
        let error = ports(datagrams).unwrap_err();
        (error.to_string(), error.may_pass())
    }

    #[test]
    fn a_dump_is_every_row_up_to_its_done_message() {
        let answer = [[tcp(1, 80), tcp(1, 81)].concat(), tcp(1, 82), done(1)];
        assert_eq!(ports(&answer).unwrap(), [80, 81, 82]);
        assert_eq!(ports(&[done(1)]).unwrap(), [0; 0]);
        let closed = row(AF_INET, TCP_CLOSE, &[127, 0, 0, 1], 81, 5);
        let closed = message(SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, 1, &closed);
        assert_eq!(ports(&[tcp(1, 80), closed, done(1)]).unwrap(), [80]);
        assert_eq!(
            ports(&[[tcp(1, 80), done(1)].concat()]).unwrap(),
            [80],
            "in one datagram"
        );
    }

    /// A socket, its address, and another that sends to it. As an address of netlink, the
    /// path of the other is one with a port id.
    fn socket_and_stranger(directory: &Path) -> (Socket, PathBuf, UnixDatagram) {
        let path = directory.join("ours");
        let file = File::from(OwnedFd::from(UnixDatagram::bind(&path).unwrap()));
        let stranger = UnixDatagram::bind(directory.join("stranger")).unwrap();
        stranger.connect(&path).unwrap();
        (Socket { file, sequence: 0 }, path, stranger)
    }

    #[test]
    fn a_datagram_from_a_process_is_discarded() {
        let directory = TempDir::new().unwrap();
        let (socket, path, stranger) = socket_and_stranger(directory.path());
        let kernel = UnixDatagram::unbound().unwrap();
        for round in 0..3 {
            stranger.send(b"forged").unwrap();
            stranger.send(b"").unwrap();
            kernel.send_to(&[round], &path).unwrap();
            let mut buffer = [0; 16];
            assert_eq!((&socket).read(&mut buffer).unwrap(), 1);
            assert_eq!(buffer[0], round);
        }
    }

    /// It never finds the socket empty: its reads wait here.
    #[test]
    fn a_read_ends_though_a_process_sends_without_end() {
        let directory = TempDir::new().unwrap();
        let (socket, _, stranger) = socket_and_stranger(directory.path());
        let sending = thread::spawn(move || while stranger.send(b"forged").is_ok() {});
        let error = (&socket).read(&mut [0; 16]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(ENOBUFS));
        drop(socket);
        sending.join().unwrap();
    }

    #[test]
    fn a_dump_without_its_done_message_is_an_error() {
        let reason = "netlink: tcp: Resource temporarily unavailable (os error 11)";
        assert_eq!(error_for(&[tcp(1, 80)]), (reason.into(), false));
        assert_eq!(error_for(&[]), (reason.into(), false));
    }

    #[test]
    fn a_dump_that_is_cut_short_anywhere_is_an_error() {
        let whole = [tcp(1, 80), done(1)].concat();
        for length in 0..whole.len() {
            assert!(ports(&[whole[..length].to_vec()]).is_err(), "{length}");
        }
        // A datagram that fills the buffer may have been longer.
        let mut full = tcp(1, 80).repeat(BUFFER_SIZE / 88);
        full.resize(BUFFER_SIZE, 0);
        let cut = "netlink: tcp: its answer is cut short";
        assert_eq!(error_for(&[full, done(1)]), (cut.into(), false));
    }

    #[test]
    fn an_error_number_is_read_from_error_and_done_messages() {
        for kind in [NLMSG_ERROR, NLMSG_DONE] {
            let reason = "netlink: tcp: No such file or directory (os error 2) \
                          (has the kernel tcp_diag?)";
            assert_eq!(error_for(&[status(kind, 1, 2)]), (reason.into(), false));
            let (reason, may_pass) = error_for(&[tcp(1, 80), status(kind, 1, 105)]);
            assert_eq!(
                reason,
                "netlink: tcp: No buffer space available (os error 105)"
            );
            assert!(may_pass);
        }
        let reason = "netlink: tcp: Operation not permitted (os error 1)";
        assert_eq!(
            error_for(&[status(NLMSG_ERROR, 1, 1)]),
            (reason.into(), false)
        );
    }

    #[test]
    fn an_unexpected_message_is_an_error() {
        let as_listener = |row: &[u8]| message(SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, 1, row);
        let unexpected = "netlink: tcp: its answer cannot be read";
        for wrong in [
            tcp(2, 80),
            message(
                19,
                NLM_F_MULTI,
                1,
                &row(AF_INET, TCP_LISTEN, &[127, 0, 0, 1], 80, 0),
            ),
            status(NLMSG_ERROR, 1, 0),
            as_listener(&row(AF_INET6, TCP_LISTEN, &[0; 16], 80, 0)),
            as_listener(&row(AF_INET, TCP_LISTEN, &[0; 4], 80, 0)[..71]),
        ] {
            let error = error_for(&[wrong, done(1)]);
            assert_eq!(error, (unexpected.into(), false));
        }
    }

    #[test]
    fn one_request_lists_both_families_of_a_protocol() {
        let rows = [
            udp(AF_INET6, &[0; 16], 53),
            udp(AF_INET, &[127, 0, 0, 1], 54),
        ];
        let answer = [&rows.concat()[..], &done(1)].concat();
        let (mut netlink, kernel) = netlink_with_answers(&[answer]);
        netlink.tables =
            SocketTable::ALL.map(|table| (table.protocol == Protocol::Udp).then_some(table));
        netlink.asks_for_both = Some(true);
        let mut listeners = Vec::new();
        netlink.read(&mut listeners).unwrap();
        let found: Vec<_> = listeners
            .iter()
            .map(|l| (l.table().name(), l.endpoint.port))
            .collect();
        assert_eq!(found, [("udp6", 53), ("udp", 54)]);
        // sock_diag(7): the length and the type, the flags of a dump, the states at 52
        // behind the header, and an attribute of 8 bytes: UDP is 17.
        let mut request = [0; 100];
        assert_eq!(kernel.recv(&mut request).unwrap(), 84);
        assert_eq!(request[4..6], 18u16.to_ne_bytes());
        assert_eq!(request[6..8], 0x301u16.to_ne_bytes());
        assert_eq!(request[68..72], (1u32 << TCP_CLOSE).to_ne_bytes());
        assert_eq!(request[80..84], 17u32.to_ne_bytes());
    }

    /// A kernel that knows no request for both is asked for each table from then on.
    #[test]
    fn where_the_request_for_both_families_is_refused_each_table_is_asked_for() {
        let (mut netlink, _kernel) = netlink_with_answers(&[status(NLMSG_ERROR, 1, 22)]);
        netlink.tables = SocketTable::ALL.map(Some);
        netlink.asks_for_both = Some(true);
        let mut listeners = Vec::new();
        // The kernel of this machine answers then, or refuses each.
        let _ = netlink.read(&mut listeners);
        assert_eq!(netlink.asks_for_both, Some(false));
    }

    #[test]
    fn an_interrupted_dump_is_repeated_as_a_whole() {
        let interrupted = |sequence: u32| {
            let row = row(AF_INET, TCP_LISTEN, &[127, 0, 0, 1], 79, 5);
            let first = message(
                SOCK_DIAG_BY_FAMILY,
                NLM_F_MULTI | NLM_F_DUMP_INTR,
                sequence,
                &row,
            );
            [first, done(sequence)].concat()
        };
        let answers = [interrupted(1), interrupted(2), tcp(3, 80), done(3)];
        assert_eq!(ports(&answers).unwrap(), [80]);
        let late = message(
            NLMSG_DONE,
            NLM_F_MULTI | NLM_F_DUMP_INTR,
            1,
            &0i32.to_ne_bytes(),
        );
        assert_eq!(
            ports(&[tcp(1, 79), late, tcp(2, 80), done(2)]).unwrap(),
            [80]
        );
        let always: Vec<Vec<u8>> = (1..=MOST_TRIES as u32).map(interrupted).collect();
        let reason = "netlink: tcp: its list changed whenever it was read";
        assert_eq!(error_for(&always), (reason.into(), true));
    }

    #[test]
    fn every_field_of_a_row_is_read() {
        let read = |protocol, family, row: Vec<u8>| {
            let answer = message(SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, 7, &row);
            let (mut listeners, mut bound) = (Vec::new(), Vec::new());
            let datagram = [answer, done(7)].concat();
            SocketTable { protocol, family }
                .read(7, &datagram[..], &mut [0; 1024], &mut listeners, &mut bound)
                .unwrap();
            (listeners.remove(0), bound)
        };
        let (listener, bound) = read(
            Protocol::Udp,
            Family::V4,
            row(AF_INET, TCP_CLOSE, &[127, 0, 0, 53], 53, 9),
        );
        let address: IpAddr = "127.0.0.53".parse().unwrap();
        assert_eq!(
            (listener.protocol, listener.endpoint.address),
            (Protocol::Udp, address)
        );
        assert_eq!(listener.endpoint.port, 53);
        assert_eq!((listener.recv_q, listener.send_q), (3, Some(128)));
        assert_eq!((listener.inode, listener.v6_only), (0x9000_0001, None));
        assert_eq!(bound, [(0, 9)]);

        let mapped: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1];
        for (only, is_only) in [(0, false), (1, true)] {
            let mut row = row(AF_INET6, TCP_LISTEN, &mapped, 80, 0);
            row[6..8].copy_from_slice(&81u16.to_be_bytes());
            row[24..40].copy_from_slice(&[9; 16]);
            // Another attribute comes first, and needs padding.
            row.extend(attribute(INET_DIAG_SHUTDOWN, &[0]));
            row.extend(attribute(INET_DIAG_SKV6ONLY, &[only]));
            let (listener, bound) = read(Protocol::Tcp, Family::V6, row);
            let address: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
            assert_eq!(listener.endpoint.address, address);
            let peer: IpAddr = [9; 16].into();
            assert_eq!((listener.peer.address, listener.peer.port), (peer, 81));
            assert_eq!((listener.v6_only, bound), (Some(is_only), vec![]));
        }
    }

    #[test]
    fn an_interface_is_named_only_by_an_answer_about_its_index() {
        let link = |index: u32, name: &[u8]| {
            let mut body = vec![0; 16];
            body[4..8].copy_from_slice(&index.to_ne_bytes());
            body.extend(attribute(IFLA_TXQLEN, &1000u32.to_ne_bytes()));
            body.extend(attribute(IFLA_IFNAME, name));
            message(RTM_NEWLINK, 0, 1, &body)
        };
        let name = |answer: Vec<u8>| link::read_name(5, 1, &answer[..], &mut [0; 1024]);
        assert_eq!(name(link(5, b"eth0\0")).unwrap().as_str(), "eth0");
        for wrong in [
            link(6, b"eth0\0"),
            link(5, b"eth0"),
            link(5, b"\x1b[7m\0"),
            link(5, b"\0"),
            status(NLMSG_ERROR, 1, 19),
        ] {
            assert!(name(wrong).is_err());
        }
    }

    #[test]
    fn names_of_interfaces_are_forgotten_after_a_while() {
        let mut interfaces = Interfaces::default();
        let no_interface = u32::MAX;
        let unnamed = Interface::from_index(no_interface);
        assert_eq!(interfaces.name(no_interface, &mut [0; 1024]), unnamed);
        assert_eq!(interfaces.names, [(no_interface, unnamed)]);
        let lo = Interface::new(b"lo").unwrap();
        interfaces.names[0].1 = lo;
        assert_eq!(interfaces.name(no_interface, &mut [0; 1024]), lo);
        interfaces.since = Instant::now().checked_sub(NAMES_LAST);
        assert_eq!(interfaces.name(no_interface, &mut [0; 1024]), unnamed);
    }
}
