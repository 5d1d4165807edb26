//! Sockets that come and go. Helper processes open and close them, and log
//! when.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use lntu::listener::Protocol;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::truth::{Identity, Lifetime, Log, Nanoseconds, identity, now};

/// What a helper does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP and UDP listeners of both families. Most of them live briefly.
    Listeners,
    /// The same, but only a few at a time, so that tables are often empty.
    Few,
    /// UDP sockets. The kernel lists them by their position in its hash table.
    Datagrams,
    /// Hundreds of sockets that open together and close together, as when a
    /// server ends.
    Bursts,
    /// Connections to the helper's own listeners, and what they leave behind.
    Connections,
    /// Members of SO_REUSEPORT groups. Each group always has at least one
    /// member.
    Groups,
    /// Network namespaces, each with a process and two listeners. They close with the
    /// process.
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

/// One helper: its task, its number, when it ends, and where it logs.
#[derive(Clone, Debug)]
pub struct Helper {
    pub kind: Kind,
    pub number: u16,
    pub end: Nanoseconds,
    pub log: PathBuf,
}

impl Helper {
    /// The helper as arguments for a process. [`Helper::from_arguments`] is the
    /// way back.
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

/// What a helper asks of the kernel: a protocol, an address, and whether an
/// IPv6 wildcard takes IPv4 too.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub protocol: Protocol,
    pub address: SocketAddr,
    pub dual: bool,
}

impl Place {
    pub fn new(protocol: Protocol, address: impl Into<IpAddr>, port: u16) -> Place {
        Place {
            protocol,
            address: SocketAddr::new(address.into(), port),
            dual: false,
        }
    }

    pub fn identity(&self) -> Identity {
        identity(self.protocol, self.address)
    }

    /// Opens a socket that is bound here. A TCP socket also listens.
    pub fn open(&self, shared: bool) -> io::Result<Socket> {
        let (kind, protocol) = match self.protocol {
            Protocol::Tcp => (Type::STREAM, socket2::Protocol::TCP),
            Protocol::Udp => (Type::DGRAM, socket2::Protocol::UDP),
        };
        let socket = Socket::new(Domain::for_address(self.address), kind, Some(protocol))?;
        if self.address.is_ipv6() {
            socket.set_only_v6(!self.dual)?;
            socket.set_freebind_v6(true)?;
        }
        if self.protocol == Protocol::Tcp {
            socket.set_reuse_address(true)?;
        }
        if shared {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&self.address.into())?;
        if self.protocol == Protocol::Tcp {
            socket.listen(128)?;
        }
        Ok(socket)
    }
}

/// Hands out places that are new, or that nobody has used for a long time.
struct Addresses {
    rng: fastrand::Rng,
    number: u16,
    count: u32,
    wildcards: u16,
}

/// The first port of each use, and how many ports it has. The two ranges are
/// apart, because a socket bound to an address must not share a port with a
/// wildcard.
const WILDCARDS: (u16, u16) = (2_000, 8_000);
const ADDRESSED: (u16, u16) = (10_000, 20_000);
/// A port that many UDP sockets share at different addresses. The kernel keeps
/// them in one hash chain.
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

    /// An address and a port. Each pair is handed out once.
    fn addressed(&mut self, v4: bool) -> (IpAddr, u16) {
        let (first, ports) = ADDRESSED;
        let port = first + (self.count * 7919 % u32::from(ports)) as u16;
        let turn = (self.count / u32::from(ports)) as u8;
        self.count += 1;
        let place = self.rng.u8(..);
        let address: IpAddr = match v4 {
            true => Ipv4Addr::new(127, 16 + self.number as u8, place, turn).into(),
            false => {
                let (number, place, turn) = (self.number, u16::from(place), u16::from(turn));
                Ipv6Addr::new(0xfd00, number, 0, 0, 0, 0, place, turn).into()
            }
        };
        (address, port)
    }

    fn any(&mut self) -> Place {
        let protocol = match self.rng.bool() {
            true => Protocol::Tcp,
            false => Protocol::Udp,
        };
        match self.rng.u8(..10) {
            0 => {
                // Each helper has every fourth port, so helpers never meet.
                let (first, ports) = WILDCARDS;
                let port = first + (self.wildcards * 4 + self.number % 4) % ports;
                self.wildcards = (self.wildcards + 1) % (ports / 4);
                match self.rng.u8(..3) {
                    0 => Place::new(protocol, Ipv4Addr::UNSPECIFIED, port),
                    turn => Place {
                        dual: turn == 1,
                        ..Place::new(protocol, Ipv6Addr::UNSPECIFIED, port)
                    },
                }
            }
            1 => {
                let (_, port) = self.addressed(false);
                let port = port - port % 4 + self.number % 4;
                Place::new(protocol, Ipv6Addr::LOCALHOST, port)
            }
            turn => {
                let (address, port) = self.addressed(turn % 2 == 0);
                Place::new(protocol, address, port)
            }
        }
    }

    fn datagram(&mut self) -> Place {
        let v4 = self.rng.bool();
        if self.rng.bool() {
            let (address, port) = self.addressed(v4);
            return Place::new(Protocol::Udp, address, port);
        }
        self.count += 1;
        let [_, high, middle, low] = self.count.to_be_bytes();
        let address: IpAddr = match v4 {
            true => Ipv4Addr::new(127, 32 + self.number as u8 * 16 + high, middle, low).into(),
            false => {
                let low = u16::from_be_bytes([middle, low]);
                Ipv6Addr::new(0xfd01, self.number, 0, 0, 0, 0, high.into(), low).into()
            }
        };
        Place::new(Protocol::Udp, address, CROWDED)
    }

    /// Most lifetimes end at once. Some span several polls of any watcher.
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
    place: Place,
    opening: Nanoseconds,
    open: Nanoseconds,
}

