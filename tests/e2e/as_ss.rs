//! The program under the name `ss`, compared with the ss of iproute2.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::harness::*;
use zoo::more_sockets;

mod conditions;
mod every_state;
mod programs;
mod questions;
mod zoo;

/// Returns the program under test, ready to start under the name ss with these arguments.
fn as_ss(arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(&*SS_LINK);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// A directory with a copy of lntu under the name ss, which any user may run.
fn copy_for_all() -> TempDir {
    let directory = TempDir::new().unwrap();
    let allow = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    allow(directory.path());
    let copy = directory.path().join("ss");
    fs::copy(env!("CARGO_BIN_EXE_lntu"), &copy).unwrap();
    allow(&copy);
    // The kernel does not run the copy while a child of another test has it open for writing.
    wait_for("the copy", || Command::new(&copy).arg("-V").output().ok());
    directory
}

type Environment<'a> = &'a [(&'a str, &'a OsStr)];

/// Asserts that the program and ss succeed and print the same bytes to stdout. A socket may
/// change between the two runs, so both are tried up to 20 times.
fn assert_same(arguments: &[impl AsRef<OsStr>], environment: Environment<'_>) {
    const MOST_TRIES: usize = 20;
    let environment = || environment.iter().copied();
    for tries in 1.. {
        let expected = output(Command::new("ss").args(arguments).envs(environment()));
        let actual = output(as_ss(arguments).envs(environment()));
        let arguments: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
        assert!(expected.status.success(), "{arguments:?}: {expected:?}");
        assert_eq!((actual.code(), &*actual.stderr), (0, ""), "{arguments:?}");
        let (actual, expected) = (comparable(&actual.stdout), comparable(&expected.stdout));
        if actual == expected {
            break;
        }
        if tries == MOST_TRIES {
            assert_eq!(actual, expected, "{arguments:?}");
        }
    }
}

/// The beginnings of the words that contain a time, which differs in every run.
const LIVE: [&str; 5] = ["lastsnd:", "lastrcv:", "lastack:", "busy:", "timer:("];
/// The words in the output of `-s` that precede a count of sockets in all network namespaces.
const LIVE_COUNTS: [&str; 4] = ["Total:", "TCP:", "closed", "orphaned"];

/// Returns `text` without the parts that differ from run to run. Replaces with `#` each digit in a
/// word that starts with one of [`LIVE`], and each count that follows one of [`LIVE_COUNTS`].
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

/// Asserts that the program and ss have the same exit status and print the same bytes to stdout and
/// to stderr.
fn assert_same_with_stderr(arguments: &[impl AsRef<OsStr>]) {
    let result = |command: &mut Command| {
        let finished = run(command.args(arguments).stdin(Stdio::null()));
        (finished.code(), finished.stdout, finished.stderr)
    };
    let expected = result(&mut Command::new("ss"));
    let actual = result(&mut as_ss(&[""; 0]));
    let arguments: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
    assert_eq!(actual, expected, "{arguments:?}");
}

/// Runs the program like [`run`], and replaces each digit of its process id on stdout with `#`. The
/// id is on stdout because the list of netlink sockets includes the program itself.
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

/// Command lines with every combination of protocol, family and format, and some with
/// abbreviated and combined options.
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

/// Filters that contain no names of ports, such as `http`.
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

/// Filters that contain names of TCP ports.
const NAMED_FILTERS: [&str; 4] = [
    "sport = :http",
    "sport = www",
    "sport ge :domain",
    "src 127.0.0.1:http",
];

/// Returns command lines that combine each filter with several sets of options. Leaves out sets
/// that select another address family than the filter.
fn filtered() -> Vec<Vec<&'static str>> {
    let mut command_lines = Vec::new();
    for filter in FILTERS {
        for options in ["-lntu", "-lnt", "-ltu6", "-lnu4", "-lntu46", "-Hlntu64"] {
            let is_of_another_family = match options {
                "-ltu6" | "-lntu46" => filter.contains("127") || filter.contains("0.0.0.0"),
                "-lnu4" | "-Hlntu64" => filter.contains("::") || filter.contains("inet6"),
                _ => false,
            };
            if !is_of_another_family {
                command_lines.push(vec![options, filter]);
            }
        }
    }
    for filter in NAMED_FILTERS {
        command_lines.extend([vec!["-lntu", filter], vec!["-lt", filter]]);
    }
    command_lines
}

