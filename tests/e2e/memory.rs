//! Tests of lntu with little memory. Under every memory limit with which the kernel can load lntu,
//! the application must start, even if there is too little memory for a watcher. After a peak, a
//! watcher must return memory to the kernel.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::*;

const OUT_OF_MEMORY: &str = "lntu: out of memory\n";
const WITHOUT_WATCHER: &str = "lntu: out of memory; COMMAND runs without the watcher\n";

/// A table in which port 22 is listening and port 1 is not.
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/proc/linux-6.18");

/// The path of an application that needs less memory than lntu. It prints `started` and exits
/// with 42.
fn tiny() -> &'static str {
    static TINY: OnceLock<PathBuf> = OnceLock::new();
    let tiny = TINY.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let mut build = Command::new(cargo);
        build.args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "--example",
            "tiny",
        ]);
        let built = run(build.current_dir(repository()).args([
            "--target",
            &target(),
            "--target-dir",
            "target",
        ]));
        assert!(built.status.success(), "{}", built.stderr);
        let release = repository().join("target").join(target()).join("release");
        release.join("examples/tiny")
    });
    tiny.to_str().unwrap()
}

/// Runs `program` with at most this much address space.
fn run_limited(kibibytes: usize, program: &str, arguments: &[&str]) -> Finished {
    let script = format!("ulimit -c 0; ulimit -v {kibibytes}; exec \"$0\" \"$@\"");
    run(Command::new("timeout")
        .args(["-s", "KILL", "60", "sh", "-c", &script, program])
        .args(arguments))
}

/// Returns 80 limits of memory in KiB, in steps of 4 KiB. The first is the lowest with which the
/// kernel can load lntu. With a lower limit, the kernel kills the process during exec.
fn limits() -> impl Iterator<Item = usize> {
    let lntu = binaries().lntu.to_str().unwrap();
    let pages = (0..2048).step_by(4);
    let loads = |limit| run_limited(limit, lntu, &["-V"]).status.code().is_some();
    pages.skip_while(move |limit| !loads(*limit)).take(80)
}

#[test]
fn the_application_starts_under_every_memory_limit() {
    if !have_static() {
        return;
    }
    let lntu = binaries().lntu.to_str().unwrap();
    let (mut messages, mut tried) = (Vec::new(), 0);
    for limit in limits() {
        let options = ["--changes-only", "-H", "--proc", TABLE, "--"];
        let finished = run_limited(limit, lntu, &[&options[..], &[tiny()]].concat());
        let found = (finished.status.code(), finished.stdout.as_str());
        assert_eq!(found, (Some(42), "started\n"), "{limit}: {finished:?}");
        messages.push(finished.stderr);
        tried += 1;
    }
    // With the lowest limits, there is no memory for the arguments of lntu. With slightly higher
    // limits, there is no memory for the watcher. With the highest limits, there is no message.
    messages.dedup();
    assert_eq!(messages, [WITHOUT_WATCHER, OUT_OF_MEMORY, ""], "{tried}");
}

#[test]
fn a_quiet_watcher_does_not_report_lack_of_memory() {
    if !have_static() {
        return;
    }
    let lntu = binaries().lntu.to_str().unwrap();
    let limit = limits().next().unwrap();
    let finished = run_limited(limit, lntu, &["-qo/dev/null", "--", tiny()]);
    let found = (finished.status.code(), finished.stderr.as_str());
    assert_eq!(found, (Some(42), ""), "{limit}: {finished:?}");
}

#[test]
fn wait_does_not_start_early_if_memory_runs_out() {
    if !have_static() {
        return;
    }
    let lntu = binaries().lntu.to_str().unwrap();
    let mut statuses = Vec::new();
    for limit in limits() {
        for (port, status) in [("1", 1), ("22", 42)] {
            let wait = [
                "wait",
                "--timeout",
                "0s",
                "--proc",
                TABLE,
                port,
                "--",
                tiny(),
            ];
            let finished = run_limited(limit, lntu, &wait);
            let code = finished.code();
            let is_out_of_memory = code == 2 && finished.stderr == OUT_OF_MEMORY;
            assert!(is_out_of_memory || code == status, "{limit}: {finished:?}");
            let started = if code == 42 { "started\n" } else { "" };
            assert_eq!(finished.stdout, started, "{limit}: {finished:?}");
            statuses.push(code);
        }
    }
    for status in [1, 2, 42] {
        assert!(statuses.contains(&status), "{status}: {statuses:?}");
    }
}

#[test]
fn refused_commands_start_nothing_if_memory_is_short() {
    if !have_static() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let ss = directory.path().join("ss");
    symlink(&binaries().lntu, &ss).unwrap();
    let lntu = binaries().lntu.to_str().unwrap();
    for limit in limits().take(40) {
        for (program, arguments) in [
            (lntu, &["list", "--", tiny()][..]),
            (lntu, &["check", "22", "--", tiny()]),
            (ss.to_str().unwrap(), &["-ltn", "--", tiny()]),
            (lntu, &["-q", "--", "/nonexistent"]),
        ] {
            let finished = run_limited(limit, program, arguments);
            let lines = finished.stderr.lines().count();
            let found = (finished.stdout.contains("started"), lines);
            assert_eq!(found, (false, 1), "{limit}: {arguments:?}: {finished:?}");
        }
    }
}

