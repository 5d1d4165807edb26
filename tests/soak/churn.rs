//! Helper processes that open and close sockets, and log the time of each change.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use lntu::listener::{Family, Protocol};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::truth::{Identity, Lifetime, Log, Nanoseconds, identity, now};

/// The kind of sockets that a helper opens and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP and UDP listeners, for IPv4 and IPv6. Most of them close soon after they open.
    Listeners,
    /// TCP and UDP listeners, for IPv4 and IPv6. At most two of them are open at a time, so tables
    /// are often empty.
    Few,
    /// UDP sockets, which the kernel lists in the order of its hash table.
    Datagrams,
    /// Hundreds of sockets that open together. They close together, as when a server exits.
    Bursts,
    /// Connections to the helper's own listeners. Most connections are reset, and the others leave
    /// TIME_WAIT rows.
    Connections,
    /// Members of SO_REUSEPORT groups. Each group always has at least one member.
    Groups,
    /// Network namespaces, each with a process and two listeners. The listeners close when the
    /// process exits.
    Namespaces,
}

const KINDS: [(Kind, &str); 7] = [
    (Kind::Listeners, "listeners"),
    (Kind::Few, "few"),
    (Kind::Datagrams, "datagrams"),
    (Kind::Bursts, "bursts"),
    (Kind::Connections, "connections"),
    (Kind::Groups, "groups"),
    (Kind::Namespaces, "namespaces"),
];

/// The settings of one helper: the kind of its sockets, its number, when it ends, and where it
/// logs.
#[derive(Clone, Debug)]
pub struct Helper {
    pub kind: Kind,
    pub number: u16,
    pub end: Nanoseconds,
    pub log: PathBuf,
}

impl Helper {
    /// The helper as arguments for a process, which [`Helper::from_arguments`] reads.
    pub fn arguments(&self) -> [String; 4] {
        let (_, name) = KINDS.iter().find(|(kind, _)| *kind == self.kind).unwrap();
        let log = self.log.to_str().unwrap();
        [
            name.to_string(),
            self.number.to_string(),
            self.end.to_string(),
            log.to_string(),
        ]
    }

    pub fn from_arguments(arguments: &[String]) -> Helper {
        let (kind, _) = KINDS
            .iter()
            .find(|(_, name)| *name == arguments[0])
            .unwrap();
        Helper {
            kind: *kind,
            number: arguments[1].parse().unwrap(),
            end: arguments[2].parse().unwrap(),
            log: PathBuf::from(&arguments[3]),
        }
    }

    pub fn run(&self) -> io::Result<()> {
        let mut log = Log::create(&self.log)?;
        let mut addresses = Addresses::new(self.number);
        match self.kind {
            Kind::Connections => connections(self, &mut log)?,
            Kind::Groups => groups(self, &mut log)?,
            Kind::Bursts => bursts(self, &mut addresses, &mut log)?,
            Kind::Namespaces => namespaces(self, &mut addresses, &mut log)?,
            Kind::Listeners => churn(self, 400, Addresses::any, &mut addresses, &mut log)?,
            Kind::Few => churn(self, 2, Addresses::any, &mut addresses, &mut log)?,
            Kind::Datagrams => churn(self, 600, Addresses::datagram, &mut addresses, &mut log)?,
        }
        log.finish()
    }
}

/// A protocol and an address to bind a socket to.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    pub protocol: Protocol,
    pub address: SocketAddr,
    /// Whether an IPv6 wildcard accepts IPv4, too.
    pub is_dual_stack: bool,
}

/// Whether several sockets may be bound to the same address (SO_REUSEPORT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    Alone,
    Shared,
}

impl Binding {
    pub fn new(protocol: Protocol, address: impl Into<IpAddr>, port: u16) -> Binding {
        Binding {
            protocol,
            address: SocketAddr::new(address.into(), port),
            is_dual_stack: false,
        }
    }

    pub fn identity(&self) -> Identity {
        identity(self.protocol, self.address)
    }

