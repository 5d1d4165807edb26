//! Tests of `--processes`, which names the processes that hold a socket, with every source.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::*;

/// A process name with characters that are special in lntu's table, in JSON and in the output
/// of ss. It has 14 bytes, and the kernel keeps 15.
const NASTY: &str = "a \"b\"\n) ,pid=1";

/// Starts a process with this name that listens on `port`. When it is listening, the process prints
/// the number of the socket's descriptor.
fn holder(name: &str, port: &FreePort) -> Running {
    let script = "import socket, sys
open('/proc/self/comm', 'w').write(sys.argv[1])
listener = socket.create_server(('127.0.0.1', int(sys.argv[2])))
print(listener.fileno(), flush=True)
sys.stdin.read()";
    let mut python = Command::new("python3");
    python.args(["-c", script, name, &port.to_string()]);
    python.stdin(std::process::Stdio::piped());
    Running::start(&mut python)
}

/// The text of the Process column in a line. Returns `None` if the column is empty.
fn cell(line: &str) -> Option<&str> {
    line.find("users:").map(|start| &line[start..])
}

/// A separate process holds the listener. If the test itself held it, a child that another test
/// forks would also hold it until its exec.
#[test]
fn every_source_names_the_holder() {
    if !have_program("services", "python3") {
        return;
    }
    let port = FreePort::new();
    let holder = holder("holder", &port);
    let (pid, port) = (holder.child.id(), port.to_string());
    let fd: u32 = holder.next_line().parse().unwrap();
    let expected = format!("users:((\"holder\",pid={pid},fd={fd}))");
    for source in ["ss", "proc", "auto", "netlink"] {
        if source == "ss" && !have_ss() {
            continue;
        }
        let listed = run(&mut lntu(&["list", "-p", "--source", source, &port]));
        let lines = listed.lines();
        assert!(lines[0].ends_with("Peer Address:Port Process"), "{lines:?}");
        assert_eq!(cell(lines[1]), Some(&*expected), "{source}");
        let json = run(&mut lntu(&[
            "list", "-p", "--json", "--source", source, &port,
        ]));
        let value: Value = serde_json::from_str(json.lines()[0]).unwrap();
        let process = json!([{"name": "holder", "pid": pid, "fd": fd}]);
        assert_eq!(value["processes"], process, "{source}");
    }
}

