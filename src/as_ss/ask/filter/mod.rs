//! A filter such as `sport = :8080 and not src 127.0.0.0/8`, and the decision whether a socket
//! passes it.
//!
//! - [`parser`] reads a filter from the command line. [`words`] splits it into words,
//!   [`values`] reads the values that conditions compare with, and [`number`] reads numbers
//!   in the notation of C.
//! - [`pattern`] compares the names of Unix sockets with shell patterns.
//! - [`bytecode`] translates a filter for the kernel.
//!
//! ss(8) describes the language. Conditions are evaluated from left to right: `and` does not
//! bind more tightly than `or`.

pub mod bytecode;
pub mod number;
pub mod parser;
pub mod pattern;
pub mod values;
pub mod words;

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::selection::AddressFamily;
use crate::listener::Endpoint;

/// One or more conditions, and the way in which they are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The first condition.
    pub first: Condition,
    /// The other conditions. Each has a [`Join`], which joins it to the result of all
    /// conditions before it.
    pub rest: Vec<(Join, Condition)>,
}

/// The way in which two conditions are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Both conditions must hold.
    And,
    /// At least one of the conditions must hold.
    Or,
}

/// A condition that a socket meets or does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The end has this port or [`ANY_PORT`], and an address in this network.
    Is(End, i32, Option<Network>),
    /// The name of the end matches this shell pattern. Only Unix sockets have names.
    IsLike(End, Vec<u8>),
    /// The port of the end is at least this one.
    AtLeast(End, i32),
    /// The port of the end is at most this one.
    AtMost(End, i32),
    /// The socket is bound to the interface with this index.
    OnInterface(u32),
    /// The mark of the socket equals `mark` in the bits that are set in `mask`.
    Marked {
        /// The expected value of the compared bits.
        mark: u32,
        /// The bits that are compared.
        mask: u32,
    },
    /// The socket belongs to the control group with this number.
    InCgroup(u64),
    /// The kernel chose the address of the socket: the port is in this range, or the name of
    /// the Unix socket has the form that the kernel uses.
    AutoBound(RangeInclusive<u16>),
    /// The inner condition does not hold.
    Not(Box<Condition>),
    /// The filter in parentheses accepts the socket.
    All(Box<Filter>),
}

/// The end of a socket that a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The socket's own end.
    Local,
    /// The end that the socket is connected to.
    Peer,
}

/// The port in a condition that every port matches.
pub const ANY_PORT: i32 = -1;

/// A network: all addresses that start with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The family of the addresses, or `None` for every family.
    pub family: Option<AddressFamily>,
    /// The address. An address of fewer than 16 bytes, such as an IPv4 address, is followed by
    /// zeros.
    pub octets: [u8; 16],
    /// The length of the prefix in bits.
    pub bits: usize,
}

/// The properties of a socket that a filter can ask for.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The family of both ends.
    pub family: AddressFamily,
    /// The socket's own end.
    pub local: SocketEnd<'a>,
    /// The end that the socket is connected to.
    pub peer: SocketEnd<'a>,
    /// The index of the interface that the socket is bound to, or 0.
    pub interface: u32,
    /// The socket's mark, or 0.
    pub mark: u32,
    /// The number of the control group that the socket belongs to, or 0.
    pub cgroup: u64,
}

/// The address, port or name of one end of a socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketEnd<'a> {
    /// The address, in the form of [`Network::octets`].
    pub octets: [u8; 16],
    /// The port. For sockets that have no ports, this is the number that ss treats as a port.
    pub port: i32,
    /// The name of a Unix socket, if it has one.
    pub name: Option<&'a [u8]>,
}

impl<'a> Facts<'a> {
    /// Creates the facts about a socket of which only the family and the ends are known.
    pub fn new(family: AddressFamily, local: SocketEnd<'a>, peer: SocketEnd<'a>) -> Facts<'a> {
        Facts {
            family,
            local,
            peer,
            interface: 0,
            mark: 0,
            cgroup: 0,
        }
    }
}

impl SocketEnd<'_> {
    /// Creates an end of an IP socket.
    pub fn ip(end: Endpoint) -> SocketEnd<'static> {
        SocketEnd {
            octets: octets(end.address),
            port: end.port.into(),
            name: None,
        }
    }

    /// Creates an end of a socket whose family has numbers instead of addresses.
    pub fn numbered(number: u32, port: i32) -> SocketEnd<'static> {
        SocketEnd {
            octets: octets_of_number(number),
            port,
            name: None,
        }
    }
}