    /// Binds a socket to this address. A TCP socket also listens.
    pub fn open(&self, sharing: Sharing) -> io::Result<Socket> {
        let (kind, protocol) = match self.protocol {
            Protocol::Tcp => (Type::STREAM, socket2::Protocol::TCP),
            Protocol::Udp => (Type::DGRAM, socket2::Protocol::UDP),
        };
        let socket = Socket::new(Domain::for_address(self.address), kind, Some(protocol))?;
        if self.address.is_ipv6() {
            socket.set_only_v6(!self.is_dual_stack)?;
            socket.set_freebind_v6(true)?;
        }
        if self.protocol == Protocol::Tcp {
            socket.set_reuse_address(true)?;
        }
        if sharing == Sharing::Shared {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&self.address.into())?;
        if self.protocol == Protocol::Tcp {
            socket.listen(128)?;
        }
        Ok(socket)
    }
}

/// Hands out addresses for sockets. Each one is new, or no socket has used it for a long time.
struct Addresses {
    rng: fastrand::Rng,
    number: u16,
    count: u32,
    wildcards: u16,
}

/// The first port of sockets on a wildcard, and the number of such ports.
const WILDCARDS: (u16, u16) = (2_000, 8_000);
/// The first port of sockets on an address, and the number of such ports. This range does not
/// overlap the one of wildcards, because the two must not share a port.
const ADDRESSED: (u16, u16) = (10_000, 20_000);
/// A port that many UDP sockets share, each with another address. The kernel keeps all of them in
/// one hash chain.
pub const CROWDED: u16 = 1_500;

impl Addresses {
    fn new(number: u16) -> Addresses {
        Addresses {
            rng: fastrand::Rng::with_seed(u64::from(number)),
            number,
            count: 0,
            wildcards: 0,
        }
    }

    /// The next address of this family, with a port. Each pair of address and port is handed out
    /// only one time.
    fn addressed(&mut self, family: Family) -> (IpAddr, u16) {
        let (first, ports) = ADDRESSED;
        let port = first + (self.count * 7919 % u32::from(ports)) as u16;
        let turn = (self.count / u32::from(ports)) as u8;
        self.count += 1;
        let random = self.rng.u8(..);
        let address: IpAddr = match family {
            Family::V4 => Ipv4Addr::new(127, 16 + self.number as u8, random, turn).into(),
            Family::V6 => {
                let (number, random, turn) = (self.number, u16::from(random), u16::from(turn));
                Ipv6Addr::new(0xfd00, number, 0, 0, 0, 0, random, turn).into()
            }
        };
        (address, port)
    }

    fn any(&mut self) -> Binding {
        let protocol = match self.rng.bool() {
            true => Protocol::Tcp,
            false => Protocol::Udp,
        };
        match self.rng.u8(..10) {
            0 => {
                // Each helper uses only every fourth port, so no two helpers use the same port.
                let (first, ports) = WILDCARDS;
                let port = first + (self.wildcards * 4 + self.number % 4) % ports;
                self.wildcards = (self.wildcards + 1) % (ports / 4);
                match self.rng.u8(..3) {
                    0 => Binding::new(protocol, Ipv4Addr::UNSPECIFIED, port),
                    turn => Binding {
                        is_dual_stack: turn == 1,
                        ..Binding::new(protocol, Ipv6Addr::UNSPECIFIED, port)
                    },
                }
            }
            1 => {
                let (_, port) = self.addressed(Family::V6);
                let port = port - port % 4 + self.number % 4;
                Binding::new(protocol, Ipv6Addr::LOCALHOST, port)
            }
            turn => {
                let family = match turn % 2 {
                    0 => Family::V4,
                    _ => Family::V6,
                };
                let (address, port) = self.addressed(family);
                Binding::new(protocol, address, port)
            }
        }
    }

    fn datagram(&mut self) -> Binding {
        let family = match self.rng.bool() {
            true => Family::V4,
            false => Family::V6,
        };
        if self.rng.bool() {
            let (address, port) = self.addressed(family);
            return Binding::new(Protocol::Udp, address, port);
        }
        self.count += 1;
        let [_, high, middle, low] = self.count.to_be_bytes();
        let address: IpAddr = match family {
            Family::V4 => {
                Ipv4Addr::new(127, 32 + self.number as u8 * 16 + high, middle, low).into()
            }
            Family::V6 => {
                let low = u16::from_be_bytes([middle, low]);
                Ipv6Addr::new(0xfd01, self.number, 0, 0, 0, 0, high.into(), low).into()
            }
        };
        Binding::new(Protocol::Udp, address, CROWDED)
    }

