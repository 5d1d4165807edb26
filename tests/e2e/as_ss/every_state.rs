//! Compares the tables of sockets of every kind, in every state, with those of ss.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use socket2::{Domain, Protocol, Socket, Type};
use tempfile::TempDir;

use super::zoo::{quiet_zoo, signing, zoo};
use super::{as_ss, assert_same, comparable, output};
use crate::harness::*;

#[test]
fn the_test_sockets_have_every_state_but_closing() {
    in_private_network(|| {
        let _zoo = zoo();
        let shown = output(&mut as_ss(&["-an"])).stdout;
        for state in [
            "ESTAB",
            "SYN-SENT",
            "SYN-RECV",
            "FIN-WAIT-1",
            "FIN-WAIT-2",
            "TIME-WAIT",
            "UNCONN",
            "CLOSE-WAIT",
            "LAST-ACK",
            "LISTEN",
        ] {
            assert!(
                shown
                    .lines()
                    .any(|line| line.split_whitespace().nth(1) == Some(state)),
                "{state} in {shown}"
            );
        }
    });
}

#[test]
fn the_test_sockets_are_of_every_kind() {
    in_private_network(|| {
        let _zoo = zoo();
        let shown = output(&mut as_ss(&["-an"])).stdout;
        for kind in [
            "nl", "p_raw", "p_dgr", "u_str", "u_dgr", "u_seq", "raw", "udp", "tcp",
        ] {
            assert!(
                shown.lines().any(|line| line.starts_with(kind)),
                "{kind} in {shown}"
            );
        }
    });
}

/// An option that selects a kind or family of sockets also selects states. These states then apply
/// to all selected sockets.
#[test]
fn each_kind_adds_the_same_states_as_in_ss() {
    const KINDS: &str = "all inet tcp mptcp dccp sctp udp raw unix unix_stream unix_dgram \
        unix_seqpacket packet packet_raw packet_dgram netlink vsock_stream vsock_dgram tipc xdp";
    const FAMILIES: &str = "inet inet6 unix link netlink vsock tipc xdp";
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _zoo = quiet_zoo();
        for kind in KINDS.split_whitespace() {
            // With `-A`, the states of the kinds are used only if the filter excludes all states.
            let query = format!("{kind},tcp,udp");
            assert_same(&["-nA", &query, "exclude", "all"], &[]);
        }
        for family in FAMILIES.split_whitespace() {
            assert_same(&["-tunf", family], &[]);
        }
    });
}

/// The syntax of addresses and ports differs between families. TIPC and XDP use the syntax of IP.
#[test]
fn every_family_parses_filter_values_as_ss_does() {
    const FAMILIES: &str = "inet link netlink tipc unix vsock xdp";
    const VALUES: &str = "5 :5 0x10 -1 :-1 4294967295 4294967296 * :* : 1: 1:-1 lo :lo kernel \
        :kernel any 127.0.0.1 [::1] 127.0.0.1:80";
    const CONDITIONS: [&str; 5] = [
        "sport != VALUE",
        "sport lt VALUE",
        "src VALUE",
        "src VALUE or src inet:127.0.0.1",
        "sport gt VALUE or src inet:127.0.0.1",
    ];
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _zoo = quiet_zoo();
        let mut answered = 0;
        for family in FAMILIES.split_whitespace() {
            for value in VALUES.split_whitespace() {
                for condition in CONDITIONS {
                    let filter = condition.replace("VALUE", value);
                    answered += usize::from(assert_same_if_answered(&["-Htanf", family, &filter]));
                }
            }
        }
        assert!(answered > 200, "{answered}");
    });
}

/// Asserts that the program and ss have the same exit status and print the same to stdout.
/// Returns false if the program refuses the command line, or if ss crashes.
fn assert_same_if_answered(arguments: &[&str]) -> bool {
    let result = |command: &mut Command| {
        let finished = output(command.args(arguments));
        (finished.status.code(), comparable(&finished.stdout))
    };
    for tries in 1.. {
        let (actual, expected) = (
            result(&mut as_ss(&[""; 0])),
            result(&mut Command::new("ss")),
        );
        if actual.0 == Some(255) || expected.0.is_none() {
            return false;
        }
        if actual == expected {
            break;
        }
        // The order of netlink sockets differs from run to run.
        assert!(tries < 20, "{arguments:?}: {actual:#?} {expected:#?}");
    }
    true
}

/// Command lines of ss in public programs, one line for each form.
const PUBLIC: &str = include_str!("public_forms.txt");