/// Returns a random filter of one to three conditions. A condition may itself be a filter in
/// parentheses. Parentheses nest up to `depth` levels.
fn random_filter(random: &mut fastrand::Rng, depth: u8) -> String {
    let pick = |random: &mut fastrand::Rng, choices: &[&str]| {
        choices[random.usize(..choices.len())].to_string()
    };
    let condition = |random: &mut fastrand::Rng| match random.u8(..if depth == 0 { 4 } else { 6 }) {
        0 | 1 => {
            let end = pick(random, &["sport", "sport", "dport"]);
            let comparison = pick(random, &["=", "!=", "neq", "lt", ">", "le", ">=", ""]);
            let port = pick(random, &["80", ":81", "0", "0x50", "*", ":65535", "79"]);
            format!("{end} {comparison} {port}")
        }
        2 | 3 => {
            let end = pick(random, &["src", "src", "dst"]);
            let families = ["", "", "inet:", "inet6:"];
            let v4_addresses = [
                "127.0.0.1",
                "127.0.0.0/8",
                "0.0.0.0",
                "any",
                "all",
                "*",
                "[::1]",
            ];
            let v6_addresses = [
                "::/0",
                "[::ffff:127.0.0.1]",
                "[::ffff:0.0.0.0]/96",
                "default",
                "::1",
                "",
            ];
            let address = pick(random, &[&v4_addresses[..], &v6_addresses].concat());
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

/// Over netlink, the kernel applies the filter. If ss reads `/proc`, ss applies the filter itself.
#[test]
fn random_filters_select_the_same_sockets_as_in_ss() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _sockets = sockets_of_every_kind();
        let no_options = |_: &Socket| {};
        let _listeners = ["127.0.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:81"]
            .map(|address| bound(Type::STREAM, address, no_options));
        let mut random = fastrand::Rng::with_seed(7);
        let mut accepted = 0;
        for _ in 0..400 {
            let filter = random_filter(&mut random, 2);
            let options = ["-lntu", "-lnt", "-lntu4", "-Hlnu6", "-lnt46", "-Hlnt64"];
            let options = options[random.usize(..options.len())];
            let arguments = [options, &filter];
            // ss may accept a filter that this program refuses.
            if run(&mut as_ss(&arguments)).code() != 255 {
                accepted += 1;
                assert_same(&arguments, &[]);
                assert_same(&arguments, &[("PROC_ROOT", "/proc".as_ref())]);
            }
        }
        assert!(accepted > 150, "{accepted} of 400");
    });
}

/// Returns the directory of this process's control group, or `None` without cgroup v2.
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
fn sockets_are_filtered_by_cgroup() {
    let cgroup = own_cgroup();
    let missing = cgroup.is_none().then(|| "no cgroup v2".to_string());
    if !have_ss() || !have("cgroup2", missing) {
        return;
    }
    let cgroup = cgroup.unwrap();
    in_private_network(|| {
        let no_options = |_: &Socket| {};
        let _sockets = [
            bound(Type::STREAM, "127.0.0.1:80", no_options),
            bound(Type::STREAM, "[::1]:80", no_options),
            bound(Type::DGRAM, "127.0.0.1:53", no_options),
        ];
        let multipath = Some(socket2::Protocol::MPTCP);
        let multipath = Socket::new(Domain::IPV4, Type::STREAM, multipath).and_then(|socket| {
            socket.listen(1)?;
            Ok(socket)
        });
        // A Multipath TCP socket uses an additional TCP socket, which is also listed.
        let count = if multipath.is_ok() { 5 } else { 3 };
        let inside = format!("cgroup = {}", cgroup.display());
        let outside = format!("cgroup != {}", cgroup.display());
        let listed = |filter: &str| {
            let arguments = ["-HlntuM", filter];
            assert_same(&arguments, &[]);
            output(&mut as_ss(&arguments)).lines().len()
        };
        assert_eq!((listed(&inside), listed(&outside)), (count, 0));
    });
}

