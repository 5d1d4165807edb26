//! Waits for a given time, and ends the wait early on certain events.

use std::ffi::{c_int, c_ulong};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use super::calls::*;
use super::processes::Parent;

/// How often a child that has no pidfd for its parent checks whether the parent still runs.
const PARENT_CHECK: Duration = Duration::from_millis(500);

/// Waits until `end` and then returns false. Returns true as soon as the reader of `stream` is
/// gone or `parent` has exited. If `stream` is a regular file, it has no reader that could go
/// away.
///
/// Time during which this process is stopped counts towards the wait.
pub fn wait_until_gone(
    end: Instant,
    stream: Option<BorrowedFd<'_>>,
    parent: Option<&Parent>,
) -> bool {
    let pidfd = parent.map(Parent::pidfd);
    let longest = match pidfd {
        Some(None) => PARENT_CHECK,
        _ => Duration::MAX,
    };
    loop {
        let left = end.saturating_duration_since(Instant::now());
        // The time is rounded up to whole milliseconds. Otherwise, the last fraction of a
        // millisecond would be a busy loop.
        let left = left
            .min(longest)
            .saturating_add(Duration::from_nanos(999_999));
        // poll(2) ignores negative descriptors.
        let mut fds = [
            PollFd {
                fd: stream.map_or(-1, |fd| fd.as_raw_fd()),
                events: 0,
                revents: 0,
            },
            PollFd {
                fd: pidfd.flatten().map_or(-1, |fd| fd.as_raw_fd()),
                events: POLLIN,
                revents: 0,
            },
        ];
        let timeout = left.as_millis().min(i32::MAX as u128) as c_int;
        // SAFETY: the count is the number of `struct pollfd` in the array.
        let ready = unsafe { poll(fds.as_mut_ptr(), fds.len() as c_ulong, timeout) };
        if ready < 0 {
            sleep_briefly();
        }
        if ready > 0 || parent.is_some_and(Parent::is_gone) {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
    }
}

/// Sleeps for 200 microseconds.
pub(crate) fn sleep_briefly() {
    // SAFETY: the call accepts any integer.
    unsafe { usleep(200) };
}
