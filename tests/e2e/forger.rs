//! Forged answers to netlink requests. The forger is a process of another user in a network
//! namespace that it has made. It sends datagrams to every netlink socket in that namespace: rows
//! that look like listeners, and messages that end a dump too early.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::Stdio;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::harness::*;

/// Moves the calling thread into the network namespace that this file refers to.
fn enter(namespace: &File) {
    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(namespace.as_fd(), kind).unwrap();
}

/// A running `forger.py` in a [`Host`].
struct Forger {
    running: Running,
    /// A process in the network namespace of the forger.
    pid: u32,
}

impl Forger {
    /// Returns `None`, and skips the test, if users may not make namespaces here.
    fn start(host: &Host) -> Option<Forger> {
        let script = include_str!("forger.py");
        let mut command = host.command("python3", &["-c", script]);
        let running = Running::start(command.stdin(Stdio::piped()));
        let line = running.next_line();
        let missing = (line != "forging").then_some(line);
        have("netns", missing).then(|| Forger {
            pid: child_of(running.child.id()),
            running,
        })
    }

    /// Runs `test` on a thread in the forger's network namespace. Programs that the thread
    /// starts share the namespace.
    fn in_forged_network(&self, test: impl FnOnce() + Send) {
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

    /// Ends the forger. Panics if it tried to send at most 10,000 datagrams.
    fn finish(mut self) {
        drop(self.running.child.stdin.take());
        let tried: u64 = self.running.next_line().parse().unwrap();
        assert!(tried > 10_000, "{tried}");
    }
}

/// Runs `test` with a host and a forger, which is the only process of the host in another network
/// namespace.
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

/// Opens and closes ports in the forger's namespace, and panics if the watcher that `start` returns
/// reports any other event. Each event takes at least one poll, during which the forger sends
/// datagrams.
fn assert_reports_only_real_ports(forger: &Forger, start: impl FnOnce() -> Running + Send) {
    forger.in_forged_network(|| {
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
        let memory = peak_memory(child_of(watcher.child.id()));
        assert!(memory < 8 * 1024, "{memory} KiB");
        // Netlink has never failed, and no other source was asked.
        watcher.assert_no_more_errors();
    });
}

/// The arguments of the watchers.
const WATCH: [&str; 5] = ["-H", "-i", FAST, "--source", "netlink"];

/// A watcher of all namespaces opens a new socket in the forger's namespace for each poll.
#[test]
fn a_watcher_of_all_namespaces_ignores_forged_answers() {
    with_forger(|host, forger| {
        let arguments = [&WATCH[..], &["-A"]].concat();
        let mut command = host.command(env!("CARGO_BIN_EXE_lntu"), &arguments);
        let outside = File::open("/proc/thread-self/ns/net").unwrap();
        assert_reports_only_real_ports(forger, || {
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

/// A watcher of one namespace uses the same sockets for all polls.
#[test]
fn a_watcher_of_one_namespace_ignores_forged_answers() {
    with_forger(|host, forger| {
        let mut command = host.command(env!("CARGO_BIN_EXE_lntu"), &WATCH);
        assert_reports_only_real_ports(forger, || Running::start(&mut command));
    });
}

#[test]
fn lntu_named_ss_ignores_forged_answers() {
    with_forger(|host, forger| {
        let link = SS_LINK.to_str().unwrap();
        forger.in_forged_network(|| {
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
