//! Tests of `--all-namespaces`. A [`Host`] stands in for a real host. Each process on it stands in
//! for a container, and has a network namespace of its own.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::*;

/// The process id of lntu, which nsenter runs under strace. Waits until the child of strace is
/// lntu, because strace first starts other children.
fn traced(nsenter: &Running) -> Pid {
    wait_for("lntu", || {
        let pid = child_of(child_of(nsenter.child.id()));
        let name = fs::read_to_string(format!("/proc/{pid}/comm"));
        let is_lntu = name.is_ok_and(|name| name == "lntu\n");
        is_lntu.then(|| Pid::from_raw(pid as i32).unwrap())
    })
}

/// The start of the label that a line of a table has for the namespace with this inode.
fn label(namespace: u64) -> String {
    format!("netns:{namespace},")
}

/// The lines about this namespace.
fn about(namespace: u64, lines: &str) -> Vec<String> {
    let lines = lines
        .lines()
        .filter(|line| line.contains(&label(namespace)));
    lines.map(str::to_string).collect()
}

/// The objects about this namespace among lines of JSON.
fn objects_about(namespace: u64, lines: &str) -> Vec<Value> {
    let objects = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    objects
        .filter(|object| object["namespace"] == namespace)
        .collect()
}

/// The next event about this namespace: the state and the local address.
fn next_event(watcher: &Running, namespace: u64) -> String {
    loop {
        let line = watcher.next_line();
        if line.contains(&label(namespace)) {
            return event(&line);
        }
    }
}

/// Checks that the watcher prints nothing about this namespace for [`A_WHILE`].
fn assert_silent_about(watcher: &Running, namespace: u64) {
    let end = Instant::now() + A_WHILE;
    while let Some(line) = watcher.line_within(end.saturating_duration_since(Instant::now())) {
        assert!(!line.contains(&label(namespace)), "{line}");
    }
}

#[test]
fn list_agrees_with_ss_in_each_namespace() {
    let open = || {
        let v6 = TcpListener::bind("[::1]:80");
        let udp = UdpSocket::bind("0.0.0.0:53").unwrap();
        (
            tcp_listener("127.0.0.1:80"),
            tcp_listener("0.0.0.0:8080"),
            udp,
            v6,
        )
    };
    let (Some(host), true) = (Host::start(), have_ss()) else {
        return;
    };
    let ((one, _one), (other, _other)) = (host.container(open), host.container(open));
    for source in ["auto", "netlink", "proc"] {
        let listed = host.list(&["--source", source]);
        for process in [&one, &other] {
            let mut nsenter = Command::new("nsenter");
            nsenter.args(["-t", &process.pid.to_string(), "-n", "ss", "-Hlntu"]);
            let expected = listed_sockets(&run(&mut nsenter).stdout);
            let about = about(process.namespace(), &listed);
            assert_eq!(listed_sockets(&about.join("\n")), expected, "{source}");
            assert!(about.len() >= 3, "{source}: {about:?}");
        }
    }
}

#[test]
fn a_namespace_label_contains_its_first_process() {
    let Some(host) = Host::start() else {
        return;
    };
    let open = || (tcp_listener("0.0.0.0:80"), host.process());
    let (first, (_socket, second)) = host.container(open);
    let (namespace, pid) = (first.namespace(), first.inner_pid());
    assert!(pid < second.inner_pid());
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", first.pid)).unwrap();
    let paths = cgroups
        .lines()
        .map(|line| line.splitn(3, ':').nth(2).unwrap());
    let paths: BTreeSet<&str> = paths.collect();

    let objects = objects_about(namespace, &host.list(&["--json"]));
    let [object] = &objects[..] else {
        panic!("{objects:?}");
    };
    assert_eq!(
        (&object["port"], &object["pid"]),
        (&"tcp:*:80".into(), &pid.into())
    );
    let cgroup = object["cgroup"].as_str().unwrap();
    assert!(paths.contains(cgroup), "{cgroup}: {cgroups}");
    let is_below_root = |path: &str| path != "/";
    assert_eq!(
        is_below_root(cgroup),
        paths.iter().any(|path| is_below_root(path))
    );

    let arguments = ["list", "-A", "-q"];
    let table = run(&mut host.command(env!("CARGO_BIN_EXE_lntu"), &arguments)).stdout;
    let header = table.lines().next().unwrap();
    assert!(header.ends_with("Peer Address:Port Namespace"), "{header}");
    let last_field = format!("netns:{namespace},pid={pid},cgroup={cgroup}");
    let [line] = &about(namespace, &table)[..] else {
        panic!("{table}");
    };
    assert_eq!(line.split_whitespace().last(), Some(&last_field[..]));
    assert_eq!(line.split_whitespace().count(), 7);
}

#[test]
fn lntu_lists_its_own_namespace() {
    let Some(host) = Host::start() else {
        return;
    };
    // The namespaces in `before` have lower inodes than the one of lntu, and those in `after` have
    // higher inodes.
    let before = [(); 3].map(|()| host.container(|| ()));
    in_private_network(|| {
        let after = [(); 3].map(|()| host.container(|| ()));
        let _socket = tcp_listener("0.0.0.0:80");
        let own = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
        let listed = host.list(&[]);
        assert_eq!(about(own, &listed).len(), 1, "{listed}");
        drop(after);
    });
    drop(before);
}

