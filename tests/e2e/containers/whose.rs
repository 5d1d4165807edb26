//! The container that each line of `--all-namespaces` names for a port. It must be the container
//! that `docker ps` or `podman ps` shows.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::Value;

use crate::harness::docker::*;
use crate::harness::podman::Podman;
use crate::harness::*;

/// Options of `list` that affect how it finds the cgroup of a socket. If netlink answers and cgroup
/// v2 is mounted, the kernel reports the cgroup. Otherwise, `-p` makes lntu read the cgroup of the
/// first holder.
const OPTIONS: [&[&str]; 3] = [&[], &["-p"], &["-p", "--source", "proc"]];

/// A server in a container.
struct Server {
    port: u16,
    container_name: String,
    /// The inode of the network namespace.
    namespace: u64,
}

impl Server {
    /// Describes the server with this process id.
    fn new(port: u16, name: &str, pid: &str) -> Server {
        let namespace = fs::metadata(format!("/proc/{}/ns/net", pid.trim()));
        Server {
            port,
            container_name: name.to_string(),
            namespace: namespace.unwrap().ino(),
        }
    }
}

/// Checks that `list` names the right container for each server. `ps` has the id and the name of
/// each container.
fn assert_named(servers: &[Server], runtime: &str, ps: &str) {
    let id_of = |name: &str| {
        let mut lines = ps.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(_, other)| *other == name).unwrap().0
    };
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let has_cgroup2 = mounts.lines().any(|line| line.contains(" cgroup2 "));
    for options in OPTIONS {
        let asks_netlink = !options.contains(&"proc");
        let cgroup_of = match asks_netlink && has_cgroup2 {
            true => "socket",
            false => "holder",
        };
        if cgroup_of == "holder" && !options.contains(&"-p") {
            continue;
        }
        let arguments = [&["list", "-A", "-q", "--json", "--tcp"], options].concat();
        let listed = run(&mut lntu(&arguments)).stdout;
        let objects: Vec<Value> = listed
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        for server in servers {
            let name = &server.container_name;
            let matches = |object: &&Value| {
                object["number"] == server.port && object["namespace"] == server.namespace
            };
            let object = objects.iter().find(matches).expect(name);
            let found = ["container", "runtime", "cgroup_of"].map(|member| &object[member]);
            let expected = [id_of(name), runtime, cgroup_of];
            assert_eq!(found, expected, "{name} {options:?}: {object}");
        }
    }
}

#[test]
fn every_docker_port_names_its_container() {
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
fn every_podman_port_names_its_container() {
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
fn a_closed_port_names_its_former_container() {
    if !have_docker() {
        return;
    }
    let image = Image::scratch();
    let watch = ["-A", "-q", "-p", "--json", "-i", "50ms", "18084"];
    let watcher = Running::start(&mut lntu(&watch));
    let next = |kind: &str, id: &str| {
        let mut lines = std::iter::repeat_with(|| watcher.next_line());
        let matches = |object: &Value| object["type"] == kind && object["container"] == id;
        let mut objects = lines
            .by_ref()
            .map(|line| serde_json::from_str(&line).unwrap());
        objects.find(matches).unwrap()
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
