//! Tests of `check` and `wait` with Unix sockets as PORTs. To judge an answer, the tests try
//! whether a client can connect to the socket.

use std::ffi::OsStr;
use std::fs;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use socket2::{Domain, SockAddr, Socket, Type};
use tempfile::TempDir;

use crate::harness::docker::*;
use crate::harness::*;

/// The reason that lntu prints if no socket of this network namespace is bound to the file.
const UNMATCHED: &str = "could not tell, because no socket of this network namespace has this file \
                         (its server has ended, or runs in another one)";

fn port(path: &Path) -> String {
    format!("unix:{}", path.display())
}

fn check(port: &str) -> (i32, String) {
    let checked = run(&mut lntu(&["check", port]));
    assert_eq!(checked.stdout, "", "{port}");
    (checked.code(), checked.stderr)
}

fn refusal(status: i32, port: &str, reason: &str) -> (i32, String) {
    (status, format!("lntu: {port}: {reason}\n"))
}

/// A socket that is bound to `path` and does not listen.
fn bound_to(path: &Path, kind: Type) -> Socket {
    let socket = Socket::new(Domain::UNIX, kind, None).unwrap();
    socket.bind(&SockAddr::unix(path).unwrap()).unwrap();
    socket
}

fn listening(path: &Path, kind: Type, backlog: i32) -> Socket {
    let socket = bound_to(path, kind);
    socket.listen(backlog).unwrap();
    socket
}

fn connects(path: &Path, kind: Type) -> bool {
    let socket = Socket::new(Domain::UNIX, kind, None).unwrap();
    socket.connect(&SockAddr::unix(path).unwrap()).is_ok()
}

#[test]
fn check_of_a_unix_socket_agrees_with_connect() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let _sockets = [
        listening(&path("stream"), Type::STREAM, 5),
        listening(&path("seqpacket"), Type::SEQPACKET, 5),
        bound_to(&path("datagram"), Type::DGRAM),
        bound_to(&path("bound"), Type::STREAM),
    ];
    drop(listening(&path("stale"), Type::STREAM, 5));
    fs::write(path("file"), "").unwrap();
    symlink("stream", path("link")).unwrap();
    symlink("nothing", path("dangling")).unwrap();
    for (name, kind, status, reason) in [
        ("stream", Type::STREAM, 0, ""),
        ("seqpacket", Type::SEQPACKET, 0, ""),
        ("datagram", Type::DGRAM, 0, ""),
        ("link", Type::STREAM, 0, ""),
        ("bound", Type::STREAM, 1, "bound, but not listening"),
        ("stale", Type::STREAM, 2, UNMATCHED),
        ("file", Type::STREAM, 1, "not a socket"),
        ("file/below", Type::STREAM, 1, "no such file"),
        ("dangling", Type::STREAM, 1, "no such file"),
        ("missing", Type::STREAM, 1, "no such file"),
    ] {
        let path = path(name);
        let expected = match status {
            0 => yes(),
            _ => refusal(status, &port(&path), reason),
        };
        assert_eq!(check(&port(&path)), expected, "{name}");
        assert_eq!(connects(&path, kind), status == 0, "{name}");
    }
}

/// syslog(3), for example, connects to a datagram server. The kernel then reports another state for
/// the server's socket.
#[test]
fn a_datagram_server_with_a_client_still_listens() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let name = unique_name();
    let address = SockAddr::unix(&path).unwrap();
    let mut abstract_address = b"\0".to_vec();
    abstract_address.extend(name.as_bytes());
    let abstract_address = SockAddr::unix(OsStr::from_bytes(&abstract_address)).unwrap();
    for (address, port) in [
        (address, port(&path)),
        (abstract_address, format!("unix:@{name}")),
    ] {
        let [server, client] =
            [(); 2].map(|()| Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap());
        server.bind(&address).unwrap();
        client.connect(&address).unwrap();
        assert_eq!(check(&port), yes());
        drop(client);
        assert_eq!(check(&port), yes());
    }
}

#[test]
fn a_datagram_socket_with_a_peer_is_not_listening() {
    let directory = TempDir::new().unwrap();
    let [server, path] = ["server", "client"].map(|name| directory.path().join(name));
    let _server = bound_to(&server, Type::DGRAM);
    let client = bound_to(&path, Type::DGRAM);
    assert_eq!(check(&port(&path)), yes());
    client.connect(&SockAddr::unix(&server).unwrap()).unwrap();
    assert!(!connects(&path, Type::DGRAM));
    let reason = "connected to another socket";
    assert_eq!(check(&port(&path)), refusal(1, &port(&path), reason));
    assert_eq!(check(&port(&server)), yes());
}

