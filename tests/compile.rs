//! Tests that the fuzz targets compile. They are not part of this workspace, so no other test
//! compiles them.

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
    // Building libFuzzer would need a C++ compiler. If this variable names a library, cargo does
    // not build libFuzzer. Nothing is linked, so the library need not exist.
    command.env("CUSTOM_LIBFUZZER_PATH", "/nonexistent/libfuzzer.a");
    command.output().unwrap()
}

/// If packages that only the fuzz targets need cannot be downloaded, this test is skipped, unless
/// `LNTU_TEST_REQUIRE` contains `fuzz`.
#[test]
fn the_fuzz_targets_compile() {
    let fetched = cargo(&["fetch"]);
    let errors = String::from_utf8_lossy(&fetched.stderr);
    // If the download failed because the lock file is out of date, do not skip the test. The next
    // command then fails for the same reason.
    if !fetched.status.success() && !errors.contains("--locked") {
        let required = env::var("LNTU_TEST_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|name| name == "fuzz"), "{errors}");
        let why = errors.lines().next().unwrap_or_default();
        // Write to stderr itself, because the test harness would capture the output of `eprintln`.
        let _ = writeln!(
            io::stderr(),
            "skipped the_fuzz_targets_compile: needs fuzz: {why}"
        );
        return;
    }
    let checked = cargo(&["check", "--quiet"]);
    let errors = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{errors}");
}
