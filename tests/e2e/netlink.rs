//! Tests of `--source netlink`, also on systems where the kernel refuses netlink sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;

use socket2::{Socket, Type};
use tempfile::TempDir;

use crate::harness::*;

/// Maps the protocol and port of each line to its Recv-Q, Send-Q and interface.
fn details(table: &str) -> BTreeMap<String, [String; 3]> {
    let details = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, port) = fields[4].rsplit_once(':').unwrap();
        let scope = address.split_once('%').map_or("", |(_, scope)| scope);
        let details = [fields[2], fields[3], scope.trim_end_matches(']')];
        (format!("{} {port}", fields[0]), details.map(str::to_string))
    };
    table.lines().map(details).collect()
}

fn port(socket: &Socket) -> u16 {
    socket.local_addr().unwrap().as_socket().unwrap().port()
}

#[test]
fn queues_and_interfaces_agree_with_ss() {
    in_private_network(|| {
        let on_lo = |socket: &Socket| socket.bind_device(Some(b"lo")).unwrap();
        let nothing = |_: &Socket| {};
        let tcp = bound(Type::STREAM, "127.0.0.1:0", nothing);
        let full = bound(Type::STREAM, "0.0.0.0:0", on_lo);
        full.listen(1).unwrap();
        let udp = bound(Type::DGRAM, "127.0.0.1:0", on_lo);
        let _v6 = bound(Type::DGRAM, "[::1]:0", on_lo);
        // The accept queue holds one connection more than the backlog.
        let address: SocketAddr = ([127, 0, 0, 1], port(&full)).into();
        let _clients = [0; 2].map(|_| TcpStream::connect(address).unwrap());
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender
            .send_to(&[0; 1000], ("127.0.0.1", port(&udp)))
            .unwrap();
        let list = || run(&mut lntu(&["list", "-H", "--source", "netlink"]));
        wait_for("a full queue", || {
            let listed = details(&list().stdout);
            (listed[&format!("tcp {}", port(&full))][0] == "2").then_some(())
        });
        let listed = details(&list().lines().join("\n"));
        let details_of = |protocol: &str, socket: &Socket| {
            let key = format!("{protocol} {}", port(socket));
            listed[&key].each_ref().map(String::as_str)
        };
        assert_eq!(details_of("tcp", &full), ["2", "1", "lo"]);
        assert_eq!(details_of("tcp", &tcp), ["0", "7", ""]);
        assert_ne!(details_of("udp", &udp)[0], "0");
        if have_ss() {
            let ss = run(Command::new("ss").arg("-Hlntu"));
            assert_eq!(listed, details(&ss.stdout));
        }
    });
}

#[test]
fn a_renamed_interface_is_listed_by_its_new_name() {
    in_private_network(|| {
        let _socket = bound(Type::STREAM, "0.0.0.0:80", |socket| {
            socket.bind_device(Some(b"lo")).unwrap();
        });
        let arguments = ["--full", "-H", "-i", FAST, "--source", "netlink"];
        let watcher = Running::start(&mut lntu(&arguments));
        assert_eq!(event(&watcher.next_line()), "tcp LISTEN *%lo:80");
        let rename = run(Command::new("ip").args(["link", "set", "lo", "name", "after"]));
        // Before Linux 6.2, an interface cannot be renamed while it is up.
        let missing = (!rename.status.success()).then_some(rename.stderr);
        if !have("netns", missing) {
            return;
        }
        // Each new listener makes the watcher print another table. All of them stay open, so that
        // each has a new port. The watcher would not notice a listener that reuses a port.
        let mut others = Vec::new();
        wait_for("the new name", || {
            let other = listen("127.0.0.1");
            let other_port = format!(":{} ", port_of(&other));
            others.push(other);
            // Skip tables that were printed before this listener. Port 80 is in the first line of
            // each table.
            let mut port_80 = String::new();
            loop {
                match watcher.next_line() {
                    line if line.contains(&other_port) => break,
                    line if line.contains(":80 ") => port_80 = event(&line),
                    _ => {}
                }
            }
            (port_80 == "tcp LISTEN *%after:80").then_some(())
        });
    });
}

