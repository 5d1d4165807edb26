//! Tests of `check` and `wait`. To judge an answer about a port, the tests try whether a client can
//! connect to it, or whether a server can bind it.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Signal, kill_process};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::harness::*;

const ADDRESSES: [&str; 3] = ["127.0.0.1", "127.0.0.2", "::1"];

/// Sockets of every kind on ports 80 to 85, and none on 86.
fn sockets_of_every_kind(kind: Type) -> Vec<Socket> {
    let v6_only = |only| move |socket: &Socket| socket.set_only_v6(only).unwrap();
    let nothing = |_: &Socket| {};
    vec![
        bound(kind, "0.0.0.0:80", nothing),
        bound(kind, "127.0.0.1:81", nothing),
        bound(kind, "[::]:82", v6_only(false)),
        bound(kind, "[::]:83", v6_only(true)),
        bound(kind, "[::1]:84", nothing),
        bound(kind, "[::ffff:127.0.0.1]:85", v6_only(false)),
    ]
}

/// A published port needs a listener that accepts IPv4, because Docker connects to the container
/// over IPv4.
#[test]
fn a_star_requires_a_wildcard_that_accepts_ipv4() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _sockets = [Type::STREAM, Type::DGRAM].map(sockets_of_every_kind);
        // Only a wildcard listener accepts connections to both of these addresses.
        let [first, second, _] = ADDRESSES.map(|address| address.parse().unwrap());
        for port in 80..=86 {
            for protocol in ["tcp", "udp"] {
                let is_served = |address| match protocol {
                    "tcp" => accepts_tcp(address, port),
                    _ => accepts_udp(address, port),
                };
                let argument = format!("*:{port}/{protocol}");
                let expected = i32::from(!(is_served(first) && is_served(second)));
                for source in ["auto", "netlink", "ss"] {
                    let answer = check(&["-q", "--source", source, &argument]).0;
                    assert_eq!(answer, expected, "{source}, {argument}");
                }
                // `/proc` does not show whether a listener on `::` accepts IPv4. For a PORT with
                // `*`, lntu assumes that it does. For a PORT with `0.0.0.0`, lntu does not.
                let by_proc = |argument: &str| check(&["--source", "proc", argument]);
                let expected = if port == 83 { 0 } else { expected };
                assert_eq!(by_proc(&argument).0, expected, "{argument}");
                if [82, 83].contains(&port) {
                    let strict = format!("0.0.0.0:{port}/{protocol}");
                    let unknown = format!(
                        "lntu: {strict}: could not tell whether [::]:{port} accepts IPv4 (check \
                         {argument} instead)\n"
                    );
                    assert_eq!(by_proc(&strict), (2, unknown));
                }
            }
        }
        // A server that binds `::` for IPv6 and IPv4 could not start on port 83, where another
        // listener is bound to `::` for IPv6 only.
        let wait = ["wait", "--closed", "--timeout", "0", "*:83"];
        let taken = run(&mut lntu(&wait));
        let reason = "lntu: *:83/tcp: still taken by [::]:83/tcp\n";
        assert_eq!(
            (taken.code(), &*without_holders(&taken.stderr)),
            (1, reason)
        );
        assert_eq!(check(&["[::]:83"]).0, 0, "the form for IPv6");
        let listed = run(&mut lntu(&["list", "-H", "--tcp", "*:80-86"]));
        assert_eq!(listed.lines().len(), 3, "a filter names every wildcard");
    });
}

#[test]
fn check_agrees_with_a_connection() {
    in_private_network(|| {
        let _sockets = [Type::STREAM, Type::DGRAM].map(sockets_of_every_kind);
        for port in 80..=86 {
            for address in ADDRESSES.map(|address| address.parse().unwrap()) {
                let truths = [
                    ("tcp", accepts_tcp(address, port)),
                    ("udp", accepts_udp(address, port)),
                ];
                for (protocol, truth) in truths {
                    let argument = port_argument(address, port, protocol);
                    let expected = i32::from(!truth);
                    let answer = |source: &str| check(&["-q", "--source", source, &argument]).0;
                    assert_eq!(answer("auto"), expected, "{argument}");
                    assert_eq!(answer("netlink"), expected, "{argument}");
                    // `/proc` does not show whether a listener on `::` accepts IPv4, so the answer
                    // is unknown.
                    let is_unknown = address.is_ipv4() && [82, 83].contains(&port);
                    let by_proc = if is_unknown { 2 } else { expected };
                    assert_eq!(answer("proc"), by_proc, "{argument}");
                    if have_ss() {
                        let by_ss = answer("ss");
                        assert!(
                            by_ss == expected || is_unknown && by_ss == 2,
                            "{argument}: {by_ss}"
                        );
                    }
                }
            }
        }
    });
}