impl Filter {
    /// Whether a socket passes the filter.
    pub fn accepts(&self, socket: &Facts<'_>) -> bool {
        let first = self.first.holds(socket);
        self.rest
            .iter()
            .fold(first, |so_far, (join, condition)| match join {
                Join::And => so_far && condition.holds(socket),
                Join::Or => so_far || condition.holds(socket),
            })
    }
}

impl Condition {
    fn holds(&self, socket: &Facts<'_>) -> bool {
        match self {
            Condition::Is(end, port, network) => {
                let socket_end = end.select(socket);
                (*port == ANY_PORT || *port == socket_end.port)
                    && network.is_none_or(|network| network.contains(socket_end, socket.family))
            }
            Condition::IsLike(end, pattern) => {
                pattern::is_like(end.select(socket).name.unwrap_or_default(), pattern)
            }
            Condition::AtLeast(end, port) => end.select(socket).port >= *port,
            Condition::AtMost(end, port) => end.select(socket).port <= *port,
            Condition::OnInterface(number) => socket.interface == *number,
            Condition::Marked { mark, mask } => socket.mark & mask == *mark,
            Condition::InCgroup(number) => socket.cgroup == *number,
            Condition::AutoBound(ports) => is_auto_bound(socket, ports),
            Condition::Not(condition) => !condition.holds(socket),
            Condition::All(filter) => filter.accepts(socket),
        }
    }
}

impl End {
    fn select<'a>(self, socket: &'a Facts<'a>) -> &'a SocketEnd<'a> {
        match self {
            End::Local => &socket.local,
            End::Peer => &socket.peer,
        }
    }
}

impl Network {
    /// Creates the network that contains every address of `family`, or of every family if that
    /// is `None`.
    pub fn any(family: Option<AddressFamily>) -> Network {
        Network {
            family,
            octets: [0; 16],
            bits: 0,
        }
    }

    /// Whether the network contains the address of `end`, an end of a socket of `family`. As in
    /// ss, bits are compared without regard to families, and an IPv4 network also contains
    /// IPv4-mapped addresses.
    fn contains(&self, end: &SocketEnd<'_>, family: AddressFamily) -> bool {
        // ss compares the pointer to the name here, so the name matches only a network of 0
        // bits.
        if end.name.is_some() {
            return self.bits == 0;
        }
        let is_mapped = self.family == Some(AddressFamily::Inet)
            && family == AddressFamily::Inet6
            && end.octets[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        self.is_prefix_of(end.octets)
            || is_mapped && {
                let mut octets = [0; 16];
                octets[..4].copy_from_slice(&end.octets[12..]);
                self.is_prefix_of(octets)
            }
    }

    fn is_prefix_of(&self, octets: [u8; 16]) -> bool {
        let difference = u128::from_be_bytes(self.octets) ^ u128::from_be_bytes(octets);
        difference.leading_zeros() as usize >= self.bits
    }
}

fn is_auto_bound(socket: &Facts<'_>, ports: &RangeInclusive<u16>) -> bool {
    let SocketEnd { port, name, octets } = &socket.local;
    match socket.family {
        AddressFamily::Unix => name.is_none_or(|name| {
            let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            name.len() == 6 && name[0] == b'@' && name[1..].iter().all(is_digit)
        }),
        AddressFamily::Packet => *port == 0 && octets[..4] == [0; 4],
        AddressFamily::Netlink => *port < 0,
        AddressFamily::Vsock => *port > 1023,
        _ => u16::try_from(*port).is_ok_and(|port| ports.contains(&port)),
    }
}

/// Converts an address to the form of [`Network::octets`].
fn octets(address: IpAddr) -> [u8; 16] {
    let mut octets = [0; 16];
    match address {
        IpAddr::V4(address) => octets[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => octets = address.octets(),
    }
    octets
}

/// Converts a number to the form of [`Network::octets`]. As in ss, its bytes are in the byte
/// order of this machine.
fn octets_of_number(number: u32) -> [u8; 16] {
    let mut octets = [0; 16];
    octets[..4].copy_from_slice(&number.to_ne_bytes());
    octets
}