/// Checks that this command connects each of its netlink sockets to the kernel at once, and
/// asks for the sender of every datagram that it reads from them. `protocols` are the netlink
/// protocols that it must use.
fn assert_hears_only_the_kernel(command: &[&str], protocols: &[&str]) {
    let directory = TempDir::new().unwrap();
    let trace = directory.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-e", "trace=network,read,write,close", "-o"]);
    let traced = run(strace.arg(&trace).args(command));
    // With -A, the status is 2 if lntu cannot see all namespaces.
    assert!(matches!(traced.code(), 0..=2), "{traced:?}");
    let trace = fs::read_to_string(&trace).unwrap();
    let mut used_protocols = BTreeSet::new();
    let mut sockets: Vec<&str> = Vec::new();
    let mut lines = trace.lines();
    while let Some(line) = lines.next() {
        if let Some(opened) = line.strip_prefix("socket(AF_NETLINK, ") {
            let (arguments, fd) = opened.split_once(") = ").expect(line);
            let connected = lines.next().unwrap();
            let to_kernel = format!("connect({fd}, {{sa_family=AF_NETLINK, nl_pid=0, ");
            assert!(connected.starts_with(&to_kernel), "{line}: {connected}");
            assert!(connected.ends_with(" = 0"), "{connected}");
            used_protocols.insert(arguments.rsplit(", ").next().unwrap());
            sockets.push(fd);
            continue;
        }
        let (call, arguments) = line.split_once('(').unwrap_or((line, ""));
        let fd = arguments.split([',', ')']).next().unwrap();
        if !sockets.contains(&fd) {
            continue;
        }
        match call {
            "close" => sockets.retain(|socket| *socket != fd),
            "recvfrom" => assert!(line.contains("{sa_family=AF_NETLINK, nl_pid=0, "), "{line}"),
            "write" | "getsockopt" | "setsockopt" => {}
            _ => panic!("{line}"),
        }
    }
    assert_eq!(
        used_protocols,
        BTreeSet::from_iter(protocols.iter().copied()),
        "{command:?}"
    );
}

#[test]
fn netlink_sockets_receive_only_from_the_kernel() {
    if !have_program("strace", "strace") {
        return;
    }
    in_private_network(|| {
        let _socket = bound(Type::STREAM, "127.0.0.1:80", |socket| {
            socket.bind_device(Some(b"lo")).unwrap();
        });
        let (lntu, ss) = (env!("CARGO_BIN_EXE_lntu"), SS_LINK.to_str().unwrap());
        let (diag, route) = ("NETLINK_SOCK_DIAG", "NETLINK_ROUTE");
        let both = [diag, route];
        for source in ["auto", "netlink"] {
            assert_hears_only_the_kernel(&[lntu, "check", "--source", source, "80"], &both);
        }
        assert_hears_only_the_kernel(&[lntu, "list", "--source", "netlink"], &both);
        assert_hears_only_the_kernel(&[lntu, "list", "-A"], &both);
        assert_hears_only_the_kernel(&[lntu, "check", "10.9.0.2:81"], &both);
        assert_hears_only_the_kernel(&[ss, "-tlnp"], &both);
        assert_hears_only_the_kernel(&[ss, "-anO", "-A", "all"], &both);
        for kind in [
            "udp", "mptcp", "raw", "sctp", "unix", "packet", "netlink", "vsock",
        ] {
            assert_hears_only_the_kernel(&[ss, "-anA", kind], &[diag]);
        }
        assert_hears_only_the_kernel(&[ss, "-tln", "dev = lo"], &both);
    });
}

#[test]
fn lntu_reports_that_it_reads_proc_without_netlink() {
    if !have_program("strace", "strace") {
        return;
    }
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let list = ["list", "-H", "--source", "netlink", &port];
    for (error, reason) in [
        (
            "EAFNOSUPPORT",
            "Address family not supported by protocol (os error 97)",
        ),
        ("EPERM", "Operation not permitted (os error 1)"),
        ("EPROTONOSUPPORT", "Protocol not supported (os error 93)"),
    ] {
        let listed = run(&mut lntu_with_failing("socket", error, "", &list));
        assert_eq!(listed.code(), 0, "{listed:?}");
        assert_eq!(listed.stdout.lines().count(), 1, "{listed:?}");
        let message = format!("lntu: netlink: socket: {reason}; reading /proc/net instead\n");
        assert_eq!(listed.stderr, message);
    }
    // ENOBUFS is temporary, so lntu reports it instead of reading /proc/net.
    let listed = run(&mut lntu_with_failing("socket", "ENOBUFS", "", &list));
    assert_eq!(
        listed.error(),
        "netlink: socket: No buffer space available (os error 105)"
    );
}

