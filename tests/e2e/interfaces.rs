//! `check` and `wait` with listeners that are bound to an interface (`SO_BINDTODEVICE`). The right
//! answer is whether a connection to the address succeeds.

use std::net::IpAddr;

use socket2::{Domain, Socket, Type};

use crate::harness::*;

/// The addresses of the network namespace. The first of each family belongs to `lo`, the second
/// to `inside`.
const ADDRESSES: [&str; 4] = ["127.0.0.1", "10.9.0.1", "::1", "fd00::1"];

/// The addresses that listeners are bound to, and whether the listeners accept only IPv6.
const KINDS: [(&str, bool); 8] = [
    ("0.0.0.0", false),
    ("127.0.0.1", false),
    ("10.9.0.1", false),
    ("[::]", false),
    ("[::]", true),
    ("[::1]", true),
    ("[fd00::1]", true),
    ("[::ffff:10.9.0.1]", false),
];

/// Returns every combination of one of [`KINDS`] with an interface or with none. The listeners of
/// the combination at index `n` have port 1000 + `n`.
fn kinds() -> Vec<(&'static str, bool, Option<&'static str>)> {
    let interfaces = [None, Some("lo"), Some("inside")].into_iter();
    let kinds_on = |interface| KINDS.map(|(address, v6_only)| (address, v6_only, interface));
    interfaces.flat_map(kinds_on).collect()
}

/// Returns a function that binds a socket to this interface.
fn bind_to(interface: &str) -> impl Fn(&Socket) {
    move |socket: &Socket| socket.bind_device(Some(interface.as_bytes())).unwrap()
}

/// Adds the pair of interfaces `inside` and `outside`, and adds two addresses to `inside`.
fn add_interfaces() {
    ip("link add inside type veth peer name outside");
    ip("link set inside up");
    ip("link set outside up");
    ip("address add 10.9.0.1/24 dev inside");
    ip("address add fd00::1/64 dev inside nodad");
}

/// Opens a socket of this type for each combination of [`kinds`].
fn sockets_of_every_kind(kind: Type) -> Vec<Socket> {
    let sockets = kinds().into_iter().zip(1000..);
    let socket = |((address, v6_only, interface), port): ((&str, bool, Option<&str>), u16)| {
        bound(kind, &format!("{address}:{port}"), |socket| {
            if socket.domain().unwrap() == Domain::IPV6 {
                socket.set_only_v6(v6_only).unwrap();
                // With this option, the address need not belong to the interface of the socket.
                rustix::net::sockopt::set_ipv6_freebind(socket, true).unwrap();
            }
            interface.iter().for_each(|name| bind_to(name)(socket));
        })
    };
    sockets.map(socket).collect()
}

/// Returns for each of these addresses whether something answers there.
fn are_served(addresses: &[&str], port: u16, protocol: &str) -> Vec<bool> {
    let is_served = |address: &&str| {
        let address = address.parse().unwrap();
        match protocol {
            "tcp" => accepts_tcp(address, port),
            _ => accepts_udp(address, port),
        }
    };
    addresses.iter().map(is_served).collect()
}

#[test]
fn check_agrees_with_connections_to_each_address() {
    in_private_network(|| {
        add_interfaces();
        let _sockets = [Type::STREAM, Type::DGRAM].map(sockets_of_every_kind);
        let mut sources = vec!["netlink", "proc"];
        if have_ss() {
            sources.push("ss");
        }
        for protocol in ["tcp", "udp"] {
            let truths: Vec<Vec<bool>> = (1000..)
                .zip(kinds())
                .map(|(port, _)| are_served(&ADDRESSES, port, protocol))
                .collect();
            assert!(truths.contains(&vec![false, true, false, false]));
            assert!(truths.contains(&vec![true, false, true, false]));
            for ((index, (address, ..)), port) in kinds().iter().enumerate().zip(1000..) {
                for source in &sources {
                    // `/proc` shows neither interfaces nor whether `::` accepts IPv4.
                    let is_proc = *source == "proc";
                    let index = if is_proc { index % KINDS.len() } else { index };
                    let may_accept_v4 = is_proc && *address == "[::]";
                    let answer = |argument: &str| {
                        let code = check(&["-q", "--source", source, argument]).0;
                        (format!("{source} {argument}"), code)
                    };
                    let expect = |argument: String, code: i32| {
                        assert_eq!(answer(&argument), (format!("{source} {argument}"), code));
                    };
                    for (address, is_served) in ADDRESSES.iter().zip(&truths[index]) {
                        let address: IpAddr = address.parse().unwrap();
                        let code = match may_accept_v4 && address.is_ipv4() {
                            true => 2,
                            false => i32::from(!is_served),
                        };
                        expect(port_argument(address, port, protocol), code);
                    }
                    // A wildcard must be served at every address of its family.
                    let [v4, v6] =
                        [0, 2].map(|first| truths[index][first] && truths[index][first + 1]);
                    let code = if may_accept_v4 { 2 } else { i32::from(!v4) };
                    expect(format!("0.0.0.0:{port}/{protocol}"), code);
                    expect(
                        format!("*:{port}/{protocol}"),
                        if may_accept_v4 { 0 } else { code },
                    );
                    expect(format!("[::]:{port}/{protocol}"), i32::from(!v6));
                    expect(format!("{port}/{protocol}"), 0);
                }
            }
        }
    });
}

