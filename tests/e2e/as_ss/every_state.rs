//! Sockets of every kind in every state, asked for in every way.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixListener, UnixStream};
use std::process::Command;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};
use socket2::{Domain, Protocol, Socket, Type};
use tempfile::TempDir;

use super::{as_ss, assert_same, more_sockets, output, random_filter};
use crate::harness::*;
use crate::list::sockets_of_every_kind;

/// Keeps what it holds open.
#[derive(Default)]
struct Zoo {
    sockets: Vec<Socket>,
    others: Vec<OwnedFd>,
    directory: Option<TempDir>,
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.unwrap().success(), "ip {arguments}");
}

/// An address of this network, a neighbour that never answers, and whoever is
/// behind it.
const OURS: &str = "192.0.2.1";
const BLACK_HOLE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Sockets of every kind in every state that a test can bring about: only CLOSING
/// is not among them.
fn zoo() -> Zoo {
    let mut zoo = quiet_zoo();
    zoo.add_closed();
    zoo.add_half_open();
    zoo.add_lost();
    zoo
}

/// Without those whose timers run out soon.
fn quiet_zoo() -> Zoo {
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
    fn pair(&mut self, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// Established ones with unread bytes, half closed ones, and one that is kept
    /// alive.
    fn add_connections(&mut self, address: &str) {
        let listener = TcpListener::bind(address).unwrap();
        let (mut client, server) = self.pair(&listener);
        client.write_all(&[0; 1234]).unwrap();
        self.others.extend([client.into(), OwnedFd::from(server)]);
        let (client, server) = self.pair(&listener);
        client.shutdown(Shutdown::Write).unwrap();
        let waiting = ["-Htan", "state", "fin-wait-1"];
        wait_for("an acknowledgement", || {
            run(&mut as_ss(&waiting)).lines().is_empty().then_some(())
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

    /// One that is being opened from here, and one from elsewhere.
    fn add_half_open(&mut self) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let nobody = SocketAddr::from((BLACK_HOLE, 9));
        let _ = socket.connect(&nobody.into());
        self.sockets.push(socket);
        let listener = TcpListener::bind((OURS, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).unwrap();
        raw.set_header_included_v4(true).unwrap();
        let to = SocketAddr::new(OURS.parse().unwrap(), 0);
        raw.send_to(&opening(port), &to.into()).unwrap();
        self.others.push(listener.into());
    }

    /// What cannot end since nothing arrives any more.
    fn add_lost(&mut self) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (client, server) = self.pair(&listener);
        let (half, other) = self.pair(&listener);
        other.shutdown(Shutdown::Write).unwrap();
        ip("link set lo down");
        drop(client);
        drop(half);
        self.others.extend([server.into(), OwnedFd::from(other)]);
        self.others.push(listener.into());
    }

    /// What is left of closed ones.
    fn add_closed(&mut self) {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            drop(self.pair(&listener));
        }
    }

    fn add_unix(&mut self) {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        let listener = UnixListener::bind(path("stream")).unwrap();
        // One that is accepted and one that waits.
        let accepted = UnixStream::connect(path("stream")).unwrap();
        let server = listener.accept().unwrap().0;
        let waiting = UnixStream::connect(path("stream")).unwrap();
        let name = UnixAddress::from_abstract_name("a name\0of bytes").unwrap();
        let named = UnixListener::bind_addr(&name).unwrap();
        let bound = UnixDatagram::bind(path("datagram")).unwrap();
        let sending = UnixDatagram::unbound().unwrap();
        sending.connect(path("datagram")).unwrap();
        sending.send(&[0; 99]).unwrap();
        let (mut one, other) = UnixStream::pair().unwrap();
        one.write_all(&[0; 77]).unwrap();
        one.shutdown(Shutdown::Write).unwrap();
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
            waiting.into(),
            named.into(),
            bound.into(),
            sending.into(),
            one.into(),
            other.into(),
            first.into(),
            second.into(),
        ]);
        self.directory = Some(directory);
    }

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
            let arp = rustix::net::Protocol::from_raw(0x0608.try_into().unwrap());
            let packets = rustix::net::socket(AddressFamily::PACKET, kind, Some(arp));
            self.others.push(packets.unwrap());
            let unnamed = rustix::net::Protocol::from_raw(0x3412.try_into().unwrap());
            let packets = rustix::net::socket(AddressFamily::PACKET, kind, Some(unnamed));
            self.others.push(packets.unwrap());
        }
        let routes = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None);
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

