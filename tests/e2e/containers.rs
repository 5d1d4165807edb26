//! The static binary in real containers, whose images contain only lntu and an application. Some
//! tests run the static binary and the application outside of a container.

mod all_namespaces;
mod beside;
mod hardened;
mod inherited;
mod names;
mod probes;
mod proxies;
mod services;
mod whose;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode};
use tempfile::TempDir;

use crate::harness::docker::*;
use crate::harness::*;

/// The longest time that `docker stop` may take if the container's process exits on SIGTERM. If it
/// does not exit, Docker kills it after 10 s.
const AT_ONCE: Duration = Duration::from_secs(5);

const HEADER: &str = "Netid State  Recv-Q Send-Q Local Address:Port Peer Address:Port";

/// Returns the state and the local address in each line.
fn events(lines: &str) -> Vec<String> {
    let event = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        format!("{} {}", fields[1], fields[4])
    };
    lines.lines().map(event).collect()
}

#[test]
fn the_static_binary_has_at_most_400_kib() {
    if !have_static() {
        return;
    }
    let size = fs::metadata(&binaries().lntu).unwrap().len();
    assert!(size <= 400 * 1024, "{size} bytes");
}

/// A dynamic binary names an interpreter, which an empty image does not have.
#[test]
fn the_static_binary_needs_no_elf_interpreter() {
    if !have_static() {
        return;
    }
    let file = fs::read(&binaries().lntu).unwrap();
    let number = |offset: usize, length: usize| {
        let bytes = file[offset..offset + length].iter().rev();
        bytes.fold(0, |value, byte| value << 8 | usize::from(*byte))
    };
    // e_phoff, e_phentsize and e_phnum of the ELF header locate the program headers.
    let (start, size, count) = (number(0x20, 8), number(0x36, 2), number(0x38, 2));
    let kinds = (0..count).map(|index| number(start + index * size, 4));
    let kinds: Vec<usize> = kinds.collect();
    const PT_LOAD: usize = 1;
    const PT_INTERP: usize = 3;
    assert!(kinds.contains(&PT_LOAD), "{kinds:?}");
    assert!(!kinds.contains(&PT_INTERP), "{kinds:?}");
}

/// The program runs `ss -lntu` and parses the output.
#[test]
fn a_parser_of_ss_output_accepts_lntu_named_ss() {
    if !have_docker() {
        return;
    }
    let Binaries { lntu, parser, .. } = binaries();
    let dockerfile = "FROM scratch\nCOPY parser /\nCOPY lntu /usr/bin/ss\n";
    let image = Image::of(dockerfile, &[lntu, parser]);
    let alone = image.run(&[], &["/parser"]);
    assert_eq!(alone.lines(), [""; 0]);

    let server = Image::scratch().start_server(Port::Open, "8080");
    let with_server = image.run(&[&server.network()], &["/parser"]);
    assert_eq!(with_server.lines(), ["tcp LISTEN 0.0.0.0:8080"]);
}

#[test]
fn the_scratch_image_lists_the_ports_of_its_network() {
    if !have_docker() {
        return;
    }
    binaries();
    let repository = repository().to_str().unwrap();
    let dockerfile = format!("{repository}/Dockerfile.scratch");
    // Docker's classic builder cannot choose a stage by platform, so the test names the stage.
    let stage = match std::env::consts::ARCH {
        "aarch64" => "for-arm64",
        _ => "for-amd64",
    };
    let image = Image::build(&["-f", &dockerfile, "--target", stage, repository], None);
    let alone = image.run(&[], &["list"]);
    assert_eq!(alone.lines(), [HEADER]);

    let server = Image::scratch().start_server(Port::Open, "8080");
    let with_server = image.run(&[&server.network()], &["list", "-H"]);
    assert_eq!(events(&with_server.lines().join("\n")), ["LISTEN *:8080"]);
}

#[test]
fn a_health_check_detects_a_port_without_connecting() {
    if !have_docker() {
        return;
    }
    let image = Image::scratch_with(
        "HEALTHCHECK --interval=1s --timeout=20s --retries=1 CMD [\"/lntu\", \"check\", \"8080\"]",
    );
    let server = image.start_server(Port::Closed, "8080");
    let wait_for_health = |health: &str| {
        wait_for(health, || {
            (server.inspect("{{.State.Health.Status}}") == health).then_some(())
        });
    };
    wait_for_health("unhealthy");
    server.opens_its_port();
    wait_for_health("healthy");
    server.closes_its_port();
    wait_for_health("unhealthy");
    server.opens_its_port();
    wait_for_health("healthy");
    assert!(!server.logs().stdout.contains("connection"));

    let client = image.run(&[&server.network()], &["/app", "connect", "8080"]);
    assert!(client.status.success(), "{client:?}");
    server.wait_for_line("connection from 127.0.0.1");
}

