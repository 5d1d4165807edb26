//! The program under the name `ss`, beside the ss of iproute2.

use std::ffi::{OsStr, OsString};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::harness::*;

mod conditions;
mod every_state;
mod programs;
mod questions;

fn as_ss(arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(&*SS_LINK);
    command.args(arguments).stdin(Stdio::null());
    command
}

type Environment<'a> = &'a [(&'a str, &'a OsStr)];

/// Both print the same bytes, and end well. A socket may change between the two
/// runs. Then both run again.
fn assert_same(arguments: &[impl AsRef<OsStr>], environment: Environment<'_>) {
    const MOST_TRIES: usize = 20;
    let environment = || environment.iter().copied();
    for tries in 1.. {
        let theirs = output(Command::new("ss").args(arguments).envs(environment()));
        let ours = output(as_ss(arguments).envs(environment()));
        let arguments: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
        assert!(theirs.status.success(), "{arguments:?}: {theirs:?}");
        assert_eq!((ours.code(), &*ours.stderr), (0, ""), "{arguments:?}");
        let (ours, theirs) = (comparable(&ours.stdout), comparable(&theirs.stdout));
        if ours == theirs {
            break;
        }
        if tries == MOST_TRIES {
            assert_eq!(ours, theirs, "{arguments:?}");
        }
    }
}

/// What is new in every run, as `#`: times since something was sent or received, and in the
/// counts of `-s` those that other network namespaces share.
const LIVE: [&str; 5] = ["lastsnd:", "lastrcv:", "lastack:", "busy:", "timer:("];
const LIVE_COUNTS: [&str; 4] = ["Total:", "TCP:", "closed", "orphaned"];

/// `text` with `#` for each digit after one of [`LIVE`] and for each count after one of
/// [`LIVE_COUNTS`].
fn comparable(text: &str) -> String {
    let mut hidden = String::new();
    let hide = |c: char| if c.is_ascii_digit() { '#' } else { c };
    for line in text.split_inclusive('\n') {
        let is_count = line.starts_with("Total:") || line.starts_with("TCP: ");
        let mut name = "";
        for word in line.split_inclusive(' ') {
            let is_live = LIVE.iter().any(|live| word.starts_with(live));
            match word.trim() {
                "" => hidden += word,
                _ if is_count && LIVE_COUNTS.contains(&name) => {
                    hidden += "#";
                    hidden.extend(word.chars().filter(|c| !c.is_ascii_digit()));
                    name = "";
                }
                text => {
                    name = text.trim_start_matches('(');
                    let shown = |c| if is_live { hide(c) } else { c };
                    hidden.extend(word.chars().map(shown));
                }
            }
        }
    }
    hidden
}

/// Both print the same bytes, on stderr too, and end alike.
fn assert_same_in_all(arguments: &[impl AsRef<OsStr>]) {
    let said = |command: &mut Command| {
        let finished = run(command.args(arguments).stdin(Stdio::null()));
        (finished.code(), finished.stdout, finished.stderr)
    };
    let theirs = said(&mut Command::new("ss"));
    let ours = said(&mut as_ss(&[""; 0]));
    let arguments: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
    assert_eq!(ours, theirs, "{arguments:?}");
}