/// An accepted connection has the same name as the listener, and may stay open after the listener
/// has closed.
#[test]
fn an_accepted_connection_is_not_a_listener() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let _client = UnixStream::connect(&path).unwrap();
    let _accepted = listener.accept().unwrap();
    assert_eq!(check(&port(&path)), yes());
    drop(listener);
    assert!(!connects(&path, Type::STREAM));
    assert_eq!(check(&port(&path)), refusal(2, &port(&path), UNMATCHED));
}

#[test]
fn a_renamed_socket_listens_under_its_new_name() {
    let directory = TempDir::new().unwrap();
    let [draft, path] = ["draft", "socket"].map(|name| directory.path().join(name));
    let _first = UnixListener::bind(&draft).unwrap();
    fs::rename(&draft, &path).unwrap();
    assert_eq!(check(&port(&path)), yes());
    let missing = refusal(1, &port(&draft), "no such file");
    assert_eq!(check(&port(&draft)), missing);
    // The kernel still shows the first socket under the old name `draft`. The file of that name is
    // now the stale one of another socket, to which no client can connect.
    drop(UnixListener::bind(&draft).unwrap());
    assert!(!connects(&draft, Type::STREAM));
    assert_eq!(check(&port(&draft)), refusal(2, &port(&draft), UNMATCHED));
    fs::remove_file(&draft).unwrap();
    let _second = UnixListener::bind(&draft).unwrap();
    assert_eq!(check(&port(&draft)), yes());
}

#[test]
fn a_socket_listens_where_it_is_mounted() {
    if !have_root() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let _server = UnixListener::bind(path("server")).unwrap();
    fs::write(path("here"), "").unwrap();
    assert_eq!(check(&port(&path("here"))).0, 1);
    in_private_network(|| {
        // This thread has a network namespace of its own, and now gets a mount namespace of its
        // own, too, so that no other process sees the mounts of this test.
        #[allow(deprecated)]
        rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNS).unwrap();
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .unwrap();
        let _inside = UnixListener::bind(path("inside")).unwrap();
        for (server, status) in [("inside", 0), ("server", 2)] {
            mount_bind(path(server), path("here")).unwrap();
            assert!(connects(&path("here"), Type::STREAM));
            assert_eq!(check(&port(&path("here"))).0, status, "{server}");
        }
    });
}

/// A client in this network namespace can connect through the file, but the kernel does not list
/// the socket here.
#[test]
fn a_server_in_another_network_namespace_is_unknown() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let _outside = UnixListener::bind(&path).unwrap();
    in_private_network(|| {
        assert!(connects(&path, Type::STREAM));
        assert_eq!(check(&port(&path)), refusal(2, &port(&path), UNMATCHED));
    });
}

#[test]
fn an_abstract_name_must_match_in_full() {
    let name = unique_name();
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let assert_closed = |name: String| {
        let port = format!("unix:@{name}");
        assert_eq!(check(&port), refusal(1, &port, "not listening"));
        let address = SocketAddr::from_abstract_name(name).unwrap();
        assert!(UnixStream::connect_addr(&address).is_err());
    };
    assert_eq!(check(&format!("unix:@{name}")), yes());
    assert_closed(format!("{name}x"));
    assert_closed(name[1..].into());
    assert_closed(name.to_uppercase());
    // In another network namespace, the name is not taken.
    in_private_network(|| assert_closed(name.clone()));
    drop(listener);
    assert_closed(name.clone());
}

/// There are so many sockets that the kernel lists them in several datagrams.
#[test]
fn each_of_many_sockets_is_found() {
    let directory = TempDir::new().unwrap();
    let paths: Vec<PathBuf> = (0..1500)
        .map(|number| directory.path().join(number.to_string()))
        .collect();
    in_private_network(|| {
        let _servers: Vec<UnixListener> = paths
            .iter()
            .map(|path| UnixListener::bind(path).unwrap())
            .collect();
        let ports: Vec<String> = paths.iter().map(|path| port(path)).collect();
        let checked = run(lntu(&["check"]).args(&ports));
        assert_eq!(checked.lines(), [""; 0]);
        assert_eq!(check("unix:@nothing").0, 1);
    });
}

