//! What a listening socket is: its identity, its order and how its parts are named.
//!
//! Nothing here knows where a listener was read from or how it is printed as a
//! table; all sources make these types and both formats consume them.

use std::fmt;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::report::steers;
use crate::source::holders::Processes;

/// A transport protocol. TCP sorts before UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP, over IPv4 or IPv6.
    Tcp,
    /// UDP, over IPv4 or IPv6.
    Udp,
}

impl Protocol {
    /// The Netid that ss prints: `tcp` or `udp`.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }

    /// What ss calls the state in which a socket of this protocol waits for
    /// peers: `LISTEN` for TCP, `UNCONN` for UDP.
    pub fn listening_state(self) -> &'static str {
        match self {
            Protocol::Tcp => "LISTEN",
            Protocol::Udp => "UNCONN",
        }
    }
}

/// An address family. IPv4 sorts before IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6, also when the address is an IPv4-mapped one.
    V6,
}

impl Family {
    /// The family of `address`.
    pub fn of(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// Its unspecified address.
    pub fn wildcard(self) -> IpAddr {
        match self {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

/// The sockets of one protocol and family, which the kernel lists together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketTable {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// IPv4 or IPv6.
    pub family: Family,
}

impl SocketTable {
    /// Every one there is.
    pub const ALL: [SocketTable; 4] = {
        const fn table(protocol: Protocol, family: Family) -> SocketTable {
            SocketTable { protocol, family }
        }
        [
            table(Protocol::Tcp, Family::V4),
            table(Protocol::Tcp, Family::V6),
            table(Protocol::Udp, Family::V4),
            table(Protocol::Udp, Family::V6),
        ]
    };

    /// What its file is called in `/proc/net`.
    pub fn name(self) -> &'static str {
        match (self.protocol, self.family) {
            (Protocol::Tcp, Family::V4) => "tcp",
            (Protocol::Tcp, Family::V6) => "tcp6",
            (Protocol::Udp, Family::V4) => "udp",
            (Protocol::Udp, Family::V6) => "udp6",
        }
    }
}

/// The local end of a socket. Sorts by port, then family, then address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The port, in host byte order. It is 0 in a row of a UDP socket that is
    /// being bound, which is no listener yet.
    pub port: u16,
    /// The bound address; the unspecified one is the wildcard.
    pub address: IpAddr,
}

/// What makes two listeners the same one, whichever source they were read
/// from: protocol, port, family and address. Its order is the order of output.
pub type Identity = (Protocol, Endpoint);

/// A TCP socket in LISTEN or a UDP socket that is bound and not connected.
///
/// `==` compares every part; [`Listener::identity`] is what makes it the same
/// listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The interface it is bound to, where the source says so (`/proc` never does).
    pub scope: Option<Scope>,
    /// TCP: connections waiting to be accepted. UDP: bytes waiting to be read.
    pub recv_q: u32,
    /// TCP: the largest backlog; from `/proc`, which does not tell it, 0 as a
    /// rule. UDP: bytes waiting to be sent.
    pub send_q: u32,
    /// The peer: the wildcard and port 0, but for a socket that was connected
    /// before, of which the kernel may keep the address.
    pub peer: Endpoint,
    /// The socket's inode, or 0 where the source does not give one.
    pub inode: u64,
    /// Whether a socket on the IPv6 wildcard takes no IPv4, where the source
    /// can tell (netlink); false where it cannot.
    pub v6_only: bool,
    /// Which processes hold it, where that was asked for and could be told.
    pub processes: Processes,
}

impl Listener {
    /// A listener of which nothing else is known.
    pub fn new(protocol: Protocol, endpoint: Endpoint) -> Listener {
        Listener {
            protocol,
            endpoint,
            scope: None,
            recv_q: 0,
            send_q: 0,
            peer: Endpoint {
                port: 0,
                address: Family::of(endpoint.address).wildcard(),
            },
            inode: 0,
            v6_only: false,
            processes: Processes::default(),
        }
    }

    /// What makes it the same listener from poll to poll and source to source.
    pub fn identity(&self) -> Identity {
        (self.protocol, self.endpoint)
    }

    /// The family of its address.
    pub fn family(&self) -> Family {
        Family::of(self.endpoint.address)
    }
}

/// The name of a network interface: 1 to 15 bytes of visible characters, none of
/// them `/` or `:`, which the kernel accepts in no name (`dev_valid_name`), inline
/// so that it takes no memory of its own.
///
/// 15 is the kernel's `IFNAMSIZ` less its terminating zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    length: u8,
    bytes: [u8; 15],
}