#[test]
fn every_source_escapes_process_names_the_same_way() {
    if !have_program("services", "python3") {
        return;
    }
    let port = FreePort::new();
    let holder = holder(NASTY, &port);
    let (fd, pid) = (holder.next_line(), holder.child.id());
    let expected = format!(r#"users:(("a \"b\"\n) ,pid=1",pid={pid},fd={fd}))"#);
    for source in ["ss", "proc", "netlink"] {
        if source == "ss" && !have_ss() {
            continue;
        }
        let listed = run(&mut lntu(&[
            "list",
            "-Hp",
            "--source",
            source,
            &port.to_string(),
        ]));
        let lines = listed.lines();
        assert_eq!(
            (lines.len(), cell(lines[0])),
            (1, Some(&*expected)),
            "{source}"
        );
    }
}

/// The tested characters are white space, control, format, private-use and unassigned characters,
/// and letters without a glyph.
#[test]
fn invisible_characters_are_escaped_in_all_output() {
    let row = "   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000 \
               0 0 1 1 0 100 0 0 10 0\n";
    let hidden = [
        '\u{85}',
        '\u{a0}',
        '\u{ad}',
        '\u{378}',
        '\u{61c}',
        '\u{180e}',
        '\u{202e}',
        '\u{3000}',
        '\u{3164}',
        '\u{e000}',
        '\u{fff9}',
        '\u{fffb}',
        '\u{e0041}',
        '\u{10ffff}',
    ];
    for character in hidden {
        let proc = TempDir::with_prefix(character.to_string()).unwrap();
        let path = |name: &str| proc.path().join(name);
        fs::create_dir_all(path("7/fd")).unwrap();
        fs::create_dir(path("net")).unwrap();
        fs::write(path("net/tcp"), format!("{PROC_HEADER}{row}")).unwrap();
        symlink("socket:[1]", path("7/fd/3")).unwrap();
        let name = format!("a{character}b");
        fs::write(path("7/comm"), format!("{name}\n")).unwrap();
        let list = |arguments: &[&str]| {
            let listed = run(lntu(arguments).arg("--proc").arg(proc.path()));
            let output = format!("{}{}", listed.stdout, listed.stderr);
            assert!(output.is_ascii(), "{character:?}: {output}");
            output
        };
        assert!(list(&["list", "-Hp"]).contains(&format!("a{}b", character.escape_unicode())));
        let json: Value = serde_json::from_str(&list(&["list", "-p", "--json"])).unwrap();
        assert_eq!(json["processes"][0]["name"], name);
        fs::remove_file(path("net/tcp")).unwrap();
        assert!(list(&["list"]).contains("No such file"));
    }
}

/// Checks that the cell names 64 holders, ends with the number of other holders, which must be
/// `more`, and contains no blank.
fn assert_counts(cell: &str, more: usize) {
    assert_eq!(cell.matches("\",pid=").count(), 64, "{cell}");
    let end = format!("),(more={more}))");
    assert!(cell.ends_with(&end) && !cell.contains(' '), "{cell}");
}

/// Two sockets share a port, and each of four processes has 200 descriptors of each socket. More
/// descriptors would slow down ss in other tests, which run at the same time.
#[test]
fn holders_beyond_the_limit_are_counted() {
    if !have_program("services", "python3") {
        return;
    }
    let script = "import os, signal, socket
port, sockets = 0, []
for _ in range(2):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(('127.0.0.1', port))
    listener.listen()
    port = listener.getsockname()[1]
    sockets += [listener] + [listener.dup() for _ in range(199)]
for _ in range(3):
    if os.fork() == 0:
        signal.pause()
print(port, flush=True)
signal.pause()";
    let holders = Running::start(Command::new("python3").args(["-c", script]));
    let port = holders.next_line();
    for source in ["ss", "proc", "netlink"] {
        if source == "ss" && !have_ss() {
            continue;
        }
        let list = |by_port: Option<&str>| {
            let mut command = lntu(&["list", "-Hp", "--source", source, &port]);
            run(command.args(by_port))
        };
        let (sockets, ports) = (list(None), list(Some("--by-port")));
        let counts = (sockets.lines().len(), ports.lines().len());
        assert_eq!(counts, (2, 1), "{source}");
        for line in sockets.lines() {
            assert_counts(cell(line).unwrap(), 800 - 64);
        }
        assert_counts(cell(ports.lines()[0]).unwrap(), 1600 - 64);
    }
}

/// In the `/proc` of this test, each of ten processes has 3000 descriptors of each of two sockets.
#[test]
fn memory_does_not_grow_with_the_number_of_holders() {
    let proc = TempDir::new().unwrap();
    let path = |name: &str| proc.path().join(name);
    fs::create_dir(path("net")).unwrap();
    let rows = [1, 2].map(|inode| {
        format!(
            "   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000 \
             0 0 {inode} 1 0 100 0 0 10 0\n"
        )
    });
    fs::write(path("net/tcp"), format!("{PROC_HEADER}{}", rows.concat())).unwrap();
    fs::create_dir(path("descriptors")).unwrap();
    for fd in 0..6000 {
        let link = path("descriptors").join(fd.to_string());
        symlink(format!("socket:[{}]", fd % 2 + 1), link).unwrap();
    }
    for pid in 1..=10 {
        let directory = path(&pid.to_string());
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("comm"), "name\n").unwrap();
        symlink("../descriptors", directory.join("fd")).unwrap();
    }
    let watcher = watch(&["--json", "-p", "--proc", proc.path().to_str().unwrap()]);
    let line = watcher.next_line();
    let value: Value = serde_json::from_str(&line).unwrap();
    let highest = (5936..6000).rev();
    let highest = highest.map(|fd| json!({"name": "name", "pid": 10, "fd": fd}));
    assert_eq!(value["processes"], Value::from_iter(highest));
    assert_eq!(value["more_processes"], 60_000 - 64);
    let peak = peak_memory(watcher.child.id());
    assert!(peak < 8192, "{peak} KiB");
}