#[test]
fn max_queued_rejects_a_socket_with_a_long_queue() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let _server = listening(&path, Type::STREAM, 5);
    let clients = [(); 3].map(|()| UnixStream::connect(&path).unwrap());
    let check = |limit| {
        let checked = run(&mut lntu(&["check", "--max-queued", limit, &port(&path)]));
        (checked.code(), checked.stderr)
    };
    assert_eq!(check("3"), yes());
    let reason = "3 connections are waiting to be accepted (backlog 5)";
    assert_eq!(check("2"), refusal(1, &port(&path), reason));
    drop(clients);
}

/// For a datagram socket, the kernel reports the length of the queue in bytes, which `--max-queued`
/// does not limit.
#[test]
fn max_queued_ignores_a_datagram_socket() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let _server = bound_to(&path, Type::DGRAM);
    let client = UnixDatagram::unbound().unwrap();
    client.send_to(&[0; 100], &path).unwrap();
    let checked = run(&mut lntu(&["check", "--max-queued", "5", &port(&path)]));
    assert_eq!((checked.code(), checked.stderr), yes());
}

#[test]
fn one_check_accepts_unix_sockets_and_ports() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    in_private_network(|| {
        let check = |arguments: &[&str]| {
            let checked = run(lntu(&["check", &port(&path)]).args(arguments));
            (checked.code(), without_holders(&checked.stderr))
        };
        let missing = format!("{}: no such file", port(&path));
        let no = |reason: &str| (1, format!("lntu: {reason}\n"));
        let closed = "80/tcp: not listening";
        assert_eq!(check(&["80"]), no(&format!("{missing}; {closed}")));
        let _unix = UnixListener::bind(&path).unwrap();
        assert_eq!(check(&["80"]), no(closed));
        assert_eq!(check(&["--only"]), yes());
        let _tcp = listen_on("127.0.0.1", 80);
        assert_eq!(check(&["80"]), yes());
        assert_eq!(check(&["--only", "80"]), yes());
        assert_eq!(check(&["--only"]), no("127.0.0.1:80/tcp is listening"));
    });
}

/// A killed server leaves its socket file behind, and the next server replaces that file.
#[test]
fn wait_ignores_a_stale_socket_file() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    drop(UnixListener::bind(&path).unwrap());
    let given_up = run(&mut lntu(&["wait", "--timeout", "100ms", &port(&path)]));
    assert_eq!(given_up.code(), 2, "{given_up:?}");
    assert_eq!(given_up.error(), format!("{}: {UNMATCHED}", port(&path)));
    let waiting = Running::start(&mut lntu(&["wait", "-i", FAST, &port(&path)]));
    waiting.assert_no_more_errors_for(A_WHILE);
    fs::remove_file(&path).unwrap();
    waiting.assert_no_more_errors_for(A_WHILE);
    let _server = UnixListener::bind(&path).unwrap();
    assert_eq!(waiting.finish().lines(), [""; 0]);
}

#[test]
fn wait_succeeds_only_after_the_settle_time() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let _server = UnixListener::bind(&path).unwrap();
    let wait = |settle, timeout| {
        let arguments = ["wait", "-i", FAST, "--settle", settle, "--timeout", timeout];
        run(lntu(&arguments).arg(port(&path)))
    };
    let early = wait("1h", "200ms");
    assert_eq!(early.code(), 1);
    let reason = format!(
        "lntu: {}: did not keep listening for long enough after N s\n",
        port(&path)
    );
    assert_eq!(without_time(&early.stderr), reason);
    assert_eq!(wait("100ms", "60s").lines(), [""; 0]);
}

#[test]
fn without_netlink_an_existing_file_is_unknown() {
    if !have_program("strace", "strace") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let _server = UnixListener::bind(path("socket")).unwrap();
    for command in ["check", "wait"] {
        let refused =
            run(lntu_with_failing("socket", "EPERM", "", &[command]).arg(port(&path("socket"))));
        let reason = format!(
            "{}: could not tell, because netlink: unix: Operation not permitted (os error 1)",
            port(&path("socket"))
        );
        assert_eq!((refused.code(), refused.error()), (2, &*reason));
    }
    let missing =
        run(lntu_with_failing("socket", "EPERM", "", &["check"]).arg(port(&path("missing"))));
    assert_eq!(missing.code(), 1);
}

