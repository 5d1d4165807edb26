//! Failures while a watcher runs: it prints a message, and no listener is reported as closed.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use tempfile::TempDir;

use crate::harness::*;

const SS_HEADER: &str = "Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port";

/// A directory that stands in for `/proc`.
struct FakeProc(TempDir);

impl FakeProc {
    fn new() -> FakeProc {
        let proc = FakeProc(TempDir::new().unwrap());
        fs::create_dir(proc.net()).unwrap();
        proc
    }

    fn root(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    fn net(&self) -> PathBuf {
        self.0.path().join("net")
    }

    /// Replaces the table `name` in one step, so that lntu never reads a part of it.
    fn put(&self, name: &str, contents: impl AsRef<[u8]>) {
        let draft = self.0.path().join("draft");
        fs::write(&draft, contents).unwrap();
        self.move_in(&draft, name);
    }

    /// Replaces a table with the file or directory `path`.
    fn move_in(&self, path: &Path, name: &str) {
        let table = self.net().join(name);
        if path.is_dir() {
            let _ = fs::remove_file(&table);
        } else if table.is_dir() {
            fs::remove_dir(&table).unwrap();
        }
        fs::rename(path, table).unwrap();
    }
}

/// The row of a listener on 127.0.0.1.
fn row(port: u16) -> String {
    format!(
        "   0: 0100007F:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 \
         00000000     0        0 1603 1 0000000040cdbcfc 100 0 0 10 0\n"
    )
}

/// A table with listeners on these ports of 127.0.0.1.
fn table(ports: impl IntoIterator<Item = u16>) -> String {
    let rows = ports.into_iter().map(row);
    std::iter::once(PROC_HEADER.to_string())
        .chain(rows)
        .collect()
}

/// Panics if the text has a control character other than a line end, because a terminal would obey
/// it.
fn assert_harmless(text: &str) {
    let harmful = |c: char| c.is_control() && c != '\n';
    assert!(!text.contains(harmful), "{text:?}");
}

#[test]
fn a_bad_answer_of_ss_closes_no_listener() {
    let answer = |rows: &str, then: &str| format!("cat <<'EOF'\n{SS_HEADER}\n{rows}\nEOF\n{then}");
    let ssh = "tcp LISTEN 0 128 127.0.0.1:22 0.0.0.0:*";
    let web = "tcp LISTEN 0 128 127.0.0.1:80 0.0.0.0:*";
    let good = answer(&format!("{ssh}\n{web}"), "");
    let in_columns = |header: &str, row: &str| format!("echo '{header}'; echo '{row}'");
    let wrong = [
        (
            answer(ssh, "printf 'tcp LISTEN 0 128 127.0.'; exit 1"),
            "ss: cannot read the line",
        ),
        (answer(ssh, "kill -SEGV $$"), "ss: signal: 11 (SIGSEGV)"),
        (answer(ssh, "exit 255"), "ss: exit status: 255"),
        (
            answer(ssh, "echo warning >&2"),
            "ss: wrote to stderr: warning",
        ),
        ("exit 0".to_string(), "ss: no header in its output"),
        (
            in_columns(
                "Netid Status Empf-Q Send-Q Lokale Adresse:Port Peer Adresse:Port",
                ssh,
            ),
            "ss: no header in its output",
        ),
        (
            in_columns(
                "State Netid Recv-Q Send-Q Local Address:Port Peer Address:Port",
                ssh,
            ),
            "ss: no header in its output",
        ),
        (
            in_columns(SS_HEADER, "LISTEN tcp 0 128 127.0.0.1:22 0.0.0.0:*"),
            "ss: cannot read the line",
        ),
        (
            in_columns(
                "Netid State Recv-Q Send-Q Peer Address:Port Local Address:Port",
                "tcp LISTEN 0 128 0.0.0.0:* 127.0.0.1:22",
            ),
            "ss: no header in its output",
        ),
        (
            in_columns(
                "Netid State Recv-Q Send-Q Timer Local Address:Port Peer Address:Port",
                "tcp LISTEN 0 128 7 127.0.0.1:22 0.0.0.0:*",
            ),
            "ss: no header in its output",
        ),
        (
            in_columns(SS_HEADER, "tcp LISTEN 0 128 7 127.0.0.1:22 0.0.0.0:*"),
            "ss: cannot read the line",
        ),
    ];
    let ss = SwitchableSs::new(&good);
    let mut command = lntu(&["-H", "-i", "10ms", "--source", "ss"]);
    let watcher = Running::start(command.env("PATH", path_with(ss.path())));
    assert_eq!(event(&watcher.next_line()), "tcp LISTEN 127.0.0.1:22");
    assert_eq!(event(&watcher.next_line()), "tcp LISTEN 127.0.0.1:80");
    for (script, reason) in wrong {
        ss.becomes(&script);
        let error = watcher.next_error();
        assert!(error.starts_with(&format!("lntu: {reason}")), "{error}");
        assert!(error.ends_with("; trying again"), "{error}");
        ss.becomes(&good);
        assert_eq!(watcher.next_error(), "lntu: reading listeners again");
    }
    watcher.assert_silent_for(A_WHILE);
    ss.becomes(&answer(web, ""));
    assert_eq!(event(&watcher.next_line()), "tcp CLOSED 127.0.0.1:22");
    watcher.assert_no_more_errors();
}

/// Any program in PATH can be named ss, and messages quote its output.
#[test]
fn control_characters_from_ss_are_escaped() {
    let escape = r"\033]0;title\007\033[2J\r";
    let title = "\\u{1b}]0;title\\u{7}\\u{1b}[2J";
    let scope = format!("echo '{SS_HEADER}'; printf 'tcp LISTEN 0 0 1.2.3.4%%{escape}:80 *:*\\n'");
    let c1 = format!("echo '{SS_HEADER}'; printf 'tcp \\302\\2332J {escape}\\n'");
    for (script, said) in [
        (
            format!("echo '{SS_HEADER}'; printf '{escape}\\n' >&2"),
            title,
        ),
        (scope, title),
        (c1, "tcp \\u{9b}2J \\u{1b}]0;title"),
    ] {
        let directory = fake_ss(&script);
        let mut command = lntu(&["list", "--source", "ss"]);
        let listed = run(command.env("PATH", path_with(directory.path())));
        assert!(listed.error().contains(said), "{listed:?}");
        assert_harmless(&listed.stderr);
    }
}

#[test]
fn control_characters_in_file_names_are_escaped() {
    let directory = TempDir::new().unwrap();
    let odd = directory.path().join("\x1b[31m\n\u{9b}7m");
    let listed = run(lntu(&["list", "--proc"]).arg(&odd));
    assert!(
        listed.error().contains("\\u{1b}[31m\\n\\u{9b}7m/net/tcp: "),
        "{listed:?}"
    );
    assert_harmless(&listed.stderr);
    let mut command = lntu(&["list", "--source", "proc", "-o"]);
    let listed = run(command.arg(odd.join("file")));
    assert!(listed.error().contains("\\u{1b}[31m\\n"), "{listed:?}");
    assert_harmless(&listed.stderr);
    let not_text = std::ffi::OsStr::from_bytes(b"/\xff\x1b[7m");
    let listed = run(lntu(&["list", "--proc"]).arg(not_text));
    assert!(
        listed.error().contains("\\u{1b}[7m/net/tcp: "),
        "{listed:?}"
    );
    assert_harmless(&listed.stderr);
}

#[test]
fn an_invalid_table_closes_no_listener() {
    let proc = FakeProc::new();
    let good = table([22, 80]);
    proc.put("tcp", &good);
    let watcher = watch(&["-H", "--proc", proc.root()]);
    assert_eq!(event(&watcher.next_line()), "tcp LISTEN 127.0.0.1:22");
    assert_eq!(event(&watcher.next_line()), "tcp LISTEN 127.0.0.1:80");

    let recovers = |reason: &str| {
        let error = watcher.next_error();
        assert!(
            error.ends_with(&format!("/net/tcp: {reason}; trying again")),
            "{error}"
        );
        proc.put("tcp", &good);
        assert_eq!(watcher.next_error(), "lntu: reading listeners again");
    };
    let other = proc.0.path().join("other");
    fs::create_dir(&other).unwrap();
    proc.move_in(&other, "tcp");
    recovers("Is a directory (os error 21)");
    symlink("/proc/self/mem", &other).unwrap();
    proc.move_in(&other, "tcp");
    recovers("Input/output error (os error 5)");
    symlink("tcp", &other).unwrap();
    proc.move_in(&other, "tcp");
    recovers("Too many levels of symbolic links (os error 40)");
    proc.put("tcp", "\0".repeat(100));
    recovers("ends within a row");
    proc.put("tcp", format!("{PROC_HEADER}{}\n", "\0".repeat(100)));
    recovers("no row can be read; the first: not a row");
    proc.put("tcp", format!("{PROC_HEADER}0: {}\n", "F".repeat(100_000)));
    recovers("no row can be read; the first: too long");
    // Cut the table off in the header, in the number of a row, and in each field that is parsed.
    let start = good.find("0050").unwrap() - 14;
    for end in [
        4,
        start + 2,
        start + 5,
        start + 9,
        start + 16,
        start + 24,
        start + 33,
    ] {
        proc.put("tcp", &good[..end]);
        recovers("ends within a row");
    }
    watcher.assert_silent_for(A_WHILE);
    proc.put("tcp", table([80]));
    assert_eq!(event(&watcher.next_line()), "tcp CLOSED 127.0.0.1:22");
    watcher.assert_no_more_errors();
}

#[test]
fn unreadable_rows_do_not_affect_other_rows() {
    let proc = FakeProc::new();
    proc.put("tcp", table([22, 80]));
    let watcher = watch(&["-v", "-H", "--proc", proc.root()]);
    assert_eq!(event(&watcher.next_line()), "tcp LISTEN 127.0.0.1:22");
    assert_eq!(event(&watcher.next_line()), "tcp LISTEN 127.0.0.1:80");
    let long = format!("1: {}\n", "F".repeat(100_000));
    let zeros = format!("2: 0100007F:0051\0 00000000:0000 0A{}\n", "\0".repeat(5000));
    let rows = [PROC_HEADER, &row(22), &long, &zeros, &row(80), &row(81)];
    proc.put("tcp", rows.concat());
    assert!(
        watcher
            .next_error()
            .contains("/net/tcp: 2 rows cannot be read; the first: ")
    );
    assert_eq!(event(&watcher.next_line()), "tcp LISTEN 127.0.0.1:81");
    watcher.assert_silent_for(A_WHILE);
    watcher.assert_no_more_errors();
}

#[test]
fn a_tcp6_table_that_vanishes_closes_no_listener() {
    let proc = FakeProc::new();
    proc.put("tcp", table([22]));
    let tcp6 = row(80).replace("0100007F", "00000000000000000000000000000000");
    let watcher = watch(&["-H", "--proc", proc.root()]);
    assert_eq!(event(&watcher.next_line()), "tcp LISTEN 127.0.0.1:22");
    proc.put("tcp6", &tcp6);
    assert_eq!(event(&watcher.next_line()), "tcp LISTEN *:80");
    fs::remove_file(proc.net().join("tcp6")).unwrap();
    let error = watcher.next_error();
    let said = "/net/tcp6: No such file or directory (os error 2); trying again";
    assert!(error.ends_with(said), "{error}");
    watcher.assert_silent_for(A_WHILE);
    watcher.assert_no_more_errors();
    proc.put("tcp6", &tcp6);
    assert_eq!(watcher.next_error(), "lntu: reading listeners again");
    watcher.assert_silent_for(A_WHILE);
    proc.put("tcp6", PROC_HEADER);
    assert_eq!(event(&watcher.next_line()), "tcp CLOSED *:80");
}

#[test]
fn exit_of_the_observed_process_closes_no_listener() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let mut process = Running::start(Command::new("cat").stdin(Stdio::piped()));
    let pid = process.child.id().to_string();
    let watcher = watch(&["-H", "--pid", &pid, &port]);
    assert!(watcher.next_line().contains("LISTEN"));
    drop(process.child.stdin.take());
    assert!(process.finish().status.success());
    let error = watcher.next_error();
    assert!(
        error.starts_with(&format!("lntu: /proc/{pid}/net/tcp: ")),
        "{error}"
    );
    assert!(error.ends_with("; trying again"), "{error}");
    drop(listener);
    watcher.assert_silent_for(A_WHILE);
    watcher.assert_no_more_errors();
}