/// As [`run`], with the process id of the program, which ss shows of itself, as
/// `#` everywhere.
fn output(command: &mut Command) -> Finished {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = child.id().to_string();
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    Finished {
        status: output.status,
        stdout: stdout.replace(&pid, &"#".repeat(pid.len())),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Every combination of the options, in one order or another.
fn option_combinations() -> Vec<Vec<&'static str>> {
    let families: [&[&str]; 8] = [
        &[],
        &["-4"],
        &["-6"],
        &["-46"],
        &["-64"],
        &["-f", "inet"],
        &["-finet6"],
        &["--family=inet6", "--ipv4"],
    ];
    let mut combinations = Vec::new();
    for protocols in [&["-lt"][..], &["-ul"], &["--udp", "--listening", "-t"]] {
        for family in families {
            for numeric in [&["-n"][..], &[]] {
                for form in [&[][..], &["-HO"]] {
                    let parts = [family, form, protocols, numeric];
                    combinations.push(parts.concat());
                }
            }
        }
    }
    combinations.extend([
        vec!["-lntu"],
        vec!["-Hlun6"],
        vec!["-ltnO"],
        vec!["--no-header", "--numeric", "--oneline", "-t4l"],
        vec!["-nul", "--ipv6"],
        vec!["--list", "--num", "--tc"],
    ]);
    combinations
}

/// As words of one argument or of several.
const FILTERS: [&str; 42] = [
    "sport = :80",
    "sport = 80",
    "sport :80",
    "sport == 80",
    "sport eq :80",
    "sport = 0x50",
    "sport = *",
    "sport = :*",
    "sport != :80",
    "sport neq 80",
    "sport ne 80",
    "sport gt 80",
    "sport > 80",
    "sport lt 80",
    "sport < 80",
    "sport ge 80",
    "sport >= :80",
    "sport geq 80",
    "sport le 80",
    "sport <= :80",
    "sport leq 80",
    "sport > 79 sport < 81",
    "sport gt 79 and sport lt 81 && sport = 80",
    "not sport = 80",
    "! sport 80",
    "sport = :80 or sport = :81 and src 127.0.0.1",
    "sport = :80 or ( sport = :81 and src 127.0.0.1 )",
    "not ( sport = :80 | sport = :81 ) & src any",
    "src 127.0.0.1",
    "src = 127.0.0.0/8",
    "src 127/8:80",
    "src :80",
    "src *:80",
    "src [::1]",
    "src [::1]:80 or src ::1/128",
    "src 0.0.0.0",
    "not src 0.0.0.0",
    "src ::/0",
    "src [::]",
    "dport = 0 and dst any",
    "dport gt 0",
    "src inet:127.0.0.0/8 or src inet6:[::ffff:127.0.0.1]",
];

/// With names of ports that mean one for TCP.
const NAMED_FILTERS: [&str; 4] = [
    "sport = :http",
    "sport = www",
    "sport ge :domain",
    "src 127.0.0.1:http",
];

/// Each filter behind options that matter to it.
fn filtered() -> Vec<Vec<&'static str>> {
    let mut all = Vec::new();
    for filter in FILTERS {
        for options in ["-lntu", "-lnt", "-ltu6", "-lnu4", "-lntu46", "-Hlntu64"] {
            let is_of_another_family = match options {
                "-ltu6" | "-lntu46" => filter.contains("127") || filter.contains("0.0.0.0"),
                "-lnu4" | "-Hlntu64" => filter.contains("::") || filter.contains("inet6"),
                _ => false,
            };
            if !is_of_another_family {
                all.push(vec![options, filter]);
            }
        }
    }
    for filter in NAMED_FILTERS {
        all.extend([vec!["-lntu", filter], vec!["-lt", filter]]);
    }
    all
}

/// A filter of up to four conditions in any combination.
fn random_filter(random: &mut fastrand::Rng, depth: u8) -> String {
    let pick = |random: &mut fastrand::Rng, of: &[&str]| of[random.usize(..of.len())].to_string();
    let condition = |random: &mut fastrand::Rng| match random.u8(..if depth == 0 { 4 } else { 6 }) {
        0 | 1 => {
            let end = pick(random, &["sport", "sport", "dport"]);
            let is = pick(random, &["=", "!=", "neq", "lt", ">", "le", ">=", ""]);
            let port = pick(random, &["80", ":81", "0", "0x50", "*", ":65535", "79"]);
            format!("{end} {is} {port}")
        }
        2 | 3 => {
            let end = pick(random, &["src", "src", "dst"]);
            let families = ["", "", "inet:", "inet6:"];
            let addresses = [
                "127.0.0.1",
                "127.0.0.0/8",
                "0.0.0.0",
                "any",
                "all",
                "*",
                "[::1]",
            ];
            let more = [
                "::/0",
                "[::ffff:127.0.0.1]",
                "[::ffff:0.0.0.0]/96",
                "default",
                "::1",
                "",
            ];
            let address = pick(random, &[&addresses[..], &more].concat());
            let port = pick(random, &["", "", ":80", ":*"]);
            format!("{end} {}{address}{port}", pick(random, &families))
        }
        4 => format!("not {}", random_filter(random, 0)),
        _ => format!("( {} )", random_filter(random, depth - 1)),
    };
    let mut filter = condition(random);
    for _ in 0..random.u8(..3) {
        let join = pick(random, &["and", "or", "&", "||", ""]);
        filter = format!("{filter} {join} {}", condition(random));
    }
    filter
}