#[test]
fn holders_are_found_in_every_namespace() {
    let Some(host) = Host::start() else {
        return;
    };
    let (process, holder) = host.container(|| {
        let socket = tcp_listener("0.0.0.0:80");
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).unwrap();
        host.process()
    });
    let listed = host.list(&["-p"]);
    let [line] = &about(process.namespace(), &listed)[..] else {
        panic!("{listed}");
    };
    let (line, namespace) = line.rsplit_once(' ').unwrap();
    let pid = holder.inner_pid();
    assert!(
        line.contains(&format!(r#"users:(("sleep",pid={pid},fd="#)),
        "{line}"
    );
    assert!(
        namespace.contains(&format!(",pid={},", process.inner_pid())),
        "{namespace}"
    );
}

#[test]
fn ports_close_when_the_namespace_has_no_process() {
    let Some(host) = Host::start() else {
        return;
    };
    let watcher = host.watch(&[]);
    let (first, (socket, second)) = host.container(|| (tcp_listener("0.0.0.0:80"), host.process()));
    let namespace = first.namespace();
    assert_eq!(next_event(&watcher, namespace), "tcp LISTEN *:80");
    // Another process is still in the namespace.
    drop(first);
    assert_silent_about(&watcher, namespace);
    assert_eq!(second.namespace(), namespace);
    // Now no process is in the namespace, although this test still holds the socket.
    drop(second);
    assert_eq!(next_event(&watcher, namespace), "tcp CLOSED *:80");
    drop(socket);
    assert_silent_about(&watcher, namespace);
}

#[test]
fn by_port_does_not_merge_across_namespaces() {
    let Some(host) = Host::start() else {
        return;
    };
    let open = || (tcp_listener("127.0.0.1:80"), tcp_listener("127.0.0.2:80"));
    let ((one, (first, second)), (other, _sockets)) = (host.container(open), host.container(open));
    let listed = host.list(&["--by-port"]);
    for process in [&one, &other] {
        assert_eq!(about(process.namespace(), &listed).len(), 1, "{listed}");
    }
    let watcher = host.watch(&["--by-port", "--settle", "100ms"]);
    let mut opened: Vec<String> = Vec::new();
    while opened.len() < 2 {
        let line = watcher.next_line();
        for process in [&one, &other] {
            let label = label(process.namespace());
            opened.extend(line.contains(&label).then_some(label));
        }
    }
    opened.dedup();
    assert_eq!(opened.len(), 2);
    drop(first);
    let next = || next_event(&watcher, one.namespace());
    assert_eq!(next(), "tcp CLOSED 127.0.0.1:80");
    assert_eq!(next(), "tcp LISTEN 127.0.0.2:80");
    drop(second);
    assert_eq!(next(), "tcp CLOSED 127.0.0.2:80");
    assert_silent_about(&watcher, other.namespace());
}

/// A network namespace on a [`Host`], in which no process runs. A mount that `ip netns` made keeps
/// the namespace alive.
struct Mounted<'a> {
    host: &'a Host,
    name: String,
}

impl Mounted<'_> {
    fn new<'a>(host: &'a Host, name: &str) -> Mounted<'a> {
        let name = format!("{name}{}", host.0.pid);
        let mounted = Mounted { host, name };
        assert!(mounted.ip("add").status.success());
        mounted
    }

    /// Runs `ip netns COMMAND NAME` with the name of the namespace.
    fn ip(&self, command: &str) -> Finished {
        run(&mut self.host.command("ip", &["netns", command, &self.name]))
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Opens the mounted file from outside of the host's mount namespace.
    fn file(&self) -> fs::File {
        fs::File::open(format!("/proc/{}/root{}", self.host.0.pid, self.path())).unwrap()
    }

    fn inode(&self) -> u64 {
        self.file().metadata().unwrap().ino()
    }

    /// Calls `open` in the namespace.
    fn open<T: Send>(&self, open: impl FnOnce() -> T + Send) -> T {
        in_namespace(&self.file(), open)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        self.ip("del");
    }
}

#[test]
fn a_mounted_namespace_without_a_process_is_listed() {
    let Some(host) = Host::start() else {
        return;
    };
    let mounted = Mounted::new(&host, "listed");
    let namespace = mounted.inode();
    let _sockets = mounted.open(|| {
        let udp = UdpSocket::bind("0.0.0.0:53").unwrap();
        (tcp_listener("0.0.0.0:80"), udp)
    });
    for source in ["auto", "netlink", "proc"] {
        let listed = host.list(&["--source", source]);
        let lines = about(namespace, &listed);
        let last_field = format!("netns:{namespace},mount={}", mounted.path());
        let names_mount = |line: &String| line.split_whitespace().last() == Some(&*last_field);
        assert!(lines.iter().all(names_mount), "{listed}");
        assert_eq!(lines.len(), 2, "{source}: {listed}");
    }
    let json = host.list(&["--json", "80"]);
    let objects = objects_about(namespace, &json);
    assert_eq!(objects[0]["mount"], mounted.path());
    assert!(objects[0].get("pid").is_none(), "{json}");
}

