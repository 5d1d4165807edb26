//! The container that a port of docker-proxy leads to, in the lines of `--all-namespaces`. It must
//! be the container for which `docker port` prints the port.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::docker::*;
use crate::harness::*;

/// Returns the members of a JSON object that identify a container and say how the port leads to it.
fn target(object: &Value) -> [Value; 4] {
    ["container", "runtime", "container_name", "via"].map(|member| object[member].clone())
}

/// Returns what [`target`] must return for a port that docker-proxy forwards to this container.
fn expected(container: &Container) -> [Value; 4] {
    let id = container.inspect("{{.Id}}");
    [
        id.into(),
        "docker".into(),
        container.name().into(),
        "docker-proxy".into(),
    ]
}

const NOTHING: [Value; 4] = [const { Value::Null }; 4];

fn list(options: &[&str]) -> Vec<Value> {
    let arguments = [&["list", "-A", "-q", "--json"], options].concat();
    let listed = run(&mut lntu(&arguments)).stdout;
    let objects = listed.lines().map(serde_json::from_str);
    objects.map(Result::unwrap).collect()
}

/// The address of a container in the network of Docker.
fn address(container: &Container) -> String {
    container.inspect("{{.NetworkSettings.Networks.bridge.IPAddress}}")
}

#[test]
fn a_published_port_names_its_target_container() {
    if !have_docker() {
        return;
    }
    let image = Image::scratch();
    let start = |_| {
        let ports = [
            "--publish=80",
            "--publish=127.0.0.1::81",
            "--publish=53/udp",
        ];
        image.start(&ports, &["/app", "listen", "80", "serve"])
    };
    for server in [(), ()].map(start) {
        let ports = docker_says(&["port", server.name()]);
        let mut checked = 0;
        // 80/tcp -> 0.0.0.0:32768
        for line in ports.lines() {
            let (inside, outside) = line.split_once(" -> ").unwrap();
            let (_, protocol) = inside.split_once('/').unwrap();
            let (_, number) = outside.rsplit_once(':').unwrap();
            let port = format!("{number}/{protocol}");
            let mut objects = list(&["-p", &port]);
            objects.retain(|object| object["processes"][0]["name"] == "docker-proxy");
            assert!(!objects.is_empty(), "{line}");
            for object in objects {
                assert_eq!(target(&object), expected(&server), "{line}: {object}");
                checked += 1;
            }
            // Without `-p`, lntu does not look up holders, so it cannot find docker-proxy.
            for object in list(&[&port]) {
                assert_eq!(object["via"], Value::Null, "{object}");
            }
            let table = run(&mut lntu(&["list", "-A", "-q", "-H", "-p", &port])).stdout;
            let cell = format!(",name={},via=docker-proxy,cgroup=", server.name());
            assert!(table.contains(&cell), "{table}");
        }
        assert!(checked >= 3, "{ports}");
    }
}

/// A program that is named docker-proxy, but forwards nothing.
struct LookAlike {
    _directory: TempDir,
    program: PathBuf,
}

impl LookAlike {
    fn new() -> LookAlike {
        let directory = TempDir::new().unwrap();
        let program = directory.path().join("docker-proxy");
        fs::copy(&binaries().app, &program).unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory.path(), open).unwrap();
        LookAlike {
            _directory: directory,
            program,
        }
    }

    /// Returns a command line that starts the program with the address of a container among its
    /// arguments. The program takes these steps first.
    fn words<'a>(&'a self, steps: &[&'a str], address: &'a str) -> Vec<&'a str> {
        let program = self.program.to_str().unwrap();
        // The words up to `;` make the program start a child, which exits at once and ignores the
        // address.
        let run = [
            "run",
            program,
            "exit",
            "0",
            "-container-ip",
            address,
            ";",
            "serve",
        ];
        [&[program], steps, &run].concat()
    }
}

/// Starts a program from these words, and waits until it serves.
fn start(words: &[&str]) -> Running {
    let running = Running::start(Command::new(words[0]).args(&words[1..]));
    while running.next_line() != "serving" {}
    running
}

/// A Python script that opens a socket as one user and executes a program as another user.
const AS_OTHERS: &str = "
import os, socket, sys
os.seteuid(int(sys.argv[1]))
server = socket.create_server(('127.0.0.1', int(sys.argv[2])))
server.set_inheritable(True)
os.seteuid(0)
os.setresuid(*[int(sys.argv[3])] * 3)
os.execv(sys.argv[4], sys.argv[4:])
";