    /// A random time after which a listener closes. It is mostly below 2 ms, but sometimes longer
    /// than several intervals of any watcher.
    fn lifetime(&mut self) -> Duration {
        let microseconds = match self.rng.u8(..100) {
            0..60 => self.rng.u64(..2_000),
            60..85 => self.rng.u64(2_000..60_000),
            85..97 => self.rng.u64(60_000..400_000),
            _ => self.rng.u64(400_000..2_500_000),
        };
        Duration::from_micros(microseconds)
    }
}

/// An open listener of this process.
struct Alive {
    socket: Socket,
    binding: Binding,
    opening: Nanoseconds,
    open: Nanoseconds,
}

impl Alive {
    /// Opens a listener. Returns `None` if the address is taken.
    fn open(binding: Binding) -> Option<Alive> {
        let opening = now();
        let socket = binding.open(Sharing::Alone).ok()?;
        let open = now();
        Some(Alive {
            socket,
            binding,
            opening,
            open,
        })
    }

    /// Ends the listener and logs its lifetime. With [`Ending::Connect`], a UDP socket that is not
    /// on a wildcard is connected. Any other listener is closed.
    fn end(self, ending: Ending, log: &mut Log) -> io::Result<()> {
        let closing = now();
        let has_connected = ending == Ending::Connect
            && self.binding.protocol == Protocol::Udp
            && !self.binding.address.ip().is_unspecified()
            && self.socket.connect(&discard(self.binding.address)).is_ok();
        let closed = match has_connected {
            true => now(),
            false => {
                drop(self.socket);
                now()
            }
        };
        let life = Lifetime {
            opening: self.opening,
            open: self.open,
            closing,
            closed,
        };
        log.write(self.binding.identity(), life)
    }
}

/// The way in which a listener ends. A UDP socket that is connected no longer counts as a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Close,
    Connect,
}

/// The address of a peer to which a socket at `address` can connect.
fn discard(address: SocketAddr) -> SockAddr {
    match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 9)).into(),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, 9)).into(),
    }
}

/// Opens and closes listeners until the helper ends. Up to `limit` listeners are open at a time,
/// and each has a lifetime of its own.
fn churn(
    helper: &Helper,
    limit: usize,
    next: fn(&mut Addresses) -> Binding,
    addresses: &mut Addresses,
    log: &mut Log,
) -> io::Result<()> {
    let mut alive: BTreeMap<(Nanoseconds, u32), Alive> = BTreeMap::new();
    let mut count = 0;
    while now() < helper.end {
        while let Some(entry) = alive.first_entry()
            && entry.key().0 <= now()
        {
            let ending = match addresses.rng.u8(..4) {
                0 => Ending::Connect,
                _ => Ending::Close,
            };
            entry.remove().end(ending, log)?;
        }
        if alive.len() < limit {
            if let Some(opened) = Alive::open(next(addresses)) {
                let end = opened.open + addresses.lifetime().as_nanos() as u64;
                alive.insert((end, count), opened);
                count += 1;
            }
        } else {
            thread::sleep(Duration::from_micros(50));
        }
    }
    alive
        .into_values()
        .try_for_each(|listener| listener.end(Ending::Close, log))
}

fn bursts(helper: &Helper, addresses: &mut Addresses, log: &mut Log) -> io::Result<()> {
    while now() < helper.end {
        let size = addresses.rng.usize(50..600);
        let burst: Vec<Alive> = (0..size)
            .filter_map(|turn| {
                Alive::open(match turn % 4 {
                    0 => addresses.any(),
                    _ => addresses.datagram(),
                })
            })
            .collect();
        thread::sleep(Duration::from_micros(addresses.rng.u64(..20_000)));
        burst
            .into_iter()
            .try_for_each(|listener| listener.end(Ending::Close, log))?;
        thread::sleep(Duration::from_micros(addresses.rng.u64(..3_000)));
    }
    Ok(())
}

/// A network namespace in which a process runs. The listeners of the namespace count until that
/// process ends.
struct Inhabited {
    process: Child,
    sockets: [(Binding, Socket); 2],
    opening: Nanoseconds,
    open: Nanoseconds,
}

