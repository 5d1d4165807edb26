//! A filter such as `sport = :8080 and not src 127.0.0.0/8`, and which sockets pass it.
//!
//! - [`parser`] reads a filter from the command line. [`words`] splits it into words,
//!   [`values`] reads the values that conditions compare with, and [`number`] reads numbers
//!   in the notation of C.
//! - [`pattern`] compares the names of Unix sockets with shell patterns.
//! - [`bytecode`] translates a filter for the kernel.
//!
//! ss(8) describes the language. Conditions are joined from left to right; `and` does not
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

/// One or more conditions, and how they are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The first condition.
    pub first: Condition,
    /// The other conditions, and how each is joined to everything before it.
    pub rest: Vec<(Join, Condition)>,
}

/// How two conditions are joined.
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
    /// An end has this port, or [`ANY_PORT`], and an address in this network.
    Is(End, i32, Option<Network>),
    /// The name of an end matches this shell pattern. For Unix sockets.
    IsLike(End, Vec<u8>),
    /// The port of an end is this one or a higher one.
    AtLeast(End, i32),
    /// The port of an end is this one or a lower one.
    AtMost(End, i32),
    /// The socket is bound to the interface with this number.
    OnInterface(u32),
    /// The socket's mark equals `mark` in the bits of `mask`.
    Marked {
        /// The value of these bits.
        mark: u32,
        /// The bits that are compared.
        mask: u32,
    },
    /// The socket belongs to the control group with this number.
    InCgroup(u64),
    /// The kernel chose the socket's address: the port is in this range, or the name has
    /// the form that the kernel uses.
    AutoBound(RangeInclusive<u16>),
    /// This condition does not hold.
    Not(Box<Condition>),
    /// A filter in parentheses.
    All(Box<Filter>),
}

/// Which end of a socket a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The socket's own end.
    Local,
    /// The end that the socket is connected to.
    Peer,
}

/// In a condition: every port matches.
pub const ANY_PORT: i32 = -1;

/// All addresses that start with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The family of the addresses, or `None` for every family.
    pub family: Option<AddressFamily>,
    /// The address. A short one, such as an IPv4 address, is followed by zeros.
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
    /// The other end.
    pub peer: SocketEnd<'a>,
    /// The number of the interface that the socket is bound to, or 0.
    pub interface: u32,
    /// The socket's mark, or 0.
    pub mark: u32,
    /// The number of the socket's control group, or 0.
    pub cgroup: u64,
}

/// The address, port or name of one end of a socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketEnd<'a> {
    /// The address, in the form of [`Network::octets`].
    pub octets: [u8; 16],
    /// The port, or the number that ss treats as a port.
    pub port: i32,
    /// The name of a Unix socket, if it has one.
    pub name: Option<&'a [u8]>,
}

impl<'a> Facts<'a> {
    /// The facts about a socket of which only the family and the ends are known.
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
    /// An end of an IP socket.
    pub fn ip(end: Endpoint) -> SocketEnd<'static> {
        SocketEnd {
            octets: octets(end.address),
            port: end.port.into(),
            name: None,
        }
    }

    /// An end of a socket whose family has numbers instead of addresses.
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
    /// Every address of `family`, or of every family.
    pub fn any(family: Option<AddressFamily>) -> Network {
        Network {
            family,
            octets: [0; 16],
            bits: 0,
        }
    }

    /// Whether the address of `end`, which is of this family, is in the network. As in ss,
    /// bits are compared without regard to families, and an IPv4 network also contains
    /// IPv4-mapped addresses.
    fn contains(&self, end: &SocketEnd<'_>, family: AddressFamily) -> bool {
        // ss compares the pointer to the name here, so only a network of 0 bits matches.
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

/// An address in the form of [`Network::octets`].
fn octets(address: IpAddr) -> [u8; 16] {
    let mut octets = [0; 16];
    match address {
        IpAddr::V4(address) => octets[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => octets = address.octets(),
    }
    octets
}

/// A number in the form of [`Network::octets`]. As in ss, its bytes are in the order of this
/// machine.
fn octets_of_number(number: u32) -> [u8; 16] {
    let mut octets = [0; 16];
    octets[..4].copy_from_slice(&number.to_ne_bytes());
    octets
}
