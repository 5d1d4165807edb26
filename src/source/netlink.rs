//! Asks the kernel's inet_diag over netlink as a source: decides which tables to ask for, and
//! when an answer is complete.

use std::fmt;
use std::io::ErrorKind;

use super::tables::Tables;
use super::turns::Limit;
use crate::kernel::netlink::client::Client;
use crate::kernel::netlink::diag::Listeners;
use crate::kernel::netlink::link::Interfaces;
use crate::kernel::netlink::message::{Amount, AnswerError, MessageTypes};
use crate::listener::{Listener, Protocol, SocketTable};
use crate::sys;

/// The poll fails after this many interrupted dumps of a table.
const MOST_TRIES: usize = 10;

const EINTR: i32 = 4;
const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOBUFS: i32 = 105;

/// The listeners of this process's network namespace, as inet_diag lists them.
#[derive(Debug)]
pub struct Netlink {
    /// The tables to ask for, in the order of [`SocketTable::ALL`].
    tables: [Option<SocketTable>; 4],
    client: Client,
    /// Whether one request may ask for both families. `None` until the first socket has been
    /// opened.
    asks_for_both: Option<bool>,
    /// The listeners that are bound to an interface, as (index in the list of listeners, index
    /// of the interface).
    bound: Vec<(usize, u32)>,
    interfaces: Interfaces,
    split: Tables,
    /// How much may be read. An answer that exceeds this is an error.
    pub limit: Limit,
}

/// Why inet_diag gave no snapshot.
#[derive(Debug)]
pub struct NetlinkError {
    /// The table that was asked for. `None` if no socket could be opened.
    table: Option<SocketTable>,
    reason: AnswerError,
}

impl NetlinkError {
    /// Whether a later poll may succeed.
    pub fn may_pass(&self) -> bool {
        may_pass(&self.reason)
    }
}

