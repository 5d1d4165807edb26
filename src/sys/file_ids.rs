//! The user and group ids that the kernel checks when this process opens a file.

use std::ffi::{c_int, c_uint, c_ulong};

use super::calls::*;
use super::memory;
use super::waiting::sleep_briefly;

/// The ids of another user and group. As long as this value lives, the kernel checks file
/// access as if this process belonged to them. Dropping the value restores root's ids.
///
/// This is for root without CAP_SYS_PTRACE, as in a container. Such a root may not read
/// another user's `/proc/PID/fd`, but it may become that user, who may. The kernel checks
/// that access with PTRACE_MODE_READ_FSCREDS (ptrace(2)), so the file system ids are enough.
///
/// The change grants nothing new. It requires CAP_SETUID and CAP_SETGID, and with these the
/// process could become the user altogether (setuid(2)). While the ids differ, the
/// capabilities that override file permissions are not effective, so less is allowed than
/// before (credentials(7), setfsuid(2)). The other user can neither signal nor trace this
/// process, because its real, effective and saved ids remain root's. A program that this
/// process executes runs with the effective ids.
///
/// The change makes the process undumpable and clears its parent-death signal (prctl(2)).
/// Both are restored as well. Otherwise, a root without CAP_SYS_PTRACE could no longer read
/// the descriptors of a watcher, and the watcher would outlive a parent that had asked the
/// kernel to kill it.
#[derive(Debug)]
pub(crate) struct FileIds {
    user: c_uint,
    group: c_uint,
    is_dumpable: bool,
    death_signal: c_int,
}

impl FileIds {
    /// Switches to these ids. `None` if this process is not root, has these ids already, or
    /// may not switch to them.
    pub(crate) fn take(user: u32, group: u32) -> Option<FileIds> {
        let (own_user, own_group) = file_ids();
        // A sandbox may refuse the calls. They then return -1.
        if own_user != 0 || own_group == c_uint::MAX || (own_user, own_group) == (user, group) {
            return None;
        }
        let mut death_signal: c_int = 0;
        // SAFETY: the calls accept any integers. `death_signal` outlives the call that writes
        // to it, and keeps its value if that call fails.
        let is_dumpable = unsafe {
            prctl(PR_GET_PDEATHSIG, &raw mut death_signal);
            prctl(PR_GET_DUMPABLE) == 1
        };
        let own = FileIds {
            user: own_user,
            group: own_group,
            is_dumpable,
            death_signal,
        };
        // If only one of the two ids could be set, dropping `own` restores that one.
        set_ids(user, group).then_some(own)
    }
}

impl Drop for FileIds {
    fn drop(&mut self) {
        let mut tries = 0;
        // Root may always return to its own ids, but the kernel needs memory for that.
        while !set_ids(self.user, self.group) {
            tries += 1;
            if tries == 100 {
                memory::exhausted();
            }
            sleep_briefly();
        }
        // SAFETY: the calls accept any integers.
        unsafe {
            if self.is_dumpable {
                prctl(PR_SET_DUMPABLE, 1 as c_ulong);
            }
            if self.death_signal != 0 {
                prctl(PR_SET_PDEATHSIG, self.death_signal as c_ulong);
            }
        }
    }
}

/// Sets these ids, and returns whether this process has them now. The calls themselves do
/// not report a failure.
fn set_ids(user: c_uint, group: c_uint) -> bool {
    // SAFETY: the calls accept any integers.
    unsafe {
        setfsgid(group);
        setfsuid(user);
    }
    file_ids() == (user, group)
}

/// The current ids. Each call returns the id that was set before, and an invalid id changes
/// nothing.
fn file_ids() -> (c_uint, c_uint) {
    let invalid = c_uint::MAX;
    // SAFETY: the calls accept any integers.
    unsafe { (setfsuid(invalid) as c_uint, setfsgid(invalid) as c_uint) }
}
