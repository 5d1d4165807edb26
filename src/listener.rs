//! What a listening socket is: its table, its identity and order, the interface
//! it is bound to, the network namespace it is in, and who holds it.
//!
//! Every source makes these types and every output format reads them. Nothing
//! here knows where a listener came from or how it is printed.

use std::fmt;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::report::is_nonprinting;

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
    pub fn of_address(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// Its unspecified address: `0.0.0.0` or `::`.
    pub fn wildcard(self) -> IpAddr {
        match self {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

/// The table of all sockets of one protocol and family. The kernel lists each
/// table by itself, as a file of `/proc/net` and as a dump of inet_diag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketTable {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// IPv4 or IPv6.
    pub family: Family,
}

impl SocketTable {
    /// All tables, in the order of output.
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

    /// Its index in [`SocketTable::ALL`].
    pub fn index(self) -> usize {
        self.protocol as usize * 2 + self.family as usize
    }

    /// The name of its file in `/proc/net`.
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
    /// The port, in host byte order. 0 while a UDP socket is being bound: such a
    /// socket is no listener yet.
    pub port: u16,
    /// The bound address. The unspecified address is the wildcard.
    pub address: IpAddr,
}

/// The [`Namespace::id`], or 0 where one namespace is looked at, protocol, port, family
/// and address. Two listeners with the same identity are the same listener, whichever
/// source they came from. Output is in this order.
pub type Identity = (u64, Protocol, Endpoint);

/// What `--by-port` counts as one: an identity without family and address.
pub type PortIdentity = (u64, Protocol, u16);

/// A TCP socket in LISTEN or a UDP socket that is bound and not connected.
///
/// `==` compares every field. To ask whether two are the same listener, compare
/// [`Listener::identity`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The interface that it is bound to. Not known from `/proc`.
    pub interface: Option<Interface>,
    /// TCP: connections waiting to be accepted. UDP: bytes waiting to be read.
    pub recv_q: u32,
    /// TCP: the backlog. `None` if the source does not tell: `/proc` never does, nor
    /// ss where it reads `/proc`. UDP: bytes waiting to be sent.
    pub send_q: Option<u32>,
    /// The peer: normally the wildcard and port 0. The kernel may keep the peer of
    /// a UDP socket that was connected before.
    pub peer: Endpoint,
    /// The inode of the socket. 0 if the source does not tell.
    pub inode: u64,
    /// The user id of its owner, in the user namespace of this program. `None` if the
    /// source does not tell: ss does not.
    pub uid: Option<u32>,
    /// Whether an IPv6 socket refuses IPv4 (`IPV6_V6ONLY`). `None` if the source does
    /// not tell: `/proc` never does, and ss only about the wildcard.
    pub v6_only: Option<bool>,
    /// The processes that hold it, if they were asked for and found.
    pub holders: Holders,
    /// Its network namespace. `None` where only one is looked at.
    pub namespace: Option<Arc<Namespace>>,
    /// The number of the socket's control group. 0 if the source does not tell: only
    /// netlink does, since Linux 5.8.
    pub cgroup_id: u64,
    /// The control group of the socket or of its first holder, if it was looked for and
    /// found: see [`Listener::cgroup`].
    pub cgroup: Option<Arc<Cgroup>>,
    /// What the container is called that [`Listener::cgroup`] names, if that is known.
    pub container_name: Option<Arc<ContainerName>>,
}

impl Listener {
    /// A listener of which only the identity is known.
    pub fn new(protocol: Protocol, endpoint: Endpoint) -> Listener {
        Listener {
            protocol,
            endpoint,
            interface: None,
            recv_q: 0,
            send_q: None,
            peer: Endpoint {
                port: 0,
                address: Family::of_address(endpoint.address).wildcard(),
            },
            inode: 0,
            uid: None,
            v6_only: None,
            holders: Holders::default(),
            namespace: None,
            cgroup_id: 0,
            cgroup: None,
            container_name: None,
        }
    }

    /// The control group that tells best whose it is. `None` where only one network
    /// namespace is looked at, or if no process is in that of the listener.
    pub fn cgroup(&self) -> Option<&Cgroup> {
        let namespace = self.namespace.as_ref().filter(|one| one.pid != 0);
        let of_namespace = namespace.map(|namespace| &namespace.cgroup);
        Some(self.cgroup.as_ref().or(of_namespace)?)
    }

    /// The container that the socket or its holder is in. The first process of the namespace
    /// may be in another one.
    pub fn own_container(&self) -> Option<&Container> {
        self.cgroup.as_ref()?.container.as_ref()
    }

    /// What stays the same from poll to poll and from source to source.
    pub fn identity(&self) -> Identity {
        let namespace = self.namespace.as_ref().map_or(0, |namespace| namespace.id);
        (namespace, self.protocol, self.endpoint)
    }

    /// What stays the same whatever its address.
    pub fn port_identity(&self) -> PortIdentity {
        let (namespace, protocol, Endpoint { port, .. }) = self.identity();
        (namespace, protocol, port)
    }

    /// The family of its address.
    pub fn family(&self) -> Family {
        Family::of_address(self.endpoint.address)
    }

    /// The table in which the kernel lists it.
    pub fn table(&self) -> SocketTable {
        SocketTable {
            protocol: self.protocol,
            family: self.family(),
        }
    }
}

/// A network namespace, and what tells whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// What no other namespace of this host is or was: its cookie (`SO_NETNS_COOKIE`,
    /// since Linux 5.14). Where that cannot be asked for, its inode, which a namespace
    /// that is made after this one is gone may get.
    pub id: u64,
    /// The inode of `/proc/PID/ns/net`, as lsns(8) prints it.
    pub inode: u64,
    /// The lowest id of a process in it, in the PID namespace of `/proc`. 0 if there is
    /// none.
    pub pid: u32,
    /// The cgroup of that process. Its path is empty if it is not known.
    pub cgroup: Arc<Cgroup>,
    /// If no process is in it, the path of the mount that keeps it alive.
    pub mount: Vec<u8>,
}

