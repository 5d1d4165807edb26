//! sock_diag(7): the request for the listeners of one table, and the rows of the
//! answer.

use std::io::Read;
use std::net::IpAddr;

use super::message::{self, AnswerError, Expected, NLMSG_HDRLEN, array_at, attribute};
use crate::listener::{Endpoint, Family, Listener, Protocol, SocketTable};

/// The length of a request: a header and `struct inet_diag_req_v2`.
pub const REQUEST_SIZE: usize = NLMSG_HDRLEN + INET_DIAG_REQ_V2_SIZE;
/// The length of a request for both families: a header, `struct inet_diag_req` and an
/// attribute.
pub const BOTH_REQUEST_SIZE: usize = NLMSG_HDRLEN + INET_DIAG_REQ_SIZE + 8;
/// The lengths of the structures that requests hold.
const INET_DIAG_REQ_V2_SIZE: usize = 56;
const INET_DIAG_REQ_SIZE: usize = 60;
/// The length of `struct inet_diag_msg`; attributes follow.
const INET_DIAG_MSG_SIZE: usize = 72;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const TCPDIAG_GETSOCK: u16 = 18;
const INET_DIAG_REQ_PROTOCOL: u16 = 3;
const INET_DIAG_SKV6ONLY: u16 = 11;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const TCP_CLOSE: u8 = 7;
const TCP_LISTEN: u8 = 10;

impl SocketTable {
    /// The kernel module that lists it.
    pub fn module(self) -> &'static str {
        match self.protocol {
            Protocol::Tcp => "tcp_diag",
            Protocol::Udp => "udp_diag",
        }
    }

    fn address_family(self) -> u8 {
        match self.family {
            Family::V4 => AF_INET,
            Family::V6 => AF_INET6,
        }
    }

    /// The state of its listeners. `ss -l` also asks for TCP sockets in CLOSE. These
    /// do not listen, and the kernel would walk its connections to find them.
    fn state(self) -> u8 {
        match self.protocol {
            Protocol::Tcp => TCP_LISTEN,
            Protocol::Udp => TCP_CLOSE,
        }
    }

    /// The states that are asked for, a bit each.
    fn states(self) -> u32 {
        1 << self.state()
    }

    fn protocol_number(self) -> u8 {
        match self.protocol {
            Protocol::Tcp => IPPROTO_TCP,
            Protocol::Udp => IPPROTO_UDP,
        }
    }

    /// The request for a dump.
    pub fn request(self, sequence: u32) -> [u8; REQUEST_SIZE] {
        let mut request = message::request(expected(sequence), true);
        request[NLMSG_HDRLEN] = self.address_family();
        request[NLMSG_HDRLEN + 1] = self.protocol_number();
        request[NLMSG_HDRLEN + 4..NLMSG_HDRLEN + 8].copy_from_slice(&self.states().to_ne_bytes());
        request
    }

    /// Appends the listeners of the dump to `listeners`. For each that is bound to
    /// an interface, `bound` gets its place in `listeners` and the number of the
    /// interface.
    ///
    /// # Errors
    /// Those of [`message::read_dump`]. What was appended must then not be used.
    pub fn read(
        self,
        sequence: u32,
        answer: impl Read,
        buffer: &mut [u8],
        listeners: &mut Vec<Listener>,
        bound: &mut Vec<(usize, u32)>,
    ) -> Result<(), AnswerError> {
        message::read_dump(answer, buffer, expected(sequence), |row| {
            self.take(row, listeners, bound)
        })
    }

    /// Appends the listener of `row`, if it is one. `None` if the row cannot be read or
    /// is of another family.
    fn take(
        self,
        row: &[u8],
        listeners: &mut Vec<Listener>,
        bound: &mut Vec<(usize, u32)>,
    ) -> Option<()> {
        let row = self.parse_row(row)?;
        // A UDP socket may connect between the kernel's check of its state and
        // the row. It is then no listener any more.
        if row.state == self.state() {
            if row.interface != 0 {
                bound.push((listeners.len(), row.interface));
            }
            listeners.push(row.listener);
        }
        Some(())
    }

    /// `None` if the row cannot be read or is of another family.
    fn parse_row(self, row: &[u8]) -> Option<Row> {
        let (&family, &state) = (row.first()?, row.get(1)?);
        if family != self.address_family() {
            return None;
        }
        let word = |at| array_at(row, at).map(u32::from_ne_bytes);
        let endpoint = |port, address| {
            Some(Endpoint {
                port: u16::from_be_bytes(array_at(row, port)?),
                address: match self.family {
                    Family::V4 => IpAddr::from(array_at::<4>(row, address)?),
                    Family::V6 => IpAddr::from(array_at::<16>(row, address)?),
                },
            })
        };
        let attributes = row.get(INET_DIAG_MSG_SIZE..)?;
        let listener = Listener {
            recv_q: word(56)?,
            send_q: Some(word(60)?),
            inode: u64::from(word(68)?),
            peer: endpoint(6, 24)?,
            v6_only: attribute(attributes, INET_DIAG_SKV6ONLY).map(|only| only == [1]),
            ..Listener::new(self.protocol, endpoint(4, 8)?)
        };
        Some(Row {
            state,
            interface: word(40)?,
            listener,
        })
    }
}

/// What a `struct inet_diag_msg` says of a socket.
struct Row {
    state: u8,
    /// The number of the interface that it is bound to, or 0.
    interface: u32,
    listener: Listener,
}

/// The request for the tables of this protocol, IPv4 and IPv6 in one walk of the kernel's
/// hash table. It has the form that sock_diag(7) replaced: no other names both families.
/// Linux 5.9 gave it the attribute that names the protocol.
pub fn request_of_both(protocol: Protocol, sequence: u32) -> [u8; BOTH_REQUEST_SIZE] {
    let [table, _] = tables_of(protocol);
    let mut request = message::request(expected_of_both(sequence), true);
    let mut put = |at: usize, bytes: &[u8]| {
        request[NLMSG_HDRLEN + at..][..bytes.len()].copy_from_slice(bytes);
    };
    put(52, &table.states().to_ne_bytes());
    put(INET_DIAG_REQ_SIZE, &8u16.to_ne_bytes());
    put(
        INET_DIAG_REQ_SIZE + 2,
        &INET_DIAG_REQ_PROTOCOL.to_ne_bytes(),
    );
    put(
        INET_DIAG_REQ_SIZE + 4,
        &u32::from(table.protocol_number()).to_ne_bytes(),
    );
    request
}

/// Reads the answer to [`request_of_both`], as [`SocketTable::read`] does.
///
/// # Errors
/// Those of [`message::read_dump`].
pub fn read_both(
    protocol: Protocol,
    sequence: u32,
    answer: impl Read,
    buffer: &mut [u8],
    listeners: &mut Vec<Listener>,
    bound: &mut Vec<(usize, u32)>,
) -> Result<(), AnswerError> {
    let [v4, v6] = tables_of(protocol);
    message::read_dump(answer, buffer, expected_of_both(sequence), |row| {
        let table = if row.first() == Some(&AF_INET) {
            v4
        } else {
            v6
        };
        table.take(row, listeners, bound)
    })
}

fn tables_of(protocol: Protocol) -> [SocketTable; 2] {
    [Family::V4, Family::V6].map(|family| SocketTable { protocol, family })
}

fn expected_of_both(sequence: u32) -> Expected {
    Expected {
        kind: TCPDIAG_GETSOCK,
        sequence,
    }
}

fn expected(sequence: u32) -> Expected {
    Expected {
        kind: SOCK_DIAG_BY_FAMILY,
        sequence,
    }
}