#[test]
fn a_namespace_label_prefers_process_over_mount() {
    let Some(host) = Host::start() else {
        return;
    };
    let mounted = Mounted::new(&host, "entered");
    let namespace = mounted.inode();
    let _socket = mounted.open(|| tcp_listener("0.0.0.0:80"));
    let process = mounted.open(|| host.process());
    assert_eq!(process.namespace(), namespace);
    let label = format!("netns:{namespace},pid={},", process.inner_pid());
    let listed = host.list(&["80/tcp"]);
    assert!(listed.contains(&label), "{listed}");
}

/// Only process 1 sees the mount of the first namespace. Only lntu sees the mount of the second.
#[test]
fn namespaces_mounted_for_process_1_or_lntu_are_found() {
    let Some(host) = Host::start() else {
        return;
    };
    let both = ["first", "second"].map(|name| Mounted::new(&host, name));
    let sockets = both.each_ref().map(|mounted| {
        let namespace = mounted.inode();
        (namespace, mounted.open(|| tcp_listener("0.0.0.0:80")))
    });
    let script =
        "umount \"$0\" && nsenter --target 1 --mount umount \"$1\" && shift && exec \"$@\"";
    let [first, second] = both.each_ref().map(Mounted::path);
    let unshare = ["--mount", "sh", "-c", script, &first, &second];
    let lntu = [env!("CARGO_BIN_EXE_lntu"), "list", "-AHq", "80/tcp"];
    let listed = run(&mut host.command("unshare", &[&unshare[..], &lntu].concat()));
    for ((namespace, _socket), path) in sockets.iter().zip([first, second]) {
        let label = format!("netns:{namespace},mount={path}\n");
        assert!(listed.stdout.contains(&label), "{label}: {listed:?}");
    }
}

/// No other process is in the namespace of lntu, so `/proc` shows its listeners only in the
/// directory of lntu itself.
#[test]
fn lntu_lists_its_own_namespace_through_proc() {
    let Some(host) = Host::start() else {
        return;
    };
    let _before = ["first", "second"].map(|name| Mounted::new(&host, name));
    in_private_network(|| {
        let socket = tcp_listener("0.0.0.0:80");
        let listed = host.list(&["--source", "proc", "80/tcp"]);
        assert_eq!(listed.lines().count(), 1, "{listed}");
        drop(socket);
    });
}

#[test]
fn a_watcher_does_not_keep_a_mounted_namespace_alive() {
    let Some(host) = Host::start() else {
        return;
    };
    let mounted = Mounted::new(&host, "watched");
    let namespace = mounted.inode();
    // The kernel removes this device when it removes the namespace.
    let device = format!("lntu{}", host.0.pid);
    let add = ["link", "add", &device, "type", "veth", "peer", "name"];
    let add = [&add[..], &["inside", "netns", &mounted.name]].concat();
    assert!(run(&mut host.command("ip", &add)).status.success());
    let watcher = host.watch(&[]);
    let socket = mounted.open(|| tcp_listener("0.0.0.0:80"));
    assert_eq!(next_event(&watcher, namespace), "tcp LISTEN *:80");
    drop(socket);
    assert_eq!(next_event(&watcher, namespace), "tcp CLOSED *:80");
    let socket = mounted.open(|| tcp_listener("0.0.0.0:80"));
    assert_eq!(next_event(&watcher, namespace), "tcp LISTEN *:80");
    assert!(mounted.ip("del").status.success());
    assert_eq!(next_event(&watcher, namespace), "tcp CLOSED *:80");
    drop(socket);
    let device = format!("/sys/class/net/{device}");
    wait_for("the end of the namespace", || {
        (!fs::exists(&device).unwrap()).then_some(())
    });
    assert_silent_about(&watcher, namespace);
}

/// After a namespace is gone, the kernel may give its inode number to a new namespace.
#[test]
fn a_reused_inode_is_a_new_namespace() {
    let Some(host) = Host::start() else {
        return;
    };
    let watcher = host.watch(&[]);
    let lntu = Pid::from_raw(child_of(watcher.child.id()) as i32).unwrap();
    let open = || tcp_listener("0.0.0.0:80");
    // Namespaces of other tests may get the inode number first, so this may need several tries.
    let (namespace, another) = wait_for("the same inode", || {
        let (first, socket) = host.container(open);
        let namespace = first.namespace();
        assert_eq!(next_event(&watcher, namespace), "tcp LISTEN *:80");
        stop_at_rest(lntu);
        drop((first, socket));
        let mut others = Vec::new();
        for _ in 0..20 {
            let another = host.container(open);
            if another.0.namespace() == namespace {
                return Some((namespace, another));
            }
            others.push(another);
        }
        kill_process(lntu, Signal::CONT).unwrap();
        assert_eq!(next_event(&watcher, namespace), "tcp CLOSED *:80");
        None
    });
    kill_process(lntu, Signal::CONT).unwrap();
    assert_eq!(next_event(&watcher, namespace), "tcp CLOSED *:80");
    assert_eq!(next_event(&watcher, namespace), "tcp LISTEN *:80");
    drop(another);
    assert_eq!(next_event(&watcher, namespace), "tcp CLOSED *:80");
}

