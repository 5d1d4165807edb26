//! Tests of `list --pids`, which prints the ids of all processes that hold a listener, for scripts
//! that send signals to them.

use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::*;

fn pids(arguments: &[&str]) -> Finished {
    run(&mut lntu(&[&["list", "--pids"], arguments].concat()))
}

/// Starts a server with this many workers, which inherit its socket. Returns the server, its port,
/// and the sorted process ids of the server and the workers.
fn server_with_workers(workers: usize) -> (Running, String, Vec<String>) {
    let script = "import os, signal, socket, sys
listener = socket.create_server(('127.0.0.1', 0))
other = socket.create_server(('127.0.0.1', 0))
again = listener.dup()
pids = [os.getpid()]
for _ in range(int(sys.argv[1])):
    pid = os.fork()
    if pid == 0:
        signal.pause()
    pids.append(pid)
print(listener.getsockname()[1], *sorted(pids), flush=True)
signal.pause()";
    let mut python = Command::new("python3");
    let server = Running::start(python.args(["-c", script, &workers.to_string()]));
    let line = server.next_line();
    let mut words = line.split(' ').map(str::to_string);
    let port = words.next().unwrap();
    (server, port, words.collect())
}

/// `--pids` prints more than 64 processes, which is the limit for a line of a table. It does not
/// print clients that are connected to the port.
#[test]
fn list_pids_prints_every_process_that_listens() {
    if !have_program("services", "python3") {
        return;
    }
    let (_server, port, expected) = server_with_workers(70);
    assert_eq!(expected.len(), 71);
    let _client = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
    for source in ["auto", "ss", "proc", "netlink"] {
        if source == "ss" && !have_ss() {
            continue;
        }
        let listed = pids(&["--source", source, &port]);
        assert_eq!(listed.lines(), expected, "{source}");
    }
}

#[test]
fn list_pids_exits_with_1_if_nothing_listens() {
    let port = FreePort::new();
    let listed = pids(&[&port.to_string()]);
    let output = (&*listed.stdout, &*listed.stderr);
    assert_eq!((listed.code(), output), (1, ("", "")));
}

#[test]
fn list_pids_exits_with_2_if_a_holder_is_unknown() {
    if !have_root() || !have_program("services", "python3") {
        return;
    }
    let hidden = listen("127.0.0.1");
    let hidden = port_of(&hidden);
    let script = "import signal, socket
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
signal.pause()";
    let mut python = Command::new("python3");
    let visible = Running::start(without_root(python.args(["-c", script])));
    let port = visible.next_line();
    let directory = forbidding_proc(&[], &[]);
    let list = |ports: &[&str]| {
        let arguments = ["list", "--pids", "--source", "netlink"];
        run_copy(&directory, &[&arguments, ports].concat())
    };
    let expected = format!("{}\n", visible.child.id());
    assert_eq!(list(&[&port]).stdout, expected);
    let partial = list(&[&port, &hidden.to_string()]);
    let reason = format!(
        "lntu: 127.0.0.1:{hidden}/tcp: no process found that holds it (for processes of other users, you \
         need root with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH)\n"
    );
    let result = (partial.code(), partial.stdout, partial.stderr);
    assert_eq!(result, (2, expected, reason));
}

/// Status 1 would mean that nothing listens, but the unreadable table may contain listeners.
#[test]
fn list_pids_exits_with_2_if_a_table_is_unreadable() {
    let proc = forbidding_proc(&[("tcp", PROC_HEADER)], &["udp"]);
    let listed = run_forbidden(&proc, &["list", "--pids", "-q"]);
    assert_eq!((listed.code(), &*listed.stdout), (2, ""), "{listed:?}");
}

#[test]
fn an_excluded_holder_is_not_printed() {
    if !have_program("services", "python3") {
        return;
    }
    let (_server, port, _) = server_with_workers(1);
    let excluded = pids(&["--exclude-holder", "python3", &port]);
    assert_eq!(
        (excluded.code(), &*excluded.stdout),
        (1, ""),
        "{excluded:?}"
    );
}

#[test]
fn the_recipe_ends_a_server_and_its_workers() {
    if !have_program("services", "nginx") {
        return;
    }
    let [recipe] = examples("Stop the server on a port");
    in_private_network(|| {
        let directory = TempDir::new().unwrap();
        let path = directory.path().display();
        let conf = format!(
            "daemon off; pid {path}/pid; error_log stderr; worker_processes 2; events {{}} \
             http {{ access_log off; server {{ listen 5173; }} }}"
        );
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, conf).unwrap();
        let mut nginx = Running::start(Command::new("nginx").arg("-c").arg(&file));
        let workers = || {
            let lines = pids(&["5173"]).stdout.lines().count();
            (lines == 3).then_some(())
        };
        wait_for("nginx and its workers", workers);
        let ended = run(&mut shell(recipe));
        // nginx may end its workers before the recipe's `kill` signals them.
        let unexpected = |line: &&str| !line.is_empty() && !line.ends_with(": No such process");
        assert_eq!(ended.stderr.lines().find(unexpected), None, "{ended:?}");
        let status = wait_for("the end of nginx", || nginx.child.try_wait().unwrap());
        assert!(status.success() || status.signal().is_some(), "{status}");
        wait_for("the end of the workers", || {
            (pids(&["5173"]).code() == 1).then_some(())
        });
    });
}