/// A client may resolve the name `localhost` to 127.0.0.1 or to ::1.
#[test]
fn localhost_requires_a_listener_on_either_address() {
    in_private_network(|| {
        ip("link add eth9 type veth peer name peer9");
        ip("address add 10.9.9.9/24 dev eth9");
        ip("link set eth9 up");
        let bound_to = |interface: &'static [u8]| {
            move |socket: &Socket| socket.bind_device(Some(interface)).unwrap()
        };
        let mut sockets = sockets_of_every_kind(Type::STREAM);
        sockets.push(bound(Type::STREAM, "127.0.0.2:87", |_| {}));
        sockets.push(bound(Type::STREAM, "10.9.9.9:88", |_| {}));
        sockets.push(bound(Type::STREAM, "0.0.0.0:89", bound_to(b"lo")));
        sockets.push(bound(Type::STREAM, "[::]:90", bound_to(b"eth9")));
        let localhost = ["127.0.0.1", "::1"].map(|address| address.parse().unwrap());
        let (mut open, mut closed) = (0, 0);
        for port in 80..=90 {
            let is_open = localhost.iter().any(|address| accepts_tcp(*address, port));
            *if is_open { &mut open } else { &mut closed } += 1;
            let argument = format!("localhost:{port}");
            for source in ["auto", "netlink", "ss"] {
                if source == "ss" && !have_ss() {
                    continue;
                }
                let answer = check(&["-q", "--source", source, &argument]).0;
                assert_eq!(answer, i32::from(!is_open), "{source}, {argument}");
            }
            // `/proc` does not show the interface to which a socket is bound, as on port 90.
            if port != 90 {
                let by_proc = check(&["-q", "--source", "proc", &argument]).0;
                assert_eq!(by_proc, i32::from(!is_open), "{argument}");
            }
        }
        assert_eq!((open, closed), (7, 4));
        let reason = "localhost:88/tcp: listening only on 10.9.9.9:88";
        assert_eq!(check(&["localhost:88"]), no(reason));
    });
}

/// Node binds only the first address that `localhost` resolves to.
#[test]
fn check_finds_a_server_that_binds_localhost() {
    if !have_program("services", "node") || !have_program("services", "python3") {
        return;
    }
    in_private_network(|| {
        let node = "require('http').createServer().listen(8080, 'localhost')";
        let mut servers = vec![Running::start(Command::new("node").args(["-e", node]))];
        for (address, port) in [("127.0.0.1", "8081"), ("::1", "8082")] {
            let mut python = Command::new("python3");
            python.args(["-m", "http.server", "--bind", address, port]);
            servers.push(Running::start(&mut python));
        }
        let ports = ["localhost:8080", "localhost:8081", "localhost:8082"];
        let wait = ["wait", "--timeout", "60s"];
        assert_eq!(run(lntu(&wait).args(ports)).lines(), [""; 0]);
        assert_eq!(check(&ports), (0, String::new()));
        assert_eq!(check(&["-q", "[::1]:8081"]).0, 1);
        assert_eq!(check(&["-q", "127.0.0.1:8082"]).0, 1);
    });
}

#[test]
fn localhost_is_closed_if_both_addresses_are_free() {
    in_private_network(|| {
        let mut sockets = sockets_of_every_kind(Type::STREAM);
        sockets.push(bound(Type::STREAM, "127.0.0.2:87", |_| {}));
        let localhost = ["127.0.0.1", "::1"].map(|address| address.parse().unwrap());
        for port in 80..=87 {
            let argument = format!("localhost:{port}");
            let wait = ["wait", "-q", "--closed", "--timeout", "0", &argument];
            // The port may stay taken for a moment: a child that another test forks holds a copy of
            // the closed socket until its exec.
            wait_for(&argument, || {
                let mut addresses = localhost.iter();
                let is_free = addresses
                    .all(|address| can_be_bound(Type::STREAM, *address, port, Accepts::Both));
                let code = run(&mut lntu(&wait)).code();
                (code == i32::from(!is_free)).then_some(())
            });
        }
    });
}

/// Makes an IPv6 socket accept IPv4, too.
fn dual_stack(socket: &Socket) {
    socket.set_only_v6(false).unwrap();
}

/// The IP versions that an IPv6 wildcard accepts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accepts {
    Both,
    OnlyIpv6,
}

/// Whether a server can bind this address and port, and listen there.
fn can_be_bound(kind: Type, address: IpAddr, port: u16, accepts: Accepts) -> bool {
    let address = std::net::SocketAddr::from((address, port));
    let socket = Socket::new(Domain::for_address(address), kind, None).unwrap();
    if address.is_ipv6() {
        socket.set_only_v6(accepts == Accepts::OnlyIpv6).unwrap();
    }
    let bound = socket.bind(&address.into());
    let result = bound.and_then(|()| match kind {
        Type::STREAM => socket.listen(1),
        _ => Ok(()),
    });
    match result {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::AddrInUse, "{address}");
            false
        }
    }
}

