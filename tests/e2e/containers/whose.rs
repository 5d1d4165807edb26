//! Which container each port belongs to, in the lines of `--all-namespaces`. The truth is
//! `docker ps` and `podman ps`.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::docker::*;
use super::podman::Podman;
use crate::harness::*;

/// Where `list` may look, and what it then knows: the group of each socket if the kernel
/// counts sockets by groups of version 2, and that of its first holder with `-p`.
const WAYS: [&[&str]; 3] = [&[], &["-p"], &["-p", "--source", "proc"]];

/// A server in one container, and another that shares its network, and one that shares that
/// of the host: the port of each, and the name of its container.
type Servers = [(u16, String); 3];

/// What `list -A` says of these ports: the members of the object that name the container.
fn listed(ports: &[u16], options: &[&str]) -> BTreeMap<u16, [String; 3]> {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let ports: Vec<&str> = ports.iter().map(|port| &**port).collect();
    let arguments = [&["list", "-A", "-q", "--json"], options, &ports].concat();
    let lines = run(&mut lntu(&arguments)).stdout;
    let objects = lines.lines().map(|line| {
        let object: Value = serde_json::from_str(line).unwrap();
        let text = |member: &str| object[member].as_str().unwrap_or_default().to_string();
        let port = object["number"].as_u64().unwrap() as u16;
        (port, ["container", "runtime", "cgroup_of"].map(text))
    });
    objects.collect()
}

/// Checks that each port is said to be of its container, whose ids `ps` prints, and that the
/// path of the container holds the id, too.
fn assert_named(servers: &Servers, runtime: &str, ps: &str) {
    let id_of = |name: &str| {
        let mut lines = ps.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(_, other)| *other == name).unwrap().0
    };
    let ports: Vec<u16> = servers.iter().map(|(port, _)| *port).collect();
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
        let listed = listed(&ports, way);
        for (port, name) in servers {
            let expected = [id_of(name), runtime, of];
            assert_eq!(listed[port], expected, "{name} {way:?}: {listed:?}");
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
    // No other test uses these two.
    let first = start("--network=none", 18080);
    let second = start(&first.network(), 18081);
    let third = start("--network=host", on_host.number);
    let name = |container: &Container| container.name().to_string();
    let servers = [
        (18080, name(&first)),
        (18081, name(&second)),
        (on_host.number, name(&third)),
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
            logs.contains("serving").then_some((port, name.to_string()))
        })
    };
    let servers = [
        start("first", "none", 18082),
        start("second", "container:first", 18083),
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
