//! Under every limit of memory under which the kernel can load lntu, the application
//! starts, with or without a watcher. Where no application may start, none does.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::containers::docker::{binaries, have_static, repository, target};
use crate::harness::*;

const OUT_OF_MEMORY: &str = "lntu: out of memory\n";
const WITHOUT_WATCHER: &str = "lntu: out of memory; the command runs without the watcher\n";

/// A table in which port 22 is listening and port 1 is not.
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/proc/linux-6.18");

/// An application that needs less memory than lntu. It prints `started` and ends with 42.
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

/// Runs `program` with so much address space.
fn limited(kibibytes: usize, program: &str, arguments: &[&str]) -> Finished {
    let script = format!("ulimit -c 0; ulimit -v {kibibytes}; exec \"$0\" \"$@\"");
    run(Command::new("timeout")
        .args(["-s", "KILL", "60", "sh", "-c", &script, program])
        .args(arguments))
}

/// The limits from the first under which the kernel loads lntu up to where it has plenty.
/// Under a smaller one, the kernel kills whoever becomes lntu.
fn limits() -> impl Iterator<Item = usize> {
    let lntu = binaries().lntu.to_str().unwrap();
    // In steps of a page.
    let all = (0..2048).step_by(4);
    all.skip_while(|limit| limited(*limit, lntu, &["-V"]).status.code().is_none())
        .take(80)
}

#[test]
fn the_application_starts_once_under_every_limit() {
    if !have_static() {
        return;
    }
    let lntu = binaries().lntu.to_str().unwrap();
    let (mut said, mut tried) = (Vec::new(), 0);
    for limit in limits() {
        let options = ["--changes-only", "-H", "--proc", TABLE, "--"];
        let finished = limited(limit, lntu, &[&options[..], &[tiny()]].concat());
        let found = (finished.status.code(), finished.stdout.as_str());
        assert_eq!(found, (Some(42), "started\n"), "{limit}: {finished:?}");
        said.push(finished.stderr);
        tried += 1;
    }
    // First there is no memory for the arguments, then none for the watcher.
    said.dedup();
    assert_eq!(said, [WITHOUT_WATCHER, OUT_OF_MEMORY, ""], "{tried}");
}

#[test]
fn a_quiet_lntu_starts_the_application_without_a_word() {
    if !have_static() {
        return;
    }
    let lntu = binaries().lntu.to_str().unwrap();
    let limit = limits().next().unwrap();
    let finished = limited(limit, lntu, &["-qo/dev/null", "--", tiny()]);
    let found = (finished.status.code(), finished.stderr.as_str());
    assert_eq!(found, (Some(42), ""), "{limit}: {finished:?}");
}

#[test]
fn a_wait_starts_no_application_before_its_port_is_seen() {
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
            let finished = limited(limit, lntu, &wait);
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
fn what_starts_no_application_starts_none_out_of_memory() {
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
            let finished = limited(limit, program, arguments);
            let lines = finished.stderr.lines().count();
            let found = (finished.stdout.contains("started"), lines);
            assert_eq!(found, (false, 1), "{limit}: {arguments:?}: {finished:?}");
        }
    }
}
