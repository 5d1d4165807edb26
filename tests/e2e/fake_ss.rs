//! Programs named ss that stand in for the ss of iproute2: which output lntu accepts, and when it
//! asks another source.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lntu::listener::Protocol;
use lntu::snapshot::Snapshot;
use lntu::source::{Expected, Known, Source, SourceOptions};
use tempfile::TempDir;

use crate::harness::*;

const HEADER: &str = "Netid State  Recv-Q Send-Q Local Address:Port  Peer Address:PortProcess";

/// Returns a shell script that prints `lines` and then runs the commands `end`.
fn printing(lines: &[&str], end: &str) -> String {
    let text = lines.join("\n");
    format!("cat <<'EOF'\n{text}\nEOF\n{end}")
}

/// Opens a listener and runs `lntu list` for its port, with `directory` first in PATH.
fn list_a_listener(directory: &Path) -> (Finished, u16) {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener);
    let mut command = lntu(&["list", "-v", "-H", &port.to_string()]);
    (run(command.env("PATH", path_with(directory))), port)
}

/// Runs `lntu list` with the ss in this directory as its only source.
fn list_by_ss(directory: &Path) -> Finished {
    run(lntu(&["list", "-H", "--source", "ss"]).env("PATH", path_with(directory)))
}

/// Panics unless lntu rejects an ss with this script for this reason: it must ask netlink instead
/// and still find a listener, and with `--source ss`, it must fail.
fn assert_rejected(script: &str, reason: &str) {
    let directory = fake_ss(script);
    let (listed, port) = list_a_listener(directory.path());
    assert!(listed.status.success(), "{listed:?}");
    let found = listed.stdout.split_whitespace().nth(4).unwrap();
    assert_eq!(found, format!("127.0.0.1:{port}"), "{listed:?}");
    let said = format!("lntu: {reason}; asking netlink instead\n");
    assert_eq!(listed.stderr, said);
    // Keep a listener open, because without one an empty list would be right.
    let _listener = listen("127.0.0.1");
    let refused = list_by_ss(directory.path());
    assert!(refused.error().starts_with(reason), "{refused:?}");
}

/// Runs `lntu list` with an ss that prints `lines`. Returns the netid, the local address and the
/// peer address in each line of the list.
fn accepted_rows(lines: &[&str]) -> Vec<String> {
    let directory = fake_ss(&printing(lines, ""));
    let listed = list_by_ss(directory.path());
    let field = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        format!("{} {} {}", fields[0], fields[4], fields[5])
    };
    listed.lines().into_iter().map(field).collect()
}

#[test]
fn the_current_output_format_of_ss_is_accepted() {
    let lines = [
        HEADER,
        "udp   UNCONN 0      0       127.0.0.53%lo:53         0.0.0.0:*          ",
        "tcp   LISTEN 0      128           0.0.0.0:22         0.0.0.0:*          ",
        "tcp   LISTEN 0      128              [::]:22            [::]:*          ",
        "tcp   LISTEN 0      511                 *:80               *:*    users:((\"a\",pid=1,fd=3))",
        "tcp   LISTEN 0      128             [::1]:631           [::]:*          ",
    ];
    let expected = [
        "tcp *:22 0.0.0.0:*",
        "tcp *:22 [::]:*",
        "tcp *:80 [::]:*",
        "tcp [::1]:631 [::]:*",
        "udp 127.0.0.53%lo:53 0.0.0.0:*",
    ];
    assert_eq!(accepted_rows(&lines), expected);
}

#[test]
fn the_output_format_before_2017_is_accepted() {
    let lines = [
        "Netid State      Recv-Q Send-Q     Local Address:Port       Peer Address:Port ",
        "udp    UNCONN     0      0                     *:68                    *:*     ",
        "tcp    LISTEN     0      128           127.0.0.1:25                    *:*     ",
        "tcp    LISTEN     0      128                   *:22                    *:*     ",
        "tcp    LISTEN     0      128                  :::22                   :::*     ",
        "tcp    LISTEN     0      128                 ::1:631                  :::*     ",
    ];
    let expected = [
        "tcp *:22 0.0.0.0:*",
        "tcp *:22 [::]:*",
        "tcp 127.0.0.1:25 0.0.0.0:*",
        "tcp [::1]:631 [::]:*",
        "udp *:68 0.0.0.0:*",
    ];
    assert_eq!(accepted_rows(&lines), expected);
}

