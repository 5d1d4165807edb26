//! The test program that runs in a virtual machine. The initial RAM disk contains only this
//! program, as `/init`, and lntu. The kernel starts `/init`, which sets up the machine and executes
//! lntu. So lntu is process 1. It waits for a port, starts a watcher, and executes `/init judge`,
//! which tries every command.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use lntu as _;
use rustix::mount::MountFlags;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use rustix::system::RebootCommand;

/// How long to wait for the watcher. An emulated machine is slow.
const DEADLINE: Duration = Duration::from_secs(60);

/// The file to which the watcher writes.
const CHANGES: &str = "/changes";

/// The directory where cgroup v2 is mounted. cgroup v1 is not mounted.
const GROUPS: &str = "/sys/fs/cgroup";

/// The cgroup of a container. Its path is `PARENT/PREFIX` with the container's id and `.scope`.
struct Container {
    parent: &'static str,
    prefix: &'static str,
    /// The id consists of this digit, repeated 64 times.
    digit: &'static str,
    runtime: &'static str,
    /// The port that `/init serve` opens in the cgroup.
    port: &'static str,
}

/// Two containers in one network namespace, like those of a pod.
const CONTAINERS: [Container; 2] = [
    Container {
        parent: "/system.slice",
        prefix: "docker-",
        digit: "a",
        runtime: "docker",
        port: "7020",
    },
    Container {
        parent: "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0f1e.slice",
        prefix: "cri-containerd-",
        digit: "b",
        runtime: "containerd",
        port: "7021",
    },
];

impl Container {
    fn id(&self) -> String {
        self.digit.repeat(64)
    }

    /// The path of the cgroup below its mount.
    fn cgroup(&self) -> String {
        format!("{}/{}{}.scope", self.parent, self.prefix, self.id())
    }
}

/// The TCP listeners of `/init hold`, and how lntu prints them.
const TCP: [(&str, &str); 5] = [
    ("127.0.0.1:7001", "127.0.0.1:7001 0.0.0.0:*"),
    ("0.0.0.0:7002", "*:7002 0.0.0.0:*"),
    ("[::]:7003", "*:7003 [::]:*"),
    ("[::1]:7004", "[::1]:7004 [::]:*"),
    ("[::ffff:127.0.0.1]:7005", "[::ffff:127.0.0.1]:7005 [::]:*"),
];
/// The UDP sockets of `/init hold`, and how lntu prints them.
const UDP: [(&str, &str); 4] = [
    ("127.0.0.1:7001", "127.0.0.1:7001 0.0.0.0:*"),
    ("0.0.0.0:7002", "*:7002 0.0.0.0:*"),
    ("[::]:7003", "*:7003 [::]:*"),
    ("[::1]:7004", "[::1]:7004 [::]:*"),
];

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("hold") => hold(),
        Some("serve") => serve(),
        Some("judge") => judge(),
        _ => set_up(),
    }
}

fn set_up() {
    for (kind, path) in [("proc", "/proc"), ("devtmpfs", "/dev"), ("cgroup2", GROUPS)] {
        fs::create_dir_all(path).unwrap();
        let flags = MountFlags::empty();
        rustix::mount::mount(kind, path, kind, flags, None::<&CStr>).unwrap();
    }
    for module in ["inet_diag", "tcp_diag", "udp_diag"] {
        // The file does not exist if the module is built into the kernel.
        if let Ok(file) = File::open(format!("/{module}.ko")) {
            rustix::system::finit_module(&file, c"", 0).expect(module);
        }
    }
    loopback_up().unwrap();
    Command::new("/init").arg("hold").spawn().unwrap();
    let wait = ["wait", "--source", "netlink", "--timeout", "60s", "7004"];
    let watch = ["--", "/lntu", "-H", "-i", "20ms", "-o", CHANGES];
    let judge = ["--", "/init", "judge"];
    let mut lntu = Command::new("/lntu");
    panic!("/lntu: {}", lntu.args(wait).args(watch).args(judge).exec());
}

/// Sets IFF_UP on interface 1 by RTM_NEWLINK (rtnetlink(7)). The socket is opened without a
/// protocol, which means protocol 0, NETLINK_ROUTE.
fn loopback_up() -> io::Result<()> {
    let [length, kind, flags, up]: [u32; 4] = [32, 16, 1, 1];
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend((kind as u16).to_ne_bytes());
    message.extend((flags as u16).to_ne_bytes());
    message.extend([0; 8]);
    message.extend([0; 4]);
    message.extend(1i32.to_ne_bytes());
    message.extend(up.to_ne_bytes());
    message.extend(up.to_ne_bytes());
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    Ok(())
}

