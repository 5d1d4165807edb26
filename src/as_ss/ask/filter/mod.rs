//! What a filter is, and which sockets pass it: `sport = :8080 and not src 127.0.0.0/8`.
//!
//! - [`parser`] reads one from the command line: [`words`] are those of its language,
//!   [`values`] what a condition compares with, [`number`] how C writes numbers.
//! - [`pattern`] is what names of Unix sockets are compared with.
//! - [`bytecode`] is a filter for the kernel.
//!
//! The language is that of ss's manual page, ss(8). Conditions are joined from left
//! to right; `and` does not bind more tightly than `or`.

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

/// Conditions and how they are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The first condition.
    pub first: Condition,
    /// Those that follow, and how each is joined to all before it.
    pub rest: Vec<(Join, Condition)>,
}

/// How two conditions are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Both must hold.
    And,
    /// One must hold.
    Or,
}

/// What a filter asks of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// An end has this port, and an address in this network. [`ANY_PORT`] is any.
    Is(End, i32, Option<Network>),
    /// An end has a name like this pattern. For Unix sockets.
    IsLike(End, Vec<u8>),
    /// The port of an end is this or a higher one.
    AtLeast(End, i32),
    /// The port of an end is this or a lower one.
    AtMost(End, i32),
    /// The socket is bound to the interface of this number.
    OnInterface(u32),
    /// The bits of the socket's mark that are in `mask` are `mark`.
    Marked {
        /// What they must be.
        mark: u32,
        /// Which bits.
        mask: u32,
    },
    /// The socket belongs to the control group of this number.
    InCgroup(u64),
    /// The kernel chose the port, which is one of these, or the name.
    AutoBound(RangeInclusive<u16>),
    /// This does not hold.
    Not(Box<Condition>),
    /// A filter in parentheses.
    All(Box<Filter>),
}

/// Which end of a socket is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its own.
    Local,
    /// The other one.
    Peer,
}

/// The port in a condition that takes any.
pub const ANY_PORT: i32 = -1;

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// `None` is any.
    pub family: Option<AddressFamily>,
    /// The address. Those of an IPv4 address come first, and zeros follow.
    pub octets: [u8; 16],
    /// How many bits of it count.
    pub bits: usize,
}

/// What a filter looks at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The family of both ends.
    pub family: AddressFamily,
    /// The socket's own end.
    pub local: Place<'a>,
    /// The other end.
    pub peer: Place<'a>,
    /// The number of the interface that it is bound to, or 0.
    pub interface: u32,
    /// Its mark, or 0.
    pub mark: u32,
    /// The number of its control group, or 0.
    pub cgroup: u64,
}

/// One end of a socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    /// As in a [`Network`].
    pub octets: [u8; 16],
    /// The port, or what ss takes for one.
    pub port: i32,
    /// The name of a Unix socket, if it has one.
    pub name: Option<&'a [u8]>,
}

impl<'a> Facts<'a> {
    /// A socket with these ends, of which no more is known.
    pub fn new(family: AddressFamily, local: Place<'a>, peer: Place<'a>) -> Facts<'a> {
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

impl Place<'_> {
    /// An end of a socket of IP.
    pub fn of_ip(end: Endpoint) -> Place<'static> {
        Place {
            octets: octets(end.address),
            port: end.port.into(),
            name: None,
        }
    }

    /// An end of a socket whose family has `number` in place of an address. ss keeps it in
    /// the order of the machine in place of octets.
    pub fn of_number(number: u32, port: i32) -> Place<'static> {
        Place {
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
                let place = end.of(socket);
                (*port == ANY_PORT || *port == place.port)
                    && network.is_none_or(|network| network.holds(place, socket.family))
            }
            Condition::IsLike(end, pattern) => {
                pattern::is_like(end.of(socket).name.unwrap_or_default(), pattern)
            }
            Condition::AtLeast(end, port) => end.of(socket).port >= *port,
            Condition::AtMost(end, port) => end.of(socket).port <= *port,
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
    fn of<'a>(self, socket: &'a Facts<'a>) -> &'a Place<'a> {
        match self {
            End::Local => &socket.local,
            End::Peer => &socket.peer,
        }
    }
}

impl Network {
    /// Every address of `family`, or of all.
    pub fn any(family: Option<AddressFamily>) -> Network {
        Network {
            family,
            octets: [0; 16],
            bits: 0,
        }
    }

    /// ss compares bits, whatever their family, and IPv4 networks also with
    /// IPv4-mapped addresses.
    fn holds(&self, place: &Place<'_>, family: AddressFamily) -> bool {
        // ss compares with where it keeps a name in memory.
        if place.name.is_some() {
            return self.bits == 0;
        }
        let is_mapped = self.family == Some(AddressFamily::Inet)
            && family == AddressFamily::Inet6
            && place.octets[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        self.begins(place.octets)
            || is_mapped && {
                let mut octets = [0; 16];
                octets[..4].copy_from_slice(&place.octets[12..]);
                self.begins(octets)
            }
    }

    fn begins(&self, octets: [u8; 16]) -> bool {
        let difference = u128::from_be_bytes(self.octets) ^ u128::from_be_bytes(octets);
        difference.leading_zeros() as usize >= self.bits
    }
}

fn is_auto_bound(socket: &Facts<'_>, ports: &RangeInclusive<u16>) -> bool {
    let Place { port, name, octets } = &socket.local;
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

/// Those of an IPv4 address come first, and zeros follow.
fn octets(address: IpAddr) -> [u8; 16] {
    let mut octets = [0; 16];
    match address {
        IpAddr::V4(address) => octets[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => octets = address.octets(),
    }
    octets
}

fn octets_of_number(number: u32) -> [u8; 16] {
    let mut octets = [0; 16];
    octets[..4].copy_from_slice(&number.to_ne_bytes());
    octets
}
