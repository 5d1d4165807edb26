//! Helpers that the end-to-end tests share.

pub mod docker;
mod examples;
mod fake_ss;
mod host;
mod network;
pub mod podman;
mod privileges;
mod requirements;
mod sockets;
mod static_programs;

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use examples::*;
pub use fake_ss::*;
pub use host::*;
pub use network::*;
pub use privileges::*;
pub use requirements::*;
pub use sockets::*;
pub use static_programs::*;

/// How long a test waits for something that must happen.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// How long a test watches for something that must not happen: many polls at [`FAST`].
pub const A_WHILE: Duration = Duration::from_millis(500);

/// A short interval between polls, as `-i` wants it.
pub const FAST: &str = "20ms";

/// Returns lntu with these arguments, ready to start. It finds ss in the PATH of this process.
pub fn lntu(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lntu"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// A link to the program under test, named ss. A process that runs it is called ss in `/proc`,
/// too.
pub static SS_LINK: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("as_ss");
    fs::create_dir_all(&directory).unwrap();
    let link = directory.join("ss");
    let _ = fs::remove_file(&link);
    symlink(env!("CARGO_BIN_EXE_lntu"), &link).unwrap();
    link
});

/// Makes a directory that stands in for `/proc`: it has these tables, and the tables `forbidden`
/// without read permission. It also has a copy of lntu for [`run_copy`]. The tests run the copy as
/// the user nobody, because root could read every table. nobody may be unable to reach the
/// original.
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

/// Calls [`run_copy`] with these arguments, `--proc` and the directory `proc`.
pub fn run_forbidden(proc: &TempDir, arguments: &[&str]) -> Finished {
    let root = proc.path().to_str().unwrap();
    run_copy(proc, &[arguments, &["--proc", root]].concat())
}

/// Runs the copy of lntu in the directory of [`forbidding_proc`], as a user other than root.
///
/// A shell repeats the attempt until the program starts. If another test forked while this
/// process wrote the copy, its child holds the file open for writing until it executes a
/// program, and the kernel runs no such file (`ETXTBSY`).
pub fn run_copy(proc: &TempDir, arguments: &[&str]) -> Finished {
    let script = "while ! \"$0\" -V >/dev/null 2>&1; do :; done; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(proc.path().join("lntu"));
    run(without_root(command.args(arguments)))
}

/// Makes `command` run as the user nobody if the tests run as root, who may read everything.
pub fn without_root(command: &mut Command) -> &mut Command {
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    command
}

/// The exit status and output of a program that has ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// The exit status. Panics if a signal ended the program.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("{self:?}"))
    }

    /// The lines of stdout. Panics if the program failed or wrote to stderr.
    pub fn lines(&self) -> Vec<&str> {
        assert!(self.status.success() && self.stderr.is_empty(), "{self:?}");
        self.stdout.lines().collect()
    }

    /// The message on stderr, without `lntu: `. Panics unless the exit status is 2, stdout is
    /// empty and the message is one line.
    pub fn error(&self) -> &str {
        assert_eq!((self.code(), self.stdout.as_str()), (2, ""), "{self:?}");
        let line = self.stderr.strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "{line:?}");
        line.strip_prefix("lntu: ").unwrap()
    }
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Finished {
    let output = command.output().unwrap();
    Finished {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Removes the processes that a message names, such as ` (nginx, pid 12)`. They differ from run to
/// run if the tests themselves hold the port.
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

/// Replaces the number of seconds in a message, such as `after 0.3 s`, with `N`. Also removes the
/// processes that the message names.
pub fn without_time(message: &str) -> String {
    let message = &*without_holders(message);
    let (before, rest) = message.split_once(" after ").expect(message);
    let (time, rest) = rest.split_once(" s").expect(message);
    assert!(time.parse::<f32>().is_ok(), "{message}");
    format!("{before} after N s{rest}")
}

/// A running program, whose lines are read as they come. Dropping this kills it and its
/// children.
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

    /// The next line of stdout. Panics if none comes within [`DEADLINE`].
    pub fn next_line(&self) -> String {
        self.stdout
            .recv_timeout(DEADLINE)
            .expect("a line on stdout")
    }

    /// The next line of stdout, or `None` if none comes within `time`.
    pub fn line_within(&self, time: Duration) -> Option<String> {
        self.stdout.recv_timeout(time).ok()
    }

    /// The next line of stderr. Panics if none comes within [`DEADLINE`].
    pub fn next_error(&self) -> String {
        self.stderr
            .recv_timeout(DEADLINE)
            .expect("a line on stderr")
    }

    /// Waits until no process has stderr open, and returns its unread lines.
    pub fn rest_of_errors(&self) -> Vec<String> {
        self.stderr.iter().collect()
    }

    /// Panics if stdout has an unread line, if one comes within `time`, or if stdout is closed.
    pub fn assert_silent_for(&self, time: Duration) {
        match self.stdout.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => {}
            other => panic!("expected silence, got {other:?}"),
        }
    }

    /// Panics if stderr has an unread line or is closed.
    pub fn assert_no_more_errors(&self) {
        self.assert_no_more_errors_for(Duration::ZERO);
    }

    /// Panics if stderr has an unread line, if one comes within `time`, or if stderr is closed.
    pub fn assert_no_more_errors_for(&self, time: Duration) {
        match self.stderr.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => {}
            other => panic!("expected no more, got {other:?}"),
        }
    }

    /// Waits until the program has ended. The result has the lines that were not read before.
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
        // If the program is strace, and only strace were killed, the program that it traces would
        // go on.
        for child in children_of(self.child.id()) {
            let child = rustix::process::Pid::from_raw(child as i32);
            let kill = |pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            let _ = child.map(kill);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The peak memory of a process (VmHWM), in KiB.
pub fn peak_memory(pid: u32) -> u64 {
    memory(pid, "VmHWM:")
}

/// The value of a field of `/proc/PID/status` that is in KiB.
pub fn memory(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let figure = status.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = figure.unwrap().trim().strip_suffix(" kB").unwrap();
    kibibytes.parse().unwrap()
}

/// The children that the first thread of this process has started.
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

/// Calls `look` until it returns something, for at most [`DEADLINE`]. `event` is what the test
/// waits for, such as "the end".
pub fn wait_for<T>(event: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_within(DEADLINE, event, look)
}

/// Calls `look` until it returns something, for at most `time`. For most events, use [`wait_for`].
pub fn wait_within<T>(time: Duration, event: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + time;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {event}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Makes a FIFO in `directory`.
pub fn fifo_in(directory: &Path) -> PathBuf {
    let fifo = directory.join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    fifo
}

/// Returns whether the process has ended. A zombie counts as ended: it remains only until its
/// parent waits for it.
pub fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| stat.contains(") Z "))
}

