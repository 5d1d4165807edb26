//! When `wait` says yes: not about a port that was there for a moment, or of another
//! process than the one that was meant. And how it ends if that process dies.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::*;

fn wait_by(ss: &TempDir, arguments: &[&str]) -> Finished {
    let mut wait = lntu(&["wait", "--source", "ss", "-i", FAST]);
    run(wait.args(arguments).env("PATH", path_with(ss.path())))
}

/// Parcel binds its port for some milliseconds, closes it, and listens half a second later.
#[test]
fn a_port_that_is_there_for_one_look_is_a_no() {
    for ports in [&["8080", "1"][..], &["1", "8080"]] {
        let ss = ss_with_turns(ports);
        for timeout in ["0", "300ms"] {
            let refused = wait_by(&ss, &["--timeout", timeout, "8080"]);
            assert_eq!(refused.code(), 1, "{refused:?}");
            let said = &refused.stderr;
            assert!(said.starts_with("lntu: 8080/tcp: not listening"), "{said}");
        }
    }
}

#[test]
fn two_ports_that_take_turns_are_none_that_stays() {
    let ss = ss_with_turns(&["8080", "8081"]);
    let refused = wait_by(&ss, &["--timeout", "300ms", "--any", "8000-8100"]);
    assert_eq!((refused.code(), &*refused.stdout), (1, ""));
    let reason = "lntu: 8000-8100/tcp: did not keep listening for long enough after N s\n";
    assert_eq!(without_time(&refused.stderr), reason);
}

/// Of what comes and goes beside it, nothing is printed.
#[test]
fn only_the_port_that_stays_is_printed() {
    let directory = TempDir::new().unwrap();
    let ss = ss_with_turns(&["8080", "8081"]);
    let script = format!(
        "{}/ss\necho 'tcp LISTEN 0 0 127.0.0.1:8090 0.0.0.0:*'",
        ss.path().display()
    );
    write_program(&directory.path().join("ss"), &script);
    let found = wait_by(&directory, &["-H", "--any", "8000-8100"]);
    assert_eq!(found.lines().len(), 1);
    assert!(found.lines()[0].contains("127.0.0.1:8090 "), "{found:?}");
}

#[test]
fn a_port_that_listens_is_confirmed_after_the_timeout() {
    let server = listen("127.0.0.1");
    let port = port_of(&server).to_string();
    let waited = run(&mut lntu(&["wait", "--timeout", "0", &port]));
    assert_eq!(waited.lines(), [""; 0]);
}

#[test]
fn a_port_settles_only_after_the_time_that_was_asked_for() {
    let server = listen("127.0.0.1");
    let port = port_of(&server).to_string();
    let wait = ["wait", "-i", FAST, "--settle"];
    let early = run(lntu(&wait).args(["1h", "--timeout", "200ms", &port]));
    assert_eq!((early.code(), &*early.stdout), (1, ""));
    let reason = format!("lntu: {port}/tcp: did not keep listening for long enough after N s\n");
    assert_eq!(without_time(&early.stderr), reason);
    let settled = run(lntu(&wait).args(["100ms", "--timeout", "60s", &port]));
    assert_eq!(settled.lines(), [""; 0]);
}

/// Closing takes one look: what is closed is looked for again within it.
#[test]
fn closed_needs_no_second_look() {
    let port = FreePort::new();
    let ss = ss_with_turns(&["1"]);
    let arguments = ["--closed", "--timeout", "0", &port.to_string()];
    assert_eq!(wait_by(&ss, &arguments).lines(), [""; 0]);
}

/// A server that looks whether its port is free as get-port and Parcel do.
#[test]
fn a_server_that_probes_its_port_is_connected_to_once_it_serves() {
    if !have_program("services", "node") {
        return;
    }
    let script = "const net = require('net')
const port = +process.argv[1]
const probe = net.createServer().listen(port, '127.0.0.1', () => setTimeout(() =>
    probe.close(() => setTimeout(() => net.createServer().listen(port, '127.0.0.1'), 300)), 11))";
    in_private_network(|| {
        for port in 8080..8085 {
            let mut node = Command::new("node");
            let server = Running::start(node.args(["-e", script, &port.to_string()]));
            let pid = server.child.id().to_string();
            let wait = ["wait", "-H", "-i", FAST, "--settle", "1s", "--of", &pid];
            let waited = run(lntu(&wait).args(["--any", "1-65535"]));
            assert!(
                waited.lines()[0].contains(&format!(":{port} ")),
                "{waited:?}"
            );
            TcpStream::connect(("127.0.0.1", port)).unwrap();
        }
    });
}

#[test]
fn the_port_of_a_debugger_is_left_out() {
    if !have_program("services", "node") {
        return;
    }
    let server = "setTimeout(() => require('http').createServer().listen(3000, '127.0.0.1'), 500)";
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("server.js"), server).unwrap();
    let [recipe] = examples("A server with a debugger");
    let recipe = format!("cd {}\n{recipe}", directory.path().display());
    for (recipe, port) in [
        (recipe.replace(" --exclude 9229", ""), ":9229 "),
        (recipe, ":3000 "),
    ] {
        in_private_network(|| {
            let recipe = Recipe::start(&recipe);
            assert!(recipe.0.next_line().starts_with("Netid State"));
            let line = recipe.0.next_line();
            assert!(line.contains(port), "{line}");
        });
    }
}

#[test]
fn the_settle_recipe_accepts_a_server_that_stays() {
    in_private_network(|| {
        let [recipe] = examples("A server that restarts while it starts");
        let _server = listen_on("127.0.0.1", 8080);
        assert_eq!(run(&mut shell(recipe)).lines(), [""; 0]);
    });
}

/// A script tells the death of its server from bad usage. A shell may have waited for the
/// server already.
#[test]
fn the_death_of_the_process_is_status_3() {
    if !have_program("bash", "bash") {
        return;
    }
    let lntu = env!("CARGO_BIN_EXE_lntu");
    let port = FreePort::new();
    for server in ["exit 7", "sleep 0.3; exit 7"] {
        for shell in ["sh", "bash"] {
            let script = format!("({server}) & exec \"$0\" wait -i 10ms --of $! {port}");
            let died = run(Command::new(shell).args(["-c", &script, lntu]));
            assert_eq!((died.code(), &*died.stdout), (3, ""), "{died:?}");
            assert!(died.stderr.starts_with("lntu: --of "), "{died:?}");
            assert_eq!(died.stderr.lines().count(), 1, "{died:?}");
        }
        let script = format!("({server}) & pid=$!; wait $pid; \"$0\" wait --of $pid {port}");
        let died = run(Command::new("sh").args(["-c", &script, lntu]));
        let reason = "no such process in this PID namespace\n";
        assert_eq!(died.code(), 3, "{died:?}");
        assert!(died.stderr.ends_with(reason), "{died:?}");
    }
    // Nothing died that a check waits for.
    let check = run(&mut crate::harness::lntu(&[
        "check", "--of", "4194305", "80",
    ]));
    assert_eq!(check.code(), 2);
}
