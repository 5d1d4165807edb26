//! Checks of the programs and rights that tests need on this machine. A test that lacks something
//! is skipped, and prints why.
//!
//! Every machine is expected to have `sh` and the usual text and file tools (`cat`, `cp`,
//! `env`, `grep`, `mkfifo`, `sleep`, `timeout`, `wc`, `xargs`). A test that starts any other
//! program asks for it here.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use crate::harness::{repository, run};

/// Returns whether the machine has what this test needs. If it does not, `missing` is the reason,
/// and the test must return. This function then prints to stderr that the test is skipped, even if
/// the output of tests is captured.
///
/// Panics if `LNTU_TEST_REQUIRE` lists `requirement`, or if the machine is only busy (EAGAIN).
pub fn have(requirement: &str, missing: Option<String>) -> bool {
    have_named(requirement, requirement, missing)
}

/// Returns whether this program is installed. `LNTU_TEST_REQUIRE` lists it under
/// `requirement`.
pub fn have_program(requirement: &str, program: impl AsRef<OsStr>) -> bool {
    let program = program.as_ref();
    let missing = match Command::new(program).arg("--version").output() {
        Ok(_) => None,
        // If this user may not search a directory in PATH, the program counts as missing.
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::PermissionDenied => Some(error.to_string()),
            _ => panic!("{}: {error}", program.display()),
        },
    };
    have_named(requirement, &format!("`{}`", program.display()), missing)
}

/// Returns whether all of these programs are installed.
pub fn have_programs<const N: usize>(requirement: &str, programs: [&str; N]) -> bool {
    programs.map(|program| have_program(requirement, program)) == [true; N]
}

/// The path of a program or package that is not in Debian, where `.ci/run` installs it.
pub fn installed(name: &str) -> PathBuf {
    repository().join("target/programs").join(name)
}

/// Returns whether `.ci/run` has installed this program or package.
pub fn have_installed(name: &str) -> bool {
    let path = installed(name);
    let missing = (!path.exists()).then(|| format!("{} is not there", path.display()));
    have("programs", missing)
}

/// Returns whether the ss of iproute2 is installed.
pub fn have_ss() -> bool {
    have_program("ss", "ss")
}

/// Returns whether the tests run as root.
pub fn have_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    have("root", (!is_root).then(|| "this is another user".into()))
}

/// Returns whether the tests run as root and have the programs to open sockets as several users.
pub fn have_two_users() -> bool {
    have_root() && have_programs("services", ["python3", "setpriv"])
}

/// Returns whether shells may mount things in a mount namespace of their own.
pub fn have_mounts() -> bool {
    have_programs("netns", ["mount", "umount"]) && have_unshare(&["--mount"])
}

/// Returns whether unshare(1) may make the namespaces that these options ask for.
pub fn have_unshare(options: &[&str]) -> bool {
    if !have_program("netns", "unshare") {
        return false;
    }
    let tried = run(Command::new("unshare").args(options).arg("true"));
    have("netns", (!tried.status.success()).then_some(tried.stderr))
}

/// The path of a program of the newest PostgreSQL that is installed. Debian keeps these
/// programs out of PATH.
pub fn postgresql(program: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest = versions.flatten().map(|entry| entry.path()).max();
    newest.unwrap_or_default().join("bin").join(program)
}

fn have_named(requirement: &str, name: &str, missing: Option<String>) -> bool {
    let Some(why) = missing else {
        return true;
    };
    let why = why.trim_end();
    let test = thread::current().name().unwrap_or("a test").to_string();
    let required = std::env::var("LNTU_TEST_REQUIRE").unwrap_or_default();
    let is_required = required.split(',').any(|required| required == requirement);
    let is_busy = why.contains("Resource temporarily unavailable");
    assert!(!is_required && !is_busy, "{test} needs {name}: {why}");
    let _ = writeln!(io::stderr(), "skipped {test}: needs {name}: {why}");
    false
}
