//! Tests of `--of`, `--exclude-of` and `--exclude-holder`, which select listeners by the processes
//! that hold them, and of `--by-port`, which merges the listeners of one port.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use socket2::Type;
use tempfile::TempDir;

use crate::harness::*;

/// A service in a process group of its own. All processes of that group are killed when this value
/// is dropped.
struct Service(Child);

impl Service {
    fn start(program: &str, arguments: &[&str], directory: &Path) -> Service {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(directory)
            .process_group(0);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Service(command.spawn().unwrap())
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn signal(&self, signal: Signal) {
        let _ = kill_process_group(Pid::from_child(&self.0), signal);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.0.wait();
    }
}

/// The process `root` and its descendants, found through the parents in all `stat` files.
fn tree(root: u32) -> BTreeSet<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_whitespace().nth(1)?.parse().ok()
    };
    let names = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name());
    let pids: Vec<u32> = names
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect();
    let mut tree = BTreeSet::from([root]);
    loop {
        let before = tree.len();
        let children = pids
            .iter()
            .filter(|&&pid| parent(pid).is_some_and(|parent| tree.contains(&parent)));
        let children: Vec<u32> = children.copied().collect();
        tree.extend(children);
        if tree.len() == before {
            return tree;
        }
    }
}

/// The sockets that `root` and its descendants hold, according to `ss -p`.
fn held_according_to_ss(root: u32) -> BTreeSet<[String; 5]> {
    let tree = tree(root);
    let listed = run(Command::new("ss").arg("-Hlntup"));
    let is_held = |line: &&str| {
        let mut pids = line
            .split("pid=")
            .skip(1)
            .map(|rest| rest.split(',').next().unwrap());
        pids.any(|pid| tree.contains(&pid.parse().unwrap()))
    };
    let held: Vec<&str> = listed.stdout.lines().filter(is_held).collect();
    listed_sockets(&held.join("\n"))
}

/// Waits until `list --of` prints the same sockets as ss for the process `root` and its
/// descendants, with every source. `expected` is the number of these sockets.
fn assert_same_as_ss(program: &str, root: u32, expected: usize) {
    for source in ["auto", "ss", "proc", "netlink"] {
        wait_for(&format!("{program} by {source}"), || {
            let pid = root.to_string();
            let listed = run(&mut lntu(&["list", "-H", "--of", &pid, "--source", source]));
            assert_eq!((listed.code(), &*listed.stderr), (0, ""), "{program}");
            let (ours, theirs) = (listed_sockets(&listed.stdout), held_according_to_ss(root));
            (ours == theirs && ours.len() == expected).then_some(())
        });
    }
}

#[test]
fn option_of_agrees_with_ss_for_a_process_tree() {
    let programs = ["node", "python3", "nginx", "setsid"];
    if !have_ss() || !have_programs("services", programs) {
        return;
    }
    in_private_network(|| {
        let directory = TempDir::new().unwrap();
        let directory = directory.path();
        fs::write(
            directory.join("nginx.conf"),
            "user root; worker_processes 2; daemon off; pid pid; error_log stderr; events {}
             http { access_log off; client_body_temp_path body; proxy_temp_path proxy;
                 fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
                 server { listen 8001; listen [::]:8002; } }",
        )
        .unwrap();
        let cluster = "const c = require('cluster'), h = require('http');
            if (c.isPrimary) { c.fork(); c.fork(); } else { h.createServer().listen(3000); }";
        fs::write(directory.join("cluster.js"), cluster).unwrap();
        let prefix = directory.to_str().unwrap();
        let nginx = ["-p", prefix, "-c", "nginx.conf"];
        let shell = "setsid python3 -m http.server 8003 --bind 127.0.0.1; true";
        let _neighbour = bound(Type::STREAM, "127.0.0.1:9000", |_| {});
        for (program, arguments, sockets) in [
            ("node", &["cluster.js"][..], 1),
            ("nginx", &nginx, 2),
            ("sh", &["-c", shell], 1),
        ] {
            let service = Service::start(program, arguments, directory);
            let root = service.0.id();
            let watch = ["--of", &service.pid(), "-H", "-i", FAST, "--source", "proc"];
            let watcher = Running::start(&mut lntu(&watch));
            assert_same_as_ss(program, root, sockets);
            let opened: BTreeSet<String> = (0..sockets).map(|_| watcher.next_line()).collect();
            assert!(
                opened.iter().all(|line| line.contains("LISTEN")),
                "{opened:?}"
            );
            // Signal each process, because a signal to the process group would miss those that
            // have a session of their own.
            let processes = tree(root);
            for pid in processes {
                let _ = kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::TERM);
            }
            drop(service);
            let ended = watcher.finish();
            assert_eq!(ended.code(), 0, "{program}: {ended:?}");
            let closed: Vec<&str> = ended.stdout.lines().collect();
            let are_closed = closed.iter().all(|line| line.contains("CLOSED"));
            assert!(closed.len() == sockets && are_closed);
            assert_eq!(ended.stderr, format!("lntu: process {root} has ended\n"));
        }
    });
}

