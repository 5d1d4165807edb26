//! Detects a `/proc` that hides processes: the mount option `hidepid` of proc(5).

use std::fs;
use std::path::Path;

use super::file::{is_same, read_text};
use super::mounts;
use crate::sys::CAP_SYS_PTRACE;

/// Whether the `/proc` that is mounted at `proc_root` hides processes from this process. It
/// does if it has the mount option `hidepid` and this process lacks the capability that
/// overrides it.
pub fn hides_processes(proc_root: &Path) -> bool {
    /// The link to the user namespace of the host. The number in it is `PROC_USER_INIT_INO` of
    /// the kernel.
    const HOST_USER_NAMESPACE: &str = "user:[4026531837]";
    let mounts = mounts::read(Path::new("/proc/self")).unwrap_or_default();
    let is_at_root =
        |line: &&[u8]| mounts::path(line).is_some_and(|path| is_same(&path, proc_root));
    let mut lines = mounts.split(|byte| *byte == b'\n');
    // If several file systems are mounted at `proc_root`, the last one covers the others.
    let mount = lines.rfind(is_at_root).map(String::from_utf8_lossy);
    let mount = mount.unwrap_or_default();
    let options = mount.split([' ', ',']);
    let mut levels = options.filter_map(|option| option.strip_prefix("hidepid="));
    let hides = levels.any(|level| level != "0" && level != "off");
    let status = read_text(Path::new("/proc/self/status")).unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:\t"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex, 16).ok());
    // A capability in another user namespace does not apply to the processes of the host.
    let namespace = fs::read_link("/proc/self/ns/user");
    let is_on_host = namespace.is_ok_and(|link| link.as_os_str() == HOST_USER_NAMESPACE);
    let may_trace = is_on_host && effective.unwrap_or(0) & (1 << CAP_SYS_PTRACE) != 0;
    hides && !may_trace
}
