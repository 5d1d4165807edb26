//! Tests of a watcher on kernels without `close_range` (before 5.9) and `pidfd_open` (before 5.3).
//! strace makes both system calls fail as they do on such a kernel.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::harness::*;

/// Starts an application and a watcher that polls every `interval`. The application has a file
/// open, and exits at the end of its stdin. In `directory`, the watcher writes to the file `lines`,
/// and strace writes to the file `calls`.
fn start_application(interval: &str, port: &str, directory: &Path) -> Running {
    let script = "exec 9</etc/passwd; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    // With -D, strace traces from a separate process, so the process that is started here becomes
    // lntu.
    command.args(["-c", script, "strace", "-D", "-f", "--seccomp-bpf", "-o"]);
    command.arg(directory.join("calls"));
    command.args(["-e", "inject=pidfd_open,close_range:error=ENOSYS"]);
    command.arg(env!("CARGO_BIN_EXE_lntu")).arg("-o");
    command.arg(directory.join("lines"));
    command.args(["-i", interval, "--source", "proc", port, "--", "cat"]);
    Running::start(command.stdin(Stdio::piped()))
}

fn wait_for_line(part: &str, directory: &Path) {
    wait_for(part, || {
        let text = fs::read_to_string(directory.join("lines")).unwrap_or_default();
        text.contains(part).then_some(())
    });
}

/// Ends the application. Checks that the watcher then exits, and that strace made `close_range` and
/// `pidfd_open` fail.
fn end(mut running: Running, watcher: u32, directory: &Path) {
    drop(running.child.stdin.take());
    wait_for("the watcher's end", || is_gone(watcher).then_some(()));
    assert_eq!(running.finish().code(), 0);
    let calls = fs::read_to_string(directory.join("calls")).unwrap();
    for call in ["close_range(", "pidfd_open("] {
        // strace traces two processes, so it may print one call in two lines, `unfinished` and
        // `resumed`.
        let name = call.trim_end_matches('(');
        let mut injected = calls
            .lines()
            .filter(|line| line.contains(name) && !line.contains("<unfinished ...>"));
        let all_failed = injected.all(|line| line.contains("INJECTED"));
        assert!(calls.contains(call) && all_failed, "{calls}");
    }
}

#[test]
fn without_close_range_the_watcher_closes_all_files() {
    if !have_program("strace", "strace") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    let listener = listen("127.0.0.1");
    let running = start_application("20ms", &port_of(&listener).to_string(), directory);
    wait_for_line("LISTEN", directory);
    let watcher = watchers_of(running.child.id())[0];
    let open: Vec<String> = fs::read_dir(format!("/proc/{watcher}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    let is_foreign = |target: &String| target == "/etc/passwd" || target.contains("pidfd");
    assert!(!open.iter().any(is_foreign), "{open:?}");
    drop(listener);
    wait_for_line("CLOSED", directory);
    end(running, watcher, directory);
}

/// The interval is an hour, so the watcher does not poll again during this test, and must notice
/// the exit in another way.
#[test]
fn without_pidfds_the_watcher_exits_with_its_program() {
    if !have_program("strace", "strace") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let listener = listen("127.0.0.1");
    let running = start_application("1h", &port_of(&listener).to_string(), directory.path());
    wait_for_line("LISTEN", directory.path());
    let watcher = watchers_of(running.child.id())[0];
    end(running, watcher, directory.path());
}