/// What the kernel chooses, asked over netlink, and what ss does of `/proc`.
#[test]
fn random_filters_choose_as_those_of_ss_do() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _sockets = sockets_of_every_kind();
        let nothing = |_: &Socket| {};
        let _on_80 = ["127.0.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:81"]
            .map(|address| bound(Type::STREAM, address, nothing));
        let mut random = fastrand::Rng::with_seed(7);
        let mut accepted = 0;
        for _ in 0..400 {
            let filter = random_filter(&mut random, 2);
            let options = ["-lntu", "-lnt", "-lntu4", "-Hlnu6", "-lnt46", "-Hlnt64"];
            let options = options[random.usize(..options.len())];
            let arguments = [options, &filter];
            // What is refused is no answer, and ss may give one.
            if run(&mut as_ss(&arguments)).code() != 255 {
                accepted += 1;
                assert_same(&arguments, &[]);
                assert_same(&arguments, &[("PROC_ROOT", "/proc".as_ref())]);
            }
        }
        assert!(accepted > 150, "{accepted} of 400");
    });
}

/// The directory of this process's control group. `None` without cgroup v2.
fn own_cgroup() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let mut mounts = mounts.lines().map(|line| line.split(' '));
    let root = mounts.find_map(|mut fields| {
        let path = fields.nth(1)?;
        (fields.next()? == "cgroup2").then_some(path)
    })?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let directory = Path::new(root).join(own.trim_start_matches('/'));
    directory.is_dir().then_some(directory)
}

#[test]
fn sockets_of_a_cgroup_are_found() {
    let cgroup = own_cgroup();
    let missing = cgroup.is_none().then(|| "no cgroup v2".to_string());
    if !have_ss() || !have("cgroup2", missing) {
        return;
    }
    let cgroup = cgroup.unwrap();
    in_private_network(|| {
        let nothing = |_: &Socket| {};
        let _sockets = [
            bound(Type::STREAM, "127.0.0.1:80", nothing),
            bound(Type::STREAM, "[::1]:80", nothing),
            bound(Type::DGRAM, "127.0.0.1:53", nothing),
        ];
        let multipath = Some(socket2::Protocol::MPTCP);
        let multipath = Socket::new(Domain::IPV4, Type::STREAM, multipath).and_then(|socket| {
            socket.listen(1)?;
            Ok(socket)
        });
        // Such a socket has one of TCP below it.
        let count = if multipath.is_ok() { 5 } else { 3 };
        let its = format!("cgroup = {}", cgroup.display());
        let not_its = format!("cgroup != {}", cgroup.display());
        let listed = |filter: &str| {
            let arguments = ["-HlntuM", filter];
            assert_same(&arguments, &[]);
            output(&mut as_ss(&arguments)).lines().len()
        };
        assert_eq!((listed(&its), listed(&not_its)), (count, 0));
    });
}

fn with_slash(path: &Path) -> OsString {
    let mut root = OsString::from(path);
    root.push("/");
    root
}

/// ss reads the same files when `PROC_ROOT` names their directory. Where it
/// cannot be trusted with them, `no-oracle` says why.
#[test]
fn every_fixture_looks_as_ss_shows_it() {
    if !have_ss() {
        return;
    }
    for fixture in fixtures() {
        if !fixture.join("no-oracle").exists() {
            let root = with_slash(&fixture);
            let filtered = FILTERS.map(|filter| vec!["-lntu", filter]);
            for arguments in option_combinations().into_iter().chain(filtered) {
                assert_same(&arguments, &[("PROC_ROOT", &root)]);
            }
        }
    }
}