#[test]
fn docker_stop_ends_a_watcher_without_losing_lines() {
    if !have_docker() {
        return;
    }
    let image = Image::scratch();
    let server = image.start_server(Port::Open, "8080");
    let watcher = image.start(&[&server.network()], &["/lntu", "-i", "1h"]);
    watcher.wait_for_line("LISTEN");
    let started = Instant::now();
    watcher.stop();
    assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
    assert_eq!(watcher.status(), 143);
    let logs = watcher.logs();
    let (header, rows) = logs.stdout.split_once('\n').unwrap();
    assert!(header.starts_with("Netid State"), "{logs:?}");
    assert_eq!(events(rows), ["LISTEN *:8080"]);
    assert!(rows.ends_with('\n') && logs.stderr.is_empty(), "{logs:?}");
}

#[test]
fn docker_stop_reaches_an_application_with_a_watcher() {
    if !have_docker() {
        return;
    }
    let app = [
        "/app", "listen", "8080", "serve", "say", "goodbye", "exit", "7",
    ];
    let container = Image::scratch().start(
        &[],
        &[&["/lntu", "-i", "100ms", "-H", "--"], &app[..]].concat(),
    );
    container.wait_for_line("serving");
    container.wait_for_line("LISTEN");
    let started = Instant::now();
    container.stop();
    assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
    assert_eq!(container.status(), 7);
    let logs = container.logs();
    assert!(logs.stdout.ends_with("terminated\ngoodbye\n"), "{logs:?}");
}

#[test]
fn docker_wait_prints_the_status_of_the_application() {
    if !have_docker() {
        return;
    }
    let image = Image::scratch();
    let ends: [&[&str]; 11] = [
        &["exit", "0"],
        &["exit", "1"],
        &["exit", "2"],
        &["exit", "42"],
        &["exit", "126"],
        &["exit", "127"],
        &["exit", "128"],
        &["exit", "137"],
        &["exit", "255"],
        &["raise", "KILL", "exit", "3"],
        &["abort"],
    ];
    let started = ends.map(|end| {
        let alone = [&["/app"], end].concat();
        let watched = [&["/lntu", "--"], &alone[..]].concat();
        [alone, watched].map(|command| image.start(&[], &command))
    });
    let statuses = started.map(|pair| pair.map(|container| container.status()));
    for ((end, [alone, watched]), index) in ends.iter().zip(statuses).zip(0..) {
        assert_eq!(alone, watched, "{end:?}");
        if index < 9 {
            assert_eq!(alone.to_string(), end[1]);
        }
    }
}

#[test]
fn each_of_256_exit_statuses_is_passed_on() {
    if !have_docker() {
        return;
    }
    let all = Image::scratch().run(&[], &["/app", "statuses", "/lntu", "--", "/app"]);
    assert_eq!(all.lines(), ["all of them"]);
}

#[test]
fn a_command_that_cannot_run_exits_with_126_or_127() {
    if !have_docker() {
        return;
    }
    let image = Image::scratch();
    let server = image.start_server(Port::Open, "8080");
    for helper in [&["/lntu", "--"][..], &["/lntu", "wait", "8080", "--"]] {
        for (program, status) in [("/missing", 127), ("missing", 127), ("/etc/hosts", 126)] {
            let command = [helper, &[program]].concat();
            let container = image.start(&[&server.network()], &command);
            assert_eq!(container.status(), status, "{command:?}");
            let stderr = container.logs().stderr;
            assert!(
                stderr.starts_with(&format!("lntu: {program}: ")),
                "{stderr}"
            );
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
        }
    }
}

#[test]
fn killing_the_application_leaves_no_process() {
    if !have_docker() {
        return;
    }
    let image = Image::scratch();
    let container = image.start(&[], &["/lntu", "-i", "1h", "--", "/app", "daemon", "serve"]);
    container.wait_for_line("serving");
    container.wait_for_line("Netid");
    let processes = container.processes();
    assert_eq!(
        processes.len(),
        3,
        "the application, its daemon and the watcher"
    );
    container.signal("KILL");
    assert_eq!(container.status(), 137);
    for process in processes {
        wait_for("a process's end", || is_gone(process).then_some(()));
    }
}

#[test]
fn wait_starts_its_command_when_a_neighbour_listens() {
    if !have_docker() {
        return;
    }
    let image = Image::scratch();
    let server = image.start_server(Port::Closed, "5432");
    let waiter = image.start(
        &[&server.network()],
        &[
            "/lntu", "wait", "5432", "--", "/app", "say", "started", "exit", "42",
        ],
    );
    assert!(waiter.is_running());
    assert_eq!(waiter.logs().stdout, "");
    server.opens_its_port();
    assert_eq!(waiter.status(), 42);
    let logs = waiter.logs();
    assert_eq!((&*logs.stdout, &*logs.stderr), ("started\n", ""));

    let waiter = image.start(&[&server.network()], &["/lntu", "wait", "--closed", "5432"]);
    assert!(waiter.is_running());
    server.closes_its_port();
    assert_eq!(waiter.status(), 0);
    assert!(!server.logs().stdout.contains("connection"));
}

