//! `lntu list` against real sockets.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use socket2::{Socket, Type};
use tempfile::TempDir;

use crate::harness::*;

#[test]
fn every_source_lists_what_ss_lists() {
    in_private_network(|| {
        let _sockets = sockets_of_every_kind();
        if !have_ss() {
            return;
        }
        let expected = sockets_of_ss(&[]);
        assert_eq!(expected.len(), 12);
        for source in ["ss", "proc", "auto", "netlink"] {
            let listed = run(&mut lntu(&["list", "-H", "--source", source]));
            assert_eq!(
                listed_sockets(&listed.stdout),
                expected,
                "--source {source}"
            );
        }
        let without_ss = run(lntu(&["list", "-H"]).env("PATH", NO_SS));
        assert_eq!(listed_sockets(&without_ss.stdout), expected, "without ss");
    });
}

#[test]
fn an_empty_list_is_not_an_error() {
    in_private_network(|| {
        for source in ["ss", "proc", "auto", "netlink"] {
            if source != "ss" || have_ss() {
                let listed = run(&mut lntu(&["list", "-H", "--source", source]));
                assert_eq!(listed.lines(), [""; 0], "--source {source}");
            }
        }
    });
}

#[test]
fn lines_are_sorted_by_protocol_port_family_address() {
    in_private_network(|| {
        let v6_only = |socket: &Socket| socket.set_only_v6(true).unwrap();
        let nothing = |_: &Socket| {};
        let _sockets = [
            bound(Type::DGRAM, "0.0.0.0:7", nothing),
            bound(Type::STREAM, "[::]:80", v6_only),
            bound(Type::STREAM, "127.0.0.2:80", nothing),
            bound(Type::STREAM, "127.0.0.1:80", nothing),
            bound(Type::STREAM, "127.0.0.1:9", nothing),
        ];
        let listed = run(&mut lntu(&["list", "--source", "proc"]));
        let expected = [
            "Netid State  Recv-Q Send-Q Local Address:Port Peer Address:Port",
            "tcp   LISTEN 0      0          127.0.0.1:9         0.0.0.0:*",
            "tcp   LISTEN 0      0          127.0.0.1:80        0.0.0.0:*",
            "tcp   LISTEN 0      0          127.0.0.2:80        0.0.0.0:*",
            "tcp   LISTEN 0      0                  *:80           [::]:*",
            "udp   UNCONN 0      0                  *:7         0.0.0.0:*",
        ];
        assert_eq!(listed.lines(), expected);
    });
}

#[test]
fn sockets_that_share_a_port_are_each_listed() {
    let share = |socket: &Socket| socket.set_reuse_port(true).unwrap();
    let first = bound(Type::STREAM, "127.0.0.1:0", share);
    let address = first.local_addr().unwrap().as_socket().unwrap();
    let _second = bound(Type::STREAM, &address.to_string(), share);
    let port = address.port().to_string();
    for source in ["ss", "proc", "netlink"] {
        if source != "ss" || have_ss() {
            let listed = run(&mut lntu(&["list", "-H", "--source", source, &port]));
            assert_eq!(listed.lines().len(), 2, "--source {source}");
        }
    }
}