/// strace delays the first readlink for longer than a search for holders may take.
#[test]
fn a_search_that_takes_too_long_is_reported() {
    if !have_program("strace", "strace") {
        return;
    }
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let trace = TempDir::new().unwrap();
    let slow = |name: &str, arguments: &[&str]| {
        let mut command = Command::new("strace");
        command.args(["-e", "trace=?readlink,readlinkat"]);
        command.args([
            "-e",
            "inject=?readlink,readlinkat:delay_enter=6000000:when=1",
        ]);
        command.arg("-o").arg(trace.path().join(name));
        command.arg(env!("CARGO_BIN_EXE_lntu")).args(arguments);
        Running::start(command.args(["--json", "--source", "proc", &port]))
    };
    let own = fs::read_to_string("/proc/self/comm").unwrap();
    let [list, exclude, watch] = [
        slow("list", &["list", "-p"]),
        slow("exclude", &["list", "--exclude-holder", own.trim_end()]),
        slow("watch", &["-p", "-i", FAST]),
    ];
    let why = "lntu: some processes were not searched for holders, because a search ends after 5 s";
    let missing = "holders may be missing";
    for list in [list, exclude] {
        let listed = list.finish();
        assert_eq!(listed.code(), 2);
        let lines = listed.stdout.lines().count();
        assert_eq!(lines, 1, "the listener is shown without a holder");
        assert_eq!(listed.stderr, format!("{why}\nlntu: {missing}\n"));
    }
    let [first, ready] = [(); 2].map(|()| -> Value {
        let line = watch.next_line();
        serde_json::from_str(&line).unwrap()
    });
    assert_eq!(first["type"], "listening");
    assert_eq!(
        (&ready["type"], &ready["error"]),
        (&json!("ready"), &json!(missing))
    );
    assert_eq!(watch.next_error(), why);
    watch.assert_no_more_errors_for(A_WHILE);
}

/// Pipes the output of a watcher to jq, which has a JSON parser of its own.
#[test]
fn jq_parses_every_line_of_the_stream() {
    if !have_program("services", "jq") || !have_program("services", "python3") {
        return;
    }
    let port = FreePort::new();
    let first = listen("127.0.0.1");
    let script = "lntu --json -p -i 20ms \"$@\" | jq -c --unbuffered .";
    let mut shell = shell(script);
    let shell = shell.args(["sh", &port.to_string(), &port_of(&first).to_string()]);
    let stream = Recipe(Running::start(shell));
    let [_, ready] = [(); 2].map(|()| stream.0.next_line());
    assert!(ready.contains("ready"), "{ready}");
    for _ in 0..2 {
        let holder = holder(NASTY, &port);
        let fd: u32 = holder.next_line().parse().unwrap();
        let process = json!([{"name": NASTY, "pid": holder.child.id(), "fd": fd}]);
        let next = |kind: &str| {
            let value: Value = serde_json::from_str(&stream.0.next_line()).unwrap();
            let event = (&value["type"], &value["processes"]);
            assert_eq!(event, (&json!(kind), &process));
        };
        next("opened");
        drop(holder);
        next("closed");
    }
    stream.0.assert_no_more_errors();
}

/// Makes a fake ss that lists 127.0.0.1:`port` while the file `listed` exists in `directory`. The
/// fake ss appends its arguments to the file `runs` in `directory`.
fn ss_that_lists(port: &str, directory: &Path) -> TempDir {
    fs::write(directory.join("listed"), "").unwrap();
    fake_ss(&format!(
        "cd {}; echo \"$*\" >>runs
         echo 'Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port'
         echo 'tcp LISTEN 0 0 127.0.0.1:1 0.0.0.0:*'
         [ ! -e listed ] || echo 'tcp LISTEN 0 0 127.0.0.1:{port} 0.0.0.0:*'",
        directory.display()
    ))
}