/// A control group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// Its path, of any bytes.
    pub path: Vec<u8>,
    /// What is in it.
    pub member: CgroupMember,
    /// The container that the path names.
    pub container: Option<Container>,
}

/// By what a listener is in a control group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupMember {
    /// Its socket is in it: the process that made the socket was.
    Socket,
    /// Its first holder is in it.
    Holder,
    /// The first process of its network namespace is in it.
    #[default]
    Namespace,
}

impl CgroupMember {
    /// What JSON calls it.
    pub fn name(self) -> &'static str {
        match self {
            CgroupMember::Socket => "socket",
            CgroupMember::Holder => "holder",
            CgroupMember::Namespace => "namespace",
        }
    }
}

/// The length of the ids of containers: SHA-256 in hex.
pub const CONTAINER_ID_LENGTH: usize = 64;

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id: 64 hex digits.
    pub id: String,
    /// What runs it, as Kubernetes spells it. `None` if that is not known.
    pub runtime: Option<&'static str>,
}

/// What a container is called: `NAME`, or with Kubernetes `NAMESPACE/POD/NAME`. Each part
/// consists of letters, digits, `.`, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerName(pub String);

impl ContainerName {
    /// Its parts: the last one is the name of the container in its pod, if it is in one.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.as_bytes().split(|byte| *byte == b'/')
    }
}

/// A process that holds a socket, and its file descriptor for that socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its name, at most 15 bytes of any kind: what `/proc/PID/comm` holds.
    pub name: Vec<u8>,
    /// Its process id in the PID namespace of the `/proc` that was read.
    pub pid: u32,
    /// Its file descriptor.
    pub fd: u32,
}

impl Holder {
    /// Holders sort as ss lists them: the highest process id first, and within one
    /// process the highest descriptor first.
    fn order(&self) -> impl Ord + use<> {
        std::cmp::Reverse((self.pid, self.fd))
    }
}