#[test]
fn answers_to_public_command_lines_match_ss() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _zoo = quiet_zoo();
        for line in PUBLIC.lines() {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("printf '%s\\n' {line}")]);
            let words = run(&mut shell).stdout;
            let words: Vec<&str> = words.lines().skip(1).collect();
            assert_same(&words, &[]);
        }
    });
}

/// A timer that expires soon is shown in milliseconds, so the output of two runs never agrees. The
/// test runs the program between two runs of ss. Each time that the program prints must be between
/// the times that ss prints.
#[test]
fn timers_match_ss() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _zoo = zoo();
        let arguments = [
            "-Htane",
            "state",
            "time-wait",
            "state",
            "syn-sent",
            "state",
            "fin-wait-1",
        ];
        let between = || {
            let expected = || timers(&run(Command::new("ss").args(arguments)).stdout);
            let (before, actual, after) = (
                expected(),
                timers(&run(&mut as_ss(&arguments)).stdout),
                expected(),
            );
            assert!(before.len() > 1, "{before:?}");
            // A timer may expire between two runs, so their numbers of timers may differ.
            if [actual.len(), after.len()] != [before.len(); 2] {
                return None;
            }
            let is_between = |index: usize| {
                let [before, actual, after] =
                    [&before, &actual, &after].map(|timers| &timers[index]);
                before.0 == actual.0
                    && actual.0 == after.0
                    && before.1 >= actual.1
                    && actual.1 >= after.1
            };
            (0..before.len()).all(is_between).then_some(())
        };
        wait_for("timers between two others", between);
    });
}

/// Splits each line of a table into the line without the remaining time of its timer, and this time
/// in milliseconds.
fn timers(table: &str) -> Vec<(String, u32)> {
    let timer = |line: &str| {
        let (before, timer) = line.split_once("timer:(").unwrap();
        let (timer, details) = timer.split_once(')').unwrap();
        let [name, left, count] = timer.split(',').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let (seconds, rest) = match left.split_once('.') {
            Some((seconds, rest)) => (seconds, rest),
            None if left.ends_with("sec") => (left.trim_end_matches("sec"), "0ms"),
            None if left.is_empty() => ("0", "0ms"),
            None if left.ends_with("min") => {
                let minutes: u32 = left.trim_end_matches("min").parse().unwrap();
                return (
                    format!("{before} {name} {count} {}", details.trim_end()),
                    minutes * 60_000,
                );
            }
            None => ("0", left),
        };
        let rest: u32 = rest.strip_suffix("ms").unwrap().parse().unwrap();
        let left = seconds.parse::<u32>().unwrap() * 1000 + rest;
        (
            format!("{before} {name} {count} {}", details.trim_end()),
            left,
        )
    };
    table.lines().map(timer).collect()
}

/// The milliseconds since something was sent or received differ in every run, so only their
/// number of digits is compared.
#[test]
fn tcp_info_matches_ss() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _zoo = quiet_zoo();
        let filter = ["state", "established", "state", "close-wait"];
        for options in [&["-tin"][..], &["-ti"], &["-tiOen"], &["-tmi"], &["-Htim4"]] {
            let arguments = [options, &filter].concat();
            let without_times = |command: &mut Command| {
                comparable(&run(command.args(&arguments)).lines().join("\n"))
            };
            wait_for("the same bytes", || {
                let expected = without_times(&mut Command::new("ss"));
                let actual = without_times(&mut as_ss(&[""; 0]));
                let has_details = actual.contains(" rtt:") && actual.contains(" cwnd:");
                assert!(has_details, "{actual}");
                (actual == expected).then_some(())
            });
        }
        assert_same(&["-lnui"], &[]);
        assert_same(&["-wai"], &[]);
        // The output includes the TCP socket of the Multipath TCP listener.
        assert_same(&["-lti"], &[]);
    });
}

#[test]
fn mptcp_info_matches_ss() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _zoo = quiet_zoo();
        assert_same(&["-Mlm"], &[]);
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP));
        if let Ok(listener) = socket() {
            let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
            listener.bind(&any.into()).unwrap();
            listener.listen(3).unwrap();
            let client = socket().unwrap();
            client.connect(&listener.local_addr().unwrap()).unwrap();
            client.send(&[0; 999]).unwrap();
            let _server = listener.accept().unwrap();
            let shown = run(&mut as_ss(&["-Mani"]));
            assert!(shown.stdout.contains(" subflows_max:"), "{shown:?}");
            assert_same(&["-Mani"], &[]);
            assert_same(&["-ai", "-Amptcp,udp"], &[]);
        }
    });
}

