//! `lntu -- COMMAND`: the state in which the application starts, the watcher next to it, and
//! where the watcher's lines go.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::*;

/// Returns `lntu OPTIONS -- sh -c SCRIPT`, ready to start. The watcher prints neither a header nor
/// the ports that are open at the start.
fn with_watcher(options: &[&str], script: &str) -> Command {
    let quiet = ["--changes-only", "-H", "--source", "proc", "-i", "20ms"];
    lntu(&[&quiet, options, &["--", "sh", "-c", script]].concat())
}

#[test]
fn the_application_gets_the_process_id_of_lntu() {
    let running = Running::start(&mut with_watcher(&[], "echo $$"));
    let pid = running.child.id();
    assert_eq!(running.finish().lines(), [pid.to_string()]);
}

#[test]
fn lntu_exits_with_the_status_of_the_application() {
    let finished = run(&mut with_watcher(&[], "exit 42"));
    assert_eq!((finished.code(), &*finished.stdout), (42, ""));
    assert_eq!(finished.stderr, "");
}

/// If an entrypoint starts a helper that ends early, SIGCHLD is pending when lntu starts. The
/// application must receive the details of this signal unchanged.
#[test]
fn a_pending_sigchld_keeps_its_siginfo() {
    if !have_program("services", "python3") {
        return;
    }
    let script = "import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
child = os.fork()
if child == 0: os._exit(7)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
application = '''import signal
info = signal.sigtimedwait([signal.SIGCHLD], 0)
print(info and (info.si_pid, info.si_status, info.si_code))'''
print(child, flush=True)
os.execvp(sys.argv[1], sys.argv[1:] + ['python3', '-c', application])";
    for before in [&["-qo/dev/null"][..], &["wait", "--source", "proc", "PORT"]] {
        let listener = listen("127.0.0.1");
        let port = port_of(&listener).to_string();
        let mut command = Command::new("python3");
        command.args(["-c", script, env!("CARGO_BIN_EXE_lntu")]);
        command.args(
            before
                .iter()
                .map(|word| if *word == "PORT" { &port } else { *word }),
        );
        let finished = run(command.arg("--"));
        let lines = finished.lines();
        assert_eq!(lines[1], format!("({}, 7, 1)", lines[0]), "{before:?}");
    }
}

#[test]
fn a_command_that_cannot_run_exits_with_126_or_127() {
    let directory = TempDir::new().unwrap();
    let not_executable = directory.path().join("file");
    fs::write(&not_executable, "").unwrap();
    let not_executable = not_executable.to_str().unwrap();
    for (program, status) in [
        ("no-such-program", 127),
        ("/no/such/program", 127),
        (not_executable, 126),
        (directory.path().to_str().unwrap(), 126),
    ] {
        let listener = listen("127.0.0.1");
        let port = port_of(&listener).to_string();
        for before in [&["--changes-only", "-H"][..], &["wait", &port]] {
            let failed = run(&mut lntu(&[before, &["--", program]].concat()));
            assert_eq!(failed.code(), status, "{program:?}");
            assert!(failed.stderr.starts_with(&format!("lntu: {program}: ")));
            assert_eq!(failed.stderr.lines().count(), 1, "{failed:?}");
        }
    }
}

#[test]
fn no_lines_are_printed_if_the_command_cannot_run() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    for _ in 0..20 {
        let failed = run(&mut lntu(&[
            "--source",
            "proc",
            &port,
            "--",
            "/no/such/program",
        ]));
        assert_eq!((failed.code(), failed.stdout.as_str()), (127, ""));
    }
}

#[test]
fn events_are_reported_while_the_application_runs() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let arguments = ["-H", "-i", "20ms", "--source", "proc", &port, "--", "cat"];
    let mut command = lntu(&arguments);
    let mut running = Running::start(command.stdin(Stdio::piped()));
    assert!(running.next_line().contains("LISTEN"));
    drop(listener);
    assert!(running.next_line().contains("CLOSED"));
    drop(running.child.stdin.take());
    assert_eq!(running.finish().code(), 0);
}