#[test]
fn five_megabytes_of_rows_are_accepted() {
    // Run the static build, because a debug build may need more than two seconds, the time limit
    // for ss.
    if !have_static() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let row = |number: u32| {
        format!(
            "tcp LISTEN 0 128 127.0.0.1:{} 0.0.0.0:*\n",
            number % 65_535 + 1
        )
    };
    let rows: String = (0..131_070).map(row).collect();
    let answer = directory.path().join("answer");
    fs::write(&answer, format!("{HEADER}\n{rows}")).unwrap();
    assert!(fs::metadata(&answer).unwrap().len() > 5_000_000);
    let script = format!("exec cat {}", answer.display());
    write_program(&directory.path().join("ss"), &script);
    let mut list = Command::new(&binaries().lntu);
    list.args(["list", "-H", "--source", "ss"]);
    let listed = run(list.env("PATH", path_with(directory.path())));
    assert_eq!(listed.lines().len(), 131_070);
}

#[test]
fn an_ss_that_fails_is_rejected() {
    let row = "tcp LISTEN 0 128 127.0.0.1:1 0.0.0.0:*";
    assert_rejected("exit 1", "ss: exit status: 1");
    assert_rejected(&printing(&[HEADER, row], "exit 3"), "ss: exit status: 3");
    assert_rejected("kill -9 $$", "ss: signal: 9 (SIGKILL)");
}

#[test]
fn an_ss_with_unparsable_output_is_rejected() {
    let row = "tcp LISTEN 0 128 127.0.0.1:1 0.0.0.0:*";
    assert_rejected("exit 0", "ss: no header in its output");
    assert_rejected("echo hello", "ss: no header in its output");
    assert_rejected(&printing(&[row], ""), "ss: no header in its output");
    assert_rejected("exec yes", "ss: no header in its output");
    assert_rejected(
        &printing(&[HEADER, row, "garbage \x1b[31m"], ""),
        "ss: cannot read the line 'garbage \\u{1b}[31m'",
    );
    assert_rejected(
        &format!("echo '{HEADER}'; printf 'tcp LISTEN 0 128 127.0.0.1:80'"),
        "ss: cannot read the line 'tcp LISTEN 0 128 127.0.0.1:80'",
    );
}

#[test]
fn an_ss_that_writes_to_stderr_is_rejected() {
    let row = "tcp LISTEN 0 128 127.0.0.1:1 0.0.0.0:*";
    assert_rejected(
        &printing(
            &[HEADER, row],
            "echo 'RTNETLINK answers: what' >&2; echo more >&2",
        ),
        "ss: wrote to stderr: RTNETLINK answers: what",
    );
}

/// If ss can read nothing, it prints only a header and exits with status 0.
#[test]
fn an_empty_table_is_rejected_if_something_listens() {
    assert_rejected(&printing(&[HEADER], ""), "ss: printed no listeners");
    in_private_network(|| {
        let directory = fake_ss(&printing(&[HEADER], ""));
        assert_eq!(list_by_ss(directory.path()).lines(), [""; 0]);
    });
}

#[test]
fn an_ss_that_hangs_is_killed_with_its_children() {
    let directory = TempDir::new().unwrap();
    let pid_file = directory.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; wait", pid_file.display());
    write_program(&directory.path().join("ss"), &script);
    let started = Instant::now();
    let (listed, _) = list_a_listener(directory.path());
    let duration = started.elapsed();
    assert_eq!(listed.stdout.lines().count(), 1);
    assert_eq!(
        listed.stderr,
        "lntu: ss: did not finish within 2 s; asking netlink instead\n"
    );
    assert!(duration >= Duration::from_secs(2), "{duration:?}");
    let sleeper = fs::read_to_string(&pid_file).unwrap();
    let sleeper = sleeper.trim().parse().unwrap();
    wait_for("the end of the child of ss", || {
        is_gone(sleeper).then_some(())
    });
}

#[test]
fn an_ss_whose_output_does_not_end_is_rejected() {
    let slow = format!("printf '{HEADER}\\n'; while :; do printf t; sleep 1; done");
    let with_open_pipe = format!("echo '{HEADER}'; sleep 1000 & exit 0");
    for script in [slow, with_open_pipe] {
        let directory = fake_ss(&script);
        let (listed, _) = list_a_listener(directory.path());
        assert_eq!(listed.stdout.lines().count(), 1);
        assert_eq!(
            listed.stderr,
            "lntu: ss: did not finish within 2 s; asking netlink instead\n"
        );
    }
}