impl Alive {
    /// Opens a listener. Returns `None` if the place is taken.
    fn open(place: Place) -> Option<Alive> {
        let opening = now();
        let socket = place.open(false).ok()?;
        let open = now();
        Some(Alive {
            socket,
            place,
            opening,
            open,
        })
    }

    /// Ends the listener. A UDP socket can also end by connecting: it is then
    /// no longer a listener, just as if it had closed.
    fn end(self, connects: bool, log: &mut Log) -> io::Result<()> {
        let closing = now();
        let connects = connects
            && self.place.protocol == Protocol::Udp
            && !self.place.address.ip().is_unspecified()
            && self.socket.connect(&discard(self.place.address)).is_ok();
        let closed = match connects {
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
        log.write(self.place.identity(), life)
    }
}

/// A peer for a socket at `address`.
fn discard(address: SocketAddr) -> SockAddr {
    match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 9)).into(),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, 9)).into(),
    }
}

/// Keeps up to `most` listeners open. Each has its own lifetime.
fn churn(
    helper: &Helper,
    most: usize,
    next: fn(&mut Addresses) -> Place,
    addresses: &mut Addresses,
    log: &mut Log,
) -> io::Result<()> {
    let mut alive: BTreeMap<(Nanoseconds, u32), Alive> = BTreeMap::new();
    let mut count = 0;
    while now() < helper.end {
        while let Some(entry) = alive.first_entry()
            && entry.key().0 <= now()
        {
            entry.remove().end(addresses.rng.u8(..4) == 0, log)?;
        }
        if alive.len() < most {
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
        .try_for_each(|last| last.end(false, log))
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
        burst.into_iter().try_for_each(|one| one.end(false, log))?;
        thread::sleep(Duration::from_micros(addresses.rng.u64(..3_000)));
    }
    Ok(())
}

/// A network namespace that exists because a process runs in it.
struct Inhabited {
    process: Child,
    sockets: [(Place, Socket); 2],
    opening: Nanoseconds,
    open: Nanoseconds,
}

impl Inhabited {
    /// Makes a namespace with listeners on `port`, then starts a process in it.
    fn start(port: u16) -> io::Result<Inhabited> {
        let work = || {
            #[allow(deprecated)] // It affects only later sockets and children.
            rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET)?;
            let open = |place: Place| place.open(false).map(|socket| (place, socket));
            let sockets = [
                open(Place::new(Protocol::Tcp, Ipv4Addr::UNSPECIFIED, port))?,
                open(Place::new(Protocol::Udp, Ipv6Addr::UNSPECIFIED, port))?,
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
        sockets.try_for_each(|(place, _)| log.write(place.identity(), life))
    }
}

/// Keeps a hundred and more namespaces. Some end together, as when a host is drained.
fn namespaces(helper: &Helper, addresses: &mut Addresses, log: &mut Log) -> io::Result<()> {
    const MOST: usize = 150;
    let (first, ports) = ADDRESSED;
    let mut alive: Vec<Inhabited> = Vec::new();
    let mut count = 0;
    while now() < helper.end {
        // Helpers have ports of their own.
        alive.push(Inhabited::start(
            first + (count * 4 + helper.number % 4) % ports,
        )?);
        count += 1;
        let ending = match addresses.rng.u8(..100) {
            0 => MOST / 2,
            _ => usize::from(alive.len() > MOST),
        };
        for _ in 0..ending.min(alive.len()) {
            let one = addresses.rng.usize(..alive.len());
            alive.swap_remove(one).end(log)?;
        }
    }
    alive.into_iter().try_for_each(|one| one.end(log))
}

/// Connects, accepts and closes, starting from either side. Some connections
/// are kept for a while.
fn connections(helper: &Helper, log: &mut Log) -> io::Result<()> {
    const KEPT: usize = 300;
    let mut rng = fastrand::Rng::with_seed(helper.number.into());
    let places: Vec<Place> = (0..8)
        .map(|turn| match turn % 2 {
            0 => Place::new(Protocol::Tcp, Ipv4Addr::new(127, 4, 0, turn), 1_800),
            _ => Place::new(Protocol::Tcp, Ipv6Addr::LOCALHOST, 1_800 + u16::from(turn)),
        })
        .collect();
    let opening = now();
    let listeners: Vec<Socket> = places
        .iter()
        .map(|place| place.open(false))
        .collect::<Result<_, _>>()?;
    let open = now();
    let mut kept: Vec<[Socket; 2]> = Vec::new();
    while now() < helper.end {
        let turn = rng.usize(..places.len());
        let address: SockAddr = places[turn].address.into();
        let domain = Domain::for_address(places[turn].address);
        let client = Socket::new(domain, Type::STREAM, None)?;
        if client.connect(&address).is_err() {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        let (server, _) = listeners[turn].accept()?;
        if rng.u8(..4) > 0 {
            // A reset leaves no TIME_WAIT row. The kernel allows only so many
            // of those.
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
        let _ = datagrams.connect(&discard(places[turn].address));
    }
    drop(kept);
    close_all(&places, listeners, [opening, open], log)
}

/// Opens a new member of each group before it closes the oldest.
fn groups(helper: &Helper, log: &mut Log) -> io::Result<()> {
    let mut places = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for turn in 0..4 {
            places.push(Place::new(protocol, Ipv4Addr::new(127, 5, 0, turn), 1_900));
            places.push(Place::new(
                protocol,
                Ipv6Addr::LOCALHOST,
                1_900 + u16::from(turn),
            ));
        }
        places.push(Place::new(protocol, Ipv4Addr::UNSPECIFIED, 1_950));
        places.push(Place {
            dual: true,
            ..Place::new(protocol, Ipv6Addr::UNSPECIFIED, 1_951)
        });
    }
    let mut rng = fastrand::Rng::with_seed(helper.number.into());
    let opening = now();
    let open_one = |place: &Place| place.open(true).map(|socket| vec![socket]);
    let mut groups: Vec<Vec<Socket>> = places.iter().map(open_one).collect::<Result<_, _>>()?;
    let open = now();
    while now() < helper.end {
        let turn = rng.usize(..groups.len());
        let group = &mut groups[turn];
        group.push(places[turn].open(true)?);
        let most = if rng.u8(..8) == 0 { 1 } else { 40 };
        while group.len() > most {
            group.remove(0);
        }
        thread::sleep(Duration::from_micros(rng.u64(..400)));
    }
    close_all(&places, groups, [opening, open], log)
}

/// Closes the `sockets` at all `places` and logs their lifetimes.
fn close_all<T>(
    places: &[Place],
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
    places
        .iter()
        .try_for_each(|place| log.write(place.identity(), life))
}

/// Listeners that stay, in all four tables: at their own addresses, crowded at
/// one port, in groups, and at the wildcards.
pub fn stable(per_table: u16) -> io::Result<Vec<(Identity, Socket)>> {
    let mut places = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for turn in 0..per_table {
            let [high, low] = turn.to_be_bytes();
            let port = if turn % 2 == 0 {
                CROWDED
            } else {
                30_000 + turn
            };
            places.push(Place::new(protocol, Ipv4Addr::new(127, 1, high, low), port));
            let v6 = Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, 0, turn);
            places.push(Place::new(protocol, v6, port));
        }
        if per_table > 0 {
            places.push(Place::new(protocol, Ipv4Addr::UNSPECIFIED, 1_000));
            places.push(Place::new(protocol, Ipv6Addr::UNSPECIFIED, 1_000));
            places.push(Place {
                dual: true,
                ..Place::new(protocol, Ipv6Addr::UNSPECIFIED, 1_001)
            });
            places.push(Place::new(protocol, Ipv6Addr::LOCALHOST, 1_002));
        }
    }
    let open = |place: Place| Ok((place.identity(), place.open(false)?));
    places.into_iter().map(open).collect()
}

/// One more listener. When the watcher reports it, the watcher has polled
/// again.
pub fn sentinel(number: u16) -> io::Result<(Identity, Socket)> {
    let place = Place::new(Protocol::Tcp, Ipv4Addr::new(127, 6, 0, 1), 1_700 + number);
    Ok((place.identity(), place.open(false)?))
}

/// The name of a helper's log.
pub fn log_in(directory: &Path, kind: Kind, number: u16) -> PathBuf {
    directory.join(format!("{kind:?}-{number}"))
}
