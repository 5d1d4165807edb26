//! The fields of a JSON line. They must be the same with every source.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use rustix::fs::fchown;
use rustix::process::Uid;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::harness::*;

const SOURCES: [&str; 3] = ["ss", "proc", "netlink"];

/// Returns the owner of each listener in lines of JSON, by the listener's id.
fn owners(lines: &str) -> BTreeMap<String, Option<u64>> {
    let objects = lines.lines().map(|line| {
        let object: Value = serde_json::from_str(line).unwrap();
        let id = object["id"].as_str().unwrap().to_string();
        (id, object["uid"].as_u64())
    });
    objects.collect()
}

fn list(source: &str, options: &[&str]) -> String {
    let arguments = [&["list", "--json", "--source", source], options].concat();
    run(&mut lntu(&arguments)).stdout
}

#[test]
fn every_source_gives_a_listener_the_same_id() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _tcp = TcpListener::bind("0.0.0.0:80").unwrap();
        let _udp = UdpSocket::bind("127.0.0.1:53").unwrap();
        let v6 =
            TcpListener::bind("[::1]:80").and_then(|tcp| Ok((tcp, UdpSocket::bind("[::]:53")?)));
        let mut expected = vec!["tcp4:0.0.0.0:80", "udp4:127.0.0.1:53"];
        if v6.is_ok() {
            expected.extend(["tcp6:[::1]:80", "udp6:[::]:53"]);
        }
        expected.sort_unstable();
        for source in SOURCES {
            let listed = owners(&list(source, &[]));
            assert_eq!(Vec::from_iter(listed.keys()), expected, "{source}");
            let ports = owners(&list(source, &["--by-port"]));
            assert_eq!(
                Vec::from_iter(ports.keys()),
                ["tcp:80", "udp:53"],
                "{source}"
            );
        }
    });
}

#[test]
fn every_source_gives_a_listener_the_same_owner() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _own = TcpListener::bind("0.0.0.0:80").unwrap();
        let other = UdpSocket::bind("127.0.0.1:53").unwrap();
        fchown(&other, Some(Uid::from_raw(1234)), None).unwrap();
        let own = rustix::process::geteuid().as_raw();
        let expected = [
            ("tcp4:0.0.0.0:80".to_string(), Some(own.into())),
            ("udp4:127.0.0.1:53".to_string(), Some(1234)),
        ];
        for source in SOURCES {
            for options in [&[][..], &["-p"]] {
                let listed = owners(&list(source, options));
                assert_eq!(Vec::from_iter(listed), expected, "{source} {options:?}");
            }
        }
    });
}

#[test]
fn a_reopened_port_has_its_new_owner() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let mut watch = lntu(&["--changes-only", "--json", "-i", FAST]);
        let watcher = Running::start(&mut watch);
        assert!(watcher.next_line().contains("ready"));
        let address = "127.0.0.1:80".parse::<SocketAddr>().unwrap();
        // In the first two rounds, no listener remains after the port closes. In the other rounds,
        // port 81 still listens.
        let mut other = None;
        for owner in [1234, 5678, 2345, 6789] {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.bind(&address.into()).unwrap();
            fchown(&socket, Some(Uid::from_raw(owner)), None).unwrap();
            socket.listen(1).unwrap();
            let expected = [("tcp4:127.0.0.1:80".to_string(), Some(owner.into()))];
            assert_eq!(owners(&watcher.next_line()), expected.into());
            drop(socket);
            assert!(watcher.next_line().contains("closed"));
            if owner == 5678 {
                other = Some(TcpListener::bind("127.0.0.1:81").unwrap());
                assert!(watcher.next_line().contains(":81"));
            }
        }
        drop(other);
    });
}

/// Returns how often the traced watcher has run ss since it last read from netlink.
fn runs_of_ss_since_netlink(trace: &str) -> usize {
    let calls = trace.lines().rev();
    let since = calls.take_while(|call| !call.contains("AF_NETLINK"));
    since.filter(|call| call.contains("wait4(")).count()
}

#[test]
fn netlink_is_not_asked_if_no_listener_is_new() {
    if !have_ss() || !have_program("strace", "strace") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let trace = directory.path().join("trace");
    in_private_network(|| {
        let _first = TcpListener::bind("0.0.0.0:80").unwrap();
        let mut strace = std::process::Command::new("strace");
        strace.args([
            "-qq",
            "-e",
            "trace=recvfrom,wait4",
            "-e",
            "signal=none",
            "-o",
        ]);
        let lntu = [
            env!("CARGO_BIN_EXE_lntu"),
            "--source",
            "ss",
            "--json",
            "-i",
            FAST,
        ];
        let watcher = Running::start(strace.arg(&trace).args(lntu));
        let next = || owners(&watcher.next_line());
        let own = Some(u64::from(rustix::process::geteuid().as_raw()));
        assert_eq!(next(), [("tcp4:0.0.0.0:80".to_string(), own)].into());
        assert!(watcher.next_line().contains("ready"));
        wait_for("runs of ss without netlink", || {
            let trace = fs::read_to_string(&trace).unwrap();
            (runs_of_ss_since_netlink(&trace) >= 5).then_some(())
        });
        let _second = TcpListener::bind("0.0.0.0:81").unwrap();
        assert_eq!(next(), [("tcp4:0.0.0.0:81".to_string(), own)].into());
    });
}
