//! Tests of the conditions under which `wait` succeeds: a port must keep listening, and with
//! `--of`, the given process must hold it. `wait` fails if that process exits.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::*;

/// Runs `wait` with the fake ss of this directory.
fn wait_with(ss: &TempDir, arguments: &[&str]) -> Finished {
    let mut wait = lntu(&["wait", "--source", "ss", "-i", FAST]);
    run(wait.args(arguments).env("PATH", path_with(ss.path())))
}

/// The bundler Parcel binds its port for some milliseconds to see if it is free, closes it, and
/// listens on it half a second later.
#[test]
fn wait_ignores_a_briefly_bound_port() {
    for ports in [&["8080", "1"][..], &["1", "8080"]] {
        let ss = ss_with_turns(ports);
        for timeout in ["0", "300ms"] {
            let waited = wait_with(&ss, &["--timeout", timeout, "8080"]);
            assert_eq!(waited.code(), 1, "{waited:?}");
            let reason = &waited.stderr;
            assert!(
                reason.starts_with("lntu: 8080/tcp: not listening"),
                "{reason}"
            );
        }
    }
}

#[test]
fn wait_any_fails_if_ports_only_take_turns() {
    let ss = ss_with_turns(&["8080", "8081"]);
    let refused = wait_with(&ss, &["--timeout", "300ms", "--any", "8000-8100"]);
    assert_eq!((refused.code(), &*refused.stdout), (1, ""));
    let reason = "lntu: 8000-8100/tcp: did not keep listening for long enough after N s\n";
    assert_eq!(without_time(&refused.stderr), reason);
}

/// Two ports of the range open and close in turn, and a third stays open.
#[test]
fn wait_any_prints_only_the_port_that_stays_open() {
    let directory = TempDir::new().unwrap();
    let ss = ss_with_turns(&["8080", "8081"]);
    let script = format!(
        "{}/ss\necho 'tcp LISTEN 0 0 127.0.0.1:8090 0.0.0.0:*'",
        ss.path().display()
    );
    write_program(&directory.path().join("ss"), &script);
    let found = wait_with(&directory, &["-H", "--any", "8000-8100"]);
    assert_eq!(found.lines().len(), 1);
    assert!(found.lines()[0].contains("127.0.0.1:8090 "), "{found:?}");
}

#[test]
fn a_port_is_confirmed_even_after_the_timeout() {
    let server = listen("127.0.0.1");
    let port = port_of(&server).to_string();
    let waited = run(&mut lntu(&["wait", "--timeout", "0", &port]));
    assert_eq!(waited.lines(), [""; 0]);
}

#[test]
fn wait_succeeds_only_after_the_settle_time() {
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

/// `wait --closed` needs no second look, because a single one already searches twice for each PORT.
#[test]
fn wait_closed_succeeds_after_a_single_look() {
    let port = FreePort::new();
    let ss = ss_with_turns(&["1"]);
    let arguments = ["--closed", "--timeout", "0", &port.to_string()];
    assert_eq!(wait_with(&ss, &arguments).lines(), [""; 0]);
}

/// The server of this test first binds its port to see if it is free, as get-port and Parcel do.
#[test]
fn wait_ignores_a_server_that_tests_its_port() {
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
            let waited = wait_for_any(&server, &["-i", FAST, "--settle", "1s"]);
            assert!(
                waited.lines()[0].contains(&format!(":{port} ")),
                "{waited:?}"
            );
            TcpStream::connect(("127.0.0.1", port)).unwrap();
        }
    });
}

/// The npm package get-port binds a port several times to see if it is free.
#[test]
fn wait_ignores_a_port_that_get_port_tries() {
    if !have_program("services", "node") || !have_installed("node_modules/get-port") {
        return;
    }
    // The script prints the longest time for which a port can have been bound, in milliseconds.
    const SCRIPT: &str = "\
import getPort, { portNumbers } from 'get-port';
import net from 'node:net';
let longest = 0;
for (const port of portNumbers(3000, 3019)) {
    const start = performance.now();
    await getPort({ port });
    longest = Math.max(longest, performance.now() - start);
}
setTimeout(() => net.createServer().listen(8080, () => console.log(longest)), 300);
";
    let script = installed("probing.mjs");
    fs::write(&script, SCRIPT).unwrap();
    in_private_network(|| {
        let mut quick = 0;
        wait_for("runs without a long pause", || {
            let server = Running::start(Command::new("node").arg(&script));
            let waited = wait_for_any(&server, &["-i", "10ms"]);
            let longest: f64 = server.next_line().parse().unwrap();
            // On a busy machine, get-port may keep a port bound for so long that both looks of
            // `wait` find it. Then the answer proves nothing, and the test does not check it.
            if longest < 50.0 {
                assert!(waited.lines()[0].contains(":8080 "), "{waited:?}");
                TcpStream::connect(("127.0.0.1", 8080)).unwrap();
                quick += 1;
            }
            (quick == 5).then_some(())
        });
    });
}

/// Runs `wait` until the server or one of its descendants listens on any port.
fn wait_for_any(server: &Running, options: &[&str]) -> Finished {
    let pid = server.child.id().to_string();
    let wait = ["wait", "-H", "--of", &pid, "--any", "1-65535"];
    run(lntu(&wait).args(options))
}

/// Starts a development server from npm, waits for its port, and connects to it.
fn assert_reached_after_wait(program: &str, arguments: &[&str], port: u16) {
    let program = format!("node_modules/.bin/{program}");
    if !have_program("services", "node") || !have_installed(&program) {
        return;
    }
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("index.html"), "<p>hello").unwrap();
    in_private_network(|| {
        let mut server = Command::new(installed(&program));
        let server = Running::start(server.args(arguments).current_dir(directory.path()));
        // On a busy machine, the server may bind its port for longer to see if it is free, so use a
        // longer --settle.
        let waited = wait_for_any(&server, &["--settle", "1s"]);
        let line = waited.lines()[0];
        assert!(line.contains(&format!(":{port} ")), "{line}");
        TcpStream::connect(("127.0.0.1", port)).unwrap();
    });
}

#[test]
fn parcel_accepts_a_connection_after_wait() {
    assert_reached_after_wait("parcel", &["index.html"], 1234);
}

#[test]
fn vite_accepts_a_connection_after_wait() {
    assert_reached_after_wait("vite", &["--host", "127.0.0.1"], 5173);
}

#[test]
fn the_debugger_recipe_leaves_out_the_debugger() {
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
        let [recipe] = examples("A server that restarts during startup");
        let _server = listen_on("127.0.0.1", 8080);
        assert_eq!(run(&mut shell(recipe)).lines(), [""; 0]);
    });
}

/// With status 3, a script can distinguish the exit of its server from an error. In the last case
/// of this test, the shell has already reaped the server.
#[test]
fn wait_exits_with_3_if_the_process_exits() {
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
}

#[test]
fn check_exits_with_2_for_an_unknown_process() {
    let checked = run(&mut lntu(&["check", "--of", "4194305", "80"]));
    assert_eq!(checked.code(), 2);
}
