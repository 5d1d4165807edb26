//! What a test needs from the machine. A test that lacks something is skipped and says so.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

/// Whether the test has what it needs. If not, the test is skipped and says why
/// on stderr, even where its output is captured. If `LNTU_TEST_REQUIRE` names
/// what is missing, the test fails instead.
pub fn have(name: &str, missing: Option<String>) -> bool {
    let Some(why) = missing else {
        return true;
    };
    let required = std::env::var("LNTU_TEST_REQUIRE").unwrap_or_default();
    let test = thread::current().name().unwrap_or("a test").to_string();
    assert!(
        !required.split(',').any(|required| required == name),
        "{test} needs {name}: {why}"
    );
    let _ = writeln!(io::stderr(), "skipped {test}: needs {name}: {why}");
    false
}

/// Whether a program is installed. `LNTU_TEST_REQUIRE` knows it as `name`.
pub fn have_program(name: &str, program: impl AsRef<OsStr>) -> bool {
    let program = program.as_ref();
    let started = Command::new(program).arg("--version").output();
    let why = |error| format!("running {}: {error}", program.display());
    have(name, started.err().map(why))
}

/// Whether the real ss is installed.
pub fn have_ss() -> bool {
    have_program("ss", "ss")
}

pub fn have_root() -> bool {
    let missing = (!rustix::process::geteuid().is_root()).then(|| "not root".to_string());
    have("root", missing)
}

/// A program of the newest installed PostgreSQL. Debian keeps these out of
/// PATH.
pub fn postgresql(program: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest = versions.flatten().map(|entry| entry.path()).max();
    newest.unwrap_or_default().join("bin").join(program)
}