#[test]
fn a_probe_ignores_the_port_of_another_process() {
    in_private_network(|| {
        let _neighbour = bound(Type::STREAM, "127.0.0.1:8080", |_| {});
        let directory = TempDir::new().unwrap();
        let service = Service::start("sleep", &["600"], directory.path());
        let (pid, own) = (service.pid(), std::process::id().to_string());
        let check = |pid: &str| {
            let checked = run(&mut lntu(&["check", "--of", pid, "8080"]));
            (checked.code(), checked.stderr)
        };
        assert_eq!(check(&own), (0, String::new()));
        let reason = format!(
            "lntu: 8080/tcp: not listening by process {pid} or its descendants, but by another process\n"
        );
        let (code, stderr) = check(&pid);
        assert_eq!((code, without_holders(&stderr)), (1, reason));
        let waiting = Running::start(&mut lntu(&["wait", "--of", &pid, "-i", FAST, "8080"]));
        waiting.assert_no_more_errors_for(A_WHILE);
        let closing = [
            "wait", "--of", &pid, "--closed", "-i", FAST, "8080", "--", "echo", "freed",
        ];
        let closing = Running::start(&mut lntu(&closing));
        assert_eq!(
            closing.finish().lines(),
            ["freed"],
            "another process holds it"
        );
        drop(service);
        let ended = waiting.finish();
        let reason = format!("lntu: --of {pid}: the process has ended\n");
        assert_eq!((ended.code(), &*ended.stdout), (3, ""));
        assert_eq!(ended.stderr, reason);
    });
}

/// The test waits for a process that is still a zombie, and again when it no longer exists.
#[test]
fn a_process_that_has_exited_holds_no_port() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id().to_string();
    wait_for("a zombie", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.contains(") Z ").then_some(())
    });
    let wait = || {
        let waited = run(&mut lntu(&["wait", "--closed", "--of", &pid, "8080"]));
        (waited.code(), waited.stderr)
    };
    assert_eq!(wait(), (0, String::new()));
    child.wait().unwrap();
    let why = "no such process in this PID namespace; assuming that it has exited";
    assert_eq!(wait(), (0, format!("lntu: --of {pid}: {why}\n")));
}

#[test]
fn a_pid_that_cannot_exist_is_refused() {
    // 4194305 is one more than PID_MAX_LIMIT, the highest id that the kernel gives a process.
    for command in ["watch", "list", "check", "wait"] {
        let mut arguments = vec![command, "--of", "4194305"];
        if ["check", "wait"].contains(&command) {
            arguments.push("1");
        }
        let refused = run(&mut lntu(&arguments));
        assert_eq!(refused.error(), "--of 4194305: not a process id");
    }
    for value in ["0", "-1", "self", ""] {
        let refused = run(&mut lntu(&["list", "--of", value]));
        assert!(
            refused
                .error()
                .starts_with(&format!("--of '{value}': not a process id"))
        );
    }
}

#[test]
fn unreadable_descriptors_are_an_error() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let proc = forbidding_proc(&[], &[]);
    let listed = run_copy(&proc, &["list", "--of", "1"]);
    // lntu cannot read which sockets process 1 holds, so it prints only the header.
    assert_eq!((listed.code(), listed.stdout.lines().count()), (2, 1));
    let start = "lntu: --of: listeners may be missing: /proc/1/";
    let why = &listed.stderr;
    let end = format!("{NEEDS}\n");
    assert!(why.starts_with(start) && why.ends_with(&end), "{why}");
}

/// A watcher remembers which process holds a socket. After some searches without result, it also
/// remembers that no process of the tree holds the socket.
#[test]
fn a_watcher_reads_descriptors_only_for_new_sockets() {
    if !have_program("strace", "strace") {
        return;
    }
    in_private_network(|| {
        let _neighbour = bound(Type::STREAM, "127.0.0.1:8080", |_| {});
        let _own = bound(Type::STREAM, "127.0.0.1:8081", |_| {});
        let directory = TempDir::new().unwrap();
        let trace = directory.path().join("trace");
        let service = Service::start("sleep", &["600"], directory.path());
        let mut command = Command::new("strace");
        command.args(["-e", "trace=readlink,readlinkat,getdents64,poll", "-o"]);
        command.arg(&trace).arg(env!("CARGO_BIN_EXE_lntu"));
        command.args(["--of", &service.pid(), "-i", FAST, "--source", "proc"]);
        let _watcher = Running::start(&mut command);
        let polls = |calls: &str| calls.matches("poll(").count();
        let calls = wait_for("twenty-five polls", || {
            let calls = fs::read_to_string(&trace).unwrap_or_default();
            (polls(&calls) > 25).then_some(calls)
        });
        let reads =
            |calls: &str| calls.matches("getdents64(").count() + calls.matches("readlink").count();
        assert!(reads(&calls) > 0, "the first polls do read");
        let lines: Vec<&str> = calls.lines().collect();
        let last_read = lines
            .iter()
            .rposition(|line| !line.contains("poll("))
            .unwrap();
        assert!(polls(&lines[last_read..].join("\n")) > 15, "{calls}");
    });
}

#[test]
fn exclude_holder_hides_listeners_of_that_program() {
    if !have_program("services", "python3") {
        return;
    }
    in_private_network(|| {
        let directory = TempDir::new().unwrap();
        let python = ["-m", "http.server", "8000", "--bind", "127.0.0.1"];
        let watch = ["--exclude-holder", "python3", "-H", "-i", FAST];
        let watchers = ["ss", "proc", "netlink"]
            .map(|source| Running::start(&mut lntu(&[&watch[..], &["--source", source]].concat())));
        let _server = Service::start("python3", &python, directory.path());
        assert_eq!(
            run(&mut lntu(&["wait", "--timeout", "30s", "8000"])).code(),
            0
        );
        let _own = bound(Type::STREAM, "127.0.0.1:8001", |_| {});
        for watcher in &watchers {
            assert_eq!(event(&watcher.next_line()), "tcp LISTEN 127.0.0.1:8001");
            watcher.assert_silent_for(A_WHILE);
        }
        let listed = run(&mut lntu(&["list", "-H", "--exclude-holder", "python3"]));
        assert_eq!(listed.lines().len(), 1);
        let both = [
            "list",
            "--exclude-holder",
            "python3",
            "--exclude-holder",
            "nobody",
        ];
        assert_eq!(run(&mut lntu(&both)).lines().len(), 2, "the header and one");
    });
}

