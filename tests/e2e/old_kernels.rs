//! What the watcher does on kernels before 5.9, which have no `close_range`, and
//! before 5.3, which have no `pidfd_open`: strace lets both calls fail as there.

use std::fs;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::entrypoint::watchers_of;
use crate::harness::*;

#[test]
fn without_close_range_and_pidfds_the_watcher_holds_nothing_and_ends_with_the_application() {
    if !have_program("strace", "strace") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let log = directory.path().join("calls");
    let lines = directory.path().join("lines");
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let script = "exec 9</etc/passwd; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "strace", "-D", "-f", "--seccomp-bpf", "-o"]);
    command
        .arg(&log)
        .args(["-e", "inject=pidfd_open,close_range:error=ENOSYS"]);
    command
        .arg(env!("CARGO_BIN_EXE_lntu"))
        .args(["-H", "-i", "20ms", "--source", "proc"]);
    command.arg("-o").arg(&lines).args([&port, "--", "cat"]);
    let mut running = Running::start(command.stdin(Stdio::piped()));
    let says = |what: &str| {
        wait_for(what, || {
            let text = fs::read_to_string(&lines).unwrap_or_default();
            text.contains(what).then_some(())
        });
    };
    says("LISTEN");
    let watchers = watchers_of(running.child.id());
    assert_eq!(watchers.len(), 1);
    let open = fs::read_dir(format!("/proc/{}/fd", watchers[0])).unwrap();
    let open: Vec<String> = open
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    assert!(
        !open.iter().any(|target| target == "/etc/passwd"),
        "{open:?}"
    );
    assert!(
        !open.iter().any(|target| target.contains("pidfd")),
        "{open:?}"
    );
    drop(listener);
    says("CLOSED");
    drop(running.child.stdin.take());
    wait_for("the watcher's end", || is_gone(watchers[0]).then_some(()));
    assert_eq!(running.finish().code(), 0);
    let calls = fs::read_to_string(&log).unwrap();
    for call in ["close_range(", "pidfd_open("] {
        let injected = |line: &&str| line.contains(call) && line.contains("INJECTED");
        assert!(
            calls.lines().any(|line| injected(&line)),
            "{call} in {calls}"
        );
    }
}
