//! Processes that this one starts, and how they end with each other.

use std::ffi::{CString, OsStr, c_int, c_long};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{ExitStatusExt as _, parent_id};
use std::process::ExitStatus;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use super::calls::*;
use super::memory;
use crate::exit_status;

/// The process group of the child that must not outlive this process, or 0.
static CHILD_GROUP: AtomicI32 = AtomicI32::new(0);

/// Makes SIGTERM and SIGINT end the process at once, even as PID 1, with the exit
/// status that says which. A signal that was ignored at the start stays ignored, as a
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
    unsafe { _exit(c_int::from(exit_status::ExitStatus::Signal as u8) + number) }
}

/// Sets the process group that must end when a signal ends this process. `0` is
/// none; it must be set as soon as the group's first process is reaped.
pub(crate) fn set_child_group(group: u32) {
    CHILD_GROUP.store(group as i32, Ordering::Relaxed);
}

/// Kills every process of the group named by [`set_child_group`], if any.
pub(crate) fn kill_child_group() {
    let group = CHILD_GROUP.load(Ordering::Relaxed);
    if group > 0 {
        // SAFETY: `kill` is async-signal-safe and takes any two integers.
        unsafe { kill(-group, SIGKILL) };
    }
}

/// Whether a process has this id, also one that `/proc` does not show.
pub(crate) fn is_running(id: u32) -> bool {
    let Ok(id @ 1..) = c_int::try_from(id) else {
        return false;
    };
    // SAFETY: the call takes any two integers. 0 is no signal.
    let is_sent = unsafe { kill(id, 0) } == 0;
    is_sent || io::Error::last_os_error().kind() == io::ErrorKind::PermissionDenied
}

/// Whether these two threads certainly share one table of descriptors (kcmp(2)).
pub(crate) fn share_descriptors(one: u32, other: u32) -> bool {
    let (one, other, unused) = (
        c_long::from(one as i32),
        c_long::from(other as i32),
        0 as c_long,
    );
    // SAFETY: the call takes any integers.
    unsafe { syscall(SYS_KCMP, one, other, KCMP_FILES, unused, unused) == 0 }
}

/// A started program. It is reaped when it was waited for, or is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    /// Its process id, which is that of its process group too.
    pub(crate) id: u32,
    status: Option<ExitStatus>,
}

impl Child {
    /// Starts the file `program` with one argument, in a session of its own. `streams`
    /// are its stdin, stdout and stderr. SIGPIPE ends it.
    ///
    /// # Errors
    /// Those of fork(2), socketpair(2), setsid(2), dup2(2) and execve(2).
    pub(crate) fn spawn(
        program: &OsStr,
        argument: &str,
        streams: &[OwnedFd; 3],
    ) -> io::Result<Child> {
        let program = CString::new(program.as_bytes())?;
        let argument = CString::new(argument)?;
        let words = [program.as_ptr(), argument.as_ptr(), ptr::null()];
        let (mut ours, mut theirs) = UnixStream::pair()?;
        // SAFETY: the process has one thread, so the child may do anything.
        let id = match unsafe { fork() } {
            -1 => return Err(io::Error::last_os_error()),
            // SAFETY: no stream has the number of a standard one, since `start` left none
            // of these free. The array holds C strings, and ends with a null pointer.
            0 => unsafe {
                // With other streams, it would write to ours. In another session, it could
                // not be ended with all that it started.
                let mut streams = (0..).zip(streams);
                if setsid() != -1
                    && streams.all(|(number, stream)| dup2(stream.as_raw_fd(), number) != -1)
                {
                    signal(SIGPIPE, SIG_DFL);
                    execv(words[0], words.as_ptr());
                }
                let error = io::Error::last_os_error()
                    .raw_os_error()
                    .unwrap_or_default();
                let _ = theirs.write(&error.to_ne_bytes());
                _exit(127)
            },
            id => id as u32,
        };
        drop(theirs);
        let mut child = Child { id, status: None };
        // Exec closes the other end, and a failure to sends its number.
        let mut error = [0; 4];
        match ours.read(&mut error) {
            Ok(0) => Ok(child),
            Err(error) => {
                // SAFETY: the call takes any two integers.
                unsafe { kill(id as c_int, SIGKILL) };
                Err(error)
            }
            Ok(_) => {
                child.wait_with(0)?;
                Err(io::Error::from_raw_os_error(i32::from_ne_bytes(error)))
            }
        }
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// Those of waitpid(2).
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.wait_with(WNOHANG)
    }

