//! Tests of `check --only`, which fails if anything listens besides the PORTs.

use socket2::{Socket, Type};

use crate::harness::*;

/// Runs `check --only`. Returns the exit status, and stderr without the names of processes.
fn only(arguments: &[&str]) -> (i32, String) {
    let checked = run(&mut lntu(&[&["check", "--only"], arguments].concat()));
    assert_eq!(checked.stdout, "", "{arguments:?}");
    (checked.code(), without_holders(&checked.stderr))
}

fn nothing(_: &Socket) {}

#[test]
fn the_message_names_undeclared_listeners() {
    in_private_network(|| {
        let _sockets = [
            bound(Type::STREAM, "0.0.0.0:80", nothing),
            bound(Type::STREAM, "[::1]:81", nothing),
            bound(Type::DGRAM, "0.0.0.0:80", nothing),
        ];
        for source in ["auto", "netlink", "proc", "ss"] {
            if source == "ss" && !have_ss() {
                continue;
            }
            let only = |ports: &[&str]| only(&[&["--source", source], ports].concat());
            assert_eq!(only(&["80", "81", "80/udp"]), yes(), "{source}");
            assert_eq!(only(&["*:80", "localhost:81", "80/udp"]), yes(), "{source}");
            for (ports, reason) in [
                (
                    &["80"][..],
                    "[::1]:81/tcp and 0.0.0.0:80/udp are listening besides 80/tcp",
                ),
                (
                    &["80", "81"],
                    "0.0.0.0:80/udp is listening besides 80/tcp, 81/tcp",
                ),
                (
                    &["127.0.0.1:80", "81", "80/udp"],
                    "0.0.0.0:80/tcp is listening besides 127.0.0.1:80/tcp, 81/tcp, 80/udp",
                ),
            ] {
                assert_eq!(only(ports), no(reason), "{source}");
            }
        }
    });
}

/// The message names the PORT on which nothing listens, and the other listeners.
#[test]
fn the_message_names_ports_that_do_not_listen() {
    in_private_network(|| {
        assert_eq!(only(&["80"]), no("80/tcp: not listening"));
        let _socket = bound(Type::DGRAM, "127.0.0.1:53", nothing);
        let reason = "80/tcp: not listening; 127.0.0.1:53/udp is listening besides 80/tcp";
        assert_eq!(only(&["80"]), no(reason));
    });
}

#[test]
fn no_undeclared_listener_is_named_twice() {
    in_private_network(|| {
        let _socket = bound(Type::STREAM, "127.0.0.1:81", nothing);
        let reason = "80/tcp: not listening; 127.0.0.1:81/tcp is listening besides 80/tcp";
        assert_eq!(only(&["80"]), no(reason));
        let reason = "*:81/tcp: not listening; 127.0.0.1:81/tcp is listening besides *:81/tcp";
        assert_eq!(only(&["*:81"]), no(reason));
    });
}

#[test]
fn undeclared_ports_outside_a_range_fail_the_check() {
    in_private_network(|| {
        let _socket = bound(Type::STREAM, "127.0.0.1:3005", nothing);
        let any = |ports: &[&str]| {
            let found = run(lntu(&["check", "--only", "--any", "-H"]).args(ports));
            (
                found.code(),
                found.stdout.lines().count(),
                without_holders(&found.stderr),
            )
        };
        assert_eq!(any(&["3000-3009", "80"]), (0, 1, String::new()));
        let _other = bound(Type::STREAM, "127.0.0.1:3010", nothing);
        let reason = "lntu: 127.0.0.1:3010/tcp is listening besides 3000-3009/tcp, 80/tcp\n";
        assert_eq!(any(&["3000-3009", "80"]), (1, 0, reason.into()));
    });
}

#[test]
fn excluded_listeners_need_not_be_declared() {
    in_private_network(|| {
        let _sockets = [
            bound(Type::STREAM, "0.0.0.0:80", nothing),
            bound(Type::STREAM, "127.0.0.11:4000", nothing),
            bound(Type::DGRAM, "127.0.0.11:4000", nothing),
            bound(Type::STREAM, "0.0.0.0:9229", nothing),
        ];
        assert_eq!(only(&["80"]).0, 1);
        let arguments = ["--exclude", "loopback", "80"];
        let reason = "0.0.0.0:9229/tcp is listening besides 80/tcp";
        assert_eq!(only(&arguments), no(reason));
        assert_eq!(
            only(&[&arguments[..], &["--exclude", "9229"]].concat()),
            yes()
        );
    });
}

#[test]
fn the_recipe_fails_if_another_port_is_open() {
    let [recipe, reason] = examples("An image that opens only the ports that it declares");
    in_private_network(|| {
        let _declared = [
            bound(Type::STREAM, "0.0.0.0:8080", nothing),
            bound(Type::DGRAM, "0.0.0.0:53", nothing),
            bound(Type::STREAM, "127.0.0.11:4000", nothing),
        ];
        assert_eq!(run(&mut shell(recipe)).lines(), [""; 0]);
        let _other = bound(Type::STREAM, "[::]:9229", nothing);
        let refused = run(&mut shell(recipe));
        assert_eq!((refused.code(), &*refused.stdout), (1, ""));
        let [stderr, reason] = [&refused.stderr, reason].map(without_holders);
        assert_eq!(stderr.trim_end(), reason);
    });
}

#[test]
fn listeners_of_other_processes_are_ignored() {
    if !have_program("services", "python3") {
        return;
    }
    in_private_network(|| {
        let _other = bound(Type::STREAM, "0.0.0.0:9000", nothing);
        let script = "import signal, socket
tcp = socket.create_server(('', 80))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(('', 53))
print(flush=True)
signal.pause()";
        let mut python = std::process::Command::new("python3");
        let server = Running::start(python.args(["-c", script]));
        server.next_line();
        let pid = server.child.id().to_string();
        assert_eq!(only(&["--of", &pid, "80", "53/udp"]), yes());
        let reason = "0.0.0.0:53/udp is listening besides 80/tcp";
        assert_eq!(only(&["--of", &pid, "80"]), no(reason));
        assert_eq!(only(&["80", "53/udp"]).0, 1);
    });
}

#[test]
fn a_listener_that_one_read_misses_fails_the_check() {
    let ss = fake_ss_that_misses_every_other_time(2);
    for _ in 0..4 {
        let mut check = lntu(&["check", "--only", "--source", "ss", "1"]);
        let checked = run(check.env("PATH", path_with(ss.path())));
        let reason = "lntu: 127.0.0.1:2/tcp is listening besides 1/tcp\n";
        assert_eq!((checked.code(), &*checked.stderr), (1, reason));
    }
}

#[test]
fn an_unreadable_table_makes_the_check_exit_with_2() {
    let row = "0: 0100007F:0050 00000000:0000 0A\n";
    let proc = forbidding_proc(&[("tcp", row)], &["udp"]);
    let checked = run_forbidden(&proc, &["check", "--only", "80"]);
    assert_eq!((checked.code(), &*checked.stdout), (2, ""), "{checked:?}");
    assert!(
        checked.stderr.ends_with("/net/udp cannot be read\n"),
        "{checked:?}"
    );
}

#[test]
fn the_check_can_fail_despite_an_unreadable_table() {
    let row = "0: 0100007F:0050 00000000:0000 0A\n";
    let proc = forbidding_proc(&[("tcp", row)], &["udp"]);
    let checked = run_forbidden(&proc, &["check", "--only", "81"]);
    assert_eq!(checked.code(), 1, "{checked:?}");
}
