//! The privileges of this process: whether they are its user's own, and which it can do
//! without.

use std::ffi::c_ulong;
use std::io;
use std::ops::Range;

use super::calls::*;

/// Whether the effective user or group is not the real one, as in a program whose file is
/// set-user-ID.
pub fn has_privileges_of_another() -> bool {
    // SAFETY: the call takes any number. Every Linux has these values.
    let value = |kind| unsafe { getauxval(kind) };
    value(AT_UID) != value(AT_EUID) || value(AT_GID) != value(AT_EGID)
}

/// Gives up, for ever, all capabilities but those that it takes to enter network namespaces
/// (CAP_SYS_ADMIN), to see what other users' processes hold (CAP_SYS_PTRACE) and to read
/// their files (CAP_DAC_READ_SEARCH; Docker gives CAP_DAC_OVERRIDE in its place, so that is
/// kept where the other is missing). No program that is executed later gets more.
///
/// # Errors
/// Those of prctl(2), capget(2) and capset(2). What could be given up is given up.
pub fn give_up_privileges() -> io::Result<()> {
    let [yes, no]: [c_ulong; 2] = [1, 0];
    // SAFETY: the call takes these integers.
    let no_new = unsafe { prctl(PR_SET_NO_NEW_PRIVS, yes, no, no, no) };
    let no_new = match no_new {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    let mut header = CapabilityHeader {
        version: _LINUX_CAPABILITY_VERSION_3,
        pid: 0,
    };
    let mut sets = [Capabilities::default(); 2];
    // SAFETY: version 3 has two sets.
    if unsafe { capget(&mut header, &mut sets) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let reads_files = match sets[0].permitted & 1 << CAP_DAC_READ_SEARCH {
        0 => CAP_DAC_OVERRIDE,
        _ => CAP_DAC_READ_SEARCH,
    };
    let kept: u64 = 1 << CAP_SYS_ADMIN | 1 << CAP_SYS_PTRACE | 1 << reads_files;
    // This takes CAP_SETPCAP, so it comes first. What is not permitted comes back from
    // here only through exec, and `PR_SET_NO_NEW_PRIVS` rules that out, too: so a failure,
    // also for numbers that the kernel does not know, does not matter.
    let all: Range<c_ulong> = 0..64;
    for number in all.filter(|number| kept & 1 << number == 0) {
        // SAFETY: the call takes these integers.
        unsafe { prctl(PR_CAPBSET_DROP, number, no, no, no) };
    }
    for (index, set) in sets.iter_mut().enumerate() {
        let kept = (kept >> (32 * index)) as u32;
        *set = Capabilities {
            effective: set.effective & kept,
            permitted: set.permitted & kept,
            // Ambient capabilities go with these.
            inheritable: 0,
        };
    }
    // SAFETY: version 3 has two sets.
    match unsafe { capset(&mut header, &sets) } {
        0 => no_new,
        _ => Err(io::Error::last_os_error()),
    }
}
