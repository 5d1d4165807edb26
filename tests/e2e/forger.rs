//! Another user, with a network namespace of their own, sends forged answers of the
//! kernel to whatever asks it from that namespace: rows that look like listeners, and
//! early ends of a dump.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::process::Stdio;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::harness::*;

/// Moves this thread into a network namespace.
fn enter(namespace: &File) {
    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(namespace.as_fd(), kind).unwrap();
}

/// `forger.py` in a [`Host`]. Its output is that of the script.
struct Forger {
    running: Running,
    pid: u32,
}

impl Forger {
    /// `None` where no user may make a namespace.
    fn start(host: &Host) -> Option<Forger> {
        let script = include_str!("forger.py");
        let mut command = host.command("python3", &["-c", script]);
        let running = Running::start(command.stdin(Stdio::piped()));
        let said = running.next_line();
        let missing = (said != "forging").then_some(said);
        have("netns", missing).then(|| Forger {
            pid: child_of(running.child.id()),
            running,
        })
    }

    /// Runs `test` on a thread in the forger's network namespace. Programs that the thread
    /// starts share the namespace.
    fn in_its_network(&self, test: impl FnOnce() + Send) {
        let namespace = File::open(format!("/proc/{}/ns/net", self.pid)).unwrap();
        let run = || {
            enter(&namespace);
            test();
        };
        thread::scope(|scope| {
            if let Err(panic) = scope.spawn(run).join() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    /// Lets it end, and checks that it sent datagrams until then.
    fn finish(mut self) {
        drop(self.running.child.stdin.take());
        let tried: u64 = self.running.next_line().parse().unwrap();
        assert!(tried > 10_000, "{tried}");
    }
}

/// Runs `test` with a host whose only other namespace is that of a forger.
fn with_forger(test: impl FnOnce(&Host, &Forger) + Send) {
    in_private_network(|| {
        if let Some(host) = Host::start()
            && have_program("services", "python3")
            && let Some(forger) = Forger::start(&host)
        {
            test(&host, &forger);
            forger.finish();
        }
    });
}

/// The most memory that this process has had at once, in KiB.
fn most_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let most = most.and_then(|most| most.trim().strip_suffix(" kB"));
    most.unwrap().trim().parse().unwrap()
}

/// Opens and closes ports in the forger's namespace, and checks that the watcher reports
/// these only. Each event is one more poll, or several, under fire.
fn assert_reports_only_what_is_there(forger: &Forger, start: impl FnOnce() -> Running + Send) {
    forger.in_its_network(|| {
        let steady = listen("0.0.0.0");
        let watcher = start();
        let next = || event(&watcher.next_line());
        assert_eq!(next(), format!("tcp LISTEN *:{}", port_of(&steady)));
        for _ in 0..20 {
            let listener = listen("0.0.0.0");
            let port = port_of(&listener);
            assert_eq!(next(), format!("tcp LISTEN *:{port}"));
            drop(listener);
            assert_eq!(next(), format!("tcp CLOSED *:{port}"));
        }
        let memory = most_memory(child_of(watcher.child.id()));
        assert!(memory < 8 * 1024, "{memory} KiB");
        // It never turned away from netlink, and never failed to read it.
        watcher.assert_no_more_errors();
    });
}

const WATCH: [&str; 5] = ["-H", "-i", FAST, "--source", "netlink"];

/// It opens a socket in the forger's namespace for each poll.
#[test]
fn a_watcher_of_all_namespaces_ignores_a_forger() {
    with_forger(|host, forger| {
        let arguments = [&WATCH[..], &["-A"]].concat();
        let mut command = host.command(env!("CARGO_BIN_EXE_lntu"), &arguments);
        let outside = File::open("/proc/thread-self/ns/net").unwrap();
        assert_reports_only_what_is_there(forger, || {
            let forged = File::open("/proc/thread-self/ns/net").unwrap();
            enter(&outside);
            let watcher = Running::start(&mut command);
            enter(&forged);
            let warned = watcher.next_error();
            assert!(
                warned.contains("only processes of this PID namespace"),
                "{warned}"
            );
            watcher
        });
    });
}

/// It keeps its sockets.
#[test]
fn a_watcher_of_one_namespace_ignores_a_forger() {
    with_forger(|host, forger| {
        let mut command = host.command(env!("CARGO_BIN_EXE_lntu"), &WATCH);
        assert_reports_only_what_is_there(forger, || Running::start(&mut command));
    });
}

#[test]
fn lists_of_the_program_as_ss_hold_nothing_forged() {
    with_forger(|host, forger| {
        let link = SS_LINK.to_str().unwrap();
        forger.in_its_network(|| {
            let listener = listen("0.0.0.0");
            let expected = format!("0.0.0.0:{}", port_of(&listener));
            for _ in 0..50 {
                let listed = run(&mut host.command(link, &["-Hltn"]));
                let [line] = listed.lines()[..] else {
                    panic!("{listed:?}");
                };
                assert_eq!(line.split_whitespace().nth(3), Some(&*expected));
            }
        });
    });
}
