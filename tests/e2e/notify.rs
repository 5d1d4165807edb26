//! `--notify`: a service manager hears once that the PORTs listen.

use std::fs;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::*;

/// Runs an application beside a watcher that is to notify the receiver at this address.
fn watched(arguments: &[&str], address: &str) -> Running {
    let mut lntu = lntu(&[&["--notify", "-q", "-i", FAST], arguments].concat());
    lntu.args(["--source", "netlink", "--", "sleep", "600"]);
    Running::start(lntu.env("NOTIFY_SOCKET", address))
}

/// Everything that comes within a while.
fn received(receiver: &UnixDatagram) -> Vec<String> {
    receiver.set_read_timeout(Some(A_WHILE)).unwrap();
    let mut datagrams = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match receiver.recv(&mut buffer) {
            Ok(length) => datagrams.push(String::from_utf8(buffer[..length].to_vec()).unwrap()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return datagrams,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The next datagram, whenever it comes.
fn next(receiver: &UnixDatagram) -> String {
    receiver.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut buffer = [0; 4096];
    let length = receiver.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

fn receiver_in(directory: &Path) -> (UnixDatagram, String) {
    let path = directory.join("notify");
    let receiver = UnixDatagram::bind(&path).unwrap();
    (receiver, path.to_str().unwrap().into())
}

#[test]
fn ready_is_sent_once_as_soon_as_all_ports_listen() {
    let directory = TempDir::new().unwrap();
    let (receiver, address) = receiver_in(directory.path());
    in_private_network(|| {
        let _app = watched(&["8080", "8081"], &address);
        let first = listen_on("127.0.0.1", 8080);
        assert_eq!(received(&receiver), [""; 0]);
        let _second = listen_on("127.0.0.1", 8081);
        assert_eq!(next(&receiver), "READY=1");
        drop(first);
        assert_eq!(received(&receiver), [""; 0]);
        let _again = listen_on("127.0.0.1", 8080);
        assert_eq!(received(&receiver), [""; 0]);
    });
}

/// As for `wait`.
#[test]
fn a_port_is_ready_if_a_server_on_a_wildcard_serves_it() {
    let directory = TempDir::new().unwrap();
    let (receiver, address) = receiver_in(directory.path());
    in_private_network(|| {
        let _app = watched(&["127.0.0.1:8080"], &address);
        let other = listen_on("127.0.0.2", 8080);
        assert_eq!(received(&receiver), [""; 0]);
        drop(other);
        let _server = listen_on("0.0.0.0", 8080);
        assert_eq!(next(&receiver), "READY=1");
    });
}

#[test]
fn a_port_without_a_protocol_is_one_of_tcp() {
    let directory = TempDir::new().unwrap();
    let (receiver, address) = receiver_in(directory.path());
    in_private_network(|| {
        let _udp = UdpSocket::bind("127.0.0.1:8080").unwrap();
        let app = watched(&["8080"], &address);
        assert_eq!(received(&receiver), [""; 0]);
        drop(app);
        let _app = watched(&["--udp", "8080"], &address);
        assert_eq!(next(&receiver), "READY=1");
    });
}

#[test]
fn what_is_not_printed_is_ready_all_the_same() {
    let directory = TempDir::new().unwrap();
    let (receiver, address) = receiver_in(directory.path());
    let own = fs::read_to_string("/proc/self/comm").unwrap();
    in_private_network(|| {
        let _servers = ["127.0.0.1", "127.0.0.2"].map(|address| listen_on(address, 8080));
        for options in [
            &["--by-port"][..],
            &["--exclude-holder", own.trim_end()],
            &["--exclude-of", &std::process::id().to_string()],
            &["--exclude", "loopback"],
            &["--exclude", "8080"],
        ] {
            let ports = ["127.0.0.1:8080", "127.0.0.2:8080"];
            let _app = watched(&[options, &ports].concat(), &address);
            assert_eq!(next(&receiver), "READY=1", "{options:?}");
        }
    });
}

#[test]
fn servers_of_other_namespaces_cannot_be_asked_about() {
    let refused = run(&mut lntu(&["-A", "--notify", "8080"]));
    let reason = "--all-namespaces: not together with --notify, which reads one network \
                  namespace (try 'lntu --help')";
    assert_eq!((refused.code(), refused.error()), (2, reason));
}

#[test]
fn an_address_that_is_not_there_yet_is_waited_for() {
    let directory = TempDir::new().unwrap();
    let (receiver, address) = receiver_in(directory.path());
    in_private_network(|| {
        let mut command = lntu(&[
            "--notify",
            "-i",
            FAST,
            "10.1.2.3:8080",
            "--",
            "sleep",
            "600",
        ]);
        let app = Running::start(command.env("NOTIFY_SOCKET", &address));
        let error = app.next_error();
        assert!(error.starts_with("lntu: --notify: 10.1.2.3"), "{error}");
        assert!(error.ends_with("; trying again"), "{error}");
        let _server = listen_on("0.0.0.0", 8080);
        assert_eq!(next(&receiver), "READY=1");
    });
}

#[test]
fn an_abstract_name_is_an_address() {
    in_private_network(|| {
        let name = unique_name();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let receiver = UnixDatagram::bind_addr(&address).unwrap();
        let _server = listen_on("127.0.0.1", 8080);
        let _app = watched(&["8080"], &format!("@{name}"));
        assert_eq!(next(&receiver), "READY=1");
    });
}

/// Parcel binds its port for some milliseconds, and listens later.
#[test]
fn a_port_that_is_there_for_one_look_is_not_ready() {
    let directory = TempDir::new().unwrap();
    let (receiver, address) = receiver_in(directory.path());
    // A poll looks at most ten times.
    let ss = ss_with_turns(&[&["8080"][..], &["1"; 20]].concat());
    let mut command = lntu(&["--notify", "-i", FAST, "--source", "ss", "8080"]);
    command.args(["--", "sleep", "600"]);
    command.env("PATH", path_with(ss.path()));
    let app = Running::start(command.env("NOTIFY_SOCKET", address));
    // It comes, goes, and comes again.
    let is_of_it = |line: &String| line.contains(":8080 ");
    let lines = (0..10).map(|_| app.next_line()).filter(is_of_it);
    assert!(lines.count() > 1);
    assert_eq!(received(&receiver), [""; 0]);
}

#[test]
fn without_a_service_manager_nothing_is_said() {
    in_private_network(|| {
        let _server = listen_on("127.0.0.1", 8080);
        let mut command = lntu(&["--notify", "-H", "8080", "--", "sleep", "600"]);
        let app = Running::start(command.env_remove("NOTIFY_SOCKET"));
        assert!(app.next_line().contains(":8080 "));
        app.assert_no_more_errors_for(A_WHILE);
    });
}

#[test]
fn a_receiver_that_is_late_still_hears_it() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("notify");
    in_private_network(|| {
        let _server = listen_on("127.0.0.1", 8080);
        let mut command = lntu(&["--notify", "-i", FAST, "8080", "--", "sleep", "600"]);
        let app = Running::start(command.env("NOTIFY_SOCKET", &path));
        let reason = "lntu: NOTIFY_SOCKET: No such file or directory (os error 2); trying again";
        assert_eq!(app.next_error(), reason);
        app.assert_no_more_errors_for(A_WHILE);
        let receiver = UnixDatagram::bind(&path).unwrap();
        assert_eq!(next(&receiver), "READY=1");
    });
}

#[test]
fn a_receiver_that_does_not_read_stops_nothing() {
    let directory = TempDir::new().unwrap();
    let (receiver, address) = receiver_in(directory.path());
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(b"STATUS=full", &address).is_ok() {}
    in_private_network(|| {
        let _server = listen_on("127.0.0.1", 8080);
        let mut command = lntu(&["--notify", "-H", "-i", FAST, "8080", "8081"]);
        command.args(["--", "sleep", "600"]);
        let _other = listen_on("127.0.0.1", 8081);
        let app = Running::start(command.env("NOTIFY_SOCKET", &address));
        assert!(app.next_line().contains(":8080 "));
        assert!(app.next_line().contains(":8081 "));
        assert!(app.next_error().ends_with("; trying again"));
        let _change = listen_on("127.0.0.2", 8080);
        assert!(app.next_line().contains("127.0.0.2:8080 "));
        while next(&receiver) != "READY=1" {}
    });
}

#[test]
fn the_application_starts_with_a_socket_that_makes_no_sense() {
    let long = "/".repeat(200);
    let mut command = lntu(&[
        "--notify",
        "8080",
        "--",
        "sh",
        "-c",
        "echo started; sleep 1",
    ]);
    let app = Running::start(command.env("NOTIFY_SOCKET", long));
    let line = wait_for("its line", || {
        let line = app.next_line();
        (line == "started").then_some(line)
    });
    assert_eq!(line, "started");
    assert!(app.next_error().starts_with("lntu: NOTIFY_SOCKET: "));
}

/// systemd knows every line of the unit, and its own tool checks that it does.
#[test]
fn systemd_knows_the_unit() {
    if !have_program("services", "systemd-analyze") {
        return;
    }
    let [unit, _] = examples("A service that is active once it listens");
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("server.service");
    // Whatever it starts must exist.
    let unit = unit.replace("/usr/bin/lntu", "/bin/true");
    fs::write(&file, unit).unwrap();
    let verified = run(Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&file));
    let said: Vec<&str> = verified
        .stderr
        .lines()
        .filter(|line| line.contains("server.service"))
        .collect();
    assert_eq!(said, [""; 0]);
}
