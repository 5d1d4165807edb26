//! `lntu check` and `lntu wait`.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use socket2::{Socket, Type};
use tempfile::TempDir;

use crate::harness::*;

/// Exit status and stderr of a check of these PORTs, by `/proc`.
fn check(arguments: &[&str]) -> (i32, String) {
    let finished = run(&mut lntu(
        &[&["check", "--source", "proc"], arguments].concat(),
    ));
    assert_eq!(finished.stdout, "");
    (finished.code(), finished.stderr)
}

fn yes() -> (i32, String) {
    (0, String::new())
}

fn no(ports: &str) -> (i32, String) {
    (1, format!("lntu: {ports}: not listening\n"))
}

#[test]
fn check_is_silent_when_all_listen_and_names_those_that_do_not() {
    in_private_network(|| {
        let nothing = |_: &Socket| {};
        let v6_only = |socket: &Socket| socket.set_only_v6(true).unwrap();
        let _sockets = [
            bound(Type::STREAM, "127.0.0.1:80", nothing),
            bound(Type::STREAM, "0.0.0.0:81", nothing),
            bound(Type::STREAM, "[::]:82", v6_only),
            bound(Type::STREAM, "[::ffff:127.0.0.1]:83", nothing),
            bound(Type::DGRAM, "127.0.0.1:53", nothing),
        ];
        for ports in [
            &["80"][..],
            &["80/tcp", "81", "82", "83", "53/udp"],
            &[
                "127.0.0.1:80",
                "127.0.0.1:81",
                "127.0.0.2:81",
                "127.0.0.1:83",
            ],
            &["[::1]:82", "[::]:82", "0.0.0.0:81", "*:81", "*:82"],
            &["-u", "53"],
            &["-4", "80"],
            &["-6", "82"],
        ] {
            assert_eq!(check(ports), yes(), "{ports:?}");
        }
        assert_eq!(check(&["84"]), no("84/tcp"));
        assert_eq!(check(&["80", "84", "53"]), no("84/tcp, 53/tcp"));
        assert_eq!(check(&["80/udp"]), no("80/udp"));
        assert_eq!(check(&["127.0.0.2:80"]), no("127.0.0.2:80/tcp"));
        assert_eq!(check(&["[::1]:81"]), no("[::1]:81/tcp"));
        assert_eq!(check(&["127.0.0.1:82"]), no("127.0.0.1:82/tcp"));
        assert_eq!(check(&["-6", "80"]), no("80/tcp"));
        assert_eq!(check(&["-q", "84"]), (1, String::new()));
        if have_ss() {
            let by_ss = run(&mut lntu(&[
                "check",
                "--source",
                "ss",
                "80",
                "127.0.0.1:83",
            ]));
            assert_eq!(by_ss.lines(), [""; 0]);
        }
    });
}

/// A `/proc` with a listener on 127.0.0.1:80, and a `tcp6` that is there but
/// cannot be read.
fn proc_without_tcp6() -> TempDir {
    let proc = TempDir::new().unwrap();
    fs::create_dir_all(proc.path().join("net/tcp6")).unwrap();
    let row = "0: 0100007F:0050 00000000:0000 0A\n";
    fs::write(proc.path().join("net/tcp"), row).unwrap();
    proc
}

#[test]
fn check_does_not_answer_for_a_table_that_it_cannot_read() {
    let proc = proc_without_tcp6();
    let root = proc.path().to_str().unwrap();
    let check = |arguments: &[&str]| {
        let finished = run(&mut lntu(
            &[&["check", "--proc", root, "-q"], arguments].concat(),
        ));
        (finished.code(), finished.stderr)
    };
    assert_eq!(check(&["80"]), yes());
    assert_eq!(check(&["-4", "81"]), (1, String::new()));
    assert_eq!(check(&["81/udp"]), (1, String::new()));
    let (status, error) = check(&["81"]);
    let expected = format!("lntu: 81/tcp: could not tell, since {root}/net/tcp6 cannot be read\n");
    assert_eq!((status, error), (2, expected));
    assert_eq!(check(&["[::1]:80"]).0, 2);
    // What is certainly missing is a no, whatever else is unknown.
    assert_eq!(check(&["81", "53/udp"]).0, 1);
    let waiting = run(&mut lntu(&["wait", "--proc", root, "-q", "81"]));
    assert!(waiting.error().starts_with("81/tcp: could not tell"));
    let closed = run(&mut lntu(&["wait", "--closed", "--proc", root, "-q", "81"]));
    assert!(closed.error().starts_with("81/tcp: could not tell"));
}

#[test]
fn check_fails_where_nothing_can_be_read() {
    let empty = TempDir::new().unwrap();
    let failed = run(lntu(&["check", "80", "--proc"]).arg(empty.path()));
    assert!(failed.error().contains("net/tcp: No such file"));
}