    fn wait_with(&mut self, options: c_int) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            match unsafe { waitpid(self.id as c_int, &mut status, options) } {
                -1 => return Err(io::Error::last_os_error()),
                0 => {}
                _ => self.status = Some(ExitStatus::from_raw(status)),
            }
        }
        Ok(self.status)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.wait_with(0);
    }
}

/// Whether a forked child can write to the stdout of its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildStdout {
    /// It shares stdout with its parent.
    Shared,
    /// Its stdout is closed.
    Closed,
}

/// In which of the two processes `fork_child` returned.
#[derive(Debug)]
pub enum Forked {
    /// In the parent, which is to exec. If that fails, a byte written to this
    /// stream ends the child.
    Parent(UnixStream),
    /// In the child, after the parent has become another program.
    Child(Parent),
}

/// The parent of a forked child, which the child must not outlive.
#[derive(Debug)]
pub struct Parent {
    id: u32,
    /// Becomes readable when the process ends. Kernels before 5.3 have none.
    pidfd: Option<OwnedFd>,
}

impl Parent {
    /// Whether it has ended: this process then has another parent.
    pub fn is_gone(&self) -> bool {
        parent_id() != self.id
    }

    /// A descriptor that becomes readable when it ends, if the kernel has such.
    pub(super) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(OwnedFd::as_fd)
    }
}

/// Forks a child that is to end when this process ends. Returns in the parent when
/// the child is set up, and in the child when the parent has called exec. If that
/// exec fails, the child ends instead.
///
/// The child shares only stderr with its parent and, if `stdout` says so, stdout.
/// It has a session of its own, so a terminal's signals do not reach it. It has no
/// other descriptor, since that would keep open a pipe that the parent closes.
///
/// A pidfd tells the child when its parent ends. A parent-death signal would not
/// do: it belongs to the thread that forked, so it also comes when an application
/// execs from another thread, and it does not come from a parent that gave up its
/// privileges.
///
/// # Errors
/// Those of fork(2) and socketpair(2), and that of a child that could not be set up.
pub(crate) fn fork_child(stdout: ChildStdout) -> io::Result<Forked> {
    let id = std::process::id();
    let (mut ours, mut theirs) = UnixStream::pair()?;
    // SAFETY: the process has one thread, so the child may do anything.
    match unsafe { fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // The parent becomes the application, and only the parent.
            memory::end_if_exhausted();
            drop(ours);
            // SAFETY: the arguments are those that the manual pages name. No
            // descriptor but `theirs` is owned by any value, and 0 is not used.
            let pidfd = unsafe {
                setsid();
                close_others(theirs.as_raw_fd());
                for fd in 0..=c_int::from(stdout == ChildStdout::Closed) {
                    close(fd);
                    open(c"/".as_ptr(), O_CLOEXEC);
                }
                let (pid, flags): (c_long, c_long) = (id as c_long, 0);
                let pidfd = syscall(SYS_PIDFD_OPEN, pid, flags) as c_int;
                (pidfd >= 0).then(|| OwnedFd::from_raw_fd(pidfd))
            };
            // Exec closes the other end, and a failure to sends a byte. Each is tried
            // once: the parent waits for what becomes of this.
            let is_started = theirs.write(&[0]).and_then(|_| theirs.read(&mut [0]));
            if !matches!(is_started, Ok(0)) {
                // SAFETY: the call takes any integer.
                unsafe { _exit(0) };
            }
            Ok(Forked::Child(Parent { id, pidfd }))
        }
        _ => {
            drop(theirs);
            match ours.read(&mut [0]) {
                Ok(0) => Err(io::Error::other("it ended at once")),
                Ok(_) => Ok(Forked::Parent(ours)),
                Err(error) => {
                    let _ = ours.write(&[0]);
                    Err(error)
                }
            }
        }
    }
}

/// Closes every descriptor above 2 but `kept`.
///
/// # Safety
/// No value may own one of them.
unsafe fn close_others(kept: c_int) {
    // gVisor takes no last number above this one.
    const LARGEST: c_int = c_int::MAX;
    let flags: c_long = 0;
    for (first, last) in [(3, kept - 1), (kept + 1, LARGEST)] {
        // SAFETY: by this function's contract.
        unsafe {
            let range = (c_long::from(first), c_long::from(last));
            if first <= last && syscall(SYS_CLOSE_RANGE, range.0, range.1, flags) != 0 {
                let last = if last == LARGEST { 65_535 } else { last };
                (first..=last).for_each(|fd| {
                    close(fd);
                });
            }
        }
    }
}
