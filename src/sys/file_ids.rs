//! The user and group ids that the kernel checks when this process opens a file.

use std::ffi::{c_int, c_uint, c_ulong};

use super::calls::*;
use super::memory;
use super::waiting::sleep_briefly;

/// The user and group ids of another user. As long as this value exists, the kernel checks file
/// access as if this process had these ids. Dropping the value restores root's ids.
///
/// This is for a root user that lacks CAP_SYS_PTRACE, as in a container. This root may not read
/// the `/proc/PID/fd` of another user's process, but it may switch to the ids of that user, who
/// may read it. The kernel checks that access with PTRACE_MODE_READ_FSCREDS (ptrace(2)), so it
/// is enough to change the file system ids.
///
/// The change gives this process no additional rights. It requires CAP_SETUID and CAP_SETGID,
/// and with these, the process could become the other user completely (setuid(2)). While the
/// ids differ, the capabilities that override file permissions are not effective, so less is
/// allowed than before (credentials(7), setfsuid(2)). The other user can neither signal nor
/// trace this process, because its real, effective and saved ids remain root's. A program that
/// this process executes runs with the effective ids.
///
/// The change makes the process undumpable and clears its parent-death signal (prctl(2)).
/// Dropping the value restores these as well. Otherwise, a root that lacks CAP_SYS_PTRACE could
/// no longer read the descriptors of a watcher. The watcher would also outlive a parent that
/// had asked the kernel to kill the watcher along with it.
#[derive(Debug)]
pub(crate) struct FileIds {
    user: c_uint,
    group: c_uint,
    is_dumpable: bool,
    death_signal: c_int,
}

impl FileIds {
    /// Switches to these ids. `None` if this process is not root, already has these ids, or is
    /// not allowed to switch to them.
    pub(crate) fn take(user: u32, group: u32) -> Option<FileIds> {
        let (own_user, own_group) = file_ids();
        // A sandbox may refuse the calls in `file_ids`. They then return -1.
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
        // Root is always allowed to return to its own ids, but the kernel needs memory to do
        // that.
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

/// Sets these ids, and returns whether this process has them now. The system calls do not
/// report a failure, so this reads the ids back.
fn set_ids(user: c_uint, group: c_uint) -> bool {
    // SAFETY: the calls accept any integers.
    unsafe {
        setfsgid(group);
        setfsuid(user);
    }
    file_ids() == (user, group)
}

/// The current user and group ids for file access. Each call returns the previous id, and
/// leaves it unchanged because the new id is invalid.
fn file_ids() -> (c_uint, c_uint) {
    let invalid = c_uint::MAX;
    // SAFETY: the calls accept any integers.
    unsafe { (setfsuid(invalid) as c_uint, setfsgid(invalid) as c_uint) }
}