/// Tries each kind of listener with each address to which a server may want to bind.
#[test]
fn wait_closed_agrees_with_bind() {
    in_private_network(|| {
        let _sockets = [Type::STREAM, Type::DGRAM].map(|kind| {
            let mut sockets = sockets_of_every_kind(kind);
            let on_lo = |socket: &Socket| socket.bind_device(Some(b"lo")).unwrap();
            sockets.push(bound(kind, "127.0.0.2:87", |_| {}));
            sockets.push(bound(kind, "0.0.0.0:88", on_lo));
            sockets.push(bound(kind, "127.0.0.1:89", on_lo));
            sockets.push(bound(kind, "[::]:90", |socket| {
                socket.set_only_v6(true).unwrap();
                on_lo(socket);
            }));
            sockets
        });
        // `/proc` does not show whether a listener on `::` accepts IPv4, so the answer about an
        // IPv4 address is unknown.
        let is_unknown = |port, address: IpAddr| {
            [82, 83, 90].contains(&port) && address.to_canonical().is_ipv4()
        };
        let addresses = [
            "127.0.0.1",
            "127.0.0.2",
            "0.0.0.0",
            "::1",
            "::",
            "::ffff:127.0.0.1",
        ];
        let mut sources = vec!["auto", "netlink", "proc"];
        if have_ss() {
            sources.push("ss");
        }
        for (kind, protocol) in [(Type::STREAM, "tcp"), (Type::DGRAM, "udp")] {
            for port in 80..=90 {
                for address in addresses.map(|address| address.parse().unwrap()) {
                    let argument = port_argument(address, port, protocol);
                    let v6_any = IpAddr::from(std::net::Ipv6Addr::UNSPECIFIED);
                    let agrees = |source: &str, truth: bool| {
                        let wait = ["wait", "-q", "--closed", "--timeout", "0", "--source"];
                        let code = run(lntu(&wait).args([source, &argument])).code();
                        let expected = match source {
                            "proc" if is_unknown(port, address) => 2,
                            _ => i32::from(!truth),
                        };
                        // If lntu reports that `[::]` is free, a server that accepts only IPv6 must
                        // be able to bind it, too.
                        let would_fail = || !can_be_bound(kind, address, port, Accepts::OnlyIpv6);
                        code == expected && !(address == v6_any && code == 0 && would_fail())
                    };
                    // The port may stay taken for a moment: a child that another test forks holds
                    // a copy of the closed socket until its exec.
                    for source in &sources {
                        wait_for(&format!("{source} {argument}"), || {
                            let truth = can_be_bound(kind, address, port, Accepts::Both);
                            agrees(source, truth).then_some(())
                        });
                    }
                }
            }
        }
    });
}

/// lntu cannot tell whether the listener takes the port. It keeps waiting, because the listener may
/// close.
#[test]
fn wait_closed_keeps_waiting_while_a_port_is_unknown() {
    in_private_network(|| {
        let server = bound(Type::STREAM, "[::]:8080", dual_stack);
        let closed = ["wait", "--closed", "--source", "proc", "-i", "10ms"];
        let given_up = run(lntu(&closed).args(["--timeout", "50ms", "127.0.0.1:8080"]));
        let unknown = "127.0.0.1:8080/tcp: could not tell whether [::]:8080 accepts IPv4 (check \
                       8080/tcp instead)";
        assert_eq!(given_up.error(), unknown);
        let taken = run(lntu(&closed).args(["--timeout", "0", "127.0.0.1:8080", "[::]:8080"]));
        let reason = "lntu: [::]:8080/tcp: still taken by [::]:8080/tcp\n";
        assert_eq!(
            (taken.code(), &*without_holders(&taken.stderr)),
            (1, reason)
        );

        let waiting = Running::start(lntu(&closed).arg("127.0.0.1:8080"));
        let status = format!("/proc/{}/status", waiting.child.id());
        wait_for("many polls", || {
            let status = fs::read_to_string(&status).unwrap();
            let sleeps = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            (sleeps.trim().parse::<u32>().unwrap() > 50).then_some(())
        });
        drop(server);
        assert_eq!(waiting.finish().code(), 0);
    });
}

#[test]
fn wait_closed_starts_no_server_on_a_taken_port() {
    in_private_network(|| {
        let _server = bound(Type::STREAM, "[::]:8080", dual_stack);
        let arguments = [
            "wait",
            "--closed",
            "--timeout",
            "50ms",
            "127.0.0.1:8080",
            "--",
        ];
        let refused = run(lntu(&arguments).args(["echo", "started"]));
        assert_eq!((refused.code(), &*refused.stdout), (1, ""));
        let expected = "lntu: 127.0.0.1:8080/tcp: still taken after N s by [::]:8080/tcp\n";
        assert_eq!(without_time(&refused.stderr), expected);
    });
}

