//! The privileges of this process: finds out whether they are its user's own, and gives up
//! those that it does not need.

use std::ffi::c_ulong;
use std::io;
use std::ops::Range;

use super::calls::*;

/// Whether the effective user or group differs from the real one, as in a set-user-ID
/// program.
pub fn has_privileges_of_another() -> bool {
    // SAFETY: the call accepts any number. Every Linux provides these values.
    let value = |kind| unsafe { getauxval(kind) };
    value(AT_UID) != value(AT_EUID) || value(AT_GID) != value(AT_EGID)
}

/// Permanently gives up all capabilities except three, for this process and for every program
/// that it executes later.
///
/// The three are CAP_SYS_ADMIN to enter network namespaces, CAP_SYS_PTRACE to see the sockets
/// of other users' processes, and CAP_DAC_READ_SEARCH to read their files. Docker grants
/// CAP_DAC_OVERRIDE instead of CAP_DAC_READ_SEARCH, so CAP_DAC_OVERRIDE is kept if the other is
/// missing.
///
/// # Errors
/// The errors of prctl(2), capget(2) and capset(2). If only prctl(2) fails, this process has
/// given up the capabilities nevertheless.
pub fn give_up_privileges() -> io::Result<()> {
    let [yes, no]: [c_ulong; 2] = [1, 0];
    // SAFETY: the call accepts these integers.
    let no_new_privileges = match unsafe { prctl(PR_SET_NO_NEW_PRIVS, yes, no, no, no) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    let mut header = CapabilityHeader {
        version: _LINUX_CAPABILITY_VERSION_3,
        pid: 0,
    };
    let mut sets = [Capabilities::default(); 2];
    // SAFETY: version 3 of the interface fills two sets.
    if unsafe { capget(&mut header, &mut sets) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let reads_files = match sets[0].permitted & 1 << CAP_DAC_READ_SEARCH {
        0 => CAP_DAC_OVERRIDE,
        _ => CAP_DAC_READ_SEARCH,
    };
    let kept: u64 = 1 << CAP_SYS_ADMIN | 1 << CAP_SYS_PTRACE | 1 << reads_files;
    // Dropping a capability from the bounding set requires CAP_SETPCAP, so this comes before
    // `capset`. It does not matter if a call fails, for example because the kernel does not
    // know the number. A capability could return from the bounding set only through exec, and
    // `PR_SET_NO_NEW_PRIVS` prevents that, too.
    let all: Range<c_ulong> = 0..64;
    for number in all.filter(|number| kept & 1 << number == 0) {
        // SAFETY: the call accepts these integers.
        unsafe { prctl(PR_CAPBSET_DROP, number, no, no, no) };
    }
    for (index, set) in sets.iter_mut().enumerate() {
        let kept = (kept >> (32 * index)) as u32;
        *set = Capabilities {
            effective: set.effective & kept,
            permitted: set.permitted & kept,
            // An empty inheritable set also clears the ambient capabilities.
            inheritable: 0,
        };
    }
    // SAFETY: version 3 of the interface reads two sets.
    match unsafe { capset(&mut header, &sets) } {
        0 => no_new_privileges,
        _ => Err(io::Error::last_os_error()),
    }
}
