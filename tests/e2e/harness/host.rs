//! A host whose processes are those of one test, for `--all-namespaces`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::*;

/// What ends a list where the processes of the real host are not seen.
pub const PARTIAL: &str = "lntu: network namespaces may be missing\n";

/// A PID namespace with a `/proc` of its own: a host whose processes are those of one
/// test.
pub struct Host(pub HostProcess);

/// A process in a [`Host`]. It ends when dropped.
pub struct HostProcess {
    /// The unshare or nsenter that started it, and takes it along when it ends.
    pub starter: Child,
    /// Its id outside.
    pub pid: u32,
}

impl Host {
    /// Returns `None`, and skips the test, if that is not allowed.
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

    /// Runs this program among the processes of the host.
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

    /// Runs `make` in a new network namespace. A process is in that namespace
    /// afterwards, and what `make` opened.
    pub fn container<T: Send>(&self, make: impl FnOnce() -> T + Send) -> (HostProcess, T) {
        let mut made = None;
        in_private_network(|| made = Some((self.process(), make())));
        made.unwrap()
    }

    /// `lntu watch -A` with these arguments.
    pub fn watch(&self, arguments: &[&str]) -> Running {
        let arguments = [&["-A", "-q", "-i", FAST], arguments].concat();
        Running::start(&mut self.command(env!("CARGO_BIN_EXE_lntu"), &arguments))
    }

    /// `lntu list -AH` with these arguments, which finds everything here. The processes of
    /// the real host are missing.
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

    /// Its id in the host.
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

    /// The inode of its network namespace.
    pub fn namespace(&self) -> u64 {
        self.namespace_file().metadata().unwrap().ino()
    }

    pub fn namespace_file(&self) -> fs::File {
        fs::File::open(format!("/proc/{}/ns/net", self.pid)).unwrap()
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        let _ = self.starter.kill();
        let _ = self.starter.wait();
        // The kernel kills it then. Its listeners count until it is gone.
        wait_for("the end of a process", || is_gone(self.pid).then_some(()));
    }
}

/// The one child of this process, once there is one.
pub fn child_of(pid: u32) -> u32 {
    wait_for("a child", || match children_of(pid)[..] {
        [child] => Some(child),
        _ => None,
    })
}

pub fn state_of(pid: Pid) -> char {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

/// Stops the process while it waits between two polls.
pub fn stop_at_rest(pid: Pid) {
    let number = pid.as_raw_nonzero();
    wait_for("a pause", || {
        kill_process(pid, Signal::STOP).unwrap();
        wait_for("the stop", || (state_of(pid) == 'T').then_some(()));
        // The number of poll(2), or of ppoll(2) where there is no such call.
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
