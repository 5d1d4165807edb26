//! Which sockets a command line asks for: kinds, families and states. Options
//! and filters both narrow them.
//!
//! ss starts from nothing. Each option adds its kind, its family, or both, and
//! the states that it usually means. What is left open at the end gets defaults.

/// The states of a socket, each a bit of [`States`].
pub use crate::kernel::socket::State;
use crate::kernel::socket::{
    AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_TIPC, AF_UNIX, AF_VSOCK, AF_XDP,
};

/// The kinds of sockets that ss tells apart, each a bit of [`Kinds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP.
    Tcp,
    /// Multipath TCP.
    Mptcp,
    /// DCCP, which Linux had until 6.15.
    Dccp,
    /// UDP.
    Udp,
    /// IP without a transport protocol.
    Raw,
    /// Unix datagram sockets.
    UnixDatagram,
    /// Unix stream sockets.
    UnixStream,
    /// Unix sockets of sequenced packets.
    UnixSeqpacket,
    /// Packets without their link-level header.
    PacketDatagram,
    /// Whole packets.
    PacketRaw,
    /// netlink(7).
    Netlink,
    /// SCTP.
    Sctp,
    /// Streams between virtual machines and their host.
    VsockStream,
    /// Datagrams between virtual machines and their host.
    VsockDatagram,
    /// TIPC, between the nodes of a cluster.
    Tipc,
    /// Packets around the kernel's network stack.
    Xdp,
}

impl Kind {
    /// All kinds, in the order of their bits.
    const ALL: [Kind; 16] = [
        Kind::Tcp,
        Kind::Mptcp,
        Kind::Dccp,
        Kind::Udp,
        Kind::Raw,
        Kind::UnixDatagram,
        Kind::UnixStream,
        Kind::UnixSeqpacket,
        Kind::PacketDatagram,
        Kind::PacketRaw,
        Kind::Netlink,
        Kind::Sctp,
        Kind::VsockStream,
        Kind::VsockDatagram,
        Kind::Tipc,
        Kind::Xdp,
    ];

    /// The families that it belongs to.
    fn families(self) -> Families {
        match self {
            Kind::Tcp | Kind::Mptcp | Kind::Dccp | Kind::Udp | Kind::Raw | Kind::Sctp => {
                Families(1 << AddressFamily::Inet as u8 | 1 << AddressFamily::Inet6 as u8)
            }
            Kind::UnixDatagram | Kind::UnixStream | Kind::UnixSeqpacket => {
                Families::of(AddressFamily::Unix)
            }
            Kind::PacketDatagram | Kind::PacketRaw => Families::of(AddressFamily::Packet),
            Kind::Netlink => Families::of(AddressFamily::Netlink),
            Kind::VsockStream | Kind::VsockDatagram => Families::of(AddressFamily::Vsock),
            Kind::Tipc => Families::of(AddressFamily::Tipc),
            Kind::Xdp => Families::of(AddressFamily::Xdp),
        }
    }

    /// The states that asking for this kind means.
    fn usual_states(self) -> States {
        match self {
            Kind::Udp | Kind::Raw => States::of(State::Established),
            Kind::UnixDatagram
            | Kind::PacketDatagram
            | Kind::PacketRaw
            | Kind::Netlink
            | Kind::Xdp => States::of(State::Close),
            Kind::Tipc => States::CONNECTIONS.with(States::LISTENING),
            _ => States::CONNECTIONS,
        }
    }
}

/// Some of the kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u16);

impl Kinds {
    /// The kinds that `-A` knows under this name.
    pub fn named(name: &str) -> Option<Kinds> {
        let kinds: &[Kind] = match name {
            "all" => {
                // ss does not count TIPC among them.
                let others = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Tipc);
                return Some(Kinds::of(others));
            }
            "inet" => &[
                Kind::Tcp,
                Kind::Mptcp,
                Kind::Dccp,
                Kind::Udp,
                Kind::Raw,
                Kind::Sctp,
            ],
            "udp" => &[Kind::Udp],
            "dccp" => &[Kind::Dccp],
            "tcp" => &[Kind::Tcp],
            "mptcp" => &[Kind::Mptcp],
            "sctp" => &[Kind::Sctp],
            "raw" => &[Kind::Raw],
            "unix" => &[Kind::UnixStream, Kind::UnixDatagram, Kind::UnixSeqpacket],
            "unix_stream" | "u_str" => &[Kind::UnixStream],
            "unix_dgram" | "u_dgr" => &[Kind::UnixDatagram],
            "unix_seqpacket" | "u_seq" => &[Kind::UnixSeqpacket],
            "packet" => &[Kind::PacketRaw, Kind::PacketDatagram],
            "packet_raw" | "p_raw" => &[Kind::PacketRaw],
            "packet_dgram" | "p_dgr" => &[Kind::PacketDatagram],
            "netlink" => &[Kind::Netlink],
            "vsock" => &[Kind::VsockStream, Kind::VsockDatagram],
            "vsock_stream" | "v_str" => &[Kind::VsockStream],
            "vsock_dgram" | "v_dgr" => &[Kind::VsockDatagram],
            "tipc" => &[Kind::Tipc],
            "xdp" => &[Kind::Xdp],
            _ => return None,
        };
        Some(Kinds::of(kinds.iter().copied()))
    }

    fn of(kinds: impl Iterator<Item = Kind>) -> Kinds {
        Kinds(kinds.fold(0, |all, kind| all | 1 << kind as u16))
    }

    fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }

    /// Whether it is one of them.
    pub fn has(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u16 != 0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether there is exactly one.
    pub fn is_one(self) -> bool {
        self.0.count_ones() == 1
    }
}