/// Waits until a poll that starts after this call has ended.
fn wait_for_poll(directory: &Path) {
    let runs = || {
        let runs = fs::read_to_string(directory.join("runs"));
        runs.unwrap_or_default().lines().count()
    };
    let before = runs();
    wait_for("two more polls", || (runs() >= before + 3).then_some(()));
}

/// Another process takes over the port between two polls, so ss lists the port in every poll.
#[test]
fn a_closed_line_names_the_last_holder() {
    if !have_program("services", "python3") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    let port = FreePort::new();
    let ss = ss_that_lists(&port.to_string(), directory);
    let first = holder("first", &port);
    first.next_line();
    let mut command = lntu(&["-H", "-p", "-i", FAST, "--source", "ss", &port.to_string()]);
    let watcher = Running::start(command.env("PATH", path_with(ss.path())));
    assert!(watcher.next_line().contains("users:((\"first\","));
    drop(first);
    let last = holder("last", &port);
    let (pid, fd) = (last.child.id(), last.next_line());
    wait_for_poll(directory);
    drop(last);
    wait_for_poll(directory);
    fs::remove_file(directory.join("listed")).unwrap();
    let closed = watcher.next_line();
    let expected = format!("users:((\"last\",pid={pid},fd={fd}))");
    assert!(closed.contains("CLOSED"), "{closed}");
    assert_eq!(cell(&closed), Some(&*expected));
}

/// lntu never runs ss with `-p` or `--cgroup`, because ss would then search every process or every
/// cgroup.
#[test]
fn ss_is_always_run_with_the_same_options() {
    let directory = TempDir::new().unwrap();
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let ss = ss_that_lists(&port, directory.path());
    let own = std::process::id().to_string();
    for options in [
        &["-p"][..],
        &["--of", &own],
        &["--exclude-holder", "other"],
        &["-p", "--of", &own, "--exclude-holder", "other"],
    ] {
        let mut command = lntu(&["list", "-H", "--source", "ss", &port]);
        let listed = run(command.args(options).env("PATH", path_with(ss.path())));
        assert_eq!(listed.lines().len(), 1, "{options:?}");
        let runs = fs::read_to_string(directory.path().join("runs")).unwrap();
        assert!(
            runs.lines().all(|run| run == "-lntu"),
            "{options:?}: {runs}"
        );
    }
}

/// A second socket may open on the same port after ss has listed the first, and before lntu asks
/// the kernel for inodes.
#[test]
fn sockets_that_ss_missed_on_its_ports_are_shown() {
    let directory = TempDir::new().unwrap();
    let listen_shared = |port: u16| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.set_reuse_port(true).unwrap();
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        socket.bind(&address.into()).unwrap();
        socket.listen(7).unwrap();
        std::net::TcpListener::from(socket)
    };
    let first = listen_shared(0);
    let second = listen_shared(port_of(&first));
    let port = port_of(&first).to_string();
    let ss = ss_that_lists(&port, directory.path());
    let list = || {
        let mut command = lntu(&["list", "-Hp", "--source", "ss", &port]);
        let listed = run(command.env("PATH", path_with(ss.path())));
        listed.lines().len()
    };
    assert_eq!(list(), 2);
    drop(second);
    assert_eq!(list(), 1);
}

/// The ss in PATH may be a script that lists another network namespace than the one of lntu.
#[test]
fn a_socket_that_only_ss_lists_has_no_holder() {
    let directory = TempDir::new().unwrap();
    let port = FreePort::new().to_string();
    let ss = ss_that_lists(&port, directory.path());
    let list = |options: &[&str]| {
        let mut command = lntu(&["list", "-Hq", "--source", "ss", &port]);
        let listed = run(command.args(options).env("PATH", path_with(ss.path())));
        // With --exclude-holder, the exit status is 2, because the unknown holder may be
        // an excluded one.
        let lines = listed.stdout.lines();
        lines.map(|line| cell(line).is_some()).collect::<Vec<_>>()
    };
    assert_eq!(list(&["-p"]), [false]);
    assert_eq!(list(&["--exclude-holder", "other"]), [false]);
    let own = std::process::id().to_string();
    assert_eq!(list(&["--of", &own]), [false; 0]);
}