/// Starts `lntu watch`, polling at [`FAST`].
pub fn watch(arguments: &[&str]) -> Running {
    Running::start(&mut lntu(&[&["watch", "-i", FAST], arguments].concat()))
}

/// Takes the netid, the state and the local address from `line`, and joins them with spaces.
pub fn event(line: &str) -> String {
    let fields: Vec<&str> = line.split_whitespace().collect();
    format!("{} {} {}", fields[0], fields[1], fields[4])
}

/// Returns lntu under strace, which makes the system call `call` fail with `error`. `when` is
/// strace's suffix that selects which calls fail, such as `:when=20`. If `when` is empty, all calls
/// fail.
pub fn lntu_with_failing(call: &str, error: &str, when: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("strace");
    let inject = format!("inject={call}:error={error}{when}");
    command.args([
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &format!("trace={call}"),
        "-e",
    ]);
    command.arg(inject).arg(env!("CARGO_BIN_EXE_lntu"));
    command.args(arguments);
    command
}

/// Runs `lntu check` with these arguments and returns its exit status, and stderr without the
/// processes that it names.
pub fn check(arguments: &[&str]) -> (i32, String) {
    let finished = run(&mut lntu(&[&["check"], arguments].concat()));
    assert_eq!(finished.stdout, "", "{arguments:?}");
    (finished.code(), without_holders(&finished.stderr))
}

/// The exit status and stderr of a check that passed.
pub fn yes() -> (i32, String) {
    (0, String::new())
}

/// The exit status and stderr of a check that failed for this reason.
pub fn no(reason: &str) -> (i32, String) {
    (1, format!("lntu: {reason}\n"))
}

/// Returns the message for an address that does not belong to this network namespace.
pub fn foreign_address(address: &str) -> String {
    let why = "is not an address of this network namespace; lntu looks nowhere else";
    format!("{address} {why}")
}

/// Formats a PORT argument.
pub fn port_argument(address: IpAddr, port: u16, protocol: &str) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}:{port}/{protocol}"),
        IpAddr::V6(address) => format!("[{address}]:{port}/{protocol}"),
    }
}

/// Every directory of `fixtures/proc` except `big-endian`, which `tests/big_endian.rs` reads
/// because only a big-endian machine can.
pub fn fixtures() -> Vec<PathBuf> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/proc");
    let mut fixtures: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with("big-endian"))
        .collect();
    fixtures.sort();
    assert!(fixtures.len() >= 5, "{fixtures:?}");
    fixtures
}

/// The first line of a table such as `/proc/net/tcp`.
pub const PROC_HEADER: &str = "  sl  local_address rem_address   st tx_queue rx_queue\n";

/// Returns the processes that run lntu and whose parent is `parent`.
pub fn watchers_of(parent: u32) -> Vec<u32> {
    let is_lntu =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c == "lntu\n");
    children_of(parent).into_iter().filter(is_lntu).collect()
}

/// Returns a name for an image, a control group or the like, which no other test and no other test
/// run uses.
pub fn unique_name() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("lntu-test-{}-{count}", std::process::id())
}
