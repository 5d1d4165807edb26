//! The selection of sockets by kind, family and state.
//!
//! As in ss, the selection is empty at first. Each option adds a kind, a family or both, and
//! also the states in which such sockets are usually shown. At the end, [`Selection::complete`]
//! adds the missing families of the selected kinds and the missing kinds of the selected
//! families. A family in the filter narrows the selection.

pub use crate::kernel::socket::State;
use crate::kernel::socket::{
    AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_TIPC, AF_UNIX, AF_VSOCK, AF_XDP,
};

/// A kind of socket that ss distinguishes. Its number is the index of its bit in [`Kinds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP.
    Tcp,
    /// Multipath TCP.
    Mptcp,
    /// DCCP, which was removed from Linux after version 6.15.
    Dccp,
    /// UDP.
    Udp,
    /// Raw IP sockets, which send and receive packets of one IP protocol.
    Raw,
    /// Unix datagram sockets.
    UnixDatagram,
    /// Unix stream sockets.
    UnixStream,
    /// Unix seqpacket sockets.
    UnixSeqpacket,
    /// Packet sockets that receive packets without the link-level header.
    PacketDatagram,
    /// Packet sockets that receive packets with the link-level header.
    PacketRaw,
    /// Netlink sockets (netlink(7)).
    Netlink,
    /// SCTP.
    Sctp,
    /// Stream sockets between virtual machines and their host.
    VsockStream,
    /// Datagram sockets between virtual machines and their host.
    VsockDatagram,
    /// TIPC, which connects the nodes of a cluster.
    Tipc,
    /// XDP sockets, which bypass the kernel's network stack.
    Xdp,
}

impl Kind {
    /// All kinds, in the order of their bits in [`Kinds`].
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

    /// The families to which sockets of this kind belong.
    fn families(self) -> Families {
        match self {
            Kind::Tcp | Kind::Mptcp | Kind::Dccp | Kind::Udp | Kind::Raw | Kind::Sctp => {
                Families(1 << AddressFamily::Inet as u8 | 1 << AddressFamily::Inet6 as u8)
            }
            Kind::UnixDatagram | Kind::UnixStream | Kind::UnixSeqpacket => {
                Families::single(AddressFamily::Unix)
            }
            Kind::PacketDatagram | Kind::PacketRaw => Families::single(AddressFamily::Packet),
            Kind::Netlink => Families::single(AddressFamily::Netlink),
            Kind::VsockStream | Kind::VsockDatagram => Families::single(AddressFamily::Vsock),
            Kind::Tipc => Families::single(AddressFamily::Tipc),
            Kind::Xdp => Families::single(AddressFamily::Xdp),
        }
    }

    /// The states that ss selects along with this kind.
    fn usual_states(self) -> States {
        match self {
            Kind::Udp | Kind::Raw => States::single(State::Established),
            Kind::UnixDatagram
            | Kind::PacketDatagram
            | Kind::PacketRaw
            | Kind::Netlink
            | Kind::Xdp => States::single(State::Close),
            Kind::Tipc => States::CONNECTIONS.with(States::LISTENING),
            _ => States::CONNECTIONS,
        }
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u16);

impl Kinds {
    /// The kinds that this name means in the value of `-A`. `None` if it is not a name of ss.
    pub fn named(name: &str) -> Option<Kinds> {
        let kinds: &[Kind] = match name {
            "all" => {
                // In ss, the name `all` does not include TIPC.
                let kinds = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Tipc);
                return Some(Kinds::collect(kinds));
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
        Some(Kinds::collect(kinds.iter().copied()))
    }

    fn collect(kinds: impl Iterator<Item = Kind>) -> Kinds {
        Kinds(kinds.fold(0, |all, kind| all | 1 << kind as u16))
    }

    fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }

    /// Whether the set contains this kind.
    pub fn has(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u16 != 0
    }

