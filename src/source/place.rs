//! Where `/proc` is, and what is read there once: the range of ephemeral ports.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use crate::port;
use crate::report;
use crate::sys::open_path;

/// Where the tables of this process's own network namespace are.
const OWN: &str = "/proc";

/// The kernel's default range of ephemeral ports, for where its setting cannot be read
/// (`Documentation/networking/ip-sysctl.rst`).
const EPHEMERAL: RangeInclusive<u16> = 32768..=60999;

/// Whether the tables in `place` are those of this process's own network namespace.
pub fn is_own(place: &Path) -> bool {
    place.as_os_str() == OWN
}

/// Where the tables of this process's own network namespace are.
pub fn own() -> PathBuf {
    PathBuf::from(OWN)
}

/// Where the tables of `root` are: `/proc`, however it is spelled, or elsewhere. Below a
/// whole `/proc`, `net` follows the reader, so if it is mounted elsewhere than at `/proc`,
/// its process 1 is meant.
pub fn tables_in(root: PathBuf) -> PathBuf {
    // This needs no look, which can fail.
    if root.as_os_str() == OWN {
        return root;
    }
    // std's `canonicalize` is larger.
    let is_link_to_own = || {
        let opened = open_path(&root)?;
        let real = fs::read_link(format!("{OWN}/self/fd/{}", opened.as_raw_fd()))?;
        Ok::<_, io::Error>(real.as_os_str() == OWN)
    };
    // `/proc/` and `//proc` compare equal to `/proc`.
    if root == Path::new(OWN) || is_link_to_own().unwrap_or(false) {
        OWN.into()
    } else if fs::read_link(root.join("self")).is_ok() {
        root.join("1")
    } else {
        root
    }
}

/// The `/proc` that `root` is, or that the directory of a process is in.
pub fn proc_root(root: &Path) -> &Path {
    match root.parent() {
        Some(parent) if root.join("comm").exists() => match parent.as_os_str().is_empty() {
            true => Path::new("."),
            false => parent,
        },
        _ => root,
    }
}

/// The ports that the kernel chooses by itself, by the setting in this `/proc`.
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
    fn the_directory_of_a_process_stands_for_the_proc_that_it_is_in() {
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