/// The families of addresses, each a bit of [`Families`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    /// Paths and names.
    Unix,
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
    /// Ports of netlink(7).
    Netlink,
    /// Protocols on interfaces.
    Packet,
    /// Numbers of virtual machines.
    Vsock,
    /// Nodes and services of a cluster.
    Tipc,
    /// Queues of interfaces.
    Xdp,
}

impl AddressFamily {
    const ALL: [AddressFamily; 8] = [
        AddressFamily::Unix,
        AddressFamily::Inet,
        AddressFamily::Inet6,
        AddressFamily::Netlink,
        AddressFamily::Packet,
        AddressFamily::Vsock,
        AddressFamily::Tipc,
        AddressFamily::Xdp,
    ];

    /// The family that `-f` knows under this name, and a filter before a colon.
    pub fn named(name: &str) -> Option<AddressFamily> {
        Some(match name {
            "unix" => AddressFamily::Unix,
            "inet" => AddressFamily::Inet,
            "inet6" => AddressFamily::Inet6,
            "netlink" => AddressFamily::Netlink,
            "link" => AddressFamily::Packet,
            "vsock" => AddressFamily::Vsock,
            "tipc" => AddressFamily::Tipc,
            "xdp" => AddressFamily::Xdp,
            _ => return None,
        })
    }

    /// Its number in the kernel.
    pub fn number(self) -> u8 {
        match self {
            AddressFamily::Unix => AF_UNIX,
            AddressFamily::Inet => AF_INET,
            AddressFamily::Inet6 => AF_INET6,
            AddressFamily::Netlink => AF_NETLINK,
            AddressFamily::Packet => AF_PACKET,
            AddressFamily::Vsock => AF_VSOCK,
            AddressFamily::Tipc => AF_TIPC,
            AddressFamily::Xdp => AF_XDP,
        }
    }

    fn kinds(self) -> Kinds {
        let kinds = Kind::ALL.into_iter();
        Kinds::of(kinds.filter(|kind| kind.families().has(self)))
    }

    fn usual_states(self) -> States {
        match self {
            AddressFamily::Netlink | AddressFamily::Packet | AddressFamily::Xdp => {
                States::of(State::Close)
            }
            AddressFamily::Tipc => States::CONNECTIONS.with(States::LISTENING),
            _ => States::CONNECTIONS,
        }
    }
}

/// Some of the families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Families(u8);

impl Families {
    fn of(family: AddressFamily) -> Families {
        Families(1 << family as u8)
    }

    /// Whether it is one of them.
    pub fn has(self, family: AddressFamily) -> bool {
        self.0 & Families::of(family).0 != 0
    }
}

/// Some of the states, each a bit as the kernel numbers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States(u16);

impl States {
    /// All of them.
    pub const ALL: States = States((1 << 12) - 1);
    /// What `-l` means.
    pub const LISTENING: States = States(1 << State::Listen as u16 | 1 << State::Close as u16);
    /// What ss shows of most kinds if it is not told.
    pub const CONNECTIONS: States = States::ALL
        .without(States::LISTENING)
        .without(States::MINIATURE);
    /// Those in which the kernel keeps less than a socket.
    const MINIATURE: States = States(1 << State::SynRecv as u16 | 1 << State::TimeWait as u16);

    /// One state.
    pub const fn of(state: State) -> States {
        States(1 << state as u16)
    }