fn with_slash(path: &Path) -> OsString {
    let mut root = OsString::from(path);
    root.push("/");
    root
}

/// With `PROC_ROOT`, ss reads the files of a fixture. If ss would list a fixture wrongly, the
/// fixture has a file `no-oracle` that explains why, and is skipped.
#[test]
fn output_for_every_fixture_matches_ss() {
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

/// Both programs read the sockets over netlink first, and then from `/proc`.
#[test]
fn output_for_live_sockets_matches_ss() {
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
fn several_arguments_form_one_filter() {
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
fn output_without_sockets_matches_ss() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        for arguments in ["-lntu", "-Hlntu", "-ltp", "-Hlun6"] {
            assert_same(&[arguments], &[]);
        }
    });
}

/// The options select TIPC sockets, or no sockets at all. lntu cannot list TIPC sockets, but a
/// kernel without TIPC has none.
#[test]
fn output_for_empty_selections_matches_ss() {
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
            assert_same_with_stderr(arguments);
        }
    });
}

#[test]
fn each_environment_variable_replaces_its_table() {
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
        for replaced in 0..1 << tables.len() {
            let is_replaced = |index: &usize| replaced >> index & 1 == 1;
            let environment: Vec<(&str, &OsStr)> = (0..tables.len())
                .filter(is_replaced)
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
    });
}

#[test]
fn an_environment_variable_replaces_the_port_range() {
    if !have_ss() {
        return;
    }
    in_private_network(|| {
        let _sockets = more_sockets();
        let directory = TempDir::new().unwrap();
        let range = directory.path().join("range");
        fs::write(&range, "1 79\n").unwrap();
        let replaced = ("PROC_IP_LOCAL_PORT_RANGE", range.as_os_str());
        assert_same(&["-ltu"], &[replaced]);
    });
}

/// If the kernel refuses a netlink request for one protocol, the sockets of this protocol are read
/// from `/proc`, and the sockets of the other protocol are still read over netlink. The row of an
/// IPv6-only wildcard reveals its source, because `/proc` does not include whether a socket is
/// IPv6-only.
#[test]
fn each_protocol_falls_back_to_proc_separately() {
    if !have_ss() || !have_program("strace", "strace") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let link = directory.path().join("ss");
    symlink(env!("CARGO_BIN_EXE_lntu"), &link).unwrap();
    let table_of = |program: &Path, failing_calls: &str| {
        let fault = format!("inject=socket:error=EPROTONOSUPPORT:when={failing_calls}");
        let mut strace = Command::new("strace");
        strace.args(["-o", "/dev/null", "-e", &fault]).arg(program);
        let finished = run(strace.args(["-lntu", "sport gt 0"]));
        assert_eq!(finished.code(), 0, "{finished:?}");
        finished.stdout
    };
    in_private_network(|| {
        let v6_only = |socket: &Socket| socket.set_only_v6(true).unwrap();
        let _sockets = [Type::STREAM, Type::DGRAM].map(|kind| bound(kind, "[::]:80", v6_only));
        let [neither, udp, tcp, both] = ["9", "1", "2", "1+"].map(|failing_calls| {
            let expected = table_of(Path::new("ss"), failing_calls);
            assert_eq!(table_of(&link, failing_calls), expected, "{failing_calls}");
            expected.matches("[::]:80 ").count()
        });
        assert_eq!((neither, udp, tcp, both), (2, 1, 1, 0));
    });
}