#[test]
fn a_fake_docker_proxy_names_no_container() {
    if !have_docker() || !have_program("services", "python3") {
        return;
    }
    let image = Image::scratch();
    let server = image.start_server(Port::Open, "80");
    let (address, look_alike) = (address(&server), LookAlike::new());
    let port = FreePort::new();
    let number = port.number.to_string();
    let listen = look_alike.words(&["listen", &number], &address);
    let alone = look_alike.words(&[], &address);
    let python = |owner, user| {
        let python = ["python3", "-c", AS_OTHERS, owner, &number, user];
        [&python[..], &alone].concat()
    };
    let unshare = |kind| [&["unshare", kind, "--fork", "--kill-child"], &listen[..]].concat();
    let another = |_| "10.255.255.254";
    for (words, leads) in [
        // A process of root on the host is believed to be docker-proxy.
        (listen.clone(), true),
        (python("0", "0"), true),
        (python("0", "1000"), false),
        (python("1000", "0"), false),
        (python("1000", "1000"), false),
        (unshare("--pid"), false),
        (unshare("--net"), false),
        (look_alike.words(&["listen", &number], another(())), false),
        (look_alike.words(&["listen", &number], ""), false),
    ] {
        let running = start(&words);
        let objects = list(&["-p", &number]);
        let is_it = |object: &&Value| object["processes"][0]["name"] == "docker-proxy";
        let object = objects.iter().find(is_it).expect("its line");
        let expected = if leads { expected(&server) } else { NOTHING };
        assert_eq!(target(object), expected, "{words:?}: {object}");
        drop(running);
        let is_free = || {
            (run(&mut lntu(&["list", "-A", "-q", "-H", &number]))
                .stdout
                .is_empty())
            .then_some(())
        };
        wait_for("its end", is_free);
    }
}

#[test]
fn a_fake_proxy_in_a_container_names_that_container() {
    if !have_docker() {
        return;
    }
    let Binaries { app, .. } = binaries();
    let look_alike = LookAlike::new();
    let dockerfile = "FROM scratch\nCOPY docker-proxy app /\n";
    let image = Image::of(dockerfile, &[&look_alike.program, app]);
    let server = Image::scratch().start_server(Port::Open, "80");
    let port = FreePort::new();
    let (number, address) = (port.number.to_string(), address(&server));
    let words = [
        "/docker-proxy",
        "listen",
        &number,
        "run",
        "/app",
        "exit",
        "0",
        "-container-ip",
        &address,
        ";",
        "serve",
    ];
    for options in [
        &["--network=host"][..],
        &["--network=host", "--pid=host"],
        &[],
    ] {
        let forger = image.start(options, &words);
        forger.wait_for_line("serving");
        let objects = list(&["-p", &number]);
        let is_it = |object: &&Value| object["processes"][0]["name"] == "docker-proxy";
        let object = objects.iter().find(is_it).expect("its line");
        let own = [
            forger.inspect("{{.Id}}").into(),
            "docker".into(),
            forger.name().into(),
        ];
        let [id, runtime, name, via] = target(object);
        assert_eq!(([id, runtime, name], via), (own, Value::Null), "{object}");
    }
}

/// docker-proxy opens the port before the container starts, so the watcher must search for the
/// container more than once.
#[test]
fn a_closed_port_names_a_container_found_later() {
    if !have_docker() {
        return;
    }
    let image = Image::scratch();
    let port = FreePort::new();
    let number = port.number.to_string();
    let watch = ["-A", "-q", "-p", "--json", "-i", "50ms", &number];
    let watcher = Running::start(&mut lntu(&watch));
    let next = |kind: &str| -> Value {
        let kind = format!(r#""type":"{kind}""#);
        let mut lines = std::iter::repeat_with(|| watcher.next_line());
        let line = lines.find(|line| line.contains(&kind));
        serde_json::from_str(&line.unwrap()).unwrap()
    };
    // The watcher may search before the container runs, and search again only much later. So each
    // round waits longer than the round before.
    for seconds in 1..8 {
        let publish = format!("--publish=127.0.0.1:{number}:80");
        let server = image.start(&[&publish], &["/app", "listen", "80", "serve"]);
        let expected = expected(&server);
        next("opened");
        thread::sleep(Duration::from_secs(seconds));
        drop(server);
        let closed = next("closed");
        if target(&closed) == expected {
            return;
        }
        assert_eq!(target(&closed), NOTHING, "{closed}");
    }
    panic!("it was never found");
}