#[test]
fn a_holder_name_that_is_too_long_is_refused() {
    let refused = run(&mut lntu(&["list", "--exclude-holder", "sixteen-bytes-xx"]));
    let why = "--exclude-holder 'sixteen-bytes-xx': the kernel keeps only 15 bytes of a name: \
               'sixteen-bytes-x' (try 'lntu --help')";
    assert_eq!(refused.error(), why);
}

#[test]
fn by_port_merges_ipv4_and_ipv6_into_one_event() {
    in_private_network(|| {
        let arguments = ["--by-port", "--json", "-i", FAST, "--source", "proc"];
        let watcher = Running::start(&mut lntu(&arguments));
        let next = || {
            let value: Value = serde_json::from_str(&watcher.next_line()).unwrap();
            let text = |key: &str| value[key].as_str().unwrap_or_default().to_string();
            format!("{} {}", text("type"), text("port"))
        };
        assert_eq!(next(), "ready ");
        let v4 = TcpListener::bind("0.0.0.0:8080").unwrap();
        assert_eq!(next(), "opened tcp:*:8080");
        let v6 = bound(Type::STREAM, "[::]:8080", |socket| {
            socket.set_only_v6(true).unwrap();
        });
        let udp = bound(Type::DGRAM, "127.0.0.1:8080", |_| {});
        assert_eq!(next(), "opened udp:127.0.0.1:8080");
        let listed = run(&mut lntu(&["list", "-H", "--by-port"]));
        let listed: Vec<String> = listed.lines().into_iter().map(event).collect();
        assert_eq!(listed, ["tcp LISTEN *:8080", "udp UNCONN 127.0.0.1:8080"]);
        drop(v6);
        watcher.assert_silent_for(A_WHILE);
        drop(v4);
        assert_eq!(next(), "closed tcp:*:8080");
        drop(udp);
        assert_eq!(next(), "closed udp:127.0.0.1:8080");
    });
}

/// Starts `watch --by-port 8000` with these options. Returns the watcher, and a closure that
/// returns the type, address and timestamp of the next event.
fn watch_by_port(options: &[&str]) -> (Running, impl Fn(&Running) -> [String; 3]) {
    let arguments = ["--by-port", "--json", "-i", FAST, "8000"];
    let watcher = Running::start(&mut lntu(&[&arguments, options].concat()));
    (watcher, |watcher: &Running| {
        let value: Value = serde_json::from_str(&watcher.next_line()).unwrap();
        ["type", "address", "timestamp"].map(|key| value[key].as_str().unwrap_or("").to_string())
    })
}

#[test]
fn by_port_shows_another_listener_after_a_close() {
    in_private_network(|| {
        for options in [
            &["--source", "proc"][..],
            &["--source", "netlink"],
            &["--settle", "50ms"],
            &["--changes-only"],
            &["--full"],
        ] {
            let first = bound(Type::STREAM, "127.0.0.1:8000", |_| {});
            let (watcher, next) = watch_by_port(options);
            if options != ["--changes-only"] {
                assert_eq!(next(&watcher)[..2], ["listening", "127.0.0.1"]);
            }
            assert_eq!(next(&watcher)[0], "ready");
            let second = bound(Type::STREAM, "127.0.0.2:8000", |_| {});
            watcher.assert_silent_for(A_WHILE);
            drop(first);
            let (closed, opened) = (next(&watcher), next(&watcher));
            assert_eq!(closed[..2], ["closed", "127.0.0.1"], "{options:?}");
            let event = if options == ["--full"] {
                "listening"
            } else {
                "opened"
            };
            assert_eq!(opened[..2], [event, "127.0.0.2"], "{options:?}");
            assert_eq!(closed[2], opened[2], "one timestamp");
            drop(second);
            assert_eq!(next(&watcher)[..2], ["closed", "127.0.0.2"]);
        }
    });
}