/// The names of the processes have characters that are special in the table of ss, such as
/// parentheses.
#[test]
fn output_with_processes_matches_ss() {
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

/// Starts a process that is called `name` and has two descriptors of `socket`.
fn hold(socket: &Socket, name: &str) -> Running {
    let script = "printf %s \"$0\" >/proc/$$/comm; exec 7<&0; echo held; kill -STOP $$";
    let mut shell = Command::new("bash");
    shell.args(["-c", script, name]);
    shell.stdin(std::os::fd::OwnedFd::from(socket.try_clone().unwrap()));
    let holder = Running::start(&mut shell);
    assert_eq!(holder.next_line(), "held");
    holder
}

/// Runs the program, which must fail with this status and print one line to stderr and
/// nothing to stdout. Returns the line without `ss: `.
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
fn unsupported_arguments_are_refused() {
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
        let message = refused(&mut as_ss(arguments), 255);
        assert!(message.ends_with("(try 'ss --help')"), "{message}");
    }
}

#[test]
fn a_missing_tcp_table_is_an_error() {
    let message = refused(as_ss(&["-lntu"]).env("PROC_ROOT", "/nonexistent"), 1);
    assert_eq!(
        message,
        "/nonexistent/net/tcp: No such file or directory (os error 2)"
    );
}

#[test]
fn an_empty_tcp_table_is_an_error() {
    let message = refused(as_ss(&["-lnt"]).env("PROC_NET_TCP", "/dev/null"), 1);
    assert!(message.starts_with("/dev/null: is empty"), "{message}");
}

#[test]
fn a_missing_replacement_table_is_an_error() {
    refused(as_ss(&["-lnu"]).env("PROC_NET_UDP", "/nonexistent"), 1);
}

/// Calls `test` several times, each with a directory that stands in for `/proc` and whose TCP table
/// has a different unreadable line.
fn with_unreadable_lines(test: impl Fn(&Path)) {
    let proc = TempDir::new().unwrap();
    fs::create_dir(proc.path().join("net")).unwrap();
    let good = "   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 7";
    for bad in ["garbage", "   1: 0100007F:ZZZZ 00000000:0000 0A"] {
        let table = format!("  sl  local_address\n{bad}\n{good}\n");
        fs::write(proc.path().join("net/tcp"), table).unwrap();
        test(proc.path());
    }
}

#[test]
fn an_unreadable_line_is_an_error() {
    with_unreadable_lines(|proc| {
        let message = refused(as_ss(&["-lnt"]).env("PROC_ROOT", proc), 1);
        assert!(
            message.ends_with("net/tcp: has lines that cannot be read"),
            "{message}"
        );
    });
}

#[test]
fn unreadable_lines_in_unlisted_tables_are_ignored() {
    with_unreadable_lines(|proc| {
        let udp = run(as_ss(&["-Hlnu"]).env("PROC_ROOT", proc));
        assert_eq!(udp.lines(), [""; 0]);
    });
}

/// Makes a directory that stands in for `/proc`, with a table `udp6` that only root may read. The
/// directory also has a copy of lntu.
fn proc_without_permission_for_udp6() -> TempDir {
    let header = "  sl  local_address\n";
    forbidding_proc(&[("tcp", header), ("tcp6", header)], &["udp6"])
}

/// Runs the copy of lntu in `proc` without privileges, under the name ss.
fn as_unprivileged_ss(proc: &TempDir, arguments: &str) -> Command {
    let command = |arguments: &str| {
        let mut command = Command::new("bash");
        command.args(["-c", "exec -a ss \"$0\" \"$1\""]);
        command.arg(proc.path().join("lntu")).arg(arguments);
        command.env("PROC_ROOT", proc.path());
        without_root(&mut command);
        command
    };
    // The kernel does not run the copy while a child of another test has it open for writing.
    wait_for("the program", || {
        run(&mut command("-V")).status.success().then_some(())
    });
    command(arguments)
}

#[test]
fn a_table_without_read_permission_is_an_error() {
    if !have_program("bash", "bash") {
        return;
    }
    let proc = proc_without_permission_for_udp6();
    let message = refused(&mut as_unprivileged_ss(&proc, "-lntu"), 1);
    assert!(message.ends_with("net/udp6: may not be read"), "{message}");
}