#[test]
fn ports_of_an_unreadable_namespace_stay_open() {
    let (Some(host), true) = (Host::start(), have_program("strace", "strace")) else {
        return;
    };
    let (process, socket) = host.container(|| tcp_listener("0.0.0.0:80"));
    let namespace = process.namespace();
    let path = format!("/proc/{}/ns/net", process.inner_pid());
    let inject = "inject=open,openat:error=EMFILE:when=3..9";
    let lntu = [env!("CARGO_BIN_EXE_lntu"), "-A", "--json", "-i", FAST];
    let strace = ["-qq", "-o", "/dev/null", "-P", &path, "-e", inject];
    let strace = [&strace[..], &lntu].concat();
    let watcher = Running::start(&mut host.command("strace", &strace));
    let mut types = Vec::new();
    let next = || {
        loop {
            let object: Value = serde_json::from_str(&watcher.next_line()).unwrap();
            if object["namespace"] == namespace {
                return object;
            }
        }
    };
    while types.last().is_none_or(|kind| *kind != "back") {
        let object = next();
        if object["type"] == "lost" {
            let error = object["error"].as_str().unwrap();
            assert!(error.contains("Too many open files"), "{error}");
        }
        types.push(object["type"].clone());
    }
    assert_eq!(types, ["listening", "lost", "back"]);
    let lntu = traced(&watcher).as_raw_nonzero();
    let home = fs::read_link("/proc/self/ns/net").unwrap();
    wait_for("the watcher at home after the errors", || {
        let link = fs::read_link(format!("/proc/{lntu}/ns/net"));
        link.is_ok_and(|link| link == home).then_some(())
    });
    drop(socket);
    assert_eq!(next()["type"], "closed");

    let mut errors = Vec::new();
    let prefix = format!("network namespace {namespace}: ");
    while errors.len() < 2 {
        errors.extend(
            watcher
                .next_error()
                .strip_prefix("lntu: ")
                .map(str::to_string),
        );
        errors.retain(|error| error.starts_with(&prefix));
    }
    assert!(
        errors[0].ends_with("(os error 24); trying again"),
        "{errors:?}"
    );
    assert_eq!(errors[1], format!("{prefix}reading its listeners again"));
}

#[test]
fn without_setns_a_namespace_is_read_through_proc() {
    let (Some(host), true) = (Host::start(), have_program("strace", "strace")) else {
        return;
    };
    let (process, _socket) = host.container(|| tcp_listener("0.0.0.0:80"));
    let namespace = process.namespace();
    // The first call of setns enters lntu's own namespace. If that call fails, lntu does not try to
    // enter any other.
    for (calls, enters_none) in [("1+", true), ("2+", false)] {
        let inject = format!("inject=setns:error=EPERM:when={calls}");
        let lntu = [env!("CARGO_BIN_EXE_lntu"), "list", "-AHv"];
        let strace = ["-qq", "-o", "/dev/null", "-e", &inject];
        let strace = [&strace[..], &lntu].concat();
        let listed = run(&mut host.command("strace", &strace));
        assert_eq!(about(namespace, &listed.stdout).len(), 1, "{listed:?}");
        let warning = "setns: Operation not permitted (os error 1) (needs root with CAP_SYS_ADMIN)";
        let stderr = &listed.stderr;
        assert_eq!(stderr.contains(warning), enters_none, "{stderr}");
        let detail = format!("; reading /proc/{}/net instead", process.inner_pid());
        assert_eq!(stderr.contains(&detail), !enters_none, "{stderr}");
    }
}

/// After each poll, the watcher is back in its own namespace and has no descriptor of
/// another namespace open. Such a descriptor would keep that namespace and its devices alive.
#[test]
fn a_watcher_at_rest_has_no_other_namespace_open() {
    let Some(host) = Host::start() else {
        return;
    };
    let (process, ()) = host.container(|| ());
    let pid = process.pid.to_string();
    let device = format!("lntu{pid}");
    let mut add = Command::new("ip");
    add.args([
        "link", "add", &device, "type", "veth", "peer", "name", "inside", "netns", &pid,
    ]);
    assert!(run(&mut add).status.success());
    let watcher = host.watch(&[]);
    let lntu = child_of(watcher.child.id());
    let home = fs::read_link("/proc/self/ns/net").unwrap();
    let link = format!("/proc/{lntu}/ns/net");
    let held = || {
        let descriptors = fs::read_dir(format!("/proc/{lntu}/fd")).unwrap();
        let links = descriptors.flat_map(|entry| fs::read_link(entry.unwrap().path()));
        let links = links.filter_map(|link| link.to_str().map(str::to_string));
        links
            .filter(|link| link.starts_with("net:") || link.starts_with("socket:"))
            .collect::<Vec<String>>()
    };
    let pid = Pid::from_raw(lntu as i32).unwrap();
    let assert_at_home = || {
        stop_at_rest(pid);
        assert_eq!(fs::read_link(&link).unwrap(), home);
        assert_eq!(held(), [home.to_str().unwrap()]);
        kill_process(pid, Signal::CONT).unwrap();
    };
    (0..20).for_each(|_| assert_at_home());
    drop(process);
    let device_path = format!("/sys/class/net/{device}");
    wait_for("the end of the namespace", || {
        (!fs::exists(&device_path).unwrap()).then_some(())
    });
    assert_at_home();
}