#[test]
fn check_never_connects() {
    let strace = Command::new("strace").arg("-V").output();
    if !have(
        "strace",
        strace.err().map(|error| format!("running strace: {error}")),
    ) {
        return;
    }
    let listener = listen("127.0.0.1");
    listener.set_nonblocking(true).unwrap();
    let port = port_of(&listener).to_string();
    let trace = TempDir::new().unwrap();
    let file = trace.path().join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-e", "trace=connect", "-o"]).arg(&file);
    let finished = run(command.args([env!("CARGO_BIN_EXE_lntu"), "check", &port]));
    assert_eq!(finished.code(), 0, "{finished:?}");
    let calls = fs::read_to_string(&file).unwrap();
    assert!(!calls.contains("AF_INET"), "{calls}");
    assert!(listener.accept().is_err(), "no connection came");
}

#[test]
fn wait_returns_as_soon_as_all_listen() {
    let (first, second) = (listen("127.0.0.1"), listen("127.0.0.1"));
    let ports = [port_of(&first), port_of(&second)];
    drop((first, second));
    let texts = ports.map(|port| port.to_string());
    let waiting = ["wait", "-i", "10ms", &texts[0], &texts[1]];
    let mut waiting = Running::start(&mut lntu(&waiting));
    let _first = TcpListener::bind(("127.0.0.1", ports[0])).unwrap();
    thread::sleep(Duration::from_millis(200));
    assert!(
        waiting.child.try_wait().unwrap().is_none(),
        "one is not all"
    );
    let _second = TcpListener::bind(("127.0.0.1", ports[1])).unwrap();
    assert_eq!(waiting.finish().lines(), [""; 0]);
}

#[test]
fn wait_closed_returns_when_none_listens() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let arguments = ["wait", "--closed", "--source", "proc", "-i", "10ms", &port];
    let mut waiting = Running::start(&mut lntu(&arguments));
    thread::sleep(Duration::from_millis(200));
    assert!(
        waiting.child.try_wait().unwrap().is_none(),
        "one still listens"
    );
    drop(listener);
    assert_eq!(waiting.finish().lines(), [""; 0]);
}

#[test]
fn wait_gives_up_after_its_timeout_and_names_what_is_missing() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let wait = |arguments: &[&str]| {
        let started = Instant::now();
        let all = [
            &["wait", "--source", "proc", "--timeout", "300ms"],
            arguments,
        ]
        .concat();
        let finished = run(&mut lntu(&all));
        assert!(started.elapsed() >= Duration::from_millis(300));
        assert_eq!((finished.code(), finished.stdout.as_str()), (1, ""));
        finished.stderr
    };
    let message = wait(&["1/udp", &port]);
    assert!(
        message.starts_with("lntu: 1/udp: not listening after 0."),
        "{message}"
    );
    let message = wait(&["--closed", &port]);
    let expected = format!("lntu: {port}/tcp: still listening after 0.");
    assert!(message.starts_with(&expected), "{message}");
    assert_eq!(wait(&["-q", "1/udp"]), "");
    assert_eq!(wait(&["-q", "1/udp", "--", "echo", "not run"]), "");
}

#[test]
fn wait_with_a_timeout_of_zero_looks_once() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let status = |port: &str| run(&mut lntu(&["wait", "-q", "--timeout", "0", port])).code();
    assert_eq!(status(&port), 0);
    assert_eq!(status("1/udp"), 1);
}

#[test]
fn wait_says_every_ten_seconds_that_it_goes_on() {
    let arguments = ["wait", "--source", "proc", "1/udp", "2/udp"];
    let waiting = Running::start(&mut lntu(&arguments));
    assert_eq!(
        waiting.next_error(),
        "lntu: waiting for 1/udp, 2/udp (10 s)"
    );
}

#[test]
fn a_signal_ends_the_waiting() {
    let waiting = Running::start(&mut lntu(&["wait", "--source", "proc", "1/udp"]));
    thread::sleep(Duration::from_millis(200));
    kill_process(waiting.pid(), Signal::TERM).unwrap();
    assert_eq!(waiting.finish().code(), 143);
}

#[test]
fn wait_becomes_its_command() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let waiting = [
        "wait",
        &port,
        "--",
        "sh",
        "-c",
        "echo $$ \"$@\"; exit 7",
        "sh",
        "-x",
        "--",
    ];
    let running = Running::start(&mut lntu(&waiting));
    let pid = running.child.id();
    let finished = running.finish();
    assert_eq!(
        (finished.code(), finished.stdout),
        (7, format!("{pid} -x --\n"))
    );
}
