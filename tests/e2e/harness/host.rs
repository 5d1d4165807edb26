//! A stand-in for a host that has only the processes of one test, for tests of `--all-namespaces`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::*;

/// The last line of stderr if lntu cannot see every process. In a [`Host`], it never can.
pub const PARTIAL: &str = "lntu: network namespaces may be missing\n";

/// A PID namespace with its own `/proc`, which shows only the processes of one test. The field
/// is process 1.
pub struct Host(pub HostProcess);

/// A process in a [`Host`]. Dropping this kills it.
pub struct HostProcess {
    /// The unshare or nsenter that started the process. The kernel kills the process when its
    /// starter ends.
    pub starter: Child,
    /// The process id in the PID namespace of the tests.
    pub pid: u32,
}

impl Host {
    /// Returns `None`, and skips the test, if PID namespaces are not allowed here.
    pub fn start() -> Option<Host> {
        let namespaces = ["--pid", "--fork", "--mount-proc", "--kill-child"];
        let can_start = have_programs("netns", ["ip", "nsenter", "setpriv"])
            && have_unshare(&[&namespaces[..], &["--net"]].concat());
        if !can_start {
            return None;
        }
        let mut unshare = Command::new("unshare");
        unshare.args(namespaces);
        let unmount = include_str!("unmount_namespaces.sh");
        unshare.args(["sh", "-c", &format!("{unmount}\nexec sleep 1000")]);
        Some(Host(HostProcess::start(&mut unshare)))
    }

    /// Returns a command that runs this program as a process of the host.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--target", &self.0.pid.to_string(), "--pid", "--mount"]);
        nsenter.args(["setpriv", "--pdeathsig", "KILL", program]);
        nsenter.args(arguments).stdin(Stdio::null());
        nsenter
    }

    /// Starts a process that does nothing, in the network namespace of this thread.
    pub fn process(&self) -> HostProcess {
        HostProcess::start(&mut self.command("sleep", &["1000"]))
    }

    /// Runs `make` in a new network namespace, and returns what it made together with an idle
    /// process in that namespace.
    pub fn container<T: Send>(&self, make: impl FnOnce() -> T + Send) -> (HostProcess, T) {
        let mut made = None;
        in_private_network(|| made = Some((self.process(), make())));
        made.unwrap()
    }

    /// Starts `lntu watch -Aq` with these arguments in the host.
    pub fn watch(&self, arguments: &[&str]) -> Running {
        let arguments = [&["-A", "-q", "-i", FAST], arguments].concat();
        Running::start(&mut self.command(env!("CARGO_BIN_EXE_lntu"), &arguments))
    }

    /// Returns what `lntu list -AHq` with these arguments prints in the host. The exit status is
    /// always 2, because the processes of the real host are hidden.
    pub fn list(&self, arguments: &[&str]) -> String {
        let arguments = [&["list", "-AH", "-q"], arguments].concat();
        let listed = run(&mut self.command(env!("CARGO_BIN_EXE_lntu"), &arguments));
        assert_eq!((listed.code(), &*listed.stderr), (2, PARTIAL));
        listed.stdout
    }
}

impl HostProcess {
    fn start(command: &mut Command) -> HostProcess {
        let starter = command.stdin(Stdio::null()).spawn().unwrap();
        let pid = child_of(starter.id());
        wait_for("the program", || {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
            (name == "sleep\n").then_some(())
        });
        HostProcess { starter, pid }
    }

    /// Returns the process id in the PID namespace of the host.
    pub fn inner_pid(&self) -> u32 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        ids.unwrap()
            .split_whitespace()
            .last()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// The inode of the process's network namespace.
    pub fn namespace(&self) -> u64 {
        self.namespace_file().metadata().unwrap().ino()
    }

    /// The file of the process's network namespace.
    pub fn namespace_file(&self) -> fs::File {
        fs::File::open(format!("/proc/{}/ns/net", self.pid)).unwrap()
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        let _ = self.starter.kill();
        let _ = self.starter.wait();
        // Wait until the kernel has killed the process, because its listeners are listed until
        // then.
        wait_for("the end of a process", || is_gone(self.pid).then_some(()));
    }
}

/// Waits until this process has exactly one child, and returns its id.
pub fn child_of(pid: u32) -> u32 {
    wait_for("a child", || match children_of(pid)[..] {
        [child] => Some(child),
        _ => None,
    })
}

/// The state letter of a process in `/proc/PID/stat`, such as `T` for stopped.
pub fn state_of(pid: Pid) -> char {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

/// Stops lntu while it waits in poll(2), so that it is not in the middle of reading listeners.
pub fn stop_at_rest(pid: Pid) {
    let number = pid.as_raw_nonzero();
    wait_for("a pause", || {
        kill_process(pid, Signal::STOP).unwrap();
        wait_for("the stop", || (state_of(pid) == 'T').then_some(()));
        // Arm has no poll(2). Its ppoll(2) is number 73.
        let call = fs::read_to_string(format!("/proc/{number}/syscall")).unwrap();
        let number_of_poll = if cfg!(target_arch = "x86_64") {
            "7 "
        } else {
            "73 "
        };
        if call.starts_with(number_of_poll) {
            return Some(());
        }
        kill_process(pid, Signal::CONT).unwrap();
        None
    });
}