/// The packet that opens a connection to this port, as if it came from the black
/// hole: headers of IPv4 and TCP.
fn opening(port: u16) -> Vec<u8> {
    let (from, to): (_, Ipv4Addr) = (BLACK_HOLE, OURS.parse().unwrap());
    let mut tcp = vec![0x12, 0x34];
    tcp.extend(port.to_be_bytes());
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    let mut summed = [from.octets(), to.octets(), [0, 6, 0, tcp.len() as u8]].concat();
    summed.extend(&tcp);
    let words = summed
        .chunks(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut packet = vec![0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(tcp);
    packet
}

#[test]
fn the_sockets_of_the_test_are_in_every_state() {
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

/// The command lines of public programs that look for sockets, each form once.
const PUBLIC: &str = include_str!("public_forms.txt");

#[test]
fn what_public_programs_ask_is_answered_as_by_ss() {
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

/// Where timers are asked for, only of sockets whose timers are shown in seconds.
#[test]
fn random_questions_are_answered_as_by_ss() {
    if !have_ss() {
        return;
    }
    let number = |variable: &str, default: u64| {
        std::env::var(variable).map_or(default, |number| number.parse().unwrap())
    };
    let mut left = number("LNTU_TEST_QUESTIONS", 600);
    let mut random = fastrand::Rng::with_seed(number("LNTU_TEST_SEED", 15));
    let (mut asked_in_all, mut answered) = (0_u64, 0);
    while left > 0 {
        // The kernel gives up some of the sockets after a minute.
        let asked = left.min(100);
        left -= asked;
        in_private_network(|| {
            let _zoo = zoo();
            let questions = (0..asked).map(|_| question(&mut random));
            answered += questions.filter(|q| is_answered_as_by_ss(q)).count() as u64;
            asked_in_all += asked;
        });
    }
    // About one of eight is refused. Of few questions it can be more, by chance.
    let refused = asked_in_all - answered;
    assert!(
        refused <= 10 + asked_in_all / 5,
        "{refused} of {asked_in_all}"
    );
}

/// False if it is refused. That is no answer, and ss may give one.
fn is_answered_as_by_ss(question: &[String]) -> bool {
    let mut arguments = question.to_vec();
    let ours = run(&mut as_ss(&arguments));
    // ss gives its own socket other buffers.
    if ours.stdout.lines().any(|line| line.starts_with("nl")) {
        arguments.retain(|argument| argument != "-m" && argument != "--memory");
    }
    // The kernel refuses conditions on other families than those of IP. ss
    // then shows less, or takes an address for a pointer and crashes.
    let theirs = run(Command::new("ss").args(&arguments));
    let is_mixed = theirs.status.code().is_none()
        || ours
            .stderr
            .starts_with("ss: netlink: MPTCP: Invalid argument");
    let is_answered = ours.code() != 255 && !is_mixed;
    if is_answered {
        assert_same(&arguments, &[]);
    }
    is_answered
}

fn question(random: &mut fastrand::Rng) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut some = |random: &mut fastrand::Rng, most: usize, of: &[&str]| {
        for _ in 0..random.usize(..=most) {
            let text = of[random.usize(..of.len())];
            arguments.extend(text.split_whitespace().map(str::to_string));
        }
    };
    let kinds = [
        "-t",
        "-u",
        "-tu",
        "-t",
        "-w",
        "-x",
        "-0",
        "-M",
        "-A tcp",
        "-A udp,raw",
        "-A inet",
        "-A unix",
        "--query=u_dgr,u_str",
        "-A netlink,packet",
        "-A all,!tcp",
        "--socket unix_seqpacket",
        "-A p_raw",
        "-f unix",
        "-f inet6",
        "-finet",
        "-4",
        "-6",
        "-S",
        "-d",
        "--packet",
    ];
    some(random, 3, &kinds);
    some(random, 2, &["-a", "-l", "-a", "--listening", "--all"]);
    some(
        random,
        3,
        &["-n", "-n", "-H", "-O", "-m", "--numeric", "--memory"],
    );
    let states = [
        "state established",
        "state ALL",
        "state listening",
        "state connected",
        "state synchronized",
        "state bucket",
        "state big",
        "exclude listening",
        "state time-wait",
        "exclude Established",
        "state closed",
        "state syn-recv",
        "state syn-sent",
        "excl big",
        "state fin-wait-1",
        "state fin-wait-2",
        "state last-ack",
        "state close-wait",
        "state unconnected",
        "exclude bucket",
        "exclude all",
    ];
    if random.u8(..3) == 0 {
        some(random, 2, &states);
    }
    // Timers that are about to run out say milliseconds.
    if random.u8(..3) == 0 {
        let slow = [
            "-e state listening",
            "-e state established",
            "-o state established",
            "-e state fin-wait-2",
            "-e state close-wait",
            "-ea -x",
            "-0e",
            "-A netlink -e",
            "-A udp -ae",
            "-leO",
        ];
        arguments.clear();
        let text = slow[random.usize(..slow.len())];
        arguments.extend(text.split_whitespace().map(str::to_string));
    }
    if random.u8(..3) == 0 {
        arguments.push(random_filter(random, 2));
    }
    if random.u8(..6) == 0 {
        let more = [
            "dev lo",
            "dev != hole",
            "sport = 65616",
            "sport ge 65536",
            "autobound",
            "not autobound",
            "fwmark = 0x1f",
            "fwmark 0/0xf0",
            "sport lt *",
            "src unix:*stream",
            "src unix:@*",
            "src link:arp",
            "dst netlink:*",
            "src netlink:rtnl:kernel",
            "sport = netlink:0",
            "src unix:/tmp/*/d*",
            "sport != :-1",
        ];
        arguments.extend(
            more[random.usize(..more.len())]
                .split(' ')
                .map(str::to_string),
        );
    }
    arguments
}

/// A timer that runs out soon is shown in milliseconds, so no two runs agree: one
/// run is between two others.
#[test]
fn timers_run_down_as_ss_shows_them() {
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
            let theirs = || timers(&run(Command::new("ss").args(arguments)).stdout);
            let (before, ours, after) = (
                theirs(),
                timers(&run(&mut as_ss(&arguments)).stdout),
                theirs(),
            );
            assert!(before.len() > 1 && before.len() == ours.len());
            let is_between = |index: usize| {
                let [before, ours, after] = [&before, &ours, &after].map(|timers| &timers[index]);
                before.0 == ours.0 && ours.0 == after.0 && before.1 >= ours.1 && ours.1 >= after.1
            };
            (0..before.len()).all(is_between).then_some(())
        };
        wait_for("timers between two others", between);
    });
}

