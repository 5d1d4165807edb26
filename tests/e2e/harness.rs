//! Helpers that the end-to-end tests share.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tempfile::TempDir;

/// How long a test waits for something that must happen.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// The program under test. It looks for ss in the PATH of this process.
pub fn lntu(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lntu"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Makes a `/proc` whose `forbidden` tables cannot be read, and a copy of lntu
/// to read it with. Root can read every file, so as root the copy runs as the
/// user nobody. That user may be unable to reach the original.
pub fn forbidding_proc(tables: &[(&str, &str)], forbidden: &[&str]) -> TempDir {
    let proc = TempDir::new().unwrap();
    let allow = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(proc.path(), 0o755);
    let net = proc.path().join("net");
    fs::create_dir(&net).unwrap();
    for (name, contents) in tables {
        fs::write(net.join(name), contents).unwrap();
    }
    for name in forbidden {
        fs::write(net.join(name), "").unwrap();
        allow(&net.join(name), 0o000);
    }
    fs::copy(env!("CARGO_BIN_EXE_lntu"), proc.path().join("lntu")).unwrap();
    proc
}

/// Runs the program of [`forbidding_proc`] with these arguments and `--proc DIR`.
pub fn run_forbidden(proc: &TempDir, arguments: &[&str]) -> Finished {
    let root = proc.path().to_str().unwrap();
    run_copy(proc, &[arguments, &["--proc", root]].concat())
}

/// Runs the program of [`forbidding_proc`] with these arguments. A shell starts it, and
/// tries until it can: another test may fork while the copy is open for writing, and its
/// child then holds the file open.
pub fn run_copy(proc: &TempDir, arguments: &[&str]) -> Finished {
    let script = "while ! \"$0\" -V >/dev/null; do :; done; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(proc.path().join("lntu"));
    run(without_root(command.args(arguments)))
}

/// Makes `command` run as the user nobody if this is root. Root may read
/// everything.
pub fn without_root(command: &mut Command) -> &mut Command {
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    command
}

/// What a program left when it finished.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("{self:?}"))
    }

    /// The lines of stdout, if the run succeeded and wrote nothing to stderr.
    pub fn lines(&self) -> Vec<&str> {
        assert!(self.status.success() && self.stderr.is_empty(), "{self:?}");
        self.stdout.lines().collect()
    }

    /// The one line on stderr of a run that ended with "could not tell".
    pub fn error(&self) -> &str {
        assert_eq!((self.code(), self.stdout.as_str()), (2, ""), "{self:?}");
        let line = self.stderr.strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "{line:?}");
        line.strip_prefix("lntu: ").unwrap()
    }
}