#[test]
fn a_timed_out_wait_names_the_missing_ports() {
    if !have_docker() {
        return;
    }
    let image = Image::scratch();
    let server = image.start_server(Port::Open, "8080");
    let wait = |arguments: &[&str]| {
        let wait = ["/lntu", "wait", "--timeout", "300ms"];
        let app = ["--", "/app", "say", "started"];
        let waited = image.run(&[&server.network()], &[&wait, arguments, &app].concat());
        assert_eq!((waited.code(), &*waited.stdout), (1, ""));
        without_time(&waited.stderr)
    };
    let stderr = wait(&["8080", "5432", "53/udp"]);
    assert!(
        stderr.starts_with("lntu: 5432/tcp, 53/udp: not listening after N s"),
        "{stderr}"
    );
    let stderr = wait(&["--closed", "8080", "5432"]);
    assert!(
        stderr.starts_with("lntu: 8080/tcp: still taken after N s by "),
        "{stderr}"
    );
}

#[test]
fn wait_can_start_a_watcher_as_its_command() {
    if !have_docker() {
        return;
    }
    let image = Image::scratch();
    let server = image.start_server(Port::Closed, "5432");
    let container = image.start(
        &[&server.network()],
        &[
            "/lntu", "wait", "5432/tcp", "--", "/lntu", "-H", "-i", "100ms", "--", "/app",
            "reserve", "8080", "serve", "exit", "42",
        ],
    );
    server.opens_its_port();
    container.wait_for_line("serving");
    container.wait_for_line(":5432");
    container.opens_its_port();
    container.wait_for_line(":8080");
    container.stop();
    assert_eq!(container.status(), 42);
    let logs = container.logs();
    let (app, lines): (Vec<&str>, Vec<&str>) =
        logs.stdout.lines().partition(|line| !line.contains(':'));
    assert_eq!(app, ["serving", "opened", "terminated"]);
    assert_eq!(
        events(&lines.join("\n")),
        ["LISTEN *:5432", "LISTEN *:8080"]
    );
}

/// Makes a directory. Returns it, and the option of `docker run` that mounts it as `/out`.
fn output_directory() -> (TempDir, String) {
    let directory = TempDir::new().unwrap();
    let option = format!("--volume={}:/out", directory.path().display());
    (directory, option)
}

/// Starts a container with an application and a watcher that writes its lines to `output`. Then
/// makes the application open port 8080.
fn start_with_output(output: &str, option: &str) -> Container {
    let helper = ["/lntu", "-H", "-i", "100ms", "-o", output, "--"];
    let app = ["/app", "reserve", "8080", "serve", "exit", "42"];
    let container = Image::scratch().start(&[option], &[&helper, &app[..]].concat());
    container.wait_for_line("serving");
    container.opens_its_port();
    container
}

/// Stops the container, and checks that its stdout has only lines of the application. Returns
/// its stderr.
fn assert_stdout_has_no_events(container: &Container) -> String {
    container.stop();
    assert_eq!(container.status(), 42);
    let logs = container.logs();
    assert_eq!(logs.stdout, "serving\nopened\nterminated\n");
    logs.stderr
}

#[test]
fn lines_written_to_a_file_are_not_on_stdout() {
    if !have_docker() {
        return;
    }
    let (directory, option) = output_directory();
    let file = directory.path().join("lines");
    let container = start_with_output("/out/lines", &option);
    let lines = wait_for("the lines", || {
        let lines = fs::read_to_string(&file).unwrap_or_default();
        lines.ends_with('\n').then_some(lines)
    });
    assert_eq!(events(&lines), ["LISTEN *:8080"]);
    assert_eq!(assert_stdout_has_no_events(&container), "");
}

#[test]
fn a_fifo_gets_the_lines_when_a_reader_opens_it() {
    if !have_docker() {
        return;
    }
    let (directory, option) = output_directory();
    let fifo = directory.path().join("fifo");
    rustix::fs::mkfifoat(CWD, &fifo, Mode::from_raw_mode(0o600)).unwrap();
    let container = start_with_output("/out/fifo", &option);
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(File::open(fifo).unwrap()).lines() {
            let _ = sender.send(line.unwrap());
        }
    });
    let line = lines.recv_timeout(DEADLINE).expect("a line in the FIFO");
    assert_eq!(events(&line), ["LISTEN *:8080"]);
    container.closes_its_port();
    let line = lines.recv_timeout(DEADLINE).expect("a line in the FIFO");
    assert_eq!(events(&line), ["CLOSED *:8080"]);
    container.stop();
    assert_eq!(container.status(), 42);
    let stdout = container.logs().stdout;
    assert_eq!(stdout, "serving\nopened\nclosed\nterminated\n");
}

#[test]
fn lines_written_to_stderr_are_not_on_stdout() {
    if !have_docker() {
        return;
    }
    let container = start_with_output("/dev/stderr", "--interactive=false");
    container.wait_for_line("LISTEN");
    let stderr = assert_stdout_has_no_events(&container);
    assert_eq!(events(&stderr), ["LISTEN *:8080"]);
}