    /// The states that a filter knows under this name, in any case of letters.
    pub fn named(name: &str) -> Option<States> {
        let one = States::of;
        Some(match name.to_ascii_lowercase().as_str() {
            "all" => States::ALL,
            "connected" => States::ALL.without(States::LISTENING),
            "synchronized" => States::ALL
                .without(States::LISTENING)
                .without(one(State::SynSent)),
            "bucket" => States::MINIATURE,
            "big" => States::ALL.without(States::MINIATURE),
            "unknown" => States(1),
            "established" => one(State::Established),
            "syn-sent" => one(State::SynSent),
            "syn-recv" | "syn-rcv" => one(State::SynRecv),
            "fin-wait-1" => one(State::FinWait1),
            "fin-wait-2" => one(State::FinWait2),
            "time-wait" => one(State::TimeWait),
            "close" | "closed" | "unconnected" => one(State::Close),
            "close-wait" => one(State::CloseWait),
            "last-ack" => one(State::LastAck),
            "listening" => one(State::Listen),
            "closing" => one(State::Closing),
            _ => return None,
        })
    }

    /// These and those.
    pub const fn with(self, others: States) -> States {
        States(self.0 | others.0)
    }

    /// These but not those.
    pub const fn without(self, others: States) -> States {
        States(self.0 & !others.0)
    }

    /// Whether the state of this number is one of them.
    pub fn has(self, number: u8) -> bool {
        number < 16 && self.0 & 1 << number != 0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether there is exactly one.
    pub fn is_one(self) -> bool {
        self.0.count_ones() == 1
    }

    /// As a request to the kernel has them.
    pub fn bits(self) -> u32 {
        u32::from(self.0)
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection {
    /// The kinds.
    pub kinds: Kinds,
    /// The families.
    pub families: Families,
    /// The states.
    pub states: States,
    /// The family that was asked for last, if any was.
    pub last_family: Option<AddressFamily>,
    /// Whether a kind or a family was named.
    pub is_named: bool,
}

impl Selection {
    /// Asks for these kinds too.
    pub fn add_kinds(&mut self, kinds: Kinds) {
        self.kinds.0 |= kinds.0;
        for kind in kinds.iter() {
            self.states = self.states.with(kind.usual_states());
        }
        self.is_named = true;
    }

    /// Asks no more for these kinds.
    pub fn remove_kinds(&mut self, kinds: Kinds) {
        self.kinds.0 &= !kinds.0;
        self.is_named = true;
    }

    /// Forgets the kinds that were asked for.
    pub fn clear_kinds(&mut self) {
        self.kinds = Kinds::default();
        self.is_named = true;
    }

    /// Asks for this family too.
    pub fn add_family(&mut self, family: AddressFamily) {
        self.families.0 |= Families::of(family).0;
        self.states = self.states.with(family.usual_states());
        self.last_family = Some(family);
        self.is_named = true;
    }

    /// Asks for this family and for no other.
    pub fn only_family(&mut self, family: AddressFamily) {
        self.families = Families::of(family);
        self.last_family = Some(family);
    }

    /// Gives a family to each kind that has none, and kinds to each family that
    /// has none.
    pub fn complete(&mut self) {
        for kind in self.kinds.iter() {
            let its = kind.families();
            if its.0 & self.families.0 == 0 {
                self.families.0 |= its.0;
            }
        }
        for family in AddressFamily::ALL {
            let its = family.kinds();
            if self.families.has(family) && its.0 & self.kinds.0 == 0 {
                self.kinds.0 |= its.0;
            }
        }
    }

    /// Whether IPv4 or IPv6 is asked for.
    pub fn has_inet(&self) -> bool {
        self.families.has(AddressFamily::Inet) || self.families.has(AddressFamily::Inet6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(name: &str) -> Kinds {
        Kinds::named(name).unwrap()
    }

    #[test]
    fn what_is_left_open_gets_defaults() {
        let mut tcp = Selection::default();
        tcp.add_kinds(kinds("tcp"));
        tcp.complete();
        assert!(tcp.families.has(AddressFamily::Inet6) && tcp.kinds.is_one());
        assert_eq!(tcp.states, States::CONNECTIONS);
        let mut unix = Selection::default();
        unix.add_family(AddressFamily::Unix);
        unix.complete();
        assert_eq!(unix.kinds, kinds("unix"));
        let mut v4 = Selection::default();
        v4.add_family(AddressFamily::Inet);
        v4.complete();
        assert_eq!(v4.kinds, kinds("inet"));
        assert!(!v4.families.has(AddressFamily::Inet6));
        let mut udp = Selection::default();
        udp.add_kinds(kinds("udp"));
        assert!(udp.states.is_one() && udp.states.has(State::Established as u8));
    }

    #[test]
    fn states_have_names_in_any_case_and_groups() {
        assert_eq!(States::named("LISTENING"), States::named("listening"));
        assert_eq!(States::named("Closed"), Some(States::of(State::Close)));
        let bucket = States::named("bucket").unwrap();
        assert_eq!(States::named("big"), Some(States::ALL.without(bucket)));
        assert!(!States::named("synchronized").unwrap().has(2));
        assert!(States::named("connected").unwrap().has(2));
        assert_eq!(States::named("listen"), None);
    }
}
