//! The tables in `fixtures/proc`: lntu must list them as expected, and as ss does.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::harness::*;

/// Runs `lntu list` with the tables of a fixture.
fn list(fixture: &PathBuf) -> Finished {
    run(lntu(&["list", "--proc"]).arg(fixture))
}

/// The file `expected` next to the tables contains the lines that `list` prints to stdout, followed
/// by the lines that it prints to stderr. To update it, run `lntu list --proc DIR >DIR/expected
/// 2>&1`.
#[test]
fn every_fixture_gives_the_expected_list() {
    for fixture in fixtures() {
        let finished = list(&fixture);
        let printed = finished.stdout + &finished.stderr;
        let printed = printed.replace(env!("CARGO_MANIFEST_DIR"), ".");
        let expected = fs::read_to_string(fixture.join("expected")).unwrap();
        assert_eq!(printed, expected, "{}", fixture.display());
    }
}

/// With `PROC_ROOT`, ss reads the same files. If ss lists a fixture wrongly, the fixture has a file
/// `no-oracle` that explains why, and is skipped.
#[test]
fn every_fixture_gives_the_same_list_as_ss() {
    if !have_ss() {
        return;
    }
    for fixture in fixtures() {
        if fixture.join("no-oracle").exists() {
            continue;
        }
        let mut root = OsString::from(&fixture);
        root.push("/");
        let expected = sockets_of_ss(&[("PROC_ROOT", &root)]);
        let finished = run(lntu(&["list", "-H", "--proc"]).arg(&fixture));
        assert_eq!(
            listed_sockets(&finished.stdout),
            expected,
            "{}",
            fixture.display()
        );
    }
}

/// The test makes this table, because it would be too large for a file in `fixtures/`.
#[test]
fn a_table_of_110_000_rows_gives_the_same_list_as_ss() {
    let proc = TempDir::new().unwrap();
    fs::create_dir(proc.path().join("net")).unwrap();
    let row = |number: u32| {
        let (address, port) = (0x0100_007F + (number / 60_000), number % 60_000 + 1);
        let state = if number.is_multiple_of(50) {
            "0A"
        } else {
            "01"
        };
        format!(
            "{number:4}: {address:08X}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 {number} 1 0\n"
        )
    };
    let rows: String = (0..110_000).map(row).collect();
    fs::write(
        proc.path().join("net/tcp"),
        format!("  sl  local_address\n{rows}"),
    )
    .unwrap();
    let listed = run(lntu(&["list", "-H", "--proc"]).arg(proc.path()));
    assert_eq!(listed.lines().len(), 2_200);
    if have_ss() {
        let mut root = OsString::from(proc.path());
        root.push("/");
        let expected = sockets_of_ss(&[("PROC_ROOT", &root)]);
        assert_eq!(listed_sockets(&listed.stdout), expected);
    }
}
