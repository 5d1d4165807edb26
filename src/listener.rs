//! The types that describe a listener: its identity and sort order, its socket table, its
//! interface, its network namespace, its control group, and the processes that hold it.
//!
//! Every source creates these types, and every output format reads them. Nothing here depends
//! on where a listener came from or how it is printed.

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
    /// The name of this protocol in the column `Netid` of ss: `tcp` or `udp`.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }

    /// The state of a listener of this protocol, under the name that ss uses: `LISTEN` for TCP
    /// and `UNCONN` for UDP.
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
    /// IPv6, including IPv4-mapped addresses.
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

    /// The unspecified address of this family: `0.0.0.0` or `::`.
    pub fn wildcard(self) -> IpAddr {
        match self {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

/// The table that contains all sockets of one protocol and family. The kernel lists each table
/// separately: as a file in `/proc/net`, and as a dump of inet_diag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketTable {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// IPv4 or IPv6.
    pub family: Family,
}

impl SocketTable {
    /// All tables, in the order in which listeners are printed.
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

    /// The index of this table in [`SocketTable::ALL`].
    pub fn index(self) -> usize {
        self.protocol as usize * 2 + self.family as usize
    }

    /// The name of the file in `/proc/net` that contains this table.
    pub fn name(self) -> &'static str {
        match (self.protocol, self.family) {
            (Protocol::Tcp, Family::V4) => "tcp",
            (Protocol::Tcp, Family::V6) => "tcp6",
            (Protocol::Udp, Family::V4) => "udp",
            (Protocol::Udp, Family::V6) => "udp6",
        }
    }
}

/// The local end of a socket. Endpoints sort by port, then by family, then by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The port, in host byte order. A UDP socket has port 0 until its bind is complete. Until
    /// then, it is not a listener.
    pub port: u16,
    /// The bound address. The unspecified address (`0.0.0.0` or `::`) is the wildcard.
    pub address: IpAddr,
}

/// The identity of a listener: its network namespace ([`Namespace::id`], or 0 if only one
/// namespace is read), protocol, port, family and address. All sockets with the same identity
/// are the same listener, even if they come from different sources. Listeners are printed in
/// the order of their identities.
pub type Identity = (u64, Protocol, Endpoint);

/// An identity without family and address. `--by-port` treats all listeners with the same
/// `PortIdentity` as one listener.
pub type PortIdentity = (u64, Protocol, u16);

/// A TCP socket in LISTEN, or a UDP socket that is bound and not connected.
///
/// `==` compares every field. To find out whether two values are the same listener, compare
/// their [`Listener::identity`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The local address and port.
    pub endpoint: Endpoint,
    /// The interface that the socket is bound to, if any. `/proc` does not include it.
    pub interface: Option<Interface>,
    /// TCP: connections waiting to be accepted. UDP: bytes waiting to be read.
    pub recv_q: u32,
    /// TCP: the backlog. `None` if it is unknown: `/proc` does not include it, and neither does
    /// ss when it reads `/proc`. UDP: the bytes waiting to be sent.
    pub send_q: Option<u32>,
    /// The peer. Normally, this is the wildcard address and port 0, but the kernel may keep the
    /// peer of a UDP socket that was connected before.
    pub peer: Endpoint,
    /// The inode of the socket. 0 if it is unknown.
    pub inode: u64,
    /// The user id of the owner, in the user namespace of this program. `None` if it is
    /// unknown, for example because the source is ss.
    pub uid: Option<u32>,
    /// Whether an IPv6 socket refuses IPv4 (`IPV6_V6ONLY`). `None` if this is unknown: `/proc`
    /// does not include it, and ss shows it only for wildcard addresses.
    pub v6_only: Option<bool>,
    /// The processes that hold the socket, as far as they were searched for and found.
    pub holders: Holders,
    /// The network namespace of the socket. `None` if only one network namespace is read.
    pub namespace: Option<Arc<Namespace>>,
    /// The number of the control group that the socket belongs to. 0 if it is unknown: only
    /// netlink reports it, since Linux 5.8.
    pub cgroup_id: u64,
    /// The control group of the socket or of its first holder, if it was searched for and
    /// found. See [`Listener::cgroup`].
    pub cgroup: Option<Arc<Cgroup>>,
    /// The name of the container in [`Listener::cgroup`], if it is known.
    pub container_name: Option<Arc<ContainerName>>,
}

impl Listener {
    /// Creates a listener with this identity. All other fields are unknown.
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

    /// The control group that best shows which service this listener belongs to. This is the
    /// control group of the socket or of its first holder. If neither is known, it is that of
    /// the first process in the network namespace. `None` if that is not known, either.
    pub fn cgroup(&self) -> Option<&Cgroup> {
        let namespace = self.namespace.as_ref();
        let inhabited = namespace.filter(|namespace| namespace.pid != 0);
        let first_process = inhabited.map(|namespace| &namespace.cgroup);
        Some(self.cgroup.as_ref().or(first_process)?)
    }