#[test]
fn the_watcher_exits_when_the_application_exits() {
    let mut command = with_watcher(&[], "echo started; cat");
    let mut running = Running::start(command.stdin(Stdio::piped()));
    assert_eq!(running.next_line(), "started");
    let watchers = watchers_of(running.child.id());
    assert_eq!(watchers.len(), 1);
    drop(running.child.stdin.take());
    assert_eq!(running.finish().code(), 0);
    wait_for("the watcher's end", || is_gone(watchers[0]).then_some(()));
}

/// If the watcher kept a pipe of the application open, the reader of the pipe would not see its end
/// when the application closes the pipe.
#[test]
fn the_watcher_holds_no_descriptor_of_the_application() {
    let directory = TempDir::new().unwrap();
    let lines = directory.path().join("lines");
    let script = "exec 5>/dev/null; cat";
    let options = ["-o", lines.to_str().unwrap()];
    let mut command = Command::new("sh");
    command.args(["-c", "exec 9</etc/passwd; exec \"$0\" \"$@\""]);
    command.arg(env!("CARGO_BIN_EXE_lntu")).args(options);
    command.args(["--source", "proc", "--", "sh", "-c", script]);
    let running = Running::start(command.stdin(Stdio::piped()));
    let pid = running.child.id();
    wait_for("the first line", || {
        fs::read_to_string(&lines)
            .is_ok_and(|text| text.contains('\n'))
            .then_some(())
    });
    let watcher = watchers_of(pid)[0];
    let open: Vec<String> = fs::read_dir(format!("/proc/{watcher}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .map(|target| target.to_str().unwrap().to_string())
        .collect();
    let stderr = fs::read_link(format!("/proc/{pid}/fd/2")).unwrap();
    let mut expected = vec!["/", "/", stderr.to_str().unwrap(), lines.to_str().unwrap()];
    // On some kernels, the watcher has a pidfd to learn when the application ends.
    let mut open: Vec<&str> = open.iter().map(String::as_str).collect();
    open.retain(|target| !target.contains("pidfd"));
    open.sort_unstable();
    expected.sort_unstable();
    assert_eq!(open, expected);
}

#[test]
fn the_application_starts_even_if_the_watcher_cannot() {
    let mut command = with_watcher(&["-o", "/no/such/directory/file"], "echo started; cat");
    let mut running = Running::start(command.stdin(Stdio::piped()));
    assert_eq!(
        running.next_error(),
        "lntu: /no/such/directory/file: No such file or directory (os error 2)"
    );
    drop(running.child.stdin.take());
    let finished = running.finish();
    assert_eq!(
        (finished.code(), finished.stdout.as_str()),
        (0, "started\n")
    );
}

#[test]
fn output_is_appended_to_an_existing_file() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("lines");
    fs::write(&file, "before\n").unwrap();
    let listed = run(lntu(&["list", "-H", "--source", "proc", &port, "-o"]).arg(&file));
    assert_eq!(listed.lines(), [""; 0]);
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, "before"));
    assert!(lines[1].contains(&port));
}

/// Unlike a FIFO without a reader, a socket can never be opened, so waiting would be in vain.
#[test]
fn a_socket_is_refused_as_output() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let _server = std::os::unix::net::UnixListener::bind(&path).unwrap();
    for command in [&["list", "-o"][..], &["-o"]] {
        let refused = run(lntu(command).arg(&path));
        let why = format!("{}: neither a file nor a FIFO", path.display());
        assert_eq!(refused.error(), why, "{command:?}");
    }
}