/// Stops the watcher and waits until it has stopped.
fn stop(watcher: &Running) {
    kill_process(watcher.pid(), Signal::STOP).unwrap();
    let stat = format!("/proc/{}/stat", watcher.child.id());
    wait_for("the stop", || {
        let stat = fs::read_to_string(&stat).unwrap();
        stat.contains(") T ").then_some(())
    });
}

#[test]
fn a_stopped_watcher_reports_changes_when_continued() {
    let port = FreePort::new();
    let other = FreePort::new();
    let listener = port.listen();
    let ports = [&port, &other].map(|port| port.to_string());
    let watcher = watch(&["-H", "--source", "proc", &ports[0], &ports[1]]);
    assert!(watcher.next_line().contains("LISTEN"));
    stop(&watcher);
    drop(listener);
    let _listener = other.listen();
    // The watcher is stopped, so it cannot see that this port opens and closes.
    for _ in 0..10 {
        drop(port.listen());
    }
    watcher.assert_silent_for(Duration::from_millis(100));
    kill_process(watcher.pid(), Signal::CONT).unwrap();
    let events: BTreeSet<String> = (0..2).map(|_| event(&watcher.next_line())).collect();
    let expected = [
        format!("tcp CLOSED 127.0.0.1:{port}"),
        format!("tcp LISTEN 127.0.0.1:{other}"),
    ];
    assert_eq!(events, BTreeSet::from(expected));
    watcher.assert_silent_for(A_WHILE);
    watcher.assert_no_more_errors();
}