/// What `sockets_of_every_kind` lacks: ports with names and without, sockets
/// that share one, queues that hold something, and devices.
fn more_sockets() -> (Vec<Socket>, Vec<TcpStream>) {
    let nothing = |_: &Socket| {};
    let share = |socket: &Socket| socket.set_reuse_port(true).unwrap();
    let on_lo = |socket: &Socket| socket.bind_device(Some(b"lo")).unwrap();
    let v6_only = |socket: &Socket| socket.set_only_v6(true).unwrap();
    let sockets = vec![
        bound(Type::STREAM, "127.0.0.1:80", nothing),
        bound(Type::STREAM, "127.0.0.2:81", nothing),
        bound(Type::STREAM, "[::1]:80", nothing),
        bound(Type::STREAM, "0.0.0.0:8080", nothing),
        bound(Type::STREAM, "[::]:8080", v6_only),
        bound(Type::STREAM, "127.0.0.1:7", share),
        bound(Type::STREAM, "127.0.0.1:7", share),
        bound(Type::DGRAM, "127.0.0.53:53", on_lo),
        bound(Type::DGRAM, "[::]:53", v6_only),
        bound(Type::DGRAM, "[::]:5353", on_lo),
        bound(Type::DGRAM, "[::1]:80", nothing),
        bound(Type::DGRAM, "127.0.0.1:9", nothing),
    ];
    // The kernel keeps the peer of the one over IPv6.
    let was_connected = ["127.0.0.1:99", "[::1]:99"].map(|address| {
        let socket = bound(Type::DGRAM, address, nothing);
        let peer: SocketAddr = address.replace("99", "80").parse().unwrap();
        socket.connect(&peer.into()).unwrap();
        rustix::net::connect_unspec(&socket).unwrap();
        socket
    });
    let connect = |address: &str| TcpStream::connect(address).unwrap();
    // The backlog of 7 takes 8.
    let mut clients: Vec<TcpStream> = (0..8).map(|_| connect("127.0.0.1:80")).collect();
    clients.push(connect("[::1]:80"));
    let client = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    let full: SocketAddr = "127.0.0.1:9".parse().unwrap();
    for _ in 0..20 {
        client.send_to(&[0; 1000], &full.into()).unwrap();
    }
    (sockets.into_iter().chain(was_connected).collect(), clients)
}

/// Read from `/proc`, and by whatever comes first.
#[test]
fn live_sockets_look_as_ss_shows_them() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _sockets = sockets_of_every_kind();
        let _more = more_sockets();
        let shown = run(&mut as_ss(&["-Hlun6", "dst [::1]"])).stdout;
        assert!(shown.contains("[::1]:99 [::1]:*"), "{shown}");
        let proc = OsStr::new("/proc");
        for arguments in option_combinations().into_iter().chain(filtered()) {
            assert_same(&arguments, &[]);
            assert_same(&arguments, &[("PROC_ROOT", proc)]);
        }
    });
}

#[test]
fn a_filter_is_one_argument_or_many() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _sockets = more_sockets();
        let proc: Environment<'_> = &[("PROC_ROOT", "/proc".as_ref())];
        for filter in FILTERS {
            let words: Vec<&str> = filter.split(' ').collect();
            assert_same(&[&["-lntu"], &words[..]].concat(), proc);
        }
        assert_same(&["-lntu", "sport", "= :80", "", " "], proc);
        assert_same(
            &["sport", "=", ":80", "-lntu", "--", "or sport = :81"],
            proc,
        );
        assert_same(&["-lntu", "\\( sport = 80 \\)"], proc);
    });
}

#[test]
fn an_empty_network_has_a_header_or_nothing() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        for arguments in ["-lntu", "-Hlntu", "-ltp", "-Hlun6"] {
            assert_same(&[arguments], &[]);
        }
    });
}