/// A command that runs lntu with this ss. strace makes each attempt to open a netlink socket fail.
fn without_netlink(directory: &Path, ss: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("strace");
    command.arg("-o").arg(directory.join("trace"));
    command.args(["-e", "trace=socket", "-e", "inject=socket:error=EPERM"]);
    command.arg(env!("CARGO_BIN_EXE_lntu")).args(arguments);
    command.env("PATH", path_with(ss));
    command
}

#[test]
fn inodes_come_from_proc_if_netlink_is_refused() {
    if !have_program("strace", "strace") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let ss = ss_that_lists(&port, directory.path());
    let list = ["list", "-Hpv", "--source", "ss", &port];
    let listed = run(&mut without_netlink(directory.path(), ss.path(), &list));
    assert!(cell(&listed.stdout).is_some(), "{listed:?}");
    let detail = "lntu: netlink: socket: Operation not permitted (os error 1); reading inodes in \
                  /proc/net instead\n";
    assert!(listed.stderr.contains(detail), "{listed:?}");
}

#[test]
fn list_fails_if_no_source_has_inodes() {
    if !have_program("strace", "strace") || !have_mounts() {
        return;
    }
    let without_proc = "mount -t tmpfs none /proc && exec \"$@\"";
    let unshared = |program: &mut Command| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "sh", "-c", without_proc, "sh"]);
        unshare.arg(program.get_program()).args(program.get_args());
        unshare.envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        run(&mut unshare)
    };
    let directory = TempDir::new().unwrap();
    let ss = ss_that_lists("81", directory.path());
    for source in ["ss", "auto"] {
        let list = ["list", "-p", "--source", source];
        let listed = unshared(&mut without_netlink(directory.path(), ss.path(), &list));
        let why = "ss: prints no inodes; netlink: socket: Operation not permitted (os error 1); \
                   /proc/net/tcp: ";
        assert!(listed.error().starts_with(why), "{listed:?}");
    }
}

#[test]
fn a_watcher_searches_processes_only_for_new_sockets() {
    if !have_program("strace", "strace") {
        return;
    }
    assert_searches_for_new_sockets("proc", "net/tcp\"");
    if have_ss() {
        assert_searches_for_new_sockets("ss", "wait4(");
    }
}

/// Checks that a watcher searches `/proc` for holders only if it finds a new socket. The test
/// counts polls by `call`, a system call that each poll of `source` makes.
fn assert_searches_for_new_sockets(source: &str, call: &str) {
    let listener = listen("127.0.0.1");
    let directory = TempDir::new().unwrap();
    let trace = directory.path().join("trace");
    let mut command = Command::new("strace");
    command.args([
        "-e",
        "trace=openat,?open,?readlink,readlinkat,getdents64,wait4",
        "-o",
    ]);
    command.arg(&trace).arg(env!("CARGO_BIN_EXE_lntu"));
    let port = FreePort::new();
    let ports = [port_of(&listener).to_string(), port.to_string()];
    command.args([
        "-H", "-p", "-i", FAST, "--source", source, &ports[0], &ports[1],
    ]);
    let watcher = Running::start(&mut command);
    watcher.next_line();
    let reads_and_polls = || {
        let calls = fs::read_to_string(&trace).unwrap();
        let count = |call: &str| calls.lines().filter(|line| line.contains(call)).count();
        assert!(!calls.contains("fd/net"), "{calls}");
        (count("readlink") + count("getdents64"), count(call))
    };
    let more_polls = |before: usize| {
        wait_for("ten more polls", || {
            let (reads, polls) = reads_and_polls();
            (polls > before + 10).then_some((reads, polls))
        })
    };
    let (reads, polls) = more_polls(0);
    assert!(reads > 2, "it searched at the start");
    assert_eq!(more_polls(polls).0, reads, "and not since");
    let _new = port.listen();
    watcher.next_line();
    let (reads_for_new, polls) = more_polls(polls + 10);
    assert!(reads_for_new > reads, "it searched for the new socket");
    assert_eq!(more_polls(polls).0, reads_for_new, "and not since");
}