/// The time limit for ss passes while the watcher is stopped.
#[test]
fn a_stop_of_lntu_while_ss_runs_closes_no_listener() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let answer = format!("echo '{SS_HEADER}'; echo 'tcp LISTEN 0 0 127.0.0.1:{port} 0.0.0.0:*'");
    let ss = SwitchableSs::new(&answer);
    let path = ss.path().display();
    let slow = format!(
        "echo '{SS_HEADER}'; : >{path}/runs; while [ ! -e {path}/go ]; do sleep 0.01; done; {answer}"
    );
    let mut command = lntu(&["-H", "-v", "-i", FAST, &port]);
    let watcher = Running::start(command.env("PATH", path_with(ss.path())));
    assert!(watcher.next_line().contains("LISTEN"));
    ss.becomes(&slow);
    wait_for("a slow run", || {
        ss.path().join("runs").exists().then_some(())
    });
    stop(&watcher);
    ss.becomes(&answer);
    fs::write(ss.path().join("go"), "").unwrap();
    watcher.assert_silent_for(Duration::from_millis(2100));
    kill_process(watcher.pid(), Signal::CONT).unwrap();
    assert!(watcher.next_error().ends_with("; asking netlink instead"));
    watcher.assert_silent_for(A_WHILE);
    drop(listener);
    let closed = event(&watcher.next_line());
    assert_eq!(closed, format!("tcp CLOSED 127.0.0.1:{port}"));
}

