//! Sockets that tests open, and lists of sockets as programs print them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::harness::run;

/// A TCP listener that no longer listens when it is dropped. To close it would not
/// do: a process that another test starts holds it too, between fork and exec.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl std::ops::Deref for Listener {
    type Target = TcpListener;

    fn deref(&self) -> &TcpListener {
        &self.0
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both);
    }
}

/// A TCP listener on this port of `address`, or a free one for 0.
pub fn listen_on(address: &str, port: u16) -> Listener {
    Listener(TcpListener::bind((address, port)).unwrap())
}

/// A TCP listener on a free port of `address`.
pub fn listen(address: &str) -> Listener {
    listen_on(address, 0)
}

pub fn tcp_listener(address: &str) -> TcpListener {
    TcpListener::bind(address).unwrap()
}

pub fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

/// A port of 127.0.0.1 that stays free for the test. A socket is bound to it
/// and does not listen. It has `SO_REUSEADDR`, so a listener can join it.
pub struct FreePort {
    pub number: u16,
    _keeps_it: Socket,
}

impl FreePort {
    pub fn new() -> FreePort {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        FreePort {
            number: address.port(),
            _keeps_it: socket,
        }
    }

    pub fn listen(&self) -> Listener {
        listen_on("127.0.0.1", self.number)
    }
}

impl fmt::Display for FreePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

/// A socket bound to `address`. `prepare` sees it before it is bound. A TCP
/// socket also listens.
pub fn bound(kind: Type, address: &str, prepare: impl FnOnce(&Socket)) -> Socket {
    let address: SocketAddr = address.parse().unwrap();
    let protocol = if kind == Type::STREAM {
        Protocol::TCP
    } else {
        Protocol::UDP
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol)).unwrap();
    prepare(&socket);
    socket.bind(&address.into()).unwrap();
    if kind == Type::STREAM {
        socket.listen(7).unwrap();
    }
    socket
}

/// One socket of every kind that is listed in its own way. Port 0 means any
/// free port.
pub fn sockets_of_every_kind() -> Vec<Socket> {
    let v6_only = |only| move |socket: &Socket| socket.set_only_v6(only).unwrap();
    let nothing = |_: &Socket| {};
    let mut sockets = vec![
        bound(Type::STREAM, "127.0.0.1:0", nothing),
        bound(Type::STREAM, "127.0.0.2:0", nothing),
        bound(Type::STREAM, "0.0.0.0:0", nothing),
        bound(Type::STREAM, "[::1]:0", nothing),
        bound(Type::STREAM, "[::]:0", v6_only(true)),
        bound(Type::STREAM, "[::]:0", v6_only(false)),
        bound(Type::STREAM, "[::ffff:127.0.0.1]:0", v6_only(false)),
        bound(Type::DGRAM, "127.0.0.1:0", nothing),
        bound(Type::DGRAM, "0.0.0.0:0", nothing),
        bound(Type::DGRAM, "[::1]:0", nothing),
        bound(Type::DGRAM, "[::]:0", v6_only(false)),
        bound(Type::STREAM, "0.0.0.0:0", |socket| {
            socket.bind_device(Some(b"lo")).unwrap();
        }),
    ];
    // These two are not listeners.
    let server = sockets[0].local_addr().unwrap();
    let client = Socket::new(server.domain(), Type::STREAM, None).unwrap();
    client.connect(&server).unwrap();
    let connected = bound(Type::DGRAM, "127.0.0.1:0", nothing);
    connected.connect(&server).unwrap();
    sockets.extend([client, connected]);
    sockets
}

/// Whether something at this address takes TCP connections.
pub fn takes_tcp(address: IpAddr, port: u16) -> bool {
    TcpStream::connect((address, port)).is_ok()
}

/// Whether something at this address takes UDP datagrams. If nothing does, the
/// kernel refuses at once.
pub fn takes_udp(address: IpAddr, port: u16) -> bool {
    let any = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect((address, port)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    socket.send(b"?").unwrap();
    match socket.recv(&mut [0]) {
        Err(error) => error.kind() != ErrorKind::ConnectionRefused,
        Ok(_) => true,
    }
}

/// (netid, state, address, port, family) of each line. Every wildcard becomes
/// `*`, and scopes are left out. This is what all sources and ss itself must
/// agree on.
pub fn listed_sockets(table: &str) -> BTreeSet<[String; 5]> {
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [netid, state, _, _, local, peer, ..] = fields[..] else {
            panic!("not a row: {line:?}");
        };
        let (address, port) = local.rsplit_once(':').unwrap();
        // ss writes `*` for the IPv6 wildcard and for the peer of a dual-stack
        // socket.
        let is_v6 = address.starts_with('[') || peer.starts_with('[') || peer.starts_with('*');
        let address = match address.split('%').next().unwrap() {
            "0.0.0.0" | "[::]" => "*",
            address => address,
        };
        let family = if is_v6 { "6" } else { "4" };
        [netid, state, address, port, family].map(str::to_string)
    };
    table.lines().map(socket).collect()
}

/// What `ss -Hlntu` prints here and now.
pub fn sockets_of_ss(environment: &[(&str, &OsStr)]) -> BTreeSet<[String; 5]> {
    let ss = run(Command::new("ss")
        .arg("-Hlntu")
        .envs(environment.iter().copied()));
    assert!(ss.status.success(), "{ss:?}");
    listed_sockets(&ss.stdout)
}