    /// Whether the set contains no kind.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the set contains exactly one kind.
    pub fn is_one(self) -> bool {
        self.0.count_ones() == 1
    }
}

/// A family of addresses. Its number is the index of its bit in [`Families`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    /// Unix sockets. The address is a path or an abstract name.
    Unix,
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
    /// Netlink sockets (netlink(7)). The address is a protocol and a port.
    Netlink,
    /// Packet sockets. The address is a protocol and an interface.
    Packet,
    /// Vsock sockets (vsock(7)). The address is the number of a machine and a port.
    Vsock,
    /// TIPC.
    Tipc,
    /// XDP.
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

    /// The family with this name in the value of `-f`, or before a colon in a filter.
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

    /// The kernel's number for the family (`AF_…`).
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
        Kinds::collect(kinds.filter(|kind| kind.families().has(self)))
    }

    fn usual_states(self) -> States {
        match self {
            AddressFamily::Netlink | AddressFamily::Packet | AddressFamily::Xdp => {
                States::single(State::Close)
            }
            AddressFamily::Tipc => States::CONNECTIONS.with(States::LISTENING),
            _ => States::CONNECTIONS,
        }
    }
}

/// A set of families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Families(u8);

impl Families {
    fn single(family: AddressFamily) -> Families {
        Families(1 << family as u8)
    }

    /// Whether the set contains this family.
    pub fn has(self, family: AddressFamily) -> bool {
        self.0 & Families::single(family).0 != 0
    }
}

/// A set of states. The kernel's number of a state is the index of its bit in the set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States(u16);

impl States {
    /// Every state.
    pub const ALL: States = States((1 << 12) - 1);
    /// The states that `-l` selects: LISTEN, and CLOSE for sockets without connections.
    pub const LISTENING: States = States(1 << State::Listen as u16 | 1 << State::Close as u16);
    /// The states in which ss shows most kinds of sockets by default.
    pub const CONNECTIONS: States = States::ALL
        .without(States::LISTENING)
        .without(States::MINIATURE);
    /// The states in which the kernel stores a smaller structure in place of a full socket. In
    /// a filter, the name of these states is `bucket`.
    const MINIATURE: States = States(1 << State::SynRecv as u16 | 1 << State::TimeWait as u16);

    /// The set with only this state.
    pub const fn single(state: State) -> States {
        States(1 << state as u16)
    }

    /// The states that this name means in a filter, ignoring case. `None` if it is not a name
    /// of ss.
    pub fn named(name: &str) -> Option<States> {
        let single = States::single;
        Some(match name.to_ascii_lowercase().as_str() {
            "all" => States::ALL,
            "connected" => States::ALL.without(States::LISTENING),
            "synchronized" => States::ALL
                .without(States::LISTENING)
                .without(single(State::SynSent)),
            "bucket" => States::MINIATURE,
            "big" => States::ALL.without(States::MINIATURE),
            "unknown" => States(1),
            "established" => single(State::Established),
            "syn-sent" => single(State::SynSent),
            "syn-recv" | "syn-rcv" => single(State::SynRecv),
            "fin-wait-1" => single(State::FinWait1),
            "fin-wait-2" => single(State::FinWait2),
            "time-wait" => single(State::TimeWait),
            "close" | "closed" | "unconnected" => single(State::Close),
            "close-wait" => single(State::CloseWait),
            "last-ack" => single(State::LastAck),
            "listening" => single(State::Listen),
            "closing" => single(State::Closing),
            _ => return None,
        })
    }

    /// The union of both sets.
    pub const fn with(self, others: States) -> States {
        States(self.0 | others.0)
    }

    /// This set without the states in `others`.
    pub const fn without(self, others: States) -> States {
        States(self.0 & !others.0)
    }

    /// Whether the set contains the state with this number.
    pub fn has(self, number: u8) -> bool {
        number < 16 && self.0 & 1 << number != 0
    }

    /// Whether the set contains no state.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the set contains exactly one state.
    pub fn is_one(self) -> bool {
        self.0.count_ones() == 1
    }

