//! The user and group ids by which the kernel decides about files.

use std::ffi::{c_int, c_uint, c_ulong};

use super::calls::*;
use super::memory;
use super::waiting::sleep_briefly;

/// While this value lives, the kernel decides about files as if this process belonged to
/// another user and group. Everything is restored when it is dropped.
///
/// This is for root without CAP_SYS_PTRACE, as in a container: it may become any user, and
/// a process of that user may read what this one is asked for. It grants nothing new. The
/// kernel lets only CAP_SETUID and CAP_SETGID choose these ids, and who has those could
/// become the user altogether (setuid(2)). While the ids differ, the capabilities that
/// override permissions of files are not effective, so less is allowed, not more
/// (credentials(7), setfsuid(2)). The other user can neither signal nor trace this process
/// meanwhile, because its real, effective and saved ids stay those of root: that is what
/// setfsuid(2) was made for. `/proc/PID/fd` is checked with PTRACE_MODE_READ_FSCREDS
/// (ptrace(2)), so these ids are enough. A program that is executed has the effective ids.
///
/// The change makes the process undumpable and clears its parent-death signal (prctl(2)).
/// Both are restored. Otherwise a root that may not trace could not read the descriptors
/// of a watcher any more, and the watcher would outlive a parent that asked for its end.
#[derive(Debug)]
pub(crate) struct FileIds {
    user: c_uint,
    group: c_uint,
    is_dumpable: bool,
    death_signal: c_int,
}

impl FileIds {
    /// Takes these ids. `None` if this process is not root, has them already, or may not
    /// take them.
    pub(crate) fn take(user: u32, group: u32) -> Option<FileIds> {
        let (own_user, own_group) = file_ids();
        // Where a call is refused altogether, it returns -1.
        if own_user != 0 || own_group == c_uint::MAX || (own_user, own_group) == (user, group) {
            return None;
        }
        let mut death_signal: c_int = 0;
        // SAFETY: the calls take any integers, and `death_signal` outlives the last one,
        // which leaves it as it is if it fails.
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
        // If only one of them could be taken, dropping `own` restores it.
        have_ids(user, group).then_some(own)
    }
}

impl Drop for FileIds {
    fn drop(&mut self) {
        let mut tries = 0;
        // Root may always take its own ids, but the kernel needs memory for that.
        while !have_ids(self.user, self.group) {
            tries += 1;
            if tries == 100 {
                memory::exhausted();
            }
            sleep_briefly();
        }
        // SAFETY: the calls take any integers.
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

/// Takes these ids, and returns whether this process has them now. The calls themselves do
/// not say.
fn have_ids(user: c_uint, group: c_uint) -> bool {
    // SAFETY: the calls take any integers.
    unsafe {
        setfsgid(group);
        setfsuid(user);
    }
    file_ids() == (user, group)
}

/// The current ids. The calls return them, and take no id that is none.
fn file_ids() -> (c_uint, c_uint) {
    let none = c_uint::MAX;
    // SAFETY: the calls take any integers.
    unsafe { (setfsuid(none) as c_uint, setfsgid(none) as c_uint) }
}