/// Each line without its timer, and the milliseconds left of that.
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

/// The milliseconds since something was sent or received are new in every run, so
/// they are compared by their number of digits.
#[test]
fn what_tcp_knows_is_shown_as_by_ss() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _zoo = quiet_zoo();
        let filter = ["state", "established", "state", "close-wait"];
        for options in [&["-tin"][..], &["-ti"], &["-tiOen"], &["-tmi"], &["-Htim4"]] {
            let arguments = [options, &filter].concat();
            let without_times = |command: &mut Command| {
                let shown = run(command.args(&arguments)).lines().join("\n");
                hide(&shown, &["lastsnd:", "lastrcv:", "lastack:"])
            };
            wait_for("the same bytes", || {
                let theirs = without_times(&mut Command::new("ss"));
                let ours = without_times(&mut as_ss(&[""; 0]));
                assert!(ours.contains(" rtt:") && ours.contains(" cwnd:"), "{ours}");
                (ours == theirs).then_some(())
            });
        }
        assert_same(&["-lnui"], &[]);
        assert_same(&["-wai"], &[]);
        // Also the one that is a part of Multipath TCP.
        assert_same(&["-lti"], &[]);
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

/// ss shows the key that segments are signed with, and what lies behind it in memory.
#[test]
fn what_is_not_covered_of_a_socket_says_what_to_leave_out() {
    if !have_program("services", "python3") {
        return;
    }
    const TCP_MD5SIG: &str = "14";
    const SCRIPT: &str = "\
import socket, struct, sys, time
listener = socket.create_server(('127.0.0.1', 0))
address = struct.pack('HH4s', socket.AF_INET, 0, socket.inet_aton('127.0.0.1'))
key = struct.pack('128sBBHI80s', address, 0, 0, 3, 0, b'key')
try:
    listener.setsockopt(socket.IPPROTO_TCP, int(sys.argv[1]), key)
    print(flush=True)
except OSError as error:
    print(error, flush=True)
time.sleep(1000)
";
    in_private_network(|| {
        let signing = Running::start(Command::new("python3").args(["-c", SCRIPT, TCP_MD5SIG]));
        let error = signing.next_line();
        if !have("tcp-md5", (!error.is_empty()).then_some(error)) {
            return;
        }
        let refused = run(&mut as_ss(&["-lnti"]));
        let why = "ss: netlink: tcp: -i does not cover signed segments: leave out -i\n";
        let said = (refused.code(), &*refused.stdout, &*refused.stderr);
        assert_eq!(said, (1, "", why));
        assert_eq!(run(&mut as_ss(&["-lnt"])).lines().len(), 2);
    });
}

/// `text` with `#` for each digit behind one of these names.
fn hide(text: &str, names: &[&str]) -> String {
    let mut hidden = String::new();
    for word in text.split_inclusive(' ') {
        let is_hiding = names.iter().any(|name| word.starts_with(name));
        let digit = |c: char| if c.is_ascii_digit() { '#' } else { c };
        match is_hiding {
            true => hidden.extend(word.chars().map(digit)),
            false => hidden += word,
        }
    }
    hidden
}

/// More than ss keeps in memory: it writes such a table in parts, each as wide as
/// what came until then.
#[test]
fn a_long_table_is_written_in_parts_as_by_ss() {
    if !have_ss() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let table = directory.path().join("tcp");
    let mut text = String::from("  sl  local_address\n");
    let mut random = fastrand::Rng::with_seed(1);
    for row in 0..150_000 {
        // Addresses get longer on the way.
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
        let (ours, theirs) = (shown(&mut as_ss(&[""; 0])), shown(&mut Command::new("ss")));
        assert!(theirs.len() > 6_000_000);
        assert!(
            ours == theirs,
            "{arguments}: {:?}",
            ours.lines().zip(theirs.lines()).find(|(a, b)| a != b)
        );
    }
}

/// Where ss reads files, they say less, and less is asked of the kernel.
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
        let recorded = run(as_ss(&["-tan"]).env("TCPDIAG_FILE", "/dev/null"));
        assert_eq!((recorded.code(), &*recorded.stdout), (255, ""));
    });
}