#[test]
fn lntu_reads_proc_without_ss_and_netlink() {
    if !have_program("strace", "strace") {
        return;
    }
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let no_ss = TempDir::new().unwrap();
    for (error, reason) in [
        ("EPERM", "Operation not permitted (os error 1)"),
        ("ENOBUFS", "No buffer space available (os error 105)"),
    ] {
        let inject = format!("inject=socket:error={error}");
        let mut strace = Command::new("strace");
        strace.args([
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=socket",
            "-e",
            &inject,
        ]);
        strace.args(["-E", &format!("PATH={}", no_ss.path().display())]);
        strace.args([env!("CARGO_BIN_EXE_lntu"), "list", "-H", "-v", &port]);
        let listed = run(&mut strace);
        let detail = format!(
            "lntu: ss: not found in PATH; netlink: socket: {reason}; reading /proc/net instead\n"
        );
        assert_eq!((listed.code(), &*listed.stderr), (0, &*detail));
        assert_eq!(listed.stdout.lines().count(), 1, "{listed:?}");
    }
}

/// Each attempt to open a netlink socket may make the kernel start modprobe, so the watcher must
/// not try again in each poll.
#[test]
fn a_watcher_does_not_retry_refused_netlink() {
    if !have_program("strace", "strace") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let trace = directory.path().join("trace");
    let mut strace = Command::new("strace");
    strace
        .args(["-qq", "-e", "trace=socket,openat", "-o"])
        .arg(&trace);
    strace.args(["-e", "inject=socket:error=EPERM", "-E", "PATH=/nowhere"]);
    let watcher = Running::start(strace.args([env!("CARGO_BIN_EXE_lntu"), "-i", FAST]));
    let count = |call: &str| {
        let traced = fs::read_to_string(&trace).unwrap_or_default();
        traced.matches(call).count()
    };
    wait_for("some polls", || (count("net/tcp\"") > 5).then_some(()));
    assert_eq!(count("socket("), 1);
    drop(watcher);
}

#[test]
fn a_watcher_reads_proc_after_netlink_is_refused() {
    if !have_program("strace", "strace") {
        return;
    }
    let port = FreePort::new();
    let listener = port.listen();
    let text = port.to_string();
    let arguments = ["-H", "-i", FAST, "--source", "netlink", "-t", "-4", &text];
    // Each poll sends its requests with `write`, and each line and message is one `write`, too. The
    // 20th call is a request, and it fails.
    let mut command = lntu_with_failing("write", "EACCES", ":when=20", &arguments);
    let watcher = Running::start(&mut command);
    assert!(watcher.next_line().contains("LISTEN 0      128"));
    let message = "lntu: netlink: tcp: Permission denied (os error 13); reading /proc/net instead";
    assert_eq!(watcher.next_error(), message);
    watcher.assert_silent_for(A_WHILE);
    drop(listener);
    let closed = event(&watcher.next_line());
    assert_eq!(closed, format!("tcp CLOSED 127.0.0.1:{port}"));
    let _listener = port.listen();
    let opened = watcher.next_line();
    assert!(opened.contains("LISTEN 0      0"), "{opened}");
    watcher.assert_no_more_errors();
}

#[test]
fn a_failed_netlink_dump_closes_no_port() {
    if !have_program("strace", "strace") {
        return;
    }
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let arguments = ["-H", "-i", FAST, "--source", "netlink", &port];
    let mut command = lntu_with_failing("recvfrom", "ENOBUFS", ":when=100", &arguments);
    let watcher = Running::start(&mut command);
    assert!(watcher.next_line().contains("LISTEN"));
    let error = watcher.next_error();
    let reason = "No buffer space available (os error 105); trying again";
    assert!(error.starts_with("lntu: netlink: "), "{error}");
    assert!(error.ends_with(reason), "{error}");
    assert_eq!(watcher.next_error(), "lntu: reading listeners again");
    watcher.assert_silent_for(A_WHILE);
    drop(listener);
    assert!(watcher.next_line().contains("CLOSED"));
    watcher.assert_no_more_errors();
}