/// Normally, nothing in this network namespace can listen on an address of another host, so waiting
/// for it would never end.
#[test]
fn an_address_of_another_host_is_an_error() {
    let mut elsewhere = None;
    in_private_network(|| {
        elsewhere = Some(Running::start(Command::new("sleep").arg("300")));
    });
    let other = elsewhere.as_ref().map(|other| other.child.id().to_string());
    let other = other.unwrap_or_default();
    in_private_network(|| {
        ip("link add inside type veth peer name outside");
        ip("link set inside up");
        ip("link set outside up");
        ip("address add 10.9.0.1/24 dev inside");
        ip("address add fd00::1/64 dev inside nodad");
        ip("route add local 10.8.0.0/16 dev lo");
        let _sockets = [
            bound(Type::STREAM, "0.0.0.0:80", |_| {}),
            bound(Type::DGRAM, "0.0.0.0:80", |_| {}),
            bound(Type::STREAM, "[::]:81", |socket| {
                socket.set_only_v6(true).unwrap();
            }),
        ];
        let all_are_foreign = || {
            // Some of these addresses are in the network of the interface, and some have no route.
            for (port, address) in [
                ("8.8.8.8:80", "8.8.8.8"),
                ("10.9.0.2:80", "10.9.0.2"),
                ("10.9.0.2:80/udp", "10.9.0.2"),
                ("[::ffff:10.9.0.2]:80", "10.9.0.2"),
                ("10.9.0.255:80", "10.9.0.255"),
                ("224.0.0.251:80", "224.0.0.251"),
                ("[fd00::2]:81", "fd00::2"),
                ("[2001:db8::1]:81", "2001:db8::1"),
            ] {
                for arguments in [
                    &["check"][..],
                    &["check", "--source", "proc"],
                    &["wait"],
                    &["wait", "--closed"],
                ] {
                    let refused = run(lntu(arguments).args(["80", port]));
                    assert_eq!(refused.error(), foreign_address(address), "{arguments:?}");
                }
            }
        };
        all_are_foreign();
        ip("route add default via 10.9.0.2");
        ip("route add default via fd00::2");
        all_are_foreign();
        for port in [
            "10.9.0.1:80",
            "127.9.8.7:80",
            "0.0.0.0:80",
            "[fd00::1]:81",
            "[::ffff:10.9.0.1]:80",
            // A route makes every address of this network local.
            "10.8.7.6:80",
            // Only UDP sockets can be bound to broadcast and multicast addresses.
            "10.9.0.255:80/udp",
            "224.0.0.251:80/udp",
            "255.255.255.255:80/udp",
        ] {
            assert_eq!(check(&[port]), (0, String::new()), "{port}");
        }
        // The address stays local even if routing rules find another route to it.
        ip("rule add pref 1 lookup local");
        ip("rule del pref 0");
        ip("route add 10.9.0.1 via 10.9.0.2 table 100");
        ip("rule add pref 0 lookup 100");
        let route = run(Command::new("ip").args(["route", "get", "10.9.0.1"]));
        assert!(route.stdout.contains("via 10.9.0.2"), "{route:?}");
        assert_eq!(check(&["10.9.0.1:80"]), (0, String::new()));
        // --pid and --proc may select another network namespace.
        let own = format!("/proc/{}", std::process::id());
        let check_code = |arguments: &[&str]| run(lntu(&["check", "-q"]).args(arguments)).code();
        assert_eq!(check_code(&["--pid", &other, "10.9.0.2:80"]), 1);
        assert_ne!(check_code(&["--proc", &own, "10.9.0.2:80"]), 2);
        // Each of these spellings names the `/proc` of this namespace.
        let directory = TempDir::new().unwrap();
        let link = directory.path().join("link");
        symlink("/proc", &link).unwrap();
        let link = link.to_str().unwrap();
        for (proc, directory) in [
            ("/proc/", "/"),
            ("//proc", "/"),
            ("./proc", "/"),
            ("../proc", "/usr"),
            (link, "/"),
        ] {
            let check = |port: &str| {
                let mut check = lntu(&["check", "--proc", proc, port]);
                run(check.current_dir(directory))
            };
            assert_eq!(
                check("10.9.0.2:80").error(),
                foreign_address("10.9.0.2"),
                "{proc}"
            );
            // The address is local in this namespace, and not in the one of process 1.
            assert_eq!(check("10.9.0.1:80").code(), 0, "{proc}");
        }
        // For list, a PORT only selects listeners, so a foreign address is not an error.
        assert_eq!(
            run(&mut lntu(&["list", "-H", "10.9.0.2:80"])).lines(),
            [""; 0]
        );
        if have_program("strace", "strace") {
            // lntu opens its second socket to ask for the route, and here that fails.
            let mut refused =
                lntu_with_failing("socket", "EPERM", ":when=2", &["check", "10.9.0.2:80"]);
            assert_eq!(run(&mut refused).lines(), [""; 0]);
        }
    });
}