/// The stdout of the watcher is a datagram socket, so each of its writes arrives as one datagram.
#[test]
fn by_port_reports_a_replacement_in_one_write() {
    in_private_network(|| {
        let listen = |last: u8, port: u16| {
            let address = format!("127.0.0.{last}:{port}");
            bound(Type::STREAM, &address, |_| {})
        };
        let (first, second) = (listen(1, 8000), listen(2, 8000));
        // The lines about these 100 listeners do not fit into one write.
        let others: Vec<_> = (8001..8101).map(|port| listen(1, port)).collect();
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        ours.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut command = lntu(&["--by-port", "--json", "-i", FAST, "--source", "proc"]);
        command.stdout(Stdio::from(OwnedFd::from(theirs)));
        let watcher = command.process_group(0).spawn();
        let watcher = Service(watcher.unwrap());
        drop(command);
        let pid = Pid::from_child(&watcher.0);
        let next_write = || {
            let mut datagram = [0; 8192];
            let length = ours.recv(&mut datagram).expect("a write");
            str::from_utf8(&datagram[..length]).unwrap().to_string()
        };
        while !next_write().contains("ready") {}
        kill_process(pid, Signal::STOP).unwrap();
        wait_for("the stop", || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", watcher.pid()));
            stat.unwrap().contains(") T ").then_some(())
        });
        drop((first, others));
        kill_process(pid, Signal::CONT).unwrap();
        let write = next_write();
        let mut lines = write.lines();
        let (closed, opened) = (lines.next().unwrap(), lines.next().unwrap());
        assert!(
            closed.contains(r#""closed","id":"tcp:8000","port":"tcp:127.0.0.1:8000""#),
            "{write}"
        );
        assert!(
            opened.contains(r#""opened","id":"tcp:8000","port":"tcp:127.0.0.2:8000""#),
            "{write}"
        );
        assert!(!next_write().is_empty(), "the rest came in another write");
        drop(second);
    });
}

/// The kernel's listing is not atomic. A listener that one read misses may still be open,
/// even if that read found another listener on the same port.
#[test]
fn by_port_keeps_a_listener_that_one_read_misses() {
    let directory = fake_ss_that_misses_every_other_time(8000);
    let ss = directory.path().join("ss");
    let script = fs::read_to_string(&ss).unwrap();
    let other = "echo 'tcp LISTEN 0 0 127.0.0.2:8000 0.0.0.0:*'\nif [";
    write_program(&ss, &script.replacen("if [", other, 1));
    // If the file `flag` exists, the first run of the fake ss lists all listeners.
    fs::write(directory.path().join("flag"), "").unwrap();
    let mut command = lntu(&["--by-port", "-H", "-i", FAST, "--source", "ss", "8000"]);
    let watcher = Running::start(command.env("PATH", path_with(directory.path())));
    assert_eq!(event(&watcher.next_line()), "tcp LISTEN 127.0.0.1:8000");
    watcher.assert_silent_for(A_WHILE);
}

/// A `/proc` in which 127.0.0.1:80 is listening.
fn proc_with_one_listener() -> TempDir {
    let table = "  sl  local_address\n0: 0100007F:0050 00000000:0000 0A\n";
    forbidding_proc(&[("tcp", table)], &[])
}

#[test]
fn json_reports_that_a_source_is_lost_or_back() {
    let proc = proc_with_one_listener();
    let tcp = proc.path().join("net/tcp");
    let types = |lines: &[String]| -> Vec<String> {
        let kind = |line: &String| {
            let value: Value = serde_json::from_str(line).unwrap();
            value["type"].as_str().unwrap().to_string()
        };
        lines.iter().map(kind).collect()
    };
    for more in [&[][..], &["--changes-only"], &["--full"]] {
        let mut command = lntu(&["--json", "-i", FAST, "--proc"]);
        let watcher = Running::start(command.arg(proc.path()).args(more));
        let first = match more {
            ["--changes-only"] => vec!["ready"],
            _ => vec!["listening", "ready"],
        };
        let lines: Vec<String> = first.iter().map(|_| watcher.next_line()).collect();
        assert_eq!(types(&lines), first, "{more:?}");
        fs::rename(&tcp, tcp.with_extension("away")).unwrap();
        let lost: Value = serde_json::from_str(&watcher.next_line()).unwrap();
        let error = lost["error"].as_str().unwrap();
        assert!(
            lost["type"] == "lost" && error.contains("No such file"),
            "{lost}"
        );
        watcher.assert_silent_for(A_WHILE);
        fs::rename(tcp.with_extension("away"), &tcp).unwrap();
        assert_eq!(types(&[watcher.next_line()]), ["back"]);
        watcher.assert_silent_for(A_WHILE);
    }
}

#[test]
fn a_lost_source_adds_no_line_to_the_table() {
    let proc = proc_with_one_listener();
    let tcp = proc.path().join("net/tcp");
    let mut command = lntu(&["-H", "-i", FAST, "--changes-only", "--proc"]);
    let watcher = Running::start(command.arg(proc.path()));
    watcher.assert_silent_for(A_WHILE);
    fs::rename(&tcp, tcp.with_extension("away")).unwrap();
    assert!(watcher.next_error().ends_with("trying again"));
    fs::rename(tcp.with_extension("away"), &tcp).unwrap();
    assert_eq!(watcher.next_error(), "lntu: reading listeners again");
    watcher.assert_silent_for(A_WHILE);
}

/// When the parent of a daemon exits, the daemon gets a parent outside of the tree.
#[test]
fn a_daemon_leaves_the_tree_when_its_parent_exits() {
    if !have_program("services", "python3") {
        return;
    }
    in_private_network(|| {
        let directory = TempDir::new().unwrap();
        let script = "(sh -c 'exec python3 -m http.server 8000 --bind 127.0.0.1' & wait) & \
                      echo $! >pid; exec sleep 600";
        let service = Service::start("sh", &["-c", script], directory.path());
        assert_eq!(
            run(&mut lntu(&["wait", "--timeout", "30s", "8000"])).code(),
            0
        );
        let listed = || {
            let pid = service.pid();
            let listed = run(&mut lntu(&["list", "-H", "--of", &pid, "--source", "proc"]));
            listed.lines().len()
        };
        assert_eq!(listed(), 1);
        let middle = fs::read_to_string(directory.path().join("pid")).unwrap();
        let middle = Pid::from_raw(middle.trim().parse().unwrap()).unwrap();
        kill_process(middle, Signal::KILL).unwrap();
        wait_for("the daemon to leave", || (listed() == 0).then_some(()));
        assert_eq!(
            run(&mut lntu(&["check", "8000"])).code(),
            0,
            "it still listens"
        );
    });
}

/// A script that makes a tree of two processes. The root listens on 127.0.0.1:8000, and changes to
/// another user on SIGUSR1. Its child runs as that user from the start. The child has inherited
/// port 8000, and alone listens on port 8001.
const TREE_OF_TWO_USERS: &str = "
import os, signal, socket, time
both = socket.create_server(('127.0.0.1', 8000))
if os.fork():
    signal.signal(signal.SIGUSR1, lambda *_: os.setuid(65534))
else:
    os.setuid(65534)
    own = socket.create_server(('127.0.0.1', 8001))
while True:
    time.sleep(600)
";

fn tree_of_two_users() -> Service {
    let python = ["python3", "-c", TREE_OF_TWO_USERS];
    let service = Service::start(
        "setpriv",
        &[&WITHOUT_PTRACE[..], &python].concat(),
        Path::new("/"),
    );
    let both = ["wait", "--timeout", "30s", "8000", "8001"];
    assert_eq!(run(&mut lntu(&both)).code(), 0);
    service
}

/// Options of setpriv that drop CAP_SYS_PTRACE, as container runtimes do. Without this capability,
/// root may not read the descriptors of processes that belong to other users or have more
/// capabilities.
const WITHOUT_PTRACE: [&str; 4] = ["--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"];

fn without_ptrace(arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(WITHOUT_PTRACE);
    command.arg(env!("CARGO_BIN_EXE_lntu")).args(arguments);
    command
}

/// The end of the message that lntu prints if it is not permitted to read descriptors.
const NEEDS: &str = ": Permission denied (os error 13) (needs the process's user, or root with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH)";

#[test]
fn one_readable_holder_is_enough_for_a_probe() {
    if !have_two_users() {
        return;
    }
    in_private_network(|| {
        let service = tree_of_two_users();
        let pid = service.pid();
        let _neighbour = bound(Type::STREAM, "127.0.0.1:8003", |_| {});
        let probe = |arguments: &[&str]| {
            let probed = run(&mut without_ptrace(
                &[arguments, &["--of", &pid, "--source", "proc"]].concat(),
            ));
            (probed.code(), probed.stderr)
        };
        let yes = (0, String::new());
        let assert_unknown = |arguments: &[&str], port: &str| {
            let (code, stderr) = probe(arguments);
            let start = format!("lntu: {port}/tcp: could not tell which process listens: /proc/");
            let end = format!("/fd{NEEDS}\n");
            let is_explained = stderr.starts_with(&start) && stderr.ends_with(&end);
            assert!(code == 2 && is_explained, "{arguments:?}: {code}, {stderr}");
        };
        assert_eq!(probe(&["check", "8000"]), yes);
        assert_eq!(probe(&["wait", "8000"]), yes);
        // lntu may not read the descriptors of the child, which holds 8001 and might hold 8003.
        for port in ["8001", "8003"] {
            assert_unknown(&["check", port], port);
            assert_unknown(&["wait", port], port);
            assert_unknown(&["wait", "--closed", port], port);
        }
        // If nothing listens on a port, the answer does not depend on any descriptors.
        let reason = "lntu: 8002/tcp: not listening; 127.0.0.1:8000/tcp is\n";
        let (code, stderr) = probe(&["check", "8002"]);
        assert_eq!((code, &*without_holders(&stderr)), (1, reason));
        assert_eq!(probe(&["wait", "--closed", "8002"]), yes);
        assert_eq!(probe(&["check", "8001", "8002"]).0, 1, "one is certain");
        assert_eq!(probe(&["check", "--any", "8000", "8001"]).0, 0);
    });
}

#[test]
fn list_reports_unreadable_holders() {
    if !have_two_users() {
        return;
    }
    in_private_network(|| {
        let service = tree_of_two_users();
        let pid = service.pid();
        for source in ["auto", "ss", "proc", "netlink"] {
            let list = ["list", "-H", "--of", &pid, "--source", source];
            let listed = run(&mut without_ptrace(&list));
            let lines: Vec<String> = listed.stdout.lines().map(event).collect();
            assert_eq!(lines, ["tcp LISTEN 127.0.0.1:8000"], "{source}");
            let start = "lntu: --of: listeners may be missing: /proc/";
            assert_eq!(listed.code(), 2);
            assert!(listed.stderr.starts_with(start), "{listed:?}");
            assert_eq!(listed.stderr.lines().count(), 1, "{listed:?}");
            // There is no warning for port 8000 alone, because lntu can read one of its holders.
            let listed = run(&mut without_ptrace(&[&list[..], &["8000"]].concat()));
            assert_eq!(listed.lines().len(), 1);
        }
    });
}

#[test]
fn the_ready_line_reports_unreadable_holders() {
    if !have_two_users() {
        return;
    }
    in_private_network(|| {
        let service = tree_of_two_users();
        let watch = ["--json", "-i", FAST, "--of", &service.pid()];
        let watcher = Running::start(&mut without_ptrace(&watch));
        let next = || serde_json::from_str::<Value>(&watcher.next_line()).unwrap();
        let first = next();
        assert_eq!(
            (&first["type"], &first["port"]),
            (&"listening".into(), &"tcp:127.0.0.1:8000".into())
        );
        let ready = next();
        let error = ready["error"].as_str().unwrap();
        assert!(
            error.starts_with("--of: listeners may be missing: "),
            "{ready}"
        );
        assert_eq!(watcher.next_error(), format!("lntu: {error}"));
        watcher.assert_silent_for(A_WHILE);
        watcher.assert_no_more_errors();
    });
}

#[test]
fn a_listener_stays_open_if_its_holder_is_unreadable() {
    if !have_two_users() {
        return;
    }
    in_private_network(|| {
        let service = tree_of_two_users();
        let port = "8000";
        let watch = ["-H", "-i", FAST, "--of", &service.pid(), port, "8003"];
        let watcher = Running::start(&mut without_ptrace(&watch));
        assert_eq!(event(&watcher.next_line()), "tcp LISTEN 127.0.0.1:8000");
        watcher.assert_no_more_errors();
        kill_process(Pid::from_child(&service.0), Signal::USR1).unwrap();
        let status = format!("/proc/{}/status", service.pid());
        wait_for("another user", || {
            let status = fs::read_to_string(&status).unwrap();
            status.contains("Uid:\t65534").then_some(())
        });
        // A new listener makes the watcher search the tree. It can no longer read the descriptors
        // of any process there.
        let _neighbour = bound(Type::STREAM, "127.0.0.1:8003", |_| {});
        let message = watcher.next_error();
        assert!(message.contains("listeners may be missing"), "{message}");
        watcher.assert_silent_for(A_WHILE);
        drop(service);
        assert_eq!(event(&watcher.next_line()), "tcp CLOSED 127.0.0.1:8000");
    });
}

#[test]
fn a_watcher_with_pid_and_of_ends_with_its_process() {
    in_private_network(|| {
        let directory = TempDir::new().unwrap();
        let service = Service::start("sleep", &["600"], directory.path());
        let pid = service.pid();
        let watcher = Running::start(&mut lntu(&["--pid", &pid, "--of", &pid, "-i", FAST]));
        assert!(watcher.next_line().starts_with("Netid State"));
        drop(service);
        let ended = watcher.finish();
        assert_eq!(
            (ended.code(), ended.stderr),
            (0, format!("lntu: process {pid} has ended\n"))
        );
    });
}

/// The process exits before the watcher starts, or while it runs.
#[test]
fn a_watcher_exits_with_0_after_its_process_exits() {
    let start = |program: &str| Service::start(program, &["600"], Path::new("/"));
    for options in [&["--json"][..], &["--json", "--settle", "50ms"], &["-H"]] {
        for moment in ["waited for", "a zombie", "after the start"] {
            let mut service = start("sleep");
            let pid = service.pid();
            let watch = ["--of", &pid, "-i", FAST, "--source", "proc"];
            let mut expected = vec!["ready", "ended"];
            match moment {
                "waited for" => drop(service.0.kill().and_then(|()| service.0.wait()).unwrap()),
                "a zombie" => {
                    service.0.kill().unwrap();
                    wait_for("a zombie", || is_gone(service.0.id()).then_some(()));
                }
                _ => {}
            }
            let watcher = Running::start(&mut lntu(&[&watch, options].concat()));
            if moment == "after the start" {
                if options.contains(&"--json") {
                    assert!(watcher.next_line().contains(expected.remove(0)));
                }
                watcher.assert_silent_for(A_WHILE);
                service.0.kill().unwrap();
            }
            let ended = watcher.finish();
            let case = format!("{moment}, {options:?}: {ended:?}");
            assert_eq!(ended.code(), 0, "{case}");
            if !options.contains(&"--json") {
                expected.clear();
            }
            let lines: Vec<&str> = ended.stdout.lines().collect();
            assert_eq!(lines.len(), expected.len(), "{case}");
            for (line, expected) in lines.iter().zip(expected) {
                let line: Value = serde_json::from_str(line).unwrap();
                assert_eq!(line["type"], expected, "{case}");
            }
            let warning = match moment {
                "waited for" => format!(
                    "lntu: --of {pid}: no such process in this PID namespace; assuming that it has exited\n"
                ),
                _ => String::new(),
            };
            let expected = format!("{warning}lntu: process {pid} has ended\n");
            assert_eq!(ended.stderr, expected, "{case}");
        }
    }
}

/// A child has inherited the listener, and holds it after the process has exited.
#[test]
fn a_listener_stays_open_while_a_child_holds_it() {
    if !have_program("services", "python3") {
        return;
    }
    in_private_network(|| {
        let script = "import os, socket, time
listener = socket.create_server(('127.0.0.1', 8000))
if os.fork() == 0: time.sleep(600)
time.sleep(600)";
        let mut service = Service::start("python3", &["-c", script], Path::new("/"));
        let pid = service.pid();
        let wait = ["wait", "--of", &pid, "--timeout", "60s", "8000"];
        assert_eq!(run(&mut lntu(&wait)).code(), 0);
        let watch = ["--of", &pid, "--json", "-i", FAST, "--source", "proc"];
        let watcher = Running::start(&mut lntu(&watch));
        let next = || {
            let line: Value = serde_json::from_str(&watcher.next_line()).unwrap();
            line["type"].as_str().unwrap().to_string()
        };
        assert_eq!([next(), next()], ["listening", "ready"]);
        wait_for("the fork", || {
            (!children_of(service.0.id()).is_empty()).then_some(())
        });
        service.0.kill().unwrap();
        assert_eq!(next(), "ended");
        watcher.assert_silent_for(A_WHILE);
        service.signal(Signal::KILL);
        assert_eq!(next(), "closed");
        assert_eq!(watcher.finish().code(), 0);
        service.0.wait().unwrap();
    });
}

#[test]
fn a_process_in_another_network_namespace_is_an_error() {
    in_private_network(|| {
        let parent = rustix::process::getppid().unwrap().as_raw_pid().to_string();
        let refused = run(&mut lntu(&["list", "--of", &parent]));
        let why = format!(
            "--of {parent}: the process is in another network namespace (--pid {parent} looks \
             there)"
        );
        assert_eq!(refused.error(), why);
        let listed = run(&mut lntu(&["list", "--of", &parent, "--pid", &parent]));
        assert_eq!(listed.code(), 0, "{listed:?}");
    });
}

/// The test imitates the `/proc` of the host, as seen from a container that may not inspect
/// process 1.
#[test]
fn a_proc_whose_namespace_is_unreadable_is_an_error() {
    let missing = fs::read_to_string("/proc/1/comm").err();
    if !have(
        "proc",
        missing.map(|error| format!("/proc/1/comm: {error}")),
    ) {
        return;
    }
    let process = Running::start(without_root(Command::new("sleep").arg("300")));
    let pid = process.child.id().to_string();
    let proc = forbidding_proc(&[], &[]);
    fs::remove_dir(proc.path().join("net")).unwrap();
    for (link, target) in [
        ("self", "1"),
        ("1", "/proc/1"),
        (&pid, &format!("/proc/{pid}")),
    ] {
        symlink(target, proc.path().join(link)).unwrap();
    }
    let refused = run_forbidden(&proc, &["check", "--of", &pid, "1"]);
    let error = refused.error();
    assert!(error.starts_with("--of: "), "{error}");
    assert!(error.contains("/1/ns/net: Permission denied"), "{error}");
}

/// The excluded process shares the port (SO_REUSEPORT) and still listens there.
#[test]
fn a_port_closes_if_only_excluded_holders_remain() {
    if !have_program("services", "python3") {
        return;
    }
    in_private_network(|| {
        let directory = TempDir::new().unwrap();
        let script = "import socket, time; \
                      listener = socket.create_server(('127.0.0.1', 9000), reuse_port=True); \
                      time.sleep(600)";
        let _agent = Service::start("python3", &["-c", script], directory.path());
        assert_eq!(
            run(&mut lntu(&["wait", "--timeout", "30s", "9000"])).code(),
            0
        );
        for more in [&[][..], &["--by-port"], &["--settle", "100ms"]] {
            let watch = ["--exclude-holder", "python3", "-H", "-i", FAST];
            let watcher = Running::start(&mut lntu(&[&watch[..], more].concat()));
            let share = |socket: &socket2::Socket| socket.set_reuse_port(true).unwrap();
            let own = bound(Type::STREAM, "127.0.0.1:9000", share);
            assert_eq!(
                event(&watcher.next_line()),
                "tcp LISTEN 127.0.0.1:9000",
                "{more:?}"
            );
            drop(own);
            assert_eq!(
                event(&watcher.next_line()),
                "tcp CLOSED 127.0.0.1:9000",
                "{more:?}"
            );
        }
    });
}

/// A script that makes a process with a child. The parent listens on port 8000 and the child on
/// 8001. For each line on stdin, the parent listens on one more port, from 8002 on. The child exits
/// when stdin is closed.
const FAMILY: &str = "
import os, select, socket, sys
own = socket.create_server(('127.0.0.1', 8000))
reader, writer = os.pipe()
if os.fork() == 0:
    own.close()
    child = socket.create_server(('127.0.0.1', 8001))
    os.write(writer, b'x')
    stdin = select.poll()
    stdin.register(0, select.POLLHUP)
    stdin.poll()
    sys.exit()
os.read(reader, 1)
print('here', flush=True)
later = []
for line in sys.stdin:
    later.append(socket.create_server(('127.0.0.1', 8002 + len(later))))
    print('later', flush=True)
";

fn start_family() -> Running {
    let mut python = Command::new("python3");
    let family = Running::start(python.args(["-c", FAMILY]).stdin(Stdio::piped()));
    assert_eq!(family.next_line(), "here");
    family
}

/// Makes the parent in [`FAMILY`] listen on one more port.
fn open_another_port(family: &Running) {
    let mut stdin = family.child.stdin.as_ref().unwrap();
    std::io::Write::write_all(&mut stdin, b"\n").unwrap();
    assert_eq!(family.next_line(), "later");
}

#[test]
fn exclude_of_hides_listeners_of_descendants() {
    if !have_program("services", "python3") || !have_ss() {
        return;
    }
    in_private_network(|| {
        let family = start_family();
        let pid = family.child.id().to_string();
        let _stranger = bound(Type::STREAM, "127.0.0.1:9000", |_| {});
        let watchers = ["auto", "ss", "proc", "netlink"].map(|source| {
            let options = ["-H", "--exclude-of", &pid, "--source", source];
            let listed = run(&mut lntu(&[&["list"], &options[..]].concat()));
            assert_eq!((listed.code(), &*listed.stderr), (0, ""), "{source}");
            let [line] = listed.lines()[..] else {
                panic!("{source}: {listed:?}");
            };
            assert_eq!(event(line), "tcp LISTEN 127.0.0.1:9000");
            let watcher = Running::start(&mut lntu(&[&options[..], &["-i", FAST]].concat()));
            assert_eq!(event(&watcher.next_line()), "tcp LISTEN 127.0.0.1:9000");
            watcher
        });
        open_another_port(&family);
        for watcher in &watchers {
            watcher.assert_silent_for(A_WHILE);
        }
        let _another = bound(Type::STREAM, "127.0.0.1:9001", |_| {});
        for watcher in &watchers {
            assert_eq!(event(&watcher.next_line()), "tcp LISTEN 127.0.0.1:9001");
        }
    });
}

#[test]
fn all_namespaces_respects_exclude_of() {
    if !have_program("services", "python3") {
        return;
    }
    in_private_network(|| {
        let family = start_family();
        let _stranger = bound(Type::STREAM, "127.0.0.1:9000", |_| {});
        let namespace = fs::metadata("/proc/thread-self/ns/net").unwrap();
        let label = format!("netns:{},", std::os::unix::fs::MetadataExt::ino(&namespace));
        let pid = family.child.id().to_string();
        let listed = run(&mut lntu(&["list", "-AHq", "--exclude-of", &pid])).stdout;
        let lines = listed.lines().filter(|line| line.contains(&label));
        let lines: Vec<&str> = lines.collect();
        let [line] = lines[..] else {
            panic!("{listed}");
        };
        assert_eq!(event(line), "tcp LISTEN 127.0.0.1:9000");
    });
}

#[test]
fn exclude_of_shows_new_ports_after_the_process_exits() {
    if !have_program("services", "python3") {
        return;
    }
    in_private_network(|| {
        let mut family = start_family();
        let pid = family.child.id();
        let exclude = ["-H", "-i", FAST, "--exclude-of", &pid.to_string()];
        let watcher = Running::start(&mut lntu(&exclude));
        watcher.assert_silent_for(A_WHILE);
        // Keep stdin open. Child::wait would close it, which would make the child of the process
        // exit, too.
        let _stdin = family.child.stdin.take();
        family.child.kill().unwrap();
        family.child.wait().unwrap();
        let ended =
            format!("lntu: --exclude-of: process {pid} has ended; what opens from now on is shown");
        assert_eq!(watcher.next_error(), ended);
        // The child still holds port 8001, which was hidden before and stays hidden.
        let _stranger = bound(Type::STREAM, "127.0.0.1:9000", |_| {});
        assert_eq!(event(&watcher.next_line()), "tcp LISTEN 127.0.0.1:9000");
        watcher.assert_silent_for(A_WHILE);
    });
}

#[test]
fn list_warns_that_an_excluded_process_does_not_exist() {
    in_private_network(|| {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id().to_string();
        child.wait().unwrap();
        let _stranger = bound(Type::STREAM, "127.0.0.1:9000", |_| {});
        let listed = run(&mut lntu(&["list", "--exclude-of", &pid, "9000"]));
        let rows = listed.stdout.lines().count();
        assert_eq!((listed.code(), rows), (0, 2), "{listed:?}");
        let why = "no such process in this PID namespace; leaving out nothing";
        let warning = format!("lntu: --exclude-of {pid}: {why}\n");
        assert_eq!(listed.stderr, warning);
    });
}

#[test]
fn wait_closed_can_exclude_an_inherited_socket() {
    in_private_network(|| {
        let listener = TcpListener::bind("127.0.0.1:8080").unwrap();
        let wait = |options: &str| {
            let program = env!("CARGO_BIN_EXE_lntu");
            let script = format!("exec {program} wait --closed --timeout 1s {options} 8080");
            let mut shell = Command::new("sh");
            let inherited = OwnedFd::from(listener.try_clone().unwrap());
            run(shell.args(["-c", &script]).stdin(Stdio::from(inherited)))
        };
        let waited = wait("--exclude-of $$");
        assert_eq!((waited.code(), &*waited.stderr), (0, ""));
        assert_eq!(wait("").code(), 1);
    });
}

#[test]
fn exclude_of_shows_ports_with_unreadable_holders() {
    if !have_program("services", "python3") {
        return;
    }
    in_private_network(|| {
        let family = start_family();
        let pid = family.child.id().to_string();
        let proc = forbidding_proc(&[], &[]);
        let listed = run_copy(&proc, &["list", "-H", "--exclude-of", &pid]);
        let rows = listed.stdout.lines().count();
        assert_eq!((listed.code(), rows), (2, 2), "{listed:?}");
        let last = listed.stderr.lines().last().unwrap();
        let why = "lntu: --exclude-of: its listeners may be shown: /proc/";
        assert!(last.starts_with(why), "{last}");
        let wait = [
            "wait",
            "--closed",
            "--timeout",
            "100ms",
            "--exclude-of",
            &pid,
            "8000",
        ];
        let waited = run_copy(&proc, &wait);
        let messages: Vec<&str> = waited.stderr.lines().collect();
        assert_eq!((waited.code(), messages.len()), (1, 2), "{waited:?}");
        assert!(messages[0].starts_with(why), "{waited:?}");
        assert!(messages[1].contains("still taken after"), "{waited:?}");
    });
}

#[test]
fn check_and_plain_wait_refuse_exclude_of() {
    for (arguments, why) in [
        (
            &["wait", "--exclude-of", "1", "80"][..],
            "--exclude-of: wait requires --closed with it (try 'lntu --help')",
        ),
        (
            &["check", "--exclude-of", "1", "80"],
            "--exclude-of: not an option of check (try 'lntu --help')",
        ),
    ] {
        let refused = run(&mut lntu(arguments));
        assert_eq!((refused.code(), refused.error()), (2, why));
    }
}
