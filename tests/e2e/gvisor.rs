//! The static binary under gVisor, which is another kernel: its tables of sockets are in no order,
//! it has no netlink for sockets, and it rejects some arguments that Linux accepts.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tempfile::TempDir;

use crate::harness::*;

/// Returns whether containers can run under gVisor here, which needs root and runsc.
fn have_gvisor() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    have_program("gvisor", "runsc")
        && have("gvisor", (!is_root).then(|| "this is not root".into()))
        && have_static()
}

/// A container under gVisor with `/lntu` and `/app`.
struct Sandbox {
    /// The bundle of the container, and the state of runsc.
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

    /// Returns runsc with a private state directory, ready to start. With these options, it needs
    /// neither `/dev/kvm` nor cgroups.
    fn runsc(&self, arguments: &[&str]) -> Command {
        let mut runsc = Command::new("runsc");
        runsc.arg("--root").arg(self.path().join("state"));
        runsc.args(["--platform=ptrace", "--network=none", "--ignore-cgroups"]);
        runsc.args(arguments).current_dir(self.path());
        runsc
    }

    /// Starts the container with these further options of runsc.
    fn start(&self, options: &[&str]) -> Running {
        let run = ["run", self.name.as_str()];
        Running::start(&mut self.runsc(&[options, &run].concat()))
    }

    /// Sends the signal `name`, such as `TERM`, to process 1 of the container.
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

/// Runs `/app` with these steps in a new container.
fn run_app(steps: &[&str]) -> Finished {
    Sandbox::new(&[&["/app"], steps].concat())
        .start(&[])
        .finish()
}

#[test]
fn commands_give_the_right_answers_under_gvisor() {
    if !have_gvisor() {
        return;
    }
    let answered = run_app(&[
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
fn list_names_the_process_under_gvisor() {
    if !have_gvisor() {
        return;
    }
    let named = run_app(&["listen", "8080", "run", "/lntu", "list", "-Hp", "8080", ";"]);
    let [line, "exit 0"] = named.lines()[..] else {
        panic!("{named:?}");
    };
    assert!(line.contains(r#"users:(("app",pid=1,fd="#), "{line}");
}

#[test]
fn lntu_reads_proc_instead_of_netlink_under_gvisor() {
    if !have_gvisor() {
        return;
    }
    let netlink = ["run", "/lntu", "list", "-H", "--source", "netlink", ";"];
    let refused = run_app(&[&["listen", "8080"], &netlink[..]].concat());
    assert!(refused.stdout.contains("*:8080"), "{refused:?}");
    assert!(refused.stdout.ends_with("\nexit 0\n"), "{refused:?}");
    let reason = "socket: Protocol not supported (os error 93)";
    assert!(refused.stderr.contains(reason), "{refused:?}");
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
}

#[test]
fn a_watcher_reports_events_under_gvisor() {
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
    // The application and the watcher write these two lines, so either may come first.
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
    // The sandbox ends only after its last process, so the watcher has ended, too.
    let finished = running.finish();
    assert_eq!((finished.code(), finished.stderr.as_str()), (42, ""));
}

/// gVisor rejects a `close_range` up to the largest unsigned number. Without an alternative, the
/// watcher would close 65,531 descriptors one by one, which delays the application by a second.
#[test]
fn the_watcher_makes_few_close_calls_under_gvisor() {
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