/// If lntu may not read the descriptors of a process, the cell is empty, and one message says
/// why.
#[test]
fn holders_of_other_users_are_left_out() {
    if !have_root() {
        return;
    }
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let directory = TempDir::new().unwrap();
    // Copy lntu, because the user nobody may have no access to the directory of the original.
    let copy = directory.path().join("lntu");
    let install = Command::new("install")
        .arg(env!("CARGO_BIN_EXE_lntu"))
        .arg(&copy)
        .status();
    assert!(install.unwrap().success());
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(directory.path(), readable).unwrap();
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new(&copy);
        command
            .args(arguments)
            .args(["-p", "--source", "proc", &port]);
        command.uid(65534).gid(65534);
        command
    };
    let why = "lntu: no process found for some listeners (for processes of other users, you need \
               root with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, and a /proc that shows them)";
    let list = run(&mut as_nobody(&["list", "-H"]));
    assert_eq!(
        (cell(list.stdout.trim_end()), list.stderr),
        (None, format!("{why}\n"))
    );
    let mut excluding = Command::new(&copy);
    excluding.args([
        "list",
        "-H",
        "--exclude-holder",
        "x",
        "--source",
        "proc",
        &port,
    ]);
    let excluding = run(excluding.uid(65534).gid(65534));
    assert_eq!((excluding.code(), excluding.stdout.lines().count()), (2, 1));
    let quiet = run(&mut as_nobody(&["list", "-qH"]));
    assert_eq!(cell(quiet.lines()[0]), None);
    let json = run(&mut as_nobody(&["list", "--json", "-q"]));
    let value: Value = serde_json::from_str(json.lines()[0]).unwrap();
    assert_eq!(value["processes"], json!([]));
    let watcher = Running::start(&mut as_nobody(&["-H", "-i", FAST]));
    watcher.next_line();
    assert_eq!(watcher.next_error(), why);
    watcher.assert_no_more_errors_for(A_WHILE);
}

/// If lntu may read all descriptors but finds no holder, the listener has just closed or its holder
/// is in another PID namespace. Only `-v` prints a message about that.
#[test]
fn only_verbose_explains_an_empty_process_cell() {
    let proc = TempDir::new().unwrap();
    fs::create_dir(proc.path().join("net")).unwrap();
    fs::copy("fixtures/proc/no-ipv6/net/tcp", proc.path().join("net/tcp")).unwrap();
    let list = |arguments: &[&str]| {
        let root = ["--proc", proc.path().to_str().unwrap()];
        run(lntu(&["list", "-H"]).args(root).args(arguments))
    };
    let why = "no process found for some listeners";
    assert_eq!(list(&["-p"]).lines().len(), 1);
    let details = list(&["-pv"]).stderr;
    assert!(details.contains(why), "{details}");
    // Without -p, there is no Process column to explain, so there is no message.
    let details = list(&["-v", "--exclude-holder", "other"]).stderr;
    assert!(!details.contains(why), "{details}");
}

/// `--pid` selects another network namespace. The printed process ids are still those of lntu's own
/// PID namespace.
#[test]
fn holders_in_another_namespace_are_named() {
    if !have_program("services", "python3") {
        return;
    }
    let port = FreePort::new();
    let mut inside = None;
    in_private_network(|| inside = Some(holder("inside", &port)));
    let Some(holder) = inside else {
        return;
    };
    let (fd, pid) = (holder.next_line(), holder.child.id());
    let expected = format!("users:((\"inside\",pid={pid},fd={fd}))");
    let by_pid = run(&mut lntu(&["list", "-Hp", "--pid", &pid.to_string()]));
    let directory = format!("/proc/{pid}");
    let by_directory = run(&mut lntu(&["list", "-Hp", "--proc", &directory]));
    for listed in [by_pid, by_directory] {
        assert_eq!(cell(listed.lines()[0]), Some(&*expected));
    }
}

#[test]
fn processes_are_named_only_with_option_p() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let listed = run(&mut lntu(&["list", "--source", "proc", &port]));
    assert!(!listed.lines().concat().contains("rocess"));
    assert_eq!(
        cell(&watch(&["-H", "--source", "proc", &port]).next_line()),
        None
    );
}