/// If every poll ran an ss that hangs, every poll would wait for two seconds.
#[test]
fn the_next_poll_does_not_run_an_ss_that_hung() {
    let directory = TempDir::new().unwrap();
    let runs = directory.path().join("runs");
    let script = format!("echo run >> {}; sleep 1000", runs.display());
    write_program(&directory.path().join("ss"), &script);
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let mut command = lntu(&["-H", "-i", "20ms", &port]);
    let watcher = Running::start(command.env("PATH", path_with(directory.path())));
    assert!(watcher.next_line().contains("LISTEN"));
    let started = Instant::now();
    drop(listener);
    assert!(watcher.next_line().contains("CLOSED"));
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "the next poll did not wait"
    );
    assert_eq!(fs::read_to_string(&runs).unwrap(), "run\n");
}

/// Within the time limit of two seconds, an ss can print hundreds of megabytes.
#[test]
fn memory_is_freed_after_endless_output_of_ss() {
    if !have_static() {
        return;
    }
    let rows = "exec yes 'udp UNCONN 0 0 *:1 *:*'";
    let directory = fake_ss(&format!("echo '{HEADER}'; {rows}"));
    let mut command = Command::new(&binaries().lntu);
    command.args(["-v", "--changes-only", "-i", "20ms"]);
    let watcher = Running::start(command.env("PATH", path_with(directory.path())));
    let given_up = watcher.next_error();
    assert!(given_up.ends_with("; asking netlink instead"), "{given_up}");
    let paused = "lntu: ss: not run again for a minute, because the last run did not finish; asking \
                  netlink instead";
    assert_eq!(watcher.next_error(), paused);
    let pid = watcher.child.id();
    let most = peak_memory(pid);
    assert!(most < 64 * 1024, "{most} KiB at most");
    let status = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: u64 = status.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(pages < 2048, "{pages} pages are left");
}

/// If ss inherited the stdout of lntu, ss would print its own table there.
#[test]
fn an_ss_whose_stdout_cannot_be_redirected_is_not_run() {
    if !have_program("strace", "strace") {
        return;
    }
    let directory = fake_ss(&printing(
        &[HEADER, "tcp LISTEN 0 0 127.0.0.1:1 0.0.0.0:*"],
        "",
    ));
    let directory = directory.path();
    for number in 1..=3 {
        let inject = format!("inject=?dup2,dup3:error=EBADF:when={number}");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &inject]);
        strace
            .arg(env!("CARGO_BIN_EXE_lntu"))
            .args(["list", "-H", "--source", "ss"]);
        let listed = run(strace.env("PATH", path_with(directory)));
        let why = format!(
            "{}/ss: Bad file descriptor (os error 9)",
            directory.display()
        );
        assert_eq!(listed.error(), why, "{number}");
    }
}

/// Runs 2 to 4 of ss do not list port 2. All three belong to the second poll, which reads the list
/// again because port 2 is missing from its first read.
#[test]
fn a_listener_missing_from_three_reads_is_not_closed() {
    let directory = TempDir::new().unwrap();
    let runs = directory.path().join("runs");
    let script = format!(
        "echo run >> {runs}
         echo '{HEADER}'
         row() {{ echo \"tcp LISTEN 0 0 127.0.0.1:$1 0.0.0.0:*\"; }}
         row 1
         case $(wc -l < {runs}) in 2|3|4) ;; *) row 2 ;; esac
         [ $(wc -l < {runs}) -gt 6 ] && row 3
         exit 0",
        runs = runs.display()
    );
    write_program(&directory.path().join("ss"), &script);
    let mut command = lntu(&["-H", "-i", "20ms", "--source", "ss"]);
    let watcher = Running::start(command.env("PATH", path_with(directory.path())));
    for expected in ["127.0.0.1:1 ", "127.0.0.1:2 ", "127.0.0.1:3 "] {
        let line = watcher.next_line();
        assert!(line.contains("LISTEN") && line.contains(expected), "{line}");
    }
}

/// Only the first two polls see port 1. The second poll takes longer than `--settle`, but its
/// duration does not prove that the port stayed open between the polls.
#[test]
fn the_settle_time_excludes_the_duration_of_a_poll() {
    let directory = TempDir::new().unwrap();
    let runs = directory.path().join("runs");
    let script = format!(
        "echo run >> {runs}
         port=1
         case $(wc -l < {runs}) in 1) ;; 2) sleep 1.5 ;; *) port=2 ;; esac
         echo '{HEADER}'
         echo \"tcp LISTEN 0 0 127.0.0.1:$port 0.0.0.0:*\"",
        runs = runs.display()
    );
    write_program(&directory.path().join("ss"), &script);
    let mut command = lntu(&["-H", "-i", "20ms", "--settle", "1s", "--source", "ss"]);
    let watcher = Running::start(command.env("PATH", path_with(directory.path())));
    let line = watcher.next_line();
    assert!(line.contains("127.0.0.1:2 "), "{line}");
}

