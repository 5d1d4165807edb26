//! The watcher of an application outside of a container, where nothing else ends the processes
//! that the application leaves behind.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::harness::*;

/// The path of the application that also runs in the containers. It is static.
fn app() -> &'static str {
    binaries().app.to_str().unwrap()
}

/// Returns arguments of lntu that start the application with these steps, and a watcher that polls
/// only once during the test.
fn arguments(steps: &[&'static str]) -> Vec<&'static str> {
    [&["-q", "-i", "1h", "--source", "proc", "--", app()], steps].concat()
}

/// Starts the application with a watcher, and waits until both run.
fn start(steps: &[&'static str]) -> (Running, u32) {
    let app = Running::start(lntu(&arguments(steps)).process_group(0));
    let watcher = watcher_of(app.child.id());
    (app, watcher)
}

/// Waits until the application has a child that runs lntu, and returns its process id.
fn watcher_of(app: u32) -> u32 {
    let exe = Path::new(env!("CARGO_BIN_EXE_lntu"));
    wait_for("the watcher", || {
        children_of(app).find(|pid| {
            let is_lntu = fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == exe);
            // The watcher is ready when it has a descriptor of its own for stdout.
            is_lntu && descriptors(*pid).len() == 4
        })
    })
}

fn children_of(parent: u32) -> impl Iterator<Item = u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(move |pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(')').map(|(_, rest)| rest);
        let mut fields = after_name.unwrap_or_default().split_whitespace();
        fields.nth(1) == Some(&parent.to_string())
    })
}

/// Skips lines until one starts with `start`. Returns the rest of that line.
fn next_line_that_starts_with(app: &Running, start: &str) -> String {
    loop {
        if let Some(rest) = app.next_line().strip_prefix(start) {
            return rest.to_string();
        }
    }
}

fn assert_ends(watcher: u32) {
    wait_for("the watcher's end", || is_gone(watcher).then_some(()));
}

#[test]
fn the_watcher_exits_when_the_application_exits() {
    if !have_static() {
        return;
    }
    let (app, watcher) = start(&["serve"]);
    next_line_that_starts_with(&app, "serving");
    kill_process(app.pid(), Signal::TERM).unwrap();
    assert_eq!(app.finish().code(), 0);
    assert_ends(watcher);

    let (app, watcher) = start(&["sleep"]);
    kill_process(app.pid(), Signal::KILL).unwrap();
    assert_eq!(app.finish().status.signal(), Some(9));
    assert_ends(watcher);
}

#[test]
fn the_watcher_does_not_wait_for_a_daemon() {
    if !have_static() {
        return;
    }
    let (app, watcher) = start(&["daemon", "serve"]);
    let daemon: u32 = next_line_that_starts_with(&app, "daemon ").parse().unwrap();
    next_line_that_starts_with(&app, "serving");
    kill_process(app.pid(), Signal::TERM).unwrap();
    assert_ends(watcher);
    assert!(!is_gone(daemon));
    kill_process(Pid::from_raw(daemon as i32).unwrap(), Signal::KILL).unwrap();
    assert_eq!(app.finish().code(), 0);
}

/// A parent-death signal would not be enough: the kernel does not deliver it if the parent may
/// not signal the watcher.
#[test]
fn the_watcher_exits_if_the_application_changed_user() {
    if !have_static() || !have_root() {
        return;
    }
    let (app, watcher) = start(&["as", "65534", "serve"]);
    next_line_that_starts_with(&app, "serving");
    kill_process(app.pid(), Signal::KILL).unwrap();
    assert_eq!(app.finish().status.signal(), Some(9));
    assert_ends(watcher);
}

#[test]
fn a_signal_to_the_process_group_spares_the_watcher() {
    if !have_static() {
        return;
    }
    let port = listen("127.0.0.1");
    let number = port_of(&port).to_string();
    let arguments = ["-H", "-i", "50ms", &number, "--", app(), "serve"];
    let app = Running::start(lntu(&arguments).process_group(0));
    let mut first = [app.next_line(), app.next_line()];
    first.sort();
    assert_eq!(first[0], "serving");
    assert!(first[1].contains("LISTEN"), "{first:?}");

    kill_process_group(app.pid(), Signal::INT).unwrap();
    assert_eq!(app.next_line(), "interrupted");
    drop(port);
    assert!(app.next_line().contains("CLOSED"));
    kill_process(app.pid(), Signal::TERM).unwrap();
    let finished = app.finish();
    assert_eq!((finished.code(), &*finished.stderr), (0, ""));
}

#[test]
fn the_parent_sees_which_signal_killed_the_command() {
    if !have_static() {
        return;
    }
    let deaths = ["HUP", "INT", "QUIT", "KILL", "USR1", "SEGV", "PIPE", "TERM"];
    let deaths = deaths.map(|signal| vec!["raise", signal]);
    for steps in deaths.into_iter().chain([vec!["abort"]]) {
        // The application survives SIGPIPE in both cases, because the start-up code of Rust's
        // std ignores it.
        let steps = [&steps[..], &["exit", "77"]].concat();
        let alone = run(Command::new(app()).args(&steps));
        let watched = run(&mut lntu(&arguments(&steps)));
        assert_eq!(watched.status, alone.status, "{steps:?}");
    }
}

/// Returns the open descriptors of a process and their targets. Numbers above 2 are replaced with
/// 3. A pidfd is left out, because not every kernel has pidfds.
fn descriptors(pid: u32) -> BTreeSet<(u32, String)> {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let fd = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?.display().to_string();
        let number: u32 = entry.file_name().to_str()?.parse().ok()?;
        (!target.contains("pidfd")).then_some((number.min(3), target))
    };
    fds.flatten().filter_map(fd).collect()
}

#[test]
fn the_watcher_closes_inherited_descriptors() {
    if !have_static() {
        return;
    }
    // The descriptor has no close-on-exec flag, so the application inherits this end of the pipe.
    let (mut reader, writer) = std::io::pipe().unwrap();
    rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty()).unwrap();
    let (app, watcher) = start(&["serve"]);
    next_line_that_starts_with(&app, "serving");
    let stdio = [0, 1, 2].map(|fd| {
        let target = fs::read_link(format!("/proc/{}/fd/{fd}", app.child.id())).unwrap();
        target.display().to_string()
    });
    let [_, stdout, stderr] = stdio;
    let expected = [
        (0, "/".to_string()),
        (1, stdout.clone()),
        (2, stderr),
        // The watcher's own descriptor, through which it writes.
        (3, stdout),
    ];
    let expected = BTreeSet::from(expected);
    // During a poll, the watcher also has other descriptors open.
    wait_for("the watcher with its own descriptors", || {
        (descriptors(watcher) == expected).then_some(())
    });
    drop(writer);
    kill_process(app.pid(), Signal::TERM).unwrap();
    assert_eq!(app.finish().code(), 0);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0, "the pipe is closed");
}

#[test]
fn a_watcher_with_an_output_file_closes_stdout() {
    if !have_static() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("lines");
    let mut app = lntu(&["-i", "1h", "-o", file.to_str().unwrap(), "--", "sh", "-c"])
        .arg("exec >&- 2>&-; echo started >$0; exec sleep 60")
        .arg(directory.path().join("started"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the application", || {
        fs::read_to_string(directory.path().join("started")).ok()
    });
    let mut stdout = String::new();
    app.stdout
        .take()
        .unwrap()
        .read_to_string(&mut stdout)
        .unwrap();
    assert_eq!(stdout, "");
    assert!(app.try_wait().unwrap().is_none(), "it still runs");
    app.kill().unwrap();
    app.wait().unwrap();
}