/// ss prints the keys before the table.
#[test]
fn keys_of_signed_segments_match_ss() {
    if !have_ss() || !have_program("services", "python3") {
        return;
    }
    in_private_network(|| {
        let Some(_signing) = signing() else {
            return;
        };
        let shown = run(&mut as_ss(&["-lnti"])).stdout;
        assert!(shown.contains("10.1.2.3/32=,10.0.0.0/8="), "{shown}");
        for arguments in ["-tani", "-tanm", "-tan", "-tiOH", "-t6ae", "-ltnim", "-an"] {
            assert_same(&[arguments], &[]);
        }
    });
}

/// If a table does not fit in the buffer of ss, ss writes the table in parts. In each part, a
/// column is as wide as its longest cell so far.
#[test]
fn column_widths_of_a_long_table_match_ss() {
    if !have_ss() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let table = directory.path().join("tcp");
    let mut text = String::from("  sl  local_address\n");
    let mut random = fastrand::Rng::with_seed(1);
    for row in 0..150_000 {
        // Addresses get longer after 60,000 rows, so that the widths change.
        let address = random.u32(..) & if row < 60_000 { 0x0f0f_0f0f } else { u32::MAX };
        let port = random.u16(..);
        text += &format!(
            "{row:4}: {address:08X}:{port:04X} 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 {row} 1 0 20 0 0 10 -1\n"
        );
    }
    fs::write(&table, text).unwrap();
    for arguments in ["-tan", "-Htn4", "-t4an", "-tane"] {
        let environment = [
            ("PROC_NET_TCP", table.as_os_str()),
            ("PROC_NET_TCP6", "/dev/null".as_ref()),
        ];
        let shown = |command: &mut Command| {
            command.arg(arguments).arg("-4").envs(environment);
            run(command).stdout
        };
        let (actual, expected) = (shown(&mut as_ss(&[""; 0])), shown(&mut Command::new("ss")));
        assert!(expected.len() > 6_000_000);
        assert!(
            actual == expected,
            "{arguments}: {:?}",
            actual.lines().zip(expected.lines()).find(|(a, b)| a != b)
        );
    }
}

/// The files in `/proc/net` have fewer details than the answers of netlink, so ss prints fewer
/// details.
#[test]
fn tables_read_from_files_match_ss() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _zoo = quiet_zoo();
        let root: (&str, &OsStr) = ("PROC_ROOT", "/proc".as_ref());
        for arguments in [
            &["-a"][..],
            &["-an"],
            &["-l"],
            &[],
            &["-aO", "-A", "netlink,packet", "-e"],
            &["-0"],
            &["-0", "src", "arp:*"],
            &["-wan"],
            &["-xa"],
            &["-xle", "src", "*stream"],
            &["-xp", "state", "established"],
            &["-tuaen"],
            &["-tano", "sport gt 80"],
            &["-s"],
            &["-tas"],
        ] {
            assert_same(arguments, &[root]);
        }
        let unix: (&str, &OsStr) = ("PROC_NET_UNIX", "/proc/net/unix".as_ref());
        assert_same(&["-an", "-A", "unix,tcp"], &[unix]);
    });
}

#[test]
fn a_recorded_answer_of_the_kernel_is_refused() {
    let finished = run(as_ss(&["-tan"]).env("TCPDIAG_FILE", "/dev/null"));
    assert_eq!((finished.code(), &*finished.stdout), (255, ""));
}

#[test]
fn names_of_every_ethertype_match_ss() {
    if !have_ss() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("packet");
    let mut table = String::from("sk       RefCnt Type Proto  Iface R Rmem   User   Inode\n");
    for protocol in 1..=u16::MAX {
        table += &format!("0000000000000000 3 3 {protocol:04x} 0 1 0 0 {protocol}\n");
    }
    fs::write(&file, table).unwrap();
    let replaced: (&str, &OsStr) = ("PROC_NET_PACKET", file.as_os_str());
    for arguments in ["-0", "-0n"] {
        let actual = run(as_ss(&[arguments]).envs([replaced])).stdout;
        let expected = run(Command::new("ss").arg(arguments).envs([replaced])).stdout;
        assert_eq!(expected.lines().count(), 1 + usize::from(u16::MAX));
        let differing = actual.lines().zip(expected.lines()).find(|(a, b)| a != b);
        assert!(actual == expected, "{differing:?}");
    }
}
