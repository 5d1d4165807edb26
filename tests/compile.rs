//! What is not part of this workspace still compiles against it.

use std::env;
use std::io::{self, Write as _};
use std::process::{Command, Output};

/// Runs cargo on the workspace of the fuzz targets.
fn cargo(arguments: &[&str]) -> Output {
    let cargo = env::var_os("CARGO").unwrap_or("cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/Cargo.toml");
    let mut command = Command::new(cargo);
    command
        .args(arguments)
        .args(["--locked", "--manifest-path", manifest]);
    // The library of the fuzzer itself needs a C++ compiler. Nothing is linked here.
    command.env("CUSTOM_LIBFUZZER_PATH", "/nonexistent/libfuzzer.a");
    command.output().unwrap()
}

/// Skipped where the packages that only the fuzz targets need cannot be downloaded, unless
/// `LNTU_TEST_REQUIRE` names `fuzz`.
#[test]
fn the_fuzz_targets_compile() {
    let fetched = cargo(&["fetch"]);
    let said = String::from_utf8_lossy(&fetched.stderr);
    // A lock file that is out of date is no reason to skip.
    if !fetched.status.success() && !said.contains("--locked") {
        let required = env::var("LNTU_TEST_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|name| name == "fuzz"), "{said}");
        let why = said.lines().next().unwrap_or_default();
        // Not `eprintln`, which the test harness captures.
        let _ = writeln!(
            io::stderr(),
            "skipped the_fuzz_targets_compile: needs fuzz: {why}"
        );
        return;
    }
    let checked = cargo(&["check", "--quiet"]);
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
}