#[test]
fn options_and_port_arguments_select_listeners() {
    in_private_network(|| {
        let nothing = |_: &Socket| {};
        let _sockets = [
            bound(Type::STREAM, "127.0.0.1:80", nothing),
            bound(Type::STREAM, "[::1]:80", nothing),
            bound(Type::DGRAM, "127.0.0.1:80", nothing),
            bound(Type::DGRAM, "[::1]:53", nothing),
            bound(Type::STREAM, "0.0.0.0:8080", nothing),
        ];
        let listed = |arguments: &[&str]| {
            let all = [&["list", "-H", "--source", "proc"], arguments].concat();
            let fields = |line: &str| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                format!("{} {}", fields[0], fields[4])
            };
            let finished = run(&mut lntu(&all));
            finished.lines().into_iter().map(fields).collect::<Vec<_>>()
        };
        assert_eq!(
            listed(&["-t"]),
            ["tcp 127.0.0.1:80", "tcp [::1]:80", "tcp *:8080"]
        );
        assert_eq!(listed(&["--udp"]), ["udp [::1]:53", "udp 127.0.0.1:80"]);
        assert_eq!(listed(&["-tu"]).len(), 5);
        assert_eq!(
            listed(&["-4"]),
            ["tcp 127.0.0.1:80", "tcp *:8080", "udp 127.0.0.1:80"]
        );
        assert_eq!(listed(&["-u6"]), ["udp [::1]:53"]);
        assert_eq!(listed(&["80/tcp"]), ["tcp 127.0.0.1:80", "tcp [::1]:80"]);
        assert_eq!(listed(&["127.0.0.1:80/udp"]), ["udp 127.0.0.1:80"]);
        assert_eq!(listed(&["0.0.0.0:8000-9000"]), ["tcp *:8080"]);
        assert_eq!(listed(&["53", "8080"]), ["tcp *:8080", "udp [::1]:53"]);
        assert_eq!(listed(&["81"]), [""; 0]);
    });
}

#[test]
fn a_json_line_has_every_field_of_a_listener() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener);
    let listed = run(&mut lntu(&[
        "list",
        "--json",
        "--source",
        "proc",
        &port.to_string(),
    ]));
    let [line] = listed.lines()[..] else {
        panic!("{listed:?}");
    };
    let json: Value = serde_json::from_str(line).unwrap();
    assert_eq!(json["type"], "listening");
    assert_eq!(json["port"], format!("tcp:127.0.0.1:{port}"));
    assert_eq!(json["address"], "127.0.0.1");
    assert_eq!(json["number"], port);
    assert_eq!(
        (&json["protocol"], &json["family"]),
        (&"tcp".into(), &4.into())
    );
    assert_eq!(json["recv_q"], 0);
    assert!(json["timestamp"].as_str().unwrap().ends_with('Z'));
}

/// The Send-Q of a TCP listener is its backlog, which `/proc` does not include. With PROC_ROOT, ss
/// reads `/proc`, too.
#[test]
fn json_includes_send_q_if_the_source_reports_it() {
    in_private_network(|| {
        let _sockets = [
            bound(Type::STREAM, "127.0.0.1:80", |_| {}),
            bound(Type::STREAM, "[::1]:81", |socket| {
                socket.set_only_v6(true).unwrap();
            }),
            bound(Type::DGRAM, "127.0.0.1:53", |_| {}),
        ];
        let send_q = |source: &str, proc_root: Option<&str>| {
            let mut list = lntu(&["list", "--json", "--source", source]);
            let listed = run(list.envs(proc_root.map(|root| ("PROC_ROOT", root))));
            let value = |line: &&str| {
                let value: Value = serde_json::from_str(line).unwrap();
                value.get("send_q").map(|send_q| send_q.as_u64().unwrap())
            };
            listed.lines().iter().map(value).collect::<Vec<_>>()
        };
        let (all, not_tcp) = ([Some(7), Some(7), Some(0)], [None, None, Some(0)]);
        assert_eq!(send_q("netlink", None), all);
        assert_eq!(send_q("proc", None), not_tcp);
        if have_ss() {
            assert_eq!(send_q("ss", None), all);
            assert_eq!(send_q("ss", Some("/proc/")), not_tcp);
        }
    });
}

