//! Compares the tables of sockets of every kind, in every state, with those of ss.

use std::ffi::OsStr;
use std::fs;
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

use super::{as_ss, assert_same, comparable, more_sockets, output};
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

/// Sockets of every kind, in every state but CLOSING, which a test cannot bring about.
pub fn zoo() -> Zoo {
    let mut zoo = quiet_zoo();
    zoo.add_closed();
    zoo.add_half_open();
    zoo.add_lost();
    zoo
}

/// Sockets of every kind, but only in states without timers that expire soon.
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
    /// Both ends of a new connection to `listener`: the client's and the server's.
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

    /// Adds two connections that are being opened: an outgoing one, and an incoming one.
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
        // One connection is accepted, and the other one is pending.
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

/// A packet from the black hole that opens a connection to this port: the headers of IPv4
/// and TCP.
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

#[test]
fn the_zoo_has_every_state_but_closing() {
    in_private_network(|| {
        let _zoo = zoo();
        let shown = output(&mut as_ss(&["-an"])).stdout;
        for state in [
            "ESTAB",
            "SYN-SENT",
            "SYN-RECV",
            "FIN-WAIT-1",
            "FIN-WAIT-2",
            "TIME-WAIT",
            "UNCONN",
            "CLOSE-WAIT",
            "LAST-ACK",
            "LISTEN",
        ] {
            assert!(
                shown
                    .lines()
                    .any(|line| line.split_whitespace().nth(1) == Some(state)),
                "{state} in {shown}"
            );
        }
    });
}

#[test]
fn the_zoo_has_every_kind_of_socket() {
    in_private_network(|| {
        let _zoo = zoo();
        let shown = output(&mut as_ss(&["-an"])).stdout;
        for kind in [
            "nl", "p_raw", "p_dgr", "u_str", "u_dgr", "u_seq", "raw", "udp", "tcp",
        ] {
            assert!(
                shown.lines().any(|line| line.starts_with(kind)),
                "{kind} in {shown}"
            );
        }
    });
}

/// A kind or family adds states to the selection, which then apply to all selected sockets.
#[test]
fn each_kind_adds_the_same_states_as_in_ss() {
    const KINDS: &str = "all inet tcp mptcp dccp sctp udp raw unix unix_stream unix_dgram \
        unix_seqpacket packet packet_raw packet_dgram netlink vsock_stream vsock_dgram tipc xdp";
    const FAMILIES: &str = "inet inet6 unix link netlink vsock tipc xdp";
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _zoo = quiet_zoo();
        for kind in KINDS.split_whitespace() {
            // With `-A`, the states of the kinds are used only if the filter excludes all states.
            let query = format!("{kind},tcp,udp");
            assert_same(&["-nA", &query, "exclude", "all"], &[]);
        }
        for family in FAMILIES.split_whitespace() {
            assert_same(&["-tunf", family], &[]);
        }
    });
}

/// The syntax of addresses and ports differs between families. TIPC and XDP use that of IP.
#[test]
fn values_of_every_family_are_read_as_by_ss() {
    const FAMILIES: &str = "inet link netlink tipc unix vsock xdp";
    const VALUES: &str = "5 :5 0x10 -1 :-1 4294967295 4294967296 * :* : 1: 1:-1 lo :lo kernel \
        :kernel any 127.0.0.1 [::1] 127.0.0.1:80";
    const CONDITIONS: [&str; 5] = [
        "sport != VALUE",
        "sport lt VALUE",
        "src VALUE",
        "src VALUE or src inet:127.0.0.1",
        "sport gt VALUE or src inet:127.0.0.1",
    ];
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _zoo = quiet_zoo();
        let mut answered = 0;
        for family in FAMILIES.split_whitespace() {
            for value in VALUES.split_whitespace() {
                for condition in CONDITIONS {
                    let filter = condition.replace("VALUE", value);
                    answered += usize::from(assert_same_if_answered(&["-Htanf", family, &filter]));
                }
            }
        }
        assert!(answered > 200, "{answered}");
    });
}

/// Asserts that the program and ss have the same exit status and print the same to stdout.
/// Returns false if the program refuses the command line, or if ss crashes.
fn assert_same_if_answered(arguments: &[&str]) -> bool {
    let result = |command: &mut Command| {
        let finished = output(command.args(arguments));
        (finished.status.code(), comparable(&finished.stdout))
    };
    for tries in 1.. {
        let (actual, expected) = (
            result(&mut as_ss(&[""; 0])),
            result(&mut Command::new("ss")),
        );
        if actual.0 == Some(255) || expected.0.is_none() {
            return false;
        }
        if actual == expected {
            break;
        }
        // The order of netlink sockets differs from run to run.
        assert!(tries < 20, "{arguments:?}: {actual:#?} {expected:#?}");
    }
    true
}