/// A process may fork and exit before lntu reads its namespace. The first search of a poll then
/// misses the namespace, but a second search in the same poll finds the child there.
#[test]
fn a_namespace_that_one_search_misses_stays_open() {
    let (Some(host), true) = (Host::start(), have_program("strace", "strace")) else {
        return;
    };
    let (process, _sockets) = host.container(|| {
        let udp = UdpSocket::bind("0.0.0.0:53").unwrap();
        (tcp_listener("0.0.0.0:80"), udp)
    });
    let path = format!("/proc/{}/ns/net", process.inner_pid());
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("strace");
    let inject = "inject=open,openat:error=ENOENT:when=20+7";
    let strace = [
        "-qq",
        "-o",
        output.to_str().unwrap(),
        "-P",
        &path,
        "-e",
        inject,
    ];
    let lntu = [env!("CARGO_BIN_EXE_lntu"), "watch", "-AHq", "-i", FAST];
    let watcher = Running::start(&mut host.command("strace", &[&strace[..], &lntu].concat()));
    let mut events = [(); 2].map(|()| next_event(&watcher, process.namespace()));
    events.sort();
    assert_eq!(events, ["tcp LISTEN *:80", "udp UNCONN *:53"]);
    wait_for("missed namespaces", || {
        let calls = fs::read_to_string(&output).unwrap();
        (calls.matches("(INJECTED)").count() > 5).then_some(())
    });
    let _socket = in_namespace(&process.namespace_file(), || tcp_listener("0.0.0.0:81"));
    assert_eq!(next_event(&watcher, process.namespace()), "tcp LISTEN *:81");
}

/// On a host with many containers, `mountinfo` has thousands of lines, so reading it is expensive.
#[test]
fn a_second_search_does_not_read_the_mounts_again() {
    let (Some(host), true) = (Host::start(), have_program("strace", "strace")) else {
        return;
    };
    let (process, sockets) =
        host.container(|| [80, 81, 82].map(|port| tcp_listener(&format!("[::]:{port}"))));
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let strace = ["-qq", "-e", "trace=open,openat", "-o"];
    let lntu = [env!("CARGO_BIN_EXE_lntu"), "watch", "-AHq", "-i", FAST];
    let strace = [&strace[..], &[trace.to_str().unwrap()], &lntu].concat();
    let watcher = Running::start(&mut host.command("strace", &strace));
    let next = || next_event(&watcher, process.namespace());
    for port in [80, 81, 82] {
        assert_eq!(next(), format!("tcp LISTEN *:{port}"));
    }
    for (socket, port) in sockets.into_iter().zip(80..) {
        drop(socket);
        assert_eq!(next(), format!("tcp CLOSED *:{port}"));
    }
    // lntu reads the mounts once more to find the names of containers.
    let trace = fs::read_to_string(&trace).unwrap();
    let looks = trace.matches("\"/proc\", ").count();
    let mounts = trace.matches("\"/proc/1/mountinfo\", ").count();
    assert!(mounts > 0 && looks > mounts + 2, "{looks} looks, {mounts}");
}

/// The process becomes a zombie while lntu lists, so its directory in `/proc` still exists.
#[test]
fn a_process_that_exits_does_not_hide_its_namespace() {
    let (Some(host), true) = (Host::start(), have_program("strace", "strace")) else {
        return;
    };
    let (first, (_socket, second)) =
        host.container(|| (tcp_listener("0.0.0.0:80"), host.process()));
    let path = format!("/proc/{}/ns/net", first.inner_pid());
    // strace stops lntu after lntu has read in which namespace the process is.
    let stop = "inject=readlink,readlinkat:signal=STOP:when=1";
    let strace = ["-qq", "-o", "/dev/null", "-P", &path, "-e", stop];
    let lntu = [env!("CARGO_BIN_EXE_lntu"), "list", "-AH", "-q"];
    let mut list = Running::start(&mut host.command("strace", &[&strace[..], &lntu].concat()));
    let lntu = traced(&list);
    // strace also stops lntu briefly at each system call.
    let mut looks = 0;
    wait_for("the stop", || {
        looks = if state_of(lntu) == 't' { looks + 1 } else { 0 };
        (looks == 50).then_some(())
    });
    let starter = Pid::from_child(&first.starter);
    kill_process(starter, Signal::STOP).unwrap();
    wait_for("the stop", || (state_of(starter) == 'T').then_some(()));
    let ended = Pid::from_raw(first.pid as i32).unwrap();
    kill_process(ended, Signal::KILL).unwrap();
    wait_for("the zombie", || (state_of(ended) == 'Z').then_some(()));
    wait_for("the list", || {
        let _ = kill_process(lntu, Signal::CONT);
        list.child.try_wait().unwrap()
    });
    let listed = list.finish();
    kill_process(starter, Signal::CONT).unwrap();
    assert_eq!((listed.code(), &*listed.stderr), (2, PARTIAL));
    let [line] = &about(second.namespace(), &listed.stdout)[..] else {
        panic!("{listed:?}");
    };
    assert!(
        line.contains(&format!(",pid={},", second.inner_pid())),
        "{line}"
    );
}