/// In every mount of proc, `net` leads to the files of the reader's own network namespace. To list
/// another network, lntu reads the files of process 1 if proc is mounted elsewhere than at `/proc`.
#[test]
fn another_proc_lists_the_network_of_its_process_1() {
    if !have_unshare(&["--pid", "--fork", "--mount"]) {
        return;
    }
    in_private_network(|| {
        let _outside = bound(Type::STREAM, "127.0.0.1:80", |_| {});
        let directory = TempDir::new().unwrap();
        // The shell is process 1, and lntu runs in another, empty network namespace.
        let script = "mount -t proc proc \"$1\" && unshare --net \"$0\" list -H --proc \"$2\"";
        let listed = |proc: &str| {
            let mut unshare = Command::new("unshare");
            unshare.args(["--pid", "--fork", "--mount", "sh", "-c", script]);
            unshare
                .arg(env!("CARGO_BIN_EXE_lntu"))
                .arg(directory.path());
            let finished = run(unshare.arg(proc));
            finished.lines().concat()
        };
        let mounted = directory.path().to_str().unwrap();
        assert!(listed(mounted).contains("127.0.0.1:80 "));
        for own in ["/proc", "/proc/", &format!("{mounted}/self")] {
            assert_eq!(listed(own), "", "{own}");
        }
    });
}

/// lntu accepts `-l` and `-n` because people are used to typing `ss -lntup`.
#[test]
fn the_options_l_and_n_do_not_change_the_list() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let list = |arguments: &[&str]| {
        let all = [&["list", "--source", "proc", &port], arguments].concat();
        run(&mut lntu(&all)).lines().join("\n")
    };
    assert!(list(&["-p"]).contains("users:(("));
    assert_eq!(list(&["-lntup"]), list(&["-p"]));
    assert_eq!(list(&["--listening", "--numeric"]), list(&[]));
    let watcher = Running::start(&mut lntu(&["-lntu", "--source", "proc", &port]));
    assert!(watcher.next_line().starts_with("Netid"));
    assert!(watcher.next_line().contains(&port));
}

#[test]
fn recv_q_counts_connections_not_yet_accepted() {
    let listener = listen("127.0.0.1");
    let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let port = port_of(&listener).to_string();
    let recv_q = || {
        let listed = run(&mut lntu(&["list", "-H", "--source", "proc", &port]));
        let recv_q = listed.lines()[0]
            .split_whitespace()
            .nth(2)
            .unwrap()
            .to_string();
        (recv_q == "1").then_some(())
    };
    wait_for("a Recv-Q of 1", recv_q);
}

#[test]
fn every_line_starts_with_a_timestamp() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let listed = run(&mut lntu(&[
        "list",
        "--timestamps",
        "--source",
        "proc",
        &port,
    ]));
    let lines = listed.lines();
    assert!(lines[0].starts_with("Timestamp                Netid State"));
    assert_eq!(&lines[1][19..20], ".");
    assert_eq!(&lines[1][23..34], "Z tcp   LIS");
}

#[test]
fn the_pid_option_lists_another_network_namespace() {
    let outside = listen("127.0.0.1");
    let outside_port = port_of(&outside).to_string();
    let mut inside = None;
    in_private_network(|| {
        let socket = bound(Type::STREAM, "127.0.0.1:80", |_| {});
        inside = Some((socket, Command::new("sleep").arg("60").spawn().unwrap()));
    });
    let Some((_socket, mut sleeper)) = inside else {
        return;
    };
    let pid = sleeper.id().to_string();
    let listed = run(&mut lntu(&["list", "-H", "--pid", &pid]));
    assert!(listed.stdout.contains("127.0.0.1:80 "), "{listed:?}");
    assert!(!listed.stdout.contains(&format!(":{outside_port} ")));
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    let gone = run(&mut lntu(&["list", "--pid", &pid]));
    assert!(gone.error().contains("No such"), "{gone:?}");
}

#[test]
fn an_unreadable_proc_is_an_error() {
    let proc = TempDir::new().unwrap();
    let root = proc.path().to_str().unwrap();
    let error = |arguments: &[&str]| {
        let all = [&["list", "--proc", root], arguments].concat();
        run(&mut lntu(&all)).error().to_string()
    };
    assert!(error(&[]).ends_with("/net/tcp: No such file or directory (os error 2)"));
    fs::create_dir(proc.path().join("net")).unwrap();
    let tcp = proc.path().join("net/tcp");
    fs::write(&tcp, "").unwrap();
    assert!(error(&[]).contains("/net/tcp: is empty"));
    fs::remove_file(&tcp).unwrap();
    fs::create_dir(&tcp).unwrap();
    assert!(error(&["-u"]).ends_with("/net/tcp: Is a directory (os error 21)"));
}