/// For each kind of unreachable route, the kernel returns another error.
#[test]
fn an_address_with_an_unreachable_route_is_an_error() {
    in_private_network(|| {
        let _server = bound(Type::STREAM, "[::]:80", dual_stack);
        for kind in ["blackhole", "prohibit", "unreachable", "throw"] {
            ip(&format!("route add {kind} 8.8.8.0/24"));
            ip(&format!("route add {kind} 2001:db8::/32"));
            for (port, address) in [
                ("8.8.8.8:80", "8.8.8.8"),
                ("[2001:db8::1]:80", "2001:db8::1"),
            ] {
                let refused = run(&mut lntu(&["check", port]));
                assert_eq!(refused.error(), foreign_address(address), "{kind}");
            }
            ip("route flush root 8.8.8.0/24");
            ip("-6 route flush root 2001:db8::/32");
        }
        ip("rule add pref 0 prohibit");
        let refused = run(&mut lntu(&["check", "8.8.8.8:80"]));
        assert_eq!(refused.error(), foreign_address("8.8.8.8"));
        assert_eq!(check(&["127.0.0.1:80"]), (0, String::new()));
    });
}

/// A server can bind a foreign address with `IP_FREEBIND`, or if the sysctl
/// `ip_nonlocal_bind` allows it.
#[test]
fn check_accepts_a_foreign_address_with_a_listener() {
    in_private_network(|| {
        let freebind =
            |socket: &Socket| rustix::net::sockopt::set_ip_freebind(socket, true).unwrap();
        let _servers = [
            bound(Type::STREAM, "192.0.2.1:80", freebind),
            bound(Type::STREAM, "0.0.0.0:81", |_| {}),
        ];
        assert_eq!(check(&["192.0.2.1:80"]), (0, String::new()));
        let closed = |port: &str| run(&mut lntu(&["wait", "--closed", "--timeout", "0", port]));
        assert_eq!(closed("192.0.2.1:80").code(), 1);
        // A listener on another port does not count.
        for port in ["192.0.2.1:81", "192.0.2.2:82"] {
            let address = port.split(':').next().unwrap();
            assert_eq!(
                run(&mut lntu(&["check", port])).error(),
                foreign_address(address)
            );
            assert_eq!(closed(port).error(), foreign_address(address));
        }
        assert_eq!(
            closed("[2001:db8::1]:82").error(),
            foreign_address("2001:db8::1")
        );
        // These files belong to the network namespace of the process that writes to them.
        for family in ["ipv4", "ipv6"] {
            fs::write(format!("/proc/sys/net/{family}/ip_nonlocal_bind"), "1").unwrap();
        }
        assert_eq!(closed("192.0.2.1:81").code(), 1);
        assert_eq!(closed("192.0.2.2:82").code(), 0);
        assert_eq!(closed("[2001:db8::1]:82").code(), 0);
        assert_eq!(
            run(&mut lntu(&["check", "192.0.2.1:81"])).error(),
            foreign_address("192.0.2.1")
        );
    });
}

/// Starts a program that is not part of this project.
fn start_service(program: &str, arguments: &[&str], directory: &Path) -> Running {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null());
    Running::start(&mut command)
}

/// Checks that `check` and a connection to each of these ports of `program` agree.
fn assert_check_agrees_with_connections(program: &str, ports: &[u16]) {
    for address in ADDRESSES.map(|address| address.parse().unwrap()) {
        for &port in ports {
            let truth = i32::from(!accepts_tcp(address, port));
            let argument = port_argument(address, port, "tcp");
            let answer = check(&["-q", &argument]).0;
            assert_eq!(answer, truth, "{program}: {argument}");
        }
    }
}

#[test]
fn check_finds_real_servers_where_they_listen() {
    let programs = ["node", "python3", "nginx", "redis-server"];
    if !have_programs("services", programs) {
        return;
    }
    in_private_network(|| {
        let directory = TempDir::new().unwrap();
        let configuration = directory.path().join("nginx.conf");
        let text = "user root; daemon off; pid pid; error_log stderr; events {}
            http {
                access_log off;
                client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
                uwsgi_temp_path uwsgi; scgi_temp_path scgi;
                server { listen [::]:8001 ipv6only=on; listen [::]:8002 ipv6only=off; }
            }";
        fs::write(&configuration, text).unwrap();
        let directory = directory.path();
        let prefix = directory.to_str().unwrap();
        let configuration = configuration.to_str().unwrap();
        let redis = [
            "--port",
            "6379",
            "--bind",
            "127.0.0.2",
            "::1",
            "--save",
            "",
            "--dir",
            prefix,
        ];
        let node = "require('http').createServer().listen(3000)";
        let python = ["-m", "http.server", "8000", "--bind", "::"];
        for (program, arguments, ports) in [
            ("node", &["-e", node][..], &[3000][..]),
            ("python3", &python, &[8000]),
            ("nginx", &["-p", prefix, "-c", configuration], &[8001, 8002]),
            ("redis-server", &redis, &[6379]),
        ] {
            assert_check_agrees_with_connections(program, ports);
            let service = start_service(program, arguments, directory);
            let names: Vec<String> = ports.iter().map(u16::to_string).collect();
            let mut wait = lntu(&["wait", "--timeout", "30s"]);
            assert_eq!(run(wait.args(&names)).code(), 0, "{program}");
            assert_check_agrees_with_connections(program, ports);
            kill_process(service.pid(), Signal::TERM).unwrap();
            service.finish();
        }
    });
}

