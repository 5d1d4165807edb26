//! Which container each port belongs to, in the lines of `--all-namespaces`. The truth is
//! `docker ps` and `podman ps`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::Value;

use crate::harness::docker::*;
use crate::harness::podman::Podman;
use crate::harness::*;

/// Where `list` may look, and what it then knows: the group of each socket if the kernel
/// counts sockets by groups of version 2, and that of its first holder with `-p`.
const WAYS: [&[&str]; 3] = [&[], &["-p"], &["-p", "--source", "proc"]];

/// A server in a container.
struct Server {
    port: u16,
    /// The name of its container.
    name: String,
    /// The inode of its network namespace.
    namespace: u64,
}

impl Server {
    /// The server with this process id.
    fn new(port: u16, name: &str, pid: &str) -> Server {
        let namespace = fs::metadata(format!("/proc/{}/ns/net", pid.trim()));
        Server {
            port,
            name: name.to_string(),
            namespace: namespace.unwrap().ino(),
        }
    }
}

/// Checks that each port is said to be of its container, of which `ps` prints id and name.
fn assert_named(servers: &[Server], runtime: &str, ps: &str) {
    let id_of = |name: &str| {
        let mut lines = ps.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(_, other)| *other == name).unwrap().0
    };
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let has_groups = mounts.lines().any(|line| line.contains(" cgroup2 "));
    for way in WAYS {
        let asks_netlink = !way.contains(&"proc");
        let of = match asks_netlink && has_groups {
            true => "socket",
            false => "holder",
        };
        if of == "holder" && !way.contains(&"-p") {
            continue;
        }
        let arguments = [&["list", "-A", "-q", "--json", "--tcp"], way].concat();
        let listed = run(&mut lntu(&arguments)).stdout;
        let objects: Vec<Value> = listed
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        for Server {
            port,
            name,
            namespace,
        } in servers
        {
            let is_its =
                |object: &&Value| object["number"] == *port && object["namespace"] == *namespace;
            let object = objects.iter().find(is_its).expect(name);
            let said = ["container", "runtime", "cgroup_of"].map(|member| &object[member]);
            assert_eq!(said, [id_of(name), runtime, of], "{name} {way:?}: {object}");
        }
    }
}

#[test]
fn each_port_of_docker_names_its_container() {
    if !have_docker() {
        return;
    }
    let image = Image::scratch();
    let on_host = FreePort::new();
    let start = |network: &str, port: u16| {
        let server = ["/app", "listen", &port.to_string(), "serve"];
        let server = image.start(&[network], &server);
        server.wait_for_line("serving");
        server
    };
    let first = start("--network=none", 8080);
    let second = start(&first.network(), 8081);
    let third = start("--network=host", on_host.number);
    let server = |container: &Container, port| {
        let pid = container.inspect("{{.State.Pid}}");
        Server::new(port, container.name(), &pid)
    };
    let servers = [
        server(&first, 8080),
        server(&second, 8081),
        server(&third, on_host.number),
    ];
    let ps = ["ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}"];
    assert_named(&servers, "docker", &docker_says(&ps));
}

#[test]
fn each_port_of_podman_names_its_container() {
    if !have_docker() {
        return;
    }
    let Some(podman) = Podman::find() else {
        return;
    };
    let image = podman.load(&Image::scratch());
    let on_host = FreePort::new();
    let start = |name: &str, network: &str, port: u16| {
        let network = format!("--network={network}");
        let run = ["run", "--detach", "--name", name, &network, &image];
        let server = ["/app", "listen", &port.to_string(), "serve"];
        podman.says(&[&run[..], &server].concat());
        wait_for("the server", || {
            let logs = podman.says(&["logs", name]);
            logs.contains("serving").then_some(())
        });
        let pid = podman.says(&["inspect", "--format", "{{.State.Pid}}", name]);
        Server::new(port, name, &pid)
    };
    let servers = [
        start("first", "none", 8080),
        start("second", "container:first", 8081),
        start("third", "host", on_host.number),
    ];
    let ps = podman.says(&["ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}"]);
    assert_named(&servers, "podman", &ps);
}

#[test]
fn a_closed_port_names_the_container_that_has_ended() {
    if !have_docker() {
        return;
    }
    let image = Image::scratch();
    let watch = ["-A", "-q", "-p", "--json", "-i", "50ms", "18084"];
    let watcher = Running::start(&mut lntu(&watch));
    let next = |kind: &str, id: &str| {
        let mut lines = std::iter::repeat_with(|| watcher.next_line());
        let is_it = |object: &Value| object["type"] == kind && object["container"] == id;
        let mut objects = lines
            .by_ref()
            .map(|line| serde_json::from_str(&line).unwrap());
        objects.find(is_it).unwrap()
    };
    for _ in 0..3 {
        let server = image.start_server(Port::Open, "18084");
        let id = server.inspect("{{.Id}}");
        let opened = next("opened", &id);
        server.signal("KILL");
        let closed = next("closed", &id);
        for member in ["id", "cgroup", "cgroup_of", "container", "runtime"] {
            assert_eq!(closed[member], opened[member]);
        }
    }
}