#[test]
fn an_unreadable_tcp6_table_is_left_out() {
    let row = "0: 0100007F:0050 00000000:0000 0A\n";
    let proc = forbidding_proc(&[("tcp", row)], &["tcp6"]);
    let listed = run_forbidden(&proc, &["list", "-H"]);
    assert_eq!(listed.stdout.lines().count(), 1, "{listed:?}");
    let message = "/net/tcp6: Permission denied (os error 13); leaving out its ports\n";
    assert!(listed.stderr.ends_with(message), "{listed:?}");
}

#[test]
fn an_unreadable_tcp_table_is_an_error() {
    let proc = forbidding_proc(&[], &["tcp"]);
    let refused = run_forbidden(&proc, &["list"]);
    let error = refused.error();
    assert!(error.ends_with("/net/tcp: Permission denied (os error 13)"));
}

#[test]
fn verbose_list_reports_unreadable_rows() {
    let proc = TempDir::new().unwrap();
    fs::create_dir(proc.path().join("net")).unwrap();
    let table = "0: 0100007F:0050 00000000:0000 0A\n1: 01:0050 00000000:0000 0A\n";
    fs::write(proc.path().join("net/tcp"), table).unwrap();
    let root = proc.path().to_str().unwrap();
    let listed = run(&mut lntu(&["list", "-v", "-H", "--proc", root]));
    assert_eq!(listed.stdout.lines().count(), 1);
    assert!(
        listed.stderr.contains("/net/tcp: 1 row cannot be read"),
        "{listed:?}"
    );
}

#[test]
fn netlink_answers_without_proc_or_ss() {
    let empty = TempDir::new().unwrap();
    let without_proc = |path: &str| {
        let script = "mount --bind \"$1\" /proc && exec env PATH=\"$2\" \"$0\" list";
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_lntu")]);
        run(unshare.arg(empty.path()).arg(path))
    };
    if have_mounts() {
        let _listener = listen("127.0.0.1");
        if have_ss() {
            let path = std::env::var("PATH").unwrap();
            assert!(without_proc(&path).lines().len() > 1);
        }
        assert!(without_proc(NO_SS).lines().len() > 1);
    }
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let mut child = lntu(&["list", "--source", "proc"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let finished = child.wait_with_output().unwrap();
    assert!(finished.status.success() && finished.stderr.is_empty());
}

#[test]
fn a_full_disk_is_an_error() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let failed = run(lntu(&["list", "--source", "proc"]).stdout(full));
    assert_eq!(failed.code(), 2);
    assert_eq!(
        failed.stderr,
        "lntu: stdout: No space left on device (os error 28)\n"
    );
}

#[test]
fn a_stopped_and_continued_list_still_answers() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let running = Running::start(&mut lntu(&["list", "-H", "--source", "proc", &port]));
    let _ = rustix::process::kill_process(running.pid(), rustix::process::Signal::STOP);
    thread::sleep(Duration::from_millis(20));
    let _ = rustix::process::kill_process(running.pid(), rustix::process::Signal::CONT);
    assert_eq!(running.finish().lines().len(), 1);
}

#[test]
fn an_unreadable_port_range_means_the_default_range() {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/proc/no-ipv6");
    let listed = run(&mut lntu(&[
        "list",
        "--exclude",
        "ephemeral",
        "--proc",
        fixture,
    ]));
    let why = "ip_local_port_range: cannot be read; using the default range, 32768 to 60999\n";
    assert!(
        listed.status.success() && listed.stderr.ends_with(why),
        "{listed:?}"
    );
}