/// Whether a request that failed for this reason may succeed later. If not, the kernel or a
/// sandbox refuses it.
pub(super) fn may_pass(reason: &AnswerError) -> bool {
    match reason {
        AnswerError::Interrupted => true,
        AnswerError::Io(error) => matches!(
            error.raw_os_error(),
            Some(EINTR | ENOMEM | ENFILE | EMFILE | ENOBUFS)
        ),
        AnswerError::Truncated | AnswerError::Unexpected => false,
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
                let module = match table.protocol {
                    Protocol::Tcp => "tcp_diag",
                    Protocol::Udp => "udp_diag",
                };
                write!(f, " (has the kernel {module}?)")
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for NetlinkError {}

impl Netlink {
    /// A source of the listeners in the tables for which `is_wanted` is true.
    pub fn new(is_wanted: impl Fn(SocketTable) -> bool) -> Netlink {
        Netlink {
            tables: SocketTable::ALL.map(|table| is_wanted(table).then_some(table)),
            client: Client::sock_diag().with_large_datagrams(),
            asks_for_both: None,
            bound: Vec::new(),
            interfaces: Interfaces::default(),
            split: Tables::default(),
            limit: Limit::default(),
        }
    }

    /// The tables whose listing took several datagrams at the last [`Netlink::read`].
    pub fn split(&self) -> Tables {
        self.split
    }

    /// Appends every listener to `listeners`.
    ///
    /// # Errors
    /// If a dump is not complete. `listeners` then holds part of a snapshot and
    /// must not be used.
    pub fn read(&mut self, listeners: &mut Vec<Listener>) -> Result<(), NetlinkError> {
        self.read_only(None, listeners)
    }

    /// Appends the listeners of the protocol `wanted` to `listeners`, or of both protocols if
    /// it is `None`.
    ///
    /// # Errors
    /// The errors of [`Netlink::read`].
    pub fn read_only(
        &mut self,
        wanted: Option<Protocol>,
        listeners: &mut Vec<Listener>,
    ) -> Result<(), NetlinkError> {
        sys::shrink_after_peak(&mut self.bound);
        self.bound.clear();
        self.split = Tables::default();
        let tables = self.tables;
        for (families, protocol) in tables.chunks(2).zip([Protocol::Tcp, Protocol::Udp]) {
            if wanted.is_some_and(|wanted| wanted != protocol) {
                continue;
            }
            if let [Some(v4), Some(_)] = *families
                && self.read_both(v4, listeners)?
            {
                continue;
            }
            for table in families.iter().flatten() {
                self.dump(*table, (*table).into(), listeners)?;
            }
        }
        for &(index, interface) in &self.bound {
            listeners[index].interface = Some(self.interfaces.name(interface));
        }
        Ok(())
    }

    /// Closes the socket, because an open socket keeps its network namespace alive. Forgets
    /// the names of the interfaces of that namespace.
    pub fn leave_namespace(&mut self) {
        self.client.close();
        self.interfaces.forget();
    }

    /// The cookie of the network namespace that the socket belongs to. If the socket is
    /// closed, opens one in the namespace of this thread. `None` if that fails or the kernel
    /// has no cookies.
    pub fn namespace_cookie(&mut self) -> Option<u64> {
        self.open().ok()?;
        self.client.namespace_cookie()
    }

    /// Asks for both families of a protocol in one request. `table` is the IPv4 table of the
    /// protocol. Returns false if the kernel does not support such a request.
    fn read_both(
        &mut self,
        table: SocketTable,
        listeners: &mut Vec<Listener>,
    ) -> Result<bool, NetlinkError> {
        if !self.asks_for_both()? {
            return Ok(false);
        }
        let start = (listeners.len(), self.bound.len());
        let both = Listeners {
            protocol: table.protocol,
            family: None,
        };
        match self.dump(table, both, listeners) {
            Err(error) if !error.may_pass() => {
                self.asks_for_both = Some(false);
                listeners.truncate(start.0);
                self.bound.truncate(start.1);
                Ok(false)
            }
            answer => answer.map(|()| true),
        }
    }

    /// Whether one request may ask for both families. Linux supports this since 5.9, and an
    /// older kernel would list TCP instead of UDP. A kernel that has cookies is new enough,
    /// because they came with 5.14.
    fn asks_for_both(&mut self) -> Result<bool, NetlinkError> {
        self.open()?;
        let client = &self.client;
        Ok(*self
            .asks_for_both
            .get_or_insert_with(|| client.namespace_cookie().is_some()))
    }

    fn open(&mut self) -> Result<(), NetlinkError> {
        self.client.open().map_err(|error| NetlinkError {
            table: None,
            reason: error.into(),
        })
    }

    /// Dumps the listeners that are `wanted`, and retries interrupted dumps. `table` is the
    /// table to name in an error.
    fn dump(
        &mut self,
        table: SocketTable,
        wanted: Listeners,
        listeners: &mut Vec<Listener>,
    ) -> Result<(), NetlinkError> {
        let start = (listeners.len(), self.bound.len());
        let mut tries = 0;
        loop {
            self.open()?;
            let (client, bound) = (&mut self.client, &mut self.bound);
            let kinds = MessageTypes::same(wanted.kind());
            let (limit, mut rows) = (&mut self.limit, 0);
            let mut take = |row: &[u8]| {
                rows += 1;
                match limit.note_row(rows) {
                    true => wanted.take(row, listeners, bound),
                    false => None,
                }
            };
            let answer =
                wanted.with_request(|request| client.ask(kinds, Amount::Dump, request, &mut take));
            tries += 1;
            match answer {
                Ok(is_split) => {
                    let asked = SocketTable::ALL.into_iter();
                    asked
                        .filter(|table| is_split && wanted.includes(*table))
                        .for_each(|table| self.split.insert(table));
                    return Ok(());
                }
                Err(AnswerError::Interrupted) if tries < MOST_TRIES => {
                    listeners.truncate(start.0);
                    self.bound.truncate(start.1);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::diag::{InetDiagMsg, TCPDIAG_GETSOCK};
    use crate::kernel::netlink::message::{
        BUFFER_SIZE, Header, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR,
    };
    use crate::kernel::netlink::sock_diag::SOCK_DIAG_BY_FAMILY;
    use crate::kernel::socket::{AF_INET, AF_INET6, State};
    use std::fs::File;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;

    const NLM_F_MULTI: u16 = 2;

    /// A message with this header and `body`.
    fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let header = Header {
            nlmsg_len: (Header::SIZE + body.len()) as u32,
            nlmsg_type: kind,
            nlmsg_flags: flags,
            nlmsg_seq: sequence,
            nlmsg_pid: 4711,
        };
        let mut message = [&header.bytes(), body].concat();
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    /// The last message of a dump.
    fn done(sequence: u32) -> Vec<u8> {
        message(NLMSG_DONE, NLM_F_MULTI, sequence, &0i32.to_ne_bytes())
    }

    /// A message of this type with an error number. 0 means success.
    fn status(kind: u16, sequence: u32, errno: i32) -> Vec<u8> {
        message(kind, 0, sequence, &(-errno).to_ne_bytes())
    }

    /// A row about a socket of this family and state.
    fn row(family: u8, state: State, address: &[u8], port: u16) -> Vec<u8> {
        let mut row = InetDiagMsg {
            idiag_family: family,
            idiag_state: state as u8,
            idiag_sport: port.to_be_bytes(),
            ..InetDiagMsg::default()
        };
        row.idiag_src[..address.len()].copy_from_slice(address);
        row.bytes().to_vec()
    }

    /// A message of an answer about both families: a UDP socket on this address.
    fn udp(family: u8, address: &[u8], port: u16) -> Vec<u8> {
        let row = row(family, State::Close, address, port);
        message(TCPDIAG_GETSOCK, NLM_F_MULTI, 1, &row)
    }

    /// A message of a dump: a TCP listener on 127.0.0.1.
    fn tcp(sequence: u32, port: u16) -> Vec<u8> {
        let row = row(AF_INET, State::Listen, &[127, 0, 0, 1], port);
        message(SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, sequence, &row)
    }

    /// A source of IPv4 TCP listeners that receives these datagrams as answers, and the other
    /// end of its socket.
    fn netlink_with_answers(datagrams: &[Vec<u8>]) -> (Netlink, UnixDatagram) {
        let (ours, kernel) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        for datagram in datagrams {
            kernel.send(datagram).unwrap();
        }
        let mut netlink = Netlink::new(|table| table == SocketTable::ALL[0]);
        netlink.client = Client::with_file(File::from(OwnedFd::from(ours)));
        (netlink, kernel)
    }

    /// The ports of the listeners in these answers.
    fn ports(datagrams: &[Vec<u8>]) -> Result<Vec<u16>, NetlinkError> {
        let (mut netlink, _kernel) = netlink_with_answers(datagrams);
        let mut listeners = Vec::new();
        netlink.read(&mut listeners)?;
        Ok(listeners.iter().map(|l| l.endpoint.port).collect())
    }

    /// The error for these answers, and whether a later poll may succeed.
    fn error_for(datagrams: &[Vec<u8>]) -> (String, bool) {
        let error = ports(datagrams).unwrap_err();
        (error.to_string(), error.may_pass())
    }

    #[test]
    fn a_dump_ends_with_its_done_message() {
        let answer = [[tcp(1, 80), tcp(1, 81)].concat(), tcp(1, 82), done(1)];
        assert_eq!(ports(&answer).unwrap(), [80, 81, 82]);
        assert_eq!(ports(&[done(1)]).unwrap(), [0; 0]);
        let closed = row(AF_INET, State::Close, &[127, 0, 0, 1], 81);
        let closed = message(SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, 1, &closed);
        assert_eq!(ports(&[tcp(1, 80), closed, done(1)]).unwrap(), [80]);
        assert_eq!(
            ports(&[[tcp(1, 80), done(1)].concat()]).unwrap(),
            [80],
            "row and end in one datagram"
        );
    }

    #[test]
    fn a_dump_without_its_done_message_is_an_error() {
        let reason = "netlink: tcp: Resource temporarily unavailable (os error 11)";
        assert_eq!(error_for(&[tcp(1, 80)]), (reason.into(), false));
        assert_eq!(error_for(&[]), (reason.into(), false));
    }

    #[test]
    fn a_truncated_dump_is_an_error() {
        let whole = [tcp(1, 80), done(1)].concat();
        for length in 0..whole.len() {
            assert!(ports(&[whole[..length].to_vec()]).is_err(), "{length}");
        }
        // A datagram that fills the buffer may have been longer.
        let mut full = tcp(1, 80).repeat(BUFFER_SIZE / 88);
        full.resize(BUFFER_SIZE, 0);
        let cut = "netlink: tcp: the answer is truncated";
        assert_eq!(error_for(&[full, done(1)]), (cut.into(), false));
    }

    #[test]
    fn errors_in_error_and_done_messages_are_returned() {
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
        let unexpected = "netlink: tcp: the answer has an unexpected form";
        for wrong in [
            tcp(2, 80),
            message(
                19,
                NLM_F_MULTI,
                1,
                &row(AF_INET, State::Listen, &[127, 0, 0, 1], 80),
            ),
            status(NLMSG_ERROR, 1, 0),
            as_listener(&row(AF_INET6, State::Listen, &[0; 16], 80)),
            as_listener(&row(AF_INET, State::Listen, &[0; 4], 80)[..71]),
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
        // The kernel received exactly one request.
        let mut request = [0; 100];
        let length = kernel.recv(&mut request).unwrap();
        let (header, _) = Header::split(&request[..length]).unwrap();
        assert_eq!(header.nlmsg_type, TCPDIAG_GETSOCK);
        kernel.set_nonblocking(true).unwrap();
        assert!(kernel.recv(&mut request).is_err());
    }

    /// After a refusal, the kernel is asked for each table separately.
    #[test]
    fn after_a_refusal_tables_are_requested_separately() {
        let (mut netlink, _kernel) = netlink_with_answers(&[status(NLMSG_ERROR, 1, 22)]);
        netlink.tables = SocketTable::ALL.map(Some);
        netlink.asks_for_both = Some(true);
        let mut listeners = Vec::new();
        // The result depends on whether the kernel of this machine answers or refuses.
        let _ = netlink.read(&mut listeners);
        assert_eq!(netlink.asks_for_both, Some(false));
    }

    #[test]
    fn an_interrupted_dump_is_repeated_as_a_whole() {
        let interrupted = |sequence: u32| {
            let row = row(AF_INET, State::Listen, &[127, 0, 0, 1], 79);
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
        let reason = "netlink: tcp: the list changed during every read";
        assert_eq!(error_for(&always), (reason.into(), true));
    }
}