/// If only the main thread has exited, the process runs on in its other threads, although
/// `/proc/PID/ns/net` cannot be read.
#[test]
fn a_process_without_its_main_thread_is_listed() {
    let (Some(host), true) = (Host::start(), have_program("services", "python3")) else {
        return;
    };
    let script = "
import ctypes, platform, socket, threading, time
listener = socket.create_server(('', 80))
threading.Thread(target=lambda: (print('here', flush=True), time.sleep(1000))).start()
ctypes.CDLL(None).syscall(60 if platform.machine() == 'x86_64' else 93, 0)
";
    in_private_network(|| {
        let server = Running::start(&mut host.command("python3", &["-c", script]));
        assert_eq!(server.next_line(), "here");
        let pid = Pid::from_raw(child_of(server.child.id()) as i32).unwrap();
        wait_for("the end of the main thread", || {
            (state_of(pid) == 'Z').then_some(())
        });
        for source in ["auto", "proc"] {
            let listed = host.list(&["--source", source]);
            assert_eq!(listed.matches("*:80 ").count(), 1, "{source}: {listed}");
        }
    });
}

#[test]
fn list_exits_with_2_if_a_namespace_is_missing() {
    let (Some(host), true) = (Host::start(), have_program("strace", "strace")) else {
        return;
    };
    let ((one, _one), (other, _other)) = (
        host.container(|| tcp_listener("0.0.0.0:80")),
        host.container(|| tcp_listener("0.0.0.0:80")),
    );
    let list = |strace: &[&str]| {
        let lntu = [env!("CARGO_BIN_EXE_lntu"), "list", "-AH"];
        let options = ["-qq", "-o", "/dev/null"];
        let arguments = [&options, strace, &lntu].concat();
        run(&mut host.command("strace", &arguments))
    };
    let path = format!("/proc/{}/ns/net", one.inner_pid());
    let listed = list(&["-P", &path, "-e", "inject=open,openat:error=ENOMEM"]);
    assert_eq!(listed.code(), 2, "{listed:?}");
    assert_eq!(about(one.namespace(), &listed.stdout), [""; 0]);
    assert_eq!(about(other.namespace(), &listed.stdout).len(), 1);
    let [_pid_namespace, why, last] = listed.stderr.lines().collect::<Vec<_>>()[..] else {
        panic!("{listed:?}");
    };
    let namespace = format!("lntu: network namespace {}: ", one.namespace());
    assert!(why.starts_with(&namespace) && why.contains(&path), "{why}");
    assert_eq!(last, "lntu: network namespaces may be missing");

    // After ENOMEM, lntu knows neither in which namespace the process is nor whether it has exited.
    let listed = list(&["-P", &path, "-e", "inject=readlink,readlinkat:error=ENOMEM"]);
    let last = listed.stderr.lines().last();
    let why = "lntu: /proc: Cannot allocate memory (os error 12)";
    assert_eq!((listed.code(), last), (2, Some(why)), "{listed:?}");

    // lntu calls setns to enter its own namespace, then each of the other two, then its own again.
    // The last call fails.
    let listed = list(&["-e", "inject=setns:error=ENOMEM:when=4+"]);
    let last = listed.stderr.lines().last();
    let why =
        "lntu: setns back to lntu's own network namespace: Cannot allocate memory (os error 12)";
    assert_eq!((listed.code(), last), (2, Some(why)), "{listed:?}");
}

#[test]
fn unprivileged_list_of_all_namespaces_is_partial() {
    let Some(host) = Host::start() else {
        return;
    };
    let (process, _socket) = host.container(|| tcp_listener("0.0.0.0:80"));
    let proc = forbidding_proc(&[], &[]);
    let listed = run_copy(&proc, &["list", "-A"]);
    assert_eq!(listed.code(), 2, "{listed:?}");
    assert_eq!(about(process.namespace(), &listed.stdout), [""; 0]);
    let lines: Vec<&str> = listed.stderr.lines().collect();
    let [setns, processes, last] = lines[..] else {
        panic!("{listed:?}");
    };
    assert!(
        setns.ends_with("(needs root with CAP_SYS_ADMIN)"),
        "{setns}"
    );
    let needs = "(that takes root with CAP_SYS_PTRACE, and no profile that forbids it)";
    assert!(processes.ends_with(needs), "{processes}");
    assert_eq!(last, "lntu: network namespaces may be missing");
}

