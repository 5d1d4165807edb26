//! A watcher of all namespaces must report changes in each of them, even if programs in one network
//! namespace try to prevent that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::*;

/// One poll reports at most this many closed listeners, and at most this many opened listeners, of
/// one namespace.
const MOST_CHANGES: usize = 500;

/// A script whose argument is a number of processes. It starts that many, each with 10,000 UDP
/// sockets.
const CROWD: &str = "
import os, resource, signal, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (12000, 12000))
for process in range(int(sys.argv[1])):
    done, write = os.pipe()
    if os.fork() == 0:
        sockets = []
        for port in range(1025, 11025):
            sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sockets[-1].bind(('127.0.0.%d' % (process + 1), port))
        os.write(write, b'.')
        signal.pause()
    os.read(done, 1)
print('here', flush=True)
signal.pause()
";

/// A script that closes and reopens 19,000 TCP ports without end.
const FLAPPING: &str = "
import resource, socket
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
def listen(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(('127.0.0.1', port))
    listener.listen(1)
    return listener
listeners = {port: listen(port) for port in range(1025, 20025)}
print('here', flush=True)
while True:
    for port in listeners:
        listeners[port].close()
        listeners[port] = listen(port)
";

/// A script whose argument is a number of processes. It starts that many, each in a user namespace
/// and a network namespace of its own.
const MANY: &str = "
import ctypes, os, signal, sys
number = int(sys.argv[1])
done, write = os.pipe()
for _ in range(number):
    if os.fork() == 0:
        CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
        made = ctypes.CDLL(None).unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0
        os.write(write, b'.' if made else b'x')
        signal.pause()
answers = b''
while len(answers) < number:
    answers += os.read(done, number)
print('here' if b'x' not in answers else 'refused', flush=True)
signal.pause()
";

/// A script whose argument is a number of TCP ports. It opens that many when it reads the first
/// line of stdin, and closes them when it reads the second.
const SOME: &str = "
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (12000, 12000))
sys.stdin.readline()
listeners = [socket.create_server(('127.0.0.1', 1025 + port)) for port in range(int(sys.argv[1]))]
print('here', flush=True)
sys.stdin.readline()
del listeners
print('closed', flush=True)
sys.stdin.readline()
";

/// A network namespace, and a hostile program that runs in it.
struct Neighbour {
    _process: HostProcess,
    program: Running,
    namespace: u64,
}

impl Neighbour {
    fn start(host: &Host, script: &str, arguments: &[&str]) -> Neighbour {
        let arguments = [&["-c", script], arguments].concat();
        let (process, program) = host.container(|| {
            let mut python = host.command("python3", &arguments);
            Running::start(python.stdin(std::process::Stdio::piped()))
        });
        Neighbour {
            namespace: process.namespace(),
            _process: process,
            program,
        }
    }
}

impl Drop for Neighbour {
    /// Kills the script and its children, which would keep running if only nsenter were killed.
    fn drop(&mut self) {
        for child in children_of(self.program.child.id()) {
            let pids: Vec<u32> = children_of(child).into_iter().chain([child]).collect();
            for pid in &pids {
                let _ = kill_process(Pid::from_raw(*pid as i32).unwrap(), Signal::KILL);
            }
            wait_for("the end of a neighbour", || {
                pids.iter().all(|pid| is_gone(*pid)).then_some(())
            });
        }
    }
}

/// A watcher of all namespaces, and the objects that it has printed so far.
struct Watcher {
    running: Running,
    pid: u32,
    objects: Vec<Value>,
}

impl Watcher {
    fn start(host: &Host, arguments: &[&str]) -> Watcher {
        let running = host.watch(&[&["--json"], arguments].concat());
        let pid = child_of(running.child.id());
        let mut watcher = Watcher {
            running,
            pid,
            objects: Vec::new(),
        };
        watcher.next(|object| object["type"] == "ready");
        watcher
    }

    /// Reads until an object is `wanted`, and returns it.
    fn next(&mut self, wanted: impl Fn(&Value) -> bool) -> &Value {
        loop {
            let object: Value = serde_json::from_str(&self.running.next_line()).unwrap();
            self.objects.push(object);
            if wanted(self.objects.last().unwrap()) {
                return self.objects.last().unwrap();
            }
        }
    }

    fn next_event(&mut self, kind: &str, namespace: u64, port: u16) {
        self.next(|object| {
            object["type"] == kind && object["namespace"] == namespace && object["number"] == port
        });
    }