/// The holders of one socket, or of all sockets that share an identity: the first
/// [`Holders::MOST`] in the order of ss, and how many more there are.
///
/// A process can hold one socket a million times, so no more are kept. Clones share
/// one allocation: a snapshot is cloned at every poll.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders(Option<Arc<SomeHolders>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SomeHolders {
    /// Sorted, each descriptor once.
    first: Vec<Holder>,
    more: usize,
}

impl Holders {
    /// How many holders are kept.
    pub const MOST: usize = 64;

    /// These `holders`, in any order.
    pub fn new(holders: impl IntoIterator<Item = Holder>) -> Holders {
        let mut all = Holders::default();
        holders.into_iter().for_each(|holder| all.add(&holder));
        all
    }

    /// Adds a holder. One that is among the first already is not added again.
    pub fn add(&mut self, holder: &Holder) {
        let all = Arc::make_mut(self.0.get_or_insert_default());
        let place = (all.first).binary_search_by_key(&holder.order(), Holder::order);
        let Err(place) = place else { return };
        if all.first.len() == Holders::MOST {
            all.more += 1;
            if place == Holders::MOST {
                return;
            }
            all.first.pop();
        }
        all.first.insert(place, holder.clone());
    }

    /// The first of them, sorted.
    pub fn first(&self) -> &[Holder] {
        self.0.as_ref().map_or(&[], |all| &all.first)
    }

    /// How many there are besides the first.
    pub fn more(&self) -> usize {
        self.0.as_ref().map_or(0, |all| all.more)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The holders of all these sockets.
    pub fn merged(sockets: &[Listener]) -> Holders {
        if let [socket] = sockets {
            return socket.holders.clone();
        }
        let mut all = Holders::default();
        for Listener { holders, .. } in sockets {
            holders.first().iter().for_each(|holder| all.add(holder));
            if let Some(all) = &mut all.0 {
                Arc::make_mut(all).more += holders.more();
            }
        }
        all
    }
}

/// The name of a network interface: 1 to 15 bytes of printing characters without
/// `/`, `:` and blanks.
///
/// The kernel allows none of these in a name (`dev_valid_name`). Its `IFNAMSIZ` is
/// 16, with the terminating zero. The bytes are stored inline, so a name needs no
/// allocation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interface {
    length: u8,
    bytes: [u8; 15],
}

impl Interface {
    /// The interface with this name. `None` if the name is not allowed.
    pub fn new(name: &[u8]) -> Option<Interface> {
        let text = std::str::from_utf8(name).ok()?;
        let is_allowed =
            |c: char| !c.is_whitespace() && !is_nonprinting(c) && !matches!(c, '/' | ':');
        if name.is_empty() || name.len() > 15 || !text.chars().all(is_allowed) {
            return None;
        }
        let mut bytes = [0; 15];
        bytes[..name.len()].copy_from_slice(name);
        let length = name.len() as u8;
        Some(Interface { length, bytes })
    }

    /// The interface with this index, if its name is not known: `if5` for index
    /// 5, as in ss.
    pub fn from_index(index: u32) -> Interface {
        let mut bytes = [0; 15];
        let mut rest = &mut bytes[..];
        // This cannot fail: it takes at most 12 bytes.
        let _ = write!(rest, "if{index}");
        let length = 15 - rest.len() as u8;
        Interface { length, bytes }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length as usize]).unwrap_or_default()
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// An IP address as ss prints it: IPv6 in brackets, IPv4 without.
///
/// ss uses `inet_ntop`, which prints IPv4-compatible addresses with dots
/// (`::a.b.c.d`). std does not. A wildcard prints as an address. A table that shows
/// it as `*` does so itself.
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

