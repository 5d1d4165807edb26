//! Whether a `/proc` shows every process: the option `hidepid` of its mount.

use std::fs;
use std::path::Path;

use super::file::read_text;
use super::mounts;
use crate::sys::CAP_SYS_PTRACE;

/// Whether the `/proc` that is mounted at `proc_root` leaves out processes that this one
/// may not trace (`hidepid` of proc(5)).
pub fn hides_processes(proc_root: &Path) -> bool {
    /// The inode of the host's user namespace (`PROC_USER_INIT_INO` of the kernel).
    const HOST_USER_NAMESPACE: &str = "user:[4026531837]";
    let mounts = mounts::read(Path::new("/proc/self")).unwrap_or_default();
    let is_at_root = |line: &&[u8]| mounts::path(line).as_deref() == Some(proc_root);
    let mut lines = mounts.split(|byte| *byte == b'\n');
    // The last one hides those below it.
    let of_proc = lines.rfind(is_at_root).map(String::from_utf8_lossy);
    let of_proc = of_proc.unwrap_or_default();
    let options = of_proc.split([' ', ',']);
    let mut levels = options.filter_map(|option| option.strip_prefix("hidepid="));
    let hides = levels.any(|level| level != "0" && level != "off");
    let status = read_text(Path::new("/proc/self/status")).unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:\t"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex, 16).ok());
    // In another user namespace, a capability says nothing about processes of the host.
    let of_user = fs::read_link("/proc/self/ns/user");
    let is_of_host = of_user.is_ok_and(|link| link.as_os_str() == HOST_USER_NAMESPACE);
    let may_trace = is_of_host && effective.unwrap_or(0) & (1 << CAP_SYS_PTRACE) != 0;
    hides && !may_trace
}