/// A script that mounts a directory whose name is not UTF-8. It must run in a mount namespace of
/// its own.
const STRANGE_MOUNT: &str = "name=/mnt/$(printf 'a\\377') && mount -t tmpfs none /mnt && \
                             mkdir \"$name\" && mount -t tmpfs none \"$name\"";

/// lntu may be unable to see processes for two reasons: it runs in a PID namespace without the
/// processes of the host, or the mount option `hidepid` hides processes of other users.
#[test]
fn list_warns_that_proc_hides_processes() {
    let (Some(host), true) = (Host::start(), have_mounts()) else {
        return;
    };
    let (process, _socket) = host.container(|| tcp_listener("0.0.0.0:80"));
    let script = format!(
        "{STRANGE_MOUNT} && mount -t proc -o \"$1\" proc /proc && shift && exec setpriv \
         --bounding-set -sys_ptrace --inh-caps -sys_ptrace \"$@\""
    );
    for (options, warning) in [
        ("rw", "only processes of this PID namespace are visible"),
        ("hidepid=2", "/proc hides processes of other users"),
    ] {
        let mut command = Command::new("unshare");
        command.args([
            "--mount", "--pid", "--fork", "sh", "-c", &script, "sh", options,
        ]);
        let listed = run(command.args([env!("CARGO_BIN_EXE_lntu"), "list", "-A"]));
        assert!(listed.stderr.contains(warning), "{listed:?}");
        assert_eq!(about(process.namespace(), &listed.stdout), [""; 0]);
        assert!(
            listed.code() == 2 && listed.stderr.ends_with(PARTIAL),
            "{listed:?}"
        );
    }
}

#[test]
fn an_error_names_a_capability_only_if_lntu_lacks_it() {
    if !have_program("strace", "strace") {
        return;
    }
    for (error, hint) in [
        ("EPERM", " (needs root with CAP_SYS_ADMIN)"),
        ("EINVAL", ""),
        ("ENOSYS", ""),
    ] {
        let inject = format!("inject=setns:error={error}");
        let mut strace = Command::new("strace");
        strace.args(["-qq", "-o", "/dev/null", "-e", &inject]);
        let listed = run(strace.args([env!("CARGO_BIN_EXE_lntu"), "list", "-A"]));
        let first = listed.stderr.lines().next().unwrap_or_default();
        let start =
            "lntu: network namespaces are read through /proc, which costs far more: setns: ";
        let reason = first.strip_prefix(start).expect(first);
        let (_, after) = reason.split_once("(os error ").expect(first);
        let (_, after) = after.split_once(')').unwrap();
        assert_eq!(after, hint, "{error}");
    }
}

/// A control group (cgroup v2) that is removed when this value is dropped.
struct Group(std::path::PathBuf);

impl Group {
    /// Makes a cgroup with the name that CRI-O would give it for this container. Returns
    /// `None` if no cgroup v2 is mounted.
    fn of_container(id: &str) -> Option<Group> {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let mount = mounts.lines().find(|line| line.contains(" cgroup2 "));
        let root = mount.and_then(|line| line.split(' ').nth(1));
        let missing = root.is_none().then(|| "no cgroup2 is mounted".to_string());
        if !have("cgroup2", missing) {
            return None;
        }
        let group = Group(format!("{}/crio-{id}.scope", root.unwrap()).into());
        fs::create_dir(&group.0).unwrap();
        Some(group)
    }

    /// Moves the process with this id into the cgroup.
    fn add(&self, process: u32) {
        fs::write(self.0.join("cgroup.procs"), process.to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        wait_for("the end of a group", || fs::remove_dir(&self.0).ok());
    }
}

/// Returns a made-up container id that no other test uses.
fn container_id() -> String {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("{:0>32x}{count:0>32x}", std::process::id())
}

/// Starts a server that listens on `port`, in this cgroup and in the network namespace of the
/// calling thread.
fn server_in(host: &Host, group: &Group, port: u16) -> Running {
    let script = "
import socket, sys
print('here', flush=True)
sys.stdin.readline()
listener = socket.create_server(('', int(sys.argv[1])))
print('listening', flush=True)
sys.stdin.readline()
";
    let mut command = host.command("python3", &["-c", script, &port.to_string()]);
    let server = Running::start(command.stdin(Stdio::piped()));
    assert_eq!(server.next_line(), "here");
    group.add(child_of(server.child.id()));
    let mut stdin = server.child.stdin.as_ref().unwrap();
    std::io::Write::write_all(&mut stdin, b"\n").unwrap();
    assert_eq!(server.next_line(), "listening");
    server
}

/// Runs the command, which must be a `lntu list -A --json`. Returns the values of `cgroup_of`,
/// `container` and `runtime` for each of `ports`.
fn containers_of(list: &mut Command, ports: &[u64]) -> Vec<[String; 3]> {
    let listed = run(list).stdout;
    let objects = listed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .collect::<Vec<_>>();
    let of_port = |port: &u64| {
        let mut objects = objects.iter();
        let object = objects.find(|object| object["number"] == *port).unwrap();
        ["cgroup_of", "container", "runtime"]
            .map(|member| object[member].as_str().unwrap_or("").to_string())
    };
    ports.iter().map(of_port).collect()
}

/// Whether this version of the kernel reports the cgroup of a socket (`INET_DIAG_CGROUP_ID`).
fn kernel_reports_cgroups_of_sockets() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(5), Some(8))
}