/// The ss in PATH hangs, so the test would not end if a probe ran it.
#[test]
fn a_probe_neither_runs_programs_nor_connects() {
    if !have_program("strace", "strace") {
        return;
    }
    let listener = listen("127.0.0.1");
    listener.set_nonblocking(true).unwrap();
    let port = port_of(&listener).to_string();
    let ss = fake_ss("sleep 60");
    for arguments in [
        &["check", &port][..],
        &["check", "1"],
        &["wait", &port],
        &["wait", "--timeout", "300ms", "1"],
        &["wait", "--any", "-p", &port],
    ] {
        let directory = TempDir::new().unwrap();
        let trace = directory.path().join("trace");
        let mut command = Command::new("strace");
        command.args([
            "-f",
            "-e",
            "trace=execve,connect,fork,vfork,clone,clone3",
            "-o",
        ]);
        command
            .arg(&trace)
            .arg(env!("CARGO_BIN_EXE_lntu"))
            .args(arguments);
        let finished = run(command.env("PATH", path_with(ss.path())));
        assert_ne!(finished.code(), 2, "{finished:?}");
        let calls = fs::read_to_string(&trace).unwrap();
        let is_allowed = |line: &&str| line.contains("+++") || line.contains("AF_NETLINK");
        let calls: Vec<&str> = calls.lines().filter(|line| !is_allowed(line)).collect();
        assert!(
            calls.len() == 1 && calls[0].contains("execve("),
            "{calls:?}"
        );
    }
    assert!(listener.accept().is_err(), "no connection came");
}

#[test]
fn check_silently_falls_back_to_proc() {
    if !have_program("strace", "strace") {
        return;
    }
    in_private_network(|| {
        let _sockets = sockets_of_every_kind(Type::STREAM);
        let check = |arguments: &[&str]| {
            let finished =
                run(lntu_with_failing("socket", "EPERM", "", &["check"]).args(arguments));
            (finished.code(), without_holders(&finished.stderr))
        };
        assert_eq!(
            check(&["80", "127.0.0.1:81", "[::1]:82"]),
            (0, String::new())
        );
        let reason = "86/tcp: not listening; [::ffff:127.0.0.1]:85/tcp, [::1]:84/tcp, \
                      [::]:83/tcp and 3 more are";
        assert_eq!(check(&["86"]), no(reason));
        let unknown = "lntu: 127.0.0.1:82/tcp: could not tell whether [::]:82 accepts IPv4 (check 82/tcp instead)\n";
        assert_eq!(check(&["127.0.0.1:82"]), (2, unknown.to_string()));
        let detail = check(&["-v", "80"]).1;
        let expected = "netlink: socket: Operation not permitted (os error 1); reading /proc/net \
                        instead";
        assert!(detail.contains(expected), "{detail}");
    });
}

#[test]
fn a_failed_check_names_similar_listeners() {
    in_private_network(|| {
        let _sockets = [
            sockets_of_every_kind(Type::STREAM),
            vec![bound(Type::DGRAM, "0.0.0.0:53", |_| {})],
        ];
        for (port, reason) in [
            ("*:81", "*:81/tcp: listening only on 127.0.0.1:81"),
            ("*:83", "*:83/tcp: listening only on [::]:83 (IPv6 only)"),
            (
                "127.0.0.1:83",
                "127.0.0.1:83/tcp: listening only on [::]:83 (IPv6 only)",
            ),
            ("[::1]:80", "[::1]:80/tcp: listening only on 0.0.0.0:80"),
            ("53", "53/tcp: not listening, 0.0.0.0:53/udp is"),
            ("54/udp", "54/udp: not listening; 0.0.0.0:53/udp is"),
            (
                "1",
                "1/tcp: not listening; 0.0.0.0:80/tcp, 127.0.0.1:81/tcp, [::]:82/tcp and 3 more are",
            ),
        ] {
            for source in ["auto", "netlink"] {
                assert_eq!(check(&["--source", source, port]), no(reason));
            }
        }
        let wait = run(&mut lntu(&["wait", "--timeout", "200ms", "53"]));
        let stderr = without_time(&wait.stderr);
        let reason = "lntu: 53/tcp: not listening after N s, 0.0.0.0:53/udp is\n";
        assert_eq!((wait.code(), &*stderr), (1, reason));
    });
    in_private_network(|| assert_eq!(check(&["80"]), no("80/tcp: not listening")));
}