/// A kernel without TIPC has no such sockets, so there is nothing that cannot be shown.
#[test]
fn tables_that_cannot_have_rows_look_as_in_ss() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        for arguments in [
            &["-f", "tipc"][..],
            &["--tipc"],
            &["-anA", "tipc"],
            &["-Htn", "--tipc", "--tipcinfo"],
            &["-A", "tipc,!all"],
            &["-t", "--family", "tipc", "state", "listening"],
            &["-t", "-A", "!udp"],
            &[
                "-A",
                "all,!inet,!unix,!packet,!netlink,!vsock_stream,!vsock_dgram,!xdp",
            ],
            &["-tA", "!tcp", "no filter"],
            &["-A", "tipc,!tipc", "-H"],
        ] {
            assert_same_in_all(arguments);
        }
    });
}

/// `PROC_NET_TCP` and the like each move one table.
#[test]
fn variables_move_tables() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _sockets = more_sockets();
        let tables = [
            ("PROC_NET_TCP", "linux-6.18/net/tcp"),
            ("PROC_NET_TCP6", "ipv6-addresses/net/tcp6"),
            ("PROC_NET_UDP", "linux-3.10/net/udp"),
            ("PROC_NET_UDP6", "ipv6-addresses/net/udp6"),
        ];
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/proc");
        let path = |table: &str| OsString::from(format!("{fixtures}/{table}"));
        let paths = tables.map(|(_, table)| path(table));
        let root = OsString::from(format!("{fixtures}/linux-6.18"));
        for moved in 0..1 << tables.len() {
            let is_moved = |index: &usize| moved >> index & 1 == 1;
            let environment: Vec<(&str, &OsStr)> = (0..tables.len())
                .filter(is_moved)
                .map(|index| (tables[index].0, paths[index].as_os_str()))
                .collect();
            for environment in [
                environment.clone(),
                [&environment[..], &[("PROC_ROOT", &root)]].concat(),
            ] {
                for arguments in ["-lntu", "-Hltu6", "-lnt4", "-lun"] {
                    assert_same(&[arguments], &environment);
                }
            }
        }
        let range = TempDir::new().unwrap();
        let range = range.path().join("range");
        fs::write(&range, "1 79\n").unwrap();
        let moved = ("PROC_IP_LOCAL_PORT_RANGE", range.as_os_str());
        assert_same(&["-ltu"], &[moved]);
    });
}

/// Where the kernel does not answer for a protocol, all of it comes from
/// `/proc`, and the other one need not. A socket that takes no IPv4 tells:
/// only the kernel says so.
#[test]
fn each_protocol_falls_back_on_its_own() {
    if !have_ss() || !have_program("strace", "strace") {
        return;
    }
    let linked = TempDir::new().unwrap();
    let link = linked.path().join("ss");
    symlink(env!("CARGO_BIN_EXE_lntu"), &link).unwrap();
    let says = |program: &Path, which: &str| {
        let fault = format!("inject=socket:error=EPROTONOSUPPORT:when={which}");
        let mut strace = Command::new("strace");
        strace.args(["-o", "/dev/null", "-e", &fault]).arg(program);
        let finished = run(strace.args(["-lntu", "sport gt 0"]));
        assert_eq!(finished.code(), 0, "{finished:?}");
        finished.stdout
    };
    in_private_network(|| {
        let v6_only = |socket: &Socket| socket.set_only_v6(true).unwrap();
        let _sockets = [Type::STREAM, Type::DGRAM].map(|kind| bound(kind, "[::]:80", v6_only));
        let [neither, udp, tcp, both] = ["9", "1", "2", "1+"].map(|which| {
            let theirs = says(Path::new("ss"), which);
            assert_eq!(says(&link, which), theirs, "{which}");
            theirs.matches("[::]:80 ").count()
        });
        assert_eq!((neither, udp, tcp, both), (2, 1, 1, 0));
    });
}