/// Runs lntu from a shell with at most `limit` open descriptors. The shell command `first` may
/// close stdin, so that the loader of the program can use descriptor 0.
fn run_with_few_descriptors(first: &str, limit: u32, arguments: &[&str]) -> Finished {
    let script = format!("{first}; ulimit -n {limit}; exec \"$0\" \"$@\"");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_lntu")]);
    run(shell.args(arguments).stdin(Stdio::null()))
}

#[test]
fn list_fails_without_enough_file_descriptors() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let list = ["list", "-H", "--source", "proc", &port];
    let refused = run_with_few_descriptors("exec <&-", 3, &list);
    // lntu duplicates stdout to a descriptor with a number of at least 3, which this limit forbids.
    assert_eq!(refused.error(), "stdout: Invalid argument (os error 22)");
    let refused = run_with_few_descriptors(":", 4, &list);
    assert_eq!(
        refused.error(),
        "/proc/net/tcp: Too many open files (os error 24)"
    );
    assert_eq!(run_with_few_descriptors(":", 5, &list).lines().len(), 1);
    let list = ["list", "-H", "--source", "netlink", &port];
    let refused = run_with_few_descriptors(":", 4, &list);
    assert_eq!(
        refused.error(),
        "netlink: socket: Too many open files (os error 24)"
    );
    assert_eq!(run_with_few_descriptors(":", 5, &list).lines().len(), 1);
    let directory = fake_ss(&format!("echo '{SS_HEADER}'"));
    let ss = directory.path().join("ss");
    for limit in 4..=16 {
        let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            &script,
            env!("CARGO_BIN_EXE_lntu"),
            "list",
            "-H",
            &port,
        ]);
        let listed = run(shell.env("PATH", path_with(directory.path())));
        if limit == 4 {
            let reason = "Too many open files (os error 24)";
            let ss = ss.display();
            let said =
                format!("{ss}: {reason}; netlink: socket: {reason}; /proc/net/tcp: {reason}");
            assert_eq!(listed.error(), said);
        } else {
            assert_eq!(listed.lines().len(), 1, "{limit}");
        }
    }
}