#[test]
fn a_port_can_refer_to_environment_variables() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let check = |argument: &str| {
        let mut command = lntu(&["check", "-q", argument]);
        let finished = run(command
            .env("PORT", &port)
            .env("HOST", "127.0.0.1")
            .env("NOT", "http"));
        (finished.code(), finished.stderr)
    };
    for argument in [
        "$PORT",
        "${PORT}/tcp",
        "$HOST:$PORT",
        "${PORT:-1}",
        "127.0.0.1:${PORT}/tcp",
    ] {
        assert_eq!(check(argument), (0, String::new()), "{argument}");
    }
    assert_eq!(check("${NONE:-1}").0, 1);
    let why = "the variable NONE is not set (for a default, ${NONE:-8080})";
    for (argument, reason) in [
        ("$NONE", why),
        (
            "$NOT",
            "'http': a port is a number from 1 to 65535, as in 80 or 53/udp",
        ),
        (
            "${PORT",
            "write a variable as $NAME, ${NAME} or ${NAME:-DEFAULT}",
        ),
    ] {
        let message = format!("lntu: PORT '{argument}': {reason} (try 'lntu --help')\n");
        assert_eq!(check(argument), (2, message));
    }
    let listed = run(lntu(&["list", "-H", "$PORT", "--exclude", "$NOT"])
        .env("NOT", "1")
        .env("PORT", &port));
    assert_eq!(listed.lines().len(), 1);
}

#[test]
fn check_any_prints_the_matching_listeners() {
    in_private_network(|| {
        let check_any =
            |arguments: &[&str]| run(&mut lntu(&[&["check", "--any"], arguments].concat()));
        let missing = check_any(&["3000-3999", "53/udp"]);
        assert_eq!(
            missing.stderr,
            "lntu: 3000-3999/tcp, 53/udp: not listening\n"
        );
        assert_eq!((missing.code(), missing.stdout.as_str()), (1, ""));

        let waiting = Running::start(&mut lntu(&[
            "wait",
            "--any",
            "-i",
            "10ms",
            "3000-3999",
            "1",
        ]));
        let started = Running::start(&mut lntu(&[
            "wait",
            "--any",
            "-i",
            "10ms",
            "3000-3999",
            "--",
            "echo",
            "started",
        ]));
        let json = ["wait", "--any", "--json", "-p", "-i", "10ms", "3000-3999"];
        let json = Running::start(&mut lntu(&json));
        let _far = bound(Type::STREAM, "127.0.0.1:4000", |_| {});
        let _server = bound(Type::STREAM, "127.0.0.1:3173", |_| {});
        let listed = run(&mut lntu(&["list", "3173"]));
        assert_eq!(waiting.finish().lines(), listed.lines());
        assert_eq!(started.finish().lines(), ["started"]);
        let found: Value = serde_json::from_str(json.finish().lines()[0]).unwrap();
        assert_eq!(
            (&found["type"], &found["number"]),
            (&"listening".into(), &3173.into())
        );
        assert_eq!(found["processes"][0]["pid"], std::process::id());

        let both = check_any(&["-H", "3000-4999"]);
        assert_eq!(both.lines().len(), 2);
    });
}

/// A stopped server still listens, because the kernel completes connections for it. Only its
/// accept queue shows that it does not answer.
#[test]
fn max_queued_detects_a_server_that_stopped_accepting() {
    if !have_program("services", "python3") {
        return;
    }
    in_private_network(|| {
        let directory = TempDir::new().unwrap();
        let python = ["-m", "http.server", "8000", "--bind", "127.0.0.1"];
        let server = start_service("python3", &python, directory.path());
        assert_eq!(run(&mut lntu(&["wait", "8000"])).code(), 0);
        let sources = ["auto", "netlink", "proc", "ss"];
        let answers = || {
            let answer = |source| check(&["--source", source, "--max-queued", "3", "8000"]);
            sources.map(answer)
        };
        let all_yes = || answers().iter().all(|answer| *answer == (0, String::new()));
        assert!(all_yes());
        kill_process(server.pid(), Signal::STOP).unwrap();
        let clients = [0; 5].map(|_| TcpStream::connect("127.0.0.1:8000").unwrap());
        wait_for("a full queue", || {
            let queued = "8000/tcp: 5 connections are waiting to be accepted";
            let with_backlog = no(&format!("{queued} (backlog 5)"));
            // `/proc` does not include the backlog, so the message has only the length of the
            // queue.
            let expected = sources.map(|source| match source {
                "proc" => no(queued),
                _ => with_backlog.clone(),
            });
            (answers() == expected).then_some(())
        });
        assert_eq!(check(&["8000"]).0, 0, "it still listens");
        assert_eq!(check(&["-q", "--max-queued", "5", "8000"]).0, 0);
        kill_process(server.pid(), Signal::CONT).unwrap();
        drop(clients);
        wait_for("an empty queue", || all_yes().then_some(()));
    });
}