pub fn run(command: &mut Command) -> Finished {
    let output = command.output().unwrap();
    Finished {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A message without the processes that it names, as in ` (nginx, pid 12)`. They are those
/// of the tests themselves.
pub fn without_holders(message: &str) -> String {
    let mut rest = message;
    let mut text = String::new();
    while let Some((before, after)) = rest.split_once(", pid ") {
        let (start, name) = before.rsplit_once([';', '(']).expect(message);
        text += start;
        assert!(!name.is_empty(), "{message}");
        let end = after.find(')').expect(message);
        let is_alone = before[start.len()..].starts_with('(');
        assert!(after[..end].parse::<u32>().is_ok(), "{message}");
        rest = &after[end + usize::from(is_alone)..];
        if is_alone {
            text.truncate(text.trim_end().len());
        }
    }
    text + rest
}

/// A message with the time that it names, as in `after 0.3 s`, as `after N s`.
pub fn without_time(message: &str) -> String {
    let message = &*without_holders(message);
    let (before, rest) = message.split_once(" after ").expect(message);
    let (time, rest) = rest.split_once(" s").expect(message);
    assert!(time.parse::<f32>().is_ok(), "{message}");
    format!("{before} after N s{rest}")
}

/// A running program. Its lines are read as they come. It is killed when
/// dropped.
pub struct Running {
    pub child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Running {
    pub fn start(command: &mut Command) -> Running {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = lines_of(child.stdout.take().unwrap());
        let stderr = lines_of(child.stderr.take().unwrap());
        Running {
            child,
            stdout,
            stderr,
        }
    }

    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    pub fn next_line(&self) -> String {
        self.stdout
            .recv_timeout(DEADLINE)
            .expect("a line on stdout")
    }

    /// The next line of stdout, if it comes in time.
    pub fn line_within(&self, time: Duration) -> Option<String> {
        self.stdout.recv_timeout(time).ok()
    }

    pub fn next_error(&self) -> String {
        self.stderr
            .recv_timeout(DEADLINE)
            .expect("a line on stderr")
    }

    /// The unread lines of stderr, once nothing holds it open any more.
    pub fn rest_of_errors(&self) -> Vec<String> {
        self.stderr.iter().collect()
    }

    /// Checks that stdout has no unread line, and that none comes within
    /// `time`.
    pub fn assert_silent_for(&self, time: Duration) {
        match self.stdout.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => {}
            other => panic!("expected silence, got {other:?}"),
        }
    }

    pub fn assert_no_more_errors(&self) {
        self.assert_no_more_errors_for(Duration::ZERO);
    }

    /// Checks that the program runs, that stderr has no unread line, and that
    /// none comes within `time`.
    pub fn assert_no_more_errors_for(&self, time: Duration) {
        match self.stderr.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => {}
            other => panic!("expected no more, got {other:?}"),
        }
    }

    /// Waits for the end. Returns the unread lines.
    pub fn finish(mut self) -> Finished {
        let status = wait_for("the program's end", || self.child.try_wait().unwrap());
        let rest = |lines: &Receiver<String>| lines.iter().map(|line| line + "\n").collect();
        Finished {
            status,
            stdout: rest(&self.stdout),
            stderr: rest(&self.stderr),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What strace traces would go on without it.
        for child in children_of(self.child.id()) {
            let child = rustix::process::Pid::from_raw(child as i32);
            let kill = |pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            let _ = child.map(kill);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The most memory that a process ever used (VmHWM), in KiB.
pub fn peak_memory(pid: u32) -> u64 {
    memory(pid, "VmHWM:")
}

/// A figure of `/proc/PID/status`, in KiB.
pub fn memory(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let figure = status.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = figure.unwrap().trim().strip_suffix(" kB").unwrap();
    kibibytes.parse().unwrap()
}

/// The children of this process, by its first thread.
pub fn children_of(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let pids = children.split_whitespace().map(|pid| pid.parse().unwrap());
    pids.collect()
}

fn lines_of(stream: impl io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            if sender.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Asks again and again until there is an answer, for at most [`DEADLINE`].
pub fn wait_for<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    wait_within(DEADLINE, what, ask)
}

/// The same for at most `time`, where what must happen takes long by itself.
pub fn wait_within<T>(time: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + time;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether the test has what it needs. If not, the test is skipped and says why
/// on stderr, even where its output is captured. If `LNTU_TEST_REQUIRE` names
/// what is missing, the test fails instead.
pub fn have(name: &str, missing: Option<String>) -> bool {
    let Some(why) = missing else {
        return true;
    };
    let required = std::env::var("LNTU_TEST_REQUIRE").unwrap_or_default();
    let test = thread::current().name().unwrap_or("a test").to_string();
    assert!(
        !required.split(',').any(|required| required == name),
        "{test} needs {name}: {why}"
    );
    let _ = writeln!(io::stderr(), "skipped {test}: needs {name}: {why}");
    false
}

/// Whether a program is installed. `LNTU_TEST_REQUIRE` knows it as `name`.
pub fn have_program(name: &str, program: impl AsRef<OsStr>) -> bool {
    let program = program.as_ref();
    let started = Command::new(program).arg("--version").output();
    let why = |error| format!("running {}: {error}", program.display());
    have(name, started.err().map(why))
}

/// Whether the real ss is installed.
pub fn have_ss() -> bool {
    have_program("ss", "ss")
}

/// Runs `test` on a thread in its own network namespace, with `lo` up, where
/// that is allowed. Programs that the thread starts share the namespace.
pub fn in_private_network(test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let name = thread::current().name().unwrap_or("a test").to_string();
        let run = move || {
            #[allow(deprecated)] // It affects only later sockets and children.
            let unshared = rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET);
            let missing = unshared.err().map(|error| format!("unshare: {error}"));
            if have("netns", missing) {
                let lo_up = Command::new("ip")
                    .args(["link", "set", "lo", "up"])
                    .status();
                assert!(lo_up.unwrap().success(), "ip link set lo up");
                test();
            }
        };
        let thread = thread::Builder::new().name(name).spawn_scoped(scope, run);
        if let Err(panic) = thread.unwrap().join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs `open` on a thread in the network namespace that `file` is.
pub fn in_namespace<T: Send>(file: &fs::File, open: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let enter = move || {
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(file.as_fd(), kind).unwrap();
            open()
        };
        scope.spawn(enter).join().unwrap()
    })
}

/// A directory for PATH. Its `ss` runs this shell script.
pub fn fake_ss(script: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    write_program(&directory.path().join("ss"), script);
    directory
}

/// An ss that always prints a listener on 127.0.0.1:1. It prints one on `port`
/// too in its second run, its fourth, and so on.
pub fn fake_ss_that_misses_every_other_time(port: u16) -> TempDir {
    let directory = TempDir::new().unwrap();
    let flag = directory.path().join("flag");
    let flag = flag.display();
    let script = format!(
        "echo 'Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port'\n\
         echo 'tcp LISTEN 0 0 127.0.0.1:1 0.0.0.0:*'\n\
         if [ -e {flag} ]; then rm {flag}; echo 'tcp LISTEN 0 0 127.0.0.1:{port} 0.0.0.0:*'\n\
         else : >{flag}; fi"
    );
    write_program(&directory.path().join("ss"), &script);
    directory
}

/// Writes a shell script that can run at once. The kernel refuses to run a file
/// that is open for writing (`ETXTBSY`). If this process wrote the file, a
/// child that another test forks could hold it open. So another process writes
/// it.
pub fn write_program(path: &Path, script: &str) {
    let write =
        "printf '%s' \"$1\" >\"$0.draft\" && chmod 755 \"$0.draft\" && mv \"$0.draft\" \"$0\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", write]).arg(path);
    let written = shell.arg(format!("#!/bin/sh\n{script}\n")).status();
    assert!(written.unwrap().success(), "{}", path.display());
}

/// Makes a FIFO in `directory`.
pub fn fifo_in(directory: &Path) -> PathBuf {
    let fifo = directory.join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    fifo
}

/// The PATH of this process with `first` in front. Scripts still find their
/// tools.
pub fn path_with(first: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let entries = std::iter::once(first.to_path_buf()).chain(std::env::split_paths(&path));
    std::env::join_paths(entries).unwrap()
}

/// A PATH without ss.
pub const NO_SS: &str = "/nonexistent";

/// Whether the process has ended. A zombie counts as ended: only its new parent
/// can remove it.
pub fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| stat.contains(") Z "))
}

