//! `--notify` tells a service manager once that the PORTs are listening.

use std::fs;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::*;

/// Starts an application with a watcher. The watcher sends its notification to the socket at this
/// address.
fn watched(arguments: &[&str], address: &str) -> Running {
    let mut lntu = lntu(&[&["--notify", "-q", "-i", FAST], arguments].concat());
    lntu.args(["--source", "netlink", "--", "sleep", "600"]);
    Running::start(lntu.env("NOTIFY_SOCKET", address))
}

/// Receives datagrams until none arrives for [`A_WHILE`].
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

/// Waits for the next datagram.
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
fn ready_is_sent_once_when_all_ports_listen() {
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

#[test]
fn a_wildcard_listener_counts_for_an_address() {
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
fn a_port_without_protocol_means_tcp() {
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
fn notify_counts_listeners_that_options_hide() {
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
fn notify_is_refused_with_all_namespaces() {
    let refused = run(&mut lntu(&["-A", "--notify", "8080"]));
    let reason = "--all-namespaces: not together with --notify, which reads one network \
                  namespace (try 'lntu --help')";
    assert_eq!((refused.code(), refused.error()), (2, reason));
}

#[test]
fn notify_retries_if_the_address_is_not_local() {
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
fn ready_is_sent_to_an_abstract_socket_name() {
    in_private_network(|| {
        let name = unique_name();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let receiver = UnixDatagram::bind_addr(&address).unwrap();
        let _server = listen_on("127.0.0.1", 8080);
        let _app = watched(&["8080"], &format!("@{name}"));
        assert_eq!(next(&receiver), "READY=1");
    });
}

/// The bundler Parcel binds its port for some milliseconds to see if it is free, and listens on it
/// later.
#[test]
fn a_briefly_bound_port_is_not_ready() {
    let directory = TempDir::new().unwrap();
    let (receiver, address) = receiver_in(directory.path());
    // One poll runs ss at most ten times. So a whole poll falls within the 20 runs in a row that
    // do not list port 8080.
    let ss = ss_with_turns(&[&["8080"][..], &["1"; 20]].concat());
    let mut command = lntu(&["--notify", "-i", FAST, "--source", "ss", "8080"]);
    command.args(["--", "sleep", "600"]);
    command.env("PATH", path_with(ss.path()));
    let app = Running::start(command.env("NOTIFY_SOCKET", address));
    // The watcher does report each time that the port opens.
    let lines = (0..10).map(|_| app.next_line());
    assert!(lines.filter(|line| line.contains(":8080 ")).count() > 1);
    assert_eq!(received(&receiver), [""; 0]);
}

#[test]
fn notify_prints_nothing_without_a_notify_socket() {
    in_private_network(|| {
        let _server = listen_on("127.0.0.1", 8080);
        let mut command = lntu(&["--notify", "-H", "8080", "--", "sleep", "600"]);
        let app = Running::start(command.env_remove("NOTIFY_SOCKET"));
        assert!(app.next_line().contains(":8080 "));
        app.assert_no_more_errors_for(A_WHILE);
    });
}

#[test]
fn notify_retries_until_the_receiver_exists() {
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
fn a_full_notify_socket_does_not_block_the_watcher() {
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
fn the_application_starts_despite_a_bad_notify_socket() {
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
    let line = wait_for("the application's line", || {
        let line = app.next_line();
        (line == "started").then_some(line)
    });
    assert_eq!(line, "started");
    assert!(app.next_error().starts_with("lntu: NOTIFY_SOCKET: "));
}

/// `systemd-analyze verify` reports every directive in the unit that systemd does not know.
#[test]
fn systemd_accepts_the_unit_in_the_manual() {
    if !have_program("services", "systemd-analyze") {
        return;
    }
    let [unit, _] = examples("A service that is active once it listens");
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("server.service");
    // The program that the unit starts must exist.
    let unit = unit.replace("/usr/bin/lntu", "/bin/true");
    fs::write(&file, unit).unwrap();
    let verified = run(Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&file));
    let complaints: Vec<&str> = verified
        .stderr
        .lines()
        .filter(|line| line.contains("server.service"))
        .collect();
    assert_eq!(complaints, [""; 0]);
}

/// lntu prints the warning once and does not retry. sd_notify(3) rejects such addresses, too.
#[test]
fn notify_warns_of_an_unsupported_notify_socket() {
    let directory = TempDir::new().unwrap();
    let (_receiver, _) = receiver_in(directory.path());
    in_private_network(|| {
        let _server = listen_on("127.0.0.1", 8080);
        for address in ["", "@", "notify", "./notify", "vsock:2:9999"] {
            let mut command = lntu(&["--notify", "-i", FAST, "8080", "--", "sleep", "600"]);
            command.env("NOTIFY_SOCKET", address);
            let app = Running::start(command.current_dir(directory.path()));
            let warning = "lntu: NOTIFY_SOCKET: must be @NAME or a PATH that begins with /; \
                           nothing is sent";
            assert_eq!(app.next_error(), warning, "{address:?}");
            app.assert_no_more_errors_for(A_WHILE);
        }
    });
}