#[test]
fn a_reason_names_the_interface_of_a_listener() {
    in_private_network(|| {
        add_interfaces();
        let _sockets = [
            bound(Type::STREAM, "0.0.0.0:54", bind_to("inside")),
            bound(Type::STREAM, "[::]:55", |socket| {
                socket.set_only_v6(true).unwrap();
                bind_to("lo")(socket);
            }),
        ];
        for (port, reason) in [
            ("*:54", "*:54/tcp: listening only on 0.0.0.0%inside:54"),
            (
                "127.0.0.1:54",
                "127.0.0.1:54/tcp: listening only on 0.0.0.0%inside:54",
            ),
            (
                "127.0.0.1:55",
                "127.0.0.1:55/tcp: listening only on [::]%lo:55 (IPv6 only)",
            ),
            (
                "53",
                "53/tcp: not listening; 0.0.0.0%inside:54/tcp and [::]%lo:55/tcp are",
            ),
        ] {
            assert_eq!(check(&[port]), no(reason));
        }
        let wait = ["wait", "--closed", "--timeout", "0", "127.0.0.1:54"];
        let taken = run(&mut lntu(&wait));
        let reason = "lntu: 127.0.0.1:54/tcp: still taken by 0.0.0.0%inside:54/tcp\n";
        assert_eq!(
            (taken.code(), &*without_holders(&taken.stderr)),
            (1, reason)
        );
    });
}

/// Opens three listeners on `wildcard`, one after another, bound to `lo`, `inside` and `outside`.
/// Panics if `check` disagrees with a connection to one of these addresses.
fn assert_checked_as_connected(wildcard: &str, addresses: &[&str]) {
    for (interface, port) in ["lo", "inside", "outside"].iter().zip(80..) {
        let _server = bound(
            Type::STREAM,
            &format!("{wildcard}:{port}"),
            bind_to(interface),
        );
        let served = are_served(addresses, port, "tcp");
        for (address, is_served) in addresses.iter().zip(served) {
            let argument = port_argument(address.parse().unwrap(), port, "tcp");
            let code = check(&["-q", &argument]).0;
            assert_eq!(code, i32::from(!is_served), "{argument} on {interface}");
        }
    }
}

#[test]
fn check_finds_the_interface_of_a_local_route() {
    in_private_network(|| {
        add_interfaces();
        ip("route add local 10.8.0.0/16 dev lo");
        ip("route add local 10.7.0.0/16 dev inside");
        ip("address add 127.5.0.1/32 dev inside");
        let addresses = ["10.8.7.6", "10.7.6.5", "127.5.0.1", "127.5.0.2", "10.9.0.1"];
        assert_checked_as_connected("0.0.0.0", &addresses);
    });
}

/// If two interfaces have the same address, the kernel uses only the first of them.
#[test]
fn an_address_on_two_interfaces_counts_for_the_first() {
    in_private_network(|| {
        add_interfaces();
        ip("address add 10.6.0.1/32 dev outside");
        ip("address add 10.6.0.1/32 dev inside");
        ip("address add 10.9.0.2/32 dev outside");
        ip("address add fd06::1/128 dev outside nodad");
        ip("address add fd06::1/128 dev inside nodad");
        ip("address add fd00::2/128 dev outside nodad");
        assert_checked_as_connected("0.0.0.0", &["10.6.0.1", "10.9.0.1", "10.9.0.2"]);
        assert_checked_as_connected("[::]", &["fd06::1", "fd00::1", "fd00::2"]);
    });
}

