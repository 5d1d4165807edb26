//! sock_diag(7): which sockets of one protocol and family listen, as
//! inet_diag lists them.

use std::io::Read;
use std::net::IpAddr;

use super::message::{self, AnswerError, Expected, HEADER_SIZE, array_at, attribute};
use crate::listener::{Endpoint, Family, Listener, Protocol, SocketTable};

/// The length of a request: a header and `struct inet_diag_req_v2`.
pub const REQUEST_SIZE: usize = HEADER_SIZE + 56;
/// The length of `struct inet_diag_msg`; attributes follow.
const ROW_SIZE: usize = 72;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const INET_DIAG_SKV6ONLY: u16 = 11;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const TCP_CLOSE: u8 = 7;
const TCP_LISTEN: u8 = 10;

impl SocketTable {
    /// The kernel's module that lists them.
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

    /// The state of its listeners, one only: for TCP sockets in CLOSE, which
    /// are none, the kernel would walk its table of connections, as it does
    /// for `ss -l`.
    fn state(self) -> u8 {
        match self.protocol {
            Protocol::Tcp => TCP_LISTEN,
            Protocol::Udp => TCP_CLOSE,
        }
    }

    /// The request for a dump.
    pub fn request(self, sequence: u32) -> [u8; REQUEST_SIZE] {
        let mut request = message::request(expected(sequence), true);
        request[HEADER_SIZE] = self.address_family();
        request[HEADER_SIZE + 1] = match self.protocol {
            Protocol::Tcp => IPPROTO_TCP,
            Protocol::Udp => IPPROTO_UDP,
        };
        let states = 1u32 << self.state();
        request[HEADER_SIZE + 4..HEADER_SIZE + 8].copy_from_slice(&states.to_ne_bytes());
        request
    }

    /// Appends the listeners of the dump that this request asked for to
    /// `listeners`. Those of them that are bound to an interface are noted in
    /// `bound`, as (place in `listeners`, number of the interface).
    ///
    /// # Errors
    /// Those of [`message::read_dump`]; what was appended must not be used.
    pub fn read(
        self,
        sequence: u32,
        answer: impl Read,
        buffer: &mut [u8],
        listeners: &mut Vec<Listener>,
        bound: &mut Vec<(usize, u32)>,
    ) -> Result<(), AnswerError> {
        message::read_dump(answer, buffer, expected(sequence), |row| {
            if let Some((listener, interface)) = self.listener(row)? {
                if interface != 0 {
                    bound.push((listeners.len(), interface));
                }
                listeners.push(listener);
            }
            Some(())
        })
    }

    /// The listener of a row, and the number of the interface that it is bound
    /// to or 0; none if it is a listener no longer: a UDP socket may connect
    /// between the kernel's look at its state and the row. `None` if the row
    /// cannot be read or is of another family.
    fn listener(self, row: &[u8]) -> Option<Option<(Listener, u32)>> {
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
        let attributes = row.get(ROW_SIZE..)?;
        let listener = Listener {
            recv_q: word(56)?,
            send_q: word(60)?,
            inode: u64::from(word(68)?),
            peer: endpoint(6, 24)?,
            v6_only: attribute(attributes, INET_DIAG_SKV6ONLY).is_some_and(|only| only == [1]),
            ..Listener::new(self.protocol, endpoint(4, 8)?)
        };
        let interface = word(40)?;
        Some((state == self.state()).then_some((listener, interface)))
    }
}

fn expected(sequence: u32) -> Expected {
    Expected {
        kind: SOCK_DIAG_BY_FAMILY,
        sequence,
    }
}