    /// The set as the bits of a request to the kernel, which uses the same order.
    pub fn bits(self) -> u32 {
        u32::from(self.0)
    }
}

/// The sockets to show, selected by kind, family and state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection {
    /// The selected kinds.
    pub kinds: Kinds,
    /// The selected families.
    pub families: Families,
    /// The selected states.
    pub states: States,
    /// The family that was selected last, if any.
    pub last_family: Option<AddressFamily>,
    /// Whether the command line specifies a kind or a family.
    pub is_named: bool,
}

impl Selection {
    /// Adds these kinds, and the states in which sockets of these kinds are usually shown.
    pub fn add_kinds(&mut self, kinds: Kinds) {
        self.kinds.0 |= kinds.0;
        for kind in kinds.iter() {
            self.states = self.states.with(kind.usual_states());
        }
        self.is_named = true;
    }

    /// Removes these kinds.
    pub fn remove_kinds(&mut self, kinds: Kinds) {
        self.kinds.0 &= !kinds.0;
        self.is_named = true;
    }

    /// Removes all kinds.
    pub fn clear_kinds(&mut self) {
        self.kinds = Kinds::default();
        self.is_named = true;
    }

    /// Adds this family, and the states in which its sockets are usually shown.
    pub fn add_family(&mut self, family: AddressFamily) {
        self.families.0 |= Families::single(family).0;
        self.states = self.states.with(family.usual_states());
        self.last_family = Some(family);
        self.is_named = true;
    }

    /// Selects this family and no other.
    pub fn only_family(&mut self, family: AddressFamily) {
        self.families = Families::single(family);
        self.last_family = Some(family);
    }

    /// Adds the families of each kind that has no selected family. Then adds the kinds of each
    /// family that has no selected kind.
    pub fn complete(&mut self) {
        for kind in self.kinds.iter() {
            let families = kind.families();
            if families.0 & self.families.0 == 0 {
                self.families.0 |= families.0;
            }
        }
        for family in AddressFamily::ALL {
            let kinds = family.kinds();
            if self.families.has(family) && kinds.0 & self.kinds.0 == 0 {
                self.kinds.0 |= kinds.0;
            }
        }
    }

    /// Whether IPv4 or IPv6 is selected.
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
    fn complete_adds_the_families_of_a_kind() {
        let mut tcp = Selection::default();
        tcp.add_kinds(kinds("tcp"));
        tcp.complete();
        assert!(tcp.families.has(AddressFamily::Inet6) && tcp.kinds.is_one());
        assert_eq!(tcp.states, States::CONNECTIONS);
    }

    #[test]
    fn complete_adds_the_kinds_of_a_family() {
        let mut unix = Selection::default();
        unix.add_family(AddressFamily::Unix);
        unix.complete();
        assert_eq!(unix.kinds, kinds("unix"));
        let mut v4 = Selection::default();
        v4.add_family(AddressFamily::Inet);
        v4.complete();
        assert_eq!(v4.kinds, kinds("inet"));
        assert!(!v4.families.has(AddressFamily::Inet6));
    }

    #[test]
    fn add_kinds_adds_the_usual_states() {
        let mut udp = Selection::default();
        udp.add_kinds(kinds("udp"));
        assert!(udp.states.is_one() && udp.states.has(State::Established as u8));
    }

    #[test]
    fn state_names_ignore_case() {
        assert_eq!(States::named("LISTENING"), States::named("listening"));
        assert_eq!(States::named("Closed"), Some(States::single(State::Close)));
        assert_eq!(States::named("listen"), None);
    }

    #[test]
    fn one_name_can_mean_several_states() {
        let bucket = States::named("bucket").unwrap();
        assert_eq!(States::named("big"), Some(States::ALL.without(bucket)));
        assert!(!States::named("synchronized").unwrap().has(2));
        assert!(States::named("connected").unwrap().has(2));
    }
}