impl Inhabited {
    /// Makes a namespace with listeners on `port`, then starts a process in it.
    fn start(port: u16) -> io::Result<Inhabited> {
        let work = || {
            #[allow(deprecated)] // The call affects only later sockets and children.
            rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET)?;
            let open =
                |binding: Binding| binding.open(Sharing::Alone).map(|socket| (binding, socket));
            let sockets = [
                open(Binding::new(Protocol::Tcp, Ipv4Addr::UNSPECIFIED, port))?,
                open(Binding::new(Protocol::Udp, Ipv6Addr::UNSPECIFIED, port))?,
            ];
            let opening = now();
            let process = Command::new("sleep").arg("1000").spawn()?;
            Ok(Inhabited {
                process,
                sockets,
                opening,
                open: now(),
            })
        };
        thread::scope(|scope| scope.spawn(work).join().unwrap())
    }

    fn end(mut self, log: &mut Log) -> io::Result<()> {
        let closing = now();
        self.process.kill()?;
        self.process.wait()?;
        let life = Lifetime {
            opening: self.opening,
            open: self.open,
            closing,
            closed: now(),
        };
        let mut sockets = self.sockets.iter();
        sockets.try_for_each(|(binding, _)| log.write(binding.identity(), life))
    }
}

/// Makes and ends namespaces, of which up to 150 exist at a time. Some of them end together, as
/// when a host is drained.
fn namespaces(helper: &Helper, addresses: &mut Addresses, log: &mut Log) -> io::Result<()> {
    const LIMIT: usize = 150;
    let (first, ports) = ADDRESSED;
    let mut alive: Vec<Inhabited> = Vec::new();
    let mut count = 0;
    while now() < helper.end {
        // Each helper uses only every fourth port, so no two helpers use the same port.
        alive.push(Inhabited::start(
            first + (count * 4 + helper.number % 4) % ports,
        )?);
        count += 1;
        let ending = match addresses.rng.u8(..100) {
            0 => LIMIT / 2,
            _ => usize::from(alive.len() > LIMIT),
        };
        for _ in 0..ending.min(alive.len()) {
            let index = addresses.rng.usize(..alive.len());
            alive.swap_remove(index).end(log)?;
        }
    }
    alive
        .into_iter()
        .try_for_each(|namespace| namespace.end(log))
}