/// A FIFO may lose its reader and get a new one. Lines that nobody has read are written again.
#[test]
fn unread_lines_go_to_the_next_reader_of_a_fifo() {
    let directory = TempDir::new().unwrap();
    let fifo = fifo_in(directory.path());
    let first = listen("127.0.0.1");
    let second = listen("127.0.0.1");
    let ports = [port_of(&first).to_string(), port_of(&second).to_string()];
    let arguments = [
        "-H", "-i", "20ms", "--source", "proc", &ports[0], &ports[1], "-o",
    ];
    let watcher = Running::start(lntu(&arguments).arg(&fifo));
    let error = watcher.next_error();
    assert!(error.ends_with("fifo: no reader; trying again"));

    let mut reader = BufReader::new(File::open(&fifo).unwrap());
    let mut line = String::new();
    for _ in 0..2 {
        line.clear();
        reader.read_line(&mut line).unwrap();
        assert!(line.contains("LISTEN"), "{line:?}");
    }
    assert!(watcher.next_error().ends_with("fifo: writing again"));
    drop(reader);
    drop(first);
    assert!(
        watcher
            .next_error()
            .ends_with("fifo: Broken pipe (os error 32); trying again")
    );
    drop(second);
    let mut reader = BufReader::new(File::open(&fifo).unwrap());
    let mut closed = String::new();
    reader.read_line(&mut closed).unwrap();
    reader.read_line(&mut closed).unwrap();
    for port in ports {
        assert!(closed.contains(&format!("127.0.0.1:{port}")), "{closed}");
    }
    assert_eq!(closed.matches("CLOSED").count(), 2);
}

/// With `--changes-only`, lntu prints all changes since its first poll, not only those after a
/// reader has opened the FIFO.
#[test]
fn a_late_reader_of_a_fifo_gets_earlier_changes() {
    let directory = TempDir::new().unwrap();
    let fifo = fifo_in(directory.path());
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let arguments = [
        "--changes-only",
        "-i",
        "20ms",
        "--source",
        "proc",
        &port,
        "-o",
    ];
    let watcher = Running::start(lntu(&arguments).arg(&fifo));
    assert!(watcher.next_error().ends_with("; trying again"));
    drop(listener);
    std::thread::sleep(Duration::from_millis(200));
    let mut lines = BufReader::new(File::open(&fifo).unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("Netid"));
    assert!(lines.next().unwrap().unwrap().contains("CLOSED"));
}

#[test]
fn list_reports_that_a_fifo_has_no_reader() {
    let directory = TempDir::new().unwrap();
    let fifo = fifo_in(directory.path());
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let arguments = ["list", "-H", "--source", "proc", &port, "-o"];
    let list = Running::start(lntu(&arguments).arg(&fifo));
    let said = list.next_error();
    assert!(said.ends_with("fifo: no reader; waiting"), "{said}");
    let mut read = String::new();
    File::open(&fifo)
        .unwrap()
        .read_to_string(&mut read)
        .unwrap();
    assert!(
        read.contains(&port) && read.lines().count() == 1,
        "{read:?}"
    );
    assert_eq!(list.finish().lines(), [""; 0]);
}

/// A socket cannot be opened by its name. A standard stream is open already, so it may be a socket.
#[test]
fn output_can_be_a_socket_that_is_a_standard_stream() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    for (fd, name) in [
        (2, "/dev/stderr"),
        (2, "/dev/fd/2"),
        (1, "/dev/stdout"),
        (1, "/dev/fd/1"),
    ] {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut command = lntu(&["list", "-H", "--source", "proc", &port, "-o", name]);
        let theirs = Stdio::from(std::os::fd::OwnedFd::from(theirs));
        match fd {
            1 => command.stdout(theirs),
            _ => command.stderr(theirs),
        };
        assert_eq!(command.status().unwrap().code(), Some(0), "{name}");
        drop(command);
        let mut read = String::new();
        ours.read_to_string(&mut read).unwrap();
        assert!(read.contains(&port), "{name}: {read:?}");
    }
}

#[test]
fn output_to_dev_stderr_goes_to_stderr() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let listed = run(&mut lntu(&[
        "list",
        "-H",
        "--source",
        "proc",
        &port,
        "-o",
        "/dev/stderr",
    ]));
    assert_eq!((listed.code(), listed.stdout.as_str()), (0, ""));
    assert!(listed.stderr.contains(&port), "{listed:?}");
    let failed = run(&mut lntu(&["list", "-o", "/"]));
    assert_eq!(failed.error(), "/: Is a directory (os error 21)");
}

#[test]
fn a_closed_stdout_is_an_error() {
    for command in ["list", "watch"] {
        let script = "exec \"$0\" \"$1\" --source proc >&-";
        let mut shell = Command::new("sh");
        let failed = run(shell.args(["-c", script, env!("CARGO_BIN_EXE_lntu"), command]));
        assert_eq!(failed.error(), "stdout: Bad file descriptor (os error 9)");
    }
}