/// The command lines with which public programs look for sockets, each form once.
const PUBLIC: &str = include_str!("public_forms.txt");

#[test]
fn public_command_lines_are_answered_as_by_ss() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _zoo = quiet_zoo();
        for line in PUBLIC.lines() {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("printf '%s\\n' {line}")]);
            let words = run(&mut shell).stdout;
            let words: Vec<&str> = words.lines().skip(1).collect();
            assert_same(&words, &[]);
        }
    });
}

/// A timer that expires soon is shown in milliseconds, so two runs never agree. Instead, the
/// program runs between two runs of ss, and its times must be between theirs.
#[test]
fn timers_are_shown_as_by_ss() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _zoo = zoo();
        let arguments = [
            "-Htane",
            "state",
            "time-wait",
            "state",
            "syn-sent",
            "state",
            "fin-wait-1",
        ];
        let between = || {
            let expected = || timers(&run(Command::new("ss").args(arguments)).stdout);
            let (before, actual, after) = (
                expected(),
                timers(&run(&mut as_ss(&arguments)).stdout),
                expected(),
            );
            assert!(before.len() > 1, "{before:?}");
            // A timer may expire between two runs.
            if [actual.len(), after.len()] != [before.len(); 2] {
                return None;
            }
            let is_between = |index: usize| {
                let [before, actual, after] =
                    [&before, &actual, &after].map(|timers| &timers[index]);
                before.0 == actual.0
                    && actual.0 == after.0
                    && before.1 >= actual.1
                    && actual.1 >= after.1
            };
            (0..before.len()).all(is_between).then_some(())
        };
        wait_for("timers between two others", between);
    });
}

/// Each line of a table without the time that is left of its timer, and this time in
/// milliseconds.
fn timers(table: &str) -> Vec<(String, u32)> {
    let timer = |line: &str| {
        let (before, timer) = line.split_once("timer:(").unwrap();
        let (timer, details) = timer.split_once(')').unwrap();
        let [name, left, count] = timer.split(',').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let (seconds, rest) = match left.split_once('.') {
            Some((seconds, rest)) => (seconds, rest),
            None if left.ends_with("sec") => (left.trim_end_matches("sec"), "0ms"),
            None if left.is_empty() => ("0", "0ms"),
            None if left.ends_with("min") => {
                let minutes: u32 = left.trim_end_matches("min").parse().unwrap();
                return (
                    format!("{before} {name} {count} {}", details.trim_end()),
                    minutes * 60_000,
                );
            }
            None => ("0", left),
        };
        let rest: u32 = rest.strip_suffix("ms").unwrap().parse().unwrap();
        let left = seconds.parse::<u32>().unwrap() * 1000 + rest;
        (
            format!("{before} {name} {count} {}", details.trim_end()),
            left,
        )
    };
    table.lines().map(timer).collect()
}

/// The milliseconds since something was sent or received differ in every run, so only their
/// number of digits is compared.
#[test]
fn tcp_info_is_shown_as_by_ss() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _zoo = quiet_zoo();
        let filter = ["state", "established", "state", "close-wait"];
        for options in [&["-tin"][..], &["-ti"], &["-tiOen"], &["-tmi"], &["-Htim4"]] {
            let arguments = [options, &filter].concat();
            let without_times = |command: &mut Command| {
                comparable(&run(command.args(&arguments)).lines().join("\n"))
            };
            wait_for("the same bytes", || {
                let expected = without_times(&mut Command::new("ss"));
                let actual = without_times(&mut as_ss(&[""; 0]));
                let has_details = actual.contains(" rtt:") && actual.contains(" cwnd:");
                assert!(has_details, "{actual}");
                (actual == expected).then_some(())
            });
        }
        assert_same(&["-lnui"], &[]);
        assert_same(&["-wai"], &[]);
        // This includes the TCP socket of the Multipath TCP listener.
        assert_same(&["-lti"], &[]);
    });
}

#[test]
fn mptcp_info_is_shown_as_by_ss() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _zoo = quiet_zoo();
        assert_same(&["-Mlm"], &[]);
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP));
        if let Ok(listener) = socket() {
            let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
            listener.bind(&any.into()).unwrap();
            listener.listen(3).unwrap();
            let client = socket().unwrap();
            client.connect(&listener.local_addr().unwrap()).unwrap();
            client.send(&[0; 999]).unwrap();
            let _server = listener.accept().unwrap();
            let shown = run(&mut as_ss(&["-Mani"]));
            assert!(shown.stdout.contains(" subflows_max:"), "{shown:?}");
            assert_same(&["-Mani"], &[]);
            assert_same(&["-ai", "-Amptcp,udp"], &[]);
        }
    });
}