#[test]
fn a_lack_of_descriptors_closes_no_listener() {
    let port = FreePort::new();
    let listener = port.listen();
    for source in ["proc", "auto"] {
        // Without ss, the source is netlink, whose socket stays open, so the watcher needs no new
        // descriptors.
        if source == "auto" && !have_ss() {
            continue;
        }
        let watcher = watch(&["-H", "--source", source, &port.to_string()]);
        assert!(watcher.next_line().contains("LISTEN"));
        let limit = |current| {
            let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
            let new = Rlimit { current, maximum };
            prlimit(Some(watcher.pid()), Resource::Nofile, new)
                .unwrap()
                .current
        };
        let before = limit(Some(4));
        let error = watcher.next_error();
        let said = "/proc/net/tcp: Too many open files (os error 24); ";
        assert!(
            error.contains(said) && error.ends_with("; trying again"),
            "{error}"
        );
        watcher.assert_silent_for(A_WHILE);
        watcher.assert_no_more_errors();
        limit(before);
        assert_eq!(watcher.next_error(), "lntu: reading listeners again");
        watcher.assert_silent_for(A_WHILE);
    }
    drop(listener);
}

/// With the lowest limits, the kernel cannot load lntu. With slightly higher limits, lntu starts,
/// but has too little memory for an answer.
#[test]
fn little_memory_never_leads_to_a_partial_list() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let mut answers = 0;
    for kibibytes in (500..6000).step_by(250).chain([20_000]) {
        for source in ["proc", "auto", "netlink"] {
            let script = format!("ulimit -c 0; ulimit -v {kibibytes}; exec \"$0\" \"$@\"");
            let mut shell = Command::new("sh");
            shell.args(["-c", &script, env!("CARGO_BIN_EXE_lntu")]);
            let listed = run(shell.args(["list", "-H", "--source", source, &port]));
            if listed.status.success() {
                assert_eq!(listed.lines().len(), 1, "{kibibytes}");
                answers += 1;
            } else {
                assert_eq!(listed.stdout, "", "{kibibytes}: {listed:?}");
                assert_ne!(listed.status.code(), Some(1), "{kibibytes}: {listed:?}");
            }
        }
    }
    assert!(answers >= 2, "{answers}");
}

/// Rebuilds the set of open ports from a watcher's lines.
#[derive(Default)]
struct Replay {
    /// The start of a line whose end has not been read.
    torn: Vec<u8>,
    open: BTreeSet<u16>,
    /// The number of complete lines so far.
    lines: usize,
}