/// Starts several processes that together hold 20,000 listeners. No two listeners have both the
/// same address and the same port.
fn twenty_thousand_listeners() -> Running {
    let script = "import os, resource, signal, socket
_, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
reader, writer = os.pipe()
for child in range(40):
    if os.fork() == 0:
        listeners = []
        for number in range(child * 500, child * 500 + 500):
            address = f'127.1.{number // 250}.1', 20000 + number % 250
            listeners.append(socket.create_server(address))
        os.write(writer, b'.')
        signal.pause()
for child in range(40):
    os.read(reader, 1)
print('all', flush=True)
signal.pause()";
    let holders = Running::start(Command::new("python3").args(["-c", script]));
    assert_eq!(holders.next_line(), "all");
    holders
}

/// Starts a watcher with these options and waits until it is ready. Returns the watcher, and how
/// much memory it uses at that time, in KiB.
fn ready_watcher(directory: &Path, options: &[&str]) -> (Running, u64) {
    let lines = directory
        .join("lines")
        .with_extension(options.join("").replace('/', ""));
    let mut command = Command::new(&binaries().lntu);
    command.args(options).args(["-i", FAST, "--json", "-o"]);
    let watcher = Running::start(command.arg(&lines));
    wait_for("ready", || {
        let lines = fs::read_to_string(&lines).unwrap_or_default();
        lines.contains("\"ready\"").then_some(())
    });
    let before = memory(watcher.child.id(), "VmRSS:");
    (watcher, before)
}

/// Waits until each watcher uses at least 2 MiB more memory than when it was ready.
fn wait_for_peak(watchers: &[(Running, u64)]) {
    wait_for_growth(watchers, "the peak", |growth| growth > 2048);
}

/// Waits until each watcher uses at most 1 MiB more memory than when it was ready.
fn wait_for_return(watchers: &[(Running, u64)]) {
    wait_for_growth(watchers, "the return of memory", |growth| growth <= 1024);
}

/// Calls `expected` with the memory, in KiB, that each watcher uses more than when it was ready.
/// Waits until `expected` has returned true for each watcher.
fn wait_for_growth(watchers: &[(Running, u64)], event: &str, expected: impl Fn(u64) -> bool) {
    for (watcher, before) in watchers {
        wait_within(Duration::from_secs(120), event, || {
            let now = memory(watcher.child.id(), "VmRSS:");
            expected(now.saturating_sub(*before)).then_some(())
        });
    }
}

#[test]
fn memory_shrinks_after_a_peak_of_listeners() {
    if !have_static() || !have_program("services", "python3") || !have_ss() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let own = std::process::id().to_string();
    in_private_network(|| {
        let _listener = listen("127.0.0.1");
        let watchers = [
            ready_watcher(directory.path(), &["--source", "netlink"]),
            ready_watcher(directory.path(), &["--source", "proc", "--full"]),
            ready_watcher(directory.path(), &["--source", "ss", "--of", &own]),
        ];
        let holders = twenty_thousand_listeners();
        wait_for_peak(&watchers);
        drop(holders);
        wait_for_return(&watchers);
    });
}

/// The watcher reads a directory that stands in for `/proc`. It contains only one process, so that
/// the search for holders is cheap.
#[test]
fn memory_shrinks_after_a_peak_of_holders() {
    if !have_static() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let proc = directory.path().join("proc");
    fs::create_dir_all(proc.join("net")).unwrap();
    fs::create_dir_all(proc.join("7/fd")).unwrap();
    fs::write(proc.join("7/comm"), "name\n").unwrap();
    let write_table = |inodes: std::ops::RangeInclusive<u32>| {
        let row = |inode| {
            format!(
                "   0: {inode:08X}:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000 \
                 0 0 {inode} 1 0 100 0 0 10 0\n"
            )
        };
        let rows: String = inodes.map(row).collect();
        fs::write(proc.join("draft"), format!("{PROC_HEADER}{rows}")).unwrap();
        fs::rename(proc.join("draft"), proc.join("net/tcp")).unwrap();
    };
    for inode in 1..=20_000 {
        let link = proc.join("7/fd").join(inode.to_string());
        symlink(format!("socket:[{inode}]"), link).unwrap();
    }
    write_table(1..=1);
    let root = proc.to_str().unwrap();
    let watchers = [ready_watcher(directory.path(), &["-p", "--proc", root])];
    write_table(1..=20_000);
    wait_for_peak(&watchers);
    write_table(1..=1);
    wait_for_return(&watchers);
}