    /// The CPU time that the watcher has used, in seconds.
    fn cpu_time(&self) -> f64 {
        let schedule = fs::read_to_string(format!("/proc/{}/schedstat", self.pid)).unwrap();
        let nanoseconds: u64 = schedule.split(' ').next().unwrap().parse().unwrap();
        nanoseconds as f64 / 1e9
    }

    /// How often the watcher has slept. It sleeps at least once after each poll.
    fn waits(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let mut lines = status.lines();
        let waits = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        waits.unwrap().trim().parse().unwrap()
    }

    /// The number of changes in this namespace that a single poll reported, for the poll with the
    /// most. All objects of a poll have the same timestamp.
    fn most_changes_at_once(&self, namespace: u64) -> usize {
        let mut counts = BTreeMap::new();
        let changes = self.objects.iter().filter(|object| {
            object["namespace"] == namespace
                && ["opened", "closed"]
                    .iter()
                    .any(|kind| object["type"] == *kind)
        });
        for object in changes {
            *counts.entry(object["timestamp"].as_str()).or_insert(0) += 1;
        }
        counts.into_values().max().unwrap_or_default()
    }

    /// Opens and closes ports of a quiet namespace, and checks that each change is reported. For
    /// TCP, also checks how many polls and how much CPU time the reports take. UDP changes may take
    /// longer, because a poll may postpone UDP in some namespaces.
    fn check_events_of(&mut self, quiet: &Quiet) {
        for port in 80..85 {
            let (waits, cpu_time) = (self.waits(), self.cpu_time());
            let listener = quiet.open(|| tcp_listener(&format!("127.0.0.1:{port}")));
            self.next_event("opened", quiet.namespace, port);
            drop(listener);
            self.next_event("closed", quiet.namespace, port);
            let (waits, cpu_time) = (self.waits() - waits, self.cpu_time() - cpu_time);
            assert!(waits <= 20 && cpu_time < 1.5, "{waits} waits, {cpu_time} s");
        }
        for port in 90..93 {
            let socket = quiet.open(|| UdpSocket::bind(("127.0.0.1", port)).unwrap());
            self.next_event("opened", quiet.namespace, port);
            drop(socket);
            self.next_event("closed", quiet.namespace, port);
        }
        let events = self.objects.iter();
        let events = events.filter(|object| object["namespace"] == quiet.namespace);
        assert_eq!(events.count(), 1 + 2 * (5 + 3), "{:?}", self.objects);
    }
}

/// A namespace with one UDP port that stays open. Tests open and close other ports in it.
struct Quiet {
    _process: HostProcess,
    _socket: UdpSocket,
    namespace: u64,
    file: fs::File,
}

impl Quiet {
    fn start(host: &Host) -> Quiet {
        let (process, _socket) = host.container(|| UdpSocket::bind("127.0.0.1:53").unwrap());
        Quiet {
            _socket,
            namespace: process.namespace(),
            file: process.namespace_file(),
            _process: process,
        }
    }

    fn open<T: Send>(&self, open: impl FnOnce() -> T + Send) -> T {
        in_namespace(&self.file, open)
    }
}

fn start() -> Option<Host> {
    have_program("services", "python3").then(Host::start)?
}

#[test]
fn a_crowd_of_udp_sockets_delays_no_other_namespace() {
    let Some(host) = start() else {
        return;
    };
    let quiet = Quiet::start(&host);
    let crowd = Neighbour::start(&host, CROWD, &["10"]);
    assert_eq!(crowd.program.next_line(), "here");
    let mut watcher = Watcher::start(&host, &[]);
    watcher.check_events_of(&quiet);
    let lost = |object: &&Value| object["type"] == "lost" && object["namespace"] == crowd.namespace;
    assert_eq!(watcher.objects.iter().filter(lost).count(), 1);
    let from_crowd = |object: &&Value| object["namespace"] == crowd.namespace;
    assert_eq!(watcher.objects.iter().filter(from_crowd).count(), 1);
    assert!(peak_memory(watcher.pid) < 30_000);
}

#[test]
fn flapping_ports_delay_no_other_namespace() {
    let Some(host) = start() else {
        return;
    };
    let quiet = Quiet::start(&host);
    let flapping = Neighbour::start(&host, FLAPPING, &[]);
    assert_eq!(flapping.program.next_line(), "here");
    let mut watcher = Watcher::start(&host, &[]);
    watcher.check_events_of(&quiet);
    let changes = watcher.most_changes_at_once(flapping.namespace);
    assert!(changes <= 2 * MOST_CHANGES, "{changes}");
    assert!(peak_memory(watcher.pid) < 60_000);
}