#[test]
fn each_container_in_a_shared_namespace_is_named() {
    let (Some(host), true) = (Host::start(), have_program("services", "python3")) else {
        return;
    };
    let ids = [(); 3].map(|()| container_id());
    let groups = ids.each_ref().map(|id| Group::of_container(id));
    let [Some(one), Some(other), Some(later)] = &groups else {
        return;
    };
    in_private_network(|| {
        let first = server_in(&host, one, 80);
        let second = server_in(&host, other, 81);
        // A socket stays in the cgroup in which it was made, even if the process moves to another.
        later.add(child_of(second.child.id()));
        let expected = |kind: &str, id: &str| [kind, id, "cri-o"].map(str::to_string);
        let by_holder = [expected("holder", &ids[0]), expected("holder", &ids[2])];
        let by_socket = match kernel_reports_cgroups_of_sockets() {
            true => [expected("socket", &ids[0]), expected("socket", &ids[1])],
            false => by_holder.clone(),
        };
        let lntu = env!("CARGO_BIN_EXE_lntu");
        let list = ["list", "-A", "-q", "-p", "--json"];
        let from_proc = [&list[..], &["--source", "proc"]].concat();
        let ports = [80, 81];
        assert_eq!(
            containers_of(&mut host.command(lntu, &list), &ports),
            by_socket
        );
        assert_eq!(
            containers_of(&mut host.command(lntu, &from_proc), &ports),
            by_holder
        );
        // If lntu cannot see the cgroups in its own mounts, it finds them through /proc/1/root.
        let script = "mount -t tmpfs none /sys/fs/cgroup && exec \"$@\"";
        let hiding = ["--mount", "sh", "-c", script, "sh", lntu];
        let hidden = [&hiding[..], &list].concat();
        assert_eq!(
            containers_of(&mut host.command("unshare", &hidden), &ports),
            by_socket
        );
        drop((first, second));
    });
}

#[test]
fn cgroups_are_found_if_a_mount_path_is_not_utf8() {
    let (Some(host), true) = (Host::start(), have_program("services", "python3")) else {
        return;
    };
    let id = container_id();
    let Some(group) = Group::of_container(&id) else {
        return;
    };
    if !have(
        "sockets' groups",
        (!kernel_reports_cgroups_of_sockets()).then(|| "old kernel".into()),
    ) {
        return;
    }
    let mounted = host.command("sh", &["-c", STRANGE_MOUNT]).status().unwrap();
    assert!(mounted.success());
    in_private_network(|| {
        let server = server_in(&host, &group, 80);
        let list = ["list", "-A", "-q", "--json"];
        let mut list = host.command(env!("CARGO_BIN_EXE_lntu"), &list);
        let expected = ["socket", &id, "cri-o"].map(str::to_string);
        assert_eq!(containers_of(&mut list, &[80]), [expected]);
        drop(server);
    });
}

/// How often the watcher has entered a namespace since it last opened a directory of cgroups.
fn entries_since_groups(trace: &str) -> usize {
    let calls = trace.lines().rev();
    let since = calls.take_while(|call| !call.contains("/cgroup"));
    since.filter(|call| call.contains("/ns/net")).count()
}

#[test]
fn polls_search_cgroups_only_for_new_sockets() {
    let have_programs = have_program("services", "python3") && have_program("strace", "strace");
    let (Some(host), true) = (Host::start(), have_programs) else {
        return;
    };
    let Some(group) = Group::of_container(&container_id()) else {
        return;
    };
    let directory = tempfile::TempDir::new().unwrap();
    let trace = directory.path().join("trace");
    let output = trace.to_str().unwrap();
    let strace = ["-qq", "-e", "trace=open,openat", "-o", output];
    let lntu = [env!("CARGO_BIN_EXE_lntu"), "-A", "-p", "-q", "-i", FAST];
    let strace = [&strace[..], &lntu].concat();
    let _watcher = Running::start(&mut host.command("strace", &strace));
    let opened = |path: &str| {
        let trace = fs::read_to_string(&trace).unwrap_or_default();
        trace.matches(path).count()
    };
    in_private_network(|| {
        let before = opened("/cgroup");
        let server = server_in(&host, &group, 80);
        wait_for("a look at the groups", || {
            (opened("/cgroup") > before).then_some(())
        });
        wait_for("polls that do not look", || {
            let trace = fs::read_to_string(&trace).unwrap();
            (entries_since_groups(&trace) >= 20).then_some(())
        });
        drop(server);
    });
}