/// For a UDP socket that is not bound yet, ss prints a row with `*` as its port.
#[test]
fn a_row_without_a_port_is_ignored() {
    let rows = [
        HEADER,
        "udp UNCONN 0 0 0.0.0.0:* 0.0.0.0:*",
        "udp UNCONN 0 0 127.0.0.1:53 0.0.0.0:*",
    ];
    assert_eq!(accepted_rows(&rows), ["udp 127.0.0.1:53 0.0.0.0:*"]);
}

#[test]
fn a_file_that_cannot_be_executed_is_not_run_as_ss() {
    let directory = TempDir::new().unwrap();
    let ss = directory.path().join("ss");
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let list_with_path = |arguments: &[&str]| {
        let all = [&["list", "-H", "-v"], arguments, &[&port]].concat();
        run(lntu(&all).env("PATH", directory.path()))
    };
    let assert_not_found = || {
        let listed = list_with_path(&[]);
        assert_eq!(listed.stdout.lines().count(), 1);
        assert_eq!(
            listed.stderr,
            "lntu: ss: not found in PATH; asking netlink instead\n"
        );
    };
    assert_not_found();
    fs::create_dir(&ss).unwrap();
    assert_not_found();
    fs::remove_dir(&ss).unwrap();
    fs::write(&ss, "#!/bin/sh\necho no\n").unwrap();
    assert_not_found();
    // The mode allows execution, but the kernel does not know the format.
    fs::write(&ss, "no program").unwrap();
    fs::set_permissions(&ss, fs::Permissions::from_mode(0o755)).unwrap();
    let listed = list_with_path(&[]);
    let reason = format!("{}: Exec format error (os error 8)", ss.display());
    assert_eq!(
        listed.stderr,
        format!("lntu: {reason}; asking netlink instead\n")
    );
    assert_eq!(list_with_path(&["--source", "ss"]).error(), reason);
}

#[test]
fn lntu_never_runs_itself_as_ss() {
    let directory = TempDir::new().unwrap();
    let link = directory.path().join("ss");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_lntu"), link).unwrap();
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let listed = run(lntu(&["list", "-H", "-v", &port]).env("PATH", directory.path()));
    assert_eq!(listed.stdout.lines().count(), 1);
    assert_eq!(
        listed.stderr,
        "lntu: ss: not found in PATH; asking netlink instead\n"
    );
}

#[test]
fn lntu_never_runs_an_ss_in_the_working_directory() {
    let directory = fake_ss("touch was-run");
    for path in ["", ".", ":", "relative/.."] {
        let mut command: Command = lntu(&["list", "-v", "1"]);
        let listed = run(command.env("PATH", path).current_dir(directory.path()));
        assert_eq!(
            listed.stderr,
            "lntu: ss: not found in PATH; asking netlink instead\n"
        );
    }
    assert!(!directory.path().join("was-run").exists());
}

/// ss answers only the first read of a poll, so netlink answers the second read. The snapshot
/// contains the listeners of both.
#[test]
fn a_second_read_by_another_source_adds_listeners() {
    let listener = listen("127.0.0.1");
    let directory = TempDir::new().unwrap();
    let flag = directory.path().join("flag");
    let ss = fake_ss(&format!(
        "if [ -e {flag} ]; then exit 1; fi; : >{flag}
         echo 'Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port'
         echo 'tcp LISTEN 0 0 127.0.0.9:1 0.0.0.0:*'",
        flag = flag.display()
    ));
    let source = Source::new(SourceOptions::default(), &path_with(ss.path()));
    let mut source = source.unwrap();
    let mut snapshot = Snapshot::default();
    let port = port_of(&listener);
    fn is_there(snapshot: &Snapshot, port: u16) -> bool {
        let mut listeners = snapshot.listeners().iter();
        listeners.any(|listener| listener.endpoint.port == port)
    }
    struct ExpectedPort(u16);
    impl Expected for ExpectedPort {
        fn find_missing(&self, snapshot: &Snapshot, lists: &mut Vec<(u64, Protocol)>) {
            if !is_there(snapshot, self.0) {
                lists.push((0, Protocol::Tcp));
            }
        }
    }
    let known = Known {
        expected: Some(&ExpectedPort(port)),
        ..Known::default()
    };
    let _ = source.poll(known, &mut snapshot).unwrap();
    assert!(flag.exists(), "ss answered first");
    assert!(is_there(&snapshot, port) && is_there(&snapshot, 1));
}