#[test]
fn exclude_accepts_loopback_or_ephemeral() {
    in_private_network(|| {
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "50000 51000").unwrap();
        let nothing = |_: &Socket| {};
        let _sockets = [
            bound(Type::STREAM, "0.0.0.0:80", nothing),
            bound(Type::STREAM, "0.0.0.0:50001", nothing),
            bound(Type::STREAM, "127.0.0.11:81", nothing),
            bound(Type::DGRAM, "127.0.0.11:53", nothing),
            bound(Type::DGRAM, "[::1]:54", nothing),
            bound(Type::DGRAM, "[::]:50002", nothing),
        ];
        let listed = |excluded: &[&str]| {
            let excluded = excluded.iter().map(|ports| format!("--exclude={ports}"));
            let listed = run(lntu(&["list", "-H"]).args(excluded));
            let port = |line: &&str| {
                let local = line.split_whitespace().nth(4).unwrap();
                local.rsplit_once(':').unwrap().1.parse::<u16>().unwrap()
            };
            listed.lines().iter().map(port).collect::<Vec<_>>()
        };
        assert_eq!(listed(&[]), [80, 81, 50001, 53, 54, 50002]);
        assert_eq!(listed(&["loopback"]), [80, 50001, 50002]);
        assert_eq!(listed(&["ephemeral"]), [80, 81, 53, 54]);
        assert_eq!(listed(&["ephemeral/tcp"]), [80, 81, 53, 54, 50002]);
        assert_eq!(listed(&["ephemeral/udp"]), [80, 81, 50001, 53, 54]);
        assert_eq!(listed(&["loopback", "ephemeral", "80"]), [0; 0]);
    });
}

/// Netlink has an attribute that shows whether an IPv6 wildcard accepts IPv4. ss prints `*` for one
/// that does, and `[::]` for one that does not.
#[test]
fn json_has_v6only_if_the_source_reports_it() {
    in_private_network(|| {
        let _sockets = sockets_of_every_kind(Type::STREAM);
        let v6_only = |source: &str| {
            let listed = run(&mut lntu(&["list", "--json", "--source", source]));
            let value = |line: &&str| {
                let value: Value = serde_json::from_str(line).unwrap();
                value["v6only"].as_bool()
            };
            listed.lines().iter().map(value).collect::<Vec<_>>()
        };
        let known = [None, None, Some(false), Some(true), None, None];
        assert_eq!(v6_only("netlink"), known);
        assert_eq!(v6_only("proc"), [None; 6]);
        if have_ss() {
            assert_eq!(v6_only("ss"), known);
        }
    });
}

/// Before a check fails, it reads the listeners a second time, to print the reason.
#[test]
fn a_failed_check_does_not_repeat_a_warning() {
    if !have_program("strace", "strace") {
        return;
    }
    in_private_network(|| {
        let arguments = ["check", "--source", "netlink", "9"];
        let refused = run(&mut lntu_with_failing("socket", "EPERM", "", &arguments));
        let warning = "netlink: socket: Operation not permitted (os error 1)";
        let lines: Vec<&str> = refused.stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains(warning) && lines[1] == "lntu: 9/tcp: not listening");
    });
}

#[test]
fn check_of_udp_ignores_an_unreadable_tcp6_table() {
    let row = "0: 0100007F:0050 00000000:0000 0A\n";
    let proc = forbidding_proc(&[("tcp", row), ("udp", row)], &["tcp6"]);
    let checked = run_forbidden(&proc, &["check", "81/udp"]);
    assert_eq!(
        (checked.code(), &*checked.stderr),
        (1, "lntu: 81/udp: not listening\n")
    );
}

#[test]
fn wait_survives_a_temporary_netlink_failure() {
    if !have_program("strace", "strace") {
        return;
    }
    in_private_network(|| {
        let _server = bound(Type::STREAM, "[::]:80", dual_stack);
        let arguments = ["wait", "-i", "10ms", "127.0.0.1:80"];
        let waited = run(&mut lntu_with_failing(
            "socket", "ENOBUFS", ":when=1", &arguments,
        ));
        assert_eq!(waited.lines(), [""; 0]);
    });
}

#[test]
fn check_any_ignores_a_port_with_a_long_queue() {
    in_private_network(|| {
        let full = bound(Type::STREAM, "127.0.0.1:8000", |_| {});
        let _empty = bound(Type::STREAM, "127.0.0.1:8001", |_| {});
        let _clients = [0; 3].map(|_| TcpStream::connect("127.0.0.1:8000").unwrap());
        let check = |ports: &[&str]| {
            let options = ["check", "-H", "--any", "--max-queued", "2"];
            run(&mut lntu(&[&options[..], ports].concat()))
        };
        for ports in [&["8000", "8001"][..], &["8000-8001"], &["8000-9000"]] {
            let found = check(ports);
            let lines = found.lines();
            assert!(lines.len() == 1 && lines[0].contains(":8001 "), "{lines:?}");
        }
        let refused = check(&["7999-8000"]);
        let reason = "7999-8000/tcp: 3 connections are waiting to be accepted (backlog 7)";
        assert_eq!((refused.code(), refused.stderr), no(reason));
        drop(full);
    });
}

#[test]
fn wait_closed_waits_for_every_port_of_a_range() {
    in_private_network(|| {
        let wait = |ports: &str| {
            let arguments = ["wait", "-q", "--closed", "--timeout", "50ms", ports];
            run(&mut lntu(&arguments)).code()
        };
        let _server = bound(Type::STREAM, "127.0.0.1:3050", |_| {});
        assert_eq!((wait("3000-3999"), wait("4000-4999")), (1, 0));
    });
}