/// The watcher can handle 1,500 namespaces and more. This test uses only 500, because starting and
/// ending 1,500 takes over a minute and a half on a busy machine.
#[test]
fn many_empty_namespaces_do_not_delay_another() {
    let Some(host) = start() else {
        return;
    };
    let quiet = Quiet::start(&host);
    let many = Neighbour::start(&host, MANY, &["500"]);
    assert_eq!(many.program.next_line(), "here");
    let mut watcher = Watcher::start(&host, &["--settle", "50ms"]);
    watcher.check_events_of(&quiet);
    assert!(peak_memory(watcher.pid) < 20_000);
}

/// The watcher retries an unreadable namespace less and less often. When that namespace is gone,
/// the kernel may give its inode number to a new namespace, which the watcher must read at once.
#[test]
fn a_namespace_that_reuses_an_inode_is_read_at_once() {
    let Some(host) = start() else {
        return;
    };
    let mut watcher = Watcher::start(&host, &[]);
    let pid = Pid::from_raw(watcher.pid as i32).unwrap();
    // Namespaces of other tests may get the inode number first, so this may need several tries.
    let minutes = Duration::from_secs(180);
    let (namespace, successor) = wait_within(minutes, "the same inode", || {
        let lost = Neighbour::start(&host, CROWD, &["3"]);
        assert_eq!(lost.program.next_line(), "here");
        let namespace = lost.namespace;
        watcher.next(|object| object["type"] == "lost" && object["namespace"] == namespace);
        // The watcher reads the lost namespace again after a second, after two more, and so on.
        let waits = watcher.waits();
        wait_for("polls without it", || {
            (watcher.waits() > waits + 200).then_some(())
        });
        stop_at_rest(pid);
        drop(lost);
        let mut others = Vec::new();
        for _ in 0..20 {
            let another = host.container(|| tcp_listener("127.0.0.1:80"));
            if another.0.namespace() == namespace {
                return Some((namespace, another));
            }
            others.push(another);
        }
        kill_process(pid, Signal::CONT).unwrap();
        None
    });
    let waits = watcher.waits();
    kill_process(pid, Signal::CONT).unwrap();
    watcher.next_event("opened", namespace, 80);
    let waits = watcher.waits() - waits;
    assert!(waits <= 20, "{waits} waits");
    drop(successor);
    watcher.next_event("closed", namespace, 80);
}

/// 3000 ports open, and later close, while the watcher is stopped. That is more than one poll
/// reports, so later polls report the rest.
#[test]
fn postponed_changes_of_a_namespace_are_not_lost() {
    let Some(host) = start() else {
        return;
    };
    let quiet = Quiet::start(&host);
    let mut busy = Neighbour::start(&host, SOME, &["3000"]);
    let mut watcher = Watcher::start(&host, &[]);
    let pid = Pid::from_raw(watcher.pid as i32).unwrap();
    let mut stdin = busy.program.child.stdin.take().unwrap();
    let mut next_step = |answer: &str| {
        std::io::Write::write_all(&mut stdin, b"\n").unwrap();
        assert_eq!(busy.program.next_line(), answer);
    };
    for (kind, answer) in [("opened", "here"), ("closed", "closed")] {
        watcher.objects.clear();
        stop_at_rest(pid);
        next_step(answer);
        let listener = (kind == "opened").then(|| quiet.open(|| tcp_listener("127.0.0.1:80")));
        kill_process(pid, Signal::CONT).unwrap();
        if listener.is_some() {
            watcher.next_event("opened", quiet.namespace, 80);
            let first = watcher.objects[0]["timestamp"].clone();
            assert_eq!(
                watcher.objects.last().unwrap()["timestamp"],
                first,
                "in the same poll"
            );
        }
        let mut ports = BTreeSet::new();
        for object in &watcher.objects {
            if object["namespace"] == busy.namespace {
                assert!(ports.insert(object["number"].as_u64().unwrap()));
            }
        }
        while ports.len() < 3000 {
            let object = watcher.next(|object| object["namespace"] == busy.namespace);
            assert_eq!(object["type"], kind);
            assert!(ports.insert(object["number"].as_u64().unwrap()), "{object}");
        }
        assert_eq!(watcher.most_changes_at_once(busy.namespace), MOST_CHANGES);
    }
}
