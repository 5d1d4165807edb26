//! Finds `/proc` and the tables in it, and reads the range of ephemeral ports there.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use crate::kernel::proc::file::{is_same, split};
use crate::port;
use crate::report;
use crate::sys::open_path;

/// The directory whose `net` has the tables of this process's own network namespace.
const OWN: &str = "/proc";

/// The kernel's default range of ephemeral ports
/// (`Documentation/networking/ip-sysctl.rst`). Used if the setting cannot be read.
const EPHEMERAL: RangeInclusive<u16> = 32768..=60999;

/// Whether the tables in `place` are those of this process's own network namespace.
pub fn is_own(place: &Path) -> bool {
    place.as_os_str() == OWN
}

/// The directory whose `net` has the tables of this process's own network namespace.
pub fn own() -> PathBuf {
    PathBuf::from(OWN)
}

/// The directory whose `net` has the tables that the user means by `root`. If `root` is
/// another path to `/proc`, the result is `/proc`. If `root` is a whole `/proc` that is
/// mounted elsewhere, the result is `root/1`, because `root/net` would show the namespace of
/// the reader. Otherwise, the result is `root`.
pub fn tables_in(root: PathBuf) -> PathBuf {
    // The usual path needs no system call, which could fail.
    if root.as_os_str() == OWN {
        return root;
    }
    // `std::fs::canonicalize` would make the binary larger.
    let is_link_to_own = || {
        let opened = open_path(&root)?;
        let real = fs::read_link(format!("{OWN}/self/fd/{}", opened.as_raw_fd()))?;
        Ok::<_, io::Error>(real.as_os_str() == OWN)
    };
    // The paths `/proc/` and `//proc` need no system call, either.
    if is_same(&root, Path::new(OWN)) || is_link_to_own().unwrap_or(false) {
        OWN.into()
    } else if fs::read_link(root.join("self")).is_ok() {
        root.join("1")
    } else {
        root
    }
}

/// The `/proc` of `root`, which is a `/proc` itself or the directory of a process in one.
pub fn proc_root(root: &Path) -> &Path {
    match root.join("comm").exists() {
        true => split(root).0,
        false => root,
    }
}

/// The range of ports that the kernel assigns if a program does not choose one, from the
/// setting in this `/proc`.
pub fn ephemeral_ports(proc_root: &Path) -> RangeInclusive<u16> {
    let file = proc_root.join("sys/net/ipv4/ip_local_port_range");
    port::read_range(&file).unwrap_or_else(|| {
        let (file, first, last) = (file.display(), EPHEMERAL.start(), EPHEMERAL.end());
        report::warn(format_args!(
            "{file}: cannot be read; using the default range, {first} to {last}"
        ));
        EPHEMERAL
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proc_of_a_process_directory_is_its_parent() {
        let host = tempfile::TempDir::new().unwrap();
        let process = host.path().join("12");
        fs::create_dir(&process).unwrap();
        fs::write(process.join("comm"), "init\n").unwrap();
        for (given, expected) in [
            ("/proc".as_ref(), "/proc".as_ref()),
            ("/proc/self".as_ref(), "/proc".as_ref()),
            (process.as_path(), host.path()),
            (
                "fixtures/proc/no-ipv6".as_ref(),
                "fixtures/proc/no-ipv6".as_ref(),
            ),
        ] {
            assert_eq!(proc_root(given), expected);
        }
    }
}
