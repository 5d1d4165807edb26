//! The zoo: sockets of every kind, in every state that a test can bring about.

use std::io::Write as _;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixListener, UnixStream};
use std::process::Command;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use socket2::{Domain, Protocol, Socket, Type};
use tempfile::TempDir;

use super::as_ss;
use crate::harness::*;

/// Sockets of many kinds and states, which stay open as long as this value lives.
#[derive(Default)]
pub struct Zoo {
    sockets: Vec<Socket>,
    others: Vec<OwnedFd>,
    /// The directory of the Unix sockets.
    directory: Option<TempDir>,
}

/// The address of this network namespace on the interface `hole`.
const OWN_ADDRESS: &str = "192.0.2.1";
/// The address of a neighbor on the interface `hole` that never answers.
const BLACK_HOLE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Opens sockets of every kind, in every state but CLOSING, which a test cannot bring about.
pub fn zoo() -> Zoo {
    let mut zoo = quiet_zoo();
    zoo.add_closed();
    zoo.add_half_open();
    zoo.add_lost();
    zoo
}

/// Opens sockets of every kind, but only in states without timers that expire soon.
pub fn quiet_zoo() -> Zoo {
    ip("link add hole type veth peer name beyond");
    ip("link set beyond up");
    ip("link set hole up arp off");
    ip("addr add 192.0.2.1/24 dev hole");
    let mut zoo = Zoo {
        sockets: sockets_of_every_kind(),
        ..Zoo::default()
    };
    let (sockets, streams) = more_sockets();
    zoo.sockets.extend(sockets);
    zoo.others.extend(streams.into_iter().map(OwnedFd::from));
    zoo.add_connections("127.0.0.1:0");
    zoo.add_connections("[::1]:0");
    zoo.add_unix();
    zoo.add_others();
    zoo
}

impl Zoo {
    /// Opens a connection to `listener`, and returns both ends: the client's and the server's.
    fn pair(&mut self, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// Adds three connections: one with unread bytes, one that is half closed, and one with
    /// keepalive and a mark.
    fn add_connections(&mut self, address: &str) {
        let listener = TcpListener::bind(address).unwrap();
        let (mut client, server) = self.pair(&listener);
        client.write_all(&[0; 1234]).unwrap();
        self.others.extend([client.into(), OwnedFd::from(server)]);
        let (client, server) = self.pair(&listener);
        client.shutdown(Shutdown::Write).unwrap();
        let unacknowledged = ["-Htan", "state", "fin-wait-1"];
        wait_for("an acknowledgement", || {
            let listed = run(&mut as_ss(&unacknowledged));
            listed.lines().is_empty().then_some(())
        });
        self.others.extend([client.into(), OwnedFd::from(server)]);
        let (client, server) = self.pair(&listener);
        let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(7000));
        socket2::SockRef::from(&client)
            .set_tcp_keepalive(&keepalive)
            .unwrap();
        let _ = socket2::SockRef::from(&client).set_mark(0x1f);
        self.others.extend([client.into(), OwnedFd::from(server)]);
        self.others.push(listener.into());
    }

    /// Adds two connections that are being opened: an outgoing connection, and an incoming
    /// connection.
    fn add_half_open(&mut self) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let server = SocketAddr::from((BLACK_HOLE, 9));
        let _ = socket.connect(&server.into());
        self.sockets.push(socket);
        let listener = TcpListener::bind((OWN_ADDRESS, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).unwrap();
        raw.set_header_included_v4(true).unwrap();
        let destination = SocketAddr::new(OWN_ADDRESS.parse().unwrap(), 0);
        raw.send_to(&syn_packet(port), &destination.into()).unwrap();
        self.others.push(listener.into());
    }

