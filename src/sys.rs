//! The only `unsafe` code: the few calls that the standard library does not
//! make. Each declaration says why it is needed.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_short, c_ulong};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

unsafe extern "C" {
    /// std has no signal handlers, and without one PID 1 is not ended by
    /// SIGTERM. POSIX `signal` suffices: the handler never returns.
    fn signal(signal: c_int, handler: usize) -> usize;
    /// std's `exit` runs destructors, which a signal handler must not.
    fn _exit(status: c_int) -> !;
    /// std kills a child but not the processes that the child started.
    fn kill(pid: c_int, signal: c_int) -> c_int;
    /// std cannot ask whether the reader of a pipe is gone without writing to it.
    fn poll(fds: *mut PollFd, count: c_ulong, timeout_ms: c_int) -> c_int;
}

// The numbers are those of Linux on x86, Arm, RISC-V, PowerPC and s390.
const SIGINT: c_int = 2;
const SIGKILL: c_int = 9;
const SIGTERM: c_int = 15;
const SIG_IGN: usize = 1;

/// `struct pollfd` of poll(2).
#[repr(C)]
struct PollFd {
    fd: c_int,
    events: c_short,
    revents: c_short,
}

/// The process group of the child that must not outlive this process; 0 for none.
static CHILD_GROUP: AtomicI32 = AtomicI32::new(0);

/// Makes SIGTERM and SIGINT end the process at once with 128 + signal, also
/// when it is PID 1. One that was ignored at the start stays ignored, as a
/// shell expects of a program that it starts in the background.
pub fn end_on_signals() {
    for number in [SIGINT, SIGTERM] {
        // SAFETY: `handle` is a handler of the right type that calls only
        // async-signal-safe functions; SIG_IGN was just returned by `signal`.
        unsafe {
            if signal(number, handle as extern "C" fn(c_int) as usize) == SIG_IGN {
                signal(number, SIG_IGN);
            }
        }
    }
}

extern "C" fn handle(number: c_int) {
    kill_child_group();
    // SAFETY: `_exit` is async-signal-safe and takes any status.
    unsafe { _exit(128 + number) }
}

/// Names the process group that a signal must end with this process.
/// `0` takes it back, which must happen before the group's leader is reaped.
pub fn set_child_group(leader: u32) {
    CHILD_GROUP.store(leader as i32, Ordering::Relaxed);
}

/// Kills every process of the group named by [`set_child_group`], if any.
pub fn kill_child_group() {
    let leader = CHILD_GROUP.load(Ordering::Relaxed);
    if leader > 0 {
        // SAFETY: `kill` is async-signal-safe and takes any two integers.
        unsafe { kill(-leader, SIGKILL) };
    }
}

/// Waits for `pause`, or until whatever reads `fd` is gone: true then.
/// A pipe or terminal has such an end; for a file this is a plain sleep.
pub fn wait_for_hangup(fd: BorrowedFd<'_>, pause: Duration) -> bool {
    let end = Instant::now() + pause;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        // Rounded up, so as not to spin through the last millisecond.
        let milliseconds = left.as_nanos().div_ceil(1_000_000);
        let mut fd = PollFd {
            fd: fd.as_raw_fd(),
            events: 0,
            revents: 0,
        };
        // SAFETY: `fd` is one valid `struct pollfd` and the count says so.
        let ready = unsafe { poll(&mut fd, 1, milliseconds.min(i32::MAX as u128) as c_int) };
        if ready > 0 {
            return true;
        }
        if left.is_zero() {
            return false;
        }
    }
}