/// A client that connects to a link-local address chooses the interface.
#[test]
fn a_link_local_address_counts_for_both_interfaces() {
    in_private_network(|| {
        add_interfaces();
        for name in ["inside", "outside"] {
            ip(&format!("address add fe80::9/64 dev {name} nodad"));
        }
        ip("address add fe80::8/64 dev inside nodad");
        for (name, port, code) in [("inside", 80, 0), ("outside", 81, 1)] {
            let _server = bound(Type::STREAM, &format!("[::]:{port}"), bind_to(name));
            let check = |address| check(&["-q", &format!("[{address}]:{port}")]).0;
            assert_eq!((check("fe80::9"), check("fe80::8")), (0, code), "{name}");
        }
    });
}

#[test]
fn check_accepts_a_broadcast_address_of_an_interface() {
    in_private_network(|| {
        add_interfaces();
        ip("address del 10.9.0.1/24 dev inside");
        ip("address add 10.9.0.1/24 broadcast 10.9.0.255 dev inside");
        let _server = bound(Type::DGRAM, "0.0.0.0:68", bind_to("inside"));
        let _other = bound(Type::DGRAM, "0.0.0.0:69", bind_to("lo"));
        for address in ["10.9.0.255", "255.255.255.255", "224.0.0.251"] {
            let port = format!("{address}:68/udp");
            assert_eq!(check(&[&port]), yes(), "{port}");
        }
        assert_eq!(check(&["-q", "10.9.0.255:69/udp"]).0, 1);
    });
}

/// After its interface is deleted, a socket stays bound to the index that the interface had.
#[test]
fn a_listener_on_a_deleted_interface_has_no_address() {
    in_private_network(|| {
        add_interfaces();
        ip("address add 10.9.0.2/32 dev lo");
        let _servers = [
            bound(Type::STREAM, "0.0.0.0:80", bind_to("inside")),
            bound(Type::STREAM, "[::]:81", bind_to("inside")),
        ];
        assert_eq!(check(&["10.9.0.1:80", "[fd00::1]:81"]), yes());
        ip("link del inside");
        for port in ["10.9.0.2:80", "127.0.0.1:80", "[::1]:81", "127.0.0.1:81"] {
            assert_eq!(check(&["-q", port]).0, 1, "{port}");
        }
        assert_eq!(check(&["80", "81"]), yes());
        assert_eq!(
            run(&mut lntu(&["check", "10.9.0.1:80"])).error(),
            foreign_address("10.9.0.1")
        );
    });
}

#[test]
fn routing_rules_do_not_change_the_interface() {
    in_private_network(|| {
        add_interfaces();
        let _server = bound(Type::STREAM, "0.0.0.0:80", bind_to("inside"));
        let _other = bound(Type::STREAM, "0.0.0.0:81", bind_to("lo"));
        ip("rule add pref 1 lookup local");
        ip("rule del pref 0");
        ip("route add 10.9.0.1 via 10.9.0.2 table 100");
        ip("rule add pref 0 lookup 100");
        assert_eq!(check(&["10.9.0.1:80"]), yes());
        assert_eq!(check(&["-q", "10.9.0.1:81"]).0, 1);
    });
}

#[test]
fn an_interface_is_unknown_without_rtnetlink() {
    if !have_program("strace", "strace") {
        return;
    }
    in_private_network(|| {
        let _server = bound(Type::STREAM, "0.0.0.0:80", bind_to("lo"));
        let check = |port: &str| {
            // lntu reads the listeners through the first socket that it opens, so only later calls
            // of `socket` fail.
            let arguments = ["check", "--source", "netlink", port];
            run(&mut lntu_with_failing(
                "socket", "EPERM", ":when=2+", &arguments,
            ))
        };
        let expected = "127.0.0.1:80/tcp: could not tell whether the address belongs to if1 (check 80/tcp instead)";
        assert_eq!(check("127.0.0.1:80").error(), expected);
        assert_eq!(check("80").code(), 0);
        assert_eq!(check("*:80").code(), 1);
    });
}