    /// Adds connections that cannot be closed completely, because `lo` is down and no packet
    /// arrives any more.
    fn add_lost(&mut self) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (client, server) = self.pair(&listener);
        let (second_client, second_server) = self.pair(&listener);
        second_server.shutdown(Shutdown::Write).unwrap();
        ip("link set lo down");
        drop(client);
        drop(second_client);
        self.others
            .extend([server.into(), OwnedFd::from(second_server)]);
        self.others.push(listener.into());
    }

    /// Leaves connections in TIME-WAIT, over IPv4 and IPv6.
    fn add_closed(&mut self) {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            drop(self.pair(&listener));
        }
    }

    /// Adds Unix sockets of every type.
    fn add_unix(&mut self) {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        let listener = UnixListener::bind(path("stream")).unwrap();
        // One connection is accepted, and the other connection stays pending.
        let accepted = UnixStream::connect(path("stream")).unwrap();
        let server = listener.accept().unwrap().0;
        let pending = UnixStream::connect(path("stream")).unwrap();
        let name = UnixAddress::from_abstract_name("a name\0of bytes").unwrap();
        let named = UnixListener::bind_addr(&name).unwrap();
        let bound = UnixDatagram::bind(path("datagram")).unwrap();
        let sending = UnixDatagram::unbound().unwrap();
        sending.connect(path("datagram")).unwrap();
        sending.send(&[0; 99]).unwrap();
        let (mut writer, reader) = UnixStream::pair().unwrap();
        writer.write_all(&[0; 77]).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
        let (first, second) = UnixDatagram::pair().unwrap();
        let packets = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        let listening = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        let address = socket2::SockAddr::unix(path("seqpacket")).unwrap();
        listening.bind(&address).unwrap();
        listening.listen(5).unwrap();
        self.sockets.extend([packets.0, packets.1, listening]);
        self.others.extend([
            OwnedFd::from(listener),
            accepted.into(),
            server.into(),
            pending.into(),
            named.into(),
            bound.into(),
            sending.into(),
            writer.into(),
            reader.into(),
            first.into(),
            second.into(),
        ]);
        self.directory = Some(directory);
    }

    /// Adds raw, packet, netlink and Multipath TCP sockets.
    fn add_others(&mut self) {
        for (domain, protocol) in [
            (Domain::IPV4, Protocol::ICMPV4),
            (Domain::IPV6, Protocol::ICMPV6),
            (Domain::IPV4, Protocol::from(250)),
        ] {
            let raw = Socket::new(domain, Type::RAW, Some(protocol)).unwrap();
            self.sockets.push(raw);
        }
        let connected = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
        let peer: SocketAddr = "127.0.0.1:0".parse().unwrap();
        connected.connect(&peer.into()).unwrap();
        self.sockets.push(connected);
        for kind in [SocketType::RAW, SocketType::DGRAM] {
            let lldp = rustix::net::Protocol::from_raw(0xcc88.try_into().unwrap());
            let packets = socket_with(
                AddressFamily::PACKET,
                kind,
                SocketFlags::CLOEXEC,
                Some(lldp),
            );
            self.others.push(packets.unwrap());
            let arp = rustix::net::Protocol::from_raw(0x0608.try_into().unwrap());
            let packets = socket_with(AddressFamily::PACKET, kind, SocketFlags::CLOEXEC, Some(arp));
            self.others.push(packets.unwrap());
            let unnamed = rustix::net::Protocol::from_raw(0x3412.try_into().unwrap());
            let packets = socket_with(
                AddressFamily::PACKET,
                kind,
                SocketFlags::CLOEXEC,
                Some(unnamed),
            );
            self.others.push(packets.unwrap());
        }
        let routes = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        );
        self.others.push(routes.unwrap());
        let mptcp = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP));
        if let Ok(mptcp) = mptcp {
            let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
            mptcp.bind(&any.into()).unwrap();
            mptcp.listen(3).unwrap();
            self.sockets.push(mptcp);
        }
    }
}