/// The holders of sockets, whatever they are called.
#[test]
fn processes_are_shown_as_ss_shows_them() {
    if !have_ss() || !have_program("bash", "bash") {
        return;
    }
    in_private_network(|| {
        let sockets = sockets_of_every_kind();
        let names = [
            "a) b",
            "tab\there",
            "back\\slash",
            "new\nline",
            "(",
            ")",
            "caf\u{e9}",
        ];
        let holders: Vec<Running> = names
            .iter()
            .enumerate()
            .map(|(index, name)| hold(&sockets[index], name))
            .collect();
        let shown = run(&mut as_ss(&["-lntup"])).stdout;
        for name in ["a", "tab\there", "back\\slash", "(", "caf\u{e9}"] {
            let holder = format!("(\"{name}\",pid=");
            assert!(shown.contains(&holder), "{holder} in {shown}");
        }
        for arguments in ["-lntup", "-ltnp", "-Hlup", "-Hltp6", "-ltnp4"] {
            assert_same(&[arguments], &[]);
            assert_same(&[arguments], &[("PROC_ROOT", "/proc".as_ref())]);
            assert_same(&[arguments, "sport gt 0", "--processes"], &[]);
        }
        assert_same(&["-lntT"], &[]);
        drop(holders);
        assert_same(&["-lntup"], &[]);
    });
}

/// A process of this name that has `socket` twice.
fn hold(socket: &Socket, name: &str) -> Running {
    let script = "printf %s \"$0\" >/proc/$$/comm; exec 7<&0; echo held; kill -STOP $$";
    let mut shell = Command::new("bash");
    shell.args(["-c", script, name]);
    shell.stdin(std::os::fd::OwnedFd::from(socket.try_clone().unwrap()));
    let holder = Running::start(&mut shell);
    assert_eq!(holder.next_line(), "held");
    holder
}

/// The one line that says why there is no table.
fn refused(command: &mut Command, status: i32) -> String {
    let finished = run(command);
    assert_eq!(
        (finished.code(), &*finished.stdout),
        (status, ""),
        "{finished:?}"
    );
    let line = finished.stderr.strip_suffix('\n').unwrap();
    assert!(!line.contains('\n'), "{line:?}");
    line.strip_prefix("ss: ").unwrap().to_string()
}

#[test]
fn what_is_not_covered_is_refused_before_anything_is_printed() {
    for arguments in [
        &["-K", "-lnt"][..],
        &["-E"],
        &["-b0"],
        &["-Z"],
        &["-tr"],
        &["-t", "state"],
        &["-t", "state", "open"],
        &["-A", "tcp,atm"],
        &["-lnt", "sport = :http-and-more"],
        &["-lnt", "src", "localhost"],
        &["-lnt", "--frobnicate"],
        &["-lnt", "--tcp=yes"],
        &["-lntf"],
        &["-lnt", "-f", "atm"],
    ] {
        let said = refused(&mut as_ss(arguments), 255);
        assert!(said.ends_with("(try 'ss --help')"), "{said}");
    }
}

#[test]
fn a_table_that_cannot_be_read_is_an_error_and_not_an_empty_one() {
    let said = refused(as_ss(&["-lntu"]).env("PROC_ROOT", "/nonexistent"), 1);
    assert_eq!(
        said,
        "/nonexistent/net/tcp: No such file or directory (os error 2)"
    );
    let empty = "/dev/null";
    let said = refused(as_ss(&["-lnt"]).env("PROC_NET_TCP", empty), 1);
    assert!(said.starts_with("/dev/null: is empty"), "{said}");
    let gone = "/nonexistent";
    refused(as_ss(&["-lnu"]).env("PROC_NET_UDP", gone), 1);
}

/// One that is not asked for may hold what it likes.
#[test]
fn a_line_that_cannot_be_read_is_an_error_and_not_left_out() {
    let proc = TempDir::new().unwrap();
    fs::create_dir(proc.path().join("net")).unwrap();
    let good = "   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 7";
    for bad in ["garbage", "   1: 0100007F:ZZZZ 00000000:0000 0A"] {
        let table = format!("  sl  local_address\n{bad}\n{good}\n");
        fs::write(proc.path().join("net/tcp"), table).unwrap();
        let said = refused(as_ss(&["-lnt"]).env("PROC_ROOT", proc.path()), 1);
        assert!(
            said.ends_with("net/tcp: has lines that cannot be read"),
            "{said}"
        );
        let udp = run(as_ss(&["-Hlnu"]).env("PROC_ROOT", proc.path()));
        assert_eq!(udp.lines(), [""; 0]);
    }
}

