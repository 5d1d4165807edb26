//! Records when each listener really opened and closed, by a clock that all processes share.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use lntu::listener::{Endpoint, Protocol};
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of CLOCK_MONOTONIC.
pub type Nanoseconds = u64;

pub fn now() -> Nanoseconds {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The life of a listener. It began between `opening` and `open`, and ended between `closing` and
/// `closed`.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    pub opening: Nanoseconds,
    pub open: Nanoseconds,
    pub closing: Nanoseconds,
    pub closed: Nanoseconds,
}

/// The identity of a listener in an event: protocol, address and port.
pub type Identity = (Protocol, Endpoint);

pub fn identity(protocol: Protocol, address: SocketAddr) -> Identity {
    let (port, address) = (address.port(), address.ip());
    (protocol, Endpoint { port, address })
}

/// The identity that all listeners of one protocol and port share.
pub fn without_address((protocol, endpoint): Identity) -> Identity {
    let address = std::net::Ipv4Addr::UNSPECIFIED.into();
    (
        protocol,
        Endpoint {
            address,
            ..endpoint
        },
    )
}

/// A file with one lifetime per line. A line is written when the listener closes.
pub struct Log(BufWriter<File>);

impl Log {
    pub fn create(path: &Path) -> io::Result<Log> {
        Ok(Log(BufWriter::with_capacity(1 << 16, File::create(path)?)))
    }

    pub fn write(&mut self, (protocol, endpoint): Identity, life: Lifetime) -> io::Result<()> {
        let address = SocketAddr::new(endpoint.address, endpoint.port);
        writeln!(
            self.0,
            "{} {address} {} {} {} {}",
            protocol.name(),
            life.opening,
            life.open,
            life.closing,
            life.closed
        )
    }

    pub fn finish(mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The lifetimes of each identity. [`Truth::sort`] puts them in order.
#[derive(Debug, Default)]
pub struct Truth(pub BTreeMap<Identity, Vec<Lifetime>>);

impl Truth {
    pub fn add(&mut self, identity: Identity, life: Lifetime) {
        self.0.entry(identity).or_default().push(life);
    }

    pub fn add_log(&mut self, path: &Path) {
        for line in BufReader::new(File::open(path).unwrap()).lines() {
            let line = line.unwrap();
            let fields: Vec<&str> = line.split(' ').collect();
            let protocol = match fields[0] {
                "tcp" => Protocol::Tcp,
                _ => Protocol::Udp,
            };
            let time = |field: usize| fields[field].parse().unwrap();
            let life = Lifetime {
                opening: time(2),
                open: time(3),
                closing: time(4),
                closed: time(5),
            };
            self.add(identity(protocol, fields[1].parse().unwrap()), life);
        }
    }

    /// Merges all identities of the same protocol and port into one.
    pub fn merge_addresses(&mut self) {
        for (identity, lives) in std::mem::take(&mut self.0) {
            let merged = self.0.entry(without_address(identity)).or_default();
            merged.extend(lives);
        }
    }

    pub fn sort(&mut self) {
        for lives in self.0.values_mut() {
            lives.sort_by_key(|life| life.opening);
        }
    }
}