/// Opens a listener of every kind. The listener that opens last has the port for which lntu waits.
fn hold() {
    let datagrams = UDP.map(|(address, _)| UdpSocket::bind(address).expect(address));
    let mut addresses = TCP.map(|(address, _)| address);
    addresses.sort_by_key(|address| address.ends_with("7004"));
    let listeners = addresses.map(|address| TcpListener::bind(address).expect(address));
    thread::sleep(Duration::MAX);
    drop((datagrams, listeners));
}

/// Makes a cgroup, moves this process into it, and listens there.
fn serve() {
    let arguments: Vec<String> = std::env::args().collect();
    let [group, port] = [&arguments[2], &arguments[3]];
    let group = format!("{GROUPS}{group}");
    fs::create_dir_all(&group).unwrap();
    // The kernel moves the process that writes 0 to this file.
    fs::write(format!("{group}/cgroup.procs"), "0").unwrap();
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    thread::sleep(Duration::MAX);
    drop(listener);
}

/// Runs lntu with these arguments.
fn lntu(arguments: &[&str]) -> Output {
    Command::new("/lntu").args(arguments).output().unwrap()
}

/// The netid, state, local address and peer of each line.
fn rows(text: &str) -> BTreeSet<String> {
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        [fields[0], fields[1], fields[4], fields[5]].join(" ")
    };
    text.lines().map(row).collect()
}

/// Checks that lntu prints the right cgroup for the port of each of two containers, which share a
/// network namespace.
fn judge_containers() {
    for container in &CONTAINERS {
        let mut server = Command::new("/init");
        let arguments = ["serve", &container.cgroup(), container.port];
        server.args(arguments).spawn().unwrap();
    }
    let ports = CONTAINERS.each_ref().map(|container| container.port);
    let waited = lntu(&[&["wait", "-q", "--timeout", "60s"], &ports[..]].concat());
    assert_eq!(waited.status.code(), Some(0));
    for options in [&["list", "-A", "--json"][..], &["list", "-Ap", "--json"]] {
        let listed = lntu(&[options, &ports].concat());
        assert_eq!(String::from_utf8(listed.stderr).unwrap(), "");
        let text = String::from_utf8(listed.stdout).unwrap();
        assert_eq!(text.lines().count(), CONTAINERS.len(), "{text}");
        for (container, line) in CONTAINERS.iter().zip(text.lines()) {
            let Container { runtime, port, .. } = container;
            let (path, id) = (container.cgroup(), container.id());
            let expected = format!(
                r#""cgroup":"{path}","cgroup_of":"socket","container":"{id}","runtime":"{runtime}""#
            );
            assert!(line.contains(&format!(r#""number":{port},"#)), "{line}");
            assert!(line.contains(&expected), "{expected}: {line}");
        }
    }
}

fn judge() {
    assert_eq!(std::process::id(), 1);
    let tcp = TCP.map(|(_, line)| format!("tcp LISTEN {line}"));
    let udp = UDP.map(|(_, line)| format!("udp UNCONN {line}"));
    let expected: BTreeSet<String> = tcp.into_iter().chain(udp).collect();
    for source in ["proc", "netlink", "auto"] {
        let listed = lntu(&["list", "-H", "--source", source]);
        let text = String::from_utf8(listed.stdout).unwrap();
        assert_eq!(rows(&text), expected, "{source}");
        // If lntu had read another source than `source`, it would have printed a message.
        assert_eq!(String::from_utf8(listed.stderr).unwrap(), "", "{source}");

        for (port, status) in [("7001", 0), ("7003/udp", 0), ("7001/tcp", 0), ("1", 1)] {
            let checked = lntu(&["check", "-q", "--source", source, port]);
            assert_eq!(checked.status.code(), Some(status), "{source} {port}");
        }
        let held = lntu(&["list", "-Hp", "--source", source, "127.0.0.1:7001/tcp"]);
        let held = String::from_utf8(held.stdout).unwrap();
        assert!(held.contains("users:((\"init\",pid="), "{source}: {held}");
    }
    judge_containers();
    let waited = lntu(&["wait", "-q", "--timeout", "100ms", "1"]);
    assert_eq!(waited.status.code(), Some(1));

    let wait_for_line = |part: &str| {
        let end = Instant::now() + DEADLINE;
        loop {
            let text = fs::read_to_string(CHANGES).unwrap_or_default();
            let line = text.lines().find(|line| line.contains(part));
            if let Some(line) = line.map(str::to_string) {
                return line;
            }
            assert!(Instant::now() < end, "no {part} in {text:?}");
            thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for_line("127.0.0.1:7001");
    let listener = TcpListener::bind("127.0.0.1:7010").unwrap();
    assert!(wait_for_line("7010").contains("LISTEN"));
    drop(listener);
    wait_for_line("CLOSED");

    let version = fs::read_to_string("/proc/version").unwrap();
    println!("\nguest: all as it should be on {version}");
    rustix::system::reboot(RebootCommand::PowerOff).unwrap();
}