#[test]
fn each_check_asks_the_kernel_once() {
    if !have_program("strace", "strace") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let trace = directory.path().join("trace");
    let paths: Vec<PathBuf> = (0..1500)
        .map(|number| directory.path().join(number.to_string()))
        .collect();
    let questions = |call: &str, errno: Option<&str>| {
        let mut strace = Command::new("strace");
        strace.args([
            "-qq",
            "-e",
            "signal=none",
            "-e",
            &format!("trace={call}"),
            "-o",
        ]);
        strace.arg(&trace);
        if let Some(errno) = errno {
            strace.args(["-e", &format!("inject={call}:error={errno}")]);
        }
        strace.args([env!("CARGO_BIN_EXE_lntu"), "check", &port(&paths[0])]);
        run(&mut strace);
        let trace = fs::read_to_string(&trace).unwrap();
        trace.lines().filter(|line| line.contains(call)).count()
    };
    in_private_network(|| {
        let servers: Vec<UnixListener> = paths
            .iter()
            .map(|path| UnixListener::bind(path).unwrap())
            .collect();
        // With so many servers, the kernel answers in several datagrams.
        let first = questions("sendto", None);
        drop(servers);
        fs::remove_file(&paths[0]).unwrap();
        let _server = UnixListener::bind(&paths[0]).unwrap();
        assert_eq!(first, questions("sendto", None));
        assert_eq!(questions("socket", Some("EPERM")), 1);
    });
}

#[test]
fn check_exits_with_2_if_a_directory_is_inaccessible() {
    if !have_root() {
        return;
    }
    let proc = forbidding_proc(&[], &[]);
    let secret = TempDir::new().unwrap();
    fs::set_permissions(secret.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let path = secret.path().join("socket");
    let _server = UnixListener::bind(&path).unwrap();
    for command in ["check", "wait"] {
        let refused = run_copy(&proc, &[command, &port(&path)]);
        let reason = format!(
            "{}: could not tell, because Permission denied (os error 13)",
            port(&path)
        );
        assert_eq!((refused.code(), refused.error()), (2, &*reason));
    }
}

#[test]
fn check_finds_nginx_on_a_unix_socket() {
    if !have_program("services", "nginx") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let data = directory.path().display();
    let conf = format!(
        "daemon off; pid {data}/pid; error_log stderr; events {{}} \
         http {{ access_log off; server {{ listen unix:{data}/socket; }} }}"
    );
    let file = directory.path().join("nginx.conf");
    fs::write(&file, conf).unwrap();
    let waiting = Running::start(&mut lntu(&["wait", "-i", FAST, &port(&path)]));
    let mut nginx = Command::new("nginx");
    let nginx = Running::start(nginx.arg("-c").arg(&file));
    assert_eq!(waiting.finish().lines(), [""; 0]);
    UnixStream::connect(&path).unwrap();
    assert_eq!(check(&port(&path)), yes());
    // The check fails whether or not nginx has removed its file.
    rustix::process::kill_process(nginx.pid(), rustix::process::Signal::TERM).unwrap();
    wait_for("nginx to end", || {
        (!connects(&path, Type::STREAM)).then_some(())
    });
    assert_ne!(check(&port(&path)).0, 0);
}

/// The container has the socket file on a volume, but can check the server only in the server's
/// network namespace.
#[test]
fn checks_need_the_network_namespace_of_the_server() {
    if !have_docker() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let _server = UnixListener::bind(directory.path().join("socket")).unwrap();
    let volume = format!("--volume={}:/run", directory.path().display());
    for (network, status) in [("host", 0), ("none", 2)] {
        let network = format!("--network={network}");
        let options = [&*volume, &*network];
        let checked = Image::scratch().run(&options, &["/lntu", "check", "unix:/run/socket"]);
        assert_eq!(checked.code(), status, "{checked:?}");
    }
}

#[test]
fn the_recipe_checks_a_unix_socket() {
    let [recipe] = examples("A server on a Unix socket");
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let recipe = recipe.replace("/run/php/php-fpm.sock", path.to_str().unwrap());
    assert_eq!(run(&mut shell(&recipe)).code(), 1);
    let _server = UnixListener::bind(&path).unwrap();
    assert_eq!(run(&mut shell(&recipe)).lines(), [""; 0]);
}
