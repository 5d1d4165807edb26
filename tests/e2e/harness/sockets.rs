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

/// A TCP listener that is shut down when dropped.
///
/// Closing it is not enough. If another test forks, the child holds a copy until it executes
/// its program, and the port stays open that long.
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

/// Listens on this TCP port of `address`. With port 0, the kernel chooses a free port.
pub fn listen_on(address: &str, port: u16) -> Listener {
    Listener(TcpListener::bind((address, port)).unwrap())
}

/// Listens on a free TCP port of `address`.
pub fn listen(address: &str) -> Listener {
    listen_on(address, 0)
}

/// Listens on `address`, which includes the TCP port.
pub fn tcp_listener(address: &str) -> TcpListener {
    TcpListener::bind(address).unwrap()
}

/// The port that a listener is bound to.
pub fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

/// A TCP port of 127.0.0.1 that no other process gets. A socket is bound to the port with
/// `SO_REUSEADDR` but does not listen, so that the test can still listen on the port.
pub struct FreePort {
    pub number: u16,
    _keeps_port: Socket,
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
            _keeps_port: socket,
        }
    }

    /// Listens on the port.
    pub fn listen(&self) -> Listener {
        listen_on("127.0.0.1", self.number)
    }
}

impl fmt::Display for FreePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

/// Opens a socket, calls `prepare` with it, and binds it to `address`. A TCP socket then
/// listens, with a backlog of 7.
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

/// Opens a socket for every form of a listed line, 12 in all, each on a free port, and two
/// sockets that are not listed.
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
    let server = sockets[0].local_addr().unwrap();
    let client = Socket::new(server.domain(), Type::STREAM, None).unwrap();
    client.connect(&server).unwrap();
    let connected = bound(Type::DGRAM, "127.0.0.1:0", nothing);
    connected.connect(&server).unwrap();
    sockets.extend([client, connected]);
    sockets
}

/// Returns whether something accepts TCP connections at this address.
pub fn accepts_tcp(address: IpAddr, port: u16) -> bool {
    TcpStream::connect((address, port)).is_ok()
}

/// Returns whether something receives UDP datagrams at this address. If not, the kernel answers
/// with an error at once.
pub fn accepts_udp(address: IpAddr, port: u16) -> bool {
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

/// Parses a table into the netid, state, address, port and family (`4` or `6`) of each line,
/// which must be equal in all sources and in ss. Every wildcard becomes `*`, and the interface
/// after `%` is left out.
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

/// The sockets that `ss -Hlntu` prints, with these variables in its environment.
pub fn sockets_of_ss(environment: &[(&str, &OsStr)]) -> BTreeSet<[String; 5]> {
    let ss = run(Command::new("ss")
        .arg("-Hlntu")
        .envs(environment.iter().copied()));
    assert!(ss.status.success(), "{ss:?}");
    listed_sockets(&ss.stdout)
}
