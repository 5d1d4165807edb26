//! `lntu check` and `lntu wait`: when they succeed, fail, or end with an error, and what they
//! print.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use socket2::{Socket, Type};
use tempfile::TempDir;

use crate::harness::*;

/// Runs `lntu check` with `/proc` as its source. Returns its exit status, and stderr without the
/// processes that it names.
fn check_by_proc(arguments: &[&str]) -> (i32, String) {
    let finished = run(&mut lntu(
        &[&["check", "--source", "proc"], arguments].concat(),
    ));
    assert_eq!(finished.stdout, "");
    (finished.code(), without_holders(&finished.stderr))
}

/// Opens sockets on TCP ports 80 to 83 and UDP port 53, each bound to a different kind of address.
fn sockets_on_five_ports() -> [Socket; 5] {
    let nothing = |_: &Socket| {};
    let v6_only = |socket: &Socket| socket.set_only_v6(true).unwrap();
    [
        bound(Type::STREAM, "127.0.0.1:80", nothing),
        bound(Type::STREAM, "0.0.0.0:81", nothing),
        bound(Type::STREAM, "[::]:82", v6_only),
        bound(Type::STREAM, "[::ffff:127.0.0.1]:83", nothing),
        bound(Type::DGRAM, "127.0.0.1:53", nothing),
    ]
}

#[test]
fn the_reason_names_an_excluded_listener() {
    in_private_network(|| {
        let _sockets =
            ["80", "40000"].map(|port| bound(Type::STREAM, &format!("127.0.0.1:{port}"), |_| {}));
        for (excluded, port) in [
            ("80", "80"),
            ("loopback", "80"),
            ("1-100", "80"),
            ("ephemeral", "40000"),
        ] {
            let reason =
                format!("{port}/tcp: not listening; --exclude leaves out 127.0.0.1:{port}/tcp");
            assert_eq!(check(&["--exclude", excluded, port]), no(&reason));
        }
        assert_eq!(check(&["--exclude", "81", "80"]), yes());
    });
}