impl Scope {
    /// `None` unless `name` is 1 to 15 bytes of those.
    pub fn new(name: &[u8]) -> Option<Scope> {
        let text = std::str::from_utf8(name).ok()?;
        let is_allowed = |c: char| !c.is_whitespace() && !steers(c) && !matches!(c, '/' | ':');
        if name.is_empty() || name.len() > 15 || !text.chars().all(is_allowed) {
            return None;
        }
        let mut bytes = [0; 15];
        bytes[..name.len()].copy_from_slice(name);
        let length = name.len() as u8;
        Some(Scope { length, bytes })
    }

    /// What ss calls an interface of which it knows the number only: `if5`.
    pub fn of_number(number: u32) -> Scope {
        let mut bytes = [0; 15];
        let mut rest = &mut bytes[..];
        // Twelve bytes at most, so there is room.
        let _ = write!(rest, "if{number}");
        let length = 15 - rest.len() as u8;
        Scope { length, bytes }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length as usize]).unwrap_or_default()
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// An IP address as ss spells it: bare IPv4, bracketed IPv6.
///
/// ss prints addresses with `inet_ntop`, which writes IPv4-compatible
/// addresses (`::a.b.c.d`) with dots where the standard library does not.
/// The wildcard is spelled out here; a table that writes `*` does so itself.
#[derive(Clone, Copy, Debug)]
pub struct SsAddress(pub IpAddr);

impl fmt::Display for SsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => {
                f.write_str("[")?;
                write_v6(f, address)?;
                f.write_str("]")
            }
        }
    }
}

fn write_v6(f: &mut fmt::Formatter<'_>, address: Ipv6Addr) -> fmt::Result {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
            let [.., a, b, c, d] = address.octets();
            write!(f, "::{a}.{b}.{c}.{d}")
        }
        _ => write!(f, "{address}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(address: &str) -> String {
        SsAddress(address.parse().unwrap()).to_string()
    }

    #[test]
    fn addresses_are_spelled_as_ss_spells_them() {
        assert_eq!(spelled("127.0.0.1"), "127.0.0.1");
        assert_eq!(spelled("::1"), "[::1]");
        assert_eq!(spelled("::"), "[::]");
        assert_eq!(spelled("::ffff:127.0.0.1"), "[::ffff:127.0.0.1]");
        assert_eq!(spelled("::1.2.3.4"), "[::1.2.3.4]");
        assert_eq!(spelled("::102"), "[::102]");
        assert_eq!(spelled("fe80::1:0:0:1"), "[fe80::1:0:0:1]");
    }

    #[test]
    fn order_is_protocol_port_family_address() {
        let at = |protocol, port, address: &str| {
            let address = address.parse().unwrap();
            (protocol, Endpoint { port, address })
        };
        let sorted = [
            at(Protocol::Tcp, 80, "0.0.0.0"),
            at(Protocol::Tcp, 80, "255.0.0.1"),
            at(Protocol::Tcp, 80, "::"),
            at(Protocol::Tcp, 443, "0.0.0.0"),
            at(Protocol::Udp, 53, "0.0.0.0"),
        ];
        assert!(sorted.is_sorted());
    }

    #[test]
    fn a_scope_is_an_interface_name_and_nothing_else() {
        assert_eq!(Scope::new(b"lo").unwrap().as_str(), "lo");
        assert_eq!(format!("{:?}", Scope::new(b"lo").unwrap()), r#""lo""#);
        assert_eq!(Scope::new(b"fifteen-bytes-x").unwrap().as_str().len(), 15);
        assert_eq!(Scope::of_number(5), Scope::new(b"if5").unwrap());
        assert_eq!(Scope::of_number(u32::MAX).as_str(), "if4294967295");
        assert!(Scope::new(b"").is_none());
        assert!(Scope::new(b"sixteen-bytes-xx").is_none());
        assert_eq!(Scope::new("ünï".as_bytes()).unwrap().as_str(), "ünï");
        assert!(Scope::new(b"\xff").is_none());
        assert!(Scope::new("a\u{a0}b".as_bytes()).is_none());
        assert!(Scope::new(b"a b").is_none());
        assert!(Scope::new(b"a:1").is_none());
        assert!(Scope::new(b"a/b").is_none());
        assert!(Scope::new(b"\x1b[31m").is_none());
    }
}