/// Returns a packet that opens a connection from the black hole to this port. It has only the
/// headers of IPv4 and TCP.
fn syn_packet(port: u16) -> Vec<u8> {
    let (source, destination): (_, Ipv4Addr) = (BLACK_HOLE, OWN_ADDRESS.parse().unwrap());
    let mut tcp = vec![0x12, 0x34];
    tcp.extend(port.to_be_bytes());
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    let protocol_and_length = [0, 6, 0, tcp.len() as u8];
    let mut checked = [source.octets(), destination.octets(), protocol_and_length].concat();
    checked.extend(&tcp);
    let words = checked
        .chunks(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut packet = vec![0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(tcp);
    packet
}

/// Opens sockets of kinds that `sockets_of_every_kind` does not open: on ports with and without
/// names, on a shared port, with something in their queues, and bound to devices. Returns the
/// sockets, and the clients that are connected to them.
pub fn more_sockets() -> (Vec<Socket>, Vec<TcpStream>) {
    let no_options = |_: &Socket| {};
    let share = |socket: &Socket| socket.set_reuse_port(true).unwrap();
    let on_lo = |socket: &Socket| socket.bind_device(Some(b"lo")).unwrap();
    let v6_only = |socket: &Socket| socket.set_only_v6(true).unwrap();
    let sockets = vec![
        bound(Type::STREAM, "127.0.0.1:80", no_options),
        bound(Type::STREAM, "127.0.0.2:81", no_options),
        bound(Type::STREAM, "[::1]:80", no_options),
        bound(Type::STREAM, "0.0.0.0:8080", no_options),
        bound(Type::STREAM, "[::]:8080", v6_only),
        bound(Type::STREAM, "127.0.0.1:7", share),
        bound(Type::STREAM, "127.0.0.1:7", share),
        bound(Type::DGRAM, "127.0.0.53:53", on_lo),
        bound(Type::DGRAM, "[::]:53", v6_only),
        bound(Type::DGRAM, "[::]:5353", on_lo),
        bound(Type::DGRAM, "[::1]:80", no_options),
        bound(Type::DGRAM, "127.0.0.1:9", no_options),
    ];
    // These UDP sockets were connected for a moment. For IPv6, the kernel still lists the address
    // of the former peer.
    let disconnected = ["127.0.0.1:99", "[::1]:99"].map(|address| {
        let socket = bound(Type::DGRAM, address, no_options);
        let peer: SocketAddr = address.replace("99", "80").parse().unwrap();
        socket.connect(&peer.into()).unwrap();
        rustix::net::connect_unspec(&socket).unwrap();
        socket
    });
    let connect = |address: &str| TcpStream::connect(address).unwrap();
    // A backlog of 7 has room for 8 connections.
    let mut clients: Vec<TcpStream> = (0..8).map(|_| connect("127.0.0.1:80")).collect();
    clients.push(connect("[::1]:80"));
    let client = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    let full: SocketAddr = "127.0.0.1:9".parse().unwrap();
    for _ in 0..20 {
        client.send_to(&[0; 1000], &full.into()).unwrap();
    }
    (sockets.into_iter().chain(disconnected).collect(), clients)
}

/// Starts a program with listeners and a connection whose TCP segments are signed, with keys for
/// several peers. Returns `None` if the kernel does not support signed segments.
pub fn signing() -> Option<Running> {
    const SCRIPT: &str = "\
import socket, struct, time
TCP_MD5SIG, TCP_MD5SIG_EXT, BY_PREFIX = 14, 32, 1
def sign(signing, peer, key, bits=None):
    if ':' in peer:
        address = socket.inet_pton(socket.AF_INET6, peer)
        address = struct.pack('HHI16sI', socket.AF_INET6, 0, 0, address, 0)
    else:
        address = struct.pack('HH4s', socket.AF_INET, 0, socket.inet_aton(peer))
    option, flags = (TCP_MD5SIG, 0) if bits is None else (TCP_MD5SIG_EXT, BY_PREFIX)
    value = struct.pack('128sBBHI80s', address, flags, bits or 0, len(key), 0, key)
    signing.setsockopt(socket.IPPROTO_TCP, option, value)
listener = socket.create_server(('127.0.0.1', 0))
client = socket.socket()
try:
    sign(listener, '127.0.0.1', b'key')
    sign(listener, '10.0.0.0', b'k' * 80, 8)
    sign(listener, '10.1.2.3', b'\\x01\\x02\\xff a,\\\\')
    listener6 = socket.create_server(('::', 0), family=socket.AF_INET6)
    sign(listener6, '::1', b'six')
    sign(listener6, '2001:db8::', b'p', 32)
    sign(listener6, '::ffff:10.2.2.2', b'mapped')
    sign(client, '127.0.0.1', b'key')
    client.connect(listener.getsockname())
    print(flush=True)
except OSError as error:
    print(error, flush=True)
time.sleep(1000)
";
    let signing = Running::start(Command::new("python3").args(["-c", SCRIPT]));
    let error = signing.next_line();
    have("tcp-md5", (!error.is_empty()).then_some(error)).then_some(signing)
}