/// A program with listeners and a connection whose TCP segments are signed, with keys for
/// several peers. `None` if the kernel does not support that.
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

/// ss prints the keys before the table.
#[test]
fn keys_of_signed_segments_are_shown_as_by_ss() {
    if !have_ss() || !have_program("services", "python3") {
        return;
    }
    in_private_network(|| {
        let Some(_signing) = signing() else {
            return;
        };
        let shown = run(&mut as_ss(&["-lnti"])).stdout;
        assert!(shown.contains("10.1.2.3/32=,10.0.0.0/8="), "{shown}");
        for arguments in ["-tani", "-tanm", "-tan", "-tiOH", "-t6ae", "-ltnim", "-an"] {
            assert_same(&[arguments], &[]);
        }
    });
}

/// ss writes a table that does not fit in its buffer in parts. Each column of a part is as
/// wide as its longest cell so far.
#[test]
fn the_widths_of_a_long_table_change_as_in_ss() {
    if !have_ss() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let table = directory.path().join("tcp");
    let mut text = String::from("  sl  local_address\n");
    let mut random = fastrand::Rng::with_seed(1);
    for row in 0..150_000 {
        // Addresses get longer after 60,000 rows, so that the widths change.
        let address = random.u32(..) & if row < 60_000 { 0x0f0f_0f0f } else { u32::MAX };
        let port = random.u16(..);
        text += &format!(
            "{row:4}: {address:08X}:{port:04X} 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 {row} 1 0 20 0 0 10 -1\n"
        );
    }
    fs::write(&table, text).unwrap();
    for arguments in ["-tan", "-Htn4", "-t4an", "-tane"] {
        let environment = [
            ("PROC_NET_TCP", table.as_os_str()),
            ("PROC_NET_TCP6", "/dev/null".as_ref()),
        ];
        let shown = |command: &mut Command| {
            command.arg(arguments).arg("-4").envs(environment);
            run(command).stdout
        };
        let (actual, expected) = (shown(&mut as_ss(&[""; 0])), shown(&mut Command::new("ss")));
        assert!(expected.len() > 6_000_000);
        assert!(
            actual == expected,
            "{arguments}: {:?}",
            actual.lines().zip(expected.lines()).find(|(a, b)| a != b)
        );
    }
}

/// The files have fewer details than netlink, so ss shows fewer.
#[test]
fn tables_are_read_from_files_as_by_ss() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _zoo = quiet_zoo();
        let root: (&str, &OsStr) = ("PROC_ROOT", "/proc".as_ref());
        for arguments in [
            &["-a"][..],
            &["-an"],
            &["-l"],
            &[],
            &["-aO", "-A", "netlink,packet", "-e"],
            &["-0"],
            &["-0", "src", "arp:*"],
            &["-wan"],
            &["-xa"],
            &["-xle", "src", "*stream"],
            &["-xp", "state", "established"],
            &["-tuaen"],
            &["-tano", "sport gt 80"],
            &["-s"],
            &["-tas"],
        ] {
            assert_same(arguments, &[root]);
        }
        let unix: (&str, &OsStr) = ("PROC_NET_UNIX", "/proc/net/unix".as_ref());
        assert_same(&["-an", "-A", "unix,tcp"], &[unix]);
    });
}

#[test]
fn a_recorded_answer_of_the_kernel_is_refused() {
    let finished = run(as_ss(&["-tan"]).env("TCPDIAG_FILE", "/dev/null"));
    assert_eq!((finished.code(), &*finished.stdout), (255, ""));
}

#[test]
fn every_ethertype_is_named_as_by_ss() {
    if !have_ss() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("packet");
    let mut table = String::from("sk       RefCnt Type Proto  Iface R Rmem   User   Inode\n");
    for protocol in 1..=u16::MAX {
        table += &format!("0000000000000000 3 3 {protocol:04x} 0 1 0 0 {protocol}\n");
    }
    fs::write(&file, table).unwrap();
    let replaced: (&str, &OsStr) = ("PROC_NET_PACKET", file.as_os_str());
    for arguments in ["-0", "-0n"] {
        let actual = run(as_ss(&[arguments]).envs([replaced])).stdout;
        let expected = run(Command::new("ss").arg(arguments).envs([replaced])).stdout;
        assert_eq!(expected.lines().count(), 1 + usize::from(u16::MAX));
        let differing = actual.lines().zip(expected.lines()).find(|(a, b)| a != b);
        assert!(actual == expected, "{differing:?}");
    }
}