#[test]
fn check_prints_nothing_if_all_ports_listen() {
    in_private_network(|| {
        let _sockets = sockets_on_five_ports();
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
        ] {
            assert_eq!(check_by_proc(ports), yes(), "{ports:?}");
        }
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

#[test]
fn check_names_the_ports_that_do_not_listen() {
    in_private_network(|| {
        let _sockets = sockets_on_five_ports();
        let others = "[::ffff:127.0.0.1]:83/tcp, [::]:82/tcp, 0.0.0.0:81/tcp and 1 more are";
        let not_84 = format!("84/tcp: not listening; {others}");
        assert_eq!(check_by_proc(&["84"]), no(&not_84));
        let not_53 = "53/tcp: not listening, 127.0.0.1:53/udp is";
        assert_eq!(
            check_by_proc(&["80", "84", "53"]),
            no(&format!("{not_53}; {not_84}"))
        );
        assert_eq!(
            check_by_proc(&["80/udp"]),
            no("80/udp: not listening, 127.0.0.1:80/tcp is")
        );
        assert_eq!(
            check_by_proc(&["127.0.0.2:80"]),
            no("127.0.0.2:80/tcp: listening only on 127.0.0.1:80")
        );
        assert_eq!(
            check_by_proc(&["[::1]:81"]),
            no("[::1]:81/tcp: listening only on 0.0.0.0:81")
        );
        assert_eq!(check_by_proc(&["127.0.0.1:82"]).0, 2, "unknown to /proc");
        assert_eq!(check_by_proc(&["-q", "84"]), (1, String::new()));
    });
}

/// The workers of nginx hold the listener, too. The reason must name the master process, which has
/// the lowest process id.
#[test]
fn the_reason_names_the_process_that_listens() {
    if !have_program("services", "nginx") {
        return;
    }
    in_private_network(|| {
        let directory = TempDir::new().unwrap();
        let path = directory.path().display();
        let conf = format!(
            "daemon off; pid {path}/pid; error_log stderr; worker_processes 2; events {{}} \
             http {{ access_log off; server {{ listen 8080; }} }}"
        );
        let file = directory.path().join("nginx.conf");
        fs::write(&file, conf).unwrap();
        let mut nginx = Command::new("nginx");
        let nginx = Running::start(nginx.arg("-c").arg(&file));
        let pid = nginx.child.id();
        assert_eq!(run(&mut lntu(&["wait", "8080"])).lines(), [""; 0]);
        let listener = format!("0.0.0.0:8080/tcp (nginx, pid {pid})");
        let expected = no(&format!("81/tcp: not listening; {listener} is"));
        // On a loaded machine, the search for the process may run out of time, so repeat the
        // command.
        let wait_until_prints = |arguments: &[&str], expected: &(i32, String)| {
            wait_for(&expected.1, || {
                let finished = run(&mut lntu(arguments));
                let is_expected = finished.code() == expected.0;
                (is_expected && finished.stderr.ends_with(&expected.1)).then_some(())
            });
        };
        for source in ["auto", "netlink", "proc"] {
            wait_until_prints(&["check", "--source", source, "81"], &expected);
        }
        let wait = ["wait", "--closed", "--timeout", "0", "8080"];
        wait_until_prints(&wait, &(1, format!(" by {listener}\n")));
        let other = Running::start(Command::new("sleep").arg("600"));
        let root = other.child.id();
        let reason = format!(
            "8080/tcp: not listening by process {root} or its descendants, but by another process \
             (nginx, pid {pid})"
        );
        let check = ["check", "--of", &root.to_string(), "8080"];
        wait_until_prints(&check, &no(&reason));
    });
}

#[test]
fn an_unreadable_table_makes_the_answer_unknown() {
    let row = "0: 0100007F:0050 00000000:0000 0A\n";
    let proc = forbidding_proc(&[("tcp", row)], &["tcp6"]);
    let says = |arguments: &[&str]| {
        let finished = run_forbidden(&proc, &[arguments, &["-q"]].concat());
        (finished.code(), finished.stderr)
    };
    let unknown = |port: &str| {
        let file = proc.path().join("net/tcp6");
        let file = file.display();
        (
            2,
            format!("lntu: {port}: could not tell, because {file} cannot be read\n"),
        )
    };
    assert_eq!(says(&["check", "80"]), yes());
    // A UDP socket cannot be in tcp6.
    assert_eq!(
        says(&["check", "[::1]:53/udp", "81/udp"]),
        (1, String::new())
    );
    assert_eq!(says(&["check", "81/udp"]), (1, String::new()));
    assert_eq!(says(&["check", "81"]), unknown("81/tcp"));
    assert_eq!(says(&["check", "[::1]:80"]), unknown("[::1]:80/tcp"));
    // If it is certain that one of the ports does not listen, the answer is no.
    assert_eq!(says(&["check", "81", "53/udp"]).0, 1);
    assert_eq!(says(&["wait", "81"]), unknown("81/tcp"));
    assert_eq!(says(&["wait", "--closed", "81"]), unknown("81/tcp"));
}

/// The kernel can skip a row of its table while other rows are added and removed.
#[test]
fn a_second_read_finds_a_port_that_the_first_misses() {
    let directory = fake_ss_that_misses_every_other_time(81);
    let path = path_with(directory.path());
    let status = |arguments: &[&str]| {
        let arguments = [arguments, &["--source", "ss", "81"]].concat();
        run(lntu(&arguments).env("PATH", &path)).code()
    };
    assert_eq!(status(&["check"]), 0);
    assert_eq!(status(&["wait", "--closed", "--timeout", "300ms", "-q"]), 1);
}

#[test]
fn check_without_a_readable_table_is_an_error() {
    let empty = TempDir::new().unwrap();
    let failed = run(lntu(&["check", "80", "--proc"]).arg(empty.path()));
    assert!(failed.error().contains("net/tcp: No such file"));
}

#[test]
fn wait_succeeds_when_all_ports_listen() {
    let (first, second) = (FreePort::new(), FreePort::new());
    let ports = [&first, &second].map(FreePort::to_string);
    let wait = ["wait", "-i", "10ms", &ports[0], &ports[1]];
    let mut waiting = Running::start(&mut lntu(&wait));
    let _first = first.listen();
    thread::sleep(Duration::from_millis(200));
    assert!(
        waiting.child.try_wait().unwrap().is_none(),
        "one is not all"
    );
    let _second = second.listen();
    assert_eq!(waiting.finish().lines(), [""; 0]);
}

#[test]
fn wait_for_closed_ports_succeeds_when_they_close() {
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
fn a_timed_out_wait_names_the_missing_ports() {
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
    let message = without_time(&message);
    assert!(
        message.starts_with("lntu: 1/udp: not listening after N s"),
        "{message}"
    );
    let message = wait(&["--closed", &port]);
    let expected = format!("lntu: {port}/tcp: still taken after N s by 127.0.0.1:{port}/tcp\n");
    assert_eq!(without_time(&message), expected);
    assert_eq!(wait(&["-q", "1/udp"]), "");
    assert_eq!(wait(&["-q", "1/udp", "--", "echo", "not run"]), "");
}

#[test]
fn a_timeout_of_zero_still_checks_the_ports() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let status = |port: &str| run(&mut lntu(&["wait", "-q", "--timeout", "0", port])).code();
    assert_eq!(status(&port), 0);
    assert_eq!(status("1/udp"), 1);
}

#[test]
fn wait_prints_the_missing_ports_after_ten_seconds() {
    let arguments = ["wait", "--source", "proc", "1/udp", "2/udp"];
    let waiting = Running::start(&mut lntu(&arguments));
    assert_eq!(
        waiting.next_error(),
        "lntu: waiting for 1/udp, 2/udp (10 s)"
    );
}

#[test]
fn a_signal_ends_wait() {
    let waiting = Running::start(&mut lntu(&["wait", "--source", "proc", "1/udp"]));
    wait_for("the handler", || {
        let status = fs::read_to_string(format!("/proc/{}/status", waiting.child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
        (caught & 1 << (15 - 1) != 0).then_some(())
    });
    kill_process(waiting.pid(), Signal::TERM).unwrap();
    assert_eq!(waiting.finish().code(), 143);
}

#[test]
fn wait_executes_its_command_in_the_same_process() {
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
