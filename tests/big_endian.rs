//! Reads tables of a big-endian kernel. The kernel prints addresses as native integers, so only a
//! program that is built for a big-endian machine can read these tables.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use lntu::command::list;
use lntu::output::{Format, Output};
use lntu::source::{Source, SourceChoice, SourceOptions};
use tempfile::NamedTempFile;

/// This test calls the library, because the emulator runs only the test program, not programs
/// that it starts.
#[test]
#[cfg_attr(target_endian = "little", ignore = "needs a big-endian machine")]
fn tables_of_a_big_endian_kernel_are_read_correctly() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/proc/big-endian");
    let options = SourceOptions {
        choice: SourceChoice::Proc(fixture.clone()),
        ..SourceOptions::default()
    };
    let source = Source::new(options, OsStr::new("")).unwrap();
    let listed = NamedTempFile::new().unwrap();
    let output = Output::open(Some(listed.path().into()), true).unwrap();
    list::run(source, Format::default(), output).unwrap();
    let expected = fs::read_to_string(fixture.join("expected")).unwrap();
    assert_eq!(fs::read_to_string(listed.path()).unwrap(), expected);
}