#[test]
fn an_unlisted_table_needs_no_read_permission() {
    if !have_program("bash", "bash") {
        return;
    }
    let proc = proc_without_permission_for_udp6();
    for arguments in ["-lnt", "-lnu4"] {
        let finished = run(&mut as_unprivileged_ss(&proc, arguments));
        assert!(finished.status.success(), "{arguments}");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let message = refused(as_ss(&["-lnt"]).stdout(full), 1);
    assert_eq!(message, "stdout: No space left on device (os error 28)");
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let finished = run(as_ss(&["-lnt"]).stdout(writer));
    assert_eq!((finished.code(), &*finished.stderr), (0, ""));
}

#[test]
fn the_version_line_names_ss_and_lntu() {
    let version = run(&mut as_ss(&["-V"]));
    let lntu_version = concat!(" (lntu-", env!("CARGO_PKG_VERSION"), ")\n");
    let ss_version = version.stdout.strip_suffix(lntu_version).unwrap();
    assert_eq!(ss_version, "ss utility, iproute2-6.1.0");
}

#[test]
fn help_is_printed_to_stdout() {
    for option in ["-h", "--help", "-lntuh"] {
        let help = run(&mut as_ss(&[option]));
        assert_eq!((help.code(), &*help.stderr), (0, ""));
        assert!(help.stdout.starts_with("Usage: ss "));
    }
}

#[test]
fn lntu_named_ss_never_runs_another_ss() {
    let started = TempDir::new().unwrap();
    let started = started.path().join("started");
    let directory = fake_ss(&format!(": >{}; exit 1", started.display()));
    for processes in [&[][..], &["-p"]] {
        let mut command = as_ss(&[&["-lntu"], processes].concat());
        let finished = run(command.env("PATH", path_with(directory.path())));
        assert!(finished.lines()[0].starts_with("Netid State"));
    }
    assert!(!started.exists());
}

/// Runs `lntu list` with this directory as its whole PATH.
fn list_with_path(directory: &TempDir, source: &str) -> Finished {
    let mut command = lntu(&["list", "-Hv", "--source", source]);
    run(command.env("PATH", directory.path()))
}

/// A copy of lntu is another file, so lntu runs it like any other ss.
#[test]
fn lntu_runs_a_copy_of_itself_named_ss() {
    in_private_network(|| {
        let _sockets = sockets_of_every_kind();
        let from_proc = run(&mut lntu(&["list", "-H", "--source", "proc"]));
        assert_eq!(from_proc.lines().len(), 12);
        let directory = TempDir::new().unwrap();
        let copy = directory.path().join("ss");
        fs::copy(env!("CARGO_BIN_EXE_lntu"), &copy).unwrap();
        // The kernel does not run the copy while a child of another test has it open for writing.
        wait_for("the copy", || Command::new(&copy).arg("-V").output().ok());
        let from_copy = list_with_path(&directory, "ss");
        assert_eq!(
            listed_sockets(&from_copy.stdout),
            listed_sockets(&from_proc.stdout)
        );
        assert_eq!((from_copy.code(), &*from_copy.stderr), (0, ""));
    });
}

/// A link named ss is the program itself. lntu must not start itself as its source.
#[test]
fn lntu_never_runs_a_link_to_itself() {
    in_private_network(|| {
        let _sockets = sockets_of_every_kind();
        let directory = TempDir::new().unwrap();
        symlink(env!("CARGO_BIN_EXE_lntu"), directory.path().join("ss")).unwrap();
        let listed = list_with_path(&directory, "auto");
        let from_netlink = run(&mut lntu(&["list", "-H", "--source", "netlink"]));
        assert_eq!(listed.stdout, from_netlink.stdout);
        assert!(listed.stderr.contains("ss: not found in PATH"));
    });
}

#[test]
fn a_link_named_ss_prints_the_header_of_ss() {
    let directory = TempDir::new().unwrap();
    let link = directory.path().join("ss");
    symlink(env!("CARGO_BIN_EXE_lntu"), &link).unwrap();
    let finished = run(Command::new(link).arg("-lntu"));
    assert!(finished.lines()[0].starts_with("Netid State"));
}
