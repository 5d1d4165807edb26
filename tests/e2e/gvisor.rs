//! The static binary under gVisor, a kernel of its own: it lists sockets in no
//! order, has no netlink for them, and refuses what Linux takes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tempfile::TempDir;

use crate::harness::*;

fn have_gvisor() -> bool {
    let mut missing = Command::new("runsc").arg("--version").output().err();
    if missing.is_none() && !rustix::process::geteuid().is_root() {
        missing = Some(std::io::ErrorKind::PermissionDenied.into());
    }
    let why = |error| format!("running runsc as root: {error}");
    have("gvisor", missing.map(why)) && have_static()
}

/// A container under gVisor that holds `/lntu` and `/app`, and where it is kept.
struct Sandbox {
    directory: TempDir,
    name: String,
}

impl Sandbox {
    fn new(command: &[&str]) -> Sandbox {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = TempDir::new().unwrap();
        let root = directory.path().join("rootfs");
        fs::create_dir(&root).unwrap();
        let Binaries { lntu, app, .. } = binaries();
        for program in [lntu, app] {
            fs::copy(program, root.join(program.file_name().unwrap())).unwrap();
        }
        let spaces = ["pid", "mount", "ipc", "uts", "network"].map(|kind| json!({ "type": kind }));
        let config = json!({
            "ociVersion": "1.0.0",
            "process": {
                "user": { "uid": 0, "gid": 0 },
                "args": command,
                "env": ["PATH=/"],
                "cwd": "/",
            },
            "root": { "path": "rootfs" },
            "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
            "linux": { "namespaces": spaces },
        });
        fs::write(directory.path().join("config.json"), config.to_string()).unwrap();
        let name = format!("lntu-test-{}-{count}", std::process::id());
        Sandbox { directory, name }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `runsc` for this container alone. It needs no `/dev/kvm` and no cgroups.
    fn runsc(&self, arguments: &[&str]) -> Command {
        let mut runsc = Command::new("runsc");
        runsc.arg("--root").arg(self.path().join("state"));
        runsc.args(["--platform=ptrace", "--network=none", "--ignore-cgroups"]);
        runsc.args(arguments).current_dir(self.path());
        runsc
    }

    fn start(&self, options: &[&str]) -> Running {
        let run = ["run", self.name.as_str()];
        Running::start(&mut self.runsc(&[options, &run].concat()))
    }

    fn signal(&self, name: &str) {
        let sent = run(&mut self.runsc(&["kill", &self.name, name]));
        assert!(sent.status.success(), "{sent:?}");
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.runsc(&["delete", "--force", &self.name]).output();
    }
}

/// What the steps of `/app` say.
fn app(steps: &[&str]) -> Finished {
    Sandbox::new(&[&["/app"], steps].concat())
        .start(&[])
        .finish()
}

#[test]
fn under_gvisor_the_commands_answer() {
    if !have_gvisor() {
        return;
    }
    let answered = app(&[
        "listen",
        "8080",
        "listen",
        "53", //
        "run",
        "/lntu",
        "list",
        "-H",
        "-t",
        ";", //
        "run",
        "/lntu",
        "check",
        "-q",
        "8080",
        ";", //
        "run",
        "/lntu",
        "check",
        "-q",
        "8080",
        "8081",
        ";", //
        "run",
        "/lntu",
        "wait",
        "8080",
        "--",
        "/lntu",
        "-V",
        ";", //
        "run",
        "/lntu",
        "wait",
        "-q",
        "--timeout",
        "50ms",
        "8081",
        ";", //
    ]);
    let lines: Vec<Vec<&str>> = answered
        .lines()
        .iter()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let version = concat!("lntu ", env!("CARGO_PKG_VERSION"));
    let expected = [
        "tcp LISTEN 0 0 *:53 0.0.0.0:*",
        "tcp LISTEN 0 0 *:8080 0.0.0.0:*",
        "exit 0",
        "exit 0",
        "exit 1",
        version,
        "exit 0",
        "exit 1",
    ];
    let expected = expected.map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines, expected);
}

#[test]
fn under_gvisor_processes_are_named_and_netlink_is_refused_with_a_reason() {
    if !have_gvisor() {
        return;
    }
    let named = app(&["listen", "8080", "run", "/lntu", "list", "-Hp", "8080", ";"]);
    let [line, "exit 0"] = named.lines()[..] else {
        panic!("{named:?}");
    };
    assert!(line.contains(r#"users:(("app",pid=1,fd="#), "{line}");

    let netlink = ["run", "/lntu", "list", "-H", "--source", "netlink", ";"];
    let refused = app(&[&["listen", "8080"], &netlink[..]].concat());
    assert!(refused.stdout.contains("*:8080"), "{refused:?}");
    assert!(refused.stdout.ends_with("\nexit 0\n"), "{refused:?}");
    let reason = "socket: Protocol not supported (os error 93)";
    assert!(refused.stderr.contains(reason), "{refused:?}");
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
}

#[test]
fn under_gvisor_the_watcher_reports_beside_the_application_and_ends_with_it() {
    if !have_gvisor() {
        return;
    }
    let watcher = ["/lntu", "-H", "-i", "20ms", "8080", "--"];
    let application = ["/app", "reserve", "8080", "serve", "exit", "42"];
    let sandbox = Sandbox::new(&[&watcher[..], &application].concat());
    let running = sandbox.start(&[]);
    let next = |part: &str| {
        let line = running.next_line();
        assert!(line.contains(part), "{line:?} is not {part:?}");
    };
    next("serving");
    sandbox.signal("USR2");
    // Written by two processes, so in either order.
    let both = [running.next_line(), running.next_line()].join("\n");
    assert!(
        both.contains("opened") && both.contains("LISTEN"),
        "{both:?}"
    );
    sandbox.signal("USR1");
    let both = [running.next_line(), running.next_line()].join("\n");
    assert!(
        both.contains("closed") && both.contains("CLOSED"),
        "{both:?}"
    );
    sandbox.signal("TERM");
    next("terminated");
    // gVisor ends a sandbox only with its last process.
    let finished = running.finish();
    assert_eq!((finished.code(), finished.stderr.as_str()), (42, ""));
}

/// gVisor refuses a `close_range` up to the largest unsigned number. One by one,
/// 65,531 descriptors delayed the application by a second.
#[test]
fn under_gvisor_the_watcher_closes_all_that_it_inherited_in_two_calls() {
    if !have_gvisor() {
        return;
    }
    let sandbox = Sandbox::new(&["/lntu", "-q", "--", "/app", "exit", "0"]);
    let log = sandbox.path().join("log/");
    fs::create_dir(&log).unwrap();
    let debug_log = format!("--debug-log={}/", log.display());
    let finished = sandbox.start(&["--debug", "--strace", &debug_log]).finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    let logs = fs::read_dir(&log).unwrap().map(|file| file.unwrap().path());
    let calls: String = logs
        .filter(|path| path.to_str().unwrap().ends_with(".boot.txt"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let count = |call: &str| calls.lines().filter(|line| line.contains(call)).count();
    assert!(count(" lntu X execve(") > 0, "no log of calls");
    assert!(count(" lntu X close(") < 20, "{}", count(" lntu X close("));
}