/// Writes `address` as `inet_ntop` does.
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

    fn printed(address: &str) -> String {
        SsAddress(address.parse().unwrap()).to_string()
    }

    #[test]
    fn addresses_print_as_in_ss() {
        assert_eq!(printed("127.0.0.1"), "127.0.0.1");
        assert_eq!(printed("::1"), "[::1]");
        assert_eq!(printed("::"), "[::]");
        assert_eq!(printed("::ffff:127.0.0.1"), "[::ffff:127.0.0.1]");
        assert_eq!(printed("::1.2.3.4"), "[::1.2.3.4]");
        assert_eq!(printed("::102"), "[::102]");
        assert_eq!(printed("fe80::1:0:0:1"), "[fe80::1:0:0:1]");
    }

    #[test]
    fn order_is_protocol_port_family_address() {
        let at = |protocol, port, address: &str| {
            let address = address.parse().unwrap();
            Listener::new(protocol, Endpoint { port, address }).identity()
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
    fn an_interface_has_a_name_that_the_kernel_allows() {
        assert_eq!(Interface::new(b"lo").unwrap().as_str(), "lo");
        assert_eq!(format!("{:?}", Interface::new(b"lo").unwrap()), r#""lo""#);
        assert_eq!(
            Interface::new(b"fifteen-bytes-x").unwrap().as_str().len(),
            15
        );
        assert_eq!(Interface::from_index(5), Interface::new(b"if5").unwrap());
        assert_eq!(Interface::from_index(u32::MAX).as_str(), "if4294967295");
        assert!(Interface::new(b"").is_none());
        assert!(Interface::new(b"sixteen-bytes-xx").is_none());
        assert_eq!(Interface::new("ünï".as_bytes()).unwrap().as_str(), "ünï");
        assert!(Interface::new(b"\xff").is_none());
        assert!(Interface::new("a\u{a0}b".as_bytes()).is_none());
        assert!(Interface::new(b"a b").is_none());
        assert!(Interface::new(b"a:1").is_none());
        assert!(Interface::new(b"a/b").is_none());
        assert!(Interface::new(b"\x1b[31m").is_none());
    }

    #[test]
    fn the_holders_of_an_identity_are_those_of_all_its_sockets() {
        let endpoint = Endpoint {
            port: 1,
            address: "::1".parse().unwrap(),
        };
        let holder = |pid| Holder {
            name: b"name".to_vec(),
            pid,
            fd: 3,
        };
        let held = |pids: &[u32]| Listener {
            holders: Holders::new(pids.iter().map(|&pid| holder(pid))),
            ..Listener::new(Protocol::Tcp, endpoint)
        };
        let sockets = [held(&[1]), held(&[1, 2])];
        assert_eq!(Holders::merged(&sockets).first(), [holder(2), holder(1)]);
    }

    #[test]
    fn of_many_holders_the_first_are_kept_and_the_rest_counted() {
        let holder = |fd| Holder {
            name: b"name".to_vec(),
            pid: 7,
            fd,
        };
        let descriptors = |holders: &Holders| -> Vec<u32> {
            let first = holders.first().iter();
            first.map(|holder| holder.fd).collect()
        };
        let expected: Vec<u32> = (937..=1000).rev().collect();
        let rising = Holders::new((1..=1000).map(holder));
        let falling = Holders::new((1..=1000).rev().map(holder));
        assert_eq!((descriptors(&rising), rising.more()), (expected, 936));
        assert_eq!(rising, falling);
        let exact = Holders::new((1..=64).map(holder));
        assert_eq!((exact.first().len(), exact.more()), (64, 0));

        let endpoint = Endpoint {
            port: 1,
            address: "::1".parse().unwrap(),
        };
        let held = |descriptors: std::ops::RangeInclusive<u32>| Listener {
            holders: Holders::new(descriptors.map(holder)),
            ..Listener::new(Protocol::Tcp, endpoint)
        };
        let sockets = [held(1..=100), held(201..=300), held(101..=103)];
        let all = Holders::merged(&sockets);
        assert_eq!(descriptors(&all), Vec::from_iter((237..=300).rev()));
        assert_eq!(all.more(), 203 - 64);
    }
}