#[test]
fn a_table_that_may_not_be_read_is_not_passed_over() {
    if !have_program("bash", "bash") {
        return;
    }
    let header = "  sl  local_address\n";
    let proc = forbidding_proc(&[("tcp", header), ("tcp6", header)], &["udp6"]);
    let ss = |arguments: &str| {
        let mut command = Command::new("bash");
        command.args(["-c", "exec -a ss \"$0\" \"$1\""]);
        command.arg(proc.path().join("lntu")).arg(arguments);
        command.env("PROC_ROOT", proc.path());
        without_root(&mut command);
        command
    };
    // Until no other test has a copy of the program open for writing.
    wait_for("the program", || {
        run(&mut ss("-V")).status.success().then_some(())
    });
    let said = refused(&mut ss("-lntu"), 1);
    assert!(said.ends_with("net/udp6: may not be read"), "{said}");
    for arguments in ["-lnt", "-lnu4"] {
        assert!(run(&mut ss(arguments)).status.success(), "{arguments}");
    }
}

#[test]
fn a_full_disk_is_an_error_and_a_reader_that_left_is_none() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let said = refused(as_ss(&["-lnt"]).stdout(full), 1);
    assert_eq!(said, "stdout: No space left on device (os error 28)");
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let finished = run(as_ss(&["-lnt"]).stdout(writer));
    assert_eq!((finished.code(), &*finished.stderr), (0, ""));
}

#[test]
fn help_and_version_end_well() {
    let version = run(&mut as_ss(&["-V"]));
    let ours = concat!(" (lntu-", env!("CARGO_PKG_VERSION"), ")\n");
    let theirs = version.stdout.strip_suffix(ours).unwrap();
    assert_eq!(theirs, "ss utility, iproute2-6.1.0");
    for option in ["-h", "--help", "-lntuh"] {
        let help = run(&mut as_ss(&[option]));
        assert_eq!((help.code(), &*help.stderr), (0, ""));
        assert!(help.stdout.starts_with("Usage: ss "));
    }
}

#[test]
fn no_other_ss_is_started() {
    let started = TempDir::new().unwrap();
    let started = started.path().join("started");
    let directory = fake_ss(&format!(": >{}; exit 1", started.display()));
    for more in [&[][..], &["-p"]] {
        let mut command = as_ss(&[&["-lntu"], more].concat());
        let finished = run(command.env("PATH", path_with(directory.path())));
        assert!(finished.lines()[0].starts_with("Netid State"));
    }
    assert!(!started.exists());
}

/// A copy under that name is an ss like any other; a link is this program
/// itself, which must not run itself.
#[test]
fn another_lntu_takes_a_copy_for_ss_and_a_link_for_nothing() {
    in_private_network(|| {
        let _sockets = sockets_of_every_kind();
        let listed = run(&mut lntu(&["list", "-H", "--source", "proc"]));
        assert_eq!(listed.lines().len(), 12);
        let listed_by = |directory: &TempDir, source: &str| {
            let mut command = lntu(&["list", "-Hv", "--source", source]);
            run(command.env("PATH", directory.path()))
        };
        let copied = TempDir::new().unwrap();
        let copy = copied.path().join("ss");
        fs::copy(env!("CARGO_BIN_EXE_lntu"), &copy).unwrap();
        // Until no process that another test forked has it open for writing.
        wait_for("the copy", || Command::new(&copy).arg("-V").output().ok());
        let by_copy = listed_by(&copied, "ss");
        assert_eq!(
            listed_sockets(&by_copy.stdout),
            listed_sockets(&listed.stdout)
        );
        assert_eq!((by_copy.code(), &*by_copy.stderr), (0, ""));

        let linked = TempDir::new().unwrap();
        symlink(env!("CARGO_BIN_EXE_lntu"), linked.path().join("ss")).unwrap();
        let by_link = listed_by(&linked, "auto");
        let by_netlink = run(&mut lntu(&["list", "-H", "--source", "netlink"]));
        assert_eq!(by_link.stdout, by_netlink.stdout);
        assert!(by_link.stderr.contains("ss: not found in PATH"));
        let run_as = run(Command::new(linked.path().join("ss")).arg("-lntu"));
        assert!(run_as.lines()[0].starts_with("Netid State"));
    });
}
