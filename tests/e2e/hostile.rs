//! `--proc DIR` with a directory that somebody else made: no file in it can block lntu or fill its
//! memory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::harness::*;

/// Something that blocks lntu or fills its memory if lntu reads it like a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trap {
    /// A FIFO. Opening it blocks until there is a writer.
    Fifo,
    /// A link to `/dev/zero`, which has no end and no lines.
    Device,
    /// A regular file of 1 TiB that needs no disk space.
    Sparse,
}

/// A directory that stands in for `/proc`. It shows a listener on port 80, which process 7 holds.
struct HostileProc(TempDir);

impl HostileProc {
    fn new() -> HostileProc {
        let proc = HostileProc(TempDir::new().unwrap());
        let row = "   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000 \
                   0 0 1 1 0 100 0 0 10 0\n";
        let stat = format!("7 (a) S 1 {} 777\n", "0 ".repeat(17));
        for (name, contents) in [
            ("net/tcp", &*format!("{PROC_HEADER}{row}")),
            ("net/tcp6", PROC_HEADER),
            ("net/sockstat", "TCP: inuse 1\n"),
            ("7/comm", "a\n"),
            ("7/stat", &stat),
            ("7/task/7/children", ""),
            ("sys/net/ipv4/ip_local_port_range", "32768 60999\n"),
        ] {
            let path = proc.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        fs::create_dir(proc.path("7/fd")).unwrap();
        symlink("socket:[1]", proc.path("7/fd/3")).unwrap();
        proc
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Replaces the file `name` with a trap.
    fn replace(&self, trap: Trap, name: &str) {
        let path = self.path(name);
        fs::remove_file(&path).unwrap();
        match trap {
            Trap::Fifo => fs::rename(fifo_in(self.0.path()), path).unwrap(),
            Trap::Device => symlink("/dev/zero", path).unwrap(),
            Trap::Sparse => fs::File::create(path).unwrap().set_len(1 << 40).unwrap(),
        }
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        run_with_little_memory(self.0.path(), arguments)
    }
}

/// Runs lntu with these arguments and `--proc`, and with at most 200 MB of memory.
fn run_with_little_memory(proc: &Path, arguments: &[&str]) -> Finished {
    let script = "ulimit -v 200000; exec \"$0\" \"$@\"";
    let mut limited = Command::new("sh");
    limited.args(["-c", script, env!("CARGO_BIN_EXE_lntu")]);
    limited.args(arguments).arg("--proc").arg(proc);
    Running::start(&mut limited).finish()
}

const LIST: [&str; 6] = ["list", "-Hp", "--of", "7", "--exclude", "ephemeral"];
const CHECK: [&str; 4] = ["check", "--of", "7", "80"];

#[test]
fn a_proc_directory_without_traps_is_read() {
    let proc = HostileProc::new();
    let listed = proc.run(&LIST);
    assert!(listed.lines()[0].contains("127.0.0.1:80 "), "{listed:?}");
    assert!(proc.run(&CHECK).status.success());
}

#[test]
fn a_trap_in_place_of_a_needed_file_is_an_error() {
    for trap in [Trap::Fifo, Trap::Device, Trap::Sparse] {
        for name in ["net/tcp", "net/tcp6", "7/stat", "7/task/7/children"] {
            // lntu reads up to 1 GiB of a table, which would take too long in this test.
            if trap == Trap::Sparse && name.starts_with("net") {
                continue;
            }
            let proc = HostileProc::new();
            proc.replace(trap, name);
            let reason = match (trap, name) {
                (Trap::Sparse, "7/stat") => "invalid data",
                (Trap::Sparse, _) => "file too large",
                _ => "not a regular file",
            };
            for arguments in [&LIST[..], &CHECK] {
                let said = proc.run(arguments);
                assert!(said.error().contains(reason), "{trap:?} {name}: {said:?}");
            }
        }
    }
}

#[test]
fn a_trap_in_place_of_an_optional_file_is_ignored() {
    for trap in [Trap::Fifo, Trap::Device, Trap::Sparse] {
        let range = "sys/net/ipv4/ip_local_port_range";
        for name in ["net/sockstat", "7/comm", range] {
            let proc = HostileProc::new();
            proc.replace(trap, name);
            let listed = proc.run(&LIST);
            assert_eq!(listed.code(), 0, "{trap:?} {name}: {listed:?}");
            assert!(listed.stdout.contains("127.0.0.1:80 "), "{listed:?}");
        }
    }
}

#[test]
fn a_fifo_in_place_of_the_proc_directory_is_an_error() {
    let directory = TempDir::new().unwrap();
    let fifo = fifo_in(directory.path());
    let is_refused = |listed: Finished| {
        assert!(listed.error().contains("Not a directory"), "{listed:?}");
    };
    is_refused(run_with_little_memory(&fifo, &["list"]));
    // Test the static build, too, because Rust's std for musl opens files in another way.
    if have_static() {
        let mut list = Command::new(&binaries().lntu);
        list.args(["list", "--proc"]).arg(&fifo);
        is_refused(Running::start(&mut list).finish());
    }
}

/// Each of two thousand processes lists all of them as its children.
#[test]
fn a_child_that_is_listed_many_times_is_searched_once() {
    let proc = HostileProc::new();
    let children: String = (7..2000).map(|pid| format!("{pid} ")).collect();
    fs::write(proc.path("7/task/7/children"), children).unwrap();
    for pid in 8..2000 {
        symlink("7", proc.path(&pid.to_string())).unwrap();
    }
    let listed = proc.run(&["list", "-H", "--of", "7"]);
    assert_eq!(listed.lines().len(), 1, "{listed:?}");
}