    /// The container that the socket or its first holder is in. Unlike [`Listener::cgroup`],
    /// this does not fall back to the first process of the network namespace, which may be in
    /// another container.
    pub fn own_container(&self) -> Option<&Container> {
        self.cgroup.as_ref()?.container.as_ref()
    }

    /// The identity of this listener, which is the same in every poll and from every source.
    pub fn identity(&self) -> Identity {
        let namespace = self.namespace.as_ref().map_or(0, |namespace| namespace.id);
        (namespace, self.protocol, self.endpoint)
    }

    /// The identity of this listener without family and address.
    pub fn port_identity(&self) -> PortIdentity {
        let (namespace, protocol, Endpoint { port, .. }) = self.identity();
        (namespace, protocol, port)
    }

    /// The family of the address.
    pub fn family(&self) -> Family {
        Family::of_address(self.endpoint.address)
    }

    /// The table in which the kernel lists the socket.
    pub fn table(&self) -> SocketTable {
        SocketTable {
            protocol: self.protocol,
            family: self.family(),
        }
    }
}

/// A network namespace, with the process or mount that shows whose namespace it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// An id that stays unique while the host is running: the cookie of the namespace
    /// (`SO_NETNS_COOKIE`, since Linux 5.14). If the kernel has no cookies, this is the inode,
    /// which a later namespace may reuse.
    pub id: u64,
    /// The inode of `/proc/PID/ns/net`, as lsns(8) prints it.
    pub inode: u64,
    /// The lowest process id in the namespace, in the numbering of the PID namespace of
    /// `/proc`. 0 if the namespace has no process.
    pub pid: u32,
    /// The control group of the process `pid`. Its path is empty if it is unknown.
    pub cgroup: Arc<Cgroup>,
    /// The path of the mount that keeps the namespace alive if it has no process.
    pub mount: Vec<u8>,
}

/// A control group, as a property of a listener or of a network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// The path of the control group, which may contain any bytes.
    pub path: Vec<u8>,
    /// The member of the control group through which the control group was found.
    pub member: CgroupMember,
    /// The container whose id is in the path, or to which docker-proxy forwards.
    pub container: Option<Container>,
    /// Whether the process in the control group is docker-proxy, which forwards everything to
    /// the container.
    pub leads_to_container: bool,
}

/// The member of a control group that connects the control group with a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupMember {
    /// The socket. The process that created it was in the control group.
    Socket,
    /// The first process that holds the socket.
    Holder,
    /// The first process of the network namespace.
    #[default]
    Namespace,
}

impl CgroupMember {
    /// The name of this member in JSON.
    pub fn name(self) -> &'static str {
        match self {
            CgroupMember::Socket => "socket",
            CgroupMember::Holder => "holder",
            CgroupMember::Namespace => "namespace",
        }
    }
}

/// The number of characters in the id of a container: a SHA-256 hash in hex.
pub const CONTAINER_ID_LENGTH: usize = 64;

/// A container, identified by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The id: 64 hex digits.
    pub id: String,
    /// The container runtime, spelled as in Kubernetes. `None` if it is unknown.
    pub runtime: Option<&'static str>,
}

/// The name of a container: `NAME`, or `NAMESPACE/POD/NAME` in Kubernetes. Each part consists
/// of letters, digits, `.`, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerName(pub String);

impl ContainerName {
    /// The parts between the slashes. The last one is the name of the container itself.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.as_bytes().split(|byte| *byte == b'/')
    }
}

/// A process that holds a socket, with its descriptor for that socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The name of the process, from `/proc/PID/comm`. It has at most 15 bytes and may not be
    /// text.
    pub name: Vec<u8>,
    /// The process id, in the PID namespace of the `/proc` that was read.
    pub pid: u32,
    /// The number of the file descriptor.
    pub fd: u32,
}

impl Holder {
    /// The sort key for the order in which ss lists holders: the highest process id first, and
    /// within a process the highest descriptor first.
    fn order(&self) -> impl Ord + use<> {
        std::cmp::Reverse((self.pid, self.fd))
    }
}

/// The holders of one socket, or of all sockets that share an identity. Because a process can
/// hold a socket a million times, only the first [`Holders::MOST`] holders in the order of ss
/// are kept, and the others are counted.
///
/// Clones share one allocation, because a snapshot is cloned at every poll.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders(Option<Arc<SomeHolders>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SomeHolders {
    /// The holders that are kept, sorted and without duplicates.
    first: Vec<Holder>,
    /// The number of other holders.
    more: usize,
}

impl Holders {
    /// The most holders that are kept.
    pub const MOST: usize = 64;