/// A TCP listener that no longer listens when it is dropped. To close it would not
/// do: a process that another test starts holds it too, between fork and exec.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl std::ops::Deref for Listener {
    type Target = TcpListener;

    fn deref(&self) -> &TcpListener {
        &self.0
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both);
    }
}

/// A TCP listener on this port of `address`, or a free one for 0.
pub fn listen_on(address: &str, port: u16) -> Listener {
    Listener(TcpListener::bind((address, port)).unwrap())
}

/// A TCP listener on a free port of `address`.
pub fn listen(address: &str) -> Listener {
    listen_on(address, 0)
}

pub fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

/// A port of 127.0.0.1 that stays free for the test. A socket is bound to it
/// and does not listen. It has `SO_REUSEADDR`, so a listener can join it.
pub struct FreePort {
    pub number: u16,
    _keeps_it: Socket,
}

impl FreePort {
    pub fn new() -> FreePort {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        FreePort {
            number: address.port(),
            _keeps_it: socket,
        }
    }

    pub fn listen(&self) -> Listener {
        listen_on("127.0.0.1", self.number)
    }
}

impl fmt::Display for FreePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

/// A socket bound to `address`. `prepare` sees it before it is bound. A TCP
/// socket also listens.
pub fn bound(kind: Type, address: &str, prepare: impl FnOnce(&Socket)) -> Socket {
    let address: SocketAddr = address.parse().unwrap();
    let protocol = if kind == Type::STREAM {
        Protocol::TCP
    } else {
        Protocol::UDP
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol)).unwrap();
    prepare(&socket);
    socket.bind(&address.into()).unwrap();
    if kind == Type::STREAM {
        socket.listen(7).unwrap();
    }
    socket
}

/// (netid, state, address, port, family) of each line. Every wildcard becomes
/// `*`, and scopes are left out. This is what all sources and ss itself must
/// agree on.
pub fn sockets(table: &str) -> BTreeSet<[String; 5]> {
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [netid, state, _, _, local, peer, ..] = fields[..] else {
            panic!("not a row: {line:?}");
        };
        let (address, port) = local.rsplit_once(':').unwrap();
        // ss writes `*` for the IPv6 wildcard and for the peer of a dual-stack
        // socket.
        let is_v6 = address.starts_with('[') || peer.starts_with('[') || peer.starts_with('*');
        let address = match address.split('%').next().unwrap() {
            "0.0.0.0" | "[::]" => "*",
            address => address,
        };
        let family = if is_v6 { "6" } else { "4" };
        [netid, state, address, port, family].map(str::to_string)
    };
    table.lines().map(socket).collect()
}

/// What `ss -Hlntu` prints here and now.
pub fn ss_says(environment: &[(&str, &OsStr)]) -> BTreeSet<[String; 5]> {
    let ss = run(Command::new("ss")
        .arg("-Hlntu")
        .envs(environment.iter().copied()));
    assert!(ss.status.success(), "{ss:?}");
    sockets(&ss.stdout)
}