impl Replay {
    /// Adds bytes of the stream. Panics at a line that is not a row, or that changes nothing.
    fn add(&mut self, bytes: &[u8]) {
        self.torn.extend_from_slice(bytes);
        let Some(end) = self.torn.iter().rposition(|byte| *byte == b'\n') else {
            return;
        };
        let rest = self.torn.split_off(end + 1);
        let whole = std::mem::replace(&mut self.torn, rest);
        for line in std::str::from_utf8(&whole).unwrap().lines() {
            self.lines += 1;
            let fields: Vec<&str> = line.split_whitespace().collect();
            let ["tcp", state, "0", "0", local, "0.0.0.0:*"] = fields[..] else {
                panic!("not a line: {line:?}");
            };
            let port = local.strip_prefix("127.0.0.1:").unwrap().parse().unwrap();
            let is_news = match state {
                "LISTEN" => self.open.insert(port),
                "CLOSED" => self.open.remove(&port),
                _ => panic!("not a state: {line:?}"),
            };
            assert!(is_news, "reported twice: {line:?}");
        }
    }
}

/// If stdout is a full pipe, the watcher waits for the reader. If a FIFO that was given with `-o`
/// is full, each write fails, and the watcher tries again.
#[test]
fn a_reader_that_pauses_catches_up_with_the_table() {
    const ROWS: u16 = 1500;
    for to_fifo in [false, true] {
        let proc = FakeProc::new();
        let fifo = fifo_in(proc.0.path());
        let reader = rustix::fs::open(
            &fifo,
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let mut reader = fs::File::from(reader.unwrap());
        // Each table has two thirds of the ports, and a different selection from the table before.
        let ports = |turn: u16| (1..=ROWS).filter(move |port| !(port + turn).is_multiple_of(3));
        proc.put("tcp", table(ports(0)));
        let mut command = lntu(&["-H", "-i", "10ms", "--proc", proc.root()]);
        if to_fifo {
            command.arg("-o").arg(&fifo);
        } else {
            command.stdout(fs::File::options().write(true).open(&fifo).unwrap());
        }
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let stderr = child.stderr.take().unwrap();
        let watcher = KilledOnDrop(child);

        let mut replay = Replay::default();
        let mut read = |replay: &mut Replay| {
            let mut buffer = [0; 4096];
            match reader.read(&mut buffer) {
                // The watcher has not opened the FIFO yet.
                Ok(0) => {}
                Ok(length) => replay.add(&buffer[..length]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        wait_for("the first lines", || {
            read(&mut replay);
            (replay.lines > 100).then_some(())
        });
        let before = peak_memory(pid);
        // Replace the table until the pipe, which holds 64 KiB, is full, and then for a while
        // longer.
        let writer = fs::File::options().write(true).open(&fifo).unwrap();
        let is_full = || {
            let mut writer = [PollFd::new(&writer, PollFlags::OUT)];
            poll(&mut writer, Some(&Timespec::default())).unwrap() == 0
        };
        let mut turn = 0;
        let mut next_table = || {
            turn += 1;
            proc.put("tcp", table(ports(turn)));
            thread::sleep(Duration::from_millis(5));
        };
        wait_for("a full pipe", || {
            next_table();
            is_full().then_some(())
        });
        let until = Instant::now() + A_WHILE;
        while Instant::now() < until {
            next_table();
        }
        let expected: BTreeSet<u16> = ports(turn).collect();
        wait_for("the table", || {
            read(&mut replay);
            (replay.open == expected && replay.torn.is_empty()).then_some(())
        });
        // An earlier table may have had the same ports, so read on for a while.
        let quiet = Instant::now() + A_WHILE;
        while Instant::now() < quiet {
            read(&mut replay);
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!((&replay.open, replay.torn.len()), (&expected, 0));
        let peak = peak_memory(pid);
        assert!(peak < before + 4096, "{before} KiB grew to {peak} KiB");
        drop(watcher);
        let said = io::read_to_string(stderr).unwrap();
        let said: Vec<&str> = said.lines().collect();
        if to_fifo {
            let [failed, again, ..] = said[..] else {
                panic!("{said:?}");
            };
            assert!(failed.ends_with("(os error 11); trying again"), "{said:?}");
            assert!(again.ends_with("fifo: writing again"), "{said:?}");
        } else {
            assert_eq!(said, [""; 0]);
        }
    }
}

/// A process that is killed when this is dropped.
struct KilledOnDrop(std::process::Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `test` on a thread with a tmpfs of this size mounted at `directory`. Programs that the
/// thread starts see this mount, too. Skips the test if mounts are not allowed.
fn with_small_disk(directory: &Path, bytes: u64, test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let name = thread::current().name().unwrap_or("a test").to_string();
        let run = move || {
            let size = std::ffi::CString::new(format!("size={bytes}")).unwrap();
            #[allow(deprecated)] // Only this thread and its later children.
            let mounted = rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNS)
                .and_then(|()| {
                    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
                    mount_change("/", private)
                })
                .and_then(|()| {
                    mount(
                        "none",
                        directory,
                        "tmpfs",
                        MountFlags::empty(),
                        size.as_c_str(),
                    )
                });
            let missing = mounted
                .err()
                .map(|error| format!("a private mount: {error}"));
            if have("netns", missing) {
                test();
            }
        };
        let thread = thread::Builder::new().name(name).spawn_scoped(scope, run);
        if let Err(panic) = thread.unwrap().join() {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn all_lines_are_written_after_a_full_disk_has_room() {
    const PAGE: u64 = 4096;
    let disk = TempDir::new().unwrap();
    with_small_disk(disk.path(), 32 * PAGE, || {
        let proc = FakeProc::new();
        let (lines, ballast) = (disk.path().join("lines"), disk.path().join("ballast"));
        fs::write(&ballast, vec![0; 30 * PAGE as usize]).unwrap();
        proc.put("tcp", table(1..=200));
        let mut command = lntu(&["-H", "-i", FAST, "--proc", proc.root(), "-o"]);
        let watcher = Running::start(command.arg(&lines));
        let error = watcher.next_error();
        let said = "/lines: No space left on device (os error 28); trying again";
        assert!(error.ends_with(said), "{error}");
        assert_eq!(fs::metadata(&lines).unwrap().len(), 2 * PAGE);
        proc.put("tcp", table(100..=300));
        watcher.assert_no_more_errors_for(A_WHILE);
        fs::remove_file(&ballast).unwrap();
        assert!(watcher.next_error().ends_with("/lines: writing again"));
        let expected: BTreeSet<u16> = (100..=300).collect();
        wait_for("every line", || {
            let mut replay = Replay::default();
            replay.add(&fs::read(&lines).unwrap());
            let is_there = replay.open == expected && replay.torn.is_empty();
            is_there.then(|| assert_eq!(replay.lines, 200 + 99 + 100))
        });
        let length = fs::metadata(&lines).unwrap().len();
        watcher.assert_no_more_errors_for(A_WHILE);
        assert_eq!(fs::metadata(&lines).unwrap().len(), length);
    });
}

/// When a write exceeds the limit of file sizes, the kernel also sends SIGXFSZ, which would kill
/// lntu if lntu did not ignore the signal.
#[test]
fn lines_are_written_after_a_file_size_limit_rises() {
    let directory = TempDir::new().unwrap();
    let proc = FakeProc::new();
    let lines = directory.path().join("lines");
    proc.put("tcp", table(1..=200));
    let script = "ulimit -S -f 8; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_lntu")]);
    command.args(["-H", "-i", FAST, "--proc", proc.root(), "-o"]);
    let watcher = Running::start(command.arg(&lines));
    let error = watcher.next_error();
    let said = "/lines: File too large (os error 27); trying again";
    assert!(error.ends_with(said), "{error}");
    let none = Rlimit {
        current: None,
        maximum: None,
    };
    prlimit(Some(watcher.pid()), Resource::Fsize, none).unwrap();
    assert!(watcher.next_error().ends_with("/lines: writing again"));
    let mut replay = Replay::default();
    replay.add(&fs::read(&lines).unwrap());
    assert_eq!((replay.lines, replay.torn.len()), (200, 0));
}