    /// Creates a collection from `holders`, which may be in any order.
    pub fn new(holders: impl IntoIterator<Item = Holder>) -> Holders {
        let mut all = Holders::default();
        holders.into_iter().for_each(|holder| all.add(&holder));
        all
    }

    /// Adds a holder, unless it is already among the holders that are kept.
    pub fn add(&mut self, holder: &Holder) {
        let all = Arc::make_mut(self.0.get_or_insert_default());
        let found = (all.first).binary_search_by_key(&holder.order(), Holder::order);
        let Err(index) = found else { return };
        if all.first.len() == Holders::MOST {
            all.more += 1;
            if index == Holders::MOST {
                return;
            }
            all.first.pop();
        }
        all.first.insert(index, holder.clone());
    }

    /// The holders that are kept, in the order of ss.
    pub fn first(&self) -> &[Holder] {
        self.0.as_ref().map_or(&[], |all| &all.first)
    }

    /// The number of holders in addition to those that are kept.
    pub fn more(&self) -> usize {
        self.0.as_ref().map_or(0, |all| all.more)
    }

    /// Whether there are no holders.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The holders of all these sockets together, without duplicates.
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

/// The name of a network interface: 1 to 15 bytes of printable characters other than `/`, `:`
/// and white space.
///
/// The kernel does not allow `/`, `:` and white space in a name (`dev_valid_name`). Its
/// `IFNAMSIZ` of 16 includes the terminating zero. The bytes are stored inline, so a name needs
/// no allocation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interface {
    length: u8,
    bytes: [u8; 15],
}

impl Interface {
    /// Creates an interface with this name. `None` if the name is not valid.
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

    /// Creates a name from the index of an interface, for use when its real name is unknown. As
    /// in ss, the interface with index 5 is named `if5`.
    pub fn from_index(index: u32) -> Interface {
        let mut bytes = [0; 15];
        let mut rest = &mut bytes[..];
        // The write cannot fail, because `if` and the largest u32 have 12 bytes.
        let _ = write!(rest, "if{index}");
        let length = 15 - rest.len() as u8;
        Interface { length, bytes }
    }

    /// The name of the interface.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length as usize]).unwrap_or_default()
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// An IP address that is displayed as in ss: IPv6 in brackets, IPv4 without brackets.
///
/// Unlike std, ss prints IPv4-compatible addresses with dots (`::a.b.c.d`), because it uses
/// `inet_ntop`. A wildcard is displayed as an address. Callers that want to show `*` must do so
/// themselves.
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

/// Writes `address` in the same form as `inet_ntop`.
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
    fn addresses_are_displayed_as_in_ss() {
        assert_eq!(printed("127.0.0.1"), "127.0.0.1");
        assert_eq!(printed("::1"), "[::1]");
        assert_eq!(printed("::"), "[::]");
        assert_eq!(printed("::ffff:127.0.0.1"), "[::ffff:127.0.0.1]");
        assert_eq!(printed("::1.2.3.4"), "[::1.2.3.4]");
        assert_eq!(printed("::102"), "[::102]");
        assert_eq!(printed("fe80::1:0:0:1"), "[fe80::1:0:0:1]");
    }

    #[test]
    fn listeners_sort_by_protocol_port_family_and_address() {
        let identity = |protocol, port, address: &str| {
            let address = address.parse().unwrap();
            Listener::new(protocol, Endpoint { port, address }).identity()
        };
        let sorted = [
            identity(Protocol::Tcp, 80, "0.0.0.0"),
            identity(Protocol::Tcp, 80, "255.0.0.1"),
            identity(Protocol::Tcp, 80, "::"),
            identity(Protocol::Tcp, 443, "0.0.0.0"),
            identity(Protocol::Udp, 53, "0.0.0.0"),
        ];
        assert!(sorted.is_sorted());
    }

    #[test]
    fn invalid_interface_names_are_rejected() {
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
    fn merging_removes_duplicate_holders() {
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

    /// A holder with descriptor `fd`. All of these holders are the same process.
    fn holder(fd: u32) -> Holder {
        Holder {
            name: b"name".to_vec(),
            pid: 7,
            fd,
        }
    }

    fn descriptors(holders: &Holders) -> Vec<u32> {
        let first = holders.first().iter();
        first.map(|holder| holder.fd).collect()
    }

    #[test]
    fn excess_holders_are_counted_but_not_kept() {
        let expected: Vec<u32> = (937..=1000).rev().collect();
        let rising = Holders::new((1..=1000).map(holder));
        let falling = Holders::new((1..=1000).rev().map(holder));
        assert_eq!((descriptors(&rising), rising.more()), (expected, 936));
        assert_eq!(rising, falling);
        let exact = Holders::new((1..=64).map(holder));
        assert_eq!((exact.first().len(), exact.more()), (64, 0));
    }

    #[test]
    fn merging_adds_the_counts_of_omitted_holders() {
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