/// Opens connections and closes them, sometimes from the client and sometimes from the server.
/// Keeps some of them open for a while.
fn connections(helper: &Helper, log: &mut Log) -> io::Result<()> {
    const KEPT: usize = 300;
    let mut rng = fastrand::Rng::with_seed(helper.number.into());
    let bindings: Vec<Binding> = (0..8)
        .map(|turn| match turn % 2 {
            0 => Binding::new(Protocol::Tcp, Ipv4Addr::new(127, 4, 0, turn), 1_800),
            _ => Binding::new(Protocol::Tcp, Ipv6Addr::LOCALHOST, 1_800 + u16::from(turn)),
        })
        .collect();
    let opening = now();
    let listeners: Vec<Socket> = bindings
        .iter()
        .map(|binding| binding.open(Sharing::Alone))
        .collect::<Result<_, _>>()?;
    let open = now();
    let mut kept: Vec<[Socket; 2]> = Vec::new();
    while now() < helper.end {
        let turn = rng.usize(..bindings.len());
        let address: SockAddr = bindings[turn].address.into();
        let domain = Domain::for_address(bindings[turn].address);
        let client = Socket::new(domain, Type::STREAM, None)?;
        if client.connect(&address).is_err() {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        let (server, _) = listeners[turn].accept()?;
        if rng.u8(..4) > 0 {
            // Close most connections with a reset, which leaves no TIME_WAIT row, because the
            // kernel limits the number of TIME_WAIT rows.
            server.set_linger(Some(Duration::ZERO))?;
        }
        kept.push([server, client]);
        if kept.len() > KEPT {
            let [server, client] = kept.swap_remove(rng.usize(..KEPT));
            match rng.bool() {
                true => drop((server, client)),
                false => drop((client, server)),
            }
        }
        let datagrams = Socket::new(domain, Type::DGRAM, None)?;
        let _ = datagrams.connect(&discard(bindings[turn].address));
    }
    drop(kept);
    close_all(&bindings, listeners, [opening, open], log)
}

/// For each SO_REUSEPORT group, opens a new member and then closes the oldest member, so that the
/// group is never empty.
fn groups(helper: &Helper, log: &mut Log) -> io::Result<()> {
    let mut bindings = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for turn in 0..4 {
            bindings.push(Binding::new(
                protocol,
                Ipv4Addr::new(127, 5, 0, turn),
                1_900,
            ));
            bindings.push(Binding::new(
                protocol,
                Ipv6Addr::LOCALHOST,
                1_900 + u16::from(turn),
            ));
        }
        bindings.push(Binding::new(protocol, Ipv4Addr::UNSPECIFIED, 1_950));
        bindings.push(Binding {
            is_dual_stack: true,
            ..Binding::new(protocol, Ipv6Addr::UNSPECIFIED, 1_951)
        });
    }
    let mut rng = fastrand::Rng::with_seed(helper.number.into());
    let opening = now();
    let open_group = |binding: &Binding| binding.open(Sharing::Shared).map(|socket| vec![socket]);
    let mut groups: Vec<Vec<Socket>> = bindings.iter().map(open_group).collect::<Result<_, _>>()?;
    let open = now();
    while now() < helper.end {
        let turn = rng.usize(..groups.len());
        let group = &mut groups[turn];
        group.push(bindings[turn].open(Sharing::Shared)?);
        let limit = if rng.u8(..8) == 0 { 1 } else { 40 };
        while group.len() > limit {
            group.remove(0);
        }
        thread::sleep(Duration::from_micros(rng.u64(..400)));
    }
    close_all(&bindings, groups, [opening, open], log)
}

/// Closes the sockets and logs the lifetime of each binding.
fn close_all<T>(
    bindings: &[Binding],
    sockets: Vec<T>,
    [opening, open]: [Nanoseconds; 2],
    log: &mut Log,
) -> io::Result<()> {
    let closing = now();
    drop(sockets);
    let life = Lifetime {
        opening,
        open,
        closing,
        closed: now(),
    };
    bindings
        .iter()
        .try_for_each(|binding| log.write(binding.identity(), life))
}

/// Opens listeners that stay open during a run, in all four tables. Some of them have the same port
/// and different addresses, and some are bound to a wildcard.
pub fn stable(per_table: u16) -> io::Result<Vec<(Identity, Socket)>> {
    let mut bindings = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for turn in 0..per_table {
            let [high, low] = turn.to_be_bytes();
            let port = if turn % 2 == 0 {
                CROWDED
            } else {
                30_000 + turn
            };
            bindings.push(Binding::new(
                protocol,
                Ipv4Addr::new(127, 1, high, low),
                port,
            ));
            let v6 = Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, 0, turn);
            bindings.push(Binding::new(protocol, v6, port));
        }
        if per_table > 0 {
            bindings.push(Binding::new(protocol, Ipv4Addr::UNSPECIFIED, 1_000));
            bindings.push(Binding::new(protocol, Ipv6Addr::UNSPECIFIED, 1_000));
            bindings.push(Binding {
                is_dual_stack: true,
                ..Binding::new(protocol, Ipv6Addr::UNSPECIFIED, 1_001)
            });
            bindings.push(Binding::new(protocol, Ipv6Addr::LOCALHOST, 1_002));
        }
    }
    let open = |binding: Binding| Ok((binding.identity(), binding.open(Sharing::Alone)?));
    bindings.into_iter().map(open).collect()
}

/// Opens one more listener. When the watcher reports this listener, it has polled after this call.
pub fn sentinel(number: u16) -> io::Result<(Identity, Socket)> {
    let binding = Binding::new(Protocol::Tcp, Ipv4Addr::new(127, 6, 0, 1), 1_700 + number);
    Ok((binding.identity(), binding.open(Sharing::Alone)?))
}

/// The path of a helper's log.
pub fn log_in(directory: &Path, kind: Kind, number: u16) -> PathBuf {
    directory.join(format!("{kind:?}-{number}"))
}
